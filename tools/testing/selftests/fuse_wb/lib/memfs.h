/* SPDX-License-Identifier: GPL-2.0 */
/* The file system that the server serves: a few files in memory. */

#ifndef FUSE_WB_MEMFS_H
#define FUSE_WB_MEMFS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <linux/types.h>

/* An unlinked file keeps its slot. */
#define MEMFS_FILES	512
#define MEMFS_NAME_MAX	32
#define MEMFS_OPENS	64
#define MEMFS_SIZE_MAX	(256ULL << 20)

/**
 * struct memfile - one file of the root directory; node number = index + 2
 * @name: its name; empty: the slot is free
 * @attr: its attributes
 * @data: its bytes, @attr.st_size of them
 * @room: bytes allocated at @data
 */
struct memfile {
	char name[MEMFS_NAME_MAX];
	struct stat attr;
	char *data;
	size_t room;
};

/**
 * struct memopen - one open file, known by a number that is never used again
 * @fh: the number; 0: the slot is free
 * @may_write: it was opened for writing
 */
struct memopen {
	__u64 fh;
	bool may_write;
};

/**
 * struct memfs - the file system; the server's lock covers it
 * @files: its files
 * @opens: the open files
 * @last_fh: the last number given to an open file
 * @ask_always: its names and attributes must not be cached
 */
struct memfs {
	struct memfile files[MEMFS_FILES];
	struct memopen opens[MEMFS_OPENS];
	__u64 last_fh;
	bool ask_always;
};

struct fuse_entry_param;

extern const struct fuse_lowlevel_ops memfs_ops;

/* These return 0 or a negative errno. */
int memfs_make(struct memfs *fs, const char *name, mode_t mode,
	       struct memfile **file);
int memfs_resize(struct memfile *file, __u64 size);
/* Handle SETATTR; @valid are the FATTR_* bits that count. */
int memfs_setattr(struct memfile *file, const struct stat *attr, __u32 valid);
int memfs_store(struct memfile *file, __u64 off, const void *data, size_t len);
/* A file that is open stays, under a name that cannot be looked up. */
int memfs_unlink(struct memfs *fs, const char *name);

/* The attributes in the reply to LOOKUP. */
void memfs_fill_entry(const struct memfs *fs, const struct memfile *file,
		      struct fuse_entry_param *e);

/* The timeout of names and attributes in the kernel, in seconds. */
double memfs_seconds(const struct memfs *fs);

struct memfile *memfs_find(struct memfs *fs, const char *name);
size_t memfs_load_node(struct memfs *fs, __u64 node, __u64 off, void *buf,
		       size_t len);
size_t memfs_load(const struct memfile *file, __u64 off, void *buf, size_t len);

#endif
