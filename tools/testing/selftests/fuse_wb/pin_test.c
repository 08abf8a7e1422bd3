// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of the page cache that are the buffer of direct I/O.
 *
 * A direct read whose buffer is a shared mapping pins the pages of the mapped file,
 * and stores into them when its data arrives.  If such a page has been dropped from
 * the page cache meanwhile, the data is lost: the mapping has another page by then,
 * and the old one is never written back.  A broken kernel drops it, as it looks
 * clean, on an invalidation from the server or for a direct write; a sound one keeps
 * it, and reads it again on the next use, unless it is dirty then.
 *
 * Promise: direct-pinned
 */

#include <sys/mman.h>
#include <sys/stat.h>

#include "aio.h"
#include "attr_request.h"
#include "common.h"

#define PAGE	4096
#define PAGES	4
#define BYTES	(PAGES * PAGE)

/* Data is read into a part of the first page, and written to another part. */
#define READ_AT		512
#define READ_LEN	1024
#define WRITE_AT	2048
#define WRITE_LEN	1000

/**
 * struct pinning - a file, and another that is read into a mapping of it
 * @m: the mount
 * @fd: "file", cached
 * @map: the same, shared
 * @node: the same, for the server
 * @source: the file to read from, O_DIRECT
 * @data: what "file" has to hold
 * @other: what "source" holds
 * @seen: to read into
 * @read: the read
 */
struct pinning {
	struct mnt m;
	int fd;
	char *map;
	__u64 node;
	int source;
	char *data;
	char *other;
	char *seen;
	struct call *read;
};

static void setup_pinning(struct __test_metadata *_metadata, struct pinning *p,
			  bool writeback_cache, __u64 init_flags,
			  const void *variant)
{
	const struct server_opts opts = {
		.async_dio = true,
		.writeback_cache = writeback_cache,
		.open_flags = FOPEN_KEEP_CACHE,
		.init_flags = init_flags | FUSE_DIRECT_IO_ALLOW_MMAP,
		.threads = 3,
	};
	struct stat st;

	if (!mnt_setup(_metadata, &p->m, &opts, variant))
		return;
	file_setup(_metadata, &p->m, "file", BYTES, 1, &p->data, &p->seen);
	file_setup(_metadata, &p->m, "source", BYTES, 2, &p->other, &p->seen);
	p->source = mnt_open(&p->m, "source", O_RDWR | O_DIRECT);
	ASSERT_LE(0, p->source);
	p->fd = mnt_open(&p->m, "file", O_RDWR);
	ASSERT_LE(0, p->fd);
	ASSERT_EQ(0, fstat(p->fd, &st));
	p->node = st.st_ino;
	p->map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_POPULATE, p->fd, 0);
	ASSERT_NE(MAP_FAILED, p->map);
}

/* Have a direct read into the first page in flight, and the page clean. */
static void start_read(struct __test_metadata *_metadata, struct pinning *p,
		       bool aio)
{
	int before = count_req(&p->m, FUSE_READ, REQ_ARRIVED);

	ASSERT_EQ(0, hold_req(&p->m, FUSE_READ));
	p->read = mnt_call(&p->m, aio ? &call_aio_pread : &call_pread,
			   (struct call_arg){
		.fd = p->source, .buf = p->map + READ_AT, .len = READ_LEN });
	ASSERT_NE(NULL, p->read);
	ASSERT_NE(0, await_req(&p->m, FUSE_READ, REQ_ARRIVED, before + 1));
	ASSERT_EQ(0, server_drop_rules(p->m.ctl));
	/* The fault on its buffer has dirtied it. */
	ASSERT_EQ(0, start_writeback(&p->m, p->fd));
	ASSERT_EQ(0, await_writes(&p->m));
	memcpy(p->data + READ_AT, p->other, READ_LEN);
}

static void end_read(struct __test_metadata *_metadata, struct pinning *p)
{
	const struct req_match reads = { .opcode = FUSE_READ, .end = BYTES };

	ASSERT_EQ(1, server_release_match(p->m.ctl, &reads));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(p->read));
	ASSERT_EQ(READ_LEN, p->read->ret);
}

/* The server has other bytes in all pages but the first. */
static void change_others(struct __test_metadata *_metadata, struct pinning *p)
{
	fill_pattern(p->data + PAGE, BYTES - PAGE, 3);
	ASSERT_EQ(0, server_put(p->m.ctl, "file", PAGE, p->data + PAGE,
				BYTES - PAGE));
}

