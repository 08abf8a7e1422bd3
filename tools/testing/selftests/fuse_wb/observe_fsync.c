// SPDX-License-Identifier: GPL-2.0
/* What fsync(2) and its like send, how much, and in which order. */

#include <sys/mman.h>

#include "observe.h"

#define MUCH	(4 << 20)
#define PAGE	4096

/* A file with 4 MiB of dirty pages. */
static int open_dirty(struct obs *o, int flags)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	int other = obs_open(o, "file", O_RDWR | flags);

	obs_write(o, fd, 'x', 0, MUCH);
	mark(o);
	return other;
}

/* Of many dirty bytes only those are sent that somebody waits for. */
OBSERVE(fsync, o_dsync_sends_its_own, .writeback_cache = true)
{
	int fd = open_dirty(o, O_DSYNC);

	obs_write(o, fd, 'y', 2 * PAGE, PAGE);
	saw_key(o, "sent", "%ld", sent(o, FUSE_WRITE));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
}

OBSERVE(fsync, o_sync_sends_its_own, .writeback_cache = true)
{
	int fd = open_dirty(o, O_SYNC);

	obs_write(o, fd, 'y', 2 * PAGE, PAGE);
	saw_key(o, "sent", "%ld", sent(o, FUSE_WRITE));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
}

OBSERVE(fsync, msync_sends_its_range, .writeback_cache = true)
{
	int fd = open_dirty(o, 0);
	char *map = obs_map(o, fd, MUCH);

	map[5 * PAGE] = 'y';
	saw_key(o, "ret", "%s", result(msync(map + 5 * PAGE, PAGE, MS_SYNC)));
	saw_key(o, "sent", "%ld", sent(o, FUSE_WRITE));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
}

OBSERVE(fsync, sends_all, .writeback_cache = true)
{
	int fd = open_dirty(o, 0);

	saw_key(o, "ret", "%s", result(fsync(fd)));
	saw_key(o, "sent", "%ld", sent(o, FUSE_WRITE));
	saw_key(o, "again", "%s", result(fsync(fd)));
	saw_key(o, "sent_again", "%ld", sent(o, FUSE_WRITE));
}
