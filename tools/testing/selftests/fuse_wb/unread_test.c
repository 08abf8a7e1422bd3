// SPDX-License-Identifier: GPL-2.0
/*
 * Dropping a page with a READ in flight.
 *
 * A page is locked from READ until the reply.  A broken kernel, such as Linux 6.12,
 * waits for the page lock to drop the page, and SIGKILL does not end that: a server
 * that invalidates a page with a READ in flight waits for itself, and a task that
 * opens or truncates the file waits for another task's READ.  A sound kernel discards
 * the data of the reply, as it may be older than the invalidation, and reads again.
 *
 * Promise: unread
 */

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "child.h"
#include "common.h"

#define PAGE	4096

/* The size of the file after it is truncated. */
#define SHORT	100

enum reader {
	BY_READ,
	BY_FAULT,
	BY_WRITE,
};

/*
 *   fd: one page of "file" --- READ, held
 *   other: the same file, used by another task
 */
FIXTURE(unread)
{
	struct mnt m;
	char *data;
	char *old;
	char *seen;
	char *map;
	char path[128];
	int fd;
	int other;
	struct call *c;
	struct req read;
};

FIXTURE_VARIANT(unread)
{
	enum reader reader;
};

/*
 * With readahead; without it; for the rest of a page that is partially written.
 */
FIXTURE_VARIANT_ADD(unread, read) { .reader = BY_READ };

FIXTURE_VARIANT_ADD(unread, fault) { .reader = BY_FAULT };

FIXTURE_VARIANT_ADD(unread, write) { .reader = BY_WRITE };

FIXTURE_SETUP(unread)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.threads = 3,
	};
	int seq;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	file_setup(_metadata, &self->m, "file", PAGE, 1, &self->data,
		   &self->seen);
	self->old = malloc(PAGE);
	ASSERT_NE(NULL, self->old);
	memcpy(self->old, self->data, PAGE);
	snprintf(self->path, sizeof(self->path), "%s/file", self->m.dir);
	self->fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->fd);
	self->other = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->other);
	self->map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	ASSERT_EQ(0, madvise(self->map, PAGE, MADV_RANDOM));

	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	if (variant->reader == BY_READ)
		self->c = mnt_call(&self->m, &call_pread, (struct call_arg){
			.fd = self->fd, .buf = self->seen, .len = PAGE });
	else if (variant->reader == BY_FAULT)
		self->c = mnt_call(&self->m, &call_store, (struct call_arg){
			.buf = self->map, .to = self->seen, .len = PAGE });
	else
		self->c = mnt_call(&self->m, &call_pwrite, (struct call_arg){
			.fd = self->fd, .buf = "x", .len = 1, .off = 1 });
	ASSERT_NE(NULL, self->c);
	seq = await_req(&self->m, FUSE_READ, REQ_ARRIVED, 1);
	ASSERT_NE(0, seq);
	self->read = self->m.log->ev[seq - 1].req;
	/* The READ is held; other requests get replies. */
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
}

FIXTURE_TEARDOWN(unread)
{
	mnt_teardown(_metadata, &self->m);
}

/* The server has other bytes from now on, and sends an invalidation. */
static void change_file(struct __test_metadata *_metadata,
			struct _test_data_unread *self)
{
	fill_pattern(self->data, PAGE, 2);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data, PAGE));
	EXPECT_EQ(0, server_inval(self->m.ctl, self->read.node, 0, 0)) {
		TH_LOG("the server cannot invalidate while it has a READ");
	}
}

/* The READ was carried out before that. */
static void reply_to_read(struct __test_metadata *_metadata,
			  struct _test_data_unread *self)
{
	struct {
		struct fuse_out_header out;
		char data[PAGE];
	} reply = {
		.out = { .len = sizeof(reply), .unique = self->read.unique },
	};

	ASSERT_EQ((__u64)PAGE, self->read.size);
	memcpy(reply.data, self->old, PAGE);
	ASSERT_EQ(0, server_raw(self->m.ctl, &reply, sizeof(reply)));
	EXPECT_EQ(CALL_RETURNED, call_wait_returned(self->c));
}

/* Readers after the invalidation get the server's new bytes. */
static void check_new_bytes(struct __test_metadata *_metadata,
			    struct _test_data_unread *self, size_t len)
{
	memset(self->seen, 0, PAGE);
	EXPECT_EQ((long)len, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->other, .buf = self->seen, .len = PAGE }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, len)) {
		TH_LOG("data that was read before the invalidation is cached");
	}
	memset(self->seen, 0, PAGE);
	EXPECT_EQ(0, mnt_run(&self->m, &call_store, (struct call_arg){
		.buf = self->map, .to = self->seen, .len = PAGE }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, len));
}

TEST_F(unread, inval_does_not_wait_and_is_not_forgotten)
{
	change_file(_metadata, self);
	EXPECT_EQ(0, count_req(&self->m, FUSE_READ, REQ_REPLIED));
	reply_to_read(_metadata, self);
	if (variant->reader == BY_WRITE) {
		/* The page is sent with the byte, and is dropped. */
		EXPECT_EQ(1, self->c->ret);
		EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
			.fd = self->fd }));
		ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, self->seen,
					PAGE));
		EXPECT_EQ('x', self->seen[1]);
		ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data,
					PAGE));
	}
	check_new_bytes(_metadata, self, PAGE);
}

