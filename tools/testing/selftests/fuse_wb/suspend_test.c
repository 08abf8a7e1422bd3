// SPDX-License-Identifier: GPL-2.0
/*
 * Suspending the system while a server does not reply.
 *
 * Suspend syncs everything, freezes every process, and only then suspends
 * devices; pm_test makes it stop there and resume.  A broken kernel waits in
 * sync(2) for a server that does not reply, and which may be the next to be
 * frozen; or it freezes a healthy server before that has the data.  A sound one
 * has everything sent and goes on.
 *
 * Promise: sync-2
 */

#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"
#include "suspend.h"

/* "file": one dirty byte, and requests of one kind get no reply */
FIXTURE(suspend)
{
	struct mnt m;
	int fd;
	int earlier;
};

FIXTURE_VARIANT(suspend)
{
	__u32 opcode;
	bool frozen;
};

FIXTURE_VARIANT_ADD(suspend, write_is_held) { .opcode = FUSE_WRITE };

FIXTURE_VARIANT_ADD(suspend, setattr_is_held) { .opcode = FUSE_SETATTR };

FIXTURE_VARIANT_ADD(suspend, server_is_frozen)
{
	.opcode = FUSE_WRITE,
	.frozen = true,
};

FIXTURE_SETUP(suspend)
{
	const struct server_opts opts = { .writeback_cache = true };

	if (!suspend_is_there())
		SKIP(return, "needs CONFIG_SUSPEND and CONFIG_PM_DEBUG");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->fd = mnt_open(&self->m, "file", O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, make_file_old(self->fd));
	ASSERT_EQ(1, write(self->fd, "x", 1));
	self->earlier = count_req(&self->m, variant->opcode, REQ_ARRIVED);
	ASSERT_EQ(0, hold_req(&self->m, variant->opcode));
	if (variant->frozen)
		ASSERT_EQ(0, server_freeze(&self->m));
	ASSERT_EQ(0, suspend_only_freezes("0"));
}

FIXTURE_TEARDOWN(suspend)
{
	EXPECT_EQ(0, suspend_as_usual());
	mnt_teardown(_metadata, &self->m);
}

TEST_F(suspend, suspend_waits_for_no_server)
{
	EXPECT_EQ(6, mnt_tell(&self->m, PM_STATE, "freeze")) {
		TH_LOG("suspend: %s", strerror(errno));
	}
	if (variant->frozen)
		ASSERT_EQ(0, server_thaw(&self->m));

	/* The control: everything was sent. */
	EXPECT_NE(0, await_req(&self->m, variant->opcode, REQ_ARRIVED,
			       self->earlier + 1));
	EXPECT_EQ(self->earlier,
		  count_req(&self->m, variant->opcode, REQ_REPLIED));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
}

#define FILES		3

/* Some files, each with a dirty byte; SETATTR is slow, but gets its reply */
FIXTURE(slow)
{
	struct mnt m;
};

FIXTURE_SETUP(slow)
{
	const struct server_opts opts = { .writeback_cache = true };
	const struct req_match times = { .opcode = FUSE_SETATTR };
	char name[16];
	int i;

	if (!suspend_is_there())
		SKIP(return, "needs CONFIG_SUSPEND and CONFIG_PM_DEBUG");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		ASSERT_LE(0, open_dirty_file(&self->m, name));
	}
	ASSERT_EQ(0, server_rule(self->m.ctl, &times, RULE_DELAY, 500000));
	ASSERT_EQ(0, suspend_only_freezes("0"));
}

FIXTURE_TEARDOWN(slow)
{
	EXPECT_EQ(0, suspend_as_usual());
	mnt_teardown(_metadata, &self->m);
}

/* Anything missing when suspend returns would arrive soon, but too late. */
TEST_F(slow, server_has_the_data_before_it_is_frozen)
{
	EXPECT_EQ(6, mnt_tell(&self->m, PM_STATE, "freeze")) {
		TH_LOG("suspend: %s", strerror(errno));
	}
	EXPECT_EQ(FILES, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED)) {
		TH_LOG("the server was frozen before it had all data");
	}
}

/*
 * A task waits for the server when suspend has to freeze it.  The server is frozen, so
 * the task makes no progress: an unpatched kernel gives up.  A sound one freezes the
 * task in the wait if it was entered directly from a system call.  It must not if the
 * task may hold locks that devices need while they are suspended: in a page fault, or
 * with a kernel buffer, as when a driver reads firmware.
 */
#define PM_TIMEOUT	"/sys/power/pm_freeze_timeout"
#define PAGE		4096

FIXTURE(waiter)
{
	struct mnt m;
	int fd;
	int other;
	int pipe[2];
	char *map;
	char byte;
	struct call *call;
};

FIXTURE_VARIANT(waiter)
{
	const struct call_op *op;	/* NULL: close(2) */
	__u32 opcode;			/* the held opcode */
	bool through;			/* no writeback cache */
	bool dirty;			/* the file is dirty */
	bool from_map;			/* the file is mapped, and the buffer of the call */
	bool private_map;		/* it is FOPEN_DIRECT_IO, the mapping private */
	int flags;			/* additional flags of the open file */
	off_t off;
	long ret;
	bool refuses;
};

static long do_sendfile(const struct call_arg *arg)
{
	off_t off = arg->off;

	return sendfile(arg->flags, arg->fd, &off, arg->len);
}

static const struct call_op call_sendfile = {
	"sendfile", SYS_sendfile, do_sendfile
};

FIXTURE_VARIANT_ADD(waiter, fsync_for_write)
{
	.op = &call_fsync,
	.opcode = FUSE_WRITE,
	.dirty = true,
};

