// SPDX-License-Identifier: GPL-2.0
/*
 * A loop device on a file of a FUSE server.
 *
 * The block layer reads and writes the file from kernel threads, with
 * LO_FLAGS_DIRECT_IO as asynchronous direct I/O, whether or not the file was
 * opened with O_DIRECT.  A correct kernel completes a bio when the bytes are at
 * the server, and the device reports errors.
 *
 * Promise: direct-aio
 */

#include <stdlib.h>
#include <sys/ioctl.h>
#include <linux/loop.h>

#include "direct.h"

#define CONTROL		"/dev/loop-control"
#define PAGE		4096

/*
 *   dev --- bio ---> kernel thread --- READ, WRITE ---> server: "file"
 */
FIXTURE(looped)
{
	struct direct d;
	int dev;
};

/* @flags: open flags; @open_flags: of the reply; @lo_flags: of the device */
FIXTURE_VARIANT(looped)
{
	int flags;
	__u32 open_flags;
	__u32 lo_flags;
	bool writeback_cache;
};

FIXTURE_VARIANT_ADD(looped, cached) { .writeback_cache = true };

FIXTURE_VARIANT_ADD(looped, cached_dio)
{
	.writeback_cache = true, .lo_flags = LO_FLAGS_DIRECT_IO,
};

FIXTURE_VARIANT_ADD(looped, o_direct_parallel_dio)
{
	.flags = O_DIRECT, .open_flags = FOPEN_PARALLEL_DIRECT_WRITES,
	.lo_flags = LO_FLAGS_DIRECT_IO,
};

FIXTURE_VARIANT_ADD(looped, fopen_direct_io)
{
	.open_flags = FOPEN_DIRECT_IO,
};

FIXTURE_VARIANT_ADD(looped, fopen_direct_io_dio)
{
	.open_flags = FOPEN_DIRECT_IO, .lo_flags = LO_FLAGS_DIRECT_IO,
};

FIXTURE_VARIANT_ADD(looped, fopen_direct_io_parallel)
{
	.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
};

FIXTURE_VARIANT_ADD(looped, fopen_direct_io_parallel_dio)
{
	.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
	.lo_flags = LO_FLAGS_DIRECT_IO,
};

/* Attach the file to a free device.  Return: its descriptor, or -1. */
static int loop_open(int fd, __u32 flags)
{
	const struct loop_config config = {
		.fd = fd,
		.block_size = PAGE,
		/* Detached at the last close. */
		.info.lo_flags = flags | LO_FLAGS_AUTOCLEAR,
	};
	int control = open(CONTROL, O_RDWR | O_CLOEXEC), dev, nr;
	char path[32];

	nr = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
	if (nr < 0)
		return -1;
	close(control);
	snprintf(path, sizeof(path), "/dev/loop%d", nr);
	dev = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (dev >= 0 && ioctl(dev, LOOP_CONFIGURE, &config))
		return -1;
	return dev;
}

FIXTURE_SETUP(looped)
{
	const struct server_opts opts = {
		.async_dio = true,
		.max_write = STEP,
		.open_flags = variant->open_flags,
		.writeback_cache = variant->writeback_cache,
	};
	struct direct *d = &self->d;

	if (!direct_setup(_metadata, d, &opts, variant, variant->flags))
		return;
	if (mnt_lacks(_metadata, &d->m, access(CONTROL, F_OK) ?
		      "needs " CONTROL ", of CONFIG_BLK_DEV_LOOP" : NULL))
		return;
	self->dev = loop_open(d->fd, variant->lo_flags);
	ASSERT_LE(0, self->dev) {
		TH_LOG("a loop device: %s", strerror(errno));
	}
	fill_pattern(d->data, BYTES, 2);
}

/* Close the device first: it has the file open. */
FIXTURE_TEARDOWN(looped)
{
	EXPECT_LE(0, server_release(self->d.m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&self->d.m, &call_close, (struct call_arg){
		.fd = self->dev }));
	mnt_teardown(_metadata, &self->d.m);
}

