// SPDX-License-Identifier: GPL-2.0
/*
 * Operations on dirty inodes and dirty pages.
 *
 * With the writeback cache, an inode is dirty from the first change of its
 * times until SETATTR has told the server.  A correct kernel sends SETATTR in
 * the context of the task that changes the file and can wait: reclaim, which
 * may run in the server itself, then finds no dirty inode.  It writes dirty
 * pages back before an invalidation by the server drops them, and all counters
 * return to zero at the end.
 */

#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "common.h"
#include "attr_request.h"

#define FILE_NAME	"file"

/* Many more pages than the error of the per-CPU counters. */
#define PAGES		512

/*
 *   fd, map: "file", of which the server has all PAGES
 */
FIXTURE(dirty)
{
	struct mnt m;
	ssize_t page;
	ssize_t len;
	int fd;
	char *data;
	char *seen;
	char path[128];
};

FIXTURE_SETUP(dirty)
{
	const struct server_opts opts = { .writeback_cache = true };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->len = PAGES * self->page;
	file_setup(_metadata, &self->m, FILE_NAME, self->len, 1, &self->data,
		   &self->seen);
	snprintf(self->path, sizeof(self->path), "%s/" FILE_NAME, self->m.dir);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(dirty)
{
	mnt_teardown(_metadata, &self->m);
}

static ssize_t change(struct _test_data_dirty *self, off_t off, size_t len)
{
	fill_pattern(self->data + off, len, 2);
	return mnt_run(&self->m, &call_pwrite, (struct call_arg){
		.fd = self->fd, .buf = self->data + off, .len = len,
		.off = off });
}

/* Promise: size-while-dirty */
TEST_F(dirty, invalidation_writes_dirty_pages_back)
{
	size_t len = 4 * self->page;

	ASSERT_EQ((ssize_t)len, change(self, self->page + 7, len));
	ASSERT_EQ(0, server_inval(self->m.ctl, 2, 0, 0));
	EXPECT_LE(1, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen,
				self->len));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len)) {
		TH_LOG("dirty bytes are lost");
	}
	EXPECT_EQ(self->len, kernel_size(self->fd));
	ASSERT_EQ(self->len, pread(self->fd, self->seen, self->len, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len));
}

/*
 * Pages outside of the range stay cached and dirty.
 *
 * Promise: size-while-dirty
 */
TEST_F(dirty, invalidation_of_a_range_leaves_others_dirty)
{
	const struct req_match second = {
		.opcode = FUSE_WRITE, .start = 8 * self->page,
		.end = 9 * self->page,
	};

	ASSERT_EQ(self->page, change(self, 0, self->page));
	ASSERT_EQ(self->page, change(self, 8 * self->page, self->page));
	ASSERT_EQ(0, server_inval(self->m.ctl, 2, 0, self->page));
	EXPECT_EQ(1, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	EXPECT_EQ(0, reqlog_find(self->m.log, &second, REQ_ARRIVED, 1));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	EXPECT_NE(0, reqlog_wait(self->m.log, &second, REQ_REPLIED, 1));
}

/* A call that dirties the inode writes it back before it returns. */
static void check_inode_is_written(struct __test_metadata *_metadata,
				   struct _test_data_dirty *self,
				   const struct call_op *op,
				   struct call_arg arg, __u32 opcode)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	c = mnt_call(&self->m, op, arg);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1)) {
		TH_LOG("%s leaves the inode dirty", op->name);
	}
	EXPECT_NE(0, find_req(&self->m, opcode, REQ_REPLIED, 1));
	/* No fence: it looks into the directory whose lock rename holds. */
	EXPECT_EQ(CALL_BLOCKED, call_wait_blocked(c));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
}

/* Promise: 5c791fe1e2a4 */
TEST_F(dirty, fallocate_leaves_no_dirty_inode)
{
	check_inode_is_written(_metadata, self, &call_fallocate,
			       (struct call_arg){
		.fd = self->fd, .len = self->len + 1 }, FUSE_FALLOCATE);
}

/* Promise: 5c791fe1e2a4 */
TEST_F(dirty, rename_leaves_no_dirty_inode)
{
	char to[160];

	ASSERT_EQ(0, close(self->fd));
	snprintf(to, sizeof(to), "%s-2", self->path);
	check_inode_is_written(_metadata, self, &call_rename,
			       (struct call_arg){
		.buf = self->path, .to = to }, FUSE_RENAME);
}

/*
 * The EINTR is the server's, no signal has interrupted the kernel: the times
 * are not sent again, and the inode is as clean as after any other error.
 */
TEST_F(dirty, server_that_says_eintr_leaves_no_dirty_inode)
{
	const struct req_match setattrs = { .opcode = FUSE_SETATTR };
	int sent;

	ASSERT_EQ(0, make_file_old(self->fd));
	ASSERT_EQ(0, server_fail(self->m.ctl, &setattrs, EINTR));
	ASSERT_EQ(self->page, change(self, 0, self->page));
	EXPECT_EQ(-1, mnt_run(&self->m, &call_close, (struct call_arg){
		.fd = self->fd }));
	EXPECT_EQ(EINTR, errno);
	ASSERT_NE(0, await_req(&self->m, FUSE_RELEASE, REQ_REPLIED, 1));
	sent = count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED);
	EXPECT_LE(2, sent);
	/* The flusher would send them once more, without a file. */
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
	EXPECT_EQ(0, fence(&self->m));
	EXPECT_EQ(sent, count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED)) {
		TH_LOG("the inode was left dirty");
	}
}

