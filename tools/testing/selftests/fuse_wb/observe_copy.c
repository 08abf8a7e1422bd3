// SPDX-License-Identifier: GPL-2.0
/* copy_file_range(2): copies of dirty bytes, and what stays dirty. */

#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "observe.h"

#define PAGE	4096

/* Two files of 10000 bytes at the server, a and b, both cached. */
struct pair {
	int from;
	int to;
};

static struct pair open_pair(struct obs *o)
{
	struct pair p;

	obs_put(o, "from", 'a', 10000);
	obs_put(o, "to", 'b', 10000);
	p.from = obs_open(o, "from", O_RDWR);
	p.to = obs_open(o, "to", O_RDWR);
	read_bytes(p.from, 0, 10000);
	read_bytes(p.to, 0, 10000);
	mark(o);
	return p;
}

static long copy(int from, off_t off_in, int to, off_t off_out, size_t len)
{
	return copy_file_range(from, &off_in, to, &off_out, len, 0);
}

static void see(struct obs *o, int to, const char *name)
{
	saw_key(o, "requests", "%s", requests(o, FUSE_READ, FUSE_WRITE,
					      FUSE_COPY_FILE_RANGE, 0));
	obs_see(o, to, name);
}

OBSERVE_BOTH(copy, clean)
{
	struct pair p = open_pair(o);

	saw_key(o, "ret", "%s", result(copy(p.from, 100, p.to, 200, 5000)));
	see(o, p.to, "to");
}

OBSERVE_BOTH(copy, dirty_source)
{
	struct pair p = open_pair(o);

	obs_write(o, p.from, 'd', 1000, 5000);
	saw_key(o, "ret", "%s", result(copy(p.from, 0, p.to, 0, 4000)));
	see(o, p.to, "to");
}

OBSERVE_BOTH(copy, stored_source)
{
	struct pair p = open_pair(o);

	memset(obs_map(o, p.from, 10000) + 1000, 's', 5000);
	saw_key(o, "ret", "%s", result(copy(p.from, 0, p.to, 0, 4000)));
	see(o, p.to, "to");
}

OBSERVE_BOTH(copy, dirty_target)
{
	struct pair p = open_pair(o);

	obs_write(o, p.to, 'd', 0, 9000);
	saw_key(o, "ret", "%s", result(copy(p.from, 0, p.to, 3000, 3000)));
	see(o, p.to, "to");
}

OBSERVE_BOTH(copy, stored_target)
{
	struct pair p = open_pair(o);
	char *map = obs_map(o, p.to, 10000);

	memset(map, 's', 9000);
	saw_key(o, "ret", "%s", result(copy(p.from, 0, p.to, 3000, 3000)));
	saw_key(o, "mapped", "%s", bytes(map, 10000));
	map[3500] = 't';
	see(o, p.to, "to");
}

OBSERVE_BOTH(copy, beyond_end_of_target)
{
	struct pair p = open_pair(o);

	obs_write(o, p.to, 'd', 9000, 1500);
	saw_key(o, "ret", "%s", result(copy(p.from, 0, p.to, 12000, 3000)));
	see(o, p.to, "to");
}

/* The source has a size that the server does not know yet. */
OBSERVE_BOTH(copy, what_was_appended)
{
	struct pair p = open_pair(o);

	obs_write(o, p.from, 'd', 10000, 3000);
	saw_key(o, "ret", "%s", result(copy(p.from, 9000, p.to, 0, 8000)));
	saw_key(o, "at_end", "%s", result(copy(p.from, 13000, p.to, 0, 10)));
	see(o, p.to, "to");
}

OBSERVE_BOTH(copy, within_file)
{
	struct pair p = open_pair(o);

	obs_write(o, p.to, 'd', 0, 3000);
	saw_key(o, "ret", "%s", result(copy(p.to, 0, p.to, 5000, 4000)));
	saw_key(o, "overlapping", "%s", result(copy(p.to, 0, p.to, 1000, 4000)));
	see(o, p.to, "to");
}

