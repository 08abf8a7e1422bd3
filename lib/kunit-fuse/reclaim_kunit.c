// SPDX-License-Identifier: GPL-2.0-only
/*
 * What reclaim does with a folio under writeback depends on the reclaimer:
 *
 *	global, memcg v2	mark it (PG_reclaim), activate it, continue
 *	kswapd, second round	count it (nr_immediate), activate it, continue
 *	legacy memcg		first round: mark it, continue
 *				second round: wait, if it may enter the fs
 *
 * The wait deadlocks if writeback ends only after the FUSE server has allocated
 * the memory that reclaim is about to free. Where writeback may block, the second
 * round of legacy memcg does the same as the first.
 *
 * Promise: reclaim
 */

#include <linux/fs_context.h>
#include <linux/memcontrol.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

#include "fixture.h"

enum reclaimer { GLOBAL, KSWAPD, MEMCG };

#ifdef CONFIG_MEMCG
static bool memcg_is_legacy(void)
{
	return !cgroup_subsys_on_dfl(memory_cgrp_subsys);
}

/* The root cgroup, which is never freed. */
static struct mem_cgroup *my_memcg(void)
{
	struct mem_cgroup *memcg;

	rcu_read_lock();
	memcg = mem_cgroup_from_task(current);
	rcu_read_unlock();

	return memcg;
}
#else
static bool memcg_is_legacy(void)
{
	return false;
}

static struct mem_cgroup *my_memcg(void)
{
	return NULL;
}
#endif

static const struct reclaim_case {
	const char *name;
	enum reclaimer who;
	bool may_block;
	bool marked;
	gfp_t gfp_mask;
} reclaim_cases[] = {
	{ "global", GLOBAL, true, false, GFP_KERNEL },
	{ "global, marked", GLOBAL, true, true, GFP_KERNEL },
	{ "global, marked, GFP_NOFS", GLOBAL, true, true, GFP_NOFS },
	{ "global, writeback ends", GLOBAL, false, false, GFP_KERNEL },
	{ "global, writeback ends, marked", GLOBAL, false, true, GFP_KERNEL },
	{ "kswapd", KSWAPD, true, false, GFP_KERNEL },
	{ "kswapd, marked", KSWAPD, true, true, GFP_KERNEL },
	{ "kswapd, writeback ends, marked", KSWAPD, false, true, GFP_KERNEL },
	{ "memcg", MEMCG, true, false, GFP_KERNEL },
	{ "memcg, GFP_NOFS", MEMCG, true, false, GFP_NOFS },
	{ "memcg, marked", MEMCG, true, true, GFP_KERNEL },
	{ "memcg, marked, GFP_NOFS", MEMCG, true, true, GFP_NOFS },
	{ "memcg, writeback ends", MEMCG, false, false, GFP_KERNEL },
	{ "memcg, writeback ends, marked, GFP_NOFS", MEMCG, false, true, GFP_NOFS },
	{ "memcg, writeback ends, marked", MEMCG, false, true, GFP_KERNEL },
};

KUNIT_ARRAY_PARAM_DESC(reclaim, reclaim_cases, name);

/* The only case in which reclaim waits. */
static bool legacy_waits(const struct reclaim_case *param)
{
	return param->who == MEMCG && !param->may_block && param->marked &&
	       param->gfp_mask == GFP_KERNEL;
}

static const void *legacy_gen_params(const void *prev, char *desc)
{
	const struct reclaim_case *param = prev;

	for (param = param ? param + 1 : reclaim_cases;
	     param < reclaim_cases + ARRAY_SIZE(reclaim_cases); param++) {
		if (param->who != MEMCG || legacy_waits(param))
			continue;
		strscpy(desc, param->name, KUNIT_PARAM_DESC_SIZE);
		return param;
	}

	return NULL;
}

/* A folio under writeback, and its WRITE, taken. */
static struct folio *hold_folio(struct fuse_wb *wb, bool may_block, bool marked,
				struct fuse_req **req)
{
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	if (!may_block)
		clear_bit(AS_WRITEBACK_MAY_BLOCK, &file->f_mapping->flags);
	*req = fuse_wb_hold_writeback(wb, file, folio);
	if (marked)
		folio_set_reclaim(folio);

