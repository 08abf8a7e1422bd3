// SPDX-License-Identifier: GPL-2.0
/*
 * SETATTR of a flusher.
 *
 * With the writeback cache, a flusher sends the times of a file.  If it waits for the
 * reply, as on Linux 6.12, it holds s_umount and the inode meanwhile, and a server that
 * does not reply blocks others: remounting, the writeback of other files, and with
 * many mounts that of all devices.  A sound kernel sends SETATTR and goes on.  There
 * must be no more than one in flight for a file, as a server with several threads
 * might carry out the older one last, nor many for a connection, as requests of others
 * have to wait for them.
 */

#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "child.h"
#include "common.h"

#define FILES		12

#define FIRST_NODE	2

/* How many SETATTR of flushers are in flight for a connection: FUSE_TIMES_MAX. */
#define IN_FLIGHT	4

/* @buf: two struct timespec */
static long do_futimens(const struct call_arg *arg)
{
	return futimens(arg->fd, arg->buf);
}

static const struct call_op call_futimens = {
	"utimensat", SYS_utimensat, do_futimens
};

/*
 *   fd: "file-0" ...: clean, with old times
 *   a flusher: SETATTR of what a test dirties ---> held
 */
FIXTURE(queued)
{
	struct mnt m;
	int fd[FILES];
	int sent;
	struct call *syncfs;
};

FIXTURE_SETUP(queued)
{
	const struct server_opts opts = { .writeback_cache = true };
	char name[16];
	int i;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		self->fd[i] = mnt_open(&self->m, name, O_RDWR | O_CREAT);
		ASSERT_LE(0, self->fd[i]);
		ASSERT_EQ(0, make_file_old(self->fd[i]));
	}
	self->sent = count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
}

FIXTURE_TEARDOWN(queued)
{
	mnt_teardown(_metadata, &self->m);
}

/* Dirty the first files and let the flusher send their times. */
static void flush_files(struct __test_metadata *_metadata,
			struct _test_data_queued *self, int files, int in_flight)
{
	int i;

	for (i = 0; i < files; i++)
		ASSERT_EQ(1, pwrite(self->fd[i], "x", 1, 0));
	self->syncfs = mnt_call(&self->m, &call_syncfs, (struct call_arg){
		.fd = self->fd[0] });
	ASSERT_NE(NULL, self->syncfs);
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED,
			       self->sent + in_flight));
}

/* Everything is answered: the server has the times that the mount shows. */
static void check_times(struct __test_metadata *_metadata,
			struct _test_data_queued *self, int file)
{
	struct stat server, kernel;
	char name[16];

	snprintf(name, sizeof(name), "file-%d", file);
	ASSERT_EQ(0, fstat(self->fd[file], &kernel));
	ASSERT_EQ(0, server_stat(self->m.ctl, name, &server));
	/* See make_file_old() */
	EXPECT_NE(0, server.st_mtim.tv_sec);
	EXPECT_EQ(0, memcmp(&kernel.st_mtim, &server.st_mtim,
			    sizeof(server.st_mtim))) {
		TH_LOG("the server has another mtime of %s", name);
	}
}

static struct req_match of_file(__u32 opcode, int file)
{
	return (struct req_match){ .opcode = opcode, .node = FIRST_NODE + file };
}

/* Promise: flushers */
TEST_F(queued, newer_times_follow_and_do_not_overtake)
{
	flush_files(_metadata, self, 1, 1);
	ASSERT_EQ(0, await_tick());
	ASSERT_EQ(1, pwrite(self->fd[0], "y", 1, 0));
	ASSERT_NE(NULL, mnt_call(&self->m, &call_syncfs, (struct call_arg){
		.fd = self->fd[0] }));
	ASSERT_EQ(0, await_writes(&self->m));
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(self->sent + 1, count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED)) {
		TH_LOG("two SETATTR of a file are in flight");
	}
	ASSERT_EQ(1, server_release(self->m.ctl, 1));
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED,
			       self->sent + 2)) {
		TH_LOG("the newer times are not sent");
	}
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_REPLIED,
			       self->sent + 2));
	check_times(_metadata, self, 0);
}

