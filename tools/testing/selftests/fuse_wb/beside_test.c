// SPDX-License-Identifier: GPL-2.0
/*
 * Operations that start while several asynchronous direct writes are in flight.
 *
 * The writers no longer hold a lock.  An open that wants the page cache waits
 * for parallel writes, any other open does not wait, and passthrough and the
 * page cache exclude each other.  Truncation and hole punching are sent to the
 * server while the writes are in flight: the server decides on the order.  A
 * shared mapping starts at once, and shows the written data when the writes
 * complete.  A broken kernel waits where it need not, loses a result, or shows
 * old bytes.
 *
 * Promise: direct-beside
 */

#include <sys/mman.h>
#include <sys/syscall.h>

#include "aio.h"
#include "common.h"

/* Missing in older headers; added in Linux 6.9. */
#ifndef FUSE_PASSTHROUGH
#define FUSE_PASSTHROUGH	0x2000000000ULL
#define FOPEN_PASSTHROUGH	0x80
#endif

#define PAGE	4096
#define PAGES	8
#define BYTES	(PAGES * PAGE)

/* Writes in flight; write number n covers page n. */
#define DEPTH	3

/*
 *   fd: "file", O_DIRECT, for the writers
 *   data: the expected file contents when they have completed
 *   map: "file", shared, once a test has mapped it
 */
FIXTURE(beside)
{
	struct mnt m;
	int fd;
	char *data;
	char *old;
	char *seen;
	char *map;
	char path[128];
	struct aio aio[DEPTH];
};

FIXTURE_VARIANT(beside)
{
	__u32 open_flags;
	bool writeback_cache;
};

FIXTURE_VARIANT_ADD(beside, o_direct) { };

FIXTURE_VARIANT_ADD(beside, o_direct_writeback) { .writeback_cache = true };

FIXTURE_VARIANT_ADD(beside, fopen_direct_io) { .open_flags = FOPEN_DIRECT_IO };

static void setup_file(struct __test_metadata *_metadata,
		       struct _test_data_beside *self, __u32 open_flags,
		       bool writeback_cache, const void *variant)
{
	const struct server_opts opts = {
		.async_dio = true,
		.writeback_cache = writeback_cache,
		.open_flags = FOPEN_PARALLEL_DIRECT_WRITES | open_flags,
		.init_flags = FUSE_DIRECT_IO_ALLOW_MMAP |
			      (writeback_cache ? 0 : FUSE_PASSTHROUGH),
		.max_stack_depth = !writeback_cache,
		.threads = 2,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->data = aligned_alloc(PAGE, BYTES);
	ASSERT_NE(NULL, self->data);
	file_setup(_metadata, &self->m, "file", BYTES, 1, &self->old,
		   &self->seen);
	memcpy(self->data, self->old, BYTES);
	self->fd = mnt_open(&self->m, "file", O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->fd);
	snprintf(self->path, sizeof(self->path), "%s/file", self->m.dir);
}

FIXTURE_SETUP(beside)
{
	setup_file(_metadata, self, variant->open_flags,
		   variant->writeback_cache, variant);
}

FIXTURE_TEARDOWN(beside)
{
	mnt_teardown(_metadata, &self->m);
}

/* Submit all writes, and check that they are in flight. */
static void start_writes(struct __test_metadata *_metadata,
			 struct _test_data_beside *self)
{
	int i;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	fill_pattern(self->data, DEPTH * PAGE, 2);
	for (i = 0; i < DEPTH; i++) {
		const struct call_arg arg = {
			.fd = self->fd, .off = i * PAGE, .len = PAGE,
			.buf = self->data + i * PAGE };

		ASSERT_EQ(0, aio_submit(&self->aio[i], IOCB_CMD_PWRITE, &arg));
	}
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, DEPTH));
}

/* None has its reply yet: release them all, and check the results. */
static void end_writes(struct __test_metadata *_metadata,
		       struct _test_data_beside *self)
{
	int i;

	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_LE(DEPTH, server_release(self->m.ctl, 0));
	for (i = 0; i < DEPTH; i++)
		EXPECT_EQ(PAGE, aio_wait(&self->aio[i]));
}

