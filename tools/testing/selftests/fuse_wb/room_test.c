// SPDX-License-Identifier: GPL-2.0
/*
 * Room for other requests during direct I/O to which the server does not reply.
 *
 * max_background limits the background requests of a server: WRITEs of the page
 * cache, and readahead READs.  In a sound kernel direct I/O takes none of these
 * slots.  A call that waits has up to max_background requests in flight, and all
 * calls that do not wait, from libaio, share as many slots of their own: beyond
 * these, io_submit(2) waits and can be killed.
 *
 * In a broken kernel two readers take all slots: no WRITE of another file is sent
 * and there is no readahead, not even after the readers were killed.  Linux 6.12 is
 * such a kernel for O_DIRECT.
 *
 * Promise: direct-room
 */

#include <signal.h>
#include <sys/mman.h>

#include "aio.h"
#include "direct.h"

#define READERS			2
#define MAX_BACKGROUND		12
#define PARALLEL_DIRECT_IO	(FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES)

#define OTHER_BYTES		(64 << 10)

/**
 * struct room - the readers, and other files
 * @d: "file", which the readers read
 * @file: its READs
 * @dirty: "dirty", of the page cache
 * @other: "other", of the page cache, which has the first bytes of "file"
 * @mem: BYTES for each reader, shared with it
 * @pid: the readers; 0: there is none, or it has been reaped
 *
 *   reader: pread, or libaio ---> READs of "file" ---> server holds them
 *   dirty: write, fsync --------> WRITE, FSYNC ------> server replies
 *   other: read ----------------> READs ahead -------> server replies
 */
struct room {
	struct direct d;
	struct req_match file;
	int dirty;
	int other;
	char *mem;
	pid_t pid[READERS];
};

static void make_room(struct __test_metadata *_metadata, struct room *r,
		      const void *variant, __u32 open_flags, int flags)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.async_dio = true,
		.max_write = STEP,
		.max_background = MAX_BACKGROUND,
		.open_flags = open_flags,
	};
	struct mnt *m = &r->d.m;
	struct stat st;

	if (!direct_setup(_metadata, &r->d, &opts, variant, flags))
		return;
	r->mem = mmap(NULL, READERS * BYTES, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, r->mem);
	ASSERT_EQ(0, fstat(r->d.fd, &st));
	r->file = (struct req_match){ .opcode = FUSE_READ, .node = st.st_ino };
	ASSERT_EQ(0, server_open_flags(m->ctl, 0));
	r->dirty = mnt_open(m, "dirty", O_RDWR | O_CREAT);
	ASSERT_LE(0, r->dirty);
	ASSERT_EQ(0, server_put(m->ctl, "other", 0, r->d.data, OTHER_BYTES));
	r->other = mnt_open(m, "other", O_RDONLY);
	ASSERT_LE(0, r->other);
	ASSERT_EQ(0, server_hold(m->ctl, &r->file));
}

/*
 * An abort frees slots by ending requests; a broken kernel may not notice that.
 */
static void end_room(struct __test_metadata *_metadata, struct room *r)
{
	int i;

	for (i = 0; i < READERS; i++)
		if (r->pid[i] > 0)
			kill(r->pid[i], SIGKILL);
	mnt_teardown(_metadata, &r->d.m);
}

static int in_flight(struct room *r)
{
	return reqlog_count(r->d.m.log, &r->file, REQ_ARRIVED) -
	       reqlog_count(r->d.m.log, &r->file, REQ_REPLIED);
}

static pid_t start_reader(struct room *r, const struct call_op *op, int i)
{
	r->pid[i] = child_start(CLONE_FILES, op, (struct call_arg){
		.fd = r->d.fd, .buf = r->mem + i * BYTES, .len = BYTES });
	return r->pid[i];
}

/* Reader @i goes on until it is blocked in @op, with @nr READs arrived. */
static void check_reader(struct __test_metadata *_metadata, struct room *r,
			 int i, const struct call_op *op, int nr)
{
	ASSERT_NE(0, reqlog_wait(r->d.m.log, &r->file, REQ_ARRIVED, nr));
	EXPECT_TRUE(child_stays_blocked(&r->d.m, r->pid[i], op));
}

/* Reader @i returns after the server's replies, and has its bytes. */
static void check_bytes(struct __test_metadata *_metadata, struct room *r, int i)
{
	ASSERT_EQ(0, mnt_run(&r->d.m, &call_waitpid, (struct call_arg){
		.fd = r->pid[i] }));
	r->pid[i] = 0;
	EXPECT_EQ(-1, first_difference(r->d.data, r->mem + i * BYTES, BYTES));
}

