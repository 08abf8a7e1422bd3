// SPDX-License-Identifier: GPL-2.0
/* What the kernel reports under /proc, see proc.h. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proc.h"
#include "wait.h"

/* Fields of /proc/PID/stat by their number in proc(5). */
#define STAT_STATE	3
#define STAT_FLAGS	9
#define STAT_PENDING	31

/* From the kernel's <linux/sched.h>. */
#define PF_EXITING	0x4

void close_all_but(int fd1, int fd2)
{
	int low = fd1 < fd2 ? fd1 : fd2;
	int high = fd1 < fd2 ? fd2 : fd1;

	if (low > 3)
		syscall(SYS_close_range, 3, low - 1, 0);
	if (low < 3)
		low = 2;
	if (high > low + 1)
		syscall(SYS_close_range, low + 1, high - 1, 0);
	syscall(SYS_close_range, (high > low ? high : low) + 1, ~0U, 0);
}

/*
 * Read a small file; at least "" is left in @buf.  Return: its length, or -1
 * with errno set.
 */
static ssize_t read_file(const char *path, char *buf, size_t size)
{
	ssize_t len = -1;
	int fd, err;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = read(fd, buf, size - 1);
		err = errno;
		close(fd);
		errno = err;
	}
	buf[len > 0 ? len : 0] = '\0';
	return len;
}

static ssize_t read_task_file(pid_t pid, pid_t tid, const char *name, char *buf,
			      size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", pid, tid, name);
	return read_file(path, buf, size);
}

bool fault_holds_mmap_lock(void)
{
	char buf[256];

	return read_file("/proc/cpuinfo", buf, sizeof(buf)) > 0 &&
	       strstr(buf, "User Mode Linux");
}

int read_line(const char *path, char *text, size_t size)
{
	FILE *f = fopen(path, "re");

	if (!f || !fgets(text, size, f))
		text[0] = '\0';
	if (f)
		fclose(f);
	return text[0] ? 0 : -1;
}

int write_file(const char *path, const char *text)
{
	ssize_t len;
	int fd, err;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	len = write(fd, text, strlen(text));
	err = errno;
	close(fd);
	errno = err;
	return len == (ssize_t)strlen(text) ? 0 : -1;
}

/*
 * The fields of a thread's stat from the third on, the state: the second is the
 * name, which may contain anything.  NULL if the thread no longer exists.
 */
static char *read_task_stat(pid_t pid, pid_t tid, char *buf, size_t size)
{
	char *p;

	if (read_task_file(pid, tid, "stat", buf, size) <= 0)
		return NULL;
	p = strrchr(buf, ')');
	return p && p[1] ? p + 2 : NULL;
}

char task_state(pid_t pid, pid_t tid)
{
	char buf[512], *stat;

	stat = read_task_stat(pid, tid, buf, sizeof(buf));
	return stat ? *stat : 0;
}

bool task_dying(pid_t pid)
{
	unsigned long flags = 0, pending = 0;
	char buf[512], *field, *save;
	int i = STAT_STATE;

	field = read_task_stat(pid, pid, buf, sizeof(buf));
	if (!field)
		return true;
	for (field = strtok_r(field, " ", &save); field;
	     field = strtok_r(NULL, " ", &save), i++) {
		if (i == STAT_FLAGS)
			flags = strtoul(field, NULL, 10);
		if (i == STAT_PENDING)
			pending = strtoul(field, NULL, 10);
	}
	return flags & PF_EXITING || pending & 1UL << (SIGKILL - 1);
}

static bool blocked_in(pid_t pid, pid_t tid, long nr)
{
	char buf[256], *end, state;
	long seen;

	if (read_task_file(pid, tid, "syscall", buf, sizeof(buf)) > 0) {
		/* The word "running", or a number and the arguments. */
		seen = strtol(buf, &end, 10);
		if (end == buf || seen != nr)
			return false;
	} else if (errno != ENOENT || !task_state(pid, tid)) {
		return false;
	}
	state = task_state(pid, tid);
	return state == 'S' || state == 'D';
}

bool task_blocked_in(pid_t tid, long nr)
{
	return blocked_in(getpid(), tid, nr);
}

bool process_blocked_in(pid_t pid, long nr)
{
	return blocked_in(pid, pid, nr);
}

