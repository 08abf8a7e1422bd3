// SPDX-License-Identifier: GPL-2.0
/*
 * A direct read into a mapping of another file system.
 *
 * A file system with blocks smaller than a page keeps a record of the blocks that are
 * dirty.  When the reply to READ comes, the page may be dirty already, for the sake of
 * another block.  A sound kernel says that all of it has changed; in a broken one the
 * bytes that were read never get to the disk.
 *
 * Promise: direct-aio
 */

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "aio.h"
#include "common.h"

#define DISK	"/dev/ram0"
#define PAGE	4096
#define BLOCK	1024

/*
 *   source --- READ, held ---> the first block of map, which is the first page of disk
 */
FIXTURE(buffer)
{
	struct mnt m;
	int source;
	int disk;
	char *map;
	char *data;
	char *seen;
};

FIXTURE_VARIANT(buffer)
{
	const struct call_op *read;
};

FIXTURE_VARIANT_ADD(buffer, pread) { &call_pread };

FIXTURE_VARIANT_ADD(buffer, libaio) { &call_aio_pread };

FIXTURE_SETUP(buffer)
{
	const struct server_opts opts = { .async_dio = true };
	const int block = BLOCK;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	file_setup(_metadata, &self->m, "source", PAGE, 1, &self->data,
		   &self->seen);
	self->source = mnt_open(&self->m, "source", O_RDONLY | O_DIRECT);
	ASSERT_LE(0, self->source);
	self->disk = open(DISK, O_RDWR | O_EXCL);
	ASSERT_LE(0, self->disk) {
		TH_LOG("%s: %s: set CONFIG_BLK_DEV_RAM", DISK, strerror(errno));
	}
	ASSERT_EQ(0, ioctl(self->disk, BLKBSZSET, &block));
	memset(self->seen, 0, PAGE);
	ASSERT_EQ(PAGE, pwrite(self->disk, self->seen, PAGE, 0));
	ASSERT_EQ(0, fsync(self->disk));
	self->map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->disk, 0);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(buffer)
{
	close(self->disk);
	mnt_teardown(_metadata, &self->m);
}

TEST_F(buffer, read_into_a_block_beside_a_dirty_one_gets_to_the_disk)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	c = mnt_call(&self->m, variant->read, (struct call_arg){
		.fd = self->source, .buf = self->map, .len = BLOCK });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
	/* The fault of its buffer has made the page dirty. */
	ASSERT_EQ(0, fsync(self->disk));
	ASSERT_EQ(1, pwrite(self->disk, "x", 1, 2 * BLOCK));

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(BLOCK, c->ret);
	ASSERT_EQ(-1, first_difference(self->data, self->map, BLOCK));
	ASSERT_EQ(0, munmap(self->map, PAGE));
	ASSERT_EQ(0, fsync(self->disk));
	ASSERT_EQ(0, ioctl(self->disk, BLKFLSBUF, 0));
	ASSERT_EQ(PAGE, pread(self->disk, self->seen, PAGE, 0));
	EXPECT_EQ('x', self->seen[2 * BLOCK]);
	EXPECT_EQ(-1, first_difference(self->data, self->seen, BLOCK)) {
		TH_LOG("what was read is not on the disk");
	}
}

TEST_HARNESS_MAIN
