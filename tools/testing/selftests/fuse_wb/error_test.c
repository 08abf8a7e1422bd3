// SPDX-License-Identifier: GPL-2.0
/*
 * Errors of WRITEs that come late, when write(2) has long returned.
 *
 * Every task that has the file open has to see the loss of data at fsync(2),
 * and every possible writer at close(2), once, with the server's errno.  A
 * correct kernel records for each open file which errors preceded its open and
 * which were returned by fsync, and close returns the rest.  A broken one
 * reports to the first caller only, be it a child that ignores it, or to
 * everyone who opens the file later, returns EIO for all errors, forgets the
 * error when the page is rewritten, or reports it forever.
 *
 * Promise: late-errors
 */

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common.h"

#define FILE_NAME	"file"

/*
 *   fd, other, reader --- "file" --- WRITE --> an error
 */
FIXTURE(late)
{
	struct mnt m;
	ssize_t page;
	int fd;
	int other;
	int reader;
	char *map;
	char *data;
};

FIXTURE_VARIANT(late)
{
	bool writeback_cache;
	int err;
};

FIXTURE_VARIANT_ADD(late, eio)
{
	.writeback_cache = true,
	.err = EIO,
};

FIXTURE_VARIANT_ADD(late, edquot)
{
	.writeback_cache = true,
	.err = EDQUOT,
};

FIXTURE_VARIANT_ADD(late, through_enospc) { .err = ENOSPC };

FIXTURE_VARIANT_ADD(late, through_efbig) { .err = EFBIG };

FIXTURE_SETUP(late)
{
	const struct server_opts opts = {
		.writeback_cache = variant->writeback_cache,
		.posix_locks = true,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->data = malloc(self->page);
	ASSERT_NE(NULL, self->data);
	fill_pattern(self->data, self->page, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->data,
				self->page));
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->other = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->other);
	self->reader = mnt_open(&self->m, FILE_NAME, O_RDONLY);
	ASSERT_LE(0, self->reader);
	self->map = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(late)
{
	mnt_teardown(_metadata, &self->m);
}

/*
 * The server fails a WRITE, and accepts all later ones.  When the log has its
 * reply, the kernel has recorded the error.
 */
static void lose_write(struct __test_metadata *_metadata,
		       struct _test_data_late *self, int err)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	int nth = count_req(&self->m, FUSE_WRITE, REQ_ARRIVED) + 1;

	ASSERT_EQ(0, server_fail(self->m.ctl, &writes, err));
	self->map[0]++;
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_REPLIED, nth));
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
}

/* The errno of a call, 0 on success. */
static int errno_of(struct mnt *m, const struct call_op *op, int fd)
{
	return mnt_run(m, op, (struct call_arg){ .fd = fd }) ? errno : 0;
}

TEST_F(late, fsync_tells_every_descriptor_once)
{
	int fds[] = { self->reader, self->fd, self->other }, i;

	lose_write(_metadata, self, variant->err);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync,
						 fds[i]));
		EXPECT_EQ(0, errno_of(&self->m, &call_fsync, fds[i])) {
			TH_LOG("descriptor %d returns the error twice", i + 1);
		}
		EXPECT_EQ(0, errno_of(&self->m, &call_fdatasync, fds[i]));
	}
}

/* An error is reported once; the next one is reported again. */
TEST_F(late, next_error_is_told_again)
{
	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, self->fd));
	self->map[1]++;
	EXPECT_EQ(0, errno_of(&self->m, &call_fsync, self->fd));
	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, self->fd));
	EXPECT_EQ(0, errno_of(&self->m, &call_fsync, self->fd));
	/* Both descriptors return it. */
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, self->other));
	EXPECT_EQ(0, errno_of(&self->m, &call_fsync, self->other));
}

/* Rewriting the page successfully does not undo the loss. */
TEST_F(late, later_success_does_not_hide_the_error)
{
	lose_write(_metadata, self, variant->err);
	self->map[1]++;
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_EQ(0, await_writes(&self->m));
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, self->fd));
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, self->other));
}

TEST_F(late, msync_tells_once)
{
	struct call_arg arg = { .buf = self->map, .len = self->page };

	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(-1, mnt_run(&self->m, &call_msync, arg));
	EXPECT_EQ(variant->err, errno);
	EXPECT_EQ(0, mnt_run(&self->m, &call_msync, arg));
	EXPECT_EQ(0, errno_of(&self->m, &call_fsync, self->fd));
}

/* A descriptor opened after the error was reported does not return it. */
TEST_F(late, descriptor_opened_later_is_not_told)
{
	int late;

	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, self->fd));
	late = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, late);
	EXPECT_EQ(0, errno_of(&self->m, &call_fsync, late));
	EXPECT_EQ(0, errno_of(&self->m, &call_close, late));
	/* The control: one that was open before does. */
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, self->other));
}

