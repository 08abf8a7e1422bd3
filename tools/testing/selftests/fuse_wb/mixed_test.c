// SPDX-License-Identifier: GPL-2.0
/*
 * The page cache of a file used together with direct I/O on it.
 *
 * Direct I/O may store into pages that belong to a FUSE file themselves, and
 * mmap() of a file with FOPEN_DIRECT_IO drops cached pages first.  A sound
 * kernel keeps every byte that exists nowhere else, and neither the server nor
 * mmap(2) waits for something that only the server can end.
 *
 * Promise: parallel-mmap
 */

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "common.h"

#define PAGE	4096
#define PAGES	16
#define BYTES	(PAGES * PAGE)

/*
 * Processes that use one file, each with its own pages, and their number of
 * rounds.
 */
#define USERS	4
#define ROUNDS	60

/*
 *   fd: "file"; direct: "file", O_DIRECT; source: another file, O_DIRECT
 *   map: "file", shared; dev: the server's /dev/fuse
 */
FIXTURE(mixed)
{
	struct mnt m;
	int fd;
	int direct;
	int source;
	int dev;
	char *map;
	char *data;
	char *buf;
};

/* open_flags: those of the reply to each OPEN */
FIXTURE_VARIANT(mixed)
{
	__u32 open_flags;
	bool writeback_cache;
};

FIXTURE_VARIANT_ADD(mixed, cached)
{
	.open_flags = FOPEN_PARALLEL_DIRECT_WRITES,
};

FIXTURE_VARIANT_ADD(mixed, cached_writeback)
{
	.open_flags = FOPEN_PARALLEL_DIRECT_WRITES,
	.writeback_cache = true,
};

FIXTURE_VARIANT_ADD(mixed, fopen_direct_io)
{
	.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
};

FIXTURE_SETUP(mixed)
{
	/* One request per page: two pages are two requests. */
	const struct server_opts opts = {
		.async_dio = true,
		.writeback_cache = variant->writeback_cache,
		.open_flags = variant->open_flags,
		.init_flags = FUSE_DIRECT_IO_ALLOW_MMAP,
		.max_pages = 1,
		.threads = 2,
	};

	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	/* Shared with the processes that fill it. */
	self->data = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->data);
	self->buf = aligned_alloc(PAGE, BYTES);
	ASSERT_NE(NULL, self->buf);
	fill_pattern(self->data, BYTES, 1);
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->data, BYTES));
	fill_pattern(self->buf, BYTES, 2);
	ASSERT_EQ(0, server_put(self->m.ctl, "source", 0, self->buf, BYTES));
	self->fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->fd);
	self->direct = mnt_open(&self->m, "file", O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->direct);
	self->source = mnt_open(&self->m, "source", O_RDONLY | O_DIRECT);
	ASSERT_LE(0, self->source);
	self->map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	self->dev = mnt_dev(&self->m);
	ASSERT_LE(0, self->dev);
}

FIXTURE_TEARDOWN(mixed)
{
	close(self->dev);
	mnt_teardown(_metadata, &self->m);
}

/* Start a direct read of the other file into two mapped pages, and hold it. */
static struct call *read_into_map(struct _test_data_mixed *self)
{
	int before = count_req(&self->m, FUSE_READ, REQ_ARRIVED);
	struct call *c;

	if (hold_req(&self->m, FUSE_READ))
		return NULL;
	c = mnt_call(&self->m, &call_pread, (struct call_arg){
		.fd = self->source, .buf = self->map, .len = 2 * PAGE });
	return await_req(&self->m, FUSE_READ, REQ_ARRIVED, before + 2) ? c :
									 NULL;
}

/*
 * Have a thread of the server store the first @len bytes of another file into the
 * mapped one, from a mapping: the page stays locked until READ gets its data.
 */
static struct call *store_held(struct _test_data_mixed *self, size_t len)
{
	struct {
		struct fuse_out_header head;
		struct fuse_notify_store_out store;
	} msg = {
		.head.len = sizeof(msg) + len,
		.head.error = FUSE_NOTIFY_STORE,
		.store.size = len,
	};
	int before = count_req(&self->m, FUSE_READ, REQ_ARRIVED);
	int lent = mnt_open(&self->m, "lent", O_RDONLY);
	struct stat st;
	struct call *c;
	char *buf;

