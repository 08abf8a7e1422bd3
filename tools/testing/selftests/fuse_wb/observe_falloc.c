// SPDX-License-Identifier: GPL-2.0
/*
 * fallocate(2): each mode over clean, dirty and mapped data, and under
 * writeback.
 */

#include <sys/mman.h>
#include <sys/stat.h>

#include "observe.h"

#define PAGE	4096
#define PAGES	5

#define PUNCH		(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO		FALLOC_FL_ZERO_RANGE
#define ZERO_KEEP	(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)

/* Five pages of o at the server, cached, and @len dirty d at @off. */
static int open_dirty(struct obs *o, off_t off, size_t len)
{
	int fd;

	obs_put(o, "file", 'o', PAGES * PAGE);
	fd = obs_open(o, "file", O_RDWR);
	read_bytes(fd, 0, PAGES * PAGE);
	if (len)
		obs_write(o, fd, 'd', off, len);
	mark(o);
	return fd;
}

/* The bytes that are dirty, and the range that is allocated or deallocated. */
static void allocate(struct obs *o, int mode, off_t dirty, size_t dirty_len,
		     off_t off, size_t len)
{
	int fd = open_dirty(o, dirty, dirty_len);

	saw_key(o, "ret", "%s", result(fallocate(fd, mode, off, len)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FALLOCATE,
					      FUSE_SETATTR, 0));
	obs_see(o, fd, "file");
}

#define ALLOCATE(name, ...)						\
	static void allocate_##name(struct obs *o)			\
	{								\
		allocate(o, __VA_ARGS__);				\
	}								\
	OBSERVE_BOTH(falloc, name)					\
	{								\
		allocate_##name(o);					\
	}

ALLOCATE(grows_file, 0, PAGE, PAGE, 4 * PAGE, 2 * PAGE + 100)
ALLOCATE(inside_file, 0, PAGE, PAGE, PAGE, PAGE)
ALLOCATE(beyond_eof_keeps_size, FALLOC_FL_KEEP_SIZE, 4 * PAGE, PAGE, 5 * PAGE, PAGE)
ALLOCATE(hole_over_dirty_page, PUNCH, PAGE, PAGE, PAGE, PAGE)
ALLOCATE(hole_in_dirty_bytes, PUNCH, PAGE, 3 * PAGE, 2 * PAGE - 50, PAGE + 100)
ALLOCATE(hole_beside_dirty_page, PUNCH, 0, PAGE, 3 * PAGE, PAGE)
ALLOCATE(hole_at_dirty_edges, PUNCH, PAGE - 100, 200, PAGE, 2 * PAGE)
ALLOCATE(hole_beyond_eof, PUNCH, 4 * PAGE, PAGE, 4 * PAGE + 100, 4 * PAGE)
ALLOCATE(hole_that_grows, FALLOC_FL_PUNCH_HOLE, PAGE, PAGE, PAGE, PAGE)
ALLOCATE(zeroes_over_dirty_page, ZERO, PAGE, PAGE, PAGE, PAGE)
ALLOCATE(zeroes_in_dirty_bytes, ZERO, PAGE, 3 * PAGE, 2 * PAGE - 50, PAGE + 100)
ALLOCATE(zeroes_that_grow, ZERO, 4 * PAGE, PAGE, 4 * PAGE + 100, 2 * PAGE)
ALLOCATE(zeroes_beyond_eof, ZERO_KEEP, 4 * PAGE, PAGE, 4 * PAGE + 100, 2 * PAGE)
ALLOCATE(collapse, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE, PAGE, PAGE)
ALLOCATE(insert, FALLOC_FL_INSERT_RANGE, 0, PAGE, PAGE, PAGE)
ALLOCATE(nothing, 0, 0, PAGE, PAGE, 0)

