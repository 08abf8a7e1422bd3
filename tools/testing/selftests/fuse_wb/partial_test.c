// SPDX-License-Identifier: GPL-2.0
/*
 * Writes that cover part of a page which is not in the page cache.
 *
 * The server has the rest of such a page: with the writeback cache, a sound
 * kernel reads the page first, and then writes into it.  It need not if there is
 * no rest: if the page is beyond EOF, or is fully overwritten.  A broken kernel
 * sends zeros or uninitialized memory in place of the server's bytes, or accepts
 * a write whose READ has failed.
 *
 * Promise: policy-11
 */

#include "common.h"
#include "attr_request.h"

#define FILE_NAME	"file"
#define PAGES		6
#define TAIL		123

/*
 *   fd --- pwrite ---> a page of "file" <--- READ, if need be
 *
 * data: what the file has to hold, size bytes of it; PAGES and a bit
 */
FIXTURE(partial)
{
	struct mnt m;
	ssize_t page;
	ssize_t size;
	int fd;
	char *data;
	char *seen;
};

FIXTURE_SETUP(partial)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.open_flags = FOPEN_KEEP_CACHE,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->size = PAGES * self->page + TAIL;
	file_setup(_metadata, &self->m, FILE_NAME, self->size, 1, &self->data,
		   &self->seen);
	soil_free_memory();
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(partial)
{
	mnt_teardown(_metadata, &self->m);
}

/* Write new bytes.  Return: what pwrite() did. */
static ssize_t change(struct _test_data_partial *self, off_t off, size_t len)
{
	fill_pattern(self->data + off, len, 2);
	if (off + (ssize_t)len > self->size)
		self->size = off + len;
	return mnt_run(&self->m, &call_pwrite, (struct call_arg){
		.fd = self->fd, .buf = self->data + off, .len = len,
		.off = off });
}

static int reads(struct mnt *m)
{
	return count_req(m, FUSE_READ, REQ_ARRIVED);
}

static void check_file(struct __test_metadata *_metadata,
		       struct _test_data_partial *self)
{
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, self->size);
}

TEST_F(partial, rest_of_page_is_read_first)
{
	const struct req_match first = {
		.opcode = FUSE_READ, .start = self->page, .end = 2 * self->page,
	};

	ASSERT_EQ(10, change(self, self->page + 100, 10));
	EXPECT_EQ(1, reads(&self->m));
	EXPECT_NE(0, reqlog_find(self->m.log, &first, REQ_ARRIVED, 1));
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	/* The page is uptodate now. */
	ASSERT_EQ(10, change(self, self->page + 500, 10));
	EXPECT_EQ(1, reads(&self->m));
	check_file(_metadata, self);
}

/* The rest of the page that contains EOF has to be read, too. */
TEST_F(partial, page_with_the_end_is_read_first)
{
	ASSERT_EQ(10, change(self, self->size + 5, 10));
	memset(self->data + self->size - 15, 0, 5);
	EXPECT_EQ(1, reads(&self->m));
	check_file(_metadata, self);
}

TEST_F(partial, covered_page_is_not_read)
{
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	EXPECT_EQ(2 * self->page, change(self, self->page, 2 * self->page));
	EXPECT_EQ(0, reads(&self->m));
	ASSERT_EQ(0, server_release(self->m.ctl, 0));
	check_file(_metadata, self);
}

TEST_F(partial, page_behind_the_end_is_not_read)
{
	off_t off = (PAGES + 3) * self->page + 100;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	EXPECT_EQ(10, change(self, off, 10));
	EXPECT_EQ(0, reads(&self->m));
	ASSERT_EQ(0, server_release(self->m.ctl, 0));
	check_file(_metadata, self);
}

TEST_F(partial, write_across_pages_reads_the_ends)
{
	const struct req_match middle = {
		.opcode = FUSE_READ, .start = 2 * self->page,
		.end = 3 * self->page,
	};

	ASSERT_EQ(2 * self->page, change(self, self->page + 100,
					 2 * self->page));
	EXPECT_EQ(2, reads(&self->m));
	EXPECT_EQ(0, reqlog_find(self->m.log, &middle, REQ_ARRIVED, 1));
	check_file(_metadata, self);
}

/* A broken kernel has a dirty page that was never filled. */
TEST_F(partial, failed_read_fails_the_write)
{
	const struct req_match fail = { .opcode = FUSE_READ };
	char *old = malloc(self->size);

	ASSERT_NE(NULL, old);
	memcpy(old, self->data, self->size);
	ASSERT_EQ(0, server_fail(self->m.ctl, &fail, EIO));
	EXPECT_EQ(-1, change(self, self->page + 100, 10));
	EXPECT_EQ(EIO, errno);
	/* Beyond EOF, where the file must not grow. */
	EXPECT_EQ(-1, change(self, self->size + 5, 10));
	EXPECT_EQ(EIO, errno);
	self->size -= 15;
	EXPECT_EQ(self->size, kernel_size(self->fd));
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	memcpy(self->data, old, self->size);
	check_file(_metadata, self);
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED)) {
		TH_LOG("a page is dirty that could not be read");
	}
}

/*
 * Bytes before the page that cannot be read are written, and returned as such.
 */
TEST_F(partial, failed_read_in_the_middle_is_a_short_write)
{
	const struct req_match fail = { .opcode = FUSE_READ };
	char *old = malloc(self->size);
	off_t off = 2 * self->page;

	ASSERT_NE(NULL, old);
	memcpy(old, self->data, self->size);
	ASSERT_EQ(0, server_fail(self->m.ctl, &fail, EIO));
	EXPECT_EQ(self->page, change(self, self->page, self->page + 100));
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	memcpy(self->data + off, old + off, 100);
	check_file(_metadata, self);
	EXPECT_EQ(1, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
}

TEST_HARNESS_MAIN
