// SPDX-License-Identifier: GPL-2.0
/*
 * READs with a reply that is shorter than the file.
 *
 * With the writeback cache, the kernel knows about bytes that the server has not
 * got yet: a short reply inside the file is a hole, which a sound kernel fills
 * with zeros, and the file keeps its size.  With write-through, a short reply
 * means that the file has been truncated elsewhere, unless this kernel has
 * extended it meanwhile.  A broken kernel shows uninitialized memory, cuts off
 * dirty bytes, or uses a reply that is too old.
 *
 * Promise: policy-03, short-read
 */

#include <sys/mman.h>

#include "common.h"
#include "attr_request.h"

#define FILE_NAME	"file"
#define PAGES		8
#define SHORT		300

/*
 *   fd --- read --- page cache of "file" <--- READ, SHORT bytes in the reply
 *
 * data: what the file has to hold, all PAGES of it
 */
FIXTURE(short_read)
{
	struct mnt m;
	ssize_t page;
	ssize_t len;
	int fd;
	char *data;
	char *seen;
};

FIXTURE_VARIANT(short_read)
{
	bool mapped;
	bool splice;
};

FIXTURE_VARIANT_ADD(short_read, read) { };

FIXTURE_VARIANT_ADD(short_read, read_splice) { .splice = true };

FIXTURE_VARIANT_ADD(short_read, mapped) { .mapped = true };

static void setup_file(struct __test_metadata *_metadata,
		       struct _test_data_short_read *self)
{
	self->page = sysconf(_SC_PAGESIZE);
	self->len = PAGES * self->page;
	file_setup(_metadata, &self->m, FILE_NAME, self->len, 1, &self->data,
		   &self->seen);
	soil_free_memory();
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_SETUP(short_read)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.splice_out = variant->splice,
	};

	if (mnt_setup(_metadata, &self->m, &opts, variant))
		setup_file(_metadata, self);
}

FIXTURE_TEARDOWN(short_read)
{
	mnt_teardown(_metadata, &self->m);
}

static int shorten_reads(struct mnt *m)
{
	const struct req_match reads = { .opcode = FUSE_READ };

	return server_rule(m->ctl, &reads, RULE_SIZE, SHORT);
}

/* All of the file, as a reader sees it. */
static void read_file(struct __test_metadata *_metadata,
		      struct _test_data_short_read *self,
		      const struct _fixture_variant_short_read *variant)
{
	char *map;

	memset(self->seen, 'x', self->len);
	if (!variant->mapped) {
		EXPECT_EQ(self->len, mnt_run(&self->m, &call_pread,
					     (struct call_arg){
			.fd = self->fd, .buf = self->seen, .len = self->len }));
		return;
	}
	map = mmap(NULL, self->len, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, mnt_run(&self->m, &call_store, (struct call_arg){
		.buf = map, .to = self->seen, .len = self->len }));
}

/* How many bytes from @start on are neither the file's nor zeros. */
static int strange_bytes(struct _test_data_short_read *self)
{
	int i, count = 0;

	for (i = 0; i < self->len; i++)
		count += self->seen[i] && self->seen[i] != self->data[i];
	return count;
}

/* Also with readahead: one READ is for many pages. */
TEST_F(short_read, rest_of_short_read_is_zeros)
{
	ASSERT_EQ(0, shorten_reads(&self->m));
	read_file(_metadata, self, variant);
	EXPECT_EQ(0, strange_bytes(self)) {
		TH_LOG("the rest is uninitialized memory");
	}
	/* The short reply counts from the start of the request. */
	EXPECT_EQ(-1, first_difference(self->data, self->seen, SHORT));
	EXPECT_EQ(0, self->seen[SHORT]);
	EXPECT_EQ(self->len, kernel_size(self->fd)) {
		TH_LOG("the file is shorter now");
	}
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
}

/*
 * A broken kernel reads over dirty pages, or drops them by truncating the file.
 */
