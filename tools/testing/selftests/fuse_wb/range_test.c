// SPDX-License-Identifier: GPL-2.0
/*
 * What a call that syncs part of a file sends, and waits for.
 *
 * msync(2) and a write with O_DSYNC name a range, and fsync(2) the whole file.
 * A broken kernel writes back the whole file for each: a caller that syncs a
 * page waits for data that other tasks have dirtied.  A sound one sends the
 * dirty data of the range, waits for the replies, and then sends FSYNC.
 *
 * Promise: data-integrity
 */

#include <sys/mman.h>

#include "common.h"

#define FILE_NAME	"file"
#define PAGES		64
#define FIRST		20

/*
 *   fd ------ pwrite or store: all PAGES are dirty
 *   dsync --- pwrite of one page, O_DSYNC
 */
FIXTURE(range)
{
	struct mnt m;
	ssize_t page;
	ssize_t len;
	int fd;
	int dsync;
	char *map;
	char *data;
	char *seen;
};

/* op: the syncing call; pages: how many it must send */
FIXTURE_VARIANT(range)
{
	bool writeback_cache;
	const struct call_op *op;
	int pages;
};

FIXTURE_VARIANT_ADD(range, cached_dsync) { true, &call_pwrite, 1 };

FIXTURE_VARIANT_ADD(range, cached_msync) { true, &call_msync, 1 };

FIXTURE_VARIANT_ADD(range, cached_sync_file_range)
{
	true, &call_sync_file_range, 1
};

FIXTURE_VARIANT_ADD(range, cached_fsync) { true, &call_fsync, PAGES };

FIXTURE_VARIANT_ADD(range, cached_fdatasync) { true, &call_fdatasync, PAGES };

FIXTURE_VARIANT_ADD(range, through_msync) { false, &call_msync, 1 };

FIXTURE_VARIANT_ADD(range, through_sync_file_range)
{
	false, &call_sync_file_range, 1
};

FIXTURE_VARIANT_ADD(range, through_fsync) { false, &call_fsync, PAGES };

FIXTURE_SETUP(range)
{
	const struct server_opts opts = {
		.writeback_cache = variant->writeback_cache,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->len = PAGES * self->page;
	file_setup(_metadata, &self->m, FILE_NAME, self->len, 1, &self->data,
		   &self->seen);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->dsync = mnt_open(&self->m, FILE_NAME, O_RDWR | O_DSYNC);
	ASSERT_LE(0, self->dsync);
	self->map = mmap(NULL, self->len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(range)
{
	mnt_teardown(_metadata, &self->m);
}

/* Dirty some pages, without waiting for the server's reply. */
static void dirty(struct __test_metadata *_metadata,
		  struct _test_data_range *self,
		  const struct _fixture_variant_range *variant,
		  int first, int pages)
{
	off_t off = first * self->page;

	fill_pattern(self->data + off, pages * self->page, 2);
	ASSERT_LE(0, mnt_run(&self->m, variant->writeback_cache ?
			     &call_pwrite : &call_store, (struct call_arg){
		.fd = self->fd, .off = off, .len = pages * self->page,
		.buf = self->data + off, .to = self->map + off }));
	ASSERT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
}

/* The call of the variant, for the page FIRST. */
static struct call *sync_page(struct _test_data_range *self,
			      const struct _fixture_variant_range *variant)
{
	off_t off = FIRST * self->page;
	struct call_arg arg = {
		.fd = self->fd, .off = off, .len = self->page,
		.buf = self->map + off,
		.flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			 SYNC_FILE_RANGE_WAIT_AFTER };

	if (variant->op == &call_pwrite) {
		arg.fd = self->dsync;
		arg.buf = self->data + off;
	}
	return mnt_call(&self->m, variant->op, arg);
}

TEST_F(range, sync_sends_what_it_names_and_no_more)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	struct call *c;

	dirty(_metadata, self, variant, 0, PAGES);
	c = sync_page(self, variant);
	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_LE(0, c->ret);
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(variant->pages * self->page,
		  reqlog_bytes(self->m.log, &writes, REQ_ARRIVED));

	/* The rest is still dirty, and not lost. */
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, self->len);
}

/*
 * Linux 6.12 waits for every WRITE of the file before it sends FSYNC.  The
 * control: a caller that syncs the whole file has to wait.
 *
 * Promise: fsync-range
 */
TEST_F(range, sync_waits_for_what_it_names_and_no_more)
{
	const struct req_match held = {
		.opcode = FUSE_WRITE, .end = self->page,
	};
	bool whole = variant->pages == PAGES;
	struct call *c;

	ASSERT_EQ(0, server_hold(self->m.ctl, &held));
	dirty(_metadata, self, variant, FIRST, 1);
	dirty(_metadata, self, variant, 0, 1);
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 2));
	c = sync_page(self, variant);
	ASSERT_NE(NULL, c);
	EXPECT_EQ(whole ? CALL_BLOCKED : CALL_RETURNED,
		  whole ? call_stays_blocked(&self->m, c) :
			  call_wait_returned(c));
	EXPECT_EQ(0, reqlog_find(self->m.log, &held, REQ_REPLIED, 1));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_LE(0, c->ret);
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, self->len);
}

TEST_HARNESS_MAIN
