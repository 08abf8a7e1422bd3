// SPDX-License-Identifier: GPL-2.0
/*
 * Changes of a file's size, and holes, against writeback.
 *
 * SETATTR and FALLOCATE change the file at the server, so do WRITEs in flight,
 * and the server may carry them out in order of arrival.  A sound kernel sends
 * one after the reply to the other, crops later WRITEs, and ends writeback of a
 * page that was truncated.  A broken one lets old bytes come back beyond EOF or
 * in a hole, loses written data, or never ends writeback.
 *
 * Promise: truncation
 */

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common.h"
#include "fsx.h"
#include "records.h"

#define FILE_NAME	"file"
#define PAGES		8
#define ROUNDS		300

/*
 *   fd ---- pwrite --.
 *                     >-- page cache --- WRITEs ---> server: "file"
 *   map --- store  --'                                  ^
 *   a thread: ftruncate, fallocate -- SETATTR, ... -----'
 *
 * data: what the file has to hold in the end
 */
FIXTURE(truncate)
{
	struct mnt m;
	ssize_t page;
	ssize_t len;
	int fd;
	int fd2;
	char *map;
	char *data;
	char *seen;
	long before;
};

FIXTURE_VARIANT(truncate)
{
	struct server_opts opts;
};

FIXTURE_VARIANT_ADD(truncate, cached)
{
	.opts = { .writeback_cache = true },
};

FIXTURE_VARIANT_ADD(truncate, cached_splice_threads)
{
	.opts = { .writeback_cache = true, .threads = 3, .splice_in = true,
		  .splice_out = true },
};

FIXTURE_VARIANT_ADD(truncate, through)
{
	.opts = { .threads = 3 },
};

FIXTURE_SETUP(truncate)
{
	self->m.seconds = fsx_seconds();
	if (!mnt_setup(_metadata, &self->m, &variant->opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->len = PAGES * self->page;
	file_setup(_metadata, &self->m, FILE_NAME, self->len, 1, &self->data,
		   &self->seen);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->fd2 = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd2);
	self->map = mmap(NULL, self->len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	self->before = pages_in_writeback();
}

FIXTURE_TEARDOWN(truncate)
{
	mnt_teardown(_metadata, &self->m);
}

/*
 * New bytes in some pages, through the mapping: that works on all kinds of
 * connections, and takes no inode lock.
 */
static bool store(struct _test_data_truncate *self, off_t off, size_t len)
{
	fill_pattern(self->data + off, len, 2);
	return !mnt_run(&self->m, &call_store, (struct call_arg){
		.buf = self->data + off, .to = self->map + off, .len = len });
}

/* The log entry of the first SETATTR that sets the size, or 0. */
static int find_truncation(struct reqlog *log, enum req_step step)
{
	int i, nr = word_get(&log->nr);

	for (i = 0; i < nr; i++)
		if (log->ev[i].req.opcode == FUSE_SETATTR &&
		    log->ev[i].req.flags & FATTR_SIZE &&
		    log->ev[i].step == step)
			return i + 1;
	return 0;
}

/* Does the file have the expected contents, in the cache and at the server? */
static void check_file(struct __test_metadata *_metadata,
		       struct _test_data_truncate *self, ssize_t size)
{
	struct stat st;

	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	ASSERT_EQ(0, await_writes(&self->m));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(size, st.st_size);
	EXPECT_EQ(size, server_size(self->m.ctl, FILE_NAME));
	ASSERT_EQ(size, pread(self->fd2, self->seen, 2 * self->len, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, size));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen, size));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, size)) {
		TH_LOG("the server has wrong bytes");
	}
	EXPECT_EQ(0, await_pages_in_writeback(self->before));
}

TEST_F(truncate, truncation_is_sent_after_write_is_answered)
{
	size_t size = 3 * self->page + 123;
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_TRUE(store(self, 2 * self->page, 4 * self->page));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	c = mnt_call(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd, .len = size });
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	EXPECT_EQ(0, find_truncation(self->m.log, REQ_ARRIVED)) {
		TH_LOG("SETATTR was sent before the reply to WRITE");
	}

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	EXPECT_LT(find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
		  find_truncation(self->m.log, REQ_ARRIVED));
	check_file(_metadata, self, size);
}

