// SPDX-License-Identifier: GPL-2.0
/*
 * Direct I/O, with O_DIRECT and FOPEN_DIRECT_IO: bytes, return values and the order
 * relative to dirty data in the page cache.
 */

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "observe.h"

#define PAGE	4096

/*
 * An observation with O_DIRECT, and another with FOPEN_DIRECT_IO, each with the cache
 * and without, that direct_NAME() makes: it opens the file with these flags.
 */
#define OBSERVE_DIRECT(name)						\
	static void direct_##name(struct obs *o, int flags);		\
	OBSERVE_BOTH(direct, name)					\
	{								\
		direct_##name(o, O_DIRECT);				\
	}								\
	OBSERVE_BOTH(direct, name##_by_server, .open_flags = FOPEN_DIRECT_IO) \
	{								\
		direct_##name(o, 0);					\
	}								\
	static void direct_##name(struct obs *o, int flags)

static char *new_buffer(struct obs *o, char byte, size_t len)
{
	char *buf = aligned_alloc(PAGE, (len + 2 * PAGE - 1) & -PAGE);

	NEED(o, buf);
	memset(buf, byte, len);
	return buf;
}

/* pread(2) at any offset, into any memory. */
static const char *read_into(struct obs *o, int fd, size_t skip, off_t off, size_t len)
{
	char *buf = new_buffer(o, '?', len + skip);
	ssize_t got = pread(fd, buf + skip, len, off);

	return got < 0 ? result(got) : bytes(buf + skip, got);
}

OBSERVE_DIRECT(read)
{
	int fd;

	obs_put(o, "file", 'o', 10000);
	obs_put(o, "file", 'p', 5000);
	fd = obs_open(o, "file", O_RDONLY | flags);
	saw_key(o, "aligned", "%s", read_into(o, fd, 0, 0, 2 * PAGE));
	saw_key(o, "unaligned_offset", "%s", read_into(o, fd, 0, 4990, 100));
	saw_key(o, "unaligned_memory", "%s", read_into(o, fd, 7, 4990, 100));
	saw_key(o, "over_end", "%s", read_into(o, fd, 0, 2 * PAGE, 2 * PAGE));
	saw_key(o, "at_end", "%s", read_into(o, fd, 0, 10000, PAGE));
	saw_key(o, "beyond_end", "%s", read_into(o, fd, 0, 5 * PAGE, PAGE));
	saw_key(o, "nothing", "%s", read_into(o, fd, 0, 0, 0));
	saw_key(o, "requests", "%s", requests(o, FUSE_READ, 0));
}

OBSERVE_DIRECT(write)
{
	char *buf = new_buffer(o, 'w', 2 * PAGE);
	int fd;

	obs_put(o, "file", 'o', 10000);
	fd = obs_open(o, "file", O_RDWR | flags);
	saw_key(o, "aligned", "%s", result(pwrite(fd, buf, PAGE, PAGE)));
	saw_key(o, "unaligned", "%s", result(pwrite(fd, buf + 1, 10, 3)));
	saw_key(o, "over_end", "%s", result(pwrite(fd, buf, 100, 9950)));
	saw_key(o, "beyond_end", "%s", result(pwrite(fd, buf, PAGE, 4 * PAGE)));
	saw_key(o, "nothing", "%s", result(pwrite(fd, buf, 0, 10 * PAGE)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, 0));
	obs_see(o, fd, "file");
}

OBSERVE_DIRECT(append)
{
	char *buf = new_buffer(o, 'w', PAGE);
	int fd, cached;

	obs_put(o, "file", 'o', 100);
	fd = obs_open(o, "file", O_RDWR | O_APPEND | flags);
	NEED(o, !server_open_flags(o->m.ctl, 0));
	cached = obs_open(o, "file", O_RDWR);
	obs_write(o, cached, 'c', 100, 50);
	saw_key(o, "ret", "%s", result(write(fd, buf, 200)));
	saw_key(o, "position", "%ld", (long)lseek(fd, 0, SEEK_CUR));
	saw_key(o, "pwrite", "%s", result(pwrite(fd, buf, 10, 0)));
	saw_key(o, "cached", "%s", read_bytes(cached, 0, 1000));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, 0));
	obs_see(o, fd, "file");
}

