// SPDX-License-Identifier: GPL-2.0
/* Checks of the tables of killable.h. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "control.h"
#include "killable_run.h"
#include "proc.h"
#include "wait.h"

#define PAGE		4096
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* The last page of the file, which no call uses. */
#define LAST		((KILLABLE_PAGES - 1) * PAGE)

/* Requests over which a task holds the lock of a file. */
static const struct holder {
	__u32 opcode;
	const struct call_op *op;
	off_t off;
	size_t len;
	int flags;
} file_holders[KILLABLE_FILE] = {
	{ FUSE_FALLOCATE, &call_fallocate, LAST, 32 * PAGE, 0 },
	{ FUSE_SETATTR, &call_ftruncate, LAST, 32 * PAGE, 0 },
	{ FUSE_WRITE, &call_pwrite, LAST, PAGE, O_DIRECT },
	{ FUSE_READ, &call_pwrite, LAST, 1, 0 },
};

/* Requests that hold the lock of the directory, or look up the same name. */
static const __u32 dir_holders[KILLABLE_DIR] = { FUSE_CREATE, FUSE_LOOKUP };

/*
 * Requests that fail like this, as libfuse would reply ENOSYS, after which the
 * kernel sends no more of them.
 */
static const struct {
	__u32 opcode;
	int err;
} refused[] = {
	{ FUSE_GETXATTR, ENODATA },
	{ FUSE_SETXATTR, EPERM },
	{ FUSE_LISTXATTR, EPERM },
	{ FUSE_REMOVEXATTR, EPERM },
	{ FUSE_LINK, EPERM },
	{ FUSE_ACCESS, EPERM },
	{ FUSE_POLL, EIO },
	{ FUSE_FSYNCDIR, EIO },
	{ FUSE_TMPFILE, EPERM },
	{ FUSE_STATX, EIO },
};

static const struct killable_call *const tables[] = {
	killable_io, killable_files, killable_names,
};

const struct killable_call *killable_find(const char *name)
{
	const struct killable_call *call;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tables); i++)
		for (call = tables[i]; call->name; call++)
			if (!strcmp(call->name, name))
				return call;
	return NULL;
}

int killable_count(void)
{
	const struct killable_call *call;
	unsigned int i;
	int count = 0;

	for (i = 0; i < ARRAY_SIZE(tables); i++)
		for (call = tables[i]; call->name; call++)
			count++;
	return count;
}

struct server_opts killable_opts(const struct killable_call *call)
{
	return (struct server_opts){
		.writeback_cache = !(call->prep & PREP_THROUGH),
		.posix_locks = true,
		.flock_locks = true,
		.async_dio = true,
		.ask_always = true,
		.max_readahead = PAGE,
		.open_flags = FOPEN_KEEP_CACHE |
			      (call->prep & PREP_DIRECT ? FOPEN_DIRECT_IO : 0),
	};
}

int killable_start(struct mnt *m)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < ARRAY_SIZE(refused); i++) {
		const struct req_match match = { .opcode = refused[i].opcode };

		ret |= server_fail(m->ctl, &match, refused[i].err);
	}
	return ret;
}

static int listed(const struct killable_call *call, __u32 opcode)
{
	int i;

	for (i = 0; i < KILLABLE_SENDS && call->sends[i].opcode; i++)
		if (call->sends[i].opcode == opcode)
			return i;
	return -1;
}

/* Requests that do not belong to the call: without a reply, or a fence. */
static bool is_other(const struct killable_call *call, __u32 opcode)
{
	return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET ||
	       opcode == FUSE_INTERRUPT ||
	       (opcode == FUSE_STATFS && !strstr(call->name, "statfs"));
}

/*
 * SETATTR with the times may follow a WRITE that another task sends for the
 * call.
 */
static bool leaves_write(const struct killable_call *call)
{
	int i = listed(call, FUSE_WRITE);

	return i >= 0 && call->sends[i].fate == RETURNS;
}

int killable_check_sends(struct mnt *m, const struct killable_call *call)
{
	struct statfs st;
	struct run r;
	int wrong = 0;
	__u32 i, nr;

	if (run_prepare(&r, m, call) || run_start(&r) || run_await_end(&r))
		return 1;
	/* What it did not wait for arrives before the reply to this. */
	if (statfs(m->dir, &st))
		return 1;
	nr = word_get(&m->log->nr);
	/* What it leaves to other tasks may come later. */
	for (i = 0; i < KILLABLE_SENDS && call->sends[i].opcode; i++)
		wrong += !run_await(&r, call->sends[i].opcode);
	for (i = r.mark; i < nr; i++) {
		__u32 opcode = m->log->ev[i].req.opcode;

		if (m->log->ev[i].step != REQ_ARRIVED ||
		    is_other(call, opcode) || listed(call, opcode) >= 0 ||
		    (opcode == FUSE_SETATTR && leaves_write(call)))
			continue;
		fprintf(stderr, "# %s sends %s, which is not listed\n",
			call->name, req_name(opcode));
		wrong++;
	}
	return wrong + !!run_finish(&r);
}