/* The WRITE and the FSYNC of another file, before any READ has its reply. */
static void check_fsync(struct __test_metadata *_metadata, struct room *r)
{
	struct mnt *m = &r->d.m;

	ASSERT_EQ(4096, mnt_run(m, &call_pwrite, (struct call_arg){
		.fd = r->dirty, .buf = r->d.data, .len = 4096 }));
	EXPECT_EQ(0, mnt_run(m, &call_fsync, (struct call_arg){
		.fd = r->dirty })) {
		TH_LOG("fsync of another file waits for the readers");
	}
	EXPECT_EQ(1, count_req(m, FUSE_WRITE, REQ_REPLIED));
	EXPECT_EQ(0, reqlog_count(m->log, &r->file, REQ_REPLIED));
}

/* Readahead of another file, before any other READ has its reply. */
static void check_read(struct __test_metadata *_metadata, struct room *r)
{
	struct mnt *m = &r->d.m;

	EXPECT_EQ(OTHER_BYTES, mnt_run(m, &call_pread, (struct call_arg){
		.fd = r->other, .buf = r->d.buf, .len = OTHER_BYTES })) {
		TH_LOG("a read of another file waits for the readers");
	}
	EXPECT_EQ(-1, first_difference(r->d.data, r->d.buf, OTHER_BYTES));
	EXPECT_LT(reqlog_count(m->log, &r->file, REQ_ARRIVED),
		  count_req(m, FUSE_READ, REQ_ARRIVED));
	EXPECT_EQ(0, reqlog_count(m->log, &r->file, REQ_REPLIED));
}

FIXTURE(room)
{
	struct room r;
};

/*
 * first, second: the calls in which the readers block; killed: then they are
 * killed
 */
FIXTURE_VARIANT(room)
{
	__u32 open_flags;
	int flags;
	const struct call_op *first;
	const struct call_op *second;
	bool killed;
};

FIXTURE_VARIANT_ADD(room, fopen_direct_io)
{
	.open_flags = PARALLEL_DIRECT_IO,
	.first = &call_pread, .second = &call_pread,
};

FIXTURE_VARIANT_ADD(room, fopen_direct_io_killed)
{
	.open_flags = PARALLEL_DIRECT_IO,
	.first = &call_pread, .second = &call_pread,
	.killed = true,
};

FIXTURE_VARIANT_ADD(room, o_direct)
{
	.flags = O_DIRECT,
	.first = &call_pread, .second = &call_pread,
};

/* The second reader submits its last requests once there is a free slot. */
FIXTURE_VARIANT_ADD(room, libaio)
{
	.flags = O_DIRECT,
	.first = &call_aio_pread, .second = &call_aio_pread_submit,
};

FIXTURE_SETUP(room)
{
	make_room(_metadata, &self->r, variant, variant->open_flags,
		  variant->flags);
}

FIXTURE_TEARDOWN(room)
{
	end_room(_metadata, &self->r);
}

/* There are at least as many READs as background slots. */
static void start_readers(struct __test_metadata *_metadata, struct room *r,
			  const struct _fixture_variant_room *variant)
{
	int i;

	ASSERT_LT(0, start_reader(r, variant->first, 0));
	check_reader(_metadata, r, 0, variant->first, STEPS);
	ASSERT_LT(0, start_reader(r, variant->second, 1));
	check_reader(_metadata, r, 1, variant->second, MAX_BACKGROUND);
	for (i = 0; variant->killed && i < READERS; i++) {
		ASSERT_EQ(0, kill(r->pid[i], SIGKILL));
		ASSERT_TRUE(child_was_killed(&r->d.m, r->pid[i]));
		r->pid[i] = 0;
	}
	EXPECT_LE(MAX_BACKGROUND, in_flight(r));
}

static void end_readers(struct __test_metadata *_metadata, struct room *r,
			const struct _fixture_variant_room *variant)
{
	int i;

	ASSERT_LE(MAX_BACKGROUND, server_release(r->d.m.ctl, 0));
	for (i = 0; !variant->killed && i < READERS; i++)
		check_bytes(_metadata, r, i);
}

TEST_F(room, fsync_of_another_file_ends)
{
	start_readers(_metadata, &self->r, variant);
	check_fsync(_metadata, &self->r);
	end_readers(_metadata, &self->r, variant);
}

TEST_F(room, read_of_another_file_ends)
{
	start_readers(_metadata, &self->r, variant);
	check_read(_metadata, &self->r);
	end_readers(_metadata, &self->r, variant);
}

/* The slots shared by calls that do not wait. */
FIXTURE(places)
{
	struct room r;
};

FIXTURE_VARIANT(places)
{
	__u32 open_flags;
};

