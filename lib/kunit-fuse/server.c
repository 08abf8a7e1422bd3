// SPDX-License-Identifier: GPL-2.0-only
/*
 * Start and stop of a server: its file system type, its mount and its thread.
 */

#include <linux/fs_context.h>
#include <linux/kthread.h>
#include <linux/module.h>

#include "server.h"

/* The FUSE context must be first: fs/fuse expects it in fsc->fs_private. */
struct fuse_wb_context {
	struct fuse_fs_context fuse;
	struct fuse_wb_server *server;
};

static void fuse_wb_free_conn(struct fuse_conn *fc)
{
	struct fuse_wb_server *server = fc->iq.priv;

	fuse_free_conn(fc);
	complete_all(&server->released);
}

static int fuse_wb_fill_super(struct super_block *sb, struct fs_context *fsc)
{
	struct fuse_wb_context *ctx = fsc->fs_private;
	struct fuse_wb_server *server = ctx->server;
	int err;

	server->fud = fuse_dev_alloc();
	if (!server->fud)
		return -ENOMEM;
	err = fuse_fill_super_common(sb, &ctx->fuse);
	if (err) {
		fuse_dev_free(server->fud);
		return err;
	}

	server->sb = sb;
	server->fc = get_fuse_conn_super(sb);
	fuse_dev_install(server->fud, server->fc);
	/* Throttled writers would wait for the WRITEs that the test holds. */
	sb->s_bdi->capabilities &= ~BDI_CAP_STRICTLIMIT;
	bdi_set_max_ratio(sb->s_bdi, 100);
	fuse_send_init(get_fuse_mount_super(sb));

	return 0;
}

static int fuse_wb_get_tree(struct fs_context *fsc)
{
	struct fuse_wb_context *ctx = fsc->fs_private;
	struct fuse_wb_server *server = ctx->server;
	struct fuse_mount *fm;
	struct fuse_conn *fc;
	int err;

	fc = kzalloc(sizeof(*fc), GFP_KERNEL);
	fm = kzalloc(sizeof(*fm), GFP_KERNEL);
	if (!fc || !fm) {
		kfree(fc);
		kfree(fm);
		return -ENOMEM;
	}
	fuse_conn_init(fc, fm, fsc->user_ns, &fuse_wb_iqueue_ops, server);
	fc->release = fuse_wb_free_conn;
	fc->sync_fs = server->options->sync_fs;

	fsc->s_fs_info = fm;
	err = get_tree_nodev(fsc, fuse_wb_fill_super);
	if (fsc->s_fs_info)
		fuse_mount_destroy(fm);

	return err;
}

static void fuse_wb_free_context(struct fs_context *fsc)
{
	kfree(fsc->fs_private);
}

static const struct fs_context_operations fuse_wb_context_ops = {
	.free = fuse_wb_free_context,
	.get_tree = fuse_wb_get_tree,
};

static int fuse_wb_init_context(struct fs_context *fsc)
{
	struct fuse_wb_context *ctx;

	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL);
	if (!ctx)
		return -ENOMEM;
	ctx->fuse.rootmode = S_IFDIR | 0755;
	ctx->fuse.user_id = GLOBAL_ROOT_UID;
	ctx->fuse.group_id = GLOBAL_ROOT_GID;
	ctx->fuse.allow_other = true;
	ctx->fuse.no_control = true;
	ctx->fuse.max_read = UINT_MAX;
	fsc->fs_private = ctx;
	fsc->ops = &fuse_wb_context_ops;

	return 0;
}

static void fuse_wb_kill_sb(struct super_block *sb)
{
	struct fuse_mount *fm = get_fuse_mount_super(sb);

	if (sb->s_root) {
		struct fuse_wb_server *server = fm->fc->iq.priv;

		if (IS_ENABLED(CONFIG_FUSE_DAX))
			fuse_dax_cancel_work(fm->fc);
		fuse_mount_end_deferred(fm);
		fuse_mount_remove(fm);
		fuse_conn_destroy(fm);
		fuse_dev_free(server->fud);
		server->sb = NULL;
	}
	kill_anon_super(sb);
	fuse_mount_destroy(fm);
}

/* Not registered, so that only tests can mount it. */
static struct file_system_type fuse_wb_fs_type = {
	.owner = THIS_MODULE,
	.name = "fuse_wb_kunit",
	.init_fs_context = fuse_wb_init_context,
	.kill_sb = fuse_wb_kill_sb,
};

