// SPDX-License-Identifier: GPL-2.0
/*
 * The order in which a server sees writeback of a file.
 *
 * Dirty pages become WRITE requests.  A sound kernel sends FSYNC and FLUSH
 * after the replies to the WRITEs before them, has at most one WRITE in flight
 * for a page, keeps the bytes of a WRITE in flight stable, and sends a page
 * again that was written to meanwhile.  A broken one lets requests overtake
 * each other, so that old bytes may overwrite new ones at the server, or loses
 * a change of a page.
 *
 * Each test runs for files that are written to and mapped, for both kinds of
 * connections, and for servers that copy or splice, single-threaded or
 * multithreaded.
 */

#include <sys/mman.h>

#include "common.h"

#define FILE_NAME	"file"
#define PAGES		8

/* WRITEs for one page, from threads that cause them simultaneously. */
#define ROUNDS		60

/*
 *   fd ------- pwrite --.
 *                        >-- page cache --- WRITEs ---> server: "file"
 *   map ------ store  --'        |
 *                                |
 *   fd2, read <------------------'
 *   direct, read <--------------------------------------- READs
 *
 * data: what the file has to hold in the end, all PAGES of it
 */
FIXTURE(order)
{
	struct mnt m;
	ssize_t page;
	ssize_t len;
	int fd;
	int fd2;
	int direct;
	char *map;
	char *data;
	char *seen;
};

/* by_store: dirty the pages through the mapping; off: where in the file. */
FIXTURE_VARIANT(order)
{
	struct server_opts opts;
	bool by_store;
	off_t off;
};

FIXTURE_VARIANT_ADD(order, cached_write)
{
	.opts = { .writeback_cache = true },
};

FIXTURE_VARIANT_ADD(order, cached_write_across_pages_threads)
{
	.opts = { .writeback_cache = true, .threads = 3 },
	.off = 1234,
};

FIXTURE_VARIANT_ADD(order, cached_write_splice)
{
	.opts = { .writeback_cache = true, .splice_in = true,
		  .splice_out = true },
	.off = 4095,
};

FIXTURE_VARIANT_ADD(order, cached_store_splice_threads)
{
	.opts = { .writeback_cache = true, .splice_in = true,
		  .splice_out = true, .threads = 3 },
	.by_store = true,
	.off = 77,
};

FIXTURE_VARIANT_ADD(order, through_store)
{
	.opts = { },
	.by_store = true,
};

FIXTURE_VARIANT_ADD(order, through_store_splice_threads)
{
	.opts = { .splice_in = true, .splice_out = true, .threads = 3 },
	.by_store = true,
	.off = 2048,
};

FIXTURE_SETUP(order)
{
	if (!mnt_setup(_metadata, &self->m, &variant->opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->len = PAGES * self->page;
	file_setup(_metadata, &self->m, FILE_NAME, self->len, 1, &self->data,
		   &self->seen);

	/* An open drops cached pages: open all before there are any. */
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->fd2 = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd2);
	self->direct = mnt_open(&self->m, FILE_NAME, O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->direct);
	self->map = mmap(NULL, self->len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(order)
{
	mnt_teardown(_metadata, &self->m);
}

/* Write new bytes to two pages' worth of the file at @off, in a thread. */
static struct call *change(struct _test_data_order *self,
			   const struct _fixture_variant_order *variant,
			   off_t off, unsigned int seed)
{
	size_t len = 2 * self->page;

	fill_pattern(self->data + off, len, seed);
	return mnt_call(&self->m, variant->by_store ? &call_store : &call_pwrite,
			(struct call_arg){
		.fd = self->fd, .off = off, .len = len,
		.buf = self->data + off, .to = self->map + off });
}

/* The same, and wait for it. */
static bool changed(struct _test_data_order *self,
		    const struct _fixture_variant_order *variant,
		    off_t off, unsigned int seed)
{
	struct call *c = change(self, variant, off, seed);

	return c && call_wait_returned(c) == CALL_RETURNED && c->ret >= 0;
}

/*
 * Does the file have the expected bytes: at the server, and for every kind of
 * reader
 */
static void check_bytes(struct __test_metadata *_metadata,
			struct _test_data_order *self)
{
	ASSERT_EQ(0, await_writes(&self->m));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen,
				self->len));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len)) {
		TH_LOG("the server's bytes are not the written ones");
	}
	EXPECT_EQ(-1, first_difference(self->data, self->map, self->len));
	ASSERT_EQ(self->len, pread(self->fd2, self->seen, self->len, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len));
	ASSERT_EQ(self->len, pread(self->direct, self->seen, self->len, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len));
	EXPECT_EQ(0, reqlog_overlap(self->m.log, self->page)) {
		TH_LOG("two WRITEs were in flight for one page");
	}
}

