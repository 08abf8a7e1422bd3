/* SPDX-License-Identifier: GPL-2.0 */
/* A process that dirties a file, and how it ends. */

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
 * struct writer - the writer's parameters
 * @path: the file, which it opens by itself
 * @data: what it writes, from the start of the file
 * @len: how many bytes
 * @by_store: it stores through a shared mapping; unless it has a lock, that is
 *	      its only reference to the file by then
 * @own_mounts: in a mount namespace of its own, a copy of the test's
 * @lock: taken before, on the whole file
 * @last: its last call, with the descriptor and the mapping, before it exits;
 *	  NULL: it sleeps until it is killed
 * @dirty: set when all is written; in shared memory, NULL at first
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
 * task_settles() - wait until a process makes no further progress by itself
 * @m: the mount
 * @pid: a child, not reaped yet; it may have got SIGKILL
 *
 * Return: 1 if it has ended, 0 if it sleeps, even despite the signal, and stays
 * asleep during a fence; -1 after WAIT_SECONDS, which has been printed.
 */
int task_settles(struct mnt *m, pid_t pid);

#endif
