// SPDX-License-Identifier: GPL-2.0
/*
 * fallocate(2), in every mode, concurrently with a writer that extends the
 * file.
 *
 * The server carries it out, and the kernel then sets i_size and drops the
 * cached pages of a hole.  A correct kernel blocks write(2) meanwhile, and has
 * told the server the size of the file before it sends FALLOCATE.  A broken one
 * sets an old size, drops bytes that were just written, or makes the server
 * punch a hole beyond the EOF that it knows.
 */

#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common.h"
#include "fsx.h"
#include "records.h"

#define FILE_NAME	"file"
#define PAGES		8
#define ROUNDS		300
#define STORE_LEN	8

/*
 *   fd ------ write, O_APPEND ---> page cache --- WRITEs --.
 *   a thread: fallocate --------- FALLOCATE -------------- server: "file"
 *
 * data: the expected final contents
 */
FIXTURE(fallocate)
{
	struct mnt m;
	size_t page;
	size_t len;
	int fd;
	char *data;
	char *seen;
};

FIXTURE_VARIANT(fallocate)
{
	struct server_opts opts;
	unsigned int mode;
};

FIXTURE_VARIANT_ADD(fallocate, allocate)
{
	.opts = { .writeback_cache = true },
};

FIXTURE_VARIANT_ADD(fallocate, keep_size)
{
	.opts = { .writeback_cache = true },
	.mode = FALLOC_FL_KEEP_SIZE,
};

FIXTURE_VARIANT_ADD(fallocate, punch_hole)
{
	.opts = { .writeback_cache = true },
	.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
};

FIXTURE_VARIANT_ADD(fallocate, zero_range)
{
	.opts = { .writeback_cache = true },
	.mode = FALLOC_FL_ZERO_RANGE,
};

FIXTURE_VARIANT_ADD(fallocate, zero_range_keep_size)
{
	.opts = { .writeback_cache = true },
	.mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
};

FIXTURE_VARIANT_ADD(fallocate, through_punch_hole)
{
	.opts = { },
	.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
};

FIXTURE_SETUP(fallocate)
{
	self->m.seconds = fsx_seconds();
	if (!mnt_setup(_metadata, &self->m, &variant->opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->len = PAGES * self->page;
	file_setup(_metadata, &self->m, FILE_NAME, self->len, 1, &self->data,
		   &self->seen);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR | O_APPEND);
	ASSERT_LE(0, self->fd);
	/* The whole file is cached. */
	ASSERT_EQ((ssize_t)self->len, pread(self->fd, self->seen, self->len,
					    0));
}

FIXTURE_TEARDOWN(fallocate)
{
	mnt_teardown(_metadata, &self->m);
}

/* Apply fallocate to the bytes in memory; returns the new size. */
static size_t allocated(char *data, size_t size, unsigned int mode, off_t off,
			size_t len)
{
	size_t end = off + len;

	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > size)
		size = end;
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		memset(data + off, 0, (end < size ? end : size) - off);
	return size;
}

static struct call *start_fallocate(struct _test_data_fallocate *self,
				    unsigned int mode, off_t off, size_t len)
{
	return mnt_call(&self->m, &call_fallocate, (struct call_arg){
		.fd = self->fd, .flags = mode, .off = off, .len = len });
}

/* Check the file in the cache and at the server. */
static void check_file(struct __test_metadata *_metadata,
		       struct _test_data_fallocate *self, ssize_t size)
{
	struct stat st;

	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(size, st.st_size);
	ASSERT_EQ(size, pread(self->fd, self->seen, 2 * self->len, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, size)) {
		TH_LOG("the cache shows other bytes");
	}
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_EQ(0, await_writes(&self->m));
	ASSERT_EQ(size, server_size(self->m.ctl, FILE_NAME));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen, size));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, size)) {
		TH_LOG("the server has other bytes");
	}
}

/*
 * FALLOCATE is at the server when another task appends.  It covers the last
 * page, which that write(2) dirties, and ends beyond it.
 *
 * Promise: bde52788bdb7, 3634a6327815
 */
TEST_F(fallocate, append_waits_for_held_fallocate)
{
	off_t off = self->len - self->page + 5;
	size_t size = self->len;
	struct call *c, *w;

	/* Dirty, with a size that the server does not know. */
	fill_pattern(self->data + size, 100, 2);
	ASSERT_EQ(100, write(self->fd, self->data + size, 100));
	size = allocated(self->data, size + 100, variant->mode, off,
			 self->page + 200);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_FALLOCATE));
	c = start_fallocate(self, variant->mode, off, self->page + 200);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_FALLOCATE, REQ_ARRIVED, 1));
	fill_pattern(self->data + size, 100, 3);
	w = mnt_call(&self->m, &call_write, (struct call_arg){
		.fd = self->fd, .buf = self->data + size, .len = 100 });
	ASSERT_NE(NULL, w);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, w)) {
		TH_LOG("write(2) did not wait for the reply to FALLOCATE");
	}

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret) {
		TH_LOG("fallocate: %s", strerror(c->err));
	}
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(w));
	EXPECT_EQ(100, w->ret);
	check_file(_metadata, self, size + 100);
}

