// SPDX-License-Identifier: GPL-2.0
/*
 * splice(2), sendfile(2), tee(2) and vmsplice(2): the bytes that pass, and the
 * contents afterwards.
 */

#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "observe.h"

#define PAGE	4096

struct ends {
	int out;
	int in;
};

static struct ends make_pipe(struct obs *o)
{
	int fds[2];

	NEED(o, !pipe2(fds, O_NONBLOCK));
	return (struct ends){ .out = fds[0], .in = fds[1] };
}

/* The contents of a pipe. */
static const char *drain(struct obs *o, struct ends p)
{
	char *buf = malloc(16 * PAGE);
	const char *text;
	ssize_t got;
	size_t len = 0;

	NEED(o, buf);
	while ((got = read(p.out, buf + len, 16 * PAGE - len)) > 0)
		len += got;
	text = bytes(buf, len);
	free(buf);
	return text;
}

/* A file of 10000 o at the server, with 6000 d at 2000 on top. */
static int open_dirty(struct obs *o, int flags)
{
	int fd;

	obs_put(o, "file", 'o', 10000);
	fd = obs_open(o, "file", O_RDWR | flags);
	obs_write(o, fd, 'd', 2000, 6000);
	mark(o);
	return fd;
}

static ssize_t splice_out(int fd, loff_t off, struct ends p, size_t len)
{
	return splice(fd, &off, p.in, NULL, len, SPLICE_F_NONBLOCK);
}

OBSERVE_BOTH(splice, dirty_file_to_pipe)
{
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, 0);

	saw_key(o, "ret", "%s", result(splice_out(fd, 1000, p, 5000)));
	saw_key(o, "at_end", "%s", result(splice_out(fd, 10000, p, 5000)));
	saw_key(o, "sent", "%s", requests(o, FUSE_WRITE, 0));
	saw_key(o, "pipe", "%s", drain(o, p));
}

/* The pipe has the pages, not a copy of the bytes. */
OBSERVE_BOTH(splice, and_write_to_it)
{
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, 0);

	saw_key(o, "ret", "%s", result(splice_out(fd, 0, p, 2 * PAGE)));
	obs_write(o, fd, 'w', 100, PAGE);
	saw_key(o, "pipe", "%s", drain(o, p));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(splice, and_truncate_it)
{
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, 0);

	saw_key(o, "ret", "%s", result(splice_out(fd, 0, p, 2 * PAGE)));
	NEED(o, !ftruncate(fd, 0));
	saw_key(o, "pipe", "%s", drain(o, p));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(splice, and_make_a_hole)
{
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, 0);

	saw_key(o, "ret", "%s", result(splice_out(fd, 0, p, 2 * PAGE)));
	NEED(o, !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * PAGE));
	saw_key(o, "pipe", "%s", drain(o, p));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(splice, and_invalidate_it)
{
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, 0);

	saw_key(o, "ret", "%s", result(splice_out(fd, 0, p, 2 * PAGE)));
	saw_key(o, "inval", "%d", server_inval(o->m.ctl, 2, 0, 0));
	NEED(o, !server_put(o->m.ctl, "file", 0, "nnn", 3));
	saw_key(o, "pipe", "%s", drain(o, p));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(splice, pipe_to_file)
{
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, 0);
	loff_t off = 7000;

	NEED(o, write(p.in, "pppppppppp", 10) == 10);
	saw_key(o, "ret", "%s", result(splice(p.out, NULL, fd, &off, 100, 0)));
	saw_key(o, "offset", "%lld", (long long)off);
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(splice, pipe_to_end_of_file)
{
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, 0);
	int append = obs_open(o, "file", O_WRONLY | O_APPEND);
	loff_t off = 20000;

	NEED(o, write(p.in, "pppppppppp", 10) == 10);
	saw_key(o, "append", "%s", result(splice(p.out, NULL, append, NULL, 5, 0)));
	saw_key(o, "ret", "%s", result(splice(p.out, NULL, fd, &off, 5, 0)));
	obs_see(o, fd, "file");
}

/* From one place of the file to another. */
OBSERVE_BOTH(splice, file_to_itself)
{
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, 0);
	loff_t off = 5000;

	saw_key(o, "out", "%s", result(splice_out(fd, 1000, p, 3000)));
	saw_key(o, "in", "%s", result(splice(p.out, NULL, fd, &off, 3000, 0)));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(splice, write_that_fails)
{
	const struct req_match match = { .opcode = FUSE_WRITE };
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, 0);
	loff_t off = 0;

	NEED(o, !server_fail(o->m.ctl, &match, ENOSPC));
	NEED(o, write(p.in, "pppppppppp", 10) == 10);
	saw_key(o, "ret", "%s", result(splice(p.out, NULL, fd, &off, 10, 0)));
	saw_key(o, "fsync", "%s", result(fsync(fd)));
	NEED(o, !server_drop_rules(o->m.ctl));
	saw_key(o, "pipe", "%s", drain(o, p));
}

