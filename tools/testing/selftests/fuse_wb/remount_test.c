// SPDX-License-Identifier: GPL-2.0
/*
 * Walks over all superblocks while a remount waits for one of them.
 *
 * ustat(2) holds s_umount of the superblock shared while it waits for a server.  A
 * remount queues for it, which any user can do in a user namespace, and so does an
 * umount; on a broken kernel, such as Linux 6.12, all later users queue after that:
 * sync(2), suspend, SysRq.  A sound one has everything sent and skips the superblock.
 *
 * Promise: sync-2
 */

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "child.h"
#include "common.h"

#define PAGE		4096
#define FILES		3

static long do_remount(const struct call_arg *arg)
{
	return mount(NULL, arg->buf, NULL,
		     MS_REMOUNT | MS_NOSUID | MS_NODEV, NULL);
}

static const struct call_op call_remount = {
	"remount", SYS_mount, do_remount
};

/* Does a walk over all superblocks end?  All of it is printed if not. */
static void check_walks(struct __test_metadata *_metadata, struct mnt *m)
{
	EXPECT_EQ(0, mnt_run(m, &call_sync, (struct call_arg){ })) {
		TH_LOG("sync(2) waits for s_umount");
	}
	EXPECT_EQ(1, mnt_tell(m, "/proc/sys/vm/drop_caches", "1")) {
		TH_LOG("drop_caches waits for s_umount");
	}
}

/* By a kernel worker: wait for its last line. */
static void check_sysrq(struct __test_metadata *_metadata, const char *key,
			const char *end)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	__u64 deadline = wait_deadline();
	char line[1024] = "";
	ssize_t len;

	ASSERT_LE(0, kmsg);
	ASSERT_LE(0, lseek(kmsg, 0, SEEK_END));
	ASSERT_EQ(0, write_file("/proc/sysrq-trigger", key));
	while (!strstr(line, end)) {
		len = read(kmsg, line, sizeof(line) - 1);
		line[len > 0 ? len : 0] = '\0';
		if (now_usec() >= deadline)
			break;
	}
	EXPECT_NE(NULL, strstr(line, end)) {
		TH_LOG("timed out (%d s) waiting for %s", WAIT_SECONDS, end);
	}
	close(kmsg);
}

/* @len: the device number */
static long do_ustat(const struct call_arg *arg)
{
	char buf[64];

	return syscall(SYS_ustat, (unsigned int)arg->len, buf);
}

static const struct call_op call_ustat = { "ustat", SYS_ustat, do_ustat };

/*
 *   fd: "file", clean
 *   ustat: STATFS ---> held
 *   remount: waits for ustat
 */
FIXTURE(remounted)
{
	struct mnt m;
	int fd;
	dev_t dev;
	struct call *ustat;
	struct call *remount;
};

FIXTURE_SETUP(remounted)
{
	const struct server_opts opts = { .writeback_cache = true };
	struct stat st;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->fd = mnt_open(&self->m, "file", O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, make_file_old(self->fd));
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_STATFS));
	self->dev = st.st_dev;
	self->ustat = mnt_call(&self->m, &call_ustat, (struct call_arg){
		.len = self->dev });
	ASSERT_NE(NULL, self->ustat);
	ASSERT_NE(0, await_req(&self->m, FUSE_STATFS, REQ_ARRIVED, 1));
	self->remount = mnt_call(&self->m, &call_remount, (struct call_arg){
		.buf = self->m.dir });
	ASSERT_NE(NULL, self->remount);
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, self->remount));
}

FIXTURE_TEARDOWN(remounted)
{
	mnt_teardown(_metadata, &self->m);
}

/* The control: everything was stuck, and continues when the server replies. */
static void check_was_stuck(struct __test_metadata *_metadata,
			    struct _test_data_remounted *self)
{
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, self->remount));
	EXPECT_EQ(0, find_req(&self->m, FUSE_STATFS, REQ_REPLIED, 1));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->remount));
	EXPECT_EQ(0, self->remount->ret);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->ustat));
	EXPECT_EQ(0, self->ustat->ret);
}

TEST_F(remounted, walks_end_behind_a_remount_that_waits)
{
	check_walks(_metadata, &self->m);
	check_was_stuck(_metadata, self);
}

TEST_F(remounted, sysrq_s_ends_behind_a_remount_that_waits)
{
	check_sysrq(_metadata, "s", "Emergency Sync complete");
	check_was_stuck(_metadata, self);
}

TEST_F(remounted, sysrq_u_ends_behind_a_remount_that_waits)
{
	check_sysrq(_metadata, "u", "Emergency Remount complete");
	check_was_stuck(_metadata, self);
}

TEST_F(remounted, sysrq_j_ends_behind_a_remount_that_waits)
{
	check_sysrq(_metadata, "j", "Emergency Thaw complete");
	check_was_stuck(_metadata, self);
}