/*
 * All readers see the data that was read, and the server's bytes of the other
 * pages.
 */
static void check_file(struct __test_metadata *_metadata, struct pinning *p)
{
	EXPECT_EQ(-1, first_difference(p->data, p->map, BYTES)) {
		TH_LOG("the mapping shows wrong bytes");
	}
	EXPECT_EQ(BYTES, mnt_run(&p->m, &call_pread, (struct call_arg){
		.fd = p->fd, .buf = p->seen, .len = BYTES }));
	EXPECT_EQ(-1, first_difference(p->data, p->seen, BYTES));
	EXPECT_EQ(0, mnt_run(&p->m, &call_msync, (struct call_arg){
		.buf = p->map, .len = BYTES }));
	ASSERT_EQ(0, server_get(p->m.ctl, "file", 0, p->seen, BYTES));
	EXPECT_EQ(-1, first_difference(p->data, p->seen, BYTES)) {
		TH_LOG("the server has wrong bytes");
	}
	EXPECT_EQ(-1, first_difference(p->data, p->map, BYTES));
}

static int open_file(struct pinning *p, __u32 open_flags, int flags)
{
	return server_open_flags(p->m.ctl, open_flags) ? -1 :
		mnt_open(&p->m, "file", O_RDWR | flags);
}

/*
 *   source --- READ, held ---> the first page of map
 */
FIXTURE(pinned)
{
	struct pinning p;
};

FIXTURE_VARIANT(pinned)
{
	bool writeback_cache;
	bool aio;
};

FIXTURE_VARIANT_ADD(pinned, through) { };

FIXTURE_VARIANT_ADD(pinned, through_libaio) { .aio = true };

FIXTURE_VARIANT_ADD(pinned, writeback) { .writeback_cache = true };

FIXTURE_SETUP(pinned)
{
	setup_pinning(_metadata, &self->p, variant->writeback_cache, 0,
		      variant);
	if (self->p.map)
		start_read(_metadata, &self->p, variant->aio);
}

FIXTURE_TEARDOWN(pinned)
{
	mnt_teardown(_metadata, &self->p.m);
}

TEST_F(pinned, open_keeps_page_of_direct_read)
{
	struct pinning *p = &self->p;

	change_others(_metadata, p);
	ASSERT_LE(0, open_file(p, 0, 0));
	end_read(_metadata, p);
	check_file(_metadata, p);
}

TEST_F(pinned, invalidation_keeps_page_of_direct_read)
{
	struct pinning *p = &self->p;

	change_others(_metadata, p);
	ASSERT_EQ(0, server_inval(p->m.ctl, p->node, 0, 0));
	end_read(_metadata, p);
	check_file(_metadata, p);
}

/* It is used meanwhile, and read again for that. */
TEST_F(pinned, reader_keeps_page_of_direct_read)
{
	struct pinning *p = &self->p;
	char byte;

	change_others(_metadata, p);
	ASSERT_EQ(0, server_inval(p->m.ctl, p->node, 0, 0));
	ASSERT_EQ(1, mnt_run(&p->m, &call_pread, (struct call_arg){
		.fd = p->fd, .buf = &byte, .len = 1 }));
	ASSERT_EQ(p->data[0], byte);
	ASSERT_EQ(p->data[0], p->map[0]);
	end_read(_metadata, p);
	check_file(_metadata, p);
}

/*
 * A write of part of the page, outside the part that is read into, in this way.
 */
static void check_write(struct __test_metadata *_metadata, struct pinning *p,
			const struct call_op *op, int fd)
{
	char *buf = p->data + WRITE_AT;

	ASSERT_LE(0, fd);
	fill_pattern(buf, WRITE_LEN, 4);
	EXPECT_EQ(WRITE_LEN, mnt_run(&p->m, op, (struct call_arg){
		.fd = fd, .buf = buf, .len = WRITE_LEN, .off = WRITE_AT }));
	end_read(_metadata, p);
	check_file(_metadata, p);
}

TEST_F(pinned, direct_write_keeps_page_of_direct_read)
{
	check_write(_metadata, &self->p, &call_pwrite,
		    open_file(&self->p, FOPEN_KEEP_CACHE, O_DIRECT));
}

TEST_F(pinned, parallel_direct_write_keeps_page_of_direct_read)
{
	check_write(_metadata, &self->p, &call_pwrite,
		    open_file(&self->p, FOPEN_KEEP_CACHE |
			      FOPEN_PARALLEL_DIRECT_WRITES, O_DIRECT));
}

