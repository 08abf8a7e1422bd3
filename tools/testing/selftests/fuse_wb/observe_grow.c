// SPDX-License-Identifier: GPL-2.0
/* Whether bytes stored beyond EOF get into a file that grows. */

#include <sys/mman.h>

#include "observe.h"

#define PAGE	4096

/* A file of 100 w, and 100 s stored through a mapping at 200: beyond EOF. */
static int store_beyond_eof(struct obs *o)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	char *map;

	obs_write(o, fd, 'w', 0, 100);
	map = obs_map(o, fd, PAGE);
	memset(map + 200, 's', 100);
	return fd;
}

/* Its contents, and those at the server when all is sent. */
static void see(struct obs *o, int fd)
{
	saw_key(o, "read", "%s", read_bytes(fd, 0, 3 * PAGE));
	NEED(o, !mnt_run(&o->m, &call_fsync, (struct call_arg){ .fd = fd }));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

static void grow_by_copy(struct obs *o)
{
	int from, fd = store_beyond_eof(o);
	loff_t out = 5000;

	obs_put(o, "from", 'f', 100);
	from = obs_open(o, "from", O_RDONLY);
	saw_key(o, "ret", "%s", result(copy_file_range(from, NULL, fd, &out,
						       100, 0)));
	see(o, fd);
}

static void grow_by_truncate(struct obs *o)
{
	int fd = store_beyond_eof(o);

	saw_key(o, "ret", "%s", result(ftruncate(fd, 5000)));
	see(o, fd);
}

static void grow_by_write(struct obs *o)
{
	int fd = store_beyond_eof(o);

	obs_write(o, fd, 'e', 5000, 100);
	see(o, fd);
}

static void grow_by_direct_write(struct obs *o)
{
	int fd, direct;

	/* After an open, the unpatched kernel would drop cached data. */
	direct = obs_open(o, "file", O_RDWR | O_CREAT | O_DIRECT);
	fd = store_beyond_eof(o);
	obs_write(o, direct, 'd', 2 * PAGE, PAGE);
	see(o, fd);
}

static void grow_by_fallocate(struct obs *o)
{
	int fd = store_beyond_eof(o);

	saw_key(o, "ret", "%s", result(fallocate(fd, 0, 0, 5000)));
	see(o, fd);
}

OBSERVE(grow, by_copy, .writeback_cache = true)
{
	grow_by_copy(o);
}

OBSERVE(grow, by_copy_without_cache)
{
	grow_by_copy(o);
}

OBSERVE(grow, by_truncate, .writeback_cache = true)
{
	grow_by_truncate(o);
}

OBSERVE(grow, by_truncate_without_cache)
{
	grow_by_truncate(o);
}

OBSERVE(grow, by_write, .writeback_cache = true)
{
	grow_by_write(o);
}

OBSERVE(grow, by_write_without_cache)
{
	grow_by_write(o);
}

OBSERVE(grow, by_direct_write, .writeback_cache = true)
{
	grow_by_direct_write(o);
}

OBSERVE(grow, by_direct_write_without_cache)
{
	grow_by_direct_write(o);
}

OBSERVE(grow, by_fallocate, .writeback_cache = true)
{
	grow_by_fallocate(o);
}

OBSERVE(grow, by_fallocate_without_cache)
{
	grow_by_fallocate(o);
}
