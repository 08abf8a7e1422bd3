// SPDX-License-Identifier: GPL-2.0
/* Truncation: the contents afterwards, and which calls wait. */

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "observe.h"

#define PAGE	4096

/* A file of 10000 o at the server, with 6000 dirty d at 2000. */
static int open_dirty(struct obs *o)
{
	int fd;

	obs_put(o, "file", 'o', 10000);
	fd = obs_open(o, "file", O_RDWR);
	obs_write(o, fd, 'd', 2000, 6000);
	mark(o);
	return fd;
}

static void see_requests(struct obs *o)
{
	saw_key(o, "requests", "%s", requests(o, FUSE_OPEN, FUSE_SETATTR, FUSE_WRITE, 0));
}

/* ftruncate(2) to one size after another. */
static void truncate_to(struct obs *o, size_t size, size_t then)
{
	int fd = open_dirty(o);

	saw_key(o, "ret", "%s", result(ftruncate(fd, size)));
	if (then)
		saw_key(o, "then", "%s", result(ftruncate(fd, then)));
	see_requests(o);
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(trunc, down_into_dirty_bytes)
{
	truncate_to(o, 5000, 0);
}

OBSERVE_BOTH(trunc, down_to_page)
{
	truncate_to(o, PAGE, 0);
}

OBSERVE_BOTH(trunc, down_to_nothing)
{
	truncate_to(o, 0, 0);
}

OBSERVE_BOTH(trunc, up_over_dirty_bytes)
{
	truncate_to(o, 20000, 0);
}

OBSERVE_BOTH(trunc, to_the_same_size)
{
	truncate_to(o, 10000, 0);
}

OBSERVE_BOTH(trunc, down_and_up)
{
	truncate_to(o, 5000, 12000);
}

OBSERVE_BOTH(trunc, to_nothing_and_up)
{
	truncate_to(o, 0, 12000);
}

OBSERVE_BOTH(trunc, down_and_append)
{
	int fd = open_dirty(o);
	int append = obs_open(o, "file", O_WRONLY | O_APPEND);

	NEED(o, !ftruncate(fd, 5000));
	saw_key(o, "write", "%s", result(write(append, "aaaa", 4)));
	saw_key(o, "beyond", "%s", result(pwrite(fd, "b", 1, 6000)));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(trunc, by_path)
{
	int fd = open_dirty(o);

	saw_key(o, "ret", "%s", result(truncate(obs_path(o, "file"), 5000)));
	saw_key(o, "readonly_fd", "%s", result(ftruncate(obs_open(o, "file", O_RDONLY), 0)));
	see_requests(o);
	obs_see(o, fd, "file");
}

/* The server refuses it: nothing changes. */
OBSERVE_BOTH(trunc, that_fails)
{
	const struct req_match match = { .opcode = FUSE_SETATTR };
	int fd = open_dirty(o);

	NEED(o, !server_fail(o->m.ctl, &match, EPERM));
	saw_key(o, "ret", "%s", result(ftruncate(fd, 5000)));
	saw_key(o, "up", "%s", result(ftruncate(fd, 20000)));
	NEED(o, !server_drop_rules(o->m.ctl));
	obs_see(o, fd, "file");
}

/* While a WRITE of the file is held. */
static void beside_held_write(struct obs *o, size_t size)
{
	struct call *c;
	int fd;

	obs_put(o, "file", 'o', 10000);
	fd = obs_open(o, "file", O_RDWR);
	/* Stored, so that it is written back without the cache, too. */
	memset(obs_map(o, fd, 10000), 's', 10000);
	obs_hold_writes(o, fd, 1);
	mark(o);
	c = obs_call(o, &call_ftruncate, (struct call_arg){ .fd = fd, .len = size });
	saw_key(o, "held", "%s", state(o, c));
	see_requests(o);
	obs_release(o);
	saw_key(o, "ret", "%s", outcome(c));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(trunc, down_beside_held_write)
{
	beside_held_write(o, 5000);
}

OBSERVE_BOTH(trunc, up_beside_held_write)
{
	beside_held_write(o, 20000);
}

/* While the truncation is held, what do other tasks do? */
OBSERVE_BOTH(trunc, held)
{
	struct call *cut, *writer, *reader;
	static char buf[100];
	int fd = open_dirty(o);

	obs_hold(o, FUSE_SETATTR);
	cut = obs_call(o, &call_ftruncate, (struct call_arg){ .fd = fd, .len = 5000 });
	saw_key(o, "truncate", "%s", state(o, cut));
	reader = obs_call(o, &call_pread, (struct call_arg){
		.fd = fd, .buf = buf, .len = 100, .off = 2000 });
	saw_key(o, "reader", "%s", state(o, reader));
	writer = obs_call(o, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = "w", .len = 1, .off = 5500 });
	saw_key(o, "writer", "%s", state(o, writer));
	obs_release(o);
	saw_key(o, "truncate_then", "%s", outcome(cut));
	saw_key(o, "reader_then", "%s", outcome(reader));
	saw_key(o, "writer_then", "%s", outcome(writer));
	obs_see(o, fd, "file");
}

/* open(2) with O_TRUNC of a file that is dirty. */
static void open_trunc(struct obs *o)
{
	int fd = open_dirty(o);
	int other;

	other = open(obs_path(o, "file"), O_RDWR | O_TRUNC);
	saw_key(o, "ret", "%s", other < 0 ? result(-1) : "open");
	see_requests(o);
	saw_key(o, "server_size", "%lld", server_size(o->m.ctl, "file"));
	obs_write(o, other, 'n', 3000, 10);
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(trunc, by_open)
{
	open_trunc(o);
}

OBSERVE_BOTH(trunc, by_atomic_open, .init_flags = FUSE_ATOMIC_O_TRUNC)
{
	open_trunc(o);
}

static void open_trunc_that_fails(struct obs *o, __u32 opcode)
{
	const struct req_match match = { .opcode = opcode };
	int fd = open_dirty(o);

	NEED(o, !server_fail(o->m.ctl, &match, EPERM));
	saw_key(o, "ret", "%s", result(open(obs_path(o, "file"), O_RDWR | O_TRUNC)));
	NEED(o, !server_drop_rules(o->m.ctl));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(trunc, by_open_that_fails)
{
	open_trunc_that_fails(o, FUSE_OPEN);
}

OBSERVE_BOTH(trunc, by_open_when_setattr_fails)
{
	open_trunc_that_fails(o, FUSE_SETATTR);
}

OBSERVE_BOTH(trunc, by_atomic_open_that_fails, .init_flags = FUSE_ATOMIC_O_TRUNC)
{
	open_trunc_that_fails(o, FUSE_OPEN);
}

/* open(2) with O_TRUNC of the path at @buf: 0, not a meaningless number. */
static long do_open_trunc(const struct call_arg *arg)
{
	return open(arg->buf, O_RDWR | O_TRUNC | O_CLOEXEC) < 0 ? -1 : 0;
}

static const struct call_op call_open_trunc = { "open", SYS_openat, do_open_trunc };

/* The same while a WRITE is held. */
static void open_trunc_beside_held_write(struct obs *o)
{
	struct call *c;
	int fd;

	obs_put(o, "file", 'o', 10000);
	fd = obs_open(o, "file", O_RDWR);
	memset(obs_map(o, fd, 10000), 's', 10000);
	obs_hold_writes(o, fd, 1);
	c = obs_call(o, &call_open_trunc, (struct call_arg){
		.buf = (void *)obs_path(o, "file") });
	saw_key(o, "held", "%s", state(o, c));
	obs_release(o);
	saw_key(o, "ret", "%s", outcome(c));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(trunc, by_open_beside_held_write)
{
	open_trunc_beside_held_write(o);
}

OBSERVE_BOTH(trunc, by_atomic_open_beside_held_write,
	     .init_flags = FUSE_ATOMIC_O_TRUNC)
{
	open_trunc_beside_held_write(o);
}
