// SPDX-License-Identifier: GPL-2.0
/*
 * An inode with a backing file and parallel direct writers simultaneously.
 *
 * Neither uses the page cache, so neither waits for nor excludes the other.  An
 * open that needs the page cache is refused as long as there is a backing file.  A
 * broken kernel makes one wait for the other forever, drops the backing file with
 * the last writer, or allows the page cache together with it.
 *
 * Promise: direct-passthrough
 */

#include <sys/mman.h>
#include <sys/stat.h>

#include "aio.h"
#include "common.h"

/* Not in older headers; Linux 6.9 added it. */
#ifndef FUSE_PASSTHROUGH
#define FUSE_PASSTHROUGH	0x2000000000ULL
#define FOPEN_PASSTHROUGH	0x80
#endif

#define FILE_NAME	"file"
#define PAGE		4096
#define PAGES		4
#define LEN		(PAGES * PAGE)
#define WRITERS		2

/*
 *   fd ------- READ, WRITE ---> server: the pattern 2, later data
 *   passed -------------------> backing file, in memory: the pattern 1
 */
FIXTURE(beside)
{
	struct mnt m;
	char path[128];
	int fd;
	int backing;
	int id;
	char *data;
	char *seen;
	struct call *writer[WRITERS];
};

/* @flags: to open fd with; @open_flags: of the reply to that */
FIXTURE_VARIANT(beside)
{
	const struct call_op *write;
	int flags;
	__u32 open_flags;
};

FIXTURE_VARIANT_ADD(beside, o_direct)
{
	&call_pwrite, O_DIRECT, FOPEN_PARALLEL_DIRECT_WRITES
};

FIXTURE_VARIANT_ADD(beside, o_direct_aio)
{
	&call_aio_pwrite, O_DIRECT, FOPEN_PARALLEL_DIRECT_WRITES
};

FIXTURE_VARIANT_ADD(beside, fopen_direct_io)
{
	&call_pwrite, 0, FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES
};

FIXTURE_SETUP(beside)
{
	const struct server_opts opts = {
		.async_dio = true,
		.init_flags = FUSE_PASSTHROUGH,
		.max_stack_depth = 1,
		.open_flags = variant->open_flags,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	file_setup(_metadata, &self->m, FILE_NAME, LEN, 1, &self->data,
		   &self->seen);
	self->backing = memfd_create("backing", MFD_CLOEXEC);
	ASSERT_LE(0, self->backing);
	ASSERT_EQ(LEN, write(self->backing, self->data, LEN));
	fill_pattern(self->data, LEN, 2);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->data, LEN));
	self->id = mnt_backing_open(&self->m, self->backing);
	ASSERT_LT(0, self->id) {
		TH_LOG("registering a backing file: %s", strerror(errno));
	}
	snprintf(self->path, sizeof(self->path), "%s/" FILE_NAME, self->m.dir);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR | variant->flags);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(beside)
{
	mnt_teardown(_metadata, &self->m);
}

/* Open in a thread: it may wait.  Return: the descriptor, or -1 with errno. */
static long open_as(struct _test_data_beside *self, __u32 open_flags, int id)
{
	if (server_open_backing(self->m.ctl, open_flags, id))
		return -1;
	return mnt_run(&self->m, &call_open, (struct call_arg){
		.buf = self->path, .flags = O_RDWR });
}

static long open_passed(struct _test_data_beside *self)
{
	return open_as(self, FOPEN_PASSTHROUGH, self->id);
}

/* Write in a thread, too. */
static long close_passed(struct _test_data_beside *self, int passed)
{
	return mnt_run(&self->m, &call_close, (struct call_arg){ .fd = passed });
}

/* Each a page of the pattern 3, from page 1 on, with their WRITEs held. */
static void start_writers(struct __test_metadata *_metadata,
			  struct _test_data_beside *self,
			  const struct call_op *op)
{
	int before = count_req(&self->m, FUSE_WRITE, REQ_ARRIVED), i;

	fill_pattern(self->data + PAGE, WRITERS * PAGE, 3);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	for (i = 0; i < WRITERS; i++) {
		self->writer[i] = mnt_call(&self->m, op, (struct call_arg){
			.fd = self->fd, .len = PAGE, .off = (i + 1) * PAGE,
			.buf = self->data + (i + 1) * PAGE });
		ASSERT_NE(NULL, self->writer[i]);
	}
	/* They run in parallel: neither has ended the other's mode. */
	EXPECT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED,
			       before + WRITERS));
}

static void end_writers(struct __test_metadata *_metadata,
			struct _test_data_beside *self)
{
	int i;

	ASSERT_LE(1, server_release(self->m.ctl, 0));
	for (i = 0; i < WRITERS; i++) {
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->writer[i]));
		EXPECT_EQ(PAGE, self->writer[i]->ret);
	}
}