	if (lent < 0 || fstat(self->fd, &st))
		return NULL;
	msg.store.nodeid = st.st_ino;
	buf = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED ||
	    mmap(buf + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, lent,
		 0) == MAP_FAILED)
		return NULL;
	memcpy(buf + PAGE - sizeof(msg), &msg, sizeof(msg));
	c = mnt_call(&self->m, &call_write, (struct call_arg){
		.fd = self->dev, .buf = buf + PAGE - sizeof(msg),
		.len = msg.head.len });
	return await_req(&self->m, FUSE_READ, REQ_ARRIVED, before + 1) ? c :
									 NULL;
}

/*
 * The pages are clean and one is locked: replies to READ must still complete.
 */
TEST_F(mixed, answer_to_direct_read_waits_for_no_page)
{
	struct req_match reads = { .opcode = FUSE_READ };
	struct call *c = read_into_map(self), *s;
	struct stat st;

	ASSERT_NE(NULL, c);
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_EQ(0, await_writes(&self->m));
	ASSERT_EQ(0, server_put(self->m.ctl, "lent", 0, self->data, PAGE));
	s = store_held(self, 100);
	ASSERT_NE(NULL, s);
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->m, s));

	ASSERT_EQ(0, fstat(self->source, &st));
	reads.node = st.st_ino;
	EXPECT_EQ(2, server_release_match(self->m.ctl, &reads)) {
		TH_LOG("the server waits for a page that waits for the server");
		mnt_abort(&self->m);
		return;
	}
	EXPECT_FALSE(call_returned(s));
	ASSERT_EQ(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(s));
	ASSERT_LT(0, s->ret);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(2 * PAGE, c->ret);
	memcpy(self->buf, self->data, 100);
	EXPECT_EQ(-1, first_difference(self->buf, self->map, 2 * PAGE));
}

/* The page becomes dirty when the data arrives: until then it looks unused. */
TEST_F(mixed, mmap_keeps_page_of_read_under_way)
{
	struct call *c;
	char *again;

	ASSERT_EQ(0, msync(self->map, BYTES, MS_SYNC));
	c = read_into_map(self);
	ASSERT_NE(NULL, c);
	/* The pages dirtied by the fault are clean again. */
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_EQ(0, await_writes(&self->m));

	again = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, again);
	ASSERT_LE(2, server_release(self->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_EQ(2 * PAGE, c->ret);
	EXPECT_EQ(-1, first_difference(self->buf, again, 2 * PAGE));
	EXPECT_EQ(-1, first_difference(self->buf, self->map, 2 * PAGE)) {
		TH_LOG("the data of the read went into a page that was dropped");
	}
	ASSERT_EQ(0, msync(self->map, BYTES, MS_SYNC));
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, self->data, 2 * PAGE));
	EXPECT_EQ(-1, first_difference(self->buf, self->data, 2 * PAGE));
}

/* A task holding the mmap_lock must not wait for the server. */
TEST_F(mixed, mmap_does_not_wait_for_dirty_pages)
{
	memcpy(self->map, self->buf, PAGE);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	EXPECT_EQ(0, mnt_run(&self->m, &call_mmap, (struct call_arg){
		.fd = self->fd, .len = BYTES, .flags = MAP_SHARED }));
	EXPECT_EQ(0, mnt_run(&self->m, &call_mmap, (struct call_arg){
		.fd = self->fd, .len = BYTES, .flags = MAP_PRIVATE }));
	ASSERT_LE(0, server_release(self->m.ctl, 0));
	EXPECT_EQ(-1, first_difference(self->buf, self->map, PAGE));
	ASSERT_EQ(0, msync(self->map, BYTES, MS_SYNC));
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, self->data, PAGE));
	EXPECT_EQ(-1, first_difference(self->buf, self->data, PAGE));
}

