// SPDX-License-Identifier: GPL-2.0
/* Memory blocks that can be taken offline, see memory_block.h. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/mempolicy.h>

#include "call.h"
#include "memory_block.h"
#include "mnt.h"
#include "proc.h"
#include "wait.h"

/* A bit of /proc/kpageflags; <linux/kernel-page-flags.h> does not export it. */
#define KPF_RESERVED	32

/* Number of pages per read of /proc/kpageflags. */
#define FLAGS		512

/*
 * Compaction takes free memory from pageblocks in which a page is used.  When
 * some of them had none, it looks only at every 32nd page frame, and finds a
 * free run by its first page (isolate_freepages() in mm/compaction.c).  So one
 * in this many pages stays allocated: some in each pageblock, and between them
 * is an aligned run of 64 wherever it begins.
 */
#define SPREAD_STEP	128

__u64 pfn_of(void *addr)
{
	long page = sysconf(_SC_PAGESIZE);
	__u64 entry = 0;
	int map;

	map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (map < 0)
		return 0;
	if (pread(map, &entry, sizeof(entry), (__u64)addr / page * 8) != 8)
		entry = 0;
	close(map);
	return entry & ((1ULL << 55) - 1);
}

/* Pages in a block, 0 if unknown. */
static __u64 block_pages(void)
{
	unsigned long long bytes = 0;
	FILE *f = fopen(MEMORY "/block_size_bytes", "r");

	if (!f)
		return 0;
	if (fscanf(f, "%llx", &bytes) != 1)
		bytes = 0;
	fclose(f);
	return bytes / sysconf(_SC_PAGESIZE);
}

int block_of(__u64 pfn, char *dir, size_t size)
{
	__u64 pages = block_pages();

	if (!pages)
		return -1;
	snprintf(dir, size, MEMORY "/memory%llu", pfn / pages);
	return 0;
}

bool file_says(const char *dir, const char *name, const char *word)
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

bool there_is(const char *dir, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return !access(path, F_OK);
}

int block_node(const char *dir)
{
	char node[16];
	int i;

	for (i = 0; i < 64; i++) {
		snprintf(node, sizeof(node), "node%d", i);
		if (there_is(dir, node))
			return i;
	}
	return 0;
}

bool block_is_movable(const char *dir)
{
	return file_says(dir, "valid_zones", "Movable");
}

int movable_node(void)
{
	char dir[64];
	int i;

	for (i = 0; i < MAX_BLOCK_NR; i++) {
		snprintf(dir, sizeof(dir), MEMORY "/memory%d", i);
		if (block_is_movable(dir))
			return block_node(dir);
	}
	return -1;
}

void use_movable_node(bool on)
{
	int node = on ? movable_node() : -1;
	unsigned long nodes = node < 0 ? 0 : 1UL << node;

	if (!on)
		syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0UL);
	else if (node >= 0)
		syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, 64UL);
}

/* Does the block of a page contain reserved pages? */
static bool has_reserved(__u64 pfn)
{
	__u64 pages = block_pages(), flags[FLAGS], i = pfn / pages * pages, n;
	__u64 end = i + pages;
	bool found = false;
	int fd;

	fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	for (; !found && i < end; i += FLAGS) {
		if (pread(fd, flags, sizeof(flags), i * sizeof(*flags)) !=
		    sizeof(flags))
			break;
		for (n = 0; n < FLAGS; n++)
			found |= flags[n] >> KPF_RESERVED & 1;
	}
	close(fd);
	return found;
}

/*
 * Is a page in @block; or, if that is NULL, in a block without reserved pages?
 */
static bool fits(__u64 pfn, const char *block)
{
	static char last[64];
	static bool reserved;
	char dir[64];

	if (!pfn || block_of(pfn, dir, sizeof(dir)))
		return false;
	if (block)
		return !strcmp(dir, block);
	if (strcmp(dir, last))
		reserved = has_reserved(pfn);
	snprintf(last, sizeof(last), "%s", dir);
	return !reserved;
}

static bool all_fit(char *p, size_t len, const char *block)
{
	size_t page = sysconf(_SC_PAGESIZE), off;

	for (off = 0; off < len; off += page)
		if (!fits(pfn_of(p + off), block))
			return false;
	return true;
}

/* For debugging: shows why there was no room. */
static void tell_room(const char *block)
{
	char path[80], line[128];
	int i, online = 0;
	FILE *f;

	for (i = 0; i < MAX_BLOCK_NR; i++) {
		snprintf(path, sizeof(path), MEMORY "/memory%d", i);
		online += block_is_movable(path) &&
			  file_says(path, "state", "online");
	}
	fprintf(stderr, "# %d movable blocks are online\n", online);
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo",
		 block ? block_node(block) : 0);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		fprintf(stderr, "# %s", line);
	if (f)
		fclose(f);
}

/*
 * Use up memory until the next pages are from @block.  Stay on one processor,
 * as each keeps free pages of its own.
 */
static int use_up(const char *block)
{
	size_t step = 2 << 20;
	char *p;
	int i;

	run_on_cpu(0);
	for (i = 0; i < 256; i++) {
		p = mmap(NULL, step, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (p == MAP_FAILED)
			return -1;
		if (all_fit(p, step, block))
			return munmap(p, step);
	}
	return -1;
}

int cache_in_block(int fd, size_t len, const char *block)
{
	__u64 deadline = wait_deadline();
	bool fit = movable_node() < 0;
	char *p;

	/*
	 * Another task that frees a page meanwhile may have that page used
	 * instead.
	 */
	while (!fit && now_usec() < deadline) {
		if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) || use_up(block))
			break;
		p = mmap(NULL, len, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
		if (p == MAP_FAILED)
			break;
		fit = all_fit(p, len, block);
		munmap(p, len);
	}
	if (!fit) {
		fprintf(stderr, "# timed out waiting for all pages of a file in %s\n",
			block ? block : "a block that can be taken offline");
		tell_room(block);
	}
	return fit ? 0 : -1;
}

char *spread_pages(size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE), off;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	for (off = 0; off < size; off += SPREAD_STEP * page)
		if (madvise(p + off + page, (SPREAD_STEP - 1) * page,
			    MADV_DONTNEED))
			return NULL;
	return p;
}

struct call *block_offline(struct mnt *m, const char *state)
{
	int fd = open(state, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? NULL : mnt_call(m, &call_write, (struct call_arg){
		.fd = fd, .buf = "offline", .len = 7 });
}

int block_await_offline(struct call *c)
{
	if (!c || call_wait_returned(c) != CALL_RETURNED)
		return -ETIMEDOUT;
	close(c->arg.fd);
	return -c->err;
}
