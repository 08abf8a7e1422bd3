// SPDX-License-Identifier: GPL-2.0
/* Whether a reader gets bytes that the file never held, or no longer holds. */

#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "aio.h"
#include "observe.h"

#define PAGE	4096

/*
 * A direct read of a page is held when the file has 100 bytes, and 200 X are appended
 * through the cache: what does the read return?
 */
static void short_read(struct obs *o, const struct call_op *op)
{
	char *buf = aligned_alloc(PAGE, PAGE);
	int fd, direct;
	struct call *c;

	NEED(o, buf);
	obs_put(o, "file", 'o', 100);
	fd = obs_open(o, "file", O_RDWR);
	direct = obs_open(o, "file", O_RDONLY | O_DIRECT);
	/* The page is cached, so that the append need not read it. */
	read_bytes(fd, 0, 100);
	obs_hold(o, FUSE_READ);
	c = obs_call(o, op, (struct call_arg){
		.fd = direct, .buf = buf, .len = PAGE });
	NEED(o, await_req(&o->m, FUSE_READ, REQ_ARRIVED, 2));
	obs_write(o, fd, 'X', 100, 200);
	obs_release(o);
	NEED(o, call_wait_returned(c) == CALL_RETURNED);
	saw(o, "%s", c->ret < 0 ? outcome(c) : bytes(buf, c->ret));
}

OBSERVE(stale, pread_beside_append, .writeback_cache = true, .async_dio = true)
{
	short_read(o, &call_pread);
}

OBSERVE(stale, aio_read_beside_append, .writeback_cache = true,
	.async_dio = true)
{
	short_read(o, &call_aio_pread);
}

/*
 * The server's /dev/fuse descriptor, to write to it without the server's help.
 */
static int server_dev(struct obs *o)
{
	int pidfd = syscall(SYS_pidfd_open, o->m.server, 0);
	int dev = syscall(SYS_pidfd_getfd, pidfd, o->m.dev, 0);

	NEED(o, dev >= 0);
	close(pidfd);
	return dev;
}

/*
 * The server invalidates a file, a page of which is under writeback while another task
 * waits to write to it.  The page is dropped before or after that write(2), and read
 * again.
 */
OBSERVE(stale, invalidation_of_page_that_is_locked, .writeback_cache = true,
	.open_flags = FOPEN_KEEP_CACHE)
{
	struct {
		struct fuse_out_header head;
		struct fuse_notify_inval_inode_out out;
	} msg = {
		.head.len = sizeof(msg),
		.head.error = FUSE_NOTIFY_INVAL_INODE,
		.out.ino = 2,
	};
	struct call *writer, *inval;
	int fd, dev = server_dev(o);

	obs_put(o, "file", 'o', PAGE);
	fd = obs_open(o, "file", O_RDWR);
	obs_write(o, fd, 'a', 0, PAGE);
	obs_hold_writes(o, fd, 1);
	writer = obs_call(o, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = "b", .len = 1 });
	NEED(o, call_stays_blocked(&o->m, writer) != CALL_LOST);
	mark(o);
	inval = obs_call(o, &call_write, (struct call_arg){
		.fd = dev, .buf = &msg, .len = sizeof(msg) });
	NEED(o, call_stays_blocked(&o->m, inval) != CALL_LOST);
	obs_release(o);
	saw_key(o, "writer", "%s", outcome(writer));
	saw_key(o, "inval", "%s", outcome(inval));
	NEED(o, !mnt_run(&o->m, &call_fsync, (struct call_arg){ .fd = fd }));
	saw_key(o, "read", "%s", read_bytes(fd, 0, 200));
	saw_key(o, "page", "%s", arrived(o, FUSE_READ) ? "was read again" :
		"is still there");
	close(dev);
}

/* A store to one page while a hole is punched in another. */
OBSERVE(stale, store_beside_hole, .writeback_cache = true)
{
	struct call *hole, *store;
	char *map;
	int fd;

	obs_put(o, "file", 'o', 4 * PAGE);
	fd = obs_open(o, "file", O_RDWR);
	map = obs_map(o, fd, 4 * PAGE);
	NEED(o, !madvise(map, 4 * PAGE, MADV_POPULATE_READ));
	obs_hold(o, FUSE_FALLOCATE);
	hole = obs_call(o, &call_fallocate, (struct call_arg){
		.fd = fd, .len = PAGE,
		.flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE });
	NEED(o, await_req(&o->m, FUSE_FALLOCATE, REQ_ARRIVED, 1));
	store = obs_call(o, &call_store, (struct call_arg){
		.buf = "y", .to = map + 3 * PAGE, .len = 1 });
	saw_key(o, "elsewhere", "%s", state(o, store));
	obs_release(o);
	saw_key(o, "hole", "%s", outcome(hole));
	saw_key(o, "store", "%s", outcome(store));
	NEED(o, !fsync(fd));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/* CREATE of a file that exists, as another client has created it meanwhile. */
OBSERVE(stale, create_of_existing_file, .writeback_cache = true,
	.ask_always = true)
{
	const struct req_match lookups = { .opcode = FUSE_LOOKUP };
	int fd, other;

	fd = obs_open(o, "file", O_RDWR | O_CREAT);
	obs_write(o, fd, 'x', 0, 100);
	NEED(o, !server_fail(o->m.ctl, &lookups, ENOENT));
	NEED(o, !mnt_run(&o->m, &call_fsync, (struct call_arg){ .fd = fd }));
	mark(o);
	other = obs_open(o, "file", O_RDWR | O_CREAT | O_TRUNC);
	saw_key(o, "requests", "%s", requests(o, FUSE_CREATE, FUSE_OPEN,
					      FUSE_SETATTR, FUSE_WRITE, 0));
	saw_key(o, "read", "%s", read_bytes(other, 0, 200));
	saw_key(o, "server", "%s", server_bytes(o, "file"));
}

/*
 * aio on a descriptor that is closed before it ends: the reply to READ drops the last
 * reference, in the only server thread, while a WRITE is held.
 */
OBSERVE(stale, last_reference_in_reply, .writeback_cache = true,
	.async_dio = true)
{
	const struct req_match reads = { .opcode = FUSE_READ };
	char *buf = aligned_alloc(PAGE, PAGE);
	struct aio aio = {};
	int fd, direct;

	NEED(o, buf);
	obs_put(o, "file", 'o', PAGE);
	fd = obs_open(o, "file", O_RDWR);
	direct = obs_open(o, "file", O_RDONLY | O_DIRECT);
	obs_hold(o, FUSE_READ);
	NEED(o, !aio_submit(&aio, IOCB_CMD_PREAD, &(struct call_arg){
		.fd = direct, .buf = buf, .len = PAGE }));
	NEED(o, await_req(&o->m, FUSE_READ, REQ_ARRIVED, 1));
	saw_key(o, "close", "%s", run(o, &call_close, (struct call_arg){
		.fd = direct }));
	obs_write(o, fd, 'x', 0, PAGE);
	/*
	 * As on the unpatched kernel: only the data is left to be sent, no
	 * times.
	 */
	obs_hold(o, FUSE_WRITE);
	NEED(o, !mnt_run(&o->m, &call_syncfs, (struct call_arg){ .fd = fd }));
	NEED(o, arrived(o, FUSE_WRITE) == 1);
	saw_key(o, "released", "%d", server_release_match(o->m.ctl, &reads));
	saw_key(o, "read", "%ld", aio_wait(&aio));
	NEED(o, !fence(&o->m));
	saw_key(o, "server", "goes on");
}
