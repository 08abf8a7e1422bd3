// SPDX-License-Identifier: GPL-2.0-only
/*
 * Between fuse_set_nowrite_killable() and fuse_release_nowrite() no WRITE of the page
 * cache may be in flight: the server is about to change the size or the data of
 * the file. Requests in flight finish first; new ones are queued, and sent in order
 * afterwards. On a broken kernel a WRITE overtakes a truncation and the file grows
 * again, or queued requests are lost or sent out of order.
 *
 * Promise: truncation
 */

#include <linux/pagemap.h>

#include "fixture.h"

/* Bytes of a page that are left by a truncation. */
#define CROPPED		100U

static unsigned int writes_arrived(struct fuse_wb *wb)
{
	return fuse_wb_count(wb->server, FUSE_WB_ARRIVED, FUSE_WRITE);
}

/* Write page @index of @file and start writeback; WRITE requests are held. */
static void start_page(struct fuse_wb *wb, struct file *file, pgoff_t index)
{
	fuse_wb_hold(wb->server, FUSE_WRITE);
	fuse_wb_write_page(wb, file, index);
	fuse_wb_flush(wb, file);
}

static void nowrite_waits_for_requests_in_flight(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct fuse_inode *fi;
	struct fuse_req *first, *second;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	fi = get_fuse_inode(file_inode(file));
	start_page(wb, file, 0);
	start_page(wb, file, 2);
	first = fuse_wb_take(wb->server, FUSE_WRITE);
	second = fuse_wb_take(wb->server, FUSE_WRITE);
	call = fuse_wb_start(wb, fuse_wb_do_set_nowrite, file_inode(file), 0, 0);
	fuse_wb_await_blocked(call, fuse_wb_has_waiter(&fi->page_waitq));

	fuse_wb_answer(wb->server, first, 0);
	KUNIT_EXPECT_EQ(test, READ_ONCE(fi->writectr), FUSE_NOWRITE + 1);
	fuse_wb_await_blocked(call, fuse_wb_has_waiter(&fi->page_waitq));

	fuse_wb_answer(wb->server, second, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	KUNIT_EXPECT_EQ(test, READ_ONCE(fi->writectr), FUSE_NOWRITE);
	fuse_release_nowrite(file_inode(file));
}

static void queued_requests_are_sent_afterwards_in_order(struct kunit *test)
{
	static const pgoff_t pages[] = { 4, 0, 2 };
	struct fuse_wb *wb = test->priv;
	struct fuse_req *req;
	struct inode *inode;
	struct file *file;
	unsigned int i;

	file = fuse_wb_open(wb, "file");
	inode = file_inode(file);
	fuse_wb_run(wb, fuse_wb_do_set_nowrite, inode, 0, 0);
	for (i = 0; i < ARRAY_SIZE(pages); i++)
		start_page(wb, file, pages[i]);
	KUNIT_EXPECT_EQ(test, writes_arrived(wb), 0);
	fuse_wb_expect_counters(wb, 0, ARRAY_SIZE(pages));

	fuse_release_nowrite(inode);
	KUNIT_EXPECT_EQ(test, writes_arrived(wb), ARRAY_SIZE(pages));
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		req = fuse_wb_take(wb->server, FUSE_WRITE);
		KUNIT_EXPECT_EQ(test, fuse_wb_write_in(req)->offset,
				(u64)pages[i] << PAGE_SHIFT);
		fuse_wb_answer(wb->server, req, 0);
	}
	fuse_wb_expect_counters(wb, 0, 0);
}

/* One WRITE is in flight, and one is queued while the truncation waits. */
static void truncate_is_sent_between_the_writes(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_req *setattr, *req;
	struct fuse_wb_call *call;
	struct fuse_inode *fi;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	fi = get_fuse_inode(file_inode(file));
	fuse_wb_hold(wb->server, FUSE_SETATTR);
	fuse_wb_write(wb, file, 0, 3 * PAGE_SIZE);
	fuse_wb_hold(wb->server, FUSE_WRITE);
	KUNIT_ASSERT_EQ(test, fuse_wb_run(wb, fuse_wb_do_flush, file, 0, PAGE_SIZE),
			0);
	req = fuse_wb_take(wb->server, FUSE_WRITE);

	call = fuse_wb_start(wb, fuse_wb_do_truncate, file, 0, 2 * PAGE_SIZE);
	fuse_wb_await_blocked(call, fuse_wb_has_waiter(&fi->page_waitq));
	fuse_wb_flush(wb, file);
	KUNIT_EXPECT_EQ(test, writes_arrived(wb), 1);
	KUNIT_EXPECT_NULL(test, fuse_wb_find(wb->server, BIT_ULL(FUSE_SETATTR)));

	fuse_wb_answer(wb->server, req, 0);
	setattr = fuse_wb_take(wb->server, FUSE_SETATTR);
	KUNIT_EXPECT_EQ(test, writes_arrived(wb), 1);

	/* The queued WRITE is cropped at the new size. */
	fuse_wb_answer(wb->server, setattr, 0);
	req = fuse_wb_take(wb->server, FUSE_WRITE);
	KUNIT_EXPECT_EQ(test, fuse_wb_write_in(req)->offset, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, fuse_wb_write_in(req)->size, PAGE_SIZE);
	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	KUNIT_EXPECT_EQ(test, i_size_read(file_inode(file)), 2 * PAGE_SIZE);
	fuse_wb_expect_counters(wb, 0, 0);
}

