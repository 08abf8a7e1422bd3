// SPDX-License-Identifier: GPL-2.0
/*
 * Inodes whose times have to be sent when no file is open any more.
 *
 * A task that has the file open waits for SETATTR in close(2).  But a task may
 * be killed in rename(2) before the server has read its SETATTR, an open may
 * fail after the server has truncated the file, and a flusher may be sending
 * the times when the last mapping goes away.  A broken kernel loses the times,
 * or leaves the inode dirty: reclaim then waits in evict() for the flusher,
 * which waits for the server, and so does every task that reclaims memory or
 * looks up the same file again.  A correct one keeps the inode until the server
 * has replied.
 *
 * Promise: 5c791fe1e2a4
 */

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "child.h"
#include "common.h"

#ifndef FOPEN_PASSTHROUGH
#define FOPEN_PASSTHROUGH	0x80
#endif

#define FILE_NAME	"file"
#define PAGE		4096
#define OLD_SECONDS	1000

/*
 *   path: "file", one page; its times at the server are OLD_SECONDS
 *   other: the new name
 */
FIXTURE(unopened)
{
	struct mnt m;
	char *data;
	char *seen;
	char path[128];
	char other[128];
};

FIXTURE_SETUP(unopened)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.init_flags = FUSE_ATOMIC_O_TRUNC,
		.ask_always = true,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	file_setup(_metadata, &self->m, FILE_NAME, PAGE, 1, &self->data,
		   &self->seen);
	ASSERT_EQ(0, server_set_times(self->m.ctl, FILE_NAME, OLD_SECONDS));
	snprintf(self->path, sizeof(self->path), "%s/" FILE_NAME, self->m.dir);
	snprintf(self->other, sizeof(self->other), "%s/other", self->m.dir);
}

FIXTURE_TEARDOWN(unopened)
{
	mnt_teardown(_metadata, &self->m);
}

/*
 * SETATTR is held, and no task has the file open.  Neither reclaim nor a lookup
 * of the file waits, and once the reply comes the server has the kernel's
 * times, and the inode can be evicted.
 */
static void check_kept(struct __test_metadata *_metadata,
		       struct _test_data_unopened *self, char *path)
{
	struct stat server, kernel;
	int forgets;

	/* Not by a flusher: until then, reclaim might evict the inode. */
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1)) {
		TH_LOG("the times are not sent");
	}
	EXPECT_EQ(0, mnt_run(&self->m, &call_drop_inodes,
			     (struct call_arg){ })) {
		TH_LOG("reclaim waits for SETATTR");
	}
	EXPECT_EQ(0, mnt_run(&self->m, &call_stat, (struct call_arg){
		.buf = path })) {
		TH_LOG("a lookup waits for SETATTR");
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_SETATTR, REQ_REPLIED, 1));

	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_REPLIED, 1));
	ASSERT_EQ(0, stat(path, &kernel));
	ASSERT_EQ(0, server_stat(self->m.ctl, strrchr(path, '/') + 1, &server));
	EXPECT_LT(OLD_SECONDS, server.st_ctim.tv_sec);
	EXPECT_EQ(0, memcmp(&kernel.st_ctim, &server.st_ctim,
			    sizeof(server.st_ctim))) {
		TH_LOG("the server has another ctime");
	}

	/* The control: a clean inode is evicted. */
	ASSERT_EQ(0, fence(&self->m));
	forgets = count_req(&self->m, FUSE_FORGET, REQ_ARRIVED);
	ASSERT_EQ(0, mnt_run(&self->m, &call_drop_inodes,
			     (struct call_arg){ }));
	EXPECT_NE(0, await_req(&self->m, FUSE_FORGET, REQ_ARRIVED,
			       forgets + 1));
}

/* Reply to the held request on behalf of the server, which is stopped. */
static void reply(struct __test_metadata *_metadata, struct mnt *m, __u32 opcode)
{
	struct fuse_out_header out = { .len = sizeof(out) };
	int seq, dev = mnt_dev(m);

	ASSERT_LE(0, dev);
	seq = find_req(m, opcode, REQ_ARRIVED, 1);
	ASSERT_NE(0, seq);
	out.unique = m->log->ev[seq - 1].req.unique;
	ASSERT_EQ((ssize_t)sizeof(out), write(dev, &out, sizeof(out)));
	close(dev);
}

