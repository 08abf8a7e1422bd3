// SPDX-License-Identifier: GPL-2.0-only
/*
 * A WRITE of the page cache ends in one of many ways. In each of them writeback
 * of its folios ends once, and fsync(2) or close(2) reports once what was lost.
 * On a broken kernel a folio stays under writeback forever, its writeback ends
 * twice, or data is lost without an error.
 *
 * Promise: endings
 */

#include <linux/pagemap.h>

#include "fixture.h"

/* Page 0 of a new file, under writeback, and its WRITE, taken. */
static struct folio *hold_first_folio(struct fuse_wb *wb, struct file **file,
				      struct fuse_req **req)
{
	struct folio *folio;

	folio = fuse_wb_dirty_folio(wb, file);
	*req = fuse_wb_hold_writeback(wb, *file, folio);

	return folio;
}

/* Expect that writeback has ended, and that @error is reported once. */
static void expect_ended(struct fuse_wb *wb, struct file *file,
			 struct folio *folio, int error)
{
	bool enospc = test_bit(AS_ENOSPC, &file->f_mapping->flags);
	bool eio = test_bit(AS_EIO, &file->f_mapping->flags);
	struct kunit *test = wb->test;

	fuse_wb_expect_folio(wb, folio, FUSE_WB_CLEAN);
	fuse_wb_expect_counters(wb, 0, 0);
	KUNIT_EXPECT_EQ(test, get_fuse_inode(file_inode(file))->writectr, 0);
	KUNIT_EXPECT_EQ(test, enospc, error == -ENOSPC);
	KUNIT_EXPECT_EQ(test, eio, error && error != -ENOSPC);
	KUNIT_EXPECT_EQ(test, fuse_wb_fsync(wb, file), error);
	KUNIT_EXPECT_EQ(test, file_check_and_advance_wb_err(file), 0);
}

/* Promise: data-integrity */
static void fsync_is_sent_after_the_write(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = hold_first_folio(wb, &file, &req);
	call = fuse_wb_start(wb, fuse_wb_do_fsync, file, 0, 0);
	fuse_wb_await_blocked(call, folio_test_waiters(folio));
	KUNIT_EXPECT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_FSYNC), 0);

	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_FSYNC), 1);
	expect_ended(wb, file, folio, 0);
}

static const int errors[] = { -EIO, -ENOSPC, -EDQUOT };

static void error_desc(const int *error, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%pe", ERR_PTR(*error));
}

KUNIT_ARRAY_PARAM(error, errors, error_desc);

/* Promise: late-errors */
static void error_reaches_fsync_once(struct kunit *test)
{
	const int *error = test->param_value;
	struct fuse_wb *wb = test->priv;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = hold_first_folio(wb, &file, &req);
	fuse_wb_answer(wb->server, req, *error);
	expect_ended(wb, file, folio, *error);
}

/* Promise: late-errors */
static void error_reaches_each_open_file(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *file, *other;
	struct fuse_req *req;
	struct folio *folio;

	other = fuse_wb_open(wb, "file");
	folio = hold_first_folio(wb, &file, &req);
	fuse_wb_answer(wb->server, req, -ENOSPC);
	expect_ended(wb, file, folio, -ENOSPC);
	KUNIT_EXPECT_EQ(test, fuse_wb_fsync(wb, other), -ENOSPC);
	KUNIT_EXPECT_EQ(test, fuse_wb_fsync(wb, other), 0);
}

/* Promise: late-errors */
static void error_reaches_close(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = hold_first_folio(wb, &file, &req);
	fuse_wb_answer(wb->server, req, -ENOSPC);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_CLEAN);
	KUNIT_EXPECT_EQ(test, fuse_wb_close(wb, file), -ENOSPC);
}

static void short_write_is_an_error(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = hold_first_folio(wb, &file, &req);
	fuse_wb_answer_write(wb->server, req, PAGE_SIZE - 1);
	expect_ended(wb, file, folio, -EIO);
}

static void write_of_more_than_was_sent_is_an_error(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = hold_first_folio(wb, &file, &req);
	fuse_wb_answer_write(wb->server, req, PAGE_SIZE + 1);
	expect_ended(wb, file, folio, -EIO);
}

static void abort_ends_request_in_flight(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = hold_first_folio(wb, &file, &req);
	fuse_wb_abort(wb->server);
	expect_ended(wb, file, folio, -ECONNABORTED);
}

static void abort_ends_request_that_nobody_has_read(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	fuse_wb_send_held(wb, file);
	KUNIT_ASSERT_NOT_NULL(test, fuse_wb_find(wb->server,
						 BIT_ULL(FUSE_WRITE)));
	fuse_wb_abort(wb->server);
	expect_ended(wb, file, folio, -ECONNABORTED);
}

