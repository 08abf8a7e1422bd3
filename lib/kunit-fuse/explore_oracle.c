// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a call may return, given what other calls have returned.
 *
 * Bytes: a cell has a history of values, each with the window in which it was
 * written. A read may return a value whose window began before the read ended,
 * unless another value certainly followed it before the read began. A call that
 * failed may or may not have written its value, and may still do so while
 * something is outstanding.
 *
 * Size: the smallest and largest possible sizes are tracked for each running call.
 *
 * Errors: a call must not return an error that was not injected. An error injected
 * into a WRITE of the page cache must be reported by each file that was open, at
 * its next fsync(2) or at close(2).
 */

#include <linux/fcntl.h>
#include <linux/highmem.h>
#include <linux/pagemap.h>

#include "explore.h"

/**
 * ex_fail - record that a rule is broken; only the first one is kept
 * @ex: the exploration
 * @fmt: what was seen
 */
void ex_fail(struct explore *ex, const char *fmt, ...)
{
	va_list args;

	if (ex->failure[0])
		return;
	va_start(args, fmt);
	vscnprintf(ex->failure, sizeof(ex->failure), fmt, args);
	va_end(args);
	ex_trace(ex, "FAILURE: %s", ex->failure);
}

static bool is_write(enum ex_op op)
{
	return op == EX_WRITE || op == EX_AIO_WRITE;
}

static bool is_read(enum ex_op op)
{
	return op == EX_READ || op == EX_AIO_READ;
}

static bool resizes(enum ex_op op)
{
	return is_write(op) || op == EX_TRUNCATE;
}

static bool changes(enum ex_op op)
{
	return resizes(op) || op == EX_PUNCH || op == EX_REMOTE ||
	       op == EX_STORE;
}

/*
 * A write through the page cache sends whole pages. If it reads its page while an
 * asynchronous direct write to the same page is in flight, it sends the old bytes
 * again: no lock is held until the latter ends, and no kernel gets this right.
 */
static bool collide(const struct ex_caller *cached, const struct ex_caller *aio)
{
	const struct ex_mode *mode = cached->ex->mode;
	const struct ex_call *a = &cached->call, *b = &aio->call;

	return mode->options.flags & FUSE_WRITEBACK_CACHE && is_write(a->op) &&
	       !(cached->file->f_flags & O_DIRECT) && b->op == EX_AIO_WRITE &&
	       a->from / EX_PAGE <= (b->to - 1) / EX_PAGE &&
	       b->from / EX_PAGE <= (a->to - 1) / EX_PAGE;
}

/**
 * ex_may_call - does a call have an outcome that can be checked?
 * @caller: the caller that is about to make it
 *
 * The outcome of a store concurrent with a write to the same page is undefined, and
 * a store concurrent with growth may or may not be beyond EOF.
 *
 * Return: true if it may begin.
 */
bool ex_may_call(const struct ex_caller *caller)
{
	struct explore *ex = caller->ex;
	enum ex_op op = caller->call.op;
	unsigned int i;

	if (op == EX_STORE && (ex->limbo || ex->mode->open_flags & FOPEN_DIRECT_IO))
		return false;
	for (i = 0; i < EX_CALLERS; i++) {
		enum ex_op other = ex->callers[i].call.op;

		if (!ex->callers[i].busy)
			continue;
		if ((op == EX_STORE && changes(other)) ||
		    (other == EX_STORE && changes(op)) ||
		    collide(caller, &ex->callers[i]))
			return false;
	}

	return true;
}

/* Record which running calls change the file or its size concurrently. */
static void look_for_others(struct ex_caller *caller)
{
	struct address_space *mapping = caller->file->f_mapping;
	struct explore *ex = caller->ex;
	struct ex_call *call = &caller->call;
	unsigned int i;

	call->alone = !ex->limbo;
	call->sure = !ex->limbo && !ex_outstanding(ex) &&
		     !mapping_tagged(mapping, PAGECACHE_TAG_DIRTY) &&
		     !mapping_tagged(mapping, PAGECACHE_TAG_WRITEBACK);
	for (i = 0; i < EX_CALLERS; i++) {
		struct ex_caller *other = &ex->callers[i];

		if (!other->busy || other == caller)
			continue;
		if (changes(other->call.op))
			call->sure = false;
		if (changes(call->op))
			other->call.sure = false;
		if (resizes(other->call.op) && resizes(call->op)) {
			other->call.alone = false;
			call->alone = false;
		}
	}
}

