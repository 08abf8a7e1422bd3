// SPDX-License-Identifier: GPL-2.0
/*
 * Operations on a file that do not depend on the WRITE that its server holds.
 *
 * On Linux 6.12 stat and open do not wait for WRITEs, as temporary copies are
 * sent.  A broken kernel waits for writeback of the pages in order to drop
 * them, with the directory locked.  Linux 6.12, too, waits with a page locked
 * that a reader wants, and waits in close(2) for later WRITEs, and SIGKILL does
 * not end every such wait.
 *
 * Promise: bystanders
 */

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "attr_request.h"
#include "child.h"
#include "common.h"

#define PAGE	4096
#define PAGES	4
#define LEN	(PAGES * PAGE)

/* The size that the server reports; EOF is in the first page. */
#define SHORT	100

/*
 *   map, fd: LEN bytes of "file", stored through a mapping -- WRITE --> held
 *   other: the same file
 */
FIXTURE(bystander)
{
	struct mnt m;
	char *data;
	char *seen;
	char *map;
	char path[128];
	int fd;
	int other;
};

FIXTURE_VARIANT(bystander)
{
	bool writeback_cache;
};

FIXTURE_VARIANT_ADD(bystander, cached) { .writeback_cache = true };

FIXTURE_VARIANT_ADD(bystander, through) { };

static void setup_file(struct __test_metadata *_metadata,
		       struct _test_data_bystander *self, bool writeback_cache,
		       __u32 init_flags, const void *variant)
{
	const struct server_opts opts = {
		.writeback_cache = writeback_cache,
		.init_flags = FUSE_ATOMIC_O_TRUNC | init_flags,
		.ask_always = true,
		.threads = 3,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	file_setup(_metadata, &self->m, "file", LEN, 1, &self->data,
		   &self->seen);
	snprintf(self->path, sizeof(self->path), "%s/file", self->m.dir);
	self->fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->fd);
	self->other = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->other);
	self->map = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	fill_pattern(self->data, LEN, 2);
	memcpy(self->map, self->data, LEN);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
}

FIXTURE_SETUP(bystander)
{
	setup_file(_metadata, self, variant->writeback_cache, 0, variant);
}

FIXTURE_TEARDOWN(bystander)
{
	mnt_teardown(_metadata, &self->m);
}

/*
 * Nothing so far needed a reply to WRITE; then the server has what was stored.
 */
static void check_write_was_held(struct __test_metadata *_metadata,
				 struct _test_data_bystander *self)
{
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, self->seen, LEN));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
}

/* The old pages are gone: a reader gets what the server has now. */
static void check_pages_are_dropped(struct __test_metadata *_metadata,
				    struct _test_data_bystander *self)
{
	fill_pattern(self->data, LEN, 3);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data, LEN));
	EXPECT_EQ(LEN, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->other, .buf = self->seen, .len = LEN }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN)) {
		TH_LOG("a page that should have been dropped is still cached");
	}
}

/*
 * Another client has truncated the file, and the server reports the new size.
 * With the writeback cache i_size is the kernel's.
 */
TEST_F(bystander, stat_of_a_file_that_has_shrunk_returns)
{
	const struct req_match asked = { .opcode = FUSE_GETATTR };
	long long size = variant->writeback_cache ? LEN : SHORT;

	ASSERT_EQ(0, server_rule(self->m.ctl, &asked, RULE_ATTR_SIZE, SHORT));
	EXPECT_EQ(0, mnt_run(&self->m, &call_stat, (struct call_arg){
		.buf = self->path })) {
		TH_LOG("stat: %s", strerror(errno));
	}
	ASSERT_NE(0, await_req(&self->m, FUSE_GETATTR, REQ_REPLIED, 1));
	EXPECT_EQ(size, kernel_size(self->fd));
	ASSERT_EQ(0, server_rule(self->m.ctl, &asked, RULE_ATTR_SIZE, LEN));
	check_write_was_held(_metadata, self);
	if (!variant->writeback_cache) {
		EXPECT_EQ(0, mnt_run(&self->m, &call_stat, (struct call_arg){
			.buf = self->path }));
		check_pages_are_dropped(_metadata, self);
	}
}