/* SIGKILL comes before the server reads SETATTR: it is not sent. */
TEST_F(unopened, times_of_a_killed_rename_are_sent_and_reclaim_does_not_wait)
{
	const struct req_match renames = { .opcode = FUSE_RENAME };
	pid_t pid;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_RENAME));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	pid = child_start(CLONE_FILES, &call_rename, (struct call_arg){
		.buf = self->path, .to = self->other });
	ASSERT_LT(0, pid);
	ASSERT_NE(0, await_req(&self->m, FUSE_RENAME, REQ_ARRIVED, 1));
	ASSERT_EQ(0, server_freeze(&self->m));
	reply(_metadata, &self->m, FUSE_RENAME);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&self->m, pid));
	ASSERT_EQ(0, server_thaw(&self->m));
	ASSERT_EQ(1, server_release_match(self->m.ctl, &renames));
	check_kept(_metadata, self, self->other);
}

/*
 * The server has truncated the file, but fails the open with an invalid reply.
 */
static void check_failing_open(struct __test_metadata *_metadata,
			       struct _test_data_unopened *self, int flags)
{
	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_PASSTHROUGH));
	EXPECT_EQ(-1, mnt_run(&self->m, &call_open, (struct call_arg){
		.buf = self->path, .flags = O_WRONLY | O_TRUNC | flags }));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(0, server_size(self->m.ctl, FILE_NAME));
}

TEST_F(unopened, reclaim_does_not_wait_after_a_failed_open_that_truncated)
{
	check_failing_open(_metadata, self, 0);
	check_kept(_metadata, self, self->path);
}

/* The kernel has a negative dentry for the name: it sends CREATE. */
TEST_F(unopened, reclaim_does_not_wait_after_a_failed_create_that_truncated)
{
	const struct req_match lookups = { .opcode = FUSE_LOOKUP };
	int fd = mnt_open(&self->m, FILE_NAME, O_RDONLY);

	/* Otherwise the inode is a new one, with nothing to truncate. */
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, server_fail(self->m.ctl, &lookups, ENOENT));
	check_failing_open(_metadata, self, O_CREAT);
	EXPECT_NE(0, find_req(&self->m, FUSE_CREATE, REQ_REPLIED, 1));
	ASSERT_EQ(0, server_rule(self->m.ctl, &lookups, RULE_DELAY, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_close, (struct call_arg){
		.fd = fd }));
	check_kept(_metadata, self, self->path);
}

/* Its close sends the times, like that of a writer. */
TEST_F(unopened, close_of_a_reader_that_has_truncated_waits_for_setattr)
{
	struct call *c;
	int fd;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	fd = mnt_open(&self->m, FILE_NAME, O_RDONLY | O_TRUNC);
	ASSERT_LE(0, fd);
	c = mnt_call(&self->m, &call_close, (struct call_arg){ .fd = fd });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1)) {
		TH_LOG("close leaves the inode dirty");
	}
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	EXPECT_EQ(0, find_req(&self->m, FUSE_RELEASE, REQ_ARRIVED, 1));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
}

/*
 * All data is sent, but the flusher that sent it waits for the reply to
 * SETATTR.
 */
TEST_F(unopened, reclaim_does_not_wait_after_munmap_beside_a_flusher)
{
	int fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	int reader = mnt_open(&self->m, FILE_NAME, O_RDONLY);
	char *map;

	ASSERT_LE(0, fd);
	ASSERT_LE(0, reader);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, find_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1));
	map[0] = 'x';
	/* Otherwise the reply to WRITE requires the times to be sent again. */
	ASSERT_EQ(0, start_writeback(&self->m, reader));
	ASSERT_EQ(0, await_writes(&self->m));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	ASSERT_EQ(0, close(reader));
	ASSERT_NE(0, await_req(&self->m, FUSE_RELEASE, REQ_REPLIED, 1));
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1));
	EXPECT_EQ(0, mnt_run(&self->m, &call_munmap, (struct call_arg){
		.buf = map, .len = PAGE }));
	EXPECT_EQ(0, fence(&self->m));
	EXPECT_EQ(0, find_req(&self->m, FUSE_RELEASE, REQ_ARRIVED, 2)) {
		TH_LOG("the inode is no longer pinned");
	}
	check_kept(_metadata, self, self->path);
	EXPECT_NE(0, await_req(&self->m, FUSE_RELEASE, REQ_REPLIED, 2));
}

TEST_HARNESS_MAIN
