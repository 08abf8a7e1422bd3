// SPDX-License-Identifier: GPL-2.0
/*
 * More dirty pages of a file than there is memory for.
 *
 * Reclaim writes back no file: it wakes the flushers and relies on them.  They
 * write many pages per request, in file order.  A broken kernel writes the
 * pages one by one in LRU order; or no task writes them, and the OOM killer
 * kills a process whose memory only had to be written first.
 *
 * The writing tasks are not guessed from the WRITEs but taken from the
 * tracepoints of writeback and of reclaim.
 */

#include "common.h"
#include "memcg.h"
#include "memory_hog.h"
#include "pressure.h"

#define MIB		(1024 * 1024UL)
#define FILE_NAME	"file"
#define LIMIT		(16 * MIB)
#define SIZE		(3 * LIMIT)

/*
 * Too few dirty bytes to start writeback, and the memory then touched in the
 * cgroup, which leaves half of that room.
 */
#define FEW		(3 * MIB)
#define TOUCHED		(LIMIT - FEW / 2)

/*
 * Memory to leave free on a machine without a limit; other users may free some
 * more.
 */
#define LEAVE		(32 * MIB)
#define ROOM		(2 * LEAVE)
#define MACHINE_SIZE	(3 * LEAVE)

/* A WRITE takes this many microseconds: the writer is faster. */
#define DELAY		1000

/* At most one in this many WRITEs may be of a single page. */
#define SHARE		8

/* The minimum of pages per WRITE, on average. */
#define RUN		16

/*
 *   writer of "file" ---- more than fits --> reclaim
 *                                               | wakes
 *   server <------------- WRITEs ----------- flusher
 */
struct press {
	struct mnt m;
	struct memcg cg;
	struct trace trace;
	int fd;
	size_t size;
};

/* size: initial size of the file at the server */
static bool press_setup(struct __test_metadata *_metadata, struct press *p,
			const void *variant, size_t size)
{
	const struct server_opts opts = { .writeback_cache = true };
	const struct req_match writes = { .opcode = FUSE_WRITE };

	p->m.seconds = PRESSURE_SECONDS;
	p->size = size;
	if (!mnt_setup(_metadata, &p->m, &opts, variant))
		return false;
	/* Allocate the server's memory before it becomes scarce. */
	ASSERT_EQ(0, server_put(p->m.ctl, FILE_NAME, size - 1, "", 1));
	ASSERT_EQ(0, server_rule(p->m.ctl, &writes, RULE_DELAY, DELAY));
	p->fd = mnt_open(&p->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, p->fd);
	return !mnt_lacks(_metadata, &p->m, writers_trace(&p->trace));
}

static void press_teardown(struct __test_metadata *_metadata, struct press *p)
{
	EXPECT_EQ(0, trace_end(&p->trace));
	mnt_teardown(_metadata, &p->m);
}

/*
 * Reclaim has written nothing; the flusher and syncing callers have written
 * every page of the WRITEs.
 */
static void check_writers(struct __test_metadata *_metadata,
			  const struct writers *w, long pages, long room)
{
	EXPECT_EQ(0, w->pageout_file);
	EXPECT_EQ(0, w->others);
	EXPECT_EQ(pages, w->flusher + w->sync);
	EXPECT_LE(pages - room, w->flusher) {
		TH_LOG("the data was left to fsync");
	}
	EXPECT_LT(0, w->woken) {
		TH_LOG("reclaim has not woken the flusher");
	}
}

/* For debugging, and for scripts/pressure.sh. */
static void tell(struct __test_metadata *_metadata, const struct press *p,
		 const struct counters *c, const struct shapes *s)
{
	TH_LOG("measured %s ms %lld writes %ld single %ld pages %ld scan %ld steal %ld oom %ld",
	       p->m.test, c->usec / 1000, s->nr, s->single, s->pages,
	       c->scan, c->steal, c->oom_kills);
}

/*
 * @room: bytes that can be dirty simultaneously, and are left to fsync
 * @touched: bytes of memory that another task in the cgroup then allocates, or
 * 0
 */
