// SPDX-License-Identifier: GPL-2.0
/*
 * Exit and munmap while the WRITE of a mapped page is held.
 *
 * munmap(2) and exit remove a mapping.  The pages may have been dirtied by
 * another task, or the task may not need the result: neither waits for a server
 * there.  The data must arrive nevertheless, with a handle that the server
 * still knows.  A broken kernel makes the process wait in its exit, where no
 * signal ends the wait, as it is exiting already.
 *
 * A process that has a dirty file open does wait as it exits: that is its last
 * close.  SIGKILL has to end this wait as it does in close(2); on Linux 6.12 it
 * does not.
 *
 * Promise: exit
 */

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "child.h"
#include "common.h"
#include "writer.h"

#define FILE_NAME	"file"
#define STEP		(64 << 10)
#define STEPS		4
#define BYTES		(STEPS * STEP)

/*
 *   map: "file"; its dirty pages are sent --- WRITE, held
 */
FIXTURE(leaving)
{
	struct mnt m;
	char path[128];
	char *data;
	char *seen;
	char *map;
	int fd;
};

FIXTURE_VARIANT(leaving)
{
	bool writeback_cache;
	bool short_queue;
};

FIXTURE_VARIANT_ADD(leaving, cached)
{
	.writeback_cache = true,
};

FIXTURE_VARIANT_ADD(leaving, cached_short_queue)
{
	.writeback_cache = true, .short_queue = true,
};

FIXTURE_VARIANT_ADD(leaving, through)
{
};

FIXTURE_VARIANT_ADD(leaving, through_short_queue)
{
	.short_queue = true,
};

FIXTURE_SETUP(leaving)
{
	const struct server_opts opts = {
		.writeback_cache = variant->writeback_cache,
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
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
}

FIXTURE_TEARDOWN(leaving)
{
	mnt_teardown(_metadata, &self->m);
}

/* Make all pages dirty through a mapping, and write them back. */
static void store_and_send(struct __test_metadata *_metadata,
			   struct _test_data_leaving *self)
{
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	memcpy(self->map, self->data, BYTES);
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
}

static void check_data(struct __test_metadata *_metadata,
		       struct _test_data_leaving *self)
{
	size_t off;

	for (off = 0; off < BYTES; off += CTL_DATA_MAX)
		ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, off,
					self->seen + off, CTL_DATA_MAX));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, BYTES));
}

