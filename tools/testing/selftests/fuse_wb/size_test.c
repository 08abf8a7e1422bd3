// SPDX-License-Identifier: GPL-2.0
/*
 * The file size with the writeback cache.
 *
 * With the writeback cache, write(2) extends a file before the server knows:
 * until the WRITEs have arrived, and in fact as long as it has the inode, the
 * kernel trusts only its own size.  A broken kernel uses the size of a reply
 * instead, and cuts off dirty bytes or extends the file; or it hides the new
 * size from other tasks, or sends bytes beyond EOF.
 *
 * Promise: policy-06, size-while-dirty
 */

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common.h"
#include "attr_request.h"

#define FILE_NAME	"file"

/*
 *   fd --- pwrite ---> dirty pages of "file", and a size not yet sent
 *   a reply to GETATTR, LOOKUP, READDIRPLUS or SETATTR --- another size --'
 *
 * data: what the file has to hold, all size bytes of it
 */
FIXTURE(told)
{
	struct mnt m;
	ssize_t page;
	ssize_t size;
	int fd;
	char *data;
	char *seen;
};

FIXTURE_VARIANT(told)
{
	const struct attr_request *ask;
	__u64 size;
};

FIXTURE_VARIANT_ADD(told, smaller_by_getattr) { &attr_request_getattr, 10 };

FIXTURE_VARIANT_ADD(told, smaller_by_lookup) { &attr_request_lookup, 10 };

FIXTURE_VARIANT_ADD(told, smaller_by_readdirplus) { &attr_request_readdirplus, 10 };

FIXTURE_VARIANT_ADD(told, smaller_by_setattr) { &attr_request_setattr, 10 };

FIXTURE_VARIANT_ADD(told, larger_by_getattr) { &attr_request_getattr, 100000 };

FIXTURE_VARIANT_ADD(told, larger_by_lookup) { &attr_request_lookup, 100000 };

FIXTURE_VARIANT_ADD(told, larger_by_readdirplus) { &attr_request_readdirplus, 100000 };

FIXTURE_VARIANT_ADD(told, larger_by_setattr) { &attr_request_setattr, 100000 };

FIXTURE_SETUP(told)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.readdirplus = true,
		.ask_always = true,
	};
	ssize_t old;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	old = 2 * self->page + 123;
	self->size = old + 2 * self->page;
	self->data = malloc(self->size);
	self->seen = malloc(self->size + 1);
	ASSERT_TRUE(self->data && self->seen);
	fill_pattern(self->data, self->size, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->data, old));
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(self->size - old, pwrite(self->fd, self->data + old,
					   self->size - old, old));
}

FIXTURE_TEARDOWN(told)
{
	mnt_teardown(_metadata, &self->m);
}

static void check_size(struct __test_metadata *_metadata,
		       struct _test_data_told *self)
{
	EXPECT_EQ(self->size, kernel_size(self->fd)) {
		TH_LOG("the kernel took the size of the reply");
	}
	EXPECT_EQ(self->size, lseek(self->fd, 0, SEEK_END));
	EXPECT_EQ(self->size, pread(self->fd, self->seen, self->size + 1, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->size)) {
		TH_LOG("dirty bytes were cut off");
	}
}

TEST_F(told, size_of_server_is_ignored)
{
	const struct req_match asked = { .opcode = variant->ask->opcode };

	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	ASSERT_EQ(0, server_rule(self->m.ctl, &asked, RULE_ATTR_SIZE,
				 variant->size));
	ASSERT_EQ(0, attr_request_send(&self->m, variant->ask, FILE_NAME, self->fd));
	check_size(_metadata, self);

	/* Nor after the server has invalidated the kernel's attributes. */
	ASSERT_EQ(1, pwrite(self->fd, self->data, 1, 0));
	ASSERT_EQ(0, server_inval(self->m.ctl, 2, -1, 0));
	ASSERT_EQ(0, attr_request_send(&self->m, variant->ask, FILE_NAME, self->fd));
	check_size(_metadata, self);

	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, self->size);
	/* Nor once the file is clean. */
	ASSERT_EQ(0, attr_request_send(&self->m, variant->ask, FILE_NAME, self->fd));
	check_size(_metadata, self);
}

/*
 * Files that grow only in the page cache.  The server's OPEN keeps the pages.
 *
 *   fd, fd2: "file", empty; names and attributes stay valid
 */
FIXTURE(size)
{
	struct mnt m;
	ssize_t page;
	int fd;
	int fd2;
	char *data;
	char *seen;
};

FIXTURE_SETUP(size)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.open_flags = FOPEN_KEEP_CACHE,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->data = calloc(16, self->page);
	self->seen = calloc(16, self->page);
	ASSERT_TRUE(self->data && self->seen);
	soil_free_memory();
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
	self->fd2 = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd2);
}

FIXTURE_TEARDOWN(size)
{
	mnt_teardown(_metadata, &self->m);
}

/* What is wrong with the size that another process sees; 0: nothing. */
static int other_process_sees(struct mnt *m, int fd, off_t size)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/" FILE_NAME, m->dir);
	if (stat(path, &st) || st.st_size != size)
		return 1;
	if (fstat(fd, &st) || st.st_size != size)
		return 2;
	return lseek(fd, 0, SEEK_END) != size ? 3 : 0;
}

