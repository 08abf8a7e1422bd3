// SPDX-License-Identifier: GPL-2.0
/* open(2) and close(2) of a file that is in the page cache already, and mixed opens. */

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "observe.h"

#define PAGE	4096

/* Two pages of o, in the page cache, 100 bytes of the second one dirty. */
static int open_cached(struct obs *o, bool dirty)
{
	int fd;

	obs_put(o, "file", 'o', 2 * PAGE);
	fd = obs_open(o, "file", O_RDWR);
	read_bytes(fd, 0, 2 * PAGE);
	if (dirty)
		memset(obs_map(o, fd, 2 * PAGE) + PAGE, 's', 100);
	return fd;
}

/* The server changes the file, and it is opened again. */
static void open_again(struct obs *o, int flags, bool dirty)
{
	int fd = open_cached(o, dirty);
	int other;

	NEED(o, !server_put(o->m.ctl, "file", 0, "nnnn", 4));
	mark(o);
	other = obs_open(o, "file", flags);
	saw_key(o, "first", "%s", read_bytes(fd, 0, 2 * PAGE));
	if ((flags & O_ACCMODE) != O_WRONLY)
		saw_key(o, "other", "%s", read_bytes(other, 0, 2 * PAGE));
	saw_key(o, "requests", "%s", requests(o, FUSE_OPEN, FUSE_READ, FUSE_WRITE, 0));
	saw_key(o, "close", "%s", result(close(other)));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(open, drops_cache)
{
	open_again(o, O_RDONLY, false);
}

OBSERVE_BOTH(open, drops_cache_and_sends_dirty_page)
{
	open_again(o, O_RDONLY, true);
}

OBSERVE_BOTH(open, for_writing_of_dirty_file)
{
	open_again(o, O_WRONLY, true);
}

OBSERVE_BOTH(open, keeps_cache, .open_flags = FOPEN_KEEP_CACHE)
{
	open_again(o, O_RDONLY, false);
}

OBSERVE_BOTH(open, keeps_cache_of_dirty_file, .open_flags = FOPEN_KEEP_CACHE)
{
	open_again(o, O_RDONLY, true);
}

OBSERVE_BOTH(open, with_o_direct_of_dirty_file, .open_flags = FOPEN_KEEP_CACHE)
{
	open_again(o, O_RDONLY | O_DIRECT, true);
}

/*
 * One descriptor is cached, and the server sets FOPEN_DIRECT_IO for the next.
 */
OBSERVE_BOTH(open, direct_beside_cached)
{
	int fd = open_cached(o, true);
	int direct;

	NEED(o, !server_open_flags(o->m.ctl, FOPEN_DIRECT_IO));
	direct = obs_open(o, "file", O_RDWR);
	mark(o);
	saw_key(o, "direct_read", "%s", read_bytes(direct, 0, 2 * PAGE));
	obs_write(o, direct, 'w', 100, PAGE);
	saw_key(o, "cached_read", "%s", read_bytes(fd, 0, 2 * PAGE));
	obs_write(o, fd, 'c', 50, 100);
	saw_key(o, "direct_read_then", "%s", read_bytes(direct, 0, 2 * PAGE));
	saw_key(o, "requests", "%s", requests(o, FUSE_READ, FUSE_WRITE, 0));
	obs_see(o, fd, "file");
}

/* open(2) while the WRITE of a page is held. */
static void open_beside_held_write(struct obs *o, int flags)
{
	int other, fd = open_cached(o, true);
	struct call *c;

	obs_hold_writes(o, fd, 1);
	c = obs_call(o, &call_open, (struct call_arg){
		.buf = (void *)obs_path(o, "file"), .flags = flags });
	saw_key(o, "held", "%s", strcmp(state(o, c), "blocked") ? "returns" : "blocked");
	obs_release(o);
	NEED(o, call_wait_returned(c) == CALL_RETURNED && c->ret >= 0);
	other = c->ret;
	saw_key(o, "other", "%s", read_bytes(other, 0, 2 * PAGE));
	saw_key(o, "close", "%s", result(close(other)));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(open, beside_held_write)
{
	open_beside_held_write(o, O_RDONLY);
}

OBSERVE_BOTH(open, beside_held_write_keeps_cache, .open_flags = FOPEN_KEEP_CACHE)
{
	open_beside_held_write(o, O_RDONLY);
}

/*
 * A direct write in parallel mode is held, and another task needs the page
 * cache.
 */
OBSERVE(open, cached_beside_parallel_writer,
	.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES)
{
	char *buf = aligned_alloc(PAGE, PAGE);
	struct call *writer, *opener;
	int fd;

	NEED(o, buf);
	memset(buf, 'w', PAGE);
	obs_put(o, "file", 'o', 2 * PAGE);
	fd = obs_open(o, "file", O_RDWR);
	NEED(o, !server_open_flags(o->m.ctl, 0));
	obs_hold(o, FUSE_WRITE);
	writer = obs_call(o, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = buf, .len = PAGE });
	NEED(o, await_req(&o->m, FUSE_WRITE, REQ_ARRIVED, 1));
	opener = obs_call(o, &call_open, (struct call_arg){
		.buf = (void *)obs_path(o, "file"), .flags = O_RDWR });
	saw_key(o, "open", "%s", state(o, opener));
	obs_release(o);
	saw_key(o, "writer", "%s", outcome(writer));
	NEED(o, call_wait_returned(opener) == CALL_RETURNED && opener->ret >= 0);
	saw_key(o, "opened", "%s", read_bytes(opener->ret, 0, 2 * PAGE));
	obs_see(o, fd, "file");
}

/* Each close(2) sends FLUSH, the last one RELEASE. */
static void close_copies(struct obs *o)
{
	int fd, copy;

	obs_put(o, "file", 'o', PAGE);
	fd = obs_open(o, "file", O_RDWR);
	copy = dup(fd);
	obs_write(o, fd, 'd', 0, 100);
	mark(o);
	saw_key(o, "first", "%s", result(close(copy)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FLUSH, FUSE_RELEASE, 0));
	mark(o);
	obs_write(o, fd, 'e', 0, 100);
	saw_key(o, "last", "%s", result(close(fd)));
	NEED(o, await_req(&o->m, FUSE_RELEASE, REQ_REPLIED, 1));
	saw_key(o, "requests_then", "%s", requests(o, FUSE_WRITE, FUSE_FLUSH, FUSE_RELEASE, 0));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

OBSERVE_BOTH(open, and_close_twice)
{
	close_copies(o);
}

OBSERVE_BOTH(open, and_close_twice_without_flush, .open_flags = FOPEN_NOFLUSH)
{
	close_copies(o);
}

/*
 * Reader and writer have separate descriptors; which is closed, and when is the
 * data sent?
 */
OBSERVE_BOTH(open, reader_closes_before_writer, .open_flags = FOPEN_KEEP_CACHE)
{
	int fd = open_cached(o, true);
	int reader = obs_open(o, "file", O_RDONLY);

	mark(o);
	saw_key(o, "reader", "%s", result(close(reader)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FLUSH, 0));
	saw_key(o, "writer", "%s", result(close(fd)));
	saw_key(o, "requests_then", "%s", requests(o, FUSE_WRITE, FUSE_FLUSH, 0));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/* A new file: O_EXCL, and one that is created, closed and opened again. */
OBSERVE_BOTH(open, of_new_file)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT | O_EXCL);

	saw_key(o, "again", "%s", result(open(obs_path(o, "file"), O_RDWR | O_CREAT | O_EXCL,
					      0644)));
	obs_write(o, fd, 'x', 0, 100);
	saw_key(o, "close", "%s", result(close(fd)));
	fd = obs_open(o, "file", O_RDWR | O_CREAT);
	obs_see(o, fd, "file");
	saw_key(o, "directory", "%s", result(open(obs_path(o, "file"), O_DIRECTORY)));
	saw_key(o, "missing", "%s", result(open(obs_path(o, "other"), O_RDWR)));
}

/* OPEN fails, or CREATE does. */
OBSERVE_BOTH(open, that_fails)
{
	const struct req_match opens = { .opcode = FUSE_OPEN };
	const struct req_match creates = { .opcode = FUSE_CREATE };
	int fd = open_cached(o, true);

	NEED(o, !server_fail(o->m.ctl, &opens, EMFILE));
	NEED(o, !server_fail(o->m.ctl, &creates, EDQUOT));
	saw_key(o, "open", "%s", result(open(obs_path(o, "file"), O_RDONLY)));
	saw_key(o, "create", "%s", result(open(obs_path(o, "new"), O_RDWR | O_CREAT, 0644)));
	obs_see(o, fd, "file");
}
