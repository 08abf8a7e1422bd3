// SPDX-License-Identifier: GPL-2.0-only
/*
 * sync(2) works for the whole system. It sends all dirty data to a FUSE server,
 * and does not wait for the replies: a server that sends none would block every
 * caller, and suspend as well. On a broken kernel it waits, or skips dirty data.
 *
 * Promise: sync-2
 */

#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/writeback.h>

#include "fixture.h"

/* sync(2) of one superblock, which is the data */
static long do_sync_inodes(struct fuse_wb_call *call)
{
	struct super_block *sb = call->data;

	down_read(&sb->s_umount);
	sync_inodes_sb(sb);
	up_read(&sb->s_umount);

	return 0;
}

/* syncfs(2) of the superblock in the data */
static long do_sync_filesystem(struct fuse_wb_call *call)
{
	struct super_block *sb = call->data;
	int err;

	down_read(&sb->s_umount);
	err = sync_filesystem(sb);
	up_read(&sb->s_umount);

	return err;
}

static const struct sync_case {
	const char *name;
	long (*fn)(struct fuse_wb_call *call);
} sync_cases[] = {
	{ "sync_inodes_sb", do_sync_inodes },
	{ "sync_filesystem", do_sync_filesystem },
};

KUNIT_ARRAY_PARAM_DESC(sync, sync_cases, name);

static void sync_does_not_wait_for_held_write(struct kunit *test)
{
	const struct sync_case *param = test->param_value;
	struct fuse_wb *wb = test->priv;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	req = fuse_wb_hold_writeback(wb, file, folio);
	KUNIT_EXPECT_EQ(test, 0,
			fuse_wb_run(wb, param->fn, wb->server->sb, 0, 0));
	fuse_wb_expect_folio(wb, folio, FUSE_WB_WRITEBACK);
	KUNIT_EXPECT_FALSE(test, list_empty(&file_inode(file)->i_wb_list));

	fuse_wb_answer(wb->server, req, 0);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_CLEAN);
	KUNIT_EXPECT_TRUE(test, list_empty(&file_inode(file)->i_wb_list));
}

/* Positive control: the same file without AS_WRITEBACK_MAY_BLOCK. */
static void sync_waits_for_writeback_that_ends(struct kunit *test)
{
	const struct sync_case *param = test->param_value;
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	clear_bit(AS_WRITEBACK_MAY_BLOCK, &file->f_mapping->flags);
	req = fuse_wb_hold_writeback(wb, file, folio);
	call = fuse_wb_start(wb, param->fn, wb->server->sb, 0, 0);
	fuse_wb_await_blocked(call, folio_test_waiters(folio));

	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
}

static void sync_sends_what_is_dirty(struct kunit *test)
{
	const struct sync_case *param = test->param_value;
	struct fuse_wb *wb = test->priv;
	struct file *file, *other;

	file = fuse_wb_open(wb, "file");
	other = fuse_wb_open(wb, "other");
	fuse_wb_hold(wb->server, FUSE_WRITE);
	fuse_wb_write_page(wb, file, 0);
	fuse_wb_write(wb, other, 0, 3 * PAGE_SIZE);
	fuse_wb_expect_counters(wb, 4, 0);

	KUNIT_EXPECT_EQ(test, 0,
			fuse_wb_run(wb, param->fn, wb->server->sb, 0, 0));
	fuse_wb_expect_counters(wb, 0, 4);
	KUNIT_EXPECT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_WRITE), 2);
}

static const struct fuse_wb_options trusted = {
	.flags = FUSE_WRITEBACK_CACHE,
	.sync_fs = true,
};

/*
 * virtio-fs trusts its server: syncfs(2) waits for the WRITEs in flight, and then
 * sends SYNCFS.
 *
 * Promise: 660585b56e63
 */
static void syncfs_waits_for_a_trusted_server(struct kunit *test)
{
	struct fuse_wb *wb = fuse_wb_init(test, &trusted);
	struct fuse_sync_bucket *bucket;
	struct fuse_wb_call *call;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;

	folio = fuse_wb_dirty_folio(wb, &file);
	req = fuse_wb_hold_writeback(wb, file, folio);
	bucket = rcu_dereference_protected(wb->server->fc->curr_bucket, true);
	call = fuse_wb_start(wb, do_sync_filesystem, wb->server->sb, 0, 0);
	fuse_wb_await_blocked(call, fuse_wb_has_waiter(&bucket->waitq));
	KUNIT_EXPECT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_SYNCFS), 0);

	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
					    FUSE_SYNCFS), 1);
}

