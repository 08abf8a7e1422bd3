// SPDX-License-Identifier: GPL-2.0
/*
 * The engine of the FUSE server.
 *
 *      kernel                     server                          test
 *    /dev/fuse --request--> request loop --arrived--> log <------ reads
 *                                | matches a rule?
 *                                |-- hold --> kept, loop goes on
 *                                |-- more: see rules.h
 *                                '-- none --> libfuse --> memfs handler
 *             control thread (command.c) <--hold, release, ...- commands
 *
 * A held request is kept as the bytes that came from the kernel, and given to
 * libfuse when it is released: until then the file system has not seen it.
 *
 * One thread at a time reads from /dev/fuse, until it has the lock below: the
 * log has requests in the order in which the kernel hands them out, on which
 * fence() relies.
 *
 * One lock is held from the logging of an arrival to the end of its handling,
 * and around each command.  So the entry "replied" of a released request
 * comes before any "arrived" of a request which that reply set free, although
 * another thread may have read the latter from /dev/fuse by then.  The price:
 * what came in while a reply was being sent is logged after it.  A test that
 * claims "X was not sent before the reply" needs a fence before the release.
 * The lock is dropped while a rule delays a request or notifies the kernel.
 */

#define FUSE_USE_VERSION 314

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "reply_patch.h"
#include "engine.h"
#include "proc.h"

#define THREADS_MAX 8

/*
 * libfuse's own would link its high-level half, and that uses dlopen(), about
 * which the linker rightly warns in a static program.
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
	 * Disable what libfuse would enable by itself: FUSE_CAP_AUTO_INVAL_DATA
	 * would drop cached pages unexpectedly, and its splicing would make a
	 * request's bytes unreadable for the log: see devio.h.
	 */
	conn->want = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS;
	if (opts->writeback_cache)
		conn->want |= FUSE_CAP_WRITEBACK_CACHE;
	if (opts->posix_locks)
		conn->want |= FUSE_CAP_POSIX_LOCKS;
	if (opts->flock_locks)
		conn->want |= FUSE_CAP_FLOCK_LOCKS;
	if (opts->async_dio)
		conn->want |= FUSE_CAP_ASYNC_DIO;
	if (opts->readdirplus)
		conn->want |= FUSE_CAP_READDIRPLUS;
	if (opts->max_write)
		conn->max_write = opts->max_write;
	if (opts->max_background)
		conn->max_background = opts->max_background;
	if (opts->congestion)
		conn->congestion_threshold = opts->congestion;
	if (opts->max_readahead)
		conn->max_readahead = opts->max_readahead;
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

	if (srv->reply.fh)
		ev.req.fh = srv->reply.fh;
	if (srv->reply.given)
		reqlog_add(srv->log, &ev);
}

/* libfuse reads requests with this. */
static ssize_t srv_read(int fd, void *buf, size_t len, void *userdata)
{
	struct server *srv = userdata;
	ssize_t got;

	(void)fd;
	got = devio_read(&srv->io, buf, len);
	/* libfuse treats an abort as an error; here it is a normal end. */
	if (got < 0 && errno == ECONNABORTED)
		errno = ENODEV;
	return got;
}

/* Apply the options and the rule to the reply to the current request. */
static void reply_patch_reply(struct server *srv, struct iovec *iov, int count)
{
	const struct rule *rule = srv->reply.rule;
	bool resize = rule && rule->act == RULE_SIZE;

	switch (srv->reply.req ? srv->reply.req->opcode : 0) {
	case FUSE_INIT:
		reply_patch_init(iov, count, srv->opts->init_flags,
				 srv->opts->max_pages, srv->opts->max_stack_depth);
		break;
	case FUSE_OPEN:
	case FUSE_CREATE:
		srv->reply.fh = reply_patch_open(iov, count, srv->open_flags,
						 srv->backing_id);
		break;
	case FUSE_READ:
		if (resize)
			reply_patch_read(iov, count, rule->arg);
		break;
	case FUSE_WRITE:
		if (resize)
			reply_patch_write(iov, count, rule->arg);
		break;
	default:
		if (rule && rule->act == RULE_ATTR_SIZE)
			reply_patch_size(iov, count, srv->reply.req->opcode,
					 rule->arg);
	}
}

