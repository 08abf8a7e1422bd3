// SPDX-License-Identifier: GPL-2.0
/*
 * Reads through the page cache: which bytes, how many requests, and which tasks
 * wait.
 */

#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "observe.h"
#include "proc.h"

#define PAGE	4096

static int open_file(struct obs *o, size_t len)
{
	int fd;

	obs_put(o, "file", 'o', len);
	fd = obs_open(o, "file", O_RDWR);
	mark(o);
	return fd;
}

static void see_reads(struct obs *o, const char *key)
{
	saw_key(o, key, "%s", requests(o, FUSE_READ, FUSE_WRITE, 0));
	mark(o);
}

OBSERVE_BOTH(read, sequential)
{
	char *buf = malloc(64 * PAGE);
	int fd = open_file(o, 64 * PAGE - 100);

	NEED(o, buf);
	saw_key(o, "first", "%s", result(read(fd, buf, PAGE)));
	saw_key(o, "all", "%s", run(o, &call_read_all, (struct call_arg){
		.fd = fd, .buf = buf, .len = 64 * PAGE }));
	saw_key(o, "end", "%s", result(read(fd, buf, PAGE)));
	saw_key(o, "sent", "%ld", sent(o, FUSE_READ));
	mark(o);
	saw_key(o, "again", "%s", read_bytes(fd, 0, 64 * PAGE));
	see_reads(o, "requests_again");
}

OBSERVE_BOTH(read, posix_fadvise)
{
	int fd = open_file(o, 64 * PAGE);

	saw_key(o, "random", "%s", result(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM)));
	saw_key(o, "read", "%s", read_bytes(fd, 10 * PAGE, 100));
	see_reads(o, "requests");
	saw_key(o, "willneed", "%s", result(posix_fadvise(fd, 0, 8 * PAGE,
							  POSIX_FADV_WILLNEED)));
	saw_key(o, "there", "%s", read_bytes(fd, 0, 8 * PAGE));
	see_reads(o, "requests_then");
	saw_key(o, "dontneed", "%s", result(posix_fadvise(fd, 0, 8 * PAGE,
							  POSIX_FADV_DONTNEED)));
	saw_key(o, "gone", "%s", read_bytes(fd, 0, PAGE));
	see_reads(o, "requests_last");
}

/* Dirty data is sent, and reads after that are right. */
OBSERVE_BOTH(read, fadvise_dontneed_of_dirty_page)
{
	int fd = open_file(o, 4 * PAGE);

	memset(obs_map(o, fd, PAGE), 's', 100);
	obs_write(o, fd, 'd', 2 * PAGE, 100);
	saw_key(o, "ret", "%s", result(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)));
	NEED(o, !await_writes(&o->m));
	saw_key(o, "sent", "%s", server_bytes(o, "file"));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(read, readahead)
{
	int fd = open_file(o, 16 * PAGE);

	saw_key(o, "ret", "%s", result(readahead(fd, PAGE, 4 * PAGE)));
	saw_key(o, "read", "%s", read_bytes(fd, PAGE, 4 * PAGE));
	see_reads(o, "requests");
	saw_key(o, "over_end", "%s", result(readahead(fd, 15 * PAGE, 4 * PAGE)));
	saw_key(o, "write_only", "%s", result(readahead(obs_open(o, "file", O_WRONLY), 0, PAGE)));
	NEED(o, !fence(&o->m));
	see_reads(o, "requests_then");
}

/* The server has fewer bytes than the size says. */
OBSERVE_BOTH(read, short_inside_size)
{
	const struct req_match match = { .opcode = FUSE_READ };
	struct stat st;
	int fd = open_file(o, 3 * PAGE);

	NEED(o, !server_rule(o->m.ctl, &match, RULE_SIZE, 1000));
	saw_key(o, "read", "%s", read_bytes(fd, 0, PAGE));
	saw_key(o, "again", "%s", read_bytes(fd, 0, PAGE));
	NEED(o, !server_drop_rules(o->m.ctl));
	saw_key(o, "behind", "%s", read_bytes(fd, PAGE, PAGE));
	NEED(o, !fstat(fd, &st));
	saw_key(o, "size", "%ld", (long)st.st_size);
}

