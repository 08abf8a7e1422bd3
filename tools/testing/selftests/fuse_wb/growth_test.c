// SPDX-License-Identifier: GPL-2.0
/*
 * A file that grows over bytes that were stored beyond EOF through a mapping.
 *
 * Such bytes stay in the EOF page, written back or not.  They are not part of
 * the file, and when it grows over them it has zeros there.  tail_test.c shows
 * that for one descriptor; here the file grows through another one, by direct
 * I/O, copy_file_range(2) or splice(2), while a request is in flight, or at the
 * server.  A broken kernel shows the stored bytes, or sends them.
 *
 * Promise: growth
 */

#include <sys/mman.h>
#include <sys/syscall.h>

#include "common.h"

#define FILE_NAME	"file"
#define SOURCE		"source"
#define ROOM		(4 * 4096)
#define OLD		100
#define STORED		200
#define STORE_LEN	100

/* @fd and @off are the source, @buf points to the target. */
struct place {
	int fd;
	loff_t off;
};

static long do_copy(const struct call_arg *arg)
{
	struct place *to = arg->buf;
	loff_t from = arg->off;

	return copy_file_range(arg->fd, &from, to->fd, &to->off, arg->len, 0);
}

static long do_splice(const struct call_arg *arg)
{
	loff_t off = arg->off;
	long ret = -1;
	int fds[2];

	if (pipe(fds))
		return -1;
	if (write(fds[1], arg->buf, arg->len) == (ssize_t)arg->len)
		ret = splice(fds[0], NULL, arg->fd, &off, arg->len, 0);
	close(fds[0]);
	close(fds[1]);
	return ret;
}

static const struct call_op call_copy = {
	"copy_file_range", SYS_copy_file_range, do_copy
};

static const struct call_op call_splice = { "splice", SYS_splice, do_splice };

/*
 *   fd ------ pwrite of OLD bytes
 *   map ----- store of STORE_LEN bytes at STORED, beyond EOF
 *   grower -- the file grows
 *
 * data: the expected final contents
 */
FIXTURE(growth)
{
	struct mnt m;
	int fd;
	int grower;
	int source;
	struct place to;
	char *map;
	char data[ROOM];
	char seen[ROOM];
};

/**
 * struct way - how a file grows
 * @op: the call
 * @off: start of the written range
 * @len: its length; it ends at the new EOF
 * @flags: open flags of the descriptor for it
 * @open_flags: FOPEN_* flags of the same
 * @within: the source is the file itself
 * @waits: it waits for all WRITEs of the file, or writes to the EOF page
 */
struct way {
	const struct call_op *op;
	off_t off;
	size_t len;
	int flags;
	__u32 open_flags;
	bool within;
	bool waits;
};

static const struct way by_write = {
	.op = &call_pwrite,
	.off = 8192,
	.len = 100,
};

static const struct way by_splice = {
	.op = &call_splice,
	.off = 8192,
	.len = 100,
};

static const struct way by_truncate = {
	.op = &call_ftruncate,
	.off = 4900,
	.len = 100,
	.waits = true,
};

static const struct way by_truncate_in_page = {
	.op = &call_ftruncate,
	.off = 900,
	.len = 100,
	.waits = true,
};

static const struct way by_allocate = {
	.op = &call_fallocate,
	.off = 4900,
	.len = 100,
};

static const struct way by_copy_within = {
	.op = &call_copy,
	.off = 4900,
	.len = 100,
	.within = true,
	.waits = true,
};

static const struct way by_copy_from_other = {
	.op = &call_copy,
	.off = 4900,
	.len = 100,
	.waits = true,
};

static const struct way by_copy_in_page = {
	.op = &call_copy,
	.off = 900,
	.len = 100,
	.waits = true,
};

static const struct way by_direct = {
	.op = &call_pwrite,
	.off = 8192,
	.len = 4096,
	.flags = O_DIRECT,
};

static const struct way by_direct_in_page = {
	.op = &call_pwrite,
	.off = 1024,
	.len = 512,
	.flags = O_DIRECT,
	.waits = true,
};

static const struct way by_fopen_direct = {
	.op = &call_pwrite,
	.off = 8192,
	.len = 100,
	.open_flags = FOPEN_DIRECT_IO,
};