/* A broken kernel queries the server, which does not know the size. */
TEST_F(size, size_is_seen_at_once_by_everybody)
{
	off_t size = 3 * self->page + 5;
	int append, status = -1;
	struct stat st;
	pid_t pid;

	append = mnt_open(&self->m, FILE_NAME, O_WRONLY | O_APPEND);
	ASSERT_LE(0, append);
	ASSERT_EQ(5, pwrite(self->fd, "hello", 5, size - 5));
	ASSERT_EQ(0, fstat(self->fd2, &st));
	EXPECT_EQ(size, st.st_size);
	EXPECT_EQ(size, lseek(self->fd2, 0, SEEK_END));
	ASSERT_EQ(3, write(append, "abc", 3));
	size += 3;
	EXPECT_EQ(8, pread(self->fd2, self->seen, self->page, size - 8));
	EXPECT_EQ(0, memcmp(self->seen, "helloabc", 8));

	/* The control: the server does not know the size. */
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	EXPECT_EQ(0, server_size(self->m.ctl, FILE_NAME));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(other_process_sees(&self->m, self->fd2, size));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* A broken kernel sends whole pages, and the server's file gets too long. */
TEST_F(size, writes_end_where_the_file_does)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	off_t size = 9 * self->page + 77;
	struct reqlog *log = self->m.log;
	__u64 last = 0;
	int i, seq;

	fill_pattern(self->data + self->page + 100, 3000, 1);
	ASSERT_EQ(3000, pwrite(self->fd, self->data + self->page + 100, 3000,
			       self->page + 100));
	fill_pattern(self->data + size - 200, 200, 2);
	ASSERT_EQ(200, pwrite(self->fd, self->data + size - 200, 200,
			      size - 200));
	ASSERT_EQ(0, close_copy(&self->m, self->fd));
	for (i = 1; (seq = reqlog_find(log, &writes, REQ_ARRIVED, i)); i++) {
		const struct req *req = &log->ev[seq - 1].req;

		EXPECT_GE((__u64)size, req->off + req->size);
		if (req->off + req->size > last)
			last = req->off + req->size;
	}
	EXPECT_EQ((__u64)size, last);
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, size);
}

/*
 * A broken kernel shows uninitialized memory, in the page that was written to
 * or in one that was not.
 */
TEST_F(size, bytes_between_are_zeros)
{
	off_t size = 6 * self->page + 1000;

	ASSERT_EQ(10, pwrite(self->fd, "0123456789", 10, 0));
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, size - 1));
	memcpy(self->data, "0123456789", 10);
	self->data[size - 1] = 'x';
	ASSERT_EQ(size, pread(self->fd2, self->seen, 16 * self->page, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, size));
	/* The READ is beyond the size that the server knows. */
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
	EXPECT_NE(0, find_req(&self->m, FUSE_READ, REQ_ARRIVED, 1));
}

/*
 * st_blocks comes from the server, which knows it once it has the data.
 *
 * Promise: cf576c58b3a2
 */
TEST_F(size, blocks_are_refreshed_after_close)
{
	size_t len = 4 * self->page;
	struct stat st;

	/* The kernel has cached st_blocks of 0. */
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(0, st.st_blocks);
	ASSERT_EQ((ssize_t)len, pwrite(self->fd, self->data, len, 0));
	ASSERT_EQ(0, close_copy(&self->m, self->fd));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ((blkcnt_t)(len / 512), st.st_blocks);
}

/*
 * tar(1) and cp(1) take a file with fewer blocks than its size needs for a sparse
 * one.  Data that the server was not sent, or has not replied to yet, is no hole.
 *
 * Promise: questions
 */
TEST_F(size, blocks_count_what_is_dirty_or_in_flight)
{
	size_t len = 4 * self->page;
	struct stat st;

	/* The kernel has cached st_blocks of 0. */
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(0, st.st_blocks);
	ASSERT_EQ((ssize_t)len, pwrite(self->fd, self->data, len, 0));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ((blkcnt_t)(len / 512), st.st_blocks) {
		TH_LOG("while dirty");
	}

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ((blkcnt_t)(len / 512), st.st_blocks) {
		TH_LOG("while the WRITE is in flight");
	}

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ((blkcnt_t)(len / 512), st.st_blocks) {
		TH_LOG("after the reply");
	}
}

/*
 * A hole is not counted: only dirty blocks are added.
 *
 * Promise: questions
 */
TEST_F(size, blocks_do_not_count_a_hole)
{
	struct stat st;

	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(0, st.st_blocks);
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 256 * self->page));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(self->page / 512, st.st_blocks);
}

/*
 * Another client changes the file while a SETATTR of this one is in flight, and
 * the server sends an invalidation.  The attributes in the reply to SETATTR are
 * then stale.
 *
 * Promise: 69efbff69f89
 */
TEST_F(size, setattr_from_elsewhere_is_seen)
{
	const struct stat elsewhere = { .st_mode = 0444, .st_uid = 1234 };
	struct stat st;
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	c = mnt_call(&self->m, &call_fchmod, (struct call_arg){
		.fd = self->fd, .flags = 0600 });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1));
	ASSERT_EQ(0, server_inval(self->m.ctl, 2, -1, 0));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret);

	ASSERT_EQ(0, server_setattr(self->m.ctl, FILE_NAME, &elsewhere,
				    FATTR_MODE | FATTR_UID));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ((mode_t)(S_IFREG | 0444), st.st_mode) {
		TH_LOG("the kernel uses the attributes of the reply to SETATTR");
	}
	EXPECT_EQ(1234U, st.st_uid);
}

TEST_HARNESS_MAIN
