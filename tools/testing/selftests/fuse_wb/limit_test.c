// SPDX-License-Identifier: GPL-2.0
/*
 * How much memory a server may keep dirty: strictlimit.
 *
 * Data that a server does not accept stays in memory, and any user may run a
 * server.  A correct kernel gives every FUSE mount a small share of the dirty
 * limit, which includes pages under writeback, and throttles its writers at
 * that share, however much memory is free, and no other task.  A broken one
 * does not throttle them until all writers of the system have to wait for that
 * server.
 *
 * Promise: policy-16
 */

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common.h"
#include "pressure.h"

#define FILE_NAME	"file"

/* More than any share here, and less than the system's dirty limit. */
#define LEN		(64L << 20)

/* How much writers dirty between two checks of the limit. */
#define SLACK		(1024 * 1024L)

/*
 *   slow ---- write of LEN bytes ---> dirty pages ---> server holds each WRITE
 *   quick --- write ----------------> dirty pages ---> server
 */
FIXTURE(limit)
{
	struct mnt slow;
	struct mnt quick;
	int fd;
	char *data;
};

/* knob, least, low, high: values for the bdi's attributes */
FIXTURE_VARIANT(limit)
{
	const char *knob;
	const char *least;
	const char *low;
	const char *high;
};

FIXTURE_VARIANT_ADD(limit, max_ratio)
{
	.knob = "max_ratio", .least = "min_ratio", .low = "1", .high = "3",
};

FIXTURE_VARIANT_ADD(limit, max_bytes)
{
	.knob = "max_bytes", .least = "min_bytes", .low = "4194304", .high = "20971520",
};

static int set_knob(struct mnt *m, const char *knob, const char *value)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/bdi/0:%u/%s", m->minor, knob);
	return write_file(path, value);
}

/* The value of such an attribute, -1 on error. */
static long get_knob(struct mnt *m, const char *knob)
{
	long value = -1;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/bdi/0:%u/%s", m->minor, knob);
	f = fopen(path, "re");
	if (!f)
		return -1;
	if (fscanf(f, "%ld", &value) != 1)
		value = -1;
	fclose(f);
	return value;
}

/* Let the limit of this mount, which starts at 0, reach its share. */
static void warm_up(struct __test_metadata *_metadata,
		    struct _test_data_limit *self)
{
	int fd = mnt_open(&self->slow, "warm", O_RDWR | O_CREAT);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_knob(&self->slow, "strict_limit", "0"));
	ASSERT_EQ(LEN / 8, write(fd, self->data, LEN / 8));
	ASSERT_EQ(0, mnt_run(&self->slow, &call_fsync, (struct call_arg){
		.fd = fd }));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, set_knob(&self->slow, "strict_limit", "1"));
}