FIXTURE_VARIANT(growth)
{
	bool writeback_cache;
	const struct way *way;
};

FIXTURE_VARIANT_ADD(growth, cached_write) { true, &by_write };

FIXTURE_VARIANT_ADD(growth, through_write) { false, &by_write };

FIXTURE_VARIANT_ADD(growth, cached_splice) { true, &by_splice };

FIXTURE_VARIANT_ADD(growth, through_splice) { false, &by_splice };

FIXTURE_VARIANT_ADD(growth, cached_truncate) { true, &by_truncate };

FIXTURE_VARIANT_ADD(growth, through_truncate) { false, &by_truncate };

FIXTURE_VARIANT_ADD(growth, cached_truncate_in_page)
{
	true, &by_truncate_in_page
};

FIXTURE_VARIANT_ADD(growth, through_truncate_in_page)
{
	false, &by_truncate_in_page
};

FIXTURE_VARIANT_ADD(growth, cached_allocate) { true, &by_allocate };

FIXTURE_VARIANT_ADD(growth, through_allocate) { false, &by_allocate };

FIXTURE_VARIANT_ADD(growth, cached_copy_within) { true, &by_copy_within };

FIXTURE_VARIANT_ADD(growth, through_copy_within) { false, &by_copy_within };

FIXTURE_VARIANT_ADD(growth, cached_copy_from_other)
{
	true, &by_copy_from_other
};

FIXTURE_VARIANT_ADD(growth, through_copy_from_other)
{
	false, &by_copy_from_other
};

FIXTURE_VARIANT_ADD(growth, cached_copy_in_page) { true, &by_copy_in_page };

FIXTURE_VARIANT_ADD(growth, through_copy_in_page) { false, &by_copy_in_page };

FIXTURE_VARIANT_ADD(growth, cached_direct) { true, &by_direct };

FIXTURE_VARIANT_ADD(growth, through_direct) { false, &by_direct };

FIXTURE_VARIANT_ADD(growth, cached_direct_in_page) { true, &by_direct_in_page };

FIXTURE_VARIANT_ADD(growth, through_direct_in_page)
{
	false, &by_direct_in_page
};

FIXTURE_VARIANT_ADD(growth, cached_fopen_direct) { true, &by_fopen_direct };

FIXTURE_VARIANT_ADD(growth, through_fopen_direct) { false, &by_fopen_direct };

FIXTURE_SETUP(growth)
{
	const struct server_opts opts = {
		.writeback_cache = variant->writeback_cache,
		.async_dio = true,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	fill_pattern(self->seen, ROOM, 3);
	ASSERT_EQ(0, server_put(self->m.ctl, SOURCE, 0, self->seen, ROOM));
	self->source = mnt_open(&self->m, SOURCE, O_RDONLY);
	ASSERT_LE(0, self->source);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, server_open_flags(self->m.ctl, variant->way->open_flags));
	self->grower = mnt_open(&self->m, FILE_NAME,
				O_RDWR | variant->way->flags);
	ASSERT_LE(0, self->grower);

	fill_pattern(self->data, OLD, 1);
	ASSERT_EQ(OLD, pwrite(self->fd, self->data, OLD, 0));
	self->map = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	memset(self->map + STORED, 0xa5, STORE_LEN);
}

FIXTURE_TEARDOWN(growth)
{
	mnt_teardown(_metadata, &self->m);
}

/* Extend the file, in a thread. */
static struct call *grow(struct _test_data_growth *self,
			 const struct _fixture_variant_growth *variant)
{
	const struct way *way = variant->way;
	struct call_arg arg = {
		.fd = self->grower, .off = way->off, .len = way->len,
		.buf = self->data + way->off };

	self->to = (struct place){ .fd = self->grower, .off = way->off };
	if (way->op == &call_ftruncate)
		arg.len += way->off;
	else if (way->op == &call_copy)
		arg = (struct call_arg){
			.fd = way->within ? self->fd : self->source,
			.len = way->len, .buf = &self->to };
	if (way->op != &call_ftruncate && way->op != &call_fallocate)
		fill_pattern(self->data + way->off, way->len,
			     way->within ? 1 : 3);
	return mnt_call(&self->m, way->op, arg);
}