/* Promise: flushers */
TEST_F(queued, utimes_does_not_overtake)
{
	const struct timespec times[2] = {
		{ .tv_sec = 1234567890 }, { .tv_sec = 1234567890 },
	};
	struct stat server;
	struct call *c;

	flush_files(_metadata, self, 1, 1);
	c = mnt_call(&self->m, &call_futimens, (struct call_arg){
		.fd = self->fd[0], .buf = (void *)times });
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	EXPECT_EQ(self->sent + 1, count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED)) {
		TH_LOG("utimensat(2) overtakes the times of a write");
	}
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(0, c->ret);
	ASSERT_EQ(0, server_stat(self->m.ctl, "file-0", &server));
	EXPECT_EQ(times[1].tv_sec, server.st_mtim.tv_sec);
}

/* Promise: flushers */
TEST_F(queued, ftruncate_does_not_overtake)
{
	struct stat kernel, server;
	struct call *c;

	flush_files(_metadata, self, 1, 1);
	ASSERT_EQ(0, await_writes(&self->m));
	ASSERT_EQ(0, await_tick());
	c = mnt_call(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd[0], .len = 100 });
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	EXPECT_EQ(self->sent + 1, count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED)) {
		TH_LOG("ftruncate(2) overtakes the times of a write");
	}
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	ASSERT_EQ(0, fstat(self->fd[0], &kernel));
	ASSERT_EQ(0, server_stat(self->m.ctl, "file-0", &server));
	EXPECT_EQ(100, server.st_size);
	EXPECT_EQ(0, memcmp(&kernel.st_mtim, &server.st_mtim,
			    sizeof(server.st_mtim)));
}

/* Promise: flushers, data-integrity */
TEST_F(queued, close_waits_for_the_reply_and_flush_follows)
{
	struct call *c;

	flush_files(_metadata, self, 1, 1);
	ASSERT_EQ(0, await_writes(&self->m));
	c = mnt_call(&self->m, &call_close, (struct call_arg){
		.fd = self->fd[0] });
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	EXPECT_EQ(0, find_req(&self->m, FUSE_FLUSH, REQ_ARRIVED, 1)) {
		TH_LOG("FLUSH overtakes SETATTR");
	}
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	EXPECT_NE(0, await_req(&self->m, FUSE_FLUSH, REQ_REPLIED, 1));
}

/* Promise: flushers, sync-2 */
TEST_F(queued, few_are_in_flight_and_all_are_sent)
{
	int i;

	flush_files(_metadata, self, FILES, IN_FLIGHT);
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(self->sent + IN_FLIGHT,
		  count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED)) {
		TH_LOG("a burst of SETATTR delays the requests of others");
	}
	ASSERT_EQ(1, server_release(self->m.ctl, 1));
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED,
			       self->sent + IN_FLIGHT + 1));
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(self->sent + IN_FLIGHT + 1,
		  count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED));
	EXPECT_FALSE(call_returned(self->syncfs)) {
		TH_LOG("syncfs(2) returned before all times were sent");
	}
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->syncfs));
	EXPECT_EQ(0, self->syncfs->ret);
	for (i = 0; i < FILES; i++)
		check_times(_metadata, self, i);
}

