/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Names in the root directory that are not regular files, for the server's file
 * system: directories, which stay empty, and symbolic links.
 */

#ifndef FUSE_WB_MEMNAME_H
#define FUSE_WB_MEMNAME_H

#include <fuse_lowlevel.h>

/* Handlers of struct fuse_lowlevel_ops. */
void memname_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		   mode_t mode, dev_t rdev);
void memname_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		   mode_t mode);
void memname_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		     const char *name);
void memname_readlink(fuse_req_t req, fuse_ino_t node);
void memname_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);

#endif