TEST_F(pinned, direct_aio_write_keeps_page_of_direct_read)
{
	check_write(_metadata, &self->p, &call_aio_pwrite,
		    open_file(&self->p, FOPEN_KEEP_CACHE |
			      FOPEN_PARALLEL_DIRECT_WRITES, O_DIRECT));
}

TEST_F(pinned, write_to_direct_io_file_keeps_page_of_direct_read)
{
	check_write(_metadata, &self->p, &call_pwrite,
		    open_file(&self->p, FOPEN_KEEP_CACHE | FOPEN_DIRECT_IO,
			      0));
}

TEST_F(pinned, aio_write_to_direct_io_file_keeps_page_of_direct_read)
{
	check_write(_metadata, &self->p, &call_aio_pwrite,
		    open_file(&self->p, FOPEN_KEEP_CACHE | FOPEN_DIRECT_IO |
			      FOPEN_PARALLEL_DIRECT_WRITES, O_DIRECT));
}

/*
 * With auto_inval_data the server's mtime counts, and a change drops the pages.
 */
FIXTURE(pinned_auto)
{
	struct pinning p;
};

FIXTURE_SETUP(pinned_auto)
{
	setup_pinning(_metadata, &self->p, false, FUSE_AUTO_INVAL_DATA,
		      variant);
	if (self->p.map)
		start_read(_metadata, &self->p, false);
}

FIXTURE_TEARDOWN(pinned_auto)
{
	mnt_teardown(_metadata, &self->p.m);
}

TEST_F(pinned_auto, new_mtime_keeps_page_of_direct_read)
{
	struct pinning *p = &self->p;

	change_others(_metadata, p);
	ASSERT_EQ(0, server_set_times(p->m.ctl, "file", 1000));
	ASSERT_EQ(0, attr_request_send(&p->m, &attr_request_getattr, "file", p->fd));
	end_read(_metadata, p);
	check_file(_metadata, p);
}

/*
 * The mapping is gone when the data arrives, and the page cache is unused: writers
 * run in parallel.  The page is written back nevertheless, and includes the bytes
 * that they write.
 */
FIXTURE(pinned_unmapped)
{
	struct pinning p;
};

FIXTURE_VARIANT(pinned_unmapped)
{
	__u32 open_flags;
	const struct call_op *op;
};

FIXTURE_VARIANT_ADD(pinned_unmapped, o_direct)
{
	.op = &call_pwrite,
};

FIXTURE_VARIANT_ADD(pinned_unmapped, o_direct_libaio)
{
	.op = &call_aio_pwrite,
};

FIXTURE_VARIANT_ADD(pinned_unmapped, fopen_direct_io)
{
	.open_flags = FOPEN_DIRECT_IO, .op = &call_pwrite,
};

FIXTURE_VARIANT_ADD(pinned_unmapped, fopen_direct_io_libaio)
{
	.open_flags = FOPEN_DIRECT_IO, .op = &call_aio_pwrite,
};

FIXTURE_SETUP(pinned_unmapped)
{
	setup_pinning(_metadata, &self->p, true, 0, variant);
	if (self->p.map)
		start_read(_metadata, &self->p, false);
}

FIXTURE_TEARDOWN(pinned_unmapped)
{
	mnt_teardown(_metadata, &self->p.m);
}

TEST_F(pinned_unmapped, direct_write_is_not_undone_by_the_page)
{
	struct pinning *p = &self->p;
	char *buf = p->data + WRITE_AT;
	int fd = open_file(p, FOPEN_KEEP_CACHE | FOPEN_PARALLEL_DIRECT_WRITES |
			   variant->open_flags, O_DIRECT);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, munmap(p->map, BYTES));
	ASSERT_EQ(0, close(p->fd));
	fill_pattern(buf, WRITE_LEN, 4);
	EXPECT_EQ(WRITE_LEN, mnt_run(&p->m, variant->op, (struct call_arg){
		.fd = fd, .buf = buf, .len = WRITE_LEN, .off = WRITE_AT }));
	end_read(_metadata, p);
	EXPECT_EQ(0, mnt_run(&p->m, &call_fsync, (struct call_arg){
		.fd = fd }));
	ASSERT_EQ(0, server_get(p->m.ctl, "file", WRITE_AT, p->seen,
				WRITE_LEN));
	EXPECT_EQ(-1, first_difference(buf, p->seen, WRITE_LEN)) {
		TH_LOG("old bytes of the page have replaced written ones");
	}
}

TEST_HARNESS_MAIN
