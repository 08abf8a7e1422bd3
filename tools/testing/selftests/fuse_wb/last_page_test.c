// SPDX-License-Identifier: GPL-2.0
/*
 * The last page of the largest file: LLONG_MAX bytes.
 *
 * The page is one byte short, as no file has a byte at LLONG_MAX.  A server
 * that passes a READ on to pread(2) gets EINVAL for a range that ends beyond
 * it, so a correct kernel requests exactly what is inside the file, and returns
 * it to the reader.  A broken one requests nothing or too much, takes the reply
 * for a short one and truncates the file, or takes the end of the page for a
 * negative number.
 *
 * Promise: last-page
 */

#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "aio.h"
#include "common.h"

#define PAGE	4096
#define PAGES	4

/* Where it starts, and its length. */
#define LAST	(LLONG_MAX - PAGE + 1)
#define REST	(PAGE - 1)

/*
 *   fd ------ page cache ---READ, WRITE---> held; the test itself replies, for
 *   direct ------------------------------->   no server has room for the file
 */
FIXTURE(last)
{
	struct mnt m;
	int fd;
	int direct;
	int reads;
	char *data;
	char *seen;
};

FIXTURE_VARIANT(last)
{
	bool writeback_cache;
	bool async_dio;
	__u32 direct_flags;
};

FIXTURE_VARIANT_ADD(last, through)
{
	.writeback_cache = false,
};

FIXTURE_VARIANT_ADD(last, cached)
{
	.writeback_cache = true, .async_dio = true,
};

FIXTURE_VARIANT_ADD(last, fopen_direct_io)
{
	.async_dio = true,
	.direct_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
};

FIXTURE_SETUP(last)
{
	const struct server_opts opts = {
		.writeback_cache = variant->writeback_cache,
		.async_dio = variant->async_dio,
	};
	const struct req_match all = { };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	file_setup(_metadata, &self->m, "file", PAGES * PAGE, 1, &self->data,
		   &self->seen);
	ASSERT_EQ(0, server_rule(self->m.ctl, &all, RULE_ATTR_SIZE, LLONG_MAX));
	self->fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, server_open_flags(self->m.ctl, variant->direct_flags));
	self->direct = mnt_open(&self->m, "file", O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->direct);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
}

FIXTURE_TEARDOWN(last)
{
	mnt_teardown(_metadata, &self->m);
}

/* The contents of the file at @off: the same data for every page. */
static const char *at(struct _test_data_last *self, __u64 off)
{
	return self->data + off % PAGE;
}

/* The next READ has to be for @len bytes from @off: reply. */
static void reply_read(struct __test_metadata *_metadata,
		       struct _test_data_last *self, __u64 off, __u32 len)
{
	static struct {
		struct fuse_out_header out;
		char data[PAGES * PAGE];
	} msg;
	const struct req *req;
	int seq;

	seq = await_req(&self->m, FUSE_READ, REQ_ARRIVED, ++self->reads);
	ASSERT_NE(0, seq);
	req = &self->m.log->ev[seq - 1].req;
	ASSERT_EQ(off, req->off);
	ASSERT_EQ(len, req->size);
	/* A server on top of a file system has nothing beyond LLONG_MAX. */
	EXPECT_LE(req->off + req->size, (__u64)LLONG_MAX);
	msg.out.unique = req->unique;
	msg.out.len = sizeof(msg.out) + len;
	memcpy(msg.data, at(self, off), len);
	ASSERT_EQ(0, server_raw(self->m.ctl, &msg, msg.out.len));
}

/*
 * The call reads the last page except for its first 100 bytes, and gets them
 * all.
 */
static struct call *read_last(struct _test_data_last *self,
			      const struct call_op *op, int fd, off_t off)
{
	memset(self->seen, 0xa5, PAGES * PAGE);
	return mnt_call(&self->m, op, (struct call_arg){
		.fd = fd, .off = off, .len = LLONG_MAX - off,
		.buf = self->seen });
}

