// SPDX-License-Identifier: GPL-2.0
/*
 * A server that breaks the protocol.
 *
 * Whatever it writes to /dev/fuse, a correct kernel rejects invalid messages,
 * returns an error to a caller that gets no reply, prints nothing, and leaks
 * nothing.  A broken one ends writeback twice or never, accepts a wrong reply,
 * warns or crashes.
 *
 * Promise: hostile
 */

#include "common.h"

#define FILE_NAME	"file"

/* In the unique of a reply to FUSE_INTERRUPT, and of a resent request. */
#define INTERRUPT_BIT	1ULL
#define RESEND_BIT	0x8000000000000000ULL

/* FUSE_NOTIFY_RESEND, which many versions of <linux/fuse.h> lack */
#define NOTIFY_RESEND	7

/*
 *   fd --- write ---> page cache --- WRITE ---> server: held
 *                                                  |
 *   test: bytes of its own making ---------------> /dev/fuse
 */
FIXTURE(hostile)
{
	struct mnt m;
	ssize_t page;
	int fd;
	char *data;
	char *seen;
	long before;
};

FIXTURE_VARIANT(hostile)
{
	struct server_opts opts;
};

FIXTURE_VARIANT_ADD(hostile, copy)
{
	.opts = { .writeback_cache = true },
};

FIXTURE_VARIANT_ADD(hostile, splice_threads)
{
	.opts = { .writeback_cache = true, .threads = 3, .splice_in = true,
		  .splice_out = true },
};

FIXTURE_SETUP(hostile)
{
	if (!mnt_setup(_metadata, &self->m, &variant->opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->data = malloc(self->page);
	self->seen = malloc(self->page);
	ASSERT_TRUE(self->data && self->seen);
	fill_pattern(self->data, self->page, 1);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
	self->before = pages_in_writeback();
}

FIXTURE_TEARDOWN(hostile)
{
	mnt_teardown(_metadata, &self->m);
}

/* A reply, or with unique 0 a notification, with room after it. */
struct message {
	struct fuse_out_header out;
	char body[256];
};

/* Put one page under writeback.  Return: the held WRITE's unique. */
static __u64 hold_write(struct __test_metadata *_metadata,
			struct _test_data_hostile *self)
{
	int nr = count_req(&self->m, FUSE_WRITE, REQ_ARRIVED);
	int seq;

	if (!nr)
		ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(self->page, pwrite(self->fd, self->data, self->page, 0));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	seq = await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, nr + 1);
	ASSERT_NE(0, seq);
	return self->m.log->ev[seq - 1].req.unique;
}

/* The held WRITE is replied to in the end, and succeeds. */
static void check_answer(struct __test_metadata *_metadata,
			 struct _test_data_hostile *self)
{
	struct call *c = mnt_call_close(&self->m, self->fd);

	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c)) {
		TH_LOG("a wrong reply was accepted for WRITE");
	}
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen,
				self->page));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->page));
	EXPECT_EQ(0, await_pages_in_writeback(self->before));
}

/* Replies to no request: size bytes are written, whatever len says. */
static const struct {
	const char *what;
	size_t size;
	__u32 len;
	__s32 error;
	__u64 flip;
	int refused;
} misfits[] = {
	{ "another unique", 24, 24, 0, 1 << 20, ENOENT },
	{ "a unique that never existed", 24, 24, 0, ~7ULL, ENOENT },
	{ "a length too long", 24, 25, 0, 0, EINVAL },
	{ "a length too short", 24, 16, 0, 0, EINVAL },
	{ "a length of 0", 24, 0, 0, 0, EINVAL },
	{ "a huge length", 24, ~0U, 0, 0, EINVAL },
	{ "an error above 0", 16, 16, EIO, 0, EINVAL },
	{ "error -512", 16, 16, -512, 0, EINVAL },
	{ "the least error", 16, 16, -0x7fffffff - 1, 0, EINVAL },
	{ "one byte", 1, 16, 0, 0, EINVAL },
	{ "half a header", 8, 8, 0, 0, EINVAL },
	{ "nearly a header", 15, 15, 0, 0, EINVAL },
	{ "a reply to an interrupt", 24, 24, 0, INTERRUPT_BIT, EINVAL },
	{ "EAGAIN to no interrupt", 16, 16, -EAGAIN, INTERRUPT_BIT, EINVAL },
	{ "a unique of a resent request", 24, 24, 0, RESEND_BIT, ENOENT },
};

