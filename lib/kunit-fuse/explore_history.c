// SPDX-License-Identifier: GPL-2.0-only
/*
 * The history of each cell of the file: its values, and when they were written.
 */

#include <linux/mm.h>

#include "explore.h"

/**
 * ex_add - a cell may get a value from now on
 * @ex: the exploration
 * @cell: which
 * @value: which
 * @by: the caller, counted from 1, whose call is about to write it, or 0
 * @sure: the cell certainly gets it
 * @end: when the window ends
 */
void ex_add(struct explore *ex, unsigned int cell, u16 value, u8 by, bool sure,
	    u32 end)
{
	struct ex_cell *c = &ex->cells[cell];

	if (WARN_ON_ONCE(c->nr == EX_CHANGES))
		return;
	c->changes[c->nr++] = (struct ex_change) {
		.value = value,
		.by = by,
		.sure = sure,
		.start = ex->now,
		.end = end,
	};
}

/**
 * ex_oracle_reset - start with a new file
 * @ex: the exploration
 * @size: of the file, in cells
 */
void ex_oracle_reset(struct explore *ex, unsigned int size)
{
	unsigned int i;

	ex->now = 0;
	ex->values = EX_FIRST;
	ex->lo = size;
	ex->hi = size;
	ex->limbo = false;
	ex->errors = false;
	ex->wb_errors = false;
	ex->nr_closing = 0;
	ex->failure[0] = '\0';
	memset(ex->store, 0, sizeof(ex->store));
	memset(ex->store, EX_FIRST, size * EX_CELL);
	for (i = 0; i < EX_CELLS; i++) {
		ex->cells[i].nr = 0;
		ex->cells[i].lost = false;
		ex_add(ex, i, i < size ? EX_FIRST : EX_EOF, 0, true, 0);
	}
}

static bool is_superseded(const struct ex_cell *cell, const struct ex_change *by,
			  u32 before)
{
	unsigned int i;

	for (i = 0; i < cell->nr; i++) {
		const struct ex_change *change = &cell->changes[i];

		if (change->sure && change->start > by->end &&
		    change->end < before)
			return true;
	}

	return false;
}

/* Can a read that began in step @start return this value? */
static bool is_possible(struct explore *ex, unsigned int cell, u16 value,
			u32 start)
{
	const struct ex_cell *c = &ex->cells[cell];
	unsigned int i;

	for (i = 0; i < c->nr; i++)
		if (c->changes[i].value == value &&
		    !is_superseded(c, &c->changes[i], start))
			return true;

	return false;
}

/**
 * ex_expect_possible - expect that a cell may have the value that was seen
 * @ex: the exploration
 * @cell: which
 * @bytes: what was seen
 * @start: step in which the read began
 * @where: what saw it, for the message
 */
void ex_expect_possible(struct explore *ex, unsigned int cell, const u8 *bytes,
			u32 start, const char *where)
{
	if (memchr_inv(bytes, bytes[0], EX_CELL))
		ex_fail(ex, "%s: cell %u is torn", where, cell);
	else if (!is_possible(ex, cell, bytes[0], start))
		ex_fail(ex, "%s: cell %u has %u, which it cannot have since step %u",
			where, cell, bytes[0], start);
}

/**
 * ex_close_windows - a call has returned
 * @caller: whose
 * @value: the value that it has certainly written, or a negative number
 * @to: it has taken effect below this cell; from here on it still may
 */
void ex_close_windows(struct ex_caller *caller, int value, unsigned int to)
{
	struct explore *ex = caller->ex;
	u8 by = caller - ex->callers + 1;
	unsigned int i, j;

	for (i = 0; i < EX_CELLS; i++) {
		for (j = 0; j < ex->cells[i].nr; j++) {
			struct ex_change *change = &ex->cells[i].changes[j];

			if (change->by != by)
				continue;
			change->by = 0;
			change->sure = i < to && change->value == value;
			/* If the call failed, the window is open until ex_settled() */
			if (i < to)
				change->end = ex->now;
		}
	}
}

/**
 * ex_settled - nothing is outstanding: failed calls can no longer take effect
 * @ex: the exploration
 */
void ex_settled(struct explore *ex)
{
	unsigned int i, j;

	ex->limbo = false;
	for (i = 0; i < EX_CELLS; i++)
		for (j = 0; j < ex->cells[i].nr; j++)
			if (ex->cells[i].changes[j].end == EX_OPEN)
				ex->cells[i].changes[j].end = ex->now;
}
