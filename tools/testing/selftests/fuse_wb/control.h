/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The control channel between a test and its server: one message there, one
 * back.  The functions print what went wrong and return -1, unless they say
 * otherwise.
 */

#ifndef FUSE_WB_CONTROL_H
#define FUSE_WB_CONTROL_H

#include <stddef.h>
#include <linux/types.h>

#include "memfs.h"
#include "reqlog.h"
#include "rules.h"

#define CTL_DATA_MAX	(32 << 10)

enum ctl_op {
	CTL_RULE,
	CTL_DROP_RULES,
	CTL_RELEASE,
	CTL_PUT,
	CTL_GET,
	CTL_STAT,
	CTL_SETATTR,
	CTL_OPEN_FLAGS,
	CTL_RAW,
	CTL_ALLOCATE,
	CTL_QUIT,
};

/**
 * struct ctl_msg - a command, and its answer
 * @op: what to do
 * @err: in an answer the errno of the command
 * @rule: a rule; its match alone: which requests to release
 * @name: the file that a command is about
 * @off: where in the file, or the backing file for OPEN
 * @len: bytes at @data; for CTL_GET: bytes wanted
 * @count: requests to release, FOPEN_* flags, or FATTR_* bits; in an answer,
 *	   those released, or the errno with which the kernel refused raw bytes
 * @data: bytes of the file, or for the kernel, or a struct stat; only @len of
 *	  them are sent
 */
struct ctl_msg {
	enum ctl_op op;
	int err;
	struct rule rule;
	char name[MEMFS_NAME_MAX];
	__u64 off;
	__u64 len;
	__u64 count;
	char data[CTL_DATA_MAX];
};

#define CTL_HEAD	offsetof(struct ctl_msg, data)

/*
 * From now on this happens to the matching requests.  Where several rules match
 * a request the newest one counts.
 */
int server_rule(int ctl_fd, const struct req_match *match, enum rule_act act,
		__u64 arg);

/* From now on the matching requests are kept, see RULE_HOLD. */
int server_hold(int ctl_fd, const struct req_match *match);

/* From now on the matching requests get this errno and nothing is done. */
int server_fail(int ctl_fd, const struct req_match *match, int err);

/* From now on the server does not know such requests, and says so. */
int server_lacks(int ctl_fd, const struct req_match *match);

/* Forget all rules.  What is held stays. */
int server_drop_rules(int ctl_fd);

/**
 * server_release() - carry out held requests and answer them, oldest first
 * @ctl_fd: the control channel
 * @nr: how many; 0: all, and hold no more
 *
 * A held request that server_fail() has been told about meanwhile gets its
 * errno and is not carried out.  Every reply is in the log on return.
 *
 * Return: the number of requests that were answered, -1 on error.
 */
int server_release(int ctl_fd, unsigned int nr);

/* The same for all of one kind, and such requests are held as before. */
int server_release_match(int ctl_fd, const struct req_match *match);

/* Write to or read from a file behind the kernel's back; put creates it. */
int server_put(int ctl_fd, const char *name, __u64 off, const void *data,
	       size_t len);
int server_get(int ctl_fd, const char *name, __u64 off, void *data,
	       size_t len);

/* Return: the size of a file at the server in bytes, -1 on error. */
long long server_size(int ctl_fd, const char *name);

/* What the server knows of a file. */
int server_stat(int ctl_fd, const char *name, struct stat *st);

/*
 * Change a file at the server as a SETATTR would, behind the kernel's back;
 * @valid are the bits of FATTR_* that count.
 */
int server_setattr(int ctl_fd, const char *name, const struct stat *st,
		   __u32 valid);

/* The same for its mtime and ctime, in seconds. */
int server_set_times(int ctl_fd, const char *name, time_t seconds);

/* From now on the replies to OPEN and CREATE have these FOPEN_* flags. */
int server_open_flags(int ctl_fd, __u32 flags);

/* The same, and with FOPEN_PASSTHROUGH this backing file: see mnt.h. */
int server_open_backing(int ctl_fd, __u32 flags, int backing_id);

/**
 * server_raw() - write bytes of the test's own to /dev/fuse
 * @ctl_fd: the control channel
 * @buf: the bytes
 * @len: how many, at most CTL_DATA_MAX
 *
 * A request that gets its answer so is still held, as far as the server knows.
 *
 * Return: 0 when the kernel took them, the errno with which it refused them,
 * or -1.
 */
int server_raw(int ctl_fd, const void *buf, size_t len);

/*
 * Have the server send FUSE_NOTIFY_INVAL_INODE for @len bytes from @off; 0: for
 * all from there; an @off of -1: for the attributes alone.
 *
 * Return: as server_raw().
 */
int server_inval(int ctl_fd, __u64 node, __s64 off, __s64 len);

/*
 * The server takes @len bytes of new memory, touches them and gives them back.
 * Meanwhile it handles no request, as if it did this in the middle of one.
 */
int server_allocate(int ctl_fd, size_t len);

/* The server ends without another reply. */
int server_quit(int ctl_fd);

#endif
