// SPDX-License-Identifier: GPL-2.0
/* Texts for observations that are the same each time: see observe.h. */

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "observe.h"
#include "proc.h"
#include "wait.h"

#define TEXTS		8
#define TEXT_MAX	2048
#define RUNS_MAX	16
#define OPCODES_MAX	16

/* How many requests must pass on each processor while a task sleeps. */
#define ROUNDS		16

/*
 * Requests that depend on no other: when they have replies, everything sent before is in
 * the log, and so are the replies given.  Unlike fence() they do not need the directory
 * lock, which a call under test may hold; and they may fail, as the mount may be gone.
 */
static void pass_fence(struct obs *o)
{
	struct statfs st;

	statfs(o->m.dir, &st);
}

/*
 * Many of them, on every processor: a task that sleeps only briefly, because a
 * processor is late, will have run meanwhile.
 */
static void pass_fences(struct obs *o)
{
	unsigned int cpu, cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t all;
	int i;

	sched_getaffinity(0, sizeof(all), &all);
	for (i = 0; i < ROUNDS; i++) {
		for (cpu = 0; cpu < cpus; cpu++) {
			run_on_cpu(cpu);
			pass_fence(o);
		}
	}
	sched_setaffinity(0, sizeof(all), &all);
}

/* A buffer for a text, one of a few in turn. */
static char *new_text(void)
{
	static char texts[TEXTS][TEXT_MAX];
	static unsigned int next;
	char *text = texts[next++ % TEXTS];

	text[0] = '\0';
	return text;
}

static __printf(2, 3)
void append(char *text, const char *fmt, ...)
{
	size_t len = strlen(text);
	va_list args;

	va_start(args, fmt);
	vsnprintf(text + len, TEXT_MAX - len, fmt, args);
	va_end(args);
}

const char *result(long ret)
{
	int err = errno;
	char *text = new_text();

	if (ret >= 0)
		append(text, "%ld", ret);
	else if (strerrorname_np(err))
		append(text, "%s", strerrorname_np(err));
	else
		append(text, "errno %d", err);
	return text;
}

const char *run(struct obs *o, const struct call_op *op, struct call_arg arg)
{
	return result(mnt_run(&o->m, op, arg));
}

static const char *call_result(struct call *c)
{
	errno = c->err;
	return result(c->ret);
}

/* Like call_stays_blocked(), with another fence. */
const char *state(struct obs *o, struct call *c)
{
	__u64 deadline = wait_deadline();
	long runs;

	while (now_usec() < deadline) {
		if (call_wait_blocked(c) == CALL_RETURNED)
			return call_result(c);
		runs = task_runs(getpid(), c->tid);
		pass_fences(o);
		if (call_wait_blocked(c) == CALL_BLOCKED &&
		    task_runs(getpid(), c->tid) == runs)
			return "blocked";
	}
	return "neither blocked nor returned";
}

const char *outcome(struct call *c)
{
	if (call_wait_returned(c) != CALL_RETURNED)
		return "has not returned";
	return call_result(c);
}

static void append_run(char *text, unsigned char byte, size_t nr)
{
	append(text, "%s%zu ", text[0] ? ", " : "", nr);
	if (!byte)
		append(text, "zeroes");
	else if (byte > ' ' && byte < 127)
		append(text, "%c", byte);
	else
		append(text, "\\x%02x", byte);
}

const char *bytes(const void *buf, size_t len)
{
	const unsigned char *p = buf;
	char *text = new_text();
	size_t i = 0, run;
	unsigned int sum = 0, runs = 0;

	while (i < len && runs < RUNS_MAX) {
		for (run = 1; i + run < len && p[i + run] == p[i];)
			run++;
		append_run(text, p[i], run);
		i += run;
		runs++;
	}
	if (!len)
		append(text, "nothing");
	if (i == len)
		return text;
	append(text, ", %zu more", len - i);
	for (; i < len; i++)
		sum = sum * 31 + p[i];
	append(text, " with sum %08x", sum);
	return text;
}

const char *server_bytes(struct obs *o, const char *name)
{
	long long size = server_size(o->m.ctl, name);
	const char *text;
	char *buf;

	if (size < 0)
		return "no such file";
	buf = malloc(size + 1);
	NEED(o, buf && !server_get(o->m.ctl, name, 0, buf, size));
	text = bytes(buf, size);
	free(buf);
	return text;
}

const char *read_bytes(int fd, off_t off, size_t len)
{
	char *buf = aligned_alloc(4096, (len + 4096) & ~4095UL);
	const char *text;
	ssize_t got;

	if (!buf)
		return "no memory";
	got = pread(fd, buf, len, off);
	text = got < 0 ? result(got) : bytes(buf, got);
	free(buf);
	return text;
}

const char *read_or_block(struct obs *o, int fd, off_t off, size_t len)
{
	char *buf = aligned_alloc(4096, (len + 4096) & ~4095UL);
	const char *text;
	struct call *c;

	NEED(o, buf);
	c = obs_call(o, &call_pread, (struct call_arg){
		.fd = fd, .buf = buf, .len = len, .off = off });
	text = state(o, c);
	if (!call_returned(c))
		return text;
	if (c->ret >= 0)
		text = bytes(buf, c->ret);
	free(buf);
	return text;
}

static bool has_range(__u32 opcode)
{
	return opcode == FUSE_READ || opcode == FUSE_WRITE ||
	       opcode == FUSE_FALLOCATE;
}

