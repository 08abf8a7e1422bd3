// SPDX-License-Identifier: GPL-2.0
/*
 * What happens when a descriptor is closed, in all possible ways.
 *
 * On a file with a writeback cache, close(2) guarantees what write(2) no longer
 * does: the server has the data, or the caller gets an error.  A correct kernel
 * writes back, waits for the replies to all WRITEs of the file and then sends
 * FLUSH, for every descriptor that is closed, with the lock owner of the
 * closing process.  A broken one does so for the last descriptor only, sends
 * FLUSH before the data, or makes the server drop the locks of another process.
 *
 * Promise: policy-08, policy-13, flush-at-close
 */

#include <sys/syscall.h>
#include <sys/wait.h>

#include "common.h"

#define FILE_NAME	"file"

/*
 *   fd --- write ---> a dirty page of "file" --- WRITE, held
 *   a process: closes a descriptor of the file --- FLUSH
 */
FIXTURE(flush)
{
	struct mnt m;
	ssize_t page;
	int fd;
	char *data;
	char *seen;
};

static void open_file(struct __test_metadata *_metadata,
		      struct _test_data_flush *self, const void *variant)
{
	const struct server_opts opts = {
		.writeback_cache = true, .posix_locks = true };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	file_setup(_metadata, &self->m, FILE_NAME, self->page, 1, &self->data,
		   &self->seen);
	fill_pattern(self->data, self->page, 2);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_SETUP(flush)
{
	open_file(_metadata, self, variant);
}

FIXTURE_TEARDOWN(flush)
{
	mnt_teardown(_metadata, &self->m);
}

/* The server has the written data, and has got FLUSH after it. */
static void check_flushed(struct __test_metadata *_metadata,
			  struct _test_data_flush *self, int flushes)
{
	EXPECT_LT(find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
		  await_req(&self->m, FUSE_FLUSH, REQ_ARRIVED, 1));
	EXPECT_EQ(flushes, count_req(&self->m, FUSE_FLUSH, REQ_ARRIVED));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen,
				self->page));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->page));
}

/* Another file replaces the descriptor. */
static long do_dup3(const struct call_arg *arg)
{
	return dup3(STDERR_FILENO, arg->fd, O_CLOEXEC);
}

static const struct call_op call_dup3 = { "dup3", SYS_dup3, do_dup3 };

enum letting_go {
	CLOSE_LAST,
	CLOSE_COPY,
	DUP_OVER_IT,
	CHILD_EXITS,
	CHILD_EXECS,
};

/*
 * Each in a thread or a child, and whether it is the last copy of the
 * descriptor.
 */
FIXTURE(letting_go)
{
	FIXTURE_DATA(flush) f;
};

FIXTURE_VARIANT(letting_go)
{
	enum letting_go how;
};

FIXTURE_VARIANT_ADD(letting_go, close) { .how = CLOSE_LAST };

FIXTURE_VARIANT_ADD(letting_go, close_of_copy) { .how = CLOSE_COPY };

FIXTURE_VARIANT_ADD(letting_go, dup_over_it) { .how = DUP_OVER_IT };

FIXTURE_VARIANT_ADD(letting_go, exit_of_child) { .how = CHILD_EXITS };

FIXTURE_VARIANT_ADD(letting_go, exec) { .how = CHILD_EXECS };

FIXTURE_SETUP(letting_go)
{
	open_file(_metadata, &self->f, variant);
}

FIXTURE_TEARDOWN(letting_go)
{
	mnt_teardown(_metadata, &self->f.m);
}

/* A child with only this descriptor, which has O_CLOEXEC. */
static pid_t start_child(int fd, bool execs)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	close_all_but(fd, -1);
	if (!execs)
		_exit(0);
	/* It prints the list of tests, which nobody needs. */
	close(STDOUT_FILENO);
	execl("/proc/self/exe", "flush_test", "-l", NULL);
	_exit(1);
}

static struct call *let_go(struct _test_data_flush *f, enum letting_go how)
{
	struct call_arg arg = { .fd = f->fd };

	switch (how) {
	case CLOSE_LAST:
		return mnt_call(&f->m, &call_close, arg);
	case CLOSE_COPY:
		return mnt_call_close(&f->m, f->fd);
	case DUP_OVER_IT:
		return mnt_call(&f->m, &call_dup3, arg);
	default:
		arg.fd = start_child(f->fd, how == CHILD_EXECS);
		return arg.fd < 0 ? NULL : mnt_call(&f->m, &call_waitpid, arg);
	}
}

