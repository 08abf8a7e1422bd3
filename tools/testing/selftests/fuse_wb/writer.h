/* SPDX-License-Identifier: GPL-2.0 */
/* A process of its own that makes a file dirty, and what becomes of it. */

#ifndef FUSE_WB_WRITER_H
#define FUSE_WB_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <linux/types.h>

#include "mnt.h"

enum writer_lock {
	WRITER_NO_LOCK,
	/* fcntl(2), F_SETLK */
	WRITER_POSIX_LOCK,
	/* flock(2) */
	WRITER_FLOCK,
};

/**
 * struct writer - how it goes about it
 * @path: the file, which it opens by itself
 * @data: what it writes, from the start of the file
 * @len: how many bytes
 * @by_store: it stores through a shared mapping; unless it has a lock that is
 *	      all that it has of the file by then
 * @own_mounts: in a mount namespace of its own, a copy of the test's
 * @lock: taken before, on all of the file
 * @last: what it does at last, with the descriptor and the mapping, before it
 *	  exits; NULL: it sleeps until it is killed
 * @dirty: set when all is written; in memory that is shared, NULL at first
 */
struct writer {
	const char *path;
	const char *data;
	size_t len;
	bool by_store;
	bool own_mounts;
	enum writer_lock lock;
	long (*last)(int fd, char *map, size_t len);
	__u32 *dirty;
};

/* Start one and wait until all is written.  Return: its pid, or -1. */
pid_t writer_start(struct writer *w);

/**
 * task_settles() - wait until a process goes no further by itself
 * @m: the mount
 * @pid: a child, not reaped yet; it may have got SIGKILL
 *
 * Return: 1 when it has ended, 0 when it sleeps, be it in spite of the signal,
 * and stays asleep over a fence; -1 after WAIT_SECONDS, of which all has been
 * printed.
 */
int task_settles(struct mnt *m, pid_t pid);

#endif