OBSERVE_BOTH(splice, of_direct_io_file, .open_flags = FOPEN_DIRECT_IO)
{
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, 0);
	loff_t off = 100;

	saw_key(o, "out", "%s", result(splice_out(fd, 1000, p, 5000)));
	saw_key(o, "in", "%s", result(splice(p.out, NULL, fd, &off, 2000, 0)));
	saw_key(o, "pipe", "%s", drain(o, p));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(splice, of_o_direct_file)
{
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, O_DIRECT);
	loff_t off = 100;

	saw_key(o, "out", "%s", result(splice_out(fd, 1000, p, 5000)));
	saw_key(o, "in", "%s", result(splice(p.out, NULL, fd, &off, 2000, 0)));
	saw_key(o, "pipe", "%s", drain(o, p));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(splice, tee)
{
	struct ends p = make_pipe(o), q = make_pipe(o);
	int fd = open_dirty(o, 0);

	saw_key(o, "out", "%s", result(splice_out(fd, 1000, p, 5000)));
	saw_key(o, "ret", "%s", result(tee(p.out, q.in, 3000, SPLICE_F_NONBLOCK)));
	obs_write(o, fd, 'w', 1500, 100);
	saw_key(o, "pipe", "%s", drain(o, p));
	saw_key(o, "copy", "%s", drain(o, q));
}

/* User memory is spliced into the file. */
OBSERVE_BOTH(splice, vmsplice)
{
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, 0);
	char *buf = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec iov = { .iov_base = buf, .iov_len = 5000 };
	loff_t off = 1000;

	NEED(o, buf != MAP_FAILED);
	memset(buf, 'v', 2 * PAGE);
	saw_key(o, "in", "%s", result(vmsplice(p.in, &iov, 1, SPLICE_F_GIFT)));
	saw_key(o, "ret", "%s", result(splice(p.out, NULL, fd, &off, 5000, SPLICE_F_MOVE)));
	memset(buf, 'z', 2 * PAGE);
	obs_see(o, fd, "file");
}

/* A mapping of the file itself. */
OBSERVE_BOTH(splice, vmsplice_of_mapping)
{
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, 0);
	char *map = obs_map(o, fd, 10000);
	struct iovec iov = { .iov_base = map + 1000, .iov_len = 2000 };
	loff_t off = 6000;

	saw_key(o, "in", "%s", result(vmsplice(p.in, &iov, 1, 0)));
	saw_key(o, "ret", "%s", result(splice(p.out, NULL, fd, &off, 2000, 0)));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(sendfile, dirty_file_to_pipe)
{
	struct ends p = make_pipe(o);
	int fd = open_dirty(o, 0);
	off_t off = 1000;

	saw_key(o, "ret", "%s", result(sendfile(p.in, fd, &off, 20000)));
	saw_key(o, "offset", "%ld", (long)off);
	saw_key(o, "pipe", "%s", drain(o, p));
}

static void send_to(struct obs *o, int flags)
{
	int to, fd = open_dirty(o, 0);
	off_t off = 1000;

	obs_put(o, "to", 't', 3000);
	to = obs_open(o, "to", O_RDWR | flags);
	NEED(o, lseek(to, 100, SEEK_SET) == 100);
	saw_key(o, "ret", "%s", result(sendfile(to, fd, &off, 3000)));
	saw_key(o, "rest", "%s", result(sendfile(to, fd, NULL, 20000)));
	saw_key(o, "position", "%ld", (long)lseek(to, 0, SEEK_CUR));
	obs_see(o, to, "to");
}

OBSERVE_BOTH(sendfile, to_file)
{
	send_to(o, 0);
}

OBSERVE_BOTH(sendfile, to_appending_file)
{
	send_to(o, O_APPEND);
}

OBSERVE_BOTH(sendfile, to_o_direct_file)
{
	send_to(o, O_DIRECT);
}

/* The page that is sent is under writeback. */
OBSERVE_BOTH(sendfile, of_held_page)
{
	struct ends p = make_pipe(o);
	off_t off = 0;
	int fd;

	obs_put(o, "file", 'o', 2 * PAGE);
	fd = obs_open(o, "file", O_RDWR);
	memset(obs_map(o, fd, PAGE), 's', 100);
	obs_hold_writes(o, fd, 1);
	saw_key(o, "ret", "%s", result(sendfile(p.in, fd, &off, PAGE)));
	saw_key(o, "pipe", "%s", drain(o, p));
	obs_release(o);
	obs_see(o, fd, "file");
}
