// SPDX-License-Identifier: GPL-2.0-only
/*
 * The server's replies to requests that the test does not hold: a root with a few
 * files, whose attributes it remembers and whose data it makes up.
 */

#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/highmem.h>

#include "server.h"

/* The byte of which the server's data consists. */
#define SERVER_BYTE	'S'

static const struct {
	const char *name;
	umode_t mode;
} nodes[FUSE_WB_NODES] = {
	[FUSE_WB_FILE] = { "file", S_IFREG | 0644 },
	[FUSE_WB_OTHER] = { "other", S_IFREG | 0644 },
	[FUSE_WB_DIR] = { "dir", S_IFDIR | 0755 },
	[FUSE_WB_LINK] = { "link", S_IFLNK | 0777 },
	[FUSE_WB_FIFO] = { "fifo", S_IFIFO | 0644 },
	/* The test sets rdev of these. */
	[FUSE_WB_CUSE] = { "cuse", S_IFCHR | 0600 },
	[FUSE_WB_DEVICE] = { "device", S_IFCHR | 0600 },
};

/**
 * fuse_wb_nodes_init - lay out the nodes of a new server
 * @server: the server
 */
void fuse_wb_nodes_init(struct fuse_wb_server *server)
{
	unsigned int i;

	server->open_flags = FOPEN_KEEP_CACHE;
	for (i = 0; i < FUSE_WB_NODES; i++) {
		server->attr[i].ino = FUSE_ROOT_ID + 1 + i;
		server->attr[i].mode = nodes[i].mode;
		server->attr[i].nlink = 1;
		server->attr[i].blksize = PAGE_SIZE;
		if (server->options->dax && S_ISREG(nodes[i].mode))
			server->attr[i].flags = FUSE_ATTR_DAX;
	}
}

/* The root's attributes are not remembered. */
static struct fuse_attr *node_attr(struct fuse_wb_server *server, u64 nodeid)
{
	static struct fuse_attr root = {
		.ino = FUSE_ROOT_ID,
		.mode = S_IFDIR | 0755,
		.nlink = 2,
	};

	if (nodeid > FUSE_ROOT_ID && nodeid <= FUSE_ROOT_ID + FUSE_WB_NODES)
		return &server->attr[nodeid - FUSE_ROOT_ID - 1];
	return &root;
}

static int reply_init(struct fuse_wb_server *server, struct fuse_init_out *out)
{
	const struct fuse_wb_options *options = server->options;
	u64 flags = options->flags | FUSE_MAX_PAGES | FUSE_BIG_WRITES |
		    FUSE_INIT_EXT;

	if (options->dax)
		flags |= FUSE_MAP_ALIGNMENT;
	out->major = FUSE_KERNEL_VERSION;
	out->minor = FUSE_KERNEL_MINOR_VERSION;
	out->flags = flags;
	out->flags2 = flags >> 32;
	out->max_readahead = SZ_128K;
	out->max_write = options->max_write ?: SZ_1M;
	out->max_pages = options->max_pages ?: 256;
	out->max_background = options->max_background;
	out->congestion_threshold = options->congestion_threshold;
	out->max_stack_depth = 1;

	return 0;
}

static int reply_lookup(struct fuse_wb_server *server, const char *name,
			struct fuse_entry_out *out)
{
	unsigned int i;

	for (i = 0; i < FUSE_WB_NODES; i++) {
		if (strcmp(name, nodes[i].name))
			continue;
		out->nodeid = FUSE_ROOT_ID + 1 + i;
		out->entry_valid = 3600;
		out->attr_valid = 3600;
		out->attr = server->attr[i];
		return 0;
	}

	return -ENOENT;
}

static int reply_setattr(struct fuse_wb_server *server, u64 nodeid,
			 const struct fuse_setattr_in *in,
			 struct fuse_attr_out *out)
{
	struct fuse_attr *attr = node_attr(server, nodeid);

