/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A FUSE server inside the kernel, for tests.
 *
 * It uses a FUSE superblock, and a connection with its own input queue. The
 * server's thread replies to each request at once, as a small and healthy server
 * would, unless the test holds its opcode. Then the request stays pending until
 * the test takes it, looks at it and replies.
 *
 *	sender            queue (fiq->pending)     test, or server thread
 *
 *	->send_req()  ->  pending  ----- take ---->  sent  --- reply --->  ended
 *	                     |                        ^
 *	                     +--- read_half --> half read
 *
 * Senders queue requests directly: when a function that sends requests without
 * waiting for them has returned, its requests are pending. So a test that finds
 * none needs no fence to know that none was sent.
 */

#ifndef _FUSE_WB_SERVER_H
#define _FUSE_WB_SERVER_H

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/mount.h>
#include <linux/wait.h>

#include "../../fs/fuse/fuse_i.h"

/* A wait that takes longer fails, and prints what it waited for. */
#define FUSE_WB_DEADLINE	(10 * HZ)

#define FUSE_WB_EVENTS		512U

/* The nodes below the root, in the order of their ids. */
enum fuse_wb_node {
	FUSE_WB_FILE,
	FUSE_WB_OTHER,
	FUSE_WB_DIR,
	FUSE_WB_LINK,
	FUSE_WB_FIFO,
	FUSE_WB_CUSE,
	FUSE_WB_DEVICE,
	FUSE_WB_NODES,
};

/**
 * struct fuse_wb_options - the server's reply to INIT, and how it is mounted
 *
 * @flags: INIT flags in addition to those that the limits below need
 * @max_write: bytes a WRITE may carry; 0 stands for 1 MiB
 * @max_pages: pages a request may carry; 0 stands for 256
 * @max_background: background requests that may be in the queue simultaneously;
 *	0 stands for FUSE's default
 * @congestion_threshold: background requests from which the flusher skips the
 *	mount; 0 stands for FUSE's default
 * @sync_fs: trust the server, as virtiofs does: syncfs(2) waits for it
 * @dax: DAX device for every regular file, or NULL
 */
struct fuse_wb_options {
	u64 flags;
	u32 max_write;
	u16 max_pages;
	u16 max_background;
	u16 congestion_threshold;
	bool sync_fs;
	struct dax_device *dax;
};

enum fuse_wb_what {
	FUSE_WB_ARRIVED,
	FUSE_WB_TAKEN,
	FUSE_WB_ANSWERED,
	FUSE_WB_INTERRUPTED,
	FUSE_WB_FORGOTTEN,
};

/**
 * struct fuse_wb_event - one line of the server's log
 *
 * @what: what happened to the request
 * @opcode: of the request
 * @unique: of the request, which the kernel increments
 * @nodeid: of the request
 * @offset: in bytes, for requests that have one
 * @size: in bytes, for requests that have one
 * @error: of the reply
 */
struct fuse_wb_event {
	enum fuse_wb_what what;
	u32 opcode;
	u64 unique;
	u64 nodeid;
	u64 offset;
	u32 size;
	int error;
};

/**
 * struct fuse_wb_server - a server and its mount
 *
 * @test: the test that it serves
 * @options: as given to fuse_wb_server_start()
 * @mnt: the mount, in no namespace
 * @sb: the superblock
 * @fc: the connection
 * @fud: the device, which has the requests that were taken
 * @thread: replies to requests that are not held
 * @changed: woken by every event
 * @released: completed when the connection has been freed
 * @lock: protects what follows; nests inside fc->bg_lock and fiq->lock
 * @held: mask of opcodes
 * @attr: attributes of the nodes, as the server knows them
 * @open_flags: of the reply to OPEN
 * @backing_id: of the reply to OPEN, for FOPEN_PASSTHROUGH
 * @nr_events: events so far, including those for which there was no room
 * @events: the log
 */
