// SPDX-License-Identifier: GPL-2.0
/*
 * Offlining a memory block that has a page which is being read from a FUSE server,
 * or which has an extra reference.
 *
 * A page is locked until the server has replied to READ.  A broken kernel waits
 * for the lock, ignoring signals, with the hotplug locks held; a sound one gives
 * up after a number of rounds, or on a signal.  An extra reference to a clean page
 * is dropped soon, so both kernels retry until it is.
 *
 * Promise: offlining
 */

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "common.h"
#include "memory_block.h"

#define FILE_NAME	"file"
#define LEN		(64 << 10)

/* From Documentation/admin-guide/mm/memory-hotplug.rst. */
#define ROUNDS		20

/*
 *   a movable block:  | "file": LEN bytes, clean |
 */
FIXTURE(clean)
{
	struct mnt m;
	int fd;
	char *data;
	char *map;
	char dir[64];
	char state[80];
};

FIXTURE_SETUP(clean)
{
	const struct server_opts opts = { .open_flags = FOPEN_KEEP_CACHE };

	if (access(MEMORY, F_OK))
		SKIP(return, "needs CONFIG_MEMORY_HOTREMOVE");
	if (movable_node() < 0)
		SKIP(return, "needs page cache in a movable zone: boot with kernelcore=");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->data = malloc(LEN);
	ASSERT_NE(NULL, self->data);
	fill_pattern(self->data, LEN, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->data,
				CTL_DATA_MAX));
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, CTL_DATA_MAX,
				self->data + CTL_DATA_MAX, LEN - CTL_DATA_MAX));
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDONLY);
	ASSERT_LE(0, self->fd);

	use_movable_node(true);
	ASSERT_EQ(0, cache_in_block(self->fd, LEN, NULL));
	self->map = mmap(NULL, LEN, PROT_READ, MAP_SHARED | MAP_POPULATE,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	ASSERT_EQ(0, block_of(pfn_of(self->map), self->dir, sizeof(self->dir)));
	ASSERT_TRUE(block_is_movable(self->dir));
	snprintf(self->state, sizeof(self->state), "%s/state", self->dir);
}

FIXTURE_TEARDOWN(clean)
{
	mnt_teardown(_metadata, &self->m);
	if (file_says(self->dir, "state", "offline"))
		EXPECT_EQ(0, write_file(self->state, "online_movable"));
}

/*
 * Drop the pages and read them again; the server holds the READ.  The allocator
 * reuses the most recently freed pages of this processor first, so the pages are
 * in the same block again.
 */
static struct call *read_again(struct __test_metadata *_metadata,
			       struct _test_data_clean *self, void *buf)
{
	struct call *c;

	EXPECT_EQ(0, munmap(self->map, LEN));
	EXPECT_EQ(0, posix_fadvise(self->fd, 0, 0, POSIX_FADV_DONTNEED));
	EXPECT_EQ(0, hold_req(&self->m, FUSE_READ));
	c = mnt_call(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = buf, .len = LEN });
	/* The first run has filled the cache. */
	EXPECT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 2));
	use_movable_node(false);
	return c;
}

/* When the server has replied, nothing prevents offlining. */
static void check_block_can_go(struct __test_metadata *_metadata,
			       struct _test_data_clean *self,
			       struct call *reader)
{
	EXPECT_TRUE(file_says(self->dir, "state", "online"));
	EXPECT_EQ(0, find_req(&self->m, FUSE_READ, REQ_REPLIED, 2));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(reader));
	EXPECT_EQ(LEN, reader->ret);
	EXPECT_EQ(-1, first_difference(self->data, reader->arg.buf, LEN));
	EXPECT_EQ(0, block_await_offline(block_offline(&self->m, self->state)));
	EXPECT_TRUE(file_says(self->dir, "state", "offline"));
}

TEST_F(clean, offlining_gives_up_on_page_that_is_being_read)
{
	static char buf[LEN];
	struct call *reader = read_again(_metadata, self, buf);

	ASSERT_EQ(-EBUSY, block_await_offline(block_offline(&self->m, self->state)));
	check_block_can_go(_metadata, self, reader);
}

static void on_signal(int nr)
{
	(void)nr;
}

/* It may have given up before the signal comes: then retry. */
TEST_F(clean, signal_ends_offlining_of_page_that_is_being_read)
{
	const struct sigaction action = { .sa_handler = on_signal };
	__u64 deadline = wait_deadline();
	static char buf[LEN];
	struct call *reader, *c;
	int err;

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	reader = read_again(_metadata, self, buf);
	do {
		c = block_offline(&self->m, self->state);
		ASSERT_NE(NULL, c);
		if (call_wait_blocked(c) == CALL_BLOCKED)
			syscall(SYS_tgkill, getpid(), c->tid, SIGUSR1);
		err = block_await_offline(c);
	} while (err == -EBUSY && now_usec() < deadline);
	ASSERT_EQ(-EINTR, err) {
		TH_LOG("for %d s, offlining gave up before each signal",
		       WAIT_SECONDS);
	}
	check_block_can_go(_metadata, self, reader);
}

/* Many more rounds than for a page under writeback to a server. */
static bool await_rounds(struct call *c)
{
	__u64 deadline = wait_deadline();
	long before = vm_counter("/proc/vmstat", "pgmigrate_fail");

	while (!call_returned(c) && now_usec() < deadline)
		if (vm_counter("/proc/vmstat", "pgmigrate_fail") - before >
		    10 * ROUNDS)
			return true;
	return false;
}

TEST_F(clean, offlining_tries_on_while_clean_page_is_held)
{
	struct iovec iov = { .iov_base = self->map, .iov_len = 1 };
	struct call *c;
	int fds[2];

	use_movable_node(false);
	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	/* The pipe holds a reference to the page. */
	ASSERT_EQ(1, vmsplice(fds[1], &iov, 1, 0));
	c = block_offline(&self->m, self->state);
	ASSERT_NE(NULL, c);
	EXPECT_TRUE(await_rounds(c)) {
		TH_LOG("offlining has %s", call_returned(c) ? "given up" :
		       "not reached the page");
	}
	ASSERT_FALSE(call_returned(c));
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(0, block_await_offline(c));
	EXPECT_TRUE(file_says(self->dir, "state", "offline"));
	EXPECT_EQ(-1, first_difference(self->data, self->map, LEN));
}

TEST_HARNESS_MAIN
