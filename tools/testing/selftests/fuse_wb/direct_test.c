// SPDX-License-Identifier: GPL-2.0
/*
 * The requests of one direct read or write.
 *
 * A call of 1 MiB on a file with FOPEN_DIRECT_IO becomes eight requests of 128
 * KiB.  A correct kernel has all of them in flight simultaneously if the server
 * negotiated FUSE_ASYNC_DIO and opened the file with
 * FOPEN_PARALLEL_DIRECT_WRITES.  The result is the same as with sequential
 * requests: the call ends at the first missing byte, in whatever order the
 * replies come.  Linux 6.12 sends each request after the reply to the previous
 * one.
 *
 * Requests stay sequential where a reply decides whether another one follows,
 * and so do WRITEs without O_DIRECT: bytes after the first missing one must not
 * change.
 *
 * Promise: direct-at-once
 */

#include <sys/syscall.h>
#include <sys/uio.h>

#include "direct.h"

static long do_preadv(const struct call_arg *arg)
{
	struct iovec iov[2] = {
		{ .iov_base = arg->buf, .iov_len = 3 * STEP },
		{ .iov_base = (char *)arg->buf + 3 * STEP,
		  .iov_len = arg->len - 3 * STEP },
	};

	return preadv(arg->fd, iov, 2, arg->off);
}

static const struct call_op call_preadv = { "preadv", SYS_preadv, do_preadv };

static long do_read(const struct call_arg *arg)
{
	return read(arg->fd, arg->buf, arg->len);
}

static const struct call_op call_read = { "read", SYS_read, do_read };

#define PARALLEL_DIRECT_IO	(FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES)

FIXTURE(together)
{
	struct direct d;
};

FIXTURE_VARIANT(together)
{
	const struct call_op *op;
	__u32 opcode;
	int flags;
};

FIXTURE_VARIANT_ADD(together, pread)
{
	.op = &call_pread, .opcode = FUSE_READ,
};

FIXTURE_VARIANT_ADD(together, preadv)
{
	.op = &call_preadv, .opcode = FUSE_READ,
};

FIXTURE_VARIANT_ADD(together, pwrite)
{
	.op = &call_pwrite, .opcode = FUSE_WRITE, .flags = O_DIRECT,
};

FIXTURE_SETUP(together)
{
	const struct server_opts opts = {
		.async_dio = true,
		.max_write = STEP,
		.open_flags = PARALLEL_DIRECT_IO,
	};

	direct_setup(_metadata, &self->d, &opts, variant, variant->flags);
}

FIXTURE_TEARDOWN(together)
{
	mnt_teardown(_metadata, &self->d.m);
}

/* Start the call for the whole file, with all its requests held. */
static struct call *call_held(struct direct *d,
			      const struct _fixture_variant_together *variant)
{
	struct call *c = direct_call(d, variant->op, variant->opcode, 0, BYTES);

	if (c && direct_under_way(&d->m, variant->opcode, STEPS))
		return c;
	return NULL;
}

TEST_F(together, all_requests_of_a_call_are_sent_at_once)
{
	struct call *c = call_held(&self->d, variant);

	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->d.m, c));
	ASSERT_EQ(STEPS, server_release(self->d.m.ctl, 0));
	direct_check(_metadata, &self->d, c, BYTES);
}

TEST_F(together, answers_may_come_in_reverse_order)
{
	struct call *c = call_held(&self->d, variant);
	int step;

	ASSERT_NE(NULL, c);
	for (step = STEPS - 1; step >= 0; step--) {
		const struct req_match match = direct_step(variant->opcode,
							   step);

		EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->d.m, c));
		ASSERT_EQ(1, server_release_match(self->d.m.ctl, &match));
	}
	direct_check(_metadata, &self->d, c, BYTES);
}

/* One request gets this instead: a short reply of @arg bytes, or an errno. */
static void check_ends(struct __test_metadata *_metadata, struct direct *d,
		       const struct _fixture_variant_together *variant, int step,
		       enum rule_act act, __u64 arg)
{
	const struct req_match match = direct_step(variant->opcode, step);
	long ret = step * STEP + (act == RULE_SIZE ? arg : 0);
	struct call *c;

