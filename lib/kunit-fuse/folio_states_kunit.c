// SPDX-License-Identifier: GPL-2.0-only
/*
 * A folio of a FUSE file is clean, dirty, under writeback, or dirty and under
 * writeback. Writeback ends when the server has replied, and not before: until
 * then no second WRITE covers the folio, and a task that changes it waits. On a
 * broken kernel writeback ends early, or never, or twice; a counter, a tag or a
 * reference is leaked; or two WRITEs of one page race to the server.
 *
 * Promise: folio-states
 */

#include <linux/pagemap.h>

#include "fixture.h"

static void write_makes_folio_dirty(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_DIRTY);
	fuse_wb_expect_counters(wb, 1, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_WRITE), 0);
}

/* Promise: no-temp-pages */
static void writeback_ends_with_the_answer(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	fuse_wb_send_held(wb, file);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_WRITEBACK);
	fuse_wb_expect_counters(wb, 0, 1);

	req = fuse_wb_take(wb->server, FUSE_WRITE);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_WRITEBACK);
	fuse_wb_expect_counters(wb, 0, 1);

	fuse_wb_answer(wb->server, req, 0);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_CLEAN);
	fuse_wb_expect_counters(wb, 0, 0);
}

static void writeback_ends_for_all_folios_of_a_request(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio[3];
	struct fuse_req *req;
	struct file *file;
	unsigned int i;

	file = fuse_wb_open(wb, "file");
	fuse_wb_write(wb, file, 0, ARRAY_SIZE(folio) * PAGE_SIZE);
	for (i = 0; i < ARRAY_SIZE(folio); i++)
		folio[i] = fuse_wb_get_folio(wb, file, i);
	fuse_wb_expect_counters(wb, ARRAY_SIZE(folio), 0);

	req = fuse_wb_hold_writeback(wb, file, folio[0]);
	fuse_wb_expect_counters(wb, 0, ARRAY_SIZE(folio));
	for (i = 0; i < ARRAY_SIZE(folio); i++)
		fuse_wb_expect_folio(wb, folio[i], FUSE_WB_WRITEBACK);

	fuse_wb_answer(wb->server, req, 0);
	fuse_wb_expect_counters(wb, 0, 0);
	for (i = 0; i < ARRAY_SIZE(folio); i++)
		fuse_wb_expect_folio(wb, folio[i], FUSE_WB_CLEAN);
}

static void folio_under_writeback_can_be_read(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	fuse_wb_hold_writeback(wb, file, folio);
	KUNIT_EXPECT_EQ(test, fuse_wb_run(wb, fuse_wb_do_read_byte, file, 0, 0),
			FUSE_WB_BYTE);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_WRITEBACK);
}

/* FUSE ends writeback in batches; folio_end_writeback() must count the same. */
static void writeback_of_one_folio_is_counted(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	folio_lock(folio);
	KUNIT_ASSERT_TRUE(test, folio_clear_dirty_for_io(folio));
	folio_start_writeback(folio);
	folio_unlock(folio);
	fuse_wb_expect_counters(wb, 0, 1);
	folio_end_writeback(folio);
	fuse_wb_expect_counters(wb, 0, 0);
}

static void write_waits_for_folio_under_writeback(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	req = fuse_wb_hold_writeback(wb, file, folio);
	call = fuse_wb_start(wb, fuse_wb_do_write, file, 0, PAGE_SIZE);
	fuse_wb_await_blocked(call, folio_test_waiters(folio));
	fuse_wb_expect_counters(wb, 0, 1);
	/* The waiter must not hold the lock, which migration and others take. */
	KUNIT_EXPECT_FALSE(test, folio_test_locked(folio));

	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), PAGE_SIZE);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_DIRTY);
	fuse_wb_expect_counters(wb, 1, 0);
}

static void store_makes_folio_dirty(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	wb->server->attr[FUSE_WB_FILE].size = PAGE_SIZE;
	file = fuse_wb_open(wb, "file");
	fuse_wb_map(wb, file, PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, fuse_wb_run(wb, fuse_wb_do_store, NULL, 0, 1), 0);
	folio = fuse_wb_get_folio(wb, file, 0);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_DIRTY);
	fuse_wb_expect_counters(wb, 1, 0);
}

static void store_waits_for_folio_under_writeback(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	fuse_wb_map(wb, file, PAGE_SIZE);
	/* Store once without writeback, so that the folio is mapped. */
	KUNIT_ASSERT_EQ(test, fuse_wb_run(wb, fuse_wb_do_store, NULL, 0, 1), 0);
	req = fuse_wb_hold_writeback(wb, file, folio);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_WRITEBACK);

	call = fuse_wb_start(wb, fuse_wb_do_store, NULL, 1, 1);
	fuse_wb_await_blocked(call, folio_test_waiters(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_locked(folio));
	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_DIRTY);
	fuse_wb_expect_counters(wb, 1, 0);
}

