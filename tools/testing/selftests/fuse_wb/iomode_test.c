// SPDX-License-Identifier: GPL-2.0
/*
 * The io mode of an inode: parallel direct writers, or the page cache.
 *
 *               first use of the cache
 *   parallel <--------------------------> caching
 *               last close of its users
 *
 * With FOPEN_PARALLEL_DIRECT_WRITES direct writers run in parallel while the
 * page cache of the file is unused, and are serialized otherwise.  The cache is
 * used by an open without O_DIRECT and FOPEN_DIRECT_IO, by a mapping, and by a
 * descriptor that has lost O_DIRECT.  The tests count how many WRITEs of four
 * writers the server has simultaneously.
 *
 * Linux 6.12 does this for FOPEN_DIRECT_IO only, not for plain O_DIRECT; and a
 * task that waits there for a writer cannot be killed.
 *
 * Promise: direct-parallel
 */

#include <sched.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "child.h"
#include "common.h"

#define WRITERS	4
#define PAGE	4096
#define PAGES	8

FIXTURE(iomode)
{
	struct mnt m;
	int fd;
	int fd2;
	char *data;
	struct call *writer[WRITERS];
};

/* flags: of the descriptors; open_flags: of the replies to their OPEN. */
FIXTURE_VARIANT(iomode)
{
	int flags;
	__u32 open_flags;
	bool writeback_cache;
};

FIXTURE_VARIANT_ADD(iomode, fopen_direct_io)
{
	.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
};

FIXTURE_VARIANT_ADD(iomode, o_direct)
{
	.flags = O_DIRECT,
	.open_flags = FOPEN_PARALLEL_DIRECT_WRITES,
};

FIXTURE_VARIANT_ADD(iomode, o_direct_writeback)
{
	.flags = O_DIRECT,
	.open_flags = FOPEN_PARALLEL_DIRECT_WRITES,
	.writeback_cache = true,
};

FIXTURE_SETUP(iomode)
{
	const struct server_opts opts = {
		.async_dio = true,
		.writeback_cache = variant->writeback_cache,
		.open_flags = variant->open_flags,
		.init_flags = FUSE_DIRECT_IO_ALLOW_MMAP | FUSE_ATOMIC_O_TRUNC,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->data = aligned_alloc(PAGE, PAGES * PAGE);
	ASSERT_NE(NULL, self->data);
	fill_pattern(self->data, PAGES * PAGE, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data,
				PAGES * PAGE));
	self->fd = mnt_open(&self->m, "file", O_RDWR | variant->flags);
	ASSERT_LE(0, self->fd);
	self->fd2 = mnt_open(&self->m, "file", O_RDWR | variant->flags);
	ASSERT_LE(0, self->fd2);
}

FIXTURE_TEARDOWN(iomode)
{
	mnt_teardown(_metadata, &self->m);
}

/* Start one writer per page, from page @first on, with all WRITEs held. */
static void start_writers(struct __test_metadata *_metadata,
			  struct _test_data_iomode *self,
			  const struct call_op *op, int nr, int first)
{
	int i;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	for (i = 0; i < nr; i++) {
		self->writer[i] = mnt_call(&self->m, op, (struct call_arg){
			.fd = self->fd2, .len = PAGE, .buf = self->data,
			.off = (first + i) * PAGE });
		ASSERT_NE(NULL, self->writer[i]);
	}
}

static void end_writers(struct __test_metadata *_metadata,
			struct _test_data_iomode *self, int nr)
{
	int i;

	ASSERT_LE(1, server_release(self->m.ctl, 0));
	for (i = 0; i < nr; i++) {
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->writer[i]));
		EXPECT_EQ(PAGE, self->writer[i]->ret);
	}
}

/* Exactly that many of @nr writers have their WRITE at the server. */
static void check_writers(struct __test_metadata *_metadata,
			  struct _test_data_iomode *self,
			  const struct call_op *op, int first, int together)
{
	int before = count_req(&self->m, FUSE_WRITE, REQ_ARRIVED), i;

	start_writers(_metadata, self, op, WRITERS, first);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED,
			       before + together));
	for (i = 0; i < WRITERS; i++)
		EXPECT_EQ(CALL_BLOCKED,
			  call_stays_blocked(&self->m, self->writer[i]));
	EXPECT_EQ(before + together,
		  count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	end_writers(_metadata, self, WRITERS);
}