/* The same when the page has to be read for a write(2) to a part of it. */
OBSERVE_BOTH(read, short_for_a_write)
{
	const struct req_match match = { .opcode = FUSE_READ };
	int fd = open_file(o, 2 * PAGE);

	NEED(o, !server_rule(o->m.ctl, &match, RULE_SIZE, 1000));
	saw_key(o, "write", "%s", result(pwrite(fd, "w", 1, 2000)));
	NEED(o, !server_drop_rules(o->m.ctl));
	see_reads(o, "requests");
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(read, failed_for_a_write)
{
	const struct req_match match = { .opcode = FUSE_READ };
	int fd = open_file(o, 2 * PAGE);

	NEED(o, !server_fail(o->m.ctl, &match, EIO));
	saw_key(o, "write", "%s", result(pwrite(fd, "w", 1, 2000)));
	saw_key(o, "whole_page", "%s", result(pwrite(fd, read_bytes, PAGE, PAGE)));
	NEED(o, !server_drop_rules(o->m.ctl));
	saw_key(o, "read", "%s", read_bytes(fd, 0, PAGE));
	saw_key(o, "fsync", "%s", result(fsync(fd)));
}

/* Which parts of pages are read for writes. */
OBSERVE_BOTH(read, for_writes)
{
	int fd = open_file(o, 3 * PAGE + 100);

	obs_write(o, fd, 'a', 100, 10);
	see_reads(o, "part");
	obs_write(o, fd, 'b', PAGE, PAGE);
	see_reads(o, "whole");
	obs_write(o, fd, 'c', 3 * PAGE, 100);
	see_reads(o, "to_end");
	obs_write(o, fd, 'd', 3 * PAGE + 50, 100);
	see_reads(o, "over_end");
	obs_write(o, fd, 'e', 5 * PAGE + 50, 100);
	see_reads(o, "beyond");
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(read, that_fails)
{
	const struct req_match second = { .opcode = FUSE_READ, .start = PAGE, .end = 2 * PAGE };
	int fd = open_file(o, 3 * PAGE);

	NEED(o, !posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM));
	NEED(o, !server_fail(o->m.ctl, &second, EIO));
	saw_key(o, "there", "%s", read_bytes(fd, PAGE, PAGE));
	saw_key(o, "other", "%s", read_bytes(fd, 2 * PAGE, PAGE));
	NEED(o, !server_drop_rules(o->m.ctl));
	saw_key(o, "again", "%s", read_bytes(fd, PAGE, PAGE));
}

/* A page with its WRITE held, and pages next to it that are not cached yet. */
OBSERVE_BOTH(read, beside_held_write)
{
	static char buf[4 * PAGE];
	struct call *c;
	int fd = open_file(o, 16 * PAGE);

	memset(obs_map(o, fd, PAGE), 's', 100);
	obs_hold_writes(o, fd, 1);
	c = obs_call(o, &call_pread, (struct call_arg){
		.fd = fd, .buf = buf, .len = 4 * PAGE });
	saw_key(o, "held", "%s", state(o, c));
	saw_key(o, "buffer", "%s", bytes(buf, 4 * PAGE));
	saw_key(o, "fadvise", "%s", result(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)));
	saw_key(o, "after_fadvise", "%s", read_bytes(fd, 2 * PAGE, PAGE));
	obs_release(o);
	obs_see(o, fd, "file");
}

/* Two readers of one page, with its READ held; one of them is killed. */
OBSERVE_BOTH(read, held)
{
	static char bufs[2][PAGE];
	struct call *first, *second, *writer;
	int fd = open_file(o, 4 * PAGE);

	NEED(o, !posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM));
	obs_hold(o, FUSE_READ);
	first = obs_call(o, &call_pread, (struct call_arg){
		.fd = fd, .buf = bufs[0], .len = PAGE });
	NEED(o, await_req(&o->m, FUSE_READ, REQ_ARRIVED, 1));
	second = obs_call(o, &call_pread, (struct call_arg){
		.fd = fd, .buf = bufs[1], .len = PAGE });
	saw_key(o, "first", "%s", state(o, first));
	saw_key(o, "second", "%s", state(o, second));
	saw_key(o, "kill", "%s", kill_in(o, &call_pread, (struct call_arg){
		.fd = fd, .buf = bufs[1], .len = PAGE }));
	writer = obs_call(o, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = "w", .len = 1, .off = 10 });
	saw_key(o, "writer", "%s", state(o, writer));
	see_reads(o, "requests");
	obs_release(o);
	saw_key(o, "first_then", "%s", outcome(first));
	saw_key(o, "second_then", "%s", outcome(second));
	saw_key(o, "writer_then", "%s", outcome(writer));
	obs_see(o, fd, "file");
}