/*
 * The kernel has a negative dentry for the name: it sends CREATE, with the
 * directory locked.
 */
static void check_create(struct __test_metadata *_metadata,
			 struct _test_data_bystander *self, int flags)
{
	const struct req_match lookups = { .opcode = FUSE_LOOKUP };

	ASSERT_EQ(0, server_fail(self->m.ctl, &lookups, ENOENT));
	EXPECT_LE(0, mnt_run(&self->m, &call_open, (struct call_arg){
		.buf = self->path, .flags = O_RDWR | O_CREAT | flags })) {
		TH_LOG("open: %s", strerror(errno));
	}
	ASSERT_NE(0, await_req(&self->m, FUSE_CREATE, REQ_REPLIED, 1));
	/* Other tasks can take the directory lock. */
	EXPECT_EQ(0, fence(&self->m));
	check_write_was_held(_metadata, self);
	check_pages_are_dropped(_metadata, self);
}

TEST_F(bystander, create_of_a_name_that_is_there_returns)
{
	check_create(_metadata, self, 0);
}

/* Read the first byte of a mapping of its own. */
static long do_peek(const struct call_arg *arg)
{
	unsigned char *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, arg->fd,
				  0);
	long byte;

	if (map == MAP_FAILED)
		return -1;
	byte = map[0];
	munmap(map, PAGE);
	return byte;
}

static const struct call_op call_peek = { "peek", -1, do_peek };

/*
 * Another task waits for the WRITE, in order to change the page: a read needs
 * the page lock.
 */
static void check_fault(struct __test_metadata *_metadata,
			struct _test_data_bystander *self,
			const struct call_op *op, struct call_arg arg)
{
	pid_t pid = child_start(CLONE_FILES, op, arg);

	ASSERT_LT(0, pid);
	ASSERT_TRUE(child_stays_blocked(&self->m, pid, op));
	EXPECT_EQ((unsigned char)self->data[0],
		  mnt_run(&self->m, &call_peek, (struct call_arg){
			.fd = self->other })) {
		TH_LOG("the fault waits for the page lock: %s",
		       strerror(errno));
	}
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	ASSERT_LE(0, server_release(self->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_waitpid, (struct call_arg){
		.fd = pid }));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	self->data[1] = 'x';
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, self->seen, LEN));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN)) {
		TH_LOG("data that was written after the wait is not at the server");
	}
}

TEST_F(bystander, fault_beside_a_write_that_waits_returns)
{
	char x = 'x';

	check_fault(_metadata, self, &call_pwrite, (struct call_arg){
		.fd = self->fd, .buf = &x, .len = 1, .off = 1 });
}

TEST_F(bystander, fault_beside_a_store_that_waits_returns)
{
	char x = 'x';

	check_fault(_metadata, self, &call_store, (struct call_arg){
		.buf = &x, .to = self->map + 1, .len = 1 });
}

/*
 * No writeback cache: the size is the server's, and CREATE truncates at once.
 * What is cached below the size stays.
 */
FIXTURE(through)
{
	struct _test_data_bystander b;
};

FIXTURE_SETUP(through)
{
	setup_file(_metadata, &self->b, false, FUSE_EXPLICIT_INVAL_DATA, NULL);
}

FIXTURE_TEARDOWN(through)
{
	mnt_teardown(_metadata, &self->b.m);
}

TEST_F(through, create_that_truncates_returns)
{
	check_create(_metadata, &self->b, O_TRUNC);
}

/*
 * The rest of the EOF page is not part of the file, also when it grows again.
 */
TEST_F(through, file_that_has_shrunk_grows_with_zeroes)
{
	const struct req_match asked = { .opcode = FUSE_GETATTR };
	struct _test_data_bystander *b = &self->b;

	ASSERT_LE(1, server_release(b->m.ctl, 0));
	ASSERT_EQ(0, mnt_run(&b->m, &call_fsync, (struct call_arg){
		.fd = b->fd }));
	ASSERT_EQ(0, server_rule(b->m.ctl, &asked, RULE_ATTR_SIZE, SHORT));
	ASSERT_EQ(0, mnt_run(&b->m, &call_stat, (struct call_arg){
		.buf = b->path }));
	ASSERT_EQ(SHORT, kernel_size(b->fd));
	/*
	 * No task has read it again: the rest of the page is what was cached.
	 */
	EXPECT_EQ(SHORT, mnt_run(&b->m, &call_pread, (struct call_arg){
		.fd = b->other, .buf = b->seen, .len = LEN }));
	EXPECT_EQ(-1, first_difference(b->data, b->seen, SHORT));
	memset(b->data + SHORT, 0, PAGE - SHORT);
	EXPECT_EQ(-1, first_difference(b->data, b->map, PAGE));
}

