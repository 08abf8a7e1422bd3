/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Names in the root directory that are not regular files, for the server's file
 * system: directories, which stay empty, and symbolic links.
 */

#ifndef FUSE_WB_FS_NAME_H
#define FUSE_WB_FS_NAME_H

#include <fuse_lowlevel.h>

/* Handlers of struct fuse_lowlevel_ops. */
void fs_name_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		   mode_t mode, dev_t rdev);
void fs_name_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		   mode_t mode);
void fs_name_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		     const char *name);
void fs_name_readlink(fuse_req_t req, fuse_ino_t node);
void fs_name_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);

#endif
