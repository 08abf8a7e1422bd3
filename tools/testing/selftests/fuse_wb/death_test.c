// SPDX-License-Identifier: GPL-2.0
/*
 * A server that dies, at every kind of request.
 *
 * A correct kernel returns an error to all tasks that wait for a reply, and
 * ends all writeback.  A broken one leaves processes waiting, or pages under
 * writeback.
 *
 * Promise: stuck
 */

#include <dirent.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "common.h"

#define FILE_NAME	"file"

/* The server kills itself when it gets a request of one kind. */
FIXTURE(death)
{
	struct mnt m;
	long before;
};

FIXTURE_VARIANT(death)
{
	__u32 opcode;
};

FIXTURE_VARIANT_ADD(death, lookup) { .opcode = FUSE_LOOKUP };

FIXTURE_VARIANT_ADD(death, getattr) { .opcode = FUSE_GETATTR };

FIXTURE_VARIANT_ADD(death, setattr) { .opcode = FUSE_SETATTR };

FIXTURE_VARIANT_ADD(death, create) { .opcode = FUSE_CREATE };

FIXTURE_VARIANT_ADD(death, open) { .opcode = FUSE_OPEN };

FIXTURE_VARIANT_ADD(death, read) { .opcode = FUSE_READ };

FIXTURE_VARIANT_ADD(death, write) { .opcode = FUSE_WRITE };

FIXTURE_VARIANT_ADD(death, fsync) { .opcode = FUSE_FSYNC };

FIXTURE_VARIANT_ADD(death, flush) { .opcode = FUSE_FLUSH };

FIXTURE_VARIANT_ADD(death, release) { .opcode = FUSE_RELEASE };

FIXTURE_VARIANT_ADD(death, fallocate) { .opcode = FUSE_FALLOCATE };

FIXTURE_VARIANT_ADD(death, copy_file_range) { .opcode = FUSE_COPY_FILE_RANGE };

FIXTURE_VARIANT_ADD(death, lseek) { .opcode = FUSE_LSEEK };

FIXTURE_VARIANT_ADD(death, statfs) { .opcode = FUSE_STATFS };

FIXTURE_VARIANT_ADD(death, getxattr) { .opcode = FUSE_GETXATTR };

FIXTURE_VARIANT_ADD(death, opendir) { .opcode = FUSE_OPENDIR };

FIXTURE_VARIANT_ADD(death, readdir) { .opcode = FUSE_READDIR };

FIXTURE_SETUP(death)
{
	const struct server_opts opts = { .writeback_cache = true };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->before = pages_in_writeback();
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, "hello", 5));
}

FIXTURE_TEARDOWN(death)
{
	mnt_teardown(_metadata, &self->m);
}

/* One of each operation, ignoring errors. */
static long use_everything(const struct call_arg *arg)
{
	const char *dir = arg->buf;
	static char page[4096];
	struct statfs sfs;
	struct statx stx;
	char path[128];
	DIR *d;
	int fd;

	snprintf(path, sizeof(path), "%s/new", dir);
	close(open(path, O_RDWR | O_CREAT, 0600));
	statfs(dir, &sfs);
	d = opendir(dir);
	if (d) {
		readdir(d);
		closedir(d);
	}
	snprintf(path, sizeof(path), "%s/" FILE_NAME, dir);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return -1;
	statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_ALL, &stx);
	fgetxattr(fd, "user.x", page, sizeof(page));
	if (pread(fd, page, sizeof(page), 0) < 0 ||
	    pwrite(fd, page, sizeof(page), 3) < 0)
		goto out;
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2);
	copy_file_range(fd, &(loff_t){ 0 }, fd, &(loff_t){ 100 }, 10, 0);
	if (ftruncate(fd, 50000) || pwrite(fd, page, sizeof(page), 40000) < 0)
		goto out;
	lseek(fd, 0, SEEK_HOLE);
	fsync(fd);
out:
	close(fd);
	return 0;
}

TEST_F(death, everything_ends)
{
	const struct call_op op = { "use of everything", -1, use_everything };
	const struct req_match match = { .opcode = variant->opcode };
	__u64 deadline = wait_deadline();
	siginfo_t info = { };

	ASSERT_EQ(0, server_rule(self->m.ctl, &match, RULE_DIE, 0));
	mnt_run(&self->m, &op, (struct call_arg){ .buf = self->m.dir });
	EXPECT_NE(ETIMEDOUT, errno);
	/* The control: the server got that request, and has died. */
	EXPECT_NE(0, await_req(&self->m, variant->opcode, REQ_ARRIVED, 1));
	while (!info.si_pid && now_usec() < deadline)
		ASSERT_EQ(0, waitid(P_PID, self->m.server, &info,
				    WEXITED | WNOHANG | WNOWAIT));
	EXPECT_EQ(SIGKILL, info.si_status) {
		TH_LOG("timed out (%d s) waiting for the server to exit, as this request kills it",
		       WAIT_SECONDS);
	}

	EXPECT_EQ(0, await_pages_in_writeback(self->before));
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
}

TEST_HARNESS_MAIN
