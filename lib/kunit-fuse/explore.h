/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Orders of calls and replies, chosen by random numbers: a few callers, a server
 * that holds all requests, and an oracle that checks what the calls return.
 *
 * The file consists of cells. Every write fills its cells with a unique value, so
 * that a byte tells which call wrote it. Time is counted in steps: a call begins in
 * one step and is seen to have returned in another, and the steps between are its
 * window. At the end of a step nothing runs: a call that has not returned is blocked.
 */

#ifndef _FUSE_WB_EXPLORE_H
#define _FUSE_WB_EXPLORE_H

#include "fixture.h"

#define EX_CELL		1024U
#define EX_PAGES	3
#define EX_CELLS	(EX_PAGES * PAGE_SIZE / EX_CELL)
#define EX_PAGE		(PAGE_SIZE / EX_CELL)
#define EX_CALLERS	3
#define EX_STEPS	32
#define EX_CHANGES	(4 * EX_STEPS)
#define EX_REQUESTS	64

/* The end of a window that is still open. */
#define EX_OPEN		U32_MAX

/* Values: of a new file, of cells beyond EOF, and one that must never be seen. */
#define EX_FIRST	1
#define EX_EOF		256
#define EX_NEVER	257

enum ex_op {
	EX_READ,
	EX_WRITE,
	EX_AIO_READ,
	EX_AIO_WRITE,
	EX_TRUNCATE,
	EX_PUNCH,
	EX_FSYNC,
	EX_CLOSE,
	EX_WRITEPAGES,
	EX_REMOTE,
	EX_STORE,
	EX_OPS,
};

/**
 * struct ex_mode - a way to open the file
 *
 * @name: of the mode
 * @options: of the server
 * @open_flags: of the server's reply to OPEN
 * @flags: of open(2), for each caller
 */
struct ex_mode {
	const char *name;
	struct fuse_wb_options options;
	u32 open_flags;
	int flags[EX_CALLERS];
};

/* What happens in a step; its numbers are taken modulo the number of choices. */
enum ex_what {
	EX_CALL,
	EX_CARRY,
	EX_REPLY,
	EX_FAIL,
	EX_SHORT,
	EX_KILL,
};

struct ex_step {
	enum ex_what what;
	enum ex_op op;
	u8 which;
	u8 from;
	u8 len;
};

/**
 * struct ex_call - a call of a caller
 *
 * @op: which
 * @from: first cell
 * @to: the cell after the last one; of a truncation, @from is the new size
 * @value: what a write fills its cells with
 * @start: step in which it began
 * @end: step at whose end it had returned
 * @ret: what it returned
 * @killed: SIGKILL was sent while it ran
 * @alone: no other call that changes the size ran concurrently
 * @sure: for EX_REMOTE and EX_AIO_READ: nothing else changed the file concurrently
 * @lo: the smallest size that the file may have had in its window, in cells
 * @hi: the largest
 * @failed: offset of its first WRITE if that got an error reply, or LLONG_MAX
 */
struct ex_call {
	enum ex_op op;
	u8 from;
	u8 to;
	u8 value;
	u32 start;
	u32 end;
	long ret;
	bool killed;
	bool alone;
	bool sure;
	u8 lo;
	u8 hi;
	loff_t failed;
};

/**
 * struct ex_caller - a task that makes calls
 *
 * @ex: the exploration it belongs to
 * @waitq: where it waits for its next call
 * @task: the thread
 * @busy: it has a call
 * @returned: its call has returned
 * @stop: the thread has to exit
 * @call: its call
 * @file: its open file
 * @owed: step since which the file has an unreported error, or 0
 * @buf: its part of the mapping
 * @bytes: a copy of what it has read
 */
struct ex_caller {
	struct explore *ex;
	wait_queue_head_t waitq;
	struct task_struct *task;
	bool busy;
	bool returned;
	bool stop;
	struct ex_call call;
	struct file *file;
	u32 owed;
	u8 __user *buf;
	u8 bytes[EX_CELLS * EX_CELL];
};

