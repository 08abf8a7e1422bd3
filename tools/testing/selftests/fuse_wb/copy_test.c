// SPDX-License-Identifier: GPL-2.0
/*
 * copy_file_range(2), which the server carries out, on files with dirty pages.
 *
 * Before it sends COPY_FILE_RANGE, a correct kernel has written back everything
 * that the copy reads or overwrites, and all that follows it.  Then it drops
 * exactly those pages that the server has changed.  A broken one copies old
 * bytes, lets a WRITE overwrite the copy, shows the old contents, or retries
 * when 0 bytes were copied.
 */

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "common.h"

#define SOURCE	"source"
#define TARGET	"target"
#define PAGES	8

/*
 *   from ------ dirty pages --- WRITEs ---> server: "source"
 *                               COPY_FILE_RANGE       |
 *   to, map --- dirty pages --- WRITEs ---> server: "target"
 *
 * in, out: the expected final contents of these files
 */
FIXTURE(copy)
{
	struct mnt m;
	size_t page;
	size_t len;
	int from;
	int to;
	char *map;
	char *in;
	char *out;
	char *seen;
};

/* off_in, off_out, len: the range to copy */
FIXTURE_VARIANT(copy)
{
	struct server_opts opts;
	off_t off_in;
	off_t off_out;
	size_t len;
};

FIXTURE_VARIANT_ADD(copy, cached_bytes_splice)
{
	.opts = { .writeback_cache = true, .splice_in = true,
		  .splice_out = true },
	.off_in = 77,
	.off_out = 2 * 4096 + 123,
	.len = 2 * 4096,
};

FIXTURE_VARIANT_ADD(copy, cached_to_the_start)
{
	.opts = { .writeback_cache = true },
	.off_in = 4096,
	.len = 3 * 4096,
};

FIXTURE_VARIANT_ADD(copy, through)
{
	.opts = { },
	.off_in = 77,
	.off_out = 2 * 4096 + 123,
	.len = 2 * 4096,
};