FIXTURE_SETUP(limit)
{
	const struct server_opts opts = {
		.writeback_cache = true, .dirty_limit = true };
	const struct server_opts fast = { .writeback_cache = true };

	/*
	 * Both mounts before a file is open: a server closes what it inherits.
	 */
	if (!mnt_setup(_metadata, &self->slow, &opts, variant))
		return;
	if (!mnt_setup(_metadata, &self->quick, &fast, variant))
		return;
	self->data = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->data);
	self->fd = mnt_open(&self->slow, FILE_NAME, O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(limit)
{
	mnt_teardown(_metadata, &self->quick);
	mnt_teardown(_metadata, &self->slow);
}

/*
 * Bytes that this value of the variant's knob allows, as the kernel computes
 * it.
 */
static long share(struct mnt *m, const char *knob, const char *value)
{
	long page = sysconf(_SC_PAGESIZE);

	if (!strcmp(knob, "max_bytes"))
		return atol(value);
	return bdi_counter(m->minor, "DirtyThresh:") * page / 100 * atol(value);
}

/* How far the writer has got; the server has accepted nothing of it. */
static long progress(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_size;
}

/* The writer has stopped: within this setting's share, and at which byte. */
static void check_progress(struct __test_metadata *_metadata,
			   struct _test_data_limit *self, const char *knob,
			   const char *value, long may_be)
{
	long dirty = progress(self->fd);

	TH_LOG("%s %s: %ld KiB are dirty, limit %ld", knob, value, dirty >> 10,
	       may_be >> 10);
	EXPECT_GE(may_be + SLACK, dirty);
}

static struct call *start_writer(struct _test_data_limit *self, long len)
{
	return mnt_call(&self->slow, &call_write, (struct call_arg){
		.fd = self->fd, .buf = self->data, .len = len });
}

/* The default of the mount: 1%, and strict. */
TEST_F(limit, mount_has_a_small_share)
{
	if (get_knob(&self->slow, "strict_limit") < 0)
		SKIP(return, "needs /sys/class/bdi/*/strict_limit");
	EXPECT_EQ(1, get_knob(&self->slow, "strict_limit"));
	EXPECT_EQ(1, get_knob(&self->slow, "max_ratio"));
	ASSERT_EQ(0, set_knob(&self->slow, variant->knob, variant->high));
	if (!strcmp(variant->knob, "max_ratio"))
		EXPECT_EQ(atol(variant->high),
			  get_knob(&self->slow, variant->knob));
}

/*
 * A writer stops at the share, continues to the next, and then completes.  The
 * limit is lower than the setting when other mounts have written more, or this
 * one has written nothing for some seconds: so the setting is the minimum, too.
 */
TEST_F(limit, writer_stops_where_the_setting_says)
{
	struct mnt *m = &self->slow;
	__u64 deadline;
	struct call *c;
	long low, high;
	int taken;

	low = share(m, variant->knob, variant->low);
	high = share(m, variant->knob, variant->high);
	if (low < 0)
		SKIP(return, "needs debugfs at /sys/kernel/debug");
	if (high + SLACK > LEN)
		SKIP(return, "needs less memory: 3 %% of the limit are %ld", high);
	warm_up(_metadata, self);
	ASSERT_EQ(0, set_knob(m, variant->knob, variant->low));
	ASSERT_EQ(0, set_knob(m, variant->least, variant->low));
	taken = count_req(m, FUSE_WRITE, REQ_REPLIED);
	ASSERT_EQ(0, hold_req(m, FUSE_WRITE));
	c = start_writer(self, LEN);
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(m, c)) {
		TH_LOG("the writer does not wait for the server");
	}
	check_progress(_metadata, self, variant->knob, variant->low, low);

	ASSERT_EQ(0, set_knob(m, variant->knob, variant->high));
	ASSERT_EQ(0, set_knob(m, variant->least, variant->high));
	deadline = wait_deadline();
	while (progress(self->fd) <= low + SLACK && now_usec() < deadline)
		sched_yield();
	EXPECT_LT(low + SLACK, progress(self->fd)) {
		TH_LOG("%s has no effect", variant->knob);
	}
	EXPECT_EQ(CALL_BLOCKED, call_stays_blocked(m, c));
	check_progress(_metadata, self, variant->knob, variant->high, high);
	/* Pages under writeback count. */
	EXPECT_LT(0, bdi_counter(m->minor, "BdiWriteback:"));

	/* The control: there is memory for everything. */
	ASSERT_EQ(0, set_knob(m, "strict_limit", "0"));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(LEN, c->ret);
	EXPECT_EQ(taken, count_req(m, FUSE_WRITE, REQ_REPLIED));
}

