/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What users can observe on a FUSE mount: small functions that make system calls and
 * print the results, for a comparison of two kernels.
 *
 * An observation judges nothing.  It must print the same each time it runs on one
 * kernel: no times, addresses, pids or numbers of requests, and nothing that depends on
 * races.  It runs in its own process, with its own mount, server and watchdog, and with a
 * deadline, so it may hang.
 */

#ifndef FUSE_WB_OBSERVE_H
#define FUSE_WB_OBSERVE_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "../kselftest.h"

#include "call.h"
#include "child.h"
#include "control.h"
#include "mnt.h"
#include "reqlog.h"
#include "server.h"

/* After which the watchdog ends an observation: longer than WAIT_SECONDS. */
#define OBSERVE_SECONDS	12

#define OBS_KIDS	8

struct obs;
struct obs_text;

/**
 * struct observation - one observation
 * @next: in the list of all
 * @name: "area.name"
 * @fn: makes it
 * @opts: the server options that it needs
 * @arg: for several that share a function, see observe_kill.c
 */
struct observation {
	struct observation *next;
	const char *name;
	void (*fn)(struct obs *o);
	struct server_opts opts;
	const void *arg;
};

void observation_add(struct observation *what);

/**
 * struct obs - an observation that is being made
 * @m: its mount
 * @what: which one it is
 * @pid: its process
 * @text: what was observed
 * @since: requests() and sent() look at the log after this entry
 * @kids: processes to be killed at the end
 * @nr_kids: how many
 */
struct obs {
	struct mnt m;
	const struct observation *what;
	pid_t pid;
	struct obs_text *text;
	__u32 since;
	pid_t kids[OBS_KIDS];
	int nr_kids;
};

/*
 * OBSERVE(area, name, .writeback_cache = true) { ... }: a function that gets a
 * struct obs *o; after the name are fields of struct server_opts.
 */