FIXTURE_VARIANT_ADD(places, o_direct)
{
};

FIXTURE_VARIANT_ADD(places, fopen_direct_io)
{
	.open_flags = PARALLEL_DIRECT_IO,
};

FIXTURE_SETUP(places)
{
	make_room(_metadata, &self->r, variant, variant->open_flags, O_DIRECT);
}

FIXTURE_TEARDOWN(places)
{
	end_room(_metadata, &self->r);
}

/* One reader has all its requests in flight, the second waits for slots. */
static void use_up(struct __test_metadata *_metadata, struct room *r)
{
	ASSERT_LT(0, start_reader(r, &call_aio_pread, 0));
	check_reader(_metadata, r, 0, &call_aio_pread, STEPS);
	ASSERT_LT(0, start_reader(r, &call_aio_pread_submit, 1));
	check_reader(_metadata, r, 1, &call_aio_pread_submit, MAX_BACKGROUND);
	EXPECT_EQ(MAX_BACKGROUND, in_flight(r));
}

static void give_back(struct __test_metadata *_metadata, struct room *r)
{
	int i;

	ASSERT_LE(1, server_release(r->d.m.ctl, 0));
	for (i = 0; i < READERS; i++)
		check_bytes(_metadata, r, i);
}

static int set_max_background(struct mnt *m, const char *value)
{
	char path[64];

	snprintf(path, sizeof(path),
		 "/sys/fs/fuse/connections/%u/max_background", m->minor);
	return write_file(path, value);
}

/* Another reader gets no slot, waits in @op, and can be killed there. */
static void check_kill(struct __test_metadata *_metadata, struct room *r,
		       const struct call_op *op)
{
	struct mnt *m = &r->d.m;
	pid_t pid;

	use_up(_metadata, r);
	pid = child_start(CLONE_FILES, op, (struct call_arg){
		.fd = r->d.fd, .buf = r->d.buf, .len = BYTES });
	ASSERT_LT(0, pid);
	EXPECT_TRUE(child_stays_blocked(m, pid, op));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_TRUE(child_was_killed(m, pid));
	EXPECT_EQ(MAX_BACKGROUND, in_flight(r));
	check_fsync(_metadata, r);
	check_read(_metadata, r);
	give_back(_metadata, r);
}

TEST_F(places, io_submit_without_a_place_can_be_killed)
{
	check_kill(_metadata, &self->r, &call_aio_pread_submit);
}

TEST_F(places, io_uring_without_a_place_can_be_killed)
{
	check_kill(_metadata, &self->r, &call_uring_pread);
}

TEST_F(places, reply_makes_a_place)
{
	struct room *r = &self->r;
	int nr;

	use_up(_metadata, r);
	for (nr = MAX_BACKGROUND + 1; nr < READERS * STEPS; nr++) {
		ASSERT_EQ(1, server_release(r->d.m.ctl, 1));
		check_reader(_metadata, r, 1, &call_aio_pread_submit, nr);
		EXPECT_EQ(MAX_BACKGROUND, in_flight(r));
	}
	/* With its last request io_submit(2) returns. */
	ASSERT_EQ(1, server_release(r->d.m.ctl, 1));
	check_reader(_metadata, r, 1, &call_aio_pread, nr);
	EXPECT_EQ(MAX_BACKGROUND, in_flight(r));
	give_back(_metadata, r);
}

TEST_F(places, higher_max_background_makes_places)
{
	struct room *r = &self->r;

	use_up(_metadata, r);
	ASSERT_EQ(0, set_max_background(&r->d.m, "14"));
	check_reader(_metadata, r, 1, &call_aio_pread_submit, 14);
	EXPECT_EQ(14, in_flight(r));
	ASSERT_EQ(0, set_max_background(&r->d.m, "16"));
	check_reader(_metadata, r, 1, &call_aio_pread, 16);
	EXPECT_EQ(16, in_flight(r));
	give_back(_metadata, r);
}

TEST_F(places, max_background_of_0_leaves_one_place)
{
	struct room *r = &self->r;

	ASSERT_EQ(0, set_max_background(&r->d.m, "0"));
	ASSERT_LT(0, start_reader(r, &call_aio_pread_submit, 0));
	check_reader(_metadata, r, 0, &call_aio_pread_submit, 1);
	EXPECT_EQ(1, in_flight(r));
	ASSERT_EQ(1, server_release(r->d.m.ctl, 1));
	check_reader(_metadata, r, 0, &call_aio_pread_submit, 2);
	EXPECT_EQ(1, in_flight(r));
	ASSERT_LE(1, server_release(r->d.m.ctl, 0));
	check_bytes(_metadata, r, 0);
}

TEST_HARNESS_MAIN
