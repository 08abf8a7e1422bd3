// SPDX-License-Identifier: GPL-2.0
/*
 * sync(2) and syncfs(2), when the server does not reply to the flusher.
 *
 * sync(2) leaves the writing to the flusher.  With FUSE the flusher can wait
 * for the server in more places than for pages under writeback: it sends inode
 * times and waits for the reply, it reaches an inode that another task is
 * writing, or a page that was redirtied under writeback.  A broken kernel makes
 * every sync(2) wait with it.  A sound one has everything sent that can be, now
 * or once the flusher makes progress, and returns after a short while without
 * progress: see syncall_test.c.  fsync(2) waits.
 *
 * Promise: sync-2
 */

#include <sys/mman.h>

#include "common.h"

/* Open a file of one page, mapped shared, with nothing dirty. */
static int open_mapped(struct mnt *m, const char *name, char **map)
{
	long page = sysconf(_SC_PAGESIZE);
	char *data = malloc(page);
	int fd;

	if (!data)
		return -1;
	fill_pattern(data, page, 1);
	fd = server_put(m->ctl, name, 0, data, page) ? -1 :
	     mnt_open(m, name, O_RDWR);
	free(data);
	if (fd < 0)
		return -1;
	*map = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return *map == MAP_FAILED ? -1 : fd;
}

/* A caller that names the file waits for all replies, and gets no error. */
static void check_fsync_waits(struct __test_metadata *_metadata, struct mnt *m,
			      int fd)
{
	struct call *c = mnt_call(m, &call_fsync, (struct call_arg){
		.fd = fd });

	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(m, c)) {
		TH_LOG("fsync did not wait for the server");
	}
	ASSERT_LE(1, server_release(m->ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret) {
		TH_LOG("fsync: %s", strerror(c->err));
	}
}

/*
 *   a store --> page of "file", mapped --- WRITE ---> server, held
 *
 * On a write-through connection this is the only way to get a dirty page.
 */
FIXTURE(mapped_write)
{
	struct mnt m;
	char *map;
	int fd;
};

FIXTURE_VARIANT(mapped_write)
{
	bool writeback_cache;
};

FIXTURE_VARIANT_ADD(mapped_write, write_through) { .writeback_cache = false };

FIXTURE_VARIANT_ADD(mapped_write, writeback_cache) { .writeback_cache = true };

FIXTURE_SETUP(mapped_write)
{
	const struct server_opts opts = {
		.writeback_cache = variant->writeback_cache,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->fd = open_mapped(&self->m, "file", &self->map);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	self->map[0] = 'x';
}

FIXTURE_TEARDOWN(mapped_write)
{
	mnt_teardown(_metadata, &self->m);
}

static void check_sent(struct __test_metadata *_metadata,
		       struct _test_data_mapped_write *self)
{
	char seen = 0;

	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	check_fsync_waits(_metadata, &self->m, self->fd);
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, &seen, 1));
	EXPECT_EQ('x', seen);
}

TEST_F(mapped_write, sync_does_not_wait_for_held_write)
{
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
	check_sent(_metadata, self);
}

TEST_F(mapped_write, syncfs_does_not_wait_for_held_write)
{
	EXPECT_EQ(0, mnt_run(&self->m, &call_syncfs, (struct call_arg){
		.fd = self->fd }));
	check_sent(_metadata, self);
}

/*
 *   "one", "two": nothing dirty yet; the server replies to everything
 *
 * The test determines which request of the flusher is held.
 */
FIXTURE(flusher)
{
	struct mnt m;
	int one;
	int two;
};

FIXTURE_SETUP(flusher)
{
	const struct server_opts opts = { .writeback_cache = true };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->one = mnt_open(&self->m, "one", O_RDWR | O_CREAT);
	ASSERT_LE(0, self->one);
	self->two = mnt_open(&self->m, "two", O_RDWR | O_CREAT);
	ASSERT_LE(0, self->two);
}

FIXTURE_TEARDOWN(flusher)
{
	mnt_teardown(_metadata, &self->m);
}

/* The times that write(2) changed follow the data.  Linux 6.12 waits, too. */
TEST_F(flusher, sync_does_not_wait_for_held_setattr)
{
	ASSERT_EQ(0, make_file_old(self->one));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	ASSERT_EQ(1, write(self->one, "x", 1));
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ })) {
		TH_LOG("sync(2) waits for the reply to SETATTR");
	}
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 2));
	EXPECT_EQ(0, find_req(&self->m, FUSE_SETATTR, REQ_REPLIED, 2));
	check_fsync_waits(_metadata, &self->m, self->one);
}