OBSERVE_BOTH(copy, short_reply)
{
	const struct req_match match = { .opcode = FUSE_COPY_FILE_RANGE };
	struct pair p = open_pair(o);

	obs_write(o, p.to, 'd', 0, 9000);
	NEED(o, !server_rule(o->m.ctl, &match, RULE_SIZE, 1000));
	saw_key(o, "ret", "%s", result(copy(p.from, 0, p.to, 3000, 3000)));
	see(o, p.to, "to");
}

OBSERVE_BOTH(copy, of_nothing)
{
	const struct req_match match = { .opcode = FUSE_COPY_FILE_RANGE };
	struct pair p = open_pair(o);

	obs_write(o, p.to, 'd', 0, 9000);
	NEED(o, !server_rule(o->m.ctl, &match, RULE_SIZE, 0));
	saw_key(o, "ret", "%s", result(copy(p.from, 0, p.to, 3000, 3000)));
	obs_see(o, p.to, "to");
}

OBSERVE_BOTH(copy, that_fails)
{
	const struct req_match match = { .opcode = FUSE_COPY_FILE_RANGE };
	struct pair p = open_pair(o);

	obs_write(o, p.to, 'd', 0, 9000);
	NEED(o, !server_fail(o->m.ctl, &match, EIO));
	saw_key(o, "ret", "%s", result(copy(p.from, 0, p.to, 3000, 3000)));
	see(o, p.to, "to");
}

/* The kernel reads and writes by itself. */
OBSERVE_BOTH(copy, unknown_to_server)
{
	const struct req_match match = { .opcode = FUSE_COPY_FILE_RANGE };
	struct pair p = open_pair(o);

	obs_write(o, p.from, 'd', 1000, 2000);
	NEED(o, !server_lacks(o->m.ctl, &match));
	saw_key(o, "ret", "%s", result(copy(p.from, 0, p.to, 9000, 4000)));
	saw_key(o, "asked", "%d", arrived(o, FUSE_COPY_FILE_RANGE));
	obs_see(o, p.to, "to");
}

OBSERVE_BOTH(copy, arguments)
{
	struct pair p = open_pair(o);
	int append = obs_open(o, "to", O_RDWR | O_APPEND);
	int ro = obs_open(o, "to", O_RDONLY);

	saw_key(o, "append", "%s", result(copy(p.from, 0, append, 0, 10)));
	saw_key(o, "read_only", "%s", result(copy(p.from, 0, ro, 0, 10)));
	saw_key(o, "flags", "%s", result(copy_file_range(p.from, NULL, p.to, NULL, 1, 1)));
	saw_key(o, "nothing", "%s", result(copy(p.from, 0, p.to, 0, 0)));
}

static long do_copy(const struct call_arg *arg)
{
	return copy(arg->fd, 0, arg->flags, 0, arg->len);
}

static const struct call_op call_copy = {
	"copy_file_range", SYS_copy_file_range, do_copy
};

/* A WRITE of the source or target is held. */
static void beside_held_write(struct obs *o, bool source)
{
	struct pair p = open_pair(o);
	int fd = source ? p.from : p.to;
	struct call *c;

	memset(obs_map(o, fd, 10000), 's', 10000);
	obs_hold_writes(o, fd, 1);
	mark(o);
	c = obs_call(o, &call_copy, (struct call_arg){
		.fd = p.from, .flags = p.to, .len = 5000 });
	saw_key(o, "held", "%s", state(o, c));
	saw_key(o, "sent", "%d", arrived(o, FUSE_COPY_FILE_RANGE));
	obs_release(o);
	saw_key(o, "ret", "%s", outcome(c));
	obs_see(o, p.to, "to");
}

OBSERVE_BOTH(copy, beside_held_write_of_source)
{
	beside_held_write(o, true);
}

OBSERVE_BOTH(copy, beside_held_write_of_target)
{
	beside_held_write(o, false);
}
