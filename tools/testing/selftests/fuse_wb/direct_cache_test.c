// SPDX-License-Identifier: GPL-2.0
/*
 * Direct reads and writes of a file whose page cache is in use.
 *
 * O_DIRECT goes to the server, write(2) and mappings go to the page cache, and
 * each has to see what the other has written.  A correct kernel writes back the
 * range of a direct read or write, waits for the replies before it sends the
 * request, and drops the pages that a direct write has overwritten.  A broken
 * one lets a direct read overtake the WRITE of the same bytes, shows old bytes,
 * or takes the server's EOF for the end of the file.
 *
 * Promise: policy-14
 */

#include <sys/mman.h>
#include <sys/stat.h>

#include "aio.h"
#include "common.h"

#define FILE_NAME	"file"
#define PAGES		12

/*
 *   fd, map --- write, store ---> page cache --- WRITEs --.
 *                                                          >-- server: "file"
 *   direct ---- read, write ------- READs and WRITEs -----'
 *
 * data: the expected final contents, all PAGES of it
 */
FIXTURE(direct)
{
	struct mnt m;
	size_t page;
	size_t len;
	int fd;
	int direct;
	char *map;
	char *data;
	char *seen;
};

/*
 * off, len: the range to read or write directly; open_flags: of that descriptor
 */
FIXTURE_VARIANT(direct)
{
	struct server_opts opts;
	__u32 open_flags;
	off_t off;
	size_t len;
};

FIXTURE_VARIANT_ADD(direct, unaligned)
{
	.opts = { .writeback_cache = true },
	.off = 2 * 4096 + 123,
	.len = 2 * 4096 + 7,
};

FIXTURE_VARIANT_ADD(direct, aligned_async_splice_threads)
{
	.opts = { .writeback_cache = true, .async_dio = true, .threads = 3,
		  .splice_in = true, .splice_out = true,
		  .max_write = 2 * 4096 },
	.off = 2 * 4096,
	.len = 5 * 4096,
};

FIXTURE_VARIANT_ADD(direct, fopen_direct_io)
{
	.opts = { .writeback_cache = true },
	.open_flags = FOPEN_DIRECT_IO,
	.off = 2 * 4096 + 123,
	.len = 2 * 4096,
};

FIXTURE_VARIANT_ADD(direct, through)
{
	.opts = { .async_dio = true },
	.off = 2 * 4096 + 123,
	.len = 2 * 4096,
};

FIXTURE_SETUP(direct)
{
	if (!mnt_setup(_metadata, &self->m, &variant->opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->len = PAGES * self->page;
	file_setup(_metadata, &self->m, FILE_NAME, self->len, 1, &self->data,
		   &self->seen);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, server_open_flags(self->m.ctl, variant->open_flags));
	self->direct = mnt_open(&self->m, FILE_NAME, O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->direct);
	self->map = mmap(NULL, self->len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(direct)
{
	mnt_teardown(_metadata, &self->m);
}

/* Store new bytes through the mapping, which works on every connection. */
static bool store(struct _test_data_direct *self, off_t off, size_t len,
		  unsigned int seed)
{
	fill_pattern(self->data + off, len, seed);
	return !mnt_run(&self->m, &call_store, (struct call_arg){
		.buf = self->data + off, .to = self->map + off, .len = len });
}

static struct call *start_direct(struct _test_data_direct *self,
				 const struct _fixture_variant_direct *variant,
				 const struct call_op *op, char *buf)
{
	return mnt_call(&self->m, op, (struct call_arg){
		.fd = self->direct, .off = variant->off, .len = variant->len,
		.buf = buf });
}

static bool done_direct(struct call *c, size_t len)
{
	return c && call_wait_returned(c) == CALL_RETURNED &&
	       c->ret == (long)len;
}

/* Check the file through each way of reading it. */
static void check_bytes(struct __test_metadata *_metadata,
			struct _test_data_direct *self)
{
	ssize_t len = self->len;

	EXPECT_EQ(-1, first_difference(self->data, self->map, len)) {
		TH_LOG("the mapping shows other bytes");
	}
	ASSERT_EQ(len, pread(self->fd, self->seen, len, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, len));
	ASSERT_EQ(len, pread(self->direct, self->seen, len, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, len)) {
		TH_LOG("a direct read returns other bytes");
	}
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen, len));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, len)) {
		TH_LOG("the server has other bytes");
	}
}

