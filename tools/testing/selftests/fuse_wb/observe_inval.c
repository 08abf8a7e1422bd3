// SPDX-License-Identifier: GPL-2.0
/* Notifications that the server sends, and the page cache after them. */

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "observe.h"

#define PAGE	4096
#define NODE	2

/* A file of four pages of o, in the page cache. */
static int open_cached(struct obs *o)
{
	int fd;

	obs_put(o, "file", 'o', 4 * PAGE);
	fd = obs_open(o, "file", O_RDWR);
	read_bytes(fd, 0, 4 * PAGE);
	mark(o);
	return fd;
}

static void see_requests(struct obs *o)
{
	saw_key(o, "requests", "%s", requests(o, FUSE_READ, FUSE_WRITE, FUSE_GETATTR, 0));
}

/* The notification, 0 or an errno, and what is read and written after it. */
static void invalidate(struct obs *o, int fd, __s64 off, __s64 len)
{
	saw_key(o, "inval", "%d", server_inval(o->m.ctl, NODE, off, len));
	NEED(o, !server_put(o->m.ctl, "file", 100, "nnnn", 4));
	NEED(o, !server_put(o->m.ctl, "file", PAGE + 100, "nnnn", 4));
	obs_see(o, fd, "file");
	see_requests(o);
}

OBSERVE_BOTH(inval, of_clean_file)
{
	invalidate(o, open_cached(o), 0, 0);
}

OBSERVE_BOTH(inval, of_one_page)
{
	invalidate(o, open_cached(o), PAGE, PAGE);
}

OBSERVE_BOTH(inval, of_attributes_alone)
{
	invalidate(o, open_cached(o), -1, 0);
}

OBSERVE_BOTH(inval, of_dirty_file)
{
	int fd = open_cached(o);

	memset(obs_map(o, fd, PAGE), 's', 50);
	obs_write(o, fd, 'd', PAGE, 50);
	invalidate(o, fd, 0, 0);
}

OBSERVE_BOTH(inval, beside_dirty_page)
{
	int fd = open_cached(o);

	memset(obs_map(o, fd, PAGE), 's', 50);
	invalidate(o, fd, PAGE, PAGE);
}

OBSERVE_BOTH(inval, of_unknown_node)
{
	NEED(o, !fence(&o->m));
	saw(o, "%s", strerrorname_np(server_inval(o->m.ctl, 77, 0, 0)));
}

/* A file that is dirty and whose WRITEs fail. */
OBSERVE_BOTH(inval, when_write_fails)
{
	const struct req_match match = { .opcode = FUSE_WRITE };
	int fd = open_cached(o);

	memset(obs_map(o, fd, PAGE), 's', 50);
	NEED(o, !server_fail(o->m.ctl, &match, ENOSPC));
	saw_key(o, "inval", "%d", server_inval(o->m.ctl, NODE, 0, 0));
	NEED(o, !await_writes(&o->m));
	NEED(o, !server_drop_rules(o->m.ctl));
	obs_see(o, fd, "file");
}

/* From the handler of a request, as servers do it; the file is dirty. */
static void invalidate_in(struct obs *o, __u32 opcode, const struct call_op *op)
{
	const struct req_match match = { .opcode = opcode };
	int fd = open_cached(o);

	obs_write(o, fd, 'd', 0, 50);
	NEED(o, !server_rule(o->m.ctl, &match, RULE_INVAL, 0));
	saw_key(o, "ret", "%s", run(o, op, (struct call_arg){ .fd = fd, .len = 2 * PAGE }));
	NEED(o, !server_drop_rules(o->m.ctl));
	obs_see(o, fd, "file");
}

OBSERVE_BOTH(inval, in_fsync, .threads = 3)
{
	invalidate_in(o, FUSE_FSYNC, &call_fsync);
}

OBSERVE_BOTH(inval, in_write, .threads = 3)
{
	invalidate_in(o, FUSE_WRITE, &call_fsync);
}

