// SPDX-License-Identifier: GPL-2.0
/* A system call that may block, made in a thread, see call.h. */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "call.h"
#include "proc.h"
#include "reqlog.h"
#include "wait.h"

static long do_close(const struct call_arg *arg)
{
	return close(arg->fd);
}

static long do_fchmod(const struct call_arg *arg)
{
	return fchmod(arg->fd, arg->flags);
}

static long do_fallocate(const struct call_arg *arg)
{
	return fallocate(arg->fd, arg->flags, arg->off, arg->len);
}

static long do_fdatasync(const struct call_arg *arg)
{
	return fdatasync(arg->fd);
}

static long do_fsync(const struct call_arg *arg)
{
	return fsync(arg->fd);
}

static long do_ftruncate(const struct call_arg *arg)
{
	return ftruncate(arg->fd, arg->len);
}

static long do_msync(const struct call_arg *arg)
{
	return msync(arg->buf, arg->len, MS_SYNC);
}

static long do_mmap(const struct call_arg *arg)
{
	return mmap(NULL, arg->len, PROT_READ | PROT_WRITE, arg->flags, arg->fd,
		    0) == MAP_FAILED ? -1 : 0;
}

static long do_munmap(const struct call_arg *arg)
{
	return munmap(arg->buf, arg->len);
}

static long do_pause(const struct call_arg *arg)
{
	(void)arg;
	return pause();
}

static long do_open(const struct call_arg *arg)
{
	return open(arg->buf, arg->flags | O_CLOEXEC);
}

static long do_pread(const struct call_arg *arg)
{
	return pread(arg->fd, arg->buf, arg->len, arg->off);
}

static long do_pwrite(const struct call_arg *arg)
{
	return pwrite(arg->fd, arg->buf, arg->len, arg->off);
}

static long do_read_all(const struct call_arg *arg)
{
	size_t step = 64 << 10;
	size_t done = 0;
	ssize_t got;

	while (done < arg->len) {
		if (step > arg->len - done)
			step = arg->len - done;
		got = read(arg->fd, (char *)arg->buf + done, step);
		if (got < 0)
			return -1;
		if (!got)
			break;
		done += got;
	}
	return done;
}

static long do_rename(const struct call_arg *arg)
{
	return rename(arg->buf, arg->to);
}

static long do_stat(const struct call_arg *arg)
{
	struct stat st;

	return stat(arg->buf, &st);
}

static long do_statx(const struct call_arg *arg)
{
	struct statx stx;

	return statx(arg->fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC,
		     STATX_BASIC_STATS, &stx);
}

static long do_store(const struct call_arg *arg)
{
	memcpy(arg->to, arg->buf, arg->len);
	return 0;
}

static long do_sync(const struct call_arg *arg)
{
	(void)arg;
	sync();
	return 0;
}

static long do_sync_file_range(const struct call_arg *arg)
{
	return sync_file_range(arg->fd, arg->off, arg->len, arg->flags);
}

static long do_syncfs(const struct call_arg *arg)
{
	return syncfs(arg->fd);
}

static long do_umount(const struct call_arg *arg)
{
	return umount2(arg->buf, arg->flags);
}

static long do_waitpid(const struct call_arg *arg)
{
	int status = 0;

	return waitpid(arg->fd, &status, 0) == arg->fd ? status : -1;
}

static long do_write(const struct call_arg *arg)
{
	return write(arg->fd, arg->buf, arg->len);
}

static long do_drop_inodes(const struct call_arg *arg)
{
	int i;

	(void)arg;
	/* A recently used inode gets a second chance. */
	for (i = 0; i < 3; i++)
		if (write_file("/proc/sys/vm/drop_caches", "2"))
			return -1;
	return 0;
}

const struct call_op call_close = { "close", SYS_close, do_close };
const struct call_op call_drop_inodes = {
	"dropping inodes", SYS_write, do_drop_inodes
};

const struct call_op call_fchmod = { "fchmod", SYS_fchmod, do_fchmod };
const struct call_op call_fallocate = {
	"fallocate", SYS_fallocate, do_fallocate
};

const struct call_op call_fdatasync = {
	"fdatasync", SYS_fdatasync, do_fdatasync
};