/* Dirty data is sent before; afterwards the cache has the new bytes. */
static void mix(struct obs *o, int flags, off_t off, size_t len)
{
	char *buf = new_buffer(o, 'w', 4 * PAGE);
	int fd, cached;

	obs_put(o, "file", 'o', 4 * PAGE);
	fd = obs_open(o, "file", O_RDWR | flags);
	NEED(o, !server_open_flags(o->m.ctl, 0));
	cached = obs_open(o, "file", O_RDWR);
	read_bytes(cached, 0, 4 * PAGE);
	obs_write(o, cached, 'c', PAGE, 2 * PAGE);
	mark(o);
	saw_key(o, "direct_read", "%s", read_into(o, fd, 0, PAGE / 2, PAGE));
	obs_write(o, cached, 'd', PAGE, 2 * PAGE);
	saw_key(o, "ret", "%s", result(pwrite(fd, buf, len, off)));
	saw_key(o, "requests", "%s", requests(o, FUSE_READ, FUSE_WRITE, 0));
	obs_see(o, cached, "file");
}

OBSERVE_DIRECT(write_into_dirty_page)
{
	mix(o, flags, 2 * PAGE, PAGE);
}

OBSERVE_DIRECT(write_into_part_of_dirty_pages)
{
	mix(o, flags, PAGE + 100, PAGE);
}

/* The same with stores through a mapping. */
OBSERVE_BOTH(direct, stores_and_direct_io)
{
	char *buf = new_buffer(o, 'w', PAGE);
	int fd, cached;
	char *map;

	obs_put(o, "file", 'o', 3 * PAGE);
	fd = obs_open(o, "file", O_RDWR | O_DIRECT);
	cached = obs_open(o, "file", O_RDWR);
	map = obs_map(o, cached, 3 * PAGE);
	memset(map + 100, 's', 2 * PAGE);
	saw_key(o, "direct_read", "%s", read_into(o, fd, 0, 0, 3 * PAGE));
	memset(map + 100, 't', 2 * PAGE);
	saw_key(o, "ret", "%s", result(pwrite(fd, buf, PAGE, PAGE)));
	saw_key(o, "mapped", "%s", bytes(map, 3 * PAGE));
	map[PAGE + 1] = 'u';
	obs_see(o, cached, "file");
}

/* The result of a direct write after a failure, and after a short reply. */
static void fail_directly(struct obs *o, int flags)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };
	const struct req_match reads = { .opcode = FUSE_READ };
	char *buf = new_buffer(o, 'w', 2 * PAGE);
	int fd;

	obs_put(o, "file", 'o', 3 * PAGE);
	fd = obs_open(o, "file", O_RDWR | flags);
	NEED(o, !server_rule(o->m.ctl, &writes, RULE_SIZE, 1000));
	saw_key(o, "short_write", "%s", result(pwrite(fd, buf, PAGE, 0)));
	NEED(o, !server_rule(o->m.ctl, &writes, RULE_SIZE, 0));
	saw_key(o, "write_of_nothing", "%s", result(pwrite(fd, buf, PAGE, 0)));
	NEED(o, !server_fail(o->m.ctl, &writes, ENOSPC));
	saw_key(o, "failed_write", "%s", result(pwrite(fd, buf, PAGE, 0)));
	saw_key(o, "failed_growth", "%s", result(pwrite(fd, buf, PAGE, 5 * PAGE)));
	NEED(o, !server_drop_rules(o->m.ctl));
	NEED(o, !server_rule(o->m.ctl, &reads, RULE_SIZE, 1000));
	saw_key(o, "short_read", "%s", read_into(o, fd, 0, 0, PAGE));
	NEED(o, !server_rule(o->m.ctl, &reads, RULE_SIZE, 0));
	saw_key(o, "read_of_nothing", "%s", read_into(o, fd, 0, 0, PAGE));
	NEED(o, !server_fail(o->m.ctl, &reads, EIO));
	saw_key(o, "failed_read", "%s", read_into(o, fd, 0, 0, PAGE));
	NEED(o, !server_drop_rules(o->m.ctl));
	obs_see(o, fd, "file");
	saw_key(o, "close", "%s", result(close(fd)));
}

