// SPDX-License-Identifier: GPL-2.0
/*
 * A server that costs as little as a server can: its files are slices of one
 * memfd, all there from the beginning, and nothing is logged. It copies what a
 * WRITE brings to where it belongs, or splices it there.
 */
#define _GNU_SOURCE
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include "bench.h"

#define FOREVER 86400.0

static struct {
	const struct settings *set;
	size_t slot;		/* bytes that a file has room for */
	unsigned int files;
	int fd;
	char *mem;
	off_t *size;		/* of each file, -1: there is none */
} store;

/* The files' inode numbers begin behind the root's. */
static unsigned int file_of(fuse_ino_t ino)
{
	return ino - FUSE_ROOT_ID - 1;
}

static off_t start_of(fuse_ino_t ino)
{
	return (off_t)file_of(ino) * store.slot;
}

static void fill_stat(fuse_ino_t ino, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_nlink = 1;
	st->st_mode = S_IFREG | 0644;
	if (ino == FUSE_ROOT_ID)
		st->st_mode = S_IFDIR | 0755;
	else
		st->st_size = store.size[file_of(ino)];
}

/* Returns 0 for a name that is none of ours. */
static fuse_ino_t ino_of(const char *name)
{
	char *end;
	unsigned long file = strtoul(name + 1, &end, 10);

	if (name[0] != 'f' || *end || end == name + 1 || file >= store.files)
		return 0;
	return FUSE_ROOT_ID + 1 + file;
}

static void fill_entry(fuse_ino_t ino, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->ino = ino;
	e->attr_timeout = FOREVER;
	e->entry_timeout = FOREVER;
	fill_stat(ino, &e->attr);
}

static void do_init(void *data, struct fuse_conn_info *conn)
{
	(void)data;
	conn->want &= ~(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
			FUSE_CAP_SPLICE_MOVE | FUSE_CAP_AUTO_INVAL_DATA |
			FUSE_CAP_WRITEBACK_CACHE);
	if (store.set->splice)
		conn->want |= FUSE_CAP_SPLICE_READ;
	if (!store.set->write_through)
		conn->want |= FUSE_CAP_WRITEBACK_CACHE;
	conn->max_write = store.set->max_write;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_ino_t ino = ino_of(name);
	struct fuse_entry_param e;

	(void)parent;
	if (!ino || store.size[file_of(ino)] < 0) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	fill_entry(ino, &e);
	fuse_reply_entry(req, &e);
}

static void do_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		      mode_t mode, struct fuse_file_info *fi)
{
	fuse_ino_t ino = ino_of(name);
	struct fuse_entry_param e;

	(void)parent;
	(void)mode;
	if (!ino) {
		fuse_reply_err(req, ENOSPC);
		return;
	}
	store.size[file_of(ino)] = 0;
	fill_entry(ino, &e);
	fuse_reply_create(req, &e, fi);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	fill_stat(ino, &st);
	fuse_reply_attr(req, &st, FOREVER);
}

static void do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
		       int to_set, struct fuse_file_info *fi)
{
	if (to_set & FUSE_SET_ATTR_SIZE)
		store.size[file_of(ino)] = attr->st_size;
	do_getattr(req, ino, fi);
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_open_out out = { .open_flags = store.set->open_flags };
	const struct iovec iov = { .iov_base = &out, .iov_len = sizeof(out) };

	(void)ino;
	(void)fi;
	/* fuse_reply_open() does not know all of the flags */
	fuse_reply_iov(req, &iov, 1);
}

/* What a disk or a network would take; other threads go on. */
static void take_time(void)
{
	const struct timespec ts = { .tv_nsec = store.set->delay * 1000l };

	if (store.set->delay)
		nanosleep(&ts, NULL);
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	off_t end = store.size[file_of(ino)];

	(void)fi;
	take_time();
	if (off >= end)
		size = 0;
	else if (size > (size_t)(end - off))
		size = end - off;
	fuse_reply_buf(req, store.mem + start_of(ino) + off, size);
}

/* Counts the WRITE, too. */
static bool has_room(fuse_ino_t ino, size_t size, off_t off)
{
	__atomic_add_fetch(store.set->writes, 1, __ATOMIC_RELAXED);
	if (off + size > store.slot)
		return false;
	if (store.size[file_of(ino)] < (off_t)(off + size))
		store.size[file_of(ino)] = off + size;
	return true;
}