/* Data is being copied out of the folio: writeback must not end before. */
static void aborted_request_that_is_half_read_ends_with_the_read(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	fuse_wb_send_held(wb, file);
	req = fuse_wb_read_half(wb->server, FUSE_WRITE);
	fuse_wb_abort(wb->server);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_WRITEBACK);
	fuse_wb_expect_counters(wb, 0, 1);
	/* If writeback has ended, the request has been freed: do not touch it. */
	KUNIT_ASSERT_TRUE(test, folio_test_writeback(folio));

	fuse_wb_read_rest(wb->server, req);
	expect_ended(wb, file, folio, -ECONNABORTED);
}

/* The server allows one background request in flight; the other one is queued. */
static void abort_ends_request_behind_max_background(struct kunit *test)
{
	static const struct fuse_wb_options options = {
		.flags = FUSE_WRITEBACK_CACHE,
		.max_background = 1,
	};
	struct fuse_wb *wb = fuse_wb_init(test, &options);
	struct folio *folio;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	fuse_wb_write_page(wb, file, 0);
	fuse_wb_write_page(wb, file, 2);
	folio = fuse_wb_get_folio(wb, file, 2);
	fuse_wb_send_held(wb, file);
	KUNIT_ASSERT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_WRITE), 1);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_WRITEBACK);
	fuse_wb_expect_counters(wb, 0, 2);

	fuse_wb_abort(wb->server);
	expect_ended(wb, file, folio, -ECONNABORTED);
}

static void request_that_cannot_be_sent_is_an_error(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct inode *inode;
	struct folio *folio;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	inode = file_inode(file);
	fuse_wb_write_page(wb, file, 0);
	folio = fuse_wb_get_folio(wb, file, 0);
	fuse_wb_run(wb, fuse_wb_do_set_nowrite, inode, 0, 0);
	fuse_wb_flush(wb, file);
	fuse_wb_abort(wb->server);
	KUNIT_EXPECT_TRUE(test, folio_test_writeback(folio));
	fuse_release_nowrite(inode);
	expect_ended(wb, file, folio, -ENOTCONN);
}

/* Nobody but a later fsync(2) can tell of data that munmap(2) has to leave unsent. */
static void data_that_munmap_cannot_send_is_an_error(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_inode *fi;
	struct file *file;
	errseq_t since;

	file = fuse_wb_open(wb, "file");
	fi = get_fuse_inode(file_inode(file));
	since = filemap_sample_wb_err(file->f_mapping);
	fuse_wb_write_page(wb, file, 0);
	fuse_wb_map(wb, file, PAGE_SIZE);

	set_bit(FUSE_I_BAD, &fi->state);
	KUNIT_EXPECT_EQ(test, vm_munmap(wb->addr, wb->len), 0);
	KUNIT_EXPECT_EQ(test, filemap_check_wb_err(file->f_mapping, since), -EIO);
	clear_bit(FUSE_I_BAD, &fi->state);
}

static void forced_umount_ends_writeback(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = hold_first_folio(wb, &file, &req);
	call = fuse_wb_start(wb, fuse_wb_do_fsync, file, 0, 0);
	fuse_wb_await_blocked(call, folio_test_waiters(folio));
	wb->server->sb->s_op->umount_begin(wb->server->sb);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), -ECONNABORTED);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_CLEAN);
	fuse_wb_expect_counters(wb, 0, 0);
}

static struct kunit_case endings_cases[] = {
	KUNIT_CASE(fsync_is_sent_after_the_write),
	KUNIT_CASE_PARAM(error_reaches_fsync_once, error_gen_params),
	KUNIT_CASE(error_reaches_each_open_file),
	KUNIT_CASE(error_reaches_close),
	KUNIT_CASE(short_write_is_an_error),
	KUNIT_CASE(write_of_more_than_was_sent_is_an_error),
	KUNIT_CASE(abort_ends_request_in_flight),
	KUNIT_CASE(abort_ends_request_that_nobody_has_read),
	KUNIT_CASE(aborted_request_that_is_half_read_ends_with_the_read),
	KUNIT_CASE(abort_ends_request_behind_max_background),
	KUNIT_CASE(request_that_cannot_be_sent_is_an_error),
	KUNIT_CASE(data_that_munmap_cannot_send_is_an_error),
	KUNIT_CASE(forced_umount_ends_writeback),
	{}
};

static struct kunit_suite endings_suite = {
	.name = "fuse_wb_endings",
	.init = fuse_wb_init_writeback_cache,
	.test_cases = endings_cases,
};

kunit_test_suite(endings_suite);
