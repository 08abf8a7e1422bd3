// SPDX-License-Identifier: GPL-2.0
/*
 * Asynchronous I/O by io_submit(2): results, and the order relative to dirty
 * data.
 */

#include <stdlib.h>
#include <sys/stat.h>

#include "aio.h"
#include "observe.h"

#define PAGE	4096

static char *new_buffer(struct obs *o, char byte)
{
	char *buf = aligned_alloc(PAGE, 4 * PAGE);

	NEED(o, buf);
	memset(buf, byte, 4 * PAGE);
	return buf;
}

static int open_file(struct obs *o, int flags)
{
	obs_put(o, "file", 'o', 10000);
	return obs_open(o, "file", O_RDWR | flags);
}

static struct call_arg transfer(int fd, char *buf, off_t off, size_t len)
{
	return (struct call_arg){ .fd = fd, .buf = buf, .off = off, .len = len };
}

static void read_and_write(struct obs *o, int flags)
{
	char *buf = new_buffer(o, 'w');
	int fd = open_file(o, flags);

	saw_key(o, "write", "%s", run(o, &call_aio_pwrite, transfer(fd, buf, PAGE, PAGE)));
	saw_key(o, "append", "%s", run(o, &call_aio_pwrite, transfer(fd, buf, 12000, 100)));
	memset(buf, '?', 4 * PAGE);
	saw_key(o, "read", "%s", run(o, &call_aio_pread, transfer(fd, buf, PAGE / 2, PAGE)));
	saw_key(o, "buffer", "%s", bytes(buf, PAGE + 1));
	saw_key(o, "over_end", "%s", run(o, &call_aio_pread, transfer(fd, buf, 12000, PAGE)));
	saw_key(o, "beyond", "%s", run(o, &call_aio_pread, transfer(fd, buf, 20000, PAGE)));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(aio, cached)
{
	read_and_write(o, 0);
}

OBSERVE_BOTH(aio, o_direct, .async_dio = true)
{
	read_and_write(o, O_DIRECT);
}

OBSERVE_BOTH(aio, o_direct_without_async_dio)
{
	read_and_write(o, O_DIRECT);
}

OBSERVE_BOTH(aio, direct_io, .async_dio = true, .open_flags = FOPEN_DIRECT_IO)
{
	read_and_write(o, 0);
}

static void fail(struct obs *o, int flags)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	const struct req_match reads = { .opcode = FUSE_READ };
	char *buf = new_buffer(o, 'w');
	int fd = open_file(o, flags);

	NEED(o, !server_rule(o->m.ctl, &writes, RULE_SIZE, 1000));
	saw_key(o, "short_write", "%s", run(o, &call_aio_pwrite, transfer(fd, buf, 0, PAGE)));
	saw_key(o, "short_append", "%s",
		run(o, &call_aio_pwrite, transfer(fd, buf, 12000, PAGE)));
	NEED(o, !server_fail(o->m.ctl, &writes, ENOSPC));
	saw_key(o, "failed_write", "%s", run(o, &call_aio_pwrite, transfer(fd, buf, 0, PAGE)));
	saw_key(o, "failed_append", "%s",
		run(o, &call_aio_pwrite, transfer(fd, buf, 20000, PAGE)));
	NEED(o, !server_drop_rules(o->m.ctl));
	memset(buf, '?', 4 * PAGE);
	NEED(o, !server_rule(o->m.ctl, &reads, RULE_SIZE, 1000));
	saw_key(o, "short_read", "%s", run(o, &call_aio_pread, transfer(fd, buf, 0, PAGE)));
	saw_key(o, "buffer", "%s", bytes(buf, 2 * PAGE));
	NEED(o, !server_fail(o->m.ctl, &reads, EIO));
	saw_key(o, "failed_read", "%s", run(o, &call_aio_pread, transfer(fd, buf, 0, PAGE)));
	NEED(o, !server_drop_rules(o->m.ctl));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(aio, failure_of_o_direct, .async_dio = true)
{
	fail(o, O_DIRECT);
}

/* Not with the cache: see direct.failure_without_cache. */
OBSERVE(aio, failure_of_o_direct_without_async_dio)
{
	fail(o, O_DIRECT);
}

OBSERVE_BOTH(aio, failure_of_direct_io, .async_dio = true, .open_flags = FOPEN_DIRECT_IO)
{
	fail(o, 0);
}

/* Several requests, the second of which fails or is short. */
static void fail_second(struct obs *o, int cmd, __u32 opcode)
{
	const struct req_match second = { .opcode = opcode, .start = PAGE, .end = 2 * PAGE };
	char *buf = new_buffer(o, 'w');
	int fd = open_file(o, O_DIRECT);
	const struct call_op *op = cmd == IOCB_CMD_PREAD ? &call_aio_pread : &call_aio_pwrite;

	NEED(o, !server_fail(o->m.ctl, &second, EIO));
	saw_key(o, "failed", "%s", run(o, op, transfer(fd, buf, 0, 4 * PAGE)));
	NEED(o, !server_drop_rules(o->m.ctl));
	NEED(o, !server_rule(o->m.ctl, &second, RULE_SIZE, 1000));
	saw_key(o, "short", "%s", run(o, op, transfer(fd, buf, 0, 2 * PAGE)));
	NEED(o, !server_drop_rules(o->m.ctl));
	obs_see(o, fd, "file");
}

OBSERVE(aio, second_read_fails, .async_dio = true, .max_write = PAGE, .max_pages = 1,
	.writeback_cache = true)
{
	fail_second(o, IOCB_CMD_PREAD, FUSE_READ);
}

OBSERVE(aio, second_write_fails, .async_dio = true, .max_write = PAGE, .max_pages = 1,
	.writeback_cache = true)
{
	fail_second(o, IOCB_CMD_PWRITE, FUSE_WRITE);
}

/* Dirty data is sent before; the cache is not stale after a write. */
OBSERVE_BOTH(aio, beside_dirty_pages, .async_dio = true)
{
	char *buf = new_buffer(o, 'w');
	int fd = open_file(o, O_DIRECT);
	int cached = obs_open(o, "file", O_RDWR);

	obs_write(o, cached, 'c', 1000, 5000);
	mark(o);
	saw_key(o, "read", "%s", run(o, &call_aio_pread, transfer(fd, buf, 0, PAGE)));
	saw_key(o, "buffer", "%s", bytes(buf, PAGE));
	memset(buf, 'w', PAGE);
	obs_write(o, cached, 'd', 1000, 5000);
	saw_key(o, "write", "%s", run(o, &call_aio_pwrite, transfer(fd, buf, 2000, PAGE)));
	saw_key(o, "requests", "%s", requests(o, FUSE_READ, FUSE_WRITE, 0));
	obs_see(o, cached, "file");
}

/*
 * Its WRITE is held: does io_submit(2) return, and does a cached reader wait?
 */
OBSERVE_BOTH(aio, held_write, .async_dio = true)
{
	char *buf = new_buffer(o, 'w');
	static char seen[100];
	int fd = open_file(o, O_DIRECT);
	int cached = obs_open(o, "file", O_RDWR);
	struct aio aio = {};
	struct call_arg arg = transfer(fd, buf, 0, PAGE);
	struct call *reader, *writer;

	read_bytes(cached, 0, 10000);
	obs_hold(o, FUSE_WRITE);
	NEED(o, !aio_submit(&aio, IOCB_CMD_PWRITE, &arg));
	NEED(o, await_req(&o->m, FUSE_WRITE, REQ_ARRIVED, 1));
	reader = obs_call(o, &call_pread, transfer(cached, seen, 0, 100));
	saw_key(o, "reader", "%s", state(o, reader));
	writer = obs_call(o, &call_pwrite, transfer(fd, buf, 2 * PAGE, 100));
	saw_key(o, "writer", "%s", state(o, writer));
	obs_release(o);
	saw_key(o, "ret", "%s", result(aio_wait(&aio)));
	saw_key(o, "reader_then", "%s", outcome(reader));
	saw_key(o, "writer_then", "%s", outcome(writer));
	obs_see(o, cached, "file");
}

/* RWF_DSYNC works as O_DSYNC: FSYNC follows an asynchronous write. */
OBSERVE_BOTH(aio, o_dsync, .async_dio = true)
{
	char *buf = new_buffer(o, 'w');
	int fd = open_file(o, O_DIRECT | O_DSYNC);

	saw_key(o, "write", "%s", run(o, &call_aio_pwrite, transfer(fd, buf, 0, PAGE)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
}

OBSERVE_BOTH(aio, append, .async_dio = true)
{
	char *buf = new_buffer(o, 'w');
	int fd = open_file(o, O_DIRECT | O_APPEND);

	saw_key(o, "write", "%s", run(o, &call_aio_pwrite, transfer(fd, buf, 0, 100)));
	saw_key(o, "again", "%s", run(o, &call_aio_pwrite, transfer(fd, buf, 0, 100)));
	obs_see(o, fd, "file");
}