#define OBSERVE(area_, name_, ...)					\
	static void observe_##area_##_##name_(struct obs *o);		\
	static struct observation area_##_##name_##_observation = {	\
		.name = #area_ "." #name_,				\
		.fn = observe_##area_##_##name_,			\
		.opts = { __VA_ARGS__ },				\
	};								\
	static void __attribute__((constructor))			\
	area_##_##name_##_add(void)					\
	{								\
		observation_add(&area_##_##name_##_observation);	\
	}								\
	static void observe_##area_##_##name_(struct obs *o)

/*
 * The same observation with the writeback cache, and as NAME_without_cache
 * without it.
 */
#define OBSERVE_BOTH(area_, name_, ...)					\
	static void observe_##area_##_##name_(struct obs *o);		\
	static struct observation area_##_##name_##_observations[2] = {	\
		{							\
			.name = #area_ "." #name_,			\
			.fn = observe_##area_##_##name_,		\
			.opts = { .writeback_cache = true, ##__VA_ARGS__ }, \
		}, {							\
			.name = #area_ "." #name_ "_without_cache",	\
			.fn = observe_##area_##_##name_,		\
			.opts = { __VA_ARGS__ },			\
		},							\
	};								\
	static void __attribute__((constructor))			\
	area_##_##name_##_add_both(void)				\
	{								\
		observation_add(&area_##_##name_##_observations[0]);	\
		observation_add(&area_##_##name_##_observations[1]);	\
	}								\
	static void observe_##area_##_##name_(struct obs *o)

/* Print "area.name: text", or "area.name.key: text" when there is more than one. */
__printf(2, 3)
void saw(struct obs *o, const char *fmt, ...);
__printf(3, 4)
void saw_key(struct obs *o, const char *key, const char *fmt, ...);

/*
 * Skip: the observation cannot be made here, for this reason; does not return.
 */
void lacks(struct obs *o, const char *missing);

/*
 * What must hold for the observation to mean anything: if it does not, this is
 * printed, an error on any kernel, and the observation ends.
 */
#define NEED(o, condition)						\
	need(o, condition, __FILE__, __LINE__, #condition)
void need(struct obs *o, bool holds, const char *file, int line,
	  const char *condition);

/* Texts.  Each is valid until the function has been called eight more times. */

/* What a system call returned: a number, or the name of the errno. */
const char *result(long ret);

/* "blocked", or what it returned: see call_stays_blocked(). */
const char *state(struct obs *o, struct call *c);

/* Make a call that may block: its result, or "ETIMEDOUT" at the deadline. */
const char *run(struct obs *o, const struct call_op *op, struct call_arg arg);

/* The result in the end, or "has not returned" at the deadline. */
const char *outcome(struct call *c);

/* Bytes: "100 x, 200 zeroes". */
const char *bytes(const void *buf, size_t len);

/* The bytes of a file at the server. */
const char *server_bytes(struct obs *o, const char *name);

/* The result of pread(2) of a descriptor: bytes, or an errno. */
const char *read_bytes(int fd, off_t off, size_t len);

/* The same, or "blocked". */
const char *read_or_block(struct obs *o, int fd, off_t off, size_t len);

/*
 * These and mark(), sent() and arrived() first make the server reply to some other
 * request, so that everything sent before is in the log.
 *
 * The requests of these kinds that arrived, in order, with their ranges: "WRITE 0+4096,
 * FSYNC".  Adjacent requests of one kind are merged.  The list of opcodes ends with a
 * 0.
 */
const char *requests(struct obs *o, ...);

/* The same with the replies: "WRITE 0+4096, WRITE replied, FSYNC". */
const char *exchange(struct obs *o, ...);

/*
 * A process makes the call and is killed when it sleeps in it; the result is "does not
 * wait", "waits, SIGKILL ends it" or "waits, SIGKILL does not end it".  It shares the
 * descriptors; when it does not wait in the call, it may do so in its exit, with
 * everything mapped.
 */
const char *kill_in(struct obs *o, const struct call_op *op,
		    struct call_arg arg);

/* SIGKILL for a process that sleeps: "SIGKILL ends it" or "SIGKILL does not end it". */
const char *kill_kid(struct obs *o, pid_t pid);

/*
 * "ended" or "sleeps": a process that is left alone.  It sleeps if it stays where it is
 * while the server replies to other requests.
 */
const char *kid_state(struct obs *o, pid_t pid);

/* From now on, requests(), exchange() and sent() ignore what was before. */
void mark(struct obs *o);

/* Bytes of the requests of a kind that arrived. */
long sent(struct obs *o, __u32 opcode);

/* Number of the requests of a kind that arrived. */
int arrived(struct obs *o, __u32 opcode);

/* Steps that must succeed. */

/* A file at the server with @len bytes of @byte. */
void obs_put(struct obs *o, const char *name, char byte, size_t len);

int obs_open(struct obs *o, const char *name, int flags);

/* pwrite(2) of @len bytes of @byte. */
void obs_write(struct obs *o, int fd, char byte, off_t off, size_t len);

/* mmap(2) of the start of a file, shared, to be read and written. */
char *obs_map(struct obs *o, int fd, size_t len);

/*
 * The state of a file, in four keys: "size" and "read" as the mount has it, what
 * "fsync" returns, and the bytes that are at the "server" then.
 */
void obs_see(struct obs *o, int fd, const char *name);

/* Hold all requests of a kind. */
void obs_hold(struct obs *o, __u32 opcode);

/* Reply to all held requests, and stop holding. */
void obs_release(struct obs *o);

/* Start writeback, with WRITEs held, and wait for @nr of them to arrive. */
void obs_hold_writes(struct obs *o, int fd, int nr);

/* fork(2) a process that is killed at the end; it must call _exit(2). */
pid_t obs_fork(struct obs *o);

/* Have a process make a call, as child_start(); it is killed at the end. */
pid_t obs_child(struct obs *o, unsigned long flags, const struct call_op *op,
		struct call_arg arg);

/* A process that the caller started, to be killed at the end. */
void obs_add_kid(struct obs *o, pid_t pid);

/* Memory shared between processes. */
void *obs_shared(struct obs *o, size_t size);

/*
 * The child is ready, and sleeps until it is killed; the parent waits for the
 * child to be ready.
 */
void obs_sleep(__u32 *ready);
void obs_await(struct obs *o, __u32 *ready);

/* Make a call in a thread, as mnt_call(). */
struct call *obs_call(struct obs *o, const struct call_op *op,
		      struct call_arg arg);

/* The path of a file of the mount. */
const char *obs_path(struct obs *o, const char *name);

#endif
