// SPDX-License-Identifier: GPL-2.0
/* A task that makes a call and is killed in it, see killable.h. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "killable_run.h"
#include "proc.h"
#include "wait.h"

#define PAGE	4096

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

static const char *const fate_names[] = {
	[NOT_ASKED] = "NOT_ASKED",
	[RETURNS] = "RETURNS",
	[ENDS] = "ENDS",
	[STAYS_READ] = "STAYS_READ",
	[STAYS_FORCED] = "STAYS_FORCED",
	[STAYS_DIRECT] = "STAYS_DIRECT",
};

/* Memory that the arguments of a call point to. */
static struct {
	char *buf;
	struct iovec iov;
	struct flock lock;
	struct pollfd pollfd;
	struct timespec times[2];
	__u64 how[3];
	loff_t off, off2;
} at;

static int failed(const struct run *r, const char *what)
{
	fprintf(stderr, "# %s: %s: %s\n", r->call->name, what, strerror(errno));
	return -1;
}

const char *fate_name(enum fate fate)
{
	return fate_names[fate];
}

bool fate_is(enum fate seen, enum fate listed)
{
	return seen == listed || (seen >= STAYS_READ && listed >= STAYS_READ);
}

static int make_names(struct run *r)
{
	static unsigned int nr;
	struct stat st = { .st_mode = 0755 };
	char name[24];

	snprintf(name, sizeof(name), "file%u", nr);
	snprintf(r->name, sizeof(r->name), "%s", name);
	snprintf(r->file, sizeof(r->file), "%s/%s", r->m->dir, name);
	snprintf(r->fresh, sizeof(r->fresh), "%s/new%u", r->m->dir, nr);
	snprintf(r->dir, sizeof(r->dir), "%s/dir%u", r->m->dir, nr);
	snprintf(r->link, sizeof(r->link), "%s/link%u", r->m->dir, nr++);

	if (!at.buf)
		at.buf = aligned_alloc(PAGE, PAGE);
	if (!at.buf)
		return failed(r, "a buffer");
	memset(at.buf, 'y', PAGE);
	if (server_put(r->m->ctl, name, 0, at.buf, PAGE) ||
	    server_put(r->m->ctl, name, (KILLABLE_PAGES - 1) * PAGE, at.buf,
		       PAGE))
		return -1;
	/*
	 * Otherwise a call in the same clock tick would not change the times.
	 */
	if (server_setattr(r->m->ctl, name, &st, FATTR_MTIME | FATTR_CTIME))
		return -1;
	if (r->call->prep & PREP_EXEC &&
	    server_setattr(r->m->ctl, name, &st, FATTR_MODE))
		return -1;
	if (r->call->prep & PREP_DIR && mkdir(r->dir, 0700))
		return failed(r, r->dir);
	if (r->call->prep & PREP_LINK && symlink("to", r->link))
		return failed(r, r->link);
	return 0;
}

