// SPDX-License-Identifier: GPL-2.0
/*
 * open(2) with O_TRUNC that fails after the server has truncated the file.
 *
 * OPEN or CREATE itself truncates, and the open may still fail after its reply: it
 * is killed while waiting for parallel direct writes, or the server starts
 * passthrough meanwhile.  The file is empty nevertheless, and a sound kernel shows
 * that.  A broken one keeps the old size and the old cached pages.
 *
 * Promise: trunc-failed
 */

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "aio.h"
#include "attr_request.h"
#include "child.h"
#include "common.h"

/* Not in older headers; Linux 6.9 added it. */
#ifndef FUSE_PASSTHROUGH
#define FUSE_PASSTHROUGH	0x2000000000ULL
#define FOPEN_PASSTHROUGH	0x80
#endif

#define PAGE	4096
#define PAGES	8
#define BYTES	(PAGES * PAGE)

/*
 *   fd: "file", O_DIRECT, for the writer; all of it is in the page cache
 *   aio: a write of the first page, of which the WRITE is held
 *   data: what the file holds
 */
FIXTURE(trunc_failed)
{
	struct mnt m;
	int fd;
	char *data;
	char *seen;
	char path[128];
	struct aio aio;
};

/* create: with O_CREAT, too, and by CREATE, see otrunc_test.c */
FIXTURE_VARIANT(trunc_failed)
{
	__u32 open_flags;
	bool writeback_cache;
	bool create;
};

FIXTURE_VARIANT_ADD(trunc_failed, o_direct) { };

FIXTURE_VARIANT_ADD(trunc_failed, o_direct_writeback)
{
	.writeback_cache = true,
};

FIXTURE_VARIANT_ADD(trunc_failed, o_direct_create) { .create = true };

FIXTURE_VARIANT_ADD(trunc_failed, o_direct_writeback_create)
{
	.writeback_cache = true, .create = true,
};

FIXTURE_VARIANT_ADD(trunc_failed, fopen_direct_io)
{
	.open_flags = FOPEN_DIRECT_IO,
};

FIXTURE_VARIANT_ADD(trunc_failed, fopen_direct_io_writeback)
{
	.open_flags = FOPEN_DIRECT_IO, .writeback_cache = true,
};

/* Fill the page cache, open the file for the writer, and have the next open cached. */
static void setup_file(struct __test_metadata *_metadata,
		       struct _test_data_trunc_failed *self, __u32 open_flags)
{
	int fd;

	self->data = aligned_alloc(PAGE, BYTES);
	self->seen = aligned_alloc(PAGE, 2 * BYTES);
	ASSERT_TRUE(self->data && self->seen);
	fill_pattern(self->data, BYTES, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data, BYTES));
	snprintf(self->path, sizeof(self->path), "%s/file", self->m.dir);
	fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(BYTES, pread(fd, self->seen, BYTES, 0));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_KEEP_CACHE |
				       FOPEN_PARALLEL_DIRECT_WRITES |
				       open_flags));
	self->fd = mnt_open(&self->m, "file", O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_KEEP_CACHE));
}

/*
 * @ask: nothing is cached of names: CREATE is for one unknown to the kernel, or
 * it sends LOOKUP again.
 */
static struct server_opts server_opts(bool writeback_cache, bool ask)
{
	return (struct server_opts){
		.async_dio = true,
		.writeback_cache = writeback_cache,
		.open_flags = FOPEN_KEEP_CACHE,
		.init_flags = FUSE_ATOMIC_O_TRUNC |
			      (writeback_cache ? 0 : FUSE_PASSTHROUGH),
		.max_stack_depth = !writeback_cache,
		.ask_always = ask,
		.threads = 2,
	};
}

FIXTURE_SETUP(trunc_failed)
{
	const struct server_opts opts = server_opts(variant->writeback_cache,
						    variant->create);

	if (mnt_setup(_metadata, &self->m, &opts, variant))
		setup_file(_metadata, self, variant->open_flags);
}

FIXTURE_TEARDOWN(trunc_failed)
{
	mnt_teardown(_metadata, &self->m);
}

static void start_write(struct __test_metadata *_metadata,
			struct _test_data_trunc_failed *self)
{
	const struct call_arg arg = {
		.fd = self->fd, .buf = self->data, .len = PAGE };

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(0, aio_submit(&self->aio, IOCB_CMD_PWRITE, &arg));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
}

static struct call_arg open_arg(struct _test_data_trunc_failed *self,
				bool create)
{
	return (struct call_arg){
		.buf = self->path,
		.flags = O_RDWR | O_TRUNC | (create ? O_CREAT : 0) };
}