static void check_parallel(struct __test_metadata *_metadata,
			   struct _test_data_iomode *self)
{
	check_writers(_metadata, self, &call_pwrite, 0, WRITERS);
}

static void check_serial(struct __test_metadata *_metadata,
			 struct _test_data_iomode *self)
{
	check_writers(_metadata, self, &call_pwrite, 0, 1);
}

/* Open the file in caching mode. */
static int open_cached(struct _test_data_iomode *self, int flags)
{
	return server_open_flags(self->m.ctl, FOPEN_KEEP_CACHE) ? -1 :
		mnt_open(&self->m, "file", O_RDWR | flags);
}

TEST_F(iomode, writers_go_together)
{
	check_parallel(_metadata, self);
}

/* And the file has the right size afterwards. */
TEST_F(iomode, extending_writers_go_one_by_one)
{
	struct stat st;

	check_writers(_metadata, self, &call_pwrite, PAGES, 1);
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ((PAGES + WRITERS) * PAGE, st.st_size);
	check_parallel(_metadata, self);
}

TEST_F(iomode, appending_writers_go_one_by_one)
{
	struct stat st;

	ASSERT_EQ(0, fcntl(self->fd2, F_SETFL, variant->flags | O_APPEND));
	check_serial(_metadata, self);
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ((PAGES + WRITERS) * PAGE, st.st_size);
}

static long do_pwrite_as_user(const struct call_arg *arg)
{
	/* For this thread only; it loses CAP_FSETID. */
	setfsuid(1);
	return pwrite(arg->fd, arg->buf, arg->len, arg->off);
}

static const struct call_op call_pwrite_as_user = {
	"pwrite", SYS_pwrite64, do_pwrite_as_user
};

/* Here the kernel, not the server, has to clear the mode bit. */
TEST_F(iomode, writer_that_drops_privileges_goes_alone)
{
	struct stat st;

	ASSERT_EQ(0, fchmod(self->fd, 04777));
	check_writers(_metadata, self, &call_pwrite_as_user, 0,
		      variant->flags & O_DIRECT ? 1 : WRITERS);
	ASSERT_EQ(0, fstat(self->fd, &st));
	if (variant->flags & O_DIRECT)
		EXPECT_EQ(0777U, st.st_mode & 07777);
}

TEST_F(iomode, cached_open_lasts_until_its_close)
{
	int first = open_cached(self, 0), second = open_cached(self, 0);

	ASSERT_LE(0, first);
	ASSERT_LE(0, second);
	check_serial(_metadata, self);
	ASSERT_EQ(0, close(first));
	check_serial(_metadata, self);
	ASSERT_EQ(0, close(second));
	check_parallel(_metadata, self);
}

/* Until the mapped descriptor is closed, not until munmap. */
TEST_F(iomode, shared_mapping_lasts_until_close)
{
	char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);

	ASSERT_NE(MAP_FAILED, map);
	check_serial(_metadata, self);
	ASSERT_EQ(0, munmap(map, PAGE));
	check_serial(_metadata, self);
	ASSERT_EQ(0, close(self->fd));
	check_parallel(_metadata, self);
}

TEST_F(iomode, mapping_outlives_close)
{
	char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);

	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, close(self->fd));
	check_serial(_metadata, self);
	ASSERT_EQ(0, munmap(map, PAGE));
	check_parallel(_metadata, self);
}

/* Only FOPEN_DIRECT_IO is permanent. */
TEST_F(iomode, descriptor_without_o_direct_uses_the_cache)
{
	int together = variant->flags & O_DIRECT ? 1 : WRITERS;

	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	check_parallel(_metadata, self);
	ASSERT_EQ(PAGE, pread(self->fd, self->data, PAGE, 0));
	check_writers(_metadata, self, &call_pwrite, 0, together);
	/* After setting O_DIRECT again it is still a user of the cache. */
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, variant->flags));
	check_writers(_metadata, self, &call_pwrite, 0, together);
	ASSERT_EQ(0, close(self->fd));
	check_parallel(_metadata, self);
}