static struct call_arg dev_arg(struct _test_data_looped *self, void *buf,
			       off_t off, size_t len)
{
	return (struct call_arg){
		.fd = self->dev, .buf = buf, .off = off, .len = len };
}

TEST_F(looped, device_is_set_up_as_asked)
{
	struct loop_info64 info;

	ASSERT_EQ(0, ioctl(self->dev, LOOP_GET_STATUS64, &info));
	EXPECT_EQ(variant->lo_flags, info.lo_flags & LO_FLAGS_DIRECT_IO);
}

TEST_F(looped, device_reads_what_the_server_has)
{
	struct direct *d = &self->d;

	fill_pattern(d->data, BYTES, 1);
	ASSERT_EQ(BYTES - PAGE, mnt_run(&d->m, &call_pread,
					dev_arg(self, d->buf, PAGE, BYTES)));
	EXPECT_EQ(-1, first_difference(d->data + PAGE, d->buf, BYTES - PAGE));
}

TEST_F(looped, device_writes_to_the_server)
{
	struct direct *d = &self->d;
	int seq;

	ASSERT_EQ(BYTES, mnt_run(&d->m, &call_pwrite,
				 dev_arg(self, d->data, 0, BYTES)));
	/* Where the data is in the device's page cache, fsync(2) sends it. */
	ASSERT_EQ(0, mnt_run(&d->m, &call_fsync, dev_arg(self, NULL, 0, 0)));
	ASSERT_EQ(0, server_get(d->m.ctl, "file", 0, d->buf, BYTES));
	EXPECT_EQ(-1, first_difference(d->data, d->buf, BYTES));
	EXPECT_EQ(BYTES, reqlog_bytes(d->m.log, &(struct req_match){
		.opcode = FUSE_WRITE }, REQ_REPLIED));
	/* Setting it up may have sent one before. */
	seq = find_req(&d->m, FUSE_FSYNC, REQ_ARRIVED,
		       count_req(&d->m, FUSE_FSYNC, REQ_ARRIVED));
	EXPECT_LT(find_req(&d->m, FUSE_WRITE, REQ_REPLIED,
			   count_req(&d->m, FUSE_WRITE, REQ_REPLIED)), seq);

	memset(d->buf, 0, BYTES);
	ASSERT_EQ(BYTES, mnt_run(&d->m, &call_pread,
				 dev_arg(self, d->buf, 0, BYTES)));
	EXPECT_EQ(-1, first_difference(d->data, d->buf, BYTES));
}

/* Without O_DIRECT anywhere, the page cache is in between. */
static bool is_direct(const struct _fixture_variant_looped *variant)
{
	return variant->lo_flags || variant->open_flags & FOPEN_DIRECT_IO;
}

TEST_F(looped, error_of_the_server_is_one_of_the_device)
{
	const struct req_match reads = { .opcode = FUSE_READ };
	const struct req_match writes = { .opcode = FUSE_WRITE };
	struct direct *d = &self->d;
	long ret;

	ASSERT_EQ(0, server_fail(d->m.ctl, &reads, EIO));
	ASSERT_EQ(0, server_fail(d->m.ctl, &writes, EIO));
	EXPECT_EQ(-1, mnt_run(&d->m, &call_pread,
			      dev_arg(self, d->buf, BYTES - PAGE, PAGE)));
	EXPECT_EQ(EIO, errno);
	ret = mnt_run(&d->m, &call_pwrite, dev_arg(self, d->data, 0, PAGE));
	if (!is_direct(variant)) {
		ASSERT_EQ(PAGE, ret);
		ret = mnt_run(&d->m, &call_fsync, dev_arg(self, NULL, 0, 0));
	}
	EXPECT_EQ(-1, ret);
	EXPECT_EQ(EIO, errno);
	ASSERT_EQ(0, server_drop_rules(d->m.ctl));
	ASSERT_EQ(PAGE, mnt_run(&d->m, &call_pread,
				dev_arg(self, d->buf, BYTES - PAGE, PAGE)));
}

TEST_HARNESS_MAIN
