// SPDX-License-Identifier: GPL-2.0-only
/*
 * The callers of the explored orders: tasks that live as long as the mount. Each
 * has its own file and buffer, and makes one call after another.
 */

#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "explore.h"

const char * const ex_op_names[EX_OPS] = {
	[EX_READ] = "read",
	[EX_WRITE] = "write",
	[EX_AIO_READ] = "aio read",
	[EX_AIO_WRITE] = "aio write",
	[EX_TRUNCATE] = "truncate",
	[EX_PUNCH] = "punch",
	[EX_FSYNC] = "fsync",
	[EX_CLOSE] = "close",
	[EX_WRITEPAGES] = "writepages",
	[EX_REMOTE] = "change by another client",
	[EX_STORE] = "store",
};

static loff_t pos(const struct ex_call *call)
{
	return (loff_t)call->from * EX_CELL;
}

static size_t len(const struct ex_call *call)
{
	return (call->to - call->from) * EX_CELL;
}

struct aio {
	struct kiocb iocb;
	struct completion completion;
	long ret;
};

static void aio_complete(struct kiocb *iocb, long ret)
{
	struct aio *aio = container_of(iocb, struct aio, iocb);

	aio->ret = ret;
	complete(&aio->completion);
}

/* read(2) or write(2), or the same through io_submit(2) and io_getevents(2) */
static long transfer(struct ex_caller *caller, int dir, bool async)
{
	struct ex_call *call = &caller->call;
	struct file *file = caller->file;
	struct iov_iter iter;
	struct aio aio;
	long ret;

	init_completion(&aio.completion);
	init_sync_kiocb(&aio.iocb, file);
	aio.iocb.ki_pos = pos(call);
	if (async && file->f_flags & O_DIRECT)
		aio.iocb.ki_complete = aio_complete;
	ret = import_ubuf(dir, caller->buf, len(call), &iter);
	if (ret)
		return ret;
	if (dir == ITER_DEST)
		ret = file->f_op->read_iter(&aio.iocb, &iter);
	else
		ret = file->f_op->write_iter(&aio.iocb, &iter);
	if (ret == -EIOCBQUEUED) {
		wait_for_completion(&aio.completion);
		ret = aio.ret;
	}

	return ret;
}

static long do_read(struct ex_caller *caller, bool async)
{
	long ret = transfer(caller, ITER_DEST, async);

	if (ret > 0 && copy_from_user(caller->bytes, caller->buf, ret))
		return -EFAULT;
	return ret;
}

static long do_write(struct ex_caller *caller, bool async)
{
	memset(caller->bytes, caller->call.value, len(&caller->call));
	if (copy_to_user(caller->buf, caller->bytes, len(&caller->call)))
		return -EFAULT;
	return transfer(caller, ITER_SOURCE, async);
}