/* The server has not read the WRITE yet, and gets what was stored. */
TEST_F(through, write_in_flight_is_not_cleared_at_the_new_end)
{
	const struct req_match asked = { .opcode = FUSE_GETATTR };
	struct _test_data_bystander *b = &self->b;
	struct call *c;
	char path[64];

	snprintf(path, sizeof(path),
		 "/sys/fs/fuse/connections/%u/max_background", b->m.minor);
	ASSERT_EQ(0, write_file(path, "1"));
	ASSERT_EQ(1, server_release(b->m.ctl, 1));
	ASSERT_NE(0, await_req(&b->m, FUSE_WRITE, REQ_REPLIED, 1));
	fill_pattern(b->data, LEN, 3);
	b->map[LEN - 1] = b->data[LEN - 1];
	ASSERT_EQ(0, start_writeback(&b->m, b->other));
	ASSERT_NE(0, await_req(&b->m, FUSE_WRITE, REQ_ARRIVED, 2));
	memcpy(b->map, b->data, PAGE);
	c = mnt_call(&b->m, &call_fsync, (struct call_arg){ .fd = b->fd });
	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&b->m, c));
	ASSERT_EQ(2, count_req(&b->m, FUSE_WRITE, REQ_ARRIVED));

	ASSERT_EQ(0, server_rule(b->m.ctl, &asked, RULE_ATTR_SIZE, SHORT));
	ASSERT_EQ(0, mnt_run(&b->m, &call_stat, (struct call_arg){
		.buf = b->path }));
	ASSERT_EQ(SHORT, kernel_size(b->fd));
	ASSERT_EQ(1, server_release(b->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	ASSERT_EQ(0, server_get(b->m.ctl, "file", 0, b->seen, PAGE));
	EXPECT_EQ(-1, first_difference(b->data, b->seen, PAGE));
}

/*
 * Pages that the server has truncated are still in flight, and a write beyond
 * them has to drop them first, as a reader would find them in between.
 */
TEST_F(through, write_beyond_what_was_cut_off_can_be_killed)
{
	const struct req_match asked = { .opcode = FUSE_GETATTR };
	struct _test_data_bystander *b = &self->b;
	char x = 'x';
	pid_t pid;

	ASSERT_EQ(0, server_rule(b->m.ctl, &asked, RULE_ATTR_SIZE, SHORT));
	ASSERT_EQ(0, mnt_run(&b->m, &call_stat, (struct call_arg){
		.buf = b->path }));
	ASSERT_EQ(SHORT, kernel_size(b->fd));
	pid = child_start(CLONE_FILES, &call_pwrite, (struct call_arg){
		.fd = b->fd, .buf = &x, .len = 1, .off = LEN });
	ASSERT_LT(0, pid);
	EXPECT_TRUE(child_stays_blocked(&b->m, pid, &call_pwrite));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&b->m, pid));
	EXPECT_EQ(1, count_req(&b->m, FUSE_WRITE, REQ_ARRIVED));
}

/* What a writer itself waits for, with the writeback cache. */
FIXTURE(writer)
{
	struct _test_data_bystander b;
};

FIXTURE_SETUP(writer)
{
	setup_file(_metadata, &self->b, true, 0, NULL);
}

FIXTURE_TEARDOWN(writer)
{
	mnt_teardown(_metadata, &self->b.m);
}

/* It waits for what was in flight, not for what is written meanwhile. */
TEST_F(writer, close_waits_for_no_later_write)
{
	struct _test_data_bystander *b = &self->b;
	struct call *c = mnt_call_close(&b->m, b->fd);

	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&b->m, c));
	ASSERT_EQ(1, pwrite(b->other, "x", 1, LEN));
	ASSERT_EQ(1, server_release(b->m.ctl, 1));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c)) {
		TH_LOG("close(2) waits for a WRITE of another task");
	}
	EXPECT_EQ(0, c->ret);
	EXPECT_EQ(1, count_req(&b->m, FUSE_WRITE, REQ_REPLIED));
}

