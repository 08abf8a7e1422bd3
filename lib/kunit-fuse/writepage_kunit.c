// SPDX-License-Identifier: GPL-2.0-only
/*
 * The flushers and fsync write back dirty folios of a file, many per call,
 * through ->writepages. Reclaim and migration skip a folio if its writeback may
 * block or there is no ->writepage. On a broken kernel they call ->writepage, for
 * single folios in LRU order, and wait for whatever the file system waits for.
 * Some other file systems need that.
 *
 * FUSE has no ->writepage, so the tests replace a_ops with one that counts calls.
 */

#include <kunit/static_stub.h>
#include <linux/migrate_mode.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/writeback.h>

#include "../../mm/internal.h"
#include "../../mm/swap.h"
#include "fixture.h"

/* Calls of ->writepage of the replaced a_ops. */
static atomic_t writepage_calls;

static int count_writepage(struct page *page, struct writeback_control *wbc)
{
	atomic_inc(&writepage_calls);
	folio_redirty_for_writepage(wbc, page_folio(page));
	folio_unlock(page_folio(page));

	return 0;
}

static const struct address_space_operations with_writepage = {
	.writepage	= count_writepage,
	.dirty_folio	= filemap_dirty_folio,
	.migrate_folio	= filemap_migrate_folio,
};

static const struct address_space_operations without_migrate_folio = {
	.writepage	= count_writepage,
	.dirty_folio	= filemap_dirty_folio,
};

static const struct mapping_case {
	const char *name;
	const struct address_space_operations *aops;
} mapping_cases[] = {
	{ "as it is", NULL },
	{ "with ->writepage", &with_writepage },
	{ "with ->writepage, without ->migrate_folio", &without_migrate_folio },
};

KUNIT_ARRAY_PARAM_DESC(mapping, mapping_cases, name);

/* The a_ops of the FUSE file, restored before it is closed. */
static const struct address_space_operations *fuse_aops;

static void restore_aops(void *mapping)
{
	((struct address_space *)mapping)->a_ops = fuse_aops;
}

static void make_up(struct kunit *test, struct file *file,
		    const struct address_space_operations *aops)
{
	atomic_set(&writepage_calls, 0);
	if (!aops)
		return;
	fuse_aops = file->f_mapping->a_ops;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, restore_aops,
							   file->f_mapping));
	file->f_mapping->a_ops = aops;
}

/* A dirty folio of a file with the a_ops of @param, without a reference. */
static struct folio *dirty_folio(struct fuse_wb *wb, struct file **file,
				 const struct mapping_case *param)
{
	*file = fuse_wb_open(wb, "file");
	fuse_wb_write_page(wb, *file, 0);
	make_up(wb->test, *file, param->aops);

	return fuse_wb_first_folio(wb, *file);
}

/* Expect that @folio was neither written nor moved. */
static void expect_untouched(struct fuse_wb *wb, struct file *file,
			     struct folio *folio)
{
	struct kunit *test = wb->test;

	KUNIT_EXPECT_EQ(test, atomic_read(&writepage_calls), 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_WRITE), 0);
	KUNIT_ASSERT_PTR_EQ(test, fuse_wb_get_folio(wb, file, 0), folio);
	KUNIT_EXPECT_FALSE(test, folio_test_locked(folio));
	KUNIT_EXPECT_TRUE(test, folio_test_lru(folio));
	fuse_wb_expect_folio(wb, folio, FUSE_WB_DIRTY);
	fuse_wb_expect_counters(wb, 1, 0);
}

/* Promise: writepage-none */
static void file_of_fuse_is_written_by_writepages_alone(struct kunit *test)
{
	const struct address_space_operations *aops;
	struct fuse_wb *wb = test->priv;

	aops = fuse_wb_open(wb, "file")->f_mapping->a_ops;
	KUNIT_EXPECT_NULL(test, aops->writepage);
	KUNIT_EXPECT_NOT_NULL(test, aops->writepages);
	KUNIT_EXPECT_NOT_NULL(test, aops->migrate_folio);
}

/* Promise: writepage-reclaim */
static void pageout_leaves_folio_of_a_file_alone(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = dirty_folio(wb, &file, test->param_value);
	KUNIT_EXPECT_EQ(test, fuse_wb_run(wb, fuse_wb_do_pageout, folio, 0, 0),
			KUNIT_PAGEOUT_ACTIVATE);
	expect_untouched(wb, file, folio);
}

/*
 * Reclaim finds a dirty folio at the tail of the LRU. @again: it has seen the
 * folio before, and all flags of the node are set.
 */
