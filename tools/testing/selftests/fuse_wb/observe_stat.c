// SPDX-License-Identifier: GPL-2.0
/*
 * Attributes of a file under writeback: sizes, blocks and times, and which
 * calls query the server.
 */

#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "observe.h"

#define PAGE	4096

static void see_size(struct obs *o, const char *key, int fd)
{
	struct stat st;

	NEED(o, !fstat(fd, &st));
	saw_key(o, key, "%lld bytes, %s blocks", (long long)st.st_size,
		st.st_blocks ? "some" : "no");
}

/* No SETATTR: whether the times have to be sent depends on clock ticks. */
static void see_asked(struct obs *o, const char *key)
{
	saw_key(o, key, "%s", requests(o, FUSE_GETATTR, FUSE_WRITE, 0));
	mark(o);
}

static void write_and_ask(struct obs *o)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	struct stat st;

	obs_write(o, fd, 'x', 0, 100000);
	see_size(o, "written", fd);
	NEED(o, !fsync(fd));
	see_size(o, "synced", fd);
	obs_write(o, fd, 'y', 100000, 100000);
	see_size(o, "appended", fd);
	NEED(o, !close(fd));
	NEED(o, !stat(obs_path(o, "file"), &st));
	saw_key(o, "closed", "%lld bytes, %s blocks", (long long)st.st_size,
		st.st_blocks * 512 >= st.st_size ? "all" : "not all");
}

OBSERVE_BOTH(stat, after_write)
{
	write_and_ask(o);
}

OBSERVE_BOTH(stat, after_write_when_asked_always, .ask_always = true)
{
	write_and_ask(o);
}

/* Does stat(2) query the server? */
OBSERVE_BOTH(stat, requests_after_write)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	struct stat st;

	mark(o);
	NEED(o, !fstat(fd, &st));
	see_asked(o, "new");
	obs_write(o, fd, 'x', 0, 100);
	NEED(o, !fstat(fd, &st));
	see_asked(o, "written");
	NEED(o, !fstat(fd, &st));
	see_asked(o, "again");
	NEED(o, !ftruncate(fd, 50));
	NEED(o, !fstat(fd, &st));
	see_asked(o, "truncated");
	NEED(o, !close(fd));
	NEED(o, !stat(obs_path(o, "file"), &st));
	see_asked(o, "closed");
}

static void statx_with(struct obs *o, const char *key, int fd, int flags)
{
	struct statx stx = {};

	saw_key(o, key, "%s", result(statx(fd, "", AT_EMPTY_PATH | flags, STATX_BASIC_STATS,
					   &stx)));
	saw_key(o, "size", "%lld", (long long)stx.stx_size);
	see_asked(o, "requests");
}

OBSERVE_BOTH(stat, statx_dont_sync)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, 100);
	mark(o);
	statx_with(o, "ret", fd, AT_STATX_DONT_SYNC);
}

OBSERVE_BOTH(stat, statx_force_sync)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, 100);
	mark(o);
	statx_with(o, "ret", fd, AT_STATX_FORCE_SYNC);
}

/*
 * The server reports another size while the file is dirty, and when it no
 * longer is.
 */
OBSERVE_BOTH(stat, other_size_from_server, .ask_always = true)
{
	const struct req_match match = { .opcode = FUSE_GETATTR };
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, 1000);
	NEED(o, !server_rule(o->m.ctl, &match, RULE_ATTR_SIZE, 500));
	see_size(o, "dirty", fd);
	saw_key(o, "read_dirty", "%s", read_bytes(fd, 0, PAGE));
	NEED(o, !fsync(fd));
	see_size(o, "synced", fd);
	NEED(o, !server_drop_rules(o->m.ctl));
	see_size(o, "then", fd);
	saw_key(o, "read_then", "%s", read_bytes(fd, 0, PAGE));
}

OBSERVE_BOTH(stat, beside_held_write, .ask_always = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	struct call *c;

	obs_write(o, fd, 'x', 0, PAGE);
	memset(obs_map(o, fd, PAGE), 's', 100);
	obs_hold_writes(o, fd, 1);
	c = obs_call(o, &call_statx, (struct call_arg){ .fd = fd });
	saw_key(o, "fstat", "%s", state(o, c));
	c = obs_call(o, &call_stat, (struct call_arg){
		.buf = (void *)obs_path(o, "file") });
	saw_key(o, "stat", "%s", state(o, c));
	c = obs_call(o, &call_fchmod, (struct call_arg){ .fd = fd, .flags = 0600 });
	saw_key(o, "chmod", "%s", state(o, c));
	obs_release(o);
	saw_key(o, "chmod_then", "%s", outcome(c));
}

/* Times that a user sets, after data that is not sent yet. */
static void set_times(struct obs *o, bool write_behind)
{
	const struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 2000 } };
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	struct stat st;

	obs_write(o, fd, 'x', 0, 100);
	saw_key(o, "ret", "%s", result(futimens(fd, times)));
	if (write_behind)
		obs_write(o, fd, 'y', 100, 100);
	NEED(o, !fstat(fd, &st));
	saw_key(o, "mtime", "%s", st.st_mtim.tv_sec == 2000 ? "2000" : "now");
	NEED(o, !close(fd));
	NEED(o, !stat(obs_path(o, "file"), &st));
	saw_key(o, "mtime_closed", "%s", st.st_mtim.tv_sec == 2000 ? "2000" : "now");
	NEED(o, !server_stat(o->m.ctl, "file", &st));
	saw_key(o, "server", "%s", st.st_mtim.tv_sec == 2000 ? "2000" : "now");
	saw_key(o, "bytes", "%s", server_bytes(o, "file"));
}

