// SPDX-License-Identifier: GPL-2.0
/*
 * A writer in a cgroup that is smaller than the dirty limit of the device.
 *
 * Pages under writeback cannot be reclaimed before the server replies.  A broken
 * kernel lets the writer dirty pages until they fill the cgroup, and then the OOM
 * killer is invoked although the server is merely slow.  A sound one throttles the
 * writer while there is room for other tasks, and throttles no other task.
 */

#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "child.h"
#include "common.h"
#include "memcg.h"
#include "memory_hog.h"
#include "pressure.h"
#include "suspend.h"

#define MIB		(1024 * 1024UL)
#define LIMIT		(32 * MIB)
#define SIZE		(3 * LIMIT)
#define FILE_NAME	"file"
#define DISK		"/dev/ram0"
#define MGLRU		"/sys/kernel/mm/lru_gen/enabled"

/*
 *   cgroup of LIMIT bytes:
 *        writer ---- SIZE bytes ----> slow, holds each WRITE
 *        others ---> quick, DISK, new memory
 *
 * @fill, @nr: what the writer runs, and the system call that it waits in; -1: none
 */
FIXTURE(small)
{
	struct mnt slow;
	struct mnt quick;
	struct memcg cg;
	struct memcg below;
	struct memcg *tasks;
	struct dirtier d;
	int (*fill)(void *dirtier);
	long nr;
	pid_t writer;
	char lru[16];
};

/*
 * store: into a mapping of the file
 * below: the tasks are in a child cgroup without a limit of its own
 * mglru: with CONFIG_LRU_GEN, which has its own reclaim
 */
FIXTURE_VARIANT(small)
{
	bool legacy;
	bool store;
	bool below;
	bool mglru;
};

FIXTURE_VARIANT_ADD(small, v2_write) { .legacy = false };
FIXTURE_VARIANT_ADD(small, v2_store) { .store = true };
FIXTURE_VARIANT_ADD(small, v1_write) { .legacy = true };
FIXTURE_VARIANT_ADD(small, v1_store) { .legacy = true, .store = true };
FIXTURE_VARIANT_ADD(small, v2_below) { .below = true };
FIXTURE_VARIANT_ADD(small, v1_below) { .legacy = true, .below = true };
FIXTURE_VARIANT_ADD(small, v2_mglru) { .mglru = true };
FIXTURE_VARIANT_ADD(small, v1_mglru) { .legacy = true, .mglru = true };

static void use_small_cgroup(struct __test_metadata *_metadata,
			     struct _test_data_small *s, const void *variant,
			     bool legacy, bool below)
{
	/*
	 * Room for the READs that a store needs to fill its page, in addition
	 * to held WRITEs.
	 */
	const struct server_opts opts = {
		.writeback_cache = true,
		.max_background = 64,
	};

	s->slow.seconds = PRESSURE_SECONDS;
	s->quick.seconds = PRESSURE_SECONDS;
	if (!mnt_setup(_metadata, &s->slow, &opts, variant) ||
	    !mnt_setup(_metadata, &s->quick, &opts, variant) ||
	    !use_memcg(_metadata, &s->cg, &s->slow, legacy, LIMIT))
		return;
	/* Fault in their memory before the cgroup is full. */
	ASSERT_EQ(0, server_put(s->slow.ctl, FILE_NAME, SIZE - 1, "", 1));
	ASSERT_EQ(0, server_put(s->quick.ctl, FILE_NAME, SIZE - 1, "", 1));
	s->d.fd = mnt_open(&s->slow, FILE_NAME, O_RDWR);
	ASSERT_LE(0, s->d.fd);
	s->d.size = SIZE;
	s->fill = dirty_file;
	s->nr = SYS_pwrite64;
	s->tasks = &s->cg;
	if (below) {
		ASSERT_EQ(0, memcg_make_below(&s->below, &s->cg));
		s->tasks = &s->below;
	}
}

FIXTURE_SETUP(small)
{
	if (variant->mglru && read_line(MGLRU, self->lru, sizeof(self->lru)))
		SKIP(return, "needs CONFIG_LRU_GEN");
	use_small_cgroup(_metadata, self, variant, variant->legacy, variant->below);
	self->d.store = variant->store;
	if (variant->store)
		self->nr = -1;
	/* Not for a skipped test, which has no teardown. */
	if (variant->mglru && self->tasks)
		ASSERT_EQ(0, write_file(MGLRU, "y"));
}

static void leave_small_cgroup(struct __test_metadata *_metadata,
			       struct _test_data_small *s)
{
	/*
	 * A writer that is still running would get SIGBUS when its server is
	 * gone.
	 */
	if (s->writer > 0 && !waitpid(s->writer, NULL, WNOHANG)) {
		kill(s->writer, SIGKILL);
		EXPECT_TRUE(child_was_killed(&s->slow, s->writer));
	}
	mnt_teardown(_metadata, &s->slow);
	mnt_teardown(_metadata, &s->quick);
	EXPECT_EQ(0, memcg_remove(&s->below));
	remove_memcg(_metadata, &s->cg);
}

