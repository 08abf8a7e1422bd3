// SPDX-License-Identifier: GPL-2.0-only
/*
 * The I/O mode of an inode: caching, for users of the page cache, or uncached, for
 * parallel direct writers and for files that pass through to a backing file.
 *
 *	     last caching close          last writer, last passthrough close
 *	caching  <------->  (neutral)  <------->  uncached
 *	 ctr > 0               0                  ctr < 0
 *
 * A user that needs the other mode waits, takes the inode lock exclusively, or is
 * refused. On a broken kernel a direct writer runs concurrently with a user of the
 * page cache, or the inode stays in a mode without users, and is slow forever.
 *
 * Promise: direct-parallel
 */

#include <linux/cred.h>
#include <linux/idr.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>

#include "fixture.h"

#define DIRECT		FOPEN_DIRECT_IO
#define PARALLEL	FOPEN_PARALLEL_DIRECT_WRITES
#define SIZE		(8 * PAGE_SIZE)

static const struct fuse_wb_options options = {
	.flags = FUSE_ASYNC_DIO | FUSE_DIRECT_IO_ALLOW_MMAP | FUSE_PASSTHROUGH,
};

static int io_modes_init(struct kunit *test)
{
	struct fuse_wb *wb = fuse_wb_init(test, &options);

	test->priv = wb;
	wb->server->attr[FUSE_WB_FILE].size = SIZE;
	wb->server->attr[FUSE_WB_OTHER].size = SIZE;
	return 0;
}

static struct file *open_with(struct fuse_wb *wb, u32 open_flags)
{
	wb->server->open_flags = open_flags;
	return fuse_wb_open(wb, "file");
}

/* Is this result of an open a file? Then the fixture closes it. */
static bool is_open(struct fuse_wb *wb, long ret)
{
	unsigned int i;

	if (IS_ERR_VALUE(ret))
		return false;
	for (i = 0; wb->files[i]; i++)
		KUNIT_ASSERT_LT(wb->test, i, FUSE_WB_FILES - 1);
	wb->files[i] = (struct file *)ret;
	return true;
}

static void expect_refused(struct fuse_wb *wb, u32 open_flags)
{
	long ret;

	wb->server->open_flags = open_flags;
	ret = fuse_wb_run(wb, fuse_wb_do_open, "file", 0, 0);
	KUNIT_EXPECT_EQ(wb->test, ret, -EIO);
	is_open(wb, ret);
}

/* Expect @users in iocachectr, and whether parallel direct writers are allowed. */
static void expect_mode(struct fuse_wb *wb, struct file *file, int users,
			bool parallel)
{
	struct fuse_inode *fi = get_fuse_inode(file_inode(file));

	KUNIT_EXPECT_EQ(wb->test, fi->iocachectr, users);
	KUNIT_EXPECT_EQ(wb->test, parallel,
			!test_bit(FUSE_I_CACHE_IO_MODE, &fi->state));
}

/* Start a writer of one page, whose WRITE the server holds. */
static struct fuse_wb_call *start_writer(struct fuse_wb *wb, struct file *file,
					 pgoff_t index)
{
	fuse_wb_hold(wb->server, FUSE_WRITE);
	return fuse_wb_start(wb, fuse_wb_do_write, file,
			     (loff_t)index << PAGE_SHIFT, PAGE_SIZE);
}

static unsigned int writes(struct fuse_wb *wb)
{
	return fuse_wb_count(wb->server, FUSE_WB_ARRIVED, FUSE_WRITE);
}

static void end_writer(struct fuse_wb *wb, struct fuse_wb_call *writer)
{
	struct fuse_req *req = fuse_wb_take(wb->server, FUSE_WRITE);

	fuse_wb_answer(wb->server, req, 0);
	KUNIT_EXPECT_EQ(wb->test, PAGE_SIZE, fuse_wb_join(writer));
}

/* A task waits for the inode lock. */
static bool has_lock_waiter(struct file *file)
{
	return rwsem_is_contended(&file_inode(file)->i_rwsem);
}