/*
 * A task that has pinned a folio can dirty it at any time, without waiting for
 * writeback. The folio must be sent again, after the reply to the WRITE in flight.
 *
 * Promise: policy-12, 8b284dc47291
 */
static void folio_dirty_under_writeback_is_sent_after_it(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	req = fuse_wb_hold_writeback(wb, file, folio);
	folio_mark_dirty(folio);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_DIRTY | FUSE_WB_WRITEBACK);
	fuse_wb_expect_counters(wb, 1, 1);

	/* WB_SYNC_NONE, as by the flusher, does not wait, and skips the folio. */
	KUNIT_ASSERT_EQ(test, filemap_flush(file->f_mapping), 0);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_DIRTY | FUSE_WB_WRITEBACK);

	call = fuse_wb_start(wb, fuse_wb_do_fsync, file, 0, 0);
	fuse_wb_await_blocked(call, folio_test_waiters(folio));
	KUNIT_EXPECT_EQ(test, fuse_wb_live_writes(wb->server, folio), 1);

	fuse_wb_answer(wb->server, req, 0);
	req = fuse_wb_take(wb->server, FUSE_WRITE);
	KUNIT_EXPECT_PTR_EQ(test, fuse_wb_folio(req, 0), folio);
	fuse_wb_expect_counters(wb, 0, 1);
	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_CLEAN);
	fuse_wb_expect_counters(wb, 0, 0);

	KUNIT_EXPECT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_WRITE), 2);
	KUNIT_EXPECT_GT(test,
			fuse_wb_index(wb->server, FUSE_WB_ARRIVED, FUSE_WRITE, 1),
			fuse_wb_index(wb->server, FUSE_WB_ANSWERED, FUSE_WRITE, 0));
}

static void truncate_drops_dirty_folio(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	fuse_wb_hold(wb->server, FUSE_WRITE);
	KUNIT_EXPECT_EQ(test, fuse_wb_run(wb, fuse_wb_do_truncate, file, 0, 0), 0);
	KUNIT_EXPECT_NULL(test, folio->mapping);
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(folio));
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 1);
	fuse_wb_expect_counters(wb, 0, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_WRITE), 0);
}

static void truncate_waits_for_folio_under_writeback(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct fuse_inode *fi;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	fi = get_fuse_inode(file_inode(file));
	req = fuse_wb_hold_writeback(wb, file, folio);
	call = fuse_wb_start(wb, fuse_wb_do_truncate, file, 0, 0);
	fuse_wb_await_blocked(call, fuse_wb_has_waiter(&fi->page_waitq));
	fuse_wb_expect_folio(wb, folio, FUSE_WB_WRITEBACK);
	KUNIT_EXPECT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_SETATTR), 0);

	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	KUNIT_EXPECT_NULL(test, folio->mapping);
	KUNIT_EXPECT_FALSE(test, folio_test_writeback(folio));
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 1);
	fuse_wb_expect_counters(wb, 0, 0);
}

static void launder_waits_for_the_answer(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	fuse_wb_hold(wb->server, FUSE_WRITE);
	call = fuse_wb_start(wb, fuse_wb_do_launder, file, 0, 0);
	req = fuse_wb_take(wb->server, FUSE_WRITE);
	KUNIT_EXPECT_PTR_EQ(test, fuse_wb_folio(req, 0), folio);
	fuse_wb_await_blocked(call, folio_test_waiters(folio));
	KUNIT_EXPECT_TRUE(test, folio_test_writeback(folio));
	KUNIT_EXPECT_EQ(test, fuse_wb_live_writes(wb->server, folio), 1);
	fuse_wb_expect_counters(wb, 0, 1);

	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	KUNIT_EXPECT_NULL(test, folio->mapping);
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 1);
	fuse_wb_expect_counters(wb, 0, 0);
}

static struct kunit_case folio_states_cases[] = {
	KUNIT_CASE(write_makes_folio_dirty),
	KUNIT_CASE(writeback_ends_with_the_answer),
	KUNIT_CASE(writeback_ends_for_all_folios_of_a_request),
	KUNIT_CASE(folio_under_writeback_can_be_read),
	KUNIT_CASE(writeback_of_one_folio_is_counted),
	KUNIT_CASE(write_waits_for_folio_under_writeback),
	KUNIT_CASE(store_makes_folio_dirty),
	KUNIT_CASE(store_waits_for_folio_under_writeback),
	KUNIT_CASE(folio_dirty_under_writeback_is_sent_after_it),
	KUNIT_CASE(truncate_drops_dirty_folio),
	KUNIT_CASE(truncate_waits_for_folio_under_writeback),
	KUNIT_CASE(launder_waits_for_the_answer),
	{}
};

static struct kunit_suite folio_states_suite = {
	.name = "fuse_wb_folio_states",
	.init = fuse_wb_init_writeback_cache,
	.test_cases = folio_states_cases,
};

kunit_test_suite(folio_states_suite);
