// SPDX-License-Identifier: GPL-2.0
/*
 * Unmounting after the writers have been killed.
 *
 * A process that is killed does not wait for the server: its data is queued, and it
 * exits.  Every shutdown does "kill, then umount", so umount(2) has to wait for the
 * replies to queued requests, and if another task drops the last reference the
 * superblock must stay until they have arrived.  A broken kernel aborts the
 * connection at once, and none of the data arrives.  On Linux 6.12 the killed
 * process stays instead, and umount(2) fails until it has exited.
 *
 * No task has to wait for a server that never replies: SIGKILL ends umount(2), and
 * so do MNT_FORCE, an abort and the death of the server.  Other tasks are not
 * affected.
 *
 * Promise: umount
 */

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "child.h"
#include "common.h"
#include "writer.h"

#define FILE_NAME	"file"
#define STEP		(128 << 10)
#define BYTES		(4 << 20)
#define SLOW_USEC	5000

/*
 *   writer: BYTES of "file", dirty <--- SIGKILL
 *   umount(2) ... --- WRITE, held; others queued after it
 *
 * The test itself has nothing on the mount open.
 */
FIXTURE(unmount)
{
	struct mnt m;
	struct writer writer;
	char path[128];
	char *data;
	char *seen;
	pid_t pid;
};

FIXTURE_VARIANT(unmount)
{
	struct server_opts opts;
	bool by_store;
};

FIXTURE_VARIANT_ADD(unmount, cached_write)
{
	.opts = { .writeback_cache = true, .max_write = STEP },
};

FIXTURE_VARIANT_ADD(unmount, cached_write_short_queue)
{
	.opts = { .writeback_cache = true, .max_write = STEP,
		  .max_background = 1, .congestion = 1 },
};

FIXTURE_VARIANT_ADD(unmount, cached_store)
{
	.opts = { .writeback_cache = true, .max_write = STEP,
		  .max_background = 1, .congestion = 1 },
	.by_store = true,
};

FIXTURE_VARIANT_ADD(unmount, through_store)
{
	.opts = { .max_write = STEP, .max_background = 1, .congestion = 1 },
	.by_store = true,
};

/* The server has other bytes, where the writer's are expected later. */
static bool setup(struct __test_metadata *_metadata,
		  struct _test_data_unmount *self,
		  const struct server_opts *opts, const void *variant)
{
	if (!mnt_setup(_metadata, &self->m, opts, variant))
		return false;
	file_setup(_metadata, &self->m, FILE_NAME, BYTES, 1, &self->data,
		   &self->seen);
	fill_pattern(self->data, BYTES, 2);
	snprintf(self->path, sizeof(self->path), "%s/%s", self->m.dir,
		 FILE_NAME);
	self->writer = (struct writer){
		.path = self->path, .data = self->data, .len = BYTES };
	return true;
}

FIXTURE_SETUP(unmount)
{
	if (!setup(_metadata, self, &variant->opts, variant))
		return;
	self->writer.by_store = variant->by_store;
}

FIXTURE_TEARDOWN(unmount)
{
	mnt_teardown(_metadata, &self->m);
}

/* Start the writer, and kill it in its last call. */
static void kill_writer(struct __test_metadata *_metadata,
			struct _test_data_unmount *self)
{
	self->pid = writer_start(&self->writer);
	ASSERT_LT(0, self->pid);
	if (self->writer.last)
		ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_EQ(0, kill(self->pid, SIGKILL));
}

/*
 * The same, with its first WRITE held.
 *
 * Return: has it exited?  Otherwise it stays as long as the WRITE is held.
 */
static bool kill_writer_held(struct __test_metadata *_metadata,
			     struct _test_data_unmount *self)
{
	int gone;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	kill_writer(_metadata, self);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	gone = task_settles(&self->m, self->pid);
	ASSERT_LE(0, gone);
	if (gone)
		EXPECT_TRUE(child_was_killed(&self->m, self->pid));
	return gone;
}

