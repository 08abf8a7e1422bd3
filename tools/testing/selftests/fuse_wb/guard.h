/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guard: a process that cleans up after one test, whatever happens to it.
 *
 * It aborts the connection, kills the server, unmounts and removes the mount
 * point when the test asks for it, when the test dies, or when GUARD_SECONDS
 * have passed.  A test that is killed may hang in D state for as long as the
 * server does not answer, in a call or in closing its descriptors; so may one
 * that nobody kills.
 */

#ifndef FUSE_WB_GUARD_H
#define FUSE_WB_GUARD_H

#include <sys/types.h>

#include "wait.h"

struct reqlog;

/* Longer than one wait, shorter than the harness's 30 s for a test. */
#define GUARD_SECONDS	(WAIT_SECONDS + 12)

/**
 * struct guard_note - what the guard has to know, in memory that it shares
 * @test: the test's name, for messages
 * @seconds: its deadline
 * @dir: the mount point; empty: there is none yet
 * @minor: the connection's number under fusectl; 0: not known yet, the guard
 *	   looks @dir up
 * @server: the server's pid; 0: there is none yet
 */
struct guard_note {
	char test[128];
	unsigned int seconds;
	char dir[64];
	unsigned int minor;
	pid_t server;
};

/**
 * struct guard - the test's handle of its guard
 * @pid: the guard; 0: none
 * @fd: the pipe to it
 * @note: what the test tells it, before each step that has to be undone
 */
struct guard {
	pid_t pid;
	int fd;
	struct guard_note *note;
};

/**
 * guard_start() - fork the guard
 * @g: filled in
 * @test: the test's name
 * @seconds: the deadline; 0: GUARD_SECONDS
 * @log: the server's log, printed when the deadline runs out
 *
 * Call it in the mount namespace that is to be used and before /dev/fuse is
 * opened: a descriptor of it in the guard would keep the connection alive.
 *
 * Return: 0, or -1 with errno set.
 */
int guard_start(struct guard *g, const char *test, unsigned int seconds,
		struct reqlog *log);

/**
 * guard_finish() - have it clean up, and wait for its end
 * @g: the guard; nothing happens when it was not started
 *
 * Return: 0; -1 and a message when anything could not be cleaned up or the
 * guard had to act on its own before.
 */
int guard_finish(struct guard *g);

/* Abort a connection by its number under fusectl.  Return: 0, -1 with errno. */
int abort_connection(unsigned int minor);

#endif