static void check_pressure(struct __test_metadata *_metadata, struct press *p,
			   bool store, size_t room, size_t touched)
{
	struct dirtier d = { .fd = p->fd, .size = p->size, .store = store };
	long page = sysconf(_SC_PAGESIZE);
	struct counters before, after;
	struct writers w;
	struct shapes s;
	__u32 begun;
	pid_t pid;

	counters_read(&before);
	pid = memcg_run(&p->cg, dirty_file, &d);
	ASSERT_LT(0, pid);
	EXPECT_EQ(0, run_while_served(&p->m, &call_waitpid, (struct call_arg){
		.fd = pid }));
	if (touched) {
		EXPECT_EQ((long)(p->size / page),
			  vm_counter("/proc/vmstat", "nr_dirty")) {
			TH_LOG("the pages are written already: reclaim has nothing to do");
		}
		pid = memcg_run(&p->cg, touch_memory, &touched);
		ASSERT_LT(0, pid);
		EXPECT_EQ(0, run_while_served(&p->m, &call_waitpid,
					      (struct call_arg){ .fd = pid }));
	}
	counters_since(&after, &before);
	EXPECT_EQ(0, after.oom_kills) {
		TH_LOG("the OOM killer came with %ld kB dirty and %ld kB under writeback",
		       vm_counter("/proc/meminfo", "Dirty:"),
		       vm_counter("/proc/meminfo", "Writeback:"));
	}

	/* The rest of the data, so that all of it can be checked. */
	begun = word_get(&p->m.log->nr);
	EXPECT_EQ(0, run_while_served(&p->m, &call_fsync, (struct call_arg){
		.fd = p->fd }));
	ASSERT_EQ(0, await_pages_in_writeback(0));
	EXPECT_EQ(0, check_dirty_file(&p->m, FILE_NAME, p->size));
	counters_since(&after, &before);
	EXPECT_EQ(0, after.vmscan_write);
	ASSERT_EQ(0, writers_count(&w, &p->trace, &p->m));
	shapes_count(&s, p->m.log, begun);
	tell(_metadata, p, &after, &s);
	TH_LOG("%ld WRITEs back, %ld again, flusher: %ld pages, %ld passes, woken %ld, fsync: %ld",
	       s.back, s.again, w.flusher, w.passes, w.woken, w.sync);
	check_writers(_metadata, &w, s.pages, room / page);
	EXPECT_LE(SHARE * (s.single - s.again), s.nr - s.again);
	EXPECT_LE(RUN * s.nr, s.pages);
	/* The flusher only goes back to start over, as does munmap. */
	EXPECT_LE(s.back, w.passes + 1);
}

FIXTURE(memcg)
{
	struct press p;
};

/* store: into a mapping of the file */
FIXTURE_VARIANT(memcg)
{
	bool legacy;
	bool store;
};

FIXTURE_VARIANT_ADD(memcg, v2_write) { .legacy = false };
FIXTURE_VARIANT_ADD(memcg, v2_store) { .store = true };
FIXTURE_VARIANT_ADD(memcg, v1_write) { .legacy = true };
FIXTURE_VARIANT_ADD(memcg, v1_store) { .legacy = true, .store = true };

FIXTURE_SETUP(memcg)
{
	struct press *p = &self->p;

	if (press_setup(_metadata, p, variant, SIZE) &&
	    !use_memcg(_metadata, &p->cg, &p->m, variant->legacy, LIMIT))
		trace_end(&p->trace);
}

FIXTURE_TEARDOWN(memcg)
{
	press_teardown(_metadata, &self->p);
	remove_memcg(_metadata, &self->p.cg);
}

/* Promise: writepage-flushers, writepage-order, writepage-no-oom */
TEST_F_TIMEOUT(memcg, dirty_data_gets_out_through_the_flusher,
	       PRESSURE_TIMEOUT)
{
	check_pressure(_metadata, &self->p, variant->store, LIMIT, 0);
}

/* Less than starts writeback, and then memory for another task. */
FIXTURE(full)
{
	struct press p;
};

FIXTURE_VARIANT(full)
{
	bool legacy;
};

FIXTURE_VARIANT_ADD(full, v2_memcg) { .legacy = false };
FIXTURE_VARIANT_ADD(full, v1_memcg) { .legacy = true };

FIXTURE_SETUP(full)
{
	struct press *p = &self->p;

	if (press_setup(_metadata, p, variant, FEW) &&
	    !use_memcg(_metadata, &p->cg, &p->m, variant->legacy, LIMIT))
		trace_end(&p->trace);
}

FIXTURE_TEARDOWN(full)
{
	press_teardown(_metadata, &self->p);
	remove_memcg(_metadata, &self->p.cg);
}

/* Promise: writepage-flushers, writepage-no-oom */
TEST_F_TIMEOUT(full, allocation_gets_dirty_data_out_through_the_flusher,
	       PRESSURE_TIMEOUT)
{
	check_pressure(_metadata, &self->p, false, FEW / 2, TOUCHED);
}

FIXTURE(machine)
{
	struct press p;
	struct hog hog;
};

FIXTURE_VARIANT(machine)
{
	bool store;
};

FIXTURE_VARIANT_ADD(machine, write) { .store = false };
FIXTURE_VARIANT_ADD(machine, store) { .store = true };

FIXTURE_SETUP(machine)
{
	if (press_setup(_metadata, &self->p, variant, MACHINE_SIZE) &&
	    mnt_lacks(_metadata, &self->p.m, hog_start(&self->hog, LEAVE)))
		trace_end(&self->p.trace);
}

FIXTURE_TEARDOWN(machine)
{
	EXPECT_EQ(0, hog_end(&self->hog));
	press_teardown(_metadata, &self->p);
}

/* Promise: writepage-flushers, writepage-order, writepage-no-oom */
TEST_F_TIMEOUT(machine, full_machine_writes_through_the_flusher,
	       PRESSURE_TIMEOUT)
{
	check_pressure(_metadata, &self->p, variant->store, ROOM, 0);
}

TEST_HARNESS_MAIN
