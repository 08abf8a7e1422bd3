// SPDX-License-Identifier: GPL-2.0
/* What close(2) returns and does. */

#include "observe.h"

static void fail_writes(struct obs *o, int err)
{
	const struct req_match match = { .opcode = FUSE_WRITE };

	NEED(o, !server_fail(o->m.ctl, &match, err));
}

/* What close(2) returns after WRITEs of the file failed. */
static const char *close_after(struct obs *o, int err)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, 100);
	fail_writes(o, err);
	return result(close(fd));
}

OBSERVE(close, tells_edquot, .writeback_cache = true)
{
	saw(o, "%s", close_after(o, EDQUOT));
}

OBSERVE(close, tells_erofs, .writeback_cache = true)
{
	saw(o, "%s", close_after(o, EROFS));
}

OBSERVE(close, tells_efbig, .writeback_cache = true)
{
	saw(o, "%s", close_after(o, EFBIG));
}

OBSERVE(close, tells_eacces, .writeback_cache = true)
{
	saw(o, "%s", close_after(o, EACCES));
}

/* The data is at the server when close(2) returns, and FLUSH follows. */
OBSERVE(close, sends_what_is_dirty, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, 5000);
	saw_key(o, "ret", "%s", result(close(fd)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FLUSH, 0));
}

/* close(2) waits for the reply to the WRITE. */
OBSERVE(close, waits_for_held_write, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	struct call *c;

	obs_write(o, fd, 'x', 0, 100);
	obs_hold_writes(o, fd, 1);
	c = mnt_call_close(&o->m, fd);
	NEED(o, c);
	saw_key(o, "held", "%s", state(o, c));
	obs_release(o);
	saw_key(o, "ret", "%s", outcome(c));
}

static int lose_write(struct obs *o)
{
	int fd;

	obs_put(o, "file", 'o', 100);
	fd = obs_open(o, "file", O_RDWR);
	obs_write(o, fd, 'x', 0, 100);
	fail_writes(o, EIO);
	NEED(o, !start_writeback(&o->m, fd));
	NEED(o, !await_writes(&o->m));
	return fd;
}

static void close_by_others(struct obs *o)
{
	char text[64] = "";
	int i, other;

	for (i = 0; i < 5; i++) {
		other = obs_open(o, "file", O_RDONLY);
		strcat(text, " ");
		strcat(text, result(close(other)));
	}
	saw_key(o, "others", "%s", text + 1);
}

/*
 * A WRITE failed, and was not reported yet: what is reported to other tasks
 * that open the file and close it?
 */
OBSERVE(close, of_others_after_error, .writeback_cache = true)
{
	int fd = lose_write(o);

	saw_key(o, "writer", "%s", result(close_copy(&o->m, fd)));
	close_by_others(o);
	saw_key(o, "writer_again", "%s", result(close(fd)));
}

/* The same, with the writer's close after the others'. */
OBSERVE(close, of_others_before_writer, .writeback_cache = true)
{
	int fd = lose_write(o);

	close_by_others(o);
	saw_key(o, "writer", "%s", result(close(fd)));
}

/* Each close sends FLUSH, also of a copy; the last one RELEASE. */
OBSERVE(close, of_copies, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	int copy = dup(fd);

	obs_write(o, fd, 'x', 0, 100);
	saw_key(o, "copy", "%s", result(close(copy)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
	obs_write(o, fd, 'y', 0, 50);
	saw_key(o, "last", "%s", result(close(fd)));
	NEED(o, await_req(&o->m, FUSE_RELEASE, REQ_REPLIED, 1));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FLUSH,
					      FUSE_RELEASE, 0));
}

/* dup2(2) closes without reporting errors. */
OBSERVE(close, by_dup2, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	int other = obs_open(o, "other", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, 100);
	fail_writes(o, EIO);
	saw_key(o, "dup2", "%s", dup2(other, fd) == fd ? "0" : result(-1));
	saw_key(o, "close", "%s", result(close(fd)));
}

/*
 * A child closes inherited descriptors when it exits: its data is sent by then.
 */
OBSERVE(close, by_exit_of_child, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	pid_t pid = obs_fork(o);

	if (!pid) {
		obs_write(o, fd, 'x', 0, 5000);
		_exit(0);
	}
	NEED(o, !mnt_run(&o->m, &call_waitpid, (struct call_arg){ .fd = pid }));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FLUSH, 0));
	saw_key(o, "close", "%s", result(close(fd)));
}

/* A child closes what the parent has written. */
OBSERVE(close, in_child, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	pid_t pid;

	obs_write(o, fd, 'x', 0, 5000);
	pid = obs_fork(o);
	if (!pid)
		_exit(close(fd) ? 1 : 0);
	saw_key(o, "child", "%ld", mnt_run(&o->m, &call_waitpid, (struct call_arg){
		.fd = pid }));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/* Closing a read-only descriptor sends data written through others. */
OBSERVE(close, of_reader_sends_what_is_dirty, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	int other = obs_open(o, "file", O_RDONLY);

	obs_write(o, fd, 'x', 0, 5000);
	saw_key(o, "ret", "%s", result(close(other)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

OBSERVE(close, server_lacks_flush, .writeback_cache = true)
{
	const struct req_match match = { .opcode = FUSE_FLUSH };
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	NEED(o, !server_lacks(o->m.ctl, &match));
	obs_write(o, fd, 'x', 0, 100);
	saw_key(o, "ret", "%s", result(close_copy(&o->m, fd)));
	obs_write(o, fd, 'y', 0, 50);
	saw_key(o, "again", "%s", result(close(fd)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FLUSH, 0));
}

OBSERVE(close, flush_fails, .writeback_cache = true)
{
	const struct req_match match = { .opcode = FUSE_FLUSH };
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	NEED(o, !server_fail(o->m.ctl, &match, EDQUOT));
	obs_write(o, fd, 'x', 0, 100);
	saw_key(o, "ret", "%s", result(close(fd)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

OBSERVE(close, with_noflush, .writeback_cache = true,
	.open_flags = FOPEN_NOFLUSH)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, 100);
	saw_key(o, "ret", "%s", result(close(fd)));
	NEED(o, await_req(&o->m, FUSE_RELEASE, REQ_REPLIED, 1));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
	saw_key(o, "requests", "%s", exchange(o, FUSE_WRITE, FUSE_FLUSH,
					      FUSE_RELEASE, 0));
}

/* fsync(2) has reported the error: close(2) need not. */
OBSERVE(close, behind_fsync_that_failed, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, 100);
	fail_writes(o, ENOSPC);
	saw_key(o, "fsync", "%s", result(fsync(fd)));
	saw_key(o, "close", "%s", result(close(fd)));
}

/* On a write-through connection write(2) itself reports the error. */
OBSERVE(close, without_cache)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	fail_writes(o, EDQUOT);
	saw_key(o, "write", "%s", result(pwrite(fd, "x", 1, 0)));
	saw_key(o, "close", "%s", result(close(fd)));
}
