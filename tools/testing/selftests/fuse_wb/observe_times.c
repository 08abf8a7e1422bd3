// SPDX-License-Identifier: GPL-2.0
/*
 * Which times a file has at the server when all is written, and which the mount shows:
 * backup and make(1) rely on them.
 */

#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "observe.h"
#include "wait.h"

/* Rounds that need two steps in one clock tick, and the limit on all rounds. */
#define LOOPS		20
#define MAX_TRIES	1000

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Does the server have the mtime that the mount showed before the close? */
static bool server_has_time(struct obs *o, const char *name,
			    const struct stat *shown)
{
	struct stat st;

	NEED(o, !server_stat(o->m.ctl, name, &st));
	return same_time(&st.st_mtim, &shown->st_mtim);
}

enum change { RENAME, FALLOCATE, CHMOD };

/* Write to a new file, later change its metadata, and later close it. */
static void change_before_close(struct obs *o, enum change change)
{
	const char *name = change == RENAME ? "other" : "file";
	int fd = obs_open(o, "file", O_RDWR | O_CREAT);
	struct stat shown, later;

	NEED(o, !await_tick());
	obs_write(o, fd, 'x', 0, 100);
	NEED(o, !await_tick());
	if (change == RENAME)
		NEED(o, !rename(obs_path(o, "file"), obs_path(o, "other")));
	else if (change == FALLOCATE)
		NEED(o, !fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 5000));
	else
		NEED(o, !fchmod(fd, 0600));
	NEED(o, !fstat(fd, &shown));
	NEED(o, !await_tick());
	NEED(o, !close(fd));
	NEED(o, !stat(obs_path(o, name), &later));
	saw_key(o, "server", "%s", server_has_time(o, name, &shown) ?
		"the mtime of the mount" : "another mtime");
	saw_key(o, "mount", "%s", same_time(&later.st_mtim, &shown.st_mtim) ?
		"the mtime from before the close" : "another mtime");
}

OBSERVE(times, rename_before_close, .writeback_cache = true)
{
	change_before_close(o, RENAME);
}

OBSERVE(times, fallocate_before_close, .writeback_cache = true)
{
	change_before_close(o, FALLOCATE);
}

OBSERVE(times, chmod_before_close, .writeback_cache = true)
{
	change_before_close(o, CHMOD);
}

OBSERVE(times, rename_before_close_without_cache)
{
	change_before_close(o, RENAME);
}

/* A step, and a write(2) in the same clock tick, repeatedly. */
enum step { FSYNC, O_TRUNC_OPEN, FTRUNCATE };

static void step_and_write(struct obs *o, enum step step)
{
	int flags = O_RDWR | O_CREAT | (step == O_TRUNC_OPEN ? O_TRUNC : 0);
	int i, fd, wrong = 0, tries = 0;
	struct timespec now;
	struct stat shown;

	for (i = 0; i < LOOPS;) {
		NEED(o, tries++ < MAX_TRIES);
		NEED(o, !await_tick());
		NEED(o, !clock_gettime(CLOCK_REALTIME_COARSE, &now));
		fd = obs_open(o, "file", flags);
		if (step == FTRUNCATE)
			NEED(o, !ftruncate(fd, i % 2 ? 10 : 20));
		if (step == FSYNC) {
			NEED(o, pwrite(fd, "x", 1, 0) == 1);
			NEED(o, !fsync(fd));
		}
		NEED(o, pwrite(fd, "y", 1, 0) == 1);
		NEED(o, !fstat(fd, &shown));
		NEED(o, !await_tick());
		NEED(o, !close(fd));
		wrong += !server_has_time(o, "file", &shown);
		i += same_time(&now, &shown.st_mtim);
	}
	saw(o, "%s of %d times the server has another mtime",
	    wrong ? "some" : "none", LOOPS);
}

OBSERVE(times, write_behind_fsync, .writeback_cache = true)
{
	step_and_write(o, FSYNC);
}

OBSERVE(times, write_behind_o_trunc, .writeback_cache = true)
{
	step_and_write(o, O_TRUNC_OPEN);
}

OBSERVE(times, write_behind_ftruncate, .writeback_cache = true)
{
	step_and_write(o, FTRUNCATE);
}
