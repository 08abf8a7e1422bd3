// SPDX-License-Identifier: GPL-2.0
/*
 * A WRITE that fails: to whom it is reported, how often, and the contents of
 * the file then.
 */

#include <sys/mman.h>
#include <sys/stat.h>

#include "observe.h"

#define PAGE	4096

static void fail_writes(struct obs *o, int err)
{
	const struct req_match match = { .opcode = FUSE_WRITE };

	NEED(o, !server_fail(o->m.ctl, &match, err));
}

/* A file of a page of o at the server, 100 bytes of which are changed. */
static int open_dirty(struct obs *o, bool stored)
{
	int fd;

	obs_put(o, "file", 'o', PAGE);
	fd = obs_open(o, "file", O_RDWR);
	read_bytes(fd, 0, PAGE);
	if (stored)
		memset(obs_map(o, fd, PAGE), 's', 100);
	else
		obs_write(o, fd, 'd', 0, 100);
	mark(o);
	return fd;
}

/*
 * Two descriptors are open when the WRITE fails, and one is opened later.  Its open(2)
 * may not send dirty data.
 */
static void tell(struct obs *o, int err, bool stored)
{
	int fd = open_dirty(o, stored);
	int other = obs_open(o, "file", O_RDWR);
	int later;

	fail_writes(o, err);
	saw_key(o, "told", "%s", result(fsync(fd)));
	saw_key(o, "again", "%s", result(fsync(fd)));
	saw_key(o, "other", "%s", result(fsync(other)));
	saw_key(o, "other_again", "%s", result(fsync(other)));
	later = obs_open(o, "file", O_RDWR);
	saw_key(o, "later", "%s", result(fsync(later)));
	saw_key(o, "writes", "%d", arrived(o, FUSE_WRITE));
	NEED(o, !server_drop_rules(o->m.ctl));
	obs_see(o, fd, "file");
	obs_write(o, fd, 'e', 50, 10);
	saw_key(o, "fsync_of_more", "%s", result(fsync(fd)));
	saw_key(o, "server_then", "%s", server_bytes(o, "file"));
	saw_key(o, "close", "%s", result(close(fd)));
	saw_key(o, "close_other", "%s", result(close(other)));
}

OBSERVE(error, eio_to_fsync, .writeback_cache = true, .open_flags = FOPEN_KEEP_CACHE)
{
	tell(o, EIO, false);
}

OBSERVE(error, enospc_to_fsync, .writeback_cache = true, .open_flags = FOPEN_KEEP_CACHE)
{
	tell(o, ENOSPC, false);
}

OBSERVE(error, edquot_to_fsync, .writeback_cache = true, .open_flags = FOPEN_KEEP_CACHE)
{
	tell(o, EDQUOT, false);
}

OBSERVE_BOTH(error, of_store_to_fsync, .open_flags = FOPEN_KEEP_CACHE)
{
	tell(o, ENOSPC, true);
}

/*
 * The result of a call that sends the dirty bytes, then of fsync(2), then of
 * close(2).
 */
static void tell_by(struct obs *o, const struct call_op *op, int err, bool stored)
{
	int fd = open_dirty(o, stored);

	fail_writes(o, err);
	/* It waits for no reply to WRITE, and reports those that have come */
	if (op == &call_syncfs) {
		NEED(o, !start_writeback(&o->m, fd));
		NEED(o, await_req(&o->m, FUSE_WRITE, REQ_ARRIVED, 1));
		NEED(o, !await_writes(&o->m));
	}
	saw_key(o, "ret", "%s", run(o, op, (struct call_arg){ .fd = fd }));
	NEED(o, !await_writes(&o->m));
	saw_key(o, "fsync", "%s", result(fsync(fd)));
	saw_key(o, "close", "%s", result(close(fd)));
}

OBSERVE_BOTH(error, to_fdatasync)
{
	tell_by(o, &call_fdatasync, EDQUOT, true);
}

OBSERVE_BOTH(error, to_syncfs)
{
	tell_by(o, &call_syncfs, EIO, true);
}

OBSERVE(error, of_write_to_fdatasync, .writeback_cache = true)
{
	tell_by(o, &call_fdatasync, EROFS, false);
}

OBSERVE(error, of_write_to_syncfs, .writeback_cache = true)
{
	tell_by(o, &call_syncfs, ENOSPC, false);
}

OBSERVE_BOTH(error, to_msync)
{
	char *map;
	int fd;

	obs_put(o, "file", 'o', 2 * PAGE);
	fd = obs_open(o, "file", O_RDWR);
	map = obs_map(o, fd, 2 * PAGE);
	memset(map, 's', 100);
	fail_writes(o, EDQUOT);
	saw_key(o, "msync", "%s", result(msync(map, PAGE, MS_SYNC)));
	saw_key(o, "again", "%s", result(msync(map, PAGE, MS_SYNC)));
	NEED(o, !server_drop_rules(o->m.ctl));
	saw_key(o, "mapped", "%s", bytes(map, 2 * PAGE));
	obs_see(o, fd, "file");
	saw_key(o, "close", "%s", result(close(fd)));
}

OBSERVE_BOTH(error, of_store_to_close)
{
	int fd = open_dirty(o, true);

	fail_writes(o, EDQUOT);
	saw_key(o, "close", "%s", result(close(fd)));
}

