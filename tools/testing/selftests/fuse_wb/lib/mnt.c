// SPDX-License-Identifier: GPL-2.0
/* One FUSE mount with its server and its watchdog, see mnt.h. */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "mnt.h"
#include "proc.h"
#include "wait.h"

#define FUSECTL_DIR	"/sys/fs/fuse/connections"
#define FUSECTL_MAGIC	0x65735543

/* Not in older headers; Linux 6.9 added it. */
#ifndef FUSE_DEV_IOC_BACKING_OPEN
struct fuse_backing_map {
	__s32 fd;
	__u32 flags;
	__u64 padding;
};

#define FUSE_DEV_IOC_BACKING_OPEN _IOW(229, 1, struct fuse_backing_map)
#endif

const char *mnt_missing(void)
{
	if (geteuid())
		return "needs root, to mount";
	if (access("/dev/fuse", F_OK))
		return "needs /dev/fuse, of CONFIG_FUSE_FS";
	return NULL;
}

static int failed(const char *what)
{
	fprintf(stderr, "# %s: %s\n", what, strerror(errno));
	return -1;
}

/* A private mount namespace, with fusectl mounted in it. */
static int enter_namespace(void)
{
	struct statfs st;

	if (unshare(CLONE_NEWNS))
		return failed("unsharing the mount namespace");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return failed("making all mounts private");
	if (statfs(FUSECTL_DIR, &st))
		return failed(FUSECTL_DIR);
	if (st.f_type != FUSECTL_MAGIC &&
	    mount("fusectl", FUSECTL_DIR, "fusectl", 0, NULL))
		return failed("mounting fusectl");
	return 0;
}

/*
 * A FUSE mount may dirty only a small share of memory, below which every
 * write(2) starts writeback or waits for it.  Tests control when writeback
 * starts, also on machines with little memory.
 */
static void lift_dirty_limit(unsigned int minor)
{
	char path[64];

	/* Not in every kernel; with enough memory it makes no difference. */
	snprintf(path, sizeof(path), "/sys/class/bdi/0:%u/strict_limit", minor);
	write_file(path, "0");
	snprintf(path, sizeof(path), "/sys/class/bdi/0:%u/max_ratio", minor);
	write_file(path, "100");
}

static int mount_fuse(struct mnt *m, int dev_fd, bool dirty_limit)
{
	char opts[64], path[64];

	snprintf(opts, sizeof(opts), "fd=%d,rootmode=40000,user_id=0,group_id=0",
		 dev_fd);
	if (mount("fuse_wb", m->dir, "fuse", MS_NOSUID | MS_NODEV, opts))
		return failed("mounting FUSE");
	m->minor = mount_minor(m->dir);
	m->watchdog.note->minor = m->minor;
	if (!m->minor) {
		fprintf(stderr, "# %s is not in mountinfo\n", m->dir);
		return -1;
	}
	if (!dirty_limit)
		lift_dirty_limit(m->minor);

	snprintf(path, sizeof(path), FUSECTL_DIR "/%u/abort", m->minor);
	m->abort_fd = open(path, O_WRONLY | O_CLOEXEC);
	return m->abort_fd < 0 ? failed(path) : 0;
}

static int make_dir(struct mnt *m)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = m->watchdog.note->dir;

	/* Tell the watchdog the name before the directory exists. */
	snprintf(dir, sizeof(m->watchdog.note->dir), "%s/fuse_wb.XXXXXX",
		 tmp ? tmp : "/tmp");
	if (!mkdtemp(dir)) {
		fprintf(stderr, "# cannot make %s: %s; set TMPDIR?\n", dir,
			strerror(errno));
		dir[0] = '\0';
		return -1;
	}
	snprintf(m->dir, sizeof(m->dir), "%s", dir);
	return 0;
}

