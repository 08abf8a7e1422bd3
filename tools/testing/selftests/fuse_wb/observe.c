// SPDX-License-Identifier: GPL-2.0
/*
 * observe [-l] [PATTERN...]: make the observations whose names match one of the globs, or
 * all; !GLOB excludes.  With -l only print their names.
 *
 * Prints lines "area.name[.key]: text" to standard output.  Its own keys are "deadline"
 * for an observation that exceeded its deadline, "broken" for one whose setup failed, and
 * "skipped" for one whose requirements are missing.
 */

#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "observe.h"
#include "wait.h"

/*
 * Give the watchdog time to clean up, and processes that use the mount time to
 * end.
 */
#define LEAVE_SECONDS	20

/* In memory shared with the process of an observation. */
struct obs_text {
	size_t len;
	char text[32 << 10];
};

static struct observation *first;
static struct observation **last = &first;

void observation_add(struct observation *what)
{
	*last = what;
	last = &what->next;
}

static void add_line(struct obs_text *t, const char *name, const char *key,
		     const char *fmt, va_list args)
{
	char text[4096];

	vsnprintf(text, sizeof(text), fmt, args);
	t->len += snprintf(t->text + t->len, sizeof(t->text) - t->len,
			   "%s%s%s: %s\n", name, key ? "." : "",
			   key ? key : "", text);
	if (t->len >= sizeof(t->text))
		t->len = sizeof(t->text) - 1;
}

static __printf(4, 5)
void say(struct obs_text *t, const char *name, const char *key,
	 const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add_line(t, name, key, fmt, args);
	va_end(args);
}

void saw(struct obs *o, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add_line(o->text, o->what->name, NULL, fmt, args);
	va_end(args);
}

void saw_key(struct obs *o, const char *key, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add_line(o->text, o->what->name, key, fmt, args);
	va_end(args);
}

/* Its children die when the connection is aborted, if not before. */
static void finish(struct obs *o)
{
	int i;

	for (i = 0; i < o->nr_kids; i++)
		kill(o->kids[i], SIGKILL);
	if (mnt_stop(&o->m))
		say(o->text, o->what->name, "deadline",
		    "ended by its deadline");
	_exit(0);
}

void lacks(struct obs *o, const char *missing)
{
	saw_key(o, "skipped", "%s", missing);
	finish(o);
}

void need(struct obs *o, bool holds, const char *file, int line,
	  const char *condition)
{
	if (holds)
		return;
	/* A child cannot clean up. */
	if (getpid() != o->pid) {
		saw_key(o, "broken", "%s:%d: %s, in a child", file, line, condition);
		_exit(1);
	}
	saw_key(o, "broken", "%s:%d: %s", file, line, condition);
	fprintf(stderr, "# %s: %s:%d: %s\n", o->what->name, file, line,
		condition);
	if (o->m.log)
		reqlog_dump(o->m.log, stderr);
	finish(o);
}

static void make(const struct observation *what, struct obs_text *text)
{
	struct obs *o = calloc(1, sizeof(*o));

	if (!o)
		_exit(1);
	o->what = what;
	o->text = text;
	o->pid = getpid();
	if (mnt_missing()) {
		saw_key(o, "skipped", "%s", mnt_missing());
		_exit(0);
	}
	snprintf(o->m.test, sizeof(o->m.test), "%s", what->name);
	o->m.seconds = OBSERVE_SECONDS;
	NEED(o, !mnt_start(&o->m, &what->opts));
	mark(o);
	what->fn(o);
	finish(o);
}

/* Wait for an observation's process to end; leave it if it does not. */
static void await_end(const struct observation *what, struct obs_text *text,
		      pid_t pid)
{
	struct pollfd p = { .events = POLLIN };
	int status = 0;

	p.fd = syscall(SYS_pidfd_open, pid, 0);
	if (p.fd < 0 || poll(&p, 1, (OBSERVE_SECONDS + LEAVE_SECONDS) * 1000) != 1)
		say(text, what->name, "deadline", "did not end");
	else if (waitpid(pid, &status, 0) != pid || status)
		say(text, what->name, "broken", "ended with wait status %#x",
		    status);
	if (p.fd >= 0)
		close(p.fd);
}

static int observe(const struct observation *what)
{
	struct obs_text *text;
	int failed;
	pid_t pid;

	text = mmap(NULL, sizeof(*text), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (text == MAP_FAILED)
		return -1;
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return -1;
	if (!pid) {
		/* Only this process may write there. */
		dup2(STDERR_FILENO, STDOUT_FILENO);
		make(what, text);
	}
	await_end(what, text, pid);
	if (!text->len)
		say(text, what->name, "broken", "saw nothing");
	failed = fwrite(text->text, 1, text->len, stdout) != text->len;
	failed |= fflush(stdout);
	/* Not unmapped: a process that was left may still write there. */
	return failed ? -1 : 0;
}

/* The observation is named, or only exclusions are given. */
static bool chosen(const struct observation *what, char **globs)
{
	bool some = false, named = false;

	for (; *globs; globs++) {
		if (**globs == '!') {
			if (!fnmatch(*globs + 1, what->name, 0))
				return false;
			continue;
		}
		some = true;
		named |= !fnmatch(*globs, what->name, 0);
	}
	return named || !some;
}

int main(int argc, char **argv)
{
	const struct observation *what;
	bool list = argc > 1 && !strcmp(argv[1], "-l");
	int nr = 0;

	argv += list ? 2 : 1;
	for (what = first; what; what = what->next) {
		if (!chosen(what, argv))
			continue;
		nr++;
		if (list) {
			puts(what->name);
		} else if (observe(what)) {
			perror(what->name);
			return 1;
		}
	}
	if (!nr)
		fprintf(stderr, "no observation has such a name\n");
	return nr ? 0 : 2;
}
