// SPDX-License-Identifier: GPL-2.0-only
/*
 * The server of the explored orders: it has the bytes of one file. Carrying out a
 * request and replying to it are two steps, with other requests possible between.
 */

#include <linux/highmem.h>

#include "explore.h"

/* Only ex_reply() replies to these; the order of other requests does not matter. */
#define HELD	(BIT_ULL(FUSE_READ) | BIT_ULL(FUSE_WRITE) | BIT_ULL(FUSE_SETATTR) | \
		 BIT_ULL(FUSE_FSYNC) | BIT_ULL(FUSE_FLUSH) | BIT_ULL(FUSE_FALLOCATE))

/**
 * ex_hold - hold all requests whose order is explored
 * @ex: the exploration
 */
void ex_hold(struct explore *ex)
{
	u32 opcode;

	for (opcode = 0; opcode < BITS_PER_LONG_LONG; opcode++)
		if (HELD & BIT_ULL(opcode))
			fuse_wb_hold(ex->wb->server, opcode);
}

static unsigned int pending(struct explore *ex)
{
	struct fuse_iqueue *fiq = &ex->wb->server->fc->iq;
	struct fuse_req *req;
	unsigned int nr = 0;

	spin_lock(&fiq->lock);
	list_for_each_entry(req, &fiq->pending, list)
		nr += !!(HELD & BIT_ULL(req->in.h.opcode));
	spin_unlock(&fiq->lock);

	return nr;
}

/**
 * ex_outstanding - how many requests wait for a reply?
 * @ex: the exploration
 *
 * Return: their number. Those that were carried out are counted first.
 */
unsigned int ex_outstanding(struct explore *ex)
{
	return ex->nr_carried + pending(ex);
}

static void copy(struct explore *ex, struct fuse_req *req, loff_t offset,
		 u32 size, bool to_store)
{
	struct fuse_args_pages *ap = fuse_wb_pages(req);
	unsigned int i;

	for (i = 0; i < ap->num_pages; i++) {
		u32 len = min(size, ap->descs[i].length);
		u8 *data = kmap_local_page(ap->pages[i]);
		u8 *bytes = data + ap->descs[i].offset;

		if (to_store)
			memcpy(ex->store + offset, bytes, len);
		else
			memcpy(bytes, ex->store + offset, len);
		if (!to_store && req->args->page_zeroing)
			memset(bytes + len, 0, ap->descs[i].length - len);
		kunmap_local(data);
		offset += len;
		size -= len;
	}
}

static void carry_read(struct explore *ex, struct fuse_req *req)
{
	const struct fuse_read_in *in = req->args->in_args[0].value;
	u64 end = min(ex_attr(ex)->size, in->offset + in->size);
	u32 size = end > in->offset ? end - in->offset : 0;

	copy(ex, req, in->offset, size, false);
	req->args->out_args[req->args->out_numargs - 1].size = size;
}

/* The file grows to @end: new cells are zero until a later WRITE fills them. */
static void grow(struct explore *ex, u64 end)
{
	unsigned int i;

	for (i = ex_attr(ex)->size / EX_CELL; i < min(end / EX_CELL, EX_CELLS); i++)
		ex_add(ex, i, 0, 0, false, ex->now);
}

static void carry_write(struct explore *ex, struct fuse_req *req, u32 size)
{
	const struct fuse_write_in *in = fuse_wb_write_in(req);
	struct fuse_write_out *out = req->args->out_args[0].value;
	struct fuse_attr *attr = ex_attr(ex);

	if (in->offset + in->size > sizeof(ex->store)) {
		ex_fail(ex, "WRITE of %u bytes at %llu, where no call writes",
			in->size, in->offset);
		size = 0;
	}
	copy(ex, req, in->offset, size, true);
	if (size)
		grow(ex, in->offset);
	if (size)
		attr->size = max(attr->size, in->offset + size);
	out->size = size;
}

/* The server's bytes beyond EOF are zero. */
static void clear(struct explore *ex, u64 from, u64 len)
{
	if (from < sizeof(ex->store))
		memset(ex->store + from, 0, min(len, sizeof(ex->store) - from));
}

