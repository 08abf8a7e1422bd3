// SPDX-License-Identifier: GPL-2.0
/*
 * open(2) with O_TRUNC.
 *
 * With FUSE_ATOMIC_O_TRUNC, OPEN itself truncates the file at the server,
 * otherwise a SETATTR follows.  Either way a sound kernel drops the pages of the
 * file once the server has succeeded, sends no older WRITE after that, and keeps
 * everything if the server refuses.  A broken one shows or sends old bytes, or
 * deadlocks when the server invalidates the file meanwhile: WRITEs wait for the
 * reply to OPEN, and the invalidation for them.
 *
 * Promise: 76224355db75
 */

#include <sys/mman.h>

#include "common.h"
#include "attr_request.h"

#define FILE_NAME	"file"
#define PAGES		4

/*
 *   fd, map: "file", all in the page cache, and dirty where @dirty says so
 *   a thread: open(O_TRUNC) --- OPEN, SETATTR ---> server
 */
FIXTURE(otrunc)
{
	struct mnt m;
	ssize_t len;
	int fd;
	char *map;
	char *data;
	char *seen;
	char path[128];
};

FIXTURE_VARIANT(otrunc)
{
	bool writeback_cache;
	bool atomic;
	bool dirty;
	bool ask_always;
};

FIXTURE_VARIANT_ADD(otrunc, cached_atomic_dirty)
{
	.writeback_cache = true,
	.atomic = true,
	.dirty = true,
};

FIXTURE_VARIANT_ADD(otrunc, cached_atomic_clean)
{
	.writeback_cache = true,
	.atomic = true,
};

FIXTURE_VARIANT_ADD(otrunc, cached_setattr_dirty)
{
	.writeback_cache = true,
	.dirty = true,
};

FIXTURE_VARIANT_ADD(otrunc, through_atomic_dirty)
{
	.atomic = true,
	.dirty = true,
};

FIXTURE_VARIANT_ADD(otrunc, through_atomic_clean)
{
	.atomic = true,
};

static void setup_file(struct __test_metadata *_metadata,
		       struct _test_data_otrunc *self,
		       const struct _fixture_variant_otrunc *how,
		       const void *variant)
{
	const struct server_opts opts = {
		.writeback_cache = how->writeback_cache,
		.init_flags = how->atomic ? FUSE_ATOMIC_O_TRUNC : 0,
		/*
		 * Pages must be dropped because of O_TRUNC, not because of the
		 * open.
		 */
		.open_flags = FOPEN_KEEP_CACHE,
		.ask_always = how->ask_always,
		.threads = 3,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->len = PAGES * sysconf(_SC_PAGESIZE);
	file_setup(_metadata, &self->m, FILE_NAME, self->len, 1, &self->data,
		   &self->seen);
	snprintf(self->path, sizeof(self->path), "%s/" FILE_NAME, self->m.dir);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->map = mmap(NULL, self->len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	if (!how->dirty)
		return;
	fill_pattern(self->data, self->len, 2);
	ASSERT_EQ(0, mnt_run(&self->m, &call_store, (struct call_arg){
		.buf = self->data, .to = self->map, .len = self->len }));
}

FIXTURE_SETUP(otrunc)
{
	setup_file(_metadata, self, variant, variant);
}

FIXTURE_TEARDOWN(otrunc)
{
	mnt_teardown(_metadata, &self->m);
}

static struct call *start_open(struct _test_data_otrunc *self)
{
	return mnt_call(&self->m, &call_open, (struct call_arg){
		.buf = self->path, .flags = O_RDWR | O_TRUNC });
}

/* The same, and wait for it.  Return: the descriptor, or -1 with errno. */
static long open_trunc(struct _test_data_otrunc *self)
{
	return mnt_run(&self->m, &call_open, (struct call_arg){
		.buf = self->path, .flags = O_RDWR | O_TRUNC });
}

/* The file is empty, and no old bytes come back when it grows. */
static void check_empty(struct __test_metadata *_metadata,
			struct _test_data_otrunc *self)
{
	EXPECT_EQ(0, kernel_size(self->fd));
	EXPECT_EQ(0, pread(self->fd, self->seen, self->len, 0));
	EXPECT_EQ(0, server_size(self->m.ctl, FILE_NAME));
	ASSERT_EQ(0, mnt_run(&self->m, &call_ftruncate, (struct call_arg){
		.fd = self->fd, .len = self->len }));
	memset(self->data, 0, self->len);
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, self->len);
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_ARRIVED));
}

TEST_F(otrunc, open_drops_the_pages)
{
	int truncations;

	ASSERT_LE(0, open_trunc(self));
	EXPECT_EQ(2, count_req(&self->m, FUSE_OPEN, REQ_ARRIVED));
	/* With the flag, OPEN alone must have truncated the file. */
	truncations = count_req(&self->m, FUSE_SETATTR, REQ_ARRIVED);
	EXPECT_EQ(!variant->atomic, truncations);
	check_empty(_metadata, self);
}

