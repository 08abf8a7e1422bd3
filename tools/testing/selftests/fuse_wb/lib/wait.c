// SPDX-License-Identifier: GPL-2.0
/* Deadlines, and sleeping on a word in memory, see wait.h. */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <linux/futex.h>

#include "wait.h"

/* WATCHDOG_SECONDS, and what the watchdog does then, have to fit into the harness's 30 s. */
#define LONGEST		16
#define USUAL		8
#define QUICK		4

static int seconds;

int wait_seconds(void)
{
	const char *text = getenv("FUSE_WB_WAIT_SECONDS");

	if (!seconds) {
		seconds = text ? atoi(text) : USUAL;
		if (seconds < 1 || seconds > LONGEST) {
			fprintf(stderr, "# FUSE_WB_WAIT_SECONDS='%s' is not 1 to %d: %d is taken\n",
				text, LONGEST, USUAL);
			seconds = USUAL;
		}
	}
	return seconds;
}

void wait_expect_failure(const char *program, const char *test)
{
	const char *path = getenv("FUSE_WB_QUICK");
	char line[256], name[256];
	FILE *file = path ? fopen(path, "re") : NULL;

	if (!file)
		return;
	snprintf(name, sizeof(name), "%s:%s\n", program, test);
	while (fgets(line, sizeof(line), file)) {
		if (!strcmp(line, name))
			seconds = QUICK;
	}
	fclose(file);
}

__u64 now_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

__u64 wait_deadline(void)
{
	return now_usec() + WAIT_SECONDS * 1000000ULL;
}

__u32 word_get(const __u32 *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

void word_set(__u32 *word, __u32 value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

bool word_sleep(__u32 *word, __u32 value, __u64 deadline)
{
	/* FUTEX_WAIT_BITSET takes an absolute time of CLOCK_MONOTONIC. */
	struct timespec ts = {
		.tv_sec = deadline / 1000000,
		.tv_nsec = deadline % 1000000 * 1000,
	};

	while (word_get(word) == value) {
		if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, &ts,
			    NULL, FUTEX_BITSET_MATCH_ANY) &&
		    errno == ETIMEDOUT)
			return false;
	}
	return true;
}
