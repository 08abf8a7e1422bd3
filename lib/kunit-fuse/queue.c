// SPDX-License-Identifier: GPL-2.0-only
/*
 * The path of a request: into the queue, out of it, and to its end. The states
 * and their locks are those of fs/fuse/dev.c, so that fuse_abort_conn() and a
 * killed sender find the request in any state.
 */

#include "server.h"

static const char * const what_names[] = {
	[FUSE_WB_ARRIVED] = "arrived",
	[FUSE_WB_TAKEN] = "taken",
	[FUSE_WB_ANSWERED] = "answered",
	[FUSE_WB_INTERRUPTED] = "interrupted",
	[FUSE_WB_FORGOTTEN] = "forgotten",
};

/**
 * fuse_wb_opcode_name - name an opcode
 * @opcode: the opcode
 *
 * Return: its name, or "request" for other opcodes.
 */
const char *fuse_wb_opcode_name(u32 opcode)
{
	switch (opcode) {
	case FUSE_LOOKUP:	return "LOOKUP";
	case FUSE_FORGET:	return "FORGET";
	case FUSE_GETATTR:	return "GETATTR";
	case FUSE_SETATTR:	return "SETATTR";
	case FUSE_OPEN:		return "OPEN";
	case FUSE_READ:		return "READ";
	case FUSE_WRITE:	return "WRITE";
	case FUSE_STATFS:	return "STATFS";
	case FUSE_RELEASE:	return "RELEASE";
	case FUSE_FSYNC:	return "FSYNC";
	case FUSE_FLUSH:	return "FLUSH";
	case FUSE_SETLK:	return "SETLK";
	case FUSE_INIT:		return "INIT";
	case FUSE_FALLOCATE:	return "FALLOCATE";
	case FUSE_SYNCFS:	return "SYNCFS";
	default:		return "request";
	}
}

static void log_event(struct fuse_wb_server *server, enum fuse_wb_what what,
		      const struct fuse_req *req, int error)
{
	struct fuse_wb_event event = {
		.what = what,
		.error = error,
	};

	if (req) {
		event.opcode = req->in.h.opcode;
		event.unique = req->in.h.unique;
		event.nodeid = req->in.h.nodeid;
		if (event.opcode == FUSE_WRITE) {
			event.offset = fuse_wb_write_in(req)->offset;
			event.size = fuse_wb_write_in(req)->size;
		}
	} else {
		event.opcode = FUSE_FORGET;
	}

	spin_lock(&server->lock);
	if (server->nr_events < FUSE_WB_EVENTS)
		server->events[server->nr_events] = event;
	server->nr_events++;
	spin_unlock(&server->lock);
	wake_up_all(&server->changed);
}

/**
 * fuse_wb_print - print the server's log
 * @server: the server
 */
void fuse_wb_print(struct fuse_wb_server *server)
{
	unsigned int i, nr = min(READ_ONCE(server->nr_events), FUSE_WB_EVENTS);

	kunit_info(server->test, "the server's log, %u events:\n", nr);
	for (i = 0; i < nr; i++) {
		const struct fuse_wb_event *event = &server->events[i];

		kunit_info(server->test,
			   "%3u: %s %llu %s, node %llu, offset %llu, size %u, error %d\n",
			   i, fuse_wb_opcode_name(event->opcode), event->unique,
			   what_names[event->what], event->nodeid,
			   event->offset, event->size, event->error);
	}
}

static void fuse_wb_send_req(struct fuse_iqueue *fiq, struct fuse_req *req)
{
	struct fuse_wb_server *server = fiq->priv;

	req->in.h.unique = fuse_get_unique(fiq);
	spin_lock(&fiq->lock);
	if (!fiq->connected) {
		spin_unlock(&fiq->lock);
		req->out.h.error = -ENOTCONN;
		clear_bit(FR_PENDING, &req->flags);
		fuse_request_end(req);
		return;
	}
	list_add_tail(&req->list, &fiq->pending);
	log_event(server, FUSE_WB_ARRIVED, req, 0);
	spin_unlock(&fiq->lock);
}

