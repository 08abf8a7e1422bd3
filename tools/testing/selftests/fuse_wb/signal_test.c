// SPDX-License-Identifier: GPL-2.0
/*
 * Signals for a direct read or write whose requests are in flight together, and
 * the number of these requests.
 *
 * A signal is passed on to the server: it gets FUSE_INTERRUPT for each request.  A
 * fatal one removes requests that the server has not read.  A killed reader then
 * leaves, and requests that the server still works on pin the file, but not the
 * reader's memory: their replies are refused.  A writer stays until none of its
 * requests can take effect any more, or they could take effect after later writes
 * by other tasks.
 *
 * A call has as many requests in flight as the server allows in the background,
 * however many other calls have: they are not background requests themselves.
 */

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>

#include "child.h"
#include "direct.h"

#define QUEUE			4
#define PARALLEL_DIRECT_IO	(FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES)

FIXTURE(signalled)
{
	struct direct d;
};

/* queue: max_background; 0: more than the requests of a call */
FIXTURE_VARIANT(signalled)
{
	const struct call_op *op;
	__u32 opcode;
	int flags;
	unsigned int queue;
};

FIXTURE_VARIANT_ADD(signalled, read)
{
	.op = &call_pread, .opcode = FUSE_READ,
};

FIXTURE_VARIANT_ADD(signalled, write)
{
	.op = &call_pwrite, .opcode = FUSE_WRITE, .flags = O_DIRECT,
};

FIXTURE_VARIANT_ADD(signalled, read_short_queue)
{
	.op = &call_pread, .opcode = FUSE_READ, .queue = QUEUE,
};

FIXTURE_VARIANT_ADD(signalled, write_short_queue)
{
	.op = &call_pwrite, .opcode = FUSE_WRITE, .flags = O_DIRECT,
	.queue = QUEUE,
};

FIXTURE_SETUP(signalled)
{
	const struct server_opts opts = {
		.async_dio = true,
		.max_write = STEP,
		.max_background = variant->queue,
		.open_flags = PARALLEL_DIRECT_IO,
	};

	direct_setup(_metadata, &self->d, &opts, variant, variant->flags);
}

FIXTURE_TEARDOWN(signalled)
{
	mnt_teardown(_metadata, &self->d.m);
}

/* How many requests of a call of BYTES are in flight simultaneously. */
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
TEST_F(signalled, each_call_has_max_background_of_its_own)
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
	EXPECT_TRUE(direct_under_way(&d->m, FUSE_READ, 2 * nr));
	ASSERT_LE(1, server_release(d->m.ctl, 0));
	direct_check(_metadata, d, c, BYTES);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(other));
	EXPECT_EQ(BYTES, other->ret);
	EXPECT_EQ(-1, first_difference(d->data, other->arg.buf, BYTES));
}

/*
 * Promise: direct-at-once
 */
TEST_F(signalled, max_background_of_0_leaves_a_call_one_request)
{
	struct direct *d = &self->d;
	struct call *c;
	char path[64];
	int nr;

	snprintf(path, sizeof(path),
		 "/sys/fs/fuse/connections/%u/max_background", d->m.minor);
	ASSERT_EQ(0, write_file(path, "0"));
	c = direct_call(d, variant->op, variant->opcode, 0, BYTES);
	ASSERT_NE(NULL, c);
	for (nr = 1; nr <= 3; nr++) {
		ASSERT_NE(0, await_req(&d->m, variant->opcode, REQ_ARRIVED, nr));
		EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&d->m, c));
		EXPECT_EQ(nr, count_req(&d->m, variant->opcode, REQ_ARRIVED));
		ASSERT_EQ(1, server_release(d->m.ctl, 1));
	}
	ASSERT_LE(0, server_release(d->m.ctl, 0));
	direct_check(_metadata, d, c, BYTES);
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
	/* The server ignores it, and nothing changes. */
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&d->m, c));
	/* With a short queue, each reply makes room for another request. */
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

	/* The file is still usable. */
	ASSERT_EQ(BYTES, mnt_run(&d->m, &call_pread,
				 direct_arg(d, FUSE_READ, 0, BYTES)));
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
 * The requests pin the file: RELEASE follows the last reply.  late_test covers
 * the reader's memory.
 *
 * Promise: direct-signals
 */
TEST_F(signalled, killed_reader_leaves_and_release_waits)
{
	struct direct *d = &self->d;
	int nr = at_once(variant), refused = 0, i, seq;
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
	for (i = 1; i <= nr; i++) {
		seq = find_req(&d->m, FUSE_READ, REQ_REPLIED, i);
		ASSERT_NE(0, seq);
		refused += d->m.log->ev[seq - 1].refused == ENOENT;
	}
	EXPECT_EQ(nr, refused) {
		TH_LOG("the server is not told that the reader is gone");
	}
}

/*
 * Promise: direct-signals
 */
TEST_F(signalled, killed_writer_stays_before_later_writes)
{
	struct direct *d = &self->d;
	int nr = at_once(variant), seq, alone;
	struct call *c;
	pid_t pid;

	/* The read variants only test max_background */
	d->fd = mnt_open(&d->m, "file", O_RDWR | O_DIRECT);
	ASSERT_LE(0, d->fd);
	/* A writer through this descriptor excludes all others */
	ASSERT_EQ(0, server_open_flags(d->m.ctl, FOPEN_DIRECT_IO));
	alone = mnt_open(&d->m, "file", O_RDWR);
	ASSERT_LE(0, alone);
	pid = direct_child(d, &call_pwrite, FUSE_WRITE, nr);
	ASSERT_LT(0, pid);
	EXPECT_TRUE(child_stays_blocked(&d->m, pid, &call_pwrite));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	c = mnt_call(&d->m, &call_pwrite, (struct call_arg){
		.fd = alone, .buf = d->buf, .len = 4096 });
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