FIXTURE_VARIANT_ADD(waiter, fsync_for_fsync)
{
	.op = &call_fsync,
	.opcode = FUSE_FSYNC,
	.dirty = true,
};

FIXTURE_VARIANT_ADD(waiter, close_for_write)
{
	.opcode = FUSE_WRITE,
	.dirty = true,
};

FIXTURE_VARIANT_ADD(waiter, close_for_flush) { .opcode = FUSE_FLUSH };

FIXTURE_VARIANT_ADD(waiter, write_for_write)
{
	.op = &call_pwrite,
	.opcode = FUSE_WRITE,
	.through = true,
	.off = PAGE,
	.ret = 1,
};

FIXTURE_VARIANT_ADD(waiter, write_for_read)
{
	.op = &call_pwrite,
	.opcode = FUSE_READ,
	.off = 1,
	.ret = 1,
};

FIXTURE_VARIANT_ADD(waiter, ftruncate_for_setattr)
{
	.op = &call_ftruncate,
	.opcode = FUSE_SETATTR,
};

FIXTURE_VARIANT_ADD(waiter, stat_for_getattr)
{
	.op = &call_statx,
	.opcode = FUSE_GETATTR,
};

FIXTURE_VARIANT_ADD(waiter, read_for_read)
{
	.op = &call_pread,
	.opcode = FUSE_READ,
	.ret = 1,
};

FIXTURE_VARIANT_ADD(waiter, store_in_a_fault)
{
	.op = &call_store,
	.opcode = FUSE_READ,
	.refuses = true,
};

FIXTURE_VARIANT_ADD(waiter, write_in_a_fault)
{
	.op = &call_pwrite,
	.opcode = FUSE_READ,
	.from_map = true,
	.ret = 1,
	.refuses = true,
};

FIXTURE_VARIANT_ADD(waiter, write_in_a_private_fault)
{
	.op = &call_pwrite,
	.opcode = FUSE_READ,
	.from_map = true,
	.private_map = true,
	.ret = 1,
	.refuses = true,
};

FIXTURE_VARIANT_ADD(waiter, sendfile_with_a_kernel_buffer)
{
	.op = &call_sendfile,
	.opcode = FUSE_READ,
	.ret = 1,
	.refuses = true,
};

/* splice(2) reads from a file with O_DIRECT through ->read_iter */
FIXTURE_VARIANT_ADD(waiter, direct_sendfile_with_a_kernel_buffer)
{
	.op = &call_sendfile,
	.opcode = FUSE_READ,
	.flags = O_DIRECT,
	.ret = 1,
	.refuses = true,
};

FIXTURE_SETUP(waiter)
{
	const struct server_opts opts = { .writeback_cache = !variant->through };

	self->pipe[0] = -1;
	self->pipe[1] = -1;
	self->map = MAP_FAILED;
	if (!suspend_is_there())
		SKIP(return, "needs CONFIG_SUSPEND and CONFIG_PM_DEBUG");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	ASSERT_EQ(0, pipe(self->pipe));
	self->byte = 'x';
	ASSERT_EQ(0, server_put(self->m.ctl, "file", PAGE - 1, "x", 1));
	if (variant->private_map)
		ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_DIRECT_IO));
	self->fd = mnt_open(&self->m, "file", O_RDWR | variant->flags);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, server_open_flags(self->m.ctl, 0));
	self->other = mnt_open(&self->m, "other", O_RDWR | O_CREAT);
	ASSERT_LE(0, self->other);
	self->map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 variant->private_map ? MAP_PRIVATE : MAP_SHARED,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	if (variant->dirty)
		ASSERT_EQ(1, pwrite(self->fd, "x", 1, PAGE));

	ASSERT_EQ(0, hold_req(&self->m, variant->opcode));
	self->call = variant->op ?
		mnt_call(&self->m, variant->op, (struct call_arg){
			.fd = variant->from_map ? self->other : self->fd,
			.off = variant->off,
			.len = 1,
			.buf = variant->from_map ? self->map : &self->byte,
			.to = self->map,
			.flags = self->pipe[1] }) :
		mnt_call_close(&self->m, self->fd);
	ASSERT_NE(NULL, self->call);
	ASSERT_NE(0, await_req(&self->m, variant->opcode, REQ_ARRIVED, 1));
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, self->call));

	ASSERT_EQ(0, suspend_only_freezes("0"));
	/*
	 * In milliseconds; a server that is not frozen yet uses a twentieth of
	 * it
	 */
	ASSERT_EQ(0, write_file(PM_TIMEOUT, "4000"));
}

FIXTURE_TEARDOWN(waiter)
{
	EXPECT_EQ(0, write_file(PM_TIMEOUT, "20000"));
	EXPECT_EQ(0, suspend_as_usual());
	server_release(self->m.ctl, 0);
	if (self->map != MAP_FAILED)
		munmap(self->map, PAGE);
	mnt_teardown(_metadata, &self->m);
	close(self->pipe[0]);
	close(self->pipe[1]);
}

/*
 * It keeps waiting after it is thawed.
 *
 * Promise: freezer
 */
TEST_F(waiter, suspend_freezes_waits_of_system_calls_alone)
{
	long ret = mnt_tell(&self->m, PM_STATE, "freeze");

	if (variant->refuses) {
		EXPECT_EQ(-1, ret);
		EXPECT_EQ(EBUSY, errno);
	} else {
		EXPECT_EQ(6, ret) {
			TH_LOG("suspend: %s", strerror(errno));
		}
	}
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, self->call));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->call));
	EXPECT_EQ(variant->ret, self->call->ret);
}

TEST_HARNESS_MAIN