const struct call_op call_fsync = { "fsync", SYS_fsync, do_fsync };
const struct call_op call_ftruncate = {
	"ftruncate", SYS_ftruncate, do_ftruncate
};

const struct call_op call_msync = { "msync", SYS_msync, do_msync };
const struct call_op call_mmap = { "mmap", SYS_mmap, do_mmap };
const struct call_op call_munmap = { "munmap", SYS_munmap, do_munmap };
const struct call_op call_pause = { "pause", SYS_pause, do_pause };
const struct call_op call_open = { "open", SYS_openat, do_open };
const struct call_op call_pread = { "pread", SYS_pread64, do_pread };
const struct call_op call_pwrite = { "pwrite", SYS_pwrite64, do_pwrite };
const struct call_op call_read_all = { "read", SYS_read, do_read_all };
const struct call_op call_rename = { "rename", SYS_rename, do_rename };
const struct call_op call_stat = { "stat", SYS_newfstatat, do_stat };
const struct call_op call_statx = { "statx", SYS_statx, do_statx };
const struct call_op call_store = { "a store to memory", -1, do_store };
const struct call_op call_sync = { "sync", SYS_sync, do_sync };
const struct call_op call_sync_file_range = {
	"sync_file_range", SYS_sync_file_range, do_sync_file_range
};

const struct call_op call_syncfs = { "syncfs", SYS_syncfs, do_syncfs };
const struct call_op call_umount = { "umount2", SYS_umount2, do_umount };
const struct call_op call_waitpid = { "waitpid", SYS_wait4, do_waitpid };
const struct call_op call_write = { "write", SYS_write, do_write };

static void *call_thread(void *arg)
{
	struct call *c = arg;

	__atomic_store_n(&c->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	errno = 0;
	c->ret = c->op->fn(&c->arg);
	c->err = c->ret < 0 ? errno : 0;
	word_set(&c->returned, 1);
	return NULL;
}

struct call *call_start(struct call **list, struct reqlog *log,
			const struct call_op *op, struct call_arg arg)
{
	struct call *c = calloc(1, sizeof(*c));
	int err = ENOMEM;

	if (c) {
		c->op = op;
		c->arg = arg;
		c->log = log;
		err = pthread_create(&c->thread, NULL, call_thread, c);
	}
	if (err) {
		fprintf(stderr, "# starting a thread for %s: %s\n", op->name,
			strerror(err));
		free(c);
		return NULL;
	}
	c->next = *list;
	*list = c;
	return c;
}

bool call_returned(struct call *c)
{
	return word_get(&c->returned);
}

/* Asleep in its call, as far as /proc shows. */
static bool call_asleep(struct call *c)
{
	pid_t tid = __atomic_load_n(&c->tid, __ATOMIC_ACQUIRE);

	return tid && task_blocked_in(tid, c->op->nr);
}

int call_lost(struct call *c, const char *awaited)
{
	fprintf(stderr, "# timed out (%d s) waiting for %s %s\n", WAIT_SECONDS,
		c->op->name, awaited);
	task_print(stderr, getpid(), c->tid);
	reqlog_dump(c->log, stderr);
	return CALL_LOST;
}

int call_wait_blocked(struct call *c)
{
	__u64 deadline = wait_deadline();
	bool asleep;

	do {
		/* In this order: a call that has returned is never asleep. */
		asleep = call_asleep(c);
		if (call_returned(c))
			return CALL_RETURNED;
		if (asleep)
			return CALL_BLOCKED;
		sched_yield();
	} while (now_usec() < deadline);

	return call_lost(c, "to block or to return");
}

int call_wait_returned(struct call *c)
{
	if (word_sleep(&c->returned, 0, wait_deadline()))
		return CALL_RETURNED;
	return call_lost(c, "to return");
}

int call_end_all(struct call **list)
{
	__u64 deadline = wait_deadline();
	struct call *c, *left = NULL;
	int count = 0;

	while (*list) {
		c = *list;
		*list = c->next;
		if (word_sleep(&c->returned, 0, deadline)) {
			pthread_join(c->thread, NULL);
			free(c);
			continue;
		}
		fprintf(stderr, "# %s has still not returned\n",
			c->op->name);
		task_print(stderr, getpid(), c->tid);
		c->next = left;
		left = c;
		count++;
	}
	*list = left;
	return count;
}
