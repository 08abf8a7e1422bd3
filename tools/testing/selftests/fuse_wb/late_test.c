// SPDX-License-Identifier: GPL-2.0
/*
 * Replies that come after their reader was killed.
 *
 * A killed reader of a FOPEN_DIRECT_IO file does not wait for the server, and
 * its memory may be shared: another process has it mapped and knows that the
 * reader is gone.  From then on a correct kernel lets no reply reach that
 * memory, not even the rest of one that is being copied, and returns ENOENT to
 * the server.  On a broken one file data that no task reads appears there, at
 * any time.  On Linux 6.12 the reader stays until the server replies.
 *
 * Servers expect ENOENT for replies only: some exit when reading the next
 * request fails with it.  So in that case the kernel skips a request whose
 * reader was killed, or read(2) ends as after a signal.
 *
 * Promise: direct-late
 */

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "direct.h"

/* Contents of the memory after the reader is gone; files have seeds 1 and 2. */
#define NEW_SEED	5

/* FUSE_NOTIFY_RESEND, which many versions of <linux/fuse.h> lack */
#define NOTIFY_RESEND	7

#define SLOW_BYTES	4096
#define REPLY_BYTES	((long)sizeof(struct fuse_out_header) + STEP)

/* Room for any request; with less the kernel returns none */
#define TAKE_BYTES	(2 * STEP)

/*
 *   reader: pread ---> READs of "file" ---> server holds them
 *                                               |
 *   mem: shared with the test <---- replies ----'
 *                                     ^
 *   slow, mapped -- its last page, --'
 *                   once the server has replied to a READ of "slow"
 */
FIXTURE(late)
{
	struct direct d;
	struct req_match file_read;
	struct req_match slow_read;
	char *mem;
	char *slow;
	pid_t pid;
};

/*
 * nr: READs in flight simultaneously; queue: max_background, 0: more than these
 */
FIXTURE_VARIANT(late)
{
	bool splice_out;
	unsigned int queue;
	int nr;
};

FIXTURE_VARIANT_ADD(late, copied)
{
	.nr = STEPS,
};

FIXTURE_VARIANT_ADD(late, copied_short_queue)
{
	.queue = 2, .nr = 2,
};

FIXTURE_VARIANT_ADD(late, spliced)
{
	.splice_out = true, .nr = STEPS,
};

FIXTURE_SETUP(late)
{
	const struct server_opts opts = {
		.async_dio = true,
		.splice_out = variant->splice_out,
		.max_write = STEP,
		.max_background = variant->queue,
		.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
	};
	struct direct *d = &self->d;
	struct stat st;
	int fd;

	if (!direct_setup(_metadata, d, &opts, variant, 0))
		return;
	self->mem = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);

	ASSERT_EQ(0, fstat(d->fd, &st));
	self->file_read = (struct req_match){
		.opcode = FUSE_READ, .node = st.st_ino };

	/* It has the last page of the reply to the first READ. */
	ASSERT_EQ(0, server_put(d->m.ctl, "slow", 0,
				d->data + STEP - SLOW_BYTES, SLOW_BYTES));
	ASSERT_EQ(0, server_open_flags(d->m.ctl, 0));
	fd = mnt_open(&d->m, "slow", O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &st));
	self->slow_read = (struct req_match){
		.opcode = FUSE_READ, .node = st.st_ino };
	self->slow = mmap(NULL, SLOW_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			  fd, 0);
	ASSERT_NE(MAP_FAILED, self->slow);
	ASSERT_EQ(0, server_open_flags(d->m.ctl, opts.open_flags));
}

FIXTURE_TEARDOWN(late)
{
	mnt_teardown(_metadata, &self->d.m);
}

/* A reader has an open file description of its own, through @fd. */
static void fork_reader(struct __test_metadata *_metadata,
			struct _test_data_late *self, int fd)
{
	self->pid = child_start(0, &call_pread, (struct call_arg){
		.fd = fd, .buf = self->mem, .len = BYTES });
	ASSERT_LT(0, self->pid);
}