TEST_F(direct, read_sees_what_is_dirty)
{
	const struct req_match range = {
		.opcode = FUSE_WRITE, .start = variant->off,
		.end = variant->off + variant->len };
	int reads = count_req(&self->m, FUSE_READ, REQ_ARRIVED);
	struct call *c;

	/* Dirty more than is requested, on both sides. */
	ASSERT_TRUE(store(self, self->page, 8 * self->page, 2));
	c = start_direct(self, variant, &call_pread, self->seen);
	ASSERT_TRUE(done_direct(c, variant->len));
	EXPECT_EQ(-1, first_difference(self->data + variant->off, self->seen,
				       variant->len));
	/* It had to be written first. */
	EXPECT_NE(0, reqlog_find(self->m.log, &range, REQ_REPLIED, 1));
	EXPECT_LT(reqlog_find(self->m.log, &range, REQ_REPLIED, 1),
		  find_req(&self->m, FUSE_READ, REQ_ARRIVED, reads + 1));
	check_bytes(_metadata, self);
}

/* The WRITE is in flight when the direct read or write starts. */
static void check_waits(struct __test_metadata *_metadata,
			struct _test_data_direct *self,
			const struct _fixture_variant_direct *variant,
			const struct call_op *op, __u32 opcode)
{
	bool writes = opcode == FUSE_WRITE;
	char *buf = writes ? self->data + variant->off : self->seen;
	struct call *c;
	int before;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_TRUE(store(self, variant->off, 1, 2));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	before = count_req(&self->m, opcode, REQ_ARRIVED);
	if (writes)
		fill_pattern(buf, variant->len, 3);
	c = start_direct(self, variant, op, buf);
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	EXPECT_EQ(before, count_req(&self->m, opcode, REQ_ARRIVED)) {
		TH_LOG("%s was sent before the reply to WRITE", op->name);
	}

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_TRUE(done_direct(c, variant->len));
	EXPECT_LT(find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
		  await_req(&self->m, opcode, REQ_ARRIVED, before + 1));
	if (!writes)
		EXPECT_EQ(-1, first_difference(self->data + variant->off,
					       self->seen, variant->len));
	check_bytes(_metadata, self);
}

/* Promise: ea8cd33390fa */
TEST_F(direct, read_never_passes_writeback_of_its_bytes)
{
	check_waits(_metadata, self, variant, &call_pread, FUSE_READ);
}

TEST_F(direct, write_never_passes_writeback_of_its_bytes)
{
	check_waits(_metadata, self, variant, &call_pwrite, FUSE_WRITE);
}

/* The control: writeback of other bytes does not matter. */
TEST_F(direct, read_does_not_wait_for_other_bytes)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_TRUE(store(self, 0, 1, 2));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	c = start_direct(self, variant, &call_pread, self->seen);
	EXPECT_TRUE(done_direct(c, variant->len));
	EXPECT_EQ(-1, first_difference(self->data + variant->off, self->seen,
				       variant->len));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	check_bytes(_metadata, self);
}

TEST_F(direct, write_is_seen_in_the_cache)
{
	char *buf = self->data + variant->off;

	/* The whole file is cached and mapped. */
	EXPECT_EQ(-1, first_difference(self->data, self->map, self->len));
	fill_pattern(buf, variant->len, 2);
	ASSERT_TRUE(done_direct(start_direct(self, variant, &call_pwrite, buf),
				variant->len));
	check_bytes(_metadata, self);
}

/* The bytes before and after the direct write are not lost. */
TEST_F(direct, write_over_dirty_bytes_keeps_their_neighbours)
{
	char *buf = self->data + variant->off;

	ASSERT_TRUE(store(self, self->page + 5, 8 * self->page, 2));
	fill_pattern(buf, variant->len, 3);
	ASSERT_TRUE(done_direct(start_direct(self, variant, &call_pwrite, buf),
				variant->len));
	check_bytes(_metadata, self);
}

/* The newer bytes win, as above. */
TEST_F(direct, store_after_direct_write_wins)
{
	char *buf = self->data + variant->off;

	ASSERT_TRUE(store(self, self->page, 8 * self->page, 2));
	fill_pattern(buf, variant->len, 3);
	ASSERT_TRUE(done_direct(start_direct(self, variant, &call_pwrite, buf),
				variant->len));
	ASSERT_TRUE(store(self, variant->off + 100, variant->len, 4));
	check_bytes(_metadata, self);
}

/*
 *   0     123                      8 pages       8 pages + 123
 *   |------|                          |--- dirty ---|
 *     the server's file                  i_size ----'
 */
FIXTURE(hole)
{
	FIXTURE_DATA(direct) d;
};

FIXTURE_VARIANT(hole)
{
	struct server_opts opts;
	bool aio;
};

FIXTURE_VARIANT_ADD(hole, sync_small_requests)
{
	.opts = { .writeback_cache = true, .max_pages = 1 },
};

