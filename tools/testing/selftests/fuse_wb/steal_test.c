// SPDX-License-Identifier: GPL-2.0
/*
 * A page of one server in the reply of another.
 *
 * When a server splices its reply to READ with SPLICE_F_MOVE, its pages are moved
 * into the page cache of the reader's file, if possible.  They may belong to a file
 * of another FUSE mount, which was spliced into the pipe.  A page cannot leave its
 * file while it is under writeback or locked.  A broken kernel makes the second
 * server wait for that, while the first one holds its reply; a sound one copies.
 * Linux 6.12 has no such page under writeback, but waits for the page lock.
 *
 * Promise: steal
 */

#include <sys/syscall.h>

#include "common.h"

#define PAGE	4096
#define PAGES	2
#define LEN	(PAGES * PAGE)

/*
 *   lender: "file", LEN bytes dirty, the first page in a pipe after a header
 *	|
 *	'--- WRITE ---> held
 *
 *   taker: "file" <--- READ, held: the pipe is spliced into /dev/fuse
 */
FIXTURE(steal)
{
	struct mnt lender;
	struct mnt taker;
	char *data;
	char *seen;
	int from;
	int to;
	int out;
	int in;
	int dev;
	struct call *reader;
};

static void put_reply(struct __test_metadata *_metadata,
		      struct _test_data_steal *self)
{
	struct fuse_out_header head = { .len = sizeof(head) + PAGE };
	int seq = await_req(&self->taker, FUSE_READ, REQ_ARRIVED, 1);
	loff_t off = 0;

	ASSERT_NE(0, seq);
	ASSERT_EQ(PAGE, (int)self->taker.log->ev[seq - 1].req.size);
	head.unique = self->taker.log->ev[seq - 1].req.unique;
	ASSERT_EQ((ssize_t)sizeof(head), write(self->in, &head, sizeof(head)));
	ASSERT_EQ(PAGE, splice(self->from, &off, self->in, NULL, PAGE, 0));
}

FIXTURE_SETUP(steal)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.open_flags = FOPEN_KEEP_CACHE,
	};
	int fds[2];

	/* Both before a file is opened: a server closes what it inherits. */
	if (!mnt_setup(_metadata, &self->lender, &opts, variant))
		return;
	if (!mnt_setup(_metadata, &self->taker, &opts, variant))
		return;
	file_setup(_metadata, &self->lender, "file", LEN, 1, &self->data,
		   &self->seen);
	ASSERT_EQ(0, server_put(self->taker.ctl, "file", PAGE - 1, "", 1));
	self->from = mnt_open(&self->lender, "file", O_RDWR);
	ASSERT_LE(0, self->from);
	fill_pattern(self->data, LEN, 2);
	ASSERT_EQ(LEN, pwrite(self->from, self->data, LEN, 0));
	ASSERT_EQ(0, hold_req(&self->lender, FUSE_WRITE));

	self->to = mnt_open(&self->taker, "file", O_RDONLY);
	ASSERT_LE(0, self->to);
	ASSERT_EQ(0, hold_req(&self->taker, FUSE_READ));
	self->reader = mnt_call(&self->taker, &call_pread, (struct call_arg){
		.fd = self->to, .buf = self->seen, .len = PAGE });
	ASSERT_NE(NULL, self->reader);
	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	self->out = fds[0];
	self->in = fds[1];
	put_reply(_metadata, self);
	self->dev = mnt_dev(&self->taker);
	ASSERT_LE(0, self->dev);
}

FIXTURE_TEARDOWN(steal)
{
	mnt_teardown(_metadata, &self->taker);
	mnt_teardown(_metadata, &self->lender);
}

static long do_move(const struct call_arg *arg)
{
	return splice(*(int *)arg->to, NULL, arg->fd, NULL, arg->len,
		      SPLICE_F_MOVE);
}

static const struct call_op call_move = { "splice", SYS_splice, do_move };

/* The reply is accepted, with its bytes. */
static void check_move(struct __test_metadata *_metadata,
		       struct _test_data_steal *self)
{
	size_t len = sizeof(struct fuse_out_header) + PAGE;

	EXPECT_EQ((long)len, mnt_run(&self->taker, &call_move,
				     (struct call_arg){
		.fd = self->dev, .to = &self->out, .len = len })) {
		TH_LOG("splice: %s", strerror(errno));
	}
	EXPECT_EQ(0, count_req(&self->lender, FUSE_WRITE, REQ_REPLIED));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->reader));
	EXPECT_EQ(PAGE, self->reader->ret);
	EXPECT_EQ(-1, first_difference(self->data, self->seen, PAGE));
}

TEST_F(steal, page_under_writeback_is_copied)
{
	ASSERT_EQ(0, start_writeback(&self->lender, self->from));
	ASSERT_NE(0, await_req(&self->lender, FUSE_WRITE, REQ_ARRIVED, 1));
	check_move(_metadata, self);

	/* The page is still in its file, and its bytes arrive. */
	ASSERT_EQ(1, server_release(self->lender.ctl, 0));
	ASSERT_NE(0, await_req(&self->lender, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_EQ(0, server_get(self->lender.ctl, "file", 0, self->seen, LEN));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
}

/* The control: an unused page is removed from its file. */
TEST_F(steal, clean_page_is_moved)
{
	ASSERT_EQ(0, server_drop_rules(self->lender.ctl));
	ASSERT_EQ(0, mnt_run(&self->lender, &call_fsync, (struct call_arg){
		.fd = self->from }));
	EXPECT_EQ(0, count_req(&self->lender, FUSE_READ, REQ_ARRIVED));
	/* It has left the per-CPU LRU batches, too. */
	ASSERT_EQ(0, write_file("/proc/sys/vm/drop_caches", "1"));
	EXPECT_EQ(sizeof(struct fuse_out_header) + PAGE,
		  (size_t)mnt_run(&self->taker, &call_move, (struct call_arg){
		.fd = self->dev, .to = &self->out,
		.len = sizeof(struct fuse_out_header) + PAGE }));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->reader));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, PAGE));
	EXPECT_EQ(PAGE, mnt_run(&self->lender, &call_pread, (struct call_arg){
		.fd = self->from, .buf = self->seen, .len = PAGE }));
	EXPECT_EQ(1, count_req(&self->lender, FUSE_READ, REQ_ARRIVED));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, PAGE));
}

TEST_HARNESS_MAIN
