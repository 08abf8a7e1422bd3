// SPDX-License-Identifier: GPL-2.0
/*
 * An open that needs the page cache, and direct writers that never pause.
 *
 * While parallel direct writes are in flight, an open in caching mode waits for
 * them.  Later writes must not make it wait longer: an asynchronous writer with a
 * queue depth of two, as used by databases and fio, submits the next write before
 * the last one has ended.  A broken kernel lets the open wait as long as such a
 * writer runs; a sound one lets it proceed once the writes that were in flight
 * when it started have ended.
 *
 * Promise: direct-starve
 */

#include <sys/syscall.h>

#include "aio.h"
#include "common.h"

#define PAGE	4096
#define PAGES	8
#define BYTES	(PAGES * PAGE)
#define ROUNDS	20

/* Writers that call pwrite(2) in a loop: each on its own pages */
#define WRITERS	2

/*
 *   fd: "file", O_DIRECT, for the writers
 *   data: what the file holds
 */
FIXTURE(starve)
{
	struct mnt m;
	int fd;
	char *data;
	char *seen;
	char path[128];
	struct aio aio[ROUNDS + 1];
};

FIXTURE_VARIANT(starve)
{
	__u32 open_flags;
	bool writeback_cache;
};

FIXTURE_VARIANT_ADD(starve, o_direct) { };

FIXTURE_VARIANT_ADD(starve, o_direct_writeback) { .writeback_cache = true };

FIXTURE_VARIANT_ADD(starve, fopen_direct_io) { .open_flags = FOPEN_DIRECT_IO };

FIXTURE_SETUP(starve)
{
	const struct server_opts opts = {
		.async_dio = true,
		.writeback_cache = variant->writeback_cache,
		.open_flags = variant->open_flags |
			      FOPEN_PARALLEL_DIRECT_WRITES,
		.threads = 2,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->data = aligned_alloc(PAGE, BYTES);
	self->seen = aligned_alloc(PAGE, BYTES);
	ASSERT_TRUE(self->data && self->seen);
	fill_pattern(self->data, BYTES, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data, BYTES));
	self->fd = mnt_open(&self->m, "file", O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->fd);
	snprintf(self->path, sizeof(self->path), "%s/file", self->m.dir);
	ASSERT_EQ(0, server_open_flags(self->m.ctl, 0));
}

FIXTURE_TEARDOWN(starve)
{
	mnt_teardown(_metadata, &self->m);
}

static struct call_arg open_arg(struct _test_data_starve *self)
{
	return (struct call_arg){ .buf = self->path, .flags = O_RDWR };
}

/* The page that is written in a round, with different bytes each time */
static struct call_arg write_arg(struct _test_data_starve *self, int round)
{
	char *page = self->data + round % PAGES * PAGE;

	fill_pattern(page, PAGE, round + 2);
	return (struct call_arg){
		.fd = self->fd, .buf = page, .len = PAGE,
		.off = page - self->data };
}

/* Submit the write of a round, and wait until it is in flight. */
static void submit(struct __test_metadata *_metadata,
		   struct _test_data_starve *self, int round)
{
	const struct call_arg arg = write_arg(self, round);

	ASSERT_EQ(0, aio_submit(&self->aio[round], IOCB_CMD_PWRITE, &arg));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, round + 1));
}

/* End the oldest write, that of a round; others stay in flight. */
static void end_oldest(struct __test_metadata *_metadata,
		       struct _test_data_starve *self, int round)
{
	ASSERT_EQ(1, server_release(self->m.ctl, 1));
	ASSERT_EQ(PAGE, aio_wait(&self->aio[round]));
}

static void check_file(struct __test_metadata *_metadata,
		       struct _test_data_starve *self, int fd)
{
	ASSERT_EQ(BYTES, pread(fd, self->seen, BYTES, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, BYTES));
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, self->seen, BYTES));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, BYTES));
}

