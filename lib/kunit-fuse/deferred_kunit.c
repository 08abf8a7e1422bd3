// SPDX-License-Identifier: GPL-2.0-only
/*
 * What has to follow a WRITE, but must not block, is deferred to a workqueue: the
 * FLUSH of a task that was killed, and dropping a page that the server has
 * invalidated while it was locked. On a broken kernel the page stays in the cache,
 * with bytes that the server no longer has, or the server drops the locks of a new
 * task with those of the killed one: a lock owner is an address, and may be reused.
 */

#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "fixture.h"

/* FUSE_NOTIFY_INVAL_INODE for the whole file */
static long do_inval(struct fuse_wb_call *call)
{
	struct inode *inode = file_inode(call->data);
	struct fuse_conn *fc = get_fuse_conn(inode);
	long err;

	down_read(&fc->killsb);
	err = fuse_reverse_inval_inode(fc, get_node_id(inode), 0, 0);
	up_read(&fc->killsb);

	return err;
}

/* Invalidate page 0 under writeback; return the folio, and its WRITE, taken. */
static struct folio *invalidate_held(struct fuse_wb *wb, struct file **file,
				     struct fuse_req **req)
{
	struct folio *folio = fuse_wb_dirty_folio(wb, file);

	*req = fuse_wb_hold_writeback(wb, *file, folio);
	KUNIT_ASSERT_EQ(wb->test, fuse_wb_run(wb, do_inval, *file, 0, 0), 0);
	KUNIT_EXPECT_PTR_EQ(wb->test, folio->mapping, (*file)->f_mapping);

	return folio;
}

static void expect_dropped(struct fuse_wb *wb, struct file *file,
			   struct folio *folio)
{
	struct kunit *test = wb->test;

	flush_workqueue(wb->server->fc->deferred_wq);
	KUNIT_EXPECT_NULL(test, folio->mapping);
	KUNIT_EXPECT_EQ(test, file->f_mapping->nrpages, 0);
	fuse_wb_run(wb, fuse_wb_do_read_byte, file, 0, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_READ), 1);
}

/* Promise: inval */
static void invalidated_folio_goes_with_its_writeback(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = invalidate_held(wb, &file, &req);
	fuse_wb_answer(wb->server, req, 0);
	expect_dropped(wb, file, folio);
}

/* Promise: inval */
static void invalidated_folio_that_is_locked_goes_later(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct address_space *mapping;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;
	bool writeback;

	folio = invalidate_held(wb, &file, &req);
	folio_lock(folio);
	fuse_wb_answer(wb->server, req, 0);
	writeback = folio_test_writeback(folio);
	mapping = folio->mapping;
	folio_unlock(folio);
	KUNIT_EXPECT_FALSE(test, writeback);
	KUNIT_EXPECT_PTR_EQ(test, mapping, file->f_mapping);
	expect_dropped(wb, file, folio);
}

/* close(2) of the file by lock owner @pos, after SIGKILL */
static long do_killed_flush(struct fuse_wb_call *call)
{
	struct file *file = call->data;
	long err;

	send_sig(SIGKILL, current, 1);
	err = file->f_op->flush(file, (fl_owner_t)(long)call->pos);
	flush_signals(current);

	return err;
}

/* fcntl(2), F_SETLK, of the file by lock owner @pos */
static long do_setlk(struct fuse_wb_call *call)
{
	struct file *file = call->data;
	struct file_lock lock;

	locks_init_lock(&lock);
	lock.c.flc_type = F_WRLCK;
	lock.c.flc_flags = FL_POSIX;
	lock.c.flc_file = file;
	lock.c.flc_owner = (fl_owner_t)(long)call->pos;
	lock.fl_end = OFFSET_MAX;

	return file->f_op->lock(file, F_SETLK, &lock);
}

/* Promise: locks */
static void lock_waits_for_flush_of_its_owner_alone(struct kunit *test)
{
	static const struct fuse_wb_options options = {
		.flags = FUSE_WRITEBACK_CACHE | FUSE_POSIX_LOCKS,
	};
	const loff_t owner = 1, other = 2;
	struct fuse_wb *wb = fuse_wb_init(test, &options);
	struct fuse_wb_server *server = wb->server;
	const struct fuse_flush_in *in;
	struct fuse_wb_call *call;
	struct fuse_inode *fi;
	struct fuse_req *req;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	fi = get_fuse_inode(file_inode(file));
	fuse_wb_write_page(wb, file, 0);
	fuse_wb_hold(server, FUSE_WRITE);
	fuse_wb_hold(server, FUSE_FLUSH);
	KUNIT_ASSERT_EQ(test, fuse_wb_run(wb, do_killed_flush, file, owner, 0),
			-EINTR);
	req = fuse_wb_take(server, FUSE_WRITE);

	call = fuse_wb_start(wb, do_setlk, file, owner, 0);
	fuse_wb_await_blocked(call, fuse_wb_has_waiter(&fi->page_waitq));
	KUNIT_EXPECT_EQ(test, fuse_wb_run(wb, do_setlk, file, other, 0), 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_count(server, FUSE_WB_ARRIVED,
					    FUSE_SETLK), 1);

	/* The reply to WRITE alone must not unblock the lock. */
	fuse_wb_answer(server, req, 0);
	req = fuse_wb_take(server, FUSE_FLUSH);
	in = req->args->in_args[0].value;
	KUNIT_EXPECT_EQ(test, in->lock_owner,
			fuse_lock_owner_id(server->fc, (fl_owner_t)(long)owner));
	KUNIT_EXPECT_EQ(test, fuse_wb_run(wb, do_setlk, file, other, 0), 0);
	KUNIT_EXPECT_FALSE(test, fuse_wb_done(call));
	KUNIT_EXPECT_EQ(test, fuse_wb_count(server, FUSE_WB_ARRIVED,
					    FUSE_SETLK), 2);

	fuse_wb_answer(server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_count(server, FUSE_WB_ARRIVED,
					    FUSE_SETLK), 3);
}

static struct kunit_case deferred_cases[] = {
	KUNIT_CASE(invalidated_folio_goes_with_its_writeback),
	KUNIT_CASE(invalidated_folio_that_is_locked_goes_later),
	KUNIT_CASE(lock_waits_for_flush_of_its_owner_alone),
	{}
};

static struct kunit_suite deferred_suite = {
	.name = "fuse_wb_deferred",
	.init = fuse_wb_init_writeback_cache,
	.test_cases = deferred_cases,
};

kunit_test_suite(deferred_suite);