	ASSERT_EQ(0, server_rule(d->m.ctl, &match, act, arg));
	c = mnt_call(&d->m, variant->op,
		     direct_arg(d, variant->opcode, 0, BYTES));
	ASSERT_NE(NULL, c);
	if (ret) {
		direct_check(_metadata, d, c, ret);
		return;
	}
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(-1, c->ret);
	EXPECT_EQ((int)arg, c->err);
}

TEST_F(together, short_first_answer_ends_the_call)
{
	check_ends(_metadata, &self->d, variant, 0, RULE_SIZE, 4096);
}

TEST_F(together, short_answer_in_the_middle_ends_the_call)
{
	check_ends(_metadata, &self->d, variant, 3, RULE_SIZE, 12288);
}

TEST_F(together, short_last_answer_ends_the_call)
{
	check_ends(_metadata, &self->d, variant, STEPS - 1, RULE_SIZE, 100);
}

TEST_F(together, error_of_the_first_request_is_returned)
{
	check_ends(_metadata, &self->d, variant, 0, RULE_ERRNO, ENOSPC);
}

TEST_F(together, error_in_the_middle_ends_the_call)
{
	check_ends(_metadata, &self->d, variant, 3, RULE_ERRNO, EIO);
}

TEST_F(together, error_of_the_last_request_ends_the_call)
{
	check_ends(_metadata, &self->d, variant, STEPS - 1, RULE_ERRNO, EIO);
}

/* The error with the lowest offset counts, not the earliest reply. */
TEST_F(together, first_error_of_the_file_counts)
{
	const struct req_match late = direct_step(variant->opcode, 5);
	const struct req_match early = direct_step(variant->opcode, 0);
	struct call *c = call_held(&self->d, variant);

	ASSERT_NE(NULL, c);
	ASSERT_EQ(0, server_fail(self->d.m.ctl, &late, ENOSPC));
	ASSERT_EQ(0, server_fail(self->d.m.ctl, &early, EDQUOT));
	ASSERT_EQ(1, server_release_match(self->d.m.ctl, &late));
	ASSERT_EQ(STEPS - 1, server_release(self->d.m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(-1, c->ret);
	EXPECT_EQ(EDQUOT, c->err);
}

/* The request at EOF gets a short reply. */
TEST_F(together, end_of_file_ends_the_call)
{
	off_t off = BYTES - STEP - 3 * 4096;
	struct call *c;

	c = direct_call(&self->d, &call_pread, FUSE_READ, off, BYTES);
	ASSERT_NE(NULL, c);
	EXPECT_TRUE(direct_under_way(&self->d.m, FUSE_READ, 2));
	ASSERT_LE(1, server_release(self->d.m.ctl, 0));
	direct_check(_metadata, &self->d, c, BYTES - off);
	EXPECT_EQ(2, count_req(&self->d.m, FUSE_READ, REQ_ARRIVED));
}

TEST_F(together, lost_connection_ends_the_call)
{
	struct call *c = direct_call(&self->d, variant->op, variant->opcode,
				     0, BYTES);

	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->d.m, variant->opcode, REQ_ARRIVED, 1));
	ASSERT_EQ(0, mnt_abort(&self->d.m));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(-1, c->ret);
	EXPECT_EQ(ECONNABORTED, c->err);
}

TEST_F(together, death_of_the_server_in_the_middle_ends_the_call)
{
	const struct req_match match = direct_step(variant->opcode, 0);
	struct call *c = direct_call(&self->d, variant->op, variant->opcode,
				     0, BYTES);

	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->d.m, variant->opcode, REQ_ARRIVED, 1));
	ASSERT_EQ(1, server_release_match(self->d.m.ctl, &match));
	ASSERT_EQ(0, server_quit(self->d.m.ctl));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(STEP, c->ret);
}

