// SPDX-License-Identifier: GPL-2.0
/*
 * Other tasks, while a server does not reply.
 *
 * Any user may run a FUSE server, and it may be slow, frozen, buggy or hostile.
 * In a sound kernel only tasks that use one of its files wait for it, an abort,
 * a forced unmount or the server's death ends all waits, and then no page is
 * left under writeback.  A broken one blocks sync(2) of the whole system, or
 * leaves pages and processes stuck forever.
 *
 * Promise: stuck
 */

#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "common.h"

#define FILES	4
#define LEN	(256 << 10)

/*
 *   fd[0..] --- write ---> page cache of file0.. --- WRITEs ---> server: stuck,
 *                                                     all WRITEs held, or frozen
 *   clean ---- read -----> page cache of "clean", as the server has it
 */
FIXTURE(stuck)
{
	struct mnt m;
	int fd[FILES];
	int clean;
	char *data;
	char *seen;
	long before;
};

/* files: dirty files; frozen: the server no longer reads requests */
FIXTURE_VARIANT(stuck)
{
	struct server_opts opts;
	int files;
	bool frozen;
};

FIXTURE_VARIANT_ADD(stuck, held)
{
	.opts = { .writeback_cache = true },
	.files = 1,
};

FIXTURE_VARIANT_ADD(stuck, held_splice_threads)
{
	.opts = { .writeback_cache = true, .threads = 3, .splice_in = true,
		  .splice_out = true },
	.files = FILES,
};

FIXTURE_VARIANT_ADD(stuck, frozen)
{
	.opts = { .writeback_cache = true },
	.files = FILES,
	.frozen = true,
};

/* Open @files files, dirty them and start their writeback. */
static void get_stuck(struct __test_metadata *_metadata,
		      struct _test_data_stuck *self, int files, bool frozen)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	char name[16];
	int i;

	self->data = malloc(LEN);
	self->seen = malloc(LEN);
	ASSERT_TRUE(self->data && self->seen);
	fill_pattern(self->data, LEN, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, "clean", 0, self->data, LEN));
	self->clean = mnt_open(&self->m, "clean", O_RDONLY);
	ASSERT_LE(0, self->clean);
	ASSERT_EQ(LEN, pread(self->clean, self->seen, LEN, 0));
	self->before = pages_in_writeback();
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	for (i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "file%d", i);
		self->fd[i] = mnt_open(&self->m, name, O_RDWR | O_CREAT);
		ASSERT_LE(0, self->fd[i]);
		ASSERT_EQ(LEN, write(self->fd[i], self->data, LEN));
	}
	if (frozen)
		ASSERT_EQ(0, server_freeze(&self->m));
	for (i = 0; i < files; i++)
		ASSERT_EQ(0, start_writeback(&self->m, self->fd[i]));
	if (!frozen)
		ASSERT_EQ(0, reqlog_wait_bytes(self->m.log, &writes,
					       REQ_ARRIVED, (long)files * LEN));
}

FIXTURE_SETUP(stuck)
{
	if (!mnt_setup(_metadata, &self->m, &variant->opts, variant))
		return;
	get_stuck(_metadata, self, variant->files, variant->frozen);
}

FIXTURE_TEARDOWN(stuck)
{
	mnt_teardown(_metadata, &self->m);
}

/* The server runs again, and replies to its requests. */
static void unstick(struct __test_metadata *_metadata,
		    struct _test_data_stuck *self, bool frozen)
{
	if (frozen)
		ASSERT_EQ(0, server_thaw(&self->m));
	ASSERT_LE(0, server_release(self->m.ctl, 0));
}

/* All data is written and correct, and nothing is left under writeback. */
static void check_files(struct __test_metadata *_metadata,
			struct _test_data_stuck *self, int files)
{
	char name[16];
	int i;

	for (i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "file%d", i);
		EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
			.fd = self->fd[i] }));
		ASSERT_EQ(0, await_writes(&self->m));
		ASSERT_EQ(0, server_get(self->m.ctl, name, 0, self->seen, LEN));
		EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
	}
	EXPECT_EQ(0, await_pages_in_writeback(self->before));
}

/* Promise: reads */
TEST_F(stuck, cached_pages_can_be_read)
{
	__u32 answers = self->m.log->nr;

	EXPECT_EQ(LEN, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd[0], .buf = self->seen, .len = LEN }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
	EXPECT_EQ(LEN, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->clean, .buf = self->seen, .len = LEN }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
	EXPECT_EQ(answers, self->m.log->nr) {
		TH_LOG("READ was sent for a cached page");
	}

	unstick(_metadata, self, variant->frozen);
	check_files(_metadata, self, variant->files);
}