/* Promise: flushers, sync-2 */
TEST_F(queued, sync_waits_for_a_server_that_gets_ahead)
{
	const struct req_match setattr = { .opcode = FUSE_SETATTR };
	int i;

	ASSERT_EQ(0, server_rule(self->m.ctl, &setattr, RULE_DELAY, 200000));
	for (i = 0; i < FILES; i++)
		ASSERT_EQ(1, pwrite(self->fd[i], "x", 1, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
	/* The log shows it a moment after the kernel has the reply. */
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(self->sent + FILES,
		  count_req(&self->m, FUSE_SETATTR, REQ_REPLIED)) {
		TH_LOG("sync(2) returned before all times were sent");
	}
}

/*
 * The file that is first in the queue does not.
 *
 * Promise: flushers, sync-2
 */
TEST_F(queued, sync_waits_as_long_as_any_file_gets_ahead)
{
	const struct req_match setattr = { .opcode = FUSE_SETATTR };
	const struct req_match first = of_file(FUSE_SETATTR, 0);
	int i;

	ASSERT_EQ(0, server_rule(self->m.ctl, &setattr, RULE_DELAY, 250000));
	ASSERT_EQ(0, server_hold(self->m.ctl, &first));
	for (i = 0; i < FILES; i++)
		ASSERT_EQ(1, pwrite(self->fd[i], "x", 1, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
	EXPECT_EQ(self->sent + FILES - 1,
		  count_req(&self->m, FUSE_SETATTR, REQ_REPLIED)) {
		TH_LOG("sync(2) gave up on a server that gets ahead");
	}
	ASSERT_EQ(1, server_release_match(self->m.ctl, &first));
}

/*
 * A task that waits for its own file does not wait for those before it.
 *
 * Promise: flushers
 */
TEST_F(queued, fsync_does_not_wait_for_other_files)
{
	struct req_match setattr;
	struct call *c;
	int file;

	flush_files(_metadata, self, FILES, IN_FLIGHT);
	ASSERT_EQ(0, await_writes(&self->m));
	/* The first SETATTR has made the file old. */
	for (file = 0; file < FILES; file++) {
		setattr = of_file(FUSE_SETATTR, file);
		if (!reqlog_find(self->m.log, &setattr, REQ_ARRIVED, 2))
			break;
	}
	ASSERT_GT(FILES, file);
	c = mnt_call(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd[file] });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, reqlog_wait(self->m.log, &setattr, REQ_ARRIVED, 2)) {
		TH_LOG("fsync(2) waits for the times of other files");
	}
	ASSERT_EQ(1, server_release_match(self->m.ctl, &setattr));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	/* The log shows it a moment after the kernel has the reply. */
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(self->sent + 1,
		  count_req(&self->m, FUSE_SETATTR, REQ_REPLIED));
	check_times(_metadata, self, file);
	ASSERT_LE(1, server_release(self->m.ctl, 0));
}

/*
 * The killed task does not wait, but FLUSH drops its locks at the server.
 *
 * Promise: flushers, locks
 */
TEST_F(queued, flush_of_a_killed_task_follows)
{
	const struct req_match flush = of_file(FUSE_FLUSH, 0);
	pid_t pid;

	ASSERT_EQ(1, pwrite(self->fd[0], "x", 1, 0));
	/* Otherwise the reply to WRITE requires the times to be sent again. */
	ASSERT_EQ(0, start_writeback(&self->m, self->fd[0]));
	ASSERT_EQ(0, await_writes(&self->m));
	flush_files(_metadata, self, 0, 1);
	pid = child_start(0, &call_close, (struct call_arg){
		.fd = self->fd[0] });
	ASSERT_LT(0, pid);
	ASSERT_TRUE(child_stays_blocked(&self->m, pid, &call_close));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_TRUE(child_was_killed(&self->m, pid)) {
		TH_LOG("SIGKILL does not end close(2)");
	}
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(0, reqlog_find(self->m.log, &flush, REQ_ARRIVED, 1)) {
		TH_LOG("FLUSH overtakes SETATTR");
	}
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_NE(0, reqlog_wait(self->m.log, &flush, REQ_REPLIED, 1));
}

/* Promise: flushers, sync-2 */
TEST_F(queued, syncfs_waits_for_times_that_a_task_sends)
{
	struct call *fsync;

	ASSERT_EQ(1, pwrite(self->fd[0], "x", 1, 0));
	fsync = mnt_call(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd[0] });
	ASSERT_NE(NULL, fsync);
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED,
			       self->sent + 1));
	self->syncfs = mnt_call(&self->m, &call_syncfs, (struct call_arg){
		.fd = self->fd[1] });
	ASSERT_NE(NULL, self->syncfs);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, self->syncfs)) {
		TH_LOG("syncfs(2) returned before the times were sent");
	}
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->syncfs));
	EXPECT_EQ(0, self->syncfs->ret);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(fsync));
	EXPECT_EQ(0, fsync->ret);
}

