// SPDX-License-Identifier: GPL-2.0
/* More dirty pages than there is memory for, see pressure.h. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "control.h"
#include "pressure.h"
#include "proc.h"
#include "wait.h"

#define VM		"/proc/sys/vm/"
#define MIB		(1024 * 1024UL)

/* Skip larger machines, where other users may need the memory. */
#define MACHINE_MAX_MIB	8192

static int failed(const char *what)
{
	fprintf(stderr, "# %s: %s\n", what, strerror(errno));
	return -1;
}

/* Bytes that differ between pages. */
static void stamp(char *buf, size_t page, __u64 index)
{
	memset(buf, 1 + index % 251, page);
	memcpy(buf, &index, sizeof(index));
}

int dirty_file(void *dirtier)
{
	const struct dirtier *d = dirtier;
	size_t page = sysconf(_SC_PAGESIZE);
	char *map = NULL, *buf = malloc(page);
	__u64 i, at, pages = d->size / page;

	/* Make the OOM killer prefer this process, not the test runner. */
	write_file("/proc/self/oom_score_adj", "1000");
	if (d->store)
		map = mmap(NULL, d->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   d->fd, 0);
	if (!buf || map == MAP_FAILED)
		return 1;
	for (i = 0; i < pages; i++) {
		at = (i | (DIRTY_RUN - 1)) - i % DIRTY_RUN;
		stamp(map ? map + at * page : buf, page, at);
		if (!map && pwrite(d->fd, buf, page, at * page) != (ssize_t)page)
			return 2;
	}
	free(buf);
	return 0;
}

long run_while_served(struct mnt *m, const struct call_op *op,
		      struct call_arg arg)
{
	struct call *c = mnt_call(m, op, arg);
	__u32 nr;

	if (!c)
		return -1;
	do {
		nr = word_get(&m->log->nr);
		if (word_sleep(&c->returned, 0, wait_deadline())) {
			errno = c->err;
			return c->ret;
		}
	} while (word_get(&m->log->nr) != nr);
	fprintf(stderr, "# the server was idle for %d s, and %s has not returned\n",
		WAIT_SECONDS, op->name);
	task_print(stderr, getpid(), c->tid);
	errno = ETIMEDOUT;
	return -1;
}

int check_dirty_file(struct mnt *m, const char *name, size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE), off, at;
	char *want = malloc(CTL_DATA_MAX), *got = malloc(CTL_DATA_MAX);
	int ret = want && got ? 0 : failed("memory for the comparison");

	for (off = 0; !ret && off < size; off += CTL_DATA_MAX) {
		for (at = 0; at < CTL_DATA_MAX; at += page)
			stamp(want + at, page, (off + at) / page);
		ret = server_get(m->ctl, name, off, got, CTL_DATA_MAX);
		if (!ret && memcmp(want, got, CTL_DATA_MAX)) {
			fprintf(stderr, "# %s differs near byte %zu\n", name, off);
			ret = -1;
		}
	}
	free(want);
	free(got);
	return ret;
}

const char *writers_trace(struct trace *t)
{
	static const char *const events[] = {
		"writeback/wbc_writepage",
		"writeback/writeback_start",
		"writeback/writeback_single_inode_start",
		"vmscan/mm_vmscan_write_folio",
		NULL
	};

	return trace_start(t, events);
}

static bool is_flusher(const struct writers *w, pid_t pid)
{
	int i;

	for (i = 0; i < w->nr_flushers; i++)
		if (w->flushers[i] == pid)
			return true;
	return false;
}

