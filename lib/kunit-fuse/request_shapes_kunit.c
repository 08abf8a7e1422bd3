// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writeback packs dirty folios into WRITE requests. A request covers contiguous
 * folios, as many as the server accepts, and ends at EOF. On a broken kernel a
 * request is longer than the server's buffer, data is written to a wrong offset,
 * or the file grows beyond what was written to it.
 *
 * Promise: request-shapes
 */

#include <linux/pagemap.h>

#include "fixture.h"

/* Folios that fit into a request of the suite's mount. */
#define MAX_FOLIOS	4

static const struct fuse_wb_options options = {
	.flags = FUSE_WRITEBACK_CACHE,
	.max_pages = MAX_FOLIOS,
};

static int request_shapes_init(struct kunit *test)
{
	test->priv = fuse_wb_init(test, &options);
	return 0;
}

/*
 * Expect that the next WRITE is for @size bytes at page @index, and that its
 * folios are those of these pages, whole and in order. Then reply to it.
 */
static void expect_write(struct fuse_wb *wb, pgoff_t index, u32 size)
{
	struct fuse_req *req = fuse_wb_take(wb->server, FUSE_WRITE);
	const struct fuse_write_in *in = fuse_wb_write_in(req);
	struct fuse_args_pages *ap = fuse_wb_pages(req);
	struct kunit *test = wb->test;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, in->offset, (u64)index << PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, in->size, size);
	KUNIT_EXPECT_EQ(test, req->args->in_args[1].size, size);
	KUNIT_EXPECT_TRUE(test, in->write_flags & FUSE_WRITE_CACHE);
	KUNIT_EXPECT_EQ(test, ap->num_pages, DIV_ROUND_UP(size, PAGE_SIZE));
	for (i = 0; i < ap->num_pages; i++) {
		KUNIT_EXPECT_EQ(test, fuse_wb_folio(req, i)->index, index + i);
		KUNIT_EXPECT_EQ(test, ap->descs[i].offset, 0);
		KUNIT_EXPECT_EQ(test, ap->descs[i].length, PAGE_SIZE);
	}
	fuse_wb_answer(wb->server, req, 0);
}

static void expect_no_more_writes(struct fuse_wb *wb)
{
	KUNIT_EXPECT_NULL(wb->test, fuse_wb_find(wb->server,
						 BIT_ULL(FUSE_WRITE)));
	fuse_wb_expect_counters(wb, 0, 0);
}

/* Promise: policy-04, policy-10 */
static void contiguous_folios_share_a_request(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *file = fuse_wb_open(wb, "file");

	fuse_wb_write(wb, file, 0, MAX_FOLIOS * PAGE_SIZE);
	fuse_wb_send_held(wb, file);
	expect_write(wb, 0, MAX_FOLIOS * PAGE_SIZE);
	expect_no_more_writes(wb);
}

static void request_has_no_more_than_max_pages(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *file = fuse_wb_open(wb, "file");

	fuse_wb_write(wb, file, 0, (2 * MAX_FOLIOS + 1) * PAGE_SIZE);
	fuse_wb_send_held(wb, file);
	expect_write(wb, 0, MAX_FOLIOS * PAGE_SIZE);
	expect_write(wb, MAX_FOLIOS, MAX_FOLIOS * PAGE_SIZE);
	expect_write(wb, 2 * MAX_FOLIOS, PAGE_SIZE);
	expect_no_more_writes(wb);
}

/* Half a page beyond two pages leaves no room for a third. */
static void request_has_no_more_than_max_write(struct kunit *test)
{
	static const struct fuse_wb_options small = {
		.flags = FUSE_WRITEBACK_CACHE,
		.max_write = 2 * PAGE_SIZE + PAGE_SIZE / 2,
	};
	struct fuse_wb *wb = fuse_wb_init(test, &small);
	struct file *file = fuse_wb_open(wb, "file");

	fuse_wb_write(wb, file, 0, 5 * PAGE_SIZE);
	fuse_wb_send_held(wb, file);
	expect_write(wb, 0, 2 * PAGE_SIZE);
	expect_write(wb, 2, 2 * PAGE_SIZE);
	expect_write(wb, 4, PAGE_SIZE);
	expect_no_more_writes(wb);
}

/* The arrays of the request are reallocated twice before that. */
static void request_grows_to_max_pages(struct kunit *test)
{
	static const struct fuse_wb_options large = {
		.flags = FUSE_WRITEBACK_CACHE,
		.max_pages = 100,
	};
	struct fuse_wb *wb = fuse_wb_init(test, &large);
	struct file *file = fuse_wb_open(wb, "file");

	fuse_wb_write(wb, file, 0, 101 * PAGE_SIZE);
	fuse_wb_send_held(wb, file);
	expect_write(wb, 0, 100 * PAGE_SIZE);
	expect_write(wb, 100, PAGE_SIZE);
	expect_no_more_writes(wb);
}