/* An error that was never reported is returned to the next opener. */
TEST_F(late, error_that_nobody_heard_of_is_told_to_the_next)
{
	int late;

	lose_write(_metadata, self, variant->err);
	late = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, late);
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, late));
}

/* The WRITE that close itself waits for. */
TEST_F(late, close_tells_of_its_own_write)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };

	ASSERT_EQ(0, server_fail(self->m.ctl, &writes, variant->err));
	self->map[0]++;
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_close, self->fd));
}

/* Linux 6.12 reports to the first one, be it a reader. */
TEST_F(late, close_tells_every_descriptor_for_writing)
{
	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(0, errno_of(&self->m, &call_close, self->reader)) {
		TH_LOG("a reader's close returns a write error");
	}
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_close, self->fd));
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_close, self->other));
}

/* A descriptor opened later has lost nothing, reported or not. */
TEST_F(late, close_tells_no_descriptor_opened_later)
{
	const int modes[] = { O_RDONLY, O_RDONLY, O_WRONLY, O_RDWR, O_RDWR };
	int i, fd;

	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_close,
					 dup(self->fd)));
	for (i = 0; i < 5; i++) {
		fd = mnt_open(&self->m, FILE_NAME, modes[i]);
		ASSERT_LE(0, fd);
		EXPECT_EQ(0, errno_of(&self->m, &call_close, fd)) {
			TH_LOG("descriptor %d returns an old error", i + 1);
		}
	}
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_close, self->fd));
}

/*
 * The same when the file was never closed before: Linux 6.12 reports to the
 * first.
 */
TEST_F(late, close_tells_no_descriptor_of_an_untold_error)
{
	int fd;

	lose_write(_metadata, self, variant->err);
	fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, errno_of(&self->m, &call_close, fd));
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_close, self->fd));
}

/* Two unreported errors look the same, but are not. */
TEST_F(late, close_tells_whoever_came_between_two_errors)
{
	int fd;

	lose_write(_metadata, self, variant->err);
	fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, fd);
	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_close, fd)) {
		TH_LOG("the second error is taken for the first");
	}
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_close, self->fd));
}

/* The error is reported, and the next caller sees none. */
TEST_F(late, close_leaves_no_error_to_other_calls)
{
	struct call_arg arg = { .len = self->page };

	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(-1, mnt_run(&self->m, &call_close, (struct call_arg){
		.fd = dup(self->fd) }));
	arg.fd = mnt_open(&self->m, FILE_NAME, O_RDONLY | O_DIRECT);
	ASSERT_LE(0, arg.fd);
	arg.buf = aligned_alloc(self->page, self->page);
	ASSERT_NE(NULL, arg.buf);
	EXPECT_LE(0, mnt_run(&self->m, &call_pread, arg)) {
		TH_LOG("O_DIRECT read fails due to an earlier WRITE: %m");
	}
}

static long do_futimens(const struct call_arg *arg)
{
	const struct timespec times[] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

	return futimens(arg->fd, times);
}

/*
 * Copy from the start of @fd to that of the descriptor at @to; return 0, no
 * count
 */
static long do_copy(const struct call_arg *arg)
{
	loff_t in = 0, out = 0;
	const int *to = arg->to;

	return copy_file_range(arg->fd, &in, *to, &out, arg->len, 0) < 0 ? -1 : 0;
}

static long do_read(const struct call_arg *arg)
{
	return pread(arg->fd, arg->buf, arg->len, 0) < 0 ? -1 : 0;
}

static const struct call_op call_futimens = {
	"utimensat", SYS_utimensat, do_futimens
};

static const struct call_op call_copy = {
	"copy_file_range", SYS_copy_file_range, do_copy
};

static const struct call_op call_read = { "pread", SYS_pread64, do_read };

/*
 * Calls that write back the file and wait for it, for reasons of their own;
 * @cached: only with the writeback cache.
 */
#define SENDERS	5

struct sender {
	const struct call_op *op;
	struct call_arg arg;
	bool cached;
};

static void make_senders(struct __test_metadata *_metadata,
			 struct _test_data_late *self, struct sender *senders)
{
	const size_t len = self->page;
	int direct, *to;

