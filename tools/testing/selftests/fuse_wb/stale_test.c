// SPDX-License-Identifier: GPL-2.0
/*
 * Replies with attributes that are older than a change of the size.
 *
 * One thread queries attributes, another one truncates the file or allocates
 * space, and the reply to the first arrives last, with the old size.  A sound
 * kernel detects that it is stale.  A broken one goes back to the old size, and
 * drops dirty data beyond it or shows bytes that are not part of the file.
 *
 * A reply may also arrive while the change is in flight, with the new size too
 * early.
 *
 * Promise: 06a7c3c2781, 0ab08f576b9e
 */

#include <sys/mman.h>

#include "common.h"
#include "attr_request.h"

#define FILE_NAME	"file"
#define PAGES		8

/*
 *   a thread: statx ---- GETATTR ---> held, reply with a size set by the test
 *   another:  ftruncate, fallocate -> SETATTR, FALLOCATE
 *   map ----- store ----> the last page of the new size
 *
 * data: what the file has to hold in the end, size bytes of it
 */
FIXTURE(stale)
{
	struct mnt m;
	ssize_t page;
	off_t old;
	off_t size;
	int fd;
	char *map;
	char *data;
	char *seen;
	struct call_arg arg;
};

FIXTURE_VARIANT(stale)
{
	bool writeback_cache;
	const struct call_op *op;
	__u32 opcode;
	int pages;
};

FIXTURE_VARIANT_ADD(stale, cached_truncated)
{
	true, &call_ftruncate, FUSE_SETATTR, 2
};

FIXTURE_VARIANT_ADD(stale, cached_extended)
{
	true, &call_ftruncate, FUSE_SETATTR, 6
};

FIXTURE_VARIANT_ADD(stale, cached_allocated)
{
	true, &call_fallocate, FUSE_FALLOCATE, 6
};

FIXTURE_VARIANT_ADD(stale, through_truncated)
{
	false, &call_ftruncate, FUSE_SETATTR, 2
};

FIXTURE_VARIANT_ADD(stale, through_extended)
{
	false, &call_ftruncate, FUSE_SETATTR, 6
};

FIXTURE_VARIANT_ADD(stale, through_allocated)
{
	false, &call_fallocate, FUSE_FALLOCATE, 6
};

FIXTURE_SETUP(stale)
{
	const struct server_opts opts = {
		.writeback_cache = variant->writeback_cache,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->old = PAGES / 2 * self->page;
	self->size = variant->pages * self->page - 100;
	file_setup(_metadata, &self->m, FILE_NAME, self->old, 1, &self->data,
		   &self->seen);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->map = mmap(NULL, PAGES * self->page, PROT_READ | PROT_WRITE,
			 MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	/* For ftruncate and fallocate alike. */
	self->arg = (struct call_arg){ .fd = self->fd, .len = self->size };
}

FIXTURE_TEARDOWN(stale)
{
	mnt_teardown(_metadata, &self->m);
}

static void check_new_size(struct __test_metadata *_metadata,
			   struct _test_data_stale *self)
{
	EXPECT_EQ(self->size, kernel_size(self->fd)) {
		TH_LOG("a stale reply has undone the change");
	}
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, self->size);
}

TEST_F(stale, reply_from_before_is_ignored)
{
	const struct req_match getattrs = { .opcode = FUSE_GETATTR };
	off_t off = self->size - 200;
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_GETATTR));
	c = mnt_call(&self->m, &call_statx, (struct call_arg){
		.fd = self->fd });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_GETATTR, REQ_ARRIVED, 1));
	ASSERT_EQ(0, mnt_run(&self->m, variant->op, self->arg));
	if (self->size < self->old)
		memset(self->data + self->size, 0, self->old - self->size);
	fill_pattern(self->data + off, 200, 2);
	ASSERT_EQ(0, mnt_run(&self->m, &call_store, (struct call_arg){
		.buf = self->data + off, .to = self->map + off, .len = 200 }));

	ASSERT_EQ(0, server_rule(self->m.ctl, &getattrs, RULE_ATTR_SIZE,
				 self->old));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	check_new_size(_metadata, self);
}

TEST_F(stale, reply_while_change_is_under_way_is_ignored)
{
	const struct req_match getattrs = { .opcode = FUSE_GETATTR };
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, variant->opcode));
	c = mnt_call(&self->m, variant->op, self->arg);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, variant->opcode, REQ_ARRIVED, 1));
	ASSERT_EQ(0, server_rule(self->m.ctl, &getattrs, RULE_ATTR_SIZE,
				 self->size));
	EXPECT_EQ(0, mnt_run(&self->m, &call_statx, (struct call_arg){
		.fd = self->fd }));
	EXPECT_NE(0, find_req(&self->m, FUSE_GETATTR, REQ_ARRIVED, 1));
	EXPECT_EQ(self->old, kernel_size(self->fd)) {
		TH_LOG("the size changes before the reply to the change");
	}
	EXPECT_EQ(-1, first_difference(self->data, self->map, self->old));

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	if (self->size < self->old)
		memset(self->data + self->size, 0, self->old - self->size);
	check_new_size(_metadata, self);
}

TEST_HARNESS_MAIN