TEST_F(letting_go, waits_for_write_and_sends_flush)
{
	struct _test_data_flush *f = &self->f;
	struct call *c;

	ASSERT_EQ(0, hold_req(&f->m, FUSE_WRITE));
	ASSERT_EQ(f->page, pwrite(f->fd, f->data, f->page, 0));
	c = let_go(f, variant->how);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&f->m, FUSE_WRITE, REQ_ARRIVED, 1));
	/* The call in which a child sleeps does not matter. */
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&f->m, c));
	EXPECT_EQ(0, find_req(&f->m, FUSE_FLUSH, REQ_ARRIVED, 1)) {
		TH_LOG("FLUSH was sent before the reply to WRITE");
	}
	ASSERT_EQ(1, server_release(f->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	check_flushed(_metadata, f, 1);
}

/* The second and the third find the file clean, but send FLUSH as well. */
TEST_F(flush, every_descriptor_sends_its_flush)
{
	int other = mnt_open(&self->m, FILE_NAME, O_RDONLY);
	struct req_event *ev;
	int seq;

	ASSERT_LE(0, other);
	ASSERT_EQ(self->page, pwrite(self->fd, self->data, self->page, 0));
	ASSERT_EQ(0, close(dup(self->fd)));
	ASSERT_EQ(0, close(other));
	ASSERT_EQ(0, close(self->fd));
	check_flushed(_metadata, self, 3);
	seq = find_req(&self->m, FUSE_FLUSH, REQ_ARRIVED, 2);
	ASSERT_NE(0, seq);
	ev = &self->m.log->ev[seq - 1];
	EXPECT_EQ(O_RDONLY, reqlog_open_flags(self->m.log, ev->req.fh) &
			    O_ACCMODE) {
		TH_LOG("FLUSH carries the handle of another descriptor");
	}
	EXPECT_EQ(1, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
}

/* Writeback that was started before close, and a file without dirty pages. */
TEST_F(flush, close_waits_for_writeback_under_way)
{
	int reader = mnt_open(&self->m, FILE_NAME, O_RDONLY);
	struct call *c;

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(self->page, pwrite(self->fd, self->data, self->page, 0));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	c = mnt_call(&self->m, &call_close, (struct call_arg){ .fd = reader });
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	EXPECT_EQ(0, find_req(&self->m, FUSE_FLUSH, REQ_ARRIVED, 1));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	check_flushed(_metadata, self, 1);
}

/*
 * One thread closes the file while another one is in write(2), waiting for the
 * server: there is nothing to write back yet when close starts.
 */
TEST_F(flush, write_that_meets_close_arrives_before_release)
{
	struct call *w, *c;

	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->data,
				self->page));
	memset(self->data + 1, 'x', 7);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	w = mnt_call(&self->m, &call_pwrite, (struct call_arg){
		.fd = self->fd, .buf = self->data + 1, .off = 1, .len = 7 });
	ASSERT_NE(NULL, w);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
	c = mnt_call(&self->m, &call_close, (struct call_arg){
		.fd = self->fd });
	ASSERT_NE(NULL, c);
	ASSERT_NE(CALL_LOST, call_stays_blocked(&self->m, c));
	EXPECT_EQ(0, find_req(&self->m, FUSE_RELEASE, REQ_ARRIVED, 1));

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(w));
	EXPECT_EQ(7, w->ret);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	EXPECT_LT(await_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
		  await_req(&self->m, FUSE_RELEASE, REQ_ARRIVED, 1));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen,
				self->page));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->page));
}

/*
 * FLUSH is sent once to a server without it; the data is written nevertheless.
 */
TEST_F(flush, flush_is_not_sent_again_after_enosys)
{
	const struct req_match flushes = { .opcode = FUSE_FLUSH };
	struct call *c;

	ASSERT_EQ(0, server_lacks(self->m.ctl, &flushes));
	EXPECT_EQ(0, close(dup(self->fd)));
	EXPECT_EQ(1, count_req(&self->m, FUSE_FLUSH, REQ_ARRIVED));

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(self->page, pwrite(self->fd, self->data, self->page, 0));
	c = mnt_call_close(&self->m, self->fd);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(1, count_req(&self->m, FUSE_FLUSH, REQ_ARRIVED)) {
		TH_LOG("FLUSH was sent again after ENOSYS");
	}
}

/* close returns the error of FLUSH. */
TEST_F(flush, error_of_flush_reaches_close)
{
	const struct req_match flushes = { .opcode = FUSE_FLUSH };

	ASSERT_EQ(0, server_fail(self->m.ctl, &flushes, EDQUOT));
	EXPECT_EQ(-1, close(dup(self->fd)));
	EXPECT_EQ(EDQUOT, errno);
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	EXPECT_EQ(0, close(self->fd));
}

/*
 * FOPEN_NOFLUSH only affects FLUSH, and has no effect with a writeback cache.
 */
TEST_F(flush, data_is_written_at_close_without_flush)
{
	int fd;

	ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_NOFLUSH));
	fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(self->page, pwrite(fd, self->data, self->page, 0));
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(1, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));
	check_flushed(_metadata, self, 1);
}

/* The lock owner of the last such request in the log. */
static __u64 last_owner(struct mnt *m, __u32 opcode)
{
	int seq = find_req(m, opcode, REQ_ARRIVED,
			   count_req(m, opcode, REQ_ARRIVED));

	return seq ? m->log->ev[seq - 1].req.owner : 0;
}

static int set_lock(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };

	return fcntl(fd, F_SETLK, &lock);
}

/* The lock owner is all the server has to identify the owner of a lock. */
TEST_F(flush, flush_has_the_lock_owner_of_its_process)
{
	struct call *c;
	int status = -1;
	__u64 own;
	pid_t pid;

	ASSERT_EQ(0, set_lock(self->fd));
	own = last_owner(&self->m, FUSE_SETLK);
	ASSERT_NE(0ULL, own);
	ASSERT_EQ(0, close(dup(self->fd)));
	EXPECT_EQ(own, last_owner(&self->m, FUSE_FLUSH));
	/* Threads share the lock owner. */
	c = mnt_call_close(&self->m, self->fd);
	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(own, last_owner(&self->m, FUSE_FLUSH));

	/* A child has its own lock owner, in all its requests. */
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(set_lock(self->fd) ? 1 : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_NE(own, last_owner(&self->m, FUSE_SETLK));
	EXPECT_EQ(last_owner(&self->m, FUSE_SETLK),
		  last_owner(&self->m, FUSE_FLUSH)) {
		TH_LOG("the child's exit drops the locks of another process");
	}
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(own, last_owner(&self->m, FUSE_FLUSH));
	EXPECT_EQ(4, count_req(&self->m, FUSE_FLUSH, REQ_ARRIVED));
}

TEST_HARNESS_MAIN