static void check_server(struct __test_metadata *_metadata,
			 struct _test_data_beside *self, ssize_t size)
{
	ASSERT_EQ(size, server_size(self->m.ctl, "file"));
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, self->seen, size));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, size));
}

static struct call *start_open(struct _test_data_beside *self, __u32 open_flags,
			       int flags)
{
	if (server_open_flags(self->m.ctl, open_flags))
		return NULL;
	return mnt_call(&self->m, &call_open, (struct call_arg){
		.buf = self->path, .flags = O_RDWR | flags });
}

/*
 * An open with these flags, made meanwhile, waits for all of them or for none.
 */
static void check_open(struct __test_metadata *_metadata,
		       struct _test_data_beside *self, __u32 open_flags,
		       int flags, bool waits)
{
	struct call *c;

	start_writes(_metadata, self);
	c = start_open(self, open_flags, flags);
	ASSERT_NE(NULL, c);
	if (waits) {
		EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
		ASSERT_EQ(1, server_release(self->m.ctl, 1));
		EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
		ASSERT_EQ(DEPTH - 1, server_release(self->m.ctl, 0));
		EXPECT_EQ(PAGE, aio_wait(&self->aio[0]));
		EXPECT_EQ(PAGE, aio_wait(&self->aio[1]));
		EXPECT_EQ(PAGE, aio_wait(&self->aio[2]));
	}
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_LE(0, c->ret);
	if (!waits) {
		EXPECT_EQ(BYTES, pread(c->ret, self->seen, BYTES, 0));
		EXPECT_EQ(-1, first_difference(self->old, self->seen, BYTES));
		end_writes(_metadata, self);
	}
	EXPECT_EQ(BYTES, pread(c->ret, self->seen, BYTES, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, BYTES));
	check_server(_metadata, self, BYTES);
}

TEST_F(beside, cached_open_waits_for_all_aio_writes)
{
	check_open(_metadata, self, 0, 0, true);
}

TEST_F(beside, direct_open_that_may_use_the_cache_waits_for_all_aio_writes)
{
	check_open(_metadata, self, 0, O_DIRECT, true);
}

TEST_F(beside, parallel_open_waits_for_no_aio_write)
{
	check_open(_metadata, self, FOPEN_PARALLEL_DIRECT_WRITES, O_DIRECT,
		   false);
}

TEST_F(beside, direct_io_open_waits_for_no_aio_write)
{
	check_open(_metadata, self, FOPEN_DIRECT_IO, 0, false);
}

TEST_F(beside, parallel_direct_io_open_waits_for_no_aio_write)
{
	check_open(_metadata, self, FOPEN_DIRECT_IO |
		   FOPEN_PARALLEL_DIRECT_WRITES, O_DIRECT, false);
}

/*
 * The writers do not wait while the page cache is in use: submission is
 * serialized, completion is not.
 */
TEST_F(beside, aio_writes_of_a_cached_file_are_in_flight_together)
{
	struct call *c = start_open(self, 0, 0);

	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_LE(0, c->ret);
	ASSERT_EQ(BYTES, pread(c->ret, self->seen, BYTES, 0));
	start_writes(_metadata, self);
	EXPECT_EQ(BYTES, pread(c->ret, self->seen, BYTES, 0));
	EXPECT_EQ(-1, first_difference(self->old, self->seen, BYTES));
	end_writes(_metadata, self);
	EXPECT_EQ(BYTES, pread(c->ret, self->seen, BYTES, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, BYTES));
	check_server(_metadata, self, BYTES);
}

/* The server may carry out the WRITEs after it, as they were sent earlier. */
TEST_F(beside, truncation_goes_beside_aio_writes)
{
	start_writes(_metadata, self);
	EXPECT_EQ(0, mnt_run(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd, .len = 100 }));
	EXPECT_EQ(100, server_size(self->m.ctl, "file"));
	end_writes(_metadata, self);
	check_server(_metadata, self, DEPTH * PAGE);
}

