// SPDX-License-Identifier: GPL-2.0
/* What fsync(2) and similar calls send, how much, and in which order. */

#include <sys/mman.h>
#include <sys/uio.h>

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

/* Of many dirty bytes only those in the synced range are sent. */
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

/* With a WRITE held: the reply to it comes first, then FSYNC. */
static void order(struct obs *o, const struct call_op *op)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	struct call *c;

	obs_write(o, fd, 'x', 0, PAGE);
	mark(o);
	obs_hold(o, FUSE_WRITE);
	c = obs_call(o, op, (struct call_arg){ .fd = fd });
	NEED(o, await_req(&o->m, FUSE_WRITE, REQ_ARRIVED, 1));
	saw_key(o, "held", "%s", state(o, c));
	obs_release(o);
	saw_key(o, "ret", "%s", outcome(c));
	saw_key(o, "requests", "%s", exchange(o, FUSE_WRITE, FUSE_FSYNC, 0));
}

OBSERVE(fsync, waits_for_held_write, .writeback_cache = true)
{
	order(o, &call_fsync);
}

OBSERVE(fsync, fdatasync_waits_for_held_write, .writeback_cache = true)
{
	order(o, &call_fdatasync);
}

OBSERVE(fsync, syncfs_with_held_write, .writeback_cache = true)
{
	order(o, &call_syncfs);
}

OBSERVE(fsync, sync_with_held_write, .writeback_cache = true)
{
	order(o, &call_sync);
}

/* fdatasync(2) sets its flag; and clean data is synced at the server, too. */
OBSERVE(fsync, of_clean_file, .writeback_cache = true)
{
	struct req_match match = { .opcode = FUSE_FSYNC };
	int seq, fd;

	obs_put(o, "file", 'o', PAGE);
	fd = obs_open(o, "file", O_RDONLY);
	saw_key(o, "fsync", "%s", result(fsync(fd)));
	saw_key(o, "fdatasync", "%s", result(fdatasync(fd)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
	seq = reqlog_find(o->m.log, &match, REQ_ARRIVED, 2);
	NEED(o, seq);
	saw_key(o, "flags", "%#x", o->m.log->ev[seq - 1].req.flags);
}

OBSERVE(fsync, of_directory, .writeback_cache = true)
{
	int fd = open(o->m.dir, O_RDONLY | O_DIRECTORY);

	saw(o, "%s", result(fsync(fd)));
}

OBSERVE(fsync, server_lacks_it, .writeback_cache = true)
{
	const struct req_match match = { .opcode = FUSE_FSYNC };
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	NEED(o, !server_lacks(o->m.ctl, &match));
	obs_write(o, fd, 'x', 0, 100);
	saw_key(o, "ret", "%s", result(fsync(fd)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
	saw_key(o, "again", "%s", result(fsync(fd)));
	saw_key(o, "requests", "%s", requests(o, FUSE_FSYNC, 0));
}

OBSERVE(fsync, without_cache)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	char *map;

	obs_write(o, fd, 'x', 0, PAGE);
	map = obs_map(o, fd, PAGE);
	map[0] = 'm';
	mark(o);
	saw_key(o, "ret", "%s", result(fsync(fd)));
	saw_key(o, "requests", "%s", exchange(o, FUSE_WRITE, FUSE_FSYNC, 0));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/* sync_file_range(2) sends the given range, and no FSYNC. */
OBSERVE(fsync, sync_file_range_sends_its_range, .writeback_cache = true)
{
	int fd = open_dirty(o, 0);

	saw_key(o, "ret", "%s", run(o, &call_sync_file_range, (struct call_arg){
		.fd = fd, .off = 3 * PAGE, .len = 2 * PAGE,
		.flags = SYNC_FILE_RANGE_WRITE }));
	NEED(o, !await_writes(&o->m));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
}

OBSERVE(fsync, sync_file_range_waits, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	struct call *c;

	obs_write(o, fd, 'x', 0, PAGE);
	obs_hold(o, FUSE_WRITE);
	c = obs_call(o, &call_sync_file_range, (struct call_arg){
		.fd = fd, .flags = SYNC_FILE_RANGE_WRITE |
				   SYNC_FILE_RANGE_WAIT_AFTER });
	NEED(o, await_req(&o->m, FUSE_WRITE, REQ_ARRIVED, 1));
	saw(o, "%s", state(o, c));
}

OBSERVE(fsync, msync_async_sends_nothing, .writeback_cache = true)
{
	int fd = open_dirty(o, 0);
	char *map = obs_map(o, fd, MUCH);

	map[0] = 'y';
	saw_key(o, "async", "%s", result(msync(map, PAGE, MS_ASYNC)));
	saw_key(o, "invalidate", "%s", result(msync(map, PAGE, MS_INVALIDATE)));
	NEED(o, !fence(&o->m));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
}

OBSERVE(fsync, rwf_dsync_sends_its_own, .writeback_cache = true)
{
	int fd = open_dirty(o, 0);
	struct iovec iov = { .iov_base = "y", .iov_len = 1 };

	saw_key(o, "ret", "%s", result(pwritev2(fd, &iov, 1, 7 * PAGE, RWF_DSYNC)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
}

/* O_APPEND and O_DSYNC: a log file with much other dirty data. */
OBSERVE(fsync, o_dsync_append_sends_its_own, .writeback_cache = true)
{
	int fd = open_dirty(o, O_DSYNC | O_APPEND);

	saw_key(o, "ret", "%s", result(write(fd, "y", 1)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
}

OBSERVE(fsync, syncfs_sends_all_files, .writeback_cache = true)
{
	int one = obs_open(o, "one", O_RDWR | O_CREAT);
	int two = obs_open(o, "two", O_RDWR | O_CREAT);

	obs_write(o, one, '1', 0, 10000);
	obs_write(o, two, '2', 0, 20000);
	mark(o);
	saw_key(o, "ret", "%s", run(o, &call_syncfs, (struct call_arg){ .fd = one }));
	NEED(o, !await_writes(&o->m));
	saw_key(o, "sent", "%ld", sent(o, FUSE_WRITE));
	saw_key(o, "one", "%s", server_bytes(o, "one"));
	saw_key(o, "two", "%s", server_bytes(o, "two"));
}

/* A failed WRITE is reported to each descriptor that was open then, once. */
OBSERVE(fsync, error_reaches_each_descriptor, .writeback_cache = true)
{
	const struct req_match match = { .opcode = FUSE_WRITE };
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	int other = obs_open(o, "file", O_RDONLY);
	int later;

	obs_write(o, fd, 'x', 0, 100);
	NEED(o, !server_fail(o->m.ctl, &match, ENOSPC));
	saw_key(o, "writer", "%s", result(fsync(fd)));
	saw_key(o, "writer_again", "%s", result(fsync(fd)));
	saw_key(o, "other", "%s", result(fsync(other)));
	later = obs_open(o, "file", O_RDONLY);
	saw_key(o, "opened_later", "%s", result(fsync(later)));
}

/* A WRITE that the server carries out partially. */
OBSERVE(fsync, after_short_write, .writeback_cache = true)
{
	const struct req_match match = { .opcode = FUSE_WRITE };
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, 100);
	NEED(o, !server_rule(o->m.ctl, &match, RULE_SIZE, 10));
	saw_key(o, "ret", "%s", result(fsync(fd)));
	saw_key(o, "again", "%s", result(fsync(fd)));
}