/* A value that a cell may have received in a window; @sure if it certainly has. */
struct ex_change {
	u16 value;
	u8 by;
	bool sure;
	u32 start;
	u32 end;
};

struct ex_cell {
	unsigned int nr;
	bool lost;	/* the cache has data that the server never received */
	struct ex_change changes[EX_CHANGES];
};

/**
 * struct explore - state of the exploration
 *
 * @wb: the fixture
 * @mode: how the file is opened
 * @callers: the callers
 * @store: the bytes of the file, as the server has them
 * @carried: requests that were carried out, with the reply outstanding
 * @nr_carried: their number
 * @now: the step
 * @values: values used so far
 * @lo: the smallest size that the file may have now, in cells
 * @hi: the largest
 * @limbo: a call failed that may still take effect
 * @errors: the server has replied with an error
 * @wb_errors: the server has failed a WRITE of the page cache
 * @closing: steps in which close(2) calls began whose FLUSH has not arrived
 * @nr_closing: their number
 * @trace: print the steps
 * @cells: the history
 * @failure: what the oracle found, or empty
 */
struct explore {
	struct fuse_wb *wb;
	const struct ex_mode *mode;
	struct ex_caller callers[EX_CALLERS];
	u8 store[EX_CELLS * EX_CELL];
	struct fuse_req *carried[EX_REQUESTS];
	unsigned int nr_carried;
	u32 now;
	u8 values;
	u8 lo;
	u8 hi;
	bool limbo;
	bool errors;
	bool wb_errors;
	u32 closing[EX_STEPS];
	unsigned int nr_closing;
	bool trace;
	struct ex_cell cells[EX_CELLS];
	char failure[160];
};

static inline struct fuse_attr *ex_attr(struct explore *ex)
{
	return &ex->wb->server->attr[FUSE_WB_FILE];
}

#define ex_trace(ex, fmt, ...)						\
do {									\
	const struct explore *__ex = (ex);				\
									\
	if (__ex->trace)						\
		kunit_info(__ex->wb->test, "%3u: " fmt "\n", __ex->now,	\
			   ##__VA_ARGS__);				\
} while (0)

/* explore_calls.c */
extern const char * const ex_op_names[EX_OPS];
void ex_start_callers(struct explore *ex);
bool ex_begin(struct ex_caller *caller, enum ex_op op, u8 from, u8 len);
int ex_open(struct explore *ex);
void ex_close(struct explore *ex);

/* explore_server.c */
void ex_hold(struct explore *ex);
unsigned int ex_outstanding(struct explore *ex);
void ex_carry(struct explore *ex, unsigned int which);
void ex_reply(struct explore *ex, unsigned int which, enum ex_what how);

/* explore_history.c */
void ex_add(struct explore *ex, unsigned int cell, u16 value, u8 by, bool sure,
	    u32 end);
void ex_oracle_reset(struct explore *ex, unsigned int size);
void ex_expect_possible(struct explore *ex, unsigned int cell, const u8 *bytes,
			u32 start, const char *where);
void ex_close_windows(struct ex_caller *caller, int value, unsigned int to);
void ex_settled(struct explore *ex);

/* explore_oracle.c */
__printf(2, 3) void ex_fail(struct explore *ex, const char *fmt, ...);
bool ex_may_call(const struct ex_caller *caller);
void ex_called(struct ex_caller *caller);
void ex_returned(struct ex_caller *caller);
void ex_write_failed(struct explore *ex, const struct fuse_req *req, bool error);
void ex_write_done(struct explore *ex, const struct fuse_req *req);
void ex_flushed(struct explore *ex);
void ex_expect_at_server(struct explore *ex, u32 start, u8 lo, const char *where);
void ex_expect_nothing_left(struct explore *ex);

#endif
