/* SPDX-License-Identifier: GPL-2.0 */
/* Server internals, for server.c, which serves, and command.c. */

#ifndef FUSE_WB_ENGINE_H
#define FUSE_WB_ENGINE_H

#include <pthread.h>
#include <fuse_lowlevel.h>

#include "devio.h"
#include "memfs.h"
#include "reqlog.h"
#include "rules.h"
#include "server.h"

struct held {
	struct held *next;
	struct fuse_buf buf;
	struct req req;
};

/*
 * The current request, the rule for it or NULL, and its reply as seen by
 * srv_writev(); @fh is what OPEN and CREATE return.
 */
struct reply {
	const struct req *req;
	const struct rule *rule;
	bool given;
	__u64 fh;
	int err;
	int refused;
};

/*
 * @lock protects everything below it, and writes to @log.  @receiving is held
 * from before a request is read until @lock is taken.
 */
struct server {
	const struct server_opts *opts;
	struct fuse_session *se;
	struct reqlog *log;
	struct devio io;
	int ctl_fd;
	pthread_mutex_t receiving;

	pthread_mutex_t lock;
	struct memfs fs;
	__u32 open_flags;
	int backing_id;
	struct rules rules;
	struct held *held;
	struct reply reply;
};

/* Log a message to the kernel that is no libfuse reply; takes the lock. */
void server_log_message(struct server *srv, __u32 opcode, __u64 unique,
			int err);

/* Reply to @nr matching held requests; 0: to all.  Return: how many. */
unsigned int server_release_held(struct server *srv,
				 const struct req_match *match,
				 unsigned int nr);

/*
 * The control thread: executes commands until the test exits or sends CTL_QUIT.
 */
void *server_obey(void *srv);

#endif
