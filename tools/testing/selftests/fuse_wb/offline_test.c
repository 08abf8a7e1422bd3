// SPDX-License-Identifier: GPL-2.0
/*
 * Offlining a memory block that has all kinds of pages of FUSE files.
 *
 * Clean and dirty pages are migrated.  A page under writeback is not until its
 * server has replied.  A broken kernel retries forever; a sound one gives up
 * after a number of rounds, reports the page, and leaves the block as it was, so
 * that offlining can be tried again.
 *
 * Promise: offlining
 */

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "common.h"
#include "memory_block.h"

#define KIB_64		(64 << 10)

/* From Documentation/admin-guide/mm/memory-hotplug.rst. */
#define ROUNDS		20

/* The file for each kind of pages. */
enum { STUCK, DIRTY, CLEAN, FILES };

static const char * const names[FILES] = { "stuck", "dirty", "clean" };

/*
 *   a movable block:  | "stuck"        | "dirty"       | "clean" |
 *                          |
 *                          '--- WRITEs ---> server, held
 */
FIXTURE(mixed)
{
	struct mnt m;
	int fd[FILES];
	char *map[FILES];
	char *data;
	char dir[64];
	char state[80];
	int kmsg;
};

/* When allocated one after the other, the pages usually come from one block. */
static int fill_files(struct _test_data_mixed *self)
{
	int i, ret = 0;

	for (i = 0; i < FILES; i++) {
		ret |= cache_in_block(self->fd[i], KIB_64, NULL);
		if (i != CLEAN)
			ret |= pwrite(self->fd[i], self->data, KIB_64, 0) !=
			       KIB_64;
	}
	return ret;
}

FIXTURE_SETUP(mixed)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.open_flags = FOPEN_KEEP_CACHE,
	};
	int i;

	if (access(MEMORY, F_OK))
		SKIP(return, "needs CONFIG_MEMORY_HOTREMOVE");
	if (movable_node() < 0)
		SKIP(return, "needs page cache in a movable zone: boot with kernelcore=");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->data = malloc(KIB_64);
	ASSERT_NE(NULL, self->data);
	fill_pattern(self->data, KIB_64, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, names[CLEAN], 0, self->data,
				KIB_64));
	for (i = 0; i < FILES; i++) {
		ASSERT_EQ(0, server_put(self->m.ctl, names[i], KIB_64 - 1,
					self->data + KIB_64 - 1, 1));
		self->fd[i] = mnt_open(&self->m, names[i], O_RDWR);
		ASSERT_LE(0, self->fd[i]);
	}
	self->kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ASSERT_LE(0, lseek(self->kmsg, 0, SEEK_END));

	use_movable_node(true);
	ASSERT_EQ(0, fill_files(self));
	use_movable_node(false);
	for (i = 0; i < FILES; i++) {
		self->map[i] = mmap(NULL, KIB_64, PROT_READ,
				    MAP_SHARED | MAP_POPULATE, self->fd[i], 0);
		ASSERT_NE(MAP_FAILED, self->map[i]);
	}
	ASSERT_EQ(0, block_of(pfn_of(self->map[STUCK]), self->dir,
			      sizeof(self->dir)));
	ASSERT_TRUE(block_is_movable(self->dir));
	snprintf(self->state, sizeof(self->state), "%s/state", self->dir);

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd[STUCK]));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
}

FIXTURE_TEARDOWN(mixed)
{
	if (file_says(self->dir, "state", "offline"))
		EXPECT_EQ(0, write_file(self->state, "online_movable"));
	mnt_teardown(_metadata, &self->m);
}

/* Is one of the pages of a file in this block? */
static bool has_page(const char *map, __u64 pfn)
{
	long page = sysconf(_SC_PAGESIZE);
	int off;

	for (off = 0; off < KIB_64; off += page)
		if (pfn_of((char *)map + off) == pfn)
			return true;
	return false;
}

/*
 * How often has offlining given up since the last call, on a page of the stuck
 * file?  -1: on another page, or after another number of rounds.
 */
static int times_given_up(struct _test_data_mixed *self)
{
	const char *words = "offlining gave up after ";
	unsigned long long pfn;
	unsigned int rounds;
	char line[1024];
	int times = 0;
	ssize_t len;
	char *at;

	/* One record per call; EPIPE: some were overwritten before. */
	while ((len = read(self->kmsg, line, sizeof(line) - 1)) > 0 ||
	       errno == EPIPE) {
		line[len > 0 ? len : 0] = '\0';
		at = strstr(line, words);
		if (!at)
			continue;
		if (sscanf(at + strlen(words),
			   "%u rounds: writeback of pfn %llx may block",
			   &rounds, &pfn) != 2 || rounds != ROUNDS ||
		    !has_page(self->map[STUCK], pfn))
			return -1;
		times++;
	}
	return times;
}

/* The bytes are all intact; what can be migrated has been. */
static void check_files(struct __test_metadata *_metadata,
			struct _test_data_mixed *self, bool stuck)
{
	char *seen = malloc(KIB_64), dir[64];
	int i;

	ASSERT_NE(NULL, seen);
	for (i = 0; i < FILES; i++) {
		ASSERT_EQ(KIB_64, pread(self->fd[i], seen, KIB_64, 0));
		EXPECT_EQ(-1, first_difference(self->data, seen, KIB_64)) {
			TH_LOG("%s has changed", names[i]);
		}
		ASSERT_EQ(0, block_of(pfn_of(self->map[i]), dir, sizeof(dir)));
		EXPECT_EQ(i == STUCK && stuck, !strcmp(self->dir, dir)) {
			TH_LOG("%s is in %s", names[i], dir);
		}
	}
	free(seen);
}

/* When the server has replied, nothing prevents offlining. */
static void check_block_can_go(struct __test_metadata *_metadata,
			       struct _test_data_mixed *self)
{
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(0, block_await_offline(block_offline(&self->m, self->state)));
	EXPECT_TRUE(file_says(self->dir, "state", "offline"));
	check_files(_metadata, self, false);
	EXPECT_EQ(0, write_file(self->state, "online_movable"));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd[DIRTY] }));
}

TEST_F(mixed, offlining_gives_up_and_says_on_which_page)
{
	int i;

	for (i = 0; i < 3; i++) {
		EXPECT_EQ(-EBUSY, block_await_offline(block_offline(&self->m, self->state)));
		EXPECT_EQ(1, times_given_up(self));
		EXPECT_TRUE(file_says(self->dir, "state", "online"));
		EXPECT_TRUE(block_is_movable(self->dir));
		check_files(_metadata, self, true);
	}
	check_block_can_go(_metadata, self);
}

static void on_signal(int nr)
{
	(void)nr;
}

/* It may have given up before the signal comes: then retry. */
TEST_F(mixed, signal_ends_offlining)
{
	const struct sigaction action = { .sa_handler = on_signal };
	__u64 deadline = wait_deadline();
	struct call *c;
	int err;

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	do {
		c = block_offline(&self->m, self->state);
		ASSERT_NE(NULL, c);
		if (call_wait_blocked(c) == CALL_BLOCKED)
			syscall(SYS_tgkill, getpid(), c->tid, SIGUSR1);
		err = block_await_offline(c);
	} while (err == -EBUSY && now_usec() < deadline);
	EXPECT_EQ(-EINTR, err) {
		TH_LOG("for %d s, offlining gave up before each signal",
		       WAIT_SECONDS);
	}
	EXPECT_TRUE(file_says(self->dir, "state", "online"));
	check_block_can_go(_metadata, self);
}

TEST_HARNESS_MAIN
