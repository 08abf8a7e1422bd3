// SPDX-License-Identifier: GPL-2.0
/*
 * bench [OPTIONS] WORKLOAD BLOCK: measure one workload, and print a line of what
 * came out and what it was measured with, as KEY=VALUE.
 *
 *	-d DIR	files of DIR, instead of a FUSE mount of its own
 *	-i	the server opens files with FOPEN_DIRECT_IO
 *	-k N	copy each block N times besides, in user space
 *	-l	leave the kernel's limits on dirty pages as they are
 *	-m SIZE	bytes that a WRITE may carry, and a READ
 *	-n N	N calls or writers at a time, for direct I/O
 *	-p	the server splices
 *	-P	the server opens files with FOPEN_PARALLEL_DIRECT_WRITES
 *	-s SIZE	bytes of a file, or of all where there are many
 *	-t N	the server has N threads
 *	-T	measure in ticks of the TSC
 *	-w	write-through: no writeback cache
 *	-y USEC	a READ or WRITE takes the server so long
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "bench.h"

static struct settings set = {
	.size = 64 << 20,
	.threads = 1,
	.at_once = 1,
	.max_write = 1 << 20,
	.open_flags = FOPEN_KEEP_CACHE,
};

static __u64 marks[MARKS];

/* WRITEs before that */
static unsigned int writes[MARKS];

void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static __u64 now(void)
{
	struct timespec ts;

	if (set.tsc)
		return __builtin_ia32_rdtsc();
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/*
 * The instruction does nothing; the profiler knows it by its bytes, and counts
 * between the first mark and the last.
 */
void mark(enum mark mark)
{
	if (mark != MARK_SYNC)
		asm volatile(".byte 0x0f, 0x1f, 0x80, 0x77, 0x62, 0x6d, 0x6b");
	writes[mark] = *set.writes;
	marks[mark] = now();
}

static size_t number(const char *text)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 0);

	switch (*end) {
	case 'M':
		value <<= 20;
		break;
	case 'k':
		value <<= 10;
		break;
	}
	return value;
}

static void *memory(size_t bytes)
{
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (mem == MAP_FAILED)
		die("allocating");
	memset(mem, 0x5a, bytes);
	return mem;
}

static void bdi_path(const char *dir, const char *name, char path[80])
{
	struct stat st;

	if (stat(dir, &st))
		die(dir);
	snprintf(path, 80, "/sys/class/bdi/%u:%u/%s", major(st.st_dev),
		 minor(st.st_dev), name);
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

static void print_setting(const char *name, const char *path)
{
	FILE *file = fopen(path, "re");
	long value;

	if (file && fscanf(file, "%ld", &value) == 1)
		printf(" %s=%ld", name, value);
	if (file)
		fclose(file);
}

/* Do not let the kernel throttle the writer: not what is measured here. */
static void lift_limits(const char *dir)
{
	char path[80];

	bdi_path(dir, "strict_limit", path);
	write_text(path, "0");
	bdi_path(dir, "max_ratio", path);
	write_text(path, "100");
}

static void print_settings(const char *dir)
{
	static const char * const vm[] = {
		"dirty_background_ratio", "dirty_background_bytes",
		"dirty_ratio", "dirty_bytes", "dirty_writeback_centisecs",
		NULL
	};
	char path[80];
	size_t i;

	for (i = 0; vm[i]; i++) {
		snprintf(path, sizeof(path), "/proc/sys/vm/%s", vm[i]);
		print_setting(vm[i], path);
	}
	if (set.dir)
		return;
	bdi_path(dir, "strict_limit", path);
	print_setting("strict_limit", path);
	bdi_path(dir, "max_ratio", path);
	print_setting("max_ratio", path);
	/* What the server asks for, and libfuse makes of it */
	printf(" max_write=%zu max_pages=%zu max_background=64", set.max_write,
	       set.max_write / 4096);
}

static void print_result(const struct workload *load, const char *dir)
{
	printf("workload=%s block=%zu size=%zu target=%s copies=%u threads=%u",
	       load->name, set.block, set.size,
	       set.dir ? "dir" : set.splice ? "splice" : "copy", set.copies,
	       set.threads);
	printf(" at_once=%u delay=%u open_flags=%#x", set.at_once, set.delay,
	       set.open_flags);
	printf(" cache=%s limits=%s unit=%s work=%llu sync=%llu",
	       set.write_through ? "through" : "back",
	       set.limits ? "default" : "lifted", set.tsc ? "ticks" : "ns",
	       marks[MARK_SYNC] - marks[MARK_BEGIN],
	       marks[MARK_END] - marks[MARK_SYNC]);
	if (!set.dir)
		printf(" writes=%u", writes[MARK_END] - writes[MARK_BEGIN]);
	print_settings(dir);
	printf("\n");
	fflush(stdout);
}

static const struct workload *parse(int argc, char **argv)
{
	const struct workload *load = NULL;
	int opt;

	while ((opt = getopt(argc, argv, "d:ik:lm:n:pPs:t:Twy:")) != -1) {
		switch (opt) {
		case 'd':
			set.dir = optarg;
			break;
		case 'i':
			set.open_flags |= FOPEN_DIRECT_IO;
			break;
		case 'k':
			set.copies = number(optarg);
			break;
		case 'l':
			set.limits = true;
			break;
		case 'm':
			set.max_write = number(optarg);
			break;
		case 'n':
			set.at_once = number(optarg);
			break;
		case 'p':
			set.splice = true;
			break;
		case 'P':
			set.open_flags |= FOPEN_PARALLEL_DIRECT_WRITES;
			break;
		case 's':
			set.size = number(optarg);
			break;
		case 't':
			set.threads = number(optarg);
			break;
		case 'T':
			set.tsc = true;
			break;
		case 'w':
			set.write_through = true;
			break;
		case 'y':
			set.delay = number(optarg);
			break;
		}
	}
	if (argc == optind + 2) {
		load = find_workload(argv[optind]);
		set.block = number(argv[optind + 1]);
	}
	if (!load || !set.block || set.size % set.block || set.size % SMALL ||
	    (set.size / set.block & (set.size / set.block - 1))) {
		fputs("usage: bench [-ilpPTw] [-d DIR] [-k COPIES] [-m SIZE] [-n N] [-s SIZE]\n"
		      "	[-t N] [-y USEC] WORKLOAD BLOCK\n"
		      "SIZE is BLOCK times a power of two\n", stderr);
		exit(2);
	}
	return load;
}

int main(int argc, char **argv)
{
	const struct workload *load = parse(argc, argv);
	char dir[256] = "/tmp/bench.XXXXXX";
	struct job job = { .set = &set, .dir = dir };
	pid_t server = 0;
	int status;

	set.writes = mmap(NULL, sizeof(*set.writes), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (set.writes == MAP_FAILED)
		die("allocating");
	if (set.dir)
		snprintf(dir, sizeof(dir), "%s/bench.XXXXXX", set.dir);
	if (!mkdtemp(dir))
		die(dir);
	if (!set.dir) {
		server = mount_server(&set, dir,
				      load->files ?: set.size / SMALL);
		if (!set.limits)
			lift_limits(dir);
	}
	job.buf = memory(set.block);
	job.from = memory(set.block);
	job.to = memory(set.block);
	if (load->prepare)
		load->prepare(&job);
	load->run(&job);
	print_result(load, dir);

	/* The files of a directory go with the guest, or with its owner. */
	if (server && (umount2(dir, 0) || waitpid(server, &status, 0) < 0 ||
		       status))
		die("unmounting");
	return 0;
}