TEST_F(starve, caching_open_returns_beside_a_queue_of_aio_writes)
{
	struct call *c;
	int round;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	submit(_metadata, self, 0);
	c = mnt_call(&self->m, &call_open, open_arg(self));
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, c));
	for (round = 1; round <= ROUNDS; round++) {
		submit(_metadata, self, round);
		end_oldest(_metadata, self, round - 1);
		if (round > 1)
			continue;
		EXPECT_EQ(CALL_RETURNED, call_wait_returned(c)) {
			TH_LOG("the open waits for a write that came later");
		}
	}
	/* The log shows a reply a moment after the kernel has it */
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(ROUNDS, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(PAGE, aio_wait(&self->aio[ROUNDS]));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_LE(0, c->ret);
	check_file(_metadata, self, c->ret);
}

/* The same for a first use of the cache that is not an open. */
TEST_F(starve, cached_read_returns_beside_a_queue_of_aio_writes)
{
	int fd, expected = CALL_BLOCKED;
	struct call *c;

	/*
	 * Opened for parallel writes, then O_DIRECT is cleared: see
	 * iomode_test.c.
	 */
	ASSERT_EQ(0, server_open_flags(self->m.ctl, variant->open_flags |
				       FOPEN_PARALLEL_DIRECT_WRITES));
	fd = mnt_open(&self->m, "file", O_RDWR | O_DIRECT);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fcntl(fd, F_SETFL, 0));
	/* FOPEN_DIRECT_IO is permanent: it reads from the server. */
	if (variant->open_flags & FOPEN_DIRECT_IO)
		expected = CALL_RETURNED;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	submit(_metadata, self, 0);
	c = mnt_call(&self->m, &call_pread, (struct call_arg){
		.fd = fd, .buf = self->seen, .len = BYTES });
	ASSERT_NE(NULL, c);
	EXPECT_EQ(expected, call_stays_blocked(&self->m, c));
	submit(_metadata, self, 1);
	end_oldest(_metadata, self, 0);
	EXPECT_EQ(CALL_RETURNED, call_wait_returned(c)) {
		TH_LOG("the read waits for a write that came later");
	}
	ASSERT_EQ(0, fence(&self->m));
	EXPECT_EQ(1, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(PAGE, aio_wait(&self->aio[1]));
	check_file(_metadata, self, fd);
}

/* Set to stop the writers that loop, shared by their threads */
static __u32 enough;

static long do_pwrite_loop(const struct call_arg *arg)
{
	while (!word_get(&enough))
		if (pwrite(arg->fd, arg->buf, arg->len, arg->off) !=
		    (ssize_t)arg->len)
			return -1;
	return 0;
}

static const struct call_op call_pwrite_loop = {
	"pwrite in a loop", SYS_pwrite64, do_pwrite_loop
};

TEST_F(starve, caching_open_returns_beside_writers_in_a_loop)
{
	struct call *writer[WRITERS];
	long fd;
	int i;

	word_set(&enough, 0);
	for (i = 0; i < WRITERS; i++) {
		writer[i] = mnt_call(&self->m, &call_pwrite_loop,
				     write_arg(self, i));
		ASSERT_NE(NULL, writer[i]);
	}
	for (i = 0; i < ROUNDS; i++) {
		int seen = count_req(&self->m, FUSE_WRITE, REQ_REPLIED);

		fd = mnt_run(&self->m, &call_open, open_arg(self));
		ASSERT_LE(0, fd);
		ASSERT_EQ(PAGE, pread(fd, self->seen, PAGE, 0));
		ASSERT_EQ(0, close(fd));
		/* The writers continue, too. */
		ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_REPLIED,
				       seen + WRITERS + 1));
	}
	word_set(&enough, 1);
	for (i = 0; i < WRITERS; i++) {
		ASSERT_EQ(CALL_RETURNED, call_wait_returned(writer[i]));
		EXPECT_EQ(0, writer[i]->ret);
	}
	fd = mnt_run(&self->m, &call_open, open_arg(self));
	ASSERT_LE(0, fd);
	check_file(_metadata, self, fd);
}

TEST_HARNESS_MAIN