/* Start a reader, and wait until its requests are in flight. */
static void start_reader(struct __test_metadata *_metadata,
			 struct _test_data_late *self,
			 const struct _fixture_variant_late *variant)
{
	struct direct *d = &self->d;
	int fd = mnt_open(&d->m, "file", O_RDONLY);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hold_req(&d->m, FUSE_READ));
	fork_reader(_metadata, self, fd);
	ASSERT_EQ(0, close(fd));
	ASSERT_TRUE(direct_under_way(&d->m, FUSE_READ, variant->nr));
	EXPECT_TRUE(child_stays_blocked(&d->m, self->pid, &call_pread));
}

/* Kill it, and use the memory that it read into for something else. */
static void kill_reader(struct __test_metadata *_metadata,
			struct _test_data_late *self)
{
	ASSERT_EQ(0, kill(self->pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&self->d.m, self->pid));
	fill_pattern(self->mem, BYTES, NEW_SEED);
}

static void check_memory(struct __test_metadata *_metadata,
			 struct _test_data_late *self)
{
	char *want = malloc(BYTES);

	ASSERT_NE(NULL, want);
	fill_pattern(want, BYTES, NEW_SEED);
	EXPECT_EQ(-1, first_difference(want, self->mem, BYTES)) {
		TH_LOG("a reply was copied into the memory of a killed reader");
	}
	free(want);
}

/*
 * The server's @nr replies are rejected.  Return: the position of the last one
 * in the log.
 */
static int check_refused(struct __test_metadata *_metadata,
			 struct _test_data_late *self, int nr)
{
	struct mnt *m = &self->d.m;
	int refused = 0, i, seq = 0;

	EXPECT_EQ(nr, server_release(m->ctl, 0));
	for (i = 1; i <= nr; i++) {
		seq = reqlog_find(m->log, &self->file_read, REQ_REPLIED, i);
		if (seq && m->log->ev[seq - 1].refused == ENOENT)
			refused++;
	}
	EXPECT_EQ(nr, refused) {
		TH_LOG("the server did not get ENOENT for each reply");
	}
	return seq;
}

/* The same, and RELEASE comes after the last one, not earlier. */
static void check_late(struct __test_metadata *_metadata,
		       struct _test_data_late *self, int nr)
{
	struct mnt *m = &self->d.m;
	int last;

	ASSERT_EQ(0, fence(m));
	EXPECT_EQ(0, find_req(m, FUSE_RELEASE, REQ_ARRIVED, 1));
	last = check_refused(_metadata, self, nr);
	EXPECT_LT(last, await_req(m, FUSE_RELEASE, REQ_ARRIVED, 1));
}

/*
 * The tests below rely on this: a reader that is not killed shares its bytes.
 */
TEST_F(late, reply_reaches_the_memory_of_a_living_reader)
{
	struct direct *d = &self->d;

	start_reader(_metadata, self, variant);
	ASSERT_EQ(variant->nr, server_release(d->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&d->m, &call_waitpid, (struct call_arg){
		.fd = self->pid }));
	EXPECT_EQ(-1, first_difference(d->data, self->mem, BYTES));
}

TEST_F(late, reply_does_not_reach_the_memory_of_a_killed_reader)
{
	start_reader(_metadata, self, variant);
	kill_reader(_metadata, self);
	check_late(_metadata, self, variant->nr);
	check_memory(_metadata, self);
}

/* Write a reply whose last bytes are those at @to. */
static long do_reply(const struct call_arg *arg)
{
	struct iovec iov[2] = {
		{ .iov_base = arg->buf, .iov_len = arg->len },
		{ .iov_base = arg->to, .iov_len = SLOW_BYTES },
	};

	return writev(arg->fd, iov, 2);
}

static const struct call_op call_reply = { "writev", SYS_writev, do_reply };

/*
 * The reply to the first READ is written, and the kernel has copied all of it
 * but the last page, for which it waits.  The test writes it, not the server,
 * which has to read the READ of that page.
 */
static struct call *reply_in_two(struct __test_metadata *_metadata,
				 struct _test_data_late *self)
{
	struct mnt *m = &self->d.m;
	struct fuse_out_header *out = malloc(REPLY_BYTES);
	int dev = mnt_dev(m), seq;
	struct call *c = NULL;

