// SPDX-License-Identifier: GPL-2.0
/*
 * sync(2), and the servers that do reply.
 *
 * sync(2) must not depend on a server, but a healthy server must have the data
 * that was dirty when sync(2) returns, as the caller may power off the machine.
 * So sync(2) waits as long as the flushers make progress, and a short while if
 * they do not: in total for all servers.  A broken kernel does not wait at all,
 * or once for each server that does not reply.
 *
 * Promise: sync-2
 */

#include <poll.h>
#include <sys/socket.h>

#include "common.h"

#define FILES		3
#define SERVERS		5

/* FILES files, each with a dirty byte, and SETATTR is slow */
FIXTURE(slow)
{
	struct mnt m;
	int times;
};

FIXTURE_SETUP(slow)
{
	const struct server_opts opts = { .writeback_cache = true };
	const struct req_match times = { .opcode = FUSE_SETATTR };
	char name[16];
	int i;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		ASSERT_LE(0, open_dirty_file(&self->m, name));
	}
	/* The log shows it a moment after the kernel has the reply. */
	ASSERT_EQ(0, fence(&self->m));
	self->times = count_req(&self->m, FUSE_SETATTR, REQ_REPLIED);
	ASSERT_EQ(0, server_rule(self->m.ctl, &times, RULE_DELAY, 500000));
}

FIXTURE_TEARDOWN(slow)
{
	mnt_teardown(_metadata, &self->m);
}

TEST_F(slow, sync_waits_for_a_server_that_gets_ahead)
{
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
	EXPECT_EQ(FILES, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED)) {
		TH_LOG("sync(2) returned before all data was sent");
	}
	/* The log shows it a moment after the kernel has the reply. */
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(self->times + FILES,
		  count_req(&self->m, FUSE_SETATTR, REQ_REPLIED)) {
		TH_LOG("sync(2) returned before all times were sent");
	}
}

/*
 * SERVERS servers, each with a dirty file, and no SETATTR gets a reply.  A
 * process has one mount, so all but one belong to children.
 */
FIXTURE(stuck_servers)
{
	struct mnt m;
	pid_t pid[SERVERS];
	int fd[SERVERS];
};

static const struct server_opts cached = { .writeback_cache = true };

static int get_stuck(struct mnt *m)
{
	return open_dirty_file(m, "file") < 0 || hold_req(m, FUSE_SETATTR) ? -1 : 0;
}

/* sync(2) has returned: was the flusher woken, and was it stuck? */
static int was_stuck(struct mnt *m)
{
	if (!await_req(m, FUSE_SETATTR, REQ_ARRIVED, 2) ||
	    count_req(m, FUSE_SETATTR, REQ_REPLIED) != 1)
		return -1;
	return server_release(m->ctl, 0) < 1 ? -1 : 0;
}

/*
 * A child: report that all is ready, and go on when the parent has called
 * sync(2).
 */
static int be_stuck(int fd, const char *test)
{
	struct mnt m = { };
	int ret;
	char c;

	snprintf(m.test, sizeof(m.test), "%s", test);
	ret = mnt_start(&m, &cached);
	if (!ret)
		ret = get_stuck(&m);
	if (!ret && (write(fd, "r", 1) != 1 || read(fd, &c, 1) != 1))
		ret = -1;
	if (!ret)
		ret = was_stuck(&m);
	return mnt_stop(&m) || ret;
}

static void start_child(struct __test_metadata *_metadata,
			struct _test_data_stuck_servers *self, int i)
{
	struct pollfd ready;
	int fds[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
	self->pid[i] = fork();
	ASSERT_LE(0, self->pid[i]);
	if (!self->pid[i]) {
		close(fds[0]);
		_exit(be_stuck(fds[1], _metadata->name) ? 1 : 0);
	}
	close(fds[1]);
	self->fd[i] = fds[0];
	ready = (struct pollfd){ .fd = fds[0], .events = POLLIN };
	ASSERT_EQ(1, poll(&ready, 1, WAIT_SECONDS * 1000)) {
		TH_LOG("timed out waiting for server %d", i);
	}
	ASSERT_EQ(1, read(fds[0], &(char){ 0 }, 1));
}

FIXTURE_SETUP(stuck_servers)
{
	const char *missing = mnt_missing();
	int i;

	if (missing)
		SKIP(return, "%s", missing);
	for (i = 1; i < SERVERS; i++)
		start_child(_metadata, self, i);
	if (!mnt_setup(_metadata, &self->m, &cached, variant))
		return;
	ASSERT_EQ(0, get_stuck(&self->m));
}

FIXTURE_TEARDOWN(stuck_servers)
{
	mnt_teardown(_metadata, &self->m);
}

/* Sequential waits for each server would exceed the deadline. */
TEST_F(stuck_servers, sync_waits_a_short_while_for_all_together)
{
	int i;

	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
	EXPECT_EQ(0, was_stuck(&self->m));
	for (i = 1; i < SERVERS; i++)
		ASSERT_EQ(1, write(self->fd[i], "g", 1));
	for (i = 1; i < SERVERS; i++) {
		EXPECT_EQ(0, mnt_run(&self->m, &call_waitpid, (struct call_arg){
			.fd = self->pid[i] })) {
			TH_LOG("server %d was not stuck, or its flusher was not woken", i);
		}
	}
}

TEST_HARNESS_MAIN