/* A child that shares the test's descriptors exits without a signal. */
static void check_child_ends(struct __test_metadata *_metadata,
			     struct _test_data_leaving *self, pid_t pid)
{
	ASSERT_LT(0, pid);
	EXPECT_EQ(0, mnt_run(&self->m, &call_waitpid, (struct call_arg){
		.fd = pid })) {
		TH_LOG("the child waits for the server, or failed");
		process_print(stderr, pid);
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	check_data(_metadata, self);
}

static long do_nothing(const struct call_arg *arg)
{
	(void)arg;
	return 0;
}

static const struct call_op call_nothing = { "exit", SYS_exit_group,
					     do_nothing };

TEST_F(leaving, process_that_inherited_a_mapping_exits)
{
	store_and_send(_metadata, self);
	check_child_ends(_metadata, self,
			 child_start(CLONE_FILES, &call_nothing,
				     (struct call_arg){ }));
}

static long do_munmap_and_exit(const struct call_arg *arg)
{
	_exit(munmap(arg->buf, arg->len) ? 1 : 0);
}

static const struct call_op call_munmap_and_exit = {
	"munmap", SYS_munmap, do_munmap_and_exit
};

TEST_F(leaving, munmap_by_another_process_returns)
{
	store_and_send(_metadata, self);
	check_child_ends(_metadata, self,
			 child_start(CLONE_FILES, &call_munmap_and_exit,
				     (struct call_arg){ .buf = self->map,
							.len = BYTES }));
}

/* Neither does unmapping a part of it, nor mapping over it. */
static long do_mmap_over_and_exit(const struct call_arg *arg)
{
	void *p = mmap(arg->buf, arg->len, PROT_READ,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	_exit(p == MAP_FAILED ? 1 : 0);
}

static const struct call_op call_mmap_over_and_exit = {
	"mmap", SYS_mmap, do_mmap_over_and_exit
};

TEST_F(leaving, mapping_something_else_in_its_place_returns)
{
	store_and_send(_metadata, self);
	check_child_ends(_metadata, self,
			 child_start(CLONE_FILES, &call_mmap_over_and_exit,
				     (struct call_arg){ .buf = self->map,
							.len = STEP }));
}

static long last_munmap(int fd, char *map, size_t len)
{
	(void)fd;
	return munmap(map, len);
}

static long last_exit(int fd, char *map, size_t len)
{
	(void)fd;
	(void)map;
	(void)len;
	return 0;
}

/* The mapping is the last reference to the file; its handle has to last. */
static void check_last_mapping(struct __test_metadata *_metadata,
			       struct _test_data_leaving *self,
			       long (*last)(int fd, char *map, size_t len))
{
	struct writer w = { .path = self->path, .data = self->data,
			    .len = BYTES, .by_store = true, .last = last };
	struct mnt *m = &self->m;
	pid_t pid = writer_start(&w);
	int i, seq;

	ASSERT_LT(0, pid);
	ASSERT_NE(0, await_req(m, FUSE_WRITE, REQ_ARRIVED, 1));
	for (i = 1; i <= STEPS; i++) {
		ASSERT_NE(0, await_req(m, FUSE_WRITE, REQ_ARRIVED, i));
		ASSERT_EQ(0, fence(m));
		EXPECT_EQ(0, find_req(m, FUSE_RELEASE, REQ_ARRIVED, 1)) {
			TH_LOG("RELEASE was sent with WRITE %d of %d held", i,
			       STEPS);
		}
		ASSERT_EQ(1, server_release(m->ctl, 1));
		seq = find_req(m, FUSE_WRITE, REQ_REPLIED, i);
		ASSERT_NE(0, seq);
		EXPECT_EQ(0, m->log->ev[seq - 1].err) {
			TH_LOG("the server does not know the handle");
		}
	}
	EXPECT_NE(0, await_req(m, FUSE_RELEASE, REQ_REPLIED, 1));
	EXPECT_EQ(0, mnt_run(m, &call_waitpid, (struct call_arg){
		.fd = pid }));
	check_data(_metadata, self);
}

/*
 * Promise: exit, policy-01
 */
TEST_F(leaving, stores_arrive_before_release_at_the_last_munmap)
{
	check_last_mapping(_metadata, self, last_munmap);
}

/*
 * Promise: exit, policy-01
 */
TEST_F(leaving, stores_arrive_before_release_at_exit)
{
	check_last_mapping(_metadata, self, last_exit);
}

/*
 * A process that waits in the last close of its exit; it was not killed so far.
 */
static pid_t start_exiting_writer(struct __test_metadata *_metadata,
				  struct _test_data_leaving *self, bool by_store)
{
	struct writer w = { .path = self->path, .data = self->data,
			    .len = BYTES, .by_store = by_store,
			    /* Makes it keep its descriptor until it exits. */
			    .lock = WRITER_FLOCK, .last = last_exit };
	pid_t pid = writer_start(&w);

	ASSERT_LT(0, pid);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_TRUE(child_stays_blocked(&self->m, pid, &call_nothing)) {
		TH_LOG("exit does not wait: nothing was tested");
	}
	return pid;
}

/*
 * Promise: kill
 */
TEST_F(leaving, sigkill_reaches_a_process_that_exits)
{
	struct mnt *m = &self->m;
	pid_t pid;

	/* A write-through file has no data left for exit. */
	pid = start_exiting_writer(_metadata, self, !variant->writeback_cache);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_LE(0, mnt_run(m, &call_waitpid, (struct call_arg){ .fd = pid })) {
		TH_LOG("SIGKILL does not end a process that exits");
		process_print(stderr, pid);
	}
	EXPECT_EQ(0, find_req(m, FUSE_WRITE, REQ_REPLIED, 1));
	EXPECT_EQ(0, find_req(m, FUSE_RELEASE, REQ_ARRIVED, 1));

	ASSERT_LE(1, server_release(m->ctl, 0));
	ASSERT_NE(0, await_req(m, FUSE_WRITE, REQ_REPLIED, STEPS));
	EXPECT_NE(0, await_req(m, FUSE_RELEASE, REQ_ARRIVED, 1));
	check_data(_metadata, self);
}

/* The control: without a signal it waits, and its exit status is its own. */
TEST_F(leaving, exit_with_a_dirty_file_waits_for_the_server)
{
	struct mnt *m = &self->m;
	pid_t pid;

	pid = start_exiting_writer(_metadata, self, !variant->writeback_cache);
	EXPECT_EQ(0, find_req(m, FUSE_FLUSH, REQ_ARRIVED, 1));
	ASSERT_LE(1, server_release(m->ctl, 0));
	EXPECT_EQ(0, mnt_run(m, &call_waitpid, (struct call_arg){ .fd = pid }));
	EXPECT_LT(find_req(m, FUSE_WRITE, REQ_REPLIED, STEPS),
		  await_req(m, FUSE_FLUSH, REQ_ARRIVED, 1));
	check_data(_metadata, self);
}

TEST_HARNESS_MAIN