static void print_lines(FILE *out, const char *what, char *text)
{
	char *line, *save;

	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		fprintf(out, "#     %s%s\n", what, line);
}

void task_print(FILE *out, pid_t pid, pid_t tid)
{
	char buf[4096], state = task_state(pid, tid);

	if (!state) {
		fprintf(out, "#   thread %d no longer exists\n", tid);
		return;
	}
	fprintf(out, "#   thread %d: state %c\n", tid, state);
	read_task_file(pid, tid, "syscall", buf, sizeof(buf));
	print_lines(out, "syscall ", buf);
	read_task_file(pid, tid, "wchan", buf, sizeof(buf));
	print_lines(out, "sleeps in ", buf);
	read_task_file(pid, tid, "stack", buf, sizeof(buf));
	print_lines(out, "", buf);
}

void process_print(FILE *out, pid_t pid)
{
	struct dirent *d;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return;
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.')
			task_print(out, pid, atoi(d->d_name));
	closedir(dir);
}

/* What follows @name in a file of lines as "NAME TEXT", in @line; NULL: no such line. */
static char *text_in(const char *file, const char *name, char *line, int size)
{
	size_t len = strlen(name);
	char *found = NULL;
	FILE *f;

	f = fopen(file, "re");
	while (f && !found && fgets(line, size, f))
		if (!strncmp(line, name, len) &&
		    (line[len] == ' ' || line[len] == '\t'))
			found = line + len;
	if (f)
		fclose(f);
	return found;
}

/* The same as a number; -1: no such line. */
static long number_in(const char *file, const char *name)
{
	char line[256], *text = text_in(file, name, line, sizeof(line));

	return text ? atol(text) : -1;
}

long task_runs(pid_t pid, pid_t tid)
{
	long slept, preempted;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	slept = number_in(path, "voluntary_ctxt_switches:");
	preempted = number_in(path, "nonvoluntary_ctxt_switches:");
	return slept < 0 || preempted < 0 ? -1 : slept + preempted;
}

unsigned long long task_signals(pid_t pid)
{
	char path[64], line[256], *text;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	text = text_in(path, "SigPnd:", line, sizeof(line));
	return text ? strtoull(text, NULL, 16) : -1ULL;
}

long vm_counter(const char *file, const char *name)
{
	/*
	 * Each CPU batches small changes.  Without this file there is one CPU,
	 * and nothing to fold.
	 */
	if (write_file("/proc/sys/vm/stat_refresh", "1") && errno != ENOENT)
		fprintf(stderr, "# folding the per-CPU counters: %s\n",
			strerror(errno));
	return number_in(file, name);
}

long pages_in_writeback(void)
{
	long copies = vm_counter("/proc/vmstat", "nr_writeback_temp");

	return vm_counter("/proc/vmstat", "nr_writeback") +
	       (copies > 0 ? copies : 0);
}

int await_pages_in_writeback(long max)
{
	__u64 deadline = wait_deadline();
	long pages;

	do {
		pages = pages_in_writeback();
		if (pages <= max)
			return 0;
		sched_yield();
	} while (now_usec() < deadline);

	fprintf(stderr, "# timed out (%d s) waiting for the end of writeback of %ld pages\n",
		WAIT_SECONDS, pages - max);
	return -1;
}

long bdi_counter(unsigned int minor, const char *name)
{
	long kb;
	char path[64];

	snprintf(path, sizeof(path), "/sys/kernel/debug/bdi/0:%u/stats", minor);
	kb = vm_counter(path, name);
	return kb < 0 ? -1 : kb * 1024 / sysconf(_SC_PAGESIZE);
}

long bdi_counter_slack(void)
{
	/* The kernel's WB_STAT_BATCH for each CPU. */
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	long batch = 8, n;

	for (n = cpus; n > 1; n /= 2)
		batch += 8;
	return batch * cpus;
}

unsigned int mount_minor(const char *dir)
{
	unsigned int minor, found = 0;
	char line[1024], where[256];
	FILE *f;

	f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return 0;
	/* Of several mounts at one place, the last one is on top. */
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%*d %*d %*u:%u %*s %255s", &minor,
			   where) == 2 && !strcmp(where, dir))
			found = minor;
	fclose(f);
	return found;
}

void run_on_cpu(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % sysconf(_SC_NPROCESSORS_ONLN), &set);
	sched_setaffinity(0, sizeof(set), &set);
}