void server_log_message(struct server *srv, __u32 opcode, __u64 unique, int err)
{
	struct req_event ev = {
		.req = { .opcode = opcode, .unique = unique },
		.step = REQ_REPLIED,
		.refused = err,
	};

	pthread_mutex_lock(&srv->lock);
	reqlog_add(srv->log, &ev);
	pthread_mutex_unlock(&srv->lock);
}

/*
 * libfuse writes every reply with this, including those it makes by itself,
 * with the lock held; and every notification, without it.
 */
static ssize_t srv_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	struct server *srv = userdata;
	ssize_t ret;

	(void)fd;
	if (!out->unique) {
		ret = devio_writev(&srv->io, iov, count);
		server_log_message(srv, REQ_NOTIFY + out->error, 0,
				   ret < 0 ? errno : 0);
		return ret;
	}
	reply_patch_reply(srv, iov, count);
	ret = devio_writev(&srv->io, iov, count);
	srv->reply.given = true;
	srv->reply.err = -out->error;
	srv->reply.refused = ret < 0 ? errno : 0;
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

	srv_writev(srv->io.fd, &iov, 1, srv);
}

/* Called without the lock: the kernel may send a WRITE first. */
static void notify_store(struct server *srv, const struct req *req)
{
	struct fuse_bufvec vec = FUSE_BUFVEC_INIT(req->size);

	vec.buf[0].mem = calloc(1, req->size + 1);
	if (!vec.buf[0].mem)
		abort();
	pthread_mutex_lock(&srv->lock);
	memfs_load_node(&srv->fs, req->node, req->off, vec.buf[0].mem,
			req->size);
	pthread_mutex_unlock(&srv->lock);
	fuse_lowlevel_notify_store(srv->se, req->node, req->off, &vec, 0);
	free(vec.buf[0].mem);
}

/* Notifications and delays of a rule, with the lock dropped. */
static void do_before(struct server *srv, const struct req *req,
		      const struct rule *rule)
{
	struct timespec ts = {
		.tv_sec = rule->arg / 1000000,
		.tv_nsec = rule->arg % 1000000 * 1000,
	};
	enum rule_act act = rule->act;

	pthread_mutex_unlock(&srv->lock);
	switch (act) {
	case RULE_DELAY:
		nanosleep(&ts, NULL);
		break;
	case RULE_DIE:
		raise(SIGKILL);
		break;
	case RULE_INVAL:
		fuse_lowlevel_notify_inval_inode(srv->se, req->node, 0, 0);
		break;
	case RULE_STORE:
		notify_store(srv, req);
		break;
	default:
		break;
	}
	pthread_mutex_lock(&srv->lock);
}

/* Carry out a request, or handle it as @rule says, and log the reply. */
static void handle_request(struct server *srv, const struct fuse_buf *buf,
			   const struct req *req, const struct rule *rule)
{
	/* Rules may be added and removed while the lock is dropped. */
	struct rule own;

	/*
	 * libfuse cannot see held requests, and would reply to an interrupt of
	 * one with EAGAIN, on which the kernel sends it again at once.
	 */
	if (req->opcode == FUSE_INTERRUPT)
		return;
	if (rule) {
		own = *rule;
		rule = &own;
		do_before(srv, req, rule);
	}
	srv->reply = (struct reply){ .req = req, .rule = rule };
	if (rule && rule->act == RULE_SIZE &&
	    req->opcode == FUSE_COPY_FILE_RANGE)
		reply_patch_copy(buf->mem, rule->arg);
	if (rule && rule->act == RULE_LACK)
		reply_patch_unknown(buf->mem);
	if (rule && rule->act == RULE_ERRNO)
		reply_errno(srv, req, rule->arg);
	else
		fuse_session_process_buf(srv->se, buf);
	log_replied(srv, req);
	srv->reply = (struct reply){ };
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

unsigned int server_release_held(struct server *srv,
				 const struct req_match *match,
				 unsigned int nr)
{
	struct held **next = &srv->held;
	unsigned int done = 0;
	struct held *h;

	while (*next && (!nr || done < nr)) {
		h = *next;
		if (!req_matches(match, &h->req)) {
			next = &h->next;
			continue;
		}
		*next = h->next;
		handle_request(srv, &h->buf, &h->req,
			       rules_find(&srv->rules, &h->req, false));
		free(h->buf.mem);
		free(h);
		done++;
	}
	return done;
}

void server_clear(char *mem, size_t len)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t skip = -(uintptr_t)mem % page;

	/* memset() handles the rest. */
	if (len >= skip + page)
		madvise(mem + skip, (len - skip) / page * page,
			MADV_POPULATE_WRITE);
	memset(mem, 0, len);
}