/* With the cache, the server deadlocks itself: dirty data waits for SETATTR. */
OBSERVE(inval, in_setattr_without_cache, .threads = 3)
{
	invalidate_in(o, FUSE_SETATTR, &call_ftruncate);
}

OBSERVE_BOTH(inval, in_fallocate, .threads = 3)
{
	invalidate_in(o, FUSE_FALLOCATE, &call_fallocate);
}

/* In the handler of FLUSH; close(2) of a copy of the descriptor. */
OBSERVE_BOTH(inval, in_flush, .threads = 3)
{
	const struct req_match match = { .opcode = FUSE_FLUSH };
	int fd = open_cached(o);

	obs_write(o, fd, 'd', 0, 50);
	NEED(o, !server_rule(o->m.ctl, &match, RULE_INVAL, 0));
	saw_key(o, "ret", "%s", run(o, &call_close, (struct call_arg){ .fd = dup(fd) }));
	NEED(o, !server_drop_rules(o->m.ctl));
	obs_see(o, fd, "file");
}

struct store_msg {
	struct fuse_out_header head;
	struct fuse_notify_store_out out;
	char data[2 * PAGE];
};

/* FUSE_NOTIFY_STORE of @len bytes n.  Return: as server_raw(). */
static int store(struct obs *o, off_t off, size_t len)
{
	struct store_msg msg = {
		.head.len = offsetof(struct store_msg, data) + len,
		.head.error = FUSE_NOTIFY_STORE,
		.out = { .nodeid = NODE, .offset = off, .size = len },
	};

	memset(msg.data, 'n', len);
	return server_raw(o->m.ctl, &msg, msg.head.len);
}

static void store_into(struct obs *o, int fd, off_t off, size_t len)
{
	mark(o);
	saw_key(o, "store", "%d", store(o, off, len));
	obs_see(o, fd, "file");
	see_requests(o);
}

OBSERVE_BOTH(inval, store_into_clean_page)
{
	store_into(o, open_cached(o), 100, PAGE);
}

OBSERVE_BOTH(inval, store_into_absent_page)
{
	obs_put(o, "file", 'o', 4 * PAGE);
	store_into(o, obs_open(o, "file", O_RDWR), 0, PAGE + 100);
}

OBSERVE_BOTH(inval, store_into_dirty_page)
{
	int fd = open_cached(o);

	memset(obs_map(o, fd, PAGE), 's', 50);
	store_into(o, fd, 20, 100);
}

OBSERVE_BOTH(inval, store_beyond_eof)
{
	store_into(o, open_cached(o), 4 * PAGE + 10, 100);
}

OBSERVE_BOTH(inval, store_seen_in_mapping)
{
	int fd = open_cached(o);
	char *map = obs_map(o, fd, 4 * PAGE);

	saw_key(o, "before", "%s", bytes(map, 4 * PAGE));
	saw_key(o, "store", "%d", store(o, PAGE - 50, 100));
	saw_key(o, "mapped", "%s", bytes(map, 4 * PAGE));
	map[PAGE] = 's';
	obs_see(o, fd, "file");
}

/* FUSE_NOTIFY_RETRIEVE: dirty data stays dirty. */
OBSERVE_BOTH(inval, retrieve)
{
	struct {
		struct fuse_out_header head;
		struct fuse_notify_retrieve_out out;
	} msg = {
		.head.len = sizeof(msg),
		.head.error = FUSE_NOTIFY_RETRIEVE,
		.out = { .notify_unique = 1, .nodeid = NODE, .size = 2 * PAGE },
	};
	int fd = open_cached(o);

	memset(obs_map(o, fd, PAGE), 's', 50);
	saw_key(o, "ret", "%d", server_raw(o->m.ctl, &msg, sizeof(msg)));
	NEED(o, !fence(&o->m));
	saw_key(o, "replies", "%d", arrived(o, FUSE_NOTIFY_REPLY));
	saw_key(o, "sent", "%s", requests(o, FUSE_WRITE, 0));
	obs_see(o, fd, "file");
}

