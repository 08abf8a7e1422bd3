/* SPDX-License-Identifier: GPL-2.0 */
/* Blocks of memory that can be taken offline, and which pages they have. */

#ifndef FUSE_WB_MEMBLOCK_H
#define FUSE_WB_MEMBLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

struct call;
struct mnt;

#define MEMORY		"/sys/devices/system/memory"
#define MAX_BLOCK_NR	4096

/* The page frame of the page at an address, 0 when it cannot be told. */
__u64 pfn_of(void *addr);

/* The folder in sysfs of the memory block that has a page frame; 0, or -1. */
int block_of(__u64 pfn, char *dir, size_t size);

/* Is the first word of a file this one? */
bool file_says(const char *dir, const char *name, const char *word);

/* Is a folder in sysfs there, or a file in it? */
bool there_is(const char *dir, const char *name);

/* The node of a memory block, 0 where there are no nodes. */
int block_node(const char *dir);

/* Is a memory block in a movable zone? */
bool block_is_movable(const char *dir);

/* The first node that has a movable zone; -1: there is none. */
int movable_node(void);

/*
 * Take memory from the node that has a movable zone, if there is one, and later
 * from any again.  Elsewhere page cache may be in a zone that cannot go.
 */
void use_movable_node(bool on);

/**
 * cache_in_block() - have the pages of a file's cache in a certain block
 * @fd: the file; none of its pages is dirty
 * @len: its size in bytes
 * @block: the folder of the block; NULL: any of which the kernel has reserved no
 *	page at boot, as it has of the last, for such a block never goes
 *
 * The pages are read in.  Memory that comes first is used up, and given back when
 * the process ends.  Where no memory is movable nothing is done.
 *
 * Return: 0, or -1 after a message.
 */
int cache_in_block(int fd, size_t len, const char *block);

/*
 * Memory of the test's own, @size bytes, of which but a page here and there stays,
 * so that compaction moves pages to the rest.  Return: its address, or NULL.
 */
char *spread_pages(size_t size);

/* Have a thread write "offline" to a block's file @state.  Return: the call, or NULL. */
struct call *block_offline(struct mnt *m, const char *state);

/* Let it end.  Return: 0, or a negative errno. */
int block_await_offline(struct call *c);

#endif
