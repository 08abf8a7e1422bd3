// SPDX-License-Identifier: GPL-2.0
/*
 * Queries about the data of a file that are sent to the server.
 *
 * lseek(2) with SEEK_DATA or SEEK_HOLE becomes LSEEK, and ioctl(2) IOCTL.  The
 * server only knows the data that it was sent.  A broken kernel sends the query
 * while some of the data is only in the page cache: a program that copies what
 * SEEK_DATA finds loses it.  A sound one sends dirty data, waits for the
 * replies, and then sends the query; SIGKILL ends that wait.  Linux 6.12 is
 * broken.
 *
 * Promise: questions
 */

#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "child.h"
#include "common.h"
#include "fs_query.h"

#define FILE_NAME	"file"
#define PAGES		4

static long do_seek(const struct call_arg *arg)
{
	return lseek(arg->fd, arg->off, arg->flags);
}

static long do_sum(const struct call_arg *arg)
{
	__u64 sum;

	return ioctl(arg->fd, FS_QUERY_SUM, &sum) ? -1 : (long)sum;
}

static const struct call_op call_seek = { "lseek", SYS_lseek, do_seek };

static const struct call_op call_sum = { "ioctl", SYS_ioctl, do_sum };

/*
 *   page of the file   0      1                2      3
 *   at the server      data   zeros            zeros  data
 *   in the cache              new data, dirty
 *
 *   reader: for the queries, open read-only
 */
FIXTURE(question)
{
	struct mnt m;
	ssize_t page;
	int fd;
	int reader;
	char *map;
	char *data;
	char *seen;
	long sum;
};

/* whence, from: for lseek(2); found: in pages, -1: the sum of all bytes */
FIXTURE_VARIANT(question)
{
	bool writeback_cache;
	const struct call_op *op;
	__u32 opcode;
	int whence;
	int from;
	int found;
};

FIXTURE_VARIANT_ADD(question, cached_seek_data)
{
	true, &call_seek, FUSE_LSEEK, SEEK_DATA, 1, 1
};

FIXTURE_VARIANT_ADD(question, cached_seek_hole)
{
	true, &call_seek, FUSE_LSEEK, SEEK_HOLE, 0, 2
};

FIXTURE_VARIANT_ADD(question, cached_ioctl)
{
	true, &call_sum, FUSE_IOCTL, 0, 0, -1
};

FIXTURE_VARIANT_ADD(question, through_seek_data)
{
	false, &call_seek, FUSE_LSEEK, SEEK_DATA, 1, 1
};

FIXTURE_VARIANT_ADD(question, through_seek_hole)
{
	false, &call_seek, FUSE_LSEEK, SEEK_HOLE, 0, 2
};

FIXTURE_VARIANT_ADD(question, through_ioctl)
{
	false, &call_sum, FUSE_IOCTL, 0, 0, -1
};

FIXTURE_SETUP(question)
{
	const struct server_opts opts = {
		.writeback_cache = variant->writeback_cache,
		.open_flags = FOPEN_KEEP_CACHE,
	};
	ssize_t i;

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	file_setup(_metadata, &self->m, FILE_NAME, PAGES * self->page, 1,
		   &self->data, &self->seen);
	memset(self->data + self->page, 0, 2 * self->page);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->data,
				PAGES * self->page));
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->reader = mnt_open(&self->m, FILE_NAME, O_RDONLY);
	ASSERT_LE(0, self->reader);
	self->map = mmap(NULL, PAGES * self->page, PROT_READ | PROT_WRITE,
			 MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);

	fill_pattern(self->data + self->page, self->page, 2);
	for (i = 0; i < PAGES * self->page; i++)
		self->sum += (unsigned char)self->data[i];
	ASSERT_LE(0, mnt_run(&self->m, variant->writeback_cache ?
			     &call_pwrite : &call_store, (struct call_arg){
		.fd = self->fd, .off = self->page, .len = self->page,
		.buf = self->data + self->page,
		.to = self->map + self->page }));
	ASSERT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
}

FIXTURE_TEARDOWN(question)
{
	mnt_teardown(_metadata, &self->m);
}

static struct call_arg question(struct _test_data_question *self,
				const struct _fixture_variant_question *variant)
{
	return (struct call_arg){
		.fd = self->reader, .off = variant->from * self->page,
		.flags = variant->whence };
}

TEST_F(question, reply_counts_what_was_dirty)
{
	EXPECT_EQ(variant->found < 0 ? self->sum : variant->found * self->page,
		  mnt_run(&self->m, variant->op, question(self, variant)));
	EXPECT_LT(find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1),
		  find_req(&self->m, variant->opcode, REQ_ARRIVED, 1));
	EXPECT_NE(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, PAGES * self->page);
}

TEST_F(question, question_follows_write_in_flight)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	c = mnt_call(&self->m, variant->op, question(self, variant));
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	EXPECT_EQ(0, find_req(&self->m, variant->opcode, REQ_ARRIVED, 1));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(variant->found < 0 ? self->sum : variant->found * self->page,
		  c->ret);
}

/* Promise: kill */
TEST_F(question, sigkill_ends_the_wait)
{
	pid_t pid;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	pid = child_start(CLONE_FILES, variant->op, question(self, variant));
	ASSERT_LE(0, pid);
	EXPECT_TRUE(child_stays_blocked(&self->m, pid, variant->op));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(&self->m, pid)) {
		TH_LOG("SIGKILL does not end %s", variant->op->name);
	}
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, PAGES * self->page);
}

TEST_HARNESS_MAIN