/* Have a process open the file, and kill it where it sleeps after the reply. */
static void kill_opener(struct __test_metadata *_metadata,
			struct _test_data_trunc_failed *self, bool create)
{
	const struct req_match lookups = { .opcode = FUSE_LOOKUP };
	__u32 opcode = create ? FUSE_CREATE : FUSE_OPEN;
	int before = count_req(&self->m, opcode, REQ_REPLIED);
	pid_t pid;

	if (create)
		ASSERT_EQ(0, server_fail(self->m.ctl, &lookups, ENOENT));
	pid = child_start(CLONE_FILES, &call_open, open_arg(self, create));
	ASSERT_LE(0, pid);
	ASSERT_NE(0, await_req(&self->m, opcode, REQ_REPLIED, before + 1));
	/* No fence: with O_CREAT, the process holds the directory lock. */
	ASSERT_TRUE(child_await_blocked(pid, &call_open));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_TRUE(child_was_killed(&self->m, pid));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
}

static void check_size(struct __test_metadata *_metadata,
		       struct _test_data_trunc_failed *self)
{
	struct stat st;

	ASSERT_EQ(0, server_size(self->m.ctl, "file"));
	EXPECT_EQ(0, kernel_size(self->fd));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(0, st.st_size);
}

/* No old bytes come back, also when the file grows. */
static void check_bytes(struct __test_metadata *_metadata,
			struct _test_data_trunc_failed *self)
{
	int fd;

	fd = mnt_run(&self->m, &call_open, (struct call_arg){
		.buf = self->path, .flags = O_RDWR });
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, pread(fd, self->seen, BYTES, 0));
	ASSERT_EQ(0, ftruncate(fd, BYTES));
	memset(self->data, 0, BYTES);
	expect_file(_metadata, &self->m, "file", fd, self->data, self->seen,
		    BYTES);
}

/* The WRITE in flight fails: the file stays empty. */
static void fail_write(struct __test_metadata *_metadata,
		       struct _test_data_trunc_failed *self)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };

	ASSERT_EQ(0, server_fail(self->m.ctl, &writes, ENOSPC));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(-1, aio_wait(&self->aio));
	EXPECT_EQ(ENOSPC, errno);
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
}

TEST_F(trunc_failed, killed_open_behind_aio_write_leaves_an_empty_file)
{
	start_write(_metadata, self);
	kill_opener(_metadata, self, variant->create);
	check_size(_metadata, self);
	fail_write(_metadata, self);
	check_size(_metadata, self);
	check_bytes(_metadata, self);
}

/* The control: so does an open that is not killed. */
TEST_F(trunc_failed, open_behind_aio_write_leaves_an_empty_file)
{
	struct call *c;

	start_write(_metadata, self);
	c = mnt_call(&self->m, &call_open, open_arg(self, false));
	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	fail_write(_metadata, self);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_LE(0, c->ret);
	check_size(_metadata, self);
	check_bytes(_metadata, self);
}

/* Passthrough is only for connections without the writeback cache. */
FIXTURE(trunc_refused)
{
	FIXTURE_DATA(trunc_failed) t;
	int id;
};

FIXTURE_VARIANT(trunc_refused)
{
	__u32 open_flags;
};

FIXTURE_VARIANT_ADD(trunc_refused, o_direct) { };

FIXTURE_VARIANT_ADD(trunc_refused, fopen_direct_io)
{
	.open_flags = FOPEN_DIRECT_IO,
};

FIXTURE_SETUP(trunc_refused)
{
	const struct server_opts opts = server_opts(false, false);

	if (!mnt_setup(_metadata, &self->t.m, &opts, variant))
		return;
	setup_file(_metadata, &self->t, variant->open_flags);
	self->id = mnt_backing_memfd(&self->t.m);
	ASSERT_LT(0, self->id);
}

FIXTURE_TEARDOWN(trunc_refused)
{
	mnt_teardown(_metadata, &self->t.m);
}

TEST_F(trunc_refused, open_that_passthrough_forestalls_leaves_an_empty_file)
{
	struct _test_data_trunc_failed *t = &self->t;
	struct call *c;
	int fd;

	start_write(_metadata, t);
	c = mnt_call(&t->m, &call_open, open_arg(t, false));
	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&t->m, c));
	ASSERT_EQ(0, server_open_backing(t->m.ctl, FOPEN_PASSTHROUGH,
					 self->id));
	fd = mnt_open(&t->m, "file", O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(-1, c->ret);
	EXPECT_EQ(EIO, c->err);
	EXPECT_EQ(0, find_req(&t->m, FUSE_WRITE, REQ_REPLIED, 1));
	check_size(_metadata, t);

	fail_write(_metadata, t);
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, server_open_flags(t->m.ctl, FOPEN_KEEP_CACHE));
	check_bytes(_metadata, t);
}

TEST_HARNESS_MAIN
