/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What libfuse 3.14 cannot say in a reply, put into it on the way to the
 * kernel.  Each takes the reply to a request of the named kind, of which
 * iov[0] is the header; errors are left as they are.
 */

#ifndef FUSE_WB_AMEND_H
#define FUSE_WB_AMEND_H

#include <sys/uio.h>
#include <linux/types.h>

/* INIT: these FUSE_* flags too; and max_pages, unless that is 0. */
void amend_init(struct iovec *iov, int count, __u64 flags,
		unsigned int max_pages, unsigned int max_stack_depth);

/*
 * OPEN and CREATE: these FOPEN_* flags too, and a backing file.
 *
 * Return: the file handle, or 0.
 */
__u64 amend_open(struct iovec *iov, int count, __u32 flags, int backing_id);

/* READ: this many bytes at most. */
void amend_read(struct iovec *iov, int count, __u64 size);

/* A request COPY_FILE_RANGE, not its reply: this many bytes at most. */
void amend_copy(void *request, __u64 size);

/* Any request, not its reply: libfuse does not know this one. */
void amend_unknown(void *request);

/* WRITE: as if this many bytes had been written. */
void amend_write(struct iovec *iov, int count, __u32 size);

/*
 * LOOKUP, GETATTR, SETATTR, READDIRPLUS: each regular file has this many bytes.
 * Replies to other opcodes are left as they are.
 */
void amend_size(struct iovec *iov, int count, __u32 opcode, __u64 size);

#endif
