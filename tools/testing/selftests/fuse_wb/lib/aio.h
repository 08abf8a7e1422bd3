/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Asynchronous reads and writes through libaio and io_uring, as kinds of calls:
 * each submits one request and waits for its completion.
 */

#ifndef FUSE_WB_AIO_H
#define FUSE_WB_AIO_H

#include <sys/types.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>

#include "call.h"

extern const struct call_op call_aio_pread;
/* The same read, expected to block in io_submit(2) */
extern const struct call_op call_aio_pread_submit;
extern const struct call_op call_aio_pwrite;
/* The same for a write */
extern const struct call_op call_aio_pwrite_submit;
extern const struct call_op call_uring_pread;
extern const struct call_op call_uring_pwrite;

/**
 * struct aio - one read or write in flight
 * @ctx: its context
 * @cb: what it does
 */
struct aio {
	aio_context_t ctx;
	struct iocb cb;
};

/*
 * Submit it with io_submit(2); @cmd is an IOCB_CMD_*.  Return: 0, or -1 with
 * errno.
 */
int aio_submit(struct aio *aio, int cmd, const struct call_arg *arg);

/*
 * Wait for its completion with io_getevents(2).  Return: what read or write
 * would return, with errno.
 */
long aio_wait(struct aio *aio);

#define URING_ENTRIES	4

/**
 * struct uring - a ring of io_uring, used by one thread only
 * @fd: its descriptor
 * @p: its parameters, filled in by io_uring_setup(2)
 * @sq: the mapping of the submission queue
 * @cq: the mapping of the completion queue
 * @sqes: the mapping of the submission queue's entries
 */
struct uring {
	int fd;
	struct io_uring_params p;
	char *sq;
	char *cq;
	struct io_uring_sqe *sqes;
};

/* Return: 0, or -1 with errno. */
int uring_setup(struct uring *ring);

/* Prepare a read or write, with @op an IORING_OP_*; no user_data. */
struct io_uring_sqe uring_sqe(int op, const struct call_arg *arg);

/*
 * Submit one without waiting for its completion.  Return: 0, or -1 with errno.
 */
int uring_submit(struct uring *ring, const struct io_uring_sqe *sqe);

/* Wait for the next completion.  Return: 0, or -1. */
int uring_wait(struct uring *ring, struct io_uring_cqe *cqe);

#endif
