// SPDX-License-Identifier: GPL-2.0
/*
 * SIGKILL for tasks that wait for a FUSE server, call by call.
 *
 * A system call on a FUSE file may wait in many places: for the reply to a
 * request, for a lock that another task holds over a request, for a page that
 * is being read or written, for a lookup of the same name.  On a broken kernel
 * some of these waits are not killable, so that the task stays in D state for
 * as long as the server does not reply, with all its open files and locks.
 *
 * The tables of killable_*.c list the calls, the requests that each sends, and
 * the effect of SIGKILL in each wait.  Waits that it cannot end are listed with
 * the reason, see enum fate.  The tests below check all entries, including
 * unkillable ones: a wait that becomes killable has to be listed as such.
 *
 * Promise: killable
 */

#include <signal.h>

#include "common.h"
#include "killable.h"

/*
 * a child: the call <--- SIGKILL | '---> one of its requests --> held, or not
 * read '---> the lock of the file, or of the directory <-- another task with a
 * held request
 */
FIXTURE(killable)
{
	struct mnt m;
};

FIXTURE_VARIANT(killable)
{
	const char *call;
};

FIXTURE_VARIANT_ADD(killable, read) { .call = "read" };

FIXTURE_VARIANT_ADD(killable, pread) { .call = "pread" };

FIXTURE_VARIANT_ADD(killable, readv) { .call = "readv" };

FIXTURE_VARIANT_ADD(killable, preadv2) { .call = "preadv2" };

FIXTURE_VARIANT_ADD(killable, pread_o_direct) { .call = "pread_o_direct" };

FIXTURE_VARIANT_ADD(killable, pread_fopen_direct) { .call = "pread_fopen_direct" };

FIXTURE_VARIANT_ADD(killable, write) { .call = "write" };

FIXTURE_VARIANT_ADD(killable, write_part) { .call = "write_part" };

FIXTURE_VARIANT_ADD(killable, pwrite) { .call = "pwrite" };

FIXTURE_VARIANT_ADD(killable, writev) { .call = "writev" };

FIXTURE_VARIANT_ADD(killable, pwritev2) { .call = "pwritev2" };

FIXTURE_VARIANT_ADD(killable, write_append) { .call = "write_append" };

FIXTURE_VARIANT_ADD(killable, write_sync) { .call = "write_sync" };

FIXTURE_VARIANT_ADD(killable, write_through) { .call = "write_through" };

FIXTURE_VARIANT_ADD(killable, write_o_direct) { .call = "write_o_direct" };

FIXTURE_VARIANT_ADD(killable, write_fopen_direct) { .call = "write_fopen_direct" };

FIXTURE_VARIANT_ADD(killable, sendfile) { .call = "sendfile" };

FIXTURE_VARIANT_ADD(killable, splice_from) { .call = "splice_from" };

FIXTURE_VARIANT_ADD(killable, splice_to) { .call = "splice_to" };

FIXTURE_VARIANT_ADD(killable, copy_file_range) { .call = "copy_file_range" };

FIXTURE_VARIANT_ADD(killable, load) { .call = "load" };

FIXTURE_VARIANT_ADD(killable, store) { .call = "store" };

FIXTURE_VARIANT_ADD(killable, mmap_populate) { .call = "mmap_populate" };

FIXTURE_VARIANT_ADD(killable, madvise_populate) { .call = "madvise_populate" };

FIXTURE_VARIANT_ADD(killable, msync) { .call = "msync" };

FIXTURE_VARIANT_ADD(killable, munmap) { .call = "munmap" };

FIXTURE_VARIANT_ADD(killable, readahead) { .call = "readahead" };

FIXTURE_VARIANT_ADD(killable, fadvise_willneed) { .call = "fadvise_willneed" };

FIXTURE_VARIANT_ADD(killable, fadvise_dontneed) { .call = "fadvise_dontneed" };

FIXTURE_VARIANT_ADD(killable, aio_read) { .call = "aio_read" };

FIXTURE_VARIANT_ADD(killable, uring_read) { .call = "uring_read" };

FIXTURE_VARIANT_ADD(killable, fsync) { .call = "fsync" };

FIXTURE_VARIANT_ADD(killable, fdatasync) { .call = "fdatasync" };

FIXTURE_VARIANT_ADD(killable, fsync_dir) { .call = "fsync_dir" };

FIXTURE_VARIANT_ADD(killable, sync_file_range) { .call = "sync_file_range" };

FIXTURE_VARIANT_ADD(killable, syncfs) { .call = "syncfs" };

FIXTURE_VARIANT_ADD(killable, close) { .call = "close" };

FIXTURE_VARIANT_ADD(killable, close_reader) { .call = "close_reader" };

FIXTURE_VARIANT_ADD(killable, dup3) { .call = "dup3" };

FIXTURE_VARIANT_ADD(killable, exit) { .call = "exit" };

FIXTURE_VARIANT_ADD(killable, ftruncate) { .call = "ftruncate" };

FIXTURE_VARIANT_ADD(killable, ftruncate_to_more) { .call = "ftruncate_to_more" };

FIXTURE_VARIANT_ADD(killable, fallocate) { .call = "fallocate" };

FIXTURE_VARIANT_ADD(killable, fallocate_keep_size) { .call = "fallocate_keep_size" };

FIXTURE_VARIANT_ADD(killable, fallocate_punch_hole) { .call = "fallocate_punch_hole" };

FIXTURE_VARIANT_ADD(killable, fallocate_zero_range) { .call = "fallocate_zero_range" };

FIXTURE_VARIANT_ADD(killable, fstat) { .call = "fstat" };

FIXTURE_VARIANT_ADD(killable, fchmod) { .call = "fchmod" };

