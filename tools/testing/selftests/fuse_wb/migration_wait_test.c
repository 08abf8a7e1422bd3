// SPDX-License-Identifier: GPL-2.0
/*
 * Migration of pages under writeback to a server that replies soon.
 *
 * A caller that needs a certain page elsewhere, and only such a caller, waits for
 * the page's server: up to a second in total, however many pages there are.  A
 * broken kernel gives up on each page that it meets under writeback, so that a
 * healthy server that needs a moment for a WRITE keeps pages from being pinned; or
 * it waits that long for each page.  Linux 6.12 moves them, as it sends copies.
 *
 * Promise: migration-wait
 */

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/mempolicy.h>

#include "common.h"
#include "memory_block.h"

#define FILE_NAME	"file"
#define PAGES		64
#define GUP_TEST	"/sys/kernel/debug/gup_test"

/* How long the server takes for a WRITE, in microseconds. */
#define WRITE_USEC	200000

/* From mm/gup_test.h, which is not a UAPI header. */
struct gup_test {
	__u64 get_delta_usec;
	__u64 put_delta_usec;
	__u64 addr;
	__u64 size;
	__u32 nr_pages_per_call;
	__u32 gup_flags;
	__u32 test_flags;
	__u32 which_pages[8];
};

#define PIN_LONGTERM_BENCHMARK	_IOWR('g', 3, struct gup_test)

/*
 *   "file": PAGES pages in a movable zone, mapped
 *        |
 *        +---- one WRITE ----> server
 */
FIXTURE(wb)
{
	struct mnt m;
	int fd;
	size_t len;
	char *data;
	char *map;
	void *addr[PAGES];
	int node[PAGES];
};

FIXTURE_SETUP(wb)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.threads = 2,
	};
	long page = sysconf(_SC_PAGESIZE);
	int i;

	if (movable_node() < 0)
		SKIP(return, "needs page cache in a movable zone: boot with kernelcore=");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->len = PAGES * page;
	self->data = malloc(self->len);
	ASSERT_NE(NULL, self->data);
	fill_pattern(self->data, self->len, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, self->len - 1, "", 1));
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);

	use_movable_node(true);
	ASSERT_EQ(0, cache_in_block(self->fd, self->len, NULL));
	ASSERT_EQ(self->len, (size_t)write(self->fd, self->data, self->len));
	use_movable_node(false);
	self->map = mmap(NULL, self->len, PROT_READ, MAP_SHARED | MAP_POPULATE,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	for (i = 0; i < PAGES; i++)
		self->addr[i] = self->map + i * page;
}

FIXTURE_TEARDOWN(wb)
{
	mnt_teardown(_metadata, &self->m);
}

/* Start writeback; the server gets the WRITE, and does not reply at once. */
static void send_pages(struct __test_metadata *_metadata,
		       struct _test_data_wb *self)
{
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
}

/* The server delays each WRITE from now on. */
static int slow_down(struct mnt *m)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };

	return server_rule(m->ctl, &writes, RULE_DELAY, WRITE_USEC);
}

/* How many pages are on a node other than this one. */
static int count_elsewhere(struct _test_data_wb *self, int node)
{
	int status[PAGES], i, count = 0;

	if (syscall(SYS_move_pages, 0, (unsigned long)PAGES, self->addr, NULL,
		    status, 0))
		return -1;
	for (i = 0; i < PAGES; i++)
		count += status[i] != node;
	return count;
}

/* Request migration of all pages to the nodes at @buf. */
static long do_move_pages(const struct call_arg *arg)
{
	struct _test_data_wb *self = arg->buf;
	int status[PAGES];

	return syscall(SYS_move_pages, 0, (unsigned long)PAGES, self->addr,
		       self->node, status, MPOL_MF_MOVE);
}

static const struct call_op call_move_pages = {
	"move_pages", SYS_move_pages, do_move_pages
};

/* The node that the pages are on, after choosing the other one; -1: skipped. */
static int choose_node(struct __test_metadata *_metadata,
		       struct _test_data_wb *self)
{
	int from = movable_node(), i;

