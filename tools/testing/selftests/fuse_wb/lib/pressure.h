/* SPDX-License-Identifier: GPL-2.0 */
/*
 * More dirty pages than there is memory for, and how they were written back.
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
 * struct dirtier - a writer that dirties a file
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
 * Dirty the file page by page, in runs of DIRTY_RUN pages: the runs are in
 * order, the pages of each run are in reverse: in LRU order no page follows its
 * neighbour.  For memcg_run(), as is the next one.
 */
#define DIRTY_RUN	64

/* The timeouts of such a test: of the watchdog, and of the harness. */
#define PRESSURE_SECONDS	110
#define PRESSURE_TIMEOUT	120

int dirty_file(void *dirtier);

/**
 * run_while_served() - make a call, and wait as long as the server is busy
 * @m: the mount
 * @op: the kind of call
 * @arg: its arguments
 *
 * Return: as mnt_run(), which waits for WAIT_SECONDS; here this limits the time
 * from each request of the server to the next.
 */
long run_while_served(struct mnt *m, const struct call_op *op,
		      struct call_arg arg);

/* Does the server have all data that dirty_file() wrote? */
int check_dirty_file(struct mnt *m, const char *name, size_t size);

#define FLUSHERS_MAX	16

/**
 * struct writers - which tasks have written pages, counted by tracepoints
 * @bdi: "bdi MAJOR:MINOR:", of the mount
 * @flusher: pages by the mount's flusher
 * @sync: pages by callers that had to wait for them, as in fsync(2), or that send
 *	  all of the file, as in munmap(2)
 * @others: pages by any other task, or on behalf of reclaim
 * @passes: how often the flusher has begun with a file of the mount
 * @woken: how often a flusher began because reclaim had woken it
 * @pageout_file: folios of files that pageout() has written, of any mount
 * @pageout_swap: folios of anonymous memory and shmem that it has written
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

/* Start tracing for struct writers.  Return: as trace_start(). */
const char *writers_trace(struct trace *t);

/* Fill it in and stop tracing. */
int writers_count(struct writers *w, struct trace *t, const struct mnt *m);

/**
 * struct shapes - what the WRITEs of the log look like
 * @nr: how many there were
 * @single: those of one page or less
 * @again: those of them whose page was also in the previous WRITE.  The flusher may
 *	   take the CPU between the fault that makes a page dirty and the store that
 *	   it is for; then the page is sent, the store faults again, and so on.
 *	   Nothing but that page was dirty, so these say nothing about how other
 *	   pages are written.
 * @back: those that begin before the one that came before them has ended, until
 *	  fsync begins, which writes the file concurrently with the flusher
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
 * struct hog - memory that is used up, so that other tasks have to reclaim
 * @fd: the file that uses it; -1: none
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
 * struct counters - counters of the kernel
 * @usec: the time, for debugging; no test looks at it
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

/* Fill in the changes since @before was read. */
void counters_since(struct counters *c, const struct counters *before);

#endif
