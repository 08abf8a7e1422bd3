// SPDX-License-Identifier: GPL-2.0
/* Extract from the bytes of a request what is logged, see reqlog.h. */

#include <string.h>

#include "reqlog.h"

void req_parse(const void *buf, struct req *req)
{
	const struct fuse_in_header *in = buf;
	const void *arg = in + 1;

	memset(req, 0, sizeof(*req));
	req->opcode = in->opcode;
	req->unique = in->unique;
	req->node = in->nodeid;

	switch (in->opcode) {
	case FUSE_READ: {
		const struct fuse_read_in *rd = arg;

		req->fh = rd->fh;
		req->off = rd->offset;
		req->size = rd->size;
		break;
	}
	case FUSE_WRITE: {
		const struct fuse_write_in *wr = arg;

		req->fh = wr->fh;
		req->off = wr->offset;
		req->size = wr->size;
		req->flags = wr->write_flags;
		break;
	}
	case FUSE_NOTIFY_REPLY: {
		const struct fuse_notify_retrieve_in *rt = arg;

		req->off = rt->offset;
		req->size = rt->size;
		break;
	}
	case FUSE_FALLOCATE: {
		const struct fuse_fallocate_in *fa = arg;

		req->fh = fa->fh;
		req->off = fa->offset;
		req->size = fa->length;
		req->flags = fa->mode;
		break;
	}
	case FUSE_COPY_FILE_RANGE: {
		const struct fuse_copy_file_range_in *cp = arg;

		req->node = cp->nodeid_out;
		req->fh = cp->fh_out;
		req->off = cp->off_out;
		req->size = cp->len;
		break;
	}
	case FUSE_SETATTR: {
		const struct fuse_setattr_in *sa = arg;

		req->flags = sa->valid;
		if (sa->valid & FATTR_SIZE)
			req->off = sa->size;
		break;
	}
	case FUSE_FSYNC: {
		const struct fuse_fsync_in *fs = arg;

		req->fh = fs->fh;
		req->flags = fs->fsync_flags;
		break;
	}
	case FUSE_OPEN: {
		const struct fuse_open_in *op = arg;

		req->flags = op->flags;
		break;
	}
	case FUSE_CREATE: {
		const struct fuse_create_in *cr = arg;

		req->flags = cr->flags;
		break;
	}
	case FUSE_RELEASE: {
		const struct fuse_release_in *rl = arg;

		req->fh = rl->fh;
		req->flags = rl->release_flags;
		req->owner = rl->lock_owner;
		break;
	}
	case FUSE_FLUSH: {
		const struct fuse_flush_in *fl = arg;

		req->fh = fl->fh;
		req->owner = fl->lock_owner;
		break;
	}
	case FUSE_SETLK:
	case FUSE_SETLKW: {
		const struct fuse_lk_in *lk = arg;

		req->fh = lk->fh;
		req->owner = lk->owner;
		break;
	}
	}
}