TEST_F(hostile, answer_that_fits_no_request_is_refused)
{
	__u64 unique = hold_write(_metadata, self);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(misfits); i++) {
		struct message msg = { .out = {
			.len = misfits[i].len,
			.error = misfits[i].error,
			.unique = unique ^ misfits[i].flip,
		} };

		EXPECT_EQ(misfits[i].refused, server_raw(self->m.ctl, &msg,
							 misfits[i].size)) {
			TH_LOG("reply with %s", misfits[i].what);
		}
	}
	check_answer(_metadata, self);
}

/* Replies to the WRITE itself, with a body that is invalid for WRITE. */
static const struct {
	const char *what;
	__u32 len;
	__s32 error;
} bodies[] = {
	{ "no body", 16, 0 },
	{ "half a body", 20, 0 },
	{ "more than a body", 32, 0 },
	{ "much more than a body", 272, 0 },
	{ "an error with a body", 24, -EIO },
};

/* The request ends with an error, and its page is no longer under writeback. */
TEST_F(hostile, answer_with_wrong_body_is_an_error)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bodies); i++) {
		struct message msg = { .out = {
			.len = bodies[i].len,
			.error = bodies[i].error,
			.unique = hold_write(_metadata, self),
		} };

		EXPECT_EQ(EINVAL, server_raw(self->m.ctl, &msg,
					     bodies[i].len)) {
			TH_LOG("reply with %s", bodies[i].what);
		}
		EXPECT_EQ(-1, mnt_run(&self->m, &call_fsync, (struct call_arg){
			.fd = self->fd })) {
			TH_LOG("reply with %s is a success", bodies[i].what);
		}
		EXPECT_EQ(EIO, errno);
		EXPECT_EQ(0, await_pages_in_writeback(self->before));
		/*
		 * The request is gone: the server's own reply comes too late.
		 */
		EXPECT_EQ(ENOENT, server_raw(self->m.ctl, &msg, msg.out.len));
	}
	/* The control: the file works as before. */
	hold_write(_metadata, self);
	check_answer(_metadata, self);
}

TEST_F(hostile, answer_to_aborted_request_is_refused)
{
	struct message msg = { .out = {
		.len = sizeof(msg.out),
		.unique = hold_write(_metadata, self),
	} };
	int seq;

	ASSERT_EQ(0, mnt_abort(&self->m));
	EXPECT_NE(0, server_raw(self->m.ctl, &msg, msg.out.len));
	EXPECT_EQ(1, server_release(self->m.ctl, 0));
	seq = find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1);
	ASSERT_NE(0, seq);
	EXPECT_NE(0, self->m.log->ev[seq - 1].refused);
	EXPECT_EQ(-1, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	EXPECT_EQ(0, await_pages_in_writeback(self->before));
}

/* Every notification with each wrong length, and unknown ones. */
TEST_F(hostile, garbage_notification_is_refused)
{
	__u32 len, code;

	hold_write(_metadata, self);
	for (code = 0; code < 12; code++) {
		/* A poll without a waiter, and a request to resend. */
		if (code == FUSE_NOTIFY_POLL || code == NOTIFY_RESEND)
			continue;
		for (len = 16; len < 64; len++) {
			struct message msg = { .out = {
				.len = len, .error = code } };

			memset(msg.body, 0xa5, sizeof(msg.body));
			EXPECT_LT(0, server_raw(self->m.ctl, &msg, len)) {
				TH_LOG("notification %u of %u bytes was accepted",
				       code, len);
			}
		}
	}
	check_answer(_metadata, self);
}