/*
 * A call waits for the server's reply to WRITE, and @opcode, unless it is 0, is
 * sent after that.
 */
static void check_waits(struct __test_metadata *_metadata,
			struct _test_data_order *self,
			const struct _fixture_variant_order *variant,
			const struct call_op *op, __u32 opcode)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_TRUE(changed(self, variant, variant->off, 2));
	c = mnt_call(&self->m, op, (struct call_arg){
		.fd = self->fd, .buf = self->map, .len = self->len,
		.flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			 SYNC_FILE_RANGE_WAIT_AFTER });
	ASSERT_NE(NULL, c);

	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c)) {
		TH_LOG("%s did not wait for the reply to WRITE", op->name);
	}
	if (opcode)
		EXPECT_EQ(0, find_req(&self->m, opcode, REQ_ARRIVED, 1));

	/* The control: this is the reply that the call was waiting for. */
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret) {
		TH_LOG("%s: %s", op->name, strerror(c->err));
	}
	if (opcode)
		EXPECT_LT(find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
			  await_req(&self->m, opcode, REQ_ARRIVED, 1));
	check_bytes(_metadata, self);
}

/* Promise: data-integrity */
TEST_F(order, fsync_is_sent_after_write_is_answered)
{
	check_waits(_metadata, self, variant, &call_fsync, FUSE_FSYNC);
}

/* Promise: data-integrity */
TEST_F(order, fdatasync_is_sent_after_write_is_answered)
{
	int seq;

	check_waits(_metadata, self, variant, &call_fdatasync, FUSE_FSYNC);
	seq = find_req(&self->m, FUSE_FSYNC, REQ_ARRIVED, 1);
	ASSERT_NE(0, seq);
	EXPECT_EQ(1U, self->m.log->ev[seq - 1].req.flags) {
		TH_LOG("FUSE_FSYNC_FDATASYNC is missing");
	}
}

/* Promise: data-integrity */
TEST_F(order, msync_sends_fsync_after_write_is_answered)
{
	check_waits(_metadata, self, variant, &call_msync, FUSE_FSYNC);
}

/* Promise: data-integrity, policy-08, policy-13, flush-at-close */
TEST_F(order, flush_is_sent_after_write_is_answered)
{
	check_waits(_metadata, self, variant, &call_close, FUSE_FLUSH);
}

/*
 * The unpatched kernel ends writeback before the server replies.
 *
 * Promise: folio-states
 */
TEST_F(order, sync_file_range_waits_until_write_is_answered)
{
	check_waits(_metadata, self, variant, &call_sync_file_range, 0);
}

/*
 * Only the pages of the range count, not other WRITEs of the file in flight.
 *
 * Promise: folio-states
 */
TEST_F(order, sync_file_range_waits_for_no_other_range)
{
	const struct req_match first = {
		.opcode = FUSE_WRITE, .end = self->page,
	};
	off_t off = 5 * self->page;
	struct call_arg arg = {
		.fd = self->fd, .len = self->page,
		.flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			 SYNC_FILE_RANGE_WAIT_AFTER };
	struct call *c;

	ASSERT_EQ(0, server_hold(self->m.ctl, &first));
	ASSERT_TRUE(changed(self, variant, 0, 2));
	ASSERT_TRUE(changed(self, variant, off, 2));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));

	arg.off = off;
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync_file_range, arg)) {
		TH_LOG("waits for a WRITE that is outside of its range");
	}
	EXPECT_EQ(1, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));

	/* The control: the first page is what is held. */
	arg.off = 0;
	c = mnt_call(&self->m, &call_sync_file_range, arg);
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	check_bytes(_metadata, self);
}

/*
 * The second change may wait for the server or not; a second WRITE for the page
 * must not be sent before the reply to the first, and must not be lost.
 *
 * Promise: folio-states, bytes, policy-12, 8b284dc47291
 */
TEST_F(order, page_changed_under_writeback_is_sent_again)
{
	struct call *c, *f;

	/* The second thread needs a stack while the first waits in a fault. */
	if (variant->by_store && fault_holds_mmap_lock())
		SKIP(return, "needs CONFIG_PER_VMA_LOCK");

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_TRUE(changed(self, variant, variant->off, 2));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));

	c = change(self, variant, variant->off, 3);
	ASSERT_NE(NULL, c);
	ASSERT_NE(CALL_LOST, call_stays_blocked(&self->m, c));
	f = mnt_call(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd2 });
	ASSERT_NE(NULL, f);
	ASSERT_NE(CALL_LOST, call_stays_blocked(&self->m, f));
	EXPECT_EQ(1, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));

	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(f));
	EXPECT_EQ(0, f->ret);
	/* That fsync may have come before the change. */
	ASSERT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	check_bytes(_metadata, self);
	EXPECT_LE(2, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));
}

