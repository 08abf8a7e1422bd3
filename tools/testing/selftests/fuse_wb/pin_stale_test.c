// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that were pinned when they should have been dropped.
 *
 * A direct write whose buffer is a shared mapping pins the pages of the mapped file,
 * and changes nothing in them.  Meanwhile the server may invalidate the file, or a
 * direct write may bypass the page cache: the page stays, see pin_test.c, but it is
 * stale.  A sound kernel reads it again before it is used, whether it is still pinned
 * or not: any task that may read a file can pin its pages for as long as it likes.
 *
 * Promise: direct-pinned
 */

#include <sys/mman.h>
#include <sys/stat.h>

#include "common.h"

#define PAGE	4096
#define PAGES	4
#define BYTES	(PAGES * PAGE)

/*
 *   the first page of map --- WRITE, held ---> target
 *   old: what "file" has held; data: what it has to hold
 */
FIXTURE(stale_pin)
{
	struct mnt m;
	int fd;
	int target;
	char *map;
	__u64 node;
	char *old;
	char *data;
	char *seen;
	struct call *write;
};

/* @pinned: the page is used while it is pinned, and not afterwards */
FIXTURE_VARIANT(stale_pin)
{
	bool writeback_cache;
	bool pinned;
};

FIXTURE_VARIANT_ADD(stale_pin, through) { };

FIXTURE_VARIANT_ADD(stale_pin, through_pinned) { .pinned = true };

FIXTURE_VARIANT_ADD(stale_pin, writeback) { .writeback_cache = true };

FIXTURE_VARIANT_ADD(stale_pin, writeback_pinned)
{
	.writeback_cache = true, .pinned = true,
};

FIXTURE_SETUP(stale_pin)
{
	const struct server_opts opts = {
		.async_dio = true,
		.writeback_cache = variant->writeback_cache,
		.open_flags = FOPEN_KEEP_CACHE,
		.init_flags = FUSE_DIRECT_IO_ALLOW_MMAP,
		.threads = 3,
	};
	struct stat st;
	int before;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	file_setup(_metadata, &self->m, "file", BYTES, 1, &self->old,
		   &self->seen);
	file_setup(_metadata, &self->m, "target", BYTES, 2, &self->data,
		   &self->seen);
	fill_pattern(self->data, BYTES, 3);
	self->target = mnt_open(&self->m, "target", O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->target);
	self->fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, fstat(self->fd, &st));
	self->node = st.st_ino;
	self->map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	/* Pages dirtied by populating the mapping */
	ASSERT_EQ(0, msync(self->map, BYTES, MS_SYNC));

	before = count_req(&self->m, FUSE_WRITE, REQ_ARRIVED);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	self->write = mnt_call(&self->m, &call_pwrite, (struct call_arg){
		.fd = self->target, .buf = self->map, .len = PAGE });
	ASSERT_NE(NULL, self->write);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, before + 1));
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
}

FIXTURE_TEARDOWN(stale_pin)
{
	mnt_teardown(_metadata, &self->m);
}

static bool has(struct _test_data_stale_pin *self, int page, const char *data)
{
	return pread(self->fd, self->seen, PAGE, page * PAGE) == PAGE &&
	       first_difference(data + page * PAGE, self->seen, PAGE) < 0;
}

static void end_write(struct __test_metadata *_metadata,
		      struct _test_data_stale_pin *self)
{
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->write));
	ASSERT_EQ(PAGE, self->write->ret);
	/* The write has sent the bytes that it saw. */
	ASSERT_EQ(0, server_get(self->m.ctl, "target", 0, self->seen, PAGE));
	EXPECT_EQ(-1, first_difference(self->old, self->seen, PAGE));
}

/*
 * The server has other bytes, and invalidates the file.  The page is used next.
 */
