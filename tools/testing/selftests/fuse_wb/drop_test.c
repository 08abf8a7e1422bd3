// SPDX-License-Identifier: GPL-2.0
/*
 * Dropping pages one of which is sent meanwhile.
 *
 * Pages are dropped by an open, by copy_file_range(2), and at the end of a
 * direct write.  A flusher may send one of them after this has begun.  A broken
 * kernel checks for pages under writeback first, and then waits for those whose
 * writeback has started since.  Linux 6.12 sends copies, and so does not wait.
 * A correct kernel leaves such a page until its writeback ends, and drops it
 * then.
 *
 * Promise: bystanders
 */

#include <sys/mman.h>
#include <sys/syscall.h>

#include "aio.h"
#include "common.h"

#define PAGE	4096
#define PAGES	2
#define LEN	(PAGES * PAGE)

/*
 *   map, fd: "file", all of it cached; other: the same
 *   direct: the same, O_DIRECT; source: as many other bytes
 */
FIXTURE(drop)
{
	struct mnt m;
	char *data;
	char *seen;
	char *buf;
	char *map;
	char path[128];
	int fd;
	int other;
	int direct;
	int source;
};

FIXTURE_SETUP(drop)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.async_dio = true,
		.threads = 3,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, NULL))
		return;
	self->buf = aligned_alloc(PAGE, LEN);
	ASSERT_NE(NULL, self->buf);
	fill_pattern(self->buf, LEN, 5);
	ASSERT_EQ(0, server_put(self->m.ctl, "source", 0, self->buf, LEN));
	file_setup(_metadata, &self->m, "file", LEN, 1, &self->data,
		   &self->seen);
	snprintf(self->path, sizeof(self->path), "%s/file", self->m.dir);
	self->source = mnt_open(&self->m, "source", O_RDONLY);
	ASSERT_LE(0, self->source);
	self->fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->fd);
	self->other = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->other);
	self->direct = mnt_open(&self->m, "file", O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->direct);
	self->map = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(drop)
{
	mnt_teardown(_metadata, &self->m);
}

/*
 * Store to a page, write it back, and check that the @nth WRITE is at the
 * server.
 */
static void send_page(struct __test_metadata *_metadata,
		      struct _test_data_drop *self, int index, int nth)
{
	self->map[index * PAGE + 1] = 'x';
	ASSERT_EQ(0, start_writeback(&self->m, self->other));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, nth));
}

/*
 * The call returns while the last WRITE is held; after that the pages are gone.
 */
static void check_dropped(struct __test_metadata *_metadata,
			  struct _test_data_drop *self, struct call *c,
			  int index)
{
	int sent = count_req(&self->m, FUSE_WRITE, REQ_ARRIVED);

	EXPECT_EQ(CALL_RETURNED, call_wait_returned(c)) {
		TH_LOG("%s waits for a page whose writeback started meanwhile",
		       c->op->name);
	}
	EXPECT_LE(0, c->ret) {
		TH_LOG("%s: %s", c->op->name, strerror(c->err));
	}
	EXPECT_EQ(sent - 1, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_REPLIED, sent));

	/* The server has what was stored. */
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, self->seen, LEN));
	EXPECT_EQ('x', self->seen[index * PAGE + 1]);
	fill_pattern(self->data, LEN, 3);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data, LEN));
	EXPECT_EQ(PAGE, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->other, .buf = self->seen, .len = PAGE,
		.off = index * PAGE }));
	EXPECT_EQ(-1, first_difference(self->data + index * PAGE, self->seen,
				       PAGE)) {
		TH_LOG("a page that should have been dropped is still cached");
	}
}

/* It sends the first page and waits for it; a flusher sends the other one. */
TEST_F(drop, open_does_not_wait_for_a_page_sent_meanwhile)
{
	struct call *c;

	self->map[0] = 'a';
	self->map[PAGE] = 'b';
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	c = mnt_call(&self->m, &call_open, (struct call_arg){
		.buf = self->path, .flags = O_RDONLY });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	send_page(_metadata, self, 1, 2);
	/* The control: it does wait for what it has sent itself. */
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	ASSERT_EQ(1, server_release(self->m.ctl, 1));
	check_dropped(_metadata, self, c, 1);
}

static long do_copy(const struct call_arg *arg)
{
	loff_t from = 0, to = arg->off;

	return copy_file_range(arg->fd, &from, *(int *)arg->buf, &to, arg->len,
			       0);
}

static const struct call_op call_copy = {
	"copy_file_range", SYS_copy_file_range, do_copy
};

TEST_F(drop, copy_file_range_does_not_wait_for_a_page_sent_meanwhile)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_COPY_FILE_RANGE));
	c = mnt_call(&self->m, &call_copy, (struct call_arg){
		.fd = self->source, .buf = &self->fd, .len = LEN });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_COPY_FILE_RANGE, REQ_ARRIVED, 1));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	send_page(_metadata, self, 0, 1);
	ASSERT_EQ(1, server_release(self->m.ctl, 1));
	check_dropped(_metadata, self, c, 0);
}

static void check_direct_write(struct __test_metadata *_metadata,
			       struct _test_data_drop *self,
			       const struct call_op *op)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	c = mnt_call(&self->m, op, (struct call_arg){
		.fd = self->direct, .buf = self->buf, .len = LEN });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	send_page(_metadata, self, 0, 2);
	ASSERT_EQ(1, server_release(self->m.ctl, 1));
	check_dropped(_metadata, self, c, 0);
}

TEST_F(drop, direct_write_does_not_wait_for_a_page_sent_meanwhile)
{
	check_direct_write(_metadata, self, &call_pwrite);
}

/*
 * A worker drops the pages: a task that waits for the aio waits for the worker.
 */
TEST_F(drop, aio_write_does_not_wait_for_a_page_sent_meanwhile)
{
	check_direct_write(_metadata, self, &call_aio_pwrite);
}

/*
 * The page is still dirty: the worker sends it, and does not wait for the
 * reply.
 */
TEST_F(drop, aio_write_does_not_wait_for_a_page_that_it_sends)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	c = mnt_call(&self->m, &call_aio_pwrite, (struct call_arg){
		.fd = self->direct, .buf = self->buf, .len = LEN });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	self->map[1] = 'x';
	ASSERT_EQ(1, server_release(self->m.ctl, 1));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 2));
	check_dropped(_metadata, self, c, 0);
}

TEST_HARNESS_MAIN
