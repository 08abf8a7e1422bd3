// SPDX-License-Identifier: GPL-2.0
/*
 * Generic semantics of write(2), on a file with direct I/O.
 *
 * RLIMIT_FSIZE ends a write, O_APPEND writes at EOF, O_DSYNC makes the data
 * durable, and the data may come from a pipe.  Parallel writers have separate
 * code for each, and an asynchronous write returns before the server has
 * written.
 *
 * Promise: direct-writes
 */

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "aio.h"
#include "direct.h"

FIXTURE(wrote)
{
	struct direct d;
};

/* @flags: O_DIRECT or not; @open_flags: of the reply to OPEN */
FIXTURE_VARIANT(wrote)
{
	const struct call_op *write;
	int flags;
	__u32 open_flags;
};

FIXTURE_VARIANT_ADD(wrote, o_direct) { &call_pwrite, O_DIRECT, 0 };
FIXTURE_VARIANT_ADD(wrote, o_direct_aio) { &call_aio_pwrite, O_DIRECT, 0 };

FIXTURE_VARIANT_ADD(wrote, o_direct_parallel)
{
	&call_pwrite, O_DIRECT, FOPEN_PARALLEL_DIRECT_WRITES
};

FIXTURE_VARIANT_ADD(wrote, o_direct_parallel_aio)
{
	&call_aio_pwrite, O_DIRECT, FOPEN_PARALLEL_DIRECT_WRITES
};

FIXTURE_VARIANT_ADD(wrote, fopen_direct_io)
{
	&call_pwrite, 0, FOPEN_DIRECT_IO
};

FIXTURE_VARIANT_ADD(wrote, fopen_direct_io_aio)
{
	&call_aio_pwrite, 0, FOPEN_DIRECT_IO
};

FIXTURE_VARIANT_ADD(wrote, fopen_direct_io_parallel)
{
	&call_pwrite, 0, FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES
};

FIXTURE_VARIANT_ADD(wrote, fopen_direct_io_parallel_aio)
{
	&call_aio_pwrite, 0, FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES
};

FIXTURE_SETUP(wrote)
{
	const struct server_opts opts = {
		.async_dio = true,
		.max_write = STEP,
		.open_flags = variant->open_flags,
	};

	direct_setup(_metadata, &self->d, &opts, variant, variant->flags);
}

FIXTURE_TEARDOWN(wrote)
{
	mnt_teardown(_metadata, &self->d.m);
}

/* Write @len bytes of pattern 2 at @off, or try to. */
static long write_at(struct _test_data_wrote *self, const struct call_op *op,
		     off_t off, size_t len)
{
	return mnt_run(&self->d.m, op, (struct call_arg){
		.fd = self->d.fd, .off = off, .len = len,
		.buf = self->d.data + off % BYTES });
}

/* The server has @size bytes: pattern 1, and pattern 2 from @off on. */
static void check_file(struct __test_metadata *_metadata,
		       struct _test_data_wrote *self, off_t off, off_t size)
{
	struct direct *d = &self->d;
	char *old = malloc(BYTES), *now = malloc(size);

	ASSERT_TRUE(old && now);
	fill_pattern(old, BYTES, 1);
	ASSERT_EQ(size, server_size(d->m.ctl, "file"));
	ASSERT_EQ(0, server_get(d->m.ctl, "file", 0, now, size));
	EXPECT_EQ(-1, first_difference(old, now, off < BYTES ? off : BYTES));
	EXPECT_EQ(-1, first_difference(d->data + off % BYTES, now + off,
				       size - off));
	free(old);
	free(now);
}

TEST_F(wrote, write_ends_at_rlimit_fsize)
{
	const struct rlimit limit = { BYTES + 5000, BYTES + 5000 };
	struct direct *d = &self->d;
	struct stat st;
	int sent;

	fill_pattern(d->data, BYTES, 2);
	ASSERT_NE(SIG_ERR, signal(SIGXFSZ, SIG_IGN));
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	/*
	 * Partly beyond the limit; without it, this would be several requests.
	 */
	ASSERT_EQ(5000, write_at(self, variant->write, BYTES, STEP + 8192));
	ASSERT_EQ(0, fstat(d->fd, &st));
	EXPECT_EQ(BYTES + 5000, st.st_size);
	sent = count_req(&d->m, FUSE_WRITE, REQ_ARRIVED);
	EXPECT_EQ(1, sent);
	EXPECT_EQ(-1, write_at(self, variant->write, BYTES + 5000, 1));
	EXPECT_EQ(EFBIG, errno);
	EXPECT_EQ(-1, write_at(self, variant->write, BYTES + 8192, STEP + 1));
	EXPECT_EQ(EFBIG, errno);
	EXPECT_EQ(sent, count_req(&d->m, FUSE_WRITE, REQ_ARRIVED));
	check_file(_metadata, self, BYTES, BYTES + 5000);
}