/* The dentry is invalidated, not the inode. */
static void see_forgotten(struct obs *o, const void *msg, size_t len)
{
	int fd = open_cached(o);
	struct stat st;

	obs_write(o, fd, 'd', 0, 50);
	mark(o);
	saw_key(o, "ret", "%d", server_raw(o->m.ctl, msg, len));
	saw_key(o, "stat", "%s", result(stat(obs_path(o, "file"), &st)));
	saw_key(o, "lookups", "%d", arrived(o, FUSE_LOOKUP));
	obs_see(o, fd, "file");
	saw_key(o, "close", "%s", result(close(fd)));
}

OBSERVE_BOTH(inval, of_entry)
{
	struct {
		struct fuse_out_header head;
		struct fuse_notify_inval_entry_out out;
		char name[5];
	} msg = {
		.head.error = FUSE_NOTIFY_INVAL_ENTRY,
		.out = { .parent = FUSE_ROOT_ID, .namelen = 4 },
		.name = "file",
	};

	msg.head.len = msg.name + sizeof(msg.name) - (char *)&msg;
	see_forgotten(o, &msg, msg.head.len);
}

OBSERVE_BOTH(inval, that_deletes_entry)
{
	struct {
		struct fuse_out_header head;
		struct fuse_notify_delete_out out;
		char name[5];
	} msg = {
		.head.error = FUSE_NOTIFY_DELETE,
		.out = { .parent = FUSE_ROOT_ID, .child = NODE, .namelen = 4 },
		.name = "file",
	};

	msg.head.len = msg.name + sizeof(msg.name) - (char *)&msg;
	see_forgotten(o, &msg, msg.head.len);
}

/* The server's /dev/fuse descriptor, for a message that may block. */
static int notify_dev(struct obs *o)
{
	int pidfd = syscall(SYS_pidfd_open, o->m.server, 0);
	int dev = syscall(SYS_pidfd_getfd, pidfd, o->m.dev, 0);

	NEED(o, dev >= 0);
	close(pidfd);
	return dev;
}

/* The WRITE of a page is held; the server invalidates it, and stores into another. */
OBSERVE_BOTH(inval, of_held_page)
{
	struct {
		struct fuse_out_header head;
		struct fuse_notify_inval_inode_out out;
	} msg = {
		.head.len = sizeof(msg),
		.head.error = FUSE_NOTIFY_INVAL_INODE,
		.out.ino = NODE,
	};
	int fd = open_cached(o), dev = notify_dev(o);
	struct call *c;

	memset(obs_map(o, fd, PAGE), 's', 50);
	obs_hold_writes(o, fd, 1);
	c = obs_call(o, &call_write, (struct call_arg){
		.fd = dev, .buf = &msg, .len = sizeof(msg) });
	saw_key(o, "inval", "%s", state(o, c));
	obs_release(o);
	saw_key(o, "inval_then", "%s", outcome(c));
	NEED(o, !await_writes(&o->m));
	NEED(o, !server_put(o->m.ctl, "file", 100, "nnnn", 4));
	obs_see(o, fd, "file");
	close(dev);
}

OBSERVE_BOTH(inval, store_into_held_page)
{
	struct store_msg msg = {
		.head.len = offsetof(struct store_msg, data) + 100,
		.head.error = FUSE_NOTIFY_STORE,
		.out = { .nodeid = NODE, .offset = 200, .size = 100 },
	};
	int fd = open_cached(o), dev = notify_dev(o);
	struct call *c;

	memset(msg.data, 'n', 100);
	memset(obs_map(o, fd, PAGE), 's', 50);
	obs_hold_writes(o, fd, 1);
	c = obs_call(o, &call_write, (struct call_arg){
		.fd = dev, .buf = &msg, .len = msg.head.len });
	saw_key(o, "store", "%s", state(o, c));
	obs_release(o);
	saw_key(o, "store_then", "%s", outcome(c));
	NEED(o, !await_writes(&o->m));
	obs_see(o, fd, "file");
	close(dev);
}
