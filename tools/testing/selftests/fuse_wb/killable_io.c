// SPDX-License-Identifier: GPL-2.0
/* Calls that read, write or map the bytes of a file, see killable.h. */

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "aio.h"
#include "killable.h"

#define PAGE	4096

static long do_load(const unsigned long *args)
{
	char byte;

	memcpy(&byte, (void *)args[0], 1);
	return byte;
}

static long do_store(const unsigned long *args)
{
	memset((void *)args[0], 'x', 1);
	return 0;
}

static struct call_arg io_arg(const unsigned long *args)
{
	return (struct call_arg){
		.fd = args[0], .buf = (void *)args[1], .len = args[2],
		.off = args[3]
	};
}

static long do_aio_read(const unsigned long *args)
{
	struct call_arg arg = io_arg(args);

	return call_aio_pread.fn(&arg);
}

static long do_uring_read(const unsigned long *args)
{
	struct call_arg arg = io_arg(args);

	return call_uring_pread.fn(&arg);
}

const struct killable_call killable_io[] = {
	{
		.name = "read", .nr = SYS_read,
		.args = { ARG_FD, ARG_BUF, PAGE },
		.open = O_RDWR,
		.sends = { { FUSE_READ, ENDS } },
		.unread = ENDS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "pread", .nr = SYS_pread64,
		.args = { ARG_FD, ARG_BUF, PAGE, 0 },
		.open = O_RDWR,
		.sends = { { FUSE_READ, ENDS } },
		.unread = ENDS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "readv", .nr = SYS_readv,
		.args = { ARG_FD, ARG_IOV, 1 },
		.open = O_RDWR,
		.sends = { { FUSE_READ, ENDS } },
		.unread = ENDS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "preadv2", .nr = SYS_preadv2,
		.args = { ARG_FD, ARG_IOV, 1, 0, 0 },
		.open = O_RDWR,
		.sends = { { FUSE_READ, ENDS } },
		.unread = ENDS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "pread_o_direct", .nr = SYS_pread64,
		.args = { ARG_FD, ARG_BUF, PAGE, 0 },
		.open = O_RDWR | O_DIRECT,
		.sends = { { FUSE_READ, STAYS_DIRECT } },
		.unread = STAYS_DIRECT,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "pread_fopen_direct", .nr = SYS_pread64,
		.args = { ARG_FD, ARG_BUF, PAGE, 0 },
		.open = O_RDWR, .prep = PREP_DIRECT,
		.sends = { { FUSE_READ, STAYS_READ } },
		.unread = ENDS,
		.file = { RETURNS, RETURNS, RETURNS, NOT_ASKED },
	},
	{
		.name = "write", .nr = SYS_write,
		.args = { ARG_FD, ARG_BUF, PAGE },
		.open = O_RDWR,
		.sends = { { FUSE_GETATTR, STAYS_READ },
			  { FUSE_GETXATTR, STAYS_READ } },
		.unread = ENDS,
		.file = { ENDS, ENDS, ENDS, ENDS },
	},
	{
		.name = "write_part", .nr = SYS_write,
		.args = { ARG_FD, ARG_BUF, 1 },
		.open = O_RDWR,
		.sends = { { FUSE_GETATTR, STAYS_READ },
			  { FUSE_GETXATTR, STAYS_READ },
			  { FUSE_READ, STAYS_READ } },
		.unread = ENDS,
		.file = { ENDS, ENDS, ENDS, ENDS },
	},
	{
		.name = "pwrite", .nr = SYS_pwrite64,
		.args = { ARG_FD, ARG_BUF, PAGE, 0 },
		.open = O_RDWR,
		.sends = { { FUSE_GETATTR, STAYS_READ },
			  { FUSE_GETXATTR, STAYS_READ } },
		.unread = ENDS,
		.file = { ENDS, ENDS, ENDS, ENDS },
	},
	{
		.name = "writev", .nr = SYS_writev,
		.args = { ARG_FD, ARG_IOV, 1 },
		.open = O_RDWR,
		.sends = { { FUSE_GETATTR, STAYS_READ },
			  { FUSE_GETXATTR, STAYS_READ } },
		.unread = ENDS,
		.file = { ENDS, ENDS, ENDS, ENDS },
	},
	{
		.name = "pwritev2", .nr = SYS_pwritev2,
		.args = { ARG_FD, ARG_IOV, 1, 0, 0 },
		.open = O_RDWR,
		.sends = { { FUSE_GETATTR, STAYS_READ },
			  { FUSE_GETXATTR, STAYS_READ } },
		.unread = ENDS,
		.file = { ENDS, ENDS, ENDS, ENDS },
	},
	{
		.name = "write_append", .nr = SYS_write,
		.args = { ARG_FD, ARG_BUF, PAGE },
		.open = O_RDWR | O_APPEND,
		.sends = { { FUSE_GETATTR, STAYS_READ },
			  { FUSE_GETXATTR, STAYS_READ } },
		.unread = ENDS,
		.file = { ENDS, ENDS, ENDS, ENDS },
	},
	{
		.name = "write_sync", .nr = SYS_write,
		.args = { ARG_FD, ARG_BUF, PAGE },
		.open = O_RDWR | O_SYNC,
		.sends = { { FUSE_GETATTR, STAYS_READ },
			  { FUSE_GETXATTR, STAYS_READ }, { FUSE_WRITE, ENDS },
			  { FUSE_SETATTR, ENDS },
			  { FUSE_FSYNC, STAYS_READ } },
		.unread = ENDS,
		.file = { ENDS, ENDS, ENDS, ENDS },
	},
	{
		.name = "write_through", .nr = SYS_write,
		.args = { ARG_FD, ARG_BUF, PAGE },
		.open = O_RDWR, .prep = PREP_THROUGH,
		.sends = { { FUSE_GETXATTR, STAYS_READ },
			  { FUSE_WRITE, STAYS_READ } },
		.unread = ENDS,
		.file = { ENDS, ENDS, ENDS, NOT_ASKED },
	},
	{
		.name = "write_o_direct", .nr = SYS_pwrite64,
		.args = { ARG_FD, ARG_BUF, PAGE, 0 },
		.open = O_RDWR | O_DIRECT,
		.sends = { { FUSE_GETATTR, STAYS_READ },
			  { FUSE_GETXATTR, STAYS_READ },
			  { FUSE_WRITE, STAYS_DIRECT } },
		.unread = ENDS,
		.file = { ENDS, ENDS, ENDS, ENDS },
	},
	{
		.name = "write_fopen_direct", .nr = SYS_pwrite64,
		.args = { ARG_FD, ARG_BUF, PAGE, 0 },
		.open = O_RDWR, .prep = PREP_DIRECT,
		.sends = { { FUSE_WRITE, STAYS_READ } },
		.unread = ENDS,
		.file = { ENDS, ENDS, ENDS, NOT_ASKED },
	},
	{
		.name = "sendfile", .nr = SYS_sendfile,
		.args = { ARG_PIPE_IN, ARG_FD, ARG_OFF, PAGE },
		.open = O_RDWR, .prep = PREP_PIPE,
		.sends = { { FUSE_READ, ENDS } },
		.unread = ENDS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "splice_from", .nr = SYS_splice,
		.args = { ARG_FD, ARG_OFF, ARG_PIPE_IN, 0, PAGE, 0 },
		.open = O_RDWR, .prep = PREP_PIPE,
		.sends = { { FUSE_READ, ENDS } },
		.unread = ENDS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "splice_to", .nr = SYS_splice,
		.args = { ARG_PIPE_OUT, 0, ARG_FD, ARG_OFF, PAGE, 0 },
		.open = O_RDWR, .prep = PREP_PIPE | PREP_FULL,
		.sends = { { FUSE_GETATTR, STAYS_READ },
			  { FUSE_GETXATTR, STAYS_READ } },
		.unread = ENDS,
		.file = { ENDS, ENDS, ENDS, ENDS },
	},
	{
		.name = "copy_file_range", .nr = SYS_copy_file_range,
		.args = { ARG_FD, ARG_OFF, ARG_FD, ARG_OFF2, PAGE, 0 },
		.open = O_RDWR, .prep = PREP_DIRTY,
		.sends = { { FUSE_WRITE, ENDS }, { FUSE_GETXATTR, STAYS_READ },
			  { FUSE_COPY_FILE_RANGE, STAYS_READ },
			  { FUSE_SETATTR, ENDS } },
		.unread = ENDS,
		.file = { ENDS, ENDS, ENDS, ENDS },
	},
	{
		.name = "load", .nr = -1,
		.args = { ARG_MAP },
		.fn = do_load,
		.open = O_RDWR, .prep = PREP_MAP,
		.sends = { { FUSE_READ, ENDS } },
		.unread = ENDS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "store", .nr = -1,
		.args = { ARG_MAP },
		.fn = do_store,
		.open = O_RDWR, .prep = PREP_MAP,
		.sends = { { FUSE_READ, ENDS }, { FUSE_WRITE, RETURNS } },
		.unread = ENDS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "mmap_populate", .nr = SYS_mmap,
		.args = { 0, PAGE, PROT_READ,
			  MAP_SHARED | MAP_POPULATE, ARG_FD, 0 },
		.open = O_RDWR,
		.sends = { { FUSE_READ, ENDS } },
		.unread = ENDS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "madvise_populate", .nr = SYS_madvise,
		.args = { ARG_MAP, PAGE, MADV_POPULATE_READ },
		.open = O_RDWR, .prep = PREP_MAP,
		.sends = { { FUSE_READ, ENDS } },
		.unread = ENDS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "msync", .nr = SYS_msync,
		.args = { ARG_MAP, PAGE, MS_SYNC },
		.open = O_RDWR, .prep = PREP_MAP | PREP_DIRTY,
		.sends = { { FUSE_WRITE, ENDS }, { FUSE_SETATTR, ENDS },
			  { FUSE_FSYNC, STAYS_READ } },
		.unread = ENDS,
		.file = { ENDS, ENDS, ENDS, ENDS },
	},
	{
		.name = "munmap", .nr = SYS_munmap,
		.args = { ARG_MAP, KILLABLE_PAGES * PAGE },
		.open = O_RDWR, .prep = PREP_MAP | PREP_DIRTY,
		.sends = { { FUSE_WRITE, RETURNS } },
		.unread = RETURNS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "readahead", .nr = SYS_readahead,
		.args = { ARG_FD, 0, PAGE },
		.open = O_RDWR,
		.sends = { { FUSE_READ, RETURNS } },
		.unread = RETURNS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "fadvise_willneed", .nr = SYS_fadvise64,
		.args = { ARG_FD, 0, PAGE, POSIX_FADV_WILLNEED },
		.open = O_RDWR,
		.sends = { { FUSE_READ, RETURNS } },
		.unread = RETURNS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "fadvise_dontneed", .nr = SYS_fadvise64,
		.args = { ARG_FD, 0, PAGE, POSIX_FADV_DONTNEED },
		.open = O_RDWR, .prep = PREP_DIRTY,
		.sends = { { FUSE_WRITE, RETURNS } },
		.unread = RETURNS,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "aio_read", .nr = SYS_io_getevents,
		.args = { ARG_FD, ARG_BUF, PAGE, 0 },
		.fn = do_aio_read,
		.open = O_RDWR | O_DIRECT,
		.sends = { { FUSE_READ, STAYS_DIRECT } },
		.unread = STAYS_DIRECT,
		.file = { RETURNS, RETURNS, RETURNS, RETURNS },
	},
	{
		.name = "uring_read", .nr = SYS_io_uring_enter,
		.args = { ARG_FD, ARG_BUF, PAGE, 0 },
		.fn = do_uring_read,
		.open = O_RDWR,
		.sends = { { FUSE_POLL, STAYS_READ }, { FUSE_READ, ENDS } },
		.unread = ENDS,
	},
	{ }
};