/* munmap(2) reports nothing, and fsync(2) of another descriptor does. */
OBSERVE_BOTH(error, of_store_behind_munmap)
{
	char *map;
	int fd;

	obs_put(o, "file", 'o', PAGE);
	fd = obs_open(o, "file", O_RDWR);
	map = obs_map(o, fd, PAGE);
	memset(map, 's', 100);
	fail_writes(o, EIO);
	saw_key(o, "munmap", "%s", result(munmap(map, PAGE)));
	saw_key(o, "fsync", "%s", result(fsync(fd)));
	saw_key(o, "close", "%s", result(close(fd)));
}

static void write_with(struct obs *o, int flags, int err)
{
	int fd;

	obs_put(o, "file", 'o', PAGE);
	fd = obs_open(o, "file", O_RDWR | flags);
	read_bytes(fd, 0, PAGE);
	fail_writes(o, err);
	saw_key(o, "write", "%s", result(pwrite(fd, "wwww", 4, 100)));
	saw_key(o, "append", "%s", result(pwrite(fd, "wwww", 4, PAGE)));
	NEED(o, !server_drop_rules(o->m.ctl));
	obs_see(o, fd, "file");
	saw_key(o, "close", "%s", result(close(fd)));
}

OBSERVE_BOTH(error, of_write)
{
	write_with(o, 0, EDQUOT);
}

OBSERVE_BOTH(error, of_o_sync_write)
{
	write_with(o, O_SYNC, ENOSPC);
}

OBSERVE_BOTH(error, of_o_dsync_write)
{
	write_with(o, O_DSYNC, EIO);
}

/* The reply to a WRITE names fewer bytes. */
OBSERVE_BOTH(error, short_write)
{
	const struct req_match match = { .opcode = FUSE_WRITE };
	char buf[70];
	int fd;

	memset(buf, 'w', sizeof(buf));
	obs_put(o, "file", 'o', PAGE);
	fd = obs_open(o, "file", O_RDWR);
	NEED(o, !server_rule(o->m.ctl, &match, RULE_SIZE, 60));
	saw_key(o, "write", "%s", result(pwrite(fd, buf, sizeof(buf), 0)));
	NEED(o, !server_drop_rules(o->m.ctl));
	obs_see(o, fd, "file");
}

/* FSYNC itself fails, or is not implemented. */
OBSERVE_BOTH(error, of_fsync)
{
	const struct req_match match = { .opcode = FUSE_FSYNC };
	int fd = open_dirty(o, false);

	NEED(o, !server_fail(o->m.ctl, &match, EIO));
	saw_key(o, "fsync", "%s", result(fsync(fd)));
	saw_key(o, "again", "%s", result(fsync(fd)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
	NEED(o, !server_lacks(o->m.ctl, &match));
	saw_key(o, "unknown", "%s", result(fsync(fd)));
	saw_key(o, "close", "%s", result(close(fd)));
}

OBSERVE_BOTH(error, of_flush)
{
	const struct req_match match = { .opcode = FUSE_FLUSH };
	int fd = open_dirty(o, false);

	NEED(o, !server_fail(o->m.ctl, &match, EDQUOT));
	saw_key(o, "close", "%s", result(close(fd)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/* FLUSH and WRITE fail: which error is returned? */
OBSERVE(error, of_flush_and_write, .writeback_cache = true)
{
	const struct req_match match = { .opcode = FUSE_FLUSH };
	int fd = open_dirty(o, false);

	fail_writes(o, EDQUOT);
	NEED(o, !server_fail(o->m.ctl, &match, EACCES));
	saw_key(o, "close", "%s", result(close(fd)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FLUSH, 0));
}

/*
 * One of two ranges fails; the other has arrived, and msync(2) syncs that one.
 */
OBSERVE(error, of_one_of_two_writes, .writeback_cache = true)
{
	const struct req_match first = { .opcode = FUSE_WRITE, .end = PAGE };
	char *map;
	int fd;

	obs_put(o, "file", 'o', 4 * PAGE);
	fd = obs_open(o, "file", O_RDWR);
	map = obs_map(o, fd, 4 * PAGE);
	obs_write(o, fd, 'd', 0, PAGE);
	obs_write(o, fd, 'e', 2 * PAGE, PAGE);
	NEED(o, !server_fail(o->m.ctl, &first, EDQUOT));
	saw_key(o, "msync", "%s", result(msync(map + 2 * PAGE, PAGE, MS_SYNC)));
	obs_see(o, fd, "file");
}

/* An unreported error, as the file was closed and opened again. */
OBSERVE_BOTH(error, before_open)
{
	int fd = open_dirty(o, true);
	int other;

	fail_writes(o, EIO);
	NEED(o, !start_writeback(&o->m, fd));
	NEED(o, !await_writes(&o->m));
	NEED(o, !server_drop_rules(o->m.ctl));
	other = obs_open(o, "file", O_RDWR);
	saw_key(o, "fsync_of_other", "%s", result(fsync(other)));
	saw_key(o, "close_of_other", "%s", result(close(other)));
	saw_key(o, "fsync", "%s", result(fsync(fd)));
	saw_key(o, "close", "%s", result(close(fd)));
}
