/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Random operations on a file, each checked against a model of it in memory.
 *
 * The seed determines everything: the operations, their offsets, and their
 * data.  With one process a run can be repeated exactly; with two, each does
 * the same again but their interleaving may differ.
 */

#ifndef FUSE_WB_FSX_H
#define FUSE_WB_FSX_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

struct mnt;

/* Enough to cause several WRITEs and readahead. */
#define FSX_MAX		(192 << 10)

/* Two processes own alternating stripes of this size, so they share pages. */
#define FSX_STRIPE	(3 * 4096 + 123)

/* Upper limit, with FUSE_WB_ROUNDS; the usual run takes a second or two. */
#define FSX_SECONDS	400

#define FSX_HISTORY	48
#define FSX_LINE	80

/* Kinds of operations. */
enum fsx_op {
	FSX_READ,
	FSX_WRITE,
	FSX_MAP_READ,
	FSX_MAP_WRITE,
	FSX_DIRECT_READ,
	FSX_DIRECT_WRITE,
	FSX_PUNCH,
	FSX_ZERO,
	FSX_COPY,
	FSX_FSYNC,
	FSX_SYNC_RANGE,
	FSX_DROP,
	/* The following ones change the size, and are for one process only. */
	FSX_APPEND,
	FSX_TRUNCATE,
	FSX_ALLOCATE,
	FSX_OPS,
};

#define FSX_ALL		((1U << FSX_OPS) - 1)
#define FSX_SIZES	(~0U << FSX_APPEND)
/* FSX_MAP_READ and the next bit, FSX_MAP_WRITE */
#define FSX_MAP		(3U << FSX_MAP_READ)

/**
 * struct fsx - the state of one process of a run
 * @m: the mount
 * @name: the file
 * @flags: open flags in addition to O_RDWR
 * @past_cache: writes bypass the page cache: two processes then write whole
 *		pages, as a store to the rest of the page would undo them
 * @fd: the file, open for reading and writing
 * @direct: the same with O_DIRECT
 * @map: FSX_MAX bytes of it, mapped shared, if @ops needs that
 * @model: the expected contents; shared by all processes of a run
 * @size: its size; with @grows, the size of this run's part
 * @grows: other tasks extend the file beyond that
 * @ops: the kinds of operations to choose from, as bits
 * @turn: which stripes to touch, of @turns; all when that is 1
 * @turns: processes that take part
 * @seed: where the random numbers started
 * @rng: the state of the random number generator
 * @buf: a buffer for reads and writes
 * @done: operations so far
 * @line: the last operations, by @done modulo FSX_HISTORY
 */
struct fsx {
	struct mnt *m;
	const char *name;
	int flags;
	bool past_cache;
	int fd;
	int direct;
	char *map;
	char *model;
	size_t size;
	bool grows;
	unsigned int ops;
	unsigned int turn;
	unsigned int turns;
	__u64 seed;
	__u64 rng;
	char *buf;
	unsigned long done;
	char line[FSX_HISTORY][FSX_LINE];
};

/* FUSE_WB_SEED, or a new seed.  Prints it. */
__u64 fsx_seed(void);

/* FUSE_WB_ROUNDS, or @rounds. */
unsigned long fsx_rounds(unsigned long rounds);

/* For struct mnt: FSX_SECONDS if FUSE_WB_ROUNDS is set, otherwise 0. */
unsigned int fsx_seconds(void);

/**
 * fsx_open() - open the file and initialize the state
 * @f: filled in, but for the members @flags, @past_cache, @ops, @turn, @turns and
 *     @grows
 * @m: the mount
 * @name: the file; it exists at the server with the bytes of @model
 * @model: FSX_MAX bytes of shared memory
 * @size: the file's size
 * @seed: see fsx_seed()
 *
 * Return: 0, or -1 after printing what went wrong.
 */
int fsx_open(struct fsx *f, struct mnt *m, const char *name, char *model,
	     size_t size, __u64 seed);

/**
 * fsx_run() - do and check some operations
 * @f: the state of this process
 * @rounds: how many
 *
 * Return: 0; -1 when a call failed or the contents differ, after printing that
 * and the preceding operations.
 */
int fsx_run(struct fsx *f, unsigned long rounds);

/* fsync, and compare the whole file at the server.  Return: as fsx_run(). */
int fsx_check_server(struct fsx *f);

#endif
