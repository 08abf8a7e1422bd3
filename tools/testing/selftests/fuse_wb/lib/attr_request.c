// SPDX-License-Identifier: GPL-2.0
/* Making the server send the attributes of a file, see attr_request.h. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attr_request.h"

static int do_getattr(struct mnt *m, const char *name, int fd)
{
	struct statx stx;

	(void)m;
	(void)name;
	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC,
		     STATX_BASIC_STATS, &stx);
}

/* O_PATH: only the name is looked up. */
static int do_lookup(struct mnt *m, const char *name, int fd)
{
	int path = mnt_open(m, name, O_PATH);

	(void)fd;
	return path < 0 ? -1 : close(path);
}

static int do_readdirplus(struct mnt *m, const char *name, int fd)
{
	DIR *dir = opendir(m->dir);
	struct dirent *entry;
	int found = 0;

	(void)fd;
	while (dir && (entry = readdir(dir)))
		found |= !strcmp(entry->d_name, name);
	if (dir)
		closedir(dir);
	return found ? 0 : -1;
}

static int do_setattr(struct mnt *m, const char *name, int fd)
{
	(void)m;
	(void)name;
	return fchmod(fd, 0640);
}

const struct attr_request attr_request_getattr = { FUSE_GETATTR, do_getattr };
const struct attr_request attr_request_lookup = { FUSE_LOOKUP, do_lookup };
const struct attr_request attr_request_readdirplus = { FUSE_READDIRPLUS, do_readdirplus };
const struct attr_request attr_request_setattr = { FUSE_SETATTR, do_setattr };

int attr_request_send(struct mnt *m, const struct attr_request *ask, const char *name, int fd)
{
	int before = count_req(m, ask->opcode, REQ_ARRIVED);

	if (ask->fn(m, name, fd)) {
		fprintf(stderr, "# %s: %s\n", req_name(ask->opcode),
			strerror(errno));
		return -1;
	}
	if (count_req(m, ask->opcode, REQ_ARRIVED) == before) {
		fprintf(stderr, "# the server did not receive %s\n",
			req_name(ask->opcode));
		return -1;
	}
	return 0;
}

long long kernel_size(int fd)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE,
		  &stx))
		return -1;
	return stx.stx_size;
}