	if (in->valid & FATTR_SIZE)
		attr->size = in->size;
	if (in->valid & FATTR_MTIME) {
		attr->mtime = in->mtime;
		attr->mtimensec = in->mtimensec;
	}
	out->attr_valid = 3600;
	out->attr = *attr;

	return 0;
}

/* Fill the pages up to EOF, and zero the rest of them if the request wants that. */
static int reply_read(struct fuse_wb_server *server, struct fuse_req *req)
{
	const struct fuse_read_in *in = req->args->in_args[0].value;
	struct fuse_attr *attr = node_attr(server, req->in.h.nodeid);
	struct fuse_args_pages *ap = fuse_wb_pages(req);
	u64 end = min(attr->size, in->offset + in->size);
	u32 size = end > in->offset ? end - in->offset : 0;
	u32 left = size;
	unsigned int i;

	if (!req->args->out_pages)
		return -EIO;
	for (i = 0; i < ap->num_pages; i++) {
		u32 len = min(left, ap->descs[i].length);
		char *data = kmap_local_page(ap->pages[i]);

		memset(data + ap->descs[i].offset, SERVER_BYTE, len);
		if (req->args->page_zeroing)
			memset(data + ap->descs[i].offset + len, 0,
			       ap->descs[i].length - len);
		kunmap_local(data);
		left -= len;
	}
	req->args->out_args[req->args->out_numargs - 1].size = size;

	return 0;
}

static int reply_write(struct fuse_wb_server *server, struct fuse_req *req)
{
	const struct fuse_write_in *in = fuse_wb_write_in(req);
	struct fuse_write_out *out = req->args->out_args[0].value;
	struct fuse_attr *attr = node_attr(server, req->in.h.nodeid);

	attr->size = max(attr->size, in->offset + in->size);
	out->size = in->size;

	return 0;
}

static int reply_fallocate(struct fuse_wb_server *server, u64 nodeid,
			   const struct fuse_fallocate_in *in)
{
	struct fuse_attr *attr = node_attr(server, nodeid);

	if (!(in->mode & FALLOC_FL_KEEP_SIZE))
		attr->size = max(attr->size, in->offset + in->length);

	return 0;
}

/**
 * fuse_wb_reply - fill in the reply of a healthy server
 * @server: the server
 * @req: a request that was taken; its output arguments are filled in
 *
 * Calls must not run concurrently: those of the server thread, and of the test for
 * held requests.
 *
 * Return: 0, or a negative errno to reply with.
 */
int fuse_wb_reply(struct fuse_wb_server *server, struct fuse_req *req)
{
	const void *in = req->args->in_args[0].value;
	void *out = req->args->out_args[0].value;
	u64 nodeid = req->in.h.nodeid;
	struct fuse_attr_out *attr_out;
	struct fuse_open_out *open_out;

	switch (req->in.h.opcode) {
	case FUSE_INIT:
		return reply_init(server, out);
	case FUSE_LOOKUP:
		return reply_lookup(server, in, out);
	case FUSE_GETATTR:
		attr_out = out;
		attr_out->attr_valid = 3600;
		attr_out->attr = *node_attr(server, nodeid);
		return 0;
	case FUSE_SETATTR:
		return reply_setattr(server, nodeid, in, out);
	case FUSE_OPEN:
		open_out = out;
		open_out->fh = nodeid;
		open_out->open_flags = server->open_flags;
		open_out->backing_id = server->backing_id;
		return 0;
	case FUSE_READ:
		return reply_read(server, req);
	case FUSE_WRITE:
		return reply_write(server, req);
	case FUSE_FALLOCATE:
		return reply_fallocate(server, nodeid, in);
	case FUSE_FLUSH:
	case FUSE_FSYNC:
	case FUSE_SETLK:
	case FUSE_RELEASE:
	case FUSE_STATFS:
	case FUSE_SYNCFS:
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}
