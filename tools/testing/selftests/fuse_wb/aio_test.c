// SPDX-License-Identifier: GPL-2.0
/*
 * Asynchronous direct I/O through libaio and io_uring.
 *
 * All requests of a call are in flight together while the caller goes on.
 * Three things must still happen at completion: errors are reported; i_size is
 * updated if the file grows, for which the call does wait; and pages that were
 * read while a write was in flight are dropped from the page cache.  Linux 6.12
 * leaves these pages cached, and lets an open use the page cache while the
 * write is in flight.
 *
 * Promise: direct-aio
 */

#include <sys/mman.h>
#include <sys/syscall.h>

#include "aio.h"
#include "direct.h"

FIXTURE(aio)
{
	struct direct d;
};

/* open_flags: FOPEN_DIRECT_IO in addition to O_DIRECT, or 0 */
FIXTURE_VARIANT(aio)
{
	const struct call_op *read;
	const struct call_op *write;
	__u32 open_flags;
};

FIXTURE_VARIANT_ADD(aio, libaio)
{
	.read = &call_aio_pread, .write = &call_aio_pwrite,
};

FIXTURE_VARIANT_ADD(aio, libaio_fopen_direct_io)
{
	.read = &call_aio_pread, .write = &call_aio_pwrite,
	.open_flags = FOPEN_DIRECT_IO,
};

FIXTURE_VARIANT_ADD(aio, io_uring_fopen_direct_io)
{
	.read = &call_uring_pread, .write = &call_uring_pwrite,
	.open_flags = FOPEN_DIRECT_IO,
};

FIXTURE_SETUP(aio)
{
	const struct server_opts opts = {
		.async_dio = true,
		.max_write = STEP,
		.open_flags = variant->open_flags |
			      FOPEN_PARALLEL_DIRECT_WRITES,
		.init_flags = FUSE_DIRECT_IO_ALLOW_MMAP,
	};

	direct_setup(_metadata, &self->d, &opts, variant, O_DIRECT);
}

FIXTURE_TEARDOWN(aio)
{
	mnt_teardown(_metadata, &self->d.m);
}

/* @nr requests are in flight simultaneously, and the call returns all bytes. */
static void check_call(struct __test_metadata *_metadata, struct direct *d,
		       const struct call_op *op, __u32 opcode, int nr)
{
	struct call *c = direct_call(d, op, opcode, 0, nr * STEP);

	ASSERT_NE(NULL, c);
	EXPECT_TRUE(direct_under_way(&d->m, opcode, nr));
	ASSERT_EQ(nr, server_release(d->m.ctl, 0));
	direct_check(_metadata, d, c, nr * STEP);
}

TEST_F(aio, requests_of_a_read_are_sent_at_once)
{
	check_call(_metadata, &self->d, variant->read, FUSE_READ, STEPS);
}

TEST_F(aio, requests_of_a_write_are_sent_at_once)
{
	check_call(_metadata, &self->d, variant->write, FUSE_WRITE, STEPS);
}

TEST_F(aio, single_requests_come_through)
{
	check_call(_metadata, &self->d, variant->read, FUSE_READ, 1);
	check_call(_metadata, &self->d, variant->write, FUSE_WRITE, 1);
}

/* Only libaio shows this: io_uring waits for FUSE in a worker thread. */
TEST_F(aio, submission_does_not_wait)
{
	struct direct *d = &self->d;
	struct call_arg arg = direct_arg(d, FUSE_WRITE, 0, BYTES);
	struct aio aio;

	ASSERT_EQ(0, hold_req(&d->m, FUSE_WRITE));
	ASSERT_EQ(0, aio_submit(&aio, IOCB_CMD_PWRITE, &arg));
	EXPECT_EQ(0, find_req(&d->m, FUSE_WRITE, REQ_REPLIED, 1));
	EXPECT_TRUE(direct_under_way(&d->m, FUSE_WRITE, STEPS));
	ASSERT_EQ(STEPS, server_release(d->m.ctl, 0));
	EXPECT_EQ(BYTES, aio_wait(&aio));
}

/* Any failing request fails the call, whichever one it is. */
TEST_F(aio, any_error_is_the_result)
{
	struct direct *d = &self->d;
	int step;

	for (step = 0; step < STEPS; step += 3) {
		const struct req_match match = direct_step(0, step);

		ASSERT_EQ(0, server_fail(d->m.ctl, &match, ENOSPC));
		EXPECT_EQ(-1, mnt_run(&d->m, variant->read,
				      direct_arg(d, FUSE_READ, 0, BYTES)));
		EXPECT_EQ(ENOSPC, errno);
		EXPECT_EQ(-1, mnt_run(&d->m, variant->write,
				      direct_arg(d, FUSE_WRITE, 0, BYTES)));
		EXPECT_EQ(ENOSPC, errno);
		ASSERT_EQ(0, server_drop_rules(d->m.ctl));
	}
}

