// SPDX-License-Identifier: GPL-2.0
/*
 * Queries that parallel direct writers send before they write.
 *
 * A write removes the set-uid bit and the capabilities of a file.  Only the server
 * knows whether it has capabilities; it says so in the reply to GETXATTR, and a
 * kernel with FUSE_HANDLE_KILLPRIV_V2 remembers that there were none.  A broken one
 * sends GETXATTR before each parallel write; a sound one sends it once, other
 * writers that come meanwhile wait for that reply and send none of their own, and it
 * sends it again when something may have changed.
 *
 * Promise: direct-privileges
 */

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <linux/capability.h>

#include "attr_request.h"
#include "child.h"
#include "common.h"

#define PAGE	4096
#define PAGES	8
#define BYTES	(PAGES * PAGE)
#define WRITERS	4
#define TIMES	25

/* fd: "file", O_DIRECT, which has no capabilities */
FIXTURE(privs)
{
	struct mnt m;
	int fd;
	char *data;
	struct call *writer[WRITERS];
};

FIXTURE_SETUP(privs)
{
	const struct req_match getxattrs = { .opcode = FUSE_GETXATTR };
	const struct req_match setxattrs = { .opcode = FUSE_SETXATTR };
	const struct server_opts opts = {
		.async_dio = true,
		.open_flags = FOPEN_PARALLEL_DIRECT_WRITES,
		.init_flags = FUSE_HANDLE_KILLPRIV_V2,
		.threads = 2,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->data = aligned_alloc(PAGE, BYTES);
	ASSERT_NE(NULL, self->data);
	fill_pattern(self->data, BYTES, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data, BYTES));
	ASSERT_EQ(0, server_fail(self->m.ctl, &getxattrs, ENODATA));
	/* The server accepts them, and still replies that it has none. */
	ASSERT_EQ(0, server_fail(self->m.ctl, &setxattrs, 0));
	self->fd = mnt_open(&self->m, "file", O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(privs)
{
	mnt_teardown(_metadata, &self->m);
}

static struct call_arg write_arg(struct _test_data_privs *self, int page)
{
	return (struct call_arg){
		.fd = self->fd, .off = page * PAGE, .len = PAGE,
		.buf = self->data + page * PAGE };
}

static long do_pwrites(const struct call_arg *arg)
{
	int i;

	for (i = 0; i < TIMES; i++)
		if (pwrite(arg->fd, arg->buf, arg->len, arg->off) !=
		    (ssize_t)arg->len)
			return -1;
	return i;
}

static const struct call_op call_pwrites = {
	"pwrite", SYS_pwrite64, do_pwrites
};

static void start_writers(struct __test_metadata *_metadata,
			  struct _test_data_privs *self,
			  const struct call_op *op)
{
	int i;

	for (i = 0; i < WRITERS; i++) {
		self->writer[i] = mnt_call(&self->m, op, write_arg(self, i));
		ASSERT_NE(NULL, self->writer[i]);
	}
}

static void end_writers(struct __test_metadata *_metadata,
			struct _test_data_privs *self, long ret)
{
	int i;

	for (i = 0; i < WRITERS; i++) {
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->writer[i]));
		EXPECT_EQ(ret, self->writer[i]->ret);
	}
}

static int questions(struct _test_data_privs *self)
{
	return count_req(&self->m, FUSE_GETXATTR, REQ_ARRIVED);
}

TEST_F(privs, many_writes_ask_once)
{
	start_writers(_metadata, self, &call_pwrites);
	end_writers(_metadata, self, TIMES);
	EXPECT_EQ(WRITERS * TIMES,
		  count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	EXPECT_EQ(1, questions(self));
}

TEST_F(privs, writers_who_come_at_once_ask_once)
{
	int i;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_GETXATTR));
	start_writers(_metadata, self, &call_pwrite);
	for (i = 0; i < WRITERS; i++)
		ASSERT_EQ(CALL_BLOCKED,
			  call_stays_blocked(&self->m, self->writer[i]));
	EXPECT_EQ(1, questions(self));
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	end_writers(_metadata, self, PAGE);
	EXPECT_EQ(1, questions(self));
}

/*
 * The writer that sends GETXATTR has to wait for the reply; a writer that waits
 * for it can be killed.
 *
 * Promise: direct-kill
 */