static void check_reclaim(struct kunit *test, bool kswapd, bool again)
{
	struct fuse_wb_reclaim reclaim = {
		.kswapd = kswapd,
		.gfp_mask = GFP_KERNEL,
	};
	struct fuse_wb *wb = test->priv;
	unsigned long node_flags;
	struct file *file;
	pg_data_t *node;
	long immediate;

	reclaim.folio = dirty_folio(wb, &file, test->param_value);
	folio_clear_referenced(reclaim.folio);
	node = folio_pgdat(reclaim.folio);
	node_flags = node->flags;
	if (again) {
		folio_set_reclaim(reclaim.folio);
		node->flags = ~0UL;
	}
	immediate = fuse_wb_node_pages(NR_VMSCAN_IMMEDIATE);
	KUNIT_EXPECT_EQ(test, 0, fuse_wb_run(wb, fuse_wb_do_reclaim, &reclaim,
					     0, 0));
	node->flags = node_flags;
	/* By this count shrink_inactive_list() wakes the flushers. */
	KUNIT_EXPECT_EQ(test, reclaim.stat.nr_unqueued_dirty, 1);
	KUNIT_EXPECT_EQ(test, reclaim.stat.nr_pageout, 0);
	KUNIT_EXPECT_EQ(test, reclaim.stat.nr_activate[1], 1);
	KUNIT_EXPECT_EQ(test, 1, fuse_wb_node_pages(NR_VMSCAN_IMMEDIATE) -
				 immediate);
	expect_untouched(wb, file, reclaim.folio);
	KUNIT_EXPECT_TRUE(test, folio_test_active(reclaim.folio));
	/* PG_reclaim: it is rotated for reclaim when a flusher has written it. */
	KUNIT_EXPECT_TRUE(test, folio_test_reclaim(reclaim.folio));
}

/* Promise: writepage-reclaim, writepage-flushers */
static void reclaim_leaves_folio_of_a_file_to_the_flushers(struct kunit *test)
{
	check_reclaim(test, false, false);
}

/* Promise: writepage-reclaim, writepage-flushers */
static void kswapd_leaves_folio_of_a_file_to_the_flushers(struct kunit *test)
{
	check_reclaim(test, true, false);
}

/* Promise: writepage-reclaim, writepage-flushers */
static void kswapd_leaves_folio_that_it_meets_again(struct kunit *test)
{
	check_reclaim(test, true, true);
}

/* Promise: writepage-migrate */
static void migration_leaves_dirty_folio_alone(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	enum migrate_mode mode;
	struct folio *folio;
	struct file *file;

	/* Without ->migrate_folio, a dirty folio cannot be moved. */
	folio = dirty_folio(wb, &file, &mapping_cases[2]);
	for (mode = MIGRATE_ASYNC; mode <= MIGRATE_SYNC; mode++)
		KUNIT_EXPECT_EQ_MSG(test, 1,
				    fuse_wb_run(wb, fuse_wb_do_migrate, folio,
						MR_SYSCALL, mode),
				    "mode %d", mode);
	expect_untouched(wb, file, folio);
}

/* Promise: writepage-migrate */
static void migration_moves_it_when_it_is_clean(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	fuse_wb_write_page(wb, file, 0);
	KUNIT_ASSERT_EQ(test, fuse_wb_fsync(wb, file), 0);
	make_up(test, file, &without_migrate_folio);
	folio = fuse_wb_first_folio(wb, file);
	KUNIT_EXPECT_EQ(test, 0, fuse_wb_run(wb, fuse_wb_do_migrate, folio,
					     MR_SYSCALL, MIGRATE_SYNC));
	KUNIT_EXPECT_PTR_NE(test, fuse_wb_get_folio(wb, file, 0), folio);
	KUNIT_EXPECT_EQ(test, atomic_read(&writepage_calls), 0);
}

static void restore_flag(void *mapping)
{
	mapping_set_writeback_may_block(mapping);
}

/* A dirty folio whose writeback does not block, like those of NILFS2. */
static struct folio *dirty_folio_of_other(struct kunit *test,
					  const struct mapping_case *param)
{
	struct folio *folio;
	struct file *file;

	folio = dirty_folio(test->priv, &file, param);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, restore_flag,
							   file->f_mapping));
	clear_bit(AS_WRITEBACK_MAY_BLOCK, &file->f_mapping->flags);
	return folio;
}

/* Promise: writepage-reclaim */
static void pageout_writes_what_does_not_block(struct kunit *test)
{
	struct folio *folio = dirty_folio_of_other(test, &mapping_cases[1]);

	KUNIT_EXPECT_EQ(test, fuse_wb_run(test->priv, fuse_wb_do_pageout, folio,
					  0, 0), KUNIT_PAGEOUT_WRITTEN);
	KUNIT_EXPECT_EQ(test, atomic_read(&writepage_calls), 1);
}

/* Promise: writepage-migrate */
static void migration_writes_what_does_not_block(struct kunit *test)
{
	struct folio *folio = dirty_folio_of_other(test, &mapping_cases[2]);

	KUNIT_EXPECT_EQ(test, 1, fuse_wb_run(test->priv, fuse_wb_do_migrate,
					     folio, 0, MIGRATE_SYNC_LIGHT));
	KUNIT_EXPECT_EQ(test, atomic_read(&writepage_calls), 0);
	KUNIT_EXPECT_EQ(test, 1, fuse_wb_run(test->priv, fuse_wb_do_migrate,
					     folio, 0, MIGRATE_SYNC));
	KUNIT_EXPECT_LT(test, 0, atomic_read(&writepage_calls));
}