/* The server carried them out earlier, and its replies are late. */
TEST_F(beside, replies_behind_a_truncation_do_not_undo_it)
{
	struct {
		struct fuse_out_header head;
		struct fuse_write_out write;
	} reply = { .head.len = sizeof(reply), .write.size = PAGE };
	int i, seq, fd;

	start_writes(_metadata, self);
	EXPECT_EQ(0, mnt_run(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd, .len = 0 }));
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	for (i = 0; i < DEPTH; i++) {
		seq = find_req(&self->m, FUSE_WRITE, REQ_ARRIVED, i + 1);
		ASSERT_NE(0, seq);
		reply.head.unique = self->m.log->ev[seq - 1].req.unique;
		ASSERT_EQ(0, server_raw(self->m.ctl, &reply, sizeof(reply)));
	}
	for (i = 0; i < DEPTH; i++)
		EXPECT_EQ(PAGE, aio_wait(&self->aio[i]));
	fd = mnt_open(&self->m, "file", O_WRONLY | O_APPEND);
	ASSERT_LE(0, fd);
	EXPECT_EQ(PAGE, mnt_run(&self->m, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = self->data, .len = PAGE }));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = fd }));
	EXPECT_EQ(PAGE, server_size(self->m.ctl, "file")) {
		TH_LOG("a late reply extended the file again");
	}
}

TEST_F(beside, aio_writes_that_fail_after_a_truncation_leave_it)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	int i;

	start_writes(_metadata, self);
	EXPECT_EQ(0, mnt_run(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd, .len = 100 }));
	ASSERT_EQ(0, server_fail(self->m.ctl, &writes, ENOSPC));
	ASSERT_EQ(DEPTH, server_release(self->m.ctl, 0));
	for (i = 0; i < DEPTH; i++) {
		EXPECT_EQ(-1, aio_wait(&self->aio[i]));
		EXPECT_EQ(ENOSPC, errno);
	}
	EXPECT_EQ(1, count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED));
	memcpy(self->data, self->old, BYTES);
	check_server(_metadata, self, 100);
}

TEST_F(beside, hole_goes_beside_aio_writes)
{
	start_writes(_metadata, self);
	EXPECT_EQ(0, mnt_run(&self->m, &call_fallocate, (struct call_arg){
		.fd = self->fd, .off = PAGE, .len = DEPTH * PAGE,
		.flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE }));
	end_writes(_metadata, self);
	memset(self->data + DEPTH * PAGE, 0, PAGE);
	check_server(_metadata, self, BYTES);
}

/* A write that extends the file holds the inode lock until it completes. */
TEST_F(beside, truncation_waits_for_aio_write_beyond_eof)
{
	struct call *w, *t;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	fill_pattern(self->data, PAGE, 2);
	w = mnt_call(&self->m, &call_aio_pwrite, (struct call_arg){
		.fd = self->fd, .off = BYTES, .len = PAGE,
		.buf = self->data });
	ASSERT_NE(NULL, w);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	t = mnt_call(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd, .len = 100 });
	ASSERT_NE(NULL, t);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, t));
	EXPECT_EQ(0, count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(w));
	EXPECT_EQ(PAGE, w->ret);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(t));
	EXPECT_EQ(0, t->ret);
	memcpy(self->data, self->old, BYTES);
	check_server(_metadata, self, 100);
}

/* mmap(2) of the whole file, with the address stored at @to */
static long do_map_shared(const struct call_arg *arg)
{
	void *map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			 arg->fd, 0);

	*(void **)arg->to = map;
	return map == MAP_FAILED ? -1 : 0;
}

static const struct call_op call_map_shared = {
	"mmap", SYS_mmap, do_map_shared
};

/*
 * A mapping starts while writes are in flight, and shows their pages at once.
 */
static void map_beside(struct __test_metadata *_metadata,
		       struct _test_data_beside *self)
{
	char *last = self->data + (PAGES - 1) * PAGE;

	ASSERT_EQ(0, mnt_run(&self->m, &call_map_shared, (struct call_arg){
		.fd = self->fd, .to = &self->map }));
	EXPECT_EQ(-1, first_difference(self->old, self->map, BYTES));
	/* The mapping is used while they are in flight. */
	fill_pattern(last, PAGE, 3);
	memcpy(self->map + (PAGES - 1) * PAGE, last, PAGE);
}

