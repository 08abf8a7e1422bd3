// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mount of a test and what the test opens on it. All of it is undone by one
 * action, in an order that cannot block: a test may end anywhere, also with
 * requests held, calls blocked and files mapped. On a broken kernel it may not
 * be possible to undo it. Then all of it is left behind, and the test fails.
 */

#include <linux/file.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>

#include "fixture.h"

static void fuse_wb_unmap(struct fuse_wb *wb)
{
	if (!wb->mm)
		return;
	/* Cleanup runs in a thread without the test's address space. */
	if (current->mm == wb->mm) {
		vm_munmap(wb->addr, wb->len);
	} else {
		kthread_use_mm(wb->mm);
		vm_munmap(wb->addr, wb->len);
		kthread_unuse_mm(wb->mm);
	}
	mmput(wb->mm);
	wb->mm = NULL;
}

/* An abort ends all writeback at once, on a sound kernel. */
static bool fuse_wb_writeback_ended(struct fuse_wb *wb)
{
	struct fuse_wb_counters now;

	fuse_wb_count_pages(wb, &now);
	KUNIT_EXPECT_EQ(wb->test, now.wb_writeback, 0);

	return !now.wb_writeback;
}

static void fuse_wb_exit(void *data)
{
	struct fuse_wb *wb = data;
	unsigned int i;

	fuse_wb_abort(wb->server);
	fuse_wb_read_rest_of_all(wb->server);
	if (!fuse_wb_reap(wb) || !fuse_wb_writeback_ended(wb)) {
		KUNIT_FAIL(wb->test, "leaves its mount behind: closing its files would not end");
		return;
	}
	fuse_wb_unmap(wb);
	for (i = 0; i < FUSE_WB_FILES; i++)
		if (wb->files[i])
			__fput_sync(wb->files[i]);
	/* What other threads of the kernel put last is put by a work item. */
	flush_delayed_fput();
	fuse_wb_server_stop(wb->server);
	kfree(wb);
}

/**
 * fuse_wb_init - make the fixture of a test
 * @test: the test, which ends if this fails
 * @options: what the server says to INIT, which has to live as long as the test
 *
 * Return: the fixture, which goes when the test does.
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
 * fuse_wb_init_writeback_cache - init function of suites with one plain mount
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

/**
 * fuse_wb_open - open a file for reading and writing
 * @wb: the fixture
 * @name: "file" or "other"
 *
 * Return: the file, which is closed with the fixture if not before.
 */
struct file *fuse_wb_open(struct fuse_wb *wb, const char *name)
{
	struct path root = {
		.mnt = wb->server->mnt,
		.dentry = wb->server->mnt->mnt_root,
	};
	struct file *file;
	unsigned int i;

	for (i = 0; i < FUSE_WB_FILES && wb->files[i]; i++)
		;
	KUNIT_ASSERT_LT(wb->test, i, FUSE_WB_FILES);
	file = file_open_root(&root, name, O_RDWR | O_LARGEFILE, 0);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(wb->test, file);
	wb->files[i] = file;

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
	unsigned int i;
	int err;

	for (i = 0; i < FUSE_WB_FILES && wb->files[i] != file; i++)
		;
	KUNIT_ASSERT_LT(wb->test, i, FUSE_WB_FILES);
	wb->files[i] = NULL;
	err = file->f_op->flush(file, current->files);
	__fput_sync(file);

	return err;
}

/**
 * fuse_wb_write - write to a file, as write(2) does
 * @wb: the fixture
 * @file: the file
 * @pos: where, in bytes
 * @len: how many bytes; each will be FUSE_WB_BYTE
 *
 * For writes that do not block. The test ends if this one fails.
 */
void fuse_wb_write(struct fuse_wb *wb, struct file *file, loff_t pos,
		   size_t len)
{
	char *data = kvmalloc(len, GFP_KERNEL);
	ssize_t ret;

	KUNIT_ASSERT_NOT_NULL(wb->test, data);
	memset(data, FUSE_WB_BYTE, len);
	ret = kernel_write(file, data, len, &pos);
	kvfree(data);
	KUNIT_ASSERT_EQ(wb->test, ret, len);
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
 * @file: the file
 * @len: how many bytes
 *
 * For fuse_wb_do_store(). Once a test.
 */
void fuse_wb_map(struct fuse_wb *wb, struct file *file, size_t len)
{
	wb->addr = kunit_vm_mmap(wb->test, file, 0, len, PROT_READ | PROT_WRITE,
				 MAP_SHARED, 0);
	KUNIT_ASSERT_NE(wb->test, wb->addr, 0);
	KUNIT_ASSERT_FALSE(wb->test, IS_ERR_VALUE(wb->addr));
	wb->len = len;
	wb->mm = current->mm;
	mmget(wb->mm);
}
