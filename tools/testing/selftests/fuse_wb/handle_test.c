// SPDX-License-Identifier: GPL-2.0
/*
 * The file handle that writeback uses.
 *
 * The server returned it in its reply to OPEN, may keep a descriptor for it,
 * and drops it at RELEASE.  A correct kernel finds a writable handle for every
 * dirty page, also for a page that is dirtied through a mapping after all
 * descriptors were closed, and sends RELEASE after the replies to all WRITEs
 * with that handle.  A broken one uses the handle of the first or last opener,
 * finds none and loses the data, or writes with a handle that was released.
 *
 * Promise: policy-01, policy-02
 */

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "child.h"
#include "common.h"
#include "writer.h"

#define FILE_NAME	"file"
#define PAGES		4

/*
 *   OPEN, read only    -- handle --.
 *   OPEN, to write     -- handle ---+-- dirty pages --- WRITE with which one?
 *   OPEN, read only    -- handle --'
 */
FIXTURE(handle)
{
	struct mnt m;
	size_t page;
	size_t len;
	char *data;
	char *seen;
};

/*
 * by_store: dirty the pages through a mapping; mode: access mode of the writer
 */
FIXTURE_VARIANT(handle)
{
	struct server_opts opts;
	bool by_store;
	int mode;
};

FIXTURE_VARIANT_ADD(handle, cached_write_only)
{
	.opts = { .writeback_cache = true, .splice_in = true,
		  .splice_out = true },
	.mode = O_WRONLY,
};

FIXTURE_VARIANT_ADD(handle, cached_store)
{
	.opts = { .writeback_cache = true },
	.by_store = true,
	.mode = O_RDWR,
};

FIXTURE_VARIANT_ADD(handle, through_store)
{
	.opts = { },
	.by_store = true,
	.mode = O_RDWR,
};

FIXTURE_SETUP(handle)
{
	if (!mnt_setup(_metadata, &self->m, &variant->opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->len = PAGES * self->page;
	file_setup(_metadata, &self->m, FILE_NAME, self->len, 1, &self->data,
		   &self->seen);
	fill_pattern(self->data, self->len, 2);
}

FIXTURE_TEARDOWN(handle)
{
	mnt_teardown(_metadata, &self->m);
}

/* Make every page of the file dirty. */
static bool make_dirty(struct _test_data_handle *self, bool by_store, int fd)
{
	char *map;

	if (!by_store)
		return pwrite(fd, self->data, self->len, 0) ==
		       (ssize_t)self->len;
	map = mmap(NULL, self->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return false;
	memcpy(map, self->data, self->len);
	return true;
}

/* The WRITEs had writable handles, and the server has the bytes. */
static void check_writes(struct __test_metadata *_metadata,
			 struct _test_data_handle *self)
{
	int i, nr = word_get(&self->m.log->nr);

	EXPECT_LE(1, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));
	for (i = 0; i < nr; i++) {
		const struct req_event *ev = &self->m.log->ev[i];
		int flags;

		if (ev->req.opcode != FUSE_WRITE)
			continue;
		flags = reqlog_open_flags(self->m.log, ev->req.fh);
		EXPECT_LE(0, flags);
		EXPECT_NE(O_RDONLY, flags & O_ACCMODE) {
			TH_LOG("WRITE with handle %llu, opened read-only",
			       ev->req.fh);
		}
		EXPECT_EQ(0, ev->err);
	}
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen,
				self->len));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len)) {
		TH_LOG("the server's bytes are not those written");
	}
}

