// SPDX-License-Identifier: GPL-2.0
/*
 * Parallel direct writers of a file that shrinks after they have started.
 *
 * A write inside the file takes the inode's lock shared, one beyond EOF takes it
 * exclusively: if that fails, the rest is cut off again by truncating.  The server
 * may report a new size at any time, also while a writer queries the file's
 * privileges.  A broken kernel checks the size before and after that, and truncates
 * under the shared lock: two concurrent truncations corrupt it, and one truncates
 * data that another writer has successfully written.  A sound one queries first and
 * checks the size once.
 *
 * Promise: direct-shrunk
 */

#include <sys/syscall.h>

#include "aio.h"
#include "attr_request.h"
#include "common.h"

#define PAGE	4096
#define PAGES	8
#define BYTES	(PAGES * PAGE)

/* Each writes its page, filled with its number. */
#define WRITERS	2

/**
 * struct writers - a file and its writers
 * @m: the mount
 * @fd: "file", with O_DIRECT
 * @old: what it holds
 * @data: what is written to it
 * @seen: to read into
 * @op: how a writer writes
 * @submit: the same, before it has sent its WRITE
 * @call: the writers
 */
struct writers {
	struct mnt m;
	int fd;
	char *old;
	char *data;
	char *seen;
	const struct call_op *op;
	struct call_op submit;
	struct call *call[WRITERS];
};

static void setup_writers(struct __test_metadata *_metadata, struct writers *w,
			  __u32 open_flags, bool aio, const void *variant)
{
	const struct server_opts opts = {
		.async_dio = true,
		.open_flags = open_flags | FOPEN_PARALLEL_DIRECT_WRITES,
		.threads = 2,
	};

	if (!mnt_setup(_metadata, &w->m, &opts, variant))
		return;
	file_setup(_metadata, &w->m, "file", BYTES, 1, &w->old, &w->seen);
	w->data = aligned_alloc(PAGE, BYTES);
	ASSERT_NE(NULL, w->data);
	fill_pattern(w->data, BYTES, 2);
	w->fd = mnt_open(&w->m, "file", O_RDWR | O_DIRECT);
	ASSERT_LE(0, w->fd);
	w->op = aio ? &call_aio_pwrite : &call_pwrite;
	w->submit = *w->op;
	if (aio)
		w->submit.nr = SYS_io_submit;
}

static struct call_arg write_arg(struct writers *w, int page)
{
	return (struct call_arg){
		.fd = w->fd, .off = page * PAGE, .len = PAGE,
		.buf = w->data + page % PAGES * PAGE };
}

/*
 * Start the writers, and have them sleep, each having sent one of these
 * requests.
 */
static void start_writers(struct __test_metadata *_metadata, struct writers *w,
			  const struct call_op *op, __u32 opcode)
{
	int i;

	ASSERT_EQ(0, hold_req(&w->m, opcode));
	for (i = 0; i < WRITERS; i++) {
		w->call[i] = mnt_call(&w->m, op, write_arg(w, i));
		ASSERT_NE(NULL, w->call[i]);
	}
	ASSERT_NE(0, await_req(&w->m, opcode, REQ_ARRIVED, WRITERS)) {
		TH_LOG("the writers run one by one");
	}
	for (i = 0; i < WRITERS; i++)
		ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&w->m, w->call[i]));
}

/*
 * The server reports the file as empty, as if another client had truncated it.
 */
static void shrink(struct __test_metadata *_metadata, struct writers *w)
{
	const struct req_match getattrs = { .opcode = FUSE_GETATTR };

	ASSERT_EQ(0, server_rule(w->m.ctl, &getattrs, RULE_ATTR_SIZE, 0));
	ASSERT_EQ(0, attr_request_send(&w->m, &attr_request_getattr, "file", w->fd));
	ASSERT_EQ(0, kernel_size(w->fd));
}

/*
 * Hold all WRITEs and truncations.  WRITEs that overlap pages from @first_bad on will
 * fail when they are released.
 */
static void fail_writes(struct __test_metadata *_metadata, struct writers *w,
			int first_bad)
{
	const struct req_match bad = {
		.opcode = FUSE_WRITE, .start = first_bad * PAGE };

	ASSERT_EQ(0, server_fail(w->m.ctl, &bad, ENOSPC));
	ASSERT_EQ(0, hold_req(&w->m, FUSE_WRITE));
	ASSERT_EQ(0, hold_req(&w->m, FUSE_SETATTR));
}

/*
 * Reply that there are no privileges, and let the writers go on to their
 * WRITEs.
 */
static void answer_privileges(struct __test_metadata *_metadata,
			      struct writers *w)
{
	const struct req_match getxattrs = { .opcode = FUSE_GETXATTR };
	int i;

	ASSERT_EQ(WRITERS, server_release_match(w->m.ctl, &getxattrs));
	ASSERT_NE(0, await_req(&w->m, FUSE_WRITE, REQ_ARRIVED, 1));
	for (i = 0; i < WRITERS; i++) {
		/*
		 * A writer that runs alone and beyond EOF has not submitted it
		 * yet.
		 */
		ASSERT_NE(CALL_LOST, call_stays_blocked(&w->m, w->call[i]));
	}
}

/*
 * Reply to the WRITE of a page, if it has arrived, and let all writers react.
 */
static void reply_to(struct __test_metadata *_metadata, struct writers *w,
		     int page)
{
	const struct req_match write = {
		.opcode = FUSE_WRITE, .start = page * PAGE,
		.end = (page + 1) * PAGE };
	int i;

	ASSERT_LE(0, server_release_match(w->m.ctl, &write));
	for (i = 0; i < WRITERS; i++)
		ASSERT_NE(CALL_LOST, call_stays_blocked(&w->m, w->call[i]));
}

