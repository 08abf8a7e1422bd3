// SPDX-License-Identifier: GPL-2.0
/*
 * serve [OPTION...] COMMAND [ARG...]: mount a file system of the tests' server and run
 * a command in it, such as fio or fsx of xfstests.  Exits with the command's status;
 * with 1, and the reason, when two WRITEs of a page were in flight simultaneously; with
 * 2 for wrong usage.
 *
 * Options, as in struct server_opts: writeback_cache, async_dio, allow_mmap,
 * direct_io, parallel, threads=N, max_write=BYTES, max_background=N.
 */

#define _GNU_SOURCE
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../kselftest.h"
#include "mnt.h"
#include "server.h"

/* Timeout for a command that never ends. */
#define SERVE_SECONDS	600

static const struct {
	const char *name;
	size_t at;
} numbers[] = {
	{ "threads=", offsetof(struct server_opts, threads) },
	{ "max_write=", offsetof(struct server_opts, max_write) },
	{ "max_background=", offsetof(struct server_opts, max_background) },
};

static bool take_number(struct server_opts *opts, const char *arg)
{
	size_t i, len;
	char *end;

	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		len = strlen(numbers[i].name);
		if (strncmp(arg, numbers[i].name, len))
			continue;
		*(unsigned int *)((char *)opts + numbers[i].at) =
			strtoul(arg + len, &end, 0);
		if (!arg[len] || *end)
			errx(2, "'%s' is not a number", arg);
		return true;
	}
	return false;
}

static bool take_option(struct server_opts *opts, const char *arg)
{
	if (!strcmp(arg, "writeback_cache"))
		opts->writeback_cache = true;
	else if (!strcmp(arg, "async_dio"))
		opts->async_dio = true;
	else if (!strcmp(arg, "allow_mmap"))
		opts->init_flags |= FUSE_DIRECT_IO_ALLOW_MMAP;
	else if (!strcmp(arg, "direct_io"))
		opts->open_flags |= FOPEN_DIRECT_IO;
	else if (!strcmp(arg, "parallel"))
		opts->open_flags |= FOPEN_PARALLEL_DIRECT_WRITES;
	else
		return take_number(opts, arg);
	return true;
}

static int run(const char *dir, char **argv)
{
	pid_t pid;
	int status;

	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		if (chdir(dir))
			err(127, "%s", dir);
		execvp(argv[0], argv);
		err(127, "%s", argv[0]);
	}
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waiting for %s", argv[0]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	struct server_opts opts = {};
	struct mnt m = { .test = "serve", .seconds = SERVE_SECONDS };
	const char *missing = mnt_missing();
	int status;

	while (*++argv && take_option(&opts, *argv))
		;
	if (argc < 2 || !*argv)
		errx(2, "no command: use serve [OPTION...] COMMAND [ARG...]");
	if (missing)
		errx(1, "%s", missing);

	status = mnt_start(&m, &opts) ? 1 : run(m.dir, argv);
	if (!status && reqlog_overlap(m.log, sysconf(_SC_PAGESIZE))) {
		warnx("two WRITEs of a page were in flight simultaneously");
		status = 1;
	}
	if (mnt_stop(&m) && !status)
		status = 1;
	return status;
}