/* Other openers make no difference, nor does the task that starts writeback. */
TEST_F(handle, writeback_uses_one_that_may_be_written_to)
{
	int first, fd, last;

	first = mnt_open(&self->m, FILE_NAME, O_RDONLY);
	ASSERT_LE(0, first);
	fd = mnt_open(&self->m, FILE_NAME, variant->mode);
	ASSERT_LE(0, fd);
	last = mnt_open(&self->m, FILE_NAME, O_RDONLY);
	ASSERT_LE(0, last);
	ASSERT_NE(MAP_FAILED, mmap(NULL, self->len, PROT_READ, MAP_SHARED, last,
				   0));
	ASSERT_TRUE(make_dirty(self, variant->by_store, fd));
	ASSERT_EQ(0, start_writeback(&self->m, last));
	ASSERT_EQ(0, await_writes(&self->m));
	check_writes(_metadata, self);
}

/*
 * The last opener, which wrote, has closed the file; another one is still
 * there.
 */
TEST_F(handle, writeback_goes_on_with_another_one)
{
	int gone, fd;

	fd = mnt_open(&self->m, FILE_NAME, variant->mode);
	ASSERT_LE(0, fd);
	ASSERT_TRUE(make_dirty(self, variant->by_store, fd));
	gone = mnt_open(&self->m, FILE_NAME, variant->mode);
	ASSERT_LE(0, gone);
	ASSERT_EQ(0, close(gone));
	ASSERT_NE(0, await_req(&self->m, FUSE_RELEASE, REQ_REPLIED, 1));
	/* That close has written everything back. */
	fill_pattern(self->data, self->len, 3);
	ASSERT_TRUE(make_dirty(self, variant->by_store, fd));
	ASSERT_EQ(0, start_writeback(&self->m, fd));
	ASSERT_EQ(0, await_writes(&self->m));
	check_writes(_metadata, self);
}

/* The mapping is the last reference to the file when its pages are dirtied. */
static int store_after_close(struct _test_data_handle *self, int to, bool exits)
{
	char *map, done = 1;
	int fd;

	fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	if (fd < 0)
		return 1;
	map = mmap(NULL, self->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || close(fd))
		return 1;
	memcpy(map, self->data, self->len);
	if (write(to, &done, 1) != 1)
		return 1;
	if (exits)
		return 0;
	return munmap(map, self->len) ? 1 : 0;
}

static void check_after_close(struct __test_metadata *_metadata,
			      struct _test_data_handle *self, bool exits)
{
	int ends[2];
	char done;
	pid_t pid;

	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(store_after_close(self, ends[1], exits));
	ASSERT_EQ(1, read(ends[0], &done, 1));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(1, count_req(&self->m, FUSE_FLUSH, REQ_ARRIVED)) {
		TH_LOG("the file was not closed before: nothing was tested");
	}
	/* Neither munmap(2) nor exit waits for the server. */
	ASSERT_EQ(0, mnt_run(&self->m, &call_waitpid, (struct call_arg){
		.fd = pid })) {
		TH_LOG("%s waits for the reply to WRITE",
		       exits ? "the exit" : "munmap");
	}
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(0, find_req(&self->m, FUSE_RELEASE, REQ_ARRIVED, 1)) {
		TH_LOG("RELEASE was sent before the reply to WRITE");
	}

	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_LT(find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
		  await_req(&self->m, FUSE_RELEASE, REQ_ARRIVED, 1));
	check_writes(_metadata, self);
}

TEST_F(handle, store_after_last_close_arrives_before_release_at_munmap)
{
	check_after_close(_metadata, self, false);
}

TEST_F(handle, store_after_last_close_arrives_before_release_at_exit)
{
	check_after_close(_metadata, self, true);
}

/* The flusher finds the handle as well. */
TEST_F(handle, sync_after_last_close_writes_with_it)
{
	char *map;
	int fd;

	fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, fd);
	map = mmap(NULL, self->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, close(fd));
	memcpy(map, self->data, self->len);
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(0, mnt_run(&self->m, &call_sync, (struct call_arg){ }));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_EQ(0, await_writes(&self->m));
	check_writes(_metadata, self);
	EXPECT_EQ(0, find_req(&self->m, FUSE_RELEASE, REQ_ARRIVED, 1));
	ASSERT_EQ(0, munmap(map, self->len));
	EXPECT_NE(0, await_req(&self->m, FUSE_RELEASE, REQ_REPLIED, 1));
}

