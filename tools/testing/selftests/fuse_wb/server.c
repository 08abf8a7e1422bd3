// SPDX-License-Identifier: GPL-2.0
/*
 * The engine of the FUSE server.
 *
 *      kernel                     server                          test
 *    /dev/fuse --request--> request loop --arrived--> log <------ reads
 *                                | matches a rule?
 *                                |-- hold --> kept, loop goes on
 *                                |-- errno -> answered with it
 *                                '-- none --> libfuse --> memfs handler
 *                           control thread <--hold, release, ...- commands
 *
 * A held request is kept as the bytes that came from the kernel, and given to
 * libfuse when it is released: until then the file system has not seen it.
 *
 * One lock is held from the logging of an arrival to the end of its handling,
 * and around each command.  So the entry "replied" of a released request
 * comes before any "arrived" of a request which that reply set free, although
 * another thread may have read the latter from /dev/fuse by then.  The price:
 * what came in while a reply was under way is logged after it.  A test that
 * claims "X was not sent before the reply" needs a fence before the release.
 */

#define FUSE_USE_VERSION 314

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <fuse_lowlevel.h>

#include "control.h"
#include "memfs.h"
#include "proc.h"
#include "server.h"

#define RULES_MAX 16

/* err is 0 for a rule that holds. */
struct rule {
	struct req_match match;
	int err;
};

struct held {
	struct held *next;
	struct fuse_buf buf;
	struct req req;
};

/* The reply that the request in hand got, as srv_writev() saw it pass. */
struct reply {
	bool given;
	int err;
	int refused;
};

/* Everything below @lock is covered by it; @log's writing too. */
struct server {
	const struct server_opts *opts;
	struct fuse_session *se;
	struct reqlog *log;
	int dev_fd;
	int ctl_fd;

	pthread_mutex_t lock;
	struct memfs fs;
	struct rule rules[RULES_MAX];
	int nr_rules;
	struct held *held;
	struct reply reply;
};

/*
 * libfuse's own would draw in its high-level half, and that dlopen(), of which
 * the linker rightly says that it has no place in a static program.
 */
void cuse_lowlevel_init(fuse_req_t req, fuse_ino_t node, const void *arg)
{
	(void)node;
	(void)arg;
	fuse_reply_err(req, EOPNOTSUPP);
}

struct memfs *server_memfs(struct server *srv)
{
	return &srv->fs;
}

void server_init_conn(struct server *srv, struct fuse_conn_info *conn)
{
	const struct server_opts *opts = srv->opts;

	/*
	 * Nothing that libfuse would choose by itself: FUSE_CAP_AUTO_INVAL_DATA
	 * would drop cached pages behind a test's back, and splice would make
	 * a request's bytes unreadable for the log.
	 */
	conn->want = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS;
	if (opts->writeback_cache)
		conn->want |= FUSE_CAP_WRITEBACK_CACHE;
	if (opts->max_write)
		conn->max_write = opts->max_write;
	if (opts->max_background)
		conn->max_background = opts->max_background;
	if (opts->congestion)
		conn->congestion_threshold = opts->congestion;
	if (opts->max_readahead)
		conn->max_readahead = opts->max_readahead;
}

static void parse_request(const void *buf, struct req *req)
{
	const struct fuse_in_header *in = buf;
	const void *arg = in + 1;

	memset(req, 0, sizeof(*req));
	req->opcode = in->opcode;
	req->unique = in->unique;
	req->node = in->nodeid;

	switch (in->opcode) {
	case FUSE_READ: {
		const struct fuse_read_in *rd = arg;

		req->off = rd->offset;
		req->size = rd->size;
		break;
	}
	case FUSE_WRITE: {
		const struct fuse_write_in *wr = arg;

		req->off = wr->offset;
		req->size = wr->size;
		req->flags = wr->write_flags;
		break;
	}
	case FUSE_FALLOCATE: {
		const struct fuse_fallocate_in *fa = arg;

		req->off = fa->offset;
		req->size = fa->length;
		req->flags = fa->mode;
		break;
	}
	case FUSE_SETATTR: {
		const struct fuse_setattr_in *sa = arg;

		req->flags = sa->valid;
		if (sa->valid & FATTR_SIZE)
			req->off = sa->size;
		break;
	}
	case FUSE_FSYNC: {
		const struct fuse_fsync_in *fs = arg;

		req->flags = fs->fsync_flags;
		break;
	}
	}
}

