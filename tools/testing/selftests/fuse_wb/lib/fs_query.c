// SPDX-License-Identifier: GPL-2.0
/* Requests that query the data of a file, see fs_query.h. */

#define FUSE_USE_VERSION 314

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

#include "fs_query.h"
#include "memfs.h"
#include "server.h"

/* The handlers always get a file: the kernel knows the node. */
static const struct memfile *asked_file(fuse_req_t req, fuse_ino_t node)
{
	return &server_memfs(fuse_req_userdata(req))->files[node - 2];
}

static bool is_hole(const struct memfile *file, off_t block)
{
	off_t i;

	for (i = block; i < block + FS_QUERY_BLOCK && i < file->attr.st_size; i++)
		if (file->data[i])
			return false;
	return true;
}

void fs_query_lseek(fuse_req_t req, fuse_ino_t node, off_t off, int whence,
		    struct fuse_file_info *fi)
{
	const struct memfile *file = asked_file(req, node);
	bool hole = whence == SEEK_HOLE;
	off_t block;

	(void)fi;
	if (off >= file->attr.st_size) {
		fuse_reply_err(req, ENXIO);
		return;
	}
	for (block = off - off % FS_QUERY_BLOCK; block < file->attr.st_size;
	     block += FS_QUERY_BLOCK) {
		if (is_hole(file, block) == hole) {
			fuse_reply_lseek(req, block > off ? block : off);
			return;
		}
	}
	/* Every file ends with an implicit hole. */
	if (hole)
		fuse_reply_lseek(req, file->attr.st_size);
	else
		fuse_reply_err(req, ENXIO);
}

void fs_query_ioctl(fuse_req_t req, fuse_ino_t node, unsigned int cmd, void *arg,
		    struct fuse_file_info *fi, unsigned int flags,
		  const void *in, size_t in_len, size_t out_len)
{
	const struct memfile *file = asked_file(req, node);
	__u64 sum = 0;
	off_t i;

	(void)arg;
	(void)fi;
	(void)flags;
	(void)in;
	(void)in_len;
	if (cmd != FS_QUERY_SUM || out_len < sizeof(sum)) {
		fuse_reply_err(req, ENOTTY);
		return;
	}
	for (i = 0; i < file->attr.st_size; i++)
		sum += (unsigned char)file->data[i];
	fuse_reply_ioctl(req, 0, &sum, sizeof(sum));
}
