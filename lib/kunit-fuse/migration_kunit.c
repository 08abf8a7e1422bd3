// SPDX-License-Identifier: GPL-2.0-only
/*
 * Migration moves clean and dirty folios of a FUSE file like those of any other.
 * Where writeback may block, MIGRATE_SYNC, and no other mode, waits a bounded time
 * for a folio that is under writeback, or locked while it is read. If the server
 * replies in time, the folio is moved; otherwise it stays where it is. On a broken
 * kernel MIGRATE_SYNC waits forever, or not at all.
 *
 * Promise: migration
 */

#include <linux/gfp.h>
#include <linux/migrate_mode.h>
#include <linux/mmzone.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "fixture.h"

static const struct mode_case {
	const char *name;
	enum migrate_mode mode;
} mode_cases[] = {
	{ "async", MIGRATE_ASYNC },
	{ "sync_light", MIGRATE_SYNC_LIGHT },
	{ "sync", MIGRATE_SYNC },
};

KUNIT_ARRAY_PARAM_DESC(mode, mode_cases, name);

/* Expect that page 0 has moved away from @old, and is in this state. */
static void expect_moved(struct fuse_wb *wb, struct file *file,
			 struct folio *old, unsigned int state)
{
	struct folio *folio = fuse_wb_get_folio(wb, file, 0);

	KUNIT_EXPECT_PTR_NE(wb->test, folio, old);
	KUNIT_EXPECT_TRUE(wb->test, folio_test_lru(folio));
	fuse_wb_expect_folio(wb, folio, state);
	fuse_wb_expect_counters(wb, !!(state & FUSE_WB_DIRTY), 0);
}

static void folio_under_writeback_is_refused(struct kunit *test)
{
	const struct mode_case *param = test->param_value;
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct fuse_req *req;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	req = fuse_wb_hold_writeback(wb, file, folio);
	KUNIT_EXPECT_EQ(test, 1,
			fuse_wb_run(wb, fuse_wb_do_migrate, folio, MR_SYSCALL,
				    param->mode));
	KUNIT_EXPECT_TRUE(test, folio_test_lru(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_locked(folio));
	fuse_wb_expect_folio(wb, folio, FUSE_WB_WRITEBACK);
	fuse_wb_answer(wb->server, req, 0);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_CLEAN);
}

/* Positive control: the same file without AS_WRITEBACK_MAY_BLOCK. */
static void sync_mode_waits_for_writeback_that_ends(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct folio *folio;
	struct fuse_req *req;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	clear_bit(AS_WRITEBACK_MAY_BLOCK, &file->f_mapping->flags);
	fuse_wb_write_page(wb, file, 0);
	folio = fuse_wb_first_folio(wb, file);
	req = fuse_wb_hold_writeback(wb, file, folio);
	call = fuse_wb_start(wb, fuse_wb_do_migrate, folio, MR_SYSCALL,
			     MIGRATE_SYNC);
	fuse_wb_await_blocked(call, folio_test_waiters(folio));

	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	expect_moved(wb, file, folio, FUSE_WB_CLEAN);
}

/*
 * How a folio of "file" is held: under writeback, or locked; not uptodate while it
 * is read, uptodate while it is laundered.
 */
struct held_case {
	const char *name;
	u32 opcode;
	bool launder;
};

static const struct held_case held_cases[] = {
	{ "write", FUSE_WRITE },
	{ "read", FUSE_READ },
	{ "launder", FUSE_WRITE, true },
};

KUNIT_ARRAY_PARAM_DESC(held, held_cases, name);

/* Cases whose folio is still in the page cache after the reply. */
static const struct held_case kept_cases[] = {
	{ "write", FUSE_WRITE },
	{ "read", FUSE_READ },
};

KUNIT_ARRAY_PARAM_DESC(kept, kept_cases, name);

/* Hold a folio; return the request, and the folio without a reference. */
static struct fuse_req *hold_folio(struct fuse_wb *wb,
				   const struct held_case *held,
				   struct file **file, struct folio **folio)
{
	struct fuse_req *req;

	if (held->opcode == FUSE_READ) {
		wb->server->attr[FUSE_WB_FILE].size = PAGE_SIZE;
		*file = fuse_wb_open(wb, "file");
		fuse_wb_hold(wb->server, FUSE_READ);
		fuse_wb_start(wb, fuse_wb_do_readahead, *file, 0, 0);
		req = fuse_wb_take(wb->server, FUSE_READ);
		*folio = fuse_wb_first_folio(wb, *file);
	} else {
		*file = fuse_wb_open(wb, "file");
		fuse_wb_write_page(wb, *file, 0);
		*folio = fuse_wb_first_folio(wb, *file);
		if (!held->launder)
			return fuse_wb_hold_writeback(wb, *file, *folio);
		fuse_wb_hold(wb->server, FUSE_WRITE);
		fuse_wb_start(wb, fuse_wb_do_launder, *file, 0, 0);
		req = fuse_wb_take(wb->server, FUSE_WRITE);
	}
	KUNIT_ASSERT_TRUE(wb->test, folio_test_locked(*folio));

