// SPDX-License-Identifier: GPL-2.0
/* Steps of observations that must succeed: see observe.h. */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "observe.h"
#include "wait.h"

/* Buffer size of obs_see(): no file is longer. */
#define SEE_MAX	(64 << 10)

void obs_put(struct obs *o, const char *name, char byte, size_t len)
{
	char *buf = malloc(len + 1);

	NEED(o, buf);
	memset(buf, byte, len);
	NEED(o, !server_put(o->m.ctl, name, 0, buf, len));
	/* So that a first change updates the times, whatever the clock says */
	NEED(o, !server_set_times(o->m.ctl, name, 1000));
	free(buf);
}

int obs_open(struct obs *o, const char *name, int flags)
{
	int fd = mnt_open(&o->m, name, flags);

	NEED(o, fd >= 0);
	return fd;
}

void obs_write(struct obs *o, int fd, char byte, off_t off, size_t len)
{
	char *buf = aligned_alloc(4096, (len + 4095) & ~4095UL);
	ssize_t done;

	NEED(o, buf);
	memset(buf, byte, len);
	/*
	 * A child without threads: what its exit does is to be observed, and
	 * the last thread closes the files.
	 */
	if (getpid() != o->pid)
		done = pwrite(fd, buf, len, off);
	else
		done = mnt_run(&o->m, &call_pwrite, (struct call_arg){
			.fd = fd, .buf = buf, .len = len, .off = off });
	NEED(o, done == (ssize_t)len);
	free(buf);
}

char *obs_map(struct obs *o, int fd, size_t len)
{
	char *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	NEED(o, map != MAP_FAILED);
	return map;
}

void obs_see(struct obs *o, int fd, const char *name)
{
	struct stat st;

	NEED(o, !fstat(fd, &st));
	saw_key(o, "size", "%lld", (long long)st.st_size);
	saw_key(o, "read", "%s", read_bytes(fd, 0, SEE_MAX));
	saw_key(o, "fsync", "%s", run(o, &call_fsync, (struct call_arg){
		.fd = fd }));
	saw_key(o, "server", "%s", server_bytes(o, name));
}

void obs_hold(struct obs *o, __u32 opcode)
{
	NEED(o, !hold_req(&o->m, opcode));
}

void obs_release(struct obs *o)
{
	NEED(o, server_release(o->m.ctl, 0) >= 0);
}

void obs_hold_writes(struct obs *o, int fd, int nr)
{
	int before = count_req(&o->m, FUSE_WRITE, REQ_ARRIVED);

	obs_hold(o, FUSE_WRITE);
	NEED(o, !start_writeback(&o->m, fd));
	NEED(o, await_req(&o->m, FUSE_WRITE, REQ_ARRIVED, before + nr));
}

void obs_add_kid(struct obs *o, pid_t pid)
{
	NEED(o, pid > 0 && o->nr_kids < OBS_KIDS);
	o->kids[o->nr_kids++] = pid;
}

pid_t obs_fork(struct obs *o)
{
	pid_t pid = fork();

	if (pid)
		obs_add_kid(o, pid);
	return pid;
}

pid_t obs_child(struct obs *o, unsigned long flags, const struct call_op *op,
		struct call_arg arg)
{
	pid_t pid = child_start(flags, op, arg);

	obs_add_kid(o, pid);
	return pid;
}

void *obs_shared(struct obs *o, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	NEED(o, p != MAP_FAILED);
	return p;
}

void obs_sleep(__u32 *ready)
{
	word_set(ready, 1);
	while (1)
		pause();
}

void obs_await(struct obs *o, __u32 *ready)
{
	NEED(o, word_sleep(ready, 0, wait_deadline()));
}

struct call *obs_call(struct obs *o, const struct call_op *op,
		      struct call_arg arg)
{
	struct call *c = mnt_call(&o->m, op, arg);

	NEED(o, c);
	return c;
}

const char *obs_path(struct obs *o, const char *name)
{
	static char paths[4][128];
	static unsigned int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", o->m.dir, name);
	return path;
}
