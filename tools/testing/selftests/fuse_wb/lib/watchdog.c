// SPDX-License-Identifier: GPL-2.0
/* A process that cleans up after one test, see watchdog.h. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "watchdog.h"
#include "proc.h"
#include "reqlog.h"
#include "wait.h"

/* How often the watchdog checks whether the test is still alive. */
#define WATCHDOG_POLL_MSEC	250

enum cause {
	ASKED,
	TEST_GONE,
	DEADLINE,
};

enum watchdog_status {
	WATCHDOG_CLEAN,
	WATCHDOG_ACTED_ALONE,
	WATCHDOG_FAILED,
};

int abort_connection(unsigned int minor)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort",
		 minor);
	return write_file(path, "1");
}

/* Sleep until there is a reason to clean up. */
static enum cause wait_for_cause(int fd, pid_t test, unsigned int seconds)
{
	__u64 deadline = now_usec() + seconds * 1000000ULL;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c;

	/*
	 * Poll for the death of the test, as no event tells: all of them, EOF
	 * on this socket included, come after its descriptors have been closed,
	 * and that may wait for the server.
	 */
	while (poll(&p, 1, WATCHDOG_POLL_MSEC) != 1) {
		if (now_usec() >= deadline)
			return DEADLINE;
		if (task_dying(test))
			return TEST_GONE;
	}
	return read(fd, &c, 1) == 1 ? ASKED : TEST_GONE;
}

/* Return: whether all is clean; leftovers are printed to @out. */
static bool clean_up(const struct watchdog_note *note, FILE *out)
{
	unsigned int minor = note->minor;
	bool clean = true;

	if (!note->dir[0])
		return true;
	if (!minor)
		minor = mount_minor(note->dir);

	/*
	 * Abort first: no task that sleeps in the connection can be killed, not
	 * even the server.  ENOENT: the connection has ended already.
	 */
	if (minor && abort_connection(minor) && errno != ENOENT) {
		fprintf(out, "# cannot abort connection %u: %s\n", minor,
			strerror(errno));
		clean = false;
	}
	if (note->server && kill(note->server, SIGKILL) && errno != ESRCH) {
		fprintf(out, "# cannot kill the server %d: %s\n", note->server,
			strerror(errno));
		clean = false;
	}
	if (minor && umount2(note->dir, MNT_DETACH) && errno != EINVAL) {
		fprintf(out, "# cannot unmount %s: %s\n", note->dir,
			strerror(errno));
		clean = false;
	}
	if (rmdir(note->dir) && errno != ENOENT) {
		fprintf(out, "# cannot remove %s: %s\n", note->dir,
			strerror(errno));
		clean = false;
	}
	return clean;
}

static int watchdog_run(int fd, pid_t test, const struct watchdog_note *note,
			struct reqlog *log)
{
	enum cause cause = wait_for_cause(fd, test, note->seconds);
	char *text = NULL;
	size_t size = 0;
	bool clean;
	FILE *out;

	/* Print last: the reader of stderr may be stuck, or gone. */
	out = open_memstream(&text, &size);
	if (!out)
		out = stderr;
	if (cause == TEST_GONE)
		fprintf(out, "# watchdog: %s exited without cleaning up\n",
			note->test);
	if (cause == DEADLINE) {
		fprintf(out, "# watchdog: %s is not done after %u s, its threads:\n",
			note->test, note->seconds);
		process_print(out, test);
	}
	clean = clean_up(note, out);
	if (cause != ASKED)
		fprintf(out, "# watchdog: aborted the connection and unmounted\n");
	if (cause == DEADLINE)
		reqlog_dump(log, out);
	fflush(out);
	if (size && fwrite(text, 1, size, stderr) != size)
		return WATCHDOG_FAILED;
	if (!clean)
		return WATCHDOG_FAILED;
	return cause == ASKED ? WATCHDOG_CLEAN : WATCHDOG_ACTED_ALONE;
}

int watchdog_start(struct watchdog *g, const char *test, unsigned int seconds,
		   struct reqlog *log)
{
	pid_t test_pid = getpid();
	int sv[2];

	g->note = mmap(NULL, sizeof(*g->note), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (g->note == MAP_FAILED)
		return -1;
	snprintf(g->note->test, sizeof(g->note->test), "%s", test);
	g->note->seconds = seconds ? seconds : WATCHDOG_SECONDS;
	/* A socket pair: writing to a dead watchdog must not raise SIGPIPE. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return -1;

	g->pid = fork();
	if (g->pid) {
		close(sv[1]);
		g->fd = sv[0];
		return g->pid < 0 ? -1 : 0;
	}

	/* Leave the process group that the harness kills on timeout. */
	setsid();
	signal(SIGPIPE, SIG_IGN);
	close_all_but(sv[1], -1);
	_exit(watchdog_run(sv[1], test_pid, g->note, log));
}

/* Wait for the watchdog to exit.  Return: its wait status, -1 on timeout. */
static int watchdog_wait(pid_t pid)
{
	struct pollfd p = { .events = POLLIN };
	int status = -1;

	p.fd = syscall(SYS_pidfd_open, pid, 0);
	if (p.fd < 0)
		return -1;
	if (poll(&p, 1, WAIT_SECONDS * 1000) == 1)
		waitpid(pid, &status, 0);
	close(p.fd);
	return status;
}

int watchdog_finish(struct watchdog *g)
{
	int status, ret = 0;

	if (g->pid <= 0)
		return 0;
	/* It may have exited, if it had to act on its own: its status tells. */
	send(g->fd, "q", 1, MSG_NOSIGNAL);
	status = watchdog_wait(g->pid);
	if (status == -1) {
		fprintf(stderr, "# the watchdog did not exit within %d s\n",
			WAIT_SECONDS);
		ret = -1;
	} else if (status) {
		fprintf(stderr, "# the watchdog exited with status %#x\n", status);
		ret = -1;
	}
	close(g->fd);
	munmap(g->note, sizeof(*g->note));
	g->pid = 0;
	return ret;
}
