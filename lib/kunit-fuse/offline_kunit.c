// SPDX-License-Identifier: GPL-2.0-only
/*
 * Offlining of memory retries without end what will succeed sooner or later,
 * and gives up on what may not: a folio whose writeback may block. On a broken
 * kernel it spins on a stuck FUSE server, or gives up on a page that was only
 * pinned for a moment.
 *
 * Promise: offlining
 */

#include <linux/pagemap.h>

#include "../../mm/internal.h"
#include "fixture.h"

#ifdef CONFIG_MEMORY_HOTREMOVE
static void blocked_rounds_are_limited(struct kunit *test)
{
	unsigned int rounds = 0, i;

	for (i = 1; i < OFFLINE_BLOCKED_ROUNDS; i++)
		KUNIT_ASSERT_FALSE_MSG(test, offline_gives_up(true, &rounds),
				       "in round %u", i);
	KUNIT_EXPECT_TRUE(test, offline_gives_up(true, &rounds));
	KUNIT_EXPECT_EQ(test, rounds, OFFLINE_BLOCKED_ROUNDS);
}

static void other_rounds_are_not_limited(struct kunit *test)
{
	unsigned int rounds = 0, i;

	for (i = 0; i < 100 * OFFLINE_BLOCKED_ROUNDS; i++)
		KUNIT_ASSERT_FALSE_MSG(test, offline_gives_up(false, &rounds),
				       "in round %u", i);
	KUNIT_EXPECT_EQ(test, rounds, 0);
}

static void other_rounds_do_not_start_the_count_again(struct kunit *test)
{
	unsigned int rounds = 0, i;

	for (i = 1; i < OFFLINE_BLOCKED_ROUNDS; i++) {
		KUNIT_ASSERT_FALSE(test, offline_gives_up(true, &rounds));
		KUNIT_ASSERT_FALSE(test, offline_gives_up(false, &rounds));
	}
	KUNIT_EXPECT_TRUE(test, offline_gives_up(true, &rounds));
}

/* Also a clean folio: the server may have spliced it into a pipe. */
static void folio_of_fuse_file_may_block(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	KUNIT_EXPECT_TRUE(test, folio_writeback_may_block(folio));
	fuse_wb_hold_writeback(wb, file, folio);
	KUNIT_EXPECT_TRUE(test, folio_writeback_may_block(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_locked(folio));
}

static void folio_of_other_file_does_not_block(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	clear_bit(AS_WRITEBACK_MAY_BLOCK, &file->f_mapping->flags);
	fuse_wb_hold_writeback(wb, file, folio);
	KUNIT_EXPECT_FALSE(test, folio_writeback_may_block(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_locked(folio));
}

/* Somebody is at work on it, so the next round will tell. */
static void locked_folio_does_not_count(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	folio_lock(folio);
	KUNIT_EXPECT_FALSE(test, folio_writeback_may_block(folio));
	KUNIT_EXPECT_TRUE(test, folio_test_locked(folio));
	folio_unlock(folio);
}

/* Truncated while migration had it. */
static void folio_without_file_does_not_block(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	KUNIT_ASSERT_EQ(test, fuse_wb_run(wb, fuse_wb_do_truncate, file, 0, 0), 0);
	KUNIT_EXPECT_FALSE(test, folio_writeback_may_block(folio));
}

static struct kunit_case offline_cases[] = {
	KUNIT_CASE(blocked_rounds_are_limited),
	KUNIT_CASE(other_rounds_are_not_limited),
	KUNIT_CASE(other_rounds_do_not_start_the_count_again),
	KUNIT_CASE(folio_of_fuse_file_may_block),
	KUNIT_CASE(folio_of_other_file_does_not_block),
	KUNIT_CASE(locked_folio_does_not_count),
	KUNIT_CASE(folio_without_file_does_not_block),
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