/*
 * A WRITE that was queued while the file shrank ends at the new EOF, and so
 * does the data in its pages.
 */
TEST_F(writer, file_that_grows_behind_a_cropped_write_has_zeroes)
{
	struct _test_data_bystander *b = &self->b;
	struct call *c;

	ASSERT_EQ(1, server_release(b->m.ctl, 1));
	ASSERT_NE(0, await_req(&b->m, FUSE_WRITE, REQ_REPLIED, 1));
	fill_pattern(b->data, LEN, 3);
	memcpy(b->map, b->data, LEN);
	ASSERT_EQ(0, hold_req(&b->m, FUSE_SETATTR));
	c = mnt_call(&b->m, &call_ftruncate, (struct call_arg){
		.fd = b->fd, .len = SHORT });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&b->m, FUSE_SETATTR, REQ_ARRIVED, 1));
	ASSERT_EQ(0, start_writeback(&b->m, b->other));
	ASSERT_EQ(1, server_release(b->m.ctl, 1));
	ASSERT_NE(0, await_req(&b->m, FUSE_WRITE, REQ_ARRIVED, 2));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);

	ASSERT_EQ(1, mnt_run(&b->m, &call_pwrite, (struct call_arg){
		.fd = b->other, .buf = "x", .len = 1, .off = 2 * LEN }));
	EXPECT_EQ(LEN, mnt_run(&b->m, &call_pread, (struct call_arg){
		.fd = b->other, .buf = b->seen, .len = LEN }));
	memset(b->data + SHORT, 0, LEN - SHORT);
	EXPECT_EQ(-1, first_difference(b->data, b->seen, LEN)) {
		TH_LOG("a truncated page is there again");
	}
	EXPECT_EQ(1, count_req(&b->m, FUSE_WRITE, REQ_REPLIED));
}

/* It sends the dirty page of the new EOF, and waits for the reply. */
TEST_F(writer, ftruncate_that_sends_a_page_can_be_killed)
{
	struct _test_data_bystander *b = &self->b;
	pid_t pid;

	ASSERT_EQ(1, server_release(b->m.ctl, 1));
	ASSERT_NE(0, await_req(&b->m, FUSE_WRITE, REQ_REPLIED, 1));
	b->map[0] = 'x';
	pid = child_start(CLONE_FILES, &call_ftruncate, (struct call_arg){
		.fd = b->fd, .len = SHORT });
	ASSERT_LT(0, pid);
	ASSERT_NE(0, await_req(&b->m, FUSE_WRITE, REQ_ARRIVED, 2));
	EXPECT_TRUE(child_stays_blocked(&b->m, pid, &call_ftruncate));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&b->m, pid));
	EXPECT_EQ(1, count_req(&b->m, FUSE_WRITE, REQ_REPLIED));

	/* The truncation is done, and the data that was sent arrives. */
	EXPECT_EQ(SHORT, kernel_size(b->fd));
	ASSERT_EQ(1, server_release(b->m.ctl, 0));
	ASSERT_NE(0, await_req(&b->m, FUSE_WRITE, REQ_REPLIED, 2));
	b->data[0] = 'x';
	ASSERT_EQ(SHORT, server_size(b->m.ctl, "file"));
	ASSERT_EQ(0, server_get(b->m.ctl, "file", 0, b->seen, SHORT));
	EXPECT_EQ(-1, first_difference(b->data, b->seen, SHORT));
	fill_pattern(b->data, SHORT, 3);
	ASSERT_EQ(0, server_put(b->m.ctl, "file", 0, b->data, SHORT));
	EXPECT_EQ(SHORT, mnt_run(&b->m, &call_pread, (struct call_arg){
		.fd = b->other, .buf = b->seen, .len = LEN }));
	EXPECT_EQ(-1, first_difference(b->data, b->seen, SHORT)) {
		TH_LOG("the page that should have been dropped is still cached");
	}
}

TEST_HARNESS_MAIN
