/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The FUSE server: an engine in a separate process that a test drives over a
 * control channel (control.h), and whose log the test reads (reqlog.h).
 */

#ifndef FUSE_WB_SERVER_H
#define FUSE_WB_SERVER_H

#include <stdbool.h>
#include <sys/types.h>
#include <linux/types.h>

#include "reqlog.h"

/* Missing in older headers. */
#ifndef FUSE_DIRECT_IO_ALLOW_MMAP
#define FUSE_DIRECT_IO_ALLOW_MMAP	0x1000000000ULL
#endif

struct fuse_conn_info;
struct memfs;
struct server;

/**
 * struct server_opts - how the server replies to INIT and OPEN
 * @writeback_cache: request the writeback cache; on a kernel that does not
 *		     offer it the server exits, which the test sees
 * @posix_locks: request POSIX locks, which the server always grants
 * @flock_locks: the same for flock(2) locks
 * @async_dio: request asynchronous direct I/O
 * @readdirplus: request READDIRPLUS in place of READDIR
 * @ask_always: names and attributes have a timeout of 0, so the kernel has to
 *		query them again.  Otherwise they never expire
 * @splice_in: read requests by splice(2)
 * @splice_out: write replies by splice(2)
 * @gaps: read and write with a buffer that is partially mapped: see devio.h
 * @threads: the number that serve requests; 0: one
 * @open_flags: FOPEN_* flags of the replies to OPEN and CREATE, until
 *		server_open_flags() of control.h says otherwise
 * @init_flags: FUSE_* flags of the reply to INIT that libfuse does not know
 * @max_stack_depth: of the reply to INIT, for FUSE_PASSTHROUGH
 * @max_pages: maximum pages in one request, to override libfuse's choice
 * @max_write: maximum bytes in one WRITE; libfuse makes max_pages of it too.
 *	       0: as much as libfuse allows
 * @max_background: maximum background requests; 0: kernel's default
 * @congestion: congestion threshold, in requests; 0: kernel's default
 * @max_readahead: maximum readahead bytes; 0: what the kernel offers
 * @dirty_limit: keep the mount's dirty limit as set by the kernel
 */
struct server_opts {
	bool writeback_cache;
	bool posix_locks;
	bool flock_locks;
	bool async_dio;
	bool readdirplus;
	bool ask_always;
	bool splice_in;
	bool splice_out;
	bool gaps;
	unsigned int threads;
	__u32 open_flags;
	__u64 init_flags;
	unsigned int max_stack_depth;
	unsigned int max_pages;
	unsigned int max_write;
	unsigned int max_background;
	unsigned int congestion;
	unsigned int max_readahead;
	bool dirty_limit;
};

/**
 * server_start() - fork the server
 * @opts: how it replies
 * @dev_fd: a /dev/fuse descriptor that is mounted already; the caller closes
 *	    its own copy, so that the connection ends with the server
 * @log: where it logs
 * @ctl_fd: set to the test's end of the control channel
 *
 * Call it from the main thread: the server is killed when the thread that
 * started it ends.
 *
 * Return: the server's pid, or -1 with errno set.
 */
pid_t server_start(const struct server_opts *opts, int dev_fd,
		   struct reqlog *log, int *ctl_fd);

/*
 * Zero memory that may not be populated yet.  Under UML one call to populate it
 * is fast, and a page fault for each page is much slower.
 */
void server_clear(char *mem, size_t len);

/* For the file system's handlers. */
struct memfs *server_memfs(struct server *srv);
void server_init_conn(struct server *srv, struct fuse_conn_info *conn);

#endif