static void bound_size(struct explore *ex, u8 size)
{
	unsigned int i;

	ex->lo = min(ex->lo, size);
	ex->hi = max(ex->hi, size);
	for (i = 0; i < EX_CALLERS; i++) {
		struct ex_call *call = &ex->callers[i].call;

		call->lo = min(call->lo, ex->lo);
		call->hi = max(call->hi, ex->hi);
	}
}

/**
 * ex_called - a call is about to begin
 * @caller: whose
 */
void ex_called(struct ex_caller *caller)
{
	struct explore *ex = caller->ex;
	struct ex_call *call = &caller->call;
	u8 by = caller - ex->callers + 1;
	unsigned int i;

	call->start = ex->now;
	call->end = EX_OPEN;
	call->failed = LLONG_MAX;
	call->lo = ex->lo;
	call->hi = ex->hi;
	call->killed = false;
	look_for_others(caller);
	/* The range between the old and the new EOF is zeroed */
	if (resizes(call->op))
		for (i = ex->lo; i < call->from; i++)
			ex_add(ex, i, 0, by, false, EX_OPEN);
	switch (call->op) {
	case EX_WRITE:
	case EX_AIO_WRITE:
	case EX_REMOTE:
	case EX_STORE:
		for (i = call->from; i < call->to; i++)
			ex_add(ex, i, call->op == EX_STORE && i >= ex->hi ?
			    EX_NEVER : call->value, by, false, EX_OPEN);
		if (resizes(call->op))
			bound_size(ex, max(ex->hi, call->to));
		break;
	case EX_PUNCH:
		for (i = call->from; i < call->to; i++)
			ex_add(ex, i, 0, by, false, EX_OPEN);
		break;
	case EX_TRUNCATE:
		/* A concurrent read may see zeroes before it sees the new EOF */
		for (i = call->from; i < EX_CELLS; i++) {
			ex_add(ex, i, EX_EOF, by, false, EX_OPEN);
			ex_add(ex, i, 0, by, false, EX_OPEN);
		}
		bound_size(ex, call->from);
		break;
	case EX_CLOSE:
		ex->closing[ex->nr_closing++] = ex->now;
		break;
	default:
		break;
	}
}

static bool error_was_given(const struct ex_caller *caller)
{
	return caller->ex->errors || caller->call.killed;
}

static void read_returned(struct ex_caller *caller)
{
	struct explore *ex = caller->ex;
	struct ex_call *call = &caller->call;
	const char *name = ex_op_names[call->op];
	unsigned int i, end;

	if (call->ret < 0)
		return;
	if (call->ret % EX_CELL)
		ex_fail(ex, "%s ends inside a cell", name);
	end = call->from + call->ret / EX_CELL;
	for (i = call->from; i < end; i++)
		ex_expect_possible(ex, i,
				   caller->bytes + (i - call->from) * EX_CELL,
				   call->start, name);
	if (call->ret && end > call->hi)
		ex_fail(ex, "%s ended at cell %u, but the file ends at %u", name, end,
			call->hi);
	/* An async read is not zero-filled over pages dirtied meanwhile */
	if (call->op == EX_AIO_READ && !call->sure)
		return;
	if (end < call->to && end < call->lo && !error_was_given(caller))
		ex_fail(ex, "%s ended at cell %u, but the file ends at %u", name, end,
			call->lo);
}

static void write_returned(struct ex_caller *caller)
{
	struct explore *ex = caller->ex;
	struct ex_call *call = &caller->call;
	unsigned int end = call->from + max(call->ret, 0L) / EX_CELL;
	bool full = end == call->to;

	if (call->ret > 0 && (loff_t)end * EX_CELL > call->failed)
		ex_fail(ex, "%s hides an error", ex_op_names[call->op]);
	if (call->ret >= 0 && !full && !error_was_given(caller))
		ex_fail(ex, "%s ends early", ex_op_names[call->op]);
	ex_close_windows(caller, call->value, end);
	if (!full)
		ex->limbo = true;
	else if (call->alone)
		ex->lo = max(ex->lo, call->to);
}

