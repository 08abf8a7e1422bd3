// SPDX-License-Identifier: GPL-2.0
/*
 * The file system that the server serves: a few files in memory.
 *
 * Every handler replies before it returns, and is not aware of held requests or
 * the log: the engine (server.c) decides when to call it.
 *
 * A WRITE needs a file handle that was opened for writing and not released yet,
 * as it would if the server kept a file descriptor for each handle.
 */

#define FUSE_USE_VERSION 314

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <fuse_lowlevel.h>

#include "fs_query.h"
#include "fs_dir.h"
#include "memfs.h"
#include "fs_lock.h"
#include "fs_name.h"
#include "server.h"

static struct memfs *req_memfs(fuse_req_t req)
{
	return server_memfs(fuse_req_userdata(req));
}

/* The files change only by requests, so what the kernel caches stays valid. */
double memfs_seconds(const struct memfs *fs)
{
	return fs->ask_always ? 0 : 3600;
}

static struct memfile *node_file(struct memfs *fs, fuse_ino_t node)
{
	if (node < 2 || node >= 2 + MEMFS_FILES || !fs->files[node - 2].name[0])
		return NULL;
	return &fs->files[node - 2];
}

struct memfile *memfs_find(struct memfs *fs, const char *name)
{
	int i;

	for (i = 0; i < MEMFS_FILES; i++)
		if (fs->files[i].name[0] && !strcmp(fs->files[i].name, name))
			return &fs->files[i];
	return NULL;
}

int memfs_make(struct memfs *fs, const char *name, mode_t mode,
	       struct memfile **file)
{
	struct memfile *f;
	int i;

	if (!name[0] || strlen(name) >= MEMFS_NAME_MAX)
		return -ENAMETOOLONG;
	for (i = 0; i < MEMFS_FILES && fs->files[i].name[0]; i++)
		;
	if (i == MEMFS_FILES)
		return -ENOSPC;

	f = &fs->files[i];
	snprintf(f->name, sizeof(f->name), "%s", name);
	f->attr.st_ino = i + 2;
	f->attr.st_mode = S_IFREG | (mode & 07777);
	f->attr.st_nlink = 1;
	f->attr.st_blksize = 4096;
	/* The time of the last tick, as in a local file system. */
	clock_gettime(CLOCK_REALTIME_COARSE, &f->attr.st_mtim);
	f->attr.st_atim = f->attr.st_mtim;
	f->attr.st_ctim = f->attr.st_mtim;
	*file = f;
	return 0;
}

int memfs_resize(struct memfile *file, __u64 size)
{
	size_t room = file->room ? file->room : 4096;
	size_t old = file->attr.st_size;
	char *data;

	if (size > MEMFS_SIZE_MAX)
		return -EFBIG;
	if (size > file->room) {
		while (room < size)
			room *= 2;
		data = realloc(file->data, room);
		if (!data)
			return -ENOSPC;
		file->data = data;
		file->room = room;
	}
	if (size > old)
		server_clear(file->data + old, size - old);
	file->attr.st_size = size;
	file->attr.st_blocks = (size + 511) / 512;
	return 0;
}

