// SPDX-License-Identifier: GPL-2.0
/*
 * Locks of a process that exits, and the data it wrote under them.
 *
 * The server drops the POSIX locks of a process at FLUSH, for each descriptor
 * that it closes, and those of flock(2) at RELEASE.  Then the next holder may
 * write.  A correct kernel sends either only when all WRITEs of the file have
 * their replies, also when the process was killed and no task waits.  A broken
 * one lets FLUSH overtake a WRITE, and old bytes overwrite the next holder's.
 *
 * Promise: locks
 */

#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "child.h"
#include "common.h"
#include "writer.h"

#define FILE_NAME	"file"
#define STEP		(64 << 10)
#define STEPS		4
#define BYTES		(STEPS * STEP)

/*
 *   holder: locks "file", BYTES of it dirty --- WRITE, held, and more of them
 *   FLUSH, RELEASE: when?
 */
FIXTURE(locked)
{
	struct mnt m;
	struct writer holder;
	char path[128];
	char *data;
	char *seen;
	pid_t pid;
};

/* short_queue: one background request in flight, the others are queued */
FIXTURE_VARIANT(locked)
{
	enum writer_lock lock;
	bool by_store;
	bool short_queue;
};

FIXTURE_VARIANT_ADD(locked, posix)
{
	.lock = WRITER_POSIX_LOCK,
};

FIXTURE_VARIANT_ADD(locked, posix_short_queue)
{
	.lock = WRITER_POSIX_LOCK, .short_queue = true,
};

FIXTURE_VARIANT_ADD(locked, posix_store)
{
	.lock = WRITER_POSIX_LOCK, .by_store = true, .short_queue = true,
};

FIXTURE_VARIANT_ADD(locked, flock)
{
	.lock = WRITER_FLOCK,
};

FIXTURE_VARIANT_ADD(locked, flock_short_queue)
{
	.lock = WRITER_FLOCK, .short_queue = true,
};

FIXTURE_VARIANT_ADD(locked, flock_store)
{
	.lock = WRITER_FLOCK, .by_store = true, .short_queue = true,
};

FIXTURE_SETUP(locked)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.posix_locks = true,
		.flock_locks = true,
		/*
		 * Otherwise OPEN by another process would wait for dirty data.
		 */
		.open_flags = FOPEN_KEEP_CACHE,
		.max_write = STEP,
		.max_background = variant->short_queue,
		.congestion = variant->short_queue,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	file_setup(_metadata, &self->m, FILE_NAME, BYTES, 1, &self->data,
		   &self->seen);
	fill_pattern(self->data, BYTES, 2);
	snprintf(self->path, sizeof(self->path), "%s/%s", self->m.dir,
		 FILE_NAME);
	self->holder = (struct writer){
		.path = self->path, .data = self->data, .len = BYTES,
		.lock = variant->lock, .by_store = variant->by_store };
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
}

FIXTURE_TEARDOWN(locked)
{
	mnt_teardown(_metadata, &self->m);
}

/*
 * Start the holder; it has sent only LOOKUP, OPEN and SETLK when this returns.
 */
static void start_holder(struct __test_metadata *_metadata,
			 struct _test_data_locked *self,
			 long (*last)(int fd, char *map, size_t len))
{
	self->holder.last = last;
	self->pid = writer_start(&self->holder);
	ASSERT_LT(0, self->pid);
	ASSERT_EQ(1, count_req(&self->m, FUSE_SETLK, REQ_REPLIED));
	if (last)
		ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
}

static const struct req *nth_req(struct mnt *m, __u32 opcode, int nth)
{
	int seq = await_req(m, opcode, REQ_ARRIVED, nth);

	return seq ? &m->log->ev[seq - 1].req : NULL;
}

static bool locks_are_dropped(struct mnt *m)
{
	return fence(m) || count_req(m, FUSE_FLUSH, REQ_ARRIVED) ||
	       count_req(m, FUSE_RELEASE, REQ_ARRIVED);
}

/* Reply to one WRITE after the other: none is overtaken. */
static void check_order(struct __test_metadata *_metadata,
			struct _test_data_locked *self, bool flock)
{
	const struct req *flush, *release, *lock;
	struct mnt *m = &self->m;
	int i;