static int fuse_wb_server_mount(struct fuse_wb_server *server)
{
	struct fuse_wb_context *ctx;
	struct fs_context *fsc;

	fsc = fs_context_for_mount(&fuse_wb_fs_type, SB_KERNMOUNT);
	if (IS_ERR(fsc))
		return PTR_ERR(fsc);
	ctx = fsc->fs_private;
	ctx->server = server;
	ctx->fuse.dax_dev = server->options->dax;
	ctx->fuse.dax_mode = server->options->dax ? FUSE_DAX_ALWAYS :
						    FUSE_DAX_NEVER;
	server->mnt = fc_mount(fsc);
	put_fs_context(fsc);

	return PTR_ERR_OR_ZERO(server->mnt);
}

/* Mask of the opcodes that the thread replies to. */
static u64 not_held(struct fuse_wb_server *server)
{
	return ~READ_ONCE(server->held);
}

static int fuse_wb_server_thread(void *data)
{
	struct fuse_wb_server *server = data;
	struct fuse_req *req;

	while (!kthread_should_stop()) {
		wait_event_idle(server->changed, kthread_should_stop() ||
				fuse_wb_find(server, not_held(server)));
		req = fuse_wb_take_found(server, not_held(server));
		if (req)
			fuse_wb_answer(server, req, 0);
	}

	return 0;
}

/**
 * fuse_wb_server_start - mount a file system and serve it
 * @test: the test to serve
 * @options: the reply to INIT; has to live as long as the server
 *
 * Registers no cleanup action: see fuse_wb_init().
 *
 * Return: the server, for fuse_wb_server_stop(), or an ERR_PTR().
 */
struct fuse_wb_server *fuse_wb_server_start(struct kunit *test,
					    const struct fuse_wb_options *options)
{
	struct fuse_wb_server *server;
	int err;

	server = kzalloc(sizeof(*server), GFP_KERNEL);
	if (!server)
		return ERR_PTR(-ENOMEM);
	server->test = test;
	server->options = options;
	init_waitqueue_head(&server->changed);
	init_completion(&server->released);
	spin_lock_init(&server->lock);
	fuse_wb_nodes_init(server);

	err = fuse_wb_server_mount(server);
	if (err)
		goto free;
	server->thread = kthread_run(fuse_wb_server_thread, server,
				     "fuse_wb_server");
	if (!IS_ERR(server->thread))
		return server;

	err = PTR_ERR(server->thread);
	kern_unmount(server->mnt);
free:
	/* The connection completes server->released from an RCU callback. */
	rcu_barrier();
	kfree(server);
	return ERR_PTR(err);
}

/**
 * fuse_wb_server_stop - unmount, and check that the connection is released
 * @server: the server; all files on its mount are closed
 *
 * Aborts the connection first, so that nothing here can wait for a reply. A
 * connection that is not released fails the test.
 */
void fuse_wb_server_stop(struct fuse_wb_server *server)
{
	struct kunit *test = server->test;

	fuse_wb_abort(server);
	kthread_stop(server->thread);
	kern_unmount(server->mnt);
	if (!wait_for_completion_timeout(&server->released, FUSE_WB_DEADLINE)) {
		fuse_wb_print(server);
		KUNIT_FAIL(test, "the connection is still referenced");
		return;
	}
	KUNIT_EXPECT_LE_MSG(test, server->nr_events, FUSE_WB_EVENTS,
			    "the log had no room for all events");
}

/**
 * fuse_wb_server_free - free a server
 * @server: from fuse_wb_server_stop(); leaked if its connection was not released
 */
void fuse_wb_server_free(struct fuse_wb_server *server)
{
	if (completion_done(&server->released))
		kfree(server);
}

/**
 * fuse_wb_hold - leave requests with an opcode to the test
 * @server: the server
 * @opcode: the opcode
 */
void fuse_wb_hold(struct fuse_wb_server *server, u32 opcode)
{
	spin_lock(&server->lock);
	server->held |= BIT_ULL(opcode);
	spin_unlock(&server->lock);
}

/**
 * fuse_wb_release - let the server thread reply to requests with an opcode again
 * @server: the server
 * @opcode: the opcode; requests that the test took stay with the test
 */
void fuse_wb_release(struct fuse_wb_server *server, u32 opcode)
{
	spin_lock(&server->lock);
	server->held &= ~BIT_ULL(opcode);
	spin_unlock(&server->lock);
	wake_up_all(&server->changed);
}

/**
 * fuse_wb_abort - abort the connection
 * @server: the server; this ends the requests that the test took, except those
 *	that are half read
 */
void fuse_wb_abort(struct fuse_wb_server *server)
{
	fuse_abort_conn(server->fc);
	wake_up_all(&server->changed);
}
