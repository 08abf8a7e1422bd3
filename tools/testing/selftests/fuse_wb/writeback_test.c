// SPDX-License-Identifier: GPL-2.0
/*
 * Writeback to a server that holds its replies.
 *
 * With the writeback cache, write(2) returns once the bytes are in the page
 * cache and WRITE requests carry them to the server later.  How long that takes
 * is up to the server.  Linux 6.12 copies each page before it sends it and ends
 * writeback on the page at once; without the copies, a page is under writeback
 * until the server has replied to its WRITE.
 *
 * In a sound kernel only callers wait that need the data at the server (fsync,
 * close, sync_file_range) and no others (sync, read).  A broken one sends FSYNC
 * or FLUSH before the reply to WRITE, returns early, or lets uninvolved tasks
 * wait for the server.
 *
 * Tests compare positions in the server's log.  None compares times.
 */

#include "common.h"

#define FILE_NAME	"file"
#define MAX_WRITE	(128 << 10)

/* Four WRITEs, the last of which ends within a page. */
#define BIG_LEN		(3 * MAX_WRITE + 4096 + 123)

/* Many times the readahead window, plus part of a page. */
#define COLD_LEN	((1 << 20) + 4096 + 123)

/*
 *      test                        kernel                    server
 *
 *   fd  --.
 *         +-- write, read --> page cache of "file"
 *   fd2 --'                          |
 *   a thread: fsync, ...             +------ WRITE ----->  held, or carried
 *     ^                              +------ FSYNC ----->  out on "file"
 *     | blocked? returned?           '<----- reply ------    |
 *     |                                                      v
 *   test <-------------- what came and went, in order ---- log
 */
FIXTURE(writeback)
{
	struct mnt m;
	ssize_t page;
	int fd;
	int fd2;
	char *data;
	char *seen;
};

FIXTURE_SETUP(writeback)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.max_write = MAX_WRITE,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->data = malloc(COLD_LEN);
	self->seen = malloc(COLD_LEN + 1);
	ASSERT_TRUE(self->data && self->seen);
	fill_pattern(self->data, COLD_LEN, 1);
	/* An open drops cached pages: open both before there are any. */
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
	self->fd2 = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd2);
}

/*
 * Descriptors that are open are closed at exit, when the connection is long
 * aborted.
 */
FIXTURE_TEARDOWN(writeback)
{
	mnt_teardown(_metadata, &self->m);
}

/*
 * A broken kernel waits in readahead for the folios that readahead itself has
 * locked, mistaking them for folios under writeback: read never returns.
 *
 * Promise: reads
 */
TEST_F(writeback, plain_read_completes)
{
	long pages = COLD_LEN / self->page;
	int fd;

	ASSERT_EQ(0, server_put(self->m.ctl, "cold", 0, self->data, COLD_LEN));
	fd = mnt_open(&self->m, "cold", O_RDONLY);
	ASSERT_LE(0, fd);

	/* One byte more than there is, to see EOF. */
	ASSERT_EQ(COLD_LEN, mnt_run(&self->m, &call_read_all, (struct call_arg){
		.fd = fd, .buf = self->seen, .len = COLD_LEN + 1 }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, COLD_LEN));

	EXPECT_GT(pages / 2, count_req(&self->m, FUSE_READ, REQ_ARRIVED)) {
		TH_LOG("READs were small: no readahead, nothing was tested");
	}
}

/*
 * The same with dirty pages between the cold ones.  A broken kernel waits in
 * readahead until no page of the range is dirty, and nothing writes them back.
 *
 * Promise: reads
 */
TEST_F(writeback, read_beside_dirty_pages_completes)
{
	off_t off;
	int fd;

	ASSERT_EQ(0, server_put(self->m.ctl, "cold", 0, self->data, COLD_LEN));
	fd = mnt_open(&self->m, "cold", O_RDWR);
	ASSERT_LE(0, fd);
	for (off = 5 * self->page; off < 1 << 20; off += 24 * self->page) {
		fill_pattern(self->data + off, self->page, 2);
		ASSERT_EQ(self->page, pwrite(fd, self->data + off, self->page,
					     off));
	}

	ASSERT_EQ(COLD_LEN, mnt_run(&self->m, &call_read_all, (struct call_arg){
		.fd = fd, .buf = self->seen, .len = COLD_LEN + 1 }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, COLD_LEN));

	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED)) {
		TH_LOG("pages were no longer dirty: nothing was tested");
	}
}

