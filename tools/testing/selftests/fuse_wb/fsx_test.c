// SPDX-License-Identifier: GPL-2.0
/*
 * A random mix of all file operations, checked against a model.
 *
 * Writeback, direct I/O, mappings, truncation and holes have to agree on the
 * contents of the file at any time.  A broken kernel shows bytes that were
 * never written, old bytes that were overwritten, or bytes beyond EOF.
 *
 * FUSE_WB_SEED repeats a run, FUSE_WB_ROUNDS makes it longer.
 *
 * Promise: bytes
 */

#include <sys/mman.h>
#include <sys/wait.h>

#include "common.h"
#include "fsx.h"

#define FILE_NAME	"file"
#define ROUNDS		300

/*
 *   model, in memory <--- compare ---.
 *                                    |
 *   one or two processes --- fd, direct, map --- "file" at the server
 */
FIXTURE(fsx)
{
	struct mnt m;
	char *model;
	__u64 seed;
};

FIXTURE_VARIANT(fsx)
{
	struct server_opts opts;
	int flags;
	bool past_cache;
	bool no_map;
};

FIXTURE_VARIANT_ADD(fsx, cached)
{
	.opts = { .writeback_cache = true, .async_dio = true },
};

FIXTURE_VARIANT_ADD(fsx, cached_splice_threads)
{
	.opts = { .writeback_cache = true, .threads = 4, .splice_in = true,
		  .splice_out = true, .max_write = 32 << 10 },
};

FIXTURE_VARIANT_ADD(fsx, through)
{
	.opts = { .async_dio = true, .threads = 4 },
};

FIXTURE_VARIANT_ADD(fsx, through_splice)
{
	.opts = { .splice_in = true, .splice_out = true,
		  .max_write = 32 << 10 },
};

/* Every way to open a file. */
FIXTURE_VARIANT_ADD(fsx, cached_o_direct)
{
	.opts = { .writeback_cache = true, .async_dio = true,
		  .max_write = 32 << 10 },
	.flags = O_DIRECT,
	.past_cache = true,
};

FIXTURE_VARIANT_ADD(fsx, through_o_direct)
{
	.opts = { .async_dio = true, .max_write = 32 << 10, .threads = 4 },
	.flags = O_DIRECT,
	.past_cache = true,
};

FIXTURE_VARIANT_ADD(fsx, cached_o_direct_parallel)
{
	.opts = { .writeback_cache = true, .async_dio = true, .threads = 4,
		  .max_write = 16 << 10,
		  .open_flags = FOPEN_PARALLEL_DIRECT_WRITES },
	.flags = O_DIRECT,
	.past_cache = true,
};

FIXTURE_VARIANT_ADD(fsx, through_o_direct_parallel_unmapped)
{
	.opts = { .async_dio = true, .threads = 4, .max_write = 16 << 10,
		  .open_flags = FOPEN_PARALLEL_DIRECT_WRITES },
	.flags = O_DIRECT,
	.past_cache = true,
	.no_map = true,
};

FIXTURE_VARIANT_ADD(fsx, cached_fopen_direct_io)
{
	.opts = { .writeback_cache = true, .async_dio = true,
		  .max_write = 16 << 10, .open_flags = FOPEN_DIRECT_IO },
	.past_cache = true,
	.no_map = true,
};

FIXTURE_VARIANT_ADD(fsx, through_fopen_direct_io_parallel)
{
	.opts = { .async_dio = true, .threads = 4, .max_write = 16 << 10,
		  .open_flags = FOPEN_DIRECT_IO |
				FOPEN_PARALLEL_DIRECT_WRITES },
	.flags = O_DIRECT,
	.past_cache = true,
	.no_map = true,
};

FIXTURE_VARIANT_ADD(fsx, cached_fopen_direct_io_parallel_mmap)
{
	.opts = { .writeback_cache = true, .async_dio = true, .threads = 4,
		  .max_write = 16 << 10,
		  .init_flags = FUSE_DIRECT_IO_ALLOW_MMAP,
		  .open_flags = FOPEN_DIRECT_IO |
				FOPEN_PARALLEL_DIRECT_WRITES },
	.past_cache = true,
};

FIXTURE_VARIANT_ADD(fsx, through_fopen_direct_io_parallel_mmap)
{
	.opts = { .async_dio = true, .threads = 4, .max_write = 16 << 10,
		  .init_flags = FUSE_DIRECT_IO_ALLOW_MMAP,
		  .open_flags = FOPEN_DIRECT_IO |
				FOPEN_PARALLEL_DIRECT_WRITES },
	.flags = O_DIRECT,
	.past_cache = true,
};

FIXTURE_SETUP(fsx)
{
	self->m.seconds = fsx_seconds();
	if (!mnt_setup(_metadata, &self->m, &variant->opts, variant))
		return;
	self->seed = fsx_seed();
	self->model = mmap(NULL, FSX_MAX, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->model);
	fill_pattern(self->model, FSX_MAX, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, FILE_NAME, 0, self->model,
				FSX_MAX));
}

FIXTURE_TEARDOWN(fsx)
{
	mnt_teardown(_metadata, &self->m);
}

/* Promise: policy-14 */
TEST_F_TIMEOUT(fsx, one_process_sees_what_it_did, FSX_SECONDS + 10)
{
	struct fsx f = {
		.ops = FSX_ALL & ~(variant->no_map ? FSX_MAP : 0),
		.turns = 1,
		.flags = variant->flags,
		.past_cache = variant->past_cache,
	};

	ASSERT_EQ(0, fsx_open(&f, &self->m, FILE_NAME, self->model, FSX_MAX,
			      self->seed));
	ASSERT_EQ(0, fsx_run(&f, fsx_rounds(ROUNDS)));
	EXPECT_EQ(0, fsx_check_server(&f));
	EXPECT_EQ(0, reqlog_overlap(self->m.log, sysconf(_SC_PAGESIZE)));
}

/*
 * Each process owns bytes of its own, but they share pages.  The size is
 * constant.
 */
TEST_F_TIMEOUT(fsx, two_processes_see_what_they_did, FSX_SECONDS + 10)
{
	struct fsx f = {
		.ops = FSX_ALL & ~FSX_SIZES &
		       ~(variant->no_map ? FSX_MAP : 0),
		.turns = 2,
		.flags = variant->flags,
		.past_cache = variant->past_cache,
	};
	int status = -1;
	pid_t pid;

	ASSERT_EQ(0, fsx_open(&f, &self->m, FILE_NAME, self->model, FSX_MAX,
			      self->seed));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		f.turn = 1;
		_exit(fsx_run(&f, fsx_rounds(ROUNDS)) ? 1 : 0);
	}
	EXPECT_EQ(0, fsx_run(&f, fsx_rounds(ROUNDS)));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, fsx_check_server(&f));
}

TEST_HARNESS_MAIN