TEST_F(privs, writer_who_waits_for_one_who_asks_can_be_killed)
{
	struct call *c;
	pid_t pid;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_GETXATTR));
	c = mnt_call(&self->m, &call_pwrite, write_arg(self, 0));
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_GETXATTR, REQ_ARRIVED, 1));
	pid = child_start(CLONE_FILES, &call_pwrite, write_arg(self, 1));
	ASSERT_LE(0, pid);
	ASSERT_TRUE(child_stays_blocked(&self->m, pid, &call_pwrite));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&self->m, pid));
	EXPECT_EQ(0, find_req(&self->m, FUSE_GETXATTR, REQ_REPLIED, 1));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(PAGE, c->ret);
	EXPECT_EQ(1, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
}

/* Two writes send that many GETXATTRs more than before, none or one. */
static void check_asked(struct __test_metadata *_metadata,
			struct _test_data_privs *self, int more)
{
	int before = questions(self);

	ASSERT_EQ(PAGE, mnt_run(&self->m, &call_pwrite, write_arg(self, 0)));
	ASSERT_EQ(PAGE, mnt_run(&self->m, &call_pwrite, write_arg(self, 1)));
	EXPECT_EQ(more, questions(self) - before);
}

/* The controls: the result is cached as long as nothing can have changed. */
TEST_F(privs, write_asks_again_when_a_capability_is_set)
{
	const struct vfs_cap_data caps = {
		.magic_etc = VFS_CAP_REVISION_2,
		.data[0].permitted = 1 << CAP_CHOWN,
	};

	check_asked(_metadata, self, 1);
	check_asked(_metadata, self, 0);
	ASSERT_EQ(0, fsetxattr(self->fd, "security.capability", &caps,
			       sizeof(caps), 0));
	check_asked(_metadata, self, 1);
	check_asked(_metadata, self, 0);
}

TEST_F(privs, write_asks_again_when_the_server_tells_attributes)
{
	check_asked(_metadata, self, 1);
	check_asked(_metadata, self, 0);
	ASSERT_EQ(0, attr_request_send(&self->m, &attr_request_getattr, "file", self->fd));
	check_asked(_metadata, self, 1);
	check_asked(_metadata, self, 0);
}

/* A file with such a bit has privileges to lose: nothing is cached about it. */
TEST_F(privs, write_asks_again_when_a_mode_bit_is_set)
{
	check_asked(_metadata, self, 1);
	ASSERT_EQ(0, fchmod(self->fd, 04755));
	check_asked(_metadata, self, 2);
	check_asked(_metadata, self, 2);
	ASSERT_EQ(0, fchmod(self->fd, 0755));
	check_asked(_metadata, self, 1);
	check_asked(_metadata, self, 0);
}

/*
 * A writer has checked whether an open waits for the page cache, and sends
 * GETXATTR.  An open that comes meanwhile waits for writes in flight, not for this
 * writer.
 *
 * Promise: direct-starve
 */
TEST_F(privs, caching_open_does_not_wait_for_a_writer_who_asked_before)
{
	const struct req_match getxattrs = { .opcode = FUSE_GETXATTR };
	const struct req_match first = {
		.opcode = FUSE_WRITE, .end = PAGE };
	char path[128];
	struct call *o;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	self->writer[0] = mnt_call(&self->m, &call_pwrite,
				   write_arg(self, 0));
	ASSERT_NE(NULL, self->writer[0]);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	/* So that it has to send GETXATTR */
	ASSERT_EQ(0, attr_request_send(&self->m, &attr_request_getattr, "file", self->fd));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_GETXATTR));
	self->writer[1] = mnt_call(&self->m, &call_pwrite,
				   write_arg(self, 1));
	ASSERT_NE(NULL, self->writer[1]);
	ASSERT_NE(0, await_req(&self->m, FUSE_GETXATTR, REQ_ARRIVED, 2));

	ASSERT_EQ(0, server_open_flags(self->m.ctl, 0));
	snprintf(path, sizeof(path), "%s/file", self->m.dir);
	o = mnt_call(&self->m, &call_open, (struct call_arg){
		.buf = path, .flags = O_RDWR });
	ASSERT_NE(NULL, o);
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, o));
	ASSERT_EQ(1, server_release_match(self->m.ctl, &getxattrs));
	ASSERT_EQ(CALL_BLOCKED,
		  call_stays_blocked(&self->m, self->writer[1]));
	ASSERT_EQ(1, server_release_match(self->m.ctl, &first));
	EXPECT_EQ(CALL_RETURNED, call_wait_returned(o)) {
		TH_LOG("the open waits for a writer that came later");
	}
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 2));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 2));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->writer[1]));
	EXPECT_EQ(PAGE, self->writer[1]->ret);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(o));
	EXPECT_LE(0, o->ret);
}

TEST_HARNESS_MAIN
