// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls that may block run in threads, so that the test can check that they
 * block, and then provide what they wait for.
 */

#include <linux/fadvise.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/debug.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "fixture.h"

static int fuse_wb_call_thread(void *data)
{
	struct fuse_wb_call *call = data;

	allow_signal(SIGINT);
	allow_signal(SIGKILL);
	call->ret = call->fn(call);
	complete_all(&call->finished);
	wake_up_all(&call->wb->server->changed);
	/* Exit only in kthread_stop(): reap_call() still uses the task. */
	while (!kthread_should_stop()) {
		set_current_state(TASK_IDLE);
		if (!kthread_should_stop())
			schedule();
		__set_current_state(TASK_RUNNING);
	}

	return 0;
}

static struct fuse_wb_call *start_call(struct fuse_wb *wb,
				       long (*fn)(struct fuse_wb_call *call),
				       void *data, loff_t pos, loff_t len)
{
	struct fuse_wb_call *call;

	call = kzalloc(sizeof(*call), GFP_KERNEL);
	if (!call)
		return NULL;
	call->wb = wb;
	call->fn = fn;
	call->data = data;
	call->pos = pos;
	call->len = len;
	init_completion(&call->finished);
	call->task = kthread_run(fuse_wb_call_thread, call, "fuse_wb_call");
	if (IS_ERR(call->task)) {
		kfree(call);
		return NULL;
	}

	return call;
}

/**
 * fuse_wb_start - start a call
 * @wb: the fixture
 * @fn: what to run; it may block, and must not use assertions
 * @data: its argument, usually the file
 * @pos: its argument, in bytes
 * @len: its argument, in bytes
 *
 * Return: the call, which lives as long as the fixture.
 */
struct fuse_wb_call *fuse_wb_start(struct fuse_wb *wb,
				   long (*fn)(struct fuse_wb_call *call),
				   void *data, loff_t pos, loff_t len)
{
	struct fuse_wb_call *call = start_call(wb, fn, data, pos, len);

	KUNIT_ASSERT_NOT_NULL(wb->test, call);
	list_add_tail(&call->entry, &wb->calls);

	return call;
}

/**
 * fuse_wb_done - has a call returned?
 * @call: the call
 *
 * Return: true if it has, and call->ret is valid.
 */
bool fuse_wb_done(const struct fuse_wb_call *call)
{
	return completion_done((struct completion *)&call->finished);
}

/**
 * fuse_wb_join - wait for a call to return
 * @call: the call
 *
 * At the deadline, print the call's stack and the server's log, and abort the
 * test.
 *
 * Return: what the call returned.
 */
long fuse_wb_join(struct fuse_wb_call *call)
{
	if (!wait_for_completion_timeout(&call->finished, FUSE_WB_DEADLINE)) {
		fuse_wb_print(call->wb->server);
		sched_show_task(call->task);
		KUNIT_FAIL_AND_ABORT(call->wb->test, "%ps() did not return",
				     call->fn);
	}

	return call->ret;
}

/**
 * fuse_wb_run - start a call that is not expected to block, and wait for it
 * @wb: the fixture
 * @fn: as for fuse_wb_start()
 * @data: as for fuse_wb_start()
 * @pos: as for fuse_wb_start()
 * @len: as for fuse_wb_start()
 *
 * On a broken kernel it may block. Then the test fails as described at
 * fuse_wb_join(), instead of hanging.
 *
 * Return: what the call returned.
 */
long fuse_wb_run(struct fuse_wb *wb, long (*fn)(struct fuse_wb_call *call),
		 void *data, loff_t pos, loff_t len)
{
	return fuse_wb_join(fuse_wb_start(wb, fn, data, pos, len));
}

/* Wait for a call without ending the test, and stop its thread. */
static bool reap_call(struct fuse_wb_call *call)
{
	if (!wait_for_completion_timeout(&call->finished, FUSE_WB_DEADLINE)) {
		sched_show_task(call->task);
		KUNIT_FAIL(call->wb->test,
			   "%ps() did not return after an abort", call->fn);
		return false;
	}
	kthread_stop(call->task);
	kfree(call);

	return true;
}

/**
 * fuse_wb_reap - stop the threads of a test whose connection was aborted
 * @wb: the fixture
 * @last: a last call, which undoes the rest of the fixture
 *
 * Return: true if all calls returned; false if one did not before the deadline,
 * which fails the test.
 */
