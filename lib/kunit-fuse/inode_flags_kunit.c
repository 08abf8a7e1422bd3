// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which mappings have AS_WRITEBACK_MAY_BLOCK: those whose folios FUSE writes back
 * through the server. On a broken kernel a FUSE file lacks the flag, and blocks
 * sync(2); or a mapping that does not depend on the server has it, and sync(2)
 * skips it.
 *
 * Promise: mapping-flag
 */

#include <linux/dax.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/pfn_t.h>

#include "fixture.h"

static const struct fuse_wb_options writeback_cache = {
	.flags = FUSE_WRITEBACK_CACHE,
};

static const struct fuse_wb_options write_through;

static const struct inode_case {
	const char *desc;
	const struct fuse_wb_options *options;
	const char *name;
	bool may_block;
} inode_cases[] = {
	{ "regular file, writeback cache", &writeback_cache, "file", true },
	{ "regular file, write-through", &write_through, "file", true },
	{ "directory", &writeback_cache, "dir", false },
	{ "symbolic link", &writeback_cache, "link", false },
	{ "fifo", &writeback_cache, "fifo", false },
	{ "root", &writeback_cache, "", false },
};

KUNIT_ARRAY_PARAM_DESC(inode, inode_cases, desc);

/* Look up @name on the mount of @wb, and expect its flag to be @expected. */
static void expect_may_block(struct fuse_wb *wb, const char *name, bool expected)
{
	struct vfsmount *mnt = wb->server->mnt;
	struct kunit *test = wb->test;
	struct path path;
	bool may_block;

	KUNIT_ASSERT_EQ(test, 0, vfs_path_lookup(mnt->mnt_root, mnt, name, 0,
						 &path));
	may_block = mapping_writeback_may_block(d_inode(path.dentry)->i_mapping);
	path_put(&path);
	KUNIT_EXPECT_EQ(test, may_block, expected);
}

static void mapping_of_inode_says_whether_writeback_may_block(struct kunit *test)
{
	const struct inode_case *param = test->param_value;

	expect_may_block(fuse_wb_init(test, param->options), param->name,
			 param->may_block);
}

#ifdef CONFIG_FUSE_DAX
/* Large enough for one FUSE DAX range; nothing is read from it. */
static long direct_access(struct dax_device *dax, pgoff_t pgoff, long nr_pages,
			  enum dax_access_mode mode, void **kaddr, pfn_t *pfn)
{
	if (kaddr)
		*kaddr = NULL;
	if (pfn)
		*pfn = page_to_pfn_t(ZERO_PAGE(0));

	return SZ_2M / PAGE_SIZE;
}

static int zero_page_range(struct dax_device *dax, pgoff_t pgoff,
			   size_t nr_pages)
{
	return -EOPNOTSUPP;
}

static const struct dax_operations dax_ops = {
	.direct_access = direct_access,
	.zero_page_range = zero_page_range,
};

static void put_dax_device(void *dax)
{
	kill_dax(dax);
	put_dax(dax);
}

/* With DAX, data is never in the page cache. */
static void dax_file_has_no_writeback_that_may_block(struct kunit *test)
{
	struct fuse_wb_options *options;
	struct fuse_wb *wb;

	options = kunit_kzalloc(test, sizeof(*options), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, options);
	options->flags = FUSE_WRITEBACK_CACHE;
	options->dax = alloc_dax(NULL, &dax_ops);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, options->dax);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, put_dax_device,
							   options->dax));
	wb = fuse_wb_init(test, options);
	KUNIT_EXPECT_TRUE(test, IS_DAX(file_inode(fuse_wb_open(wb, "file"))));
	expect_may_block(wb, "file", false);
}
#else
static void dax_file_has_no_writeback_that_may_block(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_FUSE_DAX");
}
#endif

static struct kunit_case inode_flags_cases[] = {
	KUNIT_CASE_PARAM(mapping_of_inode_says_whether_writeback_may_block,
			 inode_gen_params),
	KUNIT_CASE(dax_file_has_no_writeback_that_may_block),
	{}
};

static struct kunit_suite inode_flags_suite = {
	.name = "fuse_wb_inode_flags",
	.test_cases = inode_flags_cases,
};

kunit_test_suite(inode_flags_suite);
