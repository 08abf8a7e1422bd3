// SPDX-License-Identifier: GPL-2.0
/*
 * A reply with attributes that is in flight while an asynchronous direct read
 * or write completes.
 *
 * After a write, the attributes that the server sent earlier are stale: a
 * correct kernel does not use them.  A read changes nothing, so they are still
 * valid.  Linux 6.12 discards them in this case, too, and returns the old size
 * and times to the very caller that requested new ones.
 *
 * Promise: fresh-attributes
 */

#include <sys/stat.h>
#include <sys/syscall.h>

#include "aio.h"
#include "direct.h"

#define TOLD_SIZE	(BYTES + 4096)
#define TOLD_TIME	1000

FIXTURE(attributes)
{
	struct direct d;
	struct statx stx;
};

FIXTURE_VARIANT(attributes)
{
	const struct call_op *read;
	const struct call_op *write;
	int flags;
	__u32 open_flags;
};

FIXTURE_VARIANT_ADD(attributes, libaio)
{
	.read = &call_aio_pread, .write = &call_aio_pwrite, .flags = O_DIRECT,
};

FIXTURE_VARIANT_ADD(attributes, io_uring)
{
	.read = &call_uring_pread, .write = &call_uring_pwrite,
	.flags = O_DIRECT,
};

FIXTURE_VARIANT_ADD(attributes, fopen_direct_io)
{
	.read = &call_aio_pread, .write = &call_aio_pwrite, .flags = O_DIRECT,
	.open_flags = FOPEN_DIRECT_IO,
};

/* io_submit(2) does not wait for this one, either */
FIXTURE_VARIANT_ADD(attributes, fopen_direct_io_parallel)
{
	.read = &call_aio_pread, .write = &call_aio_pwrite,
	.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
};

FIXTURE_SETUP(attributes)
{
	const struct server_opts opts = {
		.async_dio = true,
		.max_write = STEP,
		.open_flags = variant->open_flags,
	};

	direct_setup(_metadata, &self->d, &opts, variant, variant->flags);
}

FIXTURE_TEARDOWN(attributes)
{
	mnt_teardown(_metadata, &self->d.m);
}

static long do_statx(const struct call_arg *arg)
{
	return statx(arg->fd, "", AT_EMPTY_PATH | arg->flags,
		     STATX_BASIC_STATS, arg->to);
}

static const struct call_op call_statx_to = { "statx", SYS_statx, do_statx };

/*
 * Request attributes, make the call, then have the server reply with a larger
 * size and a new mtime.  Stores in self->stx what statx(2) returned.
 */
static void tell_after(struct __test_metadata *_metadata,
		       struct _test_data_attributes *self,
		       const struct call_op *op, __u32 opcode)
{
	const struct req_match match = { .opcode = FUSE_GETATTR };
	struct direct *d = &self->d;
	struct call *c;
	int nr = count_req(&d->m, FUSE_GETATTR, REQ_ARRIVED);

	ASSERT_EQ(0, hold_req(&d->m, FUSE_GETATTR));
	c = mnt_call(&d->m, &call_statx_to, (struct call_arg){
		.fd = d->fd, .flags = AT_STATX_FORCE_SYNC, .to = &self->stx });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&d->m, FUSE_GETATTR, REQ_ARRIVED, nr + 1));
	EXPECT_EQ(BYTES, mnt_run(&d->m, op, direct_arg(d, opcode, 0, BYTES)));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&d->m, c));
	ASSERT_EQ(0, server_set_times(d->m.ctl, "file", TOLD_TIME));
	ASSERT_EQ(0, server_rule(d->m.ctl, &match, RULE_ATTR_SIZE, TOLD_SIZE));
	ASSERT_EQ(1, server_release(d->m.ctl, 1));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(0, c->ret);
	/* From now on the server replies with the real attributes. */
	ASSERT_EQ(0, server_drop_rules(d->m.ctl));
}

/* What the kernel has cached; this sends no request. */
static void check_known(struct __test_metadata *_metadata,
			struct _test_data_attributes *self, __u64 size)
{
	struct statx stx;

	ASSERT_EQ(0, statx(self->d.fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
			   STATX_BASIC_STATS, &stx));
	EXPECT_EQ(size, stx.stx_size);
}

TEST_F(attributes, attributes_told_during_a_read_are_used)
{
	tell_after(_metadata, self, variant->read, FUSE_READ);
	EXPECT_EQ(TOLD_SIZE, (int)self->stx.stx_size);
	EXPECT_EQ(TOLD_TIME, self->stx.stx_mtime.tv_sec);
	check_known(_metadata, self, TOLD_SIZE);
}

/* The control: the cached attributes are those from before the write. */
TEST_F(attributes, attributes_told_before_a_write_are_not_used)
{
	struct stat st;

	tell_after(_metadata, self, variant->write, FUSE_WRITE);
	check_known(_metadata, self, BYTES);
	/* A new GETATTR returns the real attributes. */
	ASSERT_EQ(0, fstat(self->d.fd, &st));
	EXPECT_EQ(BYTES, st.st_size);
	EXPECT_EQ(TOLD_TIME, st.st_mtim.tv_sec);
}

TEST_HARNESS_MAIN
