// SPDX-License-Identifier: GPL-2.0-only
/*
 * The requests of a long direct read are in flight in parallel if the server
 * supports that, and the read ends before the first missing byte. On a broken
 * kernel they are sent one by one, or the result counts bytes beyond a gap.
 *
 * A reply may change i_size at any time, whatever inode lock is held. Whether a
 * write extends the file is decided once, when the lock mode is chosen: a parallel
 * writer never truncates, though the file may have shrunk by the time it fails.
 *
 * Promise: direct-at-once
 */

#include <linux/fcntl.h>
#include <linux/pagemap.h>

#include "fixture.h"

/* Bytes of a request, and requests of a read of the whole file. */
#define STEP	(2 * PAGE_SIZE)
#define STEPS	8

struct at_once_case {
	const char *name;
	struct fuse_wb_options options;
	u32 open_flags;
	unsigned int at_once;
};

static const struct at_once_case at_once_cases[] = {
	{ "asked_for", { .flags = FUSE_ASYNC_DIO, .max_pages = 2 },
	  FOPEN_PARALLEL_DIRECT_WRITES, STEPS },
	{ "not_asked_for", { .max_pages = 2 }, FOPEN_PARALLEL_DIRECT_WRITES, 1 },
	{ "asked_for_o_direct", { .flags = FUSE_ASYNC_DIO, .max_pages = 2 }, 0, 1 },
	{ "max_background",
	  { .flags = FUSE_ASYNC_DIO, .max_pages = 2, .max_background = 3 },
	  FOPEN_PARALLEL_DIRECT_WRITES, 3 },
};

KUNIT_ARRAY_PARAM_DESC(at_once, at_once_cases, name);

/* Start a read of the whole file, with its READs held. */
static struct fuse_wb_call *start_read(struct kunit *test,
				       const struct at_once_case *at_once)
{
	struct fuse_wb *wb = fuse_wb_init(test, &at_once->options);
	struct file *file;

	wb->server->attr[FUSE_WB_FILE].size = STEPS * STEP;
	wb->server->open_flags = FOPEN_DIRECT_IO | at_once->open_flags;
	file = fuse_wb_open(wb, "file");
	fuse_wb_map(wb, NULL, STEPS * STEP);
	fuse_wb_hold(wb->server, FUSE_READ);

	return fuse_wb_start(wb, fuse_wb_do_read_user, file, 0, STEPS * STEP);
}

static unsigned int reads(struct fuse_wb *wb, enum fuse_wb_what what)
{
	return fuse_wb_count(wb->server, what, FUSE_READ);
}

static bool is_asleep(const struct fuse_wb_call *call)
{
	return READ_ONCE(call->task->__state) & TASK_NORMAL;
}

/* Each reply may let another request in, but never more than at_once in flight. */
static void requests_of_a_read_are_under_way_together(struct kunit *test)
{
	const struct at_once_case *at_once = test->param_value;
	struct fuse_wb_call *call = start_read(test, at_once);
	struct fuse_wb *wb = call->wb;
	unsigned int i;

	for (i = 0; i < STEPS; i++) {
		unsigned int nr = min(i + at_once->at_once, STEPS);

		fuse_wb_await_blocked(call, reads(wb, FUSE_WB_ARRIVED) >= nr &&
				      is_asleep(call));
		KUNIT_EXPECT_EQ(test, reads(wb, FUSE_WB_ARRIVED), nr);
		fuse_wb_answer(wb->server, fuse_wb_take(wb->server, FUSE_READ),
			       0);
	}
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), STEPS * STEP);
}

/* Take all requests of a read, and reply to them, the last one first. */
static long answer_all(struct fuse_wb_call *call, unsigned int step, u32 size,
		       int error)
{
	struct fuse_wb_server *server = call->wb->server;
	struct fuse_req *req[STEPS];
	int i;

	for (i = 0; i < STEPS; i++)
		req[i] = fuse_wb_take(server, FUSE_READ);
	for (i = STEPS - 1; i >= 0; i--) {
		if (i == step && !error)
			fuse_wb_answer_read(server, req[i], size);
		else
			fuse_wb_answer(server, req[i], i == step ? error : 0);
	}

	return fuse_wb_join(call);
}

