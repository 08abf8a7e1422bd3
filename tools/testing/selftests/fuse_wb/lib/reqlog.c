// SPDX-License-Identifier: GPL-2.0
/* The ordered log of requests and replies, see reqlog.h. */

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "reqlog.h"
#include "wait.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static const char * const opcode_names[] = {
	[FUSE_LOOKUP]		= "LOOKUP",
	[FUSE_FORGET]		= "FORGET",
	[FUSE_GETATTR]		= "GETATTR",
	[FUSE_SETATTR]		= "SETATTR",
	[FUSE_READLINK]		= "READLINK",
	[FUSE_UNLINK]		= "UNLINK",
	[FUSE_RENAME]		= "RENAME",
	[FUSE_LINK]		= "LINK",
	[FUSE_OPEN]		= "OPEN",
	[FUSE_READ]		= "READ",
	[FUSE_WRITE]		= "WRITE",
	[FUSE_STATFS]		= "STATFS",
	[FUSE_RELEASE]		= "RELEASE",
	[FUSE_FSYNC]		= "FSYNC",
	[FUSE_GETXATTR]		= "GETXATTR",
	[FUSE_FLUSH]		= "FLUSH",
	[FUSE_INIT]		= "INIT",
	[FUSE_OPENDIR]		= "OPENDIR",
	[FUSE_READDIR]		= "READDIR",
	[FUSE_RELEASEDIR]	= "RELEASEDIR",
	[FUSE_FSYNCDIR]		= "FSYNCDIR",
	[FUSE_GETLK]		= "GETLK",
	[FUSE_SETLK]		= "SETLK",
	[FUSE_SETLKW]		= "SETLKW",
	[FUSE_ACCESS]		= "ACCESS",
	[FUSE_CREATE]		= "CREATE",
	[FUSE_INTERRUPT]	= "INTERRUPT",
	[FUSE_DESTROY]		= "DESTROY",
	[FUSE_IOCTL]		= "IOCTL",
	[FUSE_POLL]		= "POLL",
	[FUSE_NOTIFY_REPLY]	= "NOTIFY_REPLY",
	[FUSE_BATCH_FORGET]	= "BATCH_FORGET",
	[FUSE_FALLOCATE]	= "FALLOCATE",
	[FUSE_READDIRPLUS]	= "READDIRPLUS",
	[FUSE_LSEEK]		= "LSEEK",
	[FUSE_COPY_FILE_RANGE]	= "COPY_FILE_RANGE",
	[FUSE_SYNCFS]		= "SYNCFS",
};

/* Valid until the next call. */
const char *req_name(__u32 opcode)
{
	static char number[24];

	if (opcode < ARRAY_SIZE(opcode_names) && opcode_names[opcode])
		return opcode_names[opcode];
	if (!opcode)
		return "any";
	if (opcode == REQ_RAW)
		return "RAW";
	if (opcode >= REQ_NOTIFY)
		return "NOTIFY";
	snprintf(number, sizeof(number), "opcode %u", opcode);
	return number;
}

struct reqlog *reqlog_new(void)
{
	struct reqlog *log;

	log = mmap(NULL, sizeof(*log), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (log == MAP_FAILED)
		return NULL;
	log->start = now_usec();
	return log;
}

void reqlog_free(struct reqlog *log)
{
	if (log)
		munmap(log, sizeof(*log));
}

void reqlog_add(struct reqlog *log, const struct req_event *ev)
{
	__u32 nr = log->nr;

	if (nr == REQLOG_MAX) {
		log->lost++;
		return;
	}
	log->ev[nr] = *ev;
	log->ev[nr].usec = now_usec() - log->start;
	word_set(&log->nr, nr + 1);
}

int req_matches(const struct req_match *m, const struct req *req)
{
	__u64 end = req->off + (req->size ? req->size : 1);

	return (!m->opcode || m->opcode == req->opcode) &&
	       (!m->node || m->node == req->node) &&
	       (req->off >= m->start || end > m->start) &&
	       (!m->end || req->off < m->end);
}

/* Does the request of entry @i have a reply before entry @end? */
static bool answered_before(struct reqlog *log, __u32 i, __u32 end)
{
	__u64 unique = log->ev[i].req.unique;

	while (++i < end)
		if (log->ev[i].step == REQ_REPLIED &&
		    log->ev[i].req.unique == unique)
			return true;
	return false;
}

/* Does the request of entry @i have a reply, or is it of a kind without one? */
static bool answered(struct reqlog *log, __u32 nr, __u32 i)
{
	const struct req *req = &log->ev[i].req;

	switch (req->opcode) {
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return true;
	}
	return answered_before(log, i, nr);
}

static void print_event(struct reqlog *log, __u32 nr, __u32 i, FILE *out)
{
	const struct req_event *ev = &log->ev[i];
	const struct req *req = &ev->req;

	fprintf(out, "#   %4u %5llu.%03llu ms  %s %-9s #%-4llu node %llu",
		i + 1, ev->usec / 1000, ev->usec % 1000,
		ev->step == REQ_ARRIVED ? "arrived" : "replied",
		req_name(req->opcode), req->unique, req->node);
	switch (req->opcode) {
	case FUSE_READ:
	case FUSE_WRITE:
	case FUSE_FALLOCATE:
	case FUSE_COPY_FILE_RANGE:
		fprintf(out, " bytes %llu to %llu", req->off,
			req->off + req->size);
	}
	if (req->fh)
		fprintf(out, " fh %llu", req->fh);
	if (req->flags)
		fprintf(out, " flags %#x", req->flags);
	if (ev->step == REQ_ARRIVED) {
		if (!answered(log, nr, i))
			fprintf(out, "  (no reply)");
	} else {
		fprintf(out, "  %s", ev->err ? strerror(ev->err) : "ok");
		if (ev->refused)
			fprintf(out, ", refused by the kernel: %s",
				strerror(ev->refused));
	}
	fputc('\n', out);
}

/**
 * reqlog_dump() - print the whole log, one entry per line, as TAP diagnostics
 * @log: the log
 * @out: where to
 *
 * A log that has not grown since it was last printed is not printed again.
 */
void reqlog_dump(struct reqlog *log, FILE *out)
{
	__u32 nr = word_get(&log->nr);
	char *text = NULL;
	size_t size = 0;
	FILE *mem;
	__u32 i;

	if (nr && nr == log->dumped) {
		fprintf(out, "# the server's log: the same %u entries\n", nr);
		return;
	}
	/* Written in one piece: the watchdog may print simultaneously. */
	mem = open_memstream(&text, &size);
	if (!mem)
		return;
	log->dumped = nr;
	fprintf(mem, "# the server's log, %u entries:\n", nr);
	for (i = 0; i < nr; i++)
		print_event(log, nr, i, mem);
	if (log->lost)
		fprintf(mem, "# the log is full: %u entries were lost\n",
			log->lost);
	fclose(mem);
	fwrite(text, 1, size, out);
	free(text);
}

int reqlog_find(struct reqlog *log, const struct req_match *m,
		enum req_step step, int nth)
{
	__u32 nr = word_get(&log->nr);
	__u32 i;

