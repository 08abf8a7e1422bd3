// SPDX-License-Identifier: GPL-2.0
/*
 * A write-through write(2) that does not succeed, in a page that holds data which
 * the server does not have.
 *
 * Without the writeback cache write(2) stores into the page cache and sends the
 * same bytes at once.  If the server refuses them, or takes part of them, or the
 * writer is killed before it has sent anything, the page has data that the server
 * lacks, and must be read again.  But bytes that were stored through a mapping
 * may be in the same page, dirty or in a WRITE that has no reply yet.  A broken
 * kernel reads the page nevertheless: the reader sees the bytes from before the
 * store, and the store is lost.  A sound one keeps the page until the server has
 * the store.
 *
 * Promise: write-through
 */

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "child.h"
#include "common.h"
#include "writer.h"

#define FILE_NAME	"file"
#define PAGES		3
/* The offsets in a page of a store, and of a write. */
#define STORE_AT	10
#define WRITE_AT	100
#define WRITE_LEN	50
#define STORED		0xfe
#define WRITTEN		0xfd

/*
 *   map: PAGES of "file", all read; STORED is not in the server's bytes
 */
FIXTURE(through)
{
	struct mnt m;
	size_t page;
	size_t len;
	int fd;
	unsigned char *map;
	char *data;
	char *seen;
	char *written;
};

static bool setup(struct __test_metadata *_metadata,
		  struct _test_data_through *self, const void *variant)
{
	const struct server_opts opts = { };

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return false;
	self->page = sysconf(_SC_PAGESIZE);
	self->len = PAGES * self->page;
	file_setup(_metadata, &self->m, FILE_NAME, self->len, 1, &self->data,
		   &self->seen);
	self->written = malloc(self->len);
	ASSERT_NE(NULL, self->written);
	memset(self->written, WRITTEN, self->len);
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR);
	ASSERT_LE(0, self->fd);
	self->map = mmap(NULL, self->len, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	ASSERT_EQ(-1, first_difference(self->data, self->map, self->len));
	return true;
}

FIXTURE_SETUP(through)
{
	setup(_metadata, self, variant);
}

FIXTURE_TEARDOWN(through)
{
	mnt_teardown(_metadata, &self->m);
}

/* Start to read a page of the file: it may have to wait for a WRITE. */
static struct call *call_read(struct __test_metadata *_metadata,
			      struct _test_data_through *self, int page)
{
	struct call *c = mnt_call(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = self->seen, .len = self->page,
		.off = page * self->page });

	ASSERT_NE(NULL, c);
	EXPECT_NE(CALL_LOST, call_stays_blocked(&self->m, c));
	return c;
}

static void check_store_was_read(struct __test_metadata *_metadata,
				 struct _test_data_through *self,
				 struct call *c)
{
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ((long)self->page, c->ret);
	EXPECT_EQ(STORED, (unsigned char)self->seen[STORE_AT]) {
		TH_LOG("the reader sees the bytes from before the store");
	}
}

/* In the end file, mapping and server agree, and include the store. */
static void check_end(struct __test_metadata *_metadata,
		      struct _test_data_through *self, int page)
{
	size_t at = page * self->page + STORE_AT;

	EXPECT_EQ(0, mnt_run(&self->m, &call_fsync, (struct call_arg){
		.fd = self->fd }));
	ASSERT_EQ(0, server_get(self->m.ctl, FILE_NAME, 0, self->data,
				self->len));
	EXPECT_EQ(STORED, (unsigned char)self->data[at]) {
		TH_LOG("the server never got the store");
	}
	ASSERT_EQ((ssize_t)self->len, pread(self->fd, self->seen, self->len,
					    0));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, self->len)) {
		TH_LOG("the page cache has other bytes than the server");
	}
	EXPECT_EQ(-1, first_difference(self->seen, self->map, self->len));
}

/* A second process writes after a WRITE of the page was sent, and is killed. */
static void check_killed(struct __test_metadata *_metadata,
			 struct _test_data_through *self, size_t len)
{
	struct call *c;
	pid_t pid;

	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	self->map[STORE_AT] = STORED;
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
	pid = child_start(CLONE_FILES, &call_pwrite, (struct call_arg){
		.fd = self->fd, .buf = self->written, .len = len,
		.off = WRITE_AT });
	ASSERT_LT(0, pid);
	EXPECT_TRUE(child_stays_blocked(&self->m, pid, &call_pwrite));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	/* On some kernels it stays until the WRITE has its reply. */
	ASSERT_LE(0, task_settles(&self->m, pid));

	c = call_read(_metadata, self, 0);
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	EXPECT_TRUE(child_was_killed(&self->m, pid));
	check_store_was_read(_metadata, self, c);
	check_end(_metadata, self, 0);
}

TEST_F(through, read_after_killed_writer_does_not_overtake_write)
{
	check_killed(_metadata, self, WRITE_LEN);
}

TEST_F(through, read_after_killed_writer_of_two_pages_does_not_overtake_write)
{
	check_killed(_metadata, self, self->page);
}

