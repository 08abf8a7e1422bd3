// SPDX-License-Identifier: GPL-2.0
/*
 * Migration of pages under writeback to a server that holds its replies.
 *
 * Migration is system-wide, and a folio under writeback cannot be moved.  A
 * broken kernel waits for the server, or retries forever; a sound one leaves
 * the folio where it is and reports that.  Linux 6.12 moves it, as it sends a
 * copy of it.
 *
 * Promise: migration
 */

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "common.h"
#include "memory_block.h"

#define FILE_NAME	"file"
#define MAX_WRITE	(128 << 10)
#define LEN		(8 * MAX_WRITE)

/*
 * Room for the sysfs directory of a memory block, and for the name of a file in
 * it.
 */
#define BLOCK_DIR	64
#define BLOCK_STATE	(BLOCK_DIR + 16)

/*
 * Dirty page cache in a block that can be offlined, and that is not the last.
 */
static void write_movable(struct __test_metadata *_metadata, int fd,
			  const char *data)
{
	use_movable_node(true);
	ASSERT_EQ(0, cache_in_block(fd, LEN, NULL));
	ASSERT_EQ(LEN, write(fd, data, LEN));
	use_movable_node(false);
}

/*
 * For FIXTURE_SETUP(): @data of LEN bytes, and @fd, as long, to write them to.
 */
static void make_file(struct __test_metadata *_metadata, struct mnt *m,
		      char **data, int *fd)
{
	*data = malloc(LEN);
	ASSERT_NE(NULL, *data);
	fill_pattern(*data, LEN, 1);
	ASSERT_EQ(0, server_put(m->ctl, FILE_NAME, LEN - 1, "", 1));
	*fd = mnt_open(m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, *fd);
}

/*
 *   "file": LEN bytes under writeback
 *        |
 *        +---- WRITEs ----> server, held
 *
 *   a thread: offline -- must return all the same
 */
FIXTURE(held)
{
	struct mnt m;
	int fd;
	char *data;
};

FIXTURE_SETUP(held)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	const struct server_opts opts = {
		.writeback_cache = true,
		.max_write = MAX_WRITE,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	make_file(_metadata, &self->m, &self->data, &self->fd);

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	write_movable(_metadata, self->fd, self->data);
	ASSERT_EQ(0, mnt_run(&self->m, &call_sync_file_range, (struct call_arg){
		.fd = self->fd, .flags = SYNC_FILE_RANGE_WRITE }));
	ASSERT_EQ(0, reqlog_wait_bytes(self->m.log, &writes, REQ_ARRIVED, LEN));
}

FIXTURE_TEARDOWN(held)
{
	mnt_teardown(_metadata, &self->m);
}

/*
 * The PFN of the first page of a file, 0 if unknown.  The page stays mapped:
 * like close(2), munmap(2) would wait for the WRITEs.
 */
static __u64 first_pfn(int fd)
{
	void *p = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ,
		       MAP_SHARED | MAP_POPULATE, fd, 0);

	return p == MAP_FAILED ? 0 : pfn_of(p);
}

/*
 * The block of the first page of a file, which can be offlined, and its file
 * "state".  Return: false if the test is skipped.
 */
static bool find_block(struct __test_metadata *_metadata, int fd, __u64 *pfn,
		       char *dir, char *state)
{
	if (access(MEMORY, F_OK))
		SKIP(return false, "needs CONFIG_MEMORY_HOTREMOVE");
	*pfn = first_pfn(fd);
	EXPECT_NE(0, (long)*pfn);
	EXPECT_EQ(0, block_of(*pfn, dir, BLOCK_DIR));
	if (!block_is_movable(dir))
		SKIP(return false, "needs page cache in a movable zone: boot with kernelcore=");
	snprintf(state, BLOCK_STATE, "%s/state", dir);
	return true;
}

/* The node of the page at an address, or a negative errno. */
static int node_of(void *addr)
{
	int status = -ENOENT;

	if (syscall(SYS_move_pages, 0, 1UL, &addr, NULL, &status, 0))
		return -errno;
	return status;
}

/* The pages for move_pages(2), and the target nodes. */
struct move {
	void *addr[2];
	int node[2];
};

static long do_move_pages(const struct call_arg *arg)
{
	struct move *move = arg->buf;
	int status[2];

	return syscall(SYS_move_pages, 0, 2UL, move->addr, move->node, status,
		       MPOL_MF_MOVE);
}

static const struct call_op call_move_pages = {
	"move_pages", SYS_move_pages, do_move_pages
};

static long do_mbind(const struct call_arg *arg)
{
	const struct move *move = arg->buf;
	unsigned long nodes = 1UL << move->node[0];
	long page = sysconf(_SC_PAGESIZE);
	int i;

	for (i = 0; i < 2; i++)
		if (syscall(SYS_mbind, move->addr[i], page, MPOL_BIND, &nodes,
			    64UL, MPOL_MF_MOVE))
			return -1;
	return 0;
}

static const struct call_op call_mbind = { "mbind", SYS_mbind, do_mbind };

/*
 * Move two pages to another node, one under writeback and one anonymous.  A
 * broken kernel waits for the server.
 */
static void check_move(struct __test_metadata *_metadata,
		       struct _test_data_held *self, const struct call_op *op)
{
	long page = sysconf(_SC_PAGESIZE);
	struct move move;
	int from;