	for (i = 1; i <= STEPS; i++) {
		ASSERT_NE(0, await_req(m, FUSE_WRITE, REQ_ARRIVED, i));
		EXPECT_FALSE(locks_are_dropped(m)) {
			TH_LOG("the locks were dropped with WRITE %d of %d held",
			       i, STEPS);
		}
		ASSERT_EQ(1, server_release(m->ctl, 1));
	}
	release = nth_req(m, FUSE_RELEASE, 1);
	flush = nth_req(m, FUSE_FLUSH, 1);
	lock = nth_req(m, FUSE_SETLK, 1);
	ASSERT_TRUE(flush && release && lock);
	EXPECT_LT(find_req(m, FUSE_WRITE, REQ_REPLIED, STEPS),
		  find_req(m, FUSE_FLUSH, REQ_ARRIVED, 1));
	EXPECT_LT(find_req(m, FUSE_FLUSH, REQ_REPLIED, 1),
		  find_req(m, FUSE_RELEASE, REQ_ARRIVED, 1));
	EXPECT_EQ(STEPS, count_req(m, FUSE_WRITE, REQ_ARRIVED));
	if (flock) {
		EXPECT_EQ(FUSE_RELEASE_FLOCK_UNLOCK, (int)release->flags);
		EXPECT_EQ(lock->owner, release->owner);
	} else {
		EXPECT_EQ(lock->owner, flush->owner);
	}

	for (i = 0; i < BYTES; i += CTL_DATA_MAX)
		ASSERT_EQ(0, server_get(m->ctl, FILE_NAME, i, self->seen + i,
					CTL_DATA_MAX));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, BYTES));
}

static void check_killed(struct __test_metadata *_metadata,
			 struct _test_data_locked *self, bool flock)
{
	ASSERT_EQ(0, kill(self->pid, SIGKILL));
	/*
	 * It may have exited or not: killed_holder_is_gone_at_once covers that.
	 */
	ASSERT_LE(0, task_settles(&self->m, self->pid));
	check_order(_metadata, self, flock);
	EXPECT_TRUE(child_was_killed(&self->m, self->pid));
}

TEST_F(locked, locks_of_killed_holder_go_after_its_data)
{
	start_holder(_metadata, self, NULL);
	check_killed(_metadata, self, variant->lock == WRITER_FLOCK);
}

static long last_fsync(int fd, char *map, size_t len)
{
	(void)map;
	(void)len;
	return fsync(fd);
}

TEST_F(locked, locks_of_holder_killed_in_fsync_go_after_its_data)
{
	start_holder(_metadata, self, last_fsync);
	check_killed(_metadata, self, variant->lock == WRITER_FLOCK);
}

static long last_close(int fd, char *map, size_t len)
{
	return map && munmap(map, len) ? -1 : close(fd);
}

TEST_F(locked, locks_of_holder_killed_in_close_go_after_its_data)
{
	start_holder(_metadata, self, last_close);
	check_killed(_metadata, self, variant->lock == WRITER_FLOCK);
}

/* The controls: no process is killed. */
TEST_F(locked, locks_go_after_the_data_at_close)
{
	start_holder(_metadata, self, last_close);
	check_order(_metadata, self, variant->lock == WRITER_FLOCK);
	EXPECT_EQ(0, mnt_run(&self->m, &call_waitpid, (struct call_arg){
		.fd = self->pid }));
}

static long last_exit(int fd, char *map, size_t len)
{
	(void)fd;
	(void)map;
	(void)len;
	return 0;
}

TEST_F(locked, locks_go_after_the_data_at_exit)
{
	start_holder(_metadata, self, last_exit);
	check_order(_metadata, self, variant->lock == WRITER_FLOCK);
	EXPECT_EQ(0, mnt_run(&self->m, &call_waitpid, (struct call_arg){
		.fd = self->pid }));
}

/*
 * The WRITEs have a handle of another process, so they do not pin the holder's
 * file.
 */
