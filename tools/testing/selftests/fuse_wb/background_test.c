// SPDX-License-Identifier: GPL-2.0
/*
 * max_background of fusectl, raised while the background queue is full.
 *
 *   readers --- wait for a place --- max_background: 1 --- READ, held
 *   WRITEs ---- queued
 *
 * A correct kernel lets as many requests proceed as the new limit allows.
 * Linux 6.12 wakes one of the waiting tasks only, and leaves queued requests
 * until the next reply, which may never come.
 *
 * Promise: background-limit
 */

#include <stdlib.h>
#include <sys/stat.h>

#include "aio.h"
#include "common.h"

#define FILES	4
#define PAGE	4096
#define BYTES	(256 * PAGE)
#define STEP	(BYTES / (FILES + 1))

/* Pages of one request */
#define REQUEST	(16 * PAGE)

FIXTURE(background)
{
	struct mnt m;
	char path[64];
	int fd[FILES];
	int direct[FILES];
	char *data;
	char *seen;
	struct call *reader[FILES];
};

FIXTURE_SETUP(background)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.async_dio = true,
		.max_background = 1,
		.max_write = REQUEST,
		.congestion = 1,
	};
	char name[16];
	int i;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	snprintf(self->path, sizeof(self->path),
		 "/sys/fs/fuse/connections/%u/max_background", self->m.minor);
	self->data = malloc(BYTES);
	self->seen = aligned_alloc(PAGE, FILES * REQUEST);
	ASSERT_TRUE(self->data && self->seen);
	fill_pattern(self->data, BYTES, 1);
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		ASSERT_EQ(0, server_put(self->m.ctl, name, 0, self->data,
					BYTES));
		self->fd[i] = mnt_open(&self->m, name, O_RDWR);
		ASSERT_LE(0, self->fd[i]);
		self->direct[i] = mnt_open(&self->m, name, O_RDWR | O_DIRECT);
		ASSERT_LE(0, self->direct[i]);
	}
}

FIXTURE_TEARDOWN(background)
{
	mnt_teardown(_metadata, &self->m);
}

static void set_limit(struct __test_metadata *_metadata,
		      struct _test_data_background *self, char *limit)
{
	ASSERT_LT(0, mnt_tell(&self->m, self->path, limit)) {
		TH_LOG("%s: %s", self->path, strerror(errno));
	}
}

/*
 * Not at the start of the file, where readahead reads no more than requested.
 */
static off_t place(int reader)
{
	return (reader + 1) * (STEP & -PAGE);
}

/* Start the readers: one has its READ at the server, all of them wait. */
static void start_readers(struct __test_metadata *_metadata,
			  struct _test_data_background *self,
			  const struct call_op *op, const int *fd)
{
	int i;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	for (i = 0; i < FILES; i++) {
		self->reader[i] = mnt_call(&self->m, op, (struct call_arg){
			.fd = fd[i], .buf = self->seen + i * PAGE,
			.off = place(i), .len = PAGE });
		ASSERT_NE(NULL, self->reader[i]);
		ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
		ASSERT_EQ(CALL_BLOCKED,
			  call_stays_blocked(&self->m, self->reader[i]));
		/* All libaio readers after the first block in io_submit(2). */
		if (op == &call_aio_pread)
			op = &call_aio_pread_submit;
	}
	ASSERT_EQ(1, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
}

static void end_readers(struct __test_metadata *_metadata,
			struct _test_data_background *self)
{
	int i;

	ASSERT_LE(1, server_release(self->m.ctl, 0));
	for (i = 0; i < FILES; i++) {
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->reader[i]));
		EXPECT_EQ(PAGE, self->reader[i]->ret);
		EXPECT_EQ(-1, first_difference(self->data + place(i),
					       self->seen + i * PAGE, PAGE));
	}
	EXPECT_EQ(FILES, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
}

TEST_F(background, raised_limit_lets_all_readers_go_on)
{
	start_readers(_metadata, self, &call_pread, self->fd);
	set_limit(_metadata, self, "100");
	EXPECT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, FILES));
	EXPECT_EQ(0, count_req(&self->m, FUSE_READ, REQ_REPLIED));
	end_readers(_metadata, self);
}

/* The control: no more of them proceed than the limit allows. */
TEST_F(background, raised_limit_holds)
{
	int i;

	start_readers(_metadata, self, &call_pread, self->fd);
	set_limit(_metadata, self, "3");
	EXPECT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 3));
	for (i = 0; i < FILES; i++)
		EXPECT_EQ(CALL_BLOCKED,
			  call_stays_blocked(&self->m, self->reader[i]));
	EXPECT_EQ(3, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
	end_readers(_metadata, self);
}

/* Direct I/O waits in another place, under the same limit. */
TEST_F(background, raised_limit_lets_all_aio_readers_go_on)
{
	start_readers(_metadata, self, &call_aio_pread, self->direct);
	set_limit(_metadata, self, "100");
	EXPECT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, FILES));
	EXPECT_EQ(0, count_req(&self->m, FUSE_READ, REQ_REPLIED));
	end_readers(_metadata, self);
}

/* One call with as many requests as the new limit allows, on such a file. */
static void check_call(struct __test_metadata *_metadata,
		       struct _test_data_background *self, __u32 open_flags,
		       int flags)
{
	struct call *c;
	int fd;

	ASSERT_EQ(0, server_open_flags(self->m.ctl, open_flags));
	fd = mnt_open(&self->m, "file-0", O_RDONLY | flags);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	c = mnt_call(&self->m, &call_pread, (struct call_arg){
		.fd = fd, .buf = self->seen, .len = FILES * REQUEST });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	ASSERT_EQ(1, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
	set_limit(_metadata, self, "100");
	EXPECT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, FILES)) {
		TH_LOG("the call waits for a reply although the limit allows more requests");
	}
	EXPECT_EQ(0, count_req(&self->m, FUSE_READ, REQ_REPLIED));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(FILES * REQUEST, c->ret);
	EXPECT_EQ(-1, first_difference(self->data, self->seen,
				       FILES * REQUEST));
}

TEST_F(background, raised_limit_lets_one_direct_read_go_on)
{
	check_call(_metadata, self, 0, O_DIRECT);
}

TEST_F(background, raised_limit_lets_one_read_of_a_direct_io_file_go_on)
{
	check_call(_metadata, self, FOPEN_DIRECT_IO |
		   FOPEN_PARALLEL_DIRECT_WRITES, 0);
}

TEST_F(background, raised_limit_sends_what_is_queued)
{
	struct call *c[FILES];
	int i;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	for (i = 0; i < FILES; i++) {
		ASSERT_EQ(PAGE, pwrite(self->fd[i], self->data + PAGE, PAGE,
				       0));
		/*
		 * Without fdatasync, this WRITE could be left until the others
		 * end.
		 */
		c[i] = mnt_call(&self->m, &call_fdatasync, (struct call_arg){
			.fd = self->fd[i] });
		ASSERT_NE(NULL, c[i]);
		ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c[i]));
	}
	ASSERT_EQ(1, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	set_limit(_metadata, self, "3");
	EXPECT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 3));
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(3, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));
	ASSERT_LE(3, server_release(self->m.ctl, 0));
	for (i = 0; i < FILES; i++) {
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(c[i]));
		EXPECT_EQ(0, c[i]->ret);
	}
}

TEST_HARNESS_MAIN