/*
 *   fd ----- write(2) of WRITTEN into page 0, or more -- WRITE, fails
 *   map ---- STORED in a page of it, meanwhile; it is dirty, or in a WRITE
 */
FIXTURE(unlucky)
{
	FIXTURE_DATA(through) t;
};

/*
 * act, arg: how the server handles the write's WRITE; whole_pages: it covers
 * pages 0 and 1, and the store is in page 1; sent: writeback of the store is in
 * flight when that WRITE is handled
 */
FIXTURE_VARIANT(unlucky)
{
	enum rule_act act;
	__u64 arg;
	bool whole_pages;
	bool sent;
};

FIXTURE_VARIANT_ADD(unlucky, eio_dirty)
{
	.act = RULE_ERRNO, .arg = EIO,
};

FIXTURE_VARIANT_ADD(unlucky, enospc_second_page_dirty)
{
	.act = RULE_ERRNO, .arg = ENOSPC, .whole_pages = true,
};

FIXTURE_VARIANT_ADD(unlucky, short_dirty)
{
	.act = RULE_SIZE, .arg = 1,
};

FIXTURE_VARIANT_ADD(unlucky, short_second_page_dirty)
{
	.act = RULE_SIZE, .arg = 1, .whole_pages = true,
};

FIXTURE_VARIANT_ADD(unlucky, eio_in_writeback)
{
	.act = RULE_ERRNO, .arg = EIO, .sent = true,
};

FIXTURE_VARIANT_ADD(unlucky, enospc_second_page_in_writeback)
{
	.act = RULE_ERRNO, .arg = ENOSPC, .whole_pages = true, .sent = true,
};

FIXTURE_VARIANT_ADD(unlucky, short_in_writeback)
{
	.act = RULE_SIZE, .arg = 1, .sent = true,
};

FIXTURE_SETUP(unlucky)
{
	setup(_metadata, &self->t, variant);
}

FIXTURE_TEARDOWN(unlucky)
{
	mnt_teardown(_metadata, &self->t.m);
}

/* Have the WRITE of a write(2) held, and start it. */
static struct call *call_write_held(struct __test_metadata *_metadata,
				    struct _test_data_through *t, bool whole)
{
	struct call *c;

	ASSERT_EQ(0, hold_req(&t->m, FUSE_WRITE));
	c = mnt_call(&t->m, &call_pwrite, (struct call_arg){
		.fd = t->fd, .buf = t->written,
		.off = whole ? 0 : WRITE_AT,
		.len = whole ? 2 * t->page : WRITE_LEN });
	ASSERT_NE(NULL, c);
	ASSERT_NE(0, await_req(&t->m, FUSE_WRITE, REQ_ARRIVED, 1));
	return c;
}

/* The server handles the oldest WRITE as the variant says. */
static void reply_to_write(struct __test_metadata *_metadata,
			   struct _test_data_through *t, enum rule_act act,
			   __u64 arg)
{
	const struct req_match writes = { .opcode = FUSE_WRITE };

	ASSERT_EQ(0, server_rule(t->m.ctl, &writes, act, arg));
	ASSERT_EQ(1, server_release(t->m.ctl, 1));
	ASSERT_EQ(0, server_drop_rules(t->m.ctl));
}

TEST_F(unlucky, store_to_page_of_failed_write_is_not_lost)
{
	struct _test_data_through *t = &self->t;
	int page = variant->whole_pages;
	struct call *w, *r;

	w = call_write_held(_metadata, t, variant->whole_pages);
	t->map[page * t->page + STORE_AT] = STORED;
	if (variant->sent) {
		ASSERT_EQ(0, start_writeback(&t->m, t->fd));
		ASSERT_NE(0, await_req(&t->m, FUSE_WRITE, REQ_ARRIVED, 2));
	}
	reply_to_write(_metadata, t, variant->act, variant->arg);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(w));
	if (variant->act == RULE_ERRNO) {
		EXPECT_EQ(-1, w->ret);
		EXPECT_EQ((int)variant->arg, w->err);
	} else {
		EXPECT_EQ((long)variant->arg, w->ret);
	}

	r = call_read(_metadata, t, page);
	if (variant->sent)
		ASSERT_LE(1, server_release(t->m.ctl, 0));
	check_store_was_read(_metadata, t, r);
	EXPECT_EQ(STORED, t->map[page * t->page + STORE_AT]);
	check_end(_metadata, t, page);
}

/* The control: the page only has data that the server refused. */
TEST_F(unlucky, clean_page_of_failed_write_is_read_again)
{
	struct _test_data_through *t = &self->t;
	struct call *w;

	w = call_write_held(_metadata, t, variant->whole_pages);
	reply_to_write(_metadata, t, RULE_ERRNO, EIO);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(w));
	EXPECT_EQ(-1, w->ret);
	EXPECT_EQ((ssize_t)t->len, pread(t->fd, t->seen, t->len, 0));
	EXPECT_EQ(-1, first_difference(t->data, t->seen, t->len)) {
		TH_LOG("the reader sees data that the server has refused");
	}
	EXPECT_EQ(-1, first_difference(t->data, t->map, t->len));
}

TEST_HARNESS_MAIN
