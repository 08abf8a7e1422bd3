// SPDX-License-Identifier: GPL-2.0
/* What is measured: see struct workload. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bench.h"

int open_file(struct job *job, unsigned int file, int flags)
{
	char name[256];
	int fd;

	snprintf(name, sizeof(name), "%s/f%u", job->dir, file);
	fd = open(name, flags | O_CLOEXEC, 0644);
	if (fd < 0)
		die(name);
	return fd;
}

/* What the protocol costs at the least, where the workload runs on tmpfs. */
static void copy(struct job *job, size_t bytes)
{
	unsigned int i;

	for (i = 0; i < job->set->copies; i++) {
		memcpy(job->to, job->from, bytes);
		/* The compiler must not drop it */
		asm volatile("" : : "r"(job->to) : "memory");
	}
}

void write_block(struct job *job, int fd, off_t off)
{
	size_t block = job->set->block;

	if (pwrite(fd, job->buf, block, off) != (ssize_t)block)
		die("writing");
	copy(job, block);
}

static void read_block(struct job *job, int fd, off_t off)
{
	size_t block = job->set->block;

	if (pread(fd, job->buf, block, off) != (ssize_t)block)
		die("reading");
	copy(job, block);
}

static void sync_file(int fd)
{
	if (fsync(fd))
		die("fsync");
}

void write_all(struct job *job, int fd)
{
	size_t off;

	for (off = 0; off < job->set->size; off += job->set->block)
		write_block(job, fd, off);
}

void read_all(struct job *job, int fd)
{
	size_t off;

	for (off = 0; off < job->set->size; off += job->set->block)
		read_block(job, fd, off);
}

/* A file that is there, clean and in the page cache. */
static int cached_file(struct job *job, unsigned int file)
{
	int fd = open_file(job, file, O_RDWR | O_CREAT);
	struct settings set = *job->set;
	struct job whole = *job;

	set.copies = 0;
	whole.set = &set;
	write_all(&whole, fd);
	sync_file(fd);
	return fd;
}

static void make_cached(struct job *job)
{
	close(cached_file(job, 0));
}

static void make_uncached(struct job *job, unsigned int file)
{
	int fd = cached_file(job, file);

	if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		die("dropping the page cache");
	close(fd);
}

static void make_first_uncached(struct job *job)
{
	make_uncached(job, 0);
}

static void make_second_uncached(struct job *job)
{
	make_uncached(job, 1);
}

/* Sequential writes to a new file. */
static void run_seq(struct job *job)
{
	int fd = open_file(job, 0, O_RDWR | O_CREAT);

	mark(MARK_BEGIN);
	write_all(job, fd);
	mark(MARK_SYNC);
	sync_file(fd);
	mark(MARK_END);
	close(fd);
}

/* The same to a file that is in the page cache. */
static void run_rewrite(struct job *job)
{
	run_seq(job);
}

/* Each block of a file that is not in the page cache, in a scattered order. */
static void run_rand(struct job *job)
{
	int fd = open_file(job, 0, O_RDWR);
	size_t blocks = job->set->size / job->set->block, i;

	mark(MARK_BEGIN);
	/* An odd number meets each of 2^n blocks once */
	for (i = 0; i < blocks; i++)
		write_block(job, fd,
			    (i * 0x9e3779b1 & (blocks - 1)) * job->set->block);
	mark(MARK_SYNC);
	sync_file(fd);
	mark(MARK_END);
	close(fd);
}

/* Stores to a shared mapping of a file that is in the page cache. */
static void run_mmap(struct job *job)
{
	int fd = open_file(job, 0, O_RDWR);
	size_t off, block = job->set->block;
	char *map;

	map = mmap(NULL, job->set->size, PROT_READ | PROT_WRITE, MAP_SHARED,
		   fd, 0);
	if (map == MAP_FAILED)
		die("mapping a file");
	mark(MARK_BEGIN);
	for (off = 0; off < job->set->size; off += block) {
		memcpy(map + off, job->buf, block);
		copy(job, block);
	}
	mark(MARK_SYNC);
	sync_file(fd);
	mark(MARK_END);
	munmap(map, job->set->size);
	close(fd);
}

/* Many small files, each written with one write and closed. */
static void run_small(struct job *job)
{
	unsigned int file, files = job->set->size / SMALL;
	struct settings set = *job->set;
	struct job small = *job;
	int fd;

	set.block = SMALL;
	small.set = &set;
	mark(MARK_BEGIN);
	for (file = 0; file < files; file++) {
		fd = open_file(&small, file, O_RDWR | O_CREAT);
		write_block(&small, fd, 0);
		close(fd);
	}
	mark(MARK_SYNC);
	mark(MARK_END);
}

static void run_read(struct job *job)
{
	int fd = open_file(job, 0, O_RDONLY);

	mark(MARK_BEGIN);
	read_all(job, fd);
	mark(MARK_SYNC);
	mark(MARK_END);
	close(fd);
}

static void write_and_sync(struct job *job, int fd)
{
	write_all(job, fd);
	sync_file(fd);
}

pid_t start_process(struct job *job, void (*work)(struct job *job, int fd),
		    int fd)
{
	pid_t pid = fork();

	if (pid < 0)
		die("starting a process");
	if (!pid) {
		work(job, fd);
		_exit(0);
	}
	return pid;
}

void finish_process(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status)
		die("waiting for another process");
}

/* One process writes and syncs file 0, another does @other to file 1. */
static void run_pair(struct job *job, void (*other)(struct job *job, int fd))
{
	int first = open_file(job, 0, O_RDWR | O_CREAT);
	int second = open_file(job, 1, O_RDWR | O_CREAT);
	pid_t pid;

	mark(MARK_BEGIN);
	pid = start_process(job, other, second);
	write_and_sync(job, first);
	finish_process(pid);
	mark(MARK_SYNC);
	mark(MARK_END);
	close(first);
	close(second);
}

static void run_two(struct job *job)
{
	run_pair(job, write_and_sync);
}

static void run_mixed(struct job *job)
{
	run_pair(job, read_all);
}

static const struct workload workloads[] = {
	{ .name = "seq", .run = run_seq, .files = 1 },
	{ .name = "rewrite", .prepare = make_cached, .run = run_rewrite,
	  .files = 1 },
	{ .name = "rand", .prepare = make_first_uncached, .run = run_rand,
	  .files = 1 },
	{ .name = "mmap", .prepare = make_cached, .run = run_mmap, .files = 1 },
	{ .name = "small", .run = run_small },
	{ .name = "two", .run = run_two, .files = 2, },
	{ .name = "mixed", .prepare = make_second_uncached, .run = run_mixed,
	  .files = 2 },
	{ .name = "read", .prepare = make_first_uncached, .run = run_read,
	  .files = 1 },
	{ .name = NULL }
};

static const struct workload *find_in(const struct workload *load,
				      const char *name)
{
	while (load->name && strcmp(load->name, name))
		load++;
	return load->name ? load : NULL;
}

const struct workload *find_workload(const char *name)
{
	return find_in(workloads, name) ?: find_in(direct_workloads, name);
}
