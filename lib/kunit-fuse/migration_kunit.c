// SPDX-License-Identifier: GPL-2.0-only
/*
 * Migration moves clean and dirty folios of a FUSE file as those of any other.
 * A folio under writeback it refuses in every mode, where writeback may block:
 * compaction, memory offlining and move_pages(2) go on to the next one. On a
 * broken kernel MIGRATE_SYNC waits for the server.
 *
 * Promise: migration
 */

#include <linux/migrate_mode.h>
#include <linux/pagemap.h>

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
			fuse_wb_run(wb, fuse_wb_do_migrate, folio, 0, param->mode));
	KUNIT_EXPECT_TRUE(test, folio_test_lru(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_locked(folio));
	fuse_wb_expect_folio(wb, folio, FUSE_WB_WRITEBACK);
	fuse_wb_answer(wb->server, req, 0);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_CLEAN);
}

/* The same file without the flag shows that it is the flag that counts. */
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
	call = fuse_wb_start(wb, fuse_wb_do_migrate, folio, 0, MIGRATE_SYNC);
	fuse_wb_await_blocked(call, folio_test_waiters(folio));

	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	expect_moved(wb, file, folio, FUSE_WB_CLEAN);
}

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
			fuse_wb_run(wb, fuse_wb_do_migrate, folio, 0, param->mode));
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
			fuse_wb_run(wb, fuse_wb_do_migrate, folio, 0, param->mode));
	expect_moved(wb, file, folio, FUSE_WB_CLEAN);
}

static struct kunit_case migration_cases[] = {
	KUNIT_CASE_PARAM(folio_under_writeback_is_refused, mode_gen_params),
	KUNIT_CASE(sync_mode_waits_for_writeback_that_ends),
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