/*
 * fd has the server's bytes, and the passthrough descriptor those of the
 * backing file.
 */
static void check_bytes(struct __test_metadata *_metadata,
			struct _test_data_beside *self, int passed)
{
	char *backed = self->data + LEN;

	ASSERT_EQ(LEN, pread(self->fd, self->seen, LEN, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN)) {
		TH_LOG("the direct descriptor does not have the server's bytes");
	}
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen, LEN));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
	fill_pattern(backed, LEN, 1);
	ASSERT_EQ(LEN, pread(passed, self->seen, LEN, 0));
	EXPECT_EQ(-1, first_difference(backed, self->seen, LEN)) {
		TH_LOG("the passthrough descriptor does not have the bytes of the backing file");
	}
}

TEST_F(beside, passthrough_begins_during_parallel_writes)
{
	int passed;

	start_writers(_metadata, self, variant->write);
	passed = open_passed(self);
	ASSERT_LE(0, passed) {
		TH_LOG("open: %s", strerror(errno));
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	end_writers(_metadata, self);
	check_bytes(_metadata, self, passed);

	/* It stays: the last writer has not dropped the backing file. */
	EXPECT_EQ(-1, open_as(self, 0, 0));
	EXPECT_EQ(EIO, errno);
	ASSERT_EQ(0, close_passed(self, passed));
	ASSERT_NE(0, await_req(&self->m, FUSE_RELEASE, REQ_REPLIED, 2));
	EXPECT_LE(0, open_as(self, 0, 0));
}

TEST_F(beside, parallel_writes_begin_during_passthrough)
{
	int passed = open_passed(self);

	ASSERT_LE(0, passed) {
		TH_LOG("open: %s", strerror(errno));
	}
	start_writers(_metadata, self, variant->write);
	end_writers(_metadata, self);
	check_bytes(_metadata, self, passed);
}

/*
 * A server error is reported to the writer, and the backing file does not
 * change.
 */
TEST_F(beside, write_that_fails_leaves_the_backing_file_alone)
{
	const struct req_match match = { .opcode = FUSE_WRITE };
	int passed = open_passed(self), i;

	ASSERT_LE(0, passed);
	start_writers(_metadata, self, variant->write);
	ASSERT_EQ(0, server_fail(self->m.ctl, &match, ENOSPC));
	ASSERT_EQ(WRITERS, server_release(self->m.ctl, 0));
	for (i = 0; i < WRITERS; i++) {
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->writer[i]));
		EXPECT_EQ(-1, self->writer[i]->ret);
		EXPECT_EQ(ENOSPC, self->writer[i]->err);
	}
	fill_pattern(self->data, LEN, 2);
	check_bytes(_metadata, self, passed);
}

/*
 * Closing the passthrough descriptor during a write does not drop the backing
 * file.
 */
TEST_F(beside, passthrough_ends_during_parallel_writes)
{
	int passed = open_passed(self), fd;

	ASSERT_LE(0, passed);
	start_writers(_metadata, self, variant->write);
	ASSERT_EQ(0, close_passed(self, passed));
	ASSERT_NE(0, await_req(&self->m, FUSE_RELEASE, REQ_REPLIED, 1));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	passed = open_passed(self);
	ASSERT_LE(0, passed);
	end_writers(_metadata, self);
	check_bytes(_metadata, self, passed);
	ASSERT_EQ(0, close_passed(self, passed));
	ASSERT_NE(0, await_req(&self->m, FUSE_RELEASE, REQ_REPLIED, 2));

	/* After the last of them it is a normal file. */
	fd = open_as(self, 0, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(LEN, pread(fd, self->seen, LEN, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
}

/* It cannot be mapped, as that would use the page cache. */
TEST_F(beside, page_cache_is_refused_during_passthrough)
{
	int passed = open_passed(self);

	ASSERT_LE(0, passed);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, LEN, PROT_READ, MAP_SHARED, self->fd,
				   0));
	EXPECT_EQ(ENODEV, errno);
	if (variant->flags & O_DIRECT) {
		/*
		 * Nor can a descriptor without O_DIRECT be used, as it would
		 * use the page cache, too.
		 */
		ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
		EXPECT_EQ(-1, pread(self->fd, self->seen, LEN, 0));
		EXPECT_EQ(ETXTBSY, errno);
		EXPECT_EQ(-1, pwrite(self->fd, self->seen, LEN, 0));
		EXPECT_EQ(ETXTBSY, errno);
		ASSERT_EQ(0, fcntl(self->fd, F_SETFL, variant->flags));
	}
	start_writers(_metadata, self, variant->write);
	end_writers(_metadata, self);
	check_bytes(_metadata, self, passed);
}

TEST_HARNESS_MAIN
