/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The control channel between a test and its server: one message there, one
 * back.  The functions print what went wrong and return -1, unless noted
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
 * struct ctl_msg - a command, and its reply
 * @op: what to do
 * @err: in a reply the errno of the command
 * @rule: a rule; its match alone: which requests to release
 * @name: the file that a command refers to
 * @off: where in the file, or the backing file for OPEN
 * @len: bytes at @data; for CTL_GET: bytes wanted
 * @count: requests to release, FOPEN_* flags, or FATTR_* bits; in a reply,
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
 * Apply this rule to matching requests from now on.  Where several rules match
 * a request the newest one wins.
 */
int server_rule(int ctl_fd, const struct req_match *match, enum rule_act act,
		__u64 arg);

/* Hold matching requests from now on, see RULE_HOLD. */
int server_hold(int ctl_fd, const struct req_match *match);

/* Fail matching requests with this errno from now on, without side effects. */
int server_fail(int ctl_fd, const struct req_match *match, int err);

/* Reply ENOSYS to matching requests from now on. */
int server_lacks(int ctl_fd, const struct req_match *match);

/* Remove all rules.  Held requests stay held. */
int server_drop_rules(int ctl_fd);

/**
 * server_release() - carry out held requests and reply, oldest first
 * @ctl_fd: the control channel
 * @nr: how many; 0: all, and stop holding
 *
 * A held request that matches a later server_fail() rule gets that
 * errno and is not carried out.  Every reply is in the log on return.
 *
 * Return: the number of requests that were replied to, -1 on error.
 */
int server_release(int ctl_fd, unsigned int nr);

/* The same for all of one kind; such requests are held as before. */
int server_release_match(int ctl_fd, const struct req_match *match);

/* Write or read a file without the kernel's knowledge; put creates it. */
int server_put(int ctl_fd, const char *name, __u64 off, const void *data,
	       size_t len);
int server_get(int ctl_fd, const char *name, __u64 off, void *data,
	       size_t len);

/* Return: the size of a file at the server in bytes, -1 on error. */
long long server_size(int ctl_fd, const char *name);

/* The server's attributes of a file. */
int server_stat(int ctl_fd, const char *name, struct stat *st);

/*
 * Change a file at the server as a SETATTR would, without the kernel's
 * knowledge; @valid has the FATTR_* bits to apply.
 */
int server_setattr(int ctl_fd, const char *name, const struct stat *st,
		   __u32 valid);

/* The same for its mtime and ctime, in seconds. */
int server_set_times(int ctl_fd, const char *name, time_t seconds);

/* Set these FOPEN_* flags in replies to OPEN and CREATE from now on. */
int server_open_flags(int ctl_fd, __u32 flags);

/* The same, with this backing file for FOPEN_PASSTHROUGH: see mnt.h. */
int server_open_backing(int ctl_fd, __u32 flags, int backing_id);

/**
 * server_raw() - write raw bytes to /dev/fuse
 * @ctl_fd: the control channel
 * @buf: the bytes
 * @len: how many, at most CTL_DATA_MAX
 *
 * The server still considers a request held that is replied to in this way.
 *
 * Return: 0 when the kernel took them, the errno with which it refused them,
 * or -1.
 */
int server_raw(int ctl_fd, const void *buf, size_t len);

/*
 * Make the server send FUSE_NOTIFY_INVAL_INODE for @len bytes from @off; @len
 * 0: to the end of the file; a negative @off: for the attributes only.
 *
 * Return: as server_raw().
 */
int server_inval(int ctl_fd, __u64 node, __s64 off, __s64 len);

/*
 * The server allocates @len bytes, touches them and frees them.  Meanwhile it
 * handles no request, as if it did this in the middle of one.
 */
int server_allocate(int ctl_fd, size_t len);

/* The server exits without another reply. */
int server_quit(int ctl_fd);

#endif
