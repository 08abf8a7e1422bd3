// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages of a file whose server holds its replies.
 *
 * khugepaged is one thread for all processes.  It collapses mapped files that
 * no task has open for writing, and reads the missing pages.  No page of such a
 * file may be dirty or under writeback.  A broken kernel waits for the file's
 * server, with up to 512 pages locked; a correct one retries later, and
 * MADV_COLLAPSE returns an error.  Linux 6.12 does not wait for WRITE, but it
 * does for READ.
 *
 * Promise: collapse
 */

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "child.h"
#include "common.h"

/* Older libc headers do not define it. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define PAGE		4096L
#define HUGE		(2L << 20)

/* The file: the future huge page, and a few pages after it. */
#define LEN		(HUGE + 16 * PAGE)

#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define ENABLED		THP "enabled"
#define KHUGEPAGED	THP "khugepaged/"
#define SCANS		KHUGEPAGED "full_scans"
#define PAUSE		KHUGEPAGED "scan_sleep_millisecs"

/*
 *   map: the first 2 MiB of "file", mapped for reading and execution
 */
FIXTURE(collapse)
{
	struct mnt m;
	char *data;
	char *seen;
	char *map;
	int fd;
	char pause[32];
};

FIXTURE_SETUP(collapse)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.open_flags = FOPEN_KEEP_CACHE,
	};
	char *room;

	if (access(SCANS, F_OK))
		SKIP(return, "needs CONFIG_TRANSPARENT_HUGEPAGE");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	file_setup(_metadata, &self->m, "file", LEN, 1, &self->data,
		   &self->seen);
	ASSERT_EQ(0, read_line(PAUSE, self->pause, sizeof(self->pause)));
	self->fd = mnt_open(&self->m, "file", O_RDONLY);
	ASSERT_LE(0, self->fd);
	room = mmap(NULL, 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	ASSERT_NE(MAP_FAILED, room);
	room += HUGE - (unsigned long)room % HUGE;
	self->map = mmap(room, HUGE, PROT_READ | PROT_EXEC,
			 MAP_SHARED | MAP_FIXED, self->fd, 0);
	ASSERT_EQ(room, self->map);
}

FIXTURE_TEARDOWN(collapse)
{
	EXPECT_EQ(0, write_file(PAUSE, self->pause));
	EXPECT_EQ(0, write_file(ENABLED, "never"));
	mnt_teardown(_metadata, &self->m);
}

static long do_collapse(const struct call_arg *arg)
{
	return madvise(arg->buf, HUGE, MADV_COLLAPSE);
}

static const struct call_op call_collapse = {
	"MADV_COLLAPSE", SYS_madvise, do_collapse
};

static long collapse(struct _test_data_collapse *self)
{
	return mnt_run(&self->m, &call_collapse, (struct call_arg){
		.buf = self->map });
}

/* The cached bytes are those of the server. */
static void check_bytes(struct __test_metadata *_metadata,
			struct _test_data_collapse *self)
{
	EXPECT_EQ(LEN, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = self->seen, .len = LEN }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
	EXPECT_EQ(-1, first_difference(self->data, self->map, HUGE));
}

/*
 * With nothing in the way, the pages become a huge one.  The task that ends a
 * request holds a reference to its pages for a moment longer, which makes the
 * collapse fail with EAGAIN: the server replies to the fence after the write(2)
 * of each earlier reply has returned.
 */
static void check_collapse(struct __test_metadata *_metadata,
			   struct _test_data_collapse *self)
{
	check_bytes(_metadata, self);
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(0, collapse(self)) {
		TH_LOG("MADV_COLLAPSE: %s", strerror(errno));
	}
	check_bytes(_metadata, self);
}

/*
 * Store a byte through a mapping that is gone afterwards, with its descriptor.
 */
static void store(struct __test_metadata *_metadata,
		  struct _test_data_collapse *self, off_t off)
{
	int fd = mnt_open(&self->m, "file", O_RDWR);
	char *map;

	ASSERT_LE(0, fd);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, off);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, mnt_run(&self->m, &call_close, (struct call_arg){
		.fd = fd }));
	self->data[off] ^= 1;
	map[0] = self->data[off];
	ASSERT_EQ(0, mnt_run(&self->m, &call_munmap, (struct call_arg){
		.buf = map, .len = PAGE }));
}

/*
 * A page of the file is under writeback, inside or outside of the range to be
 * collapsed.
 */
static void check_write(struct __test_metadata *_metadata,
			struct _test_data_collapse *self, off_t off)
{
	long ret;

	ASSERT_EQ(LEN, pread(self->fd, self->seen, LEN, 0));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	store(_metadata, self, off);
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	ret = collapse(self);
	EXPECT_TRUE(!ret || errno == EAGAIN) {
		TH_LOG("MADV_COLLAPSE: %s", strerror(errno));
	}
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));

	/* The control: only the held WRITE was in the way. */
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(0, await_pages_in_writeback(0));
	check_collapse(_metadata, self);
}

TEST_F(collapse, write_elsewhere_in_the_file_is_not_waited_for)
{
	check_write(_metadata, self, HUGE + PAGE);
}

TEST_F(collapse, write_of_the_range_is_not_waited_for)
{
	check_write(_metadata, self, 7 * PAGE);
}

TEST_F(collapse, collapse_that_waits_for_a_read_can_be_killed)
{
	pid_t pid;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	pid = child_start(CLONE_FILES, &call_collapse, (struct call_arg){
		.buf = self->map });
	ASSERT_LT(0, pid);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
	EXPECT_TRUE(child_stays_blocked(&self->m, pid, &call_collapse));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&self->m, pid));
	EXPECT_EQ(0, count_req(&self->m, FUSE_READ, REQ_REPLIED));

	ASSERT_LE(1, server_release(self->m.ctl, 0));
	check_collapse(_metadata, self);
}

/* How many full scans khugepaged has done. */
static long scans(void)
{
	char text[32];

	return read_line(SCANS, text, sizeof(text)) ? -1 : atol(text);
}

TEST_F(collapse, khugepaged_goes_on_while_a_read_is_held)
{
	__u64 deadline;
	long before;

	/* khugepaged needs one page to start with. */
	ASSERT_EQ(0, posix_fadvise(self->fd, 0, 0, POSIX_FADV_RANDOM));
	ASSERT_EQ(PAGE, pread(self->fd, self->seen, PAGE, 0));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	ASSERT_EQ(0, write_file(PAUSE, "1"));
	ASSERT_EQ(0, write_file(ENABLED, "madvise"));
	ASSERT_EQ(0, madvise(self->map, HUGE, MADV_HUGEPAGE));
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 2));
	EXPECT_EQ(1, count_req(&self->m, FUSE_READ, REQ_REPLIED));

	/* A scan is in progress and may finish nevertheless. */
	before = scans();
	for (deadline = wait_deadline(); scans() < before + 2; sched_yield())
		if (now_usec() > deadline)
			break;
	EXPECT_LE(before + 2, scans()) {
		TH_LOG("khugepaged waits for the reply to READ");
	}
	EXPECT_EQ(1, count_req(&self->m, FUSE_READ, REQ_REPLIED));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	check_bytes(_metadata, self);
}

TEST_HARNESS_MAIN