int memfs_setattr(struct memfile *file, const struct stat *attr, __u32 valid)
{
	struct timespec now;
	int err;

	if (valid & FATTR_SIZE) {
		err = memfs_resize(file, attr->st_size);
		if (err)
			return err;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	if (valid & FATTR_MODE)
		file->attr.st_mode = (file->attr.st_mode & S_IFMT) |
				     (attr->st_mode & 07777);
	if (valid & FATTR_UID)
		file->attr.st_uid = attr->st_uid;
	if (valid & FATTR_GID)
		file->attr.st_gid = attr->st_gid;
	if (valid & FATTR_ATIME)
		file->attr.st_atim = attr->st_atim;
	if (valid & FATTR_ATIME_NOW)
		file->attr.st_atim = now;
	if (valid & FATTR_MTIME)
		file->attr.st_mtim = attr->st_mtim;
	if (valid & FATTR_MTIME_NOW)
		file->attr.st_mtim = now;
	file->attr.st_ctim = valid & FATTR_CTIME ? attr->st_ctim : now;
	return 0;
}

int memfs_store(struct memfile *file, __u64 off, const void *data, size_t len)
{
	int err;

	if (off + len > (__u64)file->attr.st_size) {
		err = memfs_resize(file, off + len);
		if (err)
			return err;
	}
	if (len)
		memcpy(file->data + off, data, len);
	clock_gettime(CLOCK_REALTIME, &file->attr.st_mtim);
	return 0;
}

size_t memfs_load(const struct memfile *file, __u64 off, void *buf, size_t len)
{
	__u64 size = file->attr.st_size;

	if (off >= size)
		return 0;
	if (len > size - off)
		len = size - off;
	memcpy(buf, file->data + off, len);
	return len;
}

size_t memfs_load_node(struct memfs *fs, __u64 node, __u64 off, void *buf,
		       size_t len)
{
	const struct memfile *file = node_file(fs, node);

	return file ? memfs_load(file, off, buf, len) : 0;
}

void memfs_fill_entry(const struct memfs *fs, const struct memfile *file,
		      struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->ino = file->attr.st_ino;
	e->attr = file->attr;
	e->attr_timeout = memfs_seconds(fs);
	e->entry_timeout = memfs_seconds(fs);
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct memfs *fs = req_memfs(req);
	struct memfile *file = NULL;
	struct fuse_entry_param e;

	if (parent == FUSE_ROOT_ID)
		file = memfs_find(fs, name);
	if (!file) {
		/*
		 * Return an error, not a negative entry: every fence has to
		 * send a LOOKUP.
		 */
		fuse_reply_err(req, ENOENT);
		return;
	}
	memfs_fill_entry(fs, file, &e);
	fuse_reply_entry(req, &e);
}

static void do_getattr(fuse_req_t req, fuse_ino_t node,
		       struct fuse_file_info *fi)
{
	struct memfs *fs = req_memfs(req);
	struct memfile *file = node_file(fs, node);
	struct stat root = {
		.st_ino = FUSE_ROOT_ID,
		.st_mode = S_IFDIR | 0755,
		.st_nlink = 2,
	};

	(void)fi;
	if (node == FUSE_ROOT_ID)
		fuse_reply_attr(req, &root, memfs_seconds(fs));
	else if (file)
		fuse_reply_attr(req, &file->attr, memfs_seconds(fs));
	else
		fuse_reply_err(req, ENOENT);
}

static void do_setattr(fuse_req_t req, fuse_ino_t node, struct stat *attr,
		       int to_set, struct fuse_file_info *fi)
{
	struct memfs *fs = req_memfs(req);
	struct memfile *file = node_file(fs, node);
	int err;

	(void)fi;
	if (!file) {
		fuse_reply_err(req, node == FUSE_ROOT_ID ? EPERM : ENOENT);
		return;
	}
	err = memfs_setattr(file, attr, to_set);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_attr(req, &file->attr, memfs_seconds(fs));
}

static struct memopen *find_open(struct memfs *fs, __u64 fh)
{
	int i;

	for (i = 0; i < MEMFS_OPENS; i++)
		if (fs->opens[i].fh == fh)
			return &fs->opens[i];
	return NULL;
}

/* Return: 0, or -ENFILE. */
static int add_open(struct memfs *fs, struct fuse_file_info *fi)
{
	struct memopen *o = find_open(fs, 0);

	if (!o)
		return -ENFILE;
	o->fh = ++fs->last_fh;
	o->may_write = (fi->flags & O_ACCMODE) != O_RDONLY;
	fi->fh = o->fh;
	return 0;
}

static void do_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		      mode_t mode, struct fuse_file_info *fi)
{
	struct memfs *fs = req_memfs(req);
	struct fuse_entry_param e;
	struct memfile *file;
	int err = 0;

	if (parent != FUSE_ROOT_ID) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	file = memfs_find(fs, name);
	if (!file)
		err = memfs_make(fs, name, mode, &file);
	else if (fi->flags & O_TRUNC)
		memfs_resize(file, 0);
	if (!err)
		err = add_open(fs, fi);
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	memfs_fill_entry(fs, file, &e);
	fuse_reply_create(req, &e, fi);
}

static void do_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct memfs *fs = req_memfs(req);
	struct memfile *file = node_file(fs, node);
	int err = file ? add_open(fs, fi) : -ENOENT;

	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	if (fi->flags & O_TRUNC)
		memfs_resize(file, 0);
	fuse_reply_open(req, fi);
}

static void do_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct memfile *file = node_file(req_memfs(req), node);
	size_t have;

	(void)fi;
	if (!file) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	have = off < file->attr.st_size ? file->attr.st_size - off : 0;
	fuse_reply_buf(req, have ? file->data + off : NULL,
		       size < have ? size : have);
}

static void do_write(fuse_req_t req, fuse_ino_t node, const char *data,
		     size_t size, off_t off, struct fuse_file_info *fi)
{
	struct memfs *fs = req_memfs(req);
	struct memfile *file = node_file(fs, node);
	struct memopen *o = fi->fh ? find_open(fs, fi->fh) : NULL;
	int err = -EBADF;

	if (!file)
		err = -ENOENT;
	else if (o && o->may_write)
		err = memfs_store(file, off, data, size);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_write(req, size);
}