/* A broken kernel drops them before the server has replied. */
TEST_F(otrunc, refused_open_keeps_the_pages)
{
	const struct req_match opens = { .opcode = FUSE_OPEN };

	ASSERT_EQ(0, server_fail(self->m.ctl, &opens, EPERM));
	EXPECT_EQ(-1, open_trunc(self));
	EXPECT_EQ(EPERM, errno);
	expect_file(_metadata, &self->m, FILE_NAME, self->fd, self->data,
		    self->seen, self->len);
}

/*
 * Another thread of the server invalidates the file while it handles OPEN.
 *
 * Promise: trunc-inval
 */
TEST_F(otrunc, open_and_invalidation_end)
{
	const struct req_match getattrs = { .opcode = FUSE_GETATTR };
	struct call *c, *s;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_OPEN));
	c = start_open(self);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&self->m, FUSE_OPEN, REQ_ARRIVED, 2));
	ASSERT_EQ(0, server_rule(self->m.ctl, &getattrs, RULE_INVAL, 0));
	s = mnt_call(&self->m, &call_statx, (struct call_arg){
		.fd = self->fd });
	ASSERT_NE(NULL, s);
	ASSERT_NE(0, await_req(&self->m, FUSE_GETATTR, REQ_ARRIVED, 1));
	ASSERT_NE(CALL_LOST, call_stays_blocked(&self->m, s));
	ASSERT_EQ(0, find_req(&self->m, FUSE_OPEN, REQ_REPLIED, 2));

	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	EXPECT_EQ(CALL_RETURNED, call_wait_returned(c)) {
		TH_LOG("open and invalidation wait for each other");
	}
	EXPECT_LE(0, c->ret);
	EXPECT_EQ(CALL_RETURNED, call_wait_returned(s));
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));
	EXPECT_EQ(0, kernel_size(self->fd));
	EXPECT_EQ(0, server_size(self->m.ctl, FILE_NAME));
}

/* Dirty pages with WRITEs in flight, on both kinds of connections. */
FIXTURE(otrunc_order)
{
	struct _test_data_otrunc o;
};

FIXTURE_VARIANT(otrunc_order)
{
	struct _fixture_variant_otrunc how;
};

FIXTURE_VARIANT_ADD(otrunc_order, cached)
{
	.how.writeback_cache = true,
	.how.atomic = true,
	.how.dirty = true,
};

FIXTURE_VARIANT_ADD(otrunc_order, through)
{
	.how.atomic = true,
	.how.dirty = true,
};

FIXTURE_SETUP(otrunc_order)
{
	setup_file(_metadata, &self->o, &variant->how, variant);
}

FIXTURE_TEARDOWN(otrunc_order)
{
	mnt_teardown(_metadata, &self->o.m);
}

/*
 * A broken kernel sends OPEN concurrently with a WRITE in flight: a server that
 * carries out OPEN first has the old bytes in the truncated file.
 */