static void failed_truncate_lets_writes_go_on(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct fuse_req *setattr;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	fuse_wb_hold(wb->server, FUSE_SETATTR);
	fuse_wb_write(wb, file, 0, 2 * PAGE_SIZE);
	call = fuse_wb_start(wb, fuse_wb_do_truncate, file, 0, PAGE_SIZE);
	setattr = fuse_wb_take(wb->server, FUSE_SETATTR);
	fuse_wb_send_held(wb, file);
	KUNIT_EXPECT_EQ(test, writes_arrived(wb), 0);

	fuse_wb_answer(wb->server, setattr, -EPERM);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), -EPERM);
	KUNIT_EXPECT_EQ(test, writes_arrived(wb), 1);
	KUNIT_EXPECT_EQ(test, i_size_read(file_inode(file)), 2 * PAGE_SIZE);
}

/*
 * A flusher has put a folio under writeback and not sent it yet when the file is
 * truncated within that folio, and extended again. The WRITE must not bring back the
 * truncated data.
 */
static void write_filled_before_a_truncation_is_cropped(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_writepage_args *unsent;
	struct folio *folio;
	struct fuse_req *req;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	fuse_wb_write_page(wb, file, 0);
	folio = fuse_wb_get_folio(wb, file, 0);
	fuse_wb_hold(wb->server, FUSE_WRITE);
	folio_lock(folio);
	KUNIT_ASSERT_TRUE(test, folio_clear_dirty_for_io(folio));
	unsent = kunit_fuse_fill_write(folio);
	KUNIT_ASSERT_FALSE(test, IS_ERR(unsent));

	KUNIT_EXPECT_EQ(test, fuse_wb_run(wb, fuse_wb_do_truncate, file, 0, CROPPED), 0);
	fuse_wb_write(wb, file, 2 * PAGE_SIZE, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, i_size_read(file_inode(file)), 3 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, writes_arrived(wb), 0);

	kunit_fuse_send_write(unsent);
	req = fuse_wb_take(wb->server, FUSE_WRITE);
	KUNIT_EXPECT_EQ(test, fuse_wb_write_in(req)->offset, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_write_in(req)->size, CROPPED);
	fuse_wb_answer(wb->server, req, 0);
}

/*
 * A WRITE of earlier data must not reach the server after the hole punch.
 *
 * Promise: bde52788bdb7
 */
static void hole_is_made_after_the_writes_it_covers(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct folio *folio;
	struct fuse_req *req;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	fuse_wb_hold(wb->server, FUSE_WRITE);
	fuse_wb_hold(wb->server, FUSE_FALLOCATE);
	fuse_wb_write_page(wb, file, 0);
	folio = fuse_wb_get_folio(wb, file, 0);
	call = fuse_wb_start(wb, fuse_wb_do_punch, file, 0, PAGE_SIZE);
	req = fuse_wb_take(wb->server, FUSE_WRITE);
	fuse_wb_await_blocked(call, folio_test_waiters(folio) ||
			      fuse_wb_has_waiter(&get_fuse_inode(file_inode(file))->page_waitq));
	KUNIT_EXPECT_NULL(test, fuse_wb_find(wb->server,
					     BIT_ULL(FUSE_FALLOCATE)));

	fuse_wb_answer(wb->server, req, 0);
	req = fuse_wb_take(wb->server, FUSE_FALLOCATE);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_CLEAN);
	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	KUNIT_EXPECT_NULL(test, folio->mapping);
	KUNIT_EXPECT_EQ(test, writes_arrived(wb), 1);
}

static struct kunit_case nowrite_cases[] = {
	KUNIT_CASE(nowrite_waits_for_requests_in_flight),
	KUNIT_CASE(queued_requests_are_sent_afterwards_in_order),
	KUNIT_CASE(truncate_is_sent_between_the_writes),
	KUNIT_CASE(failed_truncate_lets_writes_go_on),
	KUNIT_CASE(write_filled_before_a_truncation_is_cropped),
	KUNIT_CASE(hole_is_made_after_the_writes_it_covers),
	{}
};

static struct kunit_suite nowrite_suite = {
	.name = "fuse_wb_nowrite",
	.init = fuse_wb_init_writeback_cache,
	.test_cases = nowrite_cases,
};

kunit_test_suite(nowrite_suite);
