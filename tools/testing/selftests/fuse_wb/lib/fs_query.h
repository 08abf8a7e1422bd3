/* SPDX-License-Identifier: GPL-2.0 */
/* Requests that query the data of a file. */

#ifndef FUSE_WB_FS_QUERY_H
#define FUSE_WB_FS_QUERY_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The sum of the bytes of a file, as the server has them */
#define FS_QUERY_SUM	_IOR('w', 1, __u64)

/* Aligned units of this size that are all zeros are holes. */
#define FS_QUERY_BLOCK	4096

#ifdef FUSE_USE_VERSION
#include <fuse_lowlevel.h>

/* Handlers of struct fuse_lowlevel_ops. */
void fs_query_lseek(fuse_req_t req, fuse_ino_t node, off_t off, int whence,
		    struct fuse_file_info *fi);
void fs_query_ioctl(fuse_req_t req, fuse_ino_t node, unsigned int cmd, void *arg,
		    struct fuse_file_info *fi, unsigned int flags,
		  const void *in, size_t in_len, size_t out_len);
#endif

#endif
