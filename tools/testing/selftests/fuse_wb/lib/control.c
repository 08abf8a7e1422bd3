// SPDX-License-Identifier: GPL-2.0
/* The test's end of the control channel, see control.h. */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "control.h"
#include "wait.h"

static const char * const ctl_names[] = {
	[CTL_RULE]		= "add a rule",
	[CTL_DROP_RULES]	= "drop the rules",
	[CTL_RELEASE]		= "release requests",
	[CTL_PUT]		= "put data",
	[CTL_GET]		= "get data",
	[CTL_STAT]		= "return attributes",
	[CTL_SETATTR]		= "change attributes",
	[CTL_OPEN_FLAGS]	= "set flags for OPEN",
	[CTL_RAW]		= "write raw bytes",
	[CTL_ALLOCATE]		= "allocate memory",
	[CTL_QUIT]		= "quit",
};

/* Send @msg with @len bytes of data and overwrite it with the reply. */
static int ctl_call(int fd, struct ctl_msg *msg, size_t len)
{
	const char *what = ctl_names[msg->op];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t got;

	if (send(fd, msg, CTL_HEAD + len, MSG_NOSIGNAL) < 0) {
		fprintf(stderr, "# requesting the server to %s: %s\n", what,
			strerror(errno));
		return -1;
	}
	if (poll(&p, 1, WAIT_SECONDS * 1000) != 1) {
		fprintf(stderr, "# the server did not %s within %d s\n", what,
			WAIT_SECONDS);
		return -1;
	}
	got = recv(fd, msg, sizeof(*msg), 0);
	if (got < (ssize_t)CTL_HEAD) {
		fprintf(stderr, "# the server exited, request: %s\n", what);
		return -1;
	}
	if (msg->err) {
		fprintf(stderr, "# the server could not %s: %s\n", what,
			strerror(msg->err));
		return -1;
	}
	return 0;
}

int server_rule(int ctl_fd, const struct req_match *match, enum rule_act act,
		__u64 arg)
{
	struct ctl_msg msg = {
		.op = CTL_RULE,
		.rule = { .match = *match, .act = act, .arg = arg },
	};

	return ctl_call(ctl_fd, &msg, 0);
}

int server_hold(int ctl_fd, const struct req_match *match)
{
	return server_rule(ctl_fd, match, RULE_HOLD, 0);
}

int server_fail(int ctl_fd, const struct req_match *match, int err)
{
	return server_rule(ctl_fd, match, RULE_ERRNO, err);
}

int server_lacks(int ctl_fd, const struct req_match *match)
{
	return server_rule(ctl_fd, match, RULE_LACK, 0);
}

int server_drop_rules(int ctl_fd)
{
	struct ctl_msg msg = { .op = CTL_DROP_RULES };

	return ctl_call(ctl_fd, &msg, 0);
}

int server_release(int ctl_fd, unsigned int nr)
{
	struct ctl_msg msg = { .op = CTL_RELEASE, .count = nr };

	return ctl_call(ctl_fd, &msg, 0) ? -1 : (int)msg.count;
}

int server_release_match(int ctl_fd, const struct req_match *match)
{
	struct ctl_msg msg = { .op = CTL_RELEASE, .rule.match = *match };

	return ctl_call(ctl_fd, &msg, 0) ? -1 : (int)msg.count;
}

static int ctl_name(struct ctl_msg *msg, const char *name)
{
	if (strlen(name) >= sizeof(msg->name)) {
		fprintf(stderr, "# file name too long: %s\n", name);
		return -1;
	}
	snprintf(msg->name, sizeof(msg->name), "%s", name);
	return 0;
}