static void fuse_wb_send_interrupt(struct fuse_iqueue *fiq,
				   struct fuse_req *req)
{
	log_event(fiq->priv, FUSE_WB_INTERRUPTED, req, 0);
}

static void fuse_wb_send_forget(struct fuse_iqueue *fiq,
				struct fuse_forget_link *forget)
{
	log_event(fiq->priv, FUSE_WB_FORGOTTEN, NULL, 0);
	kfree(forget);
}

const struct fuse_iqueue_ops fuse_wb_iqueue_ops = {
	.send_forget = fuse_wb_send_forget,
	.send_interrupt = fuse_wb_send_interrupt,
	.send_req = fuse_wb_send_req,
};

static struct fuse_req *find_locked(struct fuse_wb_server *server, u64 opcodes,
				    unsigned int nth)
{
	struct fuse_req *req;

	lockdep_assert_held(&server->fc->iq.lock);
	list_for_each_entry(req, &server->fc->iq.pending, list)
		if (opcodes & BIT_ULL(req->in.h.opcode) && !nth--)
			return req;
	return NULL;
}

/**
 * fuse_wb_find - is such a request pending?
 * @server: the server
 * @opcodes: mask of opcodes
 *
 * Return: the first of them, or NULL. Only a caller that holds these opcodes may
 * dereference it.
 */
struct fuse_req *fuse_wb_find(struct fuse_wb_server *server, u64 opcodes)
{
	struct fuse_req *req;

	spin_lock(&server->fc->iq.lock);
	req = find_locked(server, opcodes, 0);
	spin_unlock(&server->fc->iq.lock);

	return req;
}

/* Dequeue a pending request, as in the first half of fuse_dev_do_read(). */
static struct fuse_req *begin_read(struct fuse_wb_server *server, u64 opcodes,
				   unsigned int nth)
{
	struct fuse_iqueue *fiq = &server->fc->iq;
	struct fuse_pqueue *fpq = &server->fud->pq;
	struct fuse_req *req;

	spin_lock(&fiq->lock);
	req = find_locked(server, opcodes, nth);
	if (req) {
		clear_bit(FR_PENDING, &req->flags);
		list_del_init(&req->list);
	}
	spin_unlock(&fiq->lock);
	if (!req)
		return NULL;

	spin_lock(&fpq->lock);
	set_bit(FR_LOCKED, &req->flags);
	if (!fpq->connected)
		set_bit(FR_ABORTED, &req->flags);
	list_add(&req->list, &fpq->io);
	spin_unlock(&fpq->lock);

	return req;
}

/* Return false if the connection was aborted meanwhile, which ended the request. */
static bool end_read(struct fuse_wb_server *server, struct fuse_req *req)
{
	struct fuse_pqueue *fpq = &server->fud->pq;
	bool aborted;

	log_event(server, FUSE_WB_TAKEN, req, 0);

	spin_lock(&fpq->lock);
	spin_lock(&req->waitq.lock);
	clear_bit(FR_LOCKED, &req->flags);
	aborted = test_bit(FR_ABORTED, &req->flags);
	spin_unlock(&req->waitq.lock);
	if (aborted) {
		list_del_init(&req->list);
	} else {
		set_bit(FR_SENT, &req->flags);
		list_move_tail(&req->list, &fpq->processing[0]);
	}
	spin_unlock(&fpq->lock);

	if (aborted) {
		req->out.h.error = -ECONNABORTED;
		fuse_request_end(req);
	}

	return !aborted;
}

/**
 * fuse_wb_take_nth - take one of the pending requests, in any order
 * @server: the server
 * @opcodes: mask of opcodes
 * @nth: which of them, counted from 0
 *
 * Return: the request, now in state FR_SENT until fuse_wb_answer() or
 * fuse_wb_abort() ends it; NULL if fewer were pending.
 */
