// SPDX-License-Identifier: GPL-2.0
/* How bytes get from and to /dev/fuse, see devio.h. */

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "devio.h"

/* Room for the largest request and its header; in slots of one page each. */
#define PIPE_BYTES	(2 << 20)

/* A pipe for each thread; it lasts as long as the server does. */
static __thread int pipe_fd[2] = { -1, -1 };

static int get_pipe(void)
{
	if (pipe_fd[0] >= 0)
		return 0;
	if (pipe2(pipe_fd, O_CLOEXEC))
		return -1;
	return fcntl(pipe_fd[1], F_SETPIPE_SZ, PIPE_BYTES) < 0 ? -1 : 0;
}

/* After an error nobody knows what is left in the pipe. */
static ssize_t drop_pipe(void)
{
	int err = errno;

	close(pipe_fd[0]);
	close(pipe_fd[1]);
	pipe_fd[0] = -1;
	pipe_fd[1] = -1;
	errno = err;
	return -1;
}

ssize_t devio_read(const struct devio *io, void *buf, size_t len)
{
	ssize_t got, done = 0, part;

	if (!io->splice_in)
		return read(io->fd, buf, len);
	if (get_pipe())
		return -1;
	got = splice(io->fd, NULL, pipe_fd[1], NULL, len, 0);
	if (got < 0)
		return drop_pipe();
	while (done < got) {
		part = read(pipe_fd[0], (char *)buf + done, got - done);
		if (part <= 0)
			return drop_pipe();
		done += part;
	}
	return got;
}

ssize_t devio_writev(const struct devio *io, const struct iovec *iov,
		     int count)
{
	ssize_t len, done;

	if (!io->splice_out)
		return writev(io->fd, iov, count);
	if (get_pipe())
		return -1;
	len = writev(pipe_fd[1], iov, count);
	if (len < 0)
		return drop_pipe();
	/* The kernel takes one message a call, and all of it. */
	done = splice(pipe_fd[0], NULL, io->fd, NULL, len, 0);
	if (done != len)
		return drop_pipe();
	return done;
}