static struct call *call_unmount(struct _test_data_unmount *self, int flags)
{
	return mnt_call(&self->m, &call_umount, (struct call_arg){
		.buf = self->m.dir, .flags = flags });
}

static void check_returned(struct __test_metadata *_metadata, struct call *c)
{
	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret) {
		TH_LOG("%s: %s", c->op->name, strerror(c->err));
	}
}

static void check_all_arrived(struct __test_metadata *_metadata,
			      struct _test_data_unmount *self)
{
	size_t off;

	for (off = 0; off < BYTES; off += CTL_DATA_MAX)
		ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, off,
					self->seen + off, CTL_DATA_MAX));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, BYTES)) {
		TH_LOG("the data of the killed writer is lost, at least in part");
	}
}

/* No task waits for the data, but it arrives. */
static void check_all_arrives(struct __test_metadata *_metadata,
			      struct _test_data_unmount *self)
{
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(0, reqlog_wait_bytes(self->m.log, &(struct req_match){
		.opcode = FUSE_WRITE }, REQ_REPLIED, BYTES));
	check_all_arrived(_metadata, self);
}

/* Where the writer stays for its data, umount has to come later. */
static void check_umount(struct __test_metadata *_metadata,
			 struct _test_data_unmount *self, bool gone)
{
	struct call *c = NULL;

	if (gone) {
		c = call_unmount(self, 0);
		ASSERT_NE(NULL, c);
		EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c)) {
			TH_LOG("umount does not wait for queued requests");
		}
	}
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	if (!gone) {
		EXPECT_LE(0, mnt_run(&self->m, &call_waitpid,
				     (struct call_arg){ .fd = self->pid }));
		c = call_unmount(self, 0);
	}
	check_returned(_metadata, c);
	check_all_arrived(_metadata, self);
}

static void check_held(struct __test_metadata *_metadata,
		       struct _test_data_unmount *self)
{
	check_umount(_metadata, self, kill_writer_held(_metadata, self));
}

TEST_F(unmount, umount_waits_for_data_of_killed_writer)
{
	check_held(_metadata, self);
}

/* MNT_DETACH never waits. */
TEST_F(unmount, data_of_killed_writer_arrives_after_lazy_umount)
{
	bool gone = kill_writer_held(_metadata, self);

	check_returned(_metadata, call_unmount(self, MNT_DETACH));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	check_all_arrives(_metadata, self);
	if (!gone)
		EXPECT_TRUE(child_was_killed(&self->m, self->pid));
}

/* Nothing is stuck, umount just comes early. */
TEST_F(unmount, data_of_killed_writer_reaches_a_slow_server)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };

	ASSERT_EQ(0, server_rule(self->m.ctl, &writes, RULE_DELAY, SLOW_USEC));
	kill_writer(_metadata, self);
	ASSERT_TRUE(child_was_killed(&self->m, self->pid));
	check_returned(_metadata, call_unmount(self, 0));
	check_all_arrived(_metadata, self);
}