/* Writeback begins while SETATTR is in flight: it waits, and is cropped. */
TEST_F(truncate, write_behind_truncation_is_cropped)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	size_t size = 2 * self->page + 123;
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	c = mnt_call(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd, .len = size });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1));
	ASSERT_TRUE(store(self, 2 * self->page, 3 * self->page));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED)) {
		TH_LOG("WRITE was sent while SETATTR was in flight");
	}

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	check_file(_metadata, self, size);
	EXPECT_EQ(123, reqlog_bytes(self->m.log, &writes, REQ_ARRIVED)) {
		TH_LOG("the WRITE was not cropped to the new size");
	}
}

/* The same, and nothing is left to send. */
TEST_F(truncate, writeback_of_page_truncated_off_ends)
{
	size_t size = self->page;
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	c = mnt_call(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd, .len = size });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1));
	ASSERT_TRUE(store(self, 4 * self->page, 2 * self->page));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	/* The control: the pages are under writeback, and were not sent. */
	EXPECT_LE(self->before + 2, pages_in_writeback());
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	check_file(_metadata, self, size);
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
}

/* Truncated data does not come back when the file grows again. */
TEST_F(truncate, file_that_grows_again_has_zeroes)
{
	size_t size = 2 * self->page + 123;

	ASSERT_TRUE(store(self, self->page, 4 * self->page));
	ASSERT_EQ(0, mnt_run(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd, .len = size }));
	ASSERT_EQ(0, mnt_run(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd, .len = self->len }));
	memset(self->data + size, 0, self->len - size);
	EXPECT_EQ(-1, first_difference(self->data, self->map, self->len));
	check_file(_metadata, self, self->len);
}

/*
 * A hole is punched at the server after the replies to the WRITEs of the range.
 */
static void check_hole(struct __test_metadata *_metadata,
		       struct _test_data_truncate *self, unsigned int mode)
{
	off_t off = 2 * self->page + 123;
	size_t len = 2 * self->page;
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_TRUE(store(self, 2 * self->page, 3 * self->page));
	c = mnt_call(&self->m, &call_fallocate, (struct call_arg){
		.fd = self->fd, .off = off, .len = len, .flags = mode });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	EXPECT_EQ(0, find_req(&self->m, FUSE_FALLOCATE, REQ_ARRIVED, 1)) {
		TH_LOG("FALLOCATE was sent before the reply to WRITE");
	}

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret) {
		TH_LOG("fallocate: %s", strerror(c->err));
	}
	EXPECT_LT(find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
		  find_req(&self->m, FUSE_FALLOCATE, REQ_ARRIVED, 1));
	memset(self->data + off, 0, len);
	EXPECT_EQ(-1, first_difference(self->data, self->map, self->len)) {
		TH_LOG("the cache still has the data of the hole");
	}
	check_file(_metadata, self, self->len);
}

/* Promise: bde52788bdb7, 3634a6327815 */
TEST_F(truncate, hole_is_punched_after_write_is_answered)
{
	check_hole(_metadata, self, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

/* Promise: bde52788bdb7, 3634a6327815 */
TEST_F(truncate, range_is_zeroed_after_write_is_answered)
{
	check_hole(_metadata, self, FALLOC_FL_ZERO_RANGE);
}

/* It may wait for WRITEs before the new end, or not. */
TEST_F(truncate, allocation_loses_no_dirty_bytes)
{
	size_t size = 2 * self->len - 123;
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_TRUE(store(self, 5 * self->page, 3 * self->page));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	/* And dirty data that has not been sent yet. */
	ASSERT_TRUE(store(self, self->page, self->page));
	c = mnt_call(&self->m, &call_fallocate, (struct call_arg){
		.fd = self->fd, .off = self->len - 77,
		.len = size - self->len + 77 });
	ASSERT_NE(NULL, c);
	ASSERT_NE(CALL_LOST, call_stays_blocked(&self->m, c));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));

	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	check_file(_metadata, self, size);
}

