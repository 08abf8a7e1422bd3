// SPDX-License-Identifier: GPL-2.0
/* Random operations on a file, checked against a model, see fsx.h. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "fsx.h"
#include "mnt.h"
#include "proc.h"
#include "wait.h"

/* Relative weights of the operations. */
static const struct {
	const char *name;
	unsigned int weight;
} ops[FSX_OPS] = {
	[FSX_READ]		= { "read", 10 },
	[FSX_WRITE]		= { "write", 14 },
	[FSX_MAP_READ]		= { "map read", 8 },
	[FSX_MAP_WRITE]		= { "map write", 12 },
	[FSX_DIRECT_READ]	= { "direct read", 6 },
	[FSX_DIRECT_WRITE]	= { "direct write", 6 },
	[FSX_PUNCH]		= { "punch hole", 3 },
	[FSX_ZERO]		= { "zero range", 3 },
	[FSX_COPY]		= { "copy range", 4 },
	[FSX_FSYNC]		= { "fsync", 3 },
	[FSX_SYNC_RANGE]	= { "start writeback", 10 },
	[FSX_DROP]		= { "drop caches", 1 },
	[FSX_APPEND]		= { "append", 5 },
	[FSX_TRUNCATE]		= { "truncate", 6 },
	[FSX_ALLOCATE]		= { "allocate", 3 },
};

static __u64 env_number(const char *name, __u64 otherwise)
{
	const char *text = getenv(name);

	return text && text[0] ? strtoull(text, NULL, 0) : otherwise;
}

__u64 fsx_seed(void)
{
	__u64 seed = env_number("FUSE_WB_SEED", now_usec());

	printf("# FUSE_WB_SEED=%llu\n", seed);
	fflush(stdout);
	return seed;
}

unsigned long fsx_rounds(unsigned long rounds)
{
	return env_number("FUSE_WB_ROUNDS", rounds);
}

unsigned int fsx_seconds(void)
{
	return env_number("FUSE_WB_ROUNDS", 0) ? FSX_SECONDS : 0;
}

/* splitmix64: any seed works, including 0. */
static __u64 next_random(struct fsx *f)
{
	__u64 z = f->rng += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static size_t below(struct fsx *f, size_t limit)
{
	return limit ? next_random(f) % limit : 0;
}

static int complain(struct fsx *f, const char *what)
{
	unsigned long i = f->done > FSX_HISTORY ? f->done - FSX_HISTORY : 0;

	fprintf(stderr, "# process %u: %s; the last operations were:\n",
		f->turn, what);
	for (; i < f->done; i++)
		fprintf(stderr, "#   %6lu %s\n", i + 1,
			f->line[i % FSX_HISTORY]);
	fprintf(stderr, "# to repeat this: FUSE_WB_SEED=%llu\n", f->seed);
	return -1;
}

static int call_failed(struct fsx *f, const char *what)
{
	char text[128];

	snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
	return complain(f, text);
}

static int check(struct fsx *f, const char *seen, size_t off, size_t len)
{
	long at = first_difference(f->model + off, seen, len);
	char text[128];

	if (at < 0)
		return 0;
	snprintf(text, sizeof(text), "byte %zu is %#x and not %#x", off + at,
		 (unsigned char)seen[at], (unsigned char)f->model[off + at]);
	return complain(f, text);
}

int fsx_open(struct fsx *f, struct mnt *m, const char *name, char *model,
	     size_t size, __u64 seed)
{
	f->m = m;
	f->name = name;
	f->model = model;
	f->size = size;
	f->seed = seed;
	f->fd = mnt_open(m, name, O_RDWR | f->flags);
	f->direct = mnt_open(m, name, O_RDWR | O_DIRECT);
	f->buf = malloc(FSX_MAX);
	if (f->fd < 0 || f->direct < 0 || !f->buf)
		return -1;
	if (!(f->ops & FSX_MAP))
		return 0;
	f->map = mmap(NULL, FSX_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd,
		      0);
	return f->map == MAP_FAILED ? call_failed(f, "mmap") : 0;
}

/* A range that this process owns; of whole pages, if @pages. */
static void choose_range(struct fsx *f, size_t end, bool pages, size_t *off,
			 size_t *len)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t from = 0, to = end;

	if (f->turns > 1) {
		size_t pairs = end / (f->turns * FSX_STRIPE);

		from = (below(f, pairs) * f->turns + f->turn) * FSX_STRIPE;
		to = from + FSX_STRIPE;
		if (pages) {
			from = (from + page - 1) / page * page;
			to = to / page * page;
		}
	}
	*off = from + below(f, to - from);
	*len = 1 + below(f, to - *off < 40000 ? to - *off : 40000);
	if (*off + *len > to)
		*len = to - *off;
	if (f->turns > 1 && pages) {
		*off = *off / page * page;
		*len = page;
	}
}

