/* SPDX-License-Identifier: GPL-2.0 */
/* The inside of the server, for server.c, which serves, and command.c. */

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
 * The request in hand, the rule for it or NULL, and the reply that it got, as
 * srv_writev() saw it pass; @fh is what OPEN and CREATE return.
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
 * Everything below @lock is covered by it; @log's writing too.  @receiving is
 * held from before a request is read until @lock is taken.
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

/* Log what went to the kernel and is no reply of libfuse's; takes the lock. */
void server_log_message(struct server *srv, __u32 opcode, __u64 unique,
			int err);

/* Answer @nr held requests that match, or all when it is 0.  Return: how many. */
unsigned int server_release_held(struct server *srv,
				 const struct req_match *match,
				 unsigned int nr);

/* The control thread: obeys the test until that is gone or says CTL_QUIT. */
void *server_obey(void *srv);

#endif