	return folio;
}

static long reclaim_folio(struct fuse_wb *wb, struct fuse_wb_reclaim *reclaim)
{
	return fuse_wb_run(wb, fuse_wb_do_reclaim, reclaim, 0, 0);
}

static void reclaim_goes_on(struct kunit *test)
{
	const struct reclaim_case *param = test->param_value;
	struct fuse_wb_reclaim reclaim = {
		.kswapd = param->who == KSWAPD,
		.memcg = param->who == MEMCG ? my_memcg() : NULL,
		.gfp_mask = param->gfp_mask,
	};
	struct fuse_wb *wb = test->priv;
	struct fuse_req *req;

	if (param->who == MEMCG && !IS_ENABLED(CONFIG_MEMCG))
		kunit_skip(test, "needs CONFIG_MEMCG");

	reclaim.folio = hold_folio(wb, param->may_block, param->marked, &req);
	KUNIT_EXPECT_EQ(test, reclaim_folio(wb, &reclaim), 0);
	KUNIT_EXPECT_EQ(test, reclaim.stat.nr_writeback, 1);
	KUNIT_EXPECT_EQ(test, reclaim.stat.nr_immediate, 0);
	KUNIT_EXPECT_EQ(test, reclaim.stat.nr_congested, param->marked);
	KUNIT_EXPECT_EQ(test, reclaim.stat.nr_activate[1], 1);
	KUNIT_EXPECT_TRUE(test, folio_test_reclaim(reclaim.folio));
	KUNIT_EXPECT_TRUE(test, folio_test_active(reclaim.folio));
	KUNIT_EXPECT_TRUE(test, folio_test_lru(reclaim.folio));
	fuse_wb_expect_folio(wb, reclaim.folio, FUSE_WB_WRITEBACK);
	fuse_wb_answer(wb->server, req, 0);
	fuse_wb_expect_folio(wb, reclaim.folio, FUSE_WB_CLEAN);
}

static void forget_writeback(void *pgdat)
{
	clear_bit(PGDAT_WRITEBACK, &((struct pglist_data *)pgdat)->flags);
}

/* kswapd throttles itself by this count when all folios are under writeback. */
static void kswapd_counts_folio_that_comes_round_again(struct kunit *test)
{
	struct fuse_wb_reclaim reclaim = {
		.kswapd = true,
		.gfp_mask = GFP_KERNEL,
	};
	struct fuse_wb *wb = test->priv;
	struct pglist_data *pgdat;
	struct fuse_req *req;

	reclaim.folio = hold_folio(wb, true, true, &req);
	pgdat = folio_pgdat(reclaim.folio);
	set_bit(PGDAT_WRITEBACK, &pgdat->flags);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, forget_writeback, pgdat));
	KUNIT_EXPECT_EQ(test, reclaim_folio(wb, &reclaim), 0);
	KUNIT_EXPECT_EQ(test, reclaim.stat.nr_immediate, 1);
	KUNIT_EXPECT_EQ(test, reclaim.stat.nr_writeback, 0);
	fuse_wb_expect_folio(wb, reclaim.folio, FUSE_WB_WRITEBACK);
}

/* After the reply, the folio is reclaimed like any other. */
static void folio_is_reclaimed_after_writeback(struct kunit *test)
{
	struct fuse_wb_reclaim reclaim = {
		.gfp_mask = GFP_KERNEL,
	};
	struct fuse_wb *wb = test->priv;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	fuse_wb_write_page(wb, file, 0);
	KUNIT_ASSERT_EQ(test, fuse_wb_fsync(wb, file), 0);
	reclaim.folio = filemap_get_folio(file->f_mapping, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(reclaim.folio));
	lru_add_drain_all();
	folio_clear_referenced(reclaim.folio);
	/* Reclaim skips folios with other references. */
	folio_put(reclaim.folio);
	KUNIT_EXPECT_EQ(test, reclaim_folio(wb, &reclaim), 1);
	KUNIT_EXPECT_TRUE(test, IS_ERR(filemap_get_folio(file->f_mapping, 0)));
}