FIXTURE_TEARDOWN(small)
{
	leave_small_cgroup(_metadata, self);
	EXPECT_EQ(0, variant->mglru ? write_file(MGLRU, self->lru) : 0);
}

/* Without held WRITEs: the unpatched kernel has made copies of them. */
static bool writer_has_ended(struct _test_data_small *s)
{
	return task_state(s->writer, s->writer) == 'Z';
}

/*
 * The writer runs until it has to wait, or until it ends.  A writer that stores may
 * have to wait sooner, when the flusher sends the very page that it stores to.
 */
static void fill_up(struct __test_metadata *_metadata, struct _test_data_small *s)
{
	long least = s->d.store ? LIMIT / 8 : LIMIT / 8 * 3;
	__u64 deadline = wait_deadline();

	ASSERT_EQ(0, hold_req(&s->slow, FUSE_WRITE));
	s->writer = memcg_run(s->tasks, s->fill, &s->d);
	ASSERT_LT(0, s->writer);
	while (!writer_has_ended(s) &&
	       (memcg_usage(&s->cg) < least ||
		!count_req(&s->slow, FUSE_WRITE, REQ_ARRIVED) ||
		!process_blocked_in(s->writer, s->nr))) {
		ASSERT_GT(deadline, now_usec()) {
			TH_LOG("the writer neither blocked nor ended, %ld of %lu bytes are charged",
			       memcg_usage(&s->cg), LIMIT);
			process_print(stderr, s->writer);
		}
		sched_yield();
	}
}

/*
 * Run a child in the cgroup.  Return: its wait status, -1 if it does not end.
 */
static long run_in(struct _test_data_small *s, int (*fn)(void *), void *arg)
{
	pid_t pid = memcg_run(s->tasks, fn, arg);

	return mnt_run(&s->quick, &call_waitpid, (struct call_arg){ .fd = pid });
}

/* Promise: memcg-writer */
TEST_F_TIMEOUT(small, writer_waits_before_the_cgroup_is_full, PRESSURE_TIMEOUT)
{
	size_t some = LIMIT / 4;

	fill_up(_metadata, self);
	if (!writer_has_ended(self)) {
		EXPECT_GE((long)(LIMIT / 4 * 3), memcg_usage(&self->cg)) {
			TH_LOG("the writer leaves no memory to other tasks");
		}
	}
	EXPECT_EQ(0, run_in(self, touch_memory, &some)) {
		TH_LOG("the OOM killer killed a task that needs %zu bytes", some);
	}
	EXPECT_EQ(0, find_req(&self->slow, FUSE_WRITE, REQ_REPLIED, 1));

	/* The writer was waiting for its server. */
	ASSERT_LE(1, server_release(self->slow.ctl, 0));
	EXPECT_EQ(0, run_while_served(&self->slow, &call_waitpid,
				      (struct call_arg){ .fd = self->writer }));
	EXPECT_EQ(0, run_while_served(&self->slow, &call_fsync,
				      (struct call_arg){ .fd = self->d.fd }));
	ASSERT_EQ(0, await_pages_in_writeback(0));
	EXPECT_EQ(0, check_dirty_file(&self->slow, FILE_NAME, SIZE));
}

/* Promise: memcg-writer, kill */
TEST_F_TIMEOUT(small, writer_that_waits_can_be_killed, PRESSURE_TIMEOUT)
{
	fill_up(_metadata, self);
	if (writer_has_ended(self)) {
		EXPECT_EQ(0, mnt_run(&self->slow, &call_waitpid,
				     (struct call_arg){ .fd = self->writer }));
		return;
	}
	ASSERT_EQ(0, kill(self->writer, SIGKILL));
	EXPECT_TRUE(child_was_killed(&self->slow, self->writer));
	EXPECT_EQ(0, find_req(&self->slow, FUSE_WRITE, REQ_REPLIED, 1));
}

/*
 * One server has as much dirty in the cgroup as it may; a writer to another
 * server is not throttled because of it.
 *
 * Promise: memcg-writer
 */
TEST_F_TIMEOUT(small, writer_of_another_mount_goes_on, PRESSURE_TIMEOUT)
{
	struct dirtier d = { .size = LIMIT / 8 * 3, .store = self->d.store };

	fill_up(_metadata, self);
	d.fd = mnt_open(&self->quick, FILE_NAME, O_RDWR);
	ASSERT_LE(0, d.fd);
	EXPECT_EQ(0, run_in(self, dirty_file, &d)) {
		TH_LOG("a writer waits for another writer's server");
	}
	EXPECT_EQ(0, find_req(&self->slow, FUSE_WRITE, REQ_REPLIED, 1));
	EXPECT_EQ(0, mnt_run(&self->quick, &call_fsync, (struct call_arg){
		.fd = d.fd }));
	EXPECT_EQ(0, check_dirty_file(&self->quick, FILE_NAME, d.size));
}

/*
 * Writers to a disk get the cgroup's share of the dirty limit, with cgroup
 * writeback and so in v2 only.
 */
FIXTURE(disk)
{
	struct _test_data_small s;
	int fd;
};

