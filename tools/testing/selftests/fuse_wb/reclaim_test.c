// SPDX-License-Identifier: GPL-2.0
/*
 * Reclaim that encounters pages under writeback to a held server.
 *
 * A task that allocates in a full cgroup has to reclaim, and encounters pages
 * under writeback.  Legacy memcg waits for them: when the allocating task is
 * the server that has to end writeback, it waits for itself.  A broken kernel
 * hangs there, or crawls from one pause to the next.  A sound one reclaims what
 * it can, and otherwise invokes the OOM killer: either way it ends.
 *
 * Promise: memcg
 */

#include "common.h"
#include "memcg.h"
#include "memory_hog.h"
#include "pressure.h"

#define MIB		(1024 * 1024UL)
#define LIMIT		(16 * MIB)
/* Less than half, where a writer would be throttled. */
#define DIRTY		(6 * MIB)
#define CLEAN		(4 * MIB)

/* The remaining room is less than this; with the clean cache it is enough. */
#define SOME		(8 * MIB)

/* More than fits. */
#define TOO_MUCH	(12 * MIB)

/*
 *   cgroup of LIMIT bytes:
 *        a writer ------> DIRTY bytes of "file" -- WRITEs --> server, held
 *                         CLEAN bytes of "clean"                ^
 *        allocator: a process, or -------------------------------'
 */
FIXTURE(memcg)
{
	struct mnt m;
	struct memcg cg;
	int fd;
	int clean;
};

/* beside: bytes of clean page cache in the cgroup */
FIXTURE_VARIANT(memcg)
{
	bool legacy;
	size_t beside;
};

FIXTURE_VARIANT_ADD(memcg, v2_clean_cache_beside)
{
	.beside = CLEAN,
};

FIXTURE_VARIANT_ADD(memcg, v2_nothing_else) { .legacy = false };

FIXTURE_VARIANT_ADD(memcg, v1_clean_cache_beside)
{
	.legacy = true,
	.beside = CLEAN,
};

FIXTURE_VARIANT_ADD(memcg, v1_nothing_else) { .legacy = true };

FIXTURE_SETUP(memcg)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.open_flags = FOPEN_KEEP_CACHE,
	};
	char *data;

	if (!mnt_setup(_metadata, &self->m, &opts, variant) ||
	    !use_memcg(_metadata, &self->cg, &self->m, variant->legacy, LIMIT))
		return;

	data = calloc(1, CLEAN);
	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, server_put(self->m.ctl, "clean", 0, data, CLEAN));
	free(data);
	self->clean = mnt_open(&self->m, "clean", O_RDONLY);
	ASSERT_LE(0, self->clean);
	self->fd = mnt_open(&self->m, "file", O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(memcg)
{
	mnt_teardown(_metadata, &self->m);
	remove_memcg(_metadata, &self->cg);
}

struct fill {
	int fd;
	int clean;
	size_t dirty;
	size_t beside;
};

/* In the cgroup: written first, read later, so reclaim encounters both. */
static int fill_cgroup(void *arg)
{
	const struct fill *f = arg;
	static char buf[64 << 10];
	size_t done;

	for (done = 0; done < f->dirty; done += sizeof(buf))
		if (pwrite(f->fd, buf, sizeof(buf), done) != sizeof(buf))
			return 1;
	for (done = 0; done < f->beside; done += sizeof(buf))
		if (pread(f->clean, buf, sizeof(buf), done) != sizeof(buf))
			return 2;
	return 0;
}

/* Run it in the cgroup and wait for its end.  Return: its wait status, or -1. */
static long run_in(struct _test_data_memcg *self, int (*fn)(void *), void *arg)
{
	pid_t pid = memcg_run(&self->cg, fn, arg);
	__u64 deadline = wait_deadline();
	struct call *c;

	if (pid < 0)
		return -1;
	c = mnt_call(&self->m, &call_waitpid, (struct call_arg){ .fd = pid });
	if (!c)
		return -1;
	/*
	 * Twice as long as usual: a charge is retried 16 times, and with
	 * CONFIG_CGROUP_WRITEBACK each pauses for five times 100 ms.
	 */
	while (!call_returned(c) && now_usec() < deadline)
		sched_yield();
	return call_wait_returned(c) == CALL_RETURNED ? c->ret : -1;
}

static void get_full(struct __test_metadata *_metadata,
		     struct _test_data_memcg *self, size_t beside)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	struct fill f = {
		.fd = self->fd,
		.clean = self->clean,
		.dirty = DIRTY,
		.beside = beside,
	};

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(0, run_in(self, fill_cgroup, &f));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_EQ(0, reqlog_wait_bytes(self->m.log, &writes, REQ_ARRIVED,
				       DIRTY));
	EXPECT_LT((long)(DIRTY + beside), memcg_usage(&self->cg)) {
		TH_LOG("the pages are charged elsewhere: nothing was tested");
	}
}

