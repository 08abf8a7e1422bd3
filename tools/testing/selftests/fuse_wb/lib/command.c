// SPDX-License-Identifier: GPL-2.0
/* The server's end of the control channel, see control.h. */

#define FUSE_USE_VERSION 314

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.h"
#include "engine.h"

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

static int set_attr(struct memfile *file, const struct ctl_msg *msg)
{
	struct stat st;

	memcpy(&st, msg->data, sizeof(st));
	return memfs_setattr(file, &st, msg->count);
}

static int allocate(size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	/* Where MAP_POPULATE did not populate it all, this faults. */
	memset(p, 1, len);
	munmap(p, len);
	return 0;
}

/* Execute one command and turn it into its reply. */
static void obey(struct server *srv, struct ctl_msg *msg)
{
	struct memfile *file = memfs_find(&srv->fs, msg->name);
	int err = 0;

	switch (msg->op) {
	case CTL_RULE:
		err = rules_add(&srv->rules, &msg->rule);
		break;
	case CTL_DROP_RULES:
		srv->rules.nr = 0;
		break;
	case CTL_RELEASE:
		if (!msg->count && !msg->rule.match.opcode)
			rules_drop_holds(&srv->rules);
		msg->count = server_release_held(srv, &msg->rule.match,
						 msg->count);
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
	case CTL_STAT:
		msg->len = sizeof(file->attr);
		if (file)
			memcpy(msg->data, &file->attr, msg->len);
		err = file ? 0 : -ENOENT;
		break;
	case CTL_SETATTR:
		err = file ? set_attr(file, msg) : -ENOENT;
		break;
	case CTL_OPEN_FLAGS:
		srv->open_flags = msg->count;
		srv->backing_id = msg->off;
		break;
	case CTL_ALLOCATE:
		err = allocate(msg->count);
		break;
	case CTL_QUIT:
		break;
	default:
		err = -EINVAL;
	}
	msg->err = -err;
}

/* Without the lock: the kernel may send a request before this returns. */
static void send_raw(struct server *srv, struct ctl_msg *msg)
{
	struct iovec iov = { .iov_base = msg->data, .iov_len = msg->len };
	const struct fuse_out_header *out = iov.iov_base;
	__u64 unique = msg->len < sizeof(*out) ? 0 : out->unique;

	msg->count = devio_writev(&srv->io, &iov, 1) < 0 ? errno : 0;
	server_log_message(srv, REQ_RAW, unique, msg->count);
	msg->err = 0;
}

/* Does the reply to this command carry data? */
static bool has_data(enum ctl_op op)
{
	return op == CTL_GET || op == CTL_STAT;
}

void *server_obey(void *arg)
{
	static struct ctl_msg msg;
	struct server *srv = arg;
	enum ctl_op op = CTL_RULE;

	while (op != CTL_QUIT &&
	       recv(srv->ctl_fd, &msg, sizeof(msg), 0) >= (ssize_t)CTL_HEAD) {
		op = msg.op;
		if (op == CTL_RAW) {
			send_raw(srv, &msg);
		} else {
			pthread_mutex_lock(&srv->lock);
			obey(srv, &msg);
			pthread_mutex_unlock(&srv->lock);
		}
		if (send(srv->ctl_fd, &msg,
			 CTL_HEAD + (has_data(op) ? msg.len : 0),
			 MSG_NOSIGNAL) < 0)
			break;
	}
	/* The test is gone or sent CTL_QUIT: exit with both threads. */
	_exit(0);
}