FIXTURE_VARIANT_ADD(killable, fchown) { .call = "fchown" };

FIXTURE_VARIANT_ADD(killable, futimens) { .call = "futimens" };

FIXTURE_VARIANT_ADD(killable, fgetxattr) { .call = "fgetxattr" };

FIXTURE_VARIANT_ADD(killable, fsetxattr) { .call = "fsetxattr" };

FIXTURE_VARIANT_ADD(killable, flistxattr) { .call = "flistxattr" };

FIXTURE_VARIANT_ADD(killable, fremovexattr) { .call = "fremovexattr" };

FIXTURE_VARIANT_ADD(killable, fcntl_getlk) { .call = "fcntl_getlk" };

FIXTURE_VARIANT_ADD(killable, fcntl_setlk) { .call = "fcntl_setlk" };

FIXTURE_VARIANT_ADD(killable, fcntl_setlkw) { .call = "fcntl_setlkw" };

FIXTURE_VARIANT_ADD(killable, flock) { .call = "flock" };

FIXTURE_VARIANT_ADD(killable, lseek_end) { .call = "lseek_end" };

FIXTURE_VARIANT_ADD(killable, lseek_data) { .call = "lseek_data" };

FIXTURE_VARIANT_ADD(killable, lseek_hole) { .call = "lseek_hole" };

FIXTURE_VARIANT_ADD(killable, ioctl) { .call = "ioctl" };

FIXTURE_VARIANT_ADD(killable, ppoll) { .call = "ppoll" };

FIXTURE_VARIANT_ADD(killable, fstatfs) { .call = "fstatfs" };

FIXTURE_VARIANT_ADD(killable, getdents) { .call = "getdents" };

FIXTURE_VARIANT_ADD(killable, open) { .call = "open" };

FIXTURE_VARIANT_ADD(killable, open_creat) { .call = "open_creat" };

FIXTURE_VARIANT_ADD(killable, open_trunc) { .call = "open_trunc" };

FIXTURE_VARIANT_ADD(killable, open_directory) { .call = "open_directory" };

FIXTURE_VARIANT_ADD(killable, open_tmpfile) { .call = "open_tmpfile" };

FIXTURE_VARIANT_ADD(killable, open_path) { .call = "open_path" };

FIXTURE_VARIANT_ADD(killable, openat2) { .call = "openat2" };

FIXTURE_VARIANT_ADD(killable, stat) { .call = "stat" };

FIXTURE_VARIANT_ADD(killable, statx) { .call = "statx" };

FIXTURE_VARIANT_ADD(killable, statx_btime) { .call = "statx_btime" };

FIXTURE_VARIANT_ADD(killable, faccessat) { .call = "faccessat" };

FIXTURE_VARIANT_ADD(killable, chdir) { .call = "chdir" };

FIXTURE_VARIANT_ADD(killable, chroot) { .call = "chroot" };

FIXTURE_VARIANT_ADD(killable, chmod) { .call = "chmod" };

FIXTURE_VARIANT_ADD(killable, chown) { .call = "chown" };

FIXTURE_VARIANT_ADD(killable, utimensat) { .call = "utimensat" };

FIXTURE_VARIANT_ADD(killable, truncate) { .call = "truncate" };

FIXTURE_VARIANT_ADD(killable, link) { .call = "link" };

FIXTURE_VARIANT_ADD(killable, symlink) { .call = "symlink" };

FIXTURE_VARIANT_ADD(killable, readlink) { .call = "readlink" };

FIXTURE_VARIANT_ADD(killable, rename) { .call = "rename" };

FIXTURE_VARIANT_ADD(killable, rename_noreplace) { .call = "rename_noreplace" };

FIXTURE_VARIANT_ADD(killable, unlink) { .call = "unlink" };

FIXTURE_VARIANT_ADD(killable, mkdir) { .call = "mkdir" };

FIXTURE_VARIANT_ADD(killable, rmdir) { .call = "rmdir" };

FIXTURE_VARIANT_ADD(killable, mknod) { .call = "mknod" };

FIXTURE_VARIANT_ADD(killable, getxattr) { .call = "getxattr" };

FIXTURE_VARIANT_ADD(killable, setxattr) { .call = "setxattr" };

FIXTURE_VARIANT_ADD(killable, listxattr) { .call = "listxattr" };

FIXTURE_VARIANT_ADD(killable, removexattr) { .call = "removexattr" };

FIXTURE_VARIANT_ADD(killable, statfs) { .call = "statfs" };

FIXTURE_VARIANT_ADD(killable, execve) { .call = "execve" };

FIXTURE_SETUP(killable)
{
	const struct killable_call *call = killable_find(variant->call);
	const struct __fixture_variant_metadata *v;
	struct server_opts opts;
	int variants = 0;

	ASSERT_NE(NULL, call);
	for (v = _metadata->fixture->variant; v; v = v->next)
		variants++;
	ASSERT_EQ(killable_count(), variants) {
		TH_LOG("a call in the tables has no variant");
	}
	opts = killable_opts(call);
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	ASSERT_EQ(0, killable_start(&self->m));
}

FIXTURE_TEARDOWN(killable)
{
	mnt_teardown(_metadata, &self->m);
}

TEST_F(killable, sigkill_ends_what_is_listed)
{
	const struct killable_call *call = killable_find(variant->call);

	EXPECT_EQ(0, killable_check_sends(&self->m, call));
	EXPECT_EQ(0, killable_check_held(&self->m, call));
	EXPECT_EQ(0, killable_check_unread(&self->m, call));
	EXPECT_EQ(0, killable_check_file(&self->m, call));
	EXPECT_EQ(0, killable_check_dir(&self->m, call));
}

TEST_HARNESS_MAIN
