/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ordered log of the requests that reached the server and of its replies.
 *
 * It is in memory shared by the server, the test and the watchdog.  Only the
 * server writes, under its own lock, and it only appends: an entry is complete
 * before the count that covers it is published.  So readers need no lock, and a
 * process that is killed at any point cannot leave one locked.  The count is a
 * futex on which tests wait; a condition variable would not work, as with glibc
 * a killed waiter can block the signaller forever.
 */

#ifndef FUSE_WB_REQLOG_H
#define FUSE_WB_REQLOG_H

#include <stdio.h>
#include <linux/fuse.h>
#include <linux/types.h>

#define REQLOG_MAX	16384

/*
 * Opcodes for messages that are no replies to requests: a notification, to
 * which its enum fuse_notify_code is added, and bytes from the test itself.
 * They are logged as replied, after the kernel has processed them.
 */
#define REQ_NOTIFY	0x1000
#define REQ_RAW		0x2000

enum req_step {
	REQ_ARRIVED,
	/*
	 * Written after the system call that carried the reply has returned, so
	 * everything that the kernel does on receiving it (end writeback,
	 * record an error in the mapping) has been done when this entry is
	 * seen.
	 */
	REQ_REPLIED,
};

/**
 * struct req - one request as the server saw it
 * @opcode: enum fuse_opcode of <linux/fuse.h>
 * @flags: write_flags, fsync_flags, release_flags, SETATTR's valid bits,
 *	   fallocate's mode, or the flags of OPEN and CREATE
 * @unique: the request's identity on this connection
 * @node: the node it is about
 * @off: first byte, for READ, WRITE, FALLOCATE and NOTIFY_REPLY; the new size, for
 *	 a SETATTR that sets one
 * @size: number of bytes, for READ, WRITE, FALLOCATE and NOTIFY_REPLY
 * @fh: the server's file handle that it is about; of OPEN and CREATE once they
 *	have a reply
 * @owner: the lock owner, for FLUSH, RELEASE, SETLK and SETLKW
 */
struct req {
	__u32 opcode;
	__u32 flags;
	__u64 unique;
	__u64 node;
	__u64 off;
	__u64 size;
	__u64 fh;
	__u64 owner;
};

/**
 * struct req_match - which requests match
 * @opcode: enum fuse_opcode, or 0 for any
 * @node: node, or 0 for any
 * @start: first byte of the range that a request must overlap
 * @end: the byte after that range, or 0 for no upper end
 */
struct req_match {
	__u32 opcode;
	__u64 node;
	__u64 start;
	__u64 end;
};

/**
 * struct req_event - one entry of the log
 * @req: the request
 * @step: it arrived, or its reply was handed to the kernel
 * @err: REQ_REPLIED: the errno that the reply carried, 0 for success
 * @refused: REQ_REPLIED: the errno with which the kernel refused the reply, as
 *	     it does for a request that was aborted; 0 if it accepted it
 * @usec: microseconds since the log was made, for debugging; no test looks at
 *	  it
 */
struct req_event {
	struct req req;
	enum req_step step;
	int err;
	int refused;
	__u64 usec;
};

/**
 * struct reqlog - the log; an entry's sequence number is its index plus one
 * @nr: entries that may be read; the futex that waits sleep on
 * @lost: entries that did not fit
 * @dumped: entries when the log was last printed
 * @start: CLOCK_MONOTONIC in microseconds when the log was made
 * @ev: the entries
 */
struct reqlog {
	__u32 nr;
	__u32 lost;
	__u32 dumped;
	__u64 start;
	struct req_event ev[REQLOG_MAX];
};

struct reqlog *reqlog_new(void);
void reqlog_free(struct reqlog *log);
void reqlog_add(struct reqlog *log, const struct req_event *ev);
void reqlog_dump(struct reqlog *log, FILE *out);

/* Fill in what the log needs of the request in @buf. */
void req_parse(const void *buf, struct req *req);
int req_matches(const struct req_match *m, const struct req *req);
const char *req_name(__u32 opcode);

/**
 * reqlog_find() - the sequence number of an entry that already exists
 * @log: the log
 * @m: the matching requests
 * @step: the matching step
 * @nth: 1 for the first such entry
 *
 * Return: the sequence number, from 1; 0 when there is no such entry.
 */
int reqlog_find(struct reqlog *log, const struct req_match *m,
		enum req_step step, int nth);

/* The number of such entries, and the sum of the bytes they are about. */
int reqlog_count(struct reqlog *log, const struct req_match *m,
		 enum req_step step);
long reqlog_bytes(struct reqlog *log, const struct req_match *m,
		  enum req_step step);

/**
 * reqlog_wait() - sleep until the nth such entry is there
 * @log: the log
 * @m: the matching requests
 * @step: the matching step
 * @nth: 1 for the first such entry
 *
 * After WAIT_SECONDS, prints what was awaited and the whole log.
 *
 * Return: the sequence number, from 1; 0 on expiry.
 */
int reqlog_wait(struct reqlog *log, const struct req_match *m,
		enum req_step step, int nth);

/* The same, until such entries add up to @bytes.  Return: 0, -1 on expiry. */
int reqlog_wait_bytes(struct reqlog *log, const struct req_match *m,
		      enum req_step step, long bytes);

/*
 * The flags with which a file handle was opened, once the reply to its OPEN or
 * CREATE is in the log; -1 before.
 */
int reqlog_open_flags(struct reqlog *log, __u64 fh);

/**
 * reqlog_overlap() - were there overlapping in-flight WRITEs of one page?
 * @log: the log
 * @page: bytes in a page
 *
 * A WRITE is in flight from its arrival to the reply.
 *
 * Return: the sequence number of the first WRITE that arrived while another one
 * that overlaps the same page of the same node was in flight; 0: there is none.
 */
int reqlog_overlap(struct reqlog *log, __u64 page);

#endif
