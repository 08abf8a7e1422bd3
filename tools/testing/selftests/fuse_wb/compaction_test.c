// SPDX-License-Identifier: GPL-2.0
/*
 * Compaction of memory that has pages of a file whose server holds its replies.
 *
 * Compaction needs no page in particular.  A broken kernel waits for the
 * server: for the reply to WRITE, or for the lock of a page until the reply to
 * READ.  An unprivileged server could thus block root.  A correct kernel skips
 * the page.  Linux 6.12 moves pages under writeback, as it sends temporary
 * copies, but waits for the lock.
 *
 * Promise: migration
 */

#include <sys/mman.h>

#include "common.h"
#include "memory_block.h"

#define FILE_NAME	"file"
#define MAX_WRITE	(128 << 10)
#define LEN		(8 * MAX_WRITE)
#define MAX_BLOCKS	64
#define SPREAD		(192 << 20)

/*
 * Compaction moves pages from the low end of a zone to free ones at the high
 * end, until both scanners meet.  To make sure that it reaches the file's
 * pages, these are allocated in the lowest block of the zone while all others
 * are offline.  Compaction moves nothing into completely free pageblocks, and
 * most of a guest's are, so some pages have to be allocated here and there; and
 * the free pages must not be on per-CPU lists, which take an eighth of the
 * zone.
 *
 *	a movable zone:          | lowest block | offline, then online again |
 *	                              file          x   x   x   x   x   x
 *	                               '----- compaction ---^---^---^
 */
FIXTURE(low)
{
	struct mnt m;
	char lowest[64];
	char block[MAX_BLOCKS][64];
	int blocks;
	char interval[16];
	char fraction[16];
	int fd;
	char *data;
};

#define COMPACT			"/proc/sys/vm/compact_memory"
#define FLUSHER_INTERVAL	"/proc/sys/vm/dirty_writeback_centisecs"
#define LISTS_FRACTION		"/proc/sys/vm/percpu_pagelist_high_fraction"

/* Bring back the offline blocks.  Return: how many could not be. */
static int online_all(struct _test_data_low *self)
{
	char path[80];
	int i, left = 0;

	for (i = 0; i < self->blocks; i++) {
		snprintf(path, sizeof(path), "%s/state", self->block[i]);
		if (file_says(self->block[i], "state", "offline") &&
		    write_file(path, "online_movable"))
			left++;
	}
	return left;
}

/* Note the blocks of a movable zone, except the lowest. */
static void find_blocks(struct _test_data_low *self)
{
	int node = -1, i;
	char dir[64];

	for (i = 0; i < MAX_BLOCK_NR && self->blocks < MAX_BLOCKS; i++) {
		snprintf(dir, sizeof(dir), MEMORY "/memory%d", i);
		if (!block_is_movable(dir))
			continue;
		if (node < 0) {
			node = block_node(dir);
			snprintf(self->lowest, sizeof(dir), "%s", dir);
		} else if (node == block_node(dir)) {
			snprintf(self->block[self->blocks++], sizeof(dir), "%s",
				 dir);
		}
	}
}

FIXTURE_SETUP(low)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.max_write = MAX_WRITE,
	};
	char path[80];
	int i;

	if (access(COMPACT, F_OK))
		SKIP(return, "needs CONFIG_COMPACTION");
	find_blocks(self);
	if (!self->blocks)
		SKIP(return, "needs several blocks of movable memory: boot with kernelcore=");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->data = malloc(LEN);
	ASSERT_NE(NULL, self->data);
	fill_pattern(self->data, LEN, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, LEN - 1, "", 1));
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);

	for (i = 0; i < self->blocks; i++) {
		snprintf(path, sizeof(path), "%s/state", self->block[i]);
		/*
		 * A block with a page that was reserved at boot cannot be
		 * offlined.
		 */
		write_file(path, "offline");
	}
	use_movable_node(true);
	i = cache_in_block(self->fd, LEN, self->lowest);
	/* No teardown runs when this fails, and other tests need the blocks. */
	if (i)
		online_all(self);
	ASSERT_EQ(0, i);
	ASSERT_EQ(0, read_line(FLUSHER_INTERVAL, self->interval, 16));
	/*
	 * Otherwise the flusher may run on its own before the test starts it.
	 */
	ASSERT_EQ(0, write_file(FLUSHER_INTERVAL, "100000"));
	ASSERT_EQ(0, read_line(LISTS_FRACTION, self->fraction, 16));
}

/* The file's pages are in place: bring the other blocks back online. */
static void make_room(struct __test_metadata *_metadata,
		      struct _test_data_low *self)
{
	ASSERT_EQ(0, online_all(self));
	ASSERT_EQ(0, write_file(LISTS_FRACTION, "1000000"));
	/* More than fits into the lowest block. */
	ASSERT_NE(NULL, spread_pages(SPREAD));
	use_movable_node(false);
}

/* Make the pages dirty; the server will hold the WRITEs. */
static void make_dirty(struct __test_metadata *_metadata,
		       struct _test_data_low *self)
{
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(LEN, write(self->fd, self->data, LEN));
	make_room(_metadata, self);
}