/* Promise: policy-10 */
static void gap_splits_requests(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *file = fuse_wb_open(wb, "file");

	fuse_wb_write(wb, file, 0, 2 * PAGE_SIZE);
	fuse_wb_write_page(wb, file, 3);
	fuse_wb_send_held(wb, file);
	expect_write(wb, 0, 2 * PAGE_SIZE);
	expect_write(wb, 3, PAGE_SIZE);
	expect_no_more_writes(wb);
}

/* A clean folio between two dirty ones is a gap, too. */
static void clean_folio_splits_requests(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *file = fuse_wb_open(wb, "file");

	fuse_wb_write(wb, file, 0, 3 * PAGE_SIZE);
	fuse_wb_send_held(wb, file);
	expect_write(wb, 0, 3 * PAGE_SIZE);

	fuse_wb_write_page(wb, file, 0);
	fuse_wb_write_page(wb, file, 2);
	fuse_wb_send_held(wb, file);
	expect_write(wb, 0, PAGE_SIZE);
	expect_write(wb, 2, PAGE_SIZE);
	expect_no_more_writes(wb);
}

static void tail_ends_where_the_file_does(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *file = fuse_wb_open(wb, "file");

	fuse_wb_write(wb, file, 0, PAGE_SIZE + 100);
	fuse_wb_send_held(wb, file);
	expect_write(wb, 0, PAGE_SIZE + 100);
	expect_no_more_writes(wb);
}

/*
 * Dirty folios @first to 3 of a file of four pages, and start writeback under
 * nowrite. Then shrink the file to @size bytes and release nowrite.
 */
static void shrink_while_queued(struct fuse_wb *wb, struct file *file,
				pgoff_t first, loff_t size)
{
	struct inode *inode = file_inode(file);

	fuse_wb_write(wb, file, 0, 4 * PAGE_SIZE);
	fuse_wb_send_held(wb, file);
	expect_write(wb, 0, 4 * PAGE_SIZE);

	fuse_wb_write(wb, file, (loff_t)first << PAGE_SHIFT,
		      (4 - first) * PAGE_SIZE);
	fuse_wb_run(wb, fuse_wb_do_set_nowrite, inode, 0, 0);
	fuse_wb_send_held(wb, file);
	KUNIT_EXPECT_NULL(wb->test, fuse_wb_find(wb->server,
						 BIT_ULL(FUSE_WRITE)));
	fuse_wb_expect_counters(wb, 0, 4 - first);
	i_size_write(inode, size);
	fuse_release_nowrite(inode);
}

static void request_is_cropped_at_the_size_when_it_is_sent(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *file = fuse_wb_open(wb, "file");
	struct fuse_req *req;

	shrink_while_queued(wb, file, 1, 2 * PAGE_SIZE + 10);
	req = fuse_wb_take(wb->server, FUSE_WRITE);
	KUNIT_EXPECT_EQ(test, fuse_wb_write_in(req)->offset, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, fuse_wb_write_in(req)->size, PAGE_SIZE + 10);
	KUNIT_EXPECT_EQ(test, req->args->in_args[1].size, PAGE_SIZE + 10);
	/* The folio beyond EOF is not sent, and its writeback has ended. */
	fuse_wb_expect_counters(wb, 0, 2);
	fuse_wb_answer(wb->server, req, 0);
	expect_no_more_writes(wb);
}

static void request_beyond_the_end_is_dropped(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *file = fuse_wb_open(wb, "file");
	struct folio *folio[2];
	unsigned int i;

	shrink_while_queued(wb, file, 2, 2 * PAGE_SIZE);
	expect_no_more_writes(wb);
	KUNIT_EXPECT_EQ(test, get_fuse_inode(file_inode(file))->writectr, 0);
	for (i = 0; i < ARRAY_SIZE(folio); i++) {
		folio[i] = fuse_wb_get_folio(wb, file, 2 + i);
		fuse_wb_expect_folio(wb, folio[i], FUSE_WB_CLEAN);
	}
	KUNIT_EXPECT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_WRITE), 1);
}

static struct kunit_case request_shapes_cases[] = {
	KUNIT_CASE(contiguous_folios_share_a_request),
	KUNIT_CASE(request_has_no_more_than_max_pages),
	KUNIT_CASE(request_has_no_more_than_max_write),
	KUNIT_CASE(request_grows_to_max_pages),
	KUNIT_CASE(gap_splits_requests),
	KUNIT_CASE(clean_folio_splits_requests),
	KUNIT_CASE(tail_ends_where_the_file_does),
	KUNIT_CASE(request_is_cropped_at_the_size_when_it_is_sent),
	KUNIT_CASE(request_beyond_the_end_is_dropped),
	{}
};

static struct kunit_suite request_shapes_suite = {
	.name = "fuse_wb_request_shapes",
	.init = request_shapes_init,
	.test_cases = request_shapes_cases,
};

kunit_test_suite(request_shapes_suite);
