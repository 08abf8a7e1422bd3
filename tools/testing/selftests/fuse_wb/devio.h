/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How bytes get from and to /dev/fuse: copied, spliced through a pipe, or copied
 * to and from a buffer of which only a part is mapped.
 */

#ifndef FUSE_WB_DEVIO_H
#define FUSE_WB_DEVIO_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

/**
 * struct devio - a way to /dev/fuse
 * @fd: the device
 * @splice_in: requests come by splice(2): the kernel lends the pages that a
 *	       WRITE is about and copies nothing
 * @splice_out: replies and notifications go by splice(2)
 * @gaps: every second page of the buffer is not mapped when the kernel copies,
 *	  whichever way
 */
struct devio {
	int fd;
	bool splice_in;
	bool splice_out;
	bool gaps;
};

/* As read(2) and writev(2) of the device.  Any thread may call them. */
ssize_t devio_read(const struct devio *io, void *buf, size_t len);
ssize_t devio_writev(const struct devio *io, const struct iovec *iov,
		     int count);

#endif
