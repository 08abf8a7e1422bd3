// SPDX-License-Identifier: GPL-2.0
/* Changes to replies that libfuse 3.14 has no interface for, see reply_patch.h. */

#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <linux/fuse.h>

#include "reply_patch.h"

/*
 * The last @size bytes of a successful reply; NULL when it is too short.  OPEN
 * and CREATE have their common part at the end.
 */
static void *body_end(struct iovec *iov, int count, size_t size)
{
	const struct fuse_out_header *out = iov[0].iov_base;

	if (out->error || count != 2 || iov[1].iov_len < size)
		return NULL;
	return (char *)iov[1].iov_base + iov[1].iov_len - size;
}

void reply_patch_init(struct iovec *iov, int count, __u64 flags,
		      unsigned int max_pages, unsigned int max_stack_depth)
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
	/* This follows flags2; older headers have no name for it. */
	memcpy(&init->flags2 + 1, &max_stack_depth, sizeof(__u32));
}

__u64 reply_patch_open(struct iovec *iov, int count, __u32 flags, int backing_id)
{
	struct fuse_open_out *open = body_end(iov, count, sizeof(*open));

	if (!open)
		return 0;
	open->open_flags |= flags;
	/* This follows open_flags; older headers call it padding. */
	memcpy(&open->open_flags + 1, &backing_id, sizeof(__s32));
	return open->fh;
}

void reply_patch_unknown(void *request)
{
	((struct fuse_in_header *)request)->opcode = 0xffff;
}

void reply_patch_copy(void *request, __u64 size)
{
	struct fuse_copy_file_range_in *copy =
		(void *)((struct fuse_in_header *)request + 1);

	if (copy->len > size)
		copy->len = size;
}

void reply_patch_read(struct iovec *iov, int count, __u64 size)
{
	struct fuse_out_header *out = iov[0].iov_base;

	if (out->error || count != 2 || iov[1].iov_len <= size)
		return;
	out->len -= iov[1].iov_len - size;
	iov[1].iov_len = size;
}

void reply_patch_write(struct iovec *iov, int count, __u32 size)
{
	struct fuse_write_out *write = body_end(iov, count, sizeof(*write));

	if (write)
		write->size = size;
}

static void set_size(struct fuse_attr *attr, __u64 size)
{
	if (S_ISREG(attr->mode))
		attr->size = size;
}

static void reply_patch_entries(char *buf, size_t len, __u64 size)
{
	struct fuse_direntplus *entry;

	while (len >= FUSE_NAME_OFFSET_DIRENTPLUS) {
		entry = (struct fuse_direntplus *)buf;
		set_size(&entry->entry_out.attr, size);
		if (FUSE_DIRENTPLUS_SIZE(entry) >= len)
			break;
		len -= FUSE_DIRENTPLUS_SIZE(entry);
		buf += FUSE_DIRENTPLUS_SIZE(entry);
	}
}

void reply_patch_size(struct iovec *iov, int count, __u32 opcode, __u64 size)
{
	struct fuse_entry_out *entry = body_end(iov, count, sizeof(*entry));
	struct fuse_attr_out *attr = body_end(iov, count, sizeof(*attr));

	switch (opcode) {
	case FUSE_LOOKUP:
		if (entry)
			set_size(&entry->attr, size);
		break;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		if (attr)
			set_size(&attr->attr, size);
		break;
	case FUSE_READDIRPLUS:
		if (attr)
			reply_patch_entries(iov[1].iov_base, iov[1].iov_len, size);
		break;
	}
}