static void new_bytes(struct fsx *f, size_t len)
{
	__u64 bits = next_random(f);
	size_t i;

	for (i = 0; i < len; i++)
		f->buf[i] = bits >> (i % 8 * 8) ^ i / 8;
}

static int write_at(struct fsx *f, int fd, size_t off, size_t len)
{
	ssize_t ret;

	new_bytes(f, len);
	ret = pwrite(fd, f->buf, len, off);
	if (ret != (ssize_t)len)
		return call_failed(f, "pwrite");
	if (off > f->size)
		memset(f->model + f->size, 0, off - f->size);
	memcpy(f->model + off, f->buf, len);
	if (off + len > f->size)
		f->size = off + len;
	return 0;
}

static int read_at(struct fsx *f, int fd, size_t off, size_t len)
{
	ssize_t ret = pread(fd, f->buf, len, off);

	if (ret != (ssize_t)len) {
		if (ret >= 0)
			return complain(f, "the file ends too early");
		return call_failed(f, "pread");
	}
	return check(f, f->buf, off, len);
}

static int change_size(struct fsx *f, size_t size)
{
	if (size > f->size)
		memset(f->model + f->size, 0, size - f->size);
	f->size = size;
	return 0;
}

static int zero_range(struct fsx *f, int mode, size_t off, size_t len)
{
	if (fallocate(f->fd, mode | FALLOC_FL_KEEP_SIZE, off, len))
		return call_failed(f, "fallocate");
	memset(f->model + off, 0, len);
	return 0;
}

static int copy_range(struct fsx *f, size_t off, size_t len)
{
	size_t source, room;
	loff_t from, to = off;
	ssize_t ret;

	/* A source that this process owns, which does not overlap. */
	choose_range(f, f->size, true, &source, &room);
	if (len > room)
		len = room;
	if (source < off + len && off < source + len)
		return 0;
	from = source;
	memcpy(f->buf, f->model + from, len);
	ret = copy_file_range(f->fd, &from, f->fd, &to, len, 0);
	if (ret != (ssize_t)len)
		return call_failed(f, "copy_file_range");
	memcpy(f->model + off, f->buf, len);
	return 0;
}

static int do_op(struct fsx *f, enum fsx_op op, size_t off, size_t len)
{
	switch (op) {
	case FSX_READ:
		return read_at(f, f->fd, off, len);
	case FSX_DIRECT_READ:
		return read_at(f, f->direct, off, len);
	case FSX_WRITE:
	case FSX_APPEND:
		return write_at(f, f->fd, off, len);
	case FSX_DIRECT_WRITE:
		return write_at(f, f->direct, off, len);
	case FSX_MAP_READ:
		return check(f, f->map + off, off, len);
	case FSX_MAP_WRITE:
		new_bytes(f, len);
		memcpy(f->map + off, f->buf, len);
		memcpy(f->model + off, f->buf, len);
		return 0;
	case FSX_PUNCH:
		return zero_range(f, FALLOC_FL_PUNCH_HOLE, off, len);
	case FSX_ZERO:
		return zero_range(f, FALLOC_FL_ZERO_RANGE, off, len);
	case FSX_COPY:
		return copy_range(f, off, len);
	case FSX_FSYNC:
		return fsync(f->fd) ? call_failed(f, "fsync") : 0;
	case FSX_SYNC_RANGE:
		return sync_file_range(f->fd, off, len, SYNC_FILE_RANGE_WRITE) ?
		       call_failed(f, "sync_file_range") : 0;
	case FSX_DROP:
		return write_file("/proc/sys/vm/drop_caches", "1") ?
		       call_failed(f, "dropping caches") : 0;
	case FSX_TRUNCATE:
		return ftruncate(f->fd, off) ? call_failed(f, "ftruncate") :
		       change_size(f, off);
	case FSX_ALLOCATE:
		if (fallocate(f->fd, 0, off, len))
			return call_failed(f, "fallocate");
		return off + len > f->size ? change_size(f, off + len) : 0;
	default:
		return complain(f, "no such operation");
	}
}