struct fuse_req *fuse_wb_take_nth(struct fuse_wb_server *server, u64 opcodes,
				  unsigned int nth)
{
	struct fuse_req *req = begin_read(server, opcodes, nth);

	return req && end_read(server, req) ? req : NULL;
}

/**
 * fuse_wb_take_found - take a request if one is pending
 * @server: the server
 * @opcodes: mask of opcodes
 *
 * Return: the first of them, as fuse_wb_take_nth() does.
 */
struct fuse_req *fuse_wb_take_found(struct fuse_wb_server *server, u64 opcodes)
{
	return fuse_wb_take_nth(server, opcodes, 0);
}

/**
 * fuse_wb_take - take a request, and wait for it if necessary
 * @server: the server
 * @opcode: its opcode, which must be held
 *
 * The test fails and is aborted if none arrives before the deadline.
 *
 * Return: the request, as fuse_wb_take_found() does.
 */
struct fuse_req *fuse_wb_take(struct fuse_wb_server *server, u32 opcode)
{
	struct fuse_req *req;

	fuse_wb_await(server, fuse_wb_find(server, BIT_ULL(opcode)));
	req = fuse_wb_take_found(server, BIT_ULL(opcode));
	KUNIT_ASSERT_NOT_NULL(server->test, req);

	return req;
}

/**
 * fuse_wb_read_half - begin to read a pending request
 * @server: the server
 * @opcode: its opcode, which must be held
 *
 * Leaves the request in the state that it has while a server is in the middle of
 * read(2): FR_LOCKED, so that an abort of the connection leaves it to the reader.
 *
 * Return: the request, for fuse_wb_read_rest().
 */
struct fuse_req *fuse_wb_read_half(struct fuse_wb_server *server, u32 opcode)
{
	struct fuse_req *req;

	fuse_wb_await(server, fuse_wb_find(server, BIT_ULL(opcode)));
	req = begin_read(server, BIT_ULL(opcode), 0);
	KUNIT_ASSERT_NOT_NULL(server->test, req);

	return req;
}

/**
 * fuse_wb_read_rest - read the rest of a request
 * @server: the server
 * @req: from fuse_wb_read_half(); it ends here if the connection was aborted
 */
void fuse_wb_read_rest(struct fuse_wb_server *server, struct fuse_req *req)
{
	end_read(server, req);
}

/**
 * fuse_wb_read_rest_of_all - read the rest of all requests that are half read
 * @server: the server, whose connection was aborted
 */
void fuse_wb_read_rest_of_all(struct fuse_wb_server *server)
{
	struct fuse_pqueue *fpq = &server->fud->pq;
	struct fuse_req *req;

	do {
		spin_lock(&fpq->lock);
		req = list_first_entry_or_null(&fpq->io, struct fuse_req, list);
		spin_unlock(&fpq->lock);
		if (req)
			end_read(server, req);
	} while (req);
}

/**
 * fuse_wb_answer_made - reply to a request with what the caller has filled in
 * @server: the server
 * @req: the request, which was taken and must not be touched afterwards
 * @error: 0 if its output arguments are filled in, or as for fuse_wb_answer()
 */
void fuse_wb_answer_made(struct fuse_wb_server *server, struct fuse_req *req,
			 int error)
{
	struct fuse_pqueue *fpq = &server->fud->pq;

	log_event(server, FUSE_WB_ANSWERED, req, error);

	spin_lock(&fpq->lock);
	clear_bit(FR_SENT, &req->flags);
	list_del_init(&req->list);
	spin_unlock(&fpq->lock);

	req->out.h.error = error;
	fuse_request_end(req);
}

/**
 * fuse_wb_answer - reply to a request that was taken
 * @server: the server
 * @req: the request, which must not be touched afterwards
 * @error: 0, or a negative errno; any other value is a malformed reply, which
 *	/dev/fuse would reject and a virtio-fs device may send
 *
 * For an error of 0 the reply is that of a healthy server, from fuse_wb_reply().
 */
