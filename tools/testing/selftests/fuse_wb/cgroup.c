// SPDX-License-Identifier: GPL-2.0
/* A memory cgroup, see cgroup.h. */

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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

/* Once: mount the hierarchy, with the memory controller in it. */
static int get_controller(struct memcg *cg)
{
	if (cg->legacy)
		return mount("cgroup", cg->top, "cgroup", 0, "memory");
	if (mount("cgroup2", cg->top, "cgroup2", 0, NULL))
		return -1;
	if (!write_in(cg->top, "cgroup.subtree_control", "+memory"))
		return 0;
	umount(cg->top);
	return -1;
}

const char *memcg_make(struct memcg *cg, const char *where, bool legacy,
		       size_t limit)
{
	const char *file = legacy ? "memory.limit_in_bytes" : "memory.max";
	__u64 deadline = wait_deadline();
	char text[32];

	cg->legacy = legacy;
	snprintf(cg->top, sizeof(cg->top), "%s", where);
	while (get_controller(cg)) {
		if (errno == ENODEV || errno == EPERM)
			return "needs cgroups, of CONFIG_CGROUPS";
		if (legacy && errno == EINVAL)
			return "needs the legacy memory controller, of CONFIG_MEMCG_V1";
		if (now_usec() > deadline)
			return "needs a memory controller that is not in use elsewhere";
		sched_yield();
	}
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

/* Move every process out and remove the directory. */
static int empty_and_remove(const struct memcg *cg)
{
	__u64 deadline = wait_deadline();
	char path[256], line[32];
	FILE *f;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cg->dir);
	/* Who has just been killed may still be there for a moment. */
	do {
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f))
			memcg_leave(cg, atoi(line));
		if (f)
			fclose(f);
		if (!rmdir(cg->dir))
			return 0;
		sched_yield();
	} while (errno == EBUSY && now_usec() < deadline);
	return failed(cg->dir);
}

/* Be charged for some pages on a CPU. */
static int use_cpu(void *arg)
{
	const int *cpu = arg;
	cpu_set_t set;
	char *p;

	CPU_ZERO(&set);
	CPU_SET(*cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		return 1;
	p = mmap(NULL, 32 << 10, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return 2;
	memset(p, 1, 32 << 10);
	return 0;
}

/*
 * Each CPU remembers the cgroup that it charged last, and a removed one lives on
 * with that.  Give each another one to remember, which has been charged for a
 * few pages ahead: then its own removal makes the CPU forget it.
 */
static int displace(const struct memcg *cg)
{
	struct memcg other = *cg;
	int cpu, status;
	pid_t pid;

	snprintf(other.dir, sizeof(other.dir), "%s/fuse_wb.last", cg->top);
	if (mkdir(other.dir, 0755))
		return failed(other.dir);
	for (cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		pid = memcg_run(&other, use_cpu, &cpu);
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			fprintf(stderr, "# using CPU %d failed\n", cpu);
	}
	return empty_and_remove(&other);
}

int memcg_remove(struct memcg *cg)
{
	int ret;

	if (!cg->dir[0])
		return 0;
	/* It lives on with the pages that are charged to it, too. */
	if (write_file("/proc/sys/vm/drop_caches", "3"))
		failed("dropping caches");
	ret = empty_and_remove(cg);
	if (displace(cg))
		ret = -1;
	cg->dir[0] = '\0';
	if (!cg->legacy)
		write_in(cg->top, "cgroup.subtree_control", "-memory");
	return ret;
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
	_exit(memcg_enter(cg, 0) ? 127 : fn(arg));
}
