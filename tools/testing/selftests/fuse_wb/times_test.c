// SPDX-License-Identifier: GPL-2.0
/*
 * File times with the writeback cache.
 *
 * With the writeback cache, the kernel changes mtime and ctime when it takes the
 * data, and the server gets it later: the server's own times are then wrong.  A
 * sound kernel trusts its own times, and sends them in SETATTR after the WRITEs,
 * before FLUSH and FSYNC, before munmap ends, and at umount.  A broken one uses
 * the times of a reply, forgets to send the times, or sends them before a WRITE,
 * with which the server overwrites them.
 *
 * Promise: policy-07, b0aa76065217
 */

#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "common.h"
#include "attr_request.h"

#define FILE_NAME	"file"
#define OLD_SECONDS	1000

/*
 *   fd, map: "file", one page; in the beginning its times are OLD_SECONDS
 */
FIXTURE(times)
{
	struct mnt m;
	ssize_t page;
	int fd;
	char *map;
	char *data;
	char path[128];
};

static bool setup_times(struct __test_metadata *_metadata,
			struct _test_data_times *self,
			const struct server_opts *opts, const void *variant)
{
	if (!mnt_setup(_metadata, &self->m, opts, variant))
		return false;
	self->page = sysconf(_SC_PAGESIZE);
	self->data = malloc(self->page);
	fill_pattern(self->data, self->page, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->data,
				self->page));
	ASSERT_EQ(0, server_set_times(self->m.ctl, FILE_NAME, OLD_SECONDS));
	snprintf(self->path, sizeof(self->path), "%s/" FILE_NAME, self->m.dir);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->map = mmap(NULL, self->page, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	return true;
}

FIXTURE_SETUP(times)
{
	const struct server_opts opts = { .writeback_cache = true };

	setup_times(_metadata, self, &opts, variant);
}

FIXTURE_TEARDOWN(times)
{
	mnt_teardown(_metadata, &self->m);
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Do kernel and server have the same times, and have they changed? */
static void check_server_times(struct __test_metadata *_metadata,
			       struct _test_data_times *self,
			       const struct stat *kernel)
{
	struct stat server;

	ASSERT_EQ(0, server_stat(self->m.ctl, FILE_NAME, &server));
	EXPECT_LT(OLD_SECONDS, kernel->st_mtim.tv_sec);
	EXPECT_TRUE(same_time(kernel->st_mtim, server.st_mtim)) {
		TH_LOG("the server has another mtime than the kernel");
	}
	EXPECT_TRUE(same_time(kernel->st_ctim, server.st_ctim)) {
		TH_LOG("the server has another ctime than the kernel");
	}
}

/* SETATTR with the kernel's times arrives, and nothing else. */
static void check_setattr(struct __test_metadata *_metadata,
			  struct _test_data_times *self)
{
	int setattr = await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1);

	ASSERT_NE(0, setattr);
	EXPECT_EQ((__u32)(FATTR_MTIME | FATTR_CTIME),
		  self->m.log->ev[setattr - 1].req.flags &
		  (FATTR_MTIME | FATTR_CTIME | FATTR_MTIME_NOW | FATTR_SIZE));
}

/* A call that must send the times first waits for the reply to SETATTR. */
static void check_times_are_sent(struct __test_metadata *_metadata,
				 struct _test_data_times *self, struct call *c,
				 __u32 opcode)
{
	ASSERT_NE(NULL, c);
	check_setattr(_metadata, self);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c)) {
		TH_LOG("%s did not wait for the reply to SETATTR",
		       c->op->name);
	}
	if (opcode)
		EXPECT_EQ(0, find_req(&self->m, opcode, REQ_ARRIVED, 1));

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
	if (opcode)
		EXPECT_NE(0, await_req(&self->m, opcode, REQ_ARRIVED, 1));
}

static void change_file(struct __test_metadata *_metadata,
			struct _test_data_times *self, struct stat *st)
{
	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	ASSERT_EQ(0, fstat(self->fd, st));
	EXPECT_LT(OLD_SECONDS, st->st_mtim.tv_sec);
}

TEST_F(times, close_sends_times_behind_writes_and_before_flush)
{
	struct stat st;

	change_file(_metadata, self, &st);
	check_times_are_sent(_metadata, self,
			     mnt_call_close(&self->m, self->fd), FUSE_FLUSH);
	EXPECT_LT(find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
		  find_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1));
	check_server_times(_metadata, self, &st);
}

