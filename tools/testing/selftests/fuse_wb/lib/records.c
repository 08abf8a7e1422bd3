// SPDX-License-Identifier: GPL-2.0
/* Records that processes append to one file, see records.h. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "records.h"

static void record_make(char *text, int writer, unsigned long i)
{
	char all[32];

	snprintf(all, sizeof(all), "%d%011lu\n", writer, i);
	memcpy(text, all, RECORD_LEN);
}

int records_append(int fd, int writer, unsigned long nr)
{
	char record[RECORD_LEN];
	unsigned long i;

	for (i = 0; i < nr; i++) {
		record_make(record, writer, i);
		if (write(fd, record, RECORD_LEN) != RECORD_LEN)
			return -1;
		if (sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE))
			return -1;
	}
	return 0;
}

int records_check(const char *text, unsigned long len, const unsigned long *nr)
{
	unsigned long next[RECORD_WRITERS] = { }, off;
	char record[RECORD_LEN];
	int w;

	for (off = 0; off + RECORD_LEN <= len; off += RECORD_LEN) {
		w = text[off] - '0';
		if (w < 0 || w >= RECORD_WRITERS)
			break;
		record_make(record, w, next[w]++);
		if (memcmp(text + off, record, RECORD_LEN))
			break;
	}
	for (w = 0; off == len && w < RECORD_WRITERS && next[w] == nr[w]; w++)
		;
	if (w == RECORD_WRITERS)
		return 0;
	fprintf(stderr, "# byte %lu of %lu: after %lu and %lu records there is no valid record\n",
		off, len, next[0], next[1]);
	return -1;
}