bool fuse_wb_reap(struct fuse_wb *wb, long (*last)(struct fuse_wb_call *call))
{
	struct fuse_wb_call *call, *next;

	list_for_each_entry_safe(call, next, &wb->calls, entry)
		if (!reap_call(call))
			return false;
	call = start_call(wb, last, NULL, 0, 0);

	return call && reap_call(call);
}

/* Calls for fuse_wb_start(). Unless stated otherwise, the data is a file. */

/* open(2) of the name in the data, with flags @pos; return the file, or an error */
long fuse_wb_do_open(struct fuse_wb_call *call)
{
	struct vfsmount *mnt = call->wb->server->mnt;
	struct path root = {
		.mnt = mnt,
		.dentry = mnt->mnt_root,
	};

	return (long)file_open_root(&root, call->data,
				    O_RDWR | O_LARGEFILE | (int)call->pos, 0);
}

/* write(2) of @len bytes at @pos, each FUSE_WB_BYTE */
long fuse_wb_do_write(struct fuse_wb_call *call)
{
	loff_t pos = call->pos;
	char *data = kvmalloc(call->len, GFP_KERNEL);
	ssize_t ret;

	if (!data)
		return -ENOMEM;
	memset(data, FUSE_WB_BYTE, call->len);
	ret = kernel_write(call->data, data, call->len, &pos);
	kvfree(data);

	return ret;
}

/* read(2) of the byte at @pos, which is returned; -ENODATA at EOF */
long fuse_wb_do_read_byte(struct fuse_wb_call *call)
{
	loff_t pos = call->pos;
	unsigned char byte;
	ssize_t ret;

	ret = kernel_read(call->data, &byte, 1, &pos);
	if (ret == 1)
		return byte;
	return ret ?: -ENODATA;
}

/* Readahead of page 0 of the file */
long fuse_wb_do_readahead(struct fuse_wb_call *call)
{
	return vfs_fadvise(call->data, 0, PAGE_SIZE, POSIX_FADV_WILLNEED);
}

/* read(2) of @len bytes at @pos into the mapping, which may be anonymous */
long fuse_wb_do_read_user(struct fuse_wb_call *call)
{
	void __user *buf = (void __user *)call->wb->addr;
	loff_t pos = call->pos;
	struct iov_iter iter;
	ssize_t ret;

	kthread_use_mm(call->wb->mm);
	ret = import_ubuf(ITER_DEST, buf, call->len, &iter);
	if (!ret)
		ret = vfs_iter_read(call->data, &iter, &pos, 0);
	kthread_unuse_mm(call->wb->mm);

	return ret;
}

/* A store to byte @pos of the mapping; there is no data */
long fuse_wb_do_store(struct fuse_wb_call *call)
{
	struct fuse_wb *wb = call->wb;
	int err;

	kthread_use_mm(wb->mm);
	err = put_user((char)FUSE_WB_BYTE, (char __user *)wb->addr + call->pos);
	kthread_unuse_mm(wb->mm);

	return err;
}

/* Start writeback of @len bytes at @pos, or of all if @len is 0; do not wait */
long fuse_wb_do_flush(struct fuse_wb_call *call)
{
	struct file *file = call->data;
	loff_t end = call->len ? call->pos + call->len - 1 : LLONG_MAX;

	return filemap_fdatawrite_range(file->f_mapping, call->pos, end);
}

/* fsync(2) */
long fuse_wb_do_fsync(struct fuse_wb_call *call)
{
	return vfs_fsync(call->data, 0);
}

/* truncate(2) to @len bytes */
long fuse_wb_do_truncate(struct fuse_wb_call *call)
{
	struct file *file = call->data;

	return vfs_truncate(&file->f_path, call->len);
}

/* fallocate(2) that punches a hole of @len bytes at @pos */
long fuse_wb_do_punch(struct fuse_wb_call *call)
{
	return vfs_fallocate(call->data,
			     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     call->pos, call->len);
}

/* fuse_set_nowrite_killable() under the inode lock; the data is an inode */
long fuse_wb_do_set_nowrite(struct fuse_wb_call *call)
{
	long err;

	inode_lock(call->data);
	err = fuse_set_nowrite_killable(call->data);
	inode_unlock(call->data);

	return err;
}

/* ->launder_folio() and invalidation of all folios, as by O_DIRECT writes */
long fuse_wb_do_launder(struct fuse_wb_call *call)
{
	struct file *file = call->data;

	return invalidate_inode_pages2(file->f_mapping);
}