int mnt_start(struct mnt *m, const struct server_opts *opts)
{
	int dev_fd, ret, seq;

	m->abort_fd = -1;
	m->ctl = -1;
	m->log = reqlog_new();
	if (!m->log)
		return failed("memory for the log");
	if (enter_namespace())
		return -1;
	if (watchdog_start(&m->watchdog, m->test, m->seconds, m->log))
		return failed("starting the watchdog");
	if (make_dir(m))
		return -1;

	dev_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (dev_fd < 0)
		return failed("/dev/fuse");
	m->dev = dev_fd;
	ret = mount_fuse(m, dev_fd, opts->dirty_limit);
	if (!ret) {
		m->server = server_start(opts, dev_fd, m->log, &m->ctl);
		m->watchdog.note->server = m->server > 0 ? m->server : 0;
		if (m->server < 0)
			ret = failed("starting the server");
	}
	/* From here on only the server keeps the connection alive. */
	close(dev_fd);
	if (ret)
		return ret;

	/* The kernel sends nothing else before the reply to INIT. */
	seq = await_req(m, FUSE_INIT, REQ_REPLIED, 1);
	if (!seq)
		return -1;
	errno = m->log->ev[seq - 1].err;
	return errno ? failed("the server's reply to INIT") : 0;
}

/* The server has been killed: any other end is a failure. */
static int reap_server(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return failed("waiting for the server");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return 0;
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	fprintf(stderr, "# the server terminated unexpectedly, status %#x\n", status);
	return -1;
}

int mnt_stop(struct mnt *m)
{
	int ret;

	ret = watchdog_finish(&m->watchdog);
	/* If the watchdog failed, the server may be alive: do not wait for it. */
	if (ret && m->server > 0)
		kill(m->server, SIGKILL);
	if (!ret && m->server > 0)
		ret = reap_server(m->server);
	if (call_end_all(&m->calls))
		ret = -1;
	if (m->ctl >= 0)
		close(m->ctl);
	if (m->abort_fd >= 0)
		close(m->abort_fd);
	/* A thread that has not ended may still print the log. */
	if (!m->calls)
		reqlog_free(m->log);
	m->log = NULL;
	return ret;
}

int mnt_open(struct mnt *m, const char *name, int flags)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", m->dir, name);
	fd = open(path, flags | O_CLOEXEC, 0644);
	return fd < 0 ? failed(path) : fd;
}

int mnt_abort(struct mnt *m)
{
	return write(m->abort_fd, "1", 1) == 1 ? 0 : failed("aborting");
}

int fence(struct mnt *m)
{
	char path[128];
	struct stat st;

	/* A new name each time, so that the kernel has to send a LOOKUP. */
	snprintf(path, sizeof(path), "%s/no-such-%u", m->dir, m->fences++);
	if (!stat(path, &st)) {
		fprintf(stderr, "# %s exists\n", path);
		return -1;
	}
	return errno == ENOENT ? 0 : failed(path);
}

struct call *mnt_call(struct mnt *m, const struct call_op *op,
		      struct call_arg arg)
{
	return call_start(&m->calls, m->log, op, arg);
}

long mnt_run(struct mnt *m, const struct call_op *op, struct call_arg arg)
{
	struct call *c = mnt_call(m, op, arg);

	if (!c)
		return -1;
	if (call_wait_returned(c) != CALL_RETURNED) {
		errno = ETIMEDOUT;
		return -1;
	}
	errno = c->err;
	return c->ret;
}

long mnt_tell(struct mnt *m, const char *path, char *word)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return -1;
	ret = mnt_run(m, &call_write, (struct call_arg){
		.fd = fd, .buf = word, .len = strlen(word) });
	if (ret >= 0 || errno != ETIMEDOUT)
		close(fd);
	return ret;
}

int call_stays_blocked(struct mnt *m, struct call *c)
{
	__u64 deadline = wait_deadline();
	long runs;
	int state;

	do {
		state = call_wait_blocked(c);
		if (state != CALL_BLOCKED)
			return state;
		runs = task_runs(getpid(), c->tid);
		if (fence(m))
			return CALL_LOST;
		state = call_wait_blocked(c);
		if (state != CALL_BLOCKED ||
		    task_runs(getpid(), c->tid) == runs)
			return state;
	} while (now_usec() < deadline);

	return call_lost(c, "to stay blocked");
}

int await_req(struct mnt *m, __u32 opcode, enum req_step step, int nth)
{
	const struct req_match match = { .opcode = opcode };

	return reqlog_wait(m->log, &match, step, nth);
}

int find_req(struct mnt *m, __u32 opcode, enum req_step step, int nth)
{
	const struct req_match match = { .opcode = opcode };

	return reqlog_find(m->log, &match, step, nth);
}

int count_req(struct mnt *m, __u32 opcode, enum req_step step)
{
	const struct req_match match = { .opcode = opcode };

	return reqlog_count(m->log, &match, step);
}

