// SPDX-License-Identifier: GPL-2.0
/*
 * io_submit(2) on a file with FOPEN_DIRECT_IO that was opened without O_DIRECT.
 *
 * If the server takes parallel requests of the file, which it declares with
 * FUSE_ASYNC_DIO and FOPEN_PARALLEL_DIRECT_WRITES, io_submit(2) need not wait for its
 * replies: a sound kernel returns to the caller where that makes no difference to the
 * result.  It does where a reply determines the next request, at EOF and between the
 * WRITEs of one call.  Linux 6.12 always waits.
 *
 * Promise: direct-submit
 */

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "aio.h"
#include "direct.h"

/**
 * struct submission - a read or write in flight
 * @cmd: IOCB_CMD_*
 * @submitted: set when io_submit(2) has returned; a word to sleep on
 */
struct submission {
	int cmd;
	__u32 submitted;
};

/* @arg->to is the submission. */
static long do_submit_and_wait(const struct call_arg *arg)
{
	struct submission *s = arg->to;
	struct aio aio;

	if (aio_submit(&aio, s->cmd, arg))
		return -1;
	word_set(&s->submitted, 1);
	return aio_wait(&aio);
}

/* Chosen by where the thread is expected to sleep */
static const struct call_op call_in_submit = {
	"io_submit", SYS_io_submit, do_submit_and_wait
};

static const struct call_op call_in_getevents = {
	"io_getevents", SYS_io_getevents, do_submit_and_wait
};

/*
 *   thread --- io_submit --- READ or WRITE, held
 *       '----- io_getevents
 */
FIXTURE(submitted)
{
	struct direct d;
};

/* @many: the server takes parallel requests */
FIXTURE_VARIANT(submitted)
{
	bool async_dio;
	__u32 open_flags;
	bool many;
};

FIXTURE_VARIANT_ADD(submitted, parallel)
{
	.async_dio = true,
	.open_flags = FOPEN_PARALLEL_DIRECT_WRITES,
	.many = true,
};

FIXTURE_VARIANT_ADD(submitted, not_parallel)
{
	.async_dio = true,
};

FIXTURE_VARIANT_ADD(submitted, not_async_dio)
{
	.open_flags = FOPEN_PARALLEL_DIRECT_WRITES,
};

FIXTURE_SETUP(submitted)
{
	const struct server_opts opts = {
		.async_dio = variant->async_dio,
		.max_write = STEP,
		.open_flags = FOPEN_DIRECT_IO | variant->open_flags,
		.init_flags = FUSE_DIRECT_IO_ALLOW_MMAP,
	};

	direct_setup(_metadata, &self->d, &opts, variant, 0);
}

FIXTURE_TEARDOWN(submitted)
{
	mnt_teardown(_metadata, &self->d.m);
}

/*
 * The call waits in io_submit(2) or not, with @nr requests in flight.  Then let it end,
 * with @ret bytes.
 */
static void check_waits(struct __test_metadata *_metadata, struct direct *d,
			bool waits, __u32 opcode, struct call_arg arg, int nr,
			long ret)
{
	static struct submission s;
	struct call *c;

	s = (struct submission){
		.cmd = opcode == FUSE_READ ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE };
	arg.to = &s;
	ASSERT_EQ(0, hold_req(&d->m, opcode));
	c = mnt_call(&d->m, waits ? &call_in_submit : &call_in_getevents, arg);
	ASSERT_NE(NULL, c);
	if (!waits)
		EXPECT_TRUE(word_sleep(&s.submitted, 0, wait_deadline())) {
			TH_LOG("it waits in io_submit");
		}
	EXPECT_TRUE(direct_under_way(&d->m, opcode, nr));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&d->m, c));
	EXPECT_EQ(!waits, !!word_get(&s.submitted));
	EXPECT_EQ(nr, count_req(&d->m, opcode, REQ_ARRIVED));
	ASSERT_LE(1, server_release(d->m.ctl, 0));
	direct_check(_metadata, d, c, ret);
}

TEST_F(submitted, read_inside_the_file_waits_for_no_reply)
{
	struct direct *d = &self->d;

	check_waits(_metadata, d, !variant->many, FUSE_READ,
		    direct_arg(d, FUSE_READ, 0, BYTES),
		    variant->many ? STEPS : 1, BYTES);
}

TEST_F(submitted, write_of_one_request_waits_for_no_reply)
{
	struct direct *d = &self->d;

	check_waits(_metadata, d, !variant->many, FUSE_WRITE,
		    direct_arg(d, FUSE_WRITE, BYTES - STEP, STEP), 1, STEP);
}

TEST_F(submitted, write_of_several_requests_is_waited_for)
{
	struct direct *d = &self->d;

	check_waits(_metadata, d, true, FUSE_WRITE,
		    direct_arg(d, FUSE_WRITE, 0, STEP + 1), 1, STEP + 1);
}