	for (i = 0; i < nr; i++)
		if (log->ev[i].step == step &&
		    req_matches(m, &log->ev[i].req) && !--nth)
			return i + 1;
	return 0;
}

int reqlog_count(struct reqlog *log, const struct req_match *m,
		 enum req_step step)
{
	__u32 nr = word_get(&log->nr);
	int count = 0;
	__u32 i;

	for (i = 0; i < nr; i++)
		count += log->ev[i].step == step &&
			 req_matches(m, &log->ev[i].req);
	return count;
}

long reqlog_bytes(struct reqlog *log, const struct req_match *m,
		  enum req_step step)
{
	__u32 nr = word_get(&log->nr);
	long bytes = 0;
	__u32 i;

	for (i = 0; i < nr; i++)
		if (log->ev[i].step == step && req_matches(m, &log->ev[i].req))
			bytes += log->ev[i].req.size;
	return bytes;
}

int reqlog_open_flags(struct reqlog *log, __u64 fh)
{
	__u32 nr = word_get(&log->nr);
	__u32 i;

	for (i = 0; i < nr; i++)
		if (log->ev[i].step == REQ_REPLIED &&
		    (log->ev[i].req.opcode == FUSE_OPEN ||
		     log->ev[i].req.opcode == FUSE_CREATE) &&
		    log->ev[i].req.fh == fh)
			return log->ev[i].req.flags;
	return -1;
}

static bool same_page(const struct req *a, const struct req *b, __u64 page)
{
	return a->node == b->node && a->size && b->size &&
	       a->off / page <= (b->off + b->size - 1) / page &&
	       b->off / page <= (a->off + a->size - 1) / page;
}

int reqlog_overlap(struct reqlog *log, __u64 page)
{
	__u32 nr = word_get(&log->nr);
	__u32 i, j;

	for (i = 0; i < nr; i++) {
		const struct req *req = &log->ev[i].req;

		if (log->ev[i].step != REQ_ARRIVED || req->opcode != FUSE_WRITE)
			continue;
		for (j = 0; j < i; j++)
			if (log->ev[j].step == REQ_ARRIVED &&
			    log->ev[j].req.opcode == FUSE_WRITE &&
			    same_page(req, &log->ev[j].req, page) &&
			    !answered_before(log, j, i))
				return i + 1;
	}
	return 0;
}

static void print_awaited(struct reqlog *log, const struct req_match *m,
			  enum req_step step, const char *what, long n)
{
	fprintf(stderr, "# timed out (%d s) waiting for %s %s, %s %ld",
		WAIT_SECONDS, req_name(m->opcode),
		step == REQ_ARRIVED ? "arrived" : "replied", what, n);
	if (m->node)
		fprintf(stderr, ", of node %llu", m->node);
	if (m->start || m->end)
		fprintf(stderr, ", touching bytes %llu to %llu", m->start,
			m->end);
	fputc('\n', stderr);
	reqlog_dump(log, stderr);
}

int reqlog_wait(struct reqlog *log, const struct req_match *m,
		enum req_step step, int nth)
{
	__u64 deadline = wait_deadline();
	int seq;
	__u32 nr;

	do {
		nr = word_get(&log->nr);
		seq = reqlog_find(log, m, step, nth);
		if (seq)
			return seq;
	} while (word_sleep(&log->nr, nr, deadline));

	print_awaited(log, m, step, "number", nth);
	return 0;
}

int reqlog_wait_bytes(struct reqlog *log, const struct req_match *m,
		      enum req_step step, long bytes)
{
	__u64 deadline = wait_deadline();
	__u32 nr;

	do {
		nr = word_get(&log->nr);
		if (reqlog_bytes(log, m, step) >= bytes)
			return 0;
	} while (word_sleep(&log->nr, nr, deadline));

	print_awaited(log, m, step, "bytes in all", bytes);
	return -1;
}
