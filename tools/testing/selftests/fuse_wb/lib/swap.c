// SPDX-License-Identifier: GPL-2.0
/* Swap space on a RAM disk, see swap.h. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <unistd.h>
#include <linux/types.h>

#include "swap.h"

#define DEVICE		"/dev/ram0"
#define MAGIC		"SWAPSPACE2"

static int failed(const char *what)
{
	fprintf(stderr, "# %s: %s\n", what, strerror(errno));
	return -1;
}

/*
 * As written by mkswap(8): after the boot block, a version and the last page.
 */
static int make_swap(int fd)
{
	size_t page = sysconf(_SC_PAGESIZE);
	off_t size = lseek(fd, 0, SEEK_END);
	char *head = calloc(1, page);
	__u32 info[2] = { 1, size / page - 1 };
	int ret = -1;

	if (head && size >= (off_t)(10 * page)) {
		memcpy(head + 1024, info, sizeof(info));
		memcpy(head + page - strlen(MAGIC), MAGIC, strlen(MAGIC));
		if (pwrite(fd, head, page, 0) == (ssize_t)page)
			ret = fsync(fd);
	}
	free(head);
	return ret;
}

const char *swap_start(struct swap *s)
{
	int fd, err;

	if (access("/proc/swaps", F_OK))
		return "needs swap space, of CONFIG_SWAP";
	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return "needs " DEVICE ", of CONFIG_BLK_DEV_RAM";
	err = make_swap(fd);
	close(fd);
	if (err) {
		failed("writing the header to " DEVICE);
		return "";
	}
	if (swapon(DEVICE, 0)) {
		failed("swapon " DEVICE);
		return "";
	}
	s->device = DEVICE;
	return NULL;
}

int swap_end(struct swap *s)
{
	if (s->device && swapoff(s->device))
		return failed("swapoff");
	s->device = NULL;
	return 0;
}