static enum fsx_op choose_op(struct fsx *f)
{
	unsigned int sum = 0, at, i;

	for (i = 0; i < FSX_OPS; i++)
		sum += f->ops >> i & 1 ? ops[i].weight : 0;
	at = below(f, sum);
	for (i = 0; i < FSX_OPS; i++) {
		if (!(f->ops >> i & 1))
			continue;
		if (at < ops[i].weight)
			break;
		at -= ops[i].weight;
	}
	return i;
}

/* Choose where to apply an operation. */
static void choose_place(struct fsx *f, enum fsx_op op, size_t *off,
			 size_t *len)
{
	switch (op) {
	case FSX_WRITE:
	case FSX_DIRECT_WRITE:
		/* With one process this may leave a hole beyond EOF. */
		choose_range(f, f->turns > 1 || f->grows ? f->size : FSX_MAX,
			     op == FSX_DIRECT_WRITE || f->past_cache, off,
			     len);
		break;
	case FSX_TRUNCATE:
	case FSX_ALLOCATE:
		choose_range(f, f->grows ? f->size : FSX_MAX, false, off, len);
		break;
	case FSX_APPEND:
		*off = f->size;
		*len = below(f, FSX_MAX - f->size < 9000 ?
				FSX_MAX - f->size : 9000);
		break;
	case FSX_READ:
	case FSX_MAP_READ:
	case FSX_MAP_WRITE:
		choose_range(f, f->size, false, off, len);
		break;
	default:
		choose_range(f, f->size, true, off, len);
	}
}

/* The size as the kernel sees it; with two processes it is constant. */
static int check_size(struct fsx *f)
{
	struct stat st;

	if (fstat(f->fd, &st))
		return call_failed(f, "fstat");
	if ((size_t)st.st_size == f->size ||
	    (f->grows && (size_t)st.st_size > f->size))
		return 0;
	return complain(f, "fstat returns another size");
}

int fsx_run(struct fsx *f, unsigned long rounds)
{
	f->rng = f->seed * 2 + f->turn;
	while (rounds--) {
		enum fsx_op op = choose_op(f);
		size_t off, len;
		char *line = f->line[f->done % FSX_HISTORY];

		choose_place(f, op, &off, &len);
		snprintf(line, FSX_LINE, "%s, bytes %zu to %zu of %zu",
			 ops[op].name, off, off + len, f->size);
		f->done++;
		/* An empty file has no bytes to read, map or punch. */
		if (!len && op != FSX_TRUNCATE)
			continue;
		if (do_op(f, op, off, len) || check_size(f))
			return -1;
	}
	return 0;
}

int fsx_check_server(struct fsx *f)
{
	if (fsync(f->fd))
		return call_failed(f, "fsync");
	if (await_writes(f->m))
		return -1;
	if (!f->grows &&
	    server_size(f->m->ctl, f->name) != (long long)f->size)
		return complain(f, "the server has another size");
	if (server_get(f->m->ctl, f->name, 0, f->buf, f->size))
		return -1;
	return check(f, f->buf, 0, f->size);
}
