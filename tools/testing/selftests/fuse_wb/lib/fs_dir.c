// SPDX-License-Identifier: GPL-2.0
/* The names in the root directory, see fs_dir.h. */

#define FUSE_USE_VERSION 314

#include <stdlib.h>

#include "fs_dir.h"
#include "memfs.h"
#include "server.h"

/*
 * The directory entry of a file; its offset is the slot plus one.  Return: its
 * size.
 */
static size_t add_entry(fuse_req_t req, char *buf, size_t room, bool plus,
			struct memfs *fs, int slot)
{
	const struct memfile *file = &fs->files[slot];
	struct fuse_entry_param e;

	if (!plus)
		return fuse_add_direntry(req, buf, room, file->name,
					 &file->attr, slot + 1);
	memfs_fill_entry(fs, file, &e);
	return fuse_add_direntry_plus(req, buf, room, file->name, &e, slot + 1);
}

static void read_names(fuse_req_t req, size_t size, off_t off, bool plus)
{
	struct memfs *fs = server_memfs(fuse_req_userdata(req));
	char *buf = calloc(1, size);
	size_t done = 0, len;
	int i;

	if (!buf)
		abort();
	for (i = off; i < MEMFS_FILES; i++) {
		if (!fs->files[i].name[0] || fs->files[i].name[0] == '/')
			continue;
		len = add_entry(req, buf + done, size - done, plus, fs, i);
		if (len > size - done)
			break;
		done += len;
	}
	fuse_reply_buf(req, buf, done);
	free(buf);
}

void fs_dir_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	(void)node;
	(void)fi;
	read_names(req, size, off, false);
}

void fs_dir_readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
			struct fuse_file_info *fi)
{
	(void)node;
	(void)fi;
	read_names(req, size, off, true);
}
