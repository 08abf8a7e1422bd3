/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Random operations on a file, each checked against a model of it in memory.
 *
 * All follows from the seed: what is done, where, and with which bytes.  With
 * one process a run can be repeated exactly; with two, each does the same again
 * but they may meet at other times.
 */

#ifndef FUSE_WB_FSX_H
#define FUSE_WB_FSX_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

struct mnt;

/* Enough for several WRITEs and for readahead to have something to do. */
#define FSX_MAX		(192 << 10)

/* Two processes take turns in owning so many bytes, so they share pages. */
#define FSX_STRIPE	(3 * 4096 + 123)

/* At most, with FUSE_WB_ROUNDS; the usual run takes a second or two. */
#define FSX_SECONDS	400

#define FSX_HISTORY	48
#define FSX_LINE	80

/* Kinds of operations, to choose from. */
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
	/* From here on they change the size, and are for one process alone. */
	FSX_APPEND,
	FSX_TRUNCATE,
	FSX_ALLOCATE,
	FSX_OPS,
};

#define FSX_ALL		((1U << FSX_OPS) - 1)
#define FSX_SIZES	(~0U << FSX_APPEND)
/* FSX_MAP_READ and the one behind it, FSX_MAP_WRITE */
#define FSX_MAP		(3U << FSX_MAP_READ)

/**
 * struct fsx - one process's part in a run
 * @m: the mount
 * @name: the file
 * @flags: to open the file with, besides O_RDWR
 * @past_cache: writes do not go through the page cache: two processes write whole
 *		pages, as a store to the rest of the page would take it back
 * @fd: the file, open for reading and writing
 * @direct: the same with O_DIRECT
 * @map: FSX_MAX bytes of it, mapped shared, if @ops has to do with that
 * @model: what the file has to hold; shared by all processes of a run
 * @size: its size; with @grows, how much of it belongs to this run
 * @grows: others make the file longer than that
 * @ops: the kinds of operations to choose from, as bits
 * @turn: which stripes to touch, of @turns; all when that is 1
 * @turns: processes that take part
 * @seed: where the random numbers began
 * @rng: the random numbers
 * @buf: bytes to write, or that were read
 * @done: operations so far
 * @line: what was done last, by @done modulo FSX_HISTORY
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

/* FUSE_WB_SEED, or a new seed.  It is printed. */
__u64 fsx_seed(void);

/* FUSE_WB_ROUNDS, or @rounds. */
unsigned long fsx_rounds(unsigned long rounds);

/* For struct mnt: FSX_SECONDS when there is FUSE_WB_ROUNDS, and else 0. */
unsigned int fsx_seconds(void);

/**
 * fsx_open() - open the file and get everything ready
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
 * @f: this process's part
 * @rounds: how many
 *
 * Return: 0; -1 when a call failed or the file was not what it has to be, after
 * printing that and what was done before.
 */
int fsx_run(struct fsx *f, unsigned long rounds);

/* fsync, and compare all the server has.  Return: as fsx_run(). */
int fsx_check_server(struct fsx *f);

#endif
