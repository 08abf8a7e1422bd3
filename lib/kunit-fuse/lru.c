// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reclaim and migration take a folio that was isolated from its LRU list. They
 * skip it if there are other references to it.
 */

#include <linux/migrate.h>
#include <linux/mmzone.h>
#include <linux/pagemap.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

#include "../../mm/internal.h"
#include "fixture.h"

/**
 * fuse_wb_first_folio - find the folio of page 0
 * @wb: the fixture
 * @file: the file; the test is aborted if there is no such folio
 *
 * Return: the folio, without a reference: the test must not dereference it once
 * it may have been moved or freed.
 */
struct folio *fuse_wb_first_folio(struct fuse_wb *wb, struct file *file)
{
	struct folio *folio = filemap_get_folio(file->f_mapping, 0);

	KUNIT_ASSERT_FALSE(wb->test, IS_ERR(folio));
	lru_add_drain_all();
	folio_put(folio);

	return folio;
}

/* Put a folio back to the LRU, if it is still in the list. */
static void put_back(struct list_head *folios, struct folio *folio)
{
	if (!list_empty(folios)) {
		list_del(&folio->lru);
		folio_putback_lru(folio);
	}
	lru_add_drain_all();
}

/**
 * fuse_wb_do_reclaim - a call: reclaim a folio
 * @call: its @data is a struct fuse_wb_reclaim
 *
 * Return: the number of reclaimed pages, or -EBUSY if the folio is on no LRU list.
 */
long fuse_wb_do_reclaim(struct fuse_wb_call *call)
{
	struct fuse_wb_reclaim *reclaim = call->data;
	struct folio *folio = reclaim->folio;
	LIST_HEAD(folios);
	long ret;

	if (!folio_isolate_lru(folio))
		return -EBUSY;
	folio_clear_active(folio);
	list_add(&folio->lru, &folios);
	if (reclaim->kswapd)
		current->flags |= PF_KSWAPD;
	ret = kunit_shrink_folio_list(&folios, reclaim->memcg,
				      reclaim->gfp_mask, &reclaim->stat);
	current->flags &= ~PF_KSWAPD;
	put_back(&folios, folio);

	return ret;
}

/**
 * fuse_wb_do_pageout - a call: pageout() of a folio
 * @call: its @data is the folio
 *
 * Return: as kunit_pageout(), or -EBUSY if the folio is on no LRU list.
 */
long fuse_wb_do_pageout(struct fuse_wb_call *call)
{
	struct folio *folio = call->data;
	LIST_HEAD(folios);
	long ret;

	if (!folio_isolate_lru(folio))
		return -EBUSY;
	folio_lock(folio);
	ret = kunit_pageout(folio);
	if (ret != KUNIT_PAGEOUT_WRITTEN)
		folio_unlock(folio);
	list_add(&folio->lru, &folios);
	put_back(&folios, folio);

	return ret;
}

static struct folio *new_folio(struct folio *src, unsigned long private)
{
	return folio_alloc(GFP_HIGHUSER_MOVABLE, folio_order(src));
}

/**
 * fuse_wb_do_migrate - a call: migrate a folio
 * @call: its @data is the folio, its @pos the reason, its @len the mode
 *
 * Return: the number of folios not migrated, or -EBUSY if it is on no LRU list.
 */
long fuse_wb_do_migrate(struct fuse_wb_call *call)
{
	struct folio *folio = call->data;
	LIST_HEAD(folios);
	long ret;

	if (!folio_isolate_lru(folio))
		return -EBUSY;
	node_stat_mod_folio(folio, NR_ISOLATED_FILE, 1);
	list_add(&folio->lru, &folios);
	ret = migrate_pages(&folios, new_folio, NULL, 0, call->len, call->pos,
			    NULL);
	if (!list_empty(&folios))
		node_stat_mod_folio(folio, NR_ISOLATED_FILE, -1);
	put_back(&folios, folio);

	return ret;
}
