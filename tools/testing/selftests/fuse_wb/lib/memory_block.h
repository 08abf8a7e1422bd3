/* SPDX-License-Identifier: GPL-2.0 */
/* Memory blocks that can be taken offline, and which pages they contain. */

#ifndef FUSE_WB_MEMORY_BLOCK_H
#define FUSE_WB_MEMORY_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

struct call;
struct mnt;

#define MEMORY		"/sys/devices/system/memory"
#define MAX_BLOCK_NR	4096

/* The page frame number of the page at an address, 0 if unknown. */
__u64 pfn_of(void *addr);

/*
 * The sysfs directory of the memory block that contains a page frame; 0, or -1.
 */
int block_of(__u64 pfn, char *dir, size_t size);

/* Is the first word of a file this one? */
bool file_says(const char *dir, const char *name, const char *word);

/* Does a directory in sysfs, or a file in it, exist? */
bool there_is(const char *dir, const char *name);

/* The node of a memory block, 0 on systems without nodes. */
int block_node(const char *dir);

/* Is a memory block in a movable zone? */
bool block_is_movable(const char *dir);

/* The first node with a movable zone, or -1. */
int movable_node(void);

/*
 * Allocate from the node that has a movable zone, if there is one, and later
 * from any node again.  Otherwise page cache may be in a zone that cannot be
 * offlined.
 */
void use_movable_node(bool on);

/**
 * cache_in_block() - read a file's page cache into a certain block
 * @fd: the file; none of its pages is dirty
 * @len: its size in bytes
 * @block: the sysfs directory of the block; NULL: any in which the kernel has
 *	   reserved no page at boot: a block with one, such as the last, cannot
 *	   be offlined
 *
 * The pages are read in.  Memory allocated before that of the block is used up,
 * and freed when the process ends.  Does nothing if no memory is movable.
 *
 * Return: 0, or -1 after a message.
 */
int cache_in_block(int fd, size_t len, const char *block);

/*
 * Allocate @size bytes and free all but scattered pages, so that compaction moves
 * pages to the free ones.  Return: its address, or NULL.
 */
char *spread_pages(size_t size);

/*
 * Write "offline" to a block's file @state in a thread.  Return: the call, or
 * NULL.
 */
struct call *block_offline(struct mnt *m, const char *state);

/* Wait for the thread.  Return: 0, or a negative errno. */
int block_await_offline(struct call *c);

#endif