TEST_F(stuck, stat_returns)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/file0", self->m.dir);
	EXPECT_EQ(0, mnt_run(&self->m, &call_stat, (struct call_arg){
		.buf = path })) {
		TH_LOG("stat: %s", strerror(errno));
	}
	unstick(_metadata, self, variant->frozen);
	check_files(_metadata, self, variant->files);
}

/* Pages under writeback stay, clean pages are dropped. */
TEST_F(stuck, drop_caches_returns)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	int reads = count_req(&self->m, FUSE_READ, REQ_ARRIVED);

	ASSERT_LE(0, fd);
	EXPECT_EQ(2, mnt_run(&self->m, &call_write, (struct call_arg){
		.fd = fd, .buf = "3\n", .len = 2 })) {
		TH_LOG("writing to drop_caches: %s", strerror(errno));
	}
	EXPECT_EQ(LEN, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd[0], .buf = self->seen, .len = LEN }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));

	/* The control: caches were dropped, so READs are sent. */
	unstick(_metadata, self, variant->frozen);
	EXPECT_EQ(reads, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
	EXPECT_EQ(LEN, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->clean, .buf = self->seen, .len = LEN }));
	EXPECT_LT(reads, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
	check_files(_metadata, self, variant->files);
}

/*
 * Before, during and after writeback.  The counters of one mount are not exact.
 *
 * Promise: folio-states, f7790d677853
 */
TEST_F(stuck, statistics_return_to_zero)
{
	long pages = (long)variant->files * LEN / sysconf(_SC_PAGESIZE);
	long slack = bdi_counter_slack();

	EXPECT_EQ(self->before + pages, pages_in_writeback());
	if (bdi_counter(self->m.minor, "BdiWriteback:") < 0)
		SKIP(return, "needs debugfs at /sys/kernel/debug");
	if (slack < pages)
		EXPECT_LE(pages - slack,
			  bdi_counter(self->m.minor, "BdiWriteback:"));

	unstick(_metadata, self, variant->frozen);
	check_files(_metadata, self, variant->files);
	EXPECT_GE(slack, bdi_counter(self->m.minor, "BdiWriteback:"));
	EXPECT_GE(slack, bdi_counter(self->m.minor, "BdiReclaimable:"));
}

/* A close in flight, whatever ends the connection, and then nothing at all. */
static void check_end(struct __test_metadata *_metadata,
		      struct _test_data_stuck *self, struct call *c)
{
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(-1, c->ret) {
		TH_LOG("close reports success for data that was never taken");
	}
	EXPECT_EQ(0, await_pages_in_writeback(self->before));
	/* The error has not been reported for this file. */
	EXPECT_NE(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd[0] }));
	EXPECT_EQ(-1, ftruncate(self->fd[0], 1));
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
}

static struct call *start_close(struct __test_metadata *_metadata,
				struct _test_data_stuck *self, int i)
{
	struct call *c = mnt_call_close(&self->m, self->fd[i]);

	ASSERT_NE(NULL, c);
	/* No fence: the server may be frozen. */
	EXPECT_EQ(CALL_BLOCKED, call_wait_blocked(c));
	return c;
}

TEST_F(stuck, forced_unmount_ends_all)
{
	struct call *c = start_close(_metadata, self, variant->files - 1);
	long ret;

	ret = mnt_run(&self->m, &call_umount, (struct call_arg){
		.buf = self->m.dir, .flags = MNT_FORCE });
	/* The files are still open. */
	EXPECT_EQ(-1, ret);
	EXPECT_EQ(EBUSY, errno);
	check_end(_metadata, self, c);
}

TEST_F(stuck, death_of_server_ends_all)
{
	struct call *c = start_close(_metadata, self, variant->files - 1);

	ASSERT_EQ(0, kill(self->m.server, SIGKILL));
	check_end(_metadata, self, c);
}

TEST_F(stuck, lazy_unmount_returns_and_loses_nothing)
{
	EXPECT_EQ(0, mnt_run(&self->m, &call_umount, (struct call_arg){
		.buf = self->m.dir, .flags = MNT_DETACH })) {
		TH_LOG("umount2: %s", strerror(errno));
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));

	unstick(_metadata, self, variant->frozen);
	check_files(_metadata, self, variant->files);
}

/* A process that writes to the first file and exits. */
static pid_t start_writer(struct _test_data_stuck *self)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	close_all_but(self->fd[0], -1);
	_exit(pwrite(self->fd[0], "x", 1, LEN) != 1);
}

