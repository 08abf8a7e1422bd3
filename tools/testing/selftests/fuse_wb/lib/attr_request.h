/* SPDX-License-Identifier: GPL-2.0 */
/* Requests whose replies carry the attributes of a file. */

#ifndef FUSE_WB_ATTR_REQUEST_H
#define FUSE_WB_ATTR_REQUEST_H

#include "mnt.h"

/**
 * struct attr_request - a way to make the server send a file's attributes
 * @opcode: the request whose reply has the attributes
 * @fn: make the kernel send it; the file is open as @fd.  Return: 0, or -1 with
 *	errno
 */
struct attr_request {
	__u32 opcode;
	int (*fn)(struct mnt *m, const char *name, int fd);
};

/* These need a server with ask_always and readdirplus. */
extern const struct attr_request attr_request_getattr;
extern const struct attr_request attr_request_lookup;
extern const struct attr_request attr_request_readdirplus;
extern const struct attr_request attr_request_setattr;

/**
 * attr_request_send() - make the server send a file's attributes, once
 * @m: the mount
 * @ask: how
 * @name: the file
 * @fd: the same
 *
 * Return: 0; -1 and a message when no request was sent.
 */
int attr_request_send(struct mnt *m, const struct attr_request *ask, const char *name, int fd);

/* The size that the kernel has cached, without a request; or -1. */
long long kernel_size(int fd);

#endif
