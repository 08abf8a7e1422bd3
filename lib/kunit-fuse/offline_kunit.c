// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory offlining retries without limit as long as it will succeed sooner or
 * later, and gives up if it may not: on a folio whose writeback may block, while
 * the folio is under writeback or being read. On a broken kernel it loops on a
 * stuck FUSE server, or gives up on a page that was only pinned for a moment.
 *
 * Promise: offlining
 */

#include <linux/fs.h>
#include <linux/pagemap.h>

#include "../../mm/internal.h"
#include "fixture.h"

#ifdef CONFIG_MEMORY_HOTREMOVE
static void blocked_rounds_are_limited(struct kunit *test)
{
	unsigned int rounds = 0, i;

	for (i = 1; i < OFFLINE_BLOCKED_ROUNDS; i++)
		KUNIT_ASSERT_FALSE_MSG(test, offline_gives_up(true, 0, &rounds),
				       "in round %u", i);
	KUNIT_EXPECT_TRUE(test, offline_gives_up(true, 0, &rounds));
	KUNIT_EXPECT_EQ(test, rounds, OFFLINE_BLOCKED_ROUNDS);
}

static void other_rounds_are_not_limited(struct kunit *test)
{
	unsigned int rounds = 0, i;

	for (i = 0; i < 100 * OFFLINE_BLOCKED_ROUNDS; i++)
		KUNIT_ASSERT_FALSE_MSG(test, offline_gives_up(false, 0, &rounds),
				       "in round %u", i);
	KUNIT_EXPECT_EQ(test, rounds, 0);
}

static void other_rounds_do_not_start_the_count_again(struct kunit *test)
{
	unsigned int rounds = 0, i;

	for (i = 1; i < OFFLINE_BLOCKED_ROUNDS; i++) {
		KUNIT_ASSERT_FALSE(test, offline_gives_up(true, 0, &rounds));
		KUNIT_ASSERT_FALSE(test, offline_gives_up(false, 0, &rounds));
	}
	KUNIT_EXPECT_TRUE(test, offline_gives_up(true, 0, &rounds));
}

/* A slow server finishes a folio now and then. */
static void progress_starts_the_count_again(struct kunit *test)
{
	unsigned int rounds = 0, i;

	for (i = 0; i < 10 * OFFLINE_BLOCKED_ROUNDS; i++) {
		KUNIT_ASSERT_FALSE(test, offline_gives_up(true, !(i % 5), &rounds));
		KUNIT_ASSERT_LT(test, rounds, 5);
	}
}

static void folio_under_writeback_of_fuse_is_blocked(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	fuse_wb_hold_writeback(wb, file, folio);
	KUNIT_EXPECT_TRUE(test, folio_is_blocked(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_locked(folio));
}

static void folio_that_fuse_reads_is_blocked(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct folio *folio;
	struct fuse_req *req;
	struct file *file;

	wb->server->attr[FUSE_WB_FILE].size = PAGE_SIZE;
	file = fuse_wb_open(wb, "file");
	fuse_wb_hold(wb->server, FUSE_READ);
	call = fuse_wb_start(wb, fuse_wb_do_readahead, file, 0, 0);
	req = fuse_wb_take(wb->server, FUSE_READ);
	folio = fuse_wb_get_folio(wb, file, 0);
	KUNIT_EXPECT_TRUE(test, folio_is_blocked(folio));
	fuse_wb_answer(wb->server, req, 0);
	/* Without FUSE_ASYNC_READ, the reader unlocks the folio */
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	KUNIT_EXPECT_FALSE(test, folio_is_blocked(folio));
}

/* Dirty or clean, it can be migrated unless it is pinned, like any other folio. */
static void other_folio_of_fuse_is_not_blocked(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	KUNIT_EXPECT_FALSE(test, folio_is_blocked(folio));
	KUNIT_ASSERT_EQ(test, fuse_wb_fsync(wb, file), 0);
	KUNIT_EXPECT_FALSE(test, folio_is_blocked(folio));
}

static void folio_of_other_file_is_not_blocked(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	clear_bit(AS_WRITEBACK_MAY_BLOCK, &file->f_mapping->flags);
	fuse_wb_hold_writeback(wb, file, folio);
	KUNIT_EXPECT_FALSE(test, folio_is_blocked(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_locked(folio));
}

/* An uptodate folio is locked only for a short time: the next round retries it. */
static void uptodate_folio_that_is_locked_is_not_blocked(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	folio_lock(folio);
	KUNIT_EXPECT_FALSE(test, folio_is_blocked(folio));
	KUNIT_EXPECT_TRUE(test, folio_test_locked(folio));
	folio_unlock(folio);
}

/* A folio that was truncated while it was isolated. */
static void folio_without_file_is_not_blocked(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	KUNIT_ASSERT_EQ(test, fuse_wb_run(wb, fuse_wb_do_truncate, file, 0, 0), 0);
	folio_lock(folio);
	folio_clear_uptodate(folio);
	KUNIT_EXPECT_FALSE(test, folio_is_blocked(folio));
	folio_unlock(folio);
}

static struct kunit_case offline_cases[] = {
	KUNIT_CASE(blocked_rounds_are_limited),
	KUNIT_CASE(other_rounds_are_not_limited),
	KUNIT_CASE(other_rounds_do_not_start_the_count_again),
	KUNIT_CASE(progress_starts_the_count_again),
	KUNIT_CASE(folio_under_writeback_of_fuse_is_blocked),
	KUNIT_CASE(folio_that_fuse_reads_is_blocked),
	KUNIT_CASE(other_folio_of_fuse_is_not_blocked),
	KUNIT_CASE(folio_of_other_file_is_not_blocked),
	KUNIT_CASE(uptodate_folio_that_is_locked_is_not_blocked),
	KUNIT_CASE(folio_without_file_is_not_blocked),
	{}
};
#else
static void offlining_gives_up_where_writeback_may_block(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_MEMORY_HOTREMOVE");
}

static struct kunit_case offline_cases[] = {
	KUNIT_CASE(offlining_gives_up_where_writeback_may_block),
	{}
};
#endif

static struct kunit_suite offline_suite = {
	.name = "fuse_wb_offline",
	.init = fuse_wb_init_writeback_cache,
	.test_cases = offline_cases,
};

kunit_test_suite(offline_suite);
