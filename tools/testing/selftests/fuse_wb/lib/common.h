/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Included by every fuse_wb test program; has the fixture helpers that take
 * _metadata.  These cannot be in a file of their own, as the harness's header
 * defines functions: only one file of a program may include it.
 */

#ifndef FUSE_WB_COMMON_H
#define FUSE_WB_COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The harness does not build cleanly with -Wextra. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include "../../kselftest_harness.h"
#pragma GCC diagnostic pop

#include "call.h"
#include "control.h"
#include "mnt.h"
#include "proc.h"
#include "reqlog.h"
#include "server.h"
#include "wait.h"

/* "fixture.variant.test", as the harness's option -r takes it. */
static inline void full_test_name(const struct __test_metadata *_metadata,
				  const void *variant, char *name, size_t size)
{
	const struct __fixture_variant_metadata *v;

	for (v = _metadata->fixture->variant; v && v->data != variant;)
		v = v->next;
	snprintf(name, size, "%s%s%s.%s", _metadata->fixture->name,
		 v ? "." : "", v ? v->name : "", _metadata->name);
}

/**
 * mnt_setup() - for FIXTURE_SETUP(): skip, or mount and start the server
 * @_metadata: the test
 * @m: filled in
 * @opts: how the server behaves
 * @variant: the fixture's variant
 *
 * Return: false when the test is skipped and the caller has to return.
 */
static inline bool mnt_setup(struct __test_metadata *_metadata, struct mnt *m,
			     const struct server_opts *opts,
			     const void *variant)
{
	const char *missing = mnt_missing();

	if (missing)
		SKIP(return false, "%s", missing);
	full_test_name(_metadata, variant, m->test, sizeof(m->test));
	wait_expect_failure(program_invocation_short_name, m->test);
	if (mnt_start(m, opts)) {
		/* The harness runs no teardown after a failed setup. */
		mnt_stop(m);
		ASSERT_TRUE(false) {
			TH_LOG("setting up the mount failed");
		}
	}
	return true;
}

/**
 * file_setup() - for FIXTURE_SETUP(): make a file at the server, with contents
 * @_metadata: the test
 * @m: the mount
 * @name: the file
 * @len: its size in bytes
 * @seed: for fill_pattern()
 * @data: set to its bytes, followed by as many zeroes
 * @seen: set to a read buffer of the same size
 */
static inline void file_setup(struct __test_metadata *_metadata, struct mnt *m,
			      const char *name, size_t len, unsigned int seed,
			      char **data, char **seen)
{
	*data = calloc(2, len);
	*seen = calloc(2, len);
	ASSERT_TRUE(*data && *seen);
	fill_pattern(*data, len, seed);
	ASSERT_EQ(0, server_put(m->ctl, name, 0, *data, len));
}

/**
 * mnt_teardown() - for FIXTURE_TEARDOWN(): clean up, print how to repeat
 * @_metadata: the test
 * @m: the mount
 */
static inline void mnt_teardown(struct __test_metadata *_metadata,
				struct mnt *m)
{
	bool failed = _metadata->exit_code == KSFT_FAIL;
	int ret;

	if (failed)
		reqlog_dump(m->log, stderr);
	ret = mnt_stop(m);
	EXPECT_EQ(0, ret);
	/*
	 * Not in EXPECT_EQ()'s block: that always runs after a failed ASSERT.
	 */
	if (ret) {
		TH_LOG("cleanup was incomplete, or the watchdog had to act");
		failed = true;
	}
	if (failed)
		TH_LOG("to repeat this test alone: ./%s -r %s",
		       program_invocation_short_name, m->test);
	/*
	 * A thread that the abort did not free keeps the descriptors that it
	 * shares: a reader of our output would wait for EOF forever.
	 */
	if (m->calls) {
		close(STDIN_FILENO);
		close(STDOUT_FILENO);
		close(STDERR_FILENO);
	}
}

/**
 * expect_file() - check a file in the page cache and at the server
 * @_metadata: the test
 * @m: the mount
 * @name: the file
 * @fd: the same; a copy of it is closed, so that the server gets the dirty data
 * @data: its expected contents
 * @seen: a read buffer, with room for an extra byte
 * @size: its expected size
 */
static inline void expect_file(struct __test_metadata *_metadata,
			       struct mnt *m, const char *name, int fd,
			       const char *data, char *seen, ssize_t size)
{
	EXPECT_EQ(size, pread(fd, seen, size + 1, 0));
	EXPECT_EQ(-1, first_difference(data, seen, size)) {
		TH_LOG("the page cache differs from the expected contents");
	}
	EXPECT_EQ(0, close_copy(m, fd));
	EXPECT_EQ(size, server_size(m->ctl, name));
	ASSERT_EQ(0, server_get(m->ctl, name, 0, seen, size));
	EXPECT_EQ(-1, first_difference(data, seen, size)) {
		TH_LOG("the server's file differs from the expected contents");
	}
}

/**
 * mnt_lacks() - for FIXTURE_SETUP(), after mnt_setup(): skip if needed
 * @_metadata: the test
 * @m: the mount, which is unmounted then
 * @missing: NULL; or what is missing, as a sentence; or "" after an error
 *
 * Return: true when the test is skipped and the caller has to return.
 */
static inline bool mnt_lacks(struct __test_metadata *_metadata, struct mnt *m,
			     const char *missing)
{
	if (!missing)
		return false;
	mnt_teardown(_metadata, m);
	ASSERT_NE('\0', missing[0]);
	SKIP(return true, "%s", missing);
}

#endif
