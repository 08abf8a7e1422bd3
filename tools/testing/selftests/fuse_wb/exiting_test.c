// SPDX-License-Identifier: GPL-2.0
/*
 * SIGKILL to a process that is exiting already.
 *
 * Linux 6.12 drops the signal.  A kernel that lets it end the waits of FUSE in exit
 * must let it end nothing else there: in much of what an exiting task calls, data is
 * lost when a fatal signal is pending.  A broken kernel writes no record of such a
 * process to the file of acct(2), as a write to the page cache fails on a fatal
 * signal.  For the same reason eCryptfs, cifs and 9p would lose data.
 */

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/acct.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "aio.h"
#include "child.h"
#include "common.h"

#define CACHED		"cached"
#define DIRECT		"direct"
#define BYTES		4096

/*
 *   child, in exit: aio read of "direct" --- READ, held
 *                   "cached", mapped, and dirty if the child has made it so
 */
FIXTURE(exiting)
{
	struct mnt m;
	int cached;
	int direct;
	char *buf;
	char records[128];
};

FIXTURE_SETUP(exiting)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.async_dio = true,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, NULL))
		return;
	self->buf = aligned_alloc(BYTES, BYTES);
	ASSERT_NE(NULL, self->buf);
	memset(self->buf, 'x', BYTES);
	ASSERT_EQ(0, server_put(self->m.ctl, CACHED, BYTES - 1, "", 1));
	ASSERT_EQ(0, server_put(self->m.ctl, DIRECT, BYTES - 1, "", 1));
	self->cached = mnt_open(&self->m, CACHED, O_RDWR);
	ASSERT_LE(0, self->cached);
	self->direct = mnt_open(&self->m, DIRECT, O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->direct);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	snprintf(self->records, sizeof(self->records), "%s.acct", self->m.dir);
}

FIXTURE_TEARDOWN(exiting)
{
	acct(NULL);
	unlink(self->records);
	mnt_teardown(_metadata, &self->m);
}

/* @to: the number of the cached file plus one */
static long do_map_and_submit(const struct call_arg *arg)
{
	struct aio aio;

	if (mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		 (long)arg->to - 1, 0) == MAP_FAILED)
		_exit(1);
	if (arg->flags && pwrite((long)arg->to - 1, arg->buf, BYTES, 0) != BYTES)
		_exit(1);
	return aio_submit(&aio, IOCB_CMD_PREAD, arg) ? -1 : 0;
}

static const struct call_op call_exit = {
	"exit", SYS_exit_group, do_map_and_submit
};

/* Start a child, let it wait in exit for its READ, and kill it there. */
static pid_t kill_in_exit(struct __test_metadata *_metadata,
			  struct _test_data_exiting *self, unsigned long flags,
			  bool dirty)
{
	pid_t pid;

	pid = child_start(flags, &call_exit, (struct call_arg){
		.fd = self->direct, .to = (void *)(self->cached + 1L),
		.buf = self->buf, .len = BYTES, .flags = dirty });
	ASSERT_LE(0, pid);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
	ASSERT_TRUE(child_stays_blocked(&self->m, pid, &call_exit));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	return pid;
}

static long do_nothing(const struct call_arg *arg)
{
	(void)arg;
	return 0;
}

static const struct call_op call_nothing = {
	"exit", SYS_exit_group, do_nothing
};

/* Has a record of this process been written, with CONFIG_BSD_PROCESS_ACCT_V3? */
static bool has_record(const char *path, pid_t pid)
{
	struct acct_v3 record;
	bool found = false;
	FILE *file = fopen(path, "r");

	while (file && fread(&record, sizeof(record), 1, file) == 1)
		found |= (record.ac_version & 15) == 3 &&
			 record.ac_pid == (__u32)pid;
	if (file)
		fclose(file);
	return found;
}

/*
 * Promise: exit-others
 */