static void check_read(struct __test_metadata *_metadata,
		       struct _test_data_last *self, struct call *c)
{
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ((long)c->arg.len, c->ret) {
		TH_LOG("%s: %s", c->op->name, strerror(c->err));
	}
	EXPECT_EQ(-1, first_difference(at(self, c->arg.off), self->seen,
				       c->ret));
	/* The kernel has not taken the reply for a short one. */
	EXPECT_EQ(LLONG_MAX, lseek(self->fd, 0, SEEK_END));
}

TEST_F(last, cached_read_gets_all_bytes)
{
	struct call *c = read_last(self, &call_pread, self->fd, LAST + 100);

	ASSERT_NE(NULL, c);
	reply_read(_metadata, self, LAST, REST);
	check_read(_metadata, self, c);

	/*
	 * At EOF a read returns 0, and beyond it an error, on any file system.
	 */
	EXPECT_EQ(1, pread(self->fd, self->seen, 1, LLONG_MAX - 1));
	EXPECT_EQ(*at(self, LLONG_MAX - 1), *self->seen);
	EXPECT_EQ(-1, pread(self->fd, self->seen, 2, LLONG_MAX - 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(1, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
}

/* In one request, too. */
TEST_F(last, read_of_several_pages_gets_all_bytes)
{
	off_t off = LAST - (PAGES - 1) * PAGE;
	struct call *c = read_last(self, &call_pread, self->fd, off);

	ASSERT_NE(NULL, c);
	reply_read(_metadata, self, off, (PAGES - 1) * PAGE + REST);
	check_read(_metadata, self, c);
}

TEST_F(last, direct_read_gets_all_bytes)
{
	struct call *c = read_last(self, &call_pread, self->direct, LAST);

	ASSERT_NE(NULL, c);
	reply_read(_metadata, self, LAST, REST);
	check_read(_metadata, self, c);
}

TEST_F(last, aio_read_gets_all_bytes)
{
	struct call *c = read_last(self, &call_aio_pread, self->direct,
				   LAST - PAGE);

	ASSERT_NE(NULL, c);
	reply_read(_metadata, self, LAST - PAGE, PAGE + REST);
	check_read(_metadata, self, c);
}

static long do_splice_and_read(const struct call_arg *arg)
{
	loff_t off = arg->off;
	ssize_t ret, got = 0;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	ret = splice(arg->fd, &off, fds[1], NULL, arg->len, 0);
	close(fds[1]);
	if (ret > 0)
		got = read(fds[0], arg->buf, arg->len);
	close(fds[0]);
	return ret < 0 || got == ret ? ret : -1;
}

static const struct call_op call_splice_and_read = {
	"splice", SYS_splice, do_splice_and_read
};

TEST_F(last, splice_gets_all_bytes)
{
	struct call *c = read_last(self, &call_splice_and_read, self->fd,
				   LAST);

	ASSERT_NE(NULL, c);
	reply_read(_metadata, self, LAST, REST);
	check_read(_metadata, self, c);

	c = read_last(self, &call_splice_and_read, self->direct, LAST);
	ASSERT_NE(NULL, c);
	reply_read(_metadata, self, LAST, REST);
	check_read(_metadata, self, c);
}

/* mmap(2) refuses the last page, but not the one before. */
TEST_F(last, page_before_the_last_can_be_mapped)
{
	struct call *c;
	char *map;

	map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, LAST);
	EXPECT_EQ(MAP_FAILED, map);
	EXPECT_EQ(EOVERFLOW, errno);
	map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, LAST - PAGE);
	ASSERT_NE(MAP_FAILED, map);
	/* Otherwise readahead may include the last page. */
	ASSERT_EQ(0, madvise(map, PAGE, MADV_RANDOM));
	c = mnt_call(&self->m, &call_store, (struct call_arg){
		.buf = map, .to = self->seen, .len = PAGE });
	ASSERT_NE(NULL, c);
	reply_read(_metadata, self, LAST - PAGE, PAGE);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(-1, first_difference(at(self, LAST), self->seen, PAGE));
}

/*
 * A reply that is really short: here the file ends, without the writeback
 * cache.
 */
TEST_F(last, short_reply_is_the_end_of_the_file)
{
	struct call *c = read_last(self, &call_pread, self->fd, LAST);

	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
	/* The server's file has four pages, which are a hole. */
	ASSERT_EQ(1, server_release(self->m.ctl, 1));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	memset(self->data, 0, REST);
	if (variant->writeback_cache) {
		EXPECT_EQ(REST, c->ret);
		EXPECT_EQ(-1, first_difference(self->data, self->seen, REST));
	} else {
		EXPECT_EQ(0, c->ret);
	}
	EXPECT_EQ(variant->writeback_cache ? LLONG_MAX : LAST,
		  lseek(self->fd, 0, SEEK_END));
}

/*
 * The next WRITE has to be for @len bytes from @off, with the right data:
 * reply.
 */
static void reply_write(struct __test_metadata *_metadata,
			struct _test_data_last *self, int nth, __u64 off,
			__u32 len)
{
	struct {
		struct fuse_out_header out;
		struct fuse_write_out write;
	} msg = { .out.len = sizeof(msg), .write.size = len };
	const struct req *req;
	int seq;

	seq = await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, nth);
	ASSERT_NE(0, seq);
	req = &self->m.log->ev[seq - 1].req;
	EXPECT_EQ(off, req->off);
	EXPECT_EQ(len, req->size);
	msg.out.unique = req->unique;
	ASSERT_EQ(0, server_raw(self->m.ctl, &msg, sizeof(msg)));
}

