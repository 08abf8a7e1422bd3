// SPDX-License-Identifier: GPL-2.0
/* A private trace buffer for tests, see trace.h. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proc.h"
#include "trace.h"

#define TRACEFS		"/sys/kernel/tracing"

/* Per CPU; an event takes some 100 bytes. */
#define BUFFER_KB	"8192"

static int failed(const char *what)
{
	fprintf(stderr, "# %s: %s\n", what, strerror(errno));
	return -1;
}

static int write_in(const struct trace *t, const char *name, const char *text)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", t->dir, name);
	return write_file(path, text) ? failed(path) : 0;
}

const char *trace_start(struct trace *t, const char *const *events)
{
	char name[80];

	if (access(TRACEFS, F_OK))
		return "needs tracefs, of CONFIG_FTRACE";
	if (access(TRACEFS "/instances", F_OK) &&
	    mount("tracefs", TRACEFS, "tracefs", 0, NULL)) {
		failed("mounting tracefs");
		return "";
	}
	snprintf(t->dir, sizeof(t->dir), TRACEFS "/instances/fuse_wb.%d",
		 getpid());
	if (mkdir(t->dir, 0700)) {
		failed(t->dir);
		t->dir[0] = '\0';
		return "";
	}
	if (write_in(t, "buffer_size_kb", BUFFER_KB))
		return "";
	for (; *events; events++) {
		snprintf(name, sizeof(name), "events/%s/enable", *events);
		if (write_in(t, name, "1"))
			return "";
	}
	return NULL;
}

/* "  comm-with-dashes-123  [001] .....  12.345678: name: what" */
static bool parse(char *line, struct trace_event *ev)
{
	char *cpu = strstr(line, " ["), *at, *end;

	if (line[0] == '#' || !cpu)
		return false;
	*cpu = '\0';
	at = strrchr(line, '-');
	if (!at)
		return false;
	*at = '\0';
	ev->pid = atoi(at + 1);
	snprintf(ev->comm, sizeof(ev->comm), "%s", line + strspn(line, " "));
	at = strstr(cpu + 1, ": ");
	end = at ? strstr(at + 2, ": ") : NULL;
	if (!end)
		return false;
	*end = '\0';
	snprintf(ev->name, sizeof(ev->name), "%s", at + 2);
	end[strcspn(end + 1, "\n") + 1] = '\0';
	snprintf(ev->what, sizeof(ev->what), "%s", end + 2);
	return true;
}

/* Of "entries-in-buffer/entries-written: 40/52   #P:2" */
static long lost(const char *line)
{
	unsigned long kept, written;
	const char *at = strstr(line, "entries-written: ");

	if (line[0] != '#' || !at || sscanf(at, "%*s %lu/%lu", &kept, &written) != 2)
		return 0;
	return written - kept;
}

int trace_read(struct trace *t,
	       void (*fn)(const struct trace_event *ev, void *arg), void *arg)
{
	struct trace_event ev;
	char path[80], line[512];
	long missing = 0;
	FILE *f;

	if (write_in(t, "tracing_on", "0"))
		return -1;
	snprintf(path, sizeof(path), "%s/trace", t->dir);
	f = fopen(path, "re");
	if (!f)
		return failed(path);
	while (fgets(line, sizeof(line), f)) {
		missing += lost(line);
		if (parse(line, &ev))
			fn(&ev, arg);
	}
	fclose(f);
	if (missing)
		fprintf(stderr, "# %ld events did not fit into the trace\n",
			missing);
	return missing ? -1 : 0;
}

int trace_end(struct trace *t)
{
	if (!t->dir[0])
		return 0;
	if (rmdir(t->dir))
		return failed(t->dir);
	t->dir[0] = '\0';
	return 0;
}

long trace_value(const struct trace_event *ev, const char *key)
{
	size_t len = strlen(key);
	const char *at;

	for (at = strstr(ev->what, key); at; at = strstr(at + 1, key))
		if (at[len] == '=' && (at == ev->what || at[-1] == ' '))
			return atol(at + len + 1);
	return -1;
}