/* What was skipped is not lost: the flusher reaches it. */
TEST_F(remounted, sync_behind_a_remount_that_waits_is_not_lost)
{
	const struct req_match late = { .opcode = FUSE_WRITE, .start = PAGE };

	ASSERT_EQ(1, pwrite(self->fd, "y", 1, PAGE));
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
	EXPECT_EQ(0, reqlog_find(self->m.log, &late, REQ_ARRIVED, 1));
	check_was_stuck(_metadata, self);
	EXPECT_NE(0, reqlog_wait(self->m.log, &late, REQ_REPLIED, 1));
}

/*
 * The flusher skips the superblock, and sync(2) waits, as the server may get ahead.
 */
TEST_F(remounted, sync_sends_what_a_remount_has_passed_by)
{
	const struct req_match late = { .opcode = FUSE_WRITE, .start = PAGE };
	struct call *c;

	ASSERT_EQ(1, pwrite(self->fd, "x", 1, PAGE));
	c = mnt_call(&self->m, &call_sync, (struct call_arg){ });
	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	EXPECT_EQ(0, reqlog_find(self->m.log, &late, REQ_ARRIVED, 1));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_NE(0, reqlog_find(self->m.log, &late, REQ_ARRIVED, 1)) {
		TH_LOG("sync(2) returned before it was sent");
	}
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->remount));
	EXPECT_EQ(0, self->remount->ret);
}

/*
 * Tasks that have named the file system wait, but not beyond their own end.
 */
static void check_killed(struct __test_metadata *_metadata,
			 struct _test_data_remounted *self,
			 const struct call_op *op, struct call_arg arg)
{
	pid_t pid = child_start(CLONE_FILES, op, arg);

	ASSERT_LT(0, pid);
	EXPECT_TRUE(child_stays_blocked(&self->m, pid, op));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&self->m, pid)) {
		TH_LOG("SIGKILL does not end %s", op->name);
	}
	check_was_stuck(_metadata, self);
}

/* Promise: killable */
TEST_F(remounted, syncfs_behind_a_remount_can_be_killed)
{
	check_killed(_metadata, self, &call_syncfs, (struct call_arg){
		.fd = self->fd });
}

/* Promise: killable */
TEST_F(remounted, ustat_behind_a_remount_can_be_killed)
{
	check_killed(_metadata, self, &call_ustat, (struct call_arg){
		.len = self->dev });
}

/* Promise: killable */
TEST_F(remounted, remount_behind_a_remount_can_be_killed)
{
	check_killed(_metadata, self, &call_remount, (struct call_arg){
		.buf = self->m.dir });
}

static long do_bind_remount(const struct call_arg *arg)
{
	return mount(NULL, arg->buf, NULL, MS_REMOUNT | MS_BIND | MS_NOSUID |
		     MS_NODEV, NULL);
}

static const struct call_op call_bind_remount = {
	"remount of a bind mount", SYS_mount, do_bind_remount
};

/* Promise: killable */
TEST_F(remounted, bind_remount_behind_a_remount_can_be_killed)
{
	check_killed(_metadata, self, &call_bind_remount, (struct call_arg){
		.buf = self->m.dir });
}

/* @buf: the mount.  By fspick(2) and fsconfig(2). */
static long do_reconfigure(const struct call_arg *arg)
{
	int fd = syscall(SYS_fspick, AT_FDCWD, arg->buf, 0);

	return syscall(SYS_fsconfig, fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0);
}

static const struct call_op call_reconfigure = {
	"fsconfig", SYS_fsconfig, do_reconfigure
};

/* Promise: killable */
TEST_F(remounted, reconfiguration_behind_a_remount_can_be_killed)
{
	check_killed(_metadata, self, &call_reconfigure, (struct call_arg){
		.buf = self->m.dir });
}

/* @fd: /dev/fuse of the connection.  Hides the mount if it succeeds. */
static long do_mount_again(const struct call_arg *arg)
{
	char options[80];

	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0", arg->fd);
	return mount("again", arg->buf, "fuse", MS_NOSUID | MS_NODEV, options);
}

static const struct call_op call_mount_again = {
	"mount of a connection that is mounted", SYS_mount, do_mount_again
};

/* Promise: killable */
TEST_F(remounted, mount_behind_a_remount_can_be_killed)
{
	int dev = mnt_dev(&self->m);

	ASSERT_LE(0, dev);
	check_killed(_metadata, self, &call_mount_again, (struct call_arg){
		.fd = dev, .buf = "/tmp" });
	close(dev);
}

/*
 *   FILES files, dirty; SETATTR is slow, but gets its reply
 *   remount: sends all of it, with s_umount
 */
FIXTURE(slow)
{
	struct mnt m;
	int sent;
	int times;
	struct call *remount;
};

FIXTURE_SETUP(slow)
{
	const struct server_opts opts = { .writeback_cache = true };
	const struct req_match times = { .opcode = FUSE_SETATTR };
	char name[16];
	int i;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		ASSERT_LE(0, open_dirty_file(&self->m, name));
	}
	ASSERT_EQ(0, fence(&self->m));
	self->times = count_req(&self->m, FUSE_SETATTR, REQ_REPLIED);
	ASSERT_EQ(0, server_rule(self->m.ctl, &times, RULE_DELAY, 1000000));
	self->remount = mnt_call(&self->m, &call_remount, (struct call_arg){
		.buf = self->m.dir });
	ASSERT_NE(NULL, self->remount);
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED,
			       self->times + 1));
}

