/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A memory cgroup, of the legacy hierarchy (v1) or of the unified one (v2).
 *
 * Call these after mnt_setup(): their mounts are in the test's own mount
 * namespace.  The memory controller can be in one hierarchy only.  Where v2
 * provides it to its children, it stays there and v1 tests are skipped;
 * elsewhere v2 tests are.  Moving it at run time is not safe: uncharging in v1
 * what was charged in v2 makes Linux 6.12 warn of a page_counter underflow.
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
 * Return: NULL; or the missing feature, as a sentence for SKIP; or "" after an
 * error that has been printed.
 */
const char *memcg_make(struct memcg *cg, const char *where, bool legacy,
		       size_t limit);

/*
 * Make a cgroup without a limit in another one that has no processes of its
 * own.  Return: 0, or -1 after printing what went wrong.
 */
int memcg_make_below(struct memcg *below, const struct memcg *cg);

/* Move every process out and remove the cgroup.  Return: 0, or -1. */
int memcg_remove(struct memcg *cg);

/* Move a process in, 0 being the caller, or out again.  Return: 0, or -1. */
int memcg_enter(const struct memcg *cg, pid_t pid);
int memcg_leave(const struct memcg *cg, pid_t pid);

/* Bytes charged; -1 on error. */
long memcg_usage(const struct memcg *cg);

/**
 * memcg_run() - start a process in the cgroup
 * @cg: the cgroup; NULL, or one that was not made: in none
 * @fn: what it does; its result is the exit status
 * @arg: given to @fn
 *
 * It shares the caller's descriptors, so its exit closes none of them.
 *
 * Return: its pid, or -1.
 */
pid_t memcg_run(const struct memcg *cg, int (*fn)(void *arg), void *arg);

#endif
