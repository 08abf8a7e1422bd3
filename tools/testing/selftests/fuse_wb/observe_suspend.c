// SPDX-License-Identifier: GPL-2.0
/* The data at the server before the system is suspended. */

#include <pthread.h>
#include <stdio.h>

#include "observe.h"
#include "proc.h"
#include "suspend.h"
#include "wait.h"

#define FILES		3

static __u32 stop;

/*
 * Record when the longest gap in this thread's time began: while everything is
 * frozen, so is this thread.
 */
static void *watch(void *arg)
{
	const struct timespec moment = { .tv_nsec = 2000000 };
	__u64 *frozen_at = arg, before = now_usec(), now, longest = 0;

	while (!word_get(&stop)) {
		nanosleep(&moment, NULL);
		now = now_usec();
		if (now - before > longest) {
			longest = now - before;
			*frozen_at = before;
		}
		before = now;
	}
	return NULL;
}

/* WRITEs that had arrived by that time. */
static int writes_before(struct obs *o, __u64 usec)
{
	const struct reqlog *log = o->m.log;
	__u32 i, nr = word_get(&log->nr);
	int count = 0;

	for (i = o->since; i < nr; i++)
		count += log->ev[i].step == REQ_ARRIVED &&
			 log->ev[i].req.opcode == FUSE_WRITE &&
			 log->start + log->ev[i].usec < usec;
	return count;
}

/*
 * The times of each file follow its data, and take half a second: a caller that sends
 * one file after the other has sent all data by then, and so has one that sends all
 * files at once.
 */
OBSERVE(suspend, of_slow_server, .writeback_cache = true)
{
	const struct req_match setattrs = { .opcode = FUSE_SETATTR };
	__u64 frozen_at = 0;
	pthread_t thread;
	char name[16];
	int i, fd;
	long ret;

	if (!suspend_is_there())
		lacks(o, "needs CONFIG_SUSPEND and CONFIG_PM_DEBUG");
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file%d", i);
		fd = obs_open(o, name, O_RDWR | O_CREAT);
		NEED(o, !make_file_old(fd));
		obs_write(o, fd, 'x', 0, 100);
	}
	mark(o);
	NEED(o, !server_rule(o->m.ctl, &setattrs, RULE_DELAY, 500000));
	NEED(o, !suspend_only_freezes("2"));
	NEED(o, !pthread_create(&thread, NULL, watch, &frozen_at));
	ret = mnt_tell(&o->m, PM_STATE, "freeze");
	word_set(&stop, 1);
	pthread_join(thread, NULL);
	NEED(o, !suspend_as_usual());
	saw_key(o, "ret", "%s", result(ret));
	NEED(o, frozen_at);
	saw_key(o, "writes_before", "%d", writes_before(o, frozen_at));
}