FIXTURE_TEARDOWN(low)
{
	EXPECT_EQ(0, write_file(FLUSHER_INTERVAL, self->interval));
	EXPECT_EQ(0, write_file(LISTS_FRACTION, self->fraction));
	EXPECT_EQ(0, online_all(self));
	mnt_teardown(_metadata, &self->m);
}

/*
 * Map LEN bytes of a file and note the PFNs.  The mapping stays: like close(2),
 * munmap(2) would wait for the WRITEs.
 */
static char *map_pages(struct __test_metadata *_metadata, int fd, __u64 *pfn)
{
	char *map = mmap(NULL, LEN, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	long page = sysconf(_SC_PAGESIZE), i;

	EXPECT_NE(MAP_FAILED, map);
	for (i = 0; map != MAP_FAILED && i < LEN / page; i++)
		pfn[i] = pfn_of(map + i * page);
	return map;
}

/* How many of them have moved. */
static int count_moved(char *map, const __u64 *pfn)
{
	long page = sysconf(_SC_PAGESIZE), i;
	int moved = 0;

	for (i = 0; i < LEN / page; i++)
		moved += pfn[i] != pfn_of(map + i * page);
	return moved;
}

TEST_F(low, compaction_ends_while_write_is_held)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	char path[] = COMPACT, dir[64];
	long page = sysconf(_SC_PAGESIZE), before, refused;
	static __u64 pfn[LEN / 4096];
	int moved;
	char *map;

	make_dirty(_metadata, self);
	map = map_pages(_metadata, self->fd, pfn);
	ASSERT_EQ(0, block_of(pfn[0], dir, sizeof(dir)));
	ASSERT_STREQ(self->lowest, dir);
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_EQ(0, reqlog_wait_bytes(self->m.log, &writes, REQ_ARRIVED, LEN));

	before = vm_counter("/proc/vmstat", "pgmigrate_fail");
	ASSERT_EQ(1, mnt_tell(&self->m, path, "1")) {
		TH_LOG("compaction waits for the reply to WRITE");
	}
	refused = vm_counter("/proc/vmstat", "pgmigrate_fail") - before;
	moved = count_moved(map, pfn);
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	if (vm_counter("/proc/vmstat", "nr_writeback") > 0) {
		EXPECT_EQ(0, moved);
		/*
		 * The control: compaction reaches the pages, and fails to
		 * migrate them.
		 */
		EXPECT_LE(LEN / page, refused) {
			TH_LOG("compaction did not reach the pages: nothing was tested");
		}
		ASSERT_LE(1, server_release(self->m.ctl, 0));
	} else {
		EXPECT_LT(0, moved);
	}
}

/* Promise: writepage-migrate */
TEST_F(low, compaction_moves_dirty_page)
{
	static __u64 pfn[LEN / 4096];
	char path[] = COMPACT, seen[CTL_DATA_MAX], *map;
	struct mnt *m = &self->m;

	make_dirty(_metadata, self);
	map = map_pages(_metadata, self->fd, pfn);
	ASSERT_EQ(0, server_drop_rules(m->ctl));
	ASSERT_EQ(1, mnt_tell(m, path, "1"));
	EXPECT_LT(0, count_moved(map, pfn));
	EXPECT_EQ(0, count_req(m, FUSE_WRITE, REQ_ARRIVED));
	EXPECT_LE(LEN / 1024, vm_counter("/proc/meminfo", "Dirty:"));
	ASSERT_EQ(0, mnt_run(m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	ASSERT_EQ(0, server_get(m->ctl, FILE_NAME, 0, seen, sizeof(seen)));
	EXPECT_EQ(-1, first_difference(self->data, seen, sizeof(seen)));
}

/* The pages that are being read are locked meanwhile. */
TEST_F(low, compaction_ends_while_read_is_held)
{
	const struct req_match reads = { .opcode = FUSE_READ };
	long page = sysconf(_SC_PAGESIZE), before, refused, bytes;
	char path[] = COMPACT;
	static char buf[LEN];
	struct call *c;
	int replied;

	/* The cache was filled before. */
	replied = count_req(&self->m, FUSE_READ, REQ_REPLIED);
	bytes = reqlog_bytes(self->m.log, &reads, REQ_ARRIVED);
	ASSERT_EQ(0, posix_fadvise(self->fd, 0, 0, POSIX_FADV_DONTNEED));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	c = mnt_call(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = buf, .len = LEN });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, replied + 1));
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	bytes = reqlog_bytes(self->m.log, &reads, REQ_ARRIVED) - bytes;
	make_room(_metadata, self);

	before = vm_counter("/proc/vmstat", "pgmigrate_fail");
	ASSERT_EQ(1, mnt_tell(&self->m, path, "1")) {
		TH_LOG("compaction waits for the reply to READ");
	}
	refused = vm_counter("/proc/vmstat", "pgmigrate_fail") - before;
	EXPECT_EQ(replied, count_req(&self->m, FUSE_READ, REQ_REPLIED));
	/*
	 * The control: compaction reaches the pages, and fails to migrate them.
	 */
	EXPECT_LE(bytes / page, refused) {
		TH_LOG("compaction did not reach the pages: nothing was tested");
	}
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(LEN, c->ret);
}

TEST_HARNESS_MAIN