/* A task that closes the last file of the mount need not wait for the data. */
TEST_F(unmount, last_reference_after_lazy_umount_does_not_wait)
{
	int dir = open(self->m.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int gone;

	ASSERT_LE(0, dir);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	self->pid = writer_start(&self->writer);
	ASSERT_LT(0, self->pid);
	/* The writer's copy of the descriptor is closed at its exit. */
	check_returned(_metadata, call_unmount(self, MNT_DETACH));
	ASSERT_EQ(0, kill(self->pid, SIGKILL));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	/* For fences; the watchdog has its own copy. */
	snprintf(self->m.dir, sizeof(self->m.dir), "/proc/self/fd/%d", dir);
	gone = task_settles(&self->m, self->pid);
	ASSERT_LE(0, gone);
	if (gone)
		EXPECT_TRUE(child_was_killed(&self->m, self->pid));
	check_returned(_metadata, mnt_call(&self->m, &call_close,
					   (struct call_arg){ .fd = dir }));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	check_all_arrives(_metadata, self);
	if (!gone)
		EXPECT_TRUE(child_was_killed(&self->m, self->pid));
}

/* No other task uses the mount when the writer is killed, a WRITE held. */
static void kill_last_user(struct __test_metadata *_metadata,
			   struct _test_data_unmount *self, int flags, int times)
{
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	self->pid = writer_start(&self->writer);
	ASSERT_LT(0, self->pid);
	check_returned(_metadata, call_unmount(self, flags));
	while (times--) {
		ASSERT_EQ(0, kill(self->pid, SIGKILL));
		ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
		ASSERT_LE(0, task_settles(&self->m, self->pid));
	}
}

/* The killed process has the last reference: it stays, or exits first. */
TEST_F(unmount, killed_writer_with_the_last_reference_loses_nothing)
{
	kill_last_user(_metadata, self, MNT_DETACH, 1);
	check_all_arrives(_metadata, self);
	EXPECT_TRUE(child_was_killed(&self->m, self->pid));
}

/* Where it stays, a second signal does not make it exit without its data. */
TEST_F(unmount, writer_killed_twice_with_the_last_reference_loses_nothing)
{
	kill_last_user(_metadata, self, MNT_DETACH, 2);
	check_all_arrives(_metadata, self);
	EXPECT_TRUE(child_was_killed(&self->m, self->pid));
}

/* The same, with the mount of its own namespace, which ends with it. */
TEST_F(unmount, writer_killed_in_the_last_mount_namespace_loses_nothing)
{
	self->writer.own_mounts = true;
	kill_last_user(_metadata, self, 0, 2);
	check_all_arrives(_metadata, self);
	EXPECT_TRUE(child_was_killed(&self->m, self->pid));
}

/*
 * Promise: kill
 */
TEST_F(unmount, last_user_of_a_mount_namespace_is_gone_at_once)
{
	self->writer.own_mounts = true;
	kill_last_user(_metadata, self, 0, 1);
	EXPECT_TRUE(child_was_killed(&self->m, self->pid));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
}

static long exit_now(int fd, char *map, size_t len)
{
	(void)fd;
	(void)map;
	(void)len;
	return 0;
}

/* It was not killed before; it waits for the server, or has exited already. */
TEST_F(unmount, data_of_exiting_writer_killed_twice_is_not_lost)
{
	int i, gone = 0;

	self->writer.last = exit_now;
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	self->pid = writer_start(&self->writer);
	ASSERT_LT(0, self->pid);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	for (i = 0; i < 2; i++) {
		ASSERT_LE(0, task_settles(&self->m, self->pid));
		ASSERT_EQ(0, kill(self->pid, SIGKILL));
		gone = task_settles(&self->m, self->pid);
		ASSERT_LE(0, gone);
	}
	check_umount(_metadata, self, gone);
}

/* Another task has the file open, and has dirtied nothing. */
TEST_F(unmount, umount_is_busy_while_another_process_has_the_file_open)
{
	int fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	bool gone;

	ASSERT_LE(0, fd);
	gone = kill_writer_held(_metadata, self);
	EXPECT_EQ(-1, mnt_run(&self->m, &call_umount, (struct call_arg){
		.buf = self->m.dir }));
	EXPECT_EQ(EBUSY, errno);
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	if (!gone)
		EXPECT_TRUE(child_was_killed(&self->m, self->pid));
	EXPECT_EQ(0, mnt_run(&self->m, &call_close, (struct call_arg){
		.fd = fd }));
	check_all_arrived(_metadata, self);
	check_returned(_metadata, call_unmount(self, 0));
}

/* Close the descriptor, with a duplicate open until exit, or unmap it. */
static long let_go(int fd, char *map, size_t len)
{
	if (!map)
		return fcntl(fd, F_DUPFD_CLOEXEC, 0) < 0 ? -1 : close(fd);
	if (munmap(map, len))
		return -1;
	for (;;)
		pause();
}

TEST_F(unmount, data_of_writer_killed_as_it_closes_or_unmaps_is_not_lost)
{
	self->writer.last = let_go;
	check_held(_metadata, self);
}

/* the writer has exited, its first WRITE held; umount waits */
FIXTURE(umount_waits)
{
	FIXTURE_DATA(unmount) u;
};

FIXTURE_SETUP(umount_waits)
{
	const struct server_opts opts = {
		.writeback_cache = true, .max_write = STEP,
		.max_background = 1, .congestion = 1,
	};

	if (!setup(_metadata, &self->u, &opts, variant))
		return;
	ASSERT_TRUE(kill_writer_held(_metadata, &self->u)) {
		TH_LOG("the killed writer waits for the server");
	}
	EXPECT_EQ(0, find_req(&self->u.m, FUSE_WRITE, REQ_REPLIED, 1));
}

FIXTURE_TEARDOWN(umount_waits)
{
	mnt_teardown(_metadata, &self->u.m);
}

/*
 * Promise: kill
 */
TEST_F(umount_waits, until_sigkill_and_nothing_is_lost)
{
	struct _test_data_unmount *u = &self->u;
	pid_t pid;

	pid = child_start(CLONE_FILES, &call_umount, (struct call_arg){
		.buf = u->m.dir });
	ASSERT_LT(0, pid);
	EXPECT_TRUE(child_stays_blocked(&u->m, pid, &call_umount));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&u->m, pid));
	EXPECT_EQ(0, find_req(&u->m, FUSE_WRITE, REQ_REPLIED, 1));
	check_all_arrives(_metadata, u);
}

