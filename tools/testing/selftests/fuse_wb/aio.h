/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Asynchronous reads and writes by libaio's system calls and by io_uring's, as
 * kinds of calls: each submits one and waits for its end.
 */

#ifndef FUSE_WB_AIO_H
#define FUSE_WB_AIO_H

#include <sys/types.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>

#include "call.h"

extern const struct call_op call_aio_pread;
/* The same read, which is expected to block when it is submitted */
extern const struct call_op call_aio_pread_submit;
extern const struct call_op call_aio_pwrite;
/* The same for a write */
extern const struct call_op call_aio_pwrite_submit;
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

#define URING_ENTRIES	4

/**
 * struct uring - a ring of io_uring, for one thread at a time
 * @fd: its descriptor
 * @p: what the kernel said of it
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

/* A read or write, with @op an IORING_OP_*; no user_data. */
struct io_uring_sqe uring_sqe(int op, const struct call_arg *arg);

/* Submit one, and do not wait for its end.  Return: 0, or -1 with errno. */
int uring_submit(struct uring *ring, const struct io_uring_sqe *sqe);

/* Wait for the next completion.  Return: 0, or -1. */
int uring_wait(struct uring *ring, struct io_uring_cqe *cqe);

#endif