static void count_event(const struct trace_event *ev, void *arg)
{
	struct writers *w = arg;

	if (!strcmp(ev->name, "mm_vmscan_write_folio")) {
		if (strstr(ev->what, "RECLAIM_WB_FILE"))
			w->pageout_file++;
		else
			w->pageout_swap++;
		return;
	}
	if (strncmp(ev->what, w->bdi, strlen(w->bdi)))
		return;
	if (!strcmp(ev->name, "writeback_start")) {
		if (!is_flusher(w, ev->pid) && w->nr_flushers < FLUSHERS_MAX &&
		    !strncmp(ev->comm, "kworker/", 8))
			w->flushers[w->nr_flushers++] = ev->pid;
		w->woken += !!strstr(ev->what, "reason=vmscan");
	} else if (!strcmp(ev->name, "writeback_single_inode_start")) {
		w->passes++;
	} else if (trace_value(ev, "reclm")) {
		w->others++;
	} else if (is_flusher(w, ev->pid)) {
		w->flusher++;
	} else if (trace_value(ev, "mode") == 1 ||
		   strstr(ev->what, "end=0x7fffffffffffffff")) {
		w->sync++;
	} else {
		if (!w->others++)
			fprintf(stderr, "# a page was written by %s: %s\n",
				ev->comm, ev->what);
	}
}

int writers_count(struct writers *w, struct trace *t, const struct mnt *m)
{
	memset(w, 0, sizeof(*w));
	snprintf(w->bdi, sizeof(w->bdi), "bdi 0:%u:", m->minor);
	return trace_read(t, count_event, w);
}

void shapes_count(struct shapes *s, struct reqlog *log, __u32 begun)
{
	__u64 page = sysconf(_SC_PAGESIZE), begin = 0, end = 0;
	const struct req_event *ev;
	bool single;
	__u32 i;

	memset(s, 0, sizeof(*s));
	for (i = 0; i < log->nr; i++) {
		ev = &log->ev[i];
		if (ev->req.opcode != FUSE_WRITE || ev->step != REQ_ARRIVED)
			continue;
		single = ev->req.size <= page;
		s->nr++;
		s->single += single;
		s->again += single && ev->req.off >= begin && ev->req.off < end;
		s->back += i < begun && ev->req.off < end;
		s->pages += (ev->req.size + page - 1) / page;
		begin = ev->req.off;
		end = begin + ev->req.size;
	}
}

const char *hog_start(struct hog *hog, size_t leave)
{
	const size_t step = 8 * MIB;
	off_t done = 0;

	hog->fd = -1;
	if (vm_counter("/proc/meminfo", "MemTotal:") / 1024 > MACHINE_MAX_MIB)
		return "needs a machine of 8 GiB at most, as the test uses up its memory";
	if (read_line(VM "dirty_ratio", hog->ratio[0], 16) ||
	    read_line(VM "dirty_background_ratio", hog->ratio[1], 16)) {
		failed(VM "dirty_ratio");
		return "";
	}
	hog->fd = memfd_create("hog", MFD_CLOEXEC);
	if (hog->fd < 0) {
		failed("memfd_create");
		return "";
	}
	/*
	 * No limit throttles the writer or wakes the flusher: reclaim has to.
	 */
	if (write_file(VM "dirty_background_bytes", "1073741824") ||
	    write_file(VM "dirty_bytes", "2147483648")) {
		failed(VM "dirty_bytes");
		return "";
	}
	while (vm_counter("/proc/meminfo", "MemAvailable:") * 1024UL >
	       leave + step) {
		if (fallocate(hog->fd, 0, done, step)) {
			failed("using up memory");
			return "";
		}
		done += step;
	}
	return NULL;
}

int hog_end(struct hog *hog)
{
	if (hog->fd < 0)
		return 0;
	close(hog->fd);
	hog->fd = -1;
	if (write_file(VM "dirty_ratio", hog->ratio[0]) ||
	    write_file(VM "dirty_background_ratio", hog->ratio[1]))
		return failed(VM "dirty_ratio");
	return 0;
}

void counters_read(struct counters *c)
{
	c->usec = now_usec();
	c->oom_kills = vm_counter("/proc/vmstat", "oom_kill");
	c->vmscan_write = vm_counter("/proc/vmstat", "nr_vmscan_write");
	c->scan = vm_counter("/proc/vmstat", "pgscan_file");
	c->steal = vm_counter("/proc/vmstat", "pgsteal_file");
}

void counters_since(struct counters *c, const struct counters *before)
{
	counters_read(c);
	c->usec -= before->usec;
	c->oom_kills -= before->oom_kills;
	c->vmscan_write -= before->vmscan_write;
	c->scan -= before->scan;
	c->steal -= before->steal;
}