/* The list of opcodes of requests() and exchange(). */
struct opcodes {
	__u32 opcode[OPCODES_MAX];
	int nr;
};

static bool listed(const struct opcodes *list, __u32 opcode)
{
	int i;

	for (i = 0; i < list->nr; i++)
		if (list->opcode[i] == opcode)
			return true;
	return false;
}

static struct opcodes read_opcodes(va_list args)
{
	struct opcodes list = {};
	__u32 opcode;

	while ((opcode = va_arg(args, __u32)) && list.nr < OPCODES_MAX)
		list.opcode[list.nr++] = opcode;
	return list;
}

static void append_request(char *text, const struct req_event *ev, __u64 size)
{
	const struct req *req = &ev->req;

	append(text, "%s%s", text[0] ? ", " : "", req_name(req->opcode));
	if (ev->step == REQ_REPLIED)
		append(text, " replied");
	else if (has_range(req->opcode))
		append(text, " %llu+%llu", req->off, size);
}

/* Is the next entry about adjacent bytes, or another of the same replies? */
static bool continues(const struct req_event *ev, __u64 size,
		      const struct req_event *next)
{
	if (ev->step != next->step || ev->req.opcode != next->req.opcode)
		return false;
	if (ev->step == REQ_REPLIED)
		return true;
	return has_range(ev->req.opcode) && ev->req.node == next->req.node &&
	       next->req.off == ev->req.off + size;
}

static const char *list_requests(struct obs *o, const struct opcodes *list,
				 bool replies)
{
	const struct req_event *ev, *open = NULL;
	char *text = new_text();
	__u64 size = 0;
	__u32 i, nr;

	pass_fence(o);
	nr = word_get(&o->m.log->nr);
	for (i = o->since; i < nr; i++) {
		ev = &o->m.log->ev[i];
		if ((ev->step == REQ_REPLIED && !replies) ||
		    !listed(list, ev->req.opcode))
			continue;
		if (open && continues(open, size, ev)) {
			size += ev->req.size;
			continue;
		}
		if (open)
			append_request(text, open, size);
		open = ev;
		size = ev->req.size;
	}
	if (open)
		append_request(text, open, size);
	return text[0] ? text : "none";
}

const char *requests(struct obs *o, ...)
{
	struct opcodes list;
	va_list args;

	va_start(args, o);
	list = read_opcodes(args);
	va_end(args);
	return list_requests(o, &list, false);
}

const char *exchange(struct obs *o, ...)
{
	struct opcodes list;
	va_list args;

	va_start(args, o);
	list = read_opcodes(args);
	va_end(args);
	return list_requests(o, &list, true);
}

void mark(struct obs *o)
{
	pass_fence(o);
	o->since = word_get(&o->m.log->nr);
}

/* The requests of a kind that arrived: how many, and their bytes. */
static int count(struct obs *o, __u32 opcode, long *size)
{
	const struct req_event *ev;
	int found = 0;
	__u32 i, nr;

	pass_fence(o);
	*size = 0;
	nr = word_get(&o->m.log->nr);
	for (i = o->since; i < nr; i++) {
		ev = &o->m.log->ev[i];
		if (ev->step != REQ_ARRIVED || ev->req.opcode != opcode)
			continue;
		found++;
		*size += ev->req.size;
	}
	return found;
}

long sent(struct obs *o, __u32 opcode)
{
	long size;

	count(o, opcode, &size);
	return size;
}

int arrived(struct obs *o, __u32 opcode)
{
	long size;

	return count(o, opcode, &size);
}

static bool kid_ended(pid_t pid)
{
	siginfo_t info = {};

	return waitid(P_PID, pid, &info, WEXITED | WNOWAIT | WNOHANG) ||
	       info.si_pid == pid;
}

static bool kid_sleeps(pid_t pid)
{
	char c = task_state(pid, pid);

	return c == 'S' || c == 'D';
}

/*
 * It sleeps, and does not run while the server replies to requests that come after all
 * that it may have sent.
 */
static bool kid_stays(struct obs *o, pid_t pid)
{
	long runs = task_runs(pid, pid);

	if (!kid_sleeps(pid))
		return false;
	pass_fences(o);
	return kid_sleeps(pid) && task_runs(pid, pid) == runs;
}

const char *kid_state(struct obs *o, pid_t pid)
{
	__u64 deadline = wait_deadline();

	while (now_usec() < deadline) {
		if (kid_ended(pid))
			return "ended";
		if (kid_stays(o, pid))
			return "sleeps";
		sched_yield();
	}
	return "runs";
}

const char *kill_kid(struct obs *o, pid_t pid)
{
	NEED(o, !kill(pid, SIGKILL));
	if (!strcmp(kid_state(o, pid), "ended"))
		return "SIGKILL ends it";
	return "SIGKILL does not end it";
}

const char *kill_in(struct obs *o, const struct call_op *op,
		    struct call_arg arg)
{
	__u32 *returned = obs_shared(o, sizeof(*returned));
	char *text = new_text();
	const char *seen;
	pid_t pid;

	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (!pid) {
		op->fn(&arg);
		word_set(returned, 1);
		_exit(0);
	}
	obs_add_kid(o, pid);
	seen = kid_state(o, pid);
	if (!word_get(returned))
		append(text, "waits, %s", kill_kid(o, pid));
	else
		append(text, "does not wait%s", strcmp(seen, "ended") ?
		       ", but its exit does" : "");
	return text;
}