/*
 * The flusher itself does not wait: what is dirtied later is sent as well.  Linux 6.12
 * waits in the first sync(2).
 */
TEST_F(flusher, sync_behind_a_held_setattr_sends_the_rest)
{
	const struct req_match late = { .opcode = FUSE_WRITE, .start = 4096 };

	ASSERT_EQ(0, make_file_old(self->one));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	ASSERT_EQ(1, write(self->one, "x", 1));
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 2));

	ASSERT_EQ(1, pwrite(self->two, "y", 1, 4096));
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
	EXPECT_NE(0, reqlog_wait(self->m.log, &late, REQ_REPLIED, 1)) {
		TH_LOG("the flusher waits for the reply to SETATTR");
	}
	EXPECT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 3));
	EXPECT_EQ(0, find_req(&self->m, FUSE_SETATTR, REQ_REPLIED, 2));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
}

/*
 * close(2) holds the inode exclusively while it waits, and the flusher needs
 * it.
 */
TEST_F(flusher, sync_does_not_wait_for_blocked_close)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(1, write(self->one, "x", 1));
	c = mnt_call(&self->m, &call_close, (struct call_arg){
		.fd = self->one });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));

	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ })) {
		TH_LOG("sync(2) waits for a close(2) that waits for WRITE");
	}
	EXPECT_FALSE(call_returned(c));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);
}

/*
 *   "source" --- READ, held, then released ---> page of "file", mapped: dirty
 *                                                 |  when the READ begins
 *                                                 |  and again when it ends;
 *                                  in between:    '--- WRITE ---> held
 */
FIXTURE(redirtied)
{
	struct mnt m;
	char *map;
	int fd;
};

FIXTURE_SETUP(redirtied)
{
	const struct server_opts opts = { .writeback_cache = true };
	long page = sysconf(_SC_PAGESIZE);
	struct call *c;
	int source;
	char *data;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->fd = open_mapped(&self->m, "file", &self->map);
	ASSERT_LE(0, self->fd);
	data = malloc(page);
	ASSERT_NE(NULL, data);
	fill_pattern(data, page, 2);
	ASSERT_EQ(0, server_put(self->m.ctl, "source", 0, data, page));
	source = mnt_open(&self->m, "source", O_RDONLY | O_DIRECT);
	ASSERT_LE(0, source);

	/*
	 * Dirty before it is pinned, too: then there is a WRITE for sure.  The
	 * fault reads the page, which is the first READ.
	 */
	self->map[0] = 'x';
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	c = mnt_call(&self->m, &call_pread, (struct call_arg){
		.fd = source, .buf = self->map, .len = page });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_READ, REQ_ARRIVED, 2));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	/* The oldest request is READ. */
	ASSERT_EQ(1, server_release(self->m.ctl, 1));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(page, c->ret);
	free(data);
}

FIXTURE_TEARDOWN(redirtied)
{
	mnt_teardown(_metadata, &self->m);
}

/*
 * The control: fsync waits for both, and the server ends up with the new data.
 */
static void check_both_writes(struct __test_metadata *_metadata,
			      struct _test_data_redirtied *self)
{
	long page = sysconf(_SC_PAGESIZE);
	char *seen = malloc(page);

	ASSERT_NE(NULL, seen);
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	check_fsync_waits(_metadata, &self->m, self->fd);
	EXPECT_EQ(2, count_req(&self->m, FUSE_WRITE, REQ_REPLIED)) {
		TH_LOG("the page was not redirtied: nothing was tested");
	}
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, seen, page));
	EXPECT_EQ(-1, first_difference(self->map, seen, page));
	free(seen);
}

TEST_F(redirtied, sync_does_not_wait_for_redirtied_page)
{
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
	check_both_writes(_metadata, self);
}

TEST_F(redirtied, syncfs_does_not_wait_for_redirtied_page)
{
	EXPECT_EQ(0, mnt_run(&self->m, &call_syncfs, (struct call_arg){
		.fd = self->fd }));
	check_both_writes(_metadata, self);
}

TEST_HARNESS_MAIN