static void do_write(fuse_req_t req, fuse_ino_t ino, const char *buf,
		     size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	if (!has_room(ino, size, off)) {
		fuse_reply_err(req, ENOSPC);
		return;
	}
	take_time();
	memcpy(store.mem + start_of(ino) + off, buf, size);
	fuse_reply_write(req, size);
}

static void do_write_buf(fuse_req_t req, fuse_ino_t ino,
			 struct fuse_bufvec *in, off_t off,
			 struct fuse_file_info *fi)
{
	size_t size = fuse_buf_size(in);
	struct fuse_bufvec out = FUSE_BUFVEC_INIT(size);
	ssize_t done;

	(void)fi;
	if (!has_room(ino, size, off)) {
		fuse_reply_err(req, ENOSPC);
		return;
	}
	out.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	out.buf[0].fd = store.fd;
	out.buf[0].pos = start_of(ino) + off;
	done = fuse_buf_copy(&out, in, 0);
	if (done < 0)
		fuse_reply_err(req, -done);
	else
		fuse_reply_write(req, done);
}

/* FLUSH, RELEASE and FSYNC */
static void do_nothing(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, 0);
}

static void do_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
		     struct fuse_file_info *fi)
{
	(void)datasync;
	do_nothing(req, ino, fi);
}

static void make_store(const struct settings *set, unsigned int files)
{
	unsigned int i;

	store.set = set;
	store.files = files;
	store.slot = set->size / (files > 2 ? files : 1);
	store.fd = memfd_create("store", MFD_CLOEXEC);
	if (store.fd < 0 || ftruncate(store.fd, store.slot * files))
		die("making the store");
	store.mem = mmap(NULL, store.slot * files, PROT_READ | PROT_WRITE,
			 MAP_SHARED, store.fd, 0);
	store.size = malloc(files * sizeof(*store.size));
	if (store.mem == MAP_FAILED || !store.size)
		die("allocating the store");
	/*
	 * The first write to each page must not be measured. Populating alone would
	 * do for all but UML, where each page then takes a fault of the host still:
	 * as much time as all else that a WRITE takes.
	 */
	madvise(store.mem, store.slot * files, MADV_POPULATE_WRITE);
	memset(store.mem, 0, store.slot * files);
	for (i = 0; i < files; i++)
		store.size[i] = -1;
}

/* Never returns. */
static void serve(const struct settings *set, int dev)
{
	struct fuse_lowlevel_ops ops = {
		.init = do_init,
		.lookup = do_lookup,
		.create = do_create,
		.getattr = do_getattr,
		.setattr = do_setattr,
		.open = do_open,
		.read = do_read,
		.write = do_write,
		.flush = do_nothing,
		.release = do_nothing,
		.fsync = do_fsync,
	};
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_loop_config *config;
	struct fuse_session *se;
	char mountpoint[32];

	if (set->splice)
		ops.write_buf = do_write_buf;
	if (fuse_opt_add_arg(&args, "bench"))
		die("memory");
	se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	snprintf(mountpoint, sizeof(mountpoint), "/dev/fd/%d", dev);
	if (!se || fuse_session_mount(se, mountpoint))
		die("starting the server");
	if (set->threads <= 1)
		_exit(fuse_session_loop(se) != 0);
	config = fuse_loop_cfg_create();
	fuse_loop_cfg_set_max_threads(config, set->threads);
	/* Threads that come and go would be measured, too. */
	fuse_loop_cfg_set_idle_threads(config, set->threads);
	_exit(fuse_session_loop_mt(se, config) != 0);
}

pid_t mount_server(const struct settings *set, const char *dir,
		   unsigned int files)
{
	int dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char opts[80];
	pid_t pid;

	snprintf(opts, sizeof(opts), "fd=%d,rootmode=40000,user_id=0,group_id=0",
		 dev);
	if (dev < 0 || mount("bench", dir, "fuse", MS_NOSUID | MS_NODEV, opts))
		die("mounting FUSE");
	pid = fork();
	if (pid < 0)
		die("starting a process");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* Be on time: threads inherit it */
		prctl(PR_SET_TIMERSLACK, 1);
		make_store(set, files);
		serve(set, dev);
	}
	close(dev);
	return pid;
}
