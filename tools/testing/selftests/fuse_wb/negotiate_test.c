// SPDX-License-Identifier: GPL-2.0
/*
 * With the writeback cache, and without.
 *
 * The server requests FUSE_WRITEBACK_CACHE in its reply to INIT, or does not.
 * With it, a sound kernel delays writes, trusts its own size and times and
 * flushes them; without it, it does none of this: a write is sent before
 * write(2) returns, and the server's attributes are used.  The flags that the
 * server returns for single files work on both.
 *
 * Files with DAX have no pages to write back.  Only virtiofs has such files, and
 * the guest has no virtiofs.
 *
 * Promise: policy-05
 */

#include <dirent.h>
#include <sys/stat.h>

#include "common.h"
#include "attr_request.h"

#define FILE_NAME	"file"
#define OLD_SECONDS	1000

/*
 *   fd: "file", two pages, which the kernel has not read
 */
FIXTURE(policy)
{
	struct mnt m;
	ssize_t page;
	ssize_t len;
	int fd;
	char *data;
	char *seen;
};

FIXTURE_VARIANT(policy)
{
	bool writeback_cache;
};

FIXTURE_VARIANT_ADD(policy, cached) { true };

FIXTURE_VARIANT_ADD(policy, through) { false };

static void setup_policy(struct __test_metadata *_metadata,
			 struct _test_data_policy *self, bool writeback_cache,
			 const void *variant)
{
	const struct server_opts opts = { .writeback_cache = writeback_cache };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->len = 2 * self->page;
	file_setup(_metadata, &self->m, FILE_NAME, self->len, 1, &self->data,
		   &self->seen);
	ASSERT_EQ(0, server_set_times(self->m.ctl, FILE_NAME, OLD_SECONDS));
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_SETUP(policy)
{
	setup_policy(_metadata, self, variant->writeback_cache, variant);
}

FIXTURE_TEARDOWN(policy)
{
	mnt_teardown(_metadata, &self->m);
}

TEST_F(policy, readdir_lists_the_names)
{
	struct dirent *entry;
	int others = 0;
	DIR *dir;

	ASSERT_EQ(0, server_put(self->m.ctl, "other", 0, "o", 1));
	dir = opendir(self->m.dir);
	ASSERT_NE(NULL, dir);
	while ((entry = readdir(dir)))
		others += strcmp(entry->d_name, FILE_NAME) != 0;
	closedir(dir);
	EXPECT_EQ(1, others);
	EXPECT_LE(1, count_req(&self->m, FUSE_READDIR, REQ_ARRIVED));
	EXPECT_EQ(0, count_req(&self->m, FUSE_READDIRPLUS, REQ_ARRIVED));
}

/* Attributes that the kernel does not change always come from the server. */
TEST_F(policy, stat_asks_when_it_has_to)
{
	const struct stat other = { .st_mode = 0444, .st_uid = 1234,
				    .st_atim.tv_sec = 77 };
	struct stat st;

	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(self->len, st.st_size);
	EXPECT_EQ(OLD_SECONDS, st.st_mtim.tv_sec);
	EXPECT_EQ(0, count_req(&self->m, FUSE_GETATTR, REQ_ARRIVED)) {
		TH_LOG("GETATTR was sent for attributes that LOOKUP returned");
	}

	ASSERT_EQ(0, server_setattr(self->m.ctl, FILE_NAME, &other,
				    FATTR_MODE | FATTR_UID | FATTR_ATIME));
	ASSERT_EQ(0, server_inval(self->m.ctl, 2, -1, 0));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(1, count_req(&self->m, FUSE_GETATTR, REQ_ARRIVED));
	EXPECT_EQ((mode_t)(S_IFREG | 0444), st.st_mode);
	EXPECT_EQ(1234U, st.st_uid);
	EXPECT_EQ(77, st.st_atim.tv_sec);
}

/* FOPEN_DIRECT_IO: the page cache is not used. */
TEST_F(policy, direct_io_file_is_not_cached)
{
	struct call *c;
	int fd;

	ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_DIRECT_IO));
	fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	c = mnt_call(&self->m, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = "hello", .len = 5, .off = self->len });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(5, c->ret);
	EXPECT_EQ(self->len + 5, kernel_size(fd));
	EXPECT_EQ(self->len + 5, server_size(self->m.ctl, FILE_NAME));
	EXPECT_EQ(2, pread(fd, self->seen, 2, self->len));
	EXPECT_EQ(2, pread(fd, self->seen, 2, self->len));
	EXPECT_EQ(2, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
}