/* Changes in a private mapping are visible nowhere else. */
TEST_F(mixed, mmap_keeps_changes_of_private_mapping)
{
	char *own = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			 self->fd, 0);
	char *again;

	ASSERT_NE(MAP_FAILED, own);
	memcpy(own, self->buf, PAGE);
	again = mmap(NULL, BYTES, PROT_READ, MAP_PRIVATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, again);
	again = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, again);
	EXPECT_EQ(-1, first_difference(self->buf, own, PAGE));
	EXPECT_EQ(-1, first_difference(self->data, again, BYTES));
}

/* A cached file shows the data that was read first. */
TEST_F(mixed, mmap_of_direct_io_file_shows_what_the_server_has)
{
	bool fresh = variant->open_flags & FOPEN_DIRECT_IO;

	ASSERT_EQ(0, msync(self->map, BYTES, MS_SYNC));
	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->buf, BYTES));
	EXPECT_EQ(0, mnt_run(&self->m, &call_mmap, (struct call_arg){
		.fd = self->fd, .len = BYTES, .flags = MAP_SHARED }));
	EXPECT_EQ(-1, first_difference(fresh ? self->buf : self->data,
				       self->map, BYTES));
}

/*
 * For a separate process: mmap(2) waits with the mmap_lock held, which a fault
 * needs.
 */
static long do_map_or_fail(const struct call_arg *arg)
{
	long ret = call_mmap.fn(arg);

	if (ret)
		_exit(1);
	return ret;
}

static const struct call_op call_map_or_fail = {
	"mmap", SYS_mmap, do_map_or_fail
};

/* The page is locked for READ, and its reply is older than the mapping. */
TEST_F(mixed, mmap_waits_for_an_older_reply)
{
	struct {
		struct fuse_out_header head;
		char page[PAGE];
	} reply = { .head.len = sizeof(reply) };
	bool fresh = variant->open_flags & FOPEN_DIRECT_IO;
	int before = count_req(&self->m, FUSE_READ, REQ_ARRIVED);
	struct call *c;
	int fd, seq;
	char *map;
	pid_t pid;

	/* Without FOPEN_KEEP_CACHE this drops the populated pages. */
	ASSERT_EQ(0, munmap(self->map, BYTES));
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, server_open_flags(self->m.ctl, 0));
	fd = mnt_open(&self->m, "file", O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_READ));
	c = mnt_call(&self->m, &call_pread, (struct call_arg){
		.fd = fd, .buf = reply.page, .len = PAGE });
	ASSERT_NE(NULL, c);
	seq = await_req(&self->m, FUSE_READ, REQ_ARRIVED, before + 1);
	ASSERT_NE(0, seq);
	ASSERT_EQ(0, server_drop_rules(self->m.ctl));

	ASSERT_EQ(0, server_put(self->m.ctl, "file", 0, self->buf, BYTES));
	pid = child_start(CLONE_FILES, &call_map_or_fail, (struct call_arg){
		.fd = self->fd, .len = BYTES, .flags = MAP_SHARED });
	ASSERT_LT(0, pid);
	if (fresh) {
		EXPECT_TRUE(child_stays_blocked(&self->m, pid,
						&call_map_or_fail));
	} else {
		EXPECT_EQ(0, mnt_run(&self->m, &call_waitpid,
				     (struct call_arg){ .fd = pid }));
	}
	memcpy(reply.page, self->data, PAGE);
	reply.head.unique = self->m.log->ev[seq - 1].req.unique;
	ASSERT_EQ(0, server_raw(self->m.ctl, &reply, sizeof(reply)));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	ASSERT_LE(0, server_release(self->m.ctl, 0));
	if (fresh) {
		EXPECT_EQ(0, mnt_run(&self->m, &call_waitpid,
				     (struct call_arg){ .fd = pid }));
	}
	map = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(-1, first_difference(fresh ? self->buf : self->data, map,
				       PAGE));
}

/*
 * A mapping that is the buffer of I/O to its own file, on pages @to and @from.
 */
static void check_own_buffer(struct __test_metadata *_metadata,
			     struct _test_data_mixed *self, int fd)
{
	char *model = self->data;

