// SPDX-License-Identifier: GPL-2.0
/* A process that dirties a file, see writer.h. */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "proc.h"
#include "wait.h"
#include "writer.h"

static int take_lock(int fd, enum writer_lock lock)
{
	struct flock all = { .l_type = F_WRLCK };

	switch (lock) {
	case WRITER_POSIX_LOCK:
		return fcntl(fd, F_SETLK, &all);
	case WRITER_FLOCK:
		return flock(fd, LOCK_EX | LOCK_NB);
	default:
		return 0;
	}
}

/* The main function of the process.  Return: its exit status. */
static int write_file_of(struct writer *w)
{
	char *map = NULL;
	int fd;

	if (w->own_mounts && unshare(CLONE_NEWNS))
		return 1;
	fd = open(w->path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || take_lock(fd, w->lock))
		return 1;
	if (w->by_store) {
		map = mmap(NULL, w->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   0);
		if (map == MAP_FAILED)
			return 1;
		if (w->lock == WRITER_NO_LOCK && close(fd))
			return 1;
		memcpy(map, w->data, w->len);
	} else if (write(fd, w->data, w->len) != (ssize_t)w->len) {
		return 1;
	}
	word_set(w->dirty, 1);
	if (w->last)
		return w->last(fd, map, w->len) ? 1 : 0;
	for (;;)
		pause();
}

pid_t writer_start(struct writer *w)
{
	pid_t pid;

	w->dirty = mmap(NULL, sizeof(*w->dirty), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (w->dirty == MAP_FAILED)
		return -1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(write_file_of(w));
	}
	if (pid > 0 && !word_sleep(w->dirty, 0, wait_deadline())) {
		fprintf(stderr, "# timed out (%d s) waiting for a process to write %s\n",
			WAIT_SECONDS, w->path);
		process_print(stderr, pid);
		pid = -1;
	}
	return pid;
}

static bool asleep(pid_t pid)
{
	char state = task_state(pid, pid);

	return state == 'S' || state == 'D';
}

int task_settles(struct mnt *m, pid_t pid)
{
	__u64 deadline = wait_deadline();
	bool slept;
	char state;
	long runs;

	do {
		slept = asleep(pid);
		runs = task_runs(pid, pid);
		/*
		 * Any other request that it has sent and waits for has its
		 * reply by then.
		 */
		if (fence(m))
			return -1;
		state = task_state(pid, pid);
		if (!state || state == 'Z')
			return 1;
		if (slept && asleep(pid) && task_runs(pid, pid) == runs)
			return 0;
		sched_yield();
	} while (now_usec() < deadline);

	fprintf(stderr, "# timed out (%d s) waiting for a process to end or to sleep\n",
		WAIT_SECONDS);
	process_print(stderr, pid);
	return -1;
}