static void put_file(void *file)
{
	fput(file);
}

/*
 * Only reclaim writes shmem. Without swap space, ->writepage redirties the folio
 * and has it activated. That it was called shows in PG_reclaim, which pageout()
 * clears in this case.
 *
 * Promise: writepage-swap
 */
static void pageout_asks_shmem_to_write(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;
	long ret;

	if (!IS_ENABLED(CONFIG_SHMEM))
		kunit_skip(test, "needs CONFIG_SHMEM");
	file = shmem_kernel_file_setup("fuse_wb", PAGE_SIZE, VM_NORESERVE);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, put_file, file));
	folio = shmem_read_folio(file->f_mapping, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	lru_add_drain_all();
	folio_mark_dirty(folio);
	folio_set_reclaim(folio);
	folio_put(folio);

	ret = fuse_wb_run(wb, fuse_wb_do_pageout, folio, 0, 0);
	if (get_nr_swap_pages() > 0) {
		KUNIT_EXPECT_EQ(test, ret, KUNIT_PAGEOUT_WRITTEN);
		return;
	}
	KUNIT_EXPECT_EQ(test, ret, KUNIT_PAGEOUT_ACTIVATE);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_reclaim(folio));
}

/* The type that swapon(2) would use last. */
#define SWAP_TYPE	(MAX_SWAPFILES - 1)

#ifdef CONFIG_SWAP
static void end_swap_space(void *unused)
{
	exit_swap_address_space(SWAP_TYPE);
}

/* There is no swap space at boot: create a mapping for the swap cache. */
static void make_swap_space(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, init_swap_address_space(SWAP_TYPE, 1), 0);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, end_swap_space,
							   NULL));
}
#else
static void make_swap_space(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_SWAP");
}
#endif

/* Replaces swap_writepage(), as there is no disk to write to. */
static int count_swap_writepage(struct page *page,
				struct writeback_control *wbc)
{
	atomic_inc(&writepage_calls);
	unlock_page(page);

	return 0;
}

/*
 * Only reclaim writes folios of the swap cache.
 *
 * Promise: writepage-swap
 */
static void pageout_writes_swapcache(struct kunit *test)
{
	struct folio *folio;

	make_swap_space(test);
	folio = folio_alloc(GFP_KERNEL, 0);
	KUNIT_ASSERT_NOT_NULL(test, folio);
	__folio_set_swapbacked(folio);
	folio_lock(folio);
	/* The reference of the swap cache; the other is that of reclaim. */
	folio_get(folio);
	folio->swap = swp_entry(SWAP_TYPE, 0);
	folio_set_swapcache(folio);
	folio_set_dirty(folio);

	atomic_set(&writepage_calls, 0);
	kunit_activate_static_stub(test, swap_writepage, count_swap_writepage);
	KUNIT_EXPECT_EQ(test, kunit_pageout(folio), KUNIT_PAGEOUT_WRITTEN);
	kunit_deactivate_static_stub(test, swap_writepage);
	KUNIT_EXPECT_EQ(test, atomic_read(&writepage_calls), 1);
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(folio));
	if (folio_test_locked(folio))
		folio_unlock(folio);
	folio_clear_swapcache(folio);
	folio->swap.val = 0;
	folio_put(folio);
	folio_put(folio);
}

static struct kunit_case writepage_cases[] = {
	KUNIT_CASE(file_of_fuse_is_written_by_writepages_alone),
	KUNIT_CASE_PARAM(pageout_leaves_folio_of_a_file_alone, mapping_gen_params),
	KUNIT_CASE_PARAM(reclaim_leaves_folio_of_a_file_to_the_flushers,
			 mapping_gen_params),
	KUNIT_CASE_PARAM(kswapd_leaves_folio_of_a_file_to_the_flushers,
			 mapping_gen_params),
	KUNIT_CASE_PARAM(kswapd_leaves_folio_that_it_meets_again,
			 mapping_gen_params),
	KUNIT_CASE(migration_leaves_dirty_folio_alone),
	KUNIT_CASE(migration_moves_it_when_it_is_clean),
	KUNIT_CASE(pageout_writes_what_does_not_block),
	KUNIT_CASE(migration_writes_what_does_not_block),
	KUNIT_CASE(pageout_asks_shmem_to_write),
	KUNIT_CASE(pageout_writes_swapcache),
	{}
};

static struct kunit_suite writepage_suite = {
	.name = "fuse_wb_writepage",
	.init = fuse_wb_init_writeback_cache,
	.test_cases = writepage_cases,
};

kunit_test_suite(writepage_suite);