/*
 * With the cache, what O_DIRECT does not write is written through the page cache, and the
 * unpatched kernel does not always know the outcome.
 */
OBSERVE(direct, failure_without_cache)
{
	fail_directly(o, O_DIRECT);
}

OBSERVE_BOTH(direct, failure_by_server, .open_flags = FOPEN_DIRECT_IO)
{
	fail_directly(o, 0);
}

/* The second of several requests fails, or is short. */
static void fail_second(struct obs *o, int flags)
{
	const struct req_match second = { .opcode = FUSE_WRITE, .start = PAGE,
					  .end = 2 * PAGE };
	char *buf = new_buffer(o, 'w', 4 * PAGE);
	int fd;

	obs_put(o, "file", 'o', 10);
	fd = obs_open(o, "file", O_RDWR | flags);
	NEED(o, !server_fail(o->m.ctl, &second, EDQUOT));
	saw_key(o, "failed", "%s", result(pwrite(fd, buf, 4 * PAGE, 0)));
	NEED(o, !server_drop_rules(o->m.ctl));
	NEED(o, !server_rule(o->m.ctl, &second, RULE_SIZE, 1000));
	saw_key(o, "short", "%s", result(pwrite(fd, buf, 4 * PAGE, 0)));
}

OBSERVE(direct, second_request_fails, .max_write = PAGE, .max_pages = 1,
	.async_dio = true, .writeback_cache = true)
{
	fail_second(o, O_DIRECT);
}

OBSERVE(direct, second_request_fails_without_async_dio, .max_write = PAGE, .max_pages = 1)
{
	fail_second(o, O_DIRECT);
}

OBSERVE(direct, second_request_fails_by_server, .max_write = PAGE, .max_pages = 1,
	.open_flags = FOPEN_DIRECT_IO)
{
	fail_second(o, 0);
}