TEST_F(last, last_bytes_can_be_written)
{
	struct call *c;

	/* REST bytes at most, as no more of them would be inside the file. */
	c = mnt_call(&self->m, &call_pwrite, (struct call_arg){
		.fd = self->fd, .buf = self->data, .len = REST, .off = LAST });
	ASSERT_NE(NULL, c);
	if (!variant->writeback_cache) {
		/* Not a full page, but all that is inside the file. */
		reply_write(_metadata, self, 1, LAST, REST);
	} else {
		reply_read(_metadata, self, LAST, REST);
	}
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(REST, c->ret);
	if (variant->writeback_cache) {
		ASSERT_EQ(0, start_writeback(&self->m, self->fd));
		reply_write(_metadata, self, 1, LAST, REST);
	}

	c = mnt_call(&self->m, &call_pwrite, (struct call_arg){
		.fd = self->direct, .buf = self->data, .len = REST,
		.off = LAST });
	ASSERT_NE(NULL, c);
	reply_write(_metadata, self, 2, LAST, REST);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(REST, c->ret);
	EXPECT_EQ(LLONG_MAX, lseek(self->fd, 0, SEEK_END));
}

/*
 * Bytes stored inside the file through a mapping must not be taken for bytes
 * beyond EOF, which an extending write clears.
 *
 * Promise: growth
 */
TEST_F(last, write_keeps_the_bytes_before_it)
{
	struct call *c;
	char *map;

	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, madvise(map, PAGE, MADV_RANDOM));
	c = mnt_call(&self->m, &call_store, (struct call_arg){
		.buf = self->data + PAGE, .to = map, .len = PAGE });
	ASSERT_NE(NULL, c);
	reply_read(_metadata, self, 0, PAGE);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));

	c = mnt_call(&self->m, &call_pwrite, (struct call_arg){
		.fd = self->fd, .buf = self->data, .len = 100, .off = 200 });
	ASSERT_NE(NULL, c);
	if (!variant->writeback_cache)
		reply_write(_metadata, self, 1, 200, 100);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(100, c->ret);
	memcpy(self->data + PAGE + 200, self->data, 100);
	EXPECT_EQ(-1, first_difference(self->data + PAGE, map, PAGE)) {
		TH_LOG("the bytes stored before the write are lost");
	}
}

TEST_HARNESS_MAIN
