// SPDX-License-Identifier: GPL-2.0
/*
 * What parents and children share, and what the exit of a process does to its
 * data.
 */

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "observe.h"

static long await_kid(struct obs *o, pid_t pid)
{
	return mnt_run(&o->m, &call_waitpid, (struct call_arg){ .fd = pid });
}

/* The descriptor and its position are shared. */
OBSERVE(fork, shares_position, .writeback_cache = true)
{
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	pid_t pid = obs_fork(o);

	if (!pid)
		_exit(write(fd, "child", 5) != 5);
	saw_key(o, "child", "%ld", await_kid(o, pid));
	saw_key(o, "position", "%s", result(lseek(fd, 0, SEEK_CUR)));
	saw_key(o, "write", "%s", result(write(fd, "pp", 2)));
	saw_key(o, "close", "%s", result(close(fd)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/* A child's store is seen by the parent, and sent by its fsync(2). */
OBSERVE(fork, store_of_child, .writeback_cache = true)
{
	char *map;
	pid_t pid;
	int fd;

	obs_put(o, "file", 'o', 10000);
	fd = obs_open(o, "file", O_RDWR);
	map = obs_map(o, fd, 10000);
	pid = obs_child(o, CLONE_FILES, &call_store, (struct call_arg){
		.buf = "c", .to = map + 5000, .len = 1 });
	NEED(o, !await_kid(o, pid));
	saw_key(o, "map", "%s", bytes(map, 10000));
	saw_key(o, "read", "%s", read_bytes(fd, 0, 10000));
	saw_key(o, "fsync", "%s", result(fsync(fd)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/* Private: neither the file nor the parent sees it. */
OBSERVE(fork, private_store_of_child, .writeback_cache = true)
{
	char *map;
	pid_t pid;
	int fd;

	obs_put(o, "file", 'o', 10000);
	fd = obs_open(o, "file", O_RDWR);
	map = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	NEED(o, map != MAP_FAILED);
	map[0] = 'p';
	pid = obs_child(o, CLONE_FILES, &call_store, (struct call_arg){
		.buf = "c", .to = map + 5000, .len = 1 });
	NEED(o, !await_kid(o, pid));
	saw_key(o, "map", "%s", bytes(map, 10000));
	saw_key(o, "close", "%s", result(close(fd)));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/* A process exits after storing to a mapping, having closed the file before. */
OBSERVE(exit, sends_what_was_stored, .writeback_cache = true)
{
	pid_t pid;
	char *map;
	int fd;

	obs_put(o, "file", 'o', 10000);
	pid = obs_fork(o);
	if (!pid) {
		fd = obs_open(o, "file", O_RDWR);
		map = obs_map(o, fd, 10000);
		close(fd);
		map[5000] = 'm';
		_exit(0);
	}
	NEED(o, !await_kid(o, pid));
	NEED(o, await_req(&o->m, FUSE_RELEASE, REQ_REPLIED, 1));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_RELEASE, 0));
}

/* A process that exits with a file open and dirty, whose WRITE is held */
static pid_t exit_with_dirty_file(struct obs *o)
{
	pid_t pid;
	int fd;

	obs_put(o, "file", 'o', 10000);
	obs_hold(o, FUSE_WRITE);
	pid = obs_fork(o);
	if (!pid) {
		fd = obs_open(o, "file", O_RDWR);
		obs_write(o, fd, 'x', 0, 100);
		_exit(0);
	}
	NEED(o, await_req(&o->m, FUSE_WRITE, REQ_ARRIVED, 1));
	saw_key(o, "exit", "%s", kid_state(o, pid));
	return pid;
}

/* The exit of a process with an open file waits for its data, like close(2). */
OBSERVE(exit, waits_for_held_write, .writeback_cache = true)
{
	pid_t pid = exit_with_dirty_file(o);

	obs_release(o);
	saw_key(o, "exit_then", "%ld", await_kid(o, pid));
	saw_key(o, "requests", "%s", exchange(o, FUSE_WRITE, FUSE_FLUSH, 0));
}

/* SIGKILL for the same. */
OBSERVE(exit, waiting_is_killed, .writeback_cache = true)
{
	pid_t pid = exit_with_dirty_file(o);

	saw_key(o, "kill", "%s", kill_kid(o, pid));
	obs_release(o);
	NEED(o, await_kid(o, pid) >= 0);
	NEED(o, !await_writes(&o->m));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/* A process is killed with dirty pages, and the server replies. */
OBSERVE(exit, of_killed_process_sends, .writeback_cache = true)
{
	pid_t pid = obs_fork(o);
	int fd;

	if (!pid) {
		fd = obs_open(o, "file", O_RDWR | O_CREAT);
		obs_write(o, fd, 'x', 0, 5000);
		kill(getpid(), SIGKILL);
	}
	NEED(o, await_kid(o, pid) >= 0);
	NEED(o, await_req(&o->m, FUSE_RELEASE, REQ_REPLIED, 1));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FLUSH,
					      FUSE_RELEASE, 0));
}

/* execve(2) closes what is O_CLOEXEC. */
OBSERVE(exec, closes_what_is_dirty, .writeback_cache = true)
{
	char *const args[] = { "true", NULL };
	pid_t pid = obs_fork(o);
	int fd;

	if (!pid) {
		fd = obs_open(o, "file", O_RDWR | O_CREAT);
		obs_write(o, fd, 'x', 0, 5000);
		execv("/bin/true", args);
		_exit(1);
	}
	saw_key(o, "exec", "%ld", await_kid(o, pid));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FLUSH,
					      FUSE_RELEASE, 0));
}