/*
 * Populate the whole buffer, of which @len bytes are in use: a server that has to
 * allocate memory to read the WRITEs that free memory would deadlock.
 */
static void populate(struct fuse_buf *buf, int len)
{
	server_clear((char *)buf->mem + len,
		     malloc_usable_size(buf->mem) - len);
}

static void *request_loop(void *arg)
{
	struct server *srv = arg;
	struct fuse_buf buf = {};
	bool populated = false;

	while (!fuse_session_exited(srv->se)) {
		const struct rule *rule;
		struct req req;
		int len;

		populated = populated && buf.mem;
		pthread_mutex_lock(&srv->receiving);
		len = fuse_session_receive_buf(srv->se, &buf);
		if (len > 0) {
			if (!populated)
				populate(&buf, len);
			populated = true;
			pthread_mutex_lock(&srv->lock);
		}
		pthread_mutex_unlock(&srv->receiving);
		if (len == -EINTR || len == -EAGAIN)
			continue;
		/* 0: unmounted or aborted */
		if (len <= 0)
			return len ? srv : NULL;

		req_parse(buf.mem, &req);
		log_arrived(srv, &req);
		rule = rules_find(&srv->rules, &req, true);
		if (rule && rule->act == RULE_HOLD)
			keep_request(srv, &buf, &req);
		else
			handle_request(srv, &buf, &req, rule);
		pthread_mutex_unlock(&srv->lock);
	}
	return NULL;
}

/* Return: 0 when the connection has ended, 1 if a thread has failed. */
static int serve(struct server *srv)
{
	unsigned int more = srv->opts->threads ? srv->opts->threads - 1 : 0;
	pthread_t thread[THREADS_MAX];
	void *failed, *ret;
	unsigned int i;

	if (more > THREADS_MAX)
		return 1;
	for (i = 0; i < more; i++)
		if (pthread_create(&thread[i], NULL, request_loop, srv))
			return 1;
	failed = request_loop(srv);
	for (i = 0; i < more; i++) {
		pthread_join(thread[i], &ret);
		if (ret)
			failed = ret;
	}
	return !!failed;
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
	srv->open_flags = srv->opts->open_flags;
	srv->fs.ask_always = srv->opts->ask_always;
	if (fuse_opt_add_arg(&args, "fuse_wb"))
		return 1;
	srv->se = fuse_session_new(&args, &memfs_ops, sizeof(memfs_ops), srv);
	/* In place of fuse_session_mount(): the test has mounted. */
	if (!srv->se || fuse_session_custom_io(srv->se, &io, srv->io.fd))
		return 1;
	if (pthread_create(&control, NULL, server_obey, srv))
		return 1;
	if (serve(srv))
		return 1;
	/* The connection is gone, but the files can still be queried. */
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
	srv.io.fd = dev_fd;
	srv.io.splice_in = opts->splice_in;
	srv.io.splice_out = opts->splice_out;
	srv.io.gaps = opts->gaps;
	srv.ctl_fd = sv[1];
	pthread_mutex_init(&srv.receiving, NULL);
	pthread_mutex_init(&srv.lock, NULL);
	/* The watchdog must notice the test's end, so keep no other descriptor. */
	close_all_but(dev_fd, sv[1]);
	_exit(server_run(&srv));
}