/* As many bytes as fit a request, in more pages than fit. */
TEST_F(submitted, write_from_too_many_pages_is_waited_for)
{
	struct direct *d = &self->d;

	check_waits(_metadata, d, true, FUSE_WRITE,
		    direct_arg(d, FUSE_WRITE, 100, STEP), 1, STEP);
}

TEST_F(submitted, read_beyond_eof_is_waited_for)
{
	off_t off = BYTES - STEP - 4096;
	struct direct *d = &self->d;

	check_waits(_metadata, d, true, FUSE_READ,
		    direct_arg(d, FUSE_READ, off, BYTES),
		    variant->many ? 2 : 1, BYTES - off);
}

TEST_F(submitted, extending_write_is_waited_for)
{
	struct direct *d = &self->d;
	struct stat st;

	ASSERT_EQ(0, ftruncate(d->fd, BYTES - STEP));
	check_waits(_metadata, d, true, FUSE_WRITE,
		    direct_arg(d, FUSE_WRITE, BYTES - STEP - 4096, 8192), 1,
		    8192);
	ASSERT_EQ(0, fstat(d->fd, &st));
	EXPECT_EQ(BYTES - STEP + 4096, st.st_size);
}

/*
 * Two calls have more requests than there are slots: the second has its own
 * slots.
 */
TEST_F(submitted, read_without_places_for_all_its_requests_is_waited_for)
{
	struct direct *d = &self->d;
	struct call *c[2];
	int i;

	for (i = 0; i < 2; i++) {
		c[i] = direct_call(d, variant->many && !i ? &call_aio_pread :
				   &call_aio_pread_submit, FUSE_READ, 0, BYTES);
		ASSERT_NE(NULL, c[i]);
		EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&d->m, c[i]));
	}
	EXPECT_NE(0, await_req(&d->m, FUSE_READ, REQ_ARRIVED,
			       variant->many ? 2 * STEPS : 2)) {
		TH_LOG("it waits for a slot that another call has");
	}
	ASSERT_LE(1, server_release(d->m.ctl, 0));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(c[i]));
		EXPECT_EQ(BYTES, c[i]->ret);
	}
}

/*
 * Hold the WRITE of one request; no call waits for it if the server takes
 * parallel requests.
 */
static struct call *hold_write(struct _test_data_submitted *self,
			       const struct _fixture_variant_submitted *variant)
{
	return direct_call(&self->d, variant->many ? &call_aio_pwrite :
			   &call_aio_pwrite_submit, FUSE_WRITE, 0, STEP);
}

/*
 * Promise: direct-aio
 */
