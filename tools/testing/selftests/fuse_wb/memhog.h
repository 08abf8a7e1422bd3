/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Little free memory, without touching any: what is given to the pool of huge
 * pages is nobody's.  It is taken from the node that use_movable_node() of
 * memblock.h names alone, so that only who is bound to it goes short.
 */

#ifndef FUSE_WB_MEMHOG_H
#define FUSE_WB_MEMHOG_H

#include <stdbool.h>
#include <stddef.h>

/**
 * struct memhog - memory that is out of use
 * @path: the file of the kernel's that says how much; empty: there is none
 * @before: what was in it
 */
struct memhog {
	char path[128];
	long before;
};

/**
 * memhog_take() - take memory until about @left bytes are free
 * @hog: filled in
 * @left: bytes
 *
 * Return: 0, or -1 after an error that has been printed.
 */
int memhog_take(struct memhog *hog, size_t left);

/* Give it back.  Return: 0, or -1 with errno set. */
int memhog_give_back(struct memhog *hog);

/*
 * For memcg_run() of cgroup.h: touch as many bytes of new memory as the size_t at
 * @len says, as one whom the OOM killer may take before all others.
 */
int touch_memory(void *len);

/* Was the process with this wait status killed? */
bool was_killed(long status);

#endif