	if (!there_is("/sys/devices/system/node", "node1"))
		SKIP(return -1, "needs two memory nodes: boot with numa=fake=2");
	EXPECT_EQ(0, count_elsewhere(self, from));
	for (i = 0; i < PAGES; i++)
		self->node[i] = !from;
	return from;
}

TEST_F(wb, move_pages_waits_for_slow_write)
{
	int from = choose_node(_metadata, self);

	if (from < 0)
		return;
	ASSERT_EQ(0, slow_down(&self->m));
	send_pages(_metadata, self);
	EXPECT_EQ(0, mnt_run(&self->m, &call_move_pages, (struct call_arg){
		.buf = self }));
	EXPECT_EQ(PAGES, count_elsewhere(self, from));
	EXPECT_EQ(-1, first_difference(self->data, self->map, self->len));
}

/* A second for each page would take a minute. */
TEST_F(wb, move_pages_waits_for_stuck_write_once)
{
	int from = choose_node(_metadata, self);

	if (from < 0)
		return;
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	send_pages(_metadata, self);
	EXPECT_LE(0, mnt_run(&self->m, &call_move_pages, (struct call_arg){
		.buf = self })) {
		TH_LOG("move_pages: %s", strerror(errno));
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));

	/* The control: only the held WRITE prevented it. */
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_move_pages, (struct call_arg){
		.buf = self }));
	EXPECT_EQ(PAGES, count_elsewhere(self, from));
}

static long do_pin(const struct call_arg *arg)
{
	return ioctl(arg->fd, PIN_LONGTERM_BENCHMARK, arg->buf);
}

static const struct call_op call_pin = { "pin", SYS_ioctl, do_pin };

/*
 * Pin all pages with FOLL_LONGTERM, and unpin them.  Return: how many were
 * pinned.
 */
static long pin_longterm(struct _test_data_wb *self)
{
	struct gup_test gup = {
		.addr = (__u64)self->map,
		.size = self->len,
		.nr_pages_per_call = PAGES,
	};
	int fd = open(GUP_TEST, O_RDWR | O_CLOEXEC);
	long ret;

	ret = mnt_run(&self->m, &call_pin, (struct call_arg){
		.fd = fd, .buf = &gup });
	close(fd);
	return ret ? ret : (long)gup.size / sysconf(_SC_PAGESIZE);
}

/*
 * How many pages are in a movable zone, where long-term pins are not allowed.
 */
static int count_movable(struct _test_data_wb *self)
{
	char dir[64];
	int i, count = 0;

	for (i = 0; i < PAGES; i++)
		if (block_of(pfn_of(self->addr[i]), dir, sizeof(dir)) ||
		    block_is_movable(dir))
			count++;
	return count;
}

TEST_F(wb, long_term_pin_waits_for_slow_write)
{
	if (access(GUP_TEST, F_OK))
		SKIP(return, "needs CONFIG_GUP_TEST, and debugfs at /sys/kernel/debug");
	EXPECT_EQ(PAGES, count_movable(self));
	ASSERT_EQ(0, slow_down(&self->m));
	send_pages(_metadata, self);
	EXPECT_EQ(PAGES, pin_longterm(self));
	EXPECT_EQ(0, count_movable(self));
	EXPECT_EQ(-1, first_difference(self->data, self->map, self->len));
}

/* A page that cannot be moved is not pinned in place. */
TEST_F(wb, long_term_pin_gives_up_on_stuck_write)
{
	if (access(GUP_TEST, F_OK))
		SKIP(return, "needs CONFIG_GUP_TEST, and debugfs at /sys/kernel/debug");
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	send_pages(_metadata, self);
	if (vm_counter("/proc/vmstat", "nr_writeback") > 0) {
		EXPECT_EQ(0, pin_longterm(self));
		EXPECT_EQ(PAGES, count_movable(self));
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));

	/* The control: only the held WRITE prevented it. */
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(PAGES, pin_longterm(self));
	EXPECT_EQ(0, count_movable(self));
}

TEST_HARNESS_MAIN
