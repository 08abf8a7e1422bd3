// SPDX-License-Identifier: GPL-2.0
/*
 * Direct reads and writes of a file that is there: block by block, many by
 * libaio, or by many writers. The file is opened with O_DIRECT, also where the
 * server opens it with FOPEN_DIRECT_IO: the requests of a write(2) go together
 * with O_DIRECT alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "bench.h"

static int open_direct(struct job *job)
{
	return open_file(job, 0, O_RDWR | O_DIRECT);
}

static void make_file(struct job *job)
{
	int fd = open_file(job, 0, O_RDWR | O_CREAT);

	if (ftruncate(fd, job->set->size))
		die("making a file");
	close(fd);
}

/* Once more before, so that the threads of the server are there. */
static void measure(struct job *job, void (*work)(struct job *job, int fd))
{
	int fd = open_direct(job);

	work(job, fd);
	mark(MARK_BEGIN);
	work(job, fd);
	mark(MARK_SYNC);
	mark(MARK_END);
	close(fd);
}

static void run_reads(struct job *job)
{
	measure(job, read_all);
}

static void run_writes(struct job *job)
{
	measure(job, write_all);
}

static aio_context_t ctx;

/* All calls use the same memory: nobody looks at what is in it. */
static void submit(struct job *job, int fd, int cmd, size_t off)
{
	struct iocb cb = {
		.aio_lio_opcode = cmd,
		.aio_fildes = fd,
		.aio_buf = (__u64)(unsigned long)job->buf,
		.aio_nbytes = job->set->block,
		.aio_offset = off,
	};
	struct iocb *list = &cb;

	if (syscall(SYS_io_submit, ctx, 1, &list) != 1)
		die("io_submit");
}

static void wait_for_one(struct job *job)
{
	struct io_event ev;

	if (syscall(SYS_io_getevents, ctx, 1, 1, &ev, NULL) != 1)
		die("io_getevents");
	if (ev.res == (__s64)job->set->block)
		return;
	errno = ev.res < 0 ? -ev.res : EIO;
	die("libaio");
}

/* As many as may be under way are so until the last has been submitted. */
static void do_aio(struct job *job, int fd, int cmd)
{
	size_t off, block = job->set->block;
	unsigned int under_way = 0;

	for (off = 0; off < job->set->size; off += block) {
		if (under_way == job->set->at_once) {
			wait_for_one(job);
			under_way--;
		}
		submit(job, fd, cmd, off);
		under_way++;
	}
	while (under_way--)
		wait_for_one(job);
}

static void do_aio_reads(struct job *job, int fd)
{
	do_aio(job, fd, IOCB_CMD_PREAD);
}

static void do_aio_writes(struct job *job, int fd)
{
	do_aio(job, fd, IOCB_CMD_PWRITE);
}

/* The context ends with the process: to destroy it takes tens of milliseconds. */
static void run_aio(struct job *job, void (*work)(struct job *job, int fd))
{
	if (syscall(SYS_io_setup, job->set->at_once, &ctx))
		die("io_setup");
	measure(job, work);
}

static void run_aio_reads(struct job *job)
{
	run_aio(job, do_aio_reads);
}

static void run_aio_writes(struct job *job)
{
	run_aio(job, do_aio_writes);
}

/* Who is ready says so in one pipe, and waits for the end of the other. */
static int ready[2], begin[2];

/*
 * Every so many blocks one is this writer's. The buffer is a copy of the parent's by
 * then: to pin a page that two processes share copies it, which is four times the work
 * of sending it.
 */
static void write_share(struct job *job, int fd)
{
	size_t off, block = job->set->block;
	char c = 0;

	memset(job->buf, 1 + job->writer, block);
	close(begin[1]);
	if (write(ready[1], &c, 1) != 1 || read(begin[0], &c, 1))
		die("waiting for the others");
	for (off = job->writer * block; off < job->set->size;
	     off += job->set->at_once * block)
		write_block(job, fd, off);
}

static void do_writers(struct job *job, int fd, bool measured)
{
	unsigned int i, writers = job->set->at_once;
	pid_t *pids = calloc(writers, sizeof(*pids));
	char c;

	if (!pids || pipe(ready) || pipe(begin))
		die("memory");
	for (i = 0; i < writers; i++) {
		struct job share = *job;

		share.writer = i;
		pids[i] = start_process(&share, write_share, fd);
	}
	for (i = 0; i < writers; i++)
		if (read(ready[0], &c, 1) != 1)
			die("waiting for the writers");
	if (measured)
		mark(MARK_BEGIN);
	close(begin[1]);
	for (i = 0; i < writers; i++)
		finish_process(pids[i]);
	if (measured) {
		mark(MARK_SYNC);
		mark(MARK_END);
	}
	close(begin[0]);
	close(ready[0]);
	close(ready[1]);
	free(pids);
}

static void run_writers(struct job *job)
{
	int fd = open_direct(job);

	do_writers(job, fd, false);
	do_writers(job, fd, true);
	close(fd);
}

const struct workload direct_workloads[] = {
	{ .name = "direct-read", .prepare = make_file, .run = run_reads,
	  .files = 1 },
	{ .name = "direct-write", .prepare = make_file, .run = run_writes,
	  .files = 1 },
	{ .name = "aio-read", .prepare = make_file, .run = run_aio_reads,
	  .files = 1 },
	{ .name = "aio-write", .prepare = make_file, .run = run_aio_writes,
	  .files = 1 },
	{ .name = "writers", .prepare = make_file, .run = run_writers,
	  .files = 1 },
	{ .name = NULL }
};