FIXTURE_TEARDOWN(slow)
{
	mnt_teardown(_metadata, &self->m);
}

/*
 * A healthy server has everything when sync(2) returns, as without a remount.
 */
TEST_F(slow, sync_beside_a_remount_waits_for_a_server_that_gets_ahead)
{
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
	EXPECT_EQ(FILES, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED)) {
		TH_LOG("sync(2) returned before all data was sent");
	}
	/* The log shows it a moment after the kernel has the reply. */
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(self->times + FILES,
		  count_req(&self->m, FUSE_SETATTR, REQ_REPLIED)) {
		TH_LOG("sync(2) returned before all times were sent");
	}
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->remount));
	EXPECT_EQ(0, self->remount->ret);
}

/*
 *   readahead of "file" --- READ ---> held; it is not open
 *   a thread of the server: FUSE_NOTIFY_STORE to that page, which waits for READ
 *   umount(2), of the last mount: waits for the notification, with s_umount
 */
FIXTURE(umounted)
{
	struct mnt m;
	int dev;
	struct call *notify;
	struct call *umount;
	struct {
		struct fuse_out_header head;
		struct fuse_notify_store_out store;
		char data[PAGE];
	} msg;
};

FIXTURE_SETUP(umounted)
{
	const struct server_opts opts = { };
	int fd;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->msg.head.len = sizeof(self->msg);
	self->msg.head.error = FUSE_NOTIFY_STORE;
	self->msg.store.nodeid = 2;
	self->msg.store.size = PAGE;
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->msg.data, PAGE));
	self->dev = mnt_dev(&self->m);
	ASSERT_LE(0, self->dev);
	fd = mnt_open(&self->m, "file", O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	ASSERT_EQ(0, posix_fadvise(fd, 0, PAGE, POSIX_FADV_WILLNEED));
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
	ASSERT_EQ(0, close(fd));
	self->notify = mnt_call(&self->m, &call_write, (struct call_arg){
		.fd = self->dev, .buf = &self->msg, .len = sizeof(self->msg) });
	ASSERT_NE(NULL, self->notify);
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, self->notify));
	self->umount = mnt_call(&self->m, &call_umount, (struct call_arg){
		.buf = self->m.dir });
	ASSERT_NE(NULL, self->umount);
	/* No fence: there is no longer a path to the mount. */
	ASSERT_EQ(CALL_BLOCKED, call_wait_blocked(self->umount));
}

FIXTURE_TEARDOWN(umounted)
{
	close(self->dev);
	mnt_teardown(_metadata, &self->m);
}

TEST_F(umounted, walks_end_behind_a_umount_that_waits)
{
	check_walks(_metadata, &self->m);
	EXPECT_FALSE(call_returned(self->umount));
	EXPECT_EQ(0, find_req(&self->m, FUSE_READ, REQ_REPLIED, 1));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->notify));
	EXPECT_EQ((long)sizeof(self->msg), self->notify->ret);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->umount));
	EXPECT_EQ(0, self->umount->ret);
}

static long do_mount_overlay(const struct call_arg *arg)
{
	return mount("overlay", arg->to, "overlay", MS_RDONLY, arg->buf);
}

static const struct call_op call_mount_overlay = {
	"mount of an overlay", SYS_mount, do_mount_overlay
};

/*
 *   an overlay of the mount and another directory --- STATFS ---> held
 *
 * Its superblock exists, but is not SB_BORN yet.
 */
FIXTURE(overlay)
{
	struct mnt m;
	char dir[80];
	char opts[256];
	struct call *mount;
};

FIXTURE_SETUP(overlay)
{
	const struct server_opts opts = { };

	if (access("/sys/module/overlay", F_OK))
		SKIP(return, "needs CONFIG_OVERLAY_FS");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	snprintf(self->dir, sizeof(self->dir), "%s.top", self->m.dir);
	snprintf(self->opts, sizeof(self->opts), "lowerdir=%s:/tmp",
		 self->m.dir);
	ASSERT_EQ(0, mkdir(self->dir, 0700));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_STATFS));
	self->mount = mnt_call(&self->m, &call_mount_overlay,
			       (struct call_arg){
		.buf = self->opts, .to = self->dir });
	ASSERT_NE(NULL, self->mount);
	ASSERT_NE(0, await_req(&self->m, FUSE_STATFS, REQ_ARRIVED, 1));
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, self->mount));
}

FIXTURE_TEARDOWN(overlay)
{
	umount2(self->dir, MNT_DETACH);
	rmdir(self->dir);
	mnt_teardown(_metadata, &self->m);
}

TEST_F(overlay, walks_end_beside_a_mount_that_waits)
{
	check_walks(_metadata, &self->m);
	EXPECT_EQ(0, find_req(&self->m, FUSE_STATFS, REQ_REPLIED, 1));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->mount));
	EXPECT_EQ(0, self->mount->ret) {
		TH_LOG("mount: %s", strerror(self->mount->err));
	}
}

TEST_HARNESS_MAIN
