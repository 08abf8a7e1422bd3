/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Make free memory scarce without touching it: give it to the hugetlb pool.  It
 * is taken only from the node that use_movable_node() of memory_block.h selects, so
 * that only tasks bound to that node run short.
 */

#ifndef FUSE_WB_MEMORY_HOG_H
#define FUSE_WB_MEMORY_HOG_H

#include <stdbool.h>
#include <stddef.h>

/**
 * struct memory_hog - memory that is out of use
 * @path: the kernel file that sets the amount; empty: there is none
 * @before: its previous contents
 */
struct memory_hog {
	char path[128];
	long before;
};

/**
 * memory_hog_take() - take memory until about @left bytes are free
 * @hog: filled in
 * @left: bytes
 *
 * Return: 0, or -1 after an error that has been printed.
 */
int memory_hog_take(struct memory_hog *hog, size_t left);

/* Give the memory back.  Return: 0, or -1 with errno set. */
int memory_hog_give_back(struct memory_hog *hog);

/*
 * For memcg_run() of cgroup.h: touch as many bytes of new memory as the size_t at
 * @len says, as the task that the OOM killer prefers.
 */
int touch_memory(void *len);

/* Was the process with this wait status killed? */
bool was_killed(long status);

#endif
