// SPDX-License-Identifier: GPL-2.0
/*
 * Signals for a direct read or write whose requests are under way together, and
 * the queue of the background requests that they are.
 *
 * A signal is for the server to know: it gets FUSE_INTERRUPT for each request.
 * One that kills takes back what the server has not read.  A reader then goes;
 * what the server is still at work on keeps the pages and the file.  A writer
 * stays until nothing of his can happen any more, or it would happen after what
 * others write later.
 */

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>

#include "child.h"
#include "direct.h"

#define QUEUE	4

FIXTURE(signalled)
{
	struct direct d;
};

/* queue: max_background; 0: more than the requests of a call */
FIXTURE_VARIANT(signalled)
{
	const struct call_op *op;
	__u32 opcode;
	unsigned int queue;
};

FIXTURE_VARIANT_ADD(signalled, read)
{
	.op = &call_pread, .opcode = FUSE_READ,
};

FIXTURE_VARIANT_ADD(signalled, write)
{
	.op = &call_pwrite, .opcode = FUSE_WRITE,
};

FIXTURE_VARIANT_ADD(signalled, read_short_queue)
{
	.op = &call_pread, .opcode = FUSE_READ, .queue = QUEUE,
};

FIXTURE_VARIANT_ADD(signalled, write_short_queue)
{
	.op = &call_pwrite, .opcode = FUSE_WRITE, .queue = QUEUE,
};

FIXTURE_SETUP(signalled)
{
	const struct server_opts opts = {
		.async_dio = true,
		.max_write = STEP,
		.max_background = variant->queue,
		.open_flags = FOPEN_DIRECT_IO,
	};

	direct_setup(_metadata, &self->d, &opts, variant, 0);
}

FIXTURE_TEARDOWN(signalled)
{
	mnt_teardown(_metadata, &self->d.m);
}

/* How many requests of a call of BYTES are under way at a time. */
static int at_once(const struct _fixture_variant_signalled *variant)
{
	return variant->queue ?: STEPS;
}

static void on_signal(int sig)
{
	(void)sig;
}

/*
 * Promise: direct-at-once
 */
TEST_F(signalled, call_keeps_to_max_background)
{
	struct direct *d = &self->d;
	struct call *c = direct_call(d, variant->op, variant->opcode, 0, BYTES);
	int nr = at_once(variant);

	ASSERT_NE(NULL, c);
	EXPECT_TRUE(direct_under_way(&d->m, variant->opcode, nr));
	ASSERT_EQ(1, server_release(d->m.ctl, 1));
	EXPECT_TRUE(direct_under_way(&d->m, variant->opcode,
				     variant->queue ? nr + 1 : nr));
	ASSERT_LE(1, server_release(d->m.ctl, 0));
	direct_check(_metadata, d, c, BYTES);
}

/*
 * Promise: direct-at-once
 */
TEST_F(signalled, full_queue_lets_calls_go_on_one_by_one)
{
	struct direct *d = &self->d;
	struct call *c = direct_call(d, &call_pread, FUSE_READ, 0, BYTES);
	struct call *other;
	int nr = at_once(variant);

	ASSERT_NE(NULL, c);
	ASSERT_TRUE(direct_under_way(&d->m, FUSE_READ, nr));
	other = mnt_call(&d->m, &call_pread, (struct call_arg){
		.fd = d->fd, .len = BYTES, .buf = aligned_alloc(4096, BYTES) });
	ASSERT_NE(NULL, other);
	if (variant->queue)
		nr++;
	else
		nr = 12;	/* the kernel's default */
	EXPECT_TRUE(direct_under_way(&d->m, FUSE_READ, nr));
	ASSERT_LE(1, server_release(d->m.ctl, 0));
	direct_check(_metadata, d, c, BYTES);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(other));
	EXPECT_EQ(BYTES, other->ret);
	EXPECT_EQ(-1, first_difference(d->data, other->arg.buf, BYTES));
}

/*
 * Promise: direct-signals
 */