/*
 * The reverse: write(2) waits for a READ, and holds the inode lock until then.
 */
TEST_F(fallocate, fallocate_waits_for_write_under_way)
{
	size_t size = self->len, part = 10;
	off_t off = self->page;
	struct call *c, *w;

	ASSERT_EQ(0, ftruncate(self->fd, size - part));
	ASSERT_EQ(0, write_file("/proc/sys/vm/drop_caches", "1"));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	fill_pattern(self->data + size - part, 100, 2);
	w = mnt_call(&self->m, &call_write, (struct call_arg){
		.fd = self->fd, .buf = self->data + size - part, .len = 100 });
	ASSERT_NE(NULL, w);
	/* It reads what it does not overwrite, or is a write-through. */
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, w));
	c = start_fallocate(self, variant->mode, off, size);
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	EXPECT_EQ(0, find_req(&self->m, FUSE_FALLOCATE, REQ_ARRIVED, 1)) {
		TH_LOG("FALLOCATE was sent in the middle of a write(2)");
	}

	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(w));
	EXPECT_EQ(100, w->ret);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	size = allocated(self->data, size - part + 100, variant->mode, off,
			 size);
	check_file(_metadata, self, size);
}

/*
 * The dirty tail extends beyond the server's EOF, and the punched or zeroed
 * range is in between.
 *
 * Promise: 59bda8ecee2f
 */
TEST_F(fallocate, dirty_tail_is_there_before_a_hole_is_made)
{
	const struct req_match tail = {
		.opcode = FUSE_WRITE, .start = self->len + self->page };
	bool makes_hole = variant->mode & (FALLOC_FL_PUNCH_HOLE |
					   FALLOC_FL_ZERO_RANGE);
	off_t off = self->len + 2 * self->page;
	size_t size = off + 123;
	struct call *c;

	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	fill_pattern(self->data + off, 123, 2);
	ASSERT_EQ(123, pwrite(self->fd, self->data + off, 123, off));
	c = start_fallocate(self, variant->mode, self->len, self->page);
	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	if (makes_hole) {
		EXPECT_NE(0, reqlog_find(self->m.log, &tail, REQ_REPLIED, 1));
		EXPECT_LT(reqlog_find(self->m.log, &tail, REQ_REPLIED, 1),
			  find_req(&self->m, FUSE_FALLOCATE, REQ_ARRIVED, 1)) {
			TH_LOG("FALLOCATE was sent before the dirty tail");
		}
	}
	check_file(_metadata, self, size);
}

/*
 * Bytes are stored through a mapping, and written back, while a FALLOCATE of
 * two pages in length, not page-aligned, is at the server, which carries it out
 * before the WRITE.
 */
static void store_beside_fallocate(struct __test_metadata *_metadata,
				   struct _test_data_fallocate *self,
				   unsigned int mode, off_t to)
{
	const struct req_match allocations = { .opcode = FUSE_FALLOCATE };
	off_t off = self->page + self->page / 2;
	char bytes[STORE_LEN];
	struct call *c, *s;
	char *map;

	/*
	 * A new thread needs the mmap_lock for its stack while the store waits
	 * in a fault.
	 */
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) &&
	    fault_holds_mmap_lock())
		SKIP(return, "needs CONFIG_PER_VMA_LOCK");

	map = mmap(NULL, self->len, PROT_READ | PROT_WRITE, MAP_SHARED,
		   self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	fill_pattern(bytes, STORE_LEN, 2);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_FALLOCATE));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	c = start_fallocate(self, mode, off, 2 * self->page);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_FALLOCATE, REQ_ARRIVED, 1));
	s = mnt_call(&self->m, &call_store, (struct call_arg){
		.buf = bytes, .to = map + to, .len = STORE_LEN });
	ASSERT_NE(NULL, s);
	/* It may wait or not. */
	ASSERT_NE(CALL_LOST, call_stays_blocked(&self->m, s));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_EQ(0, fence(&self->m));

	ASSERT_EQ(1, server_release_match(self->m.ctl, &allocations));
	ASSERT_EQ(0, fence(&self->m));
	ASSERT_LE(0, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(s));
	allocated(self->data, self->len, mode, off, 2 * self->page);
	/* A store into a hole that is being punched may be lost. */
	if (to < off || !memcmp(map + to, bytes, STORE_LEN))
		memcpy(self->data + to, bytes, STORE_LEN);
	check_file(_metadata, self, self->len);
}

/*
 * A broken kernel drops the stored bytes, or its WRITE fills the hole again
 * with the old contents of the rest of the page.
 *
 * Promise: bde52788bdb7, 3634a6327815
 */
