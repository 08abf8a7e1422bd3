/* SPDX-License-Identifier: GPL-2.0 */
/* A task that makes a call and is killed in it, for the checks of the table. */

#ifndef FUSE_WB_KILLABLE_RUN_H
#define FUSE_WB_KILLABLE_RUN_H

#include <stdbool.h>
#include <sys/types.h>

#include "killable.h"

/**
 * struct run - a task that makes a call
 * @m: the mount
 * @call: the call
 * @held: requests of this kind are held; 0: none
 * @frozen: the server reads nothing
 * @name: the file's name
 * @file: its path
 * @fresh: a path that does not exist
 * @dir: the path of a directory, see PREP_DIR
 * @link: the path of a symbolic link, see PREP_LINK
 * @root: a descriptor of the mount point, with O_PATH
 * @fd: a descriptor of the file
 * @copy: a copy of it, for the call
 * @map: the file's mapping
 * @pipe: the two ends of a pipe
 * @args: the arguments
 * @mark: entries in the log before the call
 * @pid: the task
 * @pidfd: a descriptor of it
 */
struct run {
	struct mnt *m;
	const struct killable_call *call;
	__u32 held;
	bool frozen;
	char name[24];
	char file[128];
	char fresh[128];
	char dir[128];
	char link[128];
	int root;
	int fd;
	int copy;
	char *map;
	int pipe[2];
	unsigned long args[6];
	__u32 mark;
	pid_t pid;
	int pidfd;
};

const char *fate_name(enum fate fate);

/* Compares two fates; all kinds of waits for the reply are equal. */
bool fate_is(enum fate seen, enum fate listed);

/* These return 0, or -1 after printing what went wrong. */
int run_prepare(struct run *r, struct mnt *m, const struct killable_call *call);
int run_start(struct run *r);

/*
 * Wait until it sleeps, then kill it.  Return: the outcome; NOT_ASKED if it is
 * not known, which has been printed, or if it never sent the request to hold.
 */
enum fate run_kill(struct run *r, enum fate listed);

/* Has such a request arrived since run_prepare()? */
bool run_sent(const struct run *r, __u32 opcode);

/* Wait until one has.  Return: false after WAIT_SECONDS. */
bool run_await(const struct run *r, __u32 opcode);

/* Wait for its exit.  All held requests have been released. */
int run_await_end(struct run *r);

/* The same, and clean up. */
int run_finish(struct run *r);

#endif