TEST_F(signalled, signal_interrupts_every_request_once)
{
	const struct sigaction act = { .sa_handler = on_signal };
	struct direct *d = &self->d;
	struct call *c = direct_call(d, variant->op, variant->opcode, 0, BYTES);
	int nr = at_once(variant), last = nr + (variant->queue ? 3 : 0);

	ASSERT_EQ(0, sigaction(SIGUSR1, &act, NULL));
	ASSERT_NE(NULL, c);
	ASSERT_TRUE(direct_under_way(&d->m, variant->opcode, nr));
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&d->m, c));
	ASSERT_EQ(0, syscall(SYS_tgkill, getpid(), c->tid, SIGUSR1));
	EXPECT_NE(0, await_req(&d->m, FUSE_INTERRUPT, REQ_ARRIVED, nr));
	/* The server takes no notice, and all is as it was. */
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&d->m, c));
	/* With a short queue, each answer makes room for another request. */
	while (nr < last) {
		ASSERT_EQ(1, server_release(d->m.ctl, 1));
		EXPECT_NE(0, await_req(&d->m, FUSE_INTERRUPT, REQ_ARRIVED,
				       ++nr));
		EXPECT_TRUE(direct_under_way(&d->m, variant->opcode, nr));
		EXPECT_EQ(nr, count_req(&d->m, FUSE_INTERRUPT, REQ_ARRIVED));
	}
	ASSERT_LE(1, server_release(d->m.ctl, 0));
	direct_check(_metadata, d, c, BYTES);
}

/*
 * Promise: direct-signals
 */
TEST_F(signalled, killed_call_takes_back_what_was_not_read)
{
	struct direct *d = &self->d;
	pid_t pid;

	ASSERT_EQ(0, server_freeze(&d->m));
	pid = child_start(CLONE_FILES, variant->op,
			  direct_arg(d, variant->opcode, 0, BYTES));
	ASSERT_LE(0, pid);
	EXPECT_TRUE(child_await_blocked(pid, variant->op));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&d->m, pid));
	ASSERT_EQ(0, server_thaw(&d->m));
	ASSERT_EQ(0, fence(&d->m));
	EXPECT_EQ(0, count_req(&d->m, variant->opcode, REQ_ARRIVED));

	/* The queue has room for another. */
	ASSERT_EQ(BYTES, pread(d->fd, d->buf, BYTES, 0));
}

/* Opens the file by itself, and has the only descriptor of that open. */
static long do_open_and_read(const struct call_arg *arg)
{
	int fd = open(arg->to, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -1 : pread(fd, arg->buf, arg->len, 0);
}

static const struct call_op call_open_and_read = {
	"pread", SYS_pread64, do_open_and_read
};

/*
 * The requests hold the file: RELEASE follows the last answer.
 *
 * Promise: direct-signals
 */
TEST_F(signalled, killed_reader_leaves_and_release_waits)
{
	struct direct *d = &self->d;
	int nr = at_once(variant), seq;
	char path[128];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/file", d->m.dir);
	ASSERT_EQ(0, hold_req(&d->m, FUSE_READ));
	pid = child_start(0, &call_open_and_read, (struct call_arg){
		.to = path, .buf = d->buf, .len = BYTES });
	ASSERT_LE(0, pid);
	ASSERT_TRUE(direct_under_way(&d->m, FUSE_READ, nr));
	EXPECT_TRUE(child_stays_blocked(&d->m, pid, &call_open_and_read));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&d->m, pid));
	ASSERT_EQ(0, fence(&d->m));
	EXPECT_EQ(0, find_req(&d->m, FUSE_RELEASE, REQ_ARRIVED, 1));
	EXPECT_EQ(nr, count_req(&d->m, FUSE_READ, REQ_ARRIVED));

	ASSERT_EQ(nr, server_release(d->m.ctl, 0));
	seq = await_req(&d->m, FUSE_RELEASE, REQ_ARRIVED, 1);
	EXPECT_LT(find_req(&d->m, FUSE_READ, REQ_REPLIED, nr), seq);
}

/*
 * Promise: direct-signals
 */
TEST_F(signalled, killed_writer_stays_before_later_writes)
{
	struct direct *d = &self->d;
	int nr = at_once(variant), seq;
	struct call *c;
	pid_t pid;

	pid = direct_child(d, &call_pwrite, FUSE_WRITE, nr);
	ASSERT_LT(0, pid);
	EXPECT_TRUE(child_stays_blocked(&d->m, pid, &call_pwrite));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	c = mnt_call(&d->m, &call_pwrite, (struct call_arg){
		.fd = d->fd, .buf = d->buf, .len = 4096 });
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&d->m, c));
	EXPECT_EQ(nr, count_req(&d->m, FUSE_WRITE, REQ_ARRIVED));

	ASSERT_EQ(nr, server_release(d->m.ctl, 0));
	EXPECT_TRUE(child_was_killed(&d->m, pid));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(4096, c->ret);
	seq = find_req(&d->m, FUSE_WRITE, REQ_ARRIVED, nr + 1);
	EXPECT_LT(find_req(&d->m, FUSE_WRITE, REQ_REPLIED, nr), seq);
	EXPECT_EQ(nr + 1, count_req(&d->m, FUSE_WRITE, REQ_ARRIVED));
}

TEST_HARNESS_MAIN
