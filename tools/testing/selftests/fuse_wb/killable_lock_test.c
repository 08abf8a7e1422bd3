// SPDX-License-Identifier: GPL-2.0
/*
 * SIGKILL for tasks that wait for a lock that another task holds over a
 * request, where that takes more than one call: see killable_test.c for all
 * others.
 *
 * Tasks that share a file position, like processes with an inherited
 * descriptor, wait for each other's read(2).  A server that sends a
 * notification about a name, or about a deleted file, waits for the lock of the
 * directory, or of the file, which one of its own clients may hold until it
 * replies: that server waits for itself.  When it is killed there, it has to
 * close /dev/fuse, or its clients hang as well.  On Linux 6.12 all of these
 * wait in D state.
 *
 * Promise: killable
 */

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "child.h"
#include "common.h"

/*
 *   fd: "file" at the server
 *   c:  read(2) of fd --READ--> held
 *   a child: read(2) of fd <--- SIGKILL
 */
FIXTURE(position)
{
	struct mnt m;
	char buf[4096];
	int fd;
};

FIXTURE_SETUP(position)
{
	const struct server_opts opts = { .open_flags = FOPEN_DIRECT_IO };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->buf,
				sizeof(self->buf)));
	self->fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(position)
{
	mnt_teardown(_metadata, &self->m);
}

TEST_F(position, read_behind_a_read_ends)
{
	const struct call_arg arg = {
		.fd = self->fd, .buf = self->buf, .len = sizeof(self->buf)
	};
	struct call *c;
	pid_t pid;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	c = mnt_call(&self->m, &call_read_all, arg);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));

	pid = child_start(CLONE_FILES, &call_read_all, arg);
	ASSERT_LE(0, pid);
	EXPECT_TRUE(child_stays_blocked(&self->m, pid, &call_read_all));
	EXPECT_EQ(1, count_req(&self->m, FUSE_READ, REQ_ARRIVED)) {
		TH_LOG("the child waits for a READ of its own: nothing was tested");
	}
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&self->m, pid));

	/* The lock works afterwards. */
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ((long)sizeof(self->buf), c->ret);
	EXPECT_EQ((off_t)sizeof(self->buf), lseek(self->fd, 0, SEEK_CUR));
}

/*
 *   c:      a call with a lock --request--> held
 *   server: a notification, which waits for that lock <--- SIGKILL
 */
FIXTURE(notified)
{
	struct mnt m;
	char path[128];
	int fd;
	int len;
	struct {
		struct fuse_out_header head;
		char body[64];
	} msg;
};

FIXTURE_VARIANT(notified)
{
	bool entry;
};

FIXTURE_VARIANT_ADD(notified, inval_entry)
{
	.entry = true,
};

FIXTURE_VARIANT_ADD(notified, delete)
{
};

/* The notification, as written to /dev/fuse; the name is "file", of node 2. */
FIXTURE_SETUP(notified)
{
	const struct server_opts opts = { };
	const struct fuse_notify_inval_entry_out entry = {
		.parent = FUSE_ROOT_ID, .namelen = 4
	};
	const struct fuse_notify_delete_out gone = {
		.parent = FUSE_ROOT_ID, .child = 2, .namelen = 4
	};
	size_t len = variant->entry ? sizeof(entry) : sizeof(gone);

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, "x", 1));
	self->fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->fd);
	snprintf(self->path, sizeof(self->path), "%s/other", self->m.dir);

	memcpy(self->msg.body, variant->entry ? (const void *)&entry : &gone,
	       len);
	memcpy(self->msg.body + len, "file", 5);
	self->len = sizeof(self->msg.head) + len + 5;
	self->msg.head.len = self->len;
	self->msg.head.error = variant->entry ? FUSE_NOTIFY_INVAL_ENTRY :
						FUSE_NOTIFY_DELETE;
}

FIXTURE_TEARDOWN(notified)
{
	mnt_teardown(_metadata, &self->m);
}

static long do_notify(const struct call_arg *arg)
{
	return server_raw(arg->fd, arg->buf, arg->len);
}

static const struct call_op call_notify = {
	"a notification", SYS_recvfrom, do_notify
};

/*
 * Sleep until a thread of the server is in D state.  Return: false on timeout.
 */
static bool await_stuck(pid_t server)
{
	__u64 deadline = wait_deadline();
	bool stuck = false;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", server);
	while (!stuck && now_usec() < deadline) {
		DIR *tasks = opendir(path);
		struct dirent *d;

		while (tasks && (d = readdir(tasks)))
			stuck |= task_state(server, atoi(d->d_name)) == 'D';
		if (tasks)
			closedir(tasks);
		sched_yield();
	}
	if (!stuck)
		fprintf(stderr, "# timed out (%d s) waiting for a server thread to block\n",
			WAIT_SECONDS);
	return stuck;
}

/* The server waits for itself. */
TEST_F(notified, killed_server_is_gone)
{
	__u32 opcode = variant->entry ? FUSE_CREATE : FUSE_FALLOCATE;
	struct call *c, *n;

	ASSERT_EQ(0, hold_req(&self->m, opcode));
	if (variant->entry)
		c = mnt_call(&self->m, &call_open, (struct call_arg){
			.buf = self->path, .flags = O_CREAT | O_RDWR });
	else
		c = mnt_call(&self->m, &call_fallocate, (struct call_arg){
			.fd = self->fd, .len = 100 });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, opcode, REQ_ARRIVED, 1));

	n = mnt_call(&self->m, &call_notify, (struct call_arg){
		.fd = self->m.ctl, .buf = &self->msg, .len = self->len });
	ASSERT_NE(NULL, n);
	EXPECT_TRUE(await_stuck(self->m.server)) {
		TH_LOG("the notification does not wait: nothing was tested");
	}
	EXPECT_FALSE(call_returned(n));

	/*
	 * The last descriptor of /dev/fuse goes away, which ends the
	 * connection.
	 */
	ASSERT_EQ(0, kill(self->m.server, SIGKILL));
	EXPECT_EQ(CALL_RETURNED, call_wait_returned(c)) {
		TH_LOG("the killed server still blocks its client");
	}
	EXPECT_EQ(-1, c->ret);
	EXPECT_EQ(CALL_RETURNED, call_wait_returned(n));
}

TEST_HARNESS_MAIN
