/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guard: a process that cleans up after one test, whatever happens to it.
 *
 * It aborts the connection, kills the server, unmounts and removes the mount
 * point when the test requests it, when the test dies, or when GUARD_SECONDS
 * have passed.  A killed test may hang in D state for as long as the server
 * does not reply, in a call or in closing its descriptors; a test that is not
 * killed may, too.
 */

#ifndef FUSE_WB_GUARD_H
#define FUSE_WB_GUARD_H

#include <sys/types.h>

#include "wait.h"

struct reqlog;

/* Longer than one wait, shorter than the harness's 30 s for a test. */
#define GUARD_SECONDS	((unsigned int)WAIT_SECONDS + 12)

/**
 * struct guard_note - what the guard has to know, in shared memory
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
 * struct guard - the test's handle for its guard
 * @pid: the guard; 0: none
 * @fd: the socket to it
 * @note: updated by the test before each step that has to be undone
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
 * opened: an inherited descriptor of it would keep the connection alive.
 *
 * Return: 0, or -1 with errno set.
 */
int guard_start(struct guard *g, const char *test, unsigned int seconds,
		struct reqlog *log);

/**
 * guard_finish() - make it clean up, and wait for its exit
 * @g: the guard; nothing is done when it was not started
 *
 * Return: 0; -1 and a message when something could not be cleaned up or the
 * guard had already acted on its own.
 */
int guard_finish(struct guard *g);

/* Abort a connection by its number under fusectl.  Return: 0, -1 with errno. */
int abort_connection(unsigned int minor);

#endif
