/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Moving bytes from and to /dev/fuse: copied, spliced through a pipe, or copied
 * to and from a partly mapped buffer.
 */

#ifndef FUSE_WB_DEVIO_H
#define FUSE_WB_DEVIO_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

/**
 * struct devio - how to access /dev/fuse
 * @fd: the device
 * @splice_in: read requests with splice(2): the pipe then references the pages
 *	       of a WRITE, without a copy
 * @splice_out: write replies and notifications with splice(2)
 * @gaps: every second page of the buffer is unmapped when the kernel copies, in
 *	  both directions
 */
struct devio {
	int fd;
	bool splice_in;
	bool splice_out;
	bool gaps;
};

/* Like read(2) and writev(2) of the device.  Callable from any thread. */
ssize_t devio_read(const struct devio *io, void *buf, size_t len);
ssize_t devio_writev(const struct devio *io, const struct iovec *iov,
		     int count);

#endif
