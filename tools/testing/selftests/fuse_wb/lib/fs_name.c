// SPDX-License-Identifier: GPL-2.0
/* Names that are not regular files, see fs_name.h. */

#define FUSE_USE_VERSION 314

#include <errno.h>
#include <string.h>

#include "memfs.h"
#include "fs_name.h"
#include "server.h"

static struct memfs *req_memfs(fuse_req_t req)
{
	return server_memfs(fuse_req_userdata(req));
}

static void make_name(fuse_req_t req, fuse_ino_t parent, const char *name,
		      mode_t mode, const char *target)
{
	struct memfs *fs = req_memfs(req);
	struct fuse_entry_param e;
	struct memfile *file;
	int err = -EEXIST;

	if (parent != FUSE_ROOT_ID)
		err = -ENOENT;
	else if (!memfs_find(fs, name))
		err = memfs_make(fs, name, mode & 07777, &file);
	if (!err) {
		file->attr.st_mode = mode;
		err = memfs_store(file, 0, target, strlen(target));
	}
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	memfs_fill_entry(fs, file, &e);
	fuse_reply_entry(req, &e);
}

void fs_name_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		   mode_t mode, dev_t rdev)
{
	(void)rdev;
	make_name(req, parent, name, mode, "");
}

void fs_name_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		   mode_t mode)
{
	make_name(req, parent, name, S_IFDIR | mode, "");
}

void fs_name_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		     const char *name)
{
	make_name(req, parent, name, S_IFLNK | 0777, target);
}

void fs_name_readlink(fuse_req_t req, fuse_ino_t node)
{
	char target[256] = "";

	memfs_load_node(req_memfs(req), node, 0, target, sizeof(target) - 1);
	fuse_reply_readlink(req, target);
}

void fs_name_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent;
	fuse_reply_err(req, -memfs_unlink(req_memfs(req), name));
}
