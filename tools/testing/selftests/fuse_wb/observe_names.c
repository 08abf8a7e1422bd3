// SPDX-License-Identifier: GPL-2.0
/*
 * Files that are unlinked, renamed, executed, or appended to, while they are
 * dirty.
 */

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "observe.h"
#include "records.h"

OBSERVE(names, unlink_while_dirty, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	obs_write(o, fd, 'x', 0, 10000);
	saw_key(o, "unlink", "%s", result(unlink(obs_path(o, "file"))));
	saw_key(o, "read", "%s", read_bytes(fd, 0, 20000));
	obs_write(o, fd, 'y', 0, 1);
	saw_key(o, "fsync", "%s", result(fsync(fd)));
	saw_key(o, "close", "%s", result(close(fd)));
	saw_key(o, "sent", "%s", requests(o, FUSE_WRITE, 0));
	saw_key(o, "open", "%s", result(open(obs_path(o, "file"), O_RDONLY)));
}

static long do_unlink(const struct call_arg *arg)
{
	return unlink(arg->buf);
}

static const struct call_op call_unlink = { "unlink", SYS_unlink, do_unlink };

OBSERVE(names, unlink_while_write_is_held, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	struct call *c;

	obs_write(o, fd, 'x', 0, 100);
	obs_hold_writes(o, fd, 1);
	c = obs_call(o, &call_unlink, (struct call_arg){
		.buf = (void *)obs_path(o, "file") });
	saw_key(o, "unlink", "%s", state(o, c));
	obs_release(o);
	saw_key(o, "unlink_then", "%s", outcome(c));
	saw_key(o, "close", "%s", result(close(fd)));
}

/* As editors save a file. */
OBSERVE(names, rename_over_what_is_dirty, .writeback_cache = true)
{
	int old = obs_open(o, "file", O_RDWR | O_CREAT);
	int new = obs_open(o, "file.new", O_RDWR | O_CREAT);

	obs_write(o, old, 'o', 0, 10000);
	obs_write(o, new, 'n', 0, 5000);
	saw_key(o, "rename", "%s", result(rename(obs_path(o, "file.new"),
						 obs_path(o, "file"))));
	saw_key(o, "old", "%s", read_bytes(old, 0, 20000));
	saw_key(o, "close_new", "%s", result(close(new)));
	saw_key(o, "close_old", "%s", result(close(old)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
	saw_key(o, "server_new", "%s", result(server_size(o->m.ctl, "file")));
	new = obs_open(o, "file", O_RDONLY);
	saw_key(o, "read", "%s", read_bytes(new, 0, 20000));
}

OBSERVE(names, rename_while_write_is_held, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	struct call *c;

	obs_write(o, fd, 'x', 0, 100);
	obs_hold_writes(o, fd, 1);
	c = obs_call(o, &call_rename, (struct call_arg){
		.buf = (void *)obs_path(o, "file"),
		.to = (void *)obs_path(o, "other") });
	saw_key(o, "rename", "%s", state(o, c));
	obs_release(o);
	saw_key(o, "rename_then", "%s", outcome(c));
	saw_key(o, "close", "%s", result(close(fd)));
	saw_key(o, "server", "%s", server_bytes(o, "other"));
}

/* Two processes append to one file: no record is lost or duplicated. */
OBSERVE(names, append_by_two, .writeback_cache = true)
{
	const unsigned long nr[RECORD_WRITERS] = { 200, 200 };
	unsigned long len = 400 * RECORD_LEN;
	char text[400 * RECORD_LEN + 1];
	pid_t pids[RECORD_WRITERS];
	int i, fd;

	obs_put(o, "file", 'o', 0);
	for (i = 0; i < RECORD_WRITERS; i++) {
		pids[i] = obs_fork(o);
		if (pids[i])
			continue;
		fd = obs_open(o, "file", O_WRONLY | O_APPEND);
		_exit(records_append(fd, i, nr[i]) || close(fd));
	}
	for (i = 0; i < RECORD_WRITERS; i++)
		NEED(o, !mnt_run(&o->m, &call_waitpid, (struct call_arg){
			.fd = pids[i] }));
	saw_key(o, "size", "%lld", server_size(o->m.ctl, "file"));
	NEED(o, !server_get(o->m.ctl, "file", 0, text, len));
	saw_key(o, "records", "%s", records_check(text, len, nr) ?
		"are not all there" : "are all there");
}

/* O_APPEND: the file position, and where the bytes are written. */
OBSERVE(names, append_behind_pwrite, .writeback_cache = true)
{
	int fd, append;

	obs_put(o, "file", 'o', 10);
	fd = obs_open(o, "file", O_RDWR);
	append = obs_open(o, "file", O_RDWR | O_APPEND);
	obs_write(o, fd, 'x', 5000, 10);
	saw_key(o, "write", "%s", result(write(append, "aaaa", 4)));
	saw_key(o, "position", "%ld", (long)lseek(append, 0, SEEK_CUR));
	/* Linux appends at pwrite(2), too. */
	saw_key(o, "pwrite", "%s", result(pwrite(append, "bb", 2, 0)));
	saw_key(o, "close", "%s", result(close(append)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/* A script: execve(2) reads it like any other program. */
static void put_script(struct obs *o)
{
	static const char text[] = "#!/bin/sh\nexit 7\n";
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);

	NEED(o, write(fd, text, sizeof(text) - 1) == sizeof(text) - 1);
	NEED(o, !fchmod(fd, 0755));
	NEED(o, !close(fd));
}

/* The result of a process that executed it: its exit status, or an errno. */
static const char *execute(struct obs *o)
{
	char *const args[] = { (char *)obs_path(o, "file"), NULL };
	pid_t pid = obs_fork(o);
	long status;

	if (!pid) {
		execv(args[0], args);
		_exit(100 + (errno == ETXTBSY));
	}
	status = mnt_run(&o->m, &call_waitpid, (struct call_arg){ .fd = pid });
	if (!WIFEXITED(status))
		return "did not exit";
	switch (WEXITSTATUS(status)) {
	case 7:
		return "ran";
	case 101:
		return "ETXTBSY";
	default:
		return "failed";
	}
}

OBSERVE(exec, of_what_is_just_written, .writeback_cache = true)
{
	put_script(o);
	saw(o, "%s", execute(o));
}

OBSERVE(exec, of_what_is_open_for_writing, .writeback_cache = true)
{
	int fd;

	put_script(o);
	fd = obs_open(o, "file", O_RDWR);
	saw_key(o, "open", "%s", execute(o));
	NEED(o, !close(fd));
	saw_key(o, "closed", "%s", execute(o));
}

/* A writable mapping counts as a writable descriptor. */
OBSERVE(exec, of_what_is_mapped, .writeback_cache = true)
{
	char *map;
	int fd;

	put_script(o);
	fd = obs_open(o, "file", O_RDWR);
	map = obs_map(o, fd, 17);
	NEED(o, !close(fd));
	map[15] = '7';
	saw(o, "%s", execute(o));
}