TEST_F(times, fsync_sends_times_behind_writes_and_before_fsync)
{
	struct stat st;

	change_file(_metadata, self, &st);
	check_times_are_sent(_metadata, self,
			     mnt_call(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }), FUSE_FSYNC);
	EXPECT_LT(find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
		  find_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1));
	check_server_times(_metadata, self, &st);
}

/*
 * After the last close, munmap has to send them.  A broken kernel leaves it to
 * the flusher, which then may find no descriptor.
 */
TEST_F(times, munmap_after_last_close_sends_data_and_times)
{
	struct stat st;

	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	ASSERT_EQ(0, mnt_run(&self->m, &call_store, (struct call_arg){
		.buf = "stored", .to = self->map, .len = 6 }));
	ASSERT_EQ(0, stat(self->path, &st));
	/* It starts both and waits for neither. */
	ASSERT_EQ(0, mnt_run(&self->m, &call_munmap, (struct call_arg){
		.buf = self->map, .len = self->page }));
	check_setattr(_metadata, self);
	EXPECT_LT(find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
		  find_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1));
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(0, find_req(&self->m, FUSE_RELEASE, REQ_ARRIVED, 1));

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	EXPECT_NE(0, await_req(&self->m, FUSE_RELEASE, REQ_ARRIVED, 1));
	check_server_times(_metadata, self, &st);
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->data, 6));
	EXPECT_EQ(0, memcmp(self->data, "stored", 6));
}

/*
 * Descriptors that are still open at a lazy umount are closed later, or never.
 */
TEST_F(times, times_reach_the_server_after_lazy_umount)
{
	struct stat st;

	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(0, mnt_run(&self->m, &call_umount, (struct call_arg){
		.buf = self->m.dir, .flags = MNT_DETACH }));
	EXPECT_EQ(0, count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED));
	ASSERT_EQ(0, mnt_run(&self->m, &call_munmap, (struct call_arg){
		.buf = self->map, .len = self->page }));
	ASSERT_EQ(0, mnt_run(&self->m, &call_close, (struct call_arg){
		.fd = self->fd }));
	check_server_times(_metadata, self, &st);
}

TEST_F(times, times_are_there_after_umount)
{
	struct stat st;

	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(0, munmap(self->map, self->page));
	ASSERT_EQ(0, mnt_run(&self->m, &call_close, (struct call_arg){
		.fd = self->fd }));
	ASSERT_EQ(0, mnt_run(&self->m, &call_umount, (struct call_arg){
		.buf = self->m.dir }));
	check_server_times(_metadata, self, &st);
}

/* The data goes first, or the server would set the times of the WRITE. */
TEST_F(times, times_that_are_set_stay_set)
{
	const struct timespec set[2] = {
		{ .tv_sec = 4321, .tv_nsec = 1 },
		{ .tv_sec = 1234, .tv_nsec = 567 },
	};
	struct stat st, server;

	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	ASSERT_EQ(0, futimens(self->fd, set));
	EXPECT_NE(0, find_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_TRUE(same_time(set[1], st.st_mtim));
	ASSERT_EQ(0, server_stat(self->m.ctl, FILE_NAME, &server));
	EXPECT_TRUE(same_time(set[1], server.st_mtim)) {
		TH_LOG("the server does not have the mtime that was set");
	}
	EXPECT_TRUE(same_time(set[0], server.st_atim));
	EXPECT_TRUE(same_time(st.st_ctim, server.st_ctim));
	EXPECT_LT(OLD_SECONDS, server.st_ctim.tv_sec);

	/* And the next change updates the times again. */
	ASSERT_EQ(1, pwrite(self->fd, "y", 1, 0));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_LT(set[1].tv_sec, st.st_mtim.tv_sec);
}

/* Like touch(1): the current time is the kernel's. */
TEST_F(times, touched_file_has_the_time_of_the_kernel)
{
	struct stat st;
	int seq;

	ASSERT_EQ(0, futimens(self->fd, NULL));
	ASSERT_EQ(0, fstat(self->fd, &st));
	check_server_times(_metadata, self, &st);
	seq = find_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1);
	ASSERT_NE(0, seq);
	EXPECT_EQ(0U, self->m.log->ev[seq - 1].req.flags & FATTR_MTIME_NOW) {
		TH_LOG("the server was told to use its own clock");
	}
}

/*
 * The call sends the times while a WRITE is in flight, for which it does not wait.
 * A server may carry out the WRITE after SETATTR, and then has the time of the
 * WRITE.  A broken kernel does not send the times again.
 */
