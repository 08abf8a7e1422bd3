// SPDX-License-Identifier: GPL-2.0
/*
 * File locks: which process holds them, when they are dropped, and in which
 * order with the data.
 */

#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include "observe.h"

static int set_lock(int fd, int cmd, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

	return fcntl(fd, cmd, &lock);
}

static long do_setlkw(const struct call_arg *arg)
{
	return set_lock(arg->fd, F_SETLKW, F_WRLCK);
}

static const struct call_op call_setlkw = { "fcntl", SYS_fcntl, do_setlkw };

/*
 * The result for a separate process that requests the lock of "file" without
 * waiting.
 */
static const char *ask_for_lock(struct obs *o, int cmd)
{
	pid_t pid = obs_fork(o);
	long status;
	int fd, ret;

	if (!pid) {
		fd = obs_open(o, "file", O_RDWR);
		ret = cmd ? set_lock(fd, cmd, F_WRLCK) :
			    flock(fd, LOCK_EX | LOCK_NB);
		_exit(ret ? errno : 0);
	}
	status = mnt_run(&o->m, &call_waitpid, (struct call_arg){ .fd = pid });
	errno = status >> 8;
	return result(errno ? -1 : 0);
}

/* A process that holds the lock of "file" and one dirty page, and sleeps. */
static pid_t start_holder(struct obs *o)
{
	__u32 *ready = obs_shared(o, sizeof(*ready));
	pid_t pid = obs_fork(o);
	int fd;

	if (!pid) {
		fd = obs_open(o, "file", O_RDWR);
		NEED(o, !set_lock(fd, F_SETLK, F_WRLCK));
		obs_write(o, fd, 'x', 0, 4096);
		obs_sleep(ready);
	}
	obs_await(o, ready);
	return pid;
}

/* POSIX: closing any descriptor of the file drops all locks of the process. */
OBSERVE(locks, close_of_other_descriptor, .writeback_cache = true)
{
	int fd, other;

	obs_put(o, "file", 'o', 100);
	fd = obs_open(o, "file", O_RDWR);
	other = obs_open(o, "file", O_RDONLY);
	NEED(o, !set_lock(fd, F_SETLK, F_WRLCK));
	saw_key(o, "held", "%s", ask_for_lock(o, F_SETLK));
	NEED(o, !close(other));
	saw_key(o, "closed", "%s", ask_for_lock(o, F_SETLK));
}

OBSERVE(locks, ofd_lock_stays, .writeback_cache = true)
{
	int fd, other, copy;

	obs_put(o, "file", 'o', 100);
	fd = obs_open(o, "file", O_RDWR);
	other = obs_open(o, "file", O_RDONLY);
	copy = dup(fd);
	NEED(o, !set_lock(fd, F_OFD_SETLK, F_WRLCK));
	NEED(o, !close(other));
	saw_key(o, "other_closed", "%s", ask_for_lock(o, F_OFD_SETLK));
	NEED(o, !close(fd));
	saw_key(o, "one_of_two_closed", "%s", ask_for_lock(o, F_OFD_SETLK));
	NEED(o, !close(copy));
	saw_key(o, "closed", "%s", ask_for_lock(o, F_OFD_SETLK));
}

OBSERVE(locks, flock_until_last_close, .writeback_cache = true)
{
	int fd, copy;

	obs_put(o, "file", 'o', 100);
	fd = obs_open(o, "file", O_RDWR);
	copy = dup(fd);
	NEED(o, !flock(fd, LOCK_EX));
	obs_write(o, fd, 'x', 0, 100);
	saw_key(o, "held", "%s", ask_for_lock(o, 0));
	NEED(o, !close(fd));
	saw_key(o, "one_of_two_closed", "%s", ask_for_lock(o, 0));
	NEED(o, !close(copy));
	saw_key(o, "closed", "%s", ask_for_lock(o, 0));
}

/*
 * The next holder gets the lock when the data of the last one is in flight, or
 * later.
 */
OBSERVE(locks, of_killed_holder, .writeback_cache = true)
{
	pid_t pid;

	obs_put(o, "file", 'o', 4096);
	pid = start_holder(o);
	saw_key(o, "held", "%s", ask_for_lock(o, F_SETLK));
	NEED(o, !kill(pid, SIGKILL));
	NEED(o, child_was_killed(&o->m, pid));
	saw_key(o, "killed", "%s", ask_for_lock(o, F_SETLK));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

OBSERVE(locks, waiter_is_killed, .writeback_cache = true)
{
	pid_t pid;
	int fd;

	obs_put(o, "file", 'o', 4096);
	pid = start_holder(o);
	fd = obs_open(o, "file", O_RDWR);
	saw_key(o, "waiter", "%s", kill_in(o, &call_setlkw, (struct call_arg){
		.fd = fd }));
	saw_key(o, "holder", "%s", kid_state(o, pid));
}

/* Locks that the server keeps: which requests it gets, and when. */
OBSERVE(locks, at_server_around_write, .writeback_cache = true,
	.posix_locks = true)
{
	int fd;

	obs_put(o, "file", 'o', 4096);
	fd = obs_open(o, "file", O_RDWR);
	mark(o);
	saw_key(o, "lock", "%s", result(set_lock(fd, F_SETLK, F_WRLCK)));
	obs_write(o, fd, 'x', 0, 4096);
	saw_key(o, "unlock", "%s", result(set_lock(fd, F_SETLK, F_UNLCK)));
	saw_key(o, "lock_again", "%s", result(set_lock(fd, F_SETLK, F_WRLCK)));
	saw_key(o, "close", "%s", result(close(fd)));
	saw_key(o, "requests", "%s", requests(o, FUSE_SETLK, FUSE_WRITE,
					      FUSE_FLUSH, 0));
}

/*
 * FLUSH names the owner whose locks are dropped: it follows the WRITEs of that
 * owner.
 */
OBSERVE(locks, at_server_closed_while_write_is_held, .writeback_cache = true,
	.posix_locks = true)
{
	struct call *c;
	int fd;

	obs_put(o, "file", 'o', 4096);
	fd = obs_open(o, "file", O_RDWR);
	NEED(o, !set_lock(fd, F_SETLK, F_WRLCK));
	obs_write(o, fd, 'x', 0, 4096);
	mark(o);
	obs_hold_writes(o, fd, 1);
	c = mnt_call_close(&o->m, fd);
	NEED(o, c);
	saw_key(o, "close", "%s", state(o, c));
	obs_release(o);
	saw_key(o, "close_then", "%s", outcome(c));
	saw_key(o, "requests", "%s", exchange(o, FUSE_SETLK, FUSE_WRITE,
					      FUSE_FLUSH, 0));
}

OBSERVE(locks, at_server_waiter_is_killed, .posix_locks = true)
{
	int fd;

	obs_put(o, "file", 'o', 4096);
	fd = obs_open(o, "file", O_RDWR);
	obs_hold(o, FUSE_SETLKW);
	saw_key(o, "waiter", "%s", kill_in(o, &call_setlkw, (struct call_arg){
		.fd = fd }));
}