/* Below EOF a store is a write; beyond EOF it has no effect. */
static void store_returned(struct ex_caller *caller)
{
	struct ex_call *call = &caller->call;
	unsigned int end = call->from + max(call->ret, 0L) / EX_CELL;

	ex_close_windows(caller, call->value, min_t(u32, end, caller->ex->lo));
	if (end < call->to)
		caller->ex->limbo = true;
}

static void truncate_returned(struct ex_caller *caller)
{
	struct explore *ex = caller->ex;
	struct ex_call *call = &caller->call;

	ex_close_windows(caller, EX_EOF, call->ret ? 0 : EX_CELLS);
	if (call->ret) {
		ex->limbo = true;
	} else if (call->alone) {
		ex->lo = call->from;
		ex->hi = call->from;
	}
}

/**
 * ex_expect_at_server - expect that the server has the file
 * @ex: the exploration
 * @start: it has to be at least as new as in this step
 * @lo: its smallest size, in cells
 * @where: the event that guarantees it, for the message
 */
void ex_expect_at_server(struct explore *ex, u32 start, u8 lo, const char *where)
{
	unsigned int i, size = ex_attr(ex)->size / EX_CELL;

	if (size < lo && !ex->wb_errors)
		ex_fail(ex, "%s: ends at cell %u, but the file at %u", where,
			size, lo);
	for (i = 0; i < min(size, EX_CELLS); i++)
		ex_expect_possible(ex, i, ex->store + i * EX_CELL, start, where);
}

static void fsync_returned(struct ex_caller *caller)
{
	struct explore *ex = caller->ex;
	struct ex_call *call = &caller->call;

	if (call->ret) {
		caller->owed = 0;
		return;
	}
	if (caller->owed && caller->owed < call->start)
		ex_fail(ex, "fsync hides the error of a WRITE in step %u",
			caller->owed);
	ex_expect_at_server(ex, call->start, call->lo, "server after fsync");
}

static void close_returned(struct ex_caller *caller)
{
	struct ex_call *call = &caller->call;

	if (!call->ret && !call->killed && caller->owed &&
	    caller->owed < call->start)
		ex_fail(caller->ex, "close hides the error of a WRITE in step %u",
			caller->owed);
	if (caller->ex->mode->options.flags & FUSE_WRITEBACK_CACHE &&
	    !call->ret && !call->killed)
		fsync_returned(caller);
	caller->owed = 0;
}

/**
 * ex_returned - a call has returned
 * @caller: whose
 */
void ex_returned(struct ex_caller *caller)
{
	struct explore *ex = caller->ex;
	struct ex_call *call = &caller->call;

	call->end = ex->now;
	ex_trace(ex, "caller %td: %s returns %ld", caller - ex->callers,
		 ex_op_names[call->op], call->ret);
	if (call->ret < 0 && !error_was_given(caller))
		ex_fail(ex, "%s returned %ld, but no error was injected",
			ex_op_names[call->op], call->ret);
	if (is_read(call->op)) {
		read_returned(caller);
	} else if (is_write(call->op)) {
		write_returned(caller);
	} else if (call->op == EX_STORE) {
		store_returned(caller);
	} else if (call->op == EX_TRUNCATE) {
		truncate_returned(caller);
	} else if (call->op == EX_PUNCH) {
		ex_close_windows(caller, 0, call->ret ? 0 : EX_CELLS);
		ex->limbo |= !!call->ret;
	} else if (call->op == EX_REMOTE) {
		ex_close_windows(caller, call->sure ? call->value : -1, EX_CELLS);
	} else if (call->op == EX_FSYNC) {
		fsync_returned(caller);
	} else if (call->op == EX_CLOSE) {
		close_returned(caller);
	}
}

static bool is_of_cache(const struct fuse_req *req)
{
	return fuse_wb_write_in(req)->write_flags & FUSE_WRITE_CACHE;
}