static void check_growth(struct __test_metadata *_metadata,
			 struct _test_data_growth *self,
			 const struct _fixture_variant_growth *variant)
{
	ssize_t size = variant->way->off + variant->way->len;
	struct call *c = grow(self, variant);

	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_LE(0, c->ret) {
		TH_LOG("%s: %s", variant->way->op->name, strerror(c->err));
	}
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, size);
	EXPECT_EQ(-1, first_difference(self->data, self->map, size));
}

TEST_F(growth, growth_covers_stored_bytes_with_zeros)
{
	check_growth(_metadata, self, variant);
}

/* The page is clean, and the bytes stored beyond EOF are still there. */
TEST_F(growth, growth_after_writeback_covers_stored_bytes_with_zeros)
{
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, OLD);
	ASSERT_EQ((char)0xa5, self->map[STORED]) {
		TH_LOG("nothing was stored there: nothing was tested");
	}
	check_growth(_metadata, self, variant);
}

/* The EOF page does not change for the server: nothing waits for its WRITE. */
TEST_F(growth, growth_does_not_wait_for_the_write_of_the_old_end)
{
	const struct req_match first = { .opcode = FUSE_WRITE, .end = OLD };
	ssize_t size = variant->way->off + variant->way->len;
	struct call *c;

	/* Without writeback cache the first bytes are there already. */
	ASSERT_EQ(0, server_hold(self->m.ctl, &first));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED,
			       variant->writeback_cache ? 1 : 2));
	c = grow(self, variant);
	ASSERT_NE(NULL, c);
	EXPECT_EQ(variant->way->waits ? CALL_BLOCKED : CALL_RETURNED,
		  variant->way->waits ? call_stays_blocked(&self->m, c) :
				   call_wait_returned(c));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_LE(0, c->ret);
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, size);
}

/*
 * Writeback of the page starts while SETATTR is in flight, and its WRITE waits
 * for that.  It must not be sent with the new size and the old bytes.
 */
FIXTURE(growing)
{
	struct mnt m;
	int fd;
	char *map;
	char data[ROOM];
	char seen[ROOM];
};

FIXTURE_VARIANT(growing)
{
	bool writeback_cache;
};

FIXTURE_VARIANT_ADD(growing, cached) { true };

FIXTURE_VARIANT_ADD(growing, through) { false };

FIXTURE_SETUP(growing)
{
	const struct server_opts opts = {
		.writeback_cache = variant->writeback_cache,
		.ask_always = true,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	fill_pattern(self->data, OLD, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->data, OLD));
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->map = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	memset(self->map + STORED, 0xa5, STORE_LEN);
	self->map[0] = 'x';
	self->data[0] = 'x';
}

FIXTURE_TEARDOWN(growing)
{
	mnt_teardown(_metadata, &self->m);
}

TEST_F(growing, write_that_waits_for_truncation_ends_at_the_old_end)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_SETATTR));
	c = mnt_call(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd, .len = 5000 });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_SETATTR, REQ_ARRIVED, 1));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(0, c->ret);
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, 5000);
	EXPECT_EQ(-1, first_difference(self->data, self->map, 5000));
}

/*
 * Another client has extended the file.  What it wrote must not be overwritten
 * by what was stored beyond EOF, nor by zeros.
 */
TEST_F(growing, growth_at_the_server_keeps_what_the_server_has)
{
	fill_pattern(self->data + OLD, 5000 - OLD, 2);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, OLD, self->data + OLD,
				5000 - OLD));
	ASSERT_EQ(0, mnt_run(&self->m, &call_statx, (struct call_arg){
		.fd = self->fd }));
	/* With writeback cache the kernel trusts its own i_size only. */
	if (variant->writeback_cache) {
		ASSERT_EQ(OLD, lseek(self->fd, 0, SEEK_END));
		return;
	}
	ASSERT_EQ(5000, lseek(self->fd, 0, SEEK_END));
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, 5000);
	EXPECT_EQ(-1, first_difference(self->data, self->map, 5000));
}

TEST_HARNESS_MAIN
