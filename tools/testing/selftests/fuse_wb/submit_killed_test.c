// SPDX-License-Identifier: GPL-2.0
/*
 * SIGKILL after io_submit(2) on a file with FOPEN_DIRECT_IO that was opened without
 * O_DIRECT.
 *
 * Linux 6.12 waits in io_submit(2), where SIGKILL removes requests that the server has
 * not read and sends it FUSE_INTERRUPT for the rest.  A sound kernel that does not wait
 * there must do the same when the task exits: the exit waits for all libaio requests in
 * flight, and the task holds its files and locks as long as a stopped server likes.
 *
 * Promise: direct-submit
 */

#include <signal.h>
#include <sys/syscall.h>

#include "aio.h"
#include "direct.h"

/*
 *   child --- io_submit, io_getevents --- READs or WRITE, not read by the server
 */
FIXTURE(submitted_killed)
{
	struct direct d;
};

/* @many: the server takes parallel requests, and io_submit(2) does not wait */
FIXTURE_VARIANT(submitted_killed)
{
	__u32 open_flags;
	bool many;
};

FIXTURE_VARIANT_ADD(submitted_killed, parallel)
{
	.open_flags = FOPEN_PARALLEL_DIRECT_WRITES,
	.many = true,
};

FIXTURE_VARIANT_ADD(submitted_killed, not_parallel) { };

FIXTURE_SETUP(submitted_killed)
{
	const struct server_opts opts = {
		.async_dio = true,
		.max_write = STEP,
		.open_flags = FOPEN_DIRECT_IO | variant->open_flags,
	};

	direct_setup(_metadata, &self->d, &opts, variant, 0);
}

FIXTURE_TEARDOWN(submitted_killed)
{
	mnt_teardown(_metadata, &self->d.m);
}

/* The call of the child: it waits in io_submit(2), or after it. */
static const struct call_op *submit_op(bool many, __u32 opcode)
{
	if (opcode == FUSE_READ)
		return many ? &call_aio_pread : &call_aio_pread_submit;
	return many ? &call_aio_pwrite : &call_aio_pwrite_submit;
}

/* All of the file, or one request */
static pid_t start_child(struct direct *d, const struct call_op *op,
			 __u32 opcode)
{
	return child_start(CLONE_FILES, op, direct_arg(d, opcode, 0,
			   opcode == FUSE_READ ? BYTES : STEP));
}

/*
 * It gets a signal before the server has read anything, and then exits with
 * this status.
 */
static void check_unread(struct __test_metadata *_metadata, struct direct *d,
			 const struct call_op *op, __u32 opcode, int signal,
			 long status)
{
	pid_t pid;

	ASSERT_EQ(0, server_freeze(&d->m));
	pid = start_child(d, op, opcode);
	ASSERT_LE(0, pid);
	ASSERT_TRUE(child_await_blocked(pid, op));
	ASSERT_EQ(0, kill(pid, signal));
	EXPECT_EQ(status, mnt_run(&d->m, &call_waitpid, (struct call_arg){
		.fd = pid })) {
		TH_LOG("it waits for a request that the server has not read");
	}
	ASSERT_EQ(0, server_thaw(&d->m));
	ASSERT_EQ(0, fence(&d->m));
	EXPECT_EQ(0, count_req(&d->m, opcode, REQ_ARRIVED));
}

TEST_F(submitted_killed, killed_reader_leaves_when_the_server_has_read_nothing)
{
	check_unread(_metadata, &self->d, submit_op(variant->many, FUSE_READ),
		     FUSE_READ, SIGKILL, SIGKILL);
}

TEST_F(submitted_killed, killed_writer_leaves_when_the_server_has_read_nothing)
{
	check_unread(_metadata, &self->d, submit_op(variant->many, FUSE_WRITE),
		     FUSE_WRITE, SIGKILL, SIGKILL);
}

/* Not SIGKILL: the task handles the signal before it exits. */
TEST_F(submitted_killed, submitter_that_a_signal_ends_leaves)
{
	check_unread(_metadata, &self->d, submit_op(variant->many, FUSE_READ),
		     FUSE_READ, SIGTERM, SIGTERM);
}

/* The server gets FUSE_INTERRUPT, and replies later. */
TEST_F(submitted_killed, kill_interrupts_what_the_server_has)
{
	struct direct *d = &self->d;
	pid_t pid;

	ASSERT_EQ(0, hold_req(&d->m, FUSE_WRITE));
	pid = start_child(d, submit_op(variant->many, FUSE_WRITE), FUSE_WRITE);
	ASSERT_LE(0, pid);
	ASSERT_TRUE(direct_under_way(&d->m, FUSE_WRITE, 1));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_NE(0, await_req(&d->m, FUSE_INTERRUPT, REQ_ARRIVED, 1));
	ASSERT_EQ(1, server_release(d->m.ctl, 0));
	EXPECT_TRUE(child_was_killed(&d->m, pid));
}

static long do_submit(const struct call_arg *arg)
{
	struct aio aio;

	return aio_submit(&aio, IOCB_CMD_PWRITE, arg) ? -1 : 0;
}

static const struct call_op call_only_submit = {
	"io_submit", SYS_io_submit, do_submit
};

/*
 * The control: submitted requests go to the server, whether the task waits or
 * not.
 */
TEST_F(submitted_killed, write_of_a_process_that_exits_is_carried_out)
{
	struct direct *d = &self->d;
	pid_t pid;

	ASSERT_EQ(0, server_freeze(&d->m));
	pid = start_child(d, &call_only_submit, FUSE_WRITE);
	ASSERT_LE(0, pid);
	if (!variant->many)
		EXPECT_TRUE(child_await_blocked(pid, &call_only_submit));
	ASSERT_EQ(0, server_thaw(&d->m));
	ASSERT_EQ(0, mnt_run(&d->m, &call_waitpid, (struct call_arg){
		.fd = pid }));
	ASSERT_EQ(0, fence(&d->m));
	EXPECT_EQ(1, count_req(&d->m, FUSE_WRITE, REQ_REPLIED));
	ASSERT_EQ(0, server_get(d->m.ctl, "file", 0, d->buf, STEP));
	EXPECT_EQ(-1, first_difference(d->data, d->buf, STEP));
}

static const struct call_op call_submit_and_exit = {
	"exit", SYS_exit_group, do_submit
};

/* It waits there if it does not in io_submit(2), and is killed then. */
TEST_F(submitted_killed, submitter_killed_in_exit_leaves)
{
	if (variant->many)
		check_unread(_metadata, &self->d, &call_submit_and_exit,
			     FUSE_WRITE, SIGKILL, 0);
}

static long do_submit_and_destroy(const struct call_arg *arg)
{
	struct aio aio;

	if (aio_submit(&aio, IOCB_CMD_PREAD, arg))
		return -1;
	return syscall(SYS_io_destroy, aio.ctx);
}

TEST_F(submitted_killed, submitter_killed_in_io_destroy_leaves)
{
	const struct call_op op = {
		"io_destroy", variant->many ? SYS_io_destroy : SYS_io_submit,
		do_submit_and_destroy
	};

	check_unread(_metadata, &self->d, &op, FUSE_READ, SIGKILL, SIGKILL);
}

TEST_HARNESS_MAIN