/* read(2) and write(2) set the file position to the end of the data. */
TEST_F(together, position_follows_the_data)
{
	const struct req_match match = direct_step(variant->opcode, 2);
	bool write_it = variant->opcode == FUSE_WRITE;

	ASSERT_EQ(0, server_rule(self->d.m.ctl, &match, RULE_SIZE, 8192));
	ASSERT_EQ(2 * STEP + 8192,
		  write_it ? write(self->d.fd, self->d.data, BYTES) :
			     read(self->d.fd, self->d.buf, BYTES));
	EXPECT_EQ(2 * STEP + 8192, lseek(self->d.fd, 0, SEEK_CUR));
	ASSERT_EQ(0, server_drop_rules(self->d.m.ctl));
	ASSERT_EQ(BYTES - 2 * STEP - 8192,
		  write_it ? write(self->d.fd, self->d.data + 2 * STEP + 8192,
				   BYTES - 2 * STEP - 8192) :
			     read(self->d.fd, self->d.buf, BYTES));
	EXPECT_EQ(BYTES, lseek(self->d.fd, 0, SEEK_CUR));
}

/* The same file, with servers and files that require sequential requests. */
FIXTURE(one_by_one)
{
	struct direct d;
};

FIXTURE_VARIANT(one_by_one)
{
	const struct call_op *op;
	__u32 opcode;
	struct server_opts opts;
	int flags;
	bool grow;
};

/* A server that did not negotiate FUSE_ASYNC_DIO */
FIXTURE_VARIANT_ADD(one_by_one, not_asked_for_read)
{
	.op = &call_pread, .opcode = FUSE_READ,
	.opts = { .max_write = STEP, .open_flags = PARALLEL_DIRECT_IO },
};

FIXTURE_VARIANT_ADD(one_by_one, not_asked_for_write)
{
	.op = &call_pwrite, .opcode = FUSE_WRITE, .flags = O_DIRECT,
	.opts = { .max_write = STEP, .open_flags = PARALLEL_DIRECT_IO },
};

/* A server that may rely on one outstanding request per caller */
FIXTURE_VARIANT_ADD(one_by_one, not_parallel_read)
{
	.op = &call_pread, .opcode = FUSE_READ,
	.opts = { .max_write = STEP, .async_dio = true,
		  .open_flags = FOPEN_DIRECT_IO },
};

FIXTURE_VARIANT_ADD(one_by_one, not_parallel_read_o_direct)
{
	.op = &call_pread, .opcode = FUSE_READ, .flags = O_DIRECT,
	.opts = { .max_write = STEP, .async_dio = true,
		  .open_flags = FOPEN_DIRECT_IO },
};

FIXTURE_VARIANT_ADD(one_by_one, not_parallel_write)
{
	.op = &call_pwrite, .opcode = FUSE_WRITE, .flags = O_DIRECT,
	.opts = { .max_write = STEP, .async_dio = true,
		  .open_flags = FOPEN_DIRECT_IO },
};

/* A caller without O_DIRECT */
FIXTURE_VARIANT_ADD(one_by_one, write_without_o_direct)
{
	.op = &call_pwrite, .opcode = FUSE_WRITE,
	.opts = { .max_write = STEP, .async_dio = true,
		  .open_flags = PARALLEL_DIRECT_IO },
};

/* Files whose data is consumed by reading */
FIXTURE_VARIANT_ADD(one_by_one, stream)
{
	.op = &call_read, .opcode = FUSE_READ,
	.opts = { .max_write = STEP, .async_dio = true,
		  .open_flags = PARALLEL_DIRECT_IO | FOPEN_STREAM },
};

FIXTURE_VARIANT_ADD(one_by_one, nonseekable)
{
	.op = &call_read, .opcode = FUSE_READ,
	.opts = { .max_write = STEP, .async_dio = true,
		  .open_flags = PARALLEL_DIRECT_IO | FOPEN_NONSEEKABLE },
};