	return req;
}

/* migrate_pages() skips it and goes on to the next folio. */
static void held_folio_stays_where_it_is(struct kunit *test)
{
	const struct held_case *held = test->param_value;
	struct fuse_wb *wb = test->priv;
	enum migrate_mode mode;
	struct folio *folio;
	struct file *file;

	hold_folio(wb, held, &file, &folio);
	for (mode = MIGRATE_ASYNC; mode <= MIGRATE_SYNC; mode++) {
		KUNIT_EXPECT_EQ_MSG(test, 1,
				    fuse_wb_run(wb, fuse_wb_do_migrate, folio,
						MR_SYSCALL, mode),
				    "mode %d", mode);
		/* Only MIGRATE_SYNC has waited, and only until its timeout. */
		KUNIT_EXPECT_EQ_MSG(test, mode == MIGRATE_SYNC,
				    wb->server->sb->s_migrate_timeout != 0,
				    "mode %d", mode);
	}
	KUNIT_EXPECT_PTR_EQ(test, folio, fuse_wb_first_folio(wb, file));
	KUNIT_EXPECT_EQ(test, folio_test_locked(folio),
			held->opcode == FUSE_READ || held->launder);
}

/* The wait does not hold the folio lock: the server or a user may need it. */
static void folio_moves_when_the_server_answers(struct kunit *test)
{
	const struct held_case *held = test->param_value;
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct folio *folio;
	struct fuse_req *req;
	struct file *file;

	req = hold_folio(wb, held, &file, &folio);
	call = fuse_wb_start(wb, fuse_wb_do_migrate, folio, MR_SYSCALL,
			     MIGRATE_SYNC);
	fuse_wb_await_blocked(call, folio_test_waiters(folio));
	KUNIT_EXPECT_EQ(test, folio_test_locked(folio),
			held->opcode == FUSE_READ);

	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	expect_moved(wb, file, folio, FUSE_WB_CLEAN);
	KUNIT_EXPECT_EQ(test, wb->server->sb->s_migrate_timeout, 0);
}

/* It retries with a few folios of the whole system each time: waits would add up. */
static void compaction_waits_for_no_server(struct kunit *test)
{
	const struct held_case *held = test->param_value;
	struct fuse_wb *wb = test->priv;
	enum migrate_mode mode;
	struct folio *folio;
	struct file *file;

	hold_folio(wb, held, &file, &folio);
	for (mode = MIGRATE_ASYNC; mode <= MIGRATE_SYNC; mode++)
		KUNIT_EXPECT_EQ_MSG(test, 1,
				    fuse_wb_run(wb, fuse_wb_do_migrate, folio,
						MR_COMPACTION, mode),
				    "mode %d", mode);
	KUNIT_EXPECT_EQ(test, wb->server->sb->s_migrate_timeout, 0);
}

static void fatal_signal_ends_the_wait(struct kunit *test)
{
	const struct held_case *held = test->param_value;
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct folio *folio;
	struct file *file;

	hold_folio(wb, held, &file, &folio);
	call = fuse_wb_start(wb, fuse_wb_do_migrate, folio, MR_SYSCALL,
			     MIGRATE_SYNC);
	fuse_wb_await_blocked(call, folio_test_waiters(folio));
	send_sig(SIGKILL, call->task, 1);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 1);
	/* If this is set, the wait ended by its timeout instead. */
	KUNIT_EXPECT_EQ(test, wb->server->sb->s_migrate_timeout, 0);
}

/* Otherwise every call would wait for the same stuck server. */
static void stuck_server_is_not_waited_for_again_at_once(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	unsigned long start, *last = &wb->server->sb->s_migrate_timeout;
	struct fuse_wb_call *call;
	struct folio *folio;
	struct fuse_req *req;
	struct file *file;

	req = hold_folio(wb, &kept_cases[0], &file, &folio);
	KUNIT_ASSERT_EQ(test, 1, fuse_wb_run(wb, fuse_wb_do_migrate, folio,
					     MR_SYSCALL, MIGRATE_SYNC));
	KUNIT_ASSERT_NE(test, *last, 0);

	start = *last;
	KUNIT_EXPECT_EQ(test, 1, fuse_wb_run(wb, fuse_wb_do_migrate, folio,
					     MR_SYSCALL, MIGRATE_SYNC));
	/* Another wait would have updated it. */
	KUNIT_EXPECT_EQ(test, *last, start);

	/* After a while, migration waits for the server again. */
	*last -= 60 * HZ;
	call = fuse_wb_start(wb, fuse_wb_do_migrate, folio, MR_SYSCALL,
			     MIGRATE_SYNC);
	fuse_wb_await_blocked(call, folio_test_waiters(folio));
	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	expect_moved(wb, file, folio, FUSE_WB_CLEAN);
}

#ifdef CONFIG_CONTIG_ALLOC
/* alloc_contig_range() of the page of the folio in the data */
static long do_alloc_contig(struct fuse_wb_call *call)
{
	unsigned long pfn = folio_pfn(call->data);
	int ret;

	ret = alloc_contig_range(pfn, pfn + 1, MIGRATE_MOVABLE, GFP_KERNEL);
	if (!ret)
		free_contig_range(pfn, 1);

	return ret;
}