/*
 * The server is stopped when writeback starts, and reads the bytes much later.
 * A broken kernel lets the page change before it has been read.
 *
 * Promise: folio-states, bytes, 8b284dc47291
 */
TEST_F(order, write_has_the_bytes_of_when_writeback_began)
{
	size_t len = 2 * self->page;
	struct call *c;
	char *old;

	old = malloc(len);
	ASSERT_NE(NULL, old);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_TRUE(changed(self, variant, variant->off, 2));
	memcpy(old, self->data + variant->off, len);
	ASSERT_EQ(0, server_freeze(&self->m));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	c = change(self, variant, variant->off, 3);
	ASSERT_NE(NULL, c);
	ASSERT_NE(CALL_LOST, call_wait_blocked(c));

	ASSERT_EQ(0, server_thaw(&self->m));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_NE(CALL_LOST, call_stays_blocked(&self->m, c));
	ASSERT_EQ(1, server_release(self->m.ctl, 1));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, variant->off,
				self->seen, len));
	EXPECT_EQ(-1, first_difference(old, self->seen, len)) {
		TH_LOG("a page changed while a WRITE of it was in flight");
	}

	/* The control: the change was made, and comes with the next WRITE. */
	ASSERT_LE(0, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	check_bytes(_metadata, self);
}

/* Dirty one page and write it back, repeatedly. */
static long do_rounds(const struct call_arg *arg)
{
	long i;

	for (i = 0; i < ROUNDS; i++) {
		if (arg->to)
			memcpy(arg->to, arg->buf, arg->len);
		else if (pwrite(arg->fd, arg->buf, arg->len, arg->off) < 0)
			return -1;
		if (sync_file_range(arg->fd, 0, 0, SYNC_FILE_RANGE_WRITE))
			return -1;
		/*
		 * However fast this is, some of the changes get their own
		 * WRITEs
		 */
		if (i % 8 == 0 && fdatasync(arg->fd))
			return -1;
	}
	return 0;
}

/*
 * The same by two threads, with a slow server.
 *
 * Promise: folio-states, policy-12, 8b284dc47291
 */
TEST_F(order, writes_of_one_page_come_one_by_one)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	const struct call_op rounds = { "rounds of writeback", -1, do_rounds };
	struct call_arg arg = {
		.fd = self->fd, .buf = self->data + variant->off,
		.off = variant->off, .len = self->page };
	struct call *a, *b;

	if (variant->by_store)
		arg.to = self->map + variant->off;
	ASSERT_EQ(0, server_rule(self->m.ctl, &writes, RULE_DELAY, 1000));
	fill_pattern(self->data + variant->off, self->page, 2);
	a = mnt_call(&self->m, &rounds, arg);
	ASSERT_NE(NULL, a);
	b = mnt_call(&self->m, &rounds, arg);
	ASSERT_NE(NULL, b);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(a));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(b));
	EXPECT_EQ(0, a->ret);
	EXPECT_EQ(0, b->ret);
	ASSERT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));

	EXPECT_LT(2, count_req(&self->m, FUSE_WRITE, REQ_REPLIED)) {
		TH_LOG("too few WRITEs were sent: nothing was tested");
	}
	check_bytes(_metadata, self);
}

/*
 * A direct read of another file stores into a mapped page, which is dirtied
 * when the read begins, and once more when it ends.  In between, writeback of
 * the page starts.  A broken kernel loses the second dirtying, or sends a
 * second WRITE at once.
 *
 * Promise: bytes, policy-12, 8b284dc47291
 */
TEST_F(order, page_dirtied_by_direct_read_is_sent_again)
{
	struct call *c, *f;
	int source, reads;

	fill_pattern(self->data, self->page, 3);
	ASSERT_EQ(0, server_put(self->m.ctl, "source", 0, self->data,
				self->page));
	source = mnt_open(&self->m, "source", O_RDONLY | O_DIRECT);
	ASSERT_LE(0, source);
	/* READs that have filled the mapping. */
	reads = count_req(&self->m, FUSE_READ, REQ_ARRIVED);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	c = mnt_call(&self->m, &call_pread, (struct call_arg){
		.fd = source, .buf = self->map, .len = self->page });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, reads + 1));

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	/* The oldest request is READ. */
	ASSERT_EQ(1, server_release(self->m.ctl, 1));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(self->page, c->ret);

	f = mnt_call(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd });
	ASSERT_NE(NULL, f);
	ASSERT_NE(CALL_LOST, call_stays_blocked(&self->m, f));
	EXPECT_EQ(1, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED)) {
		TH_LOG("a second WRITE was sent before the reply to the first");
	}
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(f));
	EXPECT_EQ(0, f->ret);
	check_bytes(_metadata, self);
	EXPECT_EQ(2, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));
}

TEST_HARNESS_MAIN