/* Reply to the rest. */
static void end_writers(struct __test_metadata *_metadata, struct writers *w)
{
	int i;

	ASSERT_LE(0, server_release(w->m.ctl, 0));
	for (i = 0; i < WRITERS; i++)
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(w->call[i]));
	EXPECT_EQ(0, fence(&w->m));
}

static void check_failed(struct __test_metadata *_metadata, struct call *c)
{
	EXPECT_EQ(-1, c->ret);
	EXPECT_EQ(ENOSPC, c->err);
}

/* The file is inside the server's size, and this is its first page. */
static void check_first_page(struct __test_metadata *_metadata,
			     struct writers *w, const char *data)
{
	ASSERT_LE(PAGE, server_size(w->m.ctl, "file")) {
		TH_LOG("data that another writer has written was cut off");
	}
	ASSERT_EQ(0, server_get(w->m.ctl, "file", 0, w->seen, PAGE));
	EXPECT_EQ(-1, first_difference(data, w->seen, PAGE));
}

/*
 *   writers --- GETXATTR, held ---.
 *   fstat(2) --- size 0 ---------- | ---> server
 *   writers --- WRITE, SETATTR ---'
 */
FIXTURE(shared_lock)
{
	struct writers w;
};

FIXTURE_VARIANT(shared_lock)
{
	bool aio;
};

FIXTURE_VARIANT_ADD(shared_lock, pwrite) { };

FIXTURE_VARIANT_ADD(shared_lock, libaio) { .aio = true };

FIXTURE_SETUP(shared_lock)
{
	setup_writers(_metadata, &self->w, 0, variant->aio, variant);
}

FIXTURE_TEARDOWN(shared_lock)
{
	mnt_teardown(_metadata, &self->w.m);
}

/* Writers that now find themselves beyond EOF run one by one. */
TEST_F(shared_lock, writers_that_fail_truncate_one_at_a_time)
{
	struct writers *w = &self->w;

	start_writers(_metadata, w, &w->submit, FUSE_GETXATTR);
	shrink(_metadata, w);
	fail_writes(_metadata, w, 0);
	answer_privileges(_metadata, w);
	reply_to(_metadata, w, 1);
	reply_to(_metadata, w, 0);
	EXPECT_EQ(1, count_req(&w->m, FUSE_SETATTR, REQ_ARRIVED)) {
		TH_LOG("a writer truncates without the exclusive lock");
	}
	end_writers(_metadata, w);
	check_failed(_metadata, w->call[0]);
	check_failed(_metadata, w->call[1]);
}

TEST_F(shared_lock, writer_that_fails_keeps_the_bytes_of_another)
{
	struct writers *w = &self->w;

	start_writers(_metadata, w, &w->submit, FUSE_GETXATTR);
	shrink(_metadata, w);
	fail_writes(_metadata, w, 1);
	answer_privileges(_metadata, w);
	reply_to(_metadata, w, 1);
	reply_to(_metadata, w, 0);
	end_writers(_metadata, w);
	EXPECT_EQ(PAGE, w->call[0]->ret);
	check_failed(_metadata, w->call[1]);
	check_first_page(_metadata, w, w->data);
}

/*
 * Inside the file there is nothing to cut off; a lone writer beyond EOF
 * truncates.
 */
TEST_F(shared_lock, writer_that_fails_beyond_eof_truncates)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	struct writers *w = &self->w;

	ASSERT_EQ(0, server_fail(w->m.ctl, &writes, ENOSPC));
	EXPECT_EQ(-1, mnt_run(&w->m, w->op, write_arg(w, PAGES - 1)));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(0, count_req(&w->m, FUSE_SETATTR, REQ_ARRIVED));
	EXPECT_EQ(-1, mnt_run(&w->m, w->op, write_arg(w, PAGES)));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(1, count_req(&w->m, FUSE_SETATTR, REQ_ARRIVED));
	check_first_page(_metadata, w, w->old);
}

/*
 * The size changes while the WRITEs are in flight.  An aio writer holds no lock
 * then.
 */
FIXTURE(shrinking)
{
	struct writers w;
};

FIXTURE_VARIANT(shrinking)
{
	__u32 open_flags;
	bool aio;
};

FIXTURE_VARIANT_ADD(shrinking, o_direct_pwrite) { };

FIXTURE_VARIANT_ADD(shrinking, o_direct_libaio) { .aio = true };

FIXTURE_VARIANT_ADD(shrinking, fopen_direct_io_pwrite)
{
	.open_flags = FOPEN_DIRECT_IO,
};

FIXTURE_VARIANT_ADD(shrinking, fopen_direct_io_libaio)
{
	.open_flags = FOPEN_DIRECT_IO, .aio = true,
};

FIXTURE_SETUP(shrinking)
{
	setup_writers(_metadata, &self->w, variant->open_flags, variant->aio,
		      variant);
}

FIXTURE_TEARDOWN(shrinking)
{
	mnt_teardown(_metadata, &self->w.m);
}

/* They were inside the file when they were sent. */
TEST_F(shrinking, write_in_flight_that_fails_truncates_nothing)
{
	struct writers *w = &self->w;

	start_writers(_metadata, w, w->op, FUSE_WRITE);
	shrink(_metadata, w);
	fail_writes(_metadata, w, 1);
	reply_to(_metadata, w, 1);
	end_writers(_metadata, w);
	EXPECT_EQ(PAGE, w->call[0]->ret);
	check_failed(_metadata, w->call[1]);
	EXPECT_EQ(0, count_req(&w->m, FUSE_SETATTR, REQ_ARRIVED));
	EXPECT_EQ(BYTES, server_size(w->m.ctl, "file"));
	check_first_page(_metadata, w, w->data);
}

TEST_HARNESS_MAIN