static struct call_arg open_arg(struct _test_data_iomode *self, char *path,
				size_t size, unsigned int flags)
{
	snprintf(path, size, "%s/file", self->m.dir);
	return (struct call_arg){ .buf = path, .flags = O_RDWR | flags };
}

TEST_F(iomode, caching_open_waits_for_parallel_write)
{
	struct call *c;
	char path[128];

	start_writers(_metadata, self, &call_pwrite, 1, 0);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_EQ(0, server_open_flags(self->m.ctl, 0));
	c = mnt_call(&self->m, &call_open, open_arg(self, path, sizeof(path),
						    0));
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	end_writers(_metadata, self, 1);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_LE(0, c->ret);
	check_serial(_metadata, self);
	ASSERT_EQ(0, close(c->ret));
	check_parallel(_metadata, self);
}

/*
 * Kill a task that opens the file with @flags; new writers are parallel again.
 */
static void check_open_killed(struct __test_metadata *_metadata,
			      struct _test_data_iomode *self,
			      unsigned int flags)
{
	char path[128];
	pid_t pid;

	start_writers(_metadata, self, &call_pwrite, 1, 0);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_EQ(0, server_open_flags(self->m.ctl, 0));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_RELEASE));
	pid = child_start(CLONE_FILES, &call_open,
			  open_arg(self, path, sizeof(path), flags));
	ASSERT_LE(0, pid);
	EXPECT_TRUE(child_stays_blocked(&self->m, pid, &call_open));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&self->m, pid));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->writer[0]));
	check_parallel(_metadata, self);
}

/*
 * Promise: direct-kill
 */
TEST_F(iomode, caching_open_behind_parallel_write_can_be_killed)
{
	check_open_killed(_metadata, self, 0);
}

/*
 * Promise: direct-kill
 */
TEST_F(iomode, truncating_open_behind_parallel_write_can_be_killed)
{
	check_open_killed(_metadata, self, O_TRUNC);
}

/*
 * mmap(2) holds the mmap_lock, which the writer may need to fault in its
 * buffer.
 *
 * Promise: direct-kill
 */
TEST_F(iomode, mmap_does_not_wait_for_parallel_write)
{
	start_writers(_metadata, self, &call_pwrite, 1, 0);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(0, mnt_run(&self->m, &call_mmap, (struct call_arg){
		.fd = self->fd, .len = PAGE, .flags = MAP_SHARED }));
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));

	/*
	 * From now on writers are serialized, even before the first completes.
	 */
	self->writer[1] = mnt_call(&self->m, &call_pwrite, (struct call_arg){
		.fd = self->fd2, .len = PAGE, .off = PAGE,
		.buf = self->data });
	ASSERT_NE(NULL, self->writer[1]);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, self->writer[1]));
	EXPECT_EQ(1, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	end_writers(_metadata, self, 2);
	check_serial(_metadata, self);
}

static long do_mmap_and_close(const struct call_arg *arg)
{
	char *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, arg->fd, 0);

	return map == MAP_FAILED || munmap(map, PAGE) ? -1 : close(arg->fd);
}

static const struct call_op call_mmap_and_close = {
	"mmap and close", SYS_close, do_mmap_and_close
};

/* With writeback cache close(2) itself waits for the writer, in FLUSH. */
TEST_F(iomode, mapping_that_goes_before_the_writer_leaves_no_trace)
{
	struct call *c;
	int fd;

	ASSERT_EQ(0, server_open_flags(self->m.ctl, variant->open_flags |
				       FOPEN_NOFLUSH));
	fd = mnt_open(&self->m, "file", O_RDWR | variant->flags);
	ASSERT_LE(0, fd);
	start_writers(_metadata, self, &call_pwrite, 1, 0);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	c = mnt_call(&self->m, &call_mmap_and_close, (struct call_arg){
		.fd = fd });
	ASSERT_NE(NULL, c);
	if (!variant->writeback_cache)
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	end_writers(_metadata, self, 1);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(0, c->ret);
	check_parallel(_metadata, self);
}

TEST_HARNESS_MAIN