/* mmap(2), a store to each byte, and munmap(2) */
static long do_store(struct ex_caller *caller)
{
	struct ex_call *call = &caller->call;
	unsigned long addr, left;

	addr = vm_mmap(caller->file, 0, EX_PAGES * PAGE_SIZE,
		       PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	if (IS_ERR_VALUE(addr))
		return addr;
	memset(caller->bytes, call->value, len(call));
	left = copy_to_user((u8 __user *)addr + pos(call), caller->bytes,
			    len(call));
	vm_munmap(addr, EX_PAGES * PAGE_SIZE);

	return len(call) - left;
}

static struct file *open_file(struct ex_caller *caller)
{
	unsigned int i = caller - caller->ex->callers;
	struct fuse_wb_call call = {
		.wb = caller->ex->wb,
		.data = "file",
		.pos = caller->ex->mode->flags[i],
	};

	return (struct file *)fuse_wb_do_open(&call);
}

/* close(2) and a new open(2), which is not under test: SIGKILL must not fail it */
static long do_close(struct ex_caller *caller)
{
	struct file *file = caller->file, *next;
	long ret;

	ret = file->f_op->flush(file, current->files);
	flush_signals(current);
	next = open_file(caller);
	if (IS_ERR(next))
		return PTR_ERR(next);
	caller->file = next;
	__fput_sync(file);

	return ret;
}

/* FUSE_NOTIFY_INVAL_INODE for a range that another client has changed */
static long do_invalidate(struct ex_caller *caller)
{
	struct fuse_conn *fc = caller->ex->wb->server->fc;
	struct ex_call *call = &caller->call;
	long err;

	down_read(&fc->killsb);
	err = fuse_reverse_inval_inode(fc, get_node_id(file_inode(caller->file)),
				       pos(call), len(call));
	up_read(&fc->killsb);

	return err;
}

static long do_call(struct ex_caller *caller)
{
	struct ex_call *call = &caller->call;
	struct file *file = caller->file;

	switch (call->op) {
	case EX_READ:
	case EX_AIO_READ:
		return do_read(caller, call->op == EX_AIO_READ);
	case EX_WRITE:
	case EX_AIO_WRITE:
		return do_write(caller, call->op == EX_AIO_WRITE);
	case EX_TRUNCATE:
		return vfs_truncate(&file->f_path, pos(call));
	case EX_PUNCH:
		return vfs_fallocate(file, FALLOC_FL_PUNCH_HOLE |
				     FALLOC_FL_KEEP_SIZE, pos(call), len(call));
	case EX_FSYNC:
		return vfs_fsync(file, 0);
	case EX_CLOSE:
		return do_close(caller);
	case EX_WRITEPAGES:
		return filemap_fdatawrite_range(file->f_mapping, pos(call),
						pos(call) + len(call) - 1);
	case EX_REMOTE:
		return do_invalidate(caller);
	case EX_STORE:
		return do_store(caller);
	default:
		return -EINVAL;
	}
}

static long caller_thread(struct fuse_wb_call *thread)
{
	struct ex_caller *caller = thread->data;

	caller->task = current;
	kthread_use_mm(caller->ex->wb->mm);
	for (;;) {
		wait_event_idle(caller->waitq, caller->stop ||
				(caller->busy && !caller->returned));
		if (caller->stop)
			break;
		caller->call.ret = do_call(caller);
		flush_signals(current);
		WRITE_ONCE(caller->returned, true);
	}
	kthread_unuse_mm(caller->ex->wb->mm);

	return 0;
}

static void stop_callers(void *data)
{
	struct explore *ex = data;
	unsigned int i;

	fuse_wb_abort(ex->wb->server);
	for (i = 0; i < EX_CALLERS; i++) {
		ex->callers[i].stop = true;
		wake_up_all(&ex->callers[i].waitq);
	}
}

/**
 * ex_start_callers - start the tasks of the callers
 * @ex: the exploration, with its fixture
 */
void ex_start_callers(struct explore *ex)
{
	struct kunit *test = ex->wb->test;
	unsigned int i;

	BUILD_BUG_ON(sizeof(ex->callers[0].bytes) != EX_PAGES * PAGE_SIZE);
	fuse_wb_map(ex->wb, NULL, EX_CALLERS * EX_PAGES * PAGE_SIZE);
	for (i = 0; i < EX_CALLERS; i++) {
		struct ex_caller *caller = &ex->callers[i];

		caller->ex = ex;
		caller->buf = (u8 __user *)ex->wb->addr + i * EX_PAGES * PAGE_SIZE;
		init_waitqueue_head(&caller->waitq);
	}
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, stop_callers, ex));
	for (i = 0; i < EX_CALLERS; i++)
		fuse_wb_start(ex->wb, caller_thread, &ex->callers[i], 0, 0);
}

/* Write by another client: change the store; do_invalidate() notifies the kernel. */
static void change_store(struct explore *ex, const struct ex_call *call)
{
	memset(ex->store + pos(call), call->value, len(call));
}

/**
 * ex_begin - have a caller make a call
 * @caller: a caller that is not busy
 * @op: the call
 * @from: first cell, or the size that truncation leaves
 * @len: in cells, cut off at the largest size of the file
 *
 * Return: false if there is nothing to call.
 */
bool ex_begin(struct ex_caller *caller, enum ex_op op, u8 from, u8 len)
{
	struct ex_call *call = &caller->call;
	struct explore *ex = caller->ex;

	*call = (struct ex_call) {
		.op = op,
		.from = from,
		.to = min(from + len, EX_CELLS),
	};
	if (op == EX_REMOTE) {
		call->to = min_t(u8, call->to, ex_attr(ex)->size / EX_CELL);
		if (call->to <= from)
			return false;
	}
	if (!ex_may_call(caller))
		return false;
	if (op == EX_WRITE || op == EX_AIO_WRITE || op == EX_REMOTE ||
	    op == EX_STORE)
		call->value = ++ex->values;
	ex_trace(ex, "caller %td: %s, cells %u to %u, value %u",
		 caller - ex->callers, ex_op_names[op], call->from, call->to,
		 call->value);
	ex_called(caller);
	if (op == EX_REMOTE)
		change_store(ex, call);
	caller->returned = false;
	caller->busy = true;
	wake_up_all(&caller->waitq);

	return true;
}

/**
 * ex_open - open the file for each caller
 * @ex: the exploration
 *
 * Return: 0, or the error of open(2).
 */
int ex_open(struct explore *ex)
{
	unsigned int i;

	ex->wb->server->open_flags = ex->mode->open_flags;
	for (i = 0; i < EX_CALLERS; i++) {
		struct file *file = open_file(&ex->callers[i]);

		if (IS_ERR(file))
			return PTR_ERR(file);
		ex->callers[i].file = file;
		ex->callers[i].owed = 0;
	}

	return 0;
}

/**
 * ex_close - close the files, which have nothing left to send
 * @ex: the exploration
 */
void ex_close(struct explore *ex)
{
	unsigned int i;

	for (i = 0; i < EX_CALLERS; i++) {
		if (!IS_ERR_OR_NULL(ex->callers[i].file))
			__fput_sync(ex->callers[i].file);
		ex->callers[i].file = NULL;
	}
	shrink_dcache_sb(ex->wb->server->sb);
}