/*
 * A broken kernel sends FSYNC before the server has taken the data.
 *
 * Promise: data-integrity
 */
TEST_F(writeback, fsync_waits_for_held_write)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(self->page, write(self->fd, self->data, self->page));
	c = mnt_call(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd });
	ASSERT_NE(NULL, c);

	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c)) {
		TH_LOG("fsync did not wait for the reply to WRITE");
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_FSYNC, REQ_ARRIVED, 1)) {
		TH_LOG("FSYNC was sent before the reply to WRITE");
	}

	/* The control: this is the reply that fsync was waiting for. */
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret) {
		TH_LOG("fsync: %s", strerror(c->err));
	}
	EXPECT_LT(find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
		  await_req(&self->m, FUSE_FSYNC, REQ_ARRIVED, 1));
}

/*
 * sync(2) promises to start writeback, and must not depend on a server that
 * any user may run.  A broken kernel waits for the folios under writeback.
 *
 * Promise: sync-2
 */
TEST_F(writeback, sync_does_not_wait_for_held_write)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(self->page, write(self->fd, self->data, self->page));

	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ })) {
		TH_LOG("sync(2) waits for the reply to WRITE");
	}
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));

	/* The control: a caller that syncs this file does wait. */
	c = mnt_call(&self->m, &call_close, (struct call_arg){
		.fd = self->fd });
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
}

/*
 * A broken kernel waits for the server, or sends READ for bytes it lacks yet.
 *
 * Promise: reads
 */
TEST_F(writeback, page_under_writeback_can_be_read)
{
	ssize_t len = 4 * self->page;
	int cold;

	ASSERT_EQ(0, server_put(self->m.ctl, "cold", 0, self->data, len));
	cold = mnt_open(&self->m, "cold", O_RDONLY);
	ASSERT_LE(0, cold);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(len, write(self->fd, self->data, len));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));

	EXPECT_EQ(len, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd2, .buf = self->seen, .len = len })) {
		TH_LOG("reading pages under writeback: %s", strerror(errno));
	}
	EXPECT_EQ(-1, first_difference(self->data, self->seen, len));
	EXPECT_EQ(0, find_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));

	/* The control: a READ that is needed is sent and logged. */
	EXPECT_EQ(len, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = cold, .buf = self->seen, .len = len }));
	EXPECT_NE(0, find_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
}

/*
 * A kernel that copies pages, as 6.12 does, ends writeback when the copies are
 * made: a task that waits for writeback learns nothing about the server.
 *
 * Promise: folio-states
 */
TEST_F(writeback, sync_file_range_waits_for_held_write)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(self->page, write(self->fd, self->data, self->page));
	c = mnt_call(&self->m, &call_sync_file_range, (struct call_arg){
		.fd = self->fd,
		.flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			 SYNC_FILE_RANGE_WAIT_AFTER });
	ASSERT_NE(NULL, c);

	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c)) {
		TH_LOG("sync_file_range did not wait for the reply to WRITE:");
		TH_LOG("writeback ended before the server had replied");
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret) {
		TH_LOG("sync_file_range: %s", strerror(c->err));
	}
}

/*
 * A kernel that copies pages counts the copies there until the reply to WRITE.
 *
 * Promise: no-temp-pages
 */
TEST_F(writeback, no_temporary_pages_are_used)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	long kb;

	ASSERT_EQ(0, vm_counter("/proc/meminfo", "WritebackTmp:"));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(BIG_LEN, write(self->fd, self->data, BIG_LEN));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));

	/* The control: all the bytes are at the server, without replies. */
	ASSERT_EQ(0, reqlog_wait_bytes(self->m.log, &writes, REQ_ARRIVED,
				       BIG_LEN));
	kb = vm_counter("/proc/meminfo", "WritebackTmp:");
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));

	EXPECT_EQ(0, kb) {
		TH_LOG("%ld kB of temporary pages in use, %d kB in held WRITEs",
		       kb, BIG_LEN / 1024);
	}
}

