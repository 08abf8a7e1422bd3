// SPDX-License-Identifier: GPL-2.0
/*
 * Files whose reads and writes go to a backing file, bypassing the server.
 *
 * Such a file has no dirty page cache of its own.  A sound kernel therefore
 * offers passthrough only on connections without the writeback cache, where
 * writes reach the backing file at once, and keeps cached and passthrough opens
 * of one inode apart.  A broken one has dirty pages and a backing file
 * simultaneously, and loses one of them, or stacks file systems without limit.
 *
 * Promise: 3ab394b363c5
 */

#include <sys/mman.h>
#include <sys/stat.h>

#include "common.h"

/* Not in older headers; Linux 6.9 added it. */
#ifndef FUSE_PASSTHROUGH
#define FUSE_PASSTHROUGH	0x2000000000ULL
#define FOPEN_PASSTHROUGH	0x80
#endif

#define FILE_NAME	"file"
#define PAGES		4

/*
 *   fd, map --- read, write, store ---> backing, in memory
 *       '------ OPEN, FLUSH, ... -----> server: "file"
 */
FIXTURE(passthrough)
{
	struct mnt m;
	ssize_t page;
	ssize_t len;
	int backing;
	int id;
	char *data;
	char *seen;
};

static void pass_setup(struct __test_metadata *_metadata,
		       struct _test_data_passthrough *self, bool cached,
		       const void *variant)
{
	const struct server_opts opts = {
		.init_flags = FUSE_PASSTHROUGH,
		.max_stack_depth = 1,
		.writeback_cache = cached,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->len = PAGES * self->page;
	/* The backing file has the same size, but other bytes. */
	file_setup(_metadata, &self->m, FILE_NAME, self->len, 2, &self->data,
		   &self->seen);
	fill_pattern(self->data, self->len, 1);
	self->backing = memfd_create("backing", MFD_CLOEXEC);
	ASSERT_LE(0, self->backing);
	ASSERT_EQ(self->len, write(self->backing, self->data, self->len));
}

FIXTURE_SETUP(passthrough)
{
	pass_setup(_metadata, self, false, variant);
	self->id = mnt_backing_open(&self->m, self->backing);
	ASSERT_LT(0, self->id) {
		TH_LOG("registering a backing file: %s", strerror(errno));
	}
	ASSERT_EQ(0, server_open_backing(self->m.ctl, FOPEN_PASSTHROUGH,
					 self->id));
}

FIXTURE_TEARDOWN(passthrough)
{
	mnt_teardown(_metadata, &self->m);
}

/* Only OPEN and the requests of close(2) have reached the server. */
static void check_passed(struct __test_metadata *_metadata,
			 struct _test_data_passthrough *self)
{
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(0, find_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_EQ(self->len, pread(self->backing, self->seen, self->len, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len)) {
		TH_LOG("the backing file has other bytes");
	}
}

TEST_F(passthrough, reads_and_writes_go_to_the_backing_file)
{
	int fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	struct stat st;

	ASSERT_LE(0, fd);
	ASSERT_EQ(self->len, pread(fd, self->seen, self->len, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len));
	fill_pattern(self->data + 5, self->page, 3);
	ASSERT_EQ(self->page, pwrite(fd, self->data + 5, self->page, 5));
	check_passed(_metadata, self);

	/* Extend it; the kernel knows the new size at once. */
	ASSERT_EQ(7, pwrite(fd, "at last", 7, self->len));
	ASSERT_EQ(0, fstat(self->backing, &st));
	EXPECT_EQ(self->len + 7, st.st_size);
	ASSERT_EQ(self->len + 7, lseek(self->backing, 0, SEEK_END));
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(1, count_req(&self->m, FUSE_FLUSH, REQ_ARRIVED));
}

/* Stores go to the backing file's pages, and there is no FUSE writeback. */
TEST_F(passthrough, mapping_is_of_the_backing_file)
{
	int fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	char *map;

	ASSERT_LE(0, fd);
	map = mmap(NULL, self->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(-1, first_difference(self->data, map, self->len));
	fill_pattern(self->data, self->page, 3);
	memcpy(map, self->data, self->page);
	check_passed(_metadata, self);
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = fd }));
	EXPECT_EQ(1, count_req(&self->m, FUSE_FSYNC, REQ_ARRIVED));
	check_passed(_metadata, self);
}