FIXTURE_SETUP(copy)
{
	if (!mnt_setup(_metadata, &self->m, &variant->opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->len = PAGES * self->page;
	file_setup(_metadata, &self->m, SOURCE, self->len, 1, &self->in,
		   &self->seen);
	file_setup(_metadata, &self->m, TARGET, self->len, 2, &self->out,
		   &self->seen);
	self->from = mnt_open(&self->m, SOURCE, O_RDWR);
	ASSERT_LE(0, self->from);
	self->to = mnt_open(&self->m, TARGET, O_RDWR);
	ASSERT_LE(0, self->to);
	self->map = mmap(NULL, self->len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->to, 0);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(copy)
{
	mnt_teardown(_metadata, &self->m);
}

/* @fd and @off are the source, @buf points to the target. */
struct place {
	int fd;
	loff_t off;
};

static long do_copy(const struct call_arg *arg)
{
	struct place *to = arg->buf;
	loff_t from = arg->off;

	return copy_file_range(arg->fd, &from, to->fd, &to->off, arg->len, 0);
}

static const struct call_op call_copy = {
	"copy_file_range", SYS_copy_file_range, do_copy
};

/* Make the variant's copy, in a thread. */
static struct call *start_copy(struct _test_data_copy *self,
			       const struct _fixture_variant_copy *variant,
			       struct place *to)
{
	*to = (struct place){ .fd = self->to, .off = variant->off_out };
	return mnt_call(&self->m, &call_copy, (struct call_arg){
		.fd = self->from, .off = variant->off_in, .len = variant->len,
		.buf = to });
}

/* And wait for it.  Return: the bytes copied, -1 on error. */
static long run_copy(struct _test_data_copy *self,
		     const struct _fixture_variant_copy *variant)
{
	struct place to;
	struct call *c = start_copy(self, variant, &to);

	return c && call_wait_returned(c) == CALL_RETURNED ? c->ret : -1;
}

/* Store new bytes into a page of the target. */
static void store(struct _test_data_copy *self, off_t off, size_t len,
		  unsigned int seed)
{
	fill_pattern(self->out + off, len, seed);
	memcpy(self->map + off, self->out + off, len);
}

/* The first @copied bytes were copied: check the target. */
static void check_target(struct __test_metadata *_metadata,
			 struct _test_data_copy *self,
			 const struct _fixture_variant_copy *variant,
			 size_t copied, ssize_t size)
{
	struct stat st;

	memcpy(self->out + variant->off_out, self->in + variant->off_in,
	       copied);
	ASSERT_EQ(0, fstat(self->to, &st));
	EXPECT_EQ(size, st.st_size);
	EXPECT_EQ(-1, first_difference(self->out, self->map, self->len)) {
		TH_LOG("the mapping shows other bytes");
	}
	ASSERT_EQ(size, pread(self->to, self->seen, 2 * self->len, 0));
	EXPECT_EQ(-1, first_difference(self->out, self->seen, size));
	ASSERT_EQ(0, start_writeback(&self->m, self->to));
	ASSERT_EQ(0, await_writes(&self->m));
	ASSERT_EQ(size, server_size(self->m.ctl, TARGET));
	ASSERT_EQ(0, server_get(self->m.ctl, TARGET, 0, self->seen, size));
	EXPECT_EQ(-1, first_difference(self->out, self->seen, size)) {
		TH_LOG("the server has other bytes");
	}
}

/*
 * The whole target is cached and mapped when the copy is made.
 *
 * Promise: 9b46418c40fe
 */
TEST_F(copy, cache_of_the_target_shows_the_copy)
{
	EXPECT_EQ(-1, first_difference(self->out, self->map, self->len));
	EXPECT_EQ((long)variant->len, run_copy(self, variant));
	EXPECT_EQ(1, count_req(&self->m, FUSE_COPY_FILE_RANGE, REQ_ARRIVED));
	check_target(_metadata, self, variant, variant->len, self->len);
}

/*
 * The target is dirty in and around the copied range, and under writeback.
 *
 * Promise: 9b46418c40fe
 */
TEST_F(copy, copy_is_sent_after_write_to_the_target_is_answered)
{
	struct place to;
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	store(self, 0, 7 * self->page, 3);
	c = start_copy(self, variant, &to);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	EXPECT_EQ(0, find_req(&self->m, FUSE_COPY_FILE_RANGE, REQ_ARRIVED, 1)) {
		TH_LOG("COPY_FILE_RANGE was sent before the reply to WRITE");
	}
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ((long)variant->len, c->ret);
	EXPECT_LT(find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
		  find_req(&self->m, FUSE_COPY_FILE_RANGE, REQ_ARRIVED, 1));
	check_target(_metadata, self, variant, variant->len, self->len);
}

/* The server copies what it has: all dirty data has to be there. */
TEST_F(copy, dirty_bytes_of_the_source_are_copied)
{
	char *map;

	map = mmap(NULL, self->len, PROT_READ | PROT_WRITE, MAP_SHARED,
		   self->from, 0);
	ASSERT_NE(MAP_FAILED, map);
	fill_pattern(self->in, self->len, 4);
	memcpy(map, self->in, self->len);
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ((long)variant->len, run_copy(self, variant));
	check_target(_metadata, self, variant, variant->len, self->len);
}

/*
 * A dirty tail, which the copy does not touch, extends the target.  Until the
 * tail arrives, the server sees a copy that ends at EOF or beyond it.
 *
 * Promise: 59bda8ecee2f
 */
TEST_F(copy, extending_write_is_flushed_before_the_copy)
{
	const struct req_match tail = {
		.opcode = FUSE_WRITE, .start = self->len };
	ssize_t size = self->len + 2 * self->page + 5;
	off_t off = size - 10;

	fill_pattern(self->out + off, 10, 5);
	ASSERT_EQ(10, pwrite(self->to, self->out + off, 10, off));
	EXPECT_EQ((long)variant->len, run_copy(self, variant));
	EXPECT_NE(0, reqlog_find(self->m.log, &tail, REQ_REPLIED, 1));
	EXPECT_LT(reqlog_find(self->m.log, &tail, REQ_REPLIED, 1),
		  find_req(&self->m, FUSE_COPY_FILE_RANGE, REQ_ARRIVED, 1)) {
		TH_LOG("COPY_FILE_RANGE was sent before the dirty tail");
	}
	check_target(_metadata, self, variant, variant->len, size);
}

/* The copy itself extends the target. */
TEST_F(copy, copy_makes_the_file_longer)
{
	struct place to = { .fd = self->to, .off = self->len - 5 };
	struct _fixture_variant_copy longer = *variant;
	struct call_arg arg = {
		.fd = self->from, .off = variant->off_in, .len = variant->len,
		.buf = &to };
	off_t size = self->len - 5 + variant->len;

	longer.off_out = to.off;
	store(self, self->len - 20, 10, 3);
	EXPECT_EQ((long)variant->len, mnt_run(&self->m, &call_copy, arg));
	check_target(_metadata, self, &longer, variant->len, size);
}

/* A short copy is no error. */
TEST_F(copy, short_copy_changes_no_more_than_it_says)
{
	const struct req_match copies = { .opcode = FUSE_COPY_FILE_RANGE };

	ASSERT_EQ(0, server_rule(self->m.ctl, &copies, RULE_SIZE, 33));
	store(self, variant->off_out, 90, 3);
	EXPECT_EQ(33, run_copy(self, variant));
	check_target(_metadata, self, variant, 33, self->len);
}

/*
 * The server has nothing to copy, e.g. because its source has become shorter.
 *
 * Promise: zero-copy
 */
TEST_F(copy, copy_of_nothing_ends)
{
	const struct req_match copies = { .opcode = FUSE_COPY_FILE_RANGE };

	ASSERT_EQ(0, server_rule(self->m.ctl, &copies, RULE_SIZE, 0));
	EXPECT_EQ(0, run_copy(self, variant));
	EXPECT_EQ(1, count_req(&self->m, FUSE_COPY_FILE_RANGE, REQ_ARRIVED));
	check_target(_metadata, self, variant, 0, self->len);
}

/*
 * Linux 6.12 drops the whole page cache of the file when the target starts at
 * byte 0, also what was stored while the server was copying.
 *
 * Promise: zero-copy
 */
TEST_F(copy, copy_of_nothing_drops_no_page)
{
	const struct req_match copies = { .opcode = FUSE_COPY_FILE_RANGE };
	struct place to;
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_COPY_FILE_RANGE));
	c = start_copy(self, variant, &to);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_COPY_FILE_RANGE, REQ_ARRIVED, 1));
	store(self, 6 * self->page, self->page, 3);
	ASSERT_EQ(0, server_rule(self->m.ctl, &copies, RULE_SIZE, 0));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	check_target(_metadata, self, variant, 0, self->len);
}

/* A server without COPY_FILE_RANGE: the kernel copies, through both caches. */
TEST_F(copy, copy_without_the_request_is_made_by_the_kernel)
{
	const struct req_match copies = { .opcode = FUSE_COPY_FILE_RANGE };

	ASSERT_EQ(0, server_lacks(self->m.ctl, &copies));
	store(self, 0, 7 * self->page, 3);
	EXPECT_EQ((long)variant->len, run_copy(self, variant));
	EXPECT_EQ(1, count_req(&self->m, FUSE_COPY_FILE_RANGE, REQ_ARRIVED));
	check_target(_metadata, self, variant, variant->len, self->len);
}

TEST_HARNESS_MAIN
