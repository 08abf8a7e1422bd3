/* SPDX-License-Identifier: GPL-2.0 */
/*
 * System calls that may wait for a FUSE server, and which of their waits
 * SIGKILL ends: a table, and the functions that check it.
 */

#ifndef FUSE_WB_KILLABLE_H
#define FUSE_WB_KILLABLE_H

#include <sys/types.h>
#include <linux/fuse.h>
#include <linux/types.h>

#include "mnt.h"

#define KILLABLE_SENDS	8

/* Missing in some headers and in libfuse. */
#ifndef FUSE_TMPFILE
#define FUSE_TMPFILE	51
#endif
#ifndef FUSE_STATX
#define FUSE_STATX	52
#endif

/**
 * enum fate - outcome for a task that is killed in a call
 * @NOT_ASKED: not checked
 * @RETURNS: the call does not wait
 * @ENDS: it waits, and SIGKILL ends the wait
 * @STAYS_READ: it waits until the server replies, as the server has read the
 *	request and may be carrying it out: the kernel holds locks over it,
 *	needs the contents of the reply, or would reorder it with a later step
 * @STAYS_FORCED: the same, whether the server has read it or not.  FLUSH is such
 *	a request, as it drops the locks of the killed task
 * @STAYS_DIRECT: the same with O_DIRECT, which waits for all of its requests to
 *	complete, as they point to memory of the caller
 */
enum fate {
	NOT_ASKED,
	RETURNS,
	ENDS,
	STAYS_READ,
	STAYS_FORCED,
	STAYS_DIRECT,
};

/*
 * Placeholders for arguments that are not constant.  FILE is a file of
 * KILLABLE_PAGES pages that the kernel has not looked up, unless the call needs
 * it open; FD is a descriptor of it, with the flags that the call needs, and
 * MAP a mapping.  NEW is a name that does not exist.
 */
enum killable_arg {
	ARG_FILE = 0x5eed0000,
	ARG_NEW,
	ARG_DIR,
	ARG_LINK,
	ARG_ROOT,
	ARG_FD,
	ARG_ROOT_FD,
	ARG_PIPE_IN,
	ARG_PIPE_OUT,
	ARG_MAP,
	ARG_BUF,
	ARG_IOV,
	ARG_LOCK,
	ARG_POLLFD,
	ARG_TIMES,
	ARG_HOW,
	ARG_OFF,
	ARG_OFF2,
};

#define KILLABLE_PAGES	8

/* What a call needs in addition to the file. */
#define PREP_DIRTY	0x01	/* the first page is dirty */
#define PREP_MAP	0x02	/* the file is mapped */
#define PREP_PIPE	0x04	/* an empty pipe */
#define PREP_FULL	0x08	/* a pipe with a page of bytes in it */
#define PREP_DIR	0x10	/* an empty directory */
#define PREP_LINK	0x20	/* a symbolic link */
#define PREP_EXEC	0x40	/* the file may be executed */
#define PREP_OWN_FILES	0x80	/* descriptors of its own, which its end closes */
#define PREP_THROUGH	0x100	/* no writeback cache */
#define PREP_DIRECT	0x200	/* FOPEN_DIRECT_IO */

/*
 * Tasks that hold a lock during a request: of the file, and of the directory.
 */
#define KILLABLE_FILE	4
#define KILLABLE_DIR	2

/**
 * struct killable_call - a call
 * @name: its name
 * @nr: its system call; -1: none, as a page fault
 * @args: its arguments
 * @fn: function that makes it; NULL: the system call
 * @open: flags with which the file of ARG_FD is opened; -1: it is not
 * @prep: PREP_*
 * @sends: the requests that it sends, in any order, and the outcome while the
 *	server has read one of these
 * @unread: the same while the server reads nothing at all
 * @file: the same while another task holds the lock of the file
 * @dir: the same for that of the directory
 */
struct killable_call {
	const char *name;
	long nr;
	unsigned long args[6];
	long (*fn)(const unsigned long *args);
	int open;
	unsigned int prep;
	struct {
		__u32 opcode;
		enum fate fate;
	} sends[KILLABLE_SENDS];
	enum fate unread;
	enum fate file[KILLABLE_FILE];
	enum fate dir[KILLABLE_DIR];
};

extern const struct killable_call killable_io[], killable_files[],
	killable_names[];

const struct killable_call *killable_find(const char *name);
int killable_count(void);

/* The server options that the call needs. */
struct server_opts killable_opts(const struct killable_call *call);

/*
 * Each of these returns the number of mismatches with the table, after printing
 * them.  They leave nothing held.
 */

/* To be called first. */
int killable_start(struct mnt *m);

/* The call sends what is listed, and nothing else. */
int killable_check_sends(struct mnt *m, const struct killable_call *call);

/* The server holds one of these. */
int killable_check_held(struct mnt *m, const struct killable_call *call);

/* The server reads nothing. */
int killable_check_unread(struct mnt *m, const struct killable_call *call);

/*
 * The server holds the request of another task, which holds a lock meanwhile.
 */
int killable_check_file(struct mnt *m, const struct killable_call *call);
int killable_check_dir(struct mnt *m, const struct killable_call *call);

#endif
