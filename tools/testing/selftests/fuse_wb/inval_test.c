// SPDX-License-Identifier: GPL-2.0
/*
 * Dropping cached pages, while some of them are under writeback.
 *
 * The kernel drops pages when the server requires it: by
 * FUSE_NOTIFY_INVAL_INODE, an OPEN without FOPEN_KEEP_CACHE, or another mtime.
 * A page under writeback cannot be dropped before the reply to WRITE.  A broken
 * kernel waits for it, so that a server that notifies from its WRITE handler
 * waits for itself.  A correct one returns, and drops the page when the reply
 * has come.
 *
 * Promise: inval
 */

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "child.h"
#include "common.h"
#include "writer.h"

#define LEN	(64 << 10)

/*
 *   fd: LEN dirty bytes of "file"; the server replies to everything
 *
 * With several threads, another one could take a request while a handler is
 * blocked.
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

/* The server's new bytes are read, so the cached pages are gone. */
static void check_pages_are_dropped(struct __test_metadata *_metadata,
				    struct _test_data_inval *self)
{
	fill_pattern(self->data, LEN, 2);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data, LEN));
	EXPECT_EQ(LEN, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = self->seen, .len = LEN }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN)) {
		TH_LOG("a page that should have been dropped is still cached");
	}
}

TEST_F(inval, inval_from_write_handler_returns)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };

	ASSERT_EQ(0, server_rule(self->m.ctl, &writes, RULE_INVAL, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd })) {
		TH_LOG("the server waits for its own reply to WRITE");
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

/* An open drops cached pages, unless the reply has FOPEN_KEEP_CACHE. */
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
	 * A reader gets the pages under writeback until that has ended.  Linux
	 * 6.12 drops them at once, and then the reader waits for WRITE.
	 */
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	EXPECT_EQ(LEN, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = self->seen, .len = LEN }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
	EXPECT_EQ(0, count_req(&self->m, FUSE_READ, REQ_ARRIVED));

	ASSERT_LE(1, server_release(self->m.ctl, 0));
	check_pages_are_dropped(_metadata, self);
}

/* Where the other task writes, and what. */
#define OTHER_AT	100
#define OTHER_BYTE	0xfe
/* Beyond EOF, in another page. */
#define GROW_AT		(2 * LEN)

/*
 *   fd: a dirty page of "file" --- WRITE, held
 *   another one: holds the lock of this page, and waits for the WRITE
 *   server: changes the file, has the page dropped, replies to the WRITE
 *
 * A reply without writing is equivalent to a WRITE before the change.
 */
FIXTURE(locked_page)
{
	struct mnt m;
	char *data;
	char *seen;
	char *map;
	char byte;
	size_t page;
	int fd;
	struct req write;
};

enum lock_holder {
	HELD_BY_WRITE,
	HELD_BY_FAULT,
	HELD_BY_GROWTH,
};

/* early: the page is to be dropped before the other task comes */
FIXTURE_VARIANT(locked_page)
{
	enum lock_holder holder;
	bool early;
};

FIXTURE_VARIANT_ADD(locked_page, write) { .holder = HELD_BY_WRITE };

FIXTURE_VARIANT_ADD(locked_page, write_after)
{
	.holder = HELD_BY_WRITE, .early = true,
};

FIXTURE_VARIANT_ADD(locked_page, fault) { .holder = HELD_BY_FAULT };

FIXTURE_VARIANT_ADD(locked_page, fault_after)
{
	.holder = HELD_BY_FAULT, .early = true,
};

FIXTURE_VARIANT_ADD(locked_page, growth) { .holder = HELD_BY_GROWTH };

FIXTURE_VARIANT_ADD(locked_page, growth_after)
{
	.holder = HELD_BY_GROWTH, .early = true,
};

