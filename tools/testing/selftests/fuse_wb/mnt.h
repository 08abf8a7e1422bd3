/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One FUSE mount with its server and its guard, and what tests ask of it.
 *
 * The functions that return int return 0, or -1 after printing what went wrong.
 */

#ifndef FUSE_WB_MNT_H
#define FUSE_WB_MNT_H

#include <stddef.h>
#include <sys/types.h>
#include <linux/types.h>

#include "call.h"
#include "guard.h"
#include "reqlog.h"
#include "server.h"

#define MNT_NAME_MAX	128

/**
 * struct mnt - one FUSE mount, in a mount namespace of the test's own
 * @test: the test's full name, "fixture.variant.test"
 * @seconds: after which the guard ends the test; 0: GUARD_SECONDS
 * @dir: the mount point
 * @minor: the connection's number under fusectl
 * @abort_fd: /sys/fs/fuse/connections/<minor>/abort
 * @ctl: the control channel to the server
 * @dev: the number of the server's descriptor of /dev/fuse
 * @server: the server's pid
 * @log: the server's log
 * @guard: who cleans up
 * @calls: the calls that threads of the test have under way
 * @fences: fences sent so far
 */
struct mnt {
	char test[MNT_NAME_MAX];
	unsigned int seconds;
	char dir[64];
	unsigned int minor;
	int abort_fd;
	int ctl;
	int dev;
	pid_t server;
	struct reqlog *log;
	struct guard guard;
	struct call *calls;
	unsigned int fences;
};

/* What is missing for a mount, as a sentence for SKIP; NULL: nothing. */
const char *mnt_missing(void);

/* Mount and start the server.  After an error too, mnt_stop() has to follow. */
int mnt_start(struct mnt *m, const struct server_opts *opts);

/* Abort the connection and undo all that mnt_start() did. */
int mnt_stop(struct mnt *m);

/* Open a file of the mount.  Return: the descriptor, or -1. */
int mnt_open(struct mnt *m, const char *name, int flags);

/* Abort the connection through fusectl: nothing more is answered. */
int mnt_abort(struct mnt *m);

/**
 * fence() - send a request that has nothing to do with anything else
 * @m: the mount
 *
 * The kernel hands requests to the server in the order in which they were
 * sent.  So when this returns, the arrival of whatever a thread that is
 * blocked had sent before is in the log.  What waits in the background queue
 * for its turn is not sent yet: tests stay below max_background.
 */
int fence(struct mnt *m);

/* Make a call in a new thread.  Return: the call, or NULL; see call.h. */
struct call *mnt_call(struct mnt *m, const struct call_op *op,
		      struct call_arg arg);

/**
 * mnt_run() - make a call that may block, and wait for it
 * @m: the mount
 * @op: the kind of call
 * @arg: its arguments
 *
 * Return: what the call returned, with errno; -1 with errno ETIMEDOUT when it
 * did not return within WAIT_SECONDS, of which all has been printed.
 */
long mnt_run(struct mnt *m, const struct call_op *op, struct call_arg arg);

/* The same for a write(2) of a word to a file of the kernel's. */
long mnt_tell(struct mnt *m, const char *path, char *word);

/**
 * call_stays_blocked() - does the call sleep until something else happens?
 * @m: the mount
 * @c: the call
 *
 * It has to sleep before and after a fence, not to have run meanwhile, and not to
 * have returned: so what it has sent, and waits for, is in the log.
 *
 * Return: an enum call_state, as call_wait_blocked().
 */
int call_stays_blocked(struct mnt *m, struct call *c);

/*
 * Every request of one kind on the mount: sleep until the nth is there (0:
 * none came in time, which has been printed), look for the nth (0: there is
 * none), and count.
 */
int await_req(struct mnt *m, __u32 opcode, enum req_step step, int nth);
int find_req(struct mnt *m, __u32 opcode, enum req_step step, int nth);
int count_req(struct mnt *m, __u32 opcode, enum req_step step);

/*
 * A write(2) will change the times of the file, which then have to be sent.
 * Without this, it may come in the same tick as the file's creation.
 */
int make_file_old(int fd);

/*
 * Open a file, which is new or not, and dirty a byte and its times.
 *
 * Return: the descriptor, or -1.
 */
int open_dirty_file(struct mnt *m, const char *name);

/* Send what is dirty in a file and do not wait for the answers. */
int start_writeback(struct mnt *m, int fd);

/*
 * Sleep until every WRITE that was sent has its answer: so that a test of
 * something else does not depend on fsync.
 */
int await_writes(struct mnt *m);

/*
 * close(2) of a copy of a descriptor, in a new thread: it waits for the answers
 * to all WRITEs of the file, and the descriptor is still there.
 */
struct call *mnt_call_close(struct mnt *m, int fd);

/* A copy of the server's descriptor of /dev/fuse, for replies of the test's own. */
int mnt_dev(struct mnt *m);

/**
 * mnt_backing_open() - register a backing file, with the server's descriptor
 * @m: the mount
 * @fd: the file, open by the test
 *
 * Return: its number for server_open_backing(); -1 with errno set.
 */
int mnt_backing_open(struct mnt *m, int fd);

/* The same for an empty file in memory, which stays until the test ends. */
int mnt_backing_memfd(struct mnt *m);

/* The same, and wait for it.  Return: what close(2) did. */
int close_copy(struct mnt *m, int fd);

/*
 * The server stops, as a frozen or traced process does: it reads no request and
 * obeys no command until it is thawed.
 */
int server_freeze(struct mnt *m);
int server_thaw(struct mnt *m);

/* Hold every request of one kind; see control.h for more. */
int hold_req(struct mnt *m, __u32 opcode);

/*
 * Fill with bytes that tell a page from every other, and that differ in every
 * place from those of another seed below 251.
 */
void fill_pattern(void *buf, size_t len, unsigned int seed);

/*
 * Fill much of the memory that is free with bytes that nobody expects: so that
 * a page which is not filled as it has to be shows them.
 */
void soil_free_memory(void);

/* The first byte in which two buffers differ, or -1. */
long first_difference(const void *a, const void *b, size_t len);

#endif