	seq = reqlog_find(m->log, &self->file_read, REQ_ARRIVED, 1);
	EXPECT_NE(0, seq);
	EXPECT_LE(0, dev);
	EXPECT_NE(NULL, out);
	if (!seq || dev < 0 || !out)
		return NULL;
	EXPECT_EQ(0ULL, m->log->ev[seq - 1].req.off);
	*out = (struct fuse_out_header){
		.len = REPLY_BYTES,
		.unique = m->log->ev[seq - 1].req.unique,
	};
	memcpy(out + 1, self->d.data, STEP - SLOW_BYTES);
	c = mnt_call(m, &call_reply, (struct call_arg){
		.fd = dev, .buf = out, .len = REPLY_BYTES - SLOW_BYTES,
		.to = self->slow });
	if (!c || !reqlog_wait(m->log, &self->slow_read, REQ_ARRIVED, 1))
		return NULL;
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(m, c));
	EXPECT_EQ(-1, first_difference(self->d.data, self->mem,
				       STEP - SLOW_BYTES)) {
		TH_LOG("nothing has been copied yet");
	}
	return c;
}

/* Provide the page: the kernel continues its copy. */
static void give_page(struct __test_metadata *_metadata,
		      struct _test_data_late *self, struct call *c)
{
	ASSERT_EQ(1, server_release_match(self->d.m.ctl, &self->slow_read));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	close(c->arg.fd);
}

TEST_F(late, rest_of_a_reply_reaches_the_memory_of_a_living_reader)
{
	struct direct *d = &self->d;
	struct call *c;

	start_reader(_metadata, self, variant);
	c = reply_in_two(_metadata, self);
	ASSERT_NE(NULL, c);
	give_page(_metadata, self, c);
	EXPECT_EQ(REPLY_BYTES, c->ret);
	ASSERT_LE(variant->nr, server_release(d->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&d->m, &call_waitpid, (struct call_arg){
		.fd = self->pid }));
	EXPECT_EQ(-1, first_difference(d->data, self->mem, BYTES));
}

TEST_F(late, rest_of_a_reply_does_not_reach_the_memory_of_a_killed_reader)
{
	struct call *c;

	start_reader(_metadata, self, variant);
	c = reply_in_two(_metadata, self);
	ASSERT_NE(NULL, c);
	kill_reader(_metadata, self);
	give_page(_metadata, self, c);
	EXPECT_EQ(-1, c->ret);
	EXPECT_EQ(ENOENT, c->err);
	check_late(_metadata, self, variant->nr);
	check_memory(_metadata, self);
}

/* Read a request: header into @buf, arguments into @to, with room for more. */
static long do_take(const struct call_arg *arg)
{
	struct iovec iov[3] = {
		{ .iov_base = arg->buf, .iov_len = sizeof(struct fuse_in_header) },
		{ .iov_base = arg->to, .iov_len = SLOW_BYTES },
		{ .iov_base = (char *)arg->buf + sizeof(struct fuse_in_header),
		  .iov_len = TAKE_BYTES },
	};

	return readv(arg->fd, iov, 3);
}

static const struct call_op call_take = { "readv", SYS_readv, do_take };

/* The kernel has queued @nr requests for the server, which is stopped. */
static bool await_queued(struct mnt *m, int nr)
{
	__u64 deadline = wait_deadline();
	char path[64], text[32] = "";

	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/waiting",
		 m->minor);
	while (!read_line(path, text, sizeof(text)) && now_usec() < deadline) {
		if (atoi(text) >= nr)
			return true;
		sched_yield();
	}
	fprintf(stderr, "# timed out (%d s) waiting for %d requests, there are %s\n",
		WAIT_SECONDS, nr, text);
	return false;
}

/*
 * The test is reading the first READ from /dev/fuse, and the kernel waits for
 * the page that the arguments go to.  The server has the others.
 */
static struct call *take_in_two(struct __test_metadata *_metadata,
				struct _test_data_late *self, int nr)
{
	struct mnt *m = &self->d.m;
	int fd = mnt_open(m, "file", O_RDONLY), dev = mnt_dev(m);
	char *buf = calloc(2, TAKE_BYTES);
	struct call *c;