OBSERVE(stat, utimes_over_dirty_data, .writeback_cache = true)
{
	set_times(o, false);
}

OBSERVE_BOTH(stat, utimes_and_write)
{
	set_times(o, true);
}

/* The mtime of an old file, before and after a store and an msync(2). */
OBSERVE_BOTH(stat, mtime_of_stores)
{
	struct stat st;
	char *map;
	int fd;

	obs_put(o, "file", 'o', PAGE);
	NEED(o, !server_set_times(o->m.ctl, "file", 1000));
	fd = obs_open(o, "file", O_RDWR);
	map = obs_map(o, fd, PAGE);
	NEED(o, !fstat(fd, &st));
	saw_key(o, "before", "%s", st.st_mtim.tv_sec == 1000 ? "old" : "new");
	map[0] = 's';
	NEED(o, !fstat(fd, &st));
	saw_key(o, "stored", "%s", st.st_mtim.tv_sec == 1000 ? "old" : "new");
	NEED(o, !msync(map, PAGE, MS_SYNC));
	NEED(o, !stat(obs_path(o, "file"), &st));
	saw_key(o, "synced", "%s", st.st_mtim.tv_sec == 1000 ? "old" : "new");
	NEED(o, !close(fd));
	NEED(o, !server_stat(o->m.ctl, "file", &st));
	saw_key(o, "server", "%s", st.st_mtim.tv_sec == 1000 ? "old" : "new");
}

/* The server's mtime changes without the kernel's knowledge. */
OBSERVE_BOTH(stat, mtime_from_server, .ask_always = true)
{
	struct stat st;
	int fd;

	obs_put(o, "file", 'o', PAGE);
	NEED(o, !server_set_times(o->m.ctl, "file", 1000));
	fd = obs_open(o, "file", O_RDWR);
	NEED(o, !server_set_times(o->m.ctl, "file", 3000));
	NEED(o, !fstat(fd, &st));
	saw_key(o, "clean", "%ld", (long)st.st_mtim.tv_sec);
	obs_write(o, fd, 'd', 0, 10);
	NEED(o, !server_set_times(o->m.ctl, "file", 4000));
	NEED(o, !fstat(fd, &st));
	saw_key(o, "dirty", "%s", st.st_mtim.tv_sec == 4000 ? "the server's" : "the kernel's");
}

/* Free space: STATFS and data that is not sent yet. */
OBSERVE_BOTH(stat, statfs_after_write)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	struct statfs st;

	obs_write(o, fd, 'x', 0, 100000);
	saw_key(o, "path", "%s", result(statfs(o->m.dir, &st)));
	saw_key(o, "descriptor", "%s", result(fstatfs(fd, &st)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_STATFS, 0));
}

OBSERVE_BOTH(stat, statfs_beside_held_write)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	struct statfs st;

	obs_write(o, fd, 'x', 0, PAGE);
	memset(obs_map(o, fd, PAGE), 's', 100);
	obs_hold_writes(o, fd, 1);
	saw_key(o, "ret", "%s", result(fstatfs(fd, &st)));
	obs_release(o);
}

/* lseek(2): EOF, and the data. */
OBSERVE_BOTH(seek, of_dirty_file)
{
	int fd;

	obs_put(o, "file", 'o', 5000);
	fd = obs_open(o, "file", O_RDWR);
	obs_write(o, fd, 'd', 20000, 1000);
	mark(o);
	saw_key(o, "end", "%s", result(lseek(fd, 0, SEEK_END)));
	saw_key(o, "data", "%s", result(lseek(fd, 0, SEEK_DATA)));
	saw_key(o, "data_behind", "%s", result(lseek(fd, 20500, SEEK_DATA)));
	saw_key(o, "data_beyond", "%s", result(lseek(fd, 21000, SEEK_DATA)));
	saw_key(o, "hole", "%s", result(lseek(fd, 20500, SEEK_HOLE)));
	saw_key(o, "hole_beyond", "%s", result(lseek(fd, 21000, SEEK_HOLE)));
	saw_key(o, "current", "%s", result(lseek(fd, -10, SEEK_CUR)));
	saw_key(o, "negative", "%s", result(lseek(fd, -1, SEEK_SET)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/* Another client extends it. */
OBSERVE_BOTH(seek, end_of_file_that_grew, .ask_always = true)
{
	int fd;

	obs_put(o, "file", 'o', 5000);
	fd = obs_open(o, "file", O_RDWR);
	NEED(o, !server_put(o->m.ctl, "file", 5000, "nnnn", 4));
	mark(o);
	saw_key(o, "end", "%s", result(lseek(fd, 0, SEEK_END)));
	saw_key(o, "requests", "%s", requests(o, FUSE_GETATTR, FUSE_LSEEK, 0));
	saw_key(o, "write", "%s", result(write(fd, "w", 1)));
	obs_see(o, fd, "file");
}