int server_put(int ctl_fd, const char *name, __u64 off, const void *data,
	       size_t len)
{
	struct ctl_msg msg;
	size_t done = 0;

	do {
		size_t part = len - done;

		if (part > CTL_DATA_MAX)
			part = CTL_DATA_MAX;
		memset(&msg, 0, CTL_HEAD);
		msg.op = CTL_PUT;
		msg.off = off + done;
		msg.len = part;
		if (ctl_name(&msg, name))
			return -1;
		memcpy(msg.data, (const char *)data + done, part);
		if (ctl_call(ctl_fd, &msg, part))
			return -1;
		done += part;
	} while (done < len);
	return 0;
}

int server_get(int ctl_fd, const char *name, __u64 off, void *data, size_t len)
{
	struct ctl_msg msg;
	size_t done = 0;

	while (done < len) {
		memset(&msg, 0, CTL_HEAD);
		msg.op = CTL_GET;
		msg.off = off + done;
		msg.len = len - done;
		if (ctl_name(&msg, name) || ctl_call(ctl_fd, &msg, 0))
			return -1;
		if (!msg.len) {
			fprintf(stderr, "# the server's %s ends at byte %llu\n",
				name, off + done);
			return -1;
		}
		memcpy((char *)data + done, msg.data, msg.len);
		done += msg.len;
	}
	return 0;
}

int server_stat(int ctl_fd, const char *name, struct stat *st)
{
	struct ctl_msg msg = { .op = CTL_STAT };

	if (ctl_name(&msg, name) || ctl_call(ctl_fd, &msg, 0))
		return -1;
	memcpy(st, msg.data, sizeof(*st));
	return 0;
}

long long server_size(int ctl_fd, const char *name)
{
	struct stat st;

	return server_stat(ctl_fd, name, &st) ? -1 : st.st_size;
}

int server_setattr(int ctl_fd, const char *name, const struct stat *st,
		   __u32 valid)
{
	struct ctl_msg msg = { .op = CTL_SETATTR, .count = valid };

	memcpy(msg.data, st, sizeof(*st));
	return ctl_name(&msg, name) ? -1 : ctl_call(ctl_fd, &msg, sizeof(*st));
}

int server_set_times(int ctl_fd, const char *name, time_t seconds)
{
	const struct stat st = {
		.st_mtim.tv_sec = seconds,
		.st_ctim.tv_sec = seconds,
	};

	return server_setattr(ctl_fd, name, &st, FATTR_MTIME | FATTR_CTIME);
}

int server_open_flags(int ctl_fd, __u32 flags)
{
	return server_open_backing(ctl_fd, flags, 0);
}

int server_open_backing(int ctl_fd, __u32 flags, int backing_id)
{
	struct ctl_msg msg = {
		.op = CTL_OPEN_FLAGS, .count = flags, .off = backing_id };

	return ctl_call(ctl_fd, &msg, 0);
}

int server_raw(int ctl_fd, const void *buf, size_t len)
{
	struct ctl_msg msg = { .op = CTL_RAW, .len = len };

	if (len > CTL_DATA_MAX) {
		fprintf(stderr, "# too many raw bytes: %zu\n", len);
		return -1;
	}
	memcpy(msg.data, buf, len);
	return ctl_call(ctl_fd, &msg, len) ? -1 : (int)msg.count;
}

int server_inval(int ctl_fd, __u64 node, __s64 off, __s64 len)
{
	struct {
		struct fuse_out_header out;
		struct fuse_notify_inval_inode_out inode;
	} msg = {
		.out.len = sizeof(msg),
		.out.error = FUSE_NOTIFY_INVAL_INODE,
		.inode = { .ino = node, .off = off, .len = len },
	};

	return server_raw(ctl_fd, &msg, sizeof(msg));
}

int server_allocate(int ctl_fd, size_t len)
{
	struct ctl_msg msg = { .op = CTL_ALLOCATE, .count = len };

	return ctl_call(ctl_fd, &msg, 0);
}

int server_quit(int ctl_fd)
{
	struct ctl_msg msg = { .op = CTL_QUIT };

	return ctl_call(ctl_fd, &msg, 0);
}
