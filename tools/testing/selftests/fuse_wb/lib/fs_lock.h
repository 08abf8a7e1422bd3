/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Locks of the server's files: every request for a lock is granted, and logged.
 */

#ifndef FUSE_WB_FS_LOCK_H
#define FUSE_WB_FS_LOCK_H

#include <fuse_lowlevel.h>

void fs_lock_getlk(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi,
		   struct flock *lock);
void fs_lock_setlk(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi,
		   struct flock *lock, int sleep);
void fs_lock_flock(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi,
		   int op);

#endif