/* Well-formed notifications about objects that do not exist. */
TEST_F(hostile, notification_about_nothing_is_refused)
{
	struct {
		struct fuse_out_header out;
		union {
			struct fuse_notify_inval_inode_out inode;
			struct fuse_notify_store_out store;
			struct fuse_notify_retrieve_out retrieve;
		};
		char body[16];
	} msg = { };

	hold_write(_metadata, self);
	msg.out.error = FUSE_NOTIFY_INVAL_INODE;
	msg.out.len = sizeof(msg.out) + sizeof(msg.inode);
	msg.inode.ino = 4711;
	msg.inode.len = -1;
	EXPECT_EQ(ENOENT, server_raw(self->m.ctl, &msg, msg.out.len));

	msg.out.error = FUSE_NOTIFY_STORE;
	msg.out.len = sizeof(msg.out) + sizeof(msg.store) + 16;
	msg.store = (struct fuse_notify_store_out){ .nodeid = 4711, .size = 16 };
	EXPECT_EQ(ENOENT, server_raw(self->m.ctl, &msg, msg.out.len));
	/* The root is not a regular file. */
	msg.store.nodeid = FUSE_ROOT_ID;
	EXPECT_EQ(EINVAL, server_raw(self->m.ctl, &msg, msg.out.len));
	/* Beyond EOF. */
	msg.store.nodeid = 2;
	msg.store.size = 17;
	EXPECT_EQ(EINVAL, server_raw(self->m.ctl, &msg, msg.out.len));
	msg.store.size = ~0U;
	EXPECT_EQ(EINVAL, server_raw(self->m.ctl, &msg, msg.out.len));

	msg.out.error = FUSE_NOTIFY_RETRIEVE;
	msg.out.len = sizeof(msg.out) + sizeof(msg.retrieve);
	msg.retrieve = (struct fuse_notify_retrieve_out){
		.nodeid = FUSE_ROOT_ID, .size = ~0U };
	EXPECT_EQ(EINVAL, server_raw(self->m.ctl, &msg, msg.out.len));
	check_answer(_metadata, self);
}

/* FUSE_NOTIFY_RESEND: one request that arrives twice, one reply. */
TEST_F(hostile, write_sent_again_is_answered_once)
{
	struct message msg = { .out = {
		.len = sizeof(msg.out), .error = NOTIFY_RESEND } };
	__u64 unique = hold_write(_metadata, self);
	struct message old = { .out = {
		.len = sizeof(old.out), .unique = unique } };
	int ret, seq;

	ret = server_raw(self->m.ctl, &msg, msg.out.len);
	if (ret == EINVAL)
		SKIP(return, "needs FUSE_NOTIFY_RESEND");
	ASSERT_EQ(0, ret);
	seq = await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 2);
	ASSERT_NE(0, seq);
	EXPECT_EQ(unique | RESEND_BIT, self->m.log->ev[seq - 1].req.unique);
	/* Its first unique is no longer valid. */
	EXPECT_EQ(ENOENT, server_raw(self->m.ctl, &old, old.out.len));
	check_answer(_metadata, self);
}

/* A READ that ends within the file: the rest is zeroes, not stale memory. */
TEST_F(hostile, short_read_is_filled_with_zeroes)
{
	const struct req_match reads = { .opcode = FUSE_READ };
	int fd;

	ASSERT_EQ(0, server_put(self->m.ctl, "cold", 0, self->data,
				self->page));
	fd = mnt_open(&self->m, "cold", O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, server_rule(self->m.ctl, &reads, RULE_SIZE, 100));
	memset(self->seen, 'x', self->page);
	run_on_cpu(0);
	soil_free_memory();
	ASSERT_EQ(self->page, pread(fd, self->seen, self->page, 0));
	memset(self->data + 100, 0, self->page - 100);
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->page));
}

/* Here write(2) itself gets the reply to WRITE. */
FIXTURE(hostile_through)
{
	struct mnt m;
	int fd;
};

FIXTURE_VARIANT(hostile_through)
{
	struct server_opts opts;
	int flags;
};

FIXTURE_VARIANT_ADD(hostile_through, write_through) { };

FIXTURE_VARIANT_ADD(hostile_through, o_direct) { .flags = O_DIRECT };

FIXTURE_VARIANT_ADD(hostile_through, o_direct_async)
{
	.opts = { .async_dio = true },
	.flags = O_DIRECT,
};

FIXTURE_VARIANT_ADD(hostile_through, fopen_direct_io)
{
	.opts = { .open_flags = FOPEN_DIRECT_IO },
};

FIXTURE_SETUP(hostile_through)
{
	if (!mnt_setup(_metadata, &self->m, &variant->opts, variant))
		return;
	self->fd = mnt_open(&self->m, FILE_NAME,
			    O_RDWR | O_CREAT | variant->flags);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(hostile_through)
{
	mnt_teardown(_metadata, &self->m);
}

TEST_F(hostile_through, more_written_than_asked_is_an_error)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	static const unsigned int sizes[] = { 6, 4096, 0x7fffffff, ~0U };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ(0, server_rule(self->m.ctl, &writes, RULE_SIZE,
					 sizes[i]));
		EXPECT_EQ(-1, pwrite(self->fd, "hello", 5, 0)) {
			TH_LOG("5 bytes requested, %u written", sizes[i]);
		}
		EXPECT_EQ(EIO, errno);
	}
	/* The control. */
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	EXPECT_EQ(5, pwrite(self->fd, "hello", 5, 0));
}

TEST_HARNESS_MAIN