FIXTURE_VARIANT_ADD(hole, aio)
{
	.opts = { .writeback_cache = true, .async_dio = true, .max_pages = 2 },
	.aio = true,
};

FIXTURE_SETUP(hole)
{
	struct _test_data_direct *d = &self->d;

	if (!mnt_setup(_metadata, &d->m, &variant->opts, variant))
		return;
	d->page = sysconf(_SC_PAGESIZE);
	d->len = PAGES * d->page;
	d->data = calloc(1, d->len);
	d->seen = malloc(d->len);
	ASSERT_TRUE(d->data && d->seen);
	fill_pattern(d->data, 123, 1);
	ASSERT_EQ(0, server_put(d->m.ctl, FILE_NAME, 0, d->data, 123));
	d->fd = mnt_open(&d->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, d->fd);
	d->direct = mnt_open(&d->m, FILE_NAME, O_RDWR | O_DIRECT);
	ASSERT_LE(0, d->direct);
	fill_pattern(d->data + 8 * d->page, 123, 2);
	ASSERT_EQ(123, pwrite(d->fd, d->data + 8 * d->page, 123, 8 * d->page));
}

FIXTURE_TEARDOWN(hole)
{
	mnt_teardown(_metadata, &self->d.m);
}

/*
 * A direct read of @len bytes at @off returns @want bytes, with the right
 * contents.
 */
static void check_read(struct __test_metadata *_metadata,
		       struct _test_data_direct *d, bool aio, off_t off,
		       size_t len, long want)
{
	struct call_arg arg = {
		.fd = d->direct, .off = off, .len = len, .buf = d->seen };

	memset(d->seen, 0xee, d->len);
	EXPECT_EQ(want, mnt_run(&d->m, aio ? &call_aio_pread : &call_pread,
				arg)) {
		TH_LOG("a direct read of bytes %ld to %ld has another length",
		       (long)off, (long)(off + len));
	}
	EXPECT_EQ(-1, first_difference(d->data + off, d->seen, want));
	/* The buffer is untouched beyond them. */
	EXPECT_EQ((char)0xee, d->seen[want]);
}

/* With aio, Linux 6.12 returns a short read as if the file ended there. */
TEST_F(hole, direct_read_of_a_hole_before_dirty_bytes_is_zeroes)
{
	struct _test_data_direct *d = &self->d;
	size_t page = d->page;

	check_read(_metadata, d, variant->aio, 0, 5 * page, 5 * page);
	check_read(_metadata, d, variant->aio, 100, page, page);
	check_read(_metadata, d, variant->aio, 3 * page + 5, 2 * page,
		   2 * page);
	EXPECT_EQ(0, find_req(&d->m, FUSE_WRITE, REQ_ARRIVED, 1)) {
		TH_LOG("nothing was dirty any more: nothing was tested");
	}
	EXPECT_EQ(123, server_size(d->m.ctl, FILE_NAME));
}

TEST_F(hole, direct_read_ends_where_the_dirty_file_does)
{
	struct _test_data_direct *d = &self->d;
	size_t page = d->page, end = 8 * page + 123;

	check_read(_metadata, d, variant->aio, 8 * page - 10, 10, 10);
	EXPECT_EQ(0, find_req(&d->m, FUSE_WRITE, REQ_ARRIVED, 1));
	check_read(_metadata, d, variant->aio, page, 10 * page, end - page);
	check_read(_metadata, d, variant->aio, end - 1, page, 1);
	check_read(_metadata, d, variant->aio, end, page, 0);
	EXPECT_EQ((long long)end, server_size(d->m.ctl, FILE_NAME));
}

/* A direct write beyond that EOF leaves another hole, and loses nothing. */
TEST_F(hole, direct_write_behind_the_end_leaves_zeroes)
{
	struct _test_data_direct *d = &self->d;
	off_t off = 10 * d->page + 77;
	ssize_t end = off + 50;
	struct stat st;

	fill_pattern(d->data + off, 50, 3);
	ASSERT_EQ(50, pwrite(d->direct, d->data + off, 50, off));
	ASSERT_EQ(0, fstat(d->fd, &st));
	EXPECT_EQ(end, st.st_size);
	ASSERT_EQ(end, pread(d->fd, d->seen, d->len, 0));
	EXPECT_EQ(-1, first_difference(d->data, d->seen, end));
	check_read(_metadata, d, variant->aio, 0, d->len, end);
	ASSERT_EQ(0, server_get(d->m.ctl, FILE_NAME, 0, d->seen, end));
	EXPECT_EQ(-1, first_difference(d->data, d->seen, end));
}

TEST_HARNESS_MAIN
