// SPDX-License-Identifier: GPL-2.0
/*
 * splice(2) and sendfile(2) from a file with FOPEN_DIRECT_IO.
 *
 * Every reader of such a file gets the server's data.  Another descriptor of it may
 * use the page cache, which holds older data of the server.  A sound kernel sends
 * READ for a splice, and returns its result: short, or an error.  Linux 6.12 puts
 * the pages of the page cache into the pipe.
 *
 * Promise: direct-splice
 */

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "direct.h"

/*
 *   cached --- page cache: the pattern 1, read in setup
 *   d.fd ----- READ ---> server: d.data, the pattern 3 ---> pipe
 */
FIXTURE(spliced)
{
	struct direct d;
	int cached;
	int out;
	int in;
};

FIXTURE_VARIANT(spliced)
{
	__u32 open_flags;
};

FIXTURE_VARIANT_ADD(spliced, fopen_direct_io) { FOPEN_DIRECT_IO };

FIXTURE_VARIANT_ADD(spliced, fopen_direct_io_parallel)
{
	FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES
};

FIXTURE_SETUP(spliced)
{
	const struct server_opts opts = {
		.async_dio = true,
		.max_write = STEP,
		.open_flags = variant->open_flags,
	};
	struct direct *d = &self->d;
	int fds[2];

	if (!direct_setup(_metadata, d, &opts, variant, 0))
		return;
	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	self->out = fds[0];
	self->in = fds[1];
	ASSERT_EQ(BYTES, fcntl(self->in, F_SETPIPE_SZ, BYTES)) {
		TH_LOG("a pipe of %d bytes: %s", BYTES, strerror(errno));
	}
	ASSERT_EQ(0, server_open_flags(d->m.ctl, 0));
	self->cached = mnt_open(&d->m, "file", O_RDONLY);
	ASSERT_LE(0, self->cached);
	ASSERT_EQ(BYTES, pread(self->cached, d->buf, BYTES, 0));
	ASSERT_EQ(-1, first_difference(d->data, d->buf, BYTES));
	fill_pattern(d->data, BYTES, 3);
	ASSERT_EQ(0, server_put(d->m.ctl, "file", 0, d->data, BYTES));
}

FIXTURE_TEARDOWN(spliced)
{
	mnt_teardown(_metadata, &self->d.m);
}

static long do_splice(const struct call_arg *arg)
{
	loff_t off = arg->off;
	long ret = splice(arg->fd, &off, *(int *)arg->to, NULL, arg->len, 0);

	/* The file position is advanced. */
	return ret > 0 && off != arg->off + ret ? -1 : ret;
}

static const struct call_op call_splice = { "splice", SYS_splice, do_splice };

static long splice_from(struct _test_data_spliced *self, off_t off, size_t len)
{
	return mnt_run(&self->d.m, &call_splice, (struct call_arg){
		.fd = self->d.fd, .off = off, .len = len, .to = &self->in });
}

/* The pipe has that many bytes of the file, as the server has it now. */
static void check_pipe(struct __test_metadata *_metadata,
		       struct _test_data_spliced *self, off_t off, ssize_t len)
{
	struct direct *d = &self->d;

	ASSERT_EQ(0, close(self->in));
	EXPECT_EQ(len, mnt_run(&d->m, &call_read_all, (struct call_arg){
		.fd = self->out, .buf = d->buf, .len = BYTES }));
	EXPECT_EQ(-1, first_difference(d->data + off, d->buf, len)) {
		TH_LOG("the pipe has other bytes than the server");
	}
}

TEST_F(spliced, splice_asks_the_server)
{
	struct direct *d = &self->d;
	int nr = count_req(&d->m, FUSE_READ, REQ_ARRIVED);

	ASSERT_EQ(4096, splice_from(self, 8192, 4096));
	EXPECT_EQ(nr + 1, count_req(&d->m, FUSE_READ, REQ_ARRIVED));
	check_pipe(_metadata, self, 8192, 4096);

	/* The control: the page cache has other bytes. */
	ASSERT_EQ(4096, pread(self->cached, d->buf, 4096, 8192));
	EXPECT_NE(-1, first_difference(d->data + 8192, d->buf, 4096));
	EXPECT_EQ(nr + 1, count_req(&d->m, FUSE_READ, REQ_ARRIVED));
}

TEST_F(spliced, splice_of_many_requests_has_the_bytes_of_all)
{
	struct direct *d = &self->d;
	int nr = count_req(&d->m, FUSE_READ, REQ_ARRIVED);

	ASSERT_EQ(BYTES, splice_from(self, 0, BYTES));
	EXPECT_EQ(nr + STEPS, count_req(&d->m, FUSE_READ, REQ_ARRIVED));
	check_pipe(_metadata, self, 0, BYTES);
}

