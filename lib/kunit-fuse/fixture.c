// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mount of a test and the files that it opens there. One action undoes all of
 * it, as a test may end anywhere, even with requests held, calls blocked and files
 * mapped. On a broken kernel that may be impossible. Then the mount is leaked, and
 * the test fails.
 */

#include <linux/file.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>

#include "fixture.h"

/* The last call of a test: close its files and unmount. */
static long do_undo(struct fuse_wb_call *call)
{
	struct fuse_wb *wb = call->wb;
	unsigned int i;

	if (wb->mm) {
		kthread_use_mm(wb->mm);
		vm_munmap(wb->addr, wb->len);
		kthread_unuse_mm(wb->mm);
		mmput(wb->mm);
	}
	for (i = 0; i < FUSE_WB_FILES; i++)
		if (wb->files[i])
			__fput_sync(wb->files[i]);
	/* The last fput() in other kernel threads is deferred to a work item. */
	flush_delayed_fput();
	fuse_wb_server_stop(wb->server);

	return 0;
}

static void fuse_wb_exit(void *data)
{
	struct fuse_wb *wb = data;

	fuse_wb_abort(wb->server);
	fuse_wb_read_rest_of_all(wb->server);
	if (!fuse_wb_reap(wb, do_undo)) {
		KUNIT_FAIL(wb->test, "the mount of the test could not be undone");
		return;
	}
	/* Not in do_undo(): its thread wakes up server->changed when it returns. */
	fuse_wb_server_free(wb->server);
	kfree(wb);
}

/**
 * fuse_wb_init - create the fixture of a test
 * @test: the test, which is aborted if this fails
 * @options: the server's reply to INIT; has to live as long as the test
 *
 * Return: the fixture, which is freed at the end of the test.
 */
struct fuse_wb *fuse_wb_init(struct kunit *test,
			     const struct fuse_wb_options *options)
{
	struct fuse_wb *wb;

	wb = kzalloc(sizeof(*wb), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, wb);
	wb->test = test;
	INIT_LIST_HEAD(&wb->calls);
	wb->server = fuse_wb_server_start(test, options);
	if (IS_ERR(wb->server)) {
		int err = PTR_ERR(wb->server);

		kfree(wb);
		KUNIT_FAIL_AND_ABORT(test, "cannot mount: %pe", ERR_PTR(err));
	}
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fuse_wb_exit, wb));
	fuse_wb_count_pages(wb, &wb->before);

	return wb;
}

/**
 * fuse_wb_init_writeback_cache - init function of suites with one default mount
 * @test: the test; its private data will be the fixture
 *
 * Return: 0.
 */
int fuse_wb_init_writeback_cache(struct kunit *test)
{
	static const struct fuse_wb_options options = {
		.flags = FUSE_WRITEBACK_CACHE,
	};

	test->priv = fuse_wb_init(test, &options);
	return 0;
}

/* A call: close the file, and return what close(2) would. */
static long do_close(struct fuse_wb_call *call)
{
	struct file *file = call->data;
	int err;

	err = file->f_op->flush(file, current->files);
	__fput_sync(file);

	return err;
}

/* Find the entry for @file among the open files. */
static struct file **find_file(struct fuse_wb *wb, struct file *file)
{
	unsigned int i;

	for (i = 0; i < FUSE_WB_FILES && wb->files[i] != file; i++)
		;
	KUNIT_ASSERT_LT(wb->test, i, FUSE_WB_FILES);

	return &wb->files[i];
}

/**
 * fuse_wb_open_flags - open a file for reading and writing
 * @wb: the fixture
 * @name: "file" or "other"
 * @flags: of open(2), such as O_DIRECT
 *
 * Return: the file, which the fixture closes if the test does not.
 */
struct file *fuse_wb_open_flags(struct fuse_wb *wb, const char *name, int flags)
{
	struct file **entry = find_file(wb, NULL), *file;

	file = (struct file *)fuse_wb_run(wb, fuse_wb_do_open, (void *)name,
					  flags, 0);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(wb->test, file);
	*entry = file;

	return file;
}

/**
 * fuse_wb_close - close a file before the fixture does
 * @wb: the fixture
 * @file: from fuse_wb_open()
 *
 * Return: what close(2) would return.
 */
int fuse_wb_close(struct fuse_wb *wb, struct file *file)
{
	*find_file(wb, file) = NULL;

	return fuse_wb_run(wb, do_close, file, 0, 0);
}

/**
 * fuse_wb_write - write to a file, as write(2) does
 * @wb: the fixture
 * @file: the file
 * @pos: where, in bytes
 * @len: how many bytes; each will be FUSE_WB_BYTE
 *
 * For writes that do not block. A failed write aborts the test.
 */
void fuse_wb_write(struct fuse_wb *wb, struct file *file, loff_t pos,
		   size_t len)
{
	KUNIT_ASSERT_EQ(wb->test, len,
			fuse_wb_run(wb, fuse_wb_do_write, file, pos, len));
}

/**
 * fuse_wb_flush - start writeback of all dirty pages, and do not wait
 * @wb: the fixture
 * @file: the file
 */
void fuse_wb_flush(struct fuse_wb *wb, struct file *file)
{
	KUNIT_ASSERT_EQ(wb->test, 0,
			fuse_wb_run(wb, fuse_wb_do_flush, file, 0, 0));
}

/**
 * fuse_wb_send_held - the same, with WRITE requests held from now on
 * @wb: the fixture
 * @file: the file
 */
void fuse_wb_send_held(struct fuse_wb *wb, struct file *file)
{
	fuse_wb_hold(wb->server, FUSE_WRITE);
	fuse_wb_flush(wb, file);
}

/**
 * fuse_wb_fsync - fsync(2) that is not expected to block
 * @wb: the fixture
 * @file: the file
 *
 * Return: 0, or a negative errno.
 */
int fuse_wb_fsync(struct fuse_wb *wb, struct file *file)
{
	return fuse_wb_run(wb, fuse_wb_do_fsync, file, 0, 0);
}

/**
 * fuse_wb_write_page - write one whole page to a file
 * @wb: the fixture
 * @file: the file
 * @index: which page
 */
void fuse_wb_write_page(struct fuse_wb *wb, struct file *file, pgoff_t index)
{
	fuse_wb_write(wb, file, (loff_t)index << PAGE_SHIFT, PAGE_SIZE);
}

/**
 * fuse_wb_map - map a file, shared and writable, from its start
 * @wb: the fixture
 * @file: the file, or NULL for anonymous memory
 * @len: how many bytes
 *
 * For fuse_wb_do_store() and fuse_wb_do_read_user(). At most once per test.
 */
void fuse_wb_map(struct fuse_wb *wb, struct file *file, size_t len)
{
	unsigned long flags = file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;

	wb->addr = kunit_vm_mmap(wb->test, file, 0, len, PROT_READ | PROT_WRITE,
				 flags, 0);
	KUNIT_ASSERT_NE(wb->test, wb->addr, 0);
	KUNIT_ASSERT_FALSE(wb->test, IS_ERR_VALUE(wb->addr));
	wb->len = len;
	wb->mm = current->mm;
	mmget(wb->mm);
}