TEST_F(submitted, page_read_during_the_write_is_dropped)
{
	struct direct *d = &self->d;
	struct call *c;
	char *map;

	map = mmap(NULL, STEP, PROT_READ, MAP_SHARED, d->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	c = hold_write(self, variant);
	ASSERT_NE(NULL, c);
	ASSERT_TRUE(direct_under_way(&d->m, FUSE_WRITE, 1));
	fill_pattern(d->buf, STEP, 1);
	EXPECT_EQ(-1, first_difference(d->buf, map, STEP)) {
		TH_LOG("the server has not written yet");
	}
	ASSERT_EQ(1, server_release(d->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(STEP, c->ret);
	EXPECT_EQ(-1, first_difference(d->data, map, STEP)) {
		TH_LOG("the mapping has the bytes from before the write");
	}
}

/*
 * A writer with exclusive access does not block open(2) of the file.
 *
 * Promise: direct-parallel
 */
TEST_F(submitted, caching_open_waits_for_a_parallel_write)
{
	bool waits = variant->open_flags & FOPEN_PARALLEL_DIRECT_WRITES;
	struct direct *d = &self->d;
	struct call *c, *o;
	char path[128];

	c = hold_write(self, variant);
	ASSERT_NE(NULL, c);
	ASSERT_TRUE(direct_under_way(&d->m, FUSE_WRITE, 1));
	ASSERT_EQ(0, server_open_flags(d->m.ctl, 0));
	snprintf(path, sizeof(path), "%s/file", d->m.dir);
	o = mnt_call(&d->m, &call_open, (struct call_arg){
		.buf = path, .flags = O_RDWR });
	ASSERT_NE(NULL, o);
	EXPECT_EQ(waits ? CALL_BLOCKED : CALL_RETURNED,
		  call_stays_blocked(&d->m, o));
	ASSERT_EQ(1, server_release(d->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(o));
	EXPECT_LE(0, o->ret);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(STEP, c->ret);
}

/* The result of a call, which does not depend on whether and where it waits. */
FIXTURE(result)
{
	struct direct d;
};

FIXTURE_VARIANT(result)
{
	const struct call_op *read;
	const struct call_op *write;
	__u32 open_flags;
};

FIXTURE_VARIANT_ADD(result, sync)
{
	.read = &call_pread, .write = &call_pwrite,
	.open_flags = FOPEN_PARALLEL_DIRECT_WRITES,
};

FIXTURE_VARIANT_ADD(result, libaio)
{
	.read = &call_aio_pread, .write = &call_aio_pwrite,
	.open_flags = FOPEN_PARALLEL_DIRECT_WRITES,
};

FIXTURE_VARIANT_ADD(result, libaio_not_parallel)
{
	.read = &call_aio_pread, .write = &call_aio_pwrite,
};

FIXTURE_SETUP(result)
{
	const struct server_opts opts = {
		.async_dio = true,
		.max_write = STEP,
		.open_flags = FOPEN_DIRECT_IO | variant->open_flags,
	};

	direct_setup(_metadata, &self->d, &opts, variant, 0);
}

FIXTURE_TEARDOWN(result)
{
	mnt_teardown(_metadata, &self->d.m);
}

/* Change the reply to @step: short by @arg bytes, or an errno. */
static void check_result(struct __test_metadata *_metadata, struct direct *d,
			 const struct call_op *op, __u32 opcode, size_t len,
			 int step, enum rule_act act, __u64 arg)
{
	const struct req_match match = direct_step(opcode, step);
	long ret = step * STEP + (act == RULE_SIZE ? arg : 0);
	struct call *c;

	ASSERT_EQ(0, server_rule(d->m.ctl, &match, act, arg));
	c = mnt_call(&d->m, op, direct_arg(d, opcode, 0, len));
	ASSERT_NE(NULL, c);
	if (ret || act == RULE_SIZE) {
		direct_check(_metadata, d, c, ret);
	} else {
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
		EXPECT_EQ(-1, c->ret);
		EXPECT_EQ((int)arg, c->err);
	}
	ASSERT_EQ(0, server_drop_rules(d->m.ctl));
}

TEST_F(result, error_of_the_first_request_is_the_result)
{
	struct direct *d = &self->d;

	check_result(_metadata, d, variant->read, FUSE_READ, BYTES, 0,
		     RULE_ERRNO, EDQUOT);
	check_result(_metadata, d, variant->write, FUSE_WRITE, STEP, 0,
		     RULE_ERRNO, EDQUOT);
	check_result(_metadata, d, variant->write, FUSE_WRITE, BYTES, 0,
		     RULE_ERRNO, EDQUOT);
}

TEST_F(result, bytes_before_an_error_are_the_result)
{
	struct direct *d = &self->d;

	check_result(_metadata, d, variant->read, FUSE_READ, BYTES, 3,
		     RULE_ERRNO, EIO);
	check_result(_metadata, d, variant->read, FUSE_READ, BYTES, STEPS - 1,
		     RULE_ERRNO, EIO);
	check_result(_metadata, d, variant->write, FUSE_WRITE, BYTES, 3,
		     RULE_ERRNO, EIO);
}

TEST_F(result, bytes_before_a_short_reply_are_the_result)
{
	struct direct *d = &self->d;

	check_result(_metadata, d, variant->read, FUSE_READ, BYTES, 0,
		     RULE_SIZE, 100);
	check_result(_metadata, d, variant->read, FUSE_READ, BYTES, 5,
		     RULE_SIZE, 12288);
	check_result(_metadata, d, variant->write, FUSE_WRITE, STEP, 0,
		     RULE_SIZE, 4000);
	check_result(_metadata, d, variant->write, FUSE_WRITE, BYTES, 2,
		     RULE_SIZE, 4000);
}

/* A reply of 0 bytes is no error, and ends the result. */
TEST_F(result, nothing_is_the_result_of_an_empty_reply)
{
	struct direct *d = &self->d;

	check_result(_metadata, d, variant->read, FUSE_READ, BYTES, 0,
		     RULE_SIZE, 0);
	check_result(_metadata, d, variant->write, FUSE_WRITE, STEP, 0,
		     RULE_SIZE, 0);
}

/* The error at the lowest offset counts, not that of the first reply. */
TEST_F(result, first_error_of_the_file_is_the_result)
{
	const struct req_match late = direct_step(FUSE_READ, 5);
	const struct req_match early = direct_step(FUSE_READ, 0);
	int nr = variant->open_flags ? STEPS : 1;
	struct direct *d = &self->d;
	struct call *c;

	c = direct_call(d, variant->read, FUSE_READ, 0, BYTES);
	ASSERT_NE(NULL, c);
	ASSERT_TRUE(direct_under_way(&d->m, FUSE_READ, nr));
	ASSERT_EQ(0, server_fail(d->m.ctl, &late, ENOSPC));
	ASSERT_EQ(0, server_fail(d->m.ctl, &early, EDQUOT));
	if (nr > 1)
		ASSERT_EQ(1, server_release_match(d->m.ctl, &late));
	ASSERT_LE(1, server_release(d->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(-1, c->ret);
	EXPECT_EQ(EDQUOT, c->err);
}

TEST_HARNESS_MAIN