/* The server has truncated the file since: the page cache does not know. */
TEST_F(spliced, splice_ends_where_the_server_says)
{
	struct stat st = { .st_size = BYTES - 4096 };
	struct direct *d = &self->d;

	ASSERT_EQ(0, server_setattr(d->m.ctl, "file", &st, FATTR_SIZE));
	ASSERT_EQ(100, splice_from(self, BYTES - 4096 - 100, 4096));
	ASSERT_EQ(0, splice_from(self, BYTES - 4096, 4096));
	check_pipe(_metadata, self, BYTES - 4096 - 100, 100);
}

TEST_F(spliced, splice_reads_what_the_file_has_grown_by)
{
	struct direct *d = &self->d;
	char more[] = "more than the kernel knows of", seen[64];

	ASSERT_EQ(0, server_put(d->m.ctl, "file", BYTES, more, sizeof(more)));
	ASSERT_EQ((long)sizeof(more), splice_from(self, BYTES, 4096));
	ASSERT_EQ((ssize_t)sizeof(more), read(self->out, seen, sizeof(seen)));
	EXPECT_STREQ(more, seen);
}

TEST_F(spliced, short_reply_ends_the_splice)
{
	const struct req_match match = direct_step(FUSE_READ, 2);
	struct direct *d = &self->d;

	ASSERT_EQ(0, server_rule(d->m.ctl, &match, RULE_SIZE, 5000));
	ASSERT_EQ(2 * STEP + 5000, splice_from(self, 0, BYTES));
	check_pipe(_metadata, self, 0, 2 * STEP + 5000);
}

TEST_F(spliced, error_ends_the_splice)
{
	const struct req_match match = direct_step(FUSE_READ, 2);
	struct direct *d = &self->d;

	ASSERT_EQ(0, server_fail(d->m.ctl, &match, EDQUOT));
	ASSERT_EQ(-1, splice_from(self, 2 * STEP, 4096));
	EXPECT_EQ(EDQUOT, errno);
	ASSERT_EQ(2 * STEP, splice_from(self, 0, BYTES));
	check_pipe(_metadata, self, 0, 2 * STEP);
}

static long do_sendfile(const struct call_arg *arg)
{
	off_t off = arg->off;

	return sendfile(*(int *)arg->to, arg->fd, &off, arg->len);
}

static const struct call_op call_sendfile = {
	"sendfile", SYS_sendfile, do_sendfile
};

/* In several reads, each as large as the kernel's internal pipe. */
TEST_F(spliced, sendfile_asks_the_server)
{
	struct direct *d = &self->d;
	int to = memfd_create("to", MFD_CLOEXEC);

	ASSERT_LE(0, to);
	ASSERT_EQ(BYTES - 100, mnt_run(&d->m, &call_sendfile,
				       (struct call_arg){
		.fd = d->fd, .off = 100, .len = BYTES, .to = &to }));
	ASSERT_EQ(BYTES - 100, pread(to, d->buf, BYTES, 0));
	EXPECT_EQ(-1, first_difference(d->data + 100, d->buf, BYTES - 100));
}

/*
 * On Linux 6.12 it can be killed, as it waits for the page cache and not for
 * READ.
 */
static void check_kill(struct __test_metadata *_metadata,
		       struct _test_data_spliced *self,
		       const struct call_op *op)
{
	struct direct *d = &self->d;
	int nr = count_req(&d->m, FUSE_READ, REQ_ARRIVED);
	pid_t pid;

	ASSERT_EQ(0, hold_req(&d->m, FUSE_READ));
	pid = child_start(CLONE_FILES, op, (struct call_arg){
		.fd = d->fd, .to = &self->in, .len = STEP });
	ASSERT_LE(0, pid);
	ASSERT_NE(0, await_req(&d->m, FUSE_READ, REQ_ARRIVED, nr + 1));
	EXPECT_TRUE(child_stays_blocked(&d->m, pid, op));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&d->m, pid)) {
		TH_LOG("the killed reader waits for a reply that may never come");
	}
	ASSERT_LE(1, server_release(d->m.ctl, 0));
	/* The file is still usable. */
	ASSERT_EQ(STEP, splice_from(self, 0, STEP));
	check_pipe(_metadata, self, 0, STEP);
}

TEST_F(spliced, splice_can_be_killed)
{
	check_kill(_metadata, self, &call_splice);
}

TEST_F(spliced, sendfile_can_be_killed)
{
	check_kill(_metadata, self, &call_sendfile);
}

TEST_HARNESS_MAIN
