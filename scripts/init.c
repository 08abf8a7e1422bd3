// SPDX-License-Identifier: GPL-2.0
/*
 * PID 1 of the guest: mount what tests need, run /run.sh, report its status to
 * the host, and power off.
 *
 * Parameters on the kernel command line:
 *
 *	fuse_wb.out=DEV		standard output of /run.sh
 *	fuse_wb.err=DEV		its standard error
 *	fuse_wb.status=DEV	"ready 1" once /run.sh is about to start, then
 *				"exit N" or "signal N"; without this option
 *				the command has the console, for a shell
 *	fuse_wb.cgroup=v1	mount the memory controller at /sys/fs/cgroup/memory
 *				as a legacy hierarchy; the default is v2 at
 *				/sys/fs/cgroup, with no controller in use
 *	fuse_wb.cgroup=v2	the default, and v2 has the memory controller
 *	fuse_wb.leave=reset	leave by a reset instead of powering off
 *
 * The host treats anything but a complete "exit 0" as a failure, so a guest that
 * dies early cannot pass.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define DEVICE_TIMEOUT_S 30

static char cmdline[4096];

/* Power off in any case. On x86 without ACPI, only a reset ends QEMU. */
static void power_off(void)
{
	sync();
	if (strstr(cmdline, "fuse_wb.leave=reset"))
		reboot(RB_AUTOBOOT);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void fail(const char *what, const char *which)
{
	fprintf(stderr, "init: cannot %s %s: %s\n", what, which,
		strerror(errno));
	power_off();
}

static void mount_at(const char *type, const char *dir, const char *data)
{
	if (mkdir(dir, 0755) && errno != EEXIST)
		fail("make directory", dir);
	if (mount(type, dir, type, 0, data) && errno != EBUSY)
		fail("mount", dir);
}

/* The value of fuse_wb.KEY= on the command line, or NULL. */
static const char *option(const char *key)
{
	static char values[4][64];
	static unsigned int next;
	char *value = values[next++ % 4];
	char pattern[32];
	const char *at;

	snprintf(pattern, sizeof(pattern), "fuse_wb.%s=", key);
	at = strstr(cmdline, pattern);
	if (!at)
		return NULL;
	at += strlen(pattern);
	snprintf(value, sizeof(values[0]), "%.*s", (int)strcspn(at, "\n "), at);
	return value;
}

static void read_cmdline(void)
{
	int fd = open("/proc/cmdline", O_RDONLY);
	ssize_t n;

	if (fd < 0)
		fail("open", "/proc/cmdline");
	n = read(fd, cmdline, sizeof(cmdline) - 1);
	if (n < 0)
		fail("read", "/proc/cmdline");
	cmdline[n] = '\0';
	close(fd);
}

/*
 * Open the device that the host reads. Wait for the driver to create it. A
 * terminal must not translate the output.
 */
static int open_port(const char *key)
{
	const char *name = option(key);
	time_t deadline = time(NULL) + DEVICE_TIMEOUT_S;
	struct termios raw;
	int fd;

	if (!name)
		fail("find on the command line", key);
	for (;;) {
		fd = open(name, O_WRONLY | O_NOCTTY | O_CLOEXEC);
		if (fd >= 0)
			break;
		if (time(NULL) > deadline)
			fail("open in time", name);
		usleep(10000);
	}
	if (tcgetattr(fd, &raw) == 0) {
		cfmakeraw(&raw);
		tcsetattr(fd, TCSANOW, &raw);
	}
	return fd;
}

static void say(int fd, const char *word, int value)
{
	char line[32];
	int n;

	n = snprintf(line, sizeof(line), "%s %d\n", word, value);
	if (write(fd, line, n) != n)
		fail("write", "the status");
	tcdrain(fd);
}

static void use_memory_controller(void)
{
	const char *file = "/sys/fs/cgroup/cgroup.subtree_control";
	int fd = open(file, O_WRONLY);

	if (fd < 0 || write(fd, "+memory", 7) != 7)
		fail("write", file);
	close(fd);
}

static void mount_all(void)
{
	const char *cgroup;

	mount_at("proc", "/proc", NULL);
	read_cmdline();
	mount_at("sysfs", "/sys", NULL);
	mount_at("devtmpfs", "/dev", NULL);
	mount_at("tmpfs", "/tmp", "mode=1777");
	mount_at("tmpfs", "/run", NULL);
	mkdir("/dev/pts", 0755);
	mount_at("devpts", "/dev/pts", NULL);
	mkdir("/dev/shm", 01777);
	mount_at("tmpfs", "/dev/shm", "mode=1777");
	mount_at("fusectl", "/sys/fs/fuse/connections", NULL);
	mount_at("debugfs", "/sys/kernel/debug", NULL);
	if (access("/sys/kernel/tracing", F_OK) == 0)
		mount_at("tracefs", "/sys/kernel/tracing", NULL);

	cgroup = option("cgroup");
	if (cgroup && strcmp(cgroup, "v1") == 0) {
		mount_at("tmpfs", "/sys/fs/cgroup", NULL);
		mount_at("cgroup", "/sys/fs/cgroup/memory", "memory");
	} else {
		mount_at("cgroup2", "/sys/fs/cgroup", NULL);
		if (cgroup && strcmp(cgroup, "v2") == 0)
			use_memory_controller();
	}
}

static void link_stdio(void)
{
	static const char * const links[][2] = {
		{ "/proc/self/fd", "/dev/fd" },
		{ "/proc/self/fd/0", "/dev/stdin" },
		{ "/proc/self/fd/1", "/dev/stdout" },
		{ "/proc/self/fd/2", "/dev/stderr" },
		{ NULL, NULL },
	};
	const char * const *link;

	for (link = links[0]; link[0]; link += 2)
		if (symlink(link[0], link[1]) && errno != EEXIST)
			fail("link", link[1]);
}

/* Copy the contents of a pipe to a port. Returns false at EOF of the pipe. */
static bool copy(int pipe_fd, int port)
{
	char buf[4096];
	ssize_t n, done, ret;

	for (;;) {
		n = read(pipe_fd, buf, sizeof(buf));
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0)
			return false;
		for (done = 0; done < n; done += ret) {
			ret = write(port, buf + done, n - done);
			if (ret < 0)
				fail("write", "output");
		}
	}
}