/* Meanwhile a writer to a mount with a working server completes. */
TEST_F(limit, writer_of_another_mount_goes_on)
{
	long low = share(&self->slow, "max_ratio", "1"), len = low + 2 * SLACK;
	struct call *c, *q;
	int fd;

	if (low < 0)
		SKIP(return, "needs debugfs at /sys/kernel/debug");
	if (len > LEN)
		SKIP(return, "needs a machine with less memory");
	ASSERT_EQ(0, hold_req(&self->slow, FUSE_WRITE));
	/* Not much more: the rest is written when the connection is aborted. */
	c = start_writer(self, len);
	ASSERT_NE(NULL, c);
	ASSERT_EQ(CALL_BLOCKED, call_stays_blocked(&self->slow, c));

	fd = mnt_open(&self->quick, FILE_NAME, O_RDWR | O_CREAT);
	ASSERT_LE(0, fd);
	q = mnt_call(&self->quick, &call_write, (struct call_arg){
		.fd = fd, .buf = self->data, .len = LEN });
	ASSERT_NE(NULL, q);
	EXPECT_EQ(CALL_RETURNED, call_wait_returned(q)) {
		TH_LOG("the writer waits for the other mount's server");
	}
	EXPECT_EQ(LEN, q->ret);
	EXPECT_EQ(0, run_while_served(&self->quick, &call_fsync,
				      (struct call_arg){ .fd = fd }));
	EXPECT_FALSE(call_returned(c)) {
		TH_LOG("no task was waiting: nothing was tested");
	}
	EXPECT_EQ(0, find_req(&self->slow, FUSE_WRITE, REQ_REPLIED, 1));
}

#define VM		"/proc/sys/vm/"
#define DISK		"/dev/ram0"

/*
 * A dirty limit, less than what one server holds, and what others write then.
 */
#define LIMIT		"8388608"
#define BACKGROUND	"4194304"
#define OTHERS		(16L << 20)

/*
 * Many mounts, each within its share, or one that may use the whole limit:
 *
 *   fd: LEN bytes under writeback, more than the system's limit ---> held
 *   disk: another device, and its writer
 */
FIXTURE(sum)
{
	struct mnt m;
	int fd;
	int disk;
	char *data;
	char ratio[2][16];
};

FIXTURE_SETUP(sum)
{
	const struct server_opts opts = {
		.writeback_cache = true, .dirty_limit = true };

	if (access(DISK, W_OK))
		SKIP(return, "needs CONFIG_BLK_DEV_RAM");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return;
	self->data = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->data);
	self->disk = open(DISK, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->disk);
	ASSERT_EQ(0, read_line(VM "dirty_ratio", self->ratio[0], 16));
	ASSERT_EQ(0, read_line(VM "dirty_background_ratio", self->ratio[1], 16));

	ASSERT_EQ(0, set_knob(&self->m, "strict_limit", "0"));
	ASSERT_EQ(0, set_knob(&self->m, "max_ratio", "100"));
	self->fd = mnt_open(&self->m, FILE_NAME, O_RDWR | O_CREAT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(LEN / 2, mnt_run(&self->m, &call_write, (struct call_arg){
		.fd = self->fd, .buf = self->data, .len = LEN / 2 }));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
}

FIXTURE_TEARDOWN(sum)
{
	EXPECT_EQ(0, write_file(VM "dirty_ratio", self->ratio[0]));
	EXPECT_EQ(0, write_file(VM "dirty_background_ratio", self->ratio[1]));
	mnt_teardown(_metadata, &self->m);
	/* None of the data stays in memory. */
	EXPECT_EQ(0, ioctl(self->disk, BLKFLSBUF, 0));
	close(self->disk);
}

TEST_F(sum, writer_of_a_disk_does_not_wait_for_the_server)
{
	struct call *c;

	ASSERT_LE(LEN / 2 / sysconf(_SC_PAGESIZE), pages_in_writeback()) {
		TH_LOG("not all of the file is under writeback");
	}
	ASSERT_EQ(0, write_file(VM "dirty_background_bytes", BACKGROUND));
	ASSERT_EQ(0, write_file(VM "dirty_bytes", LIMIT));
	c = mnt_call(&self->m, &call_write, (struct call_arg){
		.fd = self->disk, .buf = self->data, .len = OTHERS });
	ASSERT_NE(NULL, c);
	EXPECT_EQ(CALL_RETURNED, call_wait_returned(c)) {
		TH_LOG("a writer of " DISK " waits for a FUSE server");
	}
	EXPECT_EQ(OTHERS, c->ret);
	EXPECT_EQ(0, find_req(&self->m, FUSE_WRITE, REQ_REPLIED, 1));
}

TEST_HARNESS_MAIN
