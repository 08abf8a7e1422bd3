// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings: where a store is visible, what becomes of it, and which accesses
 * fail.
 */

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "observe.h"

#define PAGE	4096

static sigjmp_buf fault;

static void on_fault(int sig)
{
	siglongjmp(fault, sig);
}

/*
 * SIGBUS is expected; UML complains about each SIGBUS, too, unless SIGSEGV is
 * caught.
 */
static void catch_faults(void)
{
	signal(SIGBUS, on_fault);
	signal(SIGSEGV, on_fault);
}

static const char *fault_name(int sig)
{
	return sig == SIGBUS ? "SIGBUS" : "SIGSEGV";
}

/* The byte at @p, or the signal. */
static const char *load(const char *p)
{
	int sig = sigsetjmp(fault, 1);
	char byte;

	if (sig)
		return fault_name(sig);
	catch_faults();
	byte = *p;
	return bytes(&byte, 1);
}

static const char *store(char *p, char byte)
{
	int sig = sigsetjmp(fault, 1);

	if (sig)
		return fault_name(sig);
	catch_faults();
	*p = byte;
	return "stored";
}

/* A file of @len bytes o at the server, open. */
static int open_file(struct obs *o, size_t len, int flags)
{
	obs_put(o, "file", 'o', len);
	return obs_open(o, "file", flags);
}

static char *map_private(struct obs *o, int fd, size_t len)
{
	char *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	NEED(o, map != MAP_FAILED);
	return map;
}

/* Which of its pages are resident, as "110". */
static const char *resident(struct obs *o, char *map, int pages)
{
	static char text[17];
	unsigned char vec[16];
	int i;

	NEED(o, pages < 17 && !mincore(map, pages * PAGE, vec));
	for (i = 0; i < pages; i++)
		text[i] = '0' + (vec[i] & 1);
	text[pages] = '\0';
	return text;
}