/* Expect two writers of @file to have their WRITEs in flight simultaneously. */
static void expect_parallel(struct fuse_wb *wb, struct file *file)
{
	unsigned int before = writes(wb);
	struct fuse_wb_call *first, *second;

	first = start_writer(wb, file, 0);
	second = start_writer(wb, file, 1);
	fuse_wb_await(wb->server, writes(wb) == before + 2);
	expect_mode(wb, file, -2, true);
	fuse_wb_release(wb->server, FUSE_WRITE);
	KUNIT_EXPECT_EQ(wb->test, PAGE_SIZE, fuse_wb_join(first));
	KUNIT_EXPECT_EQ(wb->test, PAGE_SIZE, fuse_wb_join(second));
	expect_mode(wb, file, 0, true);
}

/* Expect one writer to wait for the other, in caching mode with @users. */
static void expect_serial(struct fuse_wb *wb, struct file *file, int users)
{
	unsigned int before = writes(wb);
	struct fuse_wb_call *first, *second;

	first = start_writer(wb, file, 0);
	fuse_wb_await(wb->server, writes(wb) == before + 1);
	second = start_writer(wb, file, 1);
	fuse_wb_await_blocked(second, has_lock_waiter(file) ||
			      writes(wb) > before + 1);
	KUNIT_EXPECT_EQ(wb->test, writes(wb), before + 1);
	expect_mode(wb, file, users, false);
	fuse_wb_release(wb->server, FUSE_WRITE);
	KUNIT_EXPECT_EQ(wb->test, PAGE_SIZE, fuse_wb_join(first));
	KUNIT_EXPECT_EQ(wb->test, PAGE_SIZE, fuse_wb_join(second));
	expect_mode(wb, file, users, false);
}

struct open_case {
	const char *name;
	int flags;
	u32 open_flags;
	int users;
};

static const struct open_case open_cases[] = {
	{ "cached", 0, FOPEN_KEEP_CACHE, 1 },
	{ "cached_parallel", 0, PARALLEL, 1 },
	{ "o_direct", O_DIRECT, 0, 1 },
	{ "o_direct_parallel", O_DIRECT, PARALLEL, 0 },
	{ "fopen_direct_io", 0, DIRECT, 0 },
	{ "fopen_direct_io_parallel", 0, DIRECT | PARALLEL, 0 },
};

KUNIT_ARRAY_PARAM_DESC(open, open_cases, name);

static void open_may_be_a_user_of_the_cache(struct kunit *test)
{
	const struct open_case *open = test->param_value;
	struct fuse_wb *wb = test->priv;
	struct file *direct = open_with(wb, DIRECT | PARALLEL);
	long ret;

	wb->server->open_flags = open->open_flags;
	ret = fuse_wb_run(wb, fuse_wb_do_open, "file", open->flags, 0);
	KUNIT_ASSERT_TRUE(test, is_open(wb, ret));
	expect_mode(wb, direct, open->users, !open->users);
	KUNIT_EXPECT_EQ(test, fuse_wb_close(wb, (struct file *)ret), 0);
	expect_mode(wb, direct, 0, true);
}

static void parallel_writers_go_together(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;

	expect_parallel(wb, open_with(wb, DIRECT | PARALLEL));
}

static void writers_go_alone_until_the_last_caching_close(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *direct = open_with(wb, DIRECT | PARALLEL);
	struct file *first = open_with(wb, 0), *second = open_with(wb, 0);

	expect_serial(wb, direct, 2);
	KUNIT_EXPECT_EQ(test, fuse_wb_close(wb, first), 0);
	expect_serial(wb, direct, 1);
	KUNIT_EXPECT_EQ(test, fuse_wb_close(wb, second), 0);
	expect_parallel(wb, direct);
}

/* Start a caching open that waits for a writer whose WRITE is held. */
static struct fuse_wb_call *start_open(struct fuse_wb *wb, struct file *file,
				       struct fuse_wb_call **writer)
{
	struct fuse_inode *fi = get_fuse_inode(file_inode(file));
	struct fuse_wb_call *call;

	*writer = start_writer(wb, file, 0);
	fuse_wb_await(wb->server, writes(wb) == 1);
	wb->server->open_flags = 0;
	call = fuse_wb_start(wb, fuse_wb_do_open, "file", 0, 0);
	fuse_wb_await_blocked(call, READ_ONCE(fi->iocachewait) == 1);
	expect_mode(wb, file, -1, false);

	return call;
}