/*
 * hold_folio(), with the folio in a pageblock that has only movable pages: with a
 * single unmovable page, the block could not be isolated. Allocate a whole block
 * and free its pages one by one: the last ones stay on the per-CPU list, from which
 * the next movable page is allocated.
 */
static struct fuse_req *hold_folio_in_free_block(struct fuse_wb *wb,
						 const struct held_case *held,
						 struct file **file,
						 struct folio **folio)
{
	unsigned long pfn, next;
	struct fuse_req *req;
	struct page *block;

	block = alloc_pages(GFP_HIGHUSER_MOVABLE, pageblock_order);
	KUNIT_ASSERT_NOT_NULL(wb->test, block);
	split_page(block, pageblock_order);
	pfn = page_to_pfn(block);
	for (next = pfn; next < pfn + pageblock_nr_pages; next++)
		__free_page(pfn_to_page(next));
	req = hold_folio(wb, held, file, folio);
	KUNIT_ASSERT_EQ_MSG(wb->test, pageblock_start_pfn(folio_pfn(*folio)),
			    pfn, "the folio is not in the block that was freed");

	return req;
}

/* CMA and gigantic pages need this very page, and cannot use another one. */
static void contiguous_allocation_waits_for_healthy_server(struct kunit *test)
{
	const struct held_case *held = test->param_value;
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct folio *folio;
	struct fuse_req *req;
	struct file *file;

	req = hold_folio_in_free_block(wb, held, &file, &folio);
	call = fuse_wb_start(wb, do_alloc_contig, folio, 0, 0);
	fuse_wb_await_blocked(call, folio_test_waiters(folio));
	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	KUNIT_EXPECT_EQ(test, wb->server->sb->s_migrate_timeout, 0);
}

static void contiguous_allocation_gives_up_on_stuck_server(struct kunit *test)
{
	const struct held_case *held = test->param_value;
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	hold_folio_in_free_block(wb, held, &file, &folio);
	KUNIT_EXPECT_EQ(test, fuse_wb_run(wb, do_alloc_contig, folio, 0, 0),
			-EBUSY);
	KUNIT_EXPECT_NE(test, wb->server->sb->s_migrate_timeout, 0);
}
#else
static void contiguous_allocation_waits_for_healthy_server(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_CONTIG_ALLOC");
}

static void contiguous_allocation_gives_up_on_stuck_server(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_CONTIG_ALLOC");
}
#endif

static void dirty_folio_moves_and_stays_dirty(struct kunit *test)
{
	const struct mode_case *param = test->param_value;
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	fuse_wb_write_page(wb, file, 0);
	folio = fuse_wb_first_folio(wb, file);
	KUNIT_EXPECT_EQ(test, 0,
			fuse_wb_run(wb, fuse_wb_do_migrate, folio, MR_SYSCALL,
				    param->mode));
	expect_moved(wb, file, folio, FUSE_WB_DIRTY);
	KUNIT_EXPECT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_WRITE), 0);
}

static void clean_folio_moves(struct kunit *test)
{
	const struct mode_case *param = test->param_value;
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	fuse_wb_write_page(wb, file, 0);
	KUNIT_ASSERT_EQ(test, fuse_wb_fsync(wb, file), 0);
	folio = fuse_wb_first_folio(wb, file);
	KUNIT_EXPECT_EQ(test, 0,
			fuse_wb_run(wb, fuse_wb_do_migrate, folio, MR_SYSCALL,
				    param->mode));
	expect_moved(wb, file, folio, FUSE_WB_CLEAN);
}

static struct kunit_case migration_cases[] = {
	KUNIT_CASE_PARAM(folio_under_writeback_is_refused, mode_gen_params),
	KUNIT_CASE(sync_mode_waits_for_writeback_that_ends),
	KUNIT_CASE_PARAM(held_folio_stays_where_it_is, held_gen_params),
	KUNIT_CASE_PARAM(folio_moves_when_the_server_answers, kept_gen_params),
	KUNIT_CASE_PARAM(compaction_waits_for_no_server, held_gen_params),
	KUNIT_CASE_PARAM(fatal_signal_ends_the_wait, kept_gen_params),
	KUNIT_CASE(stuck_server_is_not_waited_for_again_at_once),
	KUNIT_CASE_PARAM(contiguous_allocation_waits_for_healthy_server,
			 kept_gen_params),
	KUNIT_CASE_PARAM(contiguous_allocation_gives_up_on_stuck_server,
			 held_gen_params),
	KUNIT_CASE_PARAM(dirty_folio_moves_and_stays_dirty, mode_gen_params),
	KUNIT_CASE_PARAM(clean_folio_moves, mode_gen_params),
	{}
};

static struct kunit_suite migration_suite = {
	.name = "fuse_wb_migration",
	.init = fuse_wb_init_writeback_cache,
	.test_cases = migration_cases,
};

kunit_test_suite(migration_suite);
