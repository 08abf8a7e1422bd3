// SPDX-License-Identifier: GPL-2.0
/*
 * Short replies to direct reads of a file that changes meanwhile.
 *
 * With the writeback cache the server may not know the file size, so a short
 * reply may mean a hole, and an asynchronous read is filled with zeroes: no
 * caller reads the rest.  A sound kernel fills what was a hole when the READ
 * was sent and is still part of the file.  A broken one uses i_size at the time
 * of the reply, and returns zeroes in place of bytes that were written
 * meanwhile, or beyond the EOF of a file that was truncated.
 *
 * Promise: policy-14, direct-aio
 */

#include "aio.h"
#include "common.h"

#define FILE_NAME	"file"
#define PAGES		4

/*
 *   fd ------ write, ftruncate --- page cache
 *   direct -- read --------------- READ, held
 *
 * data: what the file holds, up to its size
 */
FIXTURE(short_read)
{
	struct mnt m;
	ssize_t page;
	int fd;
	int direct;
	char *data;
	char *seen;
};

/* @submit: the same call, when it blocks before READ is sent */
FIXTURE_VARIANT(short_read)
{
	const struct call_op *read;
	const struct call_op *submit;
};

FIXTURE_VARIANT_ADD(short_read, sync) { &call_pread, &call_pread };

FIXTURE_VARIANT_ADD(short_read, libaio)
{
	&call_aio_pread, &call_aio_pread_submit
};

FIXTURE_VARIANT_ADD(short_read, io_uring)
{
	&call_uring_pread, &call_uring_pread
};

FIXTURE_SETUP(short_read)
{
	const struct server_opts opts = {
		.writeback_cache = true, .async_dio = true };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->data = aligned_alloc(self->page, PAGES * self->page);
	self->seen = aligned_alloc(self->page, PAGES * self->page);
	ASSERT_TRUE(self->data && self->seen);
	fill_pattern(self->data, PAGES * self->page, 1);
	memset(self->seen, 0, PAGES * self->page);
}

FIXTURE_TEARDOWN(short_read)
{
	mnt_teardown(_metadata, &self->m);
}

static void open_file(struct __test_metadata *_metadata,
		      struct _test_data_short_read *self, size_t len)
{
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->data, len));
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->direct = mnt_open(&self->m, FILE_NAME, O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->direct);
}

static struct call *start_read(struct _test_data_short_read *self,
			       const struct call_op *read, size_t len)
{
	return mnt_call(&self->m, read, (struct call_arg){
		.fd = self->direct, .len = len, .buf = self->seen });
}

/* It has returned at least @want bytes, all of them the file's. */
static void check_read(struct __test_metadata *_metadata,
		       struct _test_data_short_read *self, struct call *c,
		       long want)
{
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_LE(want, c->ret);
	EXPECT_EQ(-1, first_difference(self->data, self->seen, c->ret)) {
		TH_LOG("%ld bytes were read, and not those of the file",
		       c->ret);
	}
}

/*
 * A synchronous caller may go on with appended data, and no caller gets zeroes.
 */
TEST_F(short_read, append_during_read_is_no_hole)
{
	struct call *c;

	open_file(_metadata, self, 100);
	/* So that the cached write needs no READ. */
	ASSERT_EQ(1, pread(self->fd, self->seen, 1, 0));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	c = start_read(self, variant->read, self->page);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 2));
	ASSERT_EQ(200, pwrite(self->fd, self->data + 100, 200, 100));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	check_read(_metadata, self, c, 100);
	if (variant->read != &call_pread)
		EXPECT_EQ(100, c->ret) {
			TH_LOG("the file ended at 100 when READ was sent");
		}
}

/*
 * The file grows after the read has written back its range, when the data was not
 * dirty yet, and before READ is sent, when its size is known.
 */
TEST_F(short_read, append_before_read_is_no_hole)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	struct call *c, *w[PAGES];
	int i, arrived;

	open_file(_metadata, self, 100);
	ASSERT_EQ(self->page, pwrite(self->fd, self->data, self->page, 0));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	c = start_read(self, variant->submit, PAGES * self->page);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	/* The number of its writeback passes does not matter. */
	for (i = 1; i < PAGES && !find_req(&self->m, FUSE_READ, REQ_ARRIVED, 1);
	     i++) {
		w[i] = mnt_call(&self->m, &call_pwrite, (struct call_arg){
			.fd = self->fd, .buf = self->data + i * self->page,
			.off = i * self->page, .len = self->page });
		ASSERT_NE(NULL, w[i]);
		/* On Linux 6.12 it waits for the WRITE. */
		ASSERT_NE(CALL_LOST, call_wait_blocked(w[i]));
		arrived = count_req(&self->m, 0, REQ_ARRIVED);
		ASSERT_LE(0, server_release_match(self->m.ctl, &writes));
		ASSERT_NE(0, await_req(&self->m, 0, REQ_ARRIVED, arrived + 1));
	}
	EXPECT_NE(0, find_req(&self->m, FUSE_READ, REQ_ARRIVED, 1)) {
		TH_LOG("READ waits for data that was written after it started");
	}
	ASSERT_LE(0, server_release(self->m.ctl, 0));
	check_read(_metadata, self, c, self->page);
	while (--i > 0) {
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(w[i]));
		EXPECT_EQ(self->page, w[i]->ret);
	}
}

/* Zeroes beyond EOF were never part of the file. */
TEST_F(short_read, truncation_during_read_leaves_no_hole)
{
	struct call *c;

	open_file(_metadata, self, PAGES * self->page);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	c = start_read(self, variant->read, PAGES * self->page);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
	ASSERT_EQ(0, mnt_run(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd, .len = self->page }));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	check_read(_metadata, self, c, self->page);
	EXPECT_EQ(self->page, c->ret);
}

/* The server has truncated the file, and the kernel does not know yet. */
TEST_F(short_read, truncation_in_flight_leaves_no_hole)
{
	const struct req_match reads = { .opcode = FUSE_READ };
	struct stat st = { .st_size = self->page };
	struct call *c, *t;

	open_file(_metadata, self, PAGES * self->page);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	c = start_read(self, variant->read, PAGES * self->page);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
	t = mnt_call(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd, .len = self->page });
	ASSERT_NE(NULL, t);
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1));
	ASSERT_EQ(0, server_setattr(self->m.ctl, FILE_NAME, &st, FATTR_SIZE));
	ASSERT_EQ(1, server_release_match(self->m.ctl, &reads));
	if (variant->read != &call_pread) {
		check_read(_metadata, self, c, self->page);
		EXPECT_EQ(self->page, c->ret);
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_SETATTR, REQ_REPLIED, 1));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(t));
	EXPECT_EQ(0, t->ret);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
}

TEST_HARNESS_MAIN
