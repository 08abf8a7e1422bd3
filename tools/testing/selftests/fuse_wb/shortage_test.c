// SPDX-License-Identifier: GPL-2.0
/*
 * Little free memory, without any cgroup, and a server that does not answer.
 *
 * Who allocates when memory is short reclaims, and comes across pages under
 * writeback.  A broken kernel waits for them, and with the one server all who
 * allocate.  A sound one reclaims what it can, and otherwise calls the OOM
 * killer: either way it ends.
 *
 * Promise: reclaim
 */

#include "cgroup.h"
#include "common.h"
#include "memblock.h"
#include "memhog.h"

#define FILE_NAME	"file"
#define DIRTY		(8 << 20)
#define LEFT		(64UL << 20)

/*
 *   memory:  | taken | LEFT: free |
 *            | DIRTY bytes of "file" ---- WRITEs ----> server, held
 *   who allocates: a process that wants more than there is
 */
FIXTURE(pressure)
{
	struct mnt m;
	struct memhog hog;
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
	ASSERT_EQ(0, memhog_take(&self->hog, LEFT));
}

FIXTURE_TEARDOWN(pressure)
{
	EXPECT_EQ(0, memhog_give_back(&self->hog));
	mnt_teardown(_metadata, &self->m);
}

/* The server answers, and it was this that the pages were waiting for. */
static void check_ends(struct __test_metadata *_metadata,
		       struct _test_data_pressure *self)
{
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_EQ(0, memhog_give_back(&self->hog));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
}

TEST_F(pressure, allocation_ends_while_writes_are_held)
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
		TH_LOG("an allocation waits for the answer to WRITE");
	}
	EXPECT_TRUE(was_killed(status)) {
		TH_LOG("there was enough memory: nothing was tested");
	}

	check_ends(_metadata, self);
}

TEST_HARNESS_MAIN
