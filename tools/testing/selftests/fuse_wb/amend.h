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
		unsigned int max_pages);

/* OPEN and CREATE: these FOPEN_* flags too. */
void amend_open(struct iovec *iov, int count, __u32 flags);

/* READ: this many bytes at most. */
void amend_read(struct iovec *iov, int count, __u64 size);

/* WRITE: as if this many bytes had been written. */
void amend_write(struct iovec *iov, int count, __u32 size);

#endif