/* The limit applies as well inside the file, where writers are parallel. */
TEST_F(wrote, write_inside_the_file_ends_at_rlimit_fsize)
{
	const struct rlimit limit = { BYTES - 5000, BYTES - 5000 };
	struct direct *d = &self->d;

	fill_pattern(d->data, BYTES, 2);
	ASSERT_NE(SIG_ERR, signal(SIGXFSZ, SIG_IGN));
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(-1, write_at(self, variant->write, BYTES - 4096, 4096));
	EXPECT_EQ(EFBIG, errno);
	EXPECT_EQ(0, count_req(&d->m, FUSE_WRITE, REQ_ARRIVED));
	ASSERT_EQ(STEP, write_at(self, variant->write, BYTES - 5000 - STEP,
				 STEP + 5000));
	/* The reply is logged shortly after the kernel has it */
	ASSERT_EQ(0, fence(&d->m));
	EXPECT_EQ(STEP, reqlog_bytes(d->m.log, &(struct req_match){
		.opcode = FUSE_WRITE }, REQ_REPLIED));
	EXPECT_EQ(BYTES, server_size(d->m.ctl, "file"));
}

/* At EOF as of the start of the write, not at the caller's offset. */
TEST_F(wrote, o_append_writes_where_the_file_ends)
{
	struct direct *d = &self->d;
	struct stat st;

	fill_pattern(d->data, BYTES, 2);
	ASSERT_EQ(0, fcntl(d->fd, F_SETFL, variant->flags | O_APPEND));
	ASSERT_EQ(4096, write_at(self, variant->write, 0, 4096));
	ASSERT_EQ(0, fstat(d->fd, &st));
	EXPECT_EQ(BYTES + 4096, st.st_size);
	/* Several requests */
	ASSERT_EQ(2 * STEP, write_at(self, variant->write, 4096, 2 * STEP));
	ASSERT_EQ(0, fstat(d->fd, &st));
	EXPECT_EQ(BYTES + 4096 + 2 * STEP, st.st_size);
	check_file(_metadata, self, BYTES, BYTES + 4096 + 2 * STEP);
}

TEST_F(wrote, appending_writes_leave_room_for_each_other)
{
	/* An appending writer blocks in the system call that submits it. */
	const struct call_op *op = variant->write == &call_pwrite ?
				   &call_pwrite : &call_aio_pwrite_submit;
	struct direct *d = &self->d;
	struct call *c[2];
	int i;

	fill_pattern(d->data, BYTES, 2);
	ASSERT_EQ(0, fcntl(d->fd, F_SETFL, variant->flags | O_APPEND));
	ASSERT_EQ(0, hold_req(&d->m, FUSE_WRITE));
	for (i = 0; i < 2; i++) {
		c[i] = mnt_call(&d->m, op, (struct call_arg){
			.fd = d->fd, .len = STEP, .buf = d->data + i * STEP });
		ASSERT_NE(NULL, c[i]);
		ASSERT_NE(0, await_req(&d->m, FUSE_WRITE, REQ_ARRIVED, 1));
		EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&d->m, c[i]));
	}
	EXPECT_EQ(1, count_req(&d->m, FUSE_WRITE, REQ_ARRIVED));
	ASSERT_LE(1, server_release(d->m.ctl, 0));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(c[i]));
		EXPECT_EQ(STEP, c[i]->ret);
	}
	check_file(_metadata, self, BYTES, BYTES + 2 * STEP);
}

/* A pipe with this many bytes of d->data.  Return: its read end, or -1. */
static int full_pipe(struct direct *d, size_t len)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	if (fcntl(fds[1], F_SETPIPE_SZ, BYTES) < 0 ||
	    write(fds[1], d->data, len) != (ssize_t)len)
		return -1;
	close(fds[1]);
	return fds[0];
}

static long do_splice_to(const struct call_arg *arg)
{
	loff_t off = arg->off;
	long ret = splice(*(int *)arg->to, NULL, arg->fd, &off, arg->len, 0);

	return ret > 0 && off != arg->off + ret ? -1 : ret;
}

static const struct call_op call_splice_to = {
	"splice", SYS_splice, do_splice_to
};

static long splice_to(struct _test_data_wrote *self, int *from, off_t off,
		      size_t len)
{
	return mnt_run(&self->d.m, &call_splice_to, (struct call_arg){
		.fd = self->d.fd, .to = from, .off = off, .len = len });
}

TEST_F(wrote, splice_writes_what_the_pipe_has)
{
	struct direct *d = &self->d;
	int from;

	fill_pattern(d->data, BYTES, 2);
	from = full_pipe(d, 3 * STEP);
	ASSERT_LE(0, from);
	/* Across EOF, in as many requests as needed. */
	ASSERT_EQ(3 * STEP, splice_to(self, &from, BYTES - STEP, BYTES));
	EXPECT_EQ(0, find_req(&d->m, FUSE_READ, REQ_ARRIVED, 1));
	EXPECT_EQ(BYTES + 2 * STEP, server_size(d->m.ctl, "file"));
	ASSERT_EQ(0, server_get(d->m.ctl, "file", BYTES - STEP, d->buf,
				3 * STEP));
	EXPECT_EQ(-1, first_difference(d->data, d->buf, 3 * STEP));
}