void fuse_wb_answer(struct fuse_wb_server *server, struct fuse_req *req,
		    int error)
{
	if (!error)
		error = fuse_wb_reply(server, req);
	fuse_wb_answer_made(server, req, error);
}

/**
 * fuse_wb_answer_read - send a short reply to a READ
 * @server: the server
 * @req: the request, which must not be touched afterwards
 * @size: the number of bytes in the reply
 */
void fuse_wb_answer_read(struct fuse_wb_server *server, struct fuse_req *req,
			 u32 size)
{
	int error = fuse_wb_reply(server, req);

	req->args->out_args[req->args->out_numargs - 1].size = size;
	fuse_wb_answer_made(server, req, error);
}

/**
 * fuse_wb_answer_write - reply to a WRITE with a count chosen by the test
 * @server: the server
 * @req: the request, which must not be touched afterwards
 * @size: the count in the reply, which may be larger than the request
 */
void fuse_wb_answer_write(struct fuse_wb_server *server, struct fuse_req *req,
			  u32 size)
{
	struct fuse_write_out *out = req->args->out_args[0].value;

	out->size = size;
	fuse_wb_answer_made(server, req, 0);
}

/**
 * fuse_wb_count - count events in the log
 * @server: the server
 * @what: the event
 * @opcode: of the requests
 *
 * Return: the number of such events.
 */
unsigned int fuse_wb_count(struct fuse_wb_server *server,
			   enum fuse_wb_what what, u32 opcode)
{
	unsigned int nth = 0;

	while (fuse_wb_index(server, what, opcode, nth) >= 0)
		nth++;

	return nth;
}

/**
 * fuse_wb_index - find an event in the log
 * @server: the server
 * @what: the event
 * @opcode: of the request
 * @nth: which of them, counted from 0
 *
 * Return: the index into the log, which grows with time, or -ENOENT.
 */
int fuse_wb_index(struct fuse_wb_server *server, enum fuse_wb_what what,
		  u32 opcode, unsigned int nth)
{
	unsigned int i;
	int index = -ENOENT;

	spin_lock(&server->lock);
	for (i = 0; i < min(server->nr_events, FUSE_WB_EVENTS); i++) {
		if (server->events[i].what != what ||
		    server->events[i].opcode != opcode || nth--)
			continue;
		index = i;
		break;
	}
	spin_unlock(&server->lock);

	return index;
}

static unsigned int count_folio(struct list_head *requests, struct folio *folio)
{
	struct fuse_req *req;
	unsigned int i, nr = 0;

	list_for_each_entry(req, requests, list) {
		if (req->args->opcode != FUSE_WRITE)
			continue;
		for (i = 0; i < fuse_wb_pages(req)->num_pages; i++)
			nr += fuse_wb_folio(req, i) == folio;
	}

	return nr;
}

/**
 * fuse_wb_live_writes - how many WRITE requests cover a folio now?
 * @server: the server
 * @folio: the folio
 *
 * Counts all requests between fuse_simple_background() and their end. More than
 * one corrupts data: the server may carry them out in any order.
 *
 * Return: their number.
 */
unsigned int fuse_wb_live_writes(struct fuse_wb_server *server,
				 struct folio *folio)
{
	struct fuse_pqueue *fpq = &server->fud->pq;
	struct fuse_conn *fc = server->fc;
	unsigned int nr;

	spin_lock(&fc->bg_lock);
	nr = count_folio(&fc->bg_queue, folio);
	spin_lock(&fc->iq.lock);
	nr += count_folio(&fc->iq.pending, folio);
	spin_unlock(&fc->iq.lock);
	spin_unlock(&fc->bg_lock);

	spin_lock(&fpq->lock);
	nr += count_folio(&fpq->io, folio);
	nr += count_folio(&fpq->processing[0], folio);
	spin_unlock(&fpq->lock);

	return nr;
}