static int compare(const struct killable_call *call, const char *where,
		   __u32 opcode, enum fate seen, enum fate listed)
{
	if (fate_is(seen, listed))
		return 0;
	fprintf(stderr, "# %s, %s %s: is %s, listed %s\n", call->name, where,
		opcode ? req_name(opcode) : "", fate_name(seen),
		fate_name(listed));
	return 1;
}

static int check_held(struct mnt *m, const struct killable_call *call, int i)
{
	__u32 opcode = call->sends[i].opcode;
	enum fate seen = NOT_ASKED;
	struct run r;
	int ret;

	if (run_prepare(&r, m, call) || hold_req(m, opcode))
		return 1;
	r.held = opcode;
	if (!run_start(&r))
		seen = run_kill(&r, call->sends[i].fate);
	ret = server_release(m->ctl, 0) < 0;
	ret |= run_finish(&r);
	return !!ret + compare(call, "holding", opcode, seen,
			       call->sends[i].fate);
}

int killable_check_held(struct mnt *m, const struct killable_call *call)
{
	int i, wrong = 0;

	for (i = 0; i < KILLABLE_SENDS && call->sends[i].opcode; i++)
		wrong += check_held(m, call, i);
	return wrong;
}

int killable_check_unread(struct mnt *m, const struct killable_call *call)
{
	enum fate seen = NOT_ASKED;
	struct run r;
	int ret;

	if (!call->unread)
		return 0;
	if (run_prepare(&r, m, call) || server_freeze(m))
		return 1;
	r.frozen = true;
	if (!run_start(&r))
		seen = run_kill(&r, call->unread);
	ret = server_thaw(m);
	ret |= run_finish(&r);
	return !!ret + compare(call, "unread", 0, seen, call->unread);
}

static int check_file(struct mnt *m, const struct killable_call *call, int i)
{
	const struct holder *h = &file_holders[i];
	const struct req_match match = { .opcode = h->opcode, .start = LAST };
	enum fate seen = NOT_ASKED;
	struct call *c = NULL;
	struct run r;
	void *page = aligned_alloc(PAGE, PAGE);
	int fd, ret;

	if (!call->file[i])
		return 0;
	if (!page || run_prepare(&r, m, call))
		return 1;
	memset(page, 'z', PAGE);
	fd = mnt_open(m, r.name, O_RDWR | h->flags);
	r.mark = word_get(&m->log->nr);
	ret = fd < 0 || server_hold(m->ctl, &match);
	if (!ret)
		c = mnt_call(m, h->op, (struct call_arg){
			.fd = fd, .buf = page, .off = h->off, .len = h->len });
	if (c && run_await(&r, h->opcode) && !run_start(&r))
		seen = run_kill(&r, call->file[i]);
	ret |= server_release(m->ctl, 0) < 0;
	ret |= !c || call_wait_returned(c) != CALL_RETURNED;
	ret |= run_finish(&r);
	close(fd);
	free(page);
	return !!ret + compare(call, "the file locked over", h->opcode, seen,
			       call->file[i]);
}

int killable_check_file(struct mnt *m, const struct killable_call *call)
{
	int i, wrong = 0;

	for (i = 0; i < KILLABLE_FILE; i++)
		wrong += check_file(m, call, i);
	return wrong;
}

/* Does it use a name that does not exist? */
static bool uses_new(const struct killable_call *call)
{
	return call->args[0] == ARG_NEW || call->args[1] == ARG_NEW ||
	       call->args[2] == ARG_NEW;
}

static int check_dir(struct mnt *m, const struct killable_call *call, int i)
{
	__u32 opcode = dir_holders[i];
	enum fate seen = NOT_ASKED;
	struct call_arg arg = { };
	struct call *c = NULL;
	char other[160];
	struct run r;
	int ret;

	if (!call->dir[i])
		return 0;
	if (run_prepare(&r, m, call) || hold_req(m, opcode))
		return 1;
	snprintf(other, sizeof(other), "%s-2", r.fresh);
	arg.buf = other;
	arg.flags = O_CREAT | O_RDWR;
	if (opcode == FUSE_LOOKUP)
		arg.buf = uses_new(call) ? r.fresh : r.file;
	c = mnt_call(m, opcode == FUSE_LOOKUP ? &call_stat : &call_open, arg);
	if (c && run_await(&r, opcode) && !run_start(&r))
		seen = run_kill(&r, call->dir[i]);
	ret = server_release(m->ctl, 0) < 0;
	ret |= !c || call_wait_returned(c) != CALL_RETURNED;
	if (c && c->ret >= 0 && opcode == FUSE_CREATE)
		close(c->ret);
	ret |= run_finish(&r);
	return !!ret + compare(call, "the directory locked over", opcode, seen,
			       call->dir[i]);
}

int killable_check_dir(struct mnt *m, const struct killable_call *call)
{
	int i, wrong = 0;

	for (i = 0; i < KILLABLE_DIR; i++)
		wrong += check_dir(m, call, i);
	return wrong;
}