/* Data that was not written stays in the pipe. */
TEST_F(wrote, error_ends_the_splice_behind_what_was_written)
{
	const struct req_match match = direct_step(FUSE_WRITE, 1);
	struct direct *d = &self->d;
	int from, ret;

	fill_pattern(d->data, BYTES, 2);
	from = full_pipe(d, 3 * STEP);
	ASSERT_LE(0, from);
	ASSERT_EQ(0, server_fail(d->m.ctl, &match, EDQUOT));
	ret = splice_to(self, &from, 0, BYTES);
	/* With O_DIRECT only the error is returned. */
	if (variant->flags & O_DIRECT) {
		EXPECT_EQ(-1, ret);
		EXPECT_EQ(EDQUOT, errno);
		ret = 0;
	} else {
		EXPECT_EQ(STEP, ret);
	}
	ASSERT_EQ(0, server_drop_rules(d->m.ctl));
	ASSERT_EQ(3 * STEP - ret, splice_to(self, &from, ret, BYTES));
	ASSERT_EQ(0, server_get(d->m.ctl, "file", 0, d->buf, 3 * STEP));
	EXPECT_EQ(-1, first_difference(d->data, d->buf, 3 * STEP));
}

/* The same file, with O_DSYNC and O_SYNC. */
FIXTURE(synced)
{
	struct direct d;
};

FIXTURE_VARIANT(synced)
{
	int flags;
	__u32 open_flags;
	__u32 fsync_flags;
};

FIXTURE_VARIANT_ADD(synced, dsync)
{
	O_DIRECT | O_DSYNC, 0, FUSE_FSYNC_FDATASYNC
};

FIXTURE_VARIANT_ADD(synced, dsync_parallel)
{
	O_DIRECT | O_DSYNC, FOPEN_PARALLEL_DIRECT_WRITES, FUSE_FSYNC_FDATASYNC
};

FIXTURE_VARIANT_ADD(synced, sync_parallel)
{
	O_DIRECT | O_SYNC, FOPEN_PARALLEL_DIRECT_WRITES, 0
};

FIXTURE_SETUP(synced)
{
	const struct server_opts opts = {
		.async_dio = true,
		.max_write = STEP,
		.open_flags = variant->open_flags,
	};

	direct_setup(_metadata, &self->d, &opts, variant, variant->flags);
}

FIXTURE_TEARDOWN(synced)
{
	mnt_teardown(_metadata, &self->d.m);
}

/* FSYNC is sent after the replies, and the write waits for it. */
TEST_F(synced, write_is_followed_by_fsync)
{
	struct direct *d = &self->d;
	struct call *c = direct_call(d, &call_pwrite, FUSE_WRITE, 0, 2 * STEP);
	int seq;

	ASSERT_NE(NULL, c);
	ASSERT_TRUE(direct_under_way(&d->m, FUSE_WRITE, 2));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&d->m, c));
	EXPECT_EQ(0, find_req(&d->m, FUSE_FSYNC, REQ_ARRIVED, 1));
	ASSERT_EQ(0, hold_req(&d->m, FUSE_FSYNC));
	ASSERT_EQ(2, server_release(d->m.ctl, 2));
	seq = await_req(&d->m, FUSE_FSYNC, REQ_ARRIVED, 1);
	ASSERT_NE(0, seq);
	EXPECT_LT(find_req(&d->m, FUSE_WRITE, REQ_REPLIED, 2), seq);
	EXPECT_EQ(variant->fsync_flags, d->m.log->ev[seq - 1].req.flags);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&d->m, c));
	ASSERT_EQ(1, server_release(d->m.ctl, 0));
	direct_check(_metadata, d, c, 2 * STEP);
}

/*
 * The write returns an error of FSYNC; after an error of WRITE no FSYNC is
 * sent.
 */
TEST_F(synced, error_of_fsync_is_the_result)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	const struct req_match syncs = { .opcode = FUSE_FSYNC };
	struct direct *d = &self->d;

	ASSERT_EQ(0, server_fail(d->m.ctl, &syncs, EDQUOT));
	EXPECT_EQ(-1, mnt_run(&d->m, &call_pwrite,
			      direct_arg(d, FUSE_WRITE, 0, STEP)));
	EXPECT_EQ(EDQUOT, errno);
	EXPECT_EQ(1, count_req(&d->m, FUSE_FSYNC, REQ_ARRIVED));
	ASSERT_EQ(0, server_fail(d->m.ctl, &writes, ENOSPC));
	EXPECT_EQ(-1, mnt_run(&d->m, &call_pwrite,
			      direct_arg(d, FUSE_WRITE, 0, STEP)));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(1, count_req(&d->m, FUSE_FSYNC, REQ_ARRIVED));
}

TEST_HARNESS_MAIN
