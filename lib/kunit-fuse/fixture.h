/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shared by the suites: one mount, its open files, threads for calls that block,
 * and checks of folios and counters.
 */

#ifndef _FUSE_WB_FIXTURE_H
#define _FUSE_WB_FIXTURE_H

#include <linux/vmstat.h>

#include "server.h"

#define FUSE_WB_FILES	4

/* The byte value that tests write. */
#define FUSE_WB_BYTE	'w'

/**
 * struct fuse_wb_counters - how much is dirty and under writeback
 *
 * @wb_writeback: WB_WRITEBACK of the mount's bdi, in pages
 * @nr_writeback: NR_WRITEBACK of all nodes, in pages
 * @nr_writeback_may_block: NR_WRITEBACK_MAY_BLOCK of all nodes, in pages
 * @nr_writeback_temp: NR_WRITEBACK_TEMP of all nodes, in pages
 * @nr_dirty: NR_FILE_DIRTY of all nodes, in pages
 */
struct fuse_wb_counters {
	long wb_writeback;
	long nr_writeback;
	long nr_writeback_may_block;
	long nr_writeback_temp;
	long nr_dirty;
};

/**
 * struct fuse_wb - the fixture, in test->priv
 *
 * @test: the test
 * @server: the server
 * @before: counters at the start of the test
 * @files: open files, NULL for free entries
 * @calls: calls that were started
 * @mm: address space of the test, if it mapped a file
 * @addr: where it mapped the file
 * @len: bytes that it mapped
 */
struct fuse_wb {
	struct kunit *test;
	struct fuse_wb_server *server;
	struct fuse_wb_counters before;
	struct file *files[FUSE_WB_FILES];
	struct list_head calls;
	struct mm_struct *mm;
	unsigned long addr;
	size_t len;
};

/**
 * struct fuse_wb_call - a call in its own thread, as it may block
 *
 * @wb: the fixture
 * @entry: in the list of the fixture's calls
 * @fn: what the thread runs, without assertions
 * @data: argument of @fn
 * @pos: argument of @fn
 * @len: argument of @fn
 * @ret: what @fn returned, valid once @finished is completed
 * @finished: completed when @fn has returned
 * @task: the thread
 */
struct fuse_wb_call {
	struct fuse_wb *wb;
	struct list_head entry;
	long (*fn)(struct fuse_wb_call *call);
	void *data;
	loff_t pos;
	loff_t len;
	long ret;
	struct completion finished;
	struct task_struct *task;
};

/**
 * struct fuse_wb_reclaim - arguments and results of reclaim
 *
 * @kswapd: reclaim as kswapd
 * @memcg: the cgroup that reached its limit, NULL for global reclaim
 * @gfp_mask: of the allocation
 * @folio: the folio
 * @stat: filled in by reclaim
 */
struct fuse_wb_reclaim {
	bool kswapd;
	struct mem_cgroup *memcg;
	gfp_t gfp_mask;
	struct folio *folio;
	struct reclaim_stat stat;
};

/* The state of a folio; a clean one has no bit set. */
#define FUSE_WB_CLEAN		0
#define FUSE_WB_DIRTY		BIT(0)
#define FUSE_WB_WRITEBACK	BIT(1)

/* fixture.c */
struct fuse_wb *fuse_wb_init(struct kunit *test,
			     const struct fuse_wb_options *options);
int fuse_wb_init_writeback_cache(struct kunit *test);
struct file *fuse_wb_open_flags(struct fuse_wb *wb, const char *name, int flags);

static inline struct file *fuse_wb_open(struct fuse_wb *wb, const char *name)
{
	return fuse_wb_open_flags(wb, name, 0);
}

int fuse_wb_close(struct fuse_wb *wb, struct file *file);
void fuse_wb_write(struct fuse_wb *wb, struct file *file, loff_t pos,
		   size_t len);
void fuse_wb_write_page(struct fuse_wb *wb, struct file *file, pgoff_t index);
void fuse_wb_flush(struct fuse_wb *wb, struct file *file);
void fuse_wb_send_held(struct fuse_wb *wb, struct file *file);
int fuse_wb_fsync(struct fuse_wb *wb, struct file *file);
void fuse_wb_map(struct fuse_wb *wb, struct file *file, size_t len);

/* calls.c */
struct fuse_wb_call *fuse_wb_start(struct fuse_wb *wb,
				   long (*fn)(struct fuse_wb_call *call),
				   void *data, loff_t pos, loff_t len);
bool fuse_wb_done(const struct fuse_wb_call *call);
long fuse_wb_join(struct fuse_wb_call *call);
long fuse_wb_run(struct fuse_wb *wb, long (*fn)(struct fuse_wb_call *call),
		 void *data, loff_t pos, loff_t len);
bool fuse_wb_reap(struct fuse_wb *wb, long (*last)(struct fuse_wb_call *call));
long fuse_wb_do_open(struct fuse_wb_call *call);
long fuse_wb_do_write(struct fuse_wb_call *call);
long fuse_wb_do_read_byte(struct fuse_wb_call *call);
long fuse_wb_do_readahead(struct fuse_wb_call *call);
long fuse_wb_do_read_user(struct fuse_wb_call *call);
long fuse_wb_do_store(struct fuse_wb_call *call);
long fuse_wb_do_flush(struct fuse_wb_call *call);
long fuse_wb_do_fsync(struct fuse_wb_call *call);
long fuse_wb_do_truncate(struct fuse_wb_call *call);
long fuse_wb_do_punch(struct fuse_wb_call *call);
long fuse_wb_do_set_nowrite(struct fuse_wb_call *call);
long fuse_wb_do_launder(struct fuse_wb_call *call);

/* folios.c */
struct folio *fuse_wb_get_folio(struct fuse_wb *wb, struct file *file,
				pgoff_t index);
struct folio *fuse_wb_dirty_folio(struct fuse_wb *wb, struct file **file);
struct fuse_req *fuse_wb_hold_writeback(struct fuse_wb *wb, struct file *file,
					struct folio *folio);
void fuse_wb_expect_folio(struct fuse_wb *wb, struct folio *folio,
			  unsigned int state);
void fuse_wb_expect_counters(struct fuse_wb *wb, long dirty, long writeback);
void fuse_wb_count_pages(struct fuse_wb *wb, struct fuse_wb_counters *now);
long fuse_wb_node_pages(enum node_stat_item item);

/* lru.c */
struct folio *fuse_wb_first_folio(struct fuse_wb *wb, struct file *file);
long fuse_wb_do_reclaim(struct fuse_wb_call *call);
long fuse_wb_do_pageout(struct fuse_wb_call *call);
long fuse_wb_do_migrate(struct fuse_wb_call *call);

static inline bool fuse_wb_has_waiter(struct wait_queue_head *waitq)
{
	/* No barrier needed: a sleeper stays queued until it is woken. */
	return waitqueue_active(waitq);
}

/*
 * Wait until @evidence shows that @call is blocked: a waiter of a folio, a request,
 * an entry of a wait queue.
 */
#define fuse_wb_await_blocked(call, evidence)				\
do {									\
	struct fuse_wb_call *__call = (call);				\
									\
	fuse_wb_await(__call->wb->server,				\
		      (evidence) || fuse_wb_done(__call));		\
	KUNIT_ASSERT_FALSE_MSG(__call->wb->test, fuse_wb_done(__call),	\
			       "did not wait, returned %ld", __call->ret); \
} while (0)

#endif