static long do_remount(const struct call_arg *arg)
{
	return mount(NULL, arg->buf, NULL,
		     MS_REMOUNT | MS_NOSUID | MS_NODEV, NULL);
}

static const struct call_op call_remount = {
	"remount", SYS_mount, do_remount
};

/* Promise: flushers */
TEST_F(queued, remount_ends)
{
	flush_files(_metadata, self, 1, 1);
	EXPECT_EQ(0, mnt_run(&self->m, &call_remount, (struct call_arg){
		.buf = self->m.dir })) {
		TH_LOG("a remount waits for a flusher that waits for SETATTR");
	}
	EXPECT_EQ(self->sent, count_req(&self->m, FUSE_SETATTR, REQ_REPLIED));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->syncfs));
}

/*
 * The flusher has no caller: those that have the file open are told, once.
 *
 * Promise: flushers, endings
 */
TEST_F(queued, fsync_reports_that_times_could_not_be_set)
{
	const struct req_match setattr = { .opcode = FUSE_SETATTR };

	flush_files(_metadata, self, 1, 1);
	ASSERT_EQ(0, await_writes(&self->m));
	ASSERT_EQ(0, server_fail(self->m.ctl, &setattr, EDQUOT));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->syncfs));
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	EXPECT_EQ(-1, fsync(self->fd[0]));
	EXPECT_EQ(EDQUOT, errno);
	EXPECT_EQ(0, fsync(self->fd[0]));
	EXPECT_EQ(0, close(self->fd[0])) {
		TH_LOG("an error is reported twice");
	}
}

/*
 * The same, if fsync(2) has waited for it.
 *
 * Promise: flushers, endings
 */
TEST_F(queued, fsync_reports_the_error_that_it_waits_for)
{
	const struct req_match setattr = { .opcode = FUSE_SETATTR };
	struct call *c;

	flush_files(_metadata, self, 1, 1);
	ASSERT_EQ(0, await_writes(&self->m));
	c = mnt_call(&self->m, &call_fdatasync, (struct call_arg){
		.fd = self->fd[0] });
	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	ASSERT_EQ(0, server_fail(self->m.ctl, &setattr, EDQUOT));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(-1, c->ret);
	EXPECT_EQ(EDQUOT, c->err);
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	EXPECT_EQ(0, fsync(self->fd[0]));
}

/* Promise: endings */
TEST_F(queued, fsync_reports_its_own_error_once)
{
	const struct req_match setattr = { .opcode = FUSE_SETATTR };

	ASSERT_EQ(0, server_fail(self->m.ctl, &setattr, EDQUOT));
	ASSERT_EQ(1, pwrite(self->fd[0], "x", 1, 0));
	EXPECT_EQ(-1, fsync(self->fd[0]));
	EXPECT_EQ(EDQUOT, errno);
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	EXPECT_EQ(0, fsync(self->fd[0]));
	EXPECT_EQ(0, close(self->fd[0])) {
		TH_LOG("an error is reported twice");
	}
}

/*
 * Those in flight, and those that are not.
 *
 * Promise: flushers, endings
 */
TEST_F(queued, all_end_with_the_connection)
{
	flush_files(_metadata, self, FILES, IN_FLIGHT);
	ASSERT_EQ(0, mnt_abort(&self->m));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->syncfs)) {
		TH_LOG("syncfs(2) waits for a server that is gone");
	}
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
}

TEST_HARNESS_MAIN