TEST_F(fallocate, store_at_the_edge_is_kept_and_brings_nothing_back)
{
	store_beside_fallocate(_metadata, self, variant->mode,
			       self->page + self->page / 2 - STORE_LEN);
}

/*
 * The same in a page that is completely inside the hole.
 *
 * Promise: bde52788bdb7
 */
TEST_F(fallocate, store_inside_brings_nothing_back)
{
	store_beside_fallocate(_metadata, self, variant->mode,
			       2 * self->page + STORE_LEN);
}

/*
 * The hole touches three pages: stores to adjacent pages do not wait.
 *
 * Promise: holes
 */
TEST_F(fallocate, other_pages_can_be_stored_to)
{
	off_t off = self->page + self->page / 2;
	const off_t to[] = { self->page - 1, 4 * self->page };
	struct call *c;
	char *map;
	int i;

	map = mmap(NULL, self->len, PROT_READ | PROT_WRITE, MAP_SHARED,
		   self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_FALLOCATE));
	c = start_fallocate(self, variant->mode, off, 2 * self->page);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_FALLOCATE, REQ_ARRIVED, 1));
	allocated(self->data, self->len, variant->mode, off, 2 * self->page);
	for (i = 0; i < 2; i++) {
		self->data[to[i]] = 'x';
		EXPECT_LE(0, mnt_run(&self->m, &call_store, (struct call_arg){
			.buf = "x", .to = map + to[i], .len = 1 })) {
			TH_LOG("a store to byte %ld waits", (long)to[i]);
		}
	}
	EXPECT_FALSE(call_returned(c));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	check_file(_metadata, self, self->len);
}

/* A server that fails FALLOCATE leaves the file unchanged. */
TEST_F(fallocate, failed_fallocate_changes_nothing)
{
	const struct req_match all = { .opcode = FUSE_FALLOCATE };
	size_t size = self->len + 100;

	fill_pattern(self->data + self->len, 100, 2);
	ASSERT_EQ(100, write(self->fd, self->data + self->len, 100));
	ASSERT_EQ(0, server_fail(self->m.ctl, &all, ENOSPC));
	EXPECT_EQ(-1, fallocate(self->fd, variant->mode, self->page + 5,
				self->len));
	EXPECT_EQ(ENOSPC, errno);
	check_file(_metadata, self, size);
}

/*
 *   0               the first bytes           FSX_MAX / 2       records
 *   |--- punched, zeroed, allocated, written ---|--- appended ---->
 *          by one process, in any order            by another one
 *
 * Promise: bde52788bdb7, 3634a6327815
 */
FIXTURE(beside_append)
{
	struct mnt m;
	struct fsx f;
	char *model;
	int fd;
};

FIXTURE_VARIANT(beside_append)
{
	struct server_opts opts;
};

FIXTURE_VARIANT_ADD(beside_append, cached_threads)
{
	.opts = { .writeback_cache = true, .threads = 3 },
};

FIXTURE_SETUP(beside_append)
{
	size_t size = FSX_MAX / 2;

	self->m.seconds = fsx_seconds();
	if (!mnt_setup(_metadata, &self->m, &variant->opts, variant))
		return;
	self->model = mmap(NULL, FSX_MAX, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->model);
	fill_pattern(self->model, size, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->model, size));
	self->fd = mnt_open(&self->m, FILE_NAME, O_WRONLY | O_APPEND);
	ASSERT_LE(0, self->fd);
	self->f.turns = 1;
	self->f.grows = true;
	self->f.ops = 1 << FSX_PUNCH | 1 << FSX_ZERO | 1 << FSX_ALLOCATE |
		      1 << FSX_WRITE | 1 << FSX_READ | 1 << FSX_MAP_WRITE |
		      1 << FSX_SYNC_RANGE;
	ASSERT_EQ(0, fsx_open(&self->f, &self->m, FILE_NAME, self->model, size,
			      fsx_seed()));
}

FIXTURE_TEARDOWN(beside_append)
{
	mnt_teardown(_metadata, &self->m);
}

TEST_F_TIMEOUT(beside_append, records_and_holes_are_all_there,
	       FSX_SECONDS + 10)
{
	unsigned long nr[RECORD_WRITERS] = { fsx_rounds(ROUNDS) };
	size_t len = nr[0] * RECORD_LEN, size = FSX_MAX / 2;
	int status = -1;
	char *all;
	pid_t pid;

	all = malloc(len);
	ASSERT_NE(NULL, all);
	pid = fork();
	ASSERT_LE(0, pid);
	run_on_cpu(!pid);
	if (!pid)
		_exit(records_append(self->fd, 0, nr[0]) ? 1 : 0);
	EXPECT_EQ(0, fsx_run(&self->f, fsx_rounds(ROUNDS)));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, fsx_check_server(&self->f));
	ASSERT_EQ((long long)(size + len), server_size(self->m.ctl, FILE_NAME));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, size, all, len));
	EXPECT_EQ(0, records_check(all, len, nr));
}

TEST_HARNESS_MAIN
