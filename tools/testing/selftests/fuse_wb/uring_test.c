// SPDX-License-Identifier: GPL-2.0
/*
 * A direct read by io_uring that is canceled while the server holds it: by
 * IORING_OP_ASYNC_CANCEL, or as its process is killed.
 *
 * A thread of the ring waits for a file with FOPEN_DIRECT_IO.  Canceling signals this
 * thread, which sends FUSE_INTERRUPT for each request and keeps waiting.  With
 * O_DIRECT no thread waits, so there is none to signal, and the read ends when the
 * server has replied.  In both cases the process can be killed.
 *
 * Promise: direct-signals
 */

#include <signal.h>
#include <sys/syscall.h>

#include "aio.h"
#include "direct.h"

#define READ_ID		1
#define CANCEL_ID	2

FIXTURE(ring)
{
	struct direct d;
	struct uring ring;
};

/*
 * @flags: to open the file with
 * @open_flags: of the reply to OPEN, besides FOPEN_DIRECT_IO
 * @off: where the read begins, of as many bytes as the file has
 * @requests: that are in flight at once
 * @interrupts: that reach the server
 * @cancel: the result of the cancellation
 */
FIXTURE_VARIANT(ring)
{
	int flags;
	__u32 open_flags;
	off_t off;
	int requests;
	int interrupts;
	int cancel;
};

FIXTURE_VARIANT_ADD(ring, fopen_direct_io_to_eof)
{
	.open_flags = FOPEN_PARALLEL_DIRECT_WRITES,
	.off = 4096,
	.requests = STEPS,
	.interrupts = STEPS,
	.cancel = -EALREADY,
};

FIXTURE_VARIANT_ADD(ring, fopen_direct_io_one_by_one)
{
	.requests = 1,
	.interrupts = 1,
	.cancel = -EALREADY,
};

FIXTURE_VARIANT_ADD(ring, fopen_direct_io)
{
	.open_flags = FOPEN_PARALLEL_DIRECT_WRITES,
	.requests = STEPS,
	.interrupts = STEPS,
	.cancel = -EALREADY,
};

FIXTURE_VARIANT_ADD(ring, o_direct)
{
	.flags = O_DIRECT,
	.requests = STEPS,
	.cancel = -ENOENT,
};

FIXTURE_SETUP(ring)
{
	const struct server_opts opts = {
		.async_dio = true,
		.max_write = STEP,
		.open_flags = FOPEN_DIRECT_IO | variant->open_flags,
	};

	if (!direct_setup(_metadata, &self->d, &opts, variant, variant->flags))
		return;
	ASSERT_EQ(0, uring_setup(&self->ring));
}

FIXTURE_TEARDOWN(ring)
{
	mnt_teardown(_metadata, &self->d.m);
}

static long do_uring_wait(const struct call_arg *arg)
{
	struct io_uring_cqe cqe;

	if (uring_wait(arg->to, &cqe) || cqe.user_data != arg->flags)
		return -1;
	return cqe.res;
}

/*
 * Wait for the next completion, which must be that of @flags, in the ring @to.
 */
static const struct call_op call_uring_wait = {
	"wait for io_uring", SYS_io_uring_enter, do_uring_wait
};

static long await_end(struct mnt *m, struct uring *ring, unsigned int id)
{
	return mnt_run(m, &call_uring_wait, (struct call_arg){
		.to = ring, .flags = id });
}

TEST_F(ring, cancel_tells_the_server_and_loses_no_data)
{
	struct direct *d = &self->d;
	struct call_arg arg = direct_arg(d, FUSE_READ, variant->off, BYTES);
	struct io_uring_sqe sqe = uring_sqe(IORING_OP_READ, &arg);
	long ret = BYTES - variant->off;

	ASSERT_EQ(0, hold_req(&d->m, FUSE_READ));
	sqe.user_data = READ_ID;
	sqe.flags = IOSQE_ASYNC;
	ASSERT_EQ(0, uring_submit(&self->ring, &sqe));
	ASSERT_TRUE(direct_under_way(&d->m, FUSE_READ, variant->requests));

	sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_ASYNC_CANCEL, .fd = -1,
		.addr = READ_ID, .user_data = CANCEL_ID };
	ASSERT_EQ(0, uring_submit(&self->ring, &sqe));
	EXPECT_EQ(variant->cancel, await_end(&d->m, &self->ring, CANCEL_ID));
	if (variant->interrupts)
		EXPECT_NE(0, await_req(&d->m, FUSE_INTERRUPT, REQ_ARRIVED,
				       variant->interrupts));
	ASSERT_EQ(0, fence(&d->m));
	EXPECT_EQ(variant->interrupts,
		  count_req(&d->m, FUSE_INTERRUPT, REQ_ARRIVED));

	ASSERT_EQ(variant->requests, server_release(d->m.ctl, 0));
	EXPECT_EQ(ret, await_end(&d->m, &self->ring, READ_ID));
	EXPECT_EQ(-1, first_difference(d->data + variant->off, d->buf, ret));
}

/*
 * If a thread of the ring waited, the data of a late reply is discarded.  A single
 * request is like any other: a killed process waits for its reply.
 */
TEST_F(ring, process_with_a_held_read_can_be_killed)
{
	struct direct *d = &self->d;
	bool left = variant->interrupts > 1;
	int i, nr = variant->requests, seq;
	pid_t pid;

	ASSERT_EQ(0, hold_req(&d->m, FUSE_READ));
	pid = child_start(CLONE_FILES, &call_uring_pread,
			  direct_arg(d, FUSE_READ, variant->off, BYTES));
	ASSERT_LT(0, pid);
	ASSERT_TRUE(direct_under_way(&d->m, FUSE_READ, nr));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	if (nr > 1)
		EXPECT_TRUE(child_was_killed(&d->m, pid));
	EXPECT_EQ(0, count_req(&d->m, FUSE_READ, REQ_REPLIED));
	ASSERT_EQ(nr, server_release(d->m.ctl, 0));
	if (nr == 1)
		EXPECT_TRUE(child_was_killed(&d->m, pid));
	for (i = 1; i <= nr; i++) {
		seq = await_req(&d->m, FUSE_READ, REQ_REPLIED, i);
		ASSERT_NE(0, seq);
		EXPECT_EQ(left ? ENOENT : 0, d->m.log->ev[seq - 1].refused);
	}

	/* The file is still usable. */
	ASSERT_EQ(BYTES, mnt_run(&d->m, &call_pread,
				 direct_arg(d, FUSE_READ, 0, BYTES)));
	EXPECT_EQ(-1, first_difference(d->data, d->buf, BYTES));
}

TEST_HARNESS_MAIN