/* A new writer must queue behind the open: a stream of them would starve it. */
static void caching_open_waits_for_the_writers_before_it(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *direct = open_with(wb, DIRECT | PARALLEL);
	struct fuse_wb_call *open, *writer, *next;
	long ret;

	open = start_open(wb, direct, &writer);
	next = start_writer(wb, direct, 1);
	fuse_wb_await_blocked(next, has_lock_waiter(direct) || writes(wb) > 1);
	KUNIT_EXPECT_EQ(test, writes(wb), 1);
	KUNIT_EXPECT_FALSE(test, fuse_wb_done(open));
	end_writer(wb, writer);
	end_writer(wb, next);
	ret = fuse_wb_join(open);
	KUNIT_ASSERT_TRUE(test, is_open(wb, ret));
	expect_mode(wb, direct, 1, false);
	KUNIT_EXPECT_EQ(test, fuse_wb_close(wb, (struct file *)ret), 0);
	expect_mode(wb, direct, 0, true);
}

/* Promise: direct-kill */
static void killed_open_leaves_no_trace(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *direct = open_with(wb, DIRECT | PARALLEL);
	struct fuse_wb_call *open, *writer;

	long ret;

	open = start_open(wb, direct, &writer);
	send_sig(SIGKILL, open->task, 1);
	ret = fuse_wb_join(open);
	KUNIT_EXPECT_EQ(test, ret, -EINTR);
	is_open(wb, ret);
	KUNIT_EXPECT_EQ(test, get_fuse_inode(file_inode(direct))->iocachewait, 0);
	expect_mode(wb, direct, -1, true);
	end_writer(wb, writer);
	expect_parallel(wb, direct);
}

static void mapping_is_a_user_of_the_cache(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *direct = open_with(wb, DIRECT | PARALLEL);

	expect_mode(wb, direct, 0, true);
	fuse_wb_map(wb, direct, PAGE_SIZE);
	expect_serial(wb, direct, 1);
}

/* Promise: direct-kill */
static void mapping_waits_for_no_writer_and_counts_after_it(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *direct = open_with(wb, DIRECT | PARALLEL);
	struct fuse_inode *fi = get_fuse_inode(file_inode(direct));
	struct fuse_wb_call *writer;

	writer = start_writer(wb, direct, 0);
	fuse_wb_await(wb->server, writes(wb) == 1);
	fuse_wb_map(wb, direct, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, fi->iocachemaps, 1);
	expect_mode(wb, direct, -1, false);
	end_writer(wb, writer);
	KUNIT_EXPECT_EQ(test, fi->iocachemaps, 0);
	expect_serial(wb, direct, 1);
}