static int open_file(struct run *r)
{
	const struct killable_call *call = r->call;
	const char *name = call->open & O_DIRECTORY ? "." : r->name;

	r->fd = -1;
	r->copy = -1;
	r->map = MAP_FAILED;
	if (call->open < 0)
		return 0;
	r->fd = mnt_open(r->m, name, call->open);
	if (r->fd < 0)
		return -1;
	if (call->prep & PREP_DIRTY && pwrite(r->fd, at.buf, PAGE, 0) != PAGE)
		return failed(r, "pwrite");
	if (call->prep & PREP_MAP)
		r->map = mmap(NULL, KILLABLE_PAGES * PAGE,
			      PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (call->prep & PREP_MAP && r->map == MAP_FAILED)
		return failed(r, "mmap");
	/* For the call, which may close it. */
	r->copy = fcntl(r->fd, F_DUPFD_CLOEXEC, 0);
	return r->copy < 0 ? failed(r, "dup") : 0;
}

static int make_pipe(struct run *r)
{
	r->pipe[0] = -1;
	r->pipe[1] = -1;
	if (r->call->prep & PREP_PIPE && pipe2(r->pipe, O_CLOEXEC))
		return failed(r, "pipe");
	if (r->call->prep & PREP_FULL &&
	    write(r->pipe[1], at.buf, PAGE) != PAGE)
		return failed(r, "writing to the pipe");
	return 0;
}

static unsigned long argument(const struct run *r, unsigned long arg)
{
	switch (arg) {
	case ARG_FILE:
		return (unsigned long)r->file;
	case ARG_NEW:
		return (unsigned long)r->fresh;
	case ARG_DIR:
		return (unsigned long)r->dir;
	case ARG_LINK:
		return (unsigned long)r->link;
	case ARG_ROOT:
		return (unsigned long)r->m->dir;
	case ARG_FD:
		return r->copy;
	case ARG_ROOT_FD:
		return r->root;
	case ARG_PIPE_IN:
		return r->pipe[1];
	case ARG_PIPE_OUT:
		return r->pipe[0];
	case ARG_MAP:
		return (unsigned long)r->map;
	case ARG_BUF:
		return (unsigned long)at.buf;
	case ARG_IOV:
		return (unsigned long)&at.iov;
	case ARG_LOCK:
		return (unsigned long)&at.lock;
	case ARG_POLLFD:
		return (unsigned long)&at.pollfd;
	case ARG_TIMES:
		return (unsigned long)at.times;
	case ARG_HOW:
		return (unsigned long)at.how;
	case ARG_OFF:
		return (unsigned long)&at.off;
	case ARG_OFF2:
		return (unsigned long)&at.off2;
	}
	return arg;
}

int run_prepare(struct run *r, struct mnt *m, const struct killable_call *call)
{
	unsigned int i;

	memset(r, 0, sizeof(*r));
	r->m = m;
	r->call = call;
	/* Operations on an O_PATH descriptor send no request. */
	r->root = open(m->dir, O_PATH | O_CLOEXEC);
	if (r->root < 0)
		return failed(r, m->dir);
	if (make_names(r) || open_file(r) || make_pipe(r))
		return -1;

	at.iov = (struct iovec){ .iov_base = at.buf, .iov_len = PAGE };
	at.lock = (struct flock){ .l_type = F_WRLCK, .l_len = 1 };
	at.pollfd = (struct pollfd){ .fd = r->copy, .events = POLLIN };
	at.how[0] = O_RDWR;
	at.off = 0;
	at.off2 = 2 * PAGE;
	for (i = 0; i < ARRAY_SIZE(r->args); i++)
		r->args[i] = argument(r, call->args[i]);
	r->mark = word_get(&m->log->nr);
	return 0;
}

static void make_call(const struct run *r)
{
	const unsigned long *a = r->args;

	if (r->call->fn)
		r->call->fn(a);
	else
		syscall(r->call->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int run_start(struct run *r)
{
	unsigned long flags = SIGCHLD;

	/* Its exit is not part of the test, and closes nothing. */
	if (!(r->call->prep & PREP_OWN_FILES))
		flags |= CLONE_FILES;
	r->pid = syscall(SYS_clone, flags, 0, 0, 0, 0);
	if (!r->pid) {
		make_call(r);
		_exit(0);
	}
	if (r->pid < 0)
		return failed(r, "clone");
	r->pidfd = syscall(SYS_pidfd_open, r->pid, 0);
	return r->pidfd < 0 ? failed(r, "pidfd_open") : 0;
}

static bool has_ended(const struct run *r)
{
	struct pollfd pfd = { .fd = r->pidfd, .events = POLLIN };

	return poll(&pfd, 1, 0) > 0;
}

/* Another request gets its reply, so that all earlier ones have arrived. */
static int run_fence(const struct run *r)
{
	struct statfs st;
	int i;

	if (r->frozen) {
		for (i = 0; i < 20; i++)
			sched_yield();
		return 0;
	}
	if (r->held == FUSE_STATFS)
		return fence(r->m);
	return fstatfs(r->root, &st) ? failed(r, "fstatfs") : 0;
}

static bool is_asleep(const struct run *r)
{
	return process_blocked_in(r->pid, r->call->nr);
}

/* Does it sleep in the call, and will it until something else happens? */
static bool is_stuck(const struct run *r)
{
	long runs;

	if (!is_asleep(r))
		return false;
	runs = task_runs(r->pid, r->pid);
	return !run_fence(r) && is_asleep(r) &&
	       task_runs(r->pid, r->pid) == runs;
}

/*
 * Wait until it has ended or is stuck.  If it is listed to end, wait for that:
 * it may sleep for a while until a flusher runs, or in its exit.
 */
static enum fate settle(struct run *r, bool killed, enum fate listed)
{
	__u64 deadline = wait_deadline();
	bool must_end = listed == RETURNS || (killed && listed == ENDS);

	do {
		if (has_ended(r))
			return killed ? ENDS : RETURNS;
		if (!must_end && is_stuck(r))
			return STAYS_READ;
		sched_yield();
	} while (now_usec() < deadline);

	fprintf(stderr, "# %s: timed out (%d s) waiting for its exit%s\n",
		r->call->name, WAIT_SECONDS, must_end ? "" : ", or sleep");
	process_print(stderr, r->pid);
	return killed || must_end ? STAYS_READ : NOT_ASKED;
}

enum fate run_kill(struct run *r, enum fate listed)
{
	enum fate fate;

	/* Another thread may send it, or the call may not wait for it. */
	if (r->held && !run_await(r, r->held))
		return NOT_ASKED;
	fate = settle(r, false, listed);
	if (fate != STAYS_READ)
		return fate;
	if (kill(r->pid, SIGKILL)) {
		failed(r, "kill");
		return NOT_ASKED;
	}
	return settle(r, true, listed);
}

bool run_sent(const struct run *r, __u32 opcode)
{
	const struct reqlog *log = r->m->log;
	__u32 i, nr = word_get(&log->nr);

	for (i = r->mark; i < nr; i++)
		if (log->ev[i].step == REQ_ARRIVED &&
		    log->ev[i].req.opcode == opcode)
			return true;
	return false;
}

bool run_await(const struct run *r, __u32 opcode)
{
	__u64 deadline = wait_deadline();

	while (!run_sent(r, opcode)) {
		if (now_usec() > deadline) {
			fprintf(stderr, "# %s: timed out (%d s) waiting for %s\n",
				r->call->name, WAIT_SECONDS, req_name(opcode));
			return false;
		}
		sched_yield();
	}
	return true;
}

int run_await_end(struct run *r)
{
	struct pollfd pfd = { .fd = r->pidfd, .events = POLLIN };

	if (r->pid <= 0)
		return 0;
	if (poll(&pfd, 1, WAIT_SECONDS * 1000) != 1) {
		fprintf(stderr, "# %s: the task is still there after all requests were released\n",
			r->call->name);
		process_print(stderr, r->pid);
		return -1;
	}
	waitpid(r->pid, NULL, 0);
	r->pid = 0;
	return 0;
}

int run_finish(struct run *r)
{
	int ret = run_await_end(r);

	if (r->map != MAP_FAILED)
		munmap(r->map, KILLABLE_PAGES * PAGE);
	/* The call may have closed it. */
	if (r->copy >= 0)
		close(r->copy);
	if (r->fd >= 0)
		close(r->fd);
	if (r->pipe[0] >= 0) {
		close(r->pipe[0]);
		close(r->pipe[1]);
	}
	close(r->pidfd);
	close(r->root);
	return ret;
}
