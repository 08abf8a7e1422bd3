// SPDX-License-Identifier: GPL-2.0-only
/*
 * The state of a folio is recorded in many places: its flags, the tags of the
 * page cache, its reference count, and counters of the bdi and of the nodes.
 * Whatever a test does to a folio, they have to agree.
 */

#include <linux/backing-dev.h>
#include <linux/pagemap.h>
#include <linux/swap.h>

#include "fixture.h"

/**
 * fuse_wb_node_pages - read a counter of all nodes, exactly
 * @item: the counter
 *
 * Return: pages.
 */
long fuse_wb_node_pages(enum node_stat_item item)
{
	long pages = global_node_page_state(item);
#ifdef CONFIG_SMP
	struct pglist_data *pgdat;
	int cpu;

	/* Add the per-CPU differences that were not folded in yet. */
	for_each_online_pgdat(pgdat)
		for_each_online_cpu(cpu)
			pages += per_cpu_ptr(pgdat->per_cpu_nodestats,
					     cpu)->vm_node_stat_diff[item];
#endif
	return pages;
}

/**
 * fuse_wb_count_pages - read the counters, exactly
 * @wb: the fixture
 * @now: where to put them
 */
void fuse_wb_count_pages(struct fuse_wb *wb, struct fuse_wb_counters *now)
{
	struct bdi_writeback *bdi_wb = &wb->server->sb->s_bdi->wb;

	now->wb_writeback = wb_stat_sum(bdi_wb, WB_WRITEBACK);
	now->nr_writeback = fuse_wb_node_pages(NR_WRITEBACK);
	now->nr_writeback_may_block =
		fuse_wb_node_pages(NR_WRITEBACK_MAY_BLOCK);
	now->nr_writeback_temp = fuse_wb_node_pages(NR_WRITEBACK_TEMP);
	now->nr_dirty = fuse_wb_node_pages(NR_FILE_DIRTY);
}

/**
 * fuse_wb_expect_counters - expect these counters
 * @wb: the fixture
 * @dirty: pages that the test has made dirty and that still are dirty
 * @writeback: pages that are under writeback
 */
void fuse_wb_expect_counters(struct fuse_wb *wb, long dirty, long writeback)
{
	const struct fuse_wb_counters *before = &wb->before;
	struct kunit *test = wb->test;
	struct fuse_wb_counters now;

	fuse_wb_count_pages(wb, &now);
	KUNIT_EXPECT_EQ(test, now.wb_writeback, writeback);
	KUNIT_EXPECT_EQ(test, now.nr_writeback - before->nr_writeback,
			writeback);
	KUNIT_EXPECT_EQ(test, now.nr_writeback_may_block -
			before->nr_writeback_may_block, writeback);
	KUNIT_EXPECT_EQ(test, now.nr_writeback_temp, 0);
	KUNIT_EXPECT_EQ(test, now.nr_dirty - before->nr_dirty, dirty);
}

static void put_folio(void *folio)
{
	folio_put(folio);
}

/**
 * fuse_wb_get_folio - find a folio of a file
 * @wb: the fixture
 * @file: the file
 * @index: its index; the test is aborted if there is no folio
 *
 * Return: the folio, with a reference that the test drops at its end.
 */
struct folio *fuse_wb_get_folio(struct fuse_wb *wb, struct file *file,
				pgoff_t index)
{
	struct folio *folio = filemap_get_folio(file->f_mapping, index);

	KUNIT_ASSERT_FALSE_MSG(wb->test, IS_ERR(folio), "no folio %lu", index);
	KUNIT_ASSERT_EQ(wb->test, 0,
			kunit_add_action_or_reset(wb->test, put_folio, folio));
	/* The per-CPU folio batches hold references to the folios added last. */
	lru_add_drain_all();

	return folio;
}

/**
 * fuse_wb_dirty_folio - make the first page of "file" dirty
 * @wb: the fixture
 * @file: where to put the file, newly opened
 *
 * Return: its folio, as fuse_wb_get_folio() does.
 */
struct folio *fuse_wb_dirty_folio(struct fuse_wb *wb, struct file **file)
{
	*file = fuse_wb_open(wb, "file");
	fuse_wb_write_page(wb, *file, 0);

	return fuse_wb_get_folio(wb, *file, 0);
}

/**
 * fuse_wb_hold_writeback - put a dirty folio under writeback, and keep it there
 * @wb: the fixture
 * @file: its file, of which nothing else is dirty
 * @folio: the folio
 *
 * Return: the WRITE request, taken. WRITE requests stay held.
 */
struct fuse_req *fuse_wb_hold_writeback(struct fuse_wb *wb, struct file *file,
					struct folio *folio)
{
	struct fuse_req *req;

	fuse_wb_send_held(wb, file);
	req = fuse_wb_take(wb->server, FUSE_WRITE);
	KUNIT_ASSERT_PTR_EQ(wb->test, fuse_wb_folio(req, 0), folio);
	KUNIT_ASSERT_TRUE(wb->test, folio_test_writeback(folio));

	return req;
}

/**
 * fuse_wb_expect_folio - expect a folio in a state, in all places that record it
 * @wb: the fixture
 * @folio: from fuse_wb_get_folio()
 * @state: FUSE_WB_CLEAN, or FUSE_WB_DIRTY and FUSE_WB_WRITEBACK or one of them
 */
void fuse_wb_expect_folio(struct fuse_wb *wb, struct folio *folio,
			  unsigned int state)
{
	struct address_space *mapping = folio_mapping(folio);
	bool writeback = state & FUSE_WB_WRITEBACK;
	bool dirty = state & FUSE_WB_DIRTY;
	struct kunit *test = wb->test;

	lru_add_drain_all();
	KUNIT_ASSERT_NOT_NULL(test, mapping);
	KUNIT_EXPECT_EQ(test, folio_test_dirty(folio), dirty);
	KUNIT_EXPECT_EQ(test, folio_test_writeback(folio), writeback);
	KUNIT_EXPECT_EQ(test, dirty, xa_get_mark(&mapping->i_pages, folio->index,
						 PAGECACHE_TAG_DIRTY));
	KUNIT_EXPECT_EQ(test, writeback,
			xa_get_mark(&mapping->i_pages, folio->index,
				    PAGECACHE_TAG_WRITEBACK));
	KUNIT_EXPECT_TRUE(test, folio_test_uptodate(folio));
	/* References of the page cache, the test, each mapping, and the request. */
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio),
			2 + folio_mapcount(folio) + writeback);
	KUNIT_EXPECT_EQ(test, fuse_wb_live_writes(wb->server, folio), writeback);
}
