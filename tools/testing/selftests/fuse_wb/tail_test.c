// SPDX-License-Identifier: GPL-2.0
/*
 * Bytes beyond EOF, in the page that contains EOF.
 *
 * Any task that maps the file can store there.  These bytes are not part of the
 * file: they must not reach the server, and when the file grows over them they
 * read as zeros.  A broken kernel makes them part of the file.  Linux 6.12
 * clears them when the file grows by ftruncate, fallocate or a write-through
 * write, but not by a write into the page cache.
 *
 * Promise: policy-06, policy-11
 */

#include <sys/mman.h>

#include "common.h"

#define FILE_NAME	"file"
#define PAGES		4
#define OLD		100

/*
 *   fd ---- pwrite, ftruncate, fallocate: the file grows
 *   map --- store beyond EOF
 *
 * data: what the file has to hold in the end
 */
FIXTURE(tail)
{
	struct mnt m;
	ssize_t page;
	int fd;
	char *map;
	char *data;
	char *seen;
};

/* off: where the growth ends, in quarters of a page. */
FIXTURE_VARIANT(tail)
{
	bool writeback_cache;
	const struct call_op *op;
	int off;
};

FIXTURE_VARIANT_ADD(tail, cached_write_to_same_page)
{
	true, &call_pwrite, 3
};

FIXTURE_VARIANT_ADD(tail, cached_write_to_other_page)
{
	true, &call_pwrite, 10
};

FIXTURE_VARIANT_ADD(tail, cached_truncate) { true, &call_ftruncate, 10 };

FIXTURE_VARIANT_ADD(tail, cached_allocate) { true, &call_fallocate, 10 };

FIXTURE_VARIANT_ADD(tail, through_write_to_same_page)
{
	false, &call_pwrite, 3
};

FIXTURE_VARIANT_ADD(tail, through_write_to_other_page)
{
	false, &call_pwrite, 10
};

FIXTURE_VARIANT_ADD(tail, through_truncate) { false, &call_ftruncate, 10 };

FIXTURE_VARIANT_ADD(tail, through_allocate) { false, &call_fallocate, 10 };

FIXTURE_SETUP(tail)
{
	const struct server_opts opts = {
		.writeback_cache = variant->writeback_cache,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->page = sysconf(_SC_PAGESIZE);
	self->data = calloc(PAGES, self->page);
	self->seen = calloc(PAGES, self->page);
	ASSERT_TRUE(self->data && self->seen);
	fill_pattern(self->data, OLD, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->data, OLD));
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->map = mmap(NULL, PAGES * self->page, PROT_READ | PROT_WRITE,
			 MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(tail)
{
	mnt_teardown(_metadata, &self->m);
}

/* Store beyond EOF, up to the end of the page. */
static void pollute(struct __test_metadata *_metadata,
		    struct _test_data_tail *self)
{
	memset(self->seen, 0xa5, self->page - OLD);
	ASSERT_EQ(0, mnt_run(&self->m, &call_store, (struct call_arg){
		.buf = self->seen, .to = self->map + OLD,
		.len = self->page - OLD }));
}

static void check_growth(struct __test_metadata *_metadata,
			 struct _test_data_tail *self,
			 const struct _fixture_variant_tail *variant)
{
	struct call_arg arg = {
		.fd = self->fd, .len = variant->off * self->page / 4 };
	ssize_t size = arg.len;

	if (variant->op == &call_pwrite) {
		arg = (struct call_arg){
			.fd = self->fd, .buf = "end", .len = 3,
			.off = size - 3 };
		memcpy(self->data + arg.off, "end", 3);
	}
	ASSERT_LE(0, mnt_run(&self->m, variant->op, arg));
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, size);
}

TEST_F(tail, growth_covers_stored_bytes_with_zeros)
{
	pollute(_metadata, self);
	check_growth(_metadata, self, variant);
}

/* They were not sent, either, and are still in the page after that. */
TEST_F(tail, growth_after_writeback_covers_stored_bytes_with_zeros)
{
	pollute(_metadata, self);
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, OLD);
	check_growth(_metadata, self, variant);
}

TEST_HARNESS_MAIN
