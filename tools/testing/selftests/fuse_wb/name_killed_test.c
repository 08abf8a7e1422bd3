// SPDX-License-Identifier: GPL-2.0
/*
 * SIGKILL for a task that changes a file's name or blocks while a flusher sends its
 * times.
 *
 * With the writeback cache such a call sends the file's new ctime before it returns,
 * and waits until no other task writes the inode, such as a flusher that waits for
 * the reply to SETATTR.  It holds the directory lock meanwhile.  On a broken kernel,
 * such as Linux 6.12, SIGKILL does not end that wait, and every user of the
 * directory waits.  On a sound one it does, and another task sends the new ctime.
 *
 * Promise: kill
 */

#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "child.h"
#include "common.h"

#define PAGE	4096

/*
 *   fd: "file", whose times a flusher sends --- SETATTR ---> held
 *   a child: a call that changes the ctime <--- SIGKILL
 */
FIXTURE(busy)
{
	struct mnt m;
	int fd;
	int sent;
	char path[128];
	char other[128];
};

FIXTURE_SETUP(busy)
{
	const struct server_opts opts = { .writeback_cache = true };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	snprintf(self->path, sizeof(self->path), "%s/file", self->m.dir);
	snprintf(self->other, sizeof(self->other), "%s/other", self->m.dir);
	self->fd = mnt_open(&self->m, "file", O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, make_file_old(self->fd));
	self->sent = count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	/* Linux 6.12 waits in it. */
	ASSERT_NE(NULL, mnt_call(&self->m, &call_sync, (struct call_arg){ }));
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED,
			       self->sent + 1));
	ASSERT_EQ(0, await_tick());
}

FIXTURE_TEARDOWN(busy)
{
	mnt_teardown(_metadata, &self->m);
}

/*
 * The child is gone, no task waits, and the server gets what the kernel shows.
 */
static void check_killed(struct __test_metadata *_metadata,
			 struct _test_data_busy *self, const struct call_op *op,
			 struct call_arg arg, __u32 opcode)
{
	struct stat server, kernel;
	pid_t pid;

	pid = child_start(CLONE_FILES, op, arg);
	ASSERT_LT(0, pid);
	ASSERT_NE(0, await_req(&self->m, opcode, REQ_REPLIED, 1));
	/* No fence: the call may hold the directory lock. */
	ASSERT_TRUE(child_await_blocked(pid, op));
	EXPECT_EQ(self->sent + 1,
		  count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_TRUE(child_was_killed(&self->m, pid)) {
		TH_LOG("SIGKILL does not end %s", op->name);
	}
	EXPECT_EQ(0, fence(&self->m));
	EXPECT_EQ(self->sent,
		  count_req(&self->m, FUSE_SETATTR, REQ_REPLIED));

	/* Before any other task has it sent. */
	ASSERT_EQ(1, server_release(self->m.ctl, 1));
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED,
			       self->sent + 2)) {
		TH_LOG("the ctime of %s is not sent", op->name);
	}
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_REPLIED,
			       self->sent + 2));
	ASSERT_EQ(0, fstat(self->fd, &kernel));
	if (opcode == FUSE_UNLINK)
		return;
	ASSERT_EQ(0, server_stat(self->m.ctl, opcode == FUSE_RENAME ?
				 "other" : "file", &server));
	EXPECT_EQ(0, memcmp(&kernel.st_ctim, &server.st_ctim,
			    sizeof(server.st_ctim)));
	EXPECT_EQ(0, memcmp(&kernel.st_mtim, &server.st_mtim,
			    sizeof(server.st_mtim)));
}

TEST_F(busy, rename_behind_a_flusher_ends)
{
	check_killed(_metadata, self, &call_rename, (struct call_arg){
		.buf = self->path, .to = self->other }, FUSE_RENAME);
}

static long do_unlink(const struct call_arg *arg)
{
	return unlink(arg->buf);
}

static const struct call_op call_unlink = { "unlink", SYS_unlink, do_unlink };

TEST_F(busy, unlink_behind_a_flusher_ends)
{
	check_killed(_metadata, self, &call_unlink, (struct call_arg){
		.buf = self->path }, FUSE_UNLINK);
}

TEST_F(busy, fallocate_behind_a_flusher_ends)
{
	check_killed(_metadata, self, &call_fallocate, (struct call_arg){
		.fd = self->fd, .len = 2 * PAGE }, FUSE_FALLOCATE);
}

static long do_setxattr(const struct call_arg *arg)
{
	return fsetxattr(arg->fd, "user.name", "value", 5, 0);
}

static const struct call_op call_setxattr = {
	"fsetxattr", SYS_fsetxattr, do_setxattr
};

TEST_F(busy, setxattr_behind_a_flusher_ends)
{
	const struct req_match setxattrs = { .opcode = FUSE_SETXATTR };

	/* The server has none, but reports success. */
	ASSERT_EQ(0, server_fail(self->m.ctl, &setxattrs, 0));
	check_killed(_metadata, self, &call_setxattr, (struct call_arg){
		.fd = self->fd }, FUSE_SETXATTR);
}

TEST_HARNESS_MAIN
