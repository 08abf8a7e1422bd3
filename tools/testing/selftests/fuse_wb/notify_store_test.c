// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE_NOTIFY_STORE and FUSE_NOTIFY_RETRIEVE near the maximum file size.
 *
 * Both take an unsigned 64-bit offset, and i_size is signed.  A sound kernel refuses
 * to store beyond the maximum file size, and retrieves nothing from there.  Linux
 * 6.12 adds offset and size unchecked: the sum may be negative as i_size, or wrap
 * around to 0, and pages are stored where no file can have any.
 *
 * Promise: notify-limits
 */

#include <limits.h>
#include <sys/stat.h>

#include "common.h"

#define FILE_NAME	"file"
#define PAGE		4096
#define PAGES		4
#define LEN		(PAGES * PAGE)

/*
 *   fd --- page cache: data <--- NOTIFY_STORE ----- server: data
 *                           ---> NOTIFY_REPLY ---->
 */
FIXTURE(notified)
{
	struct mnt m;
	int fd;
	__u64 node;
	char *data;
	char *seen;
};

FIXTURE_VARIANT(notified)
{
	bool writeback_cache;
};

FIXTURE_VARIANT_ADD(notified, cached) { true };
FIXTURE_VARIANT_ADD(notified, through) { false };

FIXTURE_SETUP(notified)
{
	const struct server_opts opts = {
		.writeback_cache = variant->writeback_cache };
	struct stat st;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	file_setup(_metadata, &self->m, FILE_NAME, LEN, 1, &self->data,
		   &self->seen);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(LEN, pread(self->fd, self->seen, LEN, 0));
	ASSERT_EQ(0, fstat(self->fd, &st));
	self->node = st.st_ino;
}

FIXTURE_TEARDOWN(notified)
{
	mnt_teardown(_metadata, &self->m);
}

/* Have the server store @size bytes.  Return: as server_raw(). */
static int store(struct _test_data_notified *self, __u64 off, const void *data,
		 __u32 size)
{
	struct {
		struct fuse_out_header out;
		struct fuse_notify_store_out store;
		char data[2 * PAGE];
	} msg = {
		.out.error = FUSE_NOTIFY_STORE,
		.store = { .nodeid = self->node, .offset = off, .size = size },
	};

	msg.out.len = sizeof(msg.out) + sizeof(msg.store) + size;
	memcpy(msg.data, data, size);
	return server_raw(self->m.ctl, &msg, msg.out.len);
}

/* Have it retrieve as many.  Return: as server_raw(). */
static int retrieve(struct _test_data_notified *self, __u64 off, __u32 size)
{
	struct {
		struct fuse_out_header out;
		struct fuse_notify_retrieve_out retrieve;
	} msg = {
		.out.error = FUSE_NOTIFY_RETRIEVE,
		.out.len = sizeof(msg),
		.retrieve = { .nodeid = self->node, .offset = off,
			      .size = size },
	};

	return server_raw(self->m.ctl, &msg, sizeof(msg));
}

/* The file has that size for users of the kernel's attributes only. */
static void check_size(struct __test_metadata *_metadata,
		       struct _test_data_notified *self, __u64 size)
{
	struct statx stx;

	ASSERT_EQ(0, statx(self->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
			   STATX_SIZE, &stx));
	EXPECT_EQ(size, stx.stx_size);
}

/*
 * Positions where nothing may be stored, as they are or end beyond LLONG_MAX.
 */
static const struct {
	__u64 off;
	__u32 size;
} beyond[] = {
	{ LLONG_MAX, 1 },
	{ LLONG_MAX - 1, 2 },
	{ LLONG_MAX - PAGE + 1, PAGE },
	{ LLONG_MAX - 10, 2 * PAGE },
	{ LLONG_MAX + 1ULL, 0 },
	{ LLONG_MAX + 1ULL, PAGE },
	{ LLONG_MAX + 1ULL + PAGE, PAGE },
	{ ULLONG_MAX, 1 },
	{ ULLONG_MAX - PAGE + 1, PAGE },
	{ ULLONG_MAX - PAGE + 1, 2 * PAGE },
	{ ULLONG_MAX - 100, PAGE },
};

TEST_F(notified, store_beyond_the_largest_file_is_refused)
{
	unsigned int i;

	/* Differs from the contents of the file: a store would be seen. */
	fill_pattern(self->seen, LEN, 2);
	for (i = 0; i < ARRAY_SIZE(beyond); i++) {
		EXPECT_EQ(EINVAL, store(self, beyond[i].off, self->seen,
					beyond[i].size)) {
			TH_LOG("%u bytes at %#llx", beyond[i].size,
			       beyond[i].off);
		}
		check_size(_metadata, self, LEN);
	}
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, LEN);

	/* The control: inside the file, and at its end. */
	fill_pattern(self->data, PAGE, 2);
	ASSERT_EQ(0, store(self, 0, self->data, PAGE));
	check_size(_metadata, self, LEN);
	memcpy(self->data + LEN, self->data, PAGE);
	ASSERT_EQ(0, store(self, LEN, self->data, PAGE));
	check_size(_metadata, self, LEN + PAGE);
	/* Not beyond EOF, where the kernel may query the server. */
	EXPECT_EQ(LEN + PAGE, pread(self->fd, self->seen, LEN + PAGE, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN + PAGE));
}

/* Up to the last byte that a file can have, in two pages, and back again. */
TEST_F(notified, store_at_the_end_of_the_largest_file_is_taken)
{
	const __u64 off = LLONG_MAX - PAGE;
	int seq;

	fill_pattern(self->data, PAGE, 2);
	ASSERT_EQ(0, store(self, off, self->data, PAGE));
	check_size(_metadata, self, LLONG_MAX);
	ASSERT_EQ(0, retrieve(self, off + 1, 2 * PAGE));
	seq = await_req(&self->m, FUSE_NOTIFY_REPLY, REQ_ARRIVED, 1);
	ASSERT_NE(0, seq);
	EXPECT_EQ(PAGE - 1U, self->m.log->ev[seq - 1].req.size);
	EXPECT_EQ(PAGE - 1, pread(self->fd, self->seen, PAGE - 1, off + 1));
	EXPECT_EQ(-1, first_difference(self->data + 1, self->seen, PAGE - 1));
	EXPECT_EQ(0, find_req(&self->m, FUSE_READ, REQ_ARRIVED, 2));
}

TEST_F(notified, retrieve_beyond_the_largest_file_gets_nothing)
{
	int nr = 0, seq;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(beyond); i++) {
		int ret = retrieve(self, beyond[i].off,
				   beyond[i].size ?: ~0U);

		/* Refusing it is fine, too. */
		if (ret == EINVAL)
			continue;
		EXPECT_EQ(0, ret);
		seq = await_req(&self->m, FUSE_NOTIFY_REPLY, REQ_ARRIVED, ++nr);
		ASSERT_NE(0, seq);
		EXPECT_EQ(0U, self->m.log->ev[seq - 1].req.size) {
			TH_LOG("bytes from %#llx", beyond[i].off);
		}
	}
	check_size(_metadata, self, LEN);

	/* The control, from 100 bytes before EOF. */
	ASSERT_EQ(0, retrieve(self, LEN - 100, PAGE));
	seq = await_req(&self->m, FUSE_NOTIFY_REPLY, REQ_ARRIVED, nr + 1);
	ASSERT_NE(0, seq);
	EXPECT_EQ(100U, self->m.log->ev[seq - 1].req.size);
}

TEST_HARNESS_MAIN
