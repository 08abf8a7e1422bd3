/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Changes to replies that libfuse 3.14 has no interface for, made just before
 * the reply is written to the kernel.  Each takes the reply to a request of the
 * named kind; iov[0] is the header.  Error replies are left as they are.
 */

#ifndef FUSE_WB_REPLY_PATCH_H
#define FUSE_WB_REPLY_PATCH_H

#include <sys/uio.h>
#include <linux/types.h>

/* INIT: set these FUSE_* flags as well; and max_pages, unless that is 0. */
void reply_patch_init(struct iovec *iov, int count, __u64 flags,
		      unsigned int max_pages, unsigned int max_stack_depth);

/*
 * OPEN and CREATE: set these FOPEN_* flags as well, and a backing file.
 *
 * Return: the file handle, or 0.
 */
__u64 reply_patch_open(struct iovec *iov, int count, __u32 flags, int backing_id);

/* READ: return this many bytes at most. */
void reply_patch_read(struct iovec *iov, int count, __u64 size);

/* A COPY_FILE_RANGE request, not its reply: copy this many bytes at most. */
void reply_patch_copy(void *request, __u64 size);

/* Any request, not its reply: make its opcode unknown to libfuse. */
void reply_patch_unknown(void *request);

/* WRITE: reply as if this many bytes had been written. */
void reply_patch_write(struct iovec *iov, int count, __u32 size);

/*
 * LOOKUP, GETATTR, SETATTR, READDIRPLUS: report this size for each regular
 * file.  Replies to other opcodes are left as they are.
 */
void reply_patch_size(struct iovec *iov, int count, __u32 opcode, __u64 size);

#endif