/*
 * Changed in many ways, closed, and then dropped by reclaim: that must not send
 * a request that waits for a reply.
 *
 * Promise: 5c791fe1e2a4
 */
TEST_F(dirty, reclaim_finds_no_dirty_inode)
{
	int setattrs, writes;
	struct stat st, old;
	char *map;
	int fd;

	map = mmap(NULL, self->len, PROT_READ | PROT_WRITE, MAP_SHARED,
		   self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(self->page, change(self, 0, self->page));
	ASSERT_EQ(0, truncate(self->path, 3 * self->page));
	ASSERT_EQ(0, chmod(self->path, 0600));
	ASSERT_EQ(0, make_file_old(self->fd));
	ASSERT_EQ(0, mnt_run(&self->m, &call_close, (struct call_arg){
		.fd = self->fd }));
	/* After the last close. */
	ASSERT_EQ(0, mnt_run(&self->m, &call_store, (struct call_arg){
		.buf = "stored", .to = map + self->page, .len = 6 }));
	ASSERT_EQ(0, munmap(map, self->len));
	/* RELEASE pins the inode until its reply. */
	ASSERT_NE(0, await_req(&self->m, FUSE_RELEASE, REQ_REPLIED, 1));
	ASSERT_EQ(0, stat(self->path, &old));

	setattrs = count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED);
	writes = count_req(&self->m, FUSE_WRITE, REQ_ARRIVED);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	EXPECT_EQ(0, mnt_run(&self->m, &call_drop_inodes,
			     (struct call_arg){ }));
	/* The control: the inode is gone. */
	EXPECT_NE(0, await_req(&self->m, FUSE_FORGET, REQ_ARRIVED, 1));
	EXPECT_EQ(setattrs, count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED)) {
		TH_LOG("reclaim wrote back an inode");
	}
	EXPECT_EQ(writes, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));

	/* And a new lookup finds the same attributes. */
	ASSERT_LE(0, server_release(self->m.ctl, 0));
	fd = mnt_open(&self->m, FILE_NAME, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(3 * self->page, st.st_size);
	EXPECT_EQ(0, memcmp(&old.st_mtim, &st.st_mtim, sizeof(st.st_mtim))) {
		TH_LOG("its times were lost");
	}
	ASSERT_EQ(self->page, pread(fd, self->seen, self->page, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->page));
	ASSERT_EQ(6, pread(fd, self->seen, 6, self->page));
	EXPECT_EQ(0, memcmp(self->seen, "stored", 6));
}

static int await_no_pages(struct mnt *m, const char *counter)
{
	__u64 deadline = wait_deadline();
	long left;

	do {
		left = bdi_counter(m->minor, counter);
		if (left <= bdi_counter_slack())
			return 0;
		sched_yield();
	} while (now_usec() < deadline);
	fprintf(stderr, "# timed out (%d s) waiting for %ld pages to leave %s\n",
		WAIT_SECONDS, left, counter);
	return -1;
}

/*
 * Pages that end in every way: written back, truncated, invalidated, refused by
 * the server.  A broken kernel never uncounts some of them, and finally makes
 * each writer wait for writeback that does not exist.
 *
 * Promise: f7790d677853
 */
TEST_F(dirty, statistics_return_to_zero)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	long before = pages_in_writeback();

	if (bdi_counter(self->m.minor, "BdiWriteback:") < 0)
		SKIP(return, "needs debugfs, of CONFIG_DEBUG_FS");
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(self->len, change(self, 0, self->len));
	/* The control: these counters do count. */
	EXPECT_LE(PAGES - bdi_counter_slack(),
		  bdi_counter(self->m.minor, "BdiReclaimable:"));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	EXPECT_LE(PAGES - bdi_counter_slack(),
		  bdi_counter(self->m.minor, "BdiWriteback:"));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(0, await_pages_in_writeback(before));

	ASSERT_EQ(self->len, change(self, 0, self->len));
	ASSERT_EQ(0, mnt_run(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd }));
	ASSERT_EQ(self->len, change(self, 0, self->len));
	ASSERT_EQ(0, server_inval(self->m.ctl, 2, 0, 0));
	ASSERT_EQ(0, server_fail(self->m.ctl, &writes, EIO));
	ASSERT_EQ(self->len, change(self, 0, self->len));
	ASSERT_EQ(-1, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	ASSERT_EQ(0, await_pages_in_writeback(before));
	EXPECT_EQ(0, await_no_pages(&self->m, "BdiReclaimable:"));
	EXPECT_EQ(0, await_no_pages(&self->m, "BdiWriteback:"));
	EXPECT_EQ(before, pages_in_writeback());
}

TEST_HARNESS_MAIN