/* One inode cannot be both: the second open is refused. */
TEST_F(passthrough, cached_open_is_refused_meanwhile)
{
	int fd = mnt_open(&self->m, FILE_NAME, O_RDWR), other;
	char path[128];

	snprintf(path, sizeof(path), "%s/" FILE_NAME, self->m.dir);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, server_open_flags(self->m.ctl, 0));
	EXPECT_EQ(-1, open(path, O_RDWR | O_CLOEXEC));
	EXPECT_EQ(EIO, errno);

	/* The last close ends passthrough. */
	ASSERT_EQ(0, close(fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_RELEASE, REQ_REPLIED, 2));
	fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, server_open_backing(self->m.ctl, FOPEN_PASSTHROUGH,
					 self->id));
	other = open(path, O_RDWR | O_CLOEXEC);
	EXPECT_EQ(-1, other);
	EXPECT_EQ(EIO, errno);
	/* The cached one is unaffected: it has the server's bytes. */
	ASSERT_EQ(self->len, pread(fd, self->seen, self->len, 0));
	fill_pattern(self->data, self->len, 2);
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len));
}

/* A backing file on such a mount would exceed the stacking depth. */
TEST_F(passthrough, stack_is_no_deeper_than_the_server_said)
{
	int fd = mnt_open(&self->m, FILE_NAME, O_RDWR);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, mnt_backing_open(&self->m, fd));
	EXPECT_EQ(ELOOP, errno);
}

/* The same server, but with the writeback cache: it takes precedence. */
FIXTURE(passthrough_cached)
{
	FIXTURE_DATA(passthrough) p;
};

FIXTURE_SETUP(passthrough_cached)
{
	pass_setup(_metadata, &self->p, true, variant);
}

FIXTURE_TEARDOWN(passthrough_cached)
{
	mnt_teardown(_metadata, &self->p.m);
}

TEST_F(passthrough_cached, backing_file_is_refused)
{
	EXPECT_EQ(-1, mnt_backing_open(&self->p.m, self->p.backing));
	EXPECT_EQ(EPERM, errno);
}

/* Nor does it help to request passthrough in the reply to OPEN. */
TEST_F(passthrough_cached, writes_go_to_the_cache_and_the_server)
{
	struct _test_data_passthrough *p = &self->p;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/" FILE_NAME, p->m.dir);
	ASSERT_EQ(0, server_open_backing(p->m.ctl, FOPEN_PASSTHROUGH, 1));
	EXPECT_EQ(-1, open(path, O_RDWR | O_CLOEXEC));
	EXPECT_EQ(EIO, errno);
	ASSERT_EQ(0, server_open_flags(p->m.ctl, 0));
	fd = mnt_open(&p->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, fd);
	fill_pattern(p->data, p->len, 3);
	ASSERT_EQ(p->len, pwrite(fd, p->data, p->len, 0));
	EXPECT_EQ(0, find_req(&p->m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_EQ(0, start_writeback(&p->m, fd));
	ASSERT_EQ(0, await_writes(&p->m));
	ASSERT_EQ(0, server_get(p->m.ctl, FILE_NAME, 0, p->seen, p->len));
	EXPECT_EQ(-1, first_difference(p->data, p->seen, p->len));
	fill_pattern(p->data, p->len, 1);
	ASSERT_EQ(p->len, pread(p->backing, p->seen, p->len, 0));
	EXPECT_EQ(-1, first_difference(p->data, p->seen, p->len));
}

TEST_HARNESS_MAIN
