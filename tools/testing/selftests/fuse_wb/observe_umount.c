// SPDX-License-Identifier: GPL-2.0
/*
 * umount(2), remounting and freezing, with files open, dirty or under
 * writeback.
 */

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "observe.h"

static const char *umount_with(struct obs *o, int flags)
{
	return run(o, &call_umount, (struct call_arg){
		.buf = o->m.dir, .flags = flags });
}

static int open_dirty(struct obs *o)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, 10000);
	return fd;
}

OBSERVE(umount, of_busy_mount, .writeback_cache = true)
{
	int fd = open_dirty(o);

	saw_key(o, "ret", "%s", umount_with(o, 0));
	saw_key(o, "fsync", "%s", result(fsync(fd)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

OBSERVE(umount, behind_close, .writeback_cache = true)
{
	NEED(o, !close(open_dirty(o)));
	saw_key(o, "ret", "%s", umount_with(o, 0));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
}

/* Stores to a mapping are there, too, after munmap. */
OBSERVE(umount, behind_munmap, .writeback_cache = true)
{
	char *map;
	int fd;

	obs_put(o, "file", 'o', 10000);
	fd = obs_open(o, "file", O_RDWR);
	map = obs_map(o, fd, 10000);
	NEED(o, !close(fd));
	memset(map, 'm', 5000);
	mark(o);
	saw_key(o, "busy", "%s", umount_with(o, 0));
	saw_key(o, "munmap", "%s", run(o, &call_munmap, (struct call_arg){
		.buf = map, .len = 10000 }));
	saw_key(o, "ret", "%s", umount_with(o, 0));
	saw_key(o, "sent", "%ld", sent(o, FUSE_WRITE));
}

OBSERVE(umount, lazily_while_dirty, .writeback_cache = true)
{
	int fd = open_dirty(o);
	struct stat st;

	saw_key(o, "ret", "%s", umount_with(o, MNT_DETACH));
	obs_write(o, fd, 'y', 10000, 100);
	saw_key(o, "fstat", "%s", result(fstat(fd, &st)));
	saw_key(o, "size", "%ld", (long)st.st_size);
	saw_key(o, "close", "%s", run(o, &call_close, (struct call_arg){
		.fd = fd }));
	saw_key(o, "sent", "%ld", sent(o, FUSE_WRITE));
}

/* Closing ends the mount, and that ends the server. */
OBSERVE(umount, forced_while_writing, .writeback_cache = true)
{
	int fd = open_dirty(o);
	struct call *c;

	obs_hold_writes(o, fd, 1);
	c = obs_call(o, &call_fsync, (struct call_arg){ .fd = fd });
	saw_key(o, "fsync", "%s", state(o, c));
	saw_key(o, "ret", "%s", umount_with(o, MNT_FORCE));
	saw_key(o, "fsync_then", "%s", outcome(c));
	saw_key(o, "read", "%s", read_bytes(fd, 0, 100));
	saw_key(o, "write", "%s", result(pwrite(fd, "z", 1, 20000)));
	saw_key(o, "fsync_again", "%s", result(fsync(fd)));
	saw_key(o, "close", "%s", result(close(fd)));
}

OBSERVE(umount, of_aborted_connection, .writeback_cache = true)
{
	int fd = open_dirty(o);

	NEED(o, !mnt_abort(&o->m));
	saw_key(o, "fsync", "%s", result(fsync(fd)));
	saw_key(o, "close", "%s", result(close(fd)));
	saw_key(o, "ret", "%s", umount_with(o, 0));
}

/* With MNT_EXPIRE, the first call only marks the mount. */
OBSERVE(umount, expired)
{
	NEED(o, !fence(&o->m));
	saw_key(o, "first", "%s", umount_with(o, MNT_EXPIRE));
	saw_key(o, "second", "%s", umount_with(o, MNT_EXPIRE));
}

static long do_remount(const struct call_arg *arg)
{
	return mount(NULL, arg->buf, NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV |
		     arg->flags, NULL);
}

static const struct call_op call_remount = { "mount", SYS_mount, do_remount };

static const char *remount(struct obs *o, int flags)
{
	return run(o, &call_remount, (struct call_arg){
		.buf = o->m.dir, .flags = flags });
}

OBSERVE(remount, read_only_while_open, .writeback_cache = true)
{
	int fd = open_dirty(o);

	saw_key(o, "ret", "%s", remount(o, MS_RDONLY));
	obs_write(o, fd, 'y', 0, 1);
	saw_key(o, "close", "%s", result(close(fd)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

OBSERVE(remount, read_only, .writeback_cache = true)
{
	int fd = open_dirty(o);

	NEED(o, !close(fd));
	saw_key(o, "ret", "%s", remount(o, MS_RDONLY));
	saw_key(o, "open", "%s", result(open(obs_path(o, "file"), O_RDWR)));
	fd = obs_open(o, "file", O_RDONLY);
	saw_key(o, "read", "%s", read_bytes(fd, 0, 20000));
	saw_key(o, "again", "%s", remount(o, 0));
	fd = obs_open(o, "file", O_RDWR);
	obs_write(o, fd, 'y', 0, 1);
	saw_key(o, "close", "%s", result(close(fd)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/* Remounting sends dirty data. */
OBSERVE(remount, sends_what_is_dirty, .writeback_cache = true)
{
	int fd = open_dirty(o);

	saw_key(o, "ret", "%s", remount(o, MS_NOATIME));
	NEED(o, !await_writes(&o->m));
	saw_key(o, "sent", "%ld", sent(o, FUSE_WRITE));
	NEED(o, !close(fd));
}

OBSERVE(freeze, of_mount, .writeback_cache = true)
{
	int fd = open_dirty(o);

	saw_key(o, "freeze", "%s", result(ioctl(fd, FIFREEZE, 0)));
	saw_key(o, "thaw", "%s", result(ioctl(fd, FITHAW, 0)));
	saw_key(o, "close", "%s", result(close(fd)));
}