static void check_map(struct __test_metadata *_metadata,
		      struct _test_data_beside *self)
{
	EXPECT_EQ(-1, first_difference(self->data, self->map, BYTES)) {
		TH_LOG("the mapping shows the old bytes from before the writes");
	}
	ASSERT_EQ(0, msync(self->map, BYTES, MS_SYNC));
	check_server(_metadata, self, BYTES);
	EXPECT_EQ(-1, first_difference(self->data, self->map, BYTES));
}

TEST_F(beside, mapping_begun_beside_aio_writes_shows_them)
{
	start_writes(_metadata, self);
	map_beside(_metadata, self);
	end_writes(_metadata, self);
	check_map(_metadata, self);
}

TEST_F(beside, mapping_begun_beside_writers_shows_their_bytes)
{
	struct call *w[DEPTH];
	int i;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	fill_pattern(self->data, DEPTH * PAGE, 2);
	for (i = 0; i < DEPTH; i++) {
		w[i] = mnt_call(&self->m, &call_pwrite, (struct call_arg){
			.fd = self->fd, .off = i * PAGE, .len = PAGE,
			.buf = self->data + i * PAGE });
		ASSERT_NE(NULL, w[i]);
	}
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, DEPTH));
	map_beside(_metadata, self);
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_LE(DEPTH, server_release(self->m.ctl, 0));
	for (i = 0; i < DEPTH; i++) {
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(w[i]));
		EXPECT_EQ(PAGE, w[i]->ret);
	}
	check_map(_metadata, self);
}

/* Passthrough is available without the writeback cache only. */
FIXTURE(beside_passthrough)
{
	FIXTURE_DATA(beside) b;
	int id;
};

FIXTURE_VARIANT(beside_passthrough)
{
	__u32 open_flags;
};

FIXTURE_VARIANT_ADD(beside_passthrough, o_direct) { };

FIXTURE_VARIANT_ADD(beside_passthrough, fopen_direct_io)
{
	.open_flags = FOPEN_DIRECT_IO,
};

FIXTURE_SETUP(beside_passthrough)
{
	setup_file(_metadata, &self->b, variant->open_flags, false, variant);
	if (!self->b.data)
		return;
	self->id = mnt_backing_memfd(&self->b.m);
	ASSERT_LT(0, self->id);
}

FIXTURE_TEARDOWN(beside_passthrough)
{
	mnt_teardown(_metadata, &self->b.m);
}

TEST_F(beside_passthrough, passthrough_beside_aio_writes_excludes_the_cache)
{
	struct _test_data_beside *b = &self->b;
	struct call *c;
	int fd;

	start_writes(_metadata, b);
	ASSERT_EQ(0, server_open_backing(b->m.ctl, FOPEN_PASSTHROUGH,
					 self->id));
	fd = mnt_open(&b->m, "file", O_RDWR);
	ASSERT_LE(0, fd);
	/* It does not wait, as it could wait forever. */
	c = start_open(b, 0, 0);
	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(-1, c->ret);
	EXPECT_EQ(EIO, c->err);
	end_writes(_metadata, b);
	check_server(_metadata, b, BYTES);
	ASSERT_EQ(0, close(fd));
	c = start_open(b, 0, 0);
	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_LE(0, c->ret);
}

TEST_F(beside_passthrough, passthrough_beside_aio_writes_of_a_cached_file_is_refused)
{
	struct _test_data_beside *b = &self->b;
	struct call *c = start_open(b, 0, 0);

	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_LE(0, c->ret);
	start_writes(_metadata, b);
	ASSERT_EQ(0, server_open_backing(b->m.ctl, FOPEN_PASSTHROUGH,
					 self->id));
	EXPECT_EQ(-1, mnt_run(&b->m, &call_open, (struct call_arg){
		.buf = b->path, .flags = O_RDWR }));
	EXPECT_EQ(EIO, errno);
	end_writes(_metadata, b);
	EXPECT_EQ(BYTES, pread(c->ret, b->seen, BYTES, 0));
	EXPECT_EQ(-1, first_difference(b->data, b->seen, BYTES));
}

TEST_HARNESS_MAIN