/* The file grows and shrinks at the server; statx(2) queries it. */
OBSERVE_BOTH(read, size_changes_at_server)
{
	struct stat shorter = { .st_size = 50 };
	int fd = open_file(o, 100);

	saw_key(o, "before", "%s", read_bytes(fd, 0, PAGE));
	NEED(o, !server_put(o->m.ctl, "file", 100, "nnnn", 4));
	saw_key(o, "grown", "%s", read_bytes(fd, 0, PAGE));
	NEED(o, !run(o, &call_statx, (struct call_arg){ .fd = fd })[1]);
	saw_key(o, "grown_asked", "%s", read_bytes(fd, 0, PAGE));
	NEED(o, !server_setattr(o->m.ctl, "file", &shorter, FATTR_SIZE));
	NEED(o, !run(o, &call_statx, (struct call_arg){ .fd = fd })[1]);
	saw_key(o, "shrunk_asked", "%s", read_bytes(fd, 0, PAGE));
	obs_write(o, fd, 'w', 10, 10);
	obs_see(o, fd, "file");
}

/* The same while the file is dirty, in the page cache only. */
OBSERVE_BOTH(read, size_changes_at_server_while_dirty)
{
	struct stat shorter = { .st_size = 50 };
	int fd = open_file(o, 100);

	memset(obs_map(o, fd, PAGE) + 60, 's', 10);
	obs_write(o, fd, 'w', 80, 50);
	NEED(o, !server_setattr(o->m.ctl, "file", &shorter, FATTR_SIZE));
	NEED(o, !run(o, &call_statx, (struct call_arg){ .fd = fd })[1]);
	saw_key(o, "shrunk", "%s", read_bytes(fd, 0, PAGE));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(read, rwf_nowait)
{
	char buf[100];
	struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };
	int fd = open_file(o, 4 * PAGE);

	/* Readahead may or may not have read it when it is read again. */
	NEED(o, !posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM));
	read_bytes(fd, PAGE, 100);
	saw_key(o, "there", "%s", result(preadv2(fd, &iov, 1, PAGE, RWF_NOWAIT)));
	saw_key(o, "write", "%s", result(pwritev2(fd, &iov, 1, PAGE, RWF_NOWAIT)));
}

OBSERVE_BOTH(read, behind_drop_caches)
{
	int fd = open_file(o, 4 * PAGE);
	char *map = obs_map(o, fd, 4 * PAGE);

	obs_write(o, fd, 'd', PAGE, 100);
	map[2 * PAGE] = 's';
	NEED(o, !write_file("/proc/sys/vm/drop_caches", "3"));
	saw_key(o, "mapped", "%s", bytes(map, 4 * PAGE));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(read, bad_descriptors)
{
	char buf[10], *nowhere = (char *)8;
	int fd = open_file(o, 100);

	saw_key(o, "write_only", "%s", result(pread(obs_open(o, "file", O_WRONLY), buf, 10, 0)));
	saw_key(o, "read_only", "%s", result(pwrite(obs_open(o, "file", O_RDONLY), buf, 10, 0)));
	saw_key(o, "path", "%s", result(pread(obs_open(o, "file", O_PATH), buf, 10, 0)));
	saw_key(o, "negative", "%s", result(pread(fd, buf, 10, -1)));
	saw_key(o, "far", "%s", result(pread(fd, buf, 10, 1LL << 62)));
	saw_key(o, "far_write", "%s", result(pwrite(fd, buf, 10, (1ULL << 63) - 5)));
	saw_key(o, "fault", "%s", result(pread(fd, nowhere, 10, 0)));
	saw_key(o, "fault_write", "%s", result(pwrite(fd, nowhere, 10, 0)));
	obs_see(o, fd, "file");
}