static void log_arrived(struct server *srv, const struct req *req)
{
	struct req_event ev = { .req = *req, .step = REQ_ARRIVED };

	reqlog_add(srv->log, &ev);
}

static void log_replied(struct server *srv, const struct req *req)
{
	struct req_event ev = {
		.req = *req,
		.step = REQ_REPLIED,
		.err = srv->reply.err,
		.refused = srv->reply.refused,
	};

	if (srv->reply.given)
		reqlog_add(srv->log, &ev);
}

/* libfuse reads requests with this. */
static ssize_t srv_read(int fd, void *buf, size_t len, void *userdata)
{
	(void)userdata;
	return read(fd, buf, len);
}

/* libfuse writes every reply with this, also those it makes by itself. */
static ssize_t srv_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	struct server *srv = userdata;
	ssize_t ret;

	ret = writev(fd, iov, count);
	/* A notification has no request that it answers. */
	if (out->unique) {
		srv->reply.given = true;
		srv->reply.err = -out->error;
		srv->reply.refused = ret < 0 ? errno : 0;
	}
	return ret;
}

static void reply_errno(struct server *srv, const struct req *req, int err)
{
	struct fuse_out_header out = {
		.len = sizeof(out),
		.error = -err,
		.unique = req->unique,
	};
	struct iovec iov = { .iov_base = &out, .iov_len = sizeof(out) };

	srv_writev(srv->dev_fd, &iov, 1, srv);
}

/* The newest rule that matches @req, or NULL. */
static const struct rule *find_rule(struct server *srv, const struct req *req,
				    bool may_hold)
{
	int i;

	for (i = srv->nr_rules - 1; i >= 0; i--)
		if ((may_hold || srv->rules[i].err) &&
		    req_matches(&srv->rules[i].match, req))
			return &srv->rules[i];
	return NULL;
}

/* Carry out a request, or refuse it as @rule says, and log the reply. */
static void handle_request(struct server *srv, const struct fuse_buf *buf,
			   const struct req *req, const struct rule *rule)
{
	memset(&srv->reply, 0, sizeof(srv->reply));
	/*
	 * libfuse cannot see held requests, and would answer an interrupt of
	 * one with EAGAIN, on which the kernel sends it again at once.
	 */
	if (req->opcode == FUSE_INTERRUPT)
		return;
	if (rule)
		reply_errno(srv, req, rule->err);
	else
		fuse_session_process_buf(srv->se, buf);
	log_replied(srv, req);
}

/* Keep the request; its bytes in @buf now belong to the list. */
static void keep_request(struct server *srv, struct fuse_buf *buf,
			 const struct req *req)
{
	struct held **tail = &srv->held;
	struct held *h = malloc(sizeof(*h));

	if (!h)
		abort();
	h->next = NULL;
	h->buf = *buf;
	h->req = *req;
	buf->mem = NULL;
	while (*tail)
		tail = &(*tail)->next;
	*tail = h;
}

static unsigned int release_requests(struct server *srv, unsigned int nr)
{
	unsigned int done;
	int i, kept = 0;

	if (!nr) {
		for (i = 0; i < srv->nr_rules; i++)
			if (srv->rules[i].err)
				srv->rules[kept++] = srv->rules[i];
		srv->nr_rules = kept;
	}
	for (done = 0; srv->held && (!nr || done < nr); done++) {
		struct held *h = srv->held;

		srv->held = h->next;
		handle_request(srv, &h->buf, &h->req,
			       find_rule(srv, &h->req, false));
		free(h->buf.mem);
		free(h);
	}
	return done;
}

static int request_loop(struct server *srv)
{
	struct fuse_buf buf = {};

	while (!fuse_session_exited(srv->se)) {
		int len = fuse_session_receive_buf(srv->se, &buf);
		const struct rule *rule;
		struct req req;

		if (len == -EINTR || len == -EAGAIN)
			continue;
		/* 0: unmounted or aborted */
		if (len <= 0)
			return len;

		pthread_mutex_lock(&srv->lock);
		parse_request(buf.mem, &req);
		log_arrived(srv, &req);
		rule = find_rule(srv, &req, true);
		if (rule && !rule->err)
			keep_request(srv, &buf, &req);
		else
			handle_request(srv, &buf, &req, rule);
		pthread_mutex_unlock(&srv->lock);
	}
	return 0;
}

