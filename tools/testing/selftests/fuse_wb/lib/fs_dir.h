/* SPDX-License-Identifier: GPL-2.0 */
/* The names in the root directory of the server's file system. */

#ifndef FUSE_WB_FS_DIR_H
#define FUSE_WB_FS_DIR_H

#include <fuse_lowlevel.h>

/* Handlers of struct fuse_lowlevel_ops. */
void fs_dir_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
		    struct fuse_file_info *fi);
void fs_dir_readdirplus(fuse_req_t req, fuse_ino_t node, size_t size, off_t off,
			struct fuse_file_info *fi);

#endif
