// SPDX-License-Identifier: GPL-2.0
/* A system call made in a process of its own, see child.h. */

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "proc.h"
#include "wait.h"

pid_t child_start(unsigned long flags, const struct call_op *op,
		  struct call_arg arg)
{
	pid_t pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);

	if (!pid) {
		op->fn(&arg);
		_exit(0);
	}
	return pid;
}

static bool child_lost(pid_t pid, const struct call_op *op, const char *awaited)
{
	fprintf(stderr, "# timed out (%d s) waiting for %s %s\n", WAIT_SECONDS,
		op->name, awaited);
	process_print(stderr, pid);
	return false;
}

bool child_await_blocked(pid_t pid, const struct call_op *op)
{
	__u64 deadline = wait_deadline();

	while (!process_blocked_in(pid, op->nr)) {
		if (now_usec() > deadline)
			return child_lost(pid, op, "to block");
		sched_yield();
	}
	return true;
}

bool child_stays_blocked(struct mnt *m, pid_t pid, const struct call_op *op)
{
	__u64 deadline = wait_deadline();
	long runs;

	do {
		if (!child_await_blocked(pid, op))
			return false;
		runs = task_runs(pid, pid);
		if (fence(m) || !child_await_blocked(pid, op))
			return false;
		if (task_runs(pid, pid) == runs)
			return true;
	} while (now_usec() < deadline);

	return child_lost(pid, op, "to stay blocked");
}

bool child_was_killed(struct mnt *m, pid_t pid)
{
	long status = mnt_run(m, &call_waitpid, (struct call_arg){ .fd = pid });

	if (status >= 0 && WIFSIGNALED(status))
		return true;
	fprintf(stderr, "# SIGKILL did not end the call\n");
	process_print(stderr, pid);
	return false;
}