TEST_F(otrunc_order, open_is_sent_after_write_is_answered)
{
	struct _test_data_otrunc *o = &self->o;
	struct call *c;

	ASSERT_EQ(0, hold_req(&o->m, FUSE_WRITE));
	ASSERT_EQ(0, start_writeback(&o->m, o->fd));
	ASSERT_NE(0, await_req(&o->m, FUSE_WRITE, REQ_ARRIVED, 1));
	c = start_open(o);
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(&o->m, c));
	EXPECT_EQ(0, find_req(&o->m, FUSE_OPEN, REQ_ARRIVED, 2)) {
		TH_LOG("OPEN was sent before the reply to WRITE");
	}

	ASSERT_EQ(1, server_release(o->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_LE(0, c->ret);
	EXPECT_EQ(0, kernel_size(o->fd));
	EXPECT_EQ(0, server_size(o->m.ctl, FILE_NAME));
}

/* A broken kernel sends it, and the server has the bytes again. */
TEST_F(otrunc_order, write_behind_open_is_dropped)
{
	struct _test_data_otrunc *o = &self->o;
	struct call *c;

	ASSERT_EQ(0, hold_req(&o->m, FUSE_OPEN));
	c = start_open(o);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&o->m, FUSE_OPEN, REQ_ARRIVED, 2));
	ASSERT_EQ(0, start_writeback(&o->m, o->fd));
	ASSERT_EQ(0, fence(&o->m));
	EXPECT_EQ(0, count_req(&o->m, FUSE_WRITE, REQ_ARRIVED)) {
		TH_LOG("WRITE was sent while OPEN was in flight");
	}
	ASSERT_EQ(1, server_release(o->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_LE(0, c->ret);
	check_empty(_metadata, o);
}

/*
 * Another client creates a name for an open file in the server's directory, after
 * the kernel has cached a negative dentry: CREATE opens and truncates the file.
 */
FIXTURE(created)
{
	struct _test_data_otrunc o;
};

FIXTURE_VARIANT(created)
{
	struct _fixture_variant_otrunc how;
};

FIXTURE_VARIANT_ADD(created, cached_atomic_dirty)
{
	.how.writeback_cache = true,
	.how.atomic = true,
	.how.dirty = true,
	.how.ask_always = true,
};

FIXTURE_VARIANT_ADD(created, cached_atomic_clean)
{
	.how.writeback_cache = true,
	.how.atomic = true,
	.how.ask_always = true,
};

FIXTURE_VARIANT_ADD(created, cached_dirty)
{
	.how.writeback_cache = true,
	.how.dirty = true,
	.how.ask_always = true,
};

FIXTURE_SETUP(created)
{
	setup_file(_metadata, &self->o, &variant->how, variant);
}

FIXTURE_TEARDOWN(created)
{
	mnt_teardown(_metadata, &self->o.m);
}

/* A broken kernel keeps the old size and the dirty pages. */
TEST_F(created, create_drops_the_pages)
{
	const struct req_match lookups = { .opcode = FUSE_LOOKUP };
	struct _test_data_otrunc *o = &self->o;

	ASSERT_EQ(0, server_fail(o->m.ctl, &lookups, ENOENT));
	ASSERT_LE(0, mnt_run(&o->m, &call_open, (struct call_arg){
		.buf = o->path, .flags = O_RDWR | O_CREAT | O_TRUNC }));
	ASSERT_NE(0, await_req(&o->m, FUSE_CREATE, REQ_REPLIED, 1));
	EXPECT_EQ(0, count_req(&o->m, FUSE_SETATTR, REQ_ARRIVED)) {
		TH_LOG("the file is truncated again");
	}
	check_empty(_metadata, o);
}

static struct call *start_create(struct _test_data_otrunc *o)
{
	const struct req_match lookups = { .opcode = FUSE_LOOKUP };

	if (server_fail(o->m.ctl, &lookups, ENOENT))
		return NULL;
	return mnt_call(&o->m, &call_open, (struct call_arg){
		.buf = o->path, .flags = O_RDWR | O_CREAT | O_TRUNC });
}

/*
 * Do kernel and server agree on a file of @size bytes, still so after it grows?
 */
static void check_agreement(struct __test_metadata *_metadata,
			    struct _test_data_otrunc *o, struct call *c,
			    ssize_t size)
{
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_LE(0, c->ret);
	EXPECT_EQ(size, kernel_size(o->fd));
	EXPECT_EQ(size, server_size(o->m.ctl, FILE_NAME));
	ASSERT_EQ(0, server_get(o->m.ctl, FILE_NAME, 0, o->data, size));
	EXPECT_EQ(size, pread(o->fd, o->seen, o->len, 0));
	EXPECT_EQ(-1, first_difference(o->data, o->seen, size));
	EXPECT_EQ(0, find_req(&o->m, FUSE_SETATTR, REQ_ARRIVED, 1));
}

/*
 * The server carries out a WRITE after CREATE: it has the bytes, in whichever
 * order the two arrived, and a broken kernel does not know that, or truncates
 * again.
 */
TEST_F(created, write_after_create_is_seen)
{
	struct _test_data_otrunc *o = &self->o;
	int writes;
	struct call *c;

	ASSERT_EQ(1, pwrite(o->fd, "x", 1, 0));
	ASSERT_EQ(0, hold_req(&o->m, FUSE_WRITE));
	ASSERT_EQ(0, start_writeback(&o->m, o->fd));
	ASSERT_NE(0, await_req(&o->m, FUSE_WRITE, REQ_ARRIVED, 1));
	c = start_create(o);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&o->m, FUSE_CREATE, REQ_REPLIED, 1));
	/* No fence: open(2) holds the directory lock. */
	ASSERT_NE(CALL_LOST, call_wait_blocked(c));
	writes = count_req(&o->m, FUSE_WRITE, REQ_ARRIVED);
	ASSERT_EQ(writes, server_release(o->m.ctl, 0));
	check_agreement(_metadata, o, c,
			variant->how.dirty ? o->len : o->len / PAGES);
	EXPECT_EQ(writes, count_req(&o->m, FUSE_WRITE, REQ_ARRIVED)) {
		TH_LOG("old dirty data is written to the truncated file");
	}
}

/*
 * Another client writes to the file before the kernel fetches its attributes.
 */
TEST_F(created, write_of_another_client_stays)
{
	struct _test_data_otrunc *o = &self->o;
	struct call *c;

	ASSERT_EQ(0, hold_req(&o->m, FUSE_GETATTR));
	c = start_create(o);
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&o->m, FUSE_GETATTR, REQ_ARRIVED, 1));
	fill_pattern(o->data, 100, 3);
	ASSERT_EQ(0, server_put(o->m.ctl, FILE_NAME, 0, o->data, 100));
	ASSERT_EQ(1, server_release(o->m.ctl, 0));
	check_agreement(_metadata, o, c, 100);
}

/* The kernel needs nothing from the server after CREATE. */
TEST_F(created, server_that_refuses_setattr_is_not_asked)
{
	const struct req_match setattrs = { .opcode = FUSE_SETATTR };
	struct _test_data_otrunc *o = &self->o;
	struct call *c;

	ASSERT_EQ(0, server_fail(o->m.ctl, &setattrs, EPERM));
	c = start_create(o);
	ASSERT_NE(NULL, c);
	check_agreement(_metadata, o, c, 0);
}

TEST_HARNESS_MAIN