TEST_F(exiting, record_of_a_process_killed_in_exit_is_written)
{
	struct mnt *m = &self->m;
	pid_t pid;
	int fd;

	if (access("/proc/sys/kernel/acct", F_OK))
		SKIP(return, "needs CONFIG_BSD_PROCESS_ACCT");
	fd = open(self->records, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	close(fd);
	ASSERT_EQ(0, acct(self->records));
	/* The control: records are written. */
	pid = child_start(CLONE_FILES, &call_nothing, (struct call_arg){ });
	EXPECT_EQ(0, mnt_run(m, &call_waitpid, (struct call_arg){ .fd = pid }));
	ASSERT_TRUE(has_record(self->records, pid)) {
		TH_LOG("no record in %s: is its file system full?",
		       self->records);
	}
	/* It shares the descriptors, so that its exit closes none. */
	pid = kill_in_exit(_metadata, self, CLONE_FILES, false);
	ASSERT_LE(1, server_release(m->ctl, 0));
	EXPECT_EQ(0, mnt_run(m, &call_waitpid, (struct call_arg){ .fd = pid }));
	EXPECT_TRUE(has_record(self->records, pid)) {
		TH_LOG("SIGKILL in exit made a write to the page cache fail");
	}
}

/*
 * However often it is sent.
 *
 * Promise: exit-others
 */
TEST_F(exiting, sigkill_is_not_pending_after_the_last_close)
{
	struct mnt *m = &self->m;
	__u64 deadline;
	pid_t pid;

	ASSERT_EQ(0, hold_req(m, FUSE_FLUSH));
	pid = child_start(0, &call_nothing, (struct call_arg){ });
	ASSERT_LE(0, pid);
	ASSERT_NE(0, await_req(m, FUSE_FLUSH, REQ_ARRIVED, 1));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_LE(1, server_release(m->ctl, 0));
	deadline = wait_deadline();
	while (task_state(pid, pid) != 'Z') {
		ASSERT_GT(deadline, now_usec()) {
			TH_LOG("timed out waiting for the child to end");
			process_print(stderr, pid);
		}
		sched_yield();
	}
	EXPECT_EQ(0ULL, task_signals(pid) & 1ULL << (SIGKILL - 1));
	EXPECT_EQ(0, mnt_run(m, &call_waitpid, (struct call_arg){ .fd = pid }));
}

/*
 * The signal comes before the wait that it has to end.
 *
 * Promise: kill
 */
TEST_F(exiting, sigkill_before_the_last_close_is_remembered)
{
	const struct req_match read = { .opcode = FUSE_READ };
	struct mnt *m = &self->m;
	pid_t pid;

	ASSERT_EQ(0, hold_req(m, FUSE_WRITE));
	pid = kill_in_exit(_metadata, self, 0, true);
	ASSERT_LE(1, server_release_match(m->ctl, &read));
	EXPECT_EQ(0, mnt_run(m, &call_waitpid, (struct call_arg){ .fd = pid })) {
		TH_LOG("the last close waits for the server");
		process_print(stderr, pid);
	}
	EXPECT_NE(0, await_req(m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(0, find_req(m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_LE(1, server_release(m->ctl, 0));
}

/*
 * A process that exits normally.  exit_group(2) ends the other threads with SIGKILL,
 * which stays pending in one that is exiting already.
 *
 *   child:  thread, in exit: READ of "tid", or WRITE of "cached", held
 *           main: exit_group(2)
 *   last close: WRITE of "cached", held
 */
FIXTURE(threads)
{
	struct mnt m;
	char path[128];
	char *map;
	__u32 *go;
	__u32 *tid;
	pid_t pid;
};

/* @own_files: the thread is in the last close of its own descriptors */
FIXTURE_VARIANT(threads)
{
	bool own_files;
};

FIXTURE_VARIANT_ADD(threads, thread_in_a_fault) { .own_files = false };
FIXTURE_VARIANT_ADD(threads, thread_in_close) { .own_files = true };

FIXTURE_SETUP(threads)
{
	const struct server_opts opts = { .writeback_cache = true };
	int fd;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	ASSERT_EQ(0, server_put(self->m.ctl, CACHED, BYTES - 1, "", 1));
	ASSERT_EQ(0, server_put(self->m.ctl, "tid", BYTES - 1, "", 1));
	snprintf(self->path, sizeof(self->path), "%s/%s", self->m.dir, CACHED);
	fd = mnt_open(&self->m, "tid", O_RDWR);
	ASSERT_LE(0, fd);
	self->map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	close(fd);
	self->go = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->go);
	self->tid = self->go + 1;
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
}

FIXTURE_TEARDOWN(threads)
{
	server_release(self->m.ctl, 0);
	munmap(self->map, BYTES);
	mnt_teardown(_metadata, &self->m);
}

static void make_dirty(struct _test_data_threads *self)
{
	char buf[BYTES] = "y";
	int fd = open(self->path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, buf, BYTES, 0) != BYTES)
		_exit(1);
}

/* As a thread exits, the kernel stores 0 to this address. */
static void *exit_in_a_fault(void *data)
{
	struct _test_data_threads *self = data;

	word_set(self->tid, syscall(SYS_gettid));
	syscall(SYS_set_tid_address, self->map);
	syscall(SYS_exit, 0);
	return NULL;
}

static void *exit_with_own_files(void *data)
{
	struct _test_data_threads *self = data;

	word_set(self->tid, syscall(SYS_gettid));
	if (unshare(CLONE_FILES))
		_exit(1);
	make_dirty(self);
	syscall(SYS_exit, 0);
	return NULL;
}

static bool start_thread(struct _test_data_threads *self, bool own_files)
{
	pthread_t thread;

	return !pthread_create(&thread, NULL, own_files ? exit_with_own_files :
			       exit_in_a_fault, self);
}

/* In a fault, the thread is the one that closes the file: main goes first. */
static void exit_with_a_thread(struct _test_data_threads *self, bool own_files)
{
	const struct sched_param first = { .sched_priority = 1 };
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		_exit(1);
	if (!own_files)
		make_dirty(self);
	if (!start_thread(self, own_files) ||
	    sched_setscheduler(0, SCHED_FIFO, &first) ||
	    !word_sleep(self->go, 0, wait_deadline()))
		_exit(1);
	_exit(0);
}

/* Wait until the thread sleeps, or is gone: the rest of its exit does not sleep. */
static void await_thread(struct __test_metadata *_metadata,
			 struct _test_data_threads *self)
{
	__u64 deadline = wait_deadline();
	char state;

	while ((state = task_state(self->pid, word_get(self->tid))) &&
	       state != 'S' && state != 'D') {
		ASSERT_GT(deadline, now_usec()) {
			TH_LOG("the thread neither sleeps nor ends");
			process_print(stderr, self->pid);
		}
		sched_yield();
	}
}

/* Promise: exit-others */
TEST_F(threads, last_close_of_a_process_that_nobody_killed_waits)
{
	struct mnt *m = &self->m;
	struct call *c;

	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid)
		exit_with_a_thread(self, variant->own_files);
	ASSERT_NE(0, await_req(m, variant->own_files ? FUSE_WRITE : FUSE_READ,
			       REQ_ARRIVED, 1));
	word_set(self->go, 1);
	c = mnt_call(m, &call_waitpid, (struct call_arg){ .fd = self->pid });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(m, FUSE_WRITE, REQ_ARRIVED, 1));
	await_thread(_metadata, self);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(m, c)) {
		TH_LOG("the process is gone before its data is at the server");
	}
	EXPECT_EQ(0, find_req(m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_LE(1, server_release(m->ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
}

/* execve(2) waits for the other threads. */
static void exec_beside_a_thread(struct _test_data_threads *self, bool own_files)
{
	if (!start_thread(self, own_files) ||
	    !word_sleep(self->go, 0, wait_deadline()))
		_exit(1);
	execl("/bin/true", "true", NULL);
	_exit(1);
}

/*
 * tkill(2) adds SIGKILL to the pending signals of a thread that exits, and does not
 * wake it: execve(2) has to.
 *
 * Promise: kill
 */
TEST_F(threads, exec_does_not_wait_for_a_thread_that_was_killed)
{
	struct mnt *m = &self->m;

	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid)
		exec_beside_a_thread(self, variant->own_files);
	ASSERT_NE(0, await_req(m, variant->own_files ? FUSE_WRITE : FUSE_READ,
			       REQ_ARRIVED, 1));
	await_thread(_metadata, self);
	ASSERT_EQ(0, syscall(SYS_tgkill, self->pid, word_get(self->tid), SIGKILL));
	word_set(self->go, 1);
	EXPECT_EQ(0, mnt_run(m, &call_waitpid,
			     (struct call_arg){ .fd = self->pid })) {
		TH_LOG("execve(2) waits for a thread that waits for the server");
		process_print(stderr, self->pid);
	}
	ASSERT_LE(1, server_release(m->ctl, 0));
}

TEST_HARNESS_MAIN
