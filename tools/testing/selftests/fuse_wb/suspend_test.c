// SPDX-License-Identifier: GPL-2.0
/*
 * Suspending the system while a server does not answer.
 *
 * Suspend syncs everything, freezes every process, and only then turns to the
 * devices; pm_test has it stop there and go back.  A broken kernel waits in
 * sync(2) for a server that does not answer, and which may be the next to be
 * frozen; or it freezes a server that does, before that has the data.  A sound
 * one has everything sent and goes on.
 *
 * Promise: sync-2
 */

#include "common.h"

#define PM_TEST		"/sys/power/pm_test"
#define PM_STATE	"/sys/power/state"
#define PM_TEST_DELAY	"/sys/module/suspend/parameters/pm_test_delay"

/* "file": one dirty byte, and no request of one kind is answered */
FIXTURE(suspend)
{
	struct mnt m;
	int fd;
	int earlier;
};

FIXTURE_VARIANT(suspend)
{
	__u32 opcode;
	bool frozen;
};

FIXTURE_VARIANT_ADD(suspend, write_is_held) { .opcode = FUSE_WRITE };

FIXTURE_VARIANT_ADD(suspend, setattr_is_held) { .opcode = FUSE_SETATTR };

FIXTURE_VARIANT_ADD(suspend, server_is_frozen)
{
	.opcode = FUSE_WRITE,
	.frozen = true,
};

FIXTURE_SETUP(suspend)
{
	const struct server_opts opts = { .writeback_cache = true };

	if (access(PM_TEST, F_OK) || access(PM_STATE, F_OK))
		SKIP(return, "needs CONFIG_SUSPEND and CONFIG_PM_DEBUG");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->fd = mnt_open(&self->m, "file", O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, make_file_old(self->fd));
	ASSERT_EQ(1, write(self->fd, "x", 1));
	self->earlier = count_req(&self->m, variant->opcode, REQ_ARRIVED);
	ASSERT_EQ(0, hold_req(&self->m, variant->opcode));
	if (variant->frozen)
		ASSERT_EQ(0, server_freeze(&self->m));
	ASSERT_EQ(0, write_file(PM_TEST, "freezer"));
	/* The seconds that it stays frozen. */
	ASSERT_EQ(0, write_file(PM_TEST_DELAY, "0"));
}

FIXTURE_TEARDOWN(suspend)
{
	EXPECT_EQ(0, write_file(PM_TEST, "none"));
	mnt_teardown(_metadata, &self->m);
}

TEST_F(suspend, suspend_waits_for_no_server)
{
	EXPECT_EQ(6, mnt_tell(&self->m, PM_STATE, "freeze")) {
		TH_LOG("suspend: %s", strerror(errno));
	}
	if (variant->frozen)
		ASSERT_EQ(0, server_thaw(&self->m));

	/* The control: it did have everything sent. */
	EXPECT_NE(0, await_req(&self->m, variant->opcode, REQ_ARRIVED,
			       self->earlier + 1));
	EXPECT_EQ(self->earlier,
		  count_req(&self->m, variant->opcode, REQ_REPLIED));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
}

#define FILES		3

/* Some files, each with a dirty byte; SETATTR takes its time, and is answered */
FIXTURE(slow)
{
	struct mnt m;
};

FIXTURE_SETUP(slow)
{
	const struct server_opts opts = { .writeback_cache = true };
	const struct req_match times = { .opcode = FUSE_SETATTR };
	char name[16];
	int i, fd;

	if (access(PM_TEST, F_OK) || access(PM_STATE, F_OK))
		SKIP(return, "needs CONFIG_SUSPEND and CONFIG_PM_DEBUG");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		fd = mnt_open(&self->m, name, O_RDWR | O_CREAT);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, make_file_old(fd));
		ASSERT_EQ(1, write(fd, "x", 1));
	}
	ASSERT_EQ(0, server_rule(self->m.ctl, &times, RULE_DELAY, 500000));
	ASSERT_EQ(0, write_file(PM_TEST, "freezer"));
	ASSERT_EQ(0, write_file(PM_TEST_DELAY, "0"));
}

FIXTURE_TEARDOWN(slow)
{
	EXPECT_EQ(0, write_file(PM_TEST, "none"));
	mnt_teardown(_metadata, &self->m);
}

/* What is missing when suspend returns would come soon, but comes too late. */
TEST_F(slow, server_has_the_data_before_it_is_frozen)
{
	EXPECT_EQ(6, mnt_tell(&self->m, PM_STATE, "freeze")) {
		TH_LOG("suspend: %s", strerror(errno));
	}
	EXPECT_EQ(FILES, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED)) {
		TH_LOG("the server was frozen before it had all data");
	}
}

TEST_HARNESS_MAIN
