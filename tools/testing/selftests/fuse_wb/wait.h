/* SPDX-License-Identifier: GPL-2.0 */
/* Deadlines, and sleeping on a word in memory that may be shared. */

#ifndef FUSE_WB_WAIT_H
#define FUSE_WB_WAIT_H

#include <stdbool.h>
#include <linux/types.h>

/*
 * How long a test waits for anything: as many seconds as FUSE_WB_WAIT_SECONDS says, at
 * most 16, or 8.  The guard's deadline is longer.  A test that is expected to fail, see
 * wait_expect_failure(), does not wait that long for what will not come.
 */
#define WAIT_SECONDS	wait_seconds()

int wait_seconds(void);

/**
 * wait_expect_failure() - wait a short time if the test is expected to fail
 * @program: the program's name
 * @test: the test's full name
 *
 * FUSE_WB_QUICK is the path of a file with a line "PROGRAM:TEST" for each such test.
 */
void wait_expect_failure(const char *program, const char *test);

/* CLOCK_MONOTONIC in microseconds, and the same WAIT_SECONDS from now. */
__u64 now_usec(void);
__u64 wait_deadline(void);

/* Read a word, and all that was written before word_set() set it. */
__u32 word_get(const __u32 *word);

/* Set a word and wake who sleeps on it. */
void word_set(__u32 *word, __u32 value);

/* Sleep while the word has this value.  Return: false at the deadline. */
bool word_sleep(__u32 *word, __u32 value, __u64 deadline);

#endif
