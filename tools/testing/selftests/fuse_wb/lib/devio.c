// SPDX-License-Identifier: GPL-2.0
/* Moving bytes from and to /dev/fuse, see devio.h. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devio.h"

/* Room for the largest request and its header, as one page per slot. */
#define PIPE_BYTES	(2 << 20)

/* Makes each page of a file span two pages of the buffer. */
#define GAP_OFFSET	40

/* A pipe for each thread; it lasts as long as the server. */
static __thread int pipe_fd[2] = { -1, -1 };

static int get_pipe(void)
{
	if (pipe_fd[0] >= 0)
		return 0;
	if (pipe2(pipe_fd, O_CLOEXEC))
		return -1;
	return fcntl(pipe_fd[1], F_SETPIPE_SZ, PIPE_BYTES) < 0 ? -1 : 0;
}

/* After an error the contents of the pipe are unknown. */
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

/* A buffer for each thread, in shared memory: unmapping keeps the contents. */
static char *get_gap_buffer(void)
{
	static __thread char *buf;
	int fd;

	if (buf)
		return buf + GAP_OFFSET;
	fd = memfd_create("gaps", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, PIPE_BYTES))
		return NULL;
	buf = mmap(NULL, PIPE_BYTES, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_POPULATE, fd, 0);
	close(fd);
	if (buf == MAP_FAILED) {
		buf = NULL;
		return NULL;
	}
	return buf + GAP_OFFSET;
}

static int unmap_every_second_page(char *buf, size_t len)
{
	size_t page = sysconf(_SC_PAGESIZE), off;

	buf -= GAP_OFFSET;
	for (off = page; off < GAP_OFFSET + len; off += 2 * page)
		if (madvise(buf + off, page, MADV_DONTNEED))
			return -1;
	return 0;
}

static ssize_t read_with_gaps(int fd, void *buf, size_t len)
{
	char *gaps = get_gap_buffer();
	ssize_t got;

	if (!gaps || unmap_every_second_page(gaps, len))
		return -1;
	got = read(fd, gaps, len);
	if (got > 0)
		memcpy(buf, gaps, got);
	return got;
}

static ssize_t writev_with_gaps(int fd, const struct iovec *iov, int count)
{
	char *gaps = get_gap_buffer();
	size_t len = 0;
	int i;

	if (!gaps)
		return -1;
	for (i = 0; i < count; i++) {
		memcpy(gaps + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	if (unmap_every_second_page(gaps, len))
		return -1;
	return write(fd, gaps, len);
}

ssize_t devio_read(const struct devio *io, void *buf, size_t len)
{
	ssize_t got, done = 0, part;

	if (io->gaps)
		return read_with_gaps(io->fd, buf, len);
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

	if (io->gaps)
		return writev_with_gaps(io->fd, iov, count);
	if (!io->splice_out)
		return writev(io->fd, iov, count);
	if (get_pipe())
		return -1;
	len = writev(pipe_fd[1], iov, count);
	if (len < 0)
		return drop_pipe();
	/* The kernel takes exactly one message per call. */
	done = splice(pipe_fd[0], NULL, io->fd, NULL, len, 0);
	if (done != len)
		return drop_pipe();
	return done;
}
