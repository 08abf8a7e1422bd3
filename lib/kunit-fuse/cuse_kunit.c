// SPDX-License-Identifier: GPL-2.0-only
/*
 * CUSE opens and serves files through FUSE code, on inodes that are not FUSE
 * inodes. Writeback code must not touch those: on a broken kernel the mapping
 * of a character device has AS_WRITEBACK_MAY_BLOCK, or write(2) treats the inode
 * as a struct fuse_inode, and corrupts the memory around it.
 *
 * The nodes of both devices are on the fixture's mount. The test is the CUSE
 * server; it maps its buffer as a process would.
 *
 * Promise: mapping-flag
 */

#include <linux/file.h>
#include <linux/kdev_t.h>
#include <linux/major.h>
#include <linux/mman.h>
#include <linux/miscdevice.h>
#include <linux/pagemap.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "fixture.h"

#define BUFFER_SIZE	SZ_64K

/* A major number for local use. */
#define DEVICE_MAJOR	240

static void put_file(void *file)
{
	__fput_sync(file);
}

/* Read the next request, and expect this opcode. */
static u64 take_request(struct kunit *test, struct file *channel,
			void __user *buffer, u32 opcode)
{
	unsigned long end = jiffies + FUSE_WB_DEADLINE;
	struct fuse_in_header in = {};
	struct iov_iter iter;
	struct kiocb kiocb;
	ssize_t ret;

	do {
		init_sync_kiocb(&kiocb, channel);
		iov_iter_ubuf(&iter, ITER_DEST, buffer, BUFFER_SIZE);
		ret = channel->f_op->read_iter(&kiocb, &iter);
		if (ret == -EAGAIN)
			schedule_timeout_uninterruptible(1);
	} while (ret == -EAGAIN && time_before(jiffies, end));
	KUNIT_ASSERT_GE_MSG(test, ret, sizeof(in), "waited for opcode %u", opcode);
	KUNIT_ASSERT_EQ(test, copy_from_user(&in, buffer, sizeof(in)), 0);
	KUNIT_ASSERT_EQ(test, in.opcode, opcode);

	return in.unique;
}

static void answer(struct kunit *test, struct file *channel,
		   void __user *buffer, u64 unique, const void *data, size_t len)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + len,
		.unique = unique,
	};
	struct iov_iter iter;
	struct kiocb kiocb;

	KUNIT_ASSERT_EQ(test, copy_to_user(buffer, &out, sizeof(out)), 0);
	KUNIT_ASSERT_EQ(test, copy_to_user(buffer + sizeof(out), data, len), 0);
	init_sync_kiocb(&kiocb, channel);
	iov_iter_ubuf(&iter, ITER_SOURCE, buffer, out.len);
	KUNIT_ASSERT_EQ(test, channel->f_op->write_iter(&kiocb, &iter), out.len);
}

/* Return: the open device; also its server's channel, and a buffer for that. */
static struct file *open_device(struct kunit *test, struct file **server,
				void __user **room)
{
	struct {
		struct cuse_init_out out;
		char info[sizeof("DEVNAME=fuse_wb_kunit")];
	} __packed init = {
		.out = {
			.major = FUSE_KERNEL_VERSION,
			.minor = FUSE_KERNEL_MINOR_VERSION,
			.max_read = PAGE_SIZE,
			.max_write = PAGE_SIZE,
			.dev_major = DEVICE_MAJOR,
		},
		.info = "DEVNAME=fuse_wb_kunit",
	};
	struct fuse_open_out open = {};
	struct fuse_wb *wb = test->priv;
	struct file *channel, *device;
	struct fuse_wb_call *call;
	void __user *buffer;
	u64 unique;

	if (!IS_ENABLED(CONFIG_CUSE))
		kunit_skip(test, "needs CONFIG_CUSE");

	wb->server->attr[FUSE_WB_CUSE].rdev =
		new_encode_dev(MKDEV(MISC_MAJOR, CUSE_MINOR));
	wb->server->attr[FUSE_WB_DEVICE].rdev =
		new_encode_dev(MKDEV(DEVICE_MAJOR, 0));
	buffer = (void __user *)kunit_vm_mmap(test, NULL, 0, BUFFER_SIZE,
					      PROT_READ | PROT_WRITE,
					      MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, (void __force *)buffer);
	channel = (struct file *)fuse_wb_run(wb, fuse_wb_do_open, "cuse", 0, 0);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, channel);
	channel->f_flags |= O_NONBLOCK;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, put_file, channel));

	unique = take_request(test, channel, buffer, CUSE_INIT);
	answer(test, channel, buffer, unique, &init, sizeof(init));
	call = fuse_wb_start(wb, fuse_wb_do_open, "device", 0, 0);
	unique = take_request(test, channel, buffer, FUSE_OPEN);
	answer(test, channel, buffer, unique, &open, sizeof(open));
	device = (struct file *)fuse_wb_join(call);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, device);
	/* Closing it waits for a reply, or for the channel to be closed. */
	wb->files[0] = device;
	*server = channel;
	*room = buffer;

	return device;
}

static void writeback_of_device_does_not_block(struct kunit *test)
{
	struct file *channel, *device;
	void __user *buffer;

	device = open_device(test, &channel, &buffer);
	KUNIT_EXPECT_FALSE(test, mapping_writeback_may_block(device->f_mapping));
	KUNIT_EXPECT_FALSE(test, mapping_writeback_may_block(channel->f_mapping));
}

/*
 * Here the node's inode is a FUSE inode, on a mount with writeback cache, so that
 * a broken kernel changes fi->state, and does not crash.
 *
 * Promise: policy-05
 */
static void write_leaves_the_inode_of_device_alone(struct kunit *test)
{
	struct fuse_write_out out = { .size = 1 };
	struct fuse_wb *wb = test->priv;
	struct file *channel, *device;
	struct fuse_wb_call *call;
	struct fuse_inode *fi;
	void __user *buffer;
	u64 unique;

	device = open_device(test, &channel, &buffer);
	fi = get_fuse_inode(file_inode(device));
	KUNIT_ASSERT_EQ(test, fi->state, 0);
	call = fuse_wb_start(wb, fuse_wb_do_write, device, 0, 1);
	unique = take_request(test, channel, buffer, FUSE_WRITE);
	answer(test, channel, buffer, unique, &out, sizeof(out));
	KUNIT_EXPECT_EQ(test, fuse_wb_join(call), 1);
	KUNIT_EXPECT_EQ(test, fi->state, 0);
}

static struct kunit_case cuse_cases[] = {
	KUNIT_CASE(writeback_of_device_does_not_block),
	KUNIT_CASE(write_leaves_the_inode_of_device_alone),
	{}
};

static struct kunit_suite cuse_suite = {
	.name = "fuse_wb_cuse",
	.init = fuse_wb_init_writeback_cache,
	.test_cases = cuse_cases,
};

kunit_test_suite(cuse_suite);