TEST_F(short_read, short_read_leaves_dirty_pages_alone)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	off_t off = 5 * self->page;

	fill_pattern(self->data + off, self->page, 2);
	ASSERT_EQ(self->page, pwrite(self->fd, self->data + off, self->page,
				     off));
	ASSERT_EQ(0, shorten_reads(&self->m));
	read_file(_metadata, self, variant);
	EXPECT_EQ(-1, first_difference(self->data + off, self->seen + off,
				       self->page));
	EXPECT_EQ(0, strange_bytes(self));
	EXPECT_EQ(self->len, kernel_size(self->fd));
	/* The control: they were dirty. */
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));

	ASSERT_EQ(0, close_copy(&self->m, self->fd));
	EXPECT_EQ(self->page, reqlog_bytes(self->m.log, &writes, REQ_ARRIVED));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen,
				self->len));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len)) {
		TH_LOG("zeros of a short read reached the server");
	}
}

/*
 * A read of a few bytes reads their page.  The next reader of that page sends
 * no READ.
 *
 * Promise: policy-09
 */
TEST_F(short_read, read_of_some_bytes_fills_the_page)
{
	struct call_arg arg = {
		.fd = self->fd, .buf = self->seen, .len = 10, .off = 77 };
	int reads;

	ASSERT_EQ(10, mnt_run(&self->m, &call_pread, arg));
	EXPECT_EQ(-1, first_difference(self->data + 77, self->seen, 10));
	reads = count_req(&self->m, FUSE_READ, REQ_ARRIVED);
	EXPECT_LE(1, reads);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	arg.off = 0;
	arg.len = self->page;
	ASSERT_EQ(self->page, mnt_run(&self->m, &call_pread, arg)) {
		TH_LOG("a page that was read is read again");
	}
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->page));
	EXPECT_EQ(reads, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
}

/*
 * The error of a READ is returned to the reader, and the page does not become
 * uptodate.
 *
 * Promise: policy-09
 */
TEST_F(short_read, failed_read_is_made_again)
{
	const struct req_match reads = { .opcode = FUSE_READ };
	struct call_arg arg = {
		.fd = self->fd, .buf = self->seen, .len = self->page };

	ASSERT_EQ(0, server_fail(self->m.ctl, &reads, ENXIO));
	EXPECT_EQ(-1, mnt_run(&self->m, &call_pread, arg));
	EXPECT_TRUE(errno == ENXIO || errno == EIO);
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	read_file(_metadata, self, variant);
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len));
}

/* The same file, on a write-through connection. */
FIXTURE(short_through)
{
	struct _test_data_short_read s;
};

FIXTURE_SETUP(short_through)
{
	const struct server_opts opts = { };

	if (mnt_setup(_metadata, &self->s.m, &opts, variant))
		setup_file(_metadata, &self->s);
}

FIXTURE_TEARDOWN(short_through)
{
	mnt_teardown(_metadata, &self->s.m);
}

/* Promise: policy-05 */
TEST_F(short_through, file_ends_where_short_read_does)
{
	struct _test_data_short_read *s = &self->s;

	ASSERT_EQ(0, shorten_reads(&s->m));
	ASSERT_EQ(s->len, kernel_size(s->fd));
	EXPECT_EQ(SHORT, pread(s->fd, s->seen, s->len, 0));
	EXPECT_EQ(-1, first_difference(s->data, s->seen, SHORT));
	EXPECT_EQ(SHORT, kernel_size(s->fd));
}

/*
 * READ is in flight when the file grows, and its reply is short, as it was made
 * before.  A broken kernel takes it for the new EOF.
 */
TEST_F(short_through, short_read_from_before_a_write_cuts_nothing_off)
{
	struct _test_data_short_read *s = &self->s;
	struct call *c;

	ASSERT_EQ(0, hold_req(&s->m, FUSE_READ));
	c = mnt_call(&s->m, &call_pread, (struct call_arg){
		.fd = s->fd, .buf = s->seen, .len = s->page });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&s->m, FUSE_READ, REQ_ARRIVED, 1));
	ASSERT_EQ(5, mnt_run(&s->m, &call_pwrite, (struct call_arg){
		.fd = s->fd, .buf = "hello", .len = 5, .off = s->len }));
	ASSERT_EQ(0, shorten_reads(&s->m));
	ASSERT_LE(1, server_release(s->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));

	EXPECT_EQ(s->len + 5, kernel_size(s->fd)) {
		TH_LOG("an old reply is taken for EOF");
	}
}

TEST_HARNESS_MAIN