static void short_answer_ends_the_read_there(struct kunit *test)
{
	struct fuse_wb_call *call = start_read(test, &at_once_cases[0]);

	KUNIT_EXPECT_EQ(test, answer_all(call, 3, PAGE_SIZE, 0),
			3 * STEP + PAGE_SIZE);
}

static void error_ends_the_read_there(struct kunit *test)
{
	struct fuse_wb_call *call = start_read(test, &at_once_cases[0]);

	KUNIT_EXPECT_EQ(test, answer_all(call, 3, 0, -ENOSPC), 3 * STEP);
}

static void error_of_the_first_request_is_returned(struct kunit *test)
{
	struct fuse_wb_call *call = start_read(test, &at_once_cases[0]);

	KUNIT_EXPECT_EQ(test, answer_all(call, 0, 0, -ENOSPC), -ENOSPC);
}

/*
 * Start a plain O_DIRECT write inside the file, under the shared lock, and have the
 * server report that the file is empty while the WRITE is held.
 */
static struct fuse_wb_call *shrink_under_write(struct kunit *test)
{
	const struct fuse_wb_options options = { .flags = FUSE_ASYNC_DIO };
	struct fuse_wb *wb = fuse_wb_init(test, &options);
	struct fuse_wb_call *call;
	struct file *file;
	struct kstat stat;

	wb->server->attr[FUSE_WB_FILE].size = STEP;
	wb->server->open_flags = FOPEN_PARALLEL_DIRECT_WRITES;
	file = fuse_wb_open_flags(wb, "file", O_DIRECT);
	fuse_wb_hold(wb->server, FUSE_WRITE);
	call = fuse_wb_start(wb, fuse_wb_do_write, file, 0, STEP);
	fuse_wb_await_blocked(call, fuse_wb_count(wb->server, FUSE_WB_ARRIVED,
						  FUSE_WRITE));

	wb->server->attr[FUSE_WB_FILE].size = 0;
	KUNIT_ASSERT_EQ(test, vfs_getattr(&file->f_path, &stat, STATX_SIZE,
					  AT_STATX_FORCE_SYNC), 0);
	KUNIT_ASSERT_EQ(test, i_size_read(file_inode(file)), 0);
	return call;
}

/* Promise: direct-shrunk */
static void parallel_write_that_fails_does_not_truncate(struct kunit *test)
{
	struct fuse_wb_call *call = shrink_under_write(test);
	struct fuse_wb_server *server = call->wb->server;

	fuse_wb_answer(server, fuse_wb_take(server, FUSE_WRITE), -ENOSPC);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), -ENOSPC);
	KUNIT_EXPECT_EQ(test, fuse_wb_count(server, FUSE_WB_ARRIVED,
					    FUSE_SETATTR), 0);
	KUNIT_EXPECT_EQ(test, i_size_read(file_inode(call->data)), 0);
}

/* Promise: direct-shrunk */
static void parallel_write_covers_what_it_wrote(struct kunit *test)
{
	struct fuse_wb_call *call = shrink_under_write(test);
	struct fuse_wb_server *server = call->wb->server;

	fuse_wb_answer(server, fuse_wb_take(server, FUSE_WRITE), 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), STEP);
	KUNIT_EXPECT_EQ(test, i_size_read(file_inode(call->data)), STEP);
}

static struct kunit_case direct_cases[] = {
	KUNIT_CASE_PARAM(requests_of_a_read_are_under_way_together,
			 at_once_gen_params),
	KUNIT_CASE(short_answer_ends_the_read_there),
	KUNIT_CASE(error_ends_the_read_there),
	KUNIT_CASE(error_of_the_first_request_is_returned),
	KUNIT_CASE(parallel_write_that_fails_does_not_truncate),
	KUNIT_CASE(parallel_write_covers_what_it_wrote),
	{}
};

static struct kunit_suite direct_suite = {
	.name = "fuse_wb_direct",
	.test_cases = direct_cases,
};

kunit_test_suite(direct_suite);
