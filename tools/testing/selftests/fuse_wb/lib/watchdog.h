/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The watchdog: a process that cleans up after one test, whatever happens to it.
 *
 * It aborts the connection, kills the server, unmounts and removes the mount
 * point when the test requests it, when the test dies, or when WATCHDOG_SECONDS
 * have passed.  A killed test may hang in D state for as long as the server
 * does not reply, in a call or in closing its descriptors; a test that is not
 * killed may, too.
 */

#ifndef FUSE_WB_WATCHDOG_H
#define FUSE_WB_WATCHDOG_H

#include <sys/types.h>

#include "wait.h"

struct reqlog;

/* Longer than one wait, shorter than the harness's 30 s for a test. */
#define WATCHDOG_SECONDS	((unsigned int)WAIT_SECONDS + 12)

/**
 * struct watchdog_note - what the watchdog has to know, in shared memory
 * @test: the test's name, for messages
 * @seconds: its deadline
 * @dir: the mount point; empty: there is none yet
 * @minor: the connection's number under fusectl; 0: not known yet, the watchdog
 *	   looks @dir up
 * @server: the server's pid; 0: there is none yet
 */
struct watchdog_note {
	char test[128];
	unsigned int seconds;
	char dir[64];
	unsigned int minor;
	pid_t server;
};

/**
 * struct watchdog - the test's handle for its watchdog
 * @pid: the watchdog; 0: none
 * @fd: the socket to it
 * @note: updated by the test before each step that has to be undone
 */
struct watchdog {
	pid_t pid;
	int fd;
	struct watchdog_note *note;
};

/**
 * watchdog_start() - fork the watchdog
 * @g: filled in
 * @test: the test's name
 * @seconds: the deadline; 0: WATCHDOG_SECONDS
 * @log: the server's log, printed when the deadline runs out
 *
 * Call it in the mount namespace that is to be used and before /dev/fuse is
 * opened: an inherited descriptor of it would keep the connection alive.
 *
 * Return: 0, or -1 with errno set.
 */
int watchdog_start(struct watchdog *g, const char *test, unsigned int seconds,
		   struct reqlog *log);

/**
 * watchdog_finish() - make it clean up, and wait for its exit
 * @g: the watchdog; nothing is done when it was not started
 *
 * Return: 0; -1 and a message when something could not be cleaned up or the
 * watchdog had already acted on its own.
 */
int watchdog_finish(struct watchdog *g);

/* Abort a connection by its number under fusectl.  Return: 0, -1 with errno. */
int abort_connection(unsigned int minor);

#endif
