/* SPDX-License-Identifier: GPL-2.0 */
/* A system call made in a process of its own, to be killed in it. */

#ifndef FUSE_WB_CHILD_H
#define FUSE_WB_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "call.h"
#include "mnt.h"

/**
 * child_start() - make a call in a new process
 * @flags: for clone(2).  With CLONE_FILES it shares the descriptors, so that
 *	   its exit closes none; it has the mappings in any case
 * @op: the kind of call
 * @arg: its arguments
 *
 * Return: the pid, -1 on failure.  It exits when the call returns.
 */
pid_t child_start(unsigned long flags, const struct call_op *op,
		  struct call_arg arg);

/* Wait until it sleeps in the call.  Return: false after WAIT_SECONDS. */
bool child_await_blocked(pid_t pid, const struct call_op *op);

/* The same, and it stays there as in call_stays_blocked(). */
bool child_stays_blocked(struct mnt *m, pid_t pid, const struct call_op *op);

/* Wait for it to exit.  Return: whether SIGKILL ended it. */
bool child_was_killed(struct mnt *m, pid_t pid);

#endif
