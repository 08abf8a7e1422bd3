// SPDX-License-Identifier: GPL-2.0
/*
 * Killing tasks that wait for a server.
 *
 * A task that uses a file may have to wait for its server: in fsync(2), in
 * close(2), on a write to a page under writeback.  When the server never
 * replies, SIGKILL has to end the wait; on a broken kernel, such as Linux 6.12,
 * the process stays until root aborts the connection.
 *
 * A killed process closes its files and unmaps its memory.  That is a part of
 * its exit, and must not wait, either.
 *
 * Promise: kill
 */

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "child.h"
#include "common.h"

/*
 *   fd, direct, map: one page of "file", under writeback -- WRITE --> held
 *   a child: a call that has to wait <--- SIGKILL
 */
FIXTURE(killed)
{
	struct mnt m;
	long page;
	int fd;
	int direct;
	char *map;
	char *data;
	char path[128];
	__u32 held;
};

FIXTURE_SETUP(killed)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.open_flags = FOPEN_KEEP_CACHE,
		.init_flags = FUSE_ATOMIC_O_TRUNC,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->data = aligned_alloc(self->page, self->page);
	ASSERT_NE(NULL, self->data);
	fill_pattern(self->data, self->page, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data,
				self->page));
	snprintf(self->path, sizeof(self->path), "%s/file", self->m.dir);
	self->fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->fd);
	self->direct = mnt_open(&self->m, "file", O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->direct);
	self->map = mmap(NULL, self->page, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);

	self->held = FUSE_WRITE;
	ASSERT_EQ(0, hold_req(&self->m, self->held));
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
}

FIXTURE_TEARDOWN(killed)
{
	mnt_teardown(_metadata, &self->m);
}

/* A child is killed in the call; flags: see child_start(). */
static void check_killed(struct __test_metadata *_metadata,
			 struct _test_data_killed *self, unsigned long flags,
			 const struct call_op *op, struct call_arg arg)
{
	pid_t pid = child_start(flags, op, arg);

	ASSERT_LE(0, pid);
	EXPECT_TRUE(child_stays_blocked(&self->m, pid, op)) {
		TH_LOG("%s does not wait: nothing was tested", op->name);
	}

	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&self->m, pid)) {
		TH_LOG("SIGKILL does not end %s", op->name);
	}
	EXPECT_EQ(0, find_req(&self->m, self->held, REQ_REPLIED, 1));

	/* The file is in order afterwards. */
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->direct }));
}

TEST_F(killed, fsync_ends)
{
	check_killed(_metadata, self, CLONE_FILES, &call_fsync,
		     (struct call_arg){ .fd = self->fd });
}

TEST_F(killed, write_ends)
{
	check_killed(_metadata, self, CLONE_FILES, &call_pwrite,
		     (struct call_arg){ .fd = self->fd, .buf = self->data,
					.len = self->page });
}

TEST_F(killed, store_to_mapping_ends)
{
	check_killed(_metadata, self, CLONE_FILES, &call_store,
		     (struct call_arg){ .buf = self->data, .to = self->map,
					.len = 1 });
}

/* It waits for FALLOCATE as it does for WRITE: see fallocate_test. */
TEST_F(killed, store_beside_fallocate_ends)
{
	struct call *c;

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	self->held = FUSE_FALLOCATE;
	ASSERT_EQ(0, hold_req(&self->m, self->held));
	c = mnt_call(&self->m, &call_fallocate, (struct call_arg){
		.fd = self->fd, .len = self->page,
		.flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_FALLOCATE, REQ_ARRIVED, 1));
	check_killed(_metadata, self, CLONE_FILES, &call_store,
		     (struct call_arg){ .buf = self->data, .to = self->map,
					.len = 1 });
	EXPECT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
}

TEST_F(killed, ftruncate_ends)
{
	check_killed(_metadata, self, CLONE_FILES, &call_ftruncate,
		     (struct call_arg){ .fd = self->fd });
	EXPECT_EQ(self->page, server_size(self->m.ctl, "file"));
}

TEST_F(killed, open_that_truncates_ends)
{
	check_killed(_metadata, self, CLONE_FILES, &call_open,
		     (struct call_arg){ .buf = self->path,
					.flags = O_RDWR | O_TRUNC });
	EXPECT_EQ(self->page, server_size(self->m.ctl, "file"));
}

/* It writes back dirty pages first, as utimensat and fchown do. */
TEST_F(killed, fchmod_ends)
{
	check_killed(_metadata, self, CLONE_FILES, &call_fchmod,
		     (struct call_arg){ .fd = self->fd, .flags = 0600 });
}

TEST_F(killed, direct_read_ends)
{
	check_killed(_metadata, self, CLONE_FILES, &call_pread,
		     (struct call_arg){ .fd = self->direct, .buf = self->data,
					.len = self->page });
}

/* It sends nothing before it has written back the page cache. */
TEST_F(killed, direct_write_ends)
{
	check_killed(_metadata, self, CLONE_FILES, &call_pwrite,
		     (struct call_arg){ .fd = self->direct, .buf = self->data,
					.len = self->page });
	EXPECT_EQ(1, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
}

TEST_F(killed, sync_file_range_ends)
{
	check_killed(_metadata, self, CLONE_FILES, &call_sync_file_range,
		     (struct call_arg){ .fd = self->fd,
					.flags = SYNC_FILE_RANGE_WAIT_BEFORE |
						 SYNC_FILE_RANGE_WRITE |
						 SYNC_FILE_RANGE_WAIT_AFTER });
}

TEST_F(killed, close_ends)
{
	check_killed(_metadata, self, CLONE_FILES, &call_close,
		     (struct call_arg){ .fd = self->fd });
}

/* It waits for nothing, but has the file open and mapped. */
TEST_F(killed, exit_ends)
{
	check_killed(_metadata, self, 0, &call_pause, (struct call_arg){ });
}

TEST_HARNESS_MAIN
