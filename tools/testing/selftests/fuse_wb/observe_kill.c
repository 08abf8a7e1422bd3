// SPDX-License-Identifier: GPL-2.0
/*
 * Which calls wait for a server that has a request and does not reply, and which of
 * these waits SIGKILL ends.
 */

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "observe.h"

#define PAGE	4096

static long do_futimens(const struct call_arg *arg)
{
	const struct timespec times[2] = { };

	return futimens(arg->fd, times);
}

static long do_copy(const struct call_arg *arg)
{
	loff_t in = 0, out = PAGE;

	return copy_file_range(arg->fd, &in, arg->fd, &out, 100, 0);
}

static long do_seek_data(const struct call_arg *arg)
{
	return lseek(arg->fd, 0, SEEK_DATA);
}

static const struct call_op call_futimens = {
	"futimens", SYS_utimensat, do_futimens
};

static const struct call_op call_copy = {
	"copy_file_range", SYS_copy_file_range, do_copy
};

static const struct call_op call_seek_data = {
	"lseek", SYS_lseek, do_seek_data
};

/* The buffer of a call. */
enum buf { BYTES, MAP, PATH };

/**
 * struct victim - a call that a process is killed in
 * @name: of the observation
 * @held: requests of this kind are held during the call; 0: the WRITE of the first of
 *	  the two pages of the file, which is in flight already
 * @op: the call
 * @off: its @off; for a call with the mapping, where in that
 * @len: its @len
 * @flags: its @flags
 * @buf: its @buf
 * @direct: it has a descriptor with O_DIRECT
 */
static const struct victim {
	const char *name;
	__u32 held;
	const struct call_op *op;
	off_t off;
	size_t len;
	unsigned int flags;
	enum buf buf;
	bool direct;
} victims[] = {
	{ .name = "kill.fsync", .op = &call_fsync },
	{ .name = "kill.fdatasync", .op = &call_fdatasync },
	{ .name = "kill.close", .op = &call_close },
	{ .name = "kill.syncfs", .op = &call_syncfs },
	{ .name = "kill.sync", .op = &call_sync },
	{ .name = "kill.write_to_page", .op = &call_pwrite, .len = 1 },
	{ .name = "kill.write_elsewhere", .op = &call_pwrite, .off = PAGE,
	  .len = 1 },
	{ .name = "kill.read_page", .op = &call_pread, .len = 1 },
	{ .name = "kill.store_to_page", .op = &call_store, .len = 1,
	  .buf = MAP },
	{ .name = "kill.direct_read", .op = &call_pread, .len = PAGE,
	  .direct = true },
	{ .name = "kill.direct_write", .op = &call_pwrite, .len = PAGE,
	  .direct = true },
	{ .name = "kill.ftruncate", .op = &call_ftruncate },
	{ .name = "kill.ftruncate_to_more", .op = &call_ftruncate,
	  .len = 4 * PAGE },
	{ .name = "kill.punch_hole", .op = &call_fallocate, .len = PAGE,
	  .flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE },
	{ .name = "kill.fallocate", .op = &call_fallocate, .len = 4 * PAGE },
	{ .name = "kill.fchmod", .op = &call_fchmod, .flags = 0600 },
	{ .name = "kill.futimens", .op = &call_futimens },
	{ .name = "kill.msync", .op = &call_msync, .len = PAGE, .buf = MAP },
	{ .name = "kill.msync_elsewhere", .op = &call_msync, .off = PAGE,
	  .len = PAGE, .buf = MAP },
	{ .name = "kill.munmap", .op = &call_munmap, .len = 2 * PAGE,
	  .buf = MAP },
	{ .name = "kill.statx", .op = &call_statx },
	{ .name = "kill.copy_file_range", .op = &call_copy },
	{ .name = "kill.seek_data", .op = &call_seek_data },
	{ .name = "kill.open", .op = &call_open, .buf = PATH },
	{ .name = "kill.open_with_o_trunc", .op = &call_open,
	  .flags = O_RDWR | O_TRUNC, .buf = PATH },
	{ .name = "kill.held_read", .held = FUSE_READ, .op = &call_pread,
	  .len = 1 },
	{ .name = "kill.held_fault", .held = FUSE_READ, .op = &call_store,
	  .len = 1, .buf = MAP },
	{ .name = "kill.held_direct_read", .held = FUSE_READ, .op = &call_pread,
	  .len = PAGE, .direct = true },
	{ .name = "kill.held_direct_write", .held = FUSE_WRITE,
	  .op = &call_pwrite, .len = PAGE, .direct = true },
	{ .name = "kill.held_open", .held = FUSE_OPEN, .op = &call_open,
	  .buf = PATH },
	{ .name = "kill.held_getattr", .held = FUSE_GETATTR,
	  .op = &call_statx },
	{ .name = "kill.held_setattr", .held = FUSE_SETATTR,
	  .op = &call_ftruncate },
	{ .name = "kill.held_fallocate", .held = FUSE_FALLOCATE,
	  .op = &call_fallocate, .len = PAGE },
	{ .name = "kill.held_fsync", .held = FUSE_FSYNC, .op = &call_fsync },
	{ .name = "kill.held_flush", .held = FUSE_FLUSH, .op = &call_close },
};

static void observe_kill(struct obs *o)
{
	const struct victim *v = o->what->arg;
	struct call_arg arg = {
		.off = v->off, .len = v->len, .flags = v->flags
	};
	char *map, *buf = aligned_alloc(PAGE, PAGE);
	int fd;

	NEED(o, buf);
	memset(buf, 'y', PAGE);
	obs_put(o, "file", 'o', 2 * PAGE);
	fd = obs_open(o, "file", O_RDWR);
	map = obs_map(o, fd, 2 * PAGE);
	arg.fd = v->direct ? obs_open(o, "file", O_RDWR | O_DIRECT) : fd;
	arg.to = map + v->off;
	arg.buf = buf;
	if (v->buf == MAP && v->op != &call_store)
		arg.buf = map + v->off;
	if (v->buf == PATH)
		arg.buf = (void *)obs_path(o, "file");

	if (v->held) {
		obs_hold(o, v->held);
	} else {
		map[0] = 'x';
		obs_hold_writes(o, fd, 1);
	}
	saw(o, "%s", kill_in(o, v->op, arg));
}

static void __attribute__((constructor)) add_victims(void)
{
	static struct observation observations[ARRAY_SIZE(victims)];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(victims); i++) {
		observations[i] = (struct observation){
			.name = victims[i].name,
			.fn = observe_kill,
			.opts = {
				.writeback_cache = true,
				.open_flags = FOPEN_KEEP_CACHE,
			},
			.arg = &victims[i],
		};
		observation_add(&observations[i]);
	}
}