/* Its exit closes the file, and that waits, but not forever. */
TEST_F(stuck, writer_ends_when_server_answers)
{
	struct call *c;
	pid_t pid;

	pid = start_writer(self);
	ASSERT_LT(0, pid);
	c = mnt_call(&self->m, &call_waitpid, (struct call_arg){ .fd = pid });
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_wait_blocked(c));

	unstick(_metadata, self, variant->frozen);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	EXPECT_EQ(LEN + 1, server_size(self->m.ctl, "file0"));
	check_files(_metadata, self, variant->files);
}

TEST_F(stuck, writer_ends_when_server_dies)
{
	struct call *c;
	pid_t pid;

	pid = start_writer(self);
	ASSERT_LT(0, pid);
	c = mnt_call(&self->m, &call_waitpid, (struct call_arg){ .fd = pid });
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_wait_blocked(c));

	ASSERT_EQ(0, kill(self->m.server, SIGKILL));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, await_pages_in_writeback(self->before));
}

/*
 * Calls that sync the whole system, or a whole file system.  The same mount;
 * the server holds WRITEs and replies to everything else.
 */
FIXTURE(sync)
{
	FIXTURE_DATA(stuck) s;
};

FIXTURE_VARIANT(sync)
{
	int files;
};

FIXTURE_VARIANT_ADD(sync, one_file) { .files = 1 };

FIXTURE_VARIANT_ADD(sync, several_files) { .files = FILES };

FIXTURE_SETUP(sync)
{
	const struct server_opts opts = { .writeback_cache = true };
	int i;

	if (!mnt_setup(_metadata, &self->s.m, &opts, variant))
		return;
	get_stuck(_metadata, &self->s, variant->files, false);
	/* And dirty data that has not been sent yet, on every file. */
	for (i = 0; i < variant->files; i++)
		ASSERT_EQ(4096, pwrite(self->s.fd[i], self->s.data, 4096,
				       2 * LEN));
}

FIXTURE_TEARDOWN(sync)
{
	mnt_teardown(_metadata, &self->s.m);
}

/* The WRITEs were sent, the replies are missing, and fsync waits for them. */
static void check_started(struct __test_metadata *_metadata,
			  struct _test_data_sync *self, int files)
{
	const struct req_match late = {
		.opcode = FUSE_WRITE, .start = 2 * LEN };
	struct mnt *m = &self->s.m;
	struct call *c;

	EXPECT_NE(0, reqlog_wait(m->log, &late, REQ_ARRIVED, files));
	EXPECT_EQ(0, find_req(m, FUSE_WRITE, REQ_REPLIED, 1));
	c = mnt_call_close(m, self->s.fd[0]);
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(m, c));

	ASSERT_LE(files, server_release(m->ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	check_files(_metadata, &self->s, files);
}

/* Promise: sync-2 */
TEST_F(sync, sync_sends_all_and_returns)
{
	EXPECT_EQ(0, mnt_run(&self->s.m, &call_sync, (struct call_arg){ }));
	check_started(_metadata, self, variant->files);
}

/* Promise: sync-2 */
TEST_F(sync, syncfs_sends_all_and_returns)
{
	EXPECT_EQ(0, mnt_run(&self->s.m, &call_syncfs, (struct call_arg){
		.fd = self->s.clean }));
	check_started(_metadata, self, variant->files);
}

/* Promise: sync-2 */
TEST_F(sync, syncfs_of_other_file_system_returns)
{
	int fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, mnt_run(&self->s.m, &call_syncfs, (struct call_arg){
		.fd = fd }));
	EXPECT_EQ(0, mnt_run(&self->s.m, &call_sync, (struct call_arg){ }));
	check_started(_metadata, self, variant->files);
}

/*
 * SysRq-S, by a kernel worker that cannot be killed.
 *
 * Promise: sync-2
 */
TEST_F(sync, emergency_sync_completes)
{
	__u64 deadline = wait_deadline();
	char line[1024] = "";
	ssize_t len;
	int kmsg;

	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kmsg < 0)
		SKIP(return, "needs /dev/kmsg, of CONFIG_PRINTK");
	ASSERT_LE(0, lseek(kmsg, 0, SEEK_END));
	if (write_file("/proc/sysrq-trigger", "s"))
		SKIP(return, "needs /proc/sysrq-trigger, of CONFIG_MAGIC_SYSRQ");
	while (!strstr(line, "Emergency Sync complete")) {
		len = read(kmsg, line, sizeof(line) - 1);
		line[len > 0 ? len : 0] = '\0';
		if (now_usec() < deadline) {
			sched_yield();
			continue;
		}
		EXPECT_TRUE(false) {
			TH_LOG("timed out (%d s) waiting for the end of SysRq-S",
			       WAIT_SECONDS);
		}
		break;
	}
	check_started(_metadata, self, variant->files);
}

TEST_HARNESS_MAIN
