// SPDX-License-Identifier: GPL-2.0
/*
 * Memory shortage, without any cgroup, and a server that does not reply.
 *
 * A task that allocates when memory is short reclaims, and encounters pages
 * under writeback.  A broken kernel waits for them, so that all allocations
 * wait for one server.  A sound one reclaims what it can, and otherwise invokes
 * the OOM killer: either way it ends.
 *
 * Promise: reclaim
 */

#include <string.h>
#include <sys/mman.h>

#include "cgroup.h"
#include "common.h"
#include "memory_block.h"
#include "memory_hog.h"
#include "trace.h"

#define FILE_NAME	"file"
#define CLEAN_NAME	"clean"
#define DIRTY		(8 << 20)
#define CLEAN		(4 << 20)
#define LEFT		(64UL << 20)

/*
 *   memory:  | taken | LEFT: free |
 *            | DIRTY bytes of "file" ---- WRITEs ----> server, held
 *   allocator: a process that needs more than there is
 */
FIXTURE(pressure)
{
	struct mnt m;
	struct memory_hog hog;
	struct trace trace;
	int fd;
};

FIXTURE_SETUP(pressure)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	const struct server_opts opts = { .writeback_cache = true };
	char *data;

	if (movable_node() < 0)
		SKIP(return, "needs a node with a movable zone: boot with kernelcore=");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	data = malloc(DIRTY);
	ASSERT_NE(NULL, data);
	fill_pattern(data, DIRTY, 1);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	use_movable_node(true);
	ASSERT_EQ(DIRTY, write(self->fd, data, DIRTY));
	use_movable_node(false);
	free(data);
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_EQ(0, reqlog_wait_bytes(self->m.log, &writes, REQ_ARRIVED,
				       DIRTY));
	ASSERT_EQ(0, memory_hog_take(&self->hog, LEFT));
}

FIXTURE_TEARDOWN(pressure)
{
	EXPECT_EQ(0, trace_end(&self->trace));
	EXPECT_EQ(0, memory_hog_give_back(&self->hog));
	mnt_teardown(_metadata, &self->m);
}

/* The server replies, which is what the pages were waiting for. */
static void check_ends(struct __test_metadata *_metadata,
		       struct _test_data_pressure *self)
{
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_EQ(0, memory_hog_give_back(&self->hog));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
}

/* A task that allocates more than the node has ends by the OOM killer. */
static void run_short(struct __test_metadata *_metadata,
		      struct _test_data_pressure *self)
{
	size_t len = 4 * LEFT;
	long status;
	pid_t pid;

	use_movable_node(true);
	pid = memcg_run(NULL, touch_memory, &len);
	use_movable_node(false);
	ASSERT_LT(0, pid);
	status = mnt_run(&self->m, &call_waitpid, (struct call_arg){
		.fd = pid });
	if (status == -1)
		process_print(stderr, pid);
	ASSERT_NE(-1, status) {
		TH_LOG("an allocation waits for the reply to WRITE");
	}
	EXPECT_TRUE(was_killed(status)) {
		TH_LOG("there was enough memory: nothing was tested");
	}
}

TEST_F(pressure, allocation_ends_while_writes_are_held)
{
	run_short(_metadata, self);
	check_ends(_metadata, self);
}

/*
 * Activity of a node's kswapd in its rounds: how often it paused for writeback.
 */
struct pauses {
	int node;
	int now;
	int most;
	bool met;	/* in some round: folios that kswapd saw again after its pause */
};

static void count_pause(const struct trace_event *ev, void *arg)
{
	struct pauses *pauses = arg;

	if (strncmp(ev->comm, "kswapd", 6) ||
	    trace_value(ev, "nid") != pauses->node)
		return;
	if (!strcmp(ev->name, "mm_vmscan_kswapd_wake")) {
		pauses->now = 0;
	} else if (strstr(ev->what, "VMSCAN_THROTTLE_WRITEBACK")) {
		pauses->now++;
		if (pauses->most < pauses->now)
			pauses->most = pauses->now;
	} else if (pauses->now && trace_value(ev, "nr_congested") > 0) {
		pauses->met = true;
	}
}

/*
 * When all pages that kswapd encounters are under writeback, it pauses to give
 * writeback time.  For a server that does not reply, one pause per round is
 * enough: a broken kernel pauses at each priority, and allocating tasks may have
 * to wait until 16 rounds have failed.
 */
TEST_F(pressure, kswapd_pauses_once_a_round_for_held_writes)
{
	static const char *const events[] = {
		"vmscan/mm_vmscan_kswapd_wake", "vmscan/mm_vmscan_throttled",
		"vmscan/mm_vmscan_lru_shrink_inactive", NULL
	};
	struct pauses pauses = { .node = movable_node() };
	const char *missing;
	void *clean;
	int fd, i;

	ASSERT_EQ(0, server_put(self->m.ctl, CLEAN_NAME, CLEAN - 1, "", 1));
	fd = mnt_open(&self->m, CLEAN_NAME, O_RDONLY);
	ASSERT_LE(0, fd);
	/*
	 * Until a round could have paused twice.  In about one of six shortages
	 * none can: for tasks that wait in throttle_direct_reclaim(), kswapd
	 * scans lower zones than those of the file.  And it must have something
	 * to reclaim: after 16 failed rounds, it leaves the node alone until
	 * some task succeeds.
	 */
	for (i = 0; i < 8 && !pauses.met; i++) {
		/* A round may have begun before tracing started. */
		pauses.now = 0;
		missing = trace_start(&self->trace, events);
		if (missing && *missing)
			SKIP(return, "%s", missing);
		ASSERT_EQ(NULL, missing);
		use_movable_node(true);
		clean = mmap(NULL, CLEAN, PROT_READ, MAP_SHARED | MAP_POPULATE,
			     fd, 0);
		use_movable_node(false);
		ASSERT_NE(MAP_FAILED, clean);
		run_short(_metadata, self);
		ASSERT_EQ(0, munmap(clean, CLEAN));
		ASSERT_EQ(0, trace_read(&self->trace, count_pause, &pauses));
		ASSERT_EQ(0, trace_end(&self->trace));
	}
	EXPECT_TRUE(pauses.met) {
		TH_LOG("kswapd saw no page again after a pause: nothing was tested");
	}
	EXPECT_GE(1, pauses.most) {
		TH_LOG("%d pauses in one round", pauses.most);
	}

	check_ends(_metadata, self);
}

TEST_HARNESS_MAIN
