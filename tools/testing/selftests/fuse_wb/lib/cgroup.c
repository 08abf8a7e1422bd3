// SPDX-License-Identifier: GPL-2.0
/* A memory cgroup, see cgroup.h. */

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cgroup.h"
#include "proc.h"
#include "wait.h"

static int failed(const char *what)
{
	fprintf(stderr, "# %s: %s\n", what, strerror(errno));
	return -1;
}

static int write_in(const char *dir, const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return write_file(path, text);
}

/* Does the unified hierarchy provide the memory controller to its children? */
static bool has_memory(const char *top)
{
	char path[256], text[256] = "";
	FILE *f;

	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", top);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	return strstr(text, "memory");
}

static const char *mount_legacy(const char *top)
{
	__u64 deadline = wait_deadline();

	/* The hierarchy of an earlier test may not be gone yet. */
	while (mount("cgroup", top, "cgroup", 0, "memory")) {
		if (errno == EINVAL || errno == ENODEV)
			return "needs the legacy memory controller, of CONFIG_MEMCG_V1";
		if (now_usec() > deadline)
			return "needs a memory controller that v2 does not use";
		sched_yield();
	}
	return NULL;
}

static const char *mount_unified(const char *top)
{
	if (mount("cgroup2", top, "cgroup2", 0, NULL))
		return "needs cgroup v2, of CONFIG_CGROUPS";
	return has_memory(top) ? NULL :
	       "needs memory in the root's cgroup.subtree_control";
}

const char *memcg_make(struct memcg *cg, const char *where, bool legacy,
		       size_t limit)
{
	const char *file = legacy ? "memory.limit_in_bytes" : "memory.max";
	const char *missing;
	char text[32];

	cg->legacy = legacy;
	snprintf(cg->top, sizeof(cg->top), "%s", where);
	missing = legacy ? mount_legacy(where) : mount_unified(where);
	if (missing)
		return missing;
	snprintf(cg->dir, sizeof(cg->dir), "%s/fuse_wb.%d", where, getpid());
	if (mkdir(cg->dir, 0755)) {
		failed(cg->dir);
		cg->dir[0] = '\0';
		return "";
	}
	snprintf(text, sizeof(text), "%zu", limit);
	if (write_in(cg->dir, file, text)) {
		failed(file);
		return "";
	}
	return NULL;
}

int memcg_make_below(struct memcg *below, const struct memcg *cg)
{
	*below = *cg;
	below->dir[0] = '\0';
	if (!cg->legacy && write_in(cg->dir, "cgroup.subtree_control", "+memory"))
		return failed("cgroup.subtree_control");
	snprintf(below->dir, sizeof(below->dir), "%.100s/below", cg->dir);
	if (!mkdir(below->dir, 0755))
		return 0;
	below->dir[0] = '\0';
	return failed("below");
}

int memcg_remove(struct memcg *cg)
{
	__u64 deadline = wait_deadline();
	char path[256], line[32];
	FILE *f;

	if (!cg->dir[0])
		return 0;
	snprintf(path, sizeof(path), "%s/cgroup.procs", cg->dir);
	/* A task that was just killed may still be there for a moment. */
	do {
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f))
			memcg_leave(cg, atoi(line));
		if (f)
			fclose(f);
		if (!rmdir(cg->dir)) {
			cg->dir[0] = '\0';
			return 0;
		}
		sched_yield();
	} while (errno == EBUSY && now_usec() < deadline);
	return failed(cg->dir);
}

static int move(const char *dir, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	return write_in(dir, "cgroup.procs", text);
}

int memcg_enter(const struct memcg *cg, pid_t pid)
{
	return move(cg->dir, pid);
}

int memcg_leave(const struct memcg *cg, pid_t pid)
{
	return move(cg->top, pid);
}

long memcg_usage(const struct memcg *cg)
{
	long usage = -1;
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", cg->dir, cg->legacy ?
		 "memory.usage_in_bytes" : "memory.current");
	f = fopen(path, "re");
	if (!f)
		return failed(path);
	if (fscanf(f, "%ld", &usage) != 1)
		usage = -1;
	fclose(f);
	return usage;
}

pid_t memcg_run(const struct memcg *cg, int (*fn)(void *arg), void *arg)
{
	pid_t pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);

	if (pid)
		return pid;
	_exit(cg && cg->dir[0] && memcg_enter(cg, 0) ? 127 : fn(arg));
}