/* RLIMIT_FSIZE: a write up to the limit, then EFBIG. */
OBSERVE_DIRECT(limited_size)
{
	const struct rlimit limit = { .rlim_cur = 2 * PAGE, .rlim_max = 2 * PAGE };
	char *buf = new_buffer(o, 'w', 2 * PAGE);
	int fd;

	obs_put(o, "file", 'o', 10);
	fd = obs_open(o, "file", O_RDWR | flags);
	signal(SIGXFSZ, SIG_IGN);
	NEED(o, !setrlimit(RLIMIT_FSIZE, &limit));
	saw_key(o, "below", "%s", result(pwrite(fd, buf, PAGE, 0)));
	saw_key(o, "across", "%s", result(pwrite(fd, buf, 2 * PAGE, PAGE)));
	saw_key(o, "beyond", "%s", result(pwrite(fd, buf, PAGE, 2 * PAGE)));
	saw_key(o, "ftruncate", "%s", result(ftruncate(fd, 3 * PAGE)));
	saw_key(o, "fallocate", "%s", result(fallocate(fd, 0, 0, 3 * PAGE)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_SETATTR, FUSE_FALLOCATE, 0));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(direct, limited_size_of_cached_file)
{
	direct_limited_size(o, 0);
}

/* O_DSYNC: FSYNC follows the WRITE. */
OBSERVE_DIRECT(o_dsync)
{
	char *buf = new_buffer(o, 'w', PAGE);
	int fd;

	obs_put(o, "file", 'o', 10);
	fd = obs_open(o, "file", O_RDWR | O_DSYNC | flags);
	saw_key(o, "write", "%s", result(pwrite(fd, buf, PAGE, 0)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
}

OBSERVE_BOTH(direct, vectors)
{
	char *buf = new_buffer(o, 'v', 3 * PAGE);
	struct iovec iov[3] = {
		{ .iov_base = buf, .iov_len = 1000 },
		{ .iov_base = buf + PAGE + 1, .iov_len = 0 },
		{ .iov_base = buf + PAGE + 7, .iov_len = PAGE },
	};
	int fd;

	obs_put(o, "file", 'o', 10000);
	fd = obs_open(o, "file", O_RDWR | O_DIRECT);
	saw_key(o, "write", "%s", result(pwritev(fd, iov, 3, 500)));
	saw_key(o, "sent", "%ld", sent(o, FUSE_WRITE));
	iov[1] = (struct iovec){ .iov_base = NULL, .iov_len = 100 };
	saw_key(o, "read_fault", "%s", result(preadv(fd, iov, 3, 0)));
	saw_key(o, "write_fault", "%s", result(pwritev(fd, iov, 3, 8000)));
	obs_see(o, fd, "file");
}

/* Several writers: sequential or concurrent. */
static void two_writers(struct obs *o, int flags, off_t off)
{
	char *buf = new_buffer(o, 'w', 2 * PAGE);
	struct call *first, *second;
	int fd;

	obs_put(o, "file", 'o', 2 * PAGE);
	fd = obs_open(o, "file", O_RDWR | flags);
	obs_hold(o, FUSE_WRITE);
	first = obs_call(o, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = buf, .len = PAGE });
	NEED(o, await_req(&o->m, FUSE_WRITE, REQ_ARRIVED, 1));
	second = obs_call(o, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = buf, .len = PAGE, .off = off });
	saw_key(o, "second", "%s", state(o, second));
	saw_key(o, "sent", "%d", arrived(o, FUSE_WRITE));
	obs_release(o);
	saw_key(o, "first_then", "%s", outcome(first));
	saw_key(o, "second_then", "%s", outcome(second));
	obs_see(o, fd, "file");
}

OBSERVE(direct, two_writers, .open_flags = FOPEN_DIRECT_IO)
{
	two_writers(o, 0, PAGE);
}

OBSERVE(direct, two_parallel_writers,
	.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES)
{
	two_writers(o, 0, PAGE);
}

OBSERVE(direct, two_parallel_writers_beyond_eof,
	.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES)
{
	two_writers(o, 0, 2 * PAGE);
}

OBSERVE(direct, two_o_direct_writers, .writeback_cache = true)
{
	two_writers(o, O_DIRECT, PAGE);
}

/* Direct I/O after a held WRITE of the same page. */
static void behind_held_write(struct obs *o, const struct call_op *op)
{
	char *buf = new_buffer(o, 'w', PAGE);
	struct call *c;
	int fd, cached;

	obs_put(o, "file", 'o', 2 * PAGE);
	cached = obs_open(o, "file", O_RDWR);
	fd = obs_open(o, "file", O_RDWR | O_DIRECT);
	memset(obs_map(o, cached, PAGE), 's', PAGE);
	obs_hold_writes(o, cached, 1);
	mark(o);
	c = obs_call(o, op, (struct call_arg){ .fd = fd, .buf = buf, .len = PAGE });
	saw_key(o, "held", "%s", state(o, c));
	saw_key(o, "requests", "%s", requests(o, FUSE_READ, FUSE_WRITE, 0));
	obs_release(o);
	saw_key(o, "ret", "%s", outcome(c));
	saw_key(o, "buffer", "%s", bytes(buf, PAGE));
	obs_see(o, cached, "file");
}

OBSERVE_BOTH(direct, read_behind_held_write)
{
	behind_held_write(o, &call_pread);
}

OBSERVE_BOTH(direct, write_behind_held_write)
{
	behind_held_write(o, &call_pwrite);
}
