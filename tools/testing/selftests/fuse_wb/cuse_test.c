// SPDX-License-Identifier: GPL-2.0
/*
 * A character device implemented by a user space server: CUSE.
 *
 * Its reads and writes use FUSE's direct I/O code, on an inode that belongs to
 * another file system.  A correct kernel leaves that inode alone.  A broken one
 * treats it as a fuse_inode after a write(2), and corrupts memory, or crashes.
 *
 * Promise: policy-05
 */

#include <poll.h>
#include <sys/uio.h>

#include "common.h"

#define CUSE_DEV	"/dev/cuse"
#define NAME		"fuse_wb_cuse"
#define BYTES		100

/*
 * fd: /dev/NAME --- OPEN, WRITE, READ, RELEASE ---> cuse: the server is the
 * test itself
 */
FIXTURE(device)
{
	int cuse;
	struct reqlog *log;
	struct call *calls;
	char data[BYTES];
	char seen[BYTES];
	char request[64 << 10];
};

/* Read the next request, which has to be of this kind.  Return: its unique. */
static __u64 take(struct __test_metadata *_metadata,
		  struct _test_data_device *self, __u32 opcode)
{
	struct pollfd ready = { .fd = self->cuse, .events = POLLIN };
	const struct fuse_in_header *in = (void *)self->request;

	ASSERT_EQ(1, poll(&ready, 1, WAIT_SECONDS * 1000)) {
		TH_LOG("timed out (%d s) waiting for opcode %u", WAIT_SECONDS,
		       opcode);
	}
	ASSERT_LE((ssize_t)sizeof(*in), read(self->cuse, self->request,
					     sizeof(self->request)));
	ASSERT_EQ(opcode, in->opcode);
	return in->unique;
}

static void reply(struct __test_metadata *_metadata,
		  struct _test_data_device *self, __u64 unique,
		  void *data, size_t len)
{
	struct fuse_out_header out = { .len = sizeof(out) + len,
				       .unique = unique };
	struct iovec iov[] = { { &out, sizeof(out) }, { data, len } };

	ASSERT_EQ(out.len, writev(self->cuse, iov, len ? 2 : 1));
}

FIXTURE_SETUP(device)
{
	struct {
		struct cuse_init_out out;
		char info[sizeof("DEVNAME=" NAME)];
	} init = {
		.out = {
			.major = FUSE_KERNEL_VERSION,
			.minor = FUSE_KERNEL_MINOR_VERSION,
			.max_read = 4096,
			.max_write = 4096,
		},
		.info = "DEVNAME=" NAME,
	};
	__u64 unique;

	if (access(CUSE_DEV, F_OK))
		SKIP(return, "needs " CUSE_DEV ", of CONFIG_CUSE");
	self->log = reqlog_new();
	ASSERT_NE(NULL, self->log);
	self->cuse = open(CUSE_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->cuse);
	unique = take(_metadata, self, CUSE_INIT);
	/* The device exists when this has returned. */
	reply(_metadata, self, unique, &init,
	      offsetof(typeof(init), info) + sizeof(init.info));
	fill_pattern(self->data, BYTES, 1);
}

/* Closing the server's descriptor removes the device, and all calls return. */
FIXTURE_TEARDOWN(device)
{
	EXPECT_EQ(0, close(self->cuse));
	EXPECT_EQ(0, call_end_all(&self->calls));
	reqlog_free(self->log);
}

/* Make a call, reply to its request, and wait.  Return: what it returned. */
static long run(struct __test_metadata *_metadata,
		struct _test_data_device *self, const struct call_op *op,
		struct call_arg arg, __u32 opcode, void *data, size_t len)
{
	struct call *c = call_start(&self->calls, self->log, op, arg);

	ASSERT_NE(NULL, c);
	reply(_metadata, self, take(_metadata, self, opcode), data, len);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	return c->ret;
}

TEST_F(device, bytes_go_to_the_server_and_back)
{
	const size_t head = sizeof(struct fuse_in_header) +
			    sizeof(struct fuse_write_in);
	struct fuse_write_out written = { .size = BYTES };
	struct fuse_open_out opened = { .fh = 1 };
	struct call_arg arg = { .buf = "/dev/" NAME, .flags = O_RDWR };

	arg.fd = run(_metadata, self, &call_open, arg, FUSE_OPEN, &opened,
		     sizeof(opened));
	ASSERT_LE(0, arg.fd);
	arg.buf = self->data;
	arg.len = BYTES;
	EXPECT_EQ(BYTES, run(_metadata, self, &call_pwrite, arg, FUSE_WRITE,
			     &written, sizeof(written)));
	EXPECT_EQ(-1, first_difference(self->data, self->request + head,
				       BYTES));
	arg.buf = self->seen;
	EXPECT_EQ(BYTES, run(_metadata, self, &call_pread, arg, FUSE_READ,
			     self->data, BYTES));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, BYTES));
	EXPECT_EQ(0, run(_metadata, self, &call_close, arg, FUSE_RELEASE, NULL,
			 0));
}

TEST_HARNESS_MAIN
