// SPDX-License-Identifier: GPL-2.0
/* Asynchronous reads and writes, see aio.h. */

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

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

const struct call_op call_aio_pread_submit = {
	"aio read", SYS_io_submit, do_aio_pread
};

const struct call_op call_aio_pwrite = {
	"aio write", SYS_io_getevents, do_aio_pwrite
};

const struct call_op call_aio_pwrite_submit = {
	"aio write", SYS_io_submit, do_aio_pwrite
};

static __u32 *field(char *ring, __u32 off)
{
	return (__u32 *)(ring + off);
}

int uring_setup(struct uring *ring)
{
	const int prot = PROT_READ | PROT_WRITE;
	struct io_uring_params *p = &ring->p;

	memset(ring, 0, sizeof(*ring));
	ring->fd = syscall(SYS_io_uring_setup, URING_ENTRIES, p);
	if (ring->fd < 0)
		return -1;
	/* The mappings go away when the process exits. */
	ring->sq = mmap(NULL, p->sq_off.array + p->sq_entries * sizeof(__u32),
			prot, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
	ring->cq = mmap(NULL, p->cq_off.cqes +
			p->cq_entries * sizeof(struct io_uring_cqe),
			prot, MAP_SHARED, ring->fd, IORING_OFF_CQ_RING);
	ring->sqes = mmap(NULL, p->sq_entries * sizeof(*ring->sqes), prot,
			  MAP_SHARED, ring->fd, IORING_OFF_SQES);
	if (ring->sq != MAP_FAILED && ring->cq != MAP_FAILED &&
	    ring->sqes != MAP_FAILED)
		return 0;
	close(ring->fd);
	return -1;
}

int uring_submit(struct uring *ring, const struct io_uring_sqe *sqe)
{
	const struct io_sqring_offsets *off = &ring->p.sq_off;
	__u32 tail = *field(ring->sq, off->tail);
	__u32 i = tail % ring->p.sq_entries;

	ring->sqes[i] = *sqe;
	field(ring->sq, off->array)[i] = i;
	__atomic_store_n(field(ring->sq, off->tail), tail + 1,
			 __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, ring->fd, 1, 0, 0, NULL, 0) == 1 ?
		0 : -1;
}

int uring_wait(struct uring *ring, struct io_uring_cqe *cqe)
{
	const struct io_cqring_offsets *off = &ring->p.cq_off;
	struct io_uring_cqe *cqes = (void *)(ring->cq + off->cqes);
	__u32 head = *field(ring->cq, off->head);

	if (syscall(SYS_io_uring_enter, ring->fd, 0, 1, IORING_ENTER_GETEVENTS,
		    NULL, 0) < 0 ||
	    __atomic_load_n(field(ring->cq, off->tail), __ATOMIC_ACQUIRE) ==
	    head)
		return -1;
	*cqe = cqes[head % ring->p.cq_entries];
	__atomic_store_n(field(ring->cq, off->head), head + 1,
			 __ATOMIC_RELEASE);
	return 0;
}

struct io_uring_sqe uring_sqe(int op, const struct call_arg *arg)
{
	return (struct io_uring_sqe){
		.opcode = op,
		.fd = arg->fd,
		.addr = (__u64)(unsigned long)arg->buf,
		.len = arg->len,
		.off = arg->off,
	};
}

static long uring_run(int op, const struct call_arg *arg)
{
	const struct io_uring_sqe sqe = uring_sqe(op, arg);
	struct io_uring_cqe cqe;
	struct uring ring;
	long res = -1;

	if (uring_setup(&ring))
		return -1;
	if (!uring_submit(&ring, &sqe) && !uring_wait(&ring, &cqe))
		res = result(cqe.res);
	close(ring.fd);
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