/* Promise: bytes, policy-10 */
TEST_F(writeback, writeback_reaches_server_with_the_bytes_written)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };

	ASSERT_EQ(BIG_LEN, write(self->fd, self->data, BIG_LEN));
	ASSERT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));

	EXPECT_EQ(BIG_LEN, server_size(self->m.ctl, FILE_NAME));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen,
				BIG_LEN));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, BIG_LEN));

	/* Each byte once, in more than one request. */
	EXPECT_EQ(BIG_LEN, reqlog_bytes(self->m.log, &writes, REQ_ARRIVED));
	EXPECT_LT(1, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
}

/*
 * A broken kernel loses the second write to the page.
 *
 * Promise: bytes
 */
TEST_F(writeback, rewritten_page_is_sent_again)
{
	ssize_t len = self->page;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(len, pwrite(self->fd, self->data, len, 0));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen, len));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, len));

	fill_pattern(self->data, len, 2);
	ASSERT_EQ(len, pwrite(self->fd, self->data, len, 0));
	ASSERT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	EXPECT_EQ(2, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen, len));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, len));
}

/*
 * A broken kernel sends FLUSH or RELEASE before the server has the data.
 *
 * Promise: data-integrity, policy-13, flush-at-close
 */
TEST_F(writeback, close_waits_for_held_write)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(self->page, write(self->fd, self->data, self->page));
	c = mnt_call(&self->m, &call_close, (struct call_arg){
		.fd = self->fd });
	ASSERT_NE(NULL, c);

	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c)) {
		TH_LOG("close did not wait for the reply to WRITE");
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_FLUSH, REQ_ARRIVED, 1)) {
		TH_LOG("FLUSH was sent before the reply to WRITE");
	}

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret) {
		TH_LOG("close: %s", strerror(c->err));
	}
	EXPECT_LT(find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
		  await_req(&self->m, FUSE_FLUSH, REQ_ARRIVED, 1));
}

/*
 * A broken kernel leaves pages under writeback forever.
 *
 * Promise: endings
 */
TEST_F(writeback, writeback_ends_when_connection_is_aborted)
{
	long before = pages_in_writeback();
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(BIG_LEN, write(self->fd, self->data, BIG_LEN));
	c = mnt_call(&self->m, &call_close, (struct call_arg){
		.fd = self->fd });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 4));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	/* The control: the counters see these pages. */
	EXPECT_EQ(before + (BIG_LEN - 1) / self->page + 1,
		  pages_in_writeback());

	ASSERT_EQ(0, mnt_abort(&self->m));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(-1, c->ret) {
		TH_LOG("close reports success for data that was never taken");
	}
	EXPECT_EQ(0, await_pages_in_writeback(before)) {
		TH_LOG("pages stay under writeback after the abort");
	}
}

/*
 * The error of a WRITE, for which no task waits when it arrives.  The same
 * mount and the same file as above.
 */
FIXTURE(write_error)
{
	struct mnt m;
	int fd;
	int fd2;
};

FIXTURE_VARIANT(write_error)
{
	int err;
};

FIXTURE_VARIANT_ADD(write_error, eio) { .err = EIO };

FIXTURE_VARIANT_ADD(write_error, enospc) { .err = ENOSPC };

FIXTURE_SETUP(write_error)
{
	const struct server_opts opts = { .writeback_cache = true };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
	self->fd2 = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd2);
}

FIXTURE_TEARDOWN(write_error)
{
	mnt_teardown(_metadata, &self->m);
}

/*
 * Each descriptor's fsync reports it once.  When the log says "replied" the
 * kernel has noted the error, so this does not depend on fsync's own waiting.
 * A broken kernel loses the error, or reports it only to the first descriptor,
 * or repeatedly.
 *
 * Promise: endings, late-errors
 */
TEST_F(write_error, write_error_reaches_fsync)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	int fds[] = { self->fd, self->fd2 };
	int i;

	ASSERT_EQ(0, server_fail(self->m.ctl, &writes, variant->err));
	ASSERT_EQ(5, write(self->fd, "hello", 5));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));

	for (i = 0; i < 2; i++) {
		struct call_arg arg = { .fd = fds[i] };

		EXPECT_EQ(-1, mnt_run(&self->m, &call_fsync, arg));
		EXPECT_EQ(variant->err, errno) {
			TH_LOG("fsync of descriptor %d: %s", i + 1,
			       strerror(errno));
		}
		EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, arg)) {
			TH_LOG("fsync of descriptor %d, again: %s", i + 1,
			       strerror(errno));
		}
	}
}

TEST_HARNESS_MAIN