static void carry_out(struct explore *ex, struct fuse_req *req, bool cut)
{
	const struct fuse_setattr_in *attr = req->args->in_args[0].value;
	const struct fuse_fallocate_in *hole = req->args->in_args[0].value;
	u32 size;

	switch (req->in.h.opcode) {
	case FUSE_READ:
		carry_read(ex, req);
		return;
	case FUSE_WRITE:
		size = fuse_wb_write_in(req)->size;
		carry_write(ex, req, cut ? round_down(size / 2, EX_CELL) : size);
		return;
	case FUSE_SETATTR:
		if (attr->valid & FATTR_SIZE) {
			clear(ex, attr->size, sizeof(ex->store));
			grow(ex, attr->size);
		}
		break;
	case FUSE_FALLOCATE:
		clear(ex, hole->offset, hole->length);
		break;
	case FUSE_FLUSH:
		ex_flushed(ex);
		break;
	}
	fuse_wb_reply(ex->wb->server, req);
}

static void describe(struct explore *ex, const struct fuse_req *req,
		     const char *what)
{
	const void *in = req->args->in_args[0].value;
	u32 op = req->in.h.opcode;
	u64 from = 0, to = 0;

	if (!ex->trace)
		return;
	if (op == FUSE_WRITE) {
		from = fuse_wb_write_in(req)->offset;
		to = from + fuse_wb_write_in(req)->size;
	} else if (op == FUSE_READ) {
		from = ((const struct fuse_read_in *)in)->offset;
		to = from + ((const struct fuse_read_in *)in)->size;
	} else if (op == FUSE_SETATTR) {
		from = ((const struct fuse_setattr_in *)in)->size;
	}
	ex_trace(ex, "%s %s #%llu, cells %llu to %llu", what,
		 fuse_wb_opcode_name(op), req->in.h.unique, from / EX_CELL,
		 to / EX_CELL);
}

/**
 * ex_carry - carry out a request, and do not reply
 * @ex: the exploration
 * @which: index of an outstanding request; no-op if it was carried out before
 */
void ex_carry(struct explore *ex, unsigned int which)
{
	struct fuse_req *req;

	if (which < ex->nr_carried || ex->nr_carried == EX_REQUESTS)
		return;
	req = fuse_wb_take_nth(ex->wb->server, HELD, which - ex->nr_carried);
	if (!req)
		return;
	describe(ex, req, "carry out");
	carry_out(ex, req, false);
	ex->carried[ex->nr_carried++] = req;
}

/* Take one of the requests; @carried says whether it was carried out before. */
static struct fuse_req *take(struct explore *ex, unsigned int which,
			     bool *carried)
{
	struct fuse_req *req;

	*carried = which < ex->nr_carried;
	if (!*carried)
		return fuse_wb_take_nth(ex->wb->server, HELD,
					which - ex->nr_carried);
	req = ex->carried[which];
	ex->nr_carried--;
	memmove(ex->carried + which, ex->carried + which + 1,
		(ex->nr_carried - which) * sizeof(req));

	return req;
}

/**
 * ex_reply - reply to a request
 * @ex: the exploration
 * @which: index of an outstanding request
 * @how: EX_REPLY; EX_FAIL with an error, EX_SHORT with half of a WRITE
 *
 * A request that was carried out gets a successful reply: with an error, no kernel
 * could know that it took effect.
 */
void ex_reply(struct explore *ex, unsigned int which, enum ex_what how)
{
	bool carried, write, cut, error;
	struct fuse_req *req = take(ex, which, &carried);

	if (!req)
		return;
	write = req->in.h.opcode == FUSE_WRITE;
	cut = how == EX_SHORT && write && !carried;
	error = how == EX_FAIL && !carried;
	describe(ex, req, error ? "fail" : cut ? "cut" : "reply to");
	if (error) {
		ex->errors = true;
		if (write)
			ex_write_failed(ex, req, true);
		if (req->in.h.opcode == FUSE_FLUSH)
			ex_flushed(ex);
		fuse_wb_answer_made(ex->wb->server, req, -EIO);
		return;
	}

	if (!carried)
		carry_out(ex, req, cut);
	if (cut) {
		ex->errors = true;
		ex_write_failed(ex, req, false);
	} else if (write) {
		ex_write_done(ex, req);
	}
	fuse_wb_answer_made(ex->wb->server, req, 0);
}
