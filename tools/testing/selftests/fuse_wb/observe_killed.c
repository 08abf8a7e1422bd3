// SPDX-License-Identifier: GPL-2.0
/* The data and locks of a process that is killed, or exits. */

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "observe.h"

#define MUCH	(4 << 20)

/* A process that has written 4 MiB of x to "file" and sleeps with it open. */
static pid_t start_writer(struct obs *o)
{
	__u32 *ready = obs_shared(o, sizeof(*ready));
	pid_t pid = obs_fork(o);
	int fd;

	if (!pid) {
		fd = obs_open(o, "file", O_RDWR | O_CREAT);
		obs_write(o, fd, 'x', 0, MUCH);
		obs_sleep(ready);
	}
	obs_await(o, ready);
	return pid;
}

static struct call_arg umount_arg(struct obs *o, int flags)
{
	return (struct call_arg){ .buf = o->m.dir, .flags = flags };
}

/*
 * The server delays a WRITE, and the unmount follows the writer's death
 * immediately.
 */
OBSERVE(killed, umount_of_slow_server_keeps_data, .writeback_cache = true,
	.max_write = 128 << 10)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	pid_t pid = start_writer(o);

	NEED(o, !server_rule(o->m.ctl, &writes, RULE_DELAY, 30000));
	NEED(o, !kill(pid, SIGKILL));
	NEED(o, child_was_killed(&o->m, pid));
	saw_key(o, "umount", "%s", run(o, &call_umount, umount_arg(o, 0)));
	saw_key(o, "sent", "%ld", sent(o, FUSE_WRITE));
}

/* The server holds the first WRITE until an unmount was attempted. */
OBSERVE(killed, umount_keeps_data, .writeback_cache = true, .max_background = 1)
{
	pid_t pid = start_writer(o);
	struct call *c;

	obs_hold(o, FUSE_WRITE);
	saw_key(o, "kill", "%s", kill_kid(o, pid));
	c = obs_call(o, &call_umount, umount_arg(o, 0));
	saw_key(o, "umount", "%s", state(o, c));
	obs_release(o);
	NEED(o, child_was_killed(&o->m, pid));
	if (!strcmp(outcome(c), "EBUSY"))
		c = obs_call(o, &call_umount, umount_arg(o, 0));
	saw_key(o, "umount_then", "%s", outcome(c));
	saw_key(o, "sent", "%ld", sent(o, FUSE_WRITE));
}

/*
 * On a write-through connection: a stored byte is in flight, and a task that wants to
 * write to the page is killed.
 */
OBSERVE(killed, writer_does_not_spoil_page)
{
	char *map;
	int fd;

	obs_put(o, "file", 'o', 4096);
	fd = obs_open(o, "file", O_RDWR);
	map = obs_map(o, fd, 4096);
	map[0] = 'X';
	obs_hold_writes(o, fd, 1);
	saw_key(o, "kill", "%s", kill_in(o, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = "k", .len = 1, .off = 100 }));
	mark(o);
	saw_key(o, "read", "%s", read_or_block(o, fd, 0, 100));
	saw_key(o, "requests", "%s", requests(o, FUSE_READ, 0));
	obs_release(o);
	NEED(o, !await_writes(&o->m));
	saw_key(o, "read_then", "%s", read_or_block(o, fd, 0, 100));
	saw_key(o, "map_then", "%s", bytes(map, 100));
}

/* The lock is dropped after the reply to WRITE, not before. */
OBSERVE(killed, lock_goes_after_data, .writeback_cache = true,
	.posix_locks = true)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	__u32 *ready = obs_shared(o, sizeof(*ready));
	pid_t pid;
	int fd;

	obs_put(o, "file", 'o', 4096);
	pid = obs_fork(o);
	if (!pid) {
		fd = obs_open(o, "file", O_RDWR);
		NEED(o, !fcntl(fd, F_SETLK, &lock));
		obs_write(o, fd, 'x', 0, 4096);
		obs_sleep(ready);
	}
	obs_await(o, ready);
	mark(o);
	obs_hold(o, FUSE_WRITE);
	kill_kid(o, pid);
	NEED(o, await_req(&o->m, FUSE_WRITE, REQ_ARRIVED, 1));
	saw_key(o, "held", "%s", exchange(o, FUSE_WRITE, FUSE_FLUSH,
					  FUSE_SETLK, 0));
	obs_release(o);
	NEED(o, child_was_killed(&o->m, pid));
	NEED(o, await_req(&o->m, FUSE_FLUSH, REQ_REPLIED, 1));
	saw_key(o, "then", "%s", exchange(o, FUSE_WRITE, FUSE_FLUSH, 0));
}

static long do_exit(const struct call_arg *arg)
{
	(void)arg;
	return 0;
}

static const struct call_op call_exit = { "exit", -1, do_exit };

/* A child that has only the mapping, a page of which is under writeback. */
static void exit_of_child(struct obs *o)
{
	char *map;
	pid_t pid;
	int fd;

	obs_put(o, "file", 'o', 4096);
	fd = obs_open(o, "file", O_RDWR);
	map = obs_map(o, fd, 4096);
	map[0] = 'X';
	obs_hold_writes(o, fd, 1);
	pid = obs_child(o, CLONE_FILES, &call_exit, (struct call_arg){ });
	saw_key(o, "exit", "%s", kid_state(o, pid));
	NEED(o, !kill(pid, SIGKILL));
	saw_key(o, "kill", "%s", kid_state(o, pid));
}

OBSERVE(killed, child_with_mapping_exits, .writeback_cache = true)
{
	exit_of_child(o);
}

OBSERVE(killed, child_with_mapping_exits_without_cache)
{
	exit_of_child(o);
}