/*
 * Promise: kill
 */
TEST_F(umount_waits, not_with_mnt_force)
{
	check_returned(_metadata, call_unmount(&self->u, MNT_FORCE));
	EXPECT_EQ(0, find_req(&self->u.m, FUSE_WRITE, REQ_REPLIED, 1));
}

static struct call *wait_in_umount(struct __test_metadata *_metadata,
				   struct _test_data_unmount *u)
{
	struct call *c = call_unmount(u, 0);

	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&u->m, c));
	return c;
}

/*
 * Promise: stuck
 */
TEST_F(umount_waits, until_abort)
{
	struct call *c = wait_in_umount(_metadata, &self->u);

	ASSERT_EQ(0, mnt_abort(&self->u.m));
	check_returned(_metadata, c);
}

/*
 * Promise: stuck
 */
TEST_F(umount_waits, until_the_server_dies)
{
	struct call *c = wait_in_umount(_metadata, &self->u);

	ASSERT_EQ(0, server_quit(self->u.m.ctl));
	check_returned(_metadata, c);
}

/*
 * sync(2) iterates over all superblocks, and takes s_umount of each.
 *
 * Promise: stuck, sync-2
 */
TEST_F(umount_waits, and_others_do_not_notice)
{
	struct call *c = wait_in_umount(_metadata, &self->u);
	const struct server_opts opts = { .writeback_cache = true };
	struct mnt other = { };
	struct statfs st;
	int fd;

	EXPECT_EQ(0, mnt_run(&self->u.m, &call_sync, (struct call_arg){ }));
	snprintf(other.test, sizeof(other.test), "%s", self->u.m.test);
	EXPECT_EQ(0, mnt_start(&other, &opts));
	fd = mnt_open(&other, "other", O_RDWR | O_CREAT);
	EXPECT_LE(0, fd);
	EXPECT_EQ(1, write(fd, "x", 1));
	EXPECT_EQ(0, mnt_run(&other, &call_syncfs, (struct call_arg){
		.fd = fd }));
	EXPECT_EQ(0, fstatfs(fd, &st));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, mnt_run(&other, &call_umount, (struct call_arg){
		.buf = other.dir }));
	EXPECT_EQ(0, mnt_stop(&other));

	EXPECT_FALSE(call_returned(c));
	ASSERT_LE(1, server_release(self->u.m.ctl, 0));
	check_returned(_metadata, c);
	check_all_arrived(_metadata, &self->u);
}

TEST_HARNESS_MAIN
