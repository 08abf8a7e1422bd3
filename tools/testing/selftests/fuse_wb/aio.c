// SPDX-License-Identifier: GPL-2.0
/* Asynchronous reads and writes, see aio.h. */

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/io_uring.h>

#include "aio.h"

static long result(long res)
{
	if (res >= 0)
		return res;
	errno = -res;
	return -1;
}

int aio_submit(struct aio *aio, int cmd, const struct call_arg *arg)
{
	struct iocb *list = &aio->cb;

	memset(aio, 0, sizeof(*aio));
	if (syscall(SYS_io_setup, 1, &aio->ctx))
		return -1;
	aio->cb.aio_lio_opcode = cmd;
	aio->cb.aio_fildes = arg->fd;
	aio->cb.aio_buf = (__u64)(unsigned long)arg->buf;
	aio->cb.aio_nbytes = arg->len;
	aio->cb.aio_offset = arg->off;
	return syscall(SYS_io_submit, aio->ctx, 1, &list) == 1 ? 0 : -1;
}

long aio_wait(struct aio *aio)
{
	struct io_event ev = { };
	long nr = syscall(SYS_io_getevents, aio->ctx, 1, 1, &ev, NULL);

	syscall(SYS_io_destroy, aio->ctx);
	return nr == 1 ? result(ev.res) : -1;
}

static long aio_run(int cmd, const struct call_arg *arg)
{
	struct aio aio;

	return aio_submit(&aio, cmd, arg) ? -1 : aio_wait(&aio);
}

static long do_aio_pread(const struct call_arg *arg)
{
	return aio_run(IOCB_CMD_PREAD, arg);
}

static long do_aio_pwrite(const struct call_arg *arg)
{
	return aio_run(IOCB_CMD_PWRITE, arg);
}

const struct call_op call_aio_pread = {
	"aio read", SYS_io_getevents, do_aio_pread
};

const struct call_op call_aio_pwrite = {
	"aio write", SYS_io_getevents, do_aio_pwrite
};

/* The three mappings of a ring, for one request at a time. */
static long uring_run(int op, const struct call_arg *arg)
{
	struct io_uring_params p = { };
	struct io_uring_sqe *sqe;
	char *sq, *cq;
	long res = -1;
	int fd;

	fd = syscall(SYS_io_uring_setup, 1, &p);
	if (fd < 0)
		return -1;
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(__u32),
		  PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes +
		  p.cq_entries * sizeof(struct io_uring_cqe),
		  PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_CQ_RING);
	sqe = mmap(NULL, p.sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE,
		   MAP_SHARED, fd, IORING_OFF_SQES);
	if (sq != MAP_FAILED && cq != MAP_FAILED && sqe != MAP_FAILED) {
		struct io_uring_cqe *cqe = (void *)(cq + p.cq_off.cqes);

		memset(sqe, 0, sizeof(*sqe));
		sqe->opcode = op;
		sqe->fd = arg->fd;
		sqe->addr = (__u64)(unsigned long)arg->buf;
		sqe->len = arg->len;
		sqe->off = arg->off;
		*(__u32 *)(sq + p.sq_off.array) = 0;
		__atomic_store_n((__u32 *)(sq + p.sq_off.tail), 1,
				 __ATOMIC_RELEASE);
		if (syscall(SYS_io_uring_enter, fd, 1, 1,
			    IORING_ENTER_GETEVENTS, NULL, 0) == 1 &&
		    __atomic_load_n((__u32 *)(cq + p.cq_off.tail),
				    __ATOMIC_ACQUIRE) == 1)
			res = result(cqe->res);
	}
	/* The mappings go with the process. */
	close(fd);
	return res;
}

static long do_uring_pread(const struct call_arg *arg)
{
	return uring_run(IORING_OP_READ, arg);
}

static long do_uring_pwrite(const struct call_arg *arg)
{
	return uring_run(IORING_OP_WRITE, arg);
}

const struct call_op call_uring_pread = {
	"io_uring read", SYS_io_uring_enter, do_uring_pread
};

const struct call_op call_uring_pwrite = {
	"io_uring write", SYS_io_uring_enter, do_uring_pwrite
};