/* Register a backing file with the connection, as the ioctl does. */
static u32 add_backing_file(struct fuse_wb *wb)
{
	struct fuse_conn *fc = wb->server->fc;
	struct fuse_backing *fb;
	int id;

	if (!IS_ENABLED(CONFIG_FUSE_PASSTHROUGH) || !IS_ENABLED(CONFIG_SHMEM))
		kunit_skip(wb->test, "needs CONFIG_FUSE_PASSTHROUGH and CONFIG_SHMEM");
	fb = kzalloc(sizeof(*fb), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(wb->test, fb);
	refcount_set(&fb->count, 1);
	fb->cred = prepare_creds();
	fb->file = shmem_kernel_file_setup("backing", SIZE, VM_NORESERVE);
	idr_preload(GFP_KERNEL);
	spin_lock(&fc->lock);
	id = idr_alloc_cyclic(&fc->backing_files_map, fb, 1, 0, GFP_ATOMIC);
	spin_unlock(&fc->lock);
	idr_preload_end();
	/* The connection puts fb; without fb->file it cannot be opened */
	KUNIT_ASSERT_GT(wb->test, id, 0);
	KUNIT_ASSERT_FALSE(wb->test, IS_ERR(fb->file));
	KUNIT_ASSERT_NOT_NULL(wb->test, fb->cred);

	return id;
}

static void passthrough_keeps_the_cache_out(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *direct = open_with(wb, DIRECT | PARALLEL), *first, *second;

	wb->server->backing_id = add_backing_file(wb);
	first = open_with(wb, FOPEN_PASSTHROUGH);
	second = open_with(wb, FOPEN_PASSTHROUGH);
	expect_mode(wb, direct, -2, true);
	expect_refused(wb, 0);
	expect_refused(wb, DIRECT);
	KUNIT_EXPECT_EQ(test, fuse_wb_close(wb, first), 0);
	expect_mode(wb, direct, -1, true);
	expect_refused(wb, 0);
	KUNIT_EXPECT_EQ(test, fuse_wb_close(wb, second), 0);
	open_with(wb, 0);
	expect_mode(wb, direct, 1, false);
}

static void cache_keeps_passthrough_out(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *direct = open_with(wb, DIRECT | PARALLEL), *cached;

	wb->server->backing_id = add_backing_file(wb);
	cached = open_with(wb, 0);
	expect_refused(wb, FOPEN_PASSTHROUGH);
	expect_mode(wb, direct, 1, false);
	KUNIT_EXPECT_EQ(test, fuse_wb_close(wb, cached), 0);
	open_with(wb, FOPEN_PASSTHROUGH);
	expect_mode(wb, direct, -1, true);
}

/* A mapping made while a writer runs counts before the writer has finished. */
static void mapping_keeps_passthrough_out(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *direct = open_with(wb, DIRECT | PARALLEL);
	struct fuse_wb_call *writer;

	wb->server->backing_id = add_backing_file(wb);
	writer = start_writer(wb, direct, 0);
	fuse_wb_await(wb->server, writes(wb) == 1);
	fuse_wb_map(wb, direct, PAGE_SIZE);
	expect_refused(wb, FOPEN_PASSTHROUGH);
	expect_mode(wb, direct, -1, false);
	end_writer(wb, writer);
	expect_refused(wb, FOPEN_PASSTHROUGH);
	expect_mode(wb, direct, 1, false);
}

static void inode_has_one_backing_file(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *direct = open_with(wb, DIRECT | PARALLEL), *first;
	u32 ids[] = { add_backing_file(wb), add_backing_file(wb) };

	wb->server->backing_id = ids[0];
	first = open_with(wb, FOPEN_PASSTHROUGH);
	wb->server->backing_id = ids[1];
	expect_refused(wb, FOPEN_PASSTHROUGH);
	expect_mode(wb, direct, -1, true);
	KUNIT_EXPECT_EQ(test, fuse_wb_close(wb, first), 0);
	open_with(wb, FOPEN_PASSTHROUGH);
	expect_mode(wb, direct, -1, true);
}

/* The waiting open is not left to wait until the passthrough file is closed. */
static void passthrough_refuses_the_caching_open_that_waits(struct kunit *test)
{
	struct fuse_wb *wb = test->priv;
	struct file *direct = open_with(wb, DIRECT | PARALLEL);
	struct fuse_wb_call *open, *writer;
	long ret;

	wb->server->backing_id = add_backing_file(wb);
	open = start_open(wb, direct, &writer);
	open_with(wb, FOPEN_PASSTHROUGH);
	/* If this does not wake the open, only a signal does, not an abort */
	KUNIT_EXPECT_NE(test, 0UL,
			wait_for_completion_timeout(&open->finished,
						    FUSE_WB_DEADLINE));
	send_sig(SIGKILL, open->task, 1);
	ret = fuse_wb_join(open);
	KUNIT_EXPECT_EQ(test, ret, -EIO);
	is_open(wb, ret);
	expect_mode(wb, direct, -2, true);
	end_writer(wb, writer);
	expect_mode(wb, direct, -1, true);
}

static struct kunit_case io_modes_cases[] = {
	KUNIT_CASE_PARAM(open_may_be_a_user_of_the_cache, open_gen_params),
	KUNIT_CASE(parallel_writers_go_together),
	KUNIT_CASE(writers_go_alone_until_the_last_caching_close),
	KUNIT_CASE(caching_open_waits_for_the_writers_before_it),
	KUNIT_CASE(killed_open_leaves_no_trace),
	KUNIT_CASE(mapping_is_a_user_of_the_cache),
	KUNIT_CASE(mapping_waits_for_no_writer_and_counts_after_it),
	KUNIT_CASE(passthrough_keeps_the_cache_out),
	KUNIT_CASE(cache_keeps_passthrough_out),
	KUNIT_CASE(mapping_keeps_passthrough_out),
	KUNIT_CASE(inode_has_one_backing_file),
	KUNIT_CASE(passthrough_refuses_the_caching_open_that_waits),
	{}
};

static struct kunit_suite io_modes_suite = {
	.name = "fuse_wb_io_modes",
	.init = io_modes_init,
	.test_cases = io_modes_cases,
};

kunit_test_suite(io_modes_suite);