	move.addr[0] = mmap(NULL, page, PROT_READ, MAP_SHARED | MAP_POPULATE,
			    self->fd, 0);
	move.addr[1] = mmap(NULL, page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, move.addr[0]);
	ASSERT_NE(MAP_FAILED, move.addr[1]);
	from = node_of(move.addr[0]);
	if (from < 0)
		SKIP(return, "needs move_pages(2), of CONFIG_NUMA");
	if (!there_is("/sys/devices/system/node", "node1"))
		SKIP(return, "needs two memory nodes: boot with numa=fake=2");
	move.node[0] = !from;
	move.node[1] = !from;

	/*
	 * The number of pages that could not be moved, returned by
	 * move_pages(2).
	 */
	EXPECT_LE(0, mnt_run(&self->m, op, (struct call_arg){
		.buf = &move })) {
		TH_LOG("%s: %s", op->name, strerror(errno));
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	EXPECT_EQ(!from, node_of(move.addr[1])) {
		TH_LOG("the other page was not moved, either");
	}
	/* Not on a kernel that has sent copies. */
	if (vm_counter("/proc/vmstat", "nr_writeback") > 0)
		EXPECT_EQ(from, node_of(move.addr[0]));

	/* The control: only the held WRITEs prevented the move. */
	ASSERT_EQ(LEN / MAX_WRITE, server_release(self->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&self->m, op, (struct call_arg){ .buf = &move }));
	EXPECT_EQ(!from, node_of(move.addr[0]));
}

TEST_F(held, move_pages_leaves_page_under_writeback)
{
	check_move(_metadata, self, &call_move_pages);
}

TEST_F(held, mbind_leaves_page_under_writeback)
{
	check_move(_metadata, self, &call_mbind);
}

/*
 * A broken kernel retries forever to empty the block.  A sound one gives up, or
 * has moved the page; and once the server has replied, the block can be
 * offlined.
 *
 * Promise: offlining
 */
TEST_F(held, offlining_ends_while_write_is_held)
{
	char dir[BLOCK_DIR], state[BLOCK_STATE];
	__u64 pfn;
	long ret;

	if (!find_block(_metadata, self->fd, &pfn, dir, state))
		return;
	ret = mnt_tell(&self->m, state, "offline");
	if (ret < 0) {
		EXPECT_EQ(EBUSY, errno) {
			TH_LOG("offlining %s: %s", dir, strerror(errno));
		}
		EXPECT_TRUE(file_says(dir, "state", "online"));
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));

	/* The control: only the held WRITEs prevented it. */
	ASSERT_EQ(LEN / MAX_WRITE, server_release(self->m.ctl, 0));
	if (ret < 0) {
		EXPECT_EQ(7, mnt_tell(&self->m, state, "offline")) {
			TH_LOG("offlining %s after the replies: %s", dir,
			       strerror(errno));
		}
	}
	EXPECT_TRUE(file_says(dir, "state", "offline"));
	EXPECT_EQ(14, mnt_tell(&self->m, state, "online_movable"));
}

/* "file": LEN bytes dirty, writeback not started */
FIXTURE(dirty)
{
	struct mnt m;
	int fd;
	char *data;
};

FIXTURE_SETUP(dirty)
{
	const struct server_opts opts = { .writeback_cache = true };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	make_file(_metadata, &self->m, &self->data, &self->fd);
	write_movable(_metadata, self->fd, self->data);
}

FIXTURE_TEARDOWN(dirty)
{
	mnt_teardown(_metadata, &self->m);
}

/* A dirty page is moved as it is, without being written. */
static void check_moved(struct __test_metadata *_metadata, struct mnt *m, int fd,
			bool moved, const char *data)
{
	char seen[CTL_DATA_MAX];

	EXPECT_TRUE(moved) {
		TH_LOG("every page is where it was");
	}
	EXPECT_EQ(0, count_req(m, FUSE_WRITE, REQ_ARRIVED));
	EXPECT_LE(LEN / 1024, vm_counter("/proc/meminfo", "Dirty:"));
	ASSERT_EQ(0, mnt_run(m, &call_fsync, (struct call_arg){ .fd = fd }));
	ASSERT_EQ(0, await_pages_in_writeback(0));
	ASSERT_EQ(0, server_get(m->ctl, FILE_NAME, 0, seen, sizeof(seen)));
	EXPECT_EQ(-1, first_difference(data, seen, sizeof(seen)));
}

/* Promise: writepage-migrate */
TEST_F(dirty, offlining_moves_dirty_page)
{
	char dir[BLOCK_DIR], state[BLOCK_STATE];
	__u64 pfn;

	if (!find_block(_metadata, self->fd, &pfn, dir, state))
		return;
	EXPECT_EQ(7, mnt_tell(&self->m, state, "offline")) {
		TH_LOG("offlining %s: %s", dir, strerror(errno));
	}
	EXPECT_TRUE(file_says(dir, "state", "offline"));
	check_moved(_metadata, &self->m, self->fd, first_pfn(self->fd) != pfn,
		    self->data);
	EXPECT_EQ(14, mnt_tell(&self->m, state, "online_movable"));
}

TEST_HARNESS_MAIN
