// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of the server and the fixture themselves: the log, holding of requests,
 * and that a test that ends anywhere leaks nothing.
 */

#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "fixture.h"

static void request_is_answered_unless_held(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct fuse_req *req;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	KUNIT_EXPECT_EQ(test, fuse_wb_fsync(wb, file), 0);

	fuse_wb_hold(wb->server, FUSE_FSYNC);
	call = fuse_wb_start(wb, fuse_wb_do_fsync, file, 0, 0);
	fuse_wb_await(wb->server, fuse_wb_find(wb->server, BIT_ULL(FUSE_FSYNC)));
	/* Later requests get replies while this one is still pending. */
	fuse_wb_open(wb, "other");
	KUNIT_ASSERT_NOT_NULL(test, fuse_wb_find(wb->server, BIT_ULL(FUSE_FSYNC)));
	req = fuse_wb_take(wb->server, FUSE_FSYNC);
	KUNIT_EXPECT_EQ(test, req->in.h.nodeid, get_node_id(file_inode(file)));
	KUNIT_EXPECT_FALSE(test, fuse_wb_done(call));
	fuse_wb_answer(wb->server, req, -EDOM);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), -EDOM);
}

static void released_request_is_answered(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	fuse_wb_hold(wb->server, FUSE_FSYNC);
	call = fuse_wb_start(wb, fuse_wb_do_fsync, file, 0, 0);
	fuse_wb_await(wb->server, fuse_wb_find(wb->server, BIT_ULL(FUSE_FSYNC)));
	fuse_wb_release(wb->server, FUSE_FSYNC);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 0);
}

static void log_has_the_order_of_events(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_server *server = wb->server;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	KUNIT_EXPECT_EQ(test, fuse_wb_fsync(wb, file), 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_index(server, FUSE_WB_ARRIVED, FUSE_INIT, 0),
			0);
	KUNIT_EXPECT_LT(test,
			fuse_wb_index(server, FUSE_WB_ANSWERED, FUSE_OPEN, 0),
			fuse_wb_index(server, FUSE_WB_ARRIVED, FUSE_FSYNC, 0));
	KUNIT_EXPECT_LT(test,
			fuse_wb_index(server, FUSE_WB_ARRIVED, FUSE_FSYNC, 0),
			fuse_wb_index(server, FUSE_WB_TAKEN, FUSE_FSYNC, 0));
	KUNIT_EXPECT_LT(test,
			fuse_wb_index(server, FUSE_WB_TAKEN, FUSE_FSYNC, 0),
			fuse_wb_index(server, FUSE_WB_ANSWERED, FUSE_FSYNC, 0));
	KUNIT_EXPECT_EQ(test, fuse_wb_count(server, FUSE_WB_ARRIVED, FUSE_FSYNC), 1);
	KUNIT_EXPECT_EQ(test, fuse_wb_index(server, FUSE_WB_ARRIVED, FUSE_FSYNC, 1),
			-ENOENT);
}

static void data_of_the_server_is_read(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *file;

	wb->server->attr[FUSE_WB_FILE].size = PAGE_SIZE + 1;
	file = fuse_wb_open(wb, "file");
	KUNIT_EXPECT_EQ(test, fuse_wb_run(wb, fuse_wb_do_read_byte, file, 0, 0),
			'S');
	KUNIT_EXPECT_EQ(test, fuse_wb_run(wb, fuse_wb_do_read_byte, file,
					  PAGE_SIZE, 0), 'S');
	KUNIT_EXPECT_EQ(test, fuse_wb_run(wb, fuse_wb_do_read_byte, file,
					  PAGE_SIZE + 1, 0), -ENODATA);
}

static void signal_interrupts_request_that_was_taken(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct fuse_wb_call *call;
	struct fuse_req *req;
	struct file *file;

	file = fuse_wb_open(wb, "file");
	fuse_wb_hold(wb->server, FUSE_FSYNC);
	call = fuse_wb_start(wb, fuse_wb_do_fsync, file, 0, 0);
	req = fuse_wb_take(wb->server, FUSE_FSYNC);
	send_sig(SIGINT, call->task, 1);
	fuse_wb_await(wb->server, fuse_wb_count(wb->server, FUSE_WB_INTERRUPTED,
						FUSE_FSYNC) == 1);
	KUNIT_EXPECT_FALSE(test, fuse_wb_done(call));
	fuse_wb_answer(wb->server, req, -EINTR);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), -EINTR);
}

/*
 * The test ends with two calls blocked, a request half read, one taken, one
 * pending and a file mapped, as after a failed assertion. The connection is freed
 * only after its requests and inodes.
 */
static void test_that_ends_anywhere_leaves_nothing(struct kunit *test)
{
	static const struct fuse_wb_options options = {
		.flags = FUSE_WRITEBACK_CACHE,
	};
	struct fuse_wb_counters after;
	struct kunit *inner;
	struct file *file;
	struct fuse_wb *wb;
	struct folio *folio;
	pgoff_t index;

	inner = kunit_kzalloc(test, sizeof(*inner), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, inner);
	kunit_init_test(inner, "inner", NULL);

	wb = fuse_wb_init(inner, &options);
	file = fuse_wb_open(wb, "file");
	fuse_wb_hold(wb->server, FUSE_WRITE);
	for (index = 0; index < 6; index += 2)
		fuse_wb_write_page(wb, file, index);
	fuse_wb_map(wb, file, PAGE_SIZE);
	fuse_wb_flush(wb, file);
	folio = fuse_wb_get_folio(wb, file, 0);
	fuse_wb_take(wb->server, FUSE_WRITE);
	fuse_wb_read_half(wb->server, FUSE_WRITE);
	fuse_wb_await_blocked(fuse_wb_start(wb, fuse_wb_do_fsync, file, 0, 0),
			      folio_test_waiters(folio));
	fuse_wb_start(wb, fuse_wb_do_store, NULL, 0, 1);
	KUNIT_EXPECT_EQ(test, fuse_wb_live_writes(wb->server, folio), 1);

	kunit_cleanup(inner);
	KUNIT_EXPECT_EQ(test, inner->status, KUNIT_SUCCESS);
	fuse_wb_count_pages(test->priv, &after);
	wb = test->priv;
	KUNIT_EXPECT_EQ(test, after.nr_writeback, wb->before.nr_writeback);
	KUNIT_EXPECT_EQ(test, after.nr_dirty, wb->before.nr_dirty);
}

static struct kunit_case server_cases[] = {
	KUNIT_CASE(request_is_answered_unless_held),
	KUNIT_CASE(released_request_is_answered),
	KUNIT_CASE(log_has_the_order_of_events),
	KUNIT_CASE(data_of_the_server_is_read),
	KUNIT_CASE(signal_interrupts_request_that_was_taken),
	KUNIT_CASE(test_that_ends_anywhere_leaves_nothing),
	{}
};

static struct kunit_suite server_suite = {
	.name = "fuse_wb_server",
	.init = fuse_wb_init_writeback_cache,
	.test_cases = server_cases,
};

kunit_test_suite(server_suite);
