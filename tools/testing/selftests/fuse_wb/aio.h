/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Asynchronous reads and writes by libaio's system calls and by io_uring's, as
 * kinds of calls: each submits one and waits for its end.
 */

#ifndef FUSE_WB_AIO_H
#define FUSE_WB_AIO_H

#include <sys/types.h>
#include <linux/aio_abi.h>

#include "call.h"

extern const struct call_op call_aio_pread;
extern const struct call_op call_aio_pwrite;
extern const struct call_op call_uring_pread;
extern const struct call_op call_uring_pwrite;

/**
 * struct aio - one read or write under way
 * @ctx: its context
 * @cb: what it does
 */
struct aio {
	aio_context_t ctx;
	struct iocb cb;
};

/* io_submit(2) it, with @cmd an IOCB_CMD_*.  Return: 0, or -1 with errno. */
int aio_submit(struct aio *aio, int cmd, const struct call_arg *arg);

/* io_getevents(2) its end.  Return: what read or write would, with errno. */
long aio_wait(struct aio *aio);

#endif