/* The control: without the notification the data of the reply is cached. */
TEST_F(unread, reply_stays_cached)
{
	reply_to_read(_metadata, self);
	fill_pattern(self->data, PAGE, 2);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data, PAGE));
	memcpy(self->data, self->old, PAGE);
	if (variant->reader == BY_WRITE)
		self->data[1] = 'x';
	check_new_bytes(_metadata, self, PAGE);
	EXPECT_EQ(1, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
}

TEST_F(unread, open_does_not_wait)
{
	fill_pattern(self->data, PAGE, 2);
	if (variant->reader != BY_WRITE)
		ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data,
					PAGE));
	EXPECT_LE(0, mnt_run(&self->m, &call_open, (struct call_arg){
		.buf = self->path })) {
		TH_LOG("open waits for a READ of another task: %s",
		       strerror(errno));
	}
	reply_to_read(_metadata, self);
	if (variant->reader != BY_WRITE)
		check_new_bytes(_metadata, self, PAGE);
}

/* A writer holds the inode lock: that is another wait. */
TEST_F(unread, truncation_does_not_wait)
{
	if (variant->reader == BY_WRITE)
		return;
	EXPECT_EQ(0, mnt_run(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->other, .len = SHORT })) {
		TH_LOG("ftruncate waits for a READ of another task: %s",
		       strerror(errno));
	}
	reply_to_read(_metadata, self);
	/* Truncated data does not come back. */
	EXPECT_EQ(0, mnt_run(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->other, .len = PAGE }));
	memset(self->data + SHORT, 0, PAGE - SHORT);
	check_new_bytes(_metadata, self, PAGE);
}

TEST_F(unread, write_to_the_page_can_be_killed)
{
	pid_t pid;

	if (variant->reader == BY_WRITE)
		return;
	pid = child_start(CLONE_FILES, &call_pwrite, (struct call_arg){
		.fd = self->other, .buf = "y", .len = 1 });
	ASSERT_LT(0, pid);
	EXPECT_TRUE(child_stays_blocked(&self->m, pid, &call_pwrite));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&self->m, pid));
	reply_to_read(_metadata, self);
	check_new_bytes(_metadata, self, PAGE);
}

/*
 *   fd: one page of "file", not cached
 *   server: one thread, which sends a notification before it replies to READ
 */
FIXTURE(notifier)
{
	struct mnt m;
	char *data;
	char *seen;
	int fd;
};

FIXTURE_SETUP(notifier)
{
	const struct server_opts opts = { .writeback_cache = true };

	if (!mnt_setup(_metadata, &self->m, &opts, NULL))
		return;
	file_setup(_metadata, &self->m, "file", PAGE, 1, &self->data,
		   &self->seen);
	self->fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(notifier)
{
	mnt_teardown(_metadata, &self->m);
}

/*
 * The data of each READ is stale when it arrives: the reader gets it
 * nevertheless.
 */
TEST_F(notifier, inval_from_read_handler_returns)
{
	const struct req_match reads = { .opcode = FUSE_READ };
	int sent;

	ASSERT_EQ(0, server_rule(self->m.ctl, &reads, RULE_INVAL, 0));
	EXPECT_EQ(PAGE, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = self->seen, .len = PAGE })) {
		TH_LOG("the server waits for its own reply to READ");
	}
	EXPECT_EQ(-1, first_difference(self->data, self->seen, PAGE));
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	sent = count_req(&self->m, FUSE_READ, REQ_ARRIVED);
	fill_pattern(self->data, PAGE, 2);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data, PAGE));
	EXPECT_EQ(PAGE, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = self->seen, .len = PAGE }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, PAGE));
	EXPECT_EQ(sent + 1, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
}

/* It waits for itself, but exits when it is killed, and so does its client. */
TEST_F(notifier, server_that_stores_in_read_handler_can_be_killed)
{
	const struct req_match reads = { .opcode = FUSE_READ };
	__u64 deadline = wait_deadline();
	struct call *c;

	ASSERT_EQ(0, server_rule(self->m.ctl, &reads, RULE_STORE, 0));
	c = mnt_call(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = self->seen, .len = PAGE });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
	/*
	 * It does not sleep as a server waiting for requests does: it can be
	 * killed, or not.
	 */
	while (task_state(self->m.server, self->m.server) != 'D') {
		ASSERT_GT(deadline, now_usec()) {
			TH_LOG("the server was expected to wait for the page");
		}
	}
	ASSERT_EQ(0, kill(self->m.server, SIGKILL));
	EXPECT_EQ(CALL_RETURNED, call_wait_returned(c)) {
		TH_LOG("the server that was killed still has /dev/fuse open");
	}
	EXPECT_EQ(-1, c->ret);
}

TEST_HARNESS_MAIN
