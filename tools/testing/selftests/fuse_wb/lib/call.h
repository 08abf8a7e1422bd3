/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A system call that may block, made in a thread of its own.
 *
 * It is a thread, not a process: an exiting process with descriptors of its own
 * sends FLUSH for each and waits for the reply, which would be mistaken for the
 * call under test.
 */

#ifndef FUSE_WB_CALL_H
#define FUSE_WB_CALL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <linux/types.h>

struct reqlog;

/* The arguments; each call takes what it needs. */
struct call_arg {
	int fd;
	off_t off;
	size_t len;
	void *buf;
	void *to;
	unsigned int flags;
};

/**
 * struct call_op - a kind of call
 * @name: for messages
 * @nr: its system call's number; -1 when it blocks in none, as in a page fault
 * @fn: makes the call; returns what the call returned, with errno
 */
struct call_op {
	const char *name;
	long nr;
	long (*fn)(const struct call_arg *arg);
};

extern const struct call_op call_close;
/* drop_caches, for unused inodes */
extern const struct call_op call_drop_inodes;
/* fchmod(2), with the mode as @flags */
extern const struct call_op call_fchmod;
extern const struct call_op call_fdatasync;
/* fallocate(2), with its mode as @flags */
extern const struct call_op call_fallocate;
extern const struct call_op call_fsync;
/* ftruncate(2) to @len */
extern const struct call_op call_ftruncate;
/* mmap(2) of @len bytes from the start of @fd, with @flags; it stays mapped */
extern const struct call_op call_mmap;
/* msync(2) of @len bytes at @buf, with MS_SYNC */
extern const struct call_op call_msync;
/* munmap(2) of @len bytes at @buf */
extern const struct call_op call_munmap;
extern const struct call_op call_pause;
/* open(2) of the path at @buf, with @flags and O_CLOEXEC */
extern const struct call_op call_open;
extern const struct call_op call_pread;
extern const struct call_op call_pwrite;
/* read(2) until EOF or until @len bytes were read; returns the sum */
extern const struct call_op call_read_all;
/* rename(2) of the path at @buf to that at @to */
extern const struct call_op call_rename;
/* stat(2) of the path at @buf */
extern const struct call_op call_stat;
/* no system call: copy @len bytes from @buf to memory at @to */
extern const struct call_op call_store;
extern const struct call_op call_sync;
extern const struct call_op call_sync_file_range;
extern const struct call_op call_syncfs;
/* statx(2) of @fd, which sends a request to the server */
extern const struct call_op call_statx;
/* umount2(2) of the path at @buf, with @flags */
extern const struct call_op call_umount;
/* waitpid(2) for the child with the pid @fd; returns its wait status */
extern const struct call_op call_waitpid;
extern const struct call_op call_write;

/* int, not the enum, where it is returned: tests compare signed values. */
enum call_state {
	CALL_BLOCKED,
	CALL_RETURNED,
	CALL_LOST,
};

/**
 * struct call - a call in progress
 * @next: in the list of the calls of one mount
 * @op: its kind
 * @arg: its arguments
 * @log: the server's log, for messages
 * @thread: for pthread_join()
 * @tid: its thread id, 0 until that runs
 * @returned: 1 when it has returned: @ret and @err hold; also a futex
 * @ret: what it returned
 * @err: its errno, 0 when @ret is not -1
 */
struct call {
	struct call *next;
	const struct call_op *op;
	struct call_arg arg;
	struct reqlog *log;
	pthread_t thread;
	pid_t tid;
	__u32 returned;
	long ret;
	int err;
};

/**
 * call_start() - make a call in a new thread
 * @list: the list to pass to call_end_all() at the end
 * @log: the server's log, for messages
 * @op: the kind of call
 * @arg: its arguments
 *
 * Return: the call, owned by the list; NULL and a message on failure.
 */
struct call *call_start(struct call **list, struct reqlog *log,
			const struct call_op *op, struct call_arg arg);

bool call_returned(struct call *c);

/**
 * call_wait_blocked() - wait until the call sleeps, or has returned
 * @c: the call
 *
 * Asleep does not mean stuck, as the sleep may be short: tests use
 * call_stays_blocked() of mnt.h.
 *
 * Return: CALL_BLOCKED; CALL_RETURNED; or CALL_LOST when neither happened
 * within WAIT_SECONDS, after printing the thread's state and the log.
 */
int call_wait_blocked(struct call *c);

/* Print what was awaited, and all about the call.  Return: CALL_LOST. */
int call_lost(struct call *c, const char *awaited);

/**
 * call_wait_returned() - wait until the call has returned
 * @c: the call
 *
 * Return: CALL_RETURNED; or CALL_LOST when WAIT_SECONDS have passed, after
 * printing the thread's state and stack and the log.
 */
int call_wait_returned(struct call *c);

/*
 * Join every call that has returned by the deadline.  Return: the number left.
 */
int call_end_all(struct call **list);

#endif
