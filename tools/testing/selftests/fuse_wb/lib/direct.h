/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A file of one megabyte, and direct reads and writes of all of it, each of
 * which the kernel splits into eight requests.  Like common.h, it uses
 * _metadata.
 */

#ifndef FUSE_WB_DIRECT_H
#define FUSE_WB_DIRECT_H

#include <sched.h>

#include "child.h"
#include "common.h"

#define STEP	(128 << 10)
#define STEPS	8
#define BYTES	(STEPS * STEP)

/**
 * struct direct - the file
 * @m: the mount
 * @fd: "file", BYTES long
 * @data: its contents, now or after a write
 * @buf: a read buffer
 */
struct direct {
	struct mnt m;
	int fd;
	char *data;
	char *buf;
};

/**
 * direct_setup() - for FIXTURE_SETUP(): mount, make the file and open it
 * @_metadata: the test
 * @d: filled in
 * @opts: how the server behaves; its max_write has to be STEP
 * @variant: the fixture's variant
 * @flags: open flags in addition to O_RDWR
 *
 * Return: false when the test is skipped.
 */
static inline bool direct_setup(struct __test_metadata *_metadata,
				struct direct *d,
				const struct server_opts *opts,
				const void *variant, int flags)
{
	if (!mnt_setup(_metadata, &d->m, opts, variant))
		return false;
	d->data = aligned_alloc(4096, BYTES);
	d->buf = aligned_alloc(4096, BYTES);
	ASSERT_TRUE(d->data && d->buf);
	memset(d->buf, 0, BYTES);
	fill_pattern(d->data, BYTES, 1);
	ASSERT_EQ(0, server_put(d->m.ctl, "file", 0, d->data, BYTES));
	d->fd = mnt_open(&d->m, "file", O_RDWR | flags);
	ASSERT_LE(0, d->fd);
	return true;
}

/*
 * Arguments of a call of @len bytes at @off; for a write, changes @data first.
 */
static inline struct call_arg direct_arg(struct direct *d, __u32 opcode,
					 off_t off, size_t len)
{
	bool write = opcode == FUSE_WRITE;

	if (write)
		fill_pattern(d->data, BYTES, 2);
	return (struct call_arg){
		.fd = d->fd, .off = off, .len = len,
		.buf = write ? d->data + off : d->buf };
}

/* Hold all requests of a kind and make the call, in a thread. */
static inline struct call *direct_call(struct direct *d,
				       const struct call_op *op, __u32 opcode,
				       off_t off, size_t len)
{
	if (hold_req(&d->m, opcode))
		return NULL;
	return mnt_call(&d->m, op, direct_arg(d, opcode, off, len));
}

/* Exactly this many requests are in flight, and no more follow. */
static inline bool direct_under_way(struct mnt *m, __u32 opcode, int nr)
{
	return await_req(m, opcode, REQ_ARRIVED, nr) && !fence(m) &&
	       count_req(m, opcode, REQ_ARRIVED) == nr;
}

/*
 * The same in a process of its own, for the whole file, until @nr requests are
 * in flight.  Return: the child, or -1.
 */
static inline pid_t direct_child(struct direct *d, const struct call_op *op,
				 __u32 opcode, int nr)
{
	pid_t pid;

	if (hold_req(&d->m, opcode))
		return -1;
	pid = child_start(CLONE_FILES, op, direct_arg(d, opcode, 0, BYTES));
	return pid > 0 && direct_under_way(&d->m, opcode, nr) ? pid : -1;
}

/* Match the request for one step of the file. */
static inline struct req_match direct_step(__u32 opcode, int step)
{
	return (struct req_match){
		.opcode = opcode,
		.start = step * STEP,
		.end = (step + 1) * STEP,
	};
}

/* The call returned @ret bytes of the file, with the right contents. */
static inline void direct_check(struct __test_metadata *_metadata,
				struct direct *d, struct call *c, long ret)
{
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(ret, c->ret) {
		TH_LOG("%s: %s", c->op->name, strerror(c->err));
	}
	if (c->arg.buf != d->buf)
		ASSERT_EQ(0, server_get(d->m.ctl, "file", c->arg.off, d->buf,
					ret));
	EXPECT_EQ(-1, first_difference(d->data + c->arg.off, d->buf, ret));
}

#endif