/*
 *   first, killed: stores to "file" -- WRITE, SETATTR --> held; RELEASE follows them
 *   second, killed meanwhile: writes to "file" -- WRITE with which one?
 *
 * The second must not drop its own handle just because the first has one.
 */
FIXTURE(going)
{
	struct mnt m;
	struct writer first;
	struct writer second;
	char path[128];
	size_t len;
	char *data;
	char *seen;
};

FIXTURE_SETUP(going)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		/* Otherwise OPEN by the second would wait for dirty data. */
		.open_flags = FOPEN_KEEP_CACHE,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->len = PAGES * sysconf(_SC_PAGESIZE);
	file_setup(_metadata, &self->m, FILE_NAME, self->len, 1, &self->data,
		   &self->seen);
	fill_pattern(self->seen, self->len, 2);
	fill_pattern(self->data, self->len, 3);
	snprintf(self->path, sizeof(self->path), "%s/%s", self->m.dir,
		 FILE_NAME);
	self->first = (struct writer){ .path = self->path, .data = self->seen,
				       .len = self->len, .by_store = true };
	self->second = (struct writer){ .path = self->path, .data = self->data,
					.len = self->len };
}

FIXTURE_TEARDOWN(going)
{
	mnt_teardown(_metadata, &self->m);
}

static pid_t kill_writer(struct __test_metadata *_metadata, struct mnt *m,
			 struct writer *w)
{
	pid_t pid = writer_start(w);

	ASSERT_LT(0, pid);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	/* It may have exited or not: kill_test covers that. */
	ASSERT_LE(0, task_settles(m, pid));
	return pid;
}

/* Check that the server knows the handle of each WRITE. */
static void check_handles(struct __test_metadata *_metadata, struct mnt *m)
{
	int i, seq, writes = count_req(m, FUSE_WRITE, REQ_REPLIED);

	for (i = 1; i <= writes; i++) {
		seq = find_req(m, FUSE_WRITE, REQ_REPLIED, i);
		ASSERT_NE(0, seq);
		EXPECT_EQ(0, m->log->ev[seq - 1].err) {
			TH_LOG("WRITE %d has an invalid handle", i);
		}
	}
	EXPECT_LT(find_req(m, FUSE_WRITE, REQ_REPLIED, writes),
		  find_req(m, FUSE_RELEASE, REQ_ARRIVED, 2));
}

TEST_F(going, handle_that_is_about_to_go_does_not_count)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	struct mnt *m = &self->m;
	pid_t first, second;

	ASSERT_EQ(0, hold_req(m, FUSE_WRITE));
	ASSERT_EQ(0, hold_req(m, FUSE_SETATTR));
	first = kill_writer(_metadata, m, &self->first);
	ASSERT_NE(0, await_req(m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_LE(1, server_release_match(m->ctl, &writes));
	/* No more data is sent before RELEASE. */
	ASSERT_NE(0, await_req(m, FUSE_SETATTR, REQ_ARRIVED, 1));
	EXPECT_EQ(0, count_req(m, FUSE_RELEASE, REQ_ARRIVED));

	second = kill_writer(_metadata, m, &self->second);
	EXPECT_EQ(0, count_req(m, FUSE_RELEASE, REQ_ARRIVED));
	ASSERT_LE(1, server_release(m->ctl, 0));
	EXPECT_TRUE(child_was_killed(m, first));
	EXPECT_TRUE(child_was_killed(m, second));
	ASSERT_NE(0, await_req(m, FUSE_RELEASE, REQ_REPLIED, 2));

	check_handles(_metadata, m);
	ASSERT_EQ(0, server_get(m->ctl, FILE_NAME, 0, self->seen, self->len));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len)) {
		TH_LOG("the data of the second writer is lost");
	}
}

TEST_HARNESS_MAIN