TEST_F(aio, read_ends_at_the_end_of_the_file)
{
	struct direct *d = &self->d;
	off_t off = BYTES - STEP - 4096;

	EXPECT_EQ(STEP + 4096, mnt_run(&d->m, variant->read,
				       direct_arg(d, FUSE_READ, off, BYTES)));
	EXPECT_EQ(-1, first_difference(d->data + off, d->buf, STEP + 4096));
	EXPECT_EQ(0, mnt_run(&d->m, variant->read,
			     direct_arg(d, FUSE_READ, BYTES, BYTES)));
}

TEST_F(aio, file_has_grown_when_the_write_ends)
{
	struct direct *d = &self->d;
	struct stat st;

	ASSERT_EQ(0, ftruncate(d->fd, 4096));
	EXPECT_EQ(BYTES, mnt_run(&d->m, variant->write,
				 direct_arg(d, FUSE_WRITE, 0, BYTES)));
	ASSERT_EQ(0, fstat(d->fd, &st));
	EXPECT_EQ(BYTES, st.st_size);
	EXPECT_EQ(BYTES, server_size(d->m.ctl, "file"));
	ASSERT_EQ(0, server_get(d->m.ctl, "file", 0, d->buf, BYTES));
	EXPECT_EQ(-1, first_difference(d->data, d->buf, BYTES));
}

TEST_F(aio, file_has_not_grown_when_the_write_fails)
{
	const struct req_match match = direct_step(FUSE_WRITE, 3);
	struct direct *d = &self->d;
	struct stat st;

	ASSERT_EQ(0, ftruncate(d->fd, 4096));
	ASSERT_EQ(0, server_fail(d->m.ctl, &match, ENOSPC));
	EXPECT_EQ(-1, mnt_run(&d->m, variant->write,
			      direct_arg(d, FUSE_WRITE, 0, BYTES)));
	EXPECT_EQ(ENOSPC, errno);
	ASSERT_EQ(0, fstat(d->fd, &st));
	EXPECT_EQ(4096, st.st_size);
	EXPECT_EQ(4096, server_size(d->m.ctl, "file"));
}

TEST_F(aio, death_of_the_server_is_the_result)
{
	const struct req_match match = direct_step(FUSE_WRITE, 0);
	struct direct *d = &self->d;
	struct call *c;

	c = direct_call(d, variant->write, FUSE_WRITE, 0, BYTES);
	ASSERT_NE(NULL, c);
	ASSERT_TRUE(direct_under_way(&d->m, FUSE_WRITE, STEPS));
	ASSERT_EQ(1, server_release_match(d->m.ctl, &match));
	ASSERT_EQ(0, server_quit(d->m.ctl));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(-1, c->ret);
	EXPECT_EQ(ECONNABORTED, c->err);
}

/*
 * A page that the page cache read meanwhile is dropped, also if it is mapped.
 */
TEST_F(aio, page_read_during_aio_write_is_dropped)
{
	struct direct *d = &self->d;
	struct call *c;
	char *map;

	map = mmap(NULL, STEP, PROT_READ, MAP_SHARED, d->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	c = direct_call(d, variant->write, FUSE_WRITE, 0, STEP);
	ASSERT_NE(NULL, c);
	ASSERT_TRUE(direct_under_way(&d->m, FUSE_WRITE, 1));
	fill_pattern(d->buf, STEP, 1);
	EXPECT_EQ(-1, first_difference(d->buf, map, STEP)) {
		TH_LOG("the server has not written yet");
	}
	ASSERT_EQ(1, server_release(d->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(STEP, c->ret);
	EXPECT_EQ(-1, first_difference(d->data, map, STEP)) {
		TH_LOG("the mapping shows the old bytes from before the write");
	}
}

/*
 * Promise: direct-parallel
 */
TEST_F(aio, caching_open_waits_for_aio_write)
{
	struct direct *d = &self->d;
	struct call *c, *o;
	char path[128];

	c = direct_call(d, variant->write, FUSE_WRITE, 0, STEP);
	ASSERT_NE(NULL, c);
	ASSERT_TRUE(direct_under_way(&d->m, FUSE_WRITE, 1));
	ASSERT_EQ(0, server_open_flags(d->m.ctl, 0));
	snprintf(path, sizeof(path), "%s/file", d->m.dir);
	o = mnt_call(&d->m, &call_open, (struct call_arg){
		.buf = path, .flags = O_RDWR });
	ASSERT_NE(NULL, o);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&d->m, o));
	ASSERT_EQ(1, server_release(d->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(o));
	EXPECT_LE(0, o->ret);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(STEP, c->ret);
}

TEST_HARNESS_MAIN
