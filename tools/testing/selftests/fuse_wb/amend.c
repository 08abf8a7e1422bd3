// SPDX-License-Identifier: GPL-2.0
/* What libfuse 3.14 cannot say in a reply, see amend.h. */

#include <stddef.h>
#include <linux/fuse.h>

#include "amend.h"

/*
 * The last @size bytes of a reply without error; NULL when it is too short.
 * What OPEN and CREATE have in common is at the end.
 */
static void *body_end(struct iovec *iov, int count, size_t size)
{
	const struct fuse_out_header *out = iov[0].iov_base;

	if (out->error || count != 2 || iov[1].iov_len < size)
		return NULL;
	return (char *)iov[1].iov_base + iov[1].iov_len - size;
}

void amend_init(struct iovec *iov, int count, __u64 flags,
		unsigned int max_pages)
{
	struct fuse_init_out *init = body_end(iov, count, sizeof(*init));

	if (!init)
		return;
	init->flags |= (__u32)flags;
	if (flags >> 32) {
		init->flags |= FUSE_INIT_EXT;
		init->flags2 |= flags >> 32;
	}
	if (max_pages) {
		init->flags |= FUSE_MAX_PAGES;
		init->max_pages = max_pages;
	}
}

void amend_open(struct iovec *iov, int count, __u32 flags)
{
	struct fuse_open_out *open = body_end(iov, count, sizeof(*open));

	if (open)
		open->open_flags |= flags;
}

void amend_read(struct iovec *iov, int count, __u64 size)
{
	struct fuse_out_header *out = iov[0].iov_base;

	if (out->error || count != 2 || iov[1].iov_len <= size)
		return;
	out->len -= iov[1].iov_len - size;
	iov[1].iov_len = size;
}

void amend_write(struct iovec *iov, int count, __u32 size)
{
	struct fuse_write_out *write = body_end(iov, count, sizeof(*write));

	if (write)
		write->size = size;
}