int make_file_old(int fd)
{
	const struct timespec times[2] = { };

	return futimens(fd, times) ? failed("setting a file's times") : 0;
}

int await_tick(void)
{
	__u64 deadline = wait_deadline();
	struct timespec start, now;

	clock_gettime(CLOCK_REALTIME_COARSE, &start);
	do {
		if (now_usec() > deadline)
			return failed("waiting for a tick of the clock");
		sched_yield();
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
	} while (!memcmp(&start, &now, sizeof(now)));
	return 0;
}

int open_dirty_file(struct mnt *m, const char *name)
{
	int fd = mnt_open(m, name, O_RDWR | O_CREAT);

	if (fd < 0 || make_file_old(fd) || write(fd, "x", 1) != 1)
		return -1;
	return fd;
}

int start_writeback(struct mnt *m, int fd)
{
	return mnt_run(m, &call_sync_file_range, (struct call_arg){
		.fd = fd, .flags = SYNC_FILE_RANGE_WRITE });
}

int await_writes(struct mnt *m)
{
	int sent;

	if (fence(m))
		return -1;
	sent = count_req(m, FUSE_WRITE, REQ_ARRIVED);
	return !sent || await_req(m, FUSE_WRITE, REQ_REPLIED, sent) ? 0 : -1;
}

struct call *mnt_call_close(struct mnt *m, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0) {
		failed("copying a descriptor");
		return NULL;
	}
	return mnt_call(m, &call_close, (struct call_arg){ .fd = copy });
}

int mnt_dev(struct mnt *m)
{
	int pidfd, dev, err;

	pidfd = syscall(SYS_pidfd_open, m->server, 0);
	if (pidfd < 0)
		return failed("pidfd_open");
	dev = syscall(SYS_pidfd_getfd, pidfd, m->dev, 0);
	err = errno;
	close(pidfd);
	errno = err;
	return dev < 0 ? failed("pidfd_getfd") : dev;
}

int mnt_backing_open(struct mnt *m, int fd)
{
	struct fuse_backing_map map = { .fd = fd };
	int dev = mnt_dev(m), id, err;

	if (dev < 0)
		return -1;
	id = ioctl(dev, FUSE_DEV_IOC_BACKING_OPEN, &map);
	err = errno;
	close(dev);
	errno = err;
	return id;
}

int mnt_backing_memfd(struct mnt *m)
{
	int id, fd = memfd_create("backing", MFD_CLOEXEC);

	if (fd < 0)
		return failed("memory for a backing file");
	id = mnt_backing_open(m, fd);
	return id > 0 ? id : failed("registering a backing file");
}

int close_copy(struct mnt *m, int fd)
{
	struct call *c = mnt_call_close(m, fd);

	if (!c || call_wait_returned(c) != CALL_RETURNED)
		return -1;
	errno = c->err;
	return c->ret;
}

int server_freeze(struct mnt *m)
{
	__u64 deadline = wait_deadline();
	siginfo_t info = {};

	if (kill(m->server, SIGSTOP))
		return failed("stopping the server");
	/* The server has stopped when each of its threads has. */
	while (!waitid(P_PID, m->server, &info, WSTOPPED | WNOHANG)) {
		if (info.si_pid)
			return 0;
		if (now_usec() >= deadline) {
			fprintf(stderr, "# the server did not stop within %d s\n",
				WAIT_SECONDS);
			process_print(stderr, m->server);
			reqlog_dump(m->log, stderr);
			return -1;
		}
		sched_yield();
	}
	return failed("waiting for the server to stop");
}

int server_thaw(struct mnt *m)
{
	return kill(m->server, SIGCONT) ? failed("thawing the server") : 0;
}

int hold_req(struct mnt *m, __u32 opcode)
{
	const struct req_match match = { .opcode = opcode };

	return server_hold(m->ctl, &match);
}

void fill_pattern(void *buf, size_t len, unsigned int seed)
{
	unsigned char *p = buf;
	size_t i;

	/* As 251 is prime, no two pages of a file are equal. */
	for (i = 0; i < len; i++)
		p[i] = (i + i / 251 + seed * 101) % 251;
}

void soil_free_memory(void)
{
	size_t len = 16 << 20;
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return;
	memset(p, 0xa5, len);
	munmap(p, len);
}

long first_difference(const void *a, const void *b, size_t len)
{
	const unsigned char *p = a, *q = b;
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] != q[i])
			return i;
	return -1;
}