OBSERVE_BOTH(mmap, store_into_private_mapping)
{
	int fd = open_file(o, 3 * PAGE, O_RDWR);
	char *map = map_private(o, fd, 3 * PAGE);

	memset(map + 100, 'p', 100);
	obs_write(o, fd, 'w', 0, 2 * PAGE);
	saw_key(o, "stored_page", "%s", bytes(map, PAGE));
	saw_key(o, "other_page", "%s", bytes(map + PAGE, PAGE));
	saw_key(o, "msync", "%s", result(msync(map, 3 * PAGE, MS_SYNC)));
	NEED(o, !madvise(map, PAGE, MADV_DONTNEED));
	saw_key(o, "after_dontneed", "%s", bytes(map, PAGE));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(mmap, store_into_shared_mapping)
{
	int fd = open_file(o, 3 * PAGE, O_RDWR);
	char *map = obs_map(o, fd, 3 * PAGE);

	memset(map + 100, 's', PAGE);
	saw_key(o, "async", "%s", result(msync(map, 3 * PAGE, MS_ASYNC)));
	saw_key(o, "sent", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
	NEED(o, !madvise(map, 3 * PAGE, MADV_DONTNEED));
	saw_key(o, "after_dontneed", "%s", bytes(map, 3 * PAGE));
	saw_key(o, "sync", "%s", result(msync(map, 3 * PAGE, MS_SYNC)));
	saw_key(o, "sent_then", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
	obs_see(o, fd, "file");
}

/* msync(2) rejects wrong arguments, and sends nothing of clean data. */
OBSERVE_BOTH(mmap, msync_arguments)
{
	int fd = open_file(o, 3 * PAGE, O_RDWR);
	char *map = obs_map(o, fd, 3 * PAGE);

	saw_key(o, "both", "%s", result(msync(map, PAGE, MS_SYNC | MS_ASYNC)));
	saw_key(o, "unaligned", "%s", result(msync(map + 1, PAGE, MS_SYNC)));
	saw_key(o, "invalidate", "%s", result(msync(map, PAGE, MS_INVALIDATE)));
	saw_key(o, "clean", "%s", result(msync(map, PAGE, MS_SYNC)));
	map[2 * PAGE] = 's';
	NEED(o, !munmap(map + PAGE, PAGE));
	saw_key(o, "gap", "%s", result(msync(map, 3 * PAGE, MS_SYNC)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, 0));
}

OBSERVE_BOTH(mmap, beyond_eof)
{
	int fd = open_file(o, 100, O_RDWR);
	char *map = obs_map(o, fd, 2 * PAGE);

	saw_key(o, "load_in_page", "%s", load(map + 200));
	saw_key(o, "store_in_page", "%s", store(map + 200, 's'));
	saw_key(o, "load_again", "%s", load(map + 200));
	saw_key(o, "load_beyond", "%s", load(map + PAGE));
	saw_key(o, "store_beyond", "%s", store(map + PAGE, 's'));
	saw_key(o, "msync", "%s", result(msync(map, PAGE, MS_SYNC)));
	saw_key(o, "sent", "%ld", sent(o, FUSE_WRITE));
	obs_see(o, fd, "file");
	NEED(o, !ftruncate(fd, 2 * PAGE));
	saw_key(o, "grown_in_page", "%s", load(map + 200));
	saw_key(o, "grown_beyond", "%s", load(map + PAGE));
}

OBSERVE_BOTH(mmap, after_truncation)
{
	int fd = open_file(o, 3 * PAGE, O_RDWR);
	char *map = obs_map(o, fd, 3 * PAGE);

	memset(map, 's', 3 * PAGE);
	saw_key(o, "ftruncate", "%s", result(ftruncate(fd, PAGE + 100)));
	saw_key(o, "inside", "%s", load(map + PAGE + 99));
	saw_key(o, "in_page", "%s", load(map + PAGE + 100));
	saw_key(o, "beyond", "%s", load(map + 2 * PAGE));
	NEED(o, !ftruncate(fd, 3 * PAGE));
	saw_key(o, "grown", "%s", bytes(map, 3 * PAGE));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(mmap, mprotect)
{
	int fd = open_file(o, PAGE, O_RDWR);
	int ro = obs_open(o, "file", O_RDONLY);
	char *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	char *ro_map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ro, 0);

	NEED(o, map != MAP_FAILED && ro_map != MAP_FAILED);
	saw_key(o, "before", "%s", load(map));
	saw_key(o, "writable", "%s", result(mprotect(map, PAGE, PROT_READ |
						     PROT_WRITE)));
	saw_key(o, "store", "%s", store(map, 's'));
	NEED(o, !mprotect(map, PAGE, PROT_NONE));
	saw_key(o, "read_only", "%s", result(mprotect(ro_map, PAGE, PROT_READ |
						      PROT_WRITE)));
	saw_key(o, "map_read_only", "%s", mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, ro, 0) ==
		MAP_FAILED ? result(-1) : "mapped");
	saw_key(o, "seen_there", "%s", load(ro_map));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(mmap, mremap)
{
	int fd = open_file(o, PAGE, O_RDWR);
	char *map = obs_map(o, fd, PAGE);

	map[0] = 's';
	NEED(o, !ftruncate(fd, 3 * PAGE));
	map = mremap(map, PAGE, 3 * PAGE, MREMAP_MAYMOVE);
	NEED(o, map != MAP_FAILED);
	map[2 * PAGE] = 't';
	saw_key(o, "bytes", "%s", bytes(map, 3 * PAGE));
	saw_key(o, "shrink", "%s", mremap(map, 3 * PAGE, PAGE, 0) == map ?
		"stays" : "moves or fails");
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(mmap, populate)
{
	int fd = open_file(o, 8 * PAGE, O_RDWR);
	char *map = mmap(NULL, 8 * PAGE, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);

	NEED(o, map != MAP_FAILED);
	saw_key(o, "resident", "%s", resident(o, map, 8));
	saw_key(o, "read", "%ld", sent(o, FUSE_READ));
	mark(o);
	saw_key(o, "bytes", "%s", bytes(map, 8 * PAGE));
	saw_key(o, "requests", "%s", requests(o, FUSE_READ, 0));
}

/* madvise(2) with MADV_REMOVE punches a hole. */
OBSERVE_BOTH(mmap, madvise_remove)
{
	int fd = open_file(o, 4 * PAGE, O_RDWR);
	char *map = obs_map(o, fd, 4 * PAGE);

	memset(map, 's', 4 * PAGE);
	mark(o);
	saw_key(o, "ret", "%s", result(madvise(map + PAGE, PAGE, MADV_REMOVE)));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FALLOCATE, 0));
	saw_key(o, "bytes", "%s", bytes(map, 4 * PAGE));
	obs_see(o, fd, "file");
}

/*
 * A child's store is visible to its parent, or not; the child exits meanwhile.
 */
static void child_stores(struct obs *o, char *map)
{
	pid_t pid = obs_fork(o);

	if (!pid) {
		map[10] = 'c';
		_exit(0);
	}
	NEED(o, !mnt_run(&o->m, &call_waitpid, (struct call_arg){ .fd = pid }));
	saw_key(o, "parent", "%s", bytes(map, 100));
}

OBSERVE_BOTH(mmap, store_of_child_shared)
{
	int fd = open_file(o, 100, O_RDWR);

	child_stores(o, obs_map(o, fd, PAGE));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(mmap, store_of_child_private)
{
	int fd = open_file(o, 100, O_RDWR);
	char *map = map_private(o, fd, PAGE);

	map[20] = 'p';
	child_stores(o, map);
	obs_see(o, fd, "file");
}

/*
 * The process that stored closes the file, and its exit unmaps it: what is
 * there then?
 */
OBSERVE_BOTH(mmap, end_of_process_with_stores)
{
	char *map;
	pid_t pid;
	int fd;

	obs_put(o, "file", 'o', 2 * PAGE);
	pid = obs_fork(o);
	if (!pid) {
		fd = obs_open(o, "file", O_RDWR);
		map = obs_map(o, fd, 2 * PAGE);
		close(fd);
		memset(map, 's', 5000);
		_exit(0);
	}
	NEED(o, !mnt_run(&o->m, &call_waitpid, (struct call_arg){ .fd = pid }));
	NEED(o, await_req(&o->m, FUSE_RELEASE, REQ_REPLIED, 1));
	saw_key(o, "requests", "%s", requests(o, FUSE_FLUSH, FUSE_WRITE, FUSE_RELEASE, 0));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

OBSERVE_BOTH(mmap, munmap_behind_close)
{
	int fd = open_file(o, 2 * PAGE, O_RDWR);
	char *map = obs_map(o, fd, 2 * PAGE);

	NEED(o, !close(fd));
	memset(map, 's', 5000);
	mark(o);
	saw_key(o, "munmap", "%s", result(munmap(map, 2 * PAGE)));
	NEED(o, await_req(&o->m, FUSE_RELEASE, REQ_REPLIED, 1));
	saw_key(o, "requests", "%s", requests(o, FUSE_WRITE, FUSE_FSYNC, FUSE_RELEASE, 0));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/*
 * Its pages are dropped when the server invalidates the file; stores are sent
 * before.
 */
OBSERVE_BOTH(mmap, resident_after_invalidation)
{
	int fd = open_file(o, 4 * PAGE, O_RDWR);
	char *map = obs_map(o, fd, 4 * PAGE);

	NEED(o, !madvise(map, 4 * PAGE, MADV_POPULATE_READ));
	saw_key(o, "before", "%s", resident(o, map, 4));
	map[PAGE] = 's';
	mark(o);
	saw_key(o, "inval", "%d", server_inval(o->m.ctl, 2, 2 * PAGE, PAGE));
	saw_key(o, "other_page", "%s", resident(o, map, 4));
	saw_key(o, "inval_all", "%d", server_inval(o->m.ctl, 2, 0, 0));
	saw_key(o, "after", "%s", resident(o, map, 4));
	saw_key(o, "sent", "%s", requests(o, FUSE_WRITE, 0));
	NEED(o, !server_put(o->m.ctl, "file", 0, "nnn", 3));
	saw_key(o, "bytes", "%s", bytes(map, 4 * PAGE));
}

/* A store to a page with its WRITE held. */
OBSERVE_BOTH(mmap, store_beside_held_write)
{
	int fd = open_file(o, 2 * PAGE, O_RDWR);
	char *map = obs_map(o, fd, 2 * PAGE);
	struct call_arg arg = { .buf = "t", .to = map + 10, .len = 1 };
	struct call *c;

	map[0] = 's';
	obs_hold_writes(o, fd, 1);
	saw_key(o, "load", "%s", load(map));
	saw_key(o, "elsewhere", "%s", store(map + PAGE, 'e'));
	c = obs_call(o, &call_store, arg);
	saw_key(o, "held", "%s", state(o, c));
	obs_release(o);
	saw_key(o, "then", "%s", outcome(c));
	obs_see(o, fd, "file");
}

/* Read and write with a buffer that is a mapping of the same bytes. */
OBSERVE_BOTH(mmap, as_buffer_of_its_own_file)
{
	int fd = open_file(o, 2 * PAGE, O_RDWR);
	char *map = obs_map(o, fd, 2 * PAGE);

	saw_key(o, "write", "%s", result(pwrite(fd, map, 100, 50)));
	map[0] = 's';
	saw_key(o, "write_behind", "%s", result(pwrite(fd, map, 10, 2 * PAGE)));
	saw_key(o, "pread", "%s", result(pread(fd, map + PAGE, 100, 0)));
	obs_see(o, fd, "file");
}

/* With FOPEN_DIRECT_IO, only a private mapping is allowed. */
OBSERVE_BOTH(mmap, of_direct_io_file, .open_flags = FOPEN_DIRECT_IO)
{
	int fd = open_file(o, PAGE, O_RDWR);
	char *map;

	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	saw_key(o, "shared", "%s", map == MAP_FAILED ? result(-1) : "mapped");
	map = map_private(o, fd, PAGE);
	saw_key(o, "private", "%s", load(map));
	obs_write(o, fd, 'w', 0, 100);
	map = map_private(o, fd, PAGE);
	saw_key(o, "mapped_again", "%s", bytes(map, PAGE));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(mmap, of_direct_io_file_allowed, .open_flags = FOPEN_DIRECT_IO,
	     .init_flags = FUSE_DIRECT_IO_ALLOW_MMAP)
{
	int fd = open_file(o, 2 * PAGE, O_RDWR);
	char *map = obs_map(o, fd, 2 * PAGE);

	map[0] = 's';
	saw_key(o, "pread", "%s", read_bytes(fd, 0, 100));
	obs_write(o, fd, 'w', 50, 10);
	saw_key(o, "bytes", "%s", bytes(map, 100));
	map[1] = 't';
	saw_key(o, "msync", "%s", result(msync(map, PAGE, MS_SYNC)));
	obs_see(o, fd, "file");
}