/* The server replies, which is what the pages were waiting for. */
static void check_ends(struct __test_metadata *_metadata,
		       struct _test_data_memcg *self)
{
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
}

/* A kernel that has copied the dirty pages can free them, and kills no task. */
static void check_outcome(struct __test_metadata *_metadata, long status,
			  size_t beside)
{
	if (beside) {
		EXPECT_EQ(0, status) {
			TH_LOG("killed, although there was clean cache");
		}
		return;
	}
	EXPECT_TRUE(!status || was_killed(status)) {
		TH_LOG("wait status %#lx", status);
	}
}

TEST_F(memcg, allocation_ends_while_writes_are_held)
{
	size_t len = variant->beside ? SOME : TOO_MUCH;
	long status;

	get_full(_metadata, self, variant->beside);
	status = run_in(self, touch_memory, &len);
	ASSERT_NE(-1, status) {
		TH_LOG("an allocation waits for the reply to WRITE");
	}
	check_outcome(_metadata, status, variant->beside);
	check_ends(_metadata, self);
}

/* A server that allocates while it handles a WRITE: the classic deadlock. */
TEST_F(memcg, server_that_allocates_in_write_goes_on)
{
	size_t len = variant->beside ? SOME : TOO_MUCH;
	long status;

	get_full(_metadata, self, variant->beside);
	ASSERT_EQ(0, memcg_enter(&self->cg, self->m.server));
	if (!server_allocate(self->m.ctl, len)) {
		ASSERT_EQ(0, memcg_leave(&self->cg, self->m.server));
		check_ends(_metadata, self);
		return;
	}

	/*
	 * If it cannot have that much, it is killed, and that ends the test,
	 * too.
	 */
	EXPECT_EQ(0UL, variant->beside);
	status = mnt_run(&self->m, &call_waitpid, (struct call_arg){
		.fd = self->m.server });
	EXPECT_TRUE(was_killed(status)) {
		TH_LOG("a server that allocates waits for itself");
		process_print(stderr, self->m.server);
	}
	if (was_killed(status))
		self->m.server = 0;
	EXPECT_EQ(-1, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
}

/*
 * The flusher is stuck, so that the pages are not even under writeback.  Legacy
 * memcg gives it 100 ms for every 32 of them, repeatedly.
 */
TEST_F(memcg, allocation_ends_while_flusher_is_stuck)
{
	struct fill f = { .fd = self->fd, .clean = self->clean, .dirty = DIRTY,
			  .beside = variant->beside };
	size_t len = variant->beside ? SOME : TOO_MUCH;
	long status;
	int other;

	other = mnt_open(&self->m, "other", O_RDWR | O_CREAT);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, make_file_old(other));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	ASSERT_EQ(1, write(other, "x", 1));
	ASSERT_NE(NULL, mnt_call(&self->m, &call_sync, (struct call_arg){ }));
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 2));

	ASSERT_EQ(0, run_in(self, fill_cgroup, &f));
	status = run_in(self, touch_memory, &len);
	ASSERT_NE(-1, status) {
		TH_LOG("an allocation is throttled by a stuck flusher");
	}
	check_outcome(_metadata, status, variant->beside);
	EXPECT_EQ(0, find_req(&self->m, FUSE_SETATTR, REQ_REPLIED, 2));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
}

/* Its pages are not under writeback, but that is no reason to kill it. */
TEST_F(memcg, writer_of_more_than_the_limit_is_not_killed)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	struct fill f = { .fd = self->fd, .dirty = 3 * LIMIT };
	pid_t pid;

	ASSERT_EQ(0, server_rule(self->m.ctl, &writes, RULE_DELAY, 1000));
	pid = memcg_run(&self->cg, fill_cgroup, &f);
	ASSERT_LT(0, pid);
	EXPECT_EQ(0, run_while_served(&self->m, &call_waitpid,
				      (struct call_arg){ .fd = pid }));
	EXPECT_LT(0, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));
	EXPECT_EQ(0, run_while_served(&self->m, &call_fsync,
				      (struct call_arg){ .fd = self->fd }));
	/*
	 * WRITEs may still be on their way to the server: wait for the pages.
	 */
	ASSERT_EQ(0, await_pages_in_writeback(0));
	EXPECT_EQ((long long)f.dirty, server_size(self->m.ctl, "file"));
}

TEST_HARNESS_MAIN
