// SPDX-License-Identifier: GPL-2.0
/* Locks of the server's files, see fs_lock.h. */

#define FUSE_USE_VERSION 314

#include <fcntl.h>

#include "fs_lock.h"

void fs_lock_getlk(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi,
		   struct flock *lock)
{
	(void)node;
	(void)fi;
	lock->l_type = F_UNLCK;
	fuse_reply_lock(req, lock);
}

void fs_lock_setlk(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi,
		   struct flock *lock, int sleep)
{
	(void)node;
	(void)fi;
	(void)lock;
	(void)sleep;
	fuse_reply_err(req, 0);
}

void fs_lock_flock(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi,
		   int op)
{
	(void)node;
	(void)fi;
	(void)op;
	fuse_reply_err(req, 0);
}