FIXTURE_VARIANT(disk)
{
	bool legacy;
};

FIXTURE_VARIANT_ADD(disk, v2_memcg) { .legacy = false };

FIXTURE_SETUP(disk)
{
	if (access(DISK, W_OK))
		SKIP(return, "needs CONFIG_BLK_DEV_RAM");
	use_small_cgroup(_metadata, &self->s, variant, variant->legacy, false);
	self->fd = open(DISK, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(disk)
{
	/* Drop it from the page cache. */
	EXPECT_EQ(0, ioctl(self->fd, BLKFLSBUF, 0));
	close(self->fd);
	leave_small_cgroup(_metadata, &self->s);
}

/* Promise: memcg-writer */
TEST_F_TIMEOUT(disk, writer_of_a_disk_does_not_wait_for_the_server,
	       PRESSURE_TIMEOUT)
{
	struct dirtier d = { .fd = self->fd, .size = LIMIT / 4 };

	fill_up(_metadata, &self->s);
	EXPECT_EQ(0, run_in(&self->s, dirty_file, &d)) {
		TH_LOG("a writer of " DISK " waits for a FUSE server");
	}
	EXPECT_EQ(0, find_req(&self->s.slow, FUSE_WRITE, REQ_REPLIED, 1));
}

/*
 * Suspend freezes a writer where it waits.  One that it may not freeze there, as it
 * uses a buffer of the kernel, returns.
 */
FIXTURE(suspended)
{
	struct _test_data_small s;
};

FIXTURE_VARIANT(suspended)
{
	bool legacy;
	bool sendfile;
};

FIXTURE_VARIANT_ADD(suspended, v2_write) { .legacy = false };
FIXTURE_VARIANT_ADD(suspended, v1_write) { .legacy = true };
FIXTURE_VARIANT_ADD(suspended, v2_sendfile) { .sendfile = true };
FIXTURE_VARIANT_ADD(suspended, v1_sendfile) { .legacy = true, .sendfile = true };

/* Of a file without data, which takes no memory. */
static int send_holes(void *dirtier)
{
	const struct dirtier *d = dirtier;
	int holes = memfd_create("holes", MFD_CLOEXEC);
	off_t at = 0;

	write_file("/proc/self/oom_score_adj", "1000");
	if (holes < 0 || ftruncate(holes, d->size))
		return 1;
	while (at < (off_t)d->size) {
		if (sendfile(d->fd, holes, &at, d->size - at) < 0)
			return 2;
	}
	return 0;
}

FIXTURE_SETUP(suspended)
{
	if (!suspend_is_there())
		SKIP(return, "needs CONFIG_SUSPEND and CONFIG_PM_DEBUG");
	use_small_cgroup(_metadata, &self->s, variant, variant->legacy, false);
	if (variant->sendfile) {
		self->s.fill = send_holes;
		self->s.nr = SYS_sendfile;
	}
	ASSERT_EQ(0, suspend_only_freezes("0"));
}

FIXTURE_TEARDOWN(suspended)
{
	EXPECT_EQ(0, suspend_as_usual());
	leave_small_cgroup(_metadata, &self->s);
}

/*
 * It may have slept only until the flusher began.  Wait until it sleeps time after
 * time, or ends, and dirties no page.
 */
static void let_it_wait(struct __test_metadata *_metadata,
			struct _test_data_small *s)
{
	__u64 deadline = wait_deadline();
	long usage, runs;

	do {
		usage = memcg_usage(&s->cg);
		runs = task_runs(s->writer, s->writer);
		while (!writer_has_ended(s) &&
		       task_runs(s->writer, s->writer) < runs + 3) {
			ASSERT_GT(deadline, now_usec()) {
				TH_LOG("the writer neither waits in a loop nor ends");
				process_print(stderr, s->writer);
			}
			sched_yield();
		}
	} while (usage != memcg_usage(&s->cg));
}

/* Promise: memcg-writer */
TEST_F_TIMEOUT(suspended, writer_that_waits_does_not_prevent_suspend,
	       PRESSURE_TIMEOUT)
{
	struct _test_data_small *s = &self->s;

	fill_up(_metadata, s);
	let_it_wait(_metadata, s);
	EXPECT_EQ(6, mnt_tell(&s->slow, PM_STATE, "freeze")) {
		TH_LOG("suspend: %s", strerror(errno));
	}
	EXPECT_EQ(0, find_req(&s->slow, FUSE_WRITE, REQ_REPLIED, 1));

	/* The control: the writer goes on. */
	ASSERT_LE(1, server_release(s->slow.ctl, 0));
	EXPECT_EQ(0, run_while_served(&s->slow, &call_waitpid,
				      (struct call_arg){ .fd = s->writer }));
	EXPECT_EQ(0, run_while_served(&s->slow, &call_fsync,
				      (struct call_arg){ .fd = s->d.fd }));
	/* sendfile(2) has written zeroes, as the file had before. */
	if (!variant->sendfile)
		EXPECT_EQ(0, check_dirty_file(&s->slow, FILE_NAME, SIZE));
}

TEST_HARNESS_MAIN
