// SPDX-License-Identifier: GPL-2.0
/*
 * Whether programs that copy sparse files, as cp and tar do, see data that is written
 * and not sent yet: they query data, holes and blocks.
 */

#include <sys/stat.h>

#include "observe.h"

#define SIZE	200000
#define HOLE	8192

/* Where data and holes are, from the start: "data 0, hole 200000". */
static void see_data(struct obs *o, int fd)
{
	saw_key(o, "data", "%s", result(lseek(fd, 0, SEEK_DATA)));
	saw_key(o, "hole", "%s", result(lseek(fd, 0, SEEK_HOLE)));
	saw_key(o, "data_behind", "%s", result(lseek(fd, HOLE, SEEK_DATA)));
}

/* Data that fills a hole which the server has made. */
OBSERVE(seek, data_in_a_former_hole, .writeback_cache = true,
	.open_flags = FOPEN_KEEP_CACHE)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, SIZE);
	NEED(o, !fsync(fd));
	NEED(o, !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			   HOLE));
	obs_write(o, fd, 'y', 0, HOLE);
	see_data(o, obs_open(o, "file", O_RDONLY));
}

OBSERVE(seek, data_of_new_file, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, SIZE);
	see_data(o, fd);
}

OBSERVE(seek, hole_that_is_not_sent, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 10 * HOLE, 100);
	see_data(o, fd);
}

OBSERVE(seek, data_stored_through_mapping, .writeback_cache = true)
{
	char *map;
	int fd;

	obs_put(o, "file", '\0', SIZE);
	fd = obs_open(o, "file", O_RDWR);
	map = obs_map(o, fd, SIZE);
	map[2 * HOLE] = 'm';
	see_data(o, fd);
}

OBSERVE(seek, data_without_cache)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 10 * HOLE, 100);
	see_data(o, fd);
}

static const char *blocks(struct obs *o, int fd)
{
	struct stat st;

	NEED(o, !fstat(fd, &st));
	return st.st_blocks ? "some" : "none";
}

/* A file without blocks is one hole. */
OBSERVE(seek, blocks_of_new_file, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, SIZE);
	saw_key(o, "written", "%s", blocks(o, fd));
	NEED(o, !fsync(fd));
	saw_key(o, "synced", "%s", blocks(o, fd));
	NEED(o, !close_copy(&o->m, fd));
	saw_key(o, "closed", "%s", blocks(o, fd));
}

OBSERVE(seek, blocks_without_cache)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, SIZE);
	saw_key(o, "written", "%s", blocks(o, fd));
	NEED(o, !fsync(fd));
	saw_key(o, "synced", "%s", blocks(o, fd));
}
