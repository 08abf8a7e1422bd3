// SPDX-License-Identifier: GPL-2.0
/*
 * How dirty pages become WRITEs.
 *
 * A sound kernel merges adjacent pages into one WRITE, up to the server's limit,
 * sends the WRITEs of a file in file order, and each dirty page once.  A broken
 * one sends page by page, more than the server has room for, bytes that are not
 * dirty, or loses everything after a failed WRITE.
 *
 * Promise: policy-04, policy-10
 */

#include <sys/mman.h>

#include "common.h"

#define FILE_NAME	"file"
#define PAGES		256

/*
 *   fd --- write ---> up to PAGES dirty pages --- WRITEs ---> server: "file"
 */
FIXTURE(pages)
{
	struct mnt m;
	size_t page;
	size_t len;
	int fd;
	char *data;
	char *seen;
};

/* most: pages in one WRITE */
FIXTURE_VARIANT(pages)
{
	struct server_opts opts;
	size_t most;
};

FIXTURE_VARIANT_ADD(pages, max_pages_16)
{
	.opts = { .writeback_cache = true, .max_pages = 16 },
	.most = 16,
};

FIXTURE_VARIANT_ADD(pages, max_pages_256)
{
	.opts = { .writeback_cache = true, .max_pages = 256,
		  .max_write = 1 << 20 },
	.most = 256,
};

/* 5 pages and a bit: the rest is too small for a page. */
FIXTURE_VARIANT_ADD(pages, max_write_5_pages)
{
	.opts = { .writeback_cache = true, .max_write = 5 * 4096 + 123,
		  .max_pages = 64 },
	.most = 5,
};

/* More WRITEs than may be in flight simultaneously. */
FIXTURE_VARIANT_ADD(pages, background_of_2)
{
	.opts = { .writeback_cache = true, .max_pages = 4,
		  .max_background = 2, .congestion = 2, .splice_in = true },
	.most = 4,
};

FIXTURE_SETUP(pages)
{
	if (!mnt_setup(_metadata, &self->m, &variant->opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->len = PAGES * self->page;
	self->data = calloc(1, self->len);
	self->seen = malloc(self->len);
	ASSERT_TRUE(self->data && self->seen);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(pages)
{
	mnt_teardown(_metadata, &self->m);
}

/* Write a range of the file. */
static bool dirty(struct _test_data_pages *self, size_t off, size_t len)
{
	fill_pattern(self->data + off, len, 1 + off / self->page % 250);
	return pwrite(self->fd, self->data + off, len, off) == (ssize_t)len;
}

/*
 * Write back with fdatasync(2), which sends everything in one pass: the WRITEs
 * are in order and not too large, and no byte is sent twice.  Only one thread
 * of the server may read them, or the log has another order.
 */
static void check_writes(struct __test_metadata *_metadata,
			 struct _test_data_pages *self, size_t most, long bytes,
			 size_t size)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	__u64 end = 0;
	int i, nr;

	EXPECT_EQ(0, mnt_run(&self->m, &call_fdatasync, (struct call_arg){
		.fd = self->fd }));
	ASSERT_EQ(0, await_writes(&self->m));
	nr = word_get(&self->m.log->nr);
	for (i = 0; i < nr; i++) {
		const struct req_event *ev = &self->m.log->ev[i];

		if (ev->req.opcode != FUSE_WRITE || ev->step != REQ_ARRIVED)
			continue;
		EXPECT_GE(most * self->page, ev->req.size);
		EXPECT_LE(end, ev->req.off) {
			TH_LOG("the WRITE of byte %llu is out of order",
			       ev->req.off);
		}
		end = ev->req.off + ev->req.size;
	}
	EXPECT_EQ(bytes, reqlog_bytes(self->m.log, &writes, REQ_ARRIVED));
	ASSERT_EQ((long long)size, server_size(self->m.ctl, FILE_NAME));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen, size));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, size));
}

TEST_F(pages, neighbours_share_writes_as_large_as_allowed)
{
	int writes = (PAGES + variant->most - 1) / variant->most;

	ASSERT_TRUE(dirty(self, 0, self->len));
	check_writes(_metadata, self, variant->most, self->len, self->len);
	EXPECT_EQ(writes, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
}

/*
 * Dirty pages are sent, clean pages between them are not; and the file's end,
 * too.
 */
TEST_F(pages, gaps_are_not_sent)
{
	size_t size = 100 * self->page + 123, sent = 0, i;

	for (i = 0; i < 100; i += 10) {
		ASSERT_TRUE(dirty(self, i * self->page, 3 * self->page));
		sent += 3 * self->page;
	}
	ASSERT_TRUE(dirty(self, 100 * self->page, 123));
	check_writes(_metadata, self, variant->most, sent + 123, size);
}

/* In any order of dirtying, and however often. */
TEST_F(pages, pages_dirtied_in_any_order_are_sent_once_and_in_order)
{
	size_t i, at;

	for (i = 0; i < 2 * PAGES; i++) {
		at = i * 37 % PAGES;
		ASSERT_TRUE(dirty(self, at * self->page, self->page));
	}
	check_writes(_metadata, self, variant->most, self->len, self->len);
}

/* And none of it is sent again, by any task, once it is clean. */
TEST_F(pages, clean_pages_are_not_sent)
{
	ASSERT_TRUE(dirty(self, 0, self->len));
	check_writes(_metadata, self, variant->most, self->len, self->len);
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	EXPECT_EQ(0, mnt_run(&self->m, &call_syncfs, (struct call_arg){
		.fd = self->fd }));
	ASSERT_EQ(0, close(dup(self->fd)));
	check_writes(_metadata, self, variant->most, self->len, self->len);
}

/*
 * A WRITE in the middle fails: the others are sent, once, and fdatasync returns
 * the error.
 */
TEST_F(pages, failed_write_takes_no_other_with_it)
{
	size_t bad = 100 * self->page;
	const struct req_match middle = {
		.opcode = FUSE_WRITE, .start = bad, .end = bad + self->page };
	size_t from, len, end;
	int seq;

	ASSERT_EQ(0, server_fail(self->m.ctl, &middle, EIO));
	ASSERT_TRUE(dirty(self, 0, self->len));
	EXPECT_EQ(-1, mnt_run(&self->m, &call_fdatasync, (struct call_arg){
		.fd = self->fd }));
	EXPECT_EQ(EIO, errno);
	ASSERT_EQ(0, await_writes(&self->m));
	seq = reqlog_find(self->m.log, &middle, REQ_ARRIVED, 1);
	ASSERT_NE(0, seq);
	EXPECT_EQ(0, reqlog_find(self->m.log, &middle, REQ_ARRIVED, 2)) {
		TH_LOG("lost data is sent again");
	}

	from = self->m.log->ev[seq - 1].req.off;
	len = self->m.log->ev[seq - 1].req.size;
	end = from + len;
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	if (end == self->len) {
		EXPECT_EQ(0, server_size(self->m.ctl, FILE_NAME));
		return;
	}
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen,
				self->len));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, from));
	EXPECT_EQ(-1, first_difference(self->data + end, self->seen + end,
				       self->len - end)) {
		TH_LOG("the data after the failed WRITE was not sent");
	}
}

TEST_HARNESS_MAIN