/* FOPEN_KEEP_CACHE: cached data is not read again after the next open. */
TEST_F(policy, open_keeps_or_drops_cached_pages)
{
	int fd, reads;

	ASSERT_EQ(self->len, pread(self->fd, self->seen, self->len, 0));
	reads = count_req(&self->m, FUSE_READ, REQ_ARRIVED);
	EXPECT_LE(1, reads);
	ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_KEEP_CACHE));
	fd = mnt_open(&self->m, FILE_NAME, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(self->len, pread(fd, self->seen, self->len, 0));
	EXPECT_EQ(reads, count_req(&self->m, FUSE_READ, REQ_ARRIVED));

	ASSERT_EQ(0, server_open_flags(self->m.ctl, 0));
	fd = mnt_open(&self->m, FILE_NAME, O_RDONLY);
	ASSERT_LE(0, fd);
	fill_pattern(self->data, self->len, 2);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->data,
				self->len));
	ASSERT_EQ(self->len, pread(fd, self->seen, self->len, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len));
	EXPECT_LT(reads, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
}

/* FOPEN_NOFLUSH is for files without data to flush. */
TEST_F(policy, noflush_file_is_flushed_when_it_may_be_dirty)
{
	int fd;

	ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_NOFLUSH));
	fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, mnt_run(&self->m, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = "x", .len = 1 }));
	ASSERT_EQ(0, close_copy(&self->m, fd));
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(variant->writeback_cache,
		  count_req(&self->m, FUSE_FLUSH, REQ_ARRIVED));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->seen, 1));
	EXPECT_EQ('x', self->seen[0]);
}

/* A connection with the writeback cache. */
FIXTURE(cached)
{
	struct _test_data_policy p;
};

FIXTURE_SETUP(cached)
{
	setup_policy(_metadata, &self->p, true, variant);
}

FIXTURE_TEARDOWN(cached)
{
	mnt_teardown(_metadata, &self->p.m);
}

/*
 * The server does not even run.
 *
 * Promise: policy-15
 */
TEST_F(cached, write_returns_before_the_server_has_seen_a_byte)
{
	struct _test_data_policy *p = &self->p;

	/*
	 * The first write queries security.capability, and later ones do not.
	 */
	ASSERT_EQ(1, pwrite(p->fd, p->data, 1, 0));
	ASSERT_EQ(0, server_freeze(&p->m));
	EXPECT_EQ(p->len, mnt_run(&p->m, &call_pwrite, (struct call_arg){
		.fd = p->fd, .buf = p->data, .len = p->len, .off = p->len }));
	EXPECT_EQ(2 * p->len, kernel_size(p->fd));
	ASSERT_EQ(0, server_thaw(&p->m));
	ASSERT_EQ(0, fence(&p->m));
	EXPECT_EQ(0, count_req(&p->m, FUSE_WRITE, REQ_ARRIVED));

	/* The control: the data is cached, not lost. */
	ASSERT_EQ(0, start_writeback(&p->m, p->fd));
	ASSERT_EQ(0, await_writes(&p->m));
	EXPECT_EQ(2 * p->len, server_size(p->m.ctl, FILE_NAME));
}

/* A connection without it. */
FIXTURE(through)
{
	struct _test_data_policy p;
};

FIXTURE_SETUP(through)
{
	setup_policy(_metadata, &self->p, false, variant);
}