static int add_rule(struct server *srv, const struct ctl_msg *msg)
{
	struct rule *rule = &srv->rules[srv->nr_rules];

	if (srv->nr_rules == RULES_MAX)
		return -ENOSPC;
	rule->match = msg->match;
	rule->err = msg->err;
	srv->nr_rules++;
	return 0;
}

static int put_data(struct server *srv, const struct ctl_msg *msg)
{
	struct memfile *file = memfs_find(&srv->fs, msg->name);
	int err;

	if (!file) {
		err = memfs_make(&srv->fs, msg->name, 0644, &file);
		if (err)
			return err;
	}
	return memfs_store(file, msg->off, msg->data, msg->len);
}

/* Obey one command and make its answer of it. */
static void obey(struct server *srv, struct ctl_msg *msg)
{
	struct memfile *file = memfs_find(&srv->fs, msg->name);
	int err = 0;

	switch (msg->op) {
	case CTL_RULE:
		err = add_rule(srv, msg);
		break;
	case CTL_DROP_RULES:
		srv->nr_rules = 0;
		break;
	case CTL_RELEASE:
		msg->count = release_requests(srv, msg->count);
		break;
	case CTL_PUT:
		err = put_data(srv, msg);
		msg->len = 0;
		break;
	case CTL_GET:
		if (msg->len > CTL_DATA_MAX)
			msg->len = CTL_DATA_MAX;
		msg->len = file ? memfs_load(file, msg->off, msg->data,
					     msg->len) : 0;
		err = file ? 0 : -ENOENT;
		break;
	case CTL_SIZE:
		msg->count = file ? file->attr.st_size : 0;
		err = file ? 0 : -ENOENT;
		break;
	case CTL_QUIT:
		break;
	default:
		err = -EINVAL;
	}
	msg->err = -err;
}

static void *control_loop(void *arg)
{
	static struct ctl_msg msg;
	struct server *srv = arg;
	enum ctl_op op = CTL_RULE;

	while (op != CTL_QUIT &&
	       recv(srv->ctl_fd, &msg, sizeof(msg), 0) >= (ssize_t)CTL_HEAD) {
		op = msg.op;
		pthread_mutex_lock(&srv->lock);
		obey(srv, &msg);
		pthread_mutex_unlock(&srv->lock);
		if (send(srv->ctl_fd, &msg,
			 CTL_HEAD + (op == CTL_GET ? msg.len : 0),
			 MSG_NOSIGNAL) < 0)
			break;
	}
	/* The test is gone or wants no more: end with both threads. */
	_exit(0);
}

static void log_line(enum fuse_log_level level, const char *fmt, va_list ap)
{
	(void)level;
	fputs("# server: ", stderr);
	vfprintf(stderr, fmt, ap);
}

static int server_run(struct server *srv)
{
	const struct fuse_custom_io io = {
		.writev = srv_writev,
		.read = srv_read,
	};
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	pthread_t control;

	fuse_set_log_func(log_line);
	srv->fs.keep_cache = srv->opts->keep_cache;
	srv->fs.direct_io = srv->opts->direct_io;
	if (fuse_opt_add_arg(&args, "fuse_wb"))
		return 1;
	srv->se = fuse_session_new(&args, &memfs_ops, sizeof(memfs_ops), srv);
	/* This stands for fuse_session_mount(): the test has mounted. */
	if (!srv->se || fuse_session_custom_io(srv->se, &io, srv->dev_fd))
		return 1;
	if (pthread_create(&control, NULL, control_loop, srv))
		return 1;
	if (request_loop(srv))
		return 1;
	/* The connection is gone, but the files can still be asked for. */
	pthread_join(control, NULL);
	return 0;
}

pid_t server_start(const struct server_opts *opts, int dev_fd,
		   struct reqlog *log, int *ctl_fd)
{
	static struct server srv;
	pid_t parent = getpid();
	int sv[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -1;
	pid = fork();
	if (pid) {
		close(sv[1]);
		if (pid < 0)
			close(sv[0]);
		else
			*ctl_fd = sv[0];
		return pid;
	}

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	srv.opts = opts;
	srv.log = log;
	srv.dev_fd = dev_fd;
	srv.ctl_fd = sv[1];
	pthread_mutex_init(&srv.lock, NULL);
	/* The guard must see the test's end, so keep no other descriptor. */
	close_all_but(dev_fd, sv[1]);
	_exit(server_run(&srv));
}