static void invalidate(struct __test_metadata *_metadata,
		       struct _test_data_stale_pin *self,
		       const struct _fixture_variant_stale_pin *variant)
{
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data, BYTES));
	ASSERT_EQ(0, server_inval(self->m.ctl, self->node, 0, 0));
	if (!variant->pinned)
		end_write(_metadata, self);
}

static void check_file(struct __test_metadata *_metadata,
		       struct _test_data_stale_pin *self,
		       const struct _fixture_variant_stale_pin *variant)
{
	if (variant->pinned)
		end_write(_metadata, self);
	EXPECT_EQ(-1, first_difference(self->data, self->map, BYTES)) {
		TH_LOG("the mapping does not show the server's bytes");
	}
	ASSERT_EQ(0, msync(self->map, BYTES, MS_SYNC));
	expect_file(_metadata, &self->m, "file", self->fd, self->data,
		    self->seen, BYTES);
}

TEST_F(stale_pin, read_sees_what_the_server_has)
{
	invalidate(_metadata, self, variant);
	EXPECT_TRUE(has(self, 0, self->data));
	check_file(_metadata, self, variant);
}

TEST_F(stale_pin, load_sees_what_the_server_has)
{
	invalidate(_metadata, self, variant);
	EXPECT_EQ(-1, first_difference(self->data, self->map, PAGE));
	check_file(_metadata, self, variant);
}

TEST_F(stale_pin, new_mapping_sees_what_the_server_has)
{
	char *map;

	invalidate(_metadata, self, variant);
	map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_POPULATE, self->fd,
		   0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(-1, first_difference(self->data, map, PAGE));
	check_file(_metadata, self, variant);
}

TEST_F(stale_pin, store_is_to_what_the_server_has)
{
	invalidate(_metadata, self, variant);
	self->map[100] = 'x';
	self->data[100] = 'x';
	check_file(_metadata, self, variant);
}

TEST_F(stale_pin, write_is_to_what_the_server_has)
{
	invalidate(_metadata, self, variant);
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 100));
	self->data[100] = 'x';
	check_file(_metadata, self, variant);
}

TEST_F(stale_pin, splice_takes_what_the_server_has)
{
	loff_t off = 0;
	int fds[2];

	invalidate(_metadata, self, variant);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(PAGE, splice(self->fd, &off, fds[1], NULL, PAGE, 0));
	ASSERT_EQ(PAGE, read(fds[0], self->seen, PAGE));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, PAGE));
	check_file(_metadata, self, variant);
}

/* The reader of the pipe sees neither the invalidation nor an error. */
TEST_F(stale_pin, pipe_keeps_what_was_spliced)
{
	loff_t off = 0;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(PAGE, splice(self->fd, &off, fds[1], NULL, PAGE, 0));
	invalidate(_metadata, self, variant);
	ASSERT_EQ(PAGE, read(fds[0], self->seen, PAGE)) {
		TH_LOG("read of the pipe: %s", strerror(errno));
	}
	EXPECT_EQ(-1, first_difference(self->old, self->seen, PAGE));
	check_file(_metadata, self, variant);
}

TEST_F(stale_pin, direct_write_sends_nothing_stale)
{
	int fd = mnt_open(&self->m, "file", O_RDWR | O_DIRECT);

	ASSERT_LE(0, fd);
	invalidate(_metadata, self, variant);
	EXPECT_EQ(1, mnt_run(&self->m, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = "x", .len = 1, .off = 100 }));
	self->data[100] = 'x';
	check_file(_metadata, self, variant);
}

/* The page has not been invalidated by the server, but overwritten. */
TEST_F(stale_pin, direct_write_is_seen)
{
	int fd;

	memcpy(self->data + PAGE, self->old + PAGE, BYTES - PAGE);
	ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_KEEP_CACHE |
				       FOPEN_DIRECT_IO));
	fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(PAGE, mnt_run(&self->m, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = self->data, .len = PAGE }));
	if (!variant->pinned)
		end_write(_metadata, self);
	check_file(_metadata, self, variant);
}

TEST_HARNESS_MAIN