FIXTURE_SETUP(locked_page)
{
	const struct server_opts opts = { .writeback_cache = true,
					  .threads = 2 };
	size_t len;
	int seq;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->byte = (char)OTHER_BYTE;
	/* The EOF page is not completely inside the file. */
	len = self->page - 8;
	file_setup(_metadata, &self->m, "file", len, 1, &self->data,
		   &self->seen);
	self->fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->fd);
	self->map = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	ASSERT_EQ(self->data[0], self->map[0]);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	fill_pattern(self->data, len, 2);
	ASSERT_EQ((ssize_t)len, pwrite(self->fd, self->data, len, 0));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	seq = await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1);
	ASSERT_NE(0, seq);
	self->write = self->m.log->ev[seq - 1].req;
	/* It stays held; others get their replies. */
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
}

FIXTURE_TEARDOWN(locked_page)
{
	mnt_teardown(_metadata, &self->m);
}

static const struct call_op *holder_op(enum lock_holder holder)
{
	return holder == HELD_BY_FAULT ? &call_store : &call_pwrite;
}

static struct call_arg holder_arg(struct _test_data_locked_page *self,
				  enum lock_holder holder)
{
	return (struct call_arg){
		.fd = self->fd, .buf = &self->byte, .len = 1,
		.to = self->map + OTHER_AT,
		.off = holder == HELD_BY_GROWTH ? GROW_AT : OTHER_AT };
}

/* The server has other bytes, and requests that the page be dropped. */
static void change_file(struct __test_metadata *_metadata,
			struct _test_data_locked_page *self)
{
	fill_pattern(self->data, self->page - 8, 3);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data,
				self->page - 8));
	EXPECT_EQ(0, server_inval(self->m.ctl, self->write.node, 0, 0)) {
		TH_LOG("the server cannot invalidate while it holds a WRITE");
	}
}

static void reply_to_write(struct __test_metadata *_metadata,
			   struct _test_data_locked_page *self)
{
	const struct {
		struct fuse_out_header out;
		struct fuse_write_out write;
	} reply = {
		.out = { .len = sizeof(reply), .unique = self->write.unique },
		.write = { .size = self->write.size },
	};

	ASSERT_EQ(0, server_raw(self->m.ctl, &reply, sizeof(reply)));
}

/* File, mapping and server all have the server's new bytes. */
static void check_page(struct __test_metadata *_metadata,
		       struct _test_data_locked_page *self)
{
	size_t len = self->page - 8;

	/* Otherwise the mapping cannot be read, either. */
	ASSERT_EQ((long)len, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = self->seen, .len = len }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, len)) {
		TH_LOG("a page that should have been dropped is still cached");
	}
	EXPECT_EQ(-1, first_difference(self->data, self->map, len));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, self->seen, len));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, len)) {
		TH_LOG("the server's data is overwritten with older bytes");
	}
}

TEST_F(locked_page, inval_is_not_forgotten)
{
	pid_t pid;

	if (variant->early)
		change_file(_metadata, self);
	pid = child_start(CLONE_FILES, holder_op(variant->holder),
			  holder_arg(self, variant->holder));
	ASSERT_LT(0, pid);
	/*
	 * A task that need not wait for the WRITE does not hold the lock,
	 * either.
	 */
	ASSERT_LE(0, task_settles(&self->m, pid));
	if (!variant->early)
		change_file(_metadata, self);
	reply_to_write(_metadata, self);
	EXPECT_EQ(0, mnt_run(&self->m, &call_waitpid, (struct call_arg){
		.fd = pid }));
	if (variant->holder != HELD_BY_GROWTH)
		self->data[OTHER_AT] = self->byte;
	check_page(_metadata, self);
}

/* It holds the lock when it is killed, and leaves the page as it was. */
TEST_F(locked_page, inval_is_not_forgotten_when_the_other_one_is_killed)
{
	int gone;
	pid_t pid;

	if (variant->early)
		change_file(_metadata, self);
	pid = child_start(CLONE_FILES, holder_op(variant->holder),
			  holder_arg(self, variant->holder));
	ASSERT_LT(0, pid);
	gone = task_settles(&self->m, pid);
	ASSERT_LE(0, gone);
	if (!variant->early)
		change_file(_metadata, self);
	if (!gone) {
		ASSERT_EQ(0, kill(pid, SIGKILL));
		EXPECT_TRUE(child_was_killed(&self->m, pid));
	}
	reply_to_write(_metadata, self);
	check_page(_metadata, self);
}

TEST_HARNESS_MAIN