	EXPECT_TRUE(fd >= 0 && dev >= 0 && buf);
	if (fd < 0 || dev < 0 || !buf || hold_req(m, FUSE_READ) ||
	    server_freeze(m))
		return NULL;
	fork_reader(_metadata, self, fd);
	/*
	 * Otherwise the server gets the first one: the reader may sleep before
	 * it sends it.
	 */
	if (!await_queued(m, nr))
		return NULL;
	EXPECT_TRUE(child_await_blocked(self->pid, &call_pread));
	c = mnt_call(m, &call_take, (struct call_arg){
		.fd = dev, .buf = buf, .to = self->slow });
	if (!c || call_wait_blocked(c) != CALL_BLOCKED || server_thaw(m) ||
	    !reqlog_wait(m->log, &self->slow_read, REQ_ARRIVED, 1) ||
	    !reqlog_wait(m->log, &self->file_read, REQ_ARRIVED, nr - 1))
		return NULL;
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(m, c));
	EXPECT_EQ(nr - 1, reqlog_count(m->log, &self->file_read, REQ_ARRIVED));
	return c;
}

TEST_F(late, request_that_is_being_read_is_for_a_living_reader)
{
	struct direct *d = &self->d;
	const struct fuse_in_header *in;
	struct fuse_out_header out = { .len = REPLY_BYTES };
	struct iovec iov[2] = {
		{ .iov_base = &out, .iov_len = sizeof(out) },
		{ .iov_base = d->data, .iov_len = STEP },
	};
	struct call *c = take_in_two(_metadata, self, variant->nr);
	int dev = mnt_dev(&d->m);

	ASSERT_NE(NULL, c);
	ASSERT_LE(0, dev);
	give_page(_metadata, self, c);
	in = c->arg.buf;
	ASSERT_EQ(sizeof(*in) + sizeof(struct fuse_read_in), (size_t)c->ret);
	EXPECT_EQ(FUSE_READ, (int)in->opcode);
	out.unique = in->unique;
	EXPECT_EQ(REPLY_BYTES, writev(dev, iov, 2));
	ASSERT_LE(variant->nr - 1, server_release(d->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&d->m, &call_waitpid, (struct call_arg){
		.fd = self->pid }));
	EXPECT_EQ(-1, first_difference(d->data, self->mem, BYTES));
}

TEST_F(late, request_of_a_killed_reader_that_is_being_read_is_dropped)
{
	struct call *c = take_in_two(_metadata, self, variant->nr);

	ASSERT_NE(NULL, c);
	kill_reader(_metadata, self);
	give_page(_metadata, self, c);
	EXPECT_EQ(-1, c->ret);
	EXPECT_EQ(EINTR, c->err) {
		TH_LOG("reading a request: %s", strerror(c->err));
	}
	check_late(_metadata, self, variant->nr - 1);
	check_memory(_metadata, self);
}

/* Such requests are skipped when a server asks to resend all that it has. */
TEST_F(late, request_of_a_killed_reader_is_not_sent_again)
{
	const struct fuse_out_header resend = {
		.len = sizeof(resend), .error = NOTIFY_RESEND };
	char *buf = calloc(2, TAKE_BYTES);
	const struct fuse_in_header *in = (void *)buf;
	struct mnt *m = &self->d.m;
	int dev = mnt_dev(m);
	long got;

	ASSERT_TRUE(dev >= 0 && buf);
	start_reader(_metadata, self, variant);
	kill_reader(_metadata, self);
	/* The server has read everything that the kill sent. */
	ASSERT_EQ(0, fence(m));
	ASSERT_EQ(0, server_freeze(m));
	ASSERT_EQ((long)sizeof(resend), write(dev, &resend, sizeof(resend)));
	got = mnt_run(m, &call_take, (struct call_arg){
		.fd = dev, .buf = buf, .to = buf + TAKE_BYTES });
	EXPECT_LT(0, got) {
		TH_LOG("reading a request: %s", strerror(errno));
	}
	EXPECT_EQ(FUSE_RELEASE, (int)in->opcode);
	ASSERT_EQ(0, server_thaw(m));
	check_refused(_metadata, self, variant->nr);
	check_memory(_metadata, self);
}

TEST_HARNESS_MAIN