static void do_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	(void)fi;
	fuse_reply_err(req, node_file(req_memfs(req), node) ? 0 : ENOENT);
}

static void do_release(fuse_req_t req, fuse_ino_t node,
		       struct fuse_file_info *fi)
{
	struct memopen *o = fi->fh ? find_open(req_memfs(req), fi->fh) : NULL;

	(void)node;
	if (o)
		o->fh = 0;
	fuse_reply_err(req, o ? 0 : EBADF);
}

static void do_fsync(fuse_req_t req, fuse_ino_t node, int datasync,
		     struct fuse_file_info *fi)
{
	(void)datasync;
	do_flush(req, node, fi);
}

static void do_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t off,
			 off_t len, struct fuse_file_info *fi)
{
	struct memfile *file = node_file(req_memfs(req), node);
	bool zero = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
	off_t end = off + len;
	int err = 0;

	(void)fi;
	if (!file) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE |
		     FALLOC_FL_ZERO_RANGE)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > file->attr.st_size)
		err = memfs_resize(file, end);
	if (end > file->attr.st_size)
		end = file->attr.st_size;
	if (!err && zero && off < end)
		memset(file->data + off, 0, end - off);
	fuse_reply_err(req, -err);
}

static void do_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t off_in,
			       struct fuse_file_info *fi_in, fuse_ino_t to,
			       off_t off_out, struct fuse_file_info *fi_out,
			       size_t len, int flags)
{
	struct memfs *fs = req_memfs(req);
	struct memfile *src = node_file(fs, from);
	struct memfile *dst = node_file(fs, to);
	int err = src && dst ? 0 : ENOENT;
	char *copy;

	(void)fi_in;
	(void)fi_out;
	(void)flags;
	if (err || !len || off_in >= src->attr.st_size) {
		err ? fuse_reply_err(req, err) : fuse_reply_write(req, 0);
		return;
	}
	if (len > (size_t)(src->attr.st_size - off_in))
		len = src->attr.st_size - off_in;
	copy = malloc(len + 1);
	if (!copy)
		abort();
	memfs_load(src, off_in, copy, len);
	err = memfs_store(dst, off_out, copy, len);
	free(copy);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_write(req, len);
}

int memfs_unlink(struct memfs *fs, const char *name)
{
	struct memfile *file = memfs_find(fs, name);

	if (!file)
		return -ENOENT;
	file->name[0] = '/';
	file->attr.st_nlink = 0;
	return 0;
}

static void do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent;
	fuse_reply_err(req, -memfs_unlink(req_memfs(req), name));
}

static void do_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		      fuse_ino_t new_parent, const char *new_name,
		      unsigned int flags)
{
	struct memfs *fs = req_memfs(req);
	struct memfile *file = memfs_find(fs, name);

	(void)parent;
	(void)new_parent;
	if (!file || flags || strlen(new_name) >= MEMFS_NAME_MAX) {
		fuse_reply_err(req, file ? EINVAL : ENOENT);
		return;
	}
	memfs_unlink(fs, new_name);
	snprintf(file->name, sizeof(file->name), "%s", new_name);
	fuse_reply_err(req, 0);
}

static void do_init(void *userdata, struct fuse_conn_info *conn)
{
	server_init_conn(userdata, conn);
}

const struct fuse_lowlevel_ops memfs_ops = {
	.init		= do_init,
	.lookup		= do_lookup,
	.getattr	= do_getattr,
	.setattr	= do_setattr,
	.create		= do_create,
	.mknod		= fs_name_mknod,
	.mkdir		= fs_name_mkdir,
	.symlink	= fs_name_symlink,
	.readlink	= fs_name_readlink,
	.rename		= do_rename,
	.unlink		= do_unlink,
	.rmdir		= fs_name_rmdir,
	.open		= do_open,
	.release	= do_release,
	.read		= do_read,
	.write		= do_write,
	.flush		= do_flush,
	.fsync		= do_fsync,
	.getlk		= fs_lock_getlk,
	.setlk		= fs_lock_setlk,
	.flock		= fs_lock_flock,
	.fallocate	= do_fallocate,
	.lseek		= fs_query_lseek,
	.ioctl		= fs_query_ioctl,
	.copy_file_range = do_copy_file_range,
	.readdir	= fs_dir_readdir,
	.readdirplus	= fs_dir_readdirplus,
};