/* Find the call that sent a WRITE by its bytes; NULL if it has returned. */
static struct ex_call *find_writer(struct explore *ex, const struct fuse_req *req)
{
	struct fuse_args_pages *ap = fuse_wb_pages(req);
	unsigned int i;
	u8 value;

	memcpy_from_page(&value, ap->pages[0], ap->descs[0].offset, 1);
	for (i = 0; i < EX_CALLERS; i++) {
		struct ex_call *call = &ex->callers[i].call;

		if (ex->callers[i].busy && is_write(call->op) &&
		    call->value == value)
			return call;
	}

	return NULL;
}

/* An error of the first WRITE is the result; O_DIRECT may recover from a later one. */
static void note_failed(struct explore *ex, const struct fuse_req *req)
{
	loff_t offset = fuse_wb_write_in(req)->offset;
	struct ex_call *call = find_writer(ex, req);

	if (call && offset == (loff_t)call->from * EX_CELL)
		call->failed = offset;
}

/**
 * ex_write_failed - the reply to a WRITE is an error, or a short count
 * @ex: the exploration
 * @req: the WRITE
 * @error: it is an error
 */
void ex_write_failed(struct explore *ex, const struct fuse_req *req, bool error)
{
	const struct fuse_write_in *in = fuse_wb_write_in(req);
	unsigned int i, from = in->offset / EX_CELL;
	unsigned int to = min((in->offset + in->size) / EX_CELL, EX_CELLS);

	if (!is_of_cache(req)) {
		if (error)
			note_failed(ex, req);
		return;
	}

	ex->wb_errors = true;
	for (i = from; i < to; i++) {
		/* The page may be read from the server again */
		ex_add(ex, i, ex->store[i * EX_CELL], 0, false, ex->now);
		ex->cells[i].lost = true;
	}
	for (i = 0; i < EX_CALLERS; i++)
		if (!ex->callers[i].owed)
			ex->callers[i].owed = ex->now;
}

/**
 * ex_write_done - the reply to a WRITE is success
 * @ex: the exploration
 * @req: the WRITE
 */
void ex_write_done(struct explore *ex, const struct fuse_req *req)
{
	const struct fuse_write_in *in = fuse_wb_write_in(req);
	unsigned int i, to = min((in->offset + in->size) / EX_CELL, EX_CELLS);

	for (i = in->offset / EX_CELL; i < to && is_of_cache(req); i++)
		ex->cells[i].lost = false;
}

/**
 * ex_flushed - the server carries out a FLUSH, which drops locks
 * @ex: the exploration
 *
 * It is unknown which close(2) sent it: it follows at least the WRITEs of the data that
 * was there when the first of the pending calls began.
 */
void ex_flushed(struct explore *ex)
{
	if (!ex->nr_closing) {
		ex_fail(ex, "more FLUSHes than close calls");
		return;
	}
	ex_expect_at_server(ex, ex->closing[0], 0, "server at FLUSH");
	ex->nr_closing--;
}

/**
 * ex_expect_nothing_left - expect that all counters are back to zero
 * @ex: the exploration, with all calls returned and nothing outstanding
 */
void ex_expect_nothing_left(struct explore *ex)
{
	struct inode *inode = file_inode(ex->callers[0].file);
	struct fuse_conn *fc = ex->wb->server->fc;
	struct fuse_wb_counters now;

	if (ex->nr_closing)
		ex_fail(ex, "%u FLUSHes were not sent", ex->nr_closing);
	fuse_wb_count_pages(ex->wb, &now);
	if (now.wb_writeback || now.nr_writeback != ex->wb->before.nr_writeback ||
	    now.nr_writeback_may_block != ex->wb->before.nr_writeback_may_block)
		ex_fail(ex, "pages are under writeback: %ld, %ld, %ld",
			now.wb_writeback, now.nr_writeback,
			now.nr_writeback_may_block);
	if (get_fuse_inode(inode)->writectr)
		ex_fail(ex, "writectr is %d", get_fuse_inode(inode)->writectr);
	if (fc->num_background || fc->active_background ||
	    atomic_read(&fc->num_waiting))
		ex_fail(ex, "requests are counted: %u, %u, %d",
			fc->num_background, fc->active_background,
			atomic_read(&fc->num_waiting));
}
