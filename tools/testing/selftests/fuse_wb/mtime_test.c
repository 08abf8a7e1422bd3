// SPDX-License-Identifier: GPL-2.0
/*
 * The mtime that the server has after the last close.
 *
 * With the writeback cache the kernel's mtime counts, and the server sets its
 * own, a later one, at each WRITE: SETATTR must follow the last WRITE.  A sound
 * kernel notes that the server has carried out a WRITE, and resends the times
 * once on close.  A broken one relies on the inode's dirty state alone, which is
 * clean when the times were sent while the data was dirty, or when the file was
 * changed twice in one clock tick: the file changes its mtime once the kernel has
 * dropped the inode.
 *
 * Promise: policy-07
 */

#include <sys/mman.h>
#include <sys/stat.h>

#include "common.h"

#define FILE_NAME	"file"
#define OTHER_NAME	"other"
#define OLD_SECONDS	1000
#define TRIES		300
#define TICKS		3

enum mtime_change {
	CHANGE_CREATED,
	CHANGE_TRUNCATED,
	CHANGE_SYNCED,
	CHANGE_RESIZED,
	CHANGE_DIRECT,
};

/* fd, map, direct: "file", at least one page */
FIXTURE(mtime)
{
	struct mnt m;
	ssize_t page;
	int fd;
	int direct;
	char *map;
	char *data;
	char path[128];
	char other[128];
};

static void setup_file(struct __test_metadata *_metadata,
		       struct _test_data_mtime *self, const void *variant)
{
	const struct server_opts opts = { .writeback_cache = true };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->data = malloc(self->page);
	ASSERT_NE(NULL, self->data);
	fill_pattern(self->data, self->page, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->data,
				self->page));
	/* So that the first change already updates the times */
	ASSERT_EQ(0, server_set_times(self->m.ctl, FILE_NAME, OLD_SECONDS));
	snprintf(self->path, sizeof(self->path), "%s/" FILE_NAME, self->m.dir);
	snprintf(self->other, sizeof(self->other), "%s/" OTHER_NAME,
		 self->m.dir);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->direct = mnt_open(&self->m, FILE_NAME, O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->direct);
	self->map = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_SETUP(mtime)
{
	setup_file(_metadata, self, variant);
}

FIXTURE_TEARDOWN(mtime)
{
	mnt_teardown(_metadata, &self->m);
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Does the server have the mtime that the kernel shows, after the close? */
static bool server_has_mtime(struct __test_metadata *_metadata, struct mnt *m,
			     int fd, struct stat *kernel)
{
	struct stat server;

	EXPECT_EQ(0, close_copy(m, fd));
	EXPECT_EQ(0, fstat(fd, kernel));
	EXPECT_EQ(0, server_stat(m->ctl, FILE_NAME, &server));
	return same_time(kernel->st_mtim, server.st_mtim);
}

/* The call sends the times while a page is dirty, before its WRITE. */
TEST_F(mtime, close_sends_again_what_rename_sent_before_the_write)
{
	struct mnt *m = &self->m;
	struct stat st;

	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	ASSERT_EQ(0, rename(self->path, self->other));
	ASSERT_EQ(0, rename(self->other, self->path));
	EXPECT_LE(1, count_req(m, FUSE_SETATTR, REQ_ARRIVED));
	EXPECT_EQ(0, count_req(m, FUSE_WRITE, REQ_ARRIVED));
	EXPECT_TRUE(server_has_mtime(_metadata, m, self->fd, &st)) {
		TH_LOG("the server has the time of the WRITE");
	}
}

TEST_F(mtime, close_sends_again_what_fallocate_sent_before_the_write)
{
	struct mnt *m = &self->m;
	struct stat st;

	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	ASSERT_EQ(0, fallocate(self->fd, 0, 0, 3 * self->page));
	EXPECT_EQ(1, count_req(m, FUSE_SETATTR, REQ_ARRIVED));
	EXPECT_EQ(0, count_req(m, FUSE_WRITE, REQ_ARRIVED));
	EXPECT_TRUE(server_has_mtime(_metadata, m, self->fd, &st)) {
		TH_LOG("the server has the time of the WRITE");
	}
}

/* And not when nothing has changed. */
TEST_F(mtime, times_are_sent_once)
{
	struct mnt *m = &self->m;
	int fd, i;

	for (i = 1; i <= 2; i++) {
		ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
		ASSERT_EQ(0, i == 1 ? close_copy(m, self->fd) :
				      fsync(self->fd));
		EXPECT_EQ(i, count_req(m, FUSE_SETATTR, REQ_ARRIVED));
		ASSERT_EQ(0, close_copy(m, self->fd));
		ASSERT_EQ(0, fsync(self->fd));
		fd = mnt_open(m, FILE_NAME, O_RDONLY);
		ASSERT_LE(0, fd);
		EXPECT_EQ(1, pread(fd, self->data, 1, 0));
		ASSERT_EQ(0, close(fd));
		EXPECT_EQ(i, count_req(m, FUSE_SETATTR, REQ_ARRIVED)) {
			TH_LOG("SETATTR was sent without need");
		}
	}
}

/* With FOPEN_DIRECT_IO the kernel does not know when the file was changed. */
TEST_F(mtime, direct_write_keeps_the_time_of_the_server)
{
	struct stat before, after;
	int fd;

	ASSERT_EQ(0, server_set_times(self->m.ctl, FILE_NAME, 1000));
	ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_DIRECT_IO));
	fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(self->page, pwrite(fd, self->data, self->page, 0));
	ASSERT_EQ(0, server_stat(self->m.ctl, FILE_NAME, &before));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, server_stat(self->m.ctl, FILE_NAME, &after));
	EXPECT_LT(1000, after.st_mtim.tv_sec);
	EXPECT_TRUE(same_time(before.st_mtim, after.st_mtim));
}

