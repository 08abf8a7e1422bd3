// SPDX-License-Identifier: GPL-2.0
/*
 * The last reference to a file, dropped by the server's own reply.
 *
 * An asynchronous read or write holds a reference to the file.  If the descriptor
 * has been closed meanwhile, the reply drops the last reference: the server's
 * thread, inside its write(2) to /dev/fuse, runs the release.  This must not wait
 * for any reply of the server, such as one to a WRITE of the same file's page
 * cache from another task.  A broken kernel does, and a single-threaded server
 * waits for itself.
 *
 * Promise: reply
 */

#include "aio.h"
#include "common.h"

#define FILE_NAME	"file"
#define LEN		4096
/* The offsets of the direct I/O, and of the write to the page cache. */
#define DIRECT_AT	0
#define CACHED_AT	(64 << 10)
#define BYTES		(CACHED_AT + LEN)

/*
 *   direct: aio --- READ or WRITE, held; closed
 *   fd: a page of the page cache --- WRITE, held
 */
FIXTURE(reply)
{
	struct mnt m;
	struct aio aio;
	struct uring ring;
	char *data;
	char *seen;
	char *buf;
	int direct;
	int fd;
};

enum submitter {
	LIBAIO,
	IO_URING,
};

/*
 * times: the file's times have not been sent, either; dirty: there is another
 * dirty page, of which no WRITE has been sent
 */
FIXTURE_VARIANT(reply)
{
	enum submitter by;
	__u32 opcode;
	bool times;
	bool dirty;
};

FIXTURE_VARIANT_ADD(reply, to_aio_read)
{
	.opcode = FUSE_READ,
};

FIXTURE_VARIANT_ADD(reply, to_aio_write)
{
	.opcode = FUSE_WRITE,
};

FIXTURE_VARIANT_ADD(reply, to_aio_read_with_times)
{
	.opcode = FUSE_READ, .times = true,
};

FIXTURE_VARIANT_ADD(reply, to_aio_read_with_dirty_page)
{
	.opcode = FUSE_READ, .times = true, .dirty = true,
};

FIXTURE_VARIANT_ADD(reply, to_io_uring_read)
{
	.by = IO_URING, .opcode = FUSE_READ,
};

FIXTURE_VARIANT_ADD(reply, to_io_uring_write)
{
	.by = IO_URING, .opcode = FUSE_WRITE,
};

FIXTURE_SETUP(reply)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.async_dio = true,
		.open_flags = FOPEN_KEEP_CACHE,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	file_setup(_metadata, &self->m, FILE_NAME, BYTES, 1, &self->data,
		   &self->seen);
	self->buf = aligned_alloc(4096, LEN);
	ASSERT_NE(NULL, self->buf);
	memset(self->buf, 'd', LEN);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->direct = mnt_open(&self->m, FILE_NAME, O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->direct);
}

FIXTURE_TEARDOWN(reply)
{
	mnt_teardown(_metadata, &self->m);
}

static int submit(struct _test_data_reply *self, enum submitter by, __u32 opcode)
{
	const struct call_arg arg = { .fd = self->direct, .buf = self->buf,
				      .len = LEN, .off = DIRECT_AT };
	bool write = opcode == FUSE_WRITE;
	struct io_uring_sqe sqe;

	if (by == LIBAIO)
		return aio_submit(&self->aio, write ? IOCB_CMD_PWRITE :
				  IOCB_CMD_PREAD, &arg);
	if (uring_setup(&self->ring))
		return -1;
	sqe = uring_sqe(write ? IORING_OP_WRITE : IORING_OP_READ, &arg);
	return uring_submit(&self->ring, &sqe);
}

static long await_end(struct _test_data_reply *self, enum submitter by)
{
	struct io_uring_cqe cqe;

	if (by == LIBAIO)
		return aio_wait(&self->aio);
	return uring_wait(&self->ring, &cqe) ? -1 : cqe.res;
}

static int write_page(struct _test_data_reply *self, off_t off)
{
	memset(self->data + off, 'c', LEN);
	return pwrite(self->fd, self->data + off, LEN, off) == LEN ? 0 : -1;
}

TEST_F(reply, does_not_wait_for_the_server)
{
	const struct req_match direct = {
		.opcode = variant->opcode,
		.start = DIRECT_AT, .end = DIRECT_AT + LEN };
	struct mnt *m = &self->m;
	int i;

	ASSERT_EQ(0, hold_req(m, FUSE_WRITE));
	ASSERT_EQ(0, hold_req(m, FUSE_READ));
	ASSERT_EQ(0, submit(self, variant->by, variant->opcode));
	ASSERT_NE(0, reqlog_wait(m->log, &direct, REQ_ARRIVED, 1));
	ASSERT_EQ(0, mnt_run(m, &call_close, (struct call_arg){
		.fd = self->direct }));
	EXPECT_EQ(0, find_req(m, FUSE_RELEASE, REQ_ARRIVED, 1)) {
		TH_LOG("the request does not hold the file: nothing was tested");
	}

	ASSERT_EQ(0, write_page(self, CACHED_AT));
	ASSERT_EQ(0, start_writeback(m, self->fd));
	ASSERT_NE(0, await_req(m, FUSE_WRITE, REQ_ARRIVED,
			       1 + (variant->opcode == FUSE_WRITE)));
	if (!variant->times) {
		ASSERT_EQ(0, mnt_run(m, &call_sync, (struct call_arg){ }));
		ASSERT_NE(0, await_req(m, FUSE_SETATTR, REQ_REPLIED, 1));
	}
	if (variant->dirty)
		ASSERT_EQ(0, write_page(self, CACHED_AT - LEN));

	/* The thread that sends this reply also has to reply to the WRITE. */
	ASSERT_EQ(1, server_release_match(m->ctl, &direct)) {
		TH_LOG("the server waits in its reply for its own reply");
		process_print(stderr, m->server);
	}
	EXPECT_LE(1, server_release(m->ctl, 0));
	EXPECT_EQ(LEN, await_end(self, variant->by));
	EXPECT_NE(0, await_req(m, FUSE_RELEASE, REQ_REPLIED, 1));

	EXPECT_EQ(0, mnt_run(m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	if (variant->opcode == FUSE_WRITE)
		memset(self->data, 'd', LEN);
	else
		EXPECT_EQ(-1, first_difference(self->data, self->buf, LEN));
	for (i = 0; i < BYTES; i += LEN)
		ASSERT_EQ(0, server_get(m->ctl, FILE_NAME, i, self->seen + i,
					LEN));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, BYTES));
}

TEST_HARNESS_MAIN
