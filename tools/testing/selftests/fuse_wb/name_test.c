// SPDX-License-Identifier: GPL-2.0
/*
 * Calls that change no data of a file, while its data is under writeback.
 *
 * With the writeback cache the kernel keeps a file's ctime, and sends it to the
 * server when a name or the blocks of the file change.  For that it writes the
 * inode, not its pages.  A broken kernel waits for the pages as well: then a
 * rename waits for a slow WRITE, and all users of the directory wait for the
 * rename.
 *
 * Promise: names-do-not-wait
 */

#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"

#define LEN	4096

/*
 *   fd: LEN bytes of "file" under writeback, as WRITE is held
 */
FIXTURE(name)
{
	struct mnt m;
	char data[LEN];
	char path[128];
	char other[128];
	int fd;
};

FIXTURE_SETUP(name)
{
	const struct server_opts opts = { .writeback_cache = true };

	if (!mnt_setup(_metadata, &self->m, &opts, NULL))
		return;
	snprintf(self->path, sizeof(self->path), "%s/file", self->m.dir);
	snprintf(self->other, sizeof(self->other), "%s/other", self->m.dir);
	fill_pattern(self->data, LEN, 1);
	/* Makes write(2) change its times, whatever the clock says. */
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data, 1));
	ASSERT_EQ(0, server_set_times(self->m.ctl, "file", 1000));
	self->fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(LEN, write(self->fd, self->data, LEN));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
}

FIXTURE_TEARDOWN(name)
{
	mnt_teardown(_metadata, &self->m);
}

/* It returned, the server got it and the new ctime, and WRITE is held. */
static void check_call(struct __test_metadata *_metadata,
		       struct _test_data_name *self, long ret, __u32 opcode)
{
	EXPECT_EQ(0, ret) {
		TH_LOG("the call failed: %s", strerror(errno));
	}
	/* The log shows a reply only after the kernel has received it. */
	EXPECT_NE(0, await_req(&self->m, opcode, REQ_REPLIED, 1));
	EXPECT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_REPLIED, 1)) {
		TH_LOG("the server did not get the file's times");
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1)) {
		TH_LOG("the call waited for the reply to WRITE");
	}
	EXPECT_LE(1, server_release(self->m.ctl, 0));
}

static long do_unlink(const struct call_arg *arg)
{
	return unlink(arg->buf);
}

static const struct call_op call_unlink = { "unlink", SYS_unlink, do_unlink };

TEST_F(name, rename_does_not_wait_for_held_write)
{
	struct call_arg arg = { .buf = self->path, .to = self->other };
	long ret = mnt_run(&self->m, &call_rename, arg);

	check_call(_metadata, self, ret, FUSE_RENAME);
}

TEST_F(name, unlink_does_not_wait_for_held_write)
{
	struct call_arg arg = { .buf = self->path };
	long ret = mnt_run(&self->m, &call_unlink, arg);

	check_call(_metadata, self, ret, FUSE_UNLINK);
}

/* Within allocated bytes: no page changes. */
TEST_F(name, allocation_does_not_wait_for_held_write)
{
	struct call_arg arg = { .fd = self->fd, .len = LEN };
	long ret = mnt_run(&self->m, &call_fallocate, arg);

	check_call(_metadata, self, ret, FUSE_FALLOCATE);
}

TEST_HARNESS_MAIN
