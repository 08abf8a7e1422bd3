// SPDX-License-Identifier: GPL-2.0
/*
 * Reclaim writes back no file, but no flusher writes anonymous memory and shmem:
 * reclaim still has to write these to swap itself.
 *
 * A broken kernel skips them like files, and invokes the OOM killer although
 * there is swap space; or the data read back differs.
 */

#include <sys/mman.h>

#include "common.h"
#include "memcg.h"
#include "pressure.h"
#include "swap.h"

#define MIB		(1024 * 1024UL)
/* Small: each page swapped in or out takes a fault, which is slow under UML. */
#define LIMIT		(4 * MIB)
#define SIZE		(2 * LIMIT)
#define FILE_NAME	"file"

/* Missing in many <sys/mman.h>. */
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

/*
 *   memory: SIZE bytes ---- reclaim ----> /dev/ram0
 *   "file": dirty, writeback not started
 */
FIXTURE(swap)
{
	struct mnt m;
	struct memcg cg;
	struct swap swap;
	struct trace trace;
	int fd;
};

/*
 * flags: of mmap(2), select the kind of memory; with a cgroup, the task that
 * allocates
 */
FIXTURE_VARIANT(swap)
{
	int flags;
	bool cgroup;
	bool legacy;
};

FIXTURE_VARIANT_ADD(swap, anon_pageout)
{
	.flags = MAP_PRIVATE | MAP_ANONYMOUS,
};

FIXTURE_VARIANT_ADD(swap, shmem_pageout)
{
	.flags = MAP_SHARED | MAP_ANONYMOUS,
};

FIXTURE_VARIANT_ADD(swap, v1_anon)
{
	.flags = MAP_PRIVATE | MAP_ANONYMOUS,
	.cgroup = true,
	.legacy = true,
};

FIXTURE_VARIANT_ADD(swap, v1_shmem)
{
	.flags = MAP_SHARED | MAP_ANONYMOUS,
	.cgroup = true,
	.legacy = true,
};

FIXTURE_VARIANT_ADD(swap, v2_anon)
{
	.flags = MAP_PRIVATE | MAP_ANONYMOUS,
	.cgroup = true,
};

FIXTURE_VARIANT_ADD(swap, v2_shmem)
{
	.flags = MAP_SHARED | MAP_ANONYMOUS,
	.cgroup = true,
};

FIXTURE_SETUP(swap)
{
	const struct server_opts opts = { .writeback_cache = true };

	self->m.seconds = PRESSURE_SECONDS;
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	if (mnt_lacks(_metadata, &self->m, writers_trace(&self->trace)))
		return;
	if ((variant->cgroup && !use_memcg(_metadata, &self->cg, &self->m,
					   variant->legacy, LIMIT)) ||
	    mnt_lacks(_metadata, &self->m, swap_start(&self->swap))) {
		trace_end(&self->trace);
		return;
	}
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(swap)
{
	EXPECT_EQ(0, swap_end(&self->swap));
	EXPECT_EQ(0, trace_end(&self->trace));
	mnt_teardown(_metadata, &self->m);
	if (variant->cgroup)
		remove_memcg(_metadata, &self->cg);
}

/* Fill memory, have it paged out unless that happens anyway, and check it. */
static int use_memory(void *arg)
{
	const struct _fixture_variant_swap *variant = arg;
	size_t page = sysconf(_SC_PAGESIZE), i;
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, variant->flags, -1, 0);

	if (p == MAP_FAILED)
		return 1;
	for (i = 0; i < SIZE / page; i++)
		memset(p + i * page, 1 + i % 251, page);
	if (!variant->cgroup && madvise(p, SIZE, MADV_PAGEOUT))
		return 2;
	for (i = 0; i < SIZE / page; i++)
		if (p[i * page] != (char)(1 + i % 251) ||
		    memcmp(p + i * page, p + i * page + 1, page - 1))
			return 3;
	return 0;
}

/* Promise: writepage-swap */
TEST_F_TIMEOUT(swap, memory_is_written_by_reclaim_and_read_back,
	       PRESSURE_TIMEOUT)
{
	struct dirtier d = { .fd = self->fd, .size = LIMIT / 4 };
	long page = sysconf(_SC_PAGESIZE);
	struct counters before, after;
	struct writers w;
	pid_t pid;

	ASSERT_EQ(0, dirty_file(&d));
	counters_read(&before);
	pid = memcg_run(&self->cg, use_memory, (void *)variant);
	ASSERT_LT(0, pid);
	EXPECT_EQ(0, run_while_served(&self->m, &call_waitpid, (struct call_arg){
		.fd = pid })) {
		TH_LOG("the process was killed, or has read wrong data");
	}
	counters_since(&after, &before);
	EXPECT_EQ(0, after.oom_kills);
	ASSERT_EQ(0, writers_count(&w, &self->trace, &self->m));

	/* The limit forces half of it out, and MADV_PAGEOUT nearly all. */
	EXPECT_LE((long)(SIZE - LIMIT) / page, after.vmscan_write);
	EXPECT_LT(0, w.pageout_swap);
	EXPECT_EQ(0, w.pageout_file);
	/* None of this may cause reclaim to write the file page by page. */
	EXPECT_EQ(0, w.others);
}

TEST_HARNESS_MAIN
