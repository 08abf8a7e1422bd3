// SPDX-License-Identifier: GPL-2.0
/*
 * The server's features, tested by their effects on the kernel.
 *
 * The other tests rely on a server that replies to INIT and OPEN as configured,
 * and that notifies the kernel from inside a handler.  If it did not, they
 * would pass and prove nothing.
 */

#include <sys/mman.h>

#include "common.h"

#define FILE_NAME	"file"
#define LEN		(64 << 10)

FIXTURE(server)
{
	struct mnt m;
	int fd;
	char *data;
	char *seen;
};

FIXTURE_VARIANT(server)
{
	struct server_opts opts;
};

FIXTURE_VARIANT_ADD(server, copy)
{
	.opts = { .writeback_cache = true, .max_pages = 4 },
};

FIXTURE_VARIANT_ADD(server, splice_threads)
{
	.opts = { .writeback_cache = true, .max_pages = 4, .threads = 3,
		  .splice_in = true, .splice_out = true },
};

FIXTURE_VARIANT_ADD(server, gaps_in_buffer)
{
	.opts = { .writeback_cache = true, .max_pages = 4, .gaps = true },
};

FIXTURE_VARIANT_ADD(server, direct_io_allow_mmap)
{
	.opts = { .writeback_cache = true, .max_pages = 4,
		  .init_flags = FUSE_DIRECT_IO_ALLOW_MMAP },
};

FIXTURE_SETUP(server)
{
	if (!mnt_setup(_metadata, &self->m, &variant->opts, variant))
		return;
	self->data = malloc(LEN);
	self->seen = malloc(LEN);
	ASSERT_TRUE(self->data && self->seen);
	fill_pattern(self->data, LEN, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->data, LEN));
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(server)
{
	mnt_teardown(_metadata, &self->m);
}

/* Write and read back, each byte once, however the server transfers them. */
TEST_F(server, bytes_are_the_same_on_both_sides)
{
	char *there = malloc(LEN);

	ASSERT_NE(NULL, there);
	fill_pattern(self->data, LEN, 2);
	ASSERT_EQ(LEN, pwrite(self->fd, self->data, LEN, 0));
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, there, LEN));
	EXPECT_EQ(-1, first_difference(self->data, there, LEN));

	/* Not the cached bytes, but the server's */
	ASSERT_EQ(0, posix_fadvise(self->fd, 0, 0, POSIX_FADV_DONTNEED));
	ASSERT_EQ(LEN, pread(self->fd, self->seen, LEN, 0));
	EXPECT_LT(0, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
}

TEST_F(server, max_pages_limits_each_write)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	__u64 most = 4 * sysconf(_SC_PAGESIZE);
	unsigned int i;

	ASSERT_EQ(LEN, pwrite(self->fd, self->data, LEN, 0));
	ASSERT_EQ(0, fsync(self->fd));
	/*
	 * WRITEs may still be on their way to the server: wait for the pages.
	 */
	ASSERT_EQ(0, await_pages_in_writeback(0));
	EXPECT_EQ(LEN, reqlog_bytes(self->m.log, &writes, REQ_ARRIVED));
	for (i = 0; i < self->m.log->nr; i++)
		if (self->m.log->ev[i].req.opcode == FUSE_WRITE)
			EXPECT_GE(most, self->m.log->ev[i].req.size);
}

/*
 * Of three opens one has FOPEN_DIRECT_IO: only that one reads from the server
 * each time.
 */
TEST_F(server, open_flags_are_those_of_one_open)
{
	int direct, i;

	ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_DIRECT_IO |
				       FOPEN_KEEP_CACHE));
	direct = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, direct);
	ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_KEEP_CACHE));
	ASSERT_EQ(100, pread(self->fd, self->seen, 100, 0));
	ASSERT_LE(0, mnt_open(&self->m, FILE_NAME, O_RDWR));

	for (i = 1; i <= 3; i++) {
		int reads = count_req(&self->m, FUSE_READ, REQ_ARRIVED);

		EXPECT_EQ(100, pread(self->fd, self->seen, 100, 0));
		EXPECT_EQ(reads, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
		EXPECT_EQ(100, pread(direct, self->seen, 100, 0));
		EXPECT_EQ(reads + 1,
			  count_req(&self->m, FUSE_READ, REQ_ARRIVED));
	}
}

/* A flag that libfuse 3.14 does not know. */
TEST_F(server, direct_io_file_is_mapped_only_if_init_allows)
{
	bool allowed = variant->opts.init_flags & FUSE_DIRECT_IO_ALLOW_MMAP;
	int direct;
	char *map;

	ASSERT_EQ(0, server_open_flags(self->m.ctl, FOPEN_DIRECT_IO));
	direct = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, direct);
	map = mmap(NULL, LEN, PROT_READ, MAP_SHARED, direct, 0);
	EXPECT_EQ(allowed, map != MAP_FAILED);
	if (map != MAP_FAILED)
		EXPECT_EQ(-1, first_difference(self->data, map, LEN));
}

/* From the handler of FSYNC: clean pages are dropped, and read again. */
TEST_F(server, handler_can_invalidate)
{
	const struct req_match match = { .opcode = FUSE_FSYNC };
	const struct req_match note = {
		.opcode = REQ_NOTIFY + FUSE_NOTIFY_INVAL_INODE };
	int reads, seq;

	ASSERT_EQ(0, server_rule(self->m.ctl, &match, RULE_INVAL, 0));
	ASSERT_EQ(100, pread(self->fd, self->seen, 100, 0));
	reads = count_req(&self->m, FUSE_READ, REQ_ARRIVED);
	ASSERT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	seq = reqlog_find(self->m.log, &note, REQ_REPLIED, 1);
	ASSERT_LT(find_req(&self->m, FUSE_FSYNC, REQ_ARRIVED, 1), seq);
	EXPECT_LT(seq, await_req(&self->m, FUSE_FSYNC, REQ_REPLIED, 1));
	EXPECT_EQ(0, self->m.log->ev[seq - 1].refused);
	ASSERT_EQ(100, pread(self->fd, self->seen, 100, 0));
	EXPECT_LT(reads, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
}

/* From the handler of FALLOCATE: the server's bytes are in the cache. */
TEST_F(server, handler_can_store)
{
	const struct req_match match = { .opcode = FUSE_FALLOCATE };
	int reads;

	ASSERT_EQ(0, server_rule(self->m.ctl, &match, RULE_STORE, 0));
	ASSERT_EQ(100, pread(self->fd, self->seen, 100, 0));
	reads = count_req(&self->m, FUSE_READ, REQ_ARRIVED);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 10, "hello", 5));
	memcpy(self->data + 10, "hello", 5);
	ASSERT_EQ(0, mnt_run(&self->m, &call_fallocate, (struct call_arg){
		.fd = self->fd, .len = 100, .flags = FALLOC_FL_KEEP_SIZE }));
	ASSERT_EQ(100, pread(self->fd, self->seen, 100, 0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, 100));
	EXPECT_EQ(reads, count_req(&self->m, FUSE_READ, REQ_ARRIVED));
}

TEST_HARNESS_MAIN
