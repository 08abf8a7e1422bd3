// SPDX-License-Identifier: GPL-2.0
/*
 * Moving pages that are under writeback to a server that holds its answers.
 *
 * Migration serves the whole system, and a folio under writeback cannot be
 * moved.  A broken kernel waits for the server, or tries again and again; a
 * sound one leaves the folio where it is and says so.  Linux 6.12 moves it, for
 * it has sent a copy of it.
 */

#include <sys/mman.h>

#include "common.h"

#define FILE_NAME	"file"
#define MAX_WRITE	(128 << 10)
#define LEN		(8 * MAX_WRITE)
#define MEMORY		"/sys/devices/system/memory"

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
	self->data = malloc(LEN);
	ASSERT_NE(NULL, self->data);
	fill_pattern(self->data, LEN, 1);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(LEN, write(self->fd, self->data, LEN));
	ASSERT_EQ(0, mnt_run(&self->m, &call_sync_file_range, (struct call_arg){
		.fd = self->fd, .flags = SYNC_FILE_RANGE_WRITE }));
	ASSERT_EQ(0, reqlog_wait_bytes(self->m.log, &writes, REQ_ARRIVED, LEN));
}

FIXTURE_TEARDOWN(held)
{
	mnt_teardown(_metadata, &self->m);
}

/* Write a word to a file of the kernel's, which may take its time. */
static long tell(struct mnt *m, const char *path, char *word)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return -1;
	ret = mnt_run(m, &call_write, (struct call_arg){
		.fd = fd, .buf = word, .len = strlen(word) });
	if (ret >= 0 || errno != ETIMEDOUT)
		close(fd);
	return ret;
}

/*
 * The page frame of the first page of a file, 0 when it cannot be told.  The
 * page stays mapped: like close(2), munmap(2) would wait for the WRITEs.
 */
static __u64 first_pfn(int fd)
{
	long page = sysconf(_SC_PAGESIZE);
	__u64 entry = 0;
	void *p;
	int map;

	p = mmap(NULL, page, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (p == MAP_FAILED || map < 0)
		return 0;
	if (pread(map, &entry, sizeof(entry), (__u64)p / page * 8) != 8)
		entry = 0;
	close(map);
	return entry & ((1ULL << 55) - 1);
}

/* The folder in sysfs of the memory block that has a page frame. */
static int block_of(__u64 pfn, char *dir, size_t size)
{
	unsigned long long bytes;
	FILE *f = fopen(MEMORY "/block_size_bytes", "r");

	if (!f)
		return -1;
	if (fscanf(f, "%llx", &bytes) != 1)
		bytes = 0;
	fclose(f);
	if (!bytes)
		return -1;
	snprintf(dir, size, MEMORY "/memory%llu",
		 pfn * sysconf(_SC_PAGESIZE) / bytes);
	return 0;
}

/* Is the first word of a file this one? */
static bool file_says(const char *dir, const char *name, const char *word)
{
	char path[128], text[64] = "";
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (fscanf(f, "%63s", text) != 1)
		text[0] = '\0';
	fclose(f);
	return !strcmp(text, word);
}

/*
 * A broken kernel tries for ever to empty the block.  A sound one gives up, or
 * has moved the page; and when the server has answered, the block can go.
 */
TEST_F(held, offlining_ends_while_write_is_held)
{
	char dir[64], state[80];
	__u64 pfn;
	long ret;

	if (access(MEMORY, F_OK))
		SKIP(return, "needs CONFIG_MEMORY_HOTREMOVE");
	pfn = first_pfn(self->fd);
	ASSERT_NE(0, pfn);
	ASSERT_EQ(0, block_of(pfn, dir, sizeof(dir)));
	if (!file_says(dir, "valid_zones", "Movable"))
		SKIP(return, "needs page cache in a movable zone: boot with kernelcore=");
	snprintf(state, sizeof(state), "%s/state", dir);

	ret = tell(&self->m, state, "offline");
	if (ret < 0) {
		EXPECT_EQ(EBUSY, errno) {
			TH_LOG("offlining %s: %s", dir, strerror(errno));
		}
		EXPECT_TRUE(file_says(dir, "state", "online"));
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));

	/* The control: nothing but the held WRITEs was in the way. */
	ASSERT_EQ(LEN / MAX_WRITE, server_release(self->m.ctl, 0));
	if (ret < 0) {
		EXPECT_EQ(7, tell(&self->m, state, "offline")) {
			TH_LOG("offlining %s after the answers: %s", dir,
			       strerror(errno));
		}
	}
	EXPECT_TRUE(file_says(dir, "state", "offline"));
	EXPECT_EQ(14, tell(&self->m, state, "online_movable"));
}

TEST_HARNESS_MAIN