FIXTURE_TEARDOWN(through)
{
	mnt_teardown(_metadata, &self->p.m);
}

/* Also for a part of a page that is not in the cache: there is no READ. */
TEST_F(through, write_returns_when_write_is_answered)
{
	struct _test_data_policy *p = &self->p;
	struct call *c;
	int seq;

	ASSERT_EQ(0, hold_req(&p->m, FUSE_WRITE));
	c = mnt_call(&p->m, &call_pwrite, (struct call_arg){
		.fd = p->fd, .buf = "hello", .len = 5, .off = 100 });
	ASSERT_NE(NULL, c);
	seq = await_req(&p->m, FUSE_WRITE, REQ_ARRIVED, 1);
	ASSERT_NE(0, seq);
	EXPECT_EQ(100U, p->m.log->ev[seq - 1].req.off);
	EXPECT_EQ(5U, p->m.log->ev[seq - 1].req.size);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&p->m, c)) {
		TH_LOG("write(2) did not wait for the reply to WRITE");
	}
	ASSERT_EQ(1, server_release(p->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(5, c->ret);
	EXPECT_EQ(0, count_req(&p->m, FUSE_READ, REQ_ARRIVED));
}

static void check_server_size(struct __test_metadata *_metadata,
			      struct _test_data_policy *p, ssize_t size)
{
	const struct stat st = { .st_size = size };
	ssize_t old = size < p->len ? size : p->len;

	ASSERT_EQ(0, server_setattr(p->m.ctl, FILE_NAME, &st, FATTR_SIZE));
	ASSERT_EQ(0, attr_request_send(&p->m, &attr_request_getattr, FILE_NAME, p->fd));
	EXPECT_EQ(size, kernel_size(p->fd));
	EXPECT_EQ(size, lseek(p->fd, 0, SEEK_END));
	ASSERT_EQ(old, pread(p->fd, p->seen, old, 0));
	EXPECT_EQ(-1, first_difference(p->data, p->seen, old));
	EXPECT_EQ(size > old, pread(p->fd, p->seen, 1, old));
}

TEST_F(through, smaller_size_of_server_is_believed)
{
	struct _test_data_policy *p = &self->p;

	ASSERT_EQ(p->len, pread(p->fd, p->seen, p->len, 0));
	check_server_size(_metadata, p, 100);
}

TEST_F(through, larger_size_of_server_is_believed)
{
	struct _test_data_policy *p = &self->p;

	ASSERT_EQ(p->len, pread(p->fd, p->seen, p->len, 0));
	check_server_size(_metadata, p, p->len + 100);
}

/* A broken kernel keeps its own times, and sends them to the server. */
TEST_F(through, times_of_server_are_believed)
{
	struct _test_data_policy *p = &self->p;
	struct stat st, server;

	ASSERT_EQ(1, pwrite(p->fd, "x", 1, 0));
	ASSERT_EQ(0, server_stat(p->m.ctl, FILE_NAME, &server));
	ASSERT_EQ(0, fstat(p->fd, &st));
	EXPECT_EQ(0, memcmp(&server.st_mtim, &st.st_mtim, sizeof(st.st_mtim)));
	ASSERT_EQ(0, server_set_times(p->m.ctl, FILE_NAME, OLD_SECONDS));
	ASSERT_EQ(0, attr_request_send(&p->m, &attr_request_getattr, FILE_NAME, p->fd));
	ASSERT_EQ(0, fstat(p->fd, &st));
	EXPECT_EQ(OLD_SECONDS, st.st_mtim.tv_sec);
	EXPECT_EQ(OLD_SECONDS, st.st_ctim.tv_sec);
	ASSERT_EQ(0, mnt_run(&p->m, &call_close, (struct call_arg){
		.fd = p->fd }));
	EXPECT_EQ(0, count_req(&p->m, FUSE_SETATTR, REQ_ARRIVED));
}

TEST_HARNESS_MAIN
