/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the kernel, in a private trace buffer.
 *
 * Call these after mnt_setup(): if tracefs is not mounted yet, it is mounted in
 * the test's own mount namespace.
 */

#ifndef FUSE_WB_TRACE_H
#define FUSE_WB_TRACE_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

/**
 * struct trace - a trace buffer; zeroed: there is none
 * @dir: its directory in tracefs
 */
struct trace {
	char dir[64];
};

/**
 * struct trace_event - one line of it
 * @pid: the thread, which @comm names
 * @comm: its name
 * @name: the event's name
 * @what: the rest of the line
 */
struct trace_event {
	pid_t pid;
	char comm[20];
	char name[40];
	char what[256];
};

/**
 * trace_start() - trace some events from now on
 * @t: filled in
 * @events: "system/event", NULL after the last one
 *
 * Return: NULL; or what is missing, as a sentence for SKIP; or "" after an error
 * that has been printed.
 */
const char *trace_start(struct trace *t, const char *const *events);

/**
 * trace_read() - stop, and call a function for each event, in order
 * @t: the buffer
 * @fn: what to call
 * @arg: given to @fn
 *
 * Return: 0, or -1 after a message, also if events were lost.
 */
int trace_read(struct trace *t,
	       void (*fn)(const struct trace_event *ev, void *arg), void *arg);

/* Remove the buffer.  Return: 0, or -1 after a message. */
int trace_end(struct trace *t);

/* The number after "key=" in the text of an event; -1: there is none. */
long trace_value(const struct trace_event *ev, const char *key);

#endif
