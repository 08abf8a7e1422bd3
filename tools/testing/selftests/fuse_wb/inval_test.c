// SPDX-License-Identifier: GPL-2.0
/*
 * Dropping cached pages, while some of them are under writeback.
 *
 * The kernel drops pages on the server's word: a FUSE_NOTIFY_INVAL_INODE, an
 * OPEN without FOPEN_KEEP_CACHE, another mtime.  A page under writeback cannot
 * be dropped before the server has answered WRITE.  A broken kernel waits for
 * that, and so a server that notifies from its WRITE handler for itself.  A
 * sound one returns, and drops the page when the answer has come.
 *
 * Promise: inval
 */

#include "common.h"

#define LEN	(64 << 10)

/*
 *   fd: LEN dirty bytes of "file"; the server answers everything
 *
 * With threads, another one could take a request while a handler is blocked.
 */
FIXTURE(inval)
{
	struct mnt m;
	char *data;
	char *seen;
	int fd;
};

FIXTURE_VARIANT(inval)
{
	unsigned int threads;
};

FIXTURE_VARIANT_ADD(inval, single_thread) { .threads = 1 };

FIXTURE_VARIANT_ADD(inval, threads) { .threads = 3 };

FIXTURE_SETUP(inval)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.threads = variant->threads,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->data = malloc(LEN);
	self->seen = malloc(LEN);
	ASSERT_TRUE(self->data && self->seen);
	fill_pattern(self->data, LEN, 1);
	self->fd = mnt_open(&self->m, "file", O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(LEN, write(self->fd, self->data, LEN));
}

FIXTURE_TEARDOWN(inval)
{
	mnt_teardown(_metadata, &self->m);
}

/* What the server has instead is seen, so the cached pages are gone. */
static void check_pages_are_dropped(struct __test_metadata *_metadata,
				    struct _test_data_inval *self)
{
	fill_pattern(self->data, LEN, 2);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data, LEN));
	EXPECT_EQ(LEN, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = self->seen, .len = LEN }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN)) {
		TH_LOG("a page is still cached that was to be dropped");
	}
}

TEST_F(inval, inval_from_write_handler_returns)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };

	ASSERT_EQ(0, server_rule(self->m.ctl, &writes, RULE_INVAL, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd })) {
		TH_LOG("the server waits for its own answer to WRITE");
	}
	EXPECT_EQ(0, server_drop_rules(self->m.ctl));
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, self->seen, LEN));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
	EXPECT_EQ(0, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
	check_pages_are_dropped(_metadata, self);
}

/* The control: without the notification the pages stay. */
TEST_F(inval, written_pages_stay_cached)
{
	ASSERT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	EXPECT_EQ(LEN, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = self->seen, .len = LEN }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
	EXPECT_EQ(0, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
}

/* An open drops cached pages, unless the server says that they may stay. */
TEST_F(inval, open_returns_while_write_is_held)
{
	char path[128];
	long fd;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	snprintf(path, sizeof(path), "%s/file", self->m.dir);
	fd = mnt_run(&self->m, &call_open, (struct call_arg){ .buf = path });
	EXPECT_LE(0, fd) {
		TH_LOG("open: %s", strerror(errno));
	}

	/*
	 * Those under writeback are what a reader gets, until it has ended.
	 * Linux 6.12 drops them at once, and then the reader waits for WRITE.
	 */
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	EXPECT_EQ(LEN, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = self->seen, .len = LEN }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
	EXPECT_EQ(0, count_req(&self->m, FUSE_READ, REQ_ARRIVED));

	ASSERT_LE(1, server_release(self->m.ctl, 0));
	check_pages_are_dropped(_metadata, self);
}

TEST_HARNESS_MAIN
