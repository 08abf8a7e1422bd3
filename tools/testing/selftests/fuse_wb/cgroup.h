/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A memory cgroup, of the legacy hierarchy (v1) or of the unified one (v2).
 *
 * Call these after mnt_setup(): what they mount goes with the test's own mount
 * namespace.  The memory controller can be in one hierarchy at a time.  Where v2
 * has it for its children, it stays there and v1 is missing; elsewhere v2 is.
 * For moving it while the machine runs is not sound: what was charged in v2 and
 * is given back in v1 makes Linux 6.12 warn of a page_counter underflow.
 */

#ifndef FUSE_WB_CGROUP_H
#define FUSE_WB_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/**
 * struct memcg - a memory cgroup
 * @top: the mount point of its hierarchy
 * @dir: the cgroup; empty: there is none
 * @legacy: in the legacy hierarchy
 */
struct memcg {
	char top[64];
	char dir[128];
	bool legacy;
};

/**
 * memcg_make() - make a cgroup with a limit
 * @cg: filled in
 * @where: an empty directory to mount the hierarchy at
 * @legacy: which hierarchy
 * @limit: bytes
 *
 * Return: NULL; or what is missing, as a sentence for SKIP; or "" after an error
 * that has been printed.
 */
const char *memcg_make(struct memcg *cg, const char *where, bool legacy,
		       size_t limit);

/*
 * Make a cgroup without a limit in another one, which has no processes of its own.
 * Return: 0, or -1 after printing what went wrong.
 */
int memcg_make_below(struct memcg *below, const struct memcg *cg);

/* Move every process out and remove the cgroup.  Return: 0, or -1. */
int memcg_remove(struct memcg *cg);

/* Move a process in, 0 being the caller, or out again.  Return: 0, or -1. */
int memcg_enter(const struct memcg *cg, pid_t pid);
int memcg_leave(const struct memcg *cg, pid_t pid);

/* Bytes that are charged; -1 on error. */
long memcg_usage(const struct memcg *cg);

/**
 * memcg_run() - start a process in the cgroup
 * @cg: the cgroup; NULL, or one that was not made: in none
 * @fn: what it does; its result is the exit status
 * @arg: given to @fn
 *
 * It shares the caller's descriptors, so its end closes none of them.
 *
 * Return: its pid, or -1.
 */
pid_t memcg_run(const struct memcg *cg, int (*fn)(void *arg), void *arg);

#endif
