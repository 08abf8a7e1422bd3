/* SPDX-License-Identifier: GPL-2.0 */
/*
 * More dirty pages than there is memory for, and how they got out.
 *
 * The functions that return int return 0, or -1 after printing what went wrong.
 */

#ifndef FUSE_WB_PRESSURE_H
#define FUSE_WB_PRESSURE_H

#include <stdbool.h>
#include <stddef.h>

#include "mnt.h"
#include "reqlog.h"
#include "trace.h"

/**
 * struct dirtier - who makes a file dirty
 * @fd: the file
 * @size: bytes
 * @store: store into a mapping of it instead of calling write(2)
 */
struct dirtier {
	int fd;
	size_t size;
	bool store;
};

/*
 * Make the file dirty page by page, in runs of DIRTY_RUN pages that come one
 * after the other, but each from its end: in the order of the LRU no page
 * follows its neighbour.  For memcg_run(), as the following.
 */
#define DIRTY_RUN	64

/* Until the guard ends such a test, and until the harness does. */
#define PRESSURE_SECONDS	110
#define PRESSURE_TIMEOUT	120

int dirty_file(void *dirtier);

/**
 * run_while_served() - make a call, and wait as long as the server is at work
 * @m: the mount
 * @op: the kind of call
 * @arg: its arguments
 *
 * Return: as mnt_run(), which gives it WAIT_SECONDS; here it has so long from
 * each request of the server's to the next.
 */
long run_while_served(struct mnt *m, const struct call_op *op,
		      struct call_arg arg);

/* Does the server have all that dirty_file() wrote? */
int check_dirty_file(struct mnt *m, const char *name, size_t size);

#define FLUSHERS_MAX	16

/**
 * struct writers - who has written pages, as the tracepoints tell
 * @bdi: "bdi MAJOR:MINOR:", of the mount
 * @flusher: pages by the mount's flusher
 * @sync: pages by whoever had to wait for them, as in fsync(2), or sends all of the
 *	file, as in munmap(2)
 * @others: pages by anybody else, or on behalf of reclaim
 * @passes: how often the flusher has begun with a file of the mount
 * @woken: how often a flusher began because reclaim had asked for it
 * @pageout_file: folios of files that pageout() has written, of any mount
 * @pageout_swap: folios of anonymous memory and shmem that it has
 * @flushers: the threads that were the mount's flusher
 * @nr_flushers: how many
 */
struct writers {
	char bdi[32];
	long flusher;
	long sync;
	long others;
	long passes;
	long woken;
	long pageout_file;
	long pageout_swap;
	pid_t flushers[FLUSHERS_MAX];
	int nr_flushers;
};

/* Trace what struct writers counts.  Return: as trace_start(). */
const char *writers_trace(struct trace *t);

/* Fill it in and stop. */
int writers_count(struct writers *w, struct trace *t, const struct mnt *m);

/**
 * struct shapes - what the WRITEs of the log look like
 * @nr: how many there were
 * @single: those of one page or less
 * @again: those of them whose page the WRITE before had, too.  The flusher may take
 *	the CPU between the fault that makes a page dirty and the store that it is
 *	for; then the page is sent, the store faults again, and so on.  Nothing but
 *	that page was dirty, so these tell nothing about how others are written.
 * @back: those that begin before the one that came before them has ended, until
 *	fsync begins, which goes through the file beside the flusher
 * @pages: the pages of all of them
 */
struct shapes {
	long nr;
	long single;
	long again;
	long back;
	long pages;
};

/* @begun: entries of the log when fsync began. */
void shapes_count(struct shapes *s, struct reqlog *log, __u32 begun);

/**
 * struct hog - memory that is used up, so that others have to make room
 * @fd: what has it; -1: nothing has
 * @ratio: vm.dirty_ratio and vm.dirty_background_ratio as they were
 */
struct hog {
	int fd;
	char ratio[2][16];
};

/**
 * hog_start() - leave little free memory, and let all of it become dirty
 * @hog: filled in
 * @leave: bytes to leave besides what the kernel keeps in reserve
 *
 * Return: as trace_start().
 */
const char *hog_start(struct hog *hog, size_t leave);

int hog_end(struct hog *hog);

/**
 * struct counters - what the kernel has counted
 * @usec: the time, for people; no test looks at it
 * @oom_kills: processes that the OOM killer has killed
 * @vmscan_write: pages that reclaim has written
 * @scan: pages of files that reclaim has looked at
 * @steal: those of them that it has freed
 */
struct counters {
	long long usec;
	long oom_kills;
	long vmscan_write;
	long scan;
	long steal;
};

void counters_read(struct counters *c);

/* Fill in what has been counted since @before was read. */
void counters_since(struct counters *c, const struct counters *before);

#endif
