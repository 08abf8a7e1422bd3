/* SPDX-License-Identifier: GPL-2.0 */
/* Deadlines, and sleeping on a word in memory that may be shared. */

#ifndef FUSE_WB_WAIT_H
#define FUSE_WB_WAIT_H

#include <stdbool.h>
#include <linux/types.h>

/*
 * How many seconds tests wait for anything: FUSE_WB_WAIT_SECONDS, at most 16, or else 8.
 * The watchdog's deadline is longer.  A test that is expected to fail waits for 4 seconds,
 * see wait_expect_failure().
 */
#define WAIT_SECONDS	wait_seconds()

int wait_seconds(void);

/**
 * wait_expect_failure() - use a short deadline if the test is expected to fail
 * @program: the program's name
 * @test: the test's full name
 *
 * FUSE_WB_QUICK is the path of a file with a line "PROGRAM:TEST" for each such test.
 */
void wait_expect_failure(const char *program, const char *test);

/* CLOCK_MONOTONIC in microseconds, and the same WAIT_SECONDS from now. */
__u64 now_usec(void);
__u64 wait_deadline(void);

/* Read a word, and see all that was written before word_set() set it. */
__u32 word_get(const __u32 *word);

/* Set a word and wake the threads that sleep on it. */
void word_set(__u32 *word, __u32 value);

/* Sleep while the word has this value.  Return: false at the deadline. */
bool word_sleep(__u32 *word, __u32 value, __u64 deadline);

#endif