static int run_disturber(struct _test_data_truncate *self, struct fsx *f,
			 __u32 *stop)
{
	unsigned int i;

	for (i = 0; !word_get(stop); i++) {
		if (sync_file_range(self->fd2, 0, 0, SYNC_FILE_RANGE_WRITE))
			return 1;
		if (i % 16 == 0 && fdatasync(self->fd2))
			return 1;
		/*
		 * The data may change at any time, but the read must succeed.
		 */
		if (i % 4 == 0 && pread(self->fd2, f->buf, FSX_MAX, 0) < 0)
			return 1;
	}
	return 0;
}

/*
 * One process changes the size repeatedly, another one writes back and reads
 * everything.  The first one checks each byte.
 */
TEST_F_TIMEOUT(truncate, size_changes_survive_writeback_by_another_process,
	       FSX_SECONDS + 10)
{
	struct fsx f = {
		.turns = 1,
		.ops = FSX_SIZES | 1 << FSX_WRITE | 1 << FSX_PUNCH |
		       1 << FSX_ZERO | 1 << FSX_READ | 1 << FSX_MAP_WRITE,
	};
	unsigned long writes;
	__u32 *stop;
	int status = -1;
	char *model;
	pid_t pid;

	model = mmap(NULL, 2 * FSX_MAX, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, model);
	stop = (__u32 *)(model + FSX_MAX);
	memcpy(model, self->data, self->len);
	ASSERT_EQ(0, fsx_open(&f, &self->m, FILE_NAME, model, self->len,
			      fsx_seed()));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(run_disturber(self, &f, stop));
	EXPECT_EQ(0, fsx_run(&f, fsx_rounds(ROUNDS)));
	word_set(stop, 1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, fsx_check_server(&f));
	writes = count_req(&self->m, FUSE_WRITE, REQ_REPLIED);
	EXPECT_LE(fsx_rounds(ROUNDS) / 30, writes) {
		TH_LOG("too few WRITEs were sent: nothing was tested");
	}
}

/* Records of two processes, under continuous writeback, in one file. */
TEST_F_TIMEOUT(truncate, appended_records_are_all_there, FSX_SECONDS + 10)
{
	unsigned long rounds = fsx_rounds(ROUNDS), both[] = { rounds, rounds };
	int fd = mnt_open(&self->m, "log", O_RDWR | O_CREAT | O_APPEND);
	long long len = 2 * rounds * RECORD_LEN;
	int status = -1;
	char *all;
	pid_t pid;

	ASSERT_LE(0, fd);
	all = malloc(len);
	ASSERT_NE(NULL, all);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(records_append(fd, 1, rounds) ? 1 : 0);
	EXPECT_EQ(0, records_append(fd, 0, rounds));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_EQ(0, fsync(fd));
	ASSERT_EQ(0, await_writes(&self->m));

	ASSERT_EQ(len, server_size(self->m.ctl, "log"));
	ASSERT_EQ(0, server_get(self->m.ctl, "log", 0, all, len));
	EXPECT_EQ(0, records_check(all, len, both));
}

/*
 * Only with the writeback cache does the kernel have a size that the server
 * does not know.  A broken kernel uses the server's size and cuts off dirty
 * bytes.
 */
FIXTURE(dirty_size)
{
	struct mnt m;
	int fd;
};

FIXTURE_SETUP(dirty_size)
{
	const struct server_opts opts = { .writeback_cache = true };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, "old", 3));
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(dirty_size)
{
	mnt_teardown(_metadata, &self->m);
}

/* Promise: size-while-dirty */
TEST_F(dirty_size, server_size_is_not_trusted_while_dirty)
{
	struct statx stx;
	char seen[8];

	ASSERT_EQ(5, pwrite(self->fd, "hello", 5, 3));
	ASSERT_EQ(0, statx(self->fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC,
			   STATX_SIZE, &stx));
	/* The control: the server was queried, and reports three bytes. */
	EXPECT_NE(0, await_req(&self->m, FUSE_GETATTR, REQ_REPLIED, 1));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(3, server_size(self->m.ctl, FILE_NAME));

	EXPECT_EQ(8ULL, stx.stx_size);
	EXPECT_EQ(8, pread(self->fd, seen, 8, 0));
	EXPECT_EQ(0, memcmp(seen, "oldhello", 8));
	ASSERT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	ASSERT_EQ(0, await_writes(&self->m));
	EXPECT_EQ(8, server_size(self->m.ctl, FILE_NAME));
}

TEST_HARNESS_MAIN