static void check_times_are_sent_again(struct __test_metadata *_metadata,
				       struct _test_data_times *self,
				       const struct call_op *op)
{
	struct mnt *m = &self->m;
	struct stat st;

	ASSERT_EQ(0, hold_req(m, FUSE_WRITE));
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	ASSERT_EQ(0, start_writeback(m, self->fd));
	ASSERT_NE(0, await_req(m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(0, mnt_run(m, op, (struct call_arg){
		.fd = self->fd, .len = self->page }));
	ASSERT_NE(0, await_req(m, FUSE_SETATTR, REQ_REPLIED, 1));
	ASSERT_EQ(1, server_release(m->ctl, 0));
	EXPECT_EQ(0, close_copy(m, self->fd));
	ASSERT_EQ(0, fstat(self->fd, &st));
	check_server_times(_metadata, self, &st);
}

TEST_F(times, close_sends_again_what_sync_sent_beside_a_write)
{
	check_times_are_sent_again(_metadata, self, &call_sync);
}

TEST_F(times, close_sends_again_what_fallocate_sent_beside_a_write)
{
	check_times_are_sent_again(_metadata, self, &call_fallocate);
}

/* SETATTR may be refused to a reader, which has changed nothing. */
TEST_F(times, close_of_a_reader_leaves_the_times_to_the_writer)
{
	const struct req_match setattrs = { .opcode = FUSE_SETATTR };
	int reader = mnt_open(&self->m, FILE_NAME, O_RDONLY);
	struct stat st;

	ASSERT_LE(0, reader);
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(0, server_fail(self->m.ctl, &setattrs, EDQUOT));
	EXPECT_EQ(0, close(reader));
	EXPECT_EQ(0, count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED));
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	EXPECT_EQ(0, close_copy(&self->m, self->fd));
	check_server_times(_metadata, self, &st);
}

/* Times in replies. */
FIXTURE(told_times)
{
	struct _test_data_times t;
};

FIXTURE_VARIANT(told_times)
{
	const struct attr_request *ask;
};

FIXTURE_VARIANT_ADD(told_times, by_getattr) { &attr_request_getattr };

FIXTURE_VARIANT_ADD(told_times, by_lookup) { &attr_request_lookup };

FIXTURE_VARIANT_ADD(told_times, by_readdirplus) { &attr_request_readdirplus };

FIXTURE_VARIANT_ADD(told_times, by_setattr) { &attr_request_setattr };

FIXTURE_SETUP(told_times)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.readdirplus = true,
		.ask_always = true,
	};

	setup_times(_metadata, &self->t, &opts, variant);
}

FIXTURE_TEARDOWN(told_times)
{
	mnt_teardown(_metadata, &self->t.m);
}

/*
 * A broken kernel takes the mtime of a reply, and later sends it to the server.
 */
TEST_F(told_times, times_of_server_are_ignored)
{
	struct mnt *m = &self->t.m;
	struct stat st, later;
	int fd = self->t.fd;

	ASSERT_EQ(1, pwrite(fd, "x", 1, 0));
	ASSERT_EQ(0, fstat(fd, &st));
	ASSERT_EQ(0, server_set_times(m->ctl, FILE_NAME, OLD_SECONDS));
	ASSERT_EQ(0, attr_request_send(m, variant->ask, FILE_NAME, fd));
	/* Once more, as fchmod sends the times to the server first. */
	ASSERT_EQ(0, server_set_times(m->ctl, FILE_NAME, OLD_SECONDS));
	ASSERT_EQ(0, attr_request_send(m, variant->ask, FILE_NAME, fd));
	ASSERT_EQ(0, fstat(fd, &later));
	EXPECT_TRUE(same_time(st.st_mtim, later.st_mtim)) {
		TH_LOG("the kernel took the mtime of the reply");
	}
	/* fchmod changes ctime itself. */
	EXPECT_LT(OLD_SECONDS, later.st_ctim.tv_sec);
	if (variant->ask != &attr_request_setattr)
		EXPECT_TRUE(same_time(st.st_ctim, later.st_ctim));
	/* Another tick than that of the first write. */
	ASSERT_EQ(0, make_file_old(fd));
	ASSERT_EQ(1, pwrite(fd, "y", 1, 0));
	ASSERT_EQ(0, fstat(fd, &st));
	ASSERT_EQ(0, mnt_run(m, &call_close, (struct call_arg){ .fd = fd }));
	check_server_times(_metadata, &self->t, &st);
}

TEST_HARNESS_MAIN
