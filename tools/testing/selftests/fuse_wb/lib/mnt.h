/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One FUSE mount with its server and its watchdog, and the functions for tests.
 *
 * The functions that return int return 0, or -1 after printing what went wrong.
 */

#ifndef FUSE_WB_MNT_H
#define FUSE_WB_MNT_H

#include <stddef.h>
#include <sys/types.h>
#include <linux/types.h>

#include "call.h"
#include "watchdog.h"
#include "reqlog.h"
#include "server.h"

#define MNT_NAME_MAX	128

/**
 * struct mnt - one FUSE mount, in the test's private mount namespace
 * @test: the test's full name, "fixture.variant.test"
 * @seconds: after which the watchdog ends the test; 0: WATCHDOG_SECONDS
 * @dir: the mount point
 * @minor: the connection's number under fusectl
 * @abort_fd: /sys/fs/fuse/connections/<minor>/abort
 * @ctl: the control channel to the server
 * @dev: the number of the server's descriptor of /dev/fuse
 * @server: the server's pid
 * @log: the server's log
 * @watchdog: the process that cleans up
 * @calls: the calls that threads of the test have in flight
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
	struct watchdog watchdog;
	struct call *calls;
	unsigned int fences;
};

/* What is missing for a mount, as a message for SKIP; NULL: nothing. */
const char *mnt_missing(void);

/* Mount and start the server.  mnt_stop() has to follow even after an error. */
int mnt_start(struct mnt *m, const struct server_opts *opts);

/* Abort the connection and undo what mnt_start() did. */
int mnt_stop(struct mnt *m);

/* Open a file of the mount.  Return: the descriptor, or -1. */
int mnt_open(struct mnt *m, const char *name, int flags);

/* Abort the connection through fusectl: there are no more replies. */
int mnt_abort(struct mnt *m);

/**
 * fence() - send a request that depends on no other
 * @m: the mount
 *
 * The kernel hands requests to the server in the order in which they were sent.
 * So when this returns, the log has the arrival of everything that a blocked
 * thread had sent before.  Requests in the background queue are not sent yet:
 * tests stay below max_background.
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
 * Return: what the call returned, with errno; -1 with errno ETIMEDOUT if it did
 * not return within WAIT_SECONDS, which has been printed.
 */
long mnt_run(struct mnt *m, const struct call_op *op, struct call_arg arg);

/* The same for a write(2) of a word to a kernel file. */
long mnt_tell(struct mnt *m, const char *path, char *word);

/**
 * call_stays_blocked() - does the call sleep until something else happens?
 * @m: the mount
 * @c: the call
 *
 * It must sleep before and after a fence, must not have run between, and must not
 * have returned: so the requests that it has sent and waits for are in the log.
 *
 * Return: an enum call_state, as call_wait_blocked().
 */
int call_stays_blocked(struct mnt *m, struct call *c);

/*
 * For requests of one kind on the mount: sleep until the nth has arrived (0:
 * timed out, which has been printed), look up the nth (0: there is none), and
 * count them.
 */
int await_req(struct mnt *m, __u32 opcode, enum req_step step, int nth);
int find_req(struct mnt *m, __u32 opcode, enum req_step step, int nth);
int count_req(struct mnt *m, __u32 opcode, enum req_step step);

/*
 * Makes a later write(2) change the times of the file, so that they have to be
 * sent.  Without this, it may fall into the same tick as the file's creation.
 */
int make_file_old(int fd);

/*
 * Wait until a change of a file would give it a later time than any change before.
 * Return: 0, or -1 and a message.
 */
int await_tick(void);

/*
 * Open or create a file, and dirty a byte and its times.
 *
 * Return: the descriptor, or -1.
 */
int open_dirty_file(struct mnt *m, const char *name);

/* Send the dirty data of a file without waiting for the replies. */
int start_writeback(struct mnt *m, int fd);

/*
 * Sleep until every WRITE that was sent has its reply: so a test of something
 * else does not depend on fsync.
 */
int await_writes(struct mnt *m);

/*
 * close(2) of a copy of a descriptor, in a new thread: it waits for the replies
 * to all WRITEs of the file, and the descriptor stays open.
 */
struct call *mnt_call_close(struct mnt *m, int fd);

/*
 * A copy of the server's /dev/fuse descriptor, for replies that the test sends.
 */
int mnt_dev(struct mnt *m);

/**
 * mnt_backing_open() - register a backing file, with the server's descriptor
 * @m: the mount
 * @fd: the file, open by the test
 *
 * Return: its number for server_open_backing(); -1 with errno set.
 */
int mnt_backing_open(struct mnt *m, int fd);

/* The same for an empty memfd, which stays open until the test ends. */
int mnt_backing_memfd(struct mnt *m);

/* The same, and wait for it.  Return: the result of close(2). */
int close_copy(struct mnt *m, int fd);

/*
 * Stop the server, like a frozen or traced process: it reads no request and
 * obeys no command until it is thawed.
 */
int server_freeze(struct mnt *m);
int server_thaw(struct mnt *m);

/* Hold every request of one kind; see control.h for more. */
int hold_req(struct mnt *m, __u32 opcode);

/*
 * Fill with bytes that differ between pages, and that differ at every offset
 * from those of another seed below 251.
 */
void fill_pattern(void *buf, size_t len, unsigned int seed);

/*
 * Fill much of free memory with unexpected bytes: so a page that is not
 * initialized as it must be shows them.
 */
void soil_free_memory(void);

/* The offset of the first byte that differs, or -1. */
long first_difference(const void *a, const void *b, size_t len);

#endif