	/* From pages 4 and 5 of the mapping to 0 and 1 of the file */
	ASSERT_EQ(2 * PAGE, mnt_run(&self->m, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = self->map + 4 * PAGE, .len = 2 * PAGE }));
	memcpy(model, model + 4 * PAGE, 2 * PAGE);
	EXPECT_EQ(-1, first_difference(model, self->map, BYTES));

	/* From page 6 and 7 of the file to 8 and 9 of the mapping */
	ASSERT_EQ(2 * PAGE, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = fd, .buf = self->map + 8 * PAGE, .len = 2 * PAGE,
		.off = 6 * PAGE }));
	memcpy(model + 8 * PAGE, model + 6 * PAGE, 2 * PAGE);
	EXPECT_EQ(-1, first_difference(model, self->map, BYTES));

	/* The same pages on both sides: nothing changes. */
	EXPECT_EQ(2 * PAGE, mnt_run(&self->m, &call_pwrite, (struct call_arg){
		.fd = fd, .buf = self->map + 2 * PAGE, .len = 2 * PAGE,
		.off = 2 * PAGE }));
	EXPECT_EQ(2 * PAGE, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = fd, .buf = self->map + 2 * PAGE, .len = 2 * PAGE,
		.off = 2 * PAGE }));
	EXPECT_EQ(-1, first_difference(model, self->map, BYTES));

	ASSERT_EQ(0, msync(self->map, BYTES, MS_SYNC));
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, self->buf, BYTES));
	EXPECT_EQ(-1, first_difference(model, self->buf, BYTES));
}

TEST_F(mixed, mapping_is_the_buffer_of_io_on_its_file)
{
	check_own_buffer(_metadata, self, self->fd);
}

TEST_F(mixed, mapping_is_the_buffer_of_direct_io_on_its_file)
{
	check_own_buffer(_metadata, self, self->direct);
}

/* A way to access a page of the file: a descriptor, or NULL for the mapping. */
static bool store_page(struct _test_data_mixed *self, int way, int page,
		       const char *data)
{
	int fd = way ? self->fd : self->direct;

	if (way == 2) {
		memcpy(self->map + page * PAGE, data, PAGE);
		return true;
	}
	return pwrite(fd, data, PAGE, page * PAGE) == PAGE;
}

static bool load_page(struct _test_data_mixed *self, int way, int page,
		      char *data)
{
	int fd = way ? self->fd : self->direct;

	if (way == 2) {
		memcpy(data, self->map + page * PAGE, PAGE);
		return true;
	}
	return pread(fd, data, PAGE, page * PAGE) == PAGE;
}

/* Write own pages in any way, and read them back in any other. */
static void use_pages(struct _test_data_mixed *self, int user)
{
	unsigned int seed = user + 1;
	int round;

	for (round = 0; round < ROUNDS; round++) {
		int page = user + USERS * (rand_r(&seed) % (PAGES / USERS));
		int way = rand_r(&seed) % 3, back = rand_r(&seed) % 3;
		char *model = self->data + page * PAGE;
		long where;

		fill_pattern(model, PAGE, (user * ROUNDS + round) % 251);
		if (!store_page(self, way, page, model) ||
		    !load_page(self, back, page, self->buf))
			_exit(1);
		where = first_difference(model, self->buf, PAGE);
		if (where >= 0) {
			fprintf(stderr, "# user %d, round %d: way %d, then %d: byte %ld\n",
				user, round, way, back,
				where + page * PAGE);
			_exit(1);
		}
	}
	_exit(0);
}

TEST_F(mixed, every_way_to_a_file_shows_the_same_bytes)
{
	pid_t pid[USERS];
	long status;
	int i;

	for (i = 0; i < USERS; i++) {
		pid[i] = fork();
		ASSERT_LE(0, pid[i]);
		if (!pid[i])
			use_pages(self, i);
	}
	for (i = 0; i < USERS; i++) {
		status = mnt_run(&self->m, &call_waitpid, (struct call_arg){
			.fd = pid[i] });
		EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	}
	ASSERT_EQ(0, msync(self->map, BYTES, MS_SYNC));
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, self->buf, BYTES));
	EXPECT_EQ(-1, first_difference(self->data, self->buf, BYTES));
	EXPECT_EQ(-1, first_difference(self->data, self->map, BYTES));
}

TEST_HARNESS_MAIN