	ASSERT_EQ(0, server_put(self->m.ctl, "copy", 0, self->data, len));
	to = malloc(2 * sizeof(*to));
	ASSERT_NE(NULL, to);
	to[0] = self->other;
	to[1] = mnt_open(&self->m, "copy", O_RDWR);
	ASSERT_LE(0, to[1]);
	ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_DIRECT_IO));
	direct = mnt_open(&self->m, FILE_NAME, O_RDONLY);
	ASSERT_LE(0, direct);

	senders[0] = (struct sender){ &call_fchmod, {
		.fd = self->other, .flags = 0600 }, true };
	senders[1] = (struct sender){ &call_futimens, {
		.fd = self->other }, true };
	senders[2] = (struct sender){ &call_copy, {
		.fd = self->reader, .to = &to[1], .len = len }, false };
	senders[3] = (struct sender){ &call_copy, {
		.fd = to[1], .to = &to[0], .len = len }, false };
	senders[4] = (struct sender){ &call_read, {
		.fd = direct, .buf = self->data, .len = len }, false };
}

static int errno_of_sender(struct mnt *m, const struct sender *sender)
{
	return mnt_run(m, sender->op, sender->arg) ? errno : 0;
}

/* The error is reported by close or fsync. */
TEST_F(late, old_error_is_not_told_to_calls_that_send_what_is_dirty)
{
	struct sender senders[SENDERS];
	int i;

	make_senders(_metadata, self, senders);
	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(-1, mnt_run(&self->m, &call_close, (struct call_arg){
		.fd = dup(self->fd) }));
	for (i = 0; i < 2 * SENDERS; i++) {
		self->map[1]++;
		EXPECT_EQ(0, errno_of_sender(&self->m, &senders[i / 2])) {
			TH_LOG("call %d, %s, fails due to an earlier WRITE",
			       i / 2 + 1, senders[i / 2].op->name);
		}
	}
}

/*
 * The control; Linux 6.12 does not wait for the reply before it checks for
 * errors.
 */
TEST_F(late, error_is_told_to_the_call_that_sent_what_was_dirty)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	struct sender senders[SENDERS];
	int i;

	make_senders(_metadata, self, senders);
	for (i = 0; i < SENDERS; i++) {
		if (senders[i].cached && !variant->writeback_cache)
			continue;
		ASSERT_EQ(0, server_fail(self->m.ctl, &writes, variant->err));
		self->map[1]++;
		EXPECT_EQ(variant->err, errno_of_sender(&self->m,
							&senders[i])) {
			TH_LOG("call %d, %s, does not return the error of its own WRITE",
			       i + 1, senders[i].op->name);
		}
		ASSERT_EQ(0, server_drop_rules(self->m.ctl));
		EXPECT_EQ(0, errno_of_sender(&self->m, &senders[i]));
	}
}

/* Linux 6.12 turns it into another error, EIO. */
TEST_F(late, munmap_keeps_the_error_as_it_is)
{
	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, self->fd));
	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(0, mnt_run(&self->m, &call_munmap, (struct call_arg){
		.buf = self->map, .len = self->page }));
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, self->fd));
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_close, self->other));
	EXPECT_EQ(0, errno_of(&self->m, &call_close, self->fd));
}

/*
 * A reader's close waits for a WRITE that fails, but does not return the error.
 */
TEST_F(late, close_of_reader_keeps_the_error_as_it_is)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };

	ASSERT_EQ(0, server_fail(self->m.ctl, &writes, variant->err));
	self->map[0]++;
	EXPECT_EQ(0, errno_of(&self->m, &call_close, self->reader));
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, self->fd));
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_close, self->other));
}

TEST_F(late, close_does_not_repeat_what_fsync_told)
{
	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, self->fd));
	EXPECT_EQ(0, errno_of(&self->m, &call_close, dup(self->fd)));
	EXPECT_EQ(0, errno_of(&self->m, &call_close, self->fd));
}

/* Linux 6.12 has no error left to report. */
TEST_F(late, close_tells_what_fsync_told_another_one)
{
	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, self->fd));
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_close, self->other));
}

/*
 * The same: the exit of a child closes what it inherited, and ignores the
 * error.
 */
TEST_F(late, exit_of_child_takes_no_error_away)
{
	int status = -1;
	pid_t pid;

	lose_write(_metadata, self, variant->err);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_close,
					 dup(self->fd)));
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_fsync, self->fd));
}

/* At FLUSH the server drops the locks of the process.  6.12 sends none. */
TEST_F(late, flush_is_sent_although_a_write_failed)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };

	ASSERT_EQ(0, fcntl(self->fd, F_SETLK, &lock));
	EXPECT_EQ(1, count_req(&self->m, FUSE_SETLK, REQ_ARRIVED));
	lose_write(_metadata, self, variant->err);
	EXPECT_EQ(variant->err, errno_of(&self->m, &call_close, self->fd));
	EXPECT_EQ(1, count_req(&self->m, FUSE_FLUSH, REQ_ARRIVED)) {
		TH_LOG("FLUSH was not sent on close");
	}
}

TEST_HARNESS_MAIN
