// SPDX-License-Identifier: GPL-2.0
/* Make free memory scarce, see memory_hog.h. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "memory_block.h"
#include "memory_hog.h"
#include "proc.h"

#define NODE		"/sys/devices/system/node/node%d"
#define HUGE_KB		2048

static int failed(const char *what)
{
	fprintf(stderr, "# %s: %s\n", what, strerror(errno));
	return -1;
}

/* Free memory of a node, in kB; -1: there are no nodes. */
static long node_free(int node)
{
	char path[64], line[128];
	long kb = -1;
	FILE *f;

	snprintf(path, sizeof(path), NODE "/meminfo", node);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Node %*d MemFree: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

static long read_number(const char *path)
{
	FILE *f = fopen(path, "re");
	long value = -1;

	if (f && fscanf(f, "%ld", &value) != 1)
		value = -1;
	if (f)
		fclose(f);
	return value;
}

static int write_number(const char *path, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	return write_file(path, text);
}

int memory_hog_take(struct memory_hog *hog, size_t left)
{
	int node = movable_node();
	long more;

	snprintf(hog->path, sizeof(hog->path),
		 NODE "/hugepages/hugepages-%dkB/nr_hugepages", node, HUGE_KB);
	more = (node_free(node) - (long)(left >> 10)) / HUGE_KB;
	hog->before = read_number(hog->path);
	if (hog->before < 0 || more < 0 ||
	    write_number(hog->path, hog->before + more)) {
		failed(hog->path);
		hog->path[0] = '\0';
		return -1;
	}
	return 0;
}

int memory_hog_give_back(struct memory_hog *hog)
{
	if (!hog->path[0])
		return 0;
	return write_number(hog->path, hog->before);
}

int touch_memory(void *len)
{
	size_t bytes = *(size_t *)len, at;
	char *p;

	write_file("/proc/self/oom_score_adj", "1000");
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return 1;
	/*
	 * The page tables first: they come from lower zones, and when those run
	 * short first, the OOM killer is invoked with much free memory left in
	 * the others.
	 */
	for (at = 0; at < bytes; at += HUGE_KB << 10)
		madvise(p + at, 1, MADV_POPULATE_READ);
	memset(p, 1, bytes);
	return 0;
}

bool was_killed(long status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}