OBSERVE_BOTH(falloc, hole_that_fails)
{
	const struct req_match match = { .opcode = FUSE_FALLOCATE };
	int fd = open_dirty(o, PAGE, PAGE);

	NEED(o, !server_fail(o->m.ctl, &match, EIO));
	saw_key(o, "ret", "%s", result(fallocate(fd, PUNCH, PAGE, PAGE)));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(falloc, growth_that_fails)
{
	const struct req_match match = { .opcode = FUSE_FALLOCATE };
	int fd = open_dirty(o, PAGE, PAGE);

	NEED(o, !server_fail(o->m.ctl, &match, ENOSPC));
	saw_key(o, "ret", "%s", result(fallocate(fd, 0, 0, 10 * PAGE)));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(falloc, unknown_to_server)
{
	const struct req_match match = { .opcode = FUSE_FALLOCATE };
	int fd = open_dirty(o, PAGE, PAGE);

	NEED(o, !server_lacks(o->m.ctl, &match));
	saw_key(o, "ret", "%s", result(fallocate(fd, 0, 0, 10 * PAGE)));
	saw_key(o, "again", "%s", result(fallocate(fd, PUNCH, 0, PAGE)));
	saw_key(o, "requests", "%d", arrived(o, FUSE_FALLOCATE));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(falloc, hole_over_stored_page)
{
	int fd = open_dirty(o, 0, 0);
	char *map = obs_map(o, fd, PAGES * PAGE);

	memset(map + PAGE - 100, 's', PAGE);
	saw_key(o, "ret", "%s", result(fallocate(fd, PUNCH, PAGE, PAGE)));
	saw_key(o, "mapped", "%s", bytes(map, PAGES * PAGE));
	map[PAGE + 10] = 't';
	obs_see(o, fd, "file");
}

/* The WRITE of a page is held, and a hole is punched in another or there. */
static void beside_held_write(struct obs *o, int mode, off_t off)
{
	int fd = open_dirty(o, 0, 0);
	struct call *c;

	memset(obs_map(o, fd, PAGE), 's', PAGE);
	obs_hold_writes(o, fd, 1);
	mark(o);
	c = obs_call(o, &call_fallocate, (struct call_arg){
		.fd = fd, .flags = mode, .off = off, .len = PAGE });
	saw_key(o, "held", "%s", state(o, c));
	saw_key(o, "requests", "%s", requests(o, FUSE_FALLOCATE, 0));
	obs_release(o);
	saw_key(o, "ret", "%s", outcome(c));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(falloc, hole_over_held_write)
{
	beside_held_write(o, PUNCH, 0);
}

OBSERVE_BOTH(falloc, hole_beside_held_write)
{
	beside_held_write(o, PUNCH, 2 * PAGE);
}

OBSERVE_BOTH(falloc, growth_beside_held_write)
{
	beside_held_write(o, 0, PAGES * PAGE);
}

/* While it is held, what do other tasks do elsewhere in the file? */
OBSERVE_BOTH(falloc, held)
{
	struct call *hole, *writer, *reader;
	static char buf[100];
	int fd = open_dirty(o, PAGE, PAGE);

	obs_hold(o, FUSE_FALLOCATE);
	hole = obs_call(o, &call_fallocate, (struct call_arg){
		.fd = fd, .flags = PUNCH, .off = PAGE, .len = PAGE });
	saw_key(o, "hole", "%s", state(o, hole));
	reader = obs_call(o, &call_pread, (struct call_arg){
		.fd = fd, .buf = buf, .len = 100, .off = 3 * PAGE });
	saw_key(o, "reader", "%s", state(o, reader));
	writer = obs_call(o, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = "w", .len = 1, .off = 3 * PAGE });
	saw_key(o, "writer", "%s", state(o, writer));
	obs_release(o);
	saw_key(o, "hole_then", "%s", outcome(hole));
	saw_key(o, "reader_then", "%s", outcome(reader));
	saw_key(o, "writer_then", "%s", outcome(writer));
	obs_see(o, fd, "file");
}