/* Beyond the size that the kernel knows */
FIXTURE_VARIANT_ADD(one_by_one, unknown_size_read)
{
	.op = &call_pread, .opcode = FUSE_READ,
	.opts = { .max_write = STEP, .async_dio = true,
		  .open_flags = PARALLEL_DIRECT_IO },
	.grow = true,
};

FIXTURE_VARIANT_ADD(one_by_one, extending_write)
{
	.op = &call_pwrite, .opcode = FUSE_WRITE, .flags = O_DIRECT,
	.opts = { .max_write = STEP, .async_dio = true,
		  .open_flags = PARALLEL_DIRECT_IO },
	.grow = true,
};

FIXTURE_SETUP(one_by_one)
{
	struct direct *d = &self->d;

	if (!direct_setup(_metadata, d, &variant->opts, variant,
			  variant->flags))
		return;
	if (!variant->grow)
		return;
	/* i_size is 0; a read finds what the server has written since. */
	ASSERT_EQ(0, ftruncate(d->fd, 0));
	if (variant->opcode == FUSE_READ)
		ASSERT_EQ(0, server_put(d->m.ctl, "file", 0, d->data, BYTES));
}

FIXTURE_TEARDOWN(one_by_one)
{
	mnt_teardown(_metadata, &self->d.m);
}

TEST_F(one_by_one, request_is_sent_after_the_answer_to_the_one_before)
{
	struct direct *d = &self->d;
	struct call *c = direct_call(d, variant->op, variant->opcode, 0, BYTES);
	int step;

	ASSERT_NE(NULL, c);
	for (step = 0; step < 3; step++) {
		ASSERT_TRUE(direct_under_way(&d->m, variant->opcode, step + 1));
		ASSERT_EQ(1, server_release(d->m.ctl, 1));
	}
	ASSERT_LE(0, server_release(d->m.ctl, 0));
	direct_check(_metadata, d, c, BYTES);
}

/*
 * The third request gets this instead of success, and none is sent after it.
 * So the server has not consumed more of a stream; and of a write, the bytes
 * after the third request are unchanged, or beyond EOF if the file grows.
 */
static void check_nothing_beyond(struct __test_metadata *_metadata,
				 struct direct *d,
				 const struct _fixture_variant_one_by_one *variant,
				 enum rule_act act, __u64 arg)
{
	const struct req_match match = direct_step(variant->opcode, 2);
	bool stored = act == RULE_SIZE;
	long end = (stored ? 3 : 2) * STEP;
	struct call *c;
	char *old;

	ASSERT_EQ(0, server_rule(d->m.ctl, &match, act, arg));
	c = direct_call(d, variant->op, variant->opcode, 0, BYTES);
	ASSERT_NE(NULL, c);
	ASSERT_LE(0, server_release(d->m.ctl, 0));
	direct_check(_metadata, d, c, 2 * STEP + (stored ? arg : 0));
	EXPECT_EQ(3, count_req(&d->m, variant->opcode, REQ_ARRIVED));
	if (variant->opcode != FUSE_WRITE)
		return;
	EXPECT_EQ(variant->grow ? end : BYTES, server_size(d->m.ctl, "file"));
	if (variant->grow)
		return;
	old = malloc(BYTES);
	ASSERT_NE(NULL, old);
	fill_pattern(old, BYTES, 1);
	ASSERT_EQ(0, server_get(d->m.ctl, "file", end, d->buf, BYTES - end));
	EXPECT_EQ(-1, first_difference(old + end, d->buf, BYTES - end)) {
		TH_LOG("bytes beyond the return value of write(2) have changed");
	}
	free(old);
}

TEST_F(one_by_one, nothing_changes_beyond_an_error)
{
	check_nothing_beyond(_metadata, &self->d, variant, RULE_ERRNO, ENOSPC);
}

TEST_F(one_by_one, nothing_changes_beyond_a_short_reply)
{
	check_nothing_beyond(_metadata, &self->d, variant, RULE_SIZE, 12288);
}

TEST_HARNESS_MAIN