static void legacy_memcg_waits_for_writeback_that_ends(struct kunit *test)
{
	struct fuse_wb_reclaim reclaim = {
		.memcg = my_memcg(),
		.gfp_mask = GFP_KERNEL,
	};
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct fuse_req *req;

	reclaim.folio = hold_folio(wb, false, true, &req);
	call = fuse_wb_start(wb, fuse_wb_do_reclaim, &reclaim, 0, 0);
	fuse_wb_await_blocked(call, folio_test_waiters(reclaim.folio));
	fuse_wb_answer(wb->server, req, 0);
	fuse_wb_join(call);
	KUNIT_EXPECT_EQ(test, reclaim.stat.nr_writeback, 0);
	fuse_wb_expect_folio(wb, reclaim.folio, FUSE_WB_CLEAN);
}

static int reclaim_init(struct kunit *test)
{
	if (memcg_is_legacy())
		kunit_skip(test, "a legacy hierarchy has the memory controller");

	return fuse_wb_init_writeback_cache(test);
}

/* The legacy hierarchy of the suite, or the error if there is none. */
static struct vfsmount *legacy_mnt;

/* Mount the memory controller as legacy; this fails if it is in use. */
static int reclaim_legacy_suite_init(struct kunit_suite *suite)
{
	struct file_system_type *type = get_fs_type("cgroup");
	struct fs_context *fsc;
	int err;

	legacy_mnt = ERR_PTR(-ENODEV);
	if (!type)
		return 0;
	fsc = fs_context_for_mount(type, SB_KERNMOUNT);
	module_put(type->owner);
	if (IS_ERR(fsc)) {
		legacy_mnt = ERR_CAST(fsc);
		return 0;
	}
	err = vfs_parse_fs_string(fsc, "memory", NULL, 0);
	legacy_mnt = err ? ERR_PTR(err) : fc_mount(fsc);
	put_fs_context(fsc);

	return 0;
}

/* A work item gives the controller back to cgroup v2. */
static void reclaim_legacy_suite_exit(struct kunit_suite *suite)
{
	unsigned long end = jiffies + FUSE_WB_DEADLINE;

	if (IS_ERR(legacy_mnt))
		return;
	kern_unmount(legacy_mnt);
	while (memcg_is_legacy() && time_before(jiffies, end))
		schedule_timeout_uninterruptible(1);
	if (memcg_is_legacy())
		pr_err("the memory controller was not returned to cgroup v2\n");
}

static int reclaim_legacy_init(struct kunit *test)
{
	if (IS_ERR(legacy_mnt))
		kunit_skip(test, "no legacy memory controller: %pe", legacy_mnt);
	KUNIT_ASSERT_TRUE(test, memcg_is_legacy());

	return fuse_wb_init_writeback_cache(test);
}

static struct kunit_case reclaim_kunit_cases[] = {
	KUNIT_CASE_PARAM(reclaim_goes_on, reclaim_gen_params),
	KUNIT_CASE(kswapd_counts_folio_that_comes_round_again),
	KUNIT_CASE(folio_is_reclaimed_after_writeback),
	{}
};

static struct kunit_case reclaim_legacy_cases[] = {
	KUNIT_CASE_PARAM(reclaim_goes_on, legacy_gen_params),
	KUNIT_CASE(legacy_memcg_waits_for_writeback_that_ends),
	{}
};

static struct kunit_suite reclaim_suite = {
	.name = "fuse_wb_reclaim",
	.init = reclaim_init,
	.test_cases = reclaim_kunit_cases,
};

static struct kunit_suite reclaim_legacy_suite = {
	.name = "fuse_wb_reclaim_legacy",
	.suite_init = reclaim_legacy_suite_init,
	.suite_exit = reclaim_legacy_suite_exit,
	.init = reclaim_legacy_init,
	.test_cases = reclaim_legacy_cases,
};

kunit_test_suites(&reclaim_suite, &reclaim_legacy_suite);
