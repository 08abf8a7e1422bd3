// SPDX-License-Identifier: GPL-2.0-only
/*
 * AS_WRITEBACK_MAY_BLOCK is one bit among others in mapping->flags. It tells
 * reclaim, sync(2) and migration whether they may wait for a folio. On a broken
 * kernel it is lost when another flag changes, sets another flag, or shares its
 * bit with the folio order of the mapping. Then sync(2) skips a file on a healthy
 * disk, or a stuck FUSE server hangs reclaim.
 *
 * Promise: mapping-flag
 */

#include <kunit/test.h>
#include <linux/pagemap.h>

struct flag_case {
	const char *name;
	unsigned int bit;
	void (*set)(struct address_space *mapping);
	void (*clear)(struct address_space *mapping);
};

static void set_eio(struct address_space *mapping)
{
	mapping_set_error(mapping, -EIO);
}

static void set_enospc(struct address_space *mapping)
{
	mapping_set_error(mapping, -ENOSPC);
}

static const struct flag_case flag_cases[] = {
	{ "eio", AS_EIO, set_eio },
	{ "enospc", AS_ENOSPC, set_enospc },
	{ "unevictable", AS_UNEVICTABLE,
	  mapping_set_unevictable, mapping_clear_unevictable },
	{ "exiting", AS_EXITING, mapping_set_exiting },
	{ "no_writeback_tags", AS_NO_WRITEBACK_TAGS,
	  mapping_set_no_writeback_tags },
	{ "release_always", AS_RELEASE_ALWAYS,
	  mapping_set_release_always, mapping_clear_release_always },
	{ "stable_writes", AS_STABLE_WRITES,
	  mapping_set_stable_writes, mapping_clear_stable_writes },
	{ "inaccessible", AS_INACCESSIBLE, mapping_set_inaccessible },
};

KUNIT_ARRAY_PARAM_DESC(flag, flag_cases, name);

static int mapping_flags_init(struct kunit *test)
{
	struct address_space *mapping;

	mapping = kunit_kzalloc(test, sizeof(*mapping), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, mapping);
	test->priv = mapping;
	return 0;
}

static void writeback_of_new_mapping_does_not_block(struct kunit *test)
{
	struct address_space *mapping = test->priv;

	KUNIT_EXPECT_FALSE(test, mapping_writeback_may_block(mapping));
}

static void writeback_of_no_mapping_does_not_block(struct kunit *test)
{
	KUNIT_EXPECT_FALSE(test, mapping_writeback_may_block(NULL));
}

static void set_mapping_says_that_writeback_may_block(struct kunit *test)
{
	struct address_space *mapping = test->priv;

	mapping_set_writeback_may_block(mapping);
	KUNIT_EXPECT_TRUE(test, mapping_writeback_may_block(mapping));

	mapping_set_writeback_may_block(mapping);
	KUNIT_EXPECT_TRUE(test, mapping_writeback_may_block(mapping));
}

static void setter_changes_its_own_bit_only(struct kunit *test)
{
	struct address_space *mapping = test->priv;

	mapping_set_writeback_may_block(mapping);
	KUNIT_EXPECT_EQ(test, mapping->flags, BIT(AS_WRITEBACK_MAY_BLOCK));

	mapping->flags = ~BIT(AS_WRITEBACK_MAY_BLOCK);
	KUNIT_EXPECT_FALSE(test, mapping_writeback_may_block(mapping));
	mapping_set_writeback_may_block(mapping);
	KUNIT_EXPECT_EQ(test, mapping->flags, ~0UL);
}

static void test_looks_at_its_own_bit_only(struct kunit *test)
{
	struct address_space *mapping = test->priv;
	unsigned int bit;

	for (bit = 0; bit < BITS_PER_LONG; bit++) {
		mapping->flags = BIT(bit);
		KUNIT_EXPECT_EQ_MSG(test, mapping_writeback_may_block(mapping),
				    bit == AS_WRITEBACK_MAY_BLOCK,
				    "with bit %u alone", bit);
	}
}

static void other_flag_leaves_it_alone(struct kunit *test)
{
	const struct flag_case *flag = test->param_value;
	struct address_space *mapping = test->priv;

	KUNIT_ASSERT_NE(test, flag->bit, AS_WRITEBACK_MAY_BLOCK);

	flag->set(mapping);
	KUNIT_EXPECT_TRUE(test, test_bit(flag->bit, &mapping->flags));
	KUNIT_EXPECT_FALSE(test, mapping_writeback_may_block(mapping));

	mapping->flags = 0;
	mapping_set_writeback_may_block(mapping);
	KUNIT_EXPECT_FALSE(test, test_bit(flag->bit, &mapping->flags));
	flag->set(mapping);
	KUNIT_EXPECT_TRUE(test, test_bit(flag->bit, &mapping->flags));
	KUNIT_EXPECT_TRUE(test, mapping_writeback_may_block(mapping));

	if (!flag->clear)
		return;
	flag->clear(mapping);
	KUNIT_EXPECT_FALSE(test, test_bit(flag->bit, &mapping->flags));
	KUNIT_EXPECT_TRUE(test, mapping_writeback_may_block(mapping));
}

static void folio_orders_leave_it_alone(struct kunit *test)
{
	struct address_space *mapping = test->priv;

	KUNIT_EXPECT_EQ(test, BIT(AS_WRITEBACK_MAY_BLOCK) & AS_FOLIO_ORDER_MASK,
			0);

	mapping->flags = AS_FOLIO_ORDER_MASK;
	KUNIT_EXPECT_FALSE(test, mapping_writeback_may_block(mapping));

	mapping_set_writeback_may_block(mapping);
	KUNIT_EXPECT_EQ(test, mapping->flags & AS_FOLIO_ORDER_MASK,
			AS_FOLIO_ORDER_MASK);

	/* These are no-ops without transparent huge pages. */
	mapping_set_folio_order_range(mapping, 0, 0);
	KUNIT_EXPECT_TRUE(test, mapping_writeback_may_block(mapping));
	mapping_set_large_folios(mapping);
	KUNIT_EXPECT_TRUE(test, mapping_writeback_may_block(mapping));
}

static struct kunit_case mapping_flags_cases[] = {
	KUNIT_CASE(writeback_of_new_mapping_does_not_block),
	KUNIT_CASE(writeback_of_no_mapping_does_not_block),
	KUNIT_CASE(set_mapping_says_that_writeback_may_block),
	KUNIT_CASE(setter_changes_its_own_bit_only),
	KUNIT_CASE(test_looks_at_its_own_bit_only),
	KUNIT_CASE_PARAM(other_flag_leaves_it_alone, flag_gen_params),
	KUNIT_CASE(folio_orders_leave_it_alone),
	{}
};

static struct kunit_suite mapping_flags_suite = {
	.name = "fuse_wb_mapping_flags",
	.init = mapping_flags_init,
	.test_cases = mapping_flags_cases,
};

kunit_test_suite(mapping_flags_suite);

MODULE_DESCRIPTION("KUnit tests for FUSE writeback");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