/*
 * A folio is redirtied while its WRITE is in flight. A broken kernel skips it, and
 * SYNCFS is sent before its new data.
 *
 * Promise: 660585b56e63
 */
static void syncfs_follows_what_was_dirtied_again(struct kunit *test)
{
	struct fuse_wb *wb = fuse_wb_init(test, &trusted);
	struct fuse_wb_server *server = wb->server;
	struct fuse_wb_call *call;
	struct fuse_req *req;
	struct folio *folio;
	struct file *file;
	int second;

	folio = fuse_wb_dirty_folio(wb, &file);
	req = fuse_wb_hold_writeback(wb, file, folio);
	folio_lock(folio);
	folio_mark_dirty(folio);
	folio_unlock(folio);
	call = fuse_wb_start(wb, do_sync_filesystem, server->sb, 0, 0);
	/* The folio's waiter is the flusher; the call waits for the flusher. */
	fuse_wb_await_blocked(call, folio_test_waiters(folio));

	fuse_wb_answer(server, req, 0);
	req = fuse_wb_take(server, FUSE_WRITE);
	KUNIT_EXPECT_EQ(test, fuse_wb_count(server, FUSE_WB_ARRIVED,
					    FUSE_SYNCFS), 0);
	fuse_wb_answer(server, req, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
	second = fuse_wb_index(server, FUSE_WB_ANSWERED, FUSE_WRITE, 1);
	KUNIT_EXPECT_GE(test, second, 0);
	KUNIT_EXPECT_LT(test, second,
			fuse_wb_index(server, FUSE_WB_ARRIVED, FUSE_SYNCFS, 0));
	fuse_wb_expect_folio(wb, folio, FUSE_WB_CLEAN);
}

/* inode_drain_writes() of the inode in the data */
static long do_drain(struct fuse_wb_call *call)
{
	return inode_drain_writes(call->data);
}

/* Start do_drain() on a file whose WRITE, @req, is held; it waits for @folio. */
static struct fuse_wb_call *start_drain(struct fuse_wb *wb, struct folio **folio,
					struct fuse_req **req)
{
	struct fuse_wb_call *call;
	struct file *file;

	*folio = fuse_wb_dirty_folio(wb, &file);
	*req = fuse_wb_hold_writeback(wb, file, *folio);
	call = fuse_wb_start(wb, do_drain, file_inode(file), 0, 0);
	fuse_wb_await_blocked(call, folio_test_waiters(*folio));

	return call;
}

/*
 * swapon(2) drains the writes of the file first, while it holds the inode lock.
 *
 * Promise: kill
 */
static void fatal_signal_ends_the_drain(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct folio *folio;
	struct fuse_req *req;

	call = start_drain(wb, &folio, &req);
	send_sig(SIGKILL, call->task, 1);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), -EINTR);
	fuse_wb_expect_folio(wb, folio, FUSE_WB_WRITEBACK);
	fuse_wb_answer(wb->server, req, 0);
}

static void drain_waits_for_writes_and_reports_their_errors(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct folio *folio;
	struct fuse_req *req;

	call = start_drain(wb, &folio, &req);
	fuse_wb_answer(wb->server, req, -EIO);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), -EIO);
}

static struct kunit_case sync_kunit_cases[] = {
	KUNIT_CASE_PARAM(sync_does_not_wait_for_held_write, sync_gen_params),
	KUNIT_CASE_PARAM(sync_waits_for_writeback_that_ends, sync_gen_params),
	KUNIT_CASE_PARAM(sync_sends_what_is_dirty, sync_gen_params),
	KUNIT_CASE(syncfs_waits_for_a_trusted_server),
	KUNIT_CASE(syncfs_follows_what_was_dirtied_again),
	KUNIT_CASE(fatal_signal_ends_the_drain),
	KUNIT_CASE(drain_waits_for_writes_and_reports_their_errors),
	{}
};

static struct kunit_suite sync_suite = {
	.name = "fuse_wb_sync",
	.init = fuse_wb_init_writeback_cache,
	.test_cases = sync_kunit_cases,
};

kunit_test_suite(sync_suite);