/* Two changes, the first of which is completely at the server. */
FIXTURE(ticks)
{
	struct _test_data_mtime t;
};

FIXTURE_VARIANT(ticks)
{
	enum mtime_change how;
};

FIXTURE_VARIANT_ADD(ticks, created) { CHANGE_CREATED };

FIXTURE_VARIANT_ADD(ticks, truncated) { CHANGE_TRUNCATED };

FIXTURE_VARIANT_ADD(ticks, synced) { CHANGE_SYNCED };

FIXTURE_VARIANT_ADD(ticks, resized) { CHANGE_RESIZED };

FIXTURE_VARIANT_ADD(ticks, direct) { CHANGE_DIRECT };

FIXTURE_SETUP(ticks)
{
	setup_file(_metadata, &self->t, variant);
}

FIXTURE_TEARDOWN(ticks)
{
	mnt_teardown(_metadata, &self->t.m);
}

static int reopen(struct _test_data_mtime *t, int flags)
{
	if (close(t->fd))
		return -1;
	if (flags & O_CREAT && unlink(t->path))
		return -1;
	t->fd = open(t->path, O_RDWR | flags, 0600);
	return t->fd < 0 ? -1 : 0;
}

static int first_change(struct _test_data_mtime *t, enum mtime_change how,
			int nth)
{
	switch (how) {
	case CHANGE_CREATED:
		return reopen(t, O_CREAT | O_EXCL);
	case CHANGE_TRUNCATED:
		return reopen(t, O_TRUNC) || fsync(t->fd) ? -1 : 0;
	case CHANGE_RESIZED:
		return ftruncate(t->fd, (2 + nth % 2) * t->page);
	default:
		return pwrite(t->fd, "x", 1, 0) == 1 && !fsync(t->fd) ? 0 : -1;
	}
}

static int second_change(struct _test_data_mtime *t, enum mtime_change how)
{
	switch (how) {
	case CHANGE_RESIZED:
		t->map[0]++;
		return 0;
	case CHANGE_DIRECT:
		return pwrite(t->direct, t->data, t->page, 0) == t->page ? 0 :
									   -1;
	default:
		return pwrite(t->fd, "y", 1, 0) == 1 ? 0 : -1;
	}
}

/*
 * Whether the clock ticks between two changes is random: the mtime of each must
 * be right, and the test needs some that fall into one tick.
 */
TEST_F(ticks, close_sends_the_time_of_two_changes_in_one_tick)
{
	struct _test_data_mtime *t = &self->t;
	int nth, ticks = 0, wrong = 0;
	struct stat before, after;

	for (nth = 0; nth < TRIES && ticks < TICKS; nth++) {
		ASSERT_EQ(0, first_change(t, variant->how, nth));
		ASSERT_EQ(0, fstat(t->fd, &before));
		ASSERT_EQ(0, second_change(t, variant->how));
		if (!server_has_mtime(_metadata, &t->m, t->fd, &after))
			wrong++;
		if (same_time(before.st_mtim, after.st_mtim))
			ticks++;
	}
	EXPECT_EQ(0, wrong) {
		TH_LOG("%d of %d files have the mtime of the WRITE", wrong,
		       nth);
	}
	EXPECT_EQ(TICKS, ticks) {
		TH_LOG("the clock ticked between nearly all changes");
	}
}

TEST_HARNESS_MAIN
