// SPDX-License-Identifier: GPL-2.0
/* What close(2) says and does. */

#include "observe.h"

static void fail_writes(struct obs *o, int err)
{
	const struct req_match match = { .opcode = FUSE_WRITE };

	NEED(o, !server_fail(o->m.ctl, &match, err));
}

/* What close(2) says when the WRITEs of the file failed. */
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

/* close(2) waits for the reply to the WRITE, and SIGKILL may end that. */
OBSERVE(close, waits_for_held_write, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	struct call *c;

	obs_write(o, fd, 'x', 0, 100);
	obs_hold_writes(o, fd, 1);
	c = mnt_call_close(&o->m, fd);
	NEED(o, c);
	saw_key(o, "held", "%s", state(o, c));
	saw_key(o, "kill", "%s", kill_in(o, &call_close, (struct call_arg){ .fd = dup(fd) }));
	obs_release(o);
	saw_key(o, "ret", "%s", outcome(c));
}

/* A WRITE failed, and nobody asked: what do others hear that open the file and close it? */
OBSERVE(close, of_others_after_error, .writeback_cache = true)
{
	int i, fd, other;
	char text[64] = "";

	obs_put(o, "file", 'o', 100);
	fd = obs_open(o, "file", O_RDWR);
	obs_write(o, fd, 'x', 0, 100);
	fail_writes(o, EIO);
	NEED(o, !start_writeback(&o->m, fd));
	NEED(o, !await_writes(&o->m));
	saw_key(o, "writer", "%s", result(close_copy(&o->m, fd)));
	for (i = 0; i < 5; i++) {
		other = obs_open(o, "file", O_RDONLY);
		strcat(text, " ");
		strcat(text, result(close(other)));
	}
	saw_key(o, "others", "%s", text + 1);
	saw_key(o, "writer_again", "%s", result(close(fd)));
}

/* The same, and the writer says nothing until the others have been told. */
OBSERVE(close, of_others_before_writer, .writeback_cache = true)
{
	int i, fd, other;
	char text[64] = "";

	obs_put(o, "file", 'o', 100);
	fd = obs_open(o, "file", O_RDWR);
	obs_write(o, fd, 'x', 0, 100);
	fail_writes(o, EIO);
	NEED(o, !start_writeback(&o->m, fd));
	NEED(o, !await_writes(&o->m));
	for (i = 0; i < 5; i++) {
		other = obs_open(o, "file", O_RDONLY);
		strcat(text, " ");
		strcat(text, result(close(other)));
	}
	saw_key(o, "others", "%s", text + 1);
	saw_key(o, "writer", "%s", result(close(fd)));
}