TEST_F(locked, writes_with_another_handle_come_first_as_well)
{
	struct mnt *m = &self->m;
	const struct req *write;
	int other, i;

	start_holder(_metadata, self, NULL);
	other = mnt_open(m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, kill(self->pid, SIGKILL));
	write = nth_req(m, FUSE_WRITE, 1);
	ASSERT_NE(NULL, write);
	ASSERT_LE(0, task_settles(m, self->pid));
	for (i = 1; i <= STEPS; i++) {
		ASSERT_NE(0, await_req(m, FUSE_WRITE, REQ_ARRIVED, i));
		EXPECT_FALSE(locks_are_dropped(m)) {
			TH_LOG("the locks were dropped with WRITE %d of %d held",
			       i, STEPS);
		}
		ASSERT_EQ(1, server_release(m->ctl, 1));
	}
	EXPECT_LT(find_req(m, FUSE_WRITE, REQ_REPLIED, STEPS),
		  await_req(m, FUSE_FLUSH, REQ_ARRIVED, 1));
	EXPECT_LT(find_req(m, FUSE_FLUSH, REQ_REPLIED, 1),
		  await_req(m, FUSE_RELEASE, REQ_ARRIVED, 1));
	EXPECT_TRUE(child_was_killed(m, self->pid));
	EXPECT_EQ(0, close(other));
}

/* A WRITE that fails has its reply, too. */
TEST_F(locked, locks_of_killed_holder_go_when_its_data_is_refused)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	struct mnt *m = &self->m;

	start_holder(_metadata, self, NULL);
	ASSERT_EQ(0, kill(self->pid, SIGKILL));
	ASSERT_NE(0, await_req(m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_LE(0, task_settles(m, self->pid));
	EXPECT_FALSE(locks_are_dropped(m));
	ASSERT_EQ(0, server_fail(m->ctl, &writes, EIO));
	ASSERT_LE(1, server_release(m->ctl, 0));
	EXPECT_TRUE(child_was_killed(m, self->pid));
	ASSERT_NE(0, await_req(m, FUSE_WRITE, REQ_REPLIED, STEPS));
	EXPECT_LT(find_req(m, FUSE_WRITE, REQ_REPLIED, STEPS),
		  await_req(m, FUSE_FLUSH, REQ_ARRIVED, 1));
	EXPECT_LT(find_req(m, FUSE_FLUSH, REQ_REPLIED, 1),
		  await_req(m, FUSE_RELEASE, REQ_ARRIVED, 1));
}

static long do_lock(const struct call_arg *arg)
{
	struct flock all = { .l_type = F_WRLCK };

	return arg->flags == WRITER_FLOCK ? flock(arg->fd, LOCK_EX | LOCK_NB) :
	       fcntl(arg->fd, F_SETLK, &all);
}

/* Either of two calls: where it blocks does not matter. */
static const struct call_op call_lock = { "locking", SYS_fcntl, do_lock };

/* The server decides about it, and is sent the old owner, not the new one. */
TEST_F(locked, another_owner_waits_for_no_killed_holder)
{
	const struct req *old, *new, *last;
	struct mnt *m = &self->m;
	int other, i;

	start_holder(_metadata, self, NULL);
	other = mnt_open(m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, kill(self->pid, SIGKILL));
	ASSERT_NE(0, await_req(m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_LE(0, task_settles(m, self->pid));
	EXPECT_EQ(0, mnt_run(m, &call_lock, (struct call_arg){
		.fd = other, .flags = variant->lock }));
	EXPECT_EQ(0, count_req(m, FUSE_WRITE, REQ_REPLIED));
	EXPECT_FALSE(locks_are_dropped(m));

	for (i = 1; i <= STEPS; i++) {
		ASSERT_NE(0, await_req(m, FUSE_WRITE, REQ_ARRIVED, i));
		ASSERT_EQ(1, server_release(m->ctl, 1));
	}
	old = nth_req(m, FUSE_SETLK, 1);
	new = nth_req(m, FUSE_SETLK, 2);
	last = nth_req(m, variant->lock == WRITER_FLOCK ? FUSE_RELEASE :
		       FUSE_FLUSH, 1);
	ASSERT_TRUE(old && new && last);
	EXPECT_NE(old->owner, new->owner);
	EXPECT_EQ(old->owner, last->owner);
	EXPECT_TRUE(child_was_killed(m, self->pid));
	EXPECT_EQ(0, close(other));
}

/*
 * Promise: kill
 */
TEST_F(locked, killed_holder_is_gone_at_once)
{
	start_holder(_metadata, self, NULL);
	ASSERT_EQ(0, kill(self->pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&self->m, self->pid));
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));
}

TEST_HARNESS_MAIN
