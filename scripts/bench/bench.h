/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of the benchmark share. */
#ifndef FUSE_WB_BENCH_H
#define FUSE_WB_BENCH_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdnoreturn.h>
#include <sys/types.h>

/**
 * struct settings - what a measurement is made with, from the command line
 * @dir: directory to measure instead of a FUSE mount, or NULL
 * @block: bytes of a read or write
 * @size: bytes of a file, or of all files where there are many
 * @copies: so many times each block is copied besides, in user space
 * @splice: the server splices what it is sent, instead of reading it
 * @threads: of the server
 * @write_through: the connection has no writeback cache
 * @limits: leave the kernel's own limits on dirty pages in place
 * @tsc: measure in ticks of the TSC: instructions under QEMU with -icount
 * @writes: WRITEs that the server has got, in memory shared with it
 * @at_once: so many calls or writers are under way at a time, if direct
 * @max_write: bytes that a WRITE may carry, and a READ
 * @open_flags: of the server's answer to OPEN
 * @delay: microseconds that a READ or WRITE takes the server
 */
struct settings {
	const char *dir;
	size_t block;
	size_t size;
	unsigned int copies;
	bool splice;
	unsigned int threads;
	bool write_through;
	bool limits;
	bool tsc;
	unsigned int *writes;
	unsigned int at_once;
	size_t max_write;
	__u32 open_flags;
	unsigned int delay;
};

/** die() - say what failed, with errno, and end the process */
noreturn void die(const char *what);

/**
 * mount_server() - mount FUSE and start its server, a process of its own
 * @set: how
 * @dir: where
 * @files: so many files it has room for
 *
 * The server keeps files "f0", "f1", ... of at most @set->size bytes in all.
 *
 * Return: the server's pid.
 */
pid_t mount_server(const struct settings *set, const char *dir,
		   unsigned int files);

/**
 * struct job - what a workload works on
 * @set: the settings
 * @dir: where its files are
 * @buf: a block to write from or read to
 * @from: where the copies of a block are taken from, @set->copies of them
 * @to: where they are put
 * @writer: which of several writers this is
 */
struct job {
	const struct settings *set;
	const char *dir;
	char *buf;
	char *from;
	char *to;
	unsigned int writer;
};

/* What workloads are made of; who fails ends the process. */
int open_file(struct job *job, unsigned int file, int flags);
void read_all(struct job *job, int fd);
void write_all(struct job *job, int fd);
void write_block(struct job *job, int fd, off_t off);

/* A process that does @work to @fd.  Return: for finish_process(). */
pid_t start_process(struct job *job, void (*work)(struct job *job, int fd),
		    int fd);
void finish_process(pid_t pid);

/**
 * struct workload - something to measure
 * @name: on the command line and in the results
 * @prepare: what comes before and is not measured, or NULL
 * @run: what is measured, with its marks
 * @files: files that the server must have room for, 0: as many as are small
 */
struct workload {
	const char *name;
	void (*prepare)(struct job *job);
	void (*run)(struct job *job);
	unsigned int files;
};

/* direct.c: direct reads and writes; see there */
extern const struct workload direct_workloads[];

const struct workload *find_workload(const char *name);

/** mark() - the measured part begins, only fsync is left of it, or it ends */
enum mark { MARK_BEGIN, MARK_SYNC, MARK_END, MARKS };
void mark(enum mark mark);

/** SMALL - bytes of a file where there are many */
#define SMALL 4096

#endif