static void on_child(int signal)
{
	(void)signal;
}

/*
 * Reap all children, as PID 1 must, and forward output until the command has
 * ended. Processes that it leaves running keep the pipes open; do not wait for
 * them.
 */
static int wait_for(pid_t pid, const int pipes[2], const int ports[2])
{
	struct pollfd fds[2] = {
		{ .fd = pipes[0], .events = POLLIN },
		{ .fd = pipes[1], .events = POLLIN },
	};
	bool ended = false;
	sigset_t none;
	int status = 0, any, i;
	pid_t done;

	sigemptyset(&none);
	for (;;) {
		while ((done = waitpid(-1, &any, WNOHANG)) > 0) {
			if (done != pid)
				continue;
			ended = true;
			status = any;
		}
		for (i = 0; i < 2; i++)
			if (fds[i].fd >= 0 && !copy(fds[i].fd, ports[i]))
				fds[i].fd = -1;
		if (ended)
			return status;
		/* SIGCHLD is unblocked only here, so that none is missed. */
		ppoll(fds, 2, NULL, &none);
	}
}

static pid_t run(int out, int err)
{
	pid_t pid = fork();
	sigset_t none;
	int in;

	if (pid < 0)
		fail("fork", "the command");
	if (pid > 0)
		return pid;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	in = open("/dev/null", O_RDONLY);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	execl("/bin/sh", "sh", "/run.sh", NULL);
	_exit(127);
}

/* An interactive guest: the command gets the console; we end when it does. */
static void run_shell(void)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		fail("fork", "the shell");
	if (pid == 0) {
		setsid();
		execl("/bin/sh", "sh", "/run.sh", NULL);
		_exit(127);
	}
	while (wait(&status) != pid)
		;
	power_off();
}

int main(void)
{
	static const struct sigaction action = { .sa_handler = on_child };
	int out[2], err[2], pipes[2], ports[2], status_port, status;
	sigset_t child;
	pid_t pid;

	mount_all();
	link_stdio();
	setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
	setenv("HOME", "/", 1);
	setenv("TERM", "linux", 0);
	if (!option("status"))
		run_shell();

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	sigaction(SIGCHLD, &action, NULL);
	if (pipe2(out, O_CLOEXEC | O_NONBLOCK) ||
	    pipe2(err, O_CLOEXEC | O_NONBLOCK))
		fail("make", "pipes");
	/* The command expects blocking pipes. */
	fcntl(out[1], F_SETFL, 0);
	fcntl(err[1], F_SETFL, 0);

	pipes[0] = out[0];
	pipes[1] = err[0];
	ports[0] = open_port("out");
	ports[1] = open_port("err");
	status_port = open_port("status");

	say(status_port, "ready", getpid());
	pid = run(out[1], err[1]);
	close(out[1]);
	close(err[1]);
	status = wait_for(pid, pipes, ports);
	tcdrain(ports[0]);
	tcdrain(ports[1]);
	if (WIFEXITED(status))
		say(status_port, "exit", WEXITSTATUS(status));
	else
		say(status_port, "signal", WTERMSIG(status));
	power_off();
}