struct fuse_wb_server {
	struct kunit *test;
	const struct fuse_wb_options *options;
	struct vfsmount *mnt;
	struct super_block *sb;
	struct fuse_conn *fc;
	struct fuse_dev *fud;
	struct task_struct *thread;
	wait_queue_head_t changed;
	struct completion released;
	spinlock_t lock;	/* of the rest */
	u64 held;
	struct fuse_attr attr[FUSE_WB_NODES];
	u32 open_flags;
	u32 backing_id;
	unsigned int nr_events;
	struct fuse_wb_event events[FUSE_WB_EVENTS];
};

/* server.c */
struct fuse_wb_server *fuse_wb_server_start(struct kunit *test,
					    const struct fuse_wb_options *options);
void fuse_wb_server_stop(struct fuse_wb_server *server);
void fuse_wb_server_free(struct fuse_wb_server *server);
void fuse_wb_hold(struct fuse_wb_server *server, u32 opcode);
void fuse_wb_release(struct fuse_wb_server *server, u32 opcode);
void fuse_wb_abort(struct fuse_wb_server *server);

/* queue.c */
extern const struct fuse_iqueue_ops fuse_wb_iqueue_ops;
struct fuse_req *fuse_wb_find(struct fuse_wb_server *server, u64 opcodes);
struct fuse_req *fuse_wb_take(struct fuse_wb_server *server, u32 opcode);
struct fuse_req *fuse_wb_take_nth(struct fuse_wb_server *server, u64 opcodes,
				  unsigned int nth);
struct fuse_req *fuse_wb_take_found(struct fuse_wb_server *server, u64 opcodes);
struct fuse_req *fuse_wb_read_half(struct fuse_wb_server *server, u32 opcode);
void fuse_wb_read_rest(struct fuse_wb_server *server, struct fuse_req *req);
void fuse_wb_read_rest_of_all(struct fuse_wb_server *server);
void fuse_wb_answer(struct fuse_wb_server *server, struct fuse_req *req,
		    int error);
void fuse_wb_answer_made(struct fuse_wb_server *server, struct fuse_req *req,
			 int error);
void fuse_wb_answer_read(struct fuse_wb_server *server, struct fuse_req *req,
			 u32 size);
void fuse_wb_answer_write(struct fuse_wb_server *server, struct fuse_req *req,
			  u32 size);
unsigned int fuse_wb_count(struct fuse_wb_server *server,
			   enum fuse_wb_what what, u32 opcode);
int fuse_wb_index(struct fuse_wb_server *server, enum fuse_wb_what what,
		  u32 opcode, unsigned int nth);
unsigned int fuse_wb_live_writes(struct fuse_wb_server *server,
				 struct folio *folio);
const char *fuse_wb_opcode_name(u32 opcode);
void fuse_wb_print(struct fuse_wb_server *server);

/* nodes.c */
void fuse_wb_nodes_init(struct fuse_wb_server *server);
int fuse_wb_reply(struct fuse_wb_server *server, struct fuse_req *req);

static inline const struct fuse_write_in *
fuse_wb_write_in(const struct fuse_req *req)
{
	return req->args->in_args[0].value;
}

static inline struct fuse_args_pages *fuse_wb_pages(const struct fuse_req *req)
{
	return container_of(req->args, struct fuse_args_pages, args);
}

static inline struct folio *fuse_wb_folio(const struct fuse_req *req,
					  unsigned int i)
{
	return page_folio(fuse_wb_pages(req)->pages[i]);
}

/*
 * Wait until @condition holds. At the deadline, print the condition and the
 * server's log, and abort the test. Only the server wakes this up: other changes
 * are polled for once per jiffy.
 */
#define fuse_wb_await(server, condition)				\
do {									\
	struct fuse_wb_server *__server = (server);			\
	unsigned long __end = jiffies + FUSE_WB_DEADLINE;		\
									\
	while (!wait_event_timeout(__server->changed, (condition), 1)) { \
		if (time_before(jiffies, __end))			\
			continue;					\
		fuse_wb_print(__server);				\
		KUNIT_FAIL_AND_ABORT(__server->test,			\
				     "timed out waiting for: %s",	\
				     #condition);			\
	}								\
} while (0)

#endif
