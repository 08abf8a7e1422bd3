// SPDX-License-Identifier: GPL-2.0
/*
 * Memory errors in pages for which the server holds its reply.
 *
 * Memory errors are handled one by one under a lock.  A page is not taken out of use
 * before its page lock is released and its writeback has ended.  A broken kernel waits
 * for that as long as the server likes, and so does the next error, in any page.  A
 * sound one gives the server a second, and then gives up: a page to be soft-offlined
 * stays where it is, and one that has failed is unmapped, and leaves the page cache
 * when the server has replied.  Linux 6.12 has sent copies, and waits only for READ.
 *
 * Promise: memory-errors
 */

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "child.h"
#include "common.h"
#include "memory_block.h"

/* Missing in older C library headers. */
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

#define PAGE	4096
#define PAGES	4
#define LEN	(PAGES * PAGE)

#define RECOVERY	"/proc/sys/vm/memory_failure_recovery"
#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"

/* Bits of /proc/kpageflags */
#define KPF_LOCKED	0
#define KPF_UPTODATE	3
#define KPF_SLAB	7
#define KPF_HWPOISON	19

#define BIT(n)		(1ULL << (n))
#define FLAGS		4096
#define FRAMES_MAX	64

/*
 * The PFNs, at most FRAMES_MAX, whose flags in @mask equal these.  Return: how
 * many.
 */
static int find_frames(__u64 mask, __u64 flags, __u64 *pfn)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC), nr = 0;
	static __u64 word[FLAGS];
	__u64 first = 0;
	ssize_t got, i;

	if (fd < 0)
		return -1;
	while ((got = pread(fd, word, sizeof(word), first * 8)) > 0) {
		for (i = 0; i < got / 8; i++)
			if ((word[i] & mask) == flags && nr < FRAMES_MAX)
				pfn[nr++] = first + i;
		first += got / 8;
	}
	close(fd);
	return nr;
}

/* Poisoned pages must not be left for the next test. */
static void unpoison_all(struct __test_metadata *_metadata)
{
	__u64 pfn[FRAMES_MAX];
	char text[32];
	int i, nr = find_frames(BIT(KPF_HWPOISON), BIT(KPF_HWPOISON), pfn);

	for (i = 0; i < nr; i++) {
		snprintf(text, sizeof(text), "0x%llx", pfn[i]);
		write_file(UNPOISON, text);
	}
	EXPECT_EQ(0, find_frames(BIT(KPF_HWPOISON), BIT(KPF_HWPOISON), pfn)) {
		TH_LOG("page frame %llx is still poisoned", pfn[0]);
	}
}

static long do_madvise(const struct call_arg *arg)
{
	return madvise(arg->buf, arg->len, arg->flags);
}

static const struct call_op call_madvise = {
	"madvise", SYS_madvise, do_madvise
};

/* Soft-offline an anonymous page, which keeps its bytes. */
static long do_offline_own(const struct call_arg *arg)
{
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	if (page == MAP_FAILED)
		_exit(errno);
	memset(page, 'x', PAGE);
	if (madvise(page, PAGE, MADV_SOFT_OFFLINE))
		_exit(errno);
	_exit(page[PAGE - 1] == 'x' ? 0 : EIO);
}

static const struct call_op call_offline_own = {
	"soft offline", SYS_madvise, do_offline_own
};

/* Meanwhile another process has an error of its own handled. */
static void check_another(struct __test_metadata *_metadata, struct mnt *m)
{
	pid_t pid = child_start(CLONE_FILES, &call_offline_own, (struct call_arg){ });

	ASSERT_LT(0, pid);
	EXPECT_EQ(0, mnt_run(m, &call_waitpid, (struct call_arg){
		.fd = pid })) {
		TH_LOG("a page of another process: %s", strerror(errno));
	}
}

/*
 *   map, fd: LEN bytes of "file", stored through the mapping -- WRITE --> held
 */
FIXTURE(poison)
{
	struct mnt m;
	char *data;
	char *seen;
	char *map;
	int fd;
};

static bool setup_file(struct __test_metadata *_metadata,
		       struct _test_data_poison *self, const void *variant)
{
	const struct server_opts opts = {
		.writeback_cache = true,
		.open_flags = FOPEN_KEEP_CACHE,
	};

	if (access(RECOVERY, F_OK))
		SKIP(return false, "needs CONFIG_MEMORY_FAILURE");
	if (access(UNPOISON, F_OK))
		SKIP(return false, "needs CONFIG_HWPOISON_INJECT and debugfs");
	if (!mnt_setup(_metadata, &self->m, &opts, variant))
		return false;
	file_setup(_metadata, &self->m, "file", LEN, 1, &self->data,
		   &self->seen);
	self->fd = mnt_open(&self->m, "file", O_RDWR);
	ASSERT_LE(0, self->fd);
	return true;
}

FIXTURE_SETUP(poison)
{
	if (!setup_file(_metadata, self, variant))
		return;
	self->map = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	fill_pattern(self->data, LEN, 2);
	memcpy(self->map, self->data, LEN);
	ASSERT_EQ(0, hold_req(&self->m, FUSE_WRITE));
	ASSERT_EQ(0, start_writeback(&self->m, self->fd));
	ASSERT_NE(0, await_req(&self->m, FUSE_WRITE, REQ_ARRIVED, 1));
}

FIXTURE_TEARDOWN(poison)
{
	mnt_teardown(_metadata, &self->m);
	unpoison_all(_metadata);
}

static struct call *start_madvise(struct _test_data_poison *self, int advice)
{
	return mnt_call(&self->m, &call_madvise, (struct call_arg){
		.buf = self->map, .len = PAGE, .flags = advice });
}

/* The server has the stored bytes, from which its reply was taken. */
static void check_server(struct __test_metadata *_metadata,
			 struct _test_data_poison *self)
{
	EXPECT_EQ(0, count_req(&self->m, FUSE_WRITE, REQ_REPLIED));
	ASSERT_LE(1, server_release(self->m.ctl, 0));
	ASSERT_EQ(0, await_pages_in_writeback(0));
	ASSERT_EQ(0, server_get(self->m.ctl, "file", 0, self->seen, LEN));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
}

TEST_F(poison, soft_offline_gives_up_on_a_page_under_writeback)
{
	bool copies = vm_counter("/proc/vmstat", "nr_writeback") == 0;
	__u64 pfn = pfn_of(self->map);
	struct call *c = start_madvise(self, MADV_SOFT_OFFLINE);

	ASSERT_NE(NULL, c);
	ASSERT_NE(0, (long)pfn);
	ASSERT_NE(CALL_LOST, call_wait_blocked(c));
	check_another(_metadata, &self->m);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	if (!copies) {
		EXPECT_EQ(-1, c->ret);
		EXPECT_EQ(EBUSY, c->err);
		EXPECT_EQ(pfn, pfn_of(self->map));
	}
	check_another(_metadata, &self->m);
	EXPECT_EQ(-1, first_difference(self->data, self->map, LEN));
	check_server(_metadata, self);

	/* The control: only the held WRITE prevented it. */
	EXPECT_EQ(0, mnt_run(&self->m, &call_madvise, (struct call_arg){
		.buf = self->map, .len = PAGE, .flags = MADV_SOFT_OFFLINE }));
	EXPECT_EQ(-1, first_difference(self->data, self->map, LEN));
	EXPECT_NE(pfn, pfn_of(self->map));
}

TEST_F(poison, soft_offline_waits_for_a_server_that_replies)
{
	__u64 pfn = pfn_of(self->map);
	struct call *c = start_madvise(self, MADV_SOFT_OFFLINE);

	ASSERT_NE(NULL, c);
	ASSERT_NE(CALL_LOST, call_wait_blocked(c));
	check_server(_metadata, self);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret) {
		TH_LOG("the page stays: %s", strerror(c->err));
	}
	EXPECT_EQ(-1, first_difference(self->data, self->map, LEN));
	EXPECT_NE(pfn, pfn_of(self->map));
}

/* A process that loads from the page. */
static long do_load(const struct call_arg *arg)
{
	return *(unsigned char *)arg->buf;
}

static const struct call_op call_load = { "load", -1, do_load };

/* Is the page of an address in the page cache? */
static bool is_cached(char *addr)
{
	unsigned char vec = 0;

	return mincore(addr, PAGE, &vec) || vec & 1;
}

/* Sleep until it is not in the page cache. */
static bool await_gone(char *addr)
{
	__u64 deadline = wait_deadline();

	while (is_cached(addr)) {
		if (now_usec() > deadline)
			return false;
		sched_yield();
	}
	return true;
}

TEST_F(poison, page_that_has_failed_leaves_when_its_write_has_ended)
{
	bool copies = vm_counter("/proc/vmstat", "nr_writeback") == 0;
	struct call *c = start_madvise(self, MADV_HWPOISON);
	long status;
	pid_t pid;

	ASSERT_NE(NULL, c);
	ASSERT_NE(CALL_LOST, call_wait_blocked(c));
	check_another(_metadata, &self->m);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	if (!copies) {
		EXPECT_EQ(-1, c->ret);
		EXPECT_EQ(EBUSY, c->err);
		/* The page cannot be accessed. */
		pid = child_start(CLONE_FILES, &call_load, (struct call_arg){
			.buf = self->map });
		ASSERT_LT(0, pid);
		status = mnt_run(&self->m, &call_waitpid, (struct call_arg){
			.fd = pid });
		EXPECT_TRUE(status > 0 && WIFSIGNALED(status) &&
			    WTERMSIG(status) == SIGBUS) {
			TH_LOG("wait status of a load: %lx", status);
		}
	}
	check_another(_metadata, &self->m);
	check_server(_metadata, self);
	EXPECT_TRUE(await_gone(self->map)) {
		TH_LOG("the page is still in the page cache");
	}
	EXPECT_EQ(LEN, mnt_run(&self->m, &call_pread, (struct call_arg){
		.fd = self->fd, .buf = self->seen, .len = LEN }));
	EXPECT_EQ(-1, first_difference(self->data, self->seen, LEN));
	EXPECT_EQ(-1, first_difference(self->data, self->map, LEN));
}

TEST_F(poison, page_that_has_failed_waits_for_a_server_that_replies)
{
	struct call *c = start_madvise(self, MADV_HWPOISON);

	ASSERT_NE(NULL, c);
	ASSERT_NE(CALL_LOST, call_wait_blocked(c));
	check_server(_metadata, self);
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(c));
	EXPECT_EQ(0, c->ret) {
		TH_LOG("not recovered: %s", strerror(c->err));
	}
	EXPECT_FALSE(is_cached(self->map));
	EXPECT_EQ(-1, first_difference(self->data, self->map, LEN));
}

/*
 *   fd: LEN bytes of "file", of which none is cached
 *    |
 *    '--- read(2) ---> one page, locked ---> READ: held
 */
FIXTURE(locked)
{
	struct _test_data_poison p;
	struct call *reader;
	__u64 pfn;
};

/* The sysfs file to which the physical address of an error is written. */
FIXTURE_VARIANT(locked)
{
	const char *file;
};

FIXTURE_VARIANT_ADD(locked, soft)
{
	.file = "/sys/devices/system/memory/soft_offline_page",
};

FIXTURE_VARIANT_ADD(locked, hard)
{
	.file = "/sys/devices/system/memory/hard_offline_page",
};

/*
 * The PFN of the page that is being read: it stays locked, and is not uptodate.
 */
static __u64 find_locked(struct mnt *m)
{
	const __u64 mask = BIT(KPF_LOCKED) | BIT(KPF_UPTODATE) | BIT(KPF_SLAB);
	__u64 old[FRAMES_MAX], new[FRAMES_MAX], pfn = 0;
	int i, j, nr_old, nr_new, found = 0;

	nr_old = find_frames(mask, BIT(KPF_LOCKED), old);
	if (fence(m))
		return 0;
	nr_new = find_frames(mask, BIT(KPF_LOCKED), new);
	for (i = 0; i < nr_old; i++)
		for (j = 0; j < nr_new; j++)
			if (old[i] == new[j]) {
				pfn = new[j];
				found++;
			}
	return found == 1 ? pfn : 0;
}

FIXTURE_SETUP(locked)
{
	if (access(variant->file, F_OK))
		SKIP(return, "needs CONFIG_MEMORY_FAILURE and CONFIG_MEMORY_HOTPLUG");
	if (!setup_file(_metadata, &self->p, variant))
		return;
	ASSERT_EQ(0, posix_fadvise(self->p.fd, 0, 0, POSIX_FADV_RANDOM));
	ASSERT_EQ(0, hold_req(&self->p.m, FUSE_READ));
	self->reader = mnt_call(&self->p.m, &call_pread, (struct call_arg){
		.fd = self->p.fd, .buf = self->p.seen, .len = PAGE });
	ASSERT_NE(NULL, self->reader);
	ASSERT_NE(0, await_req(&self->p.m, FUSE_READ, REQ_ARRIVED, 1));
	self->pfn = find_locked(&self->p.m);
	ASSERT_NE(0, (long)self->pfn);
}

FIXTURE_TEARDOWN(locked)
{
	mnt_teardown(_metadata, &self->p.m);
	unpoison_all(_metadata);
}

TEST_F(locked, memory_error_in_a_page_being_read_waits_a_while)
{
	struct _test_data_poison *p = &self->p;
	char text[32];

	snprintf(text, sizeof(text), "0x%llx", self->pfn * PAGE);
	EXPECT_EQ(-1, mnt_tell(&p->m, variant->file, text));
	EXPECT_EQ(EBUSY, errno);
	check_another(_metadata, &p->m);
	EXPECT_EQ(0, count_req(&p->m, FUSE_READ, REQ_REPLIED));

	ASSERT_EQ(1, server_release(p->m.ctl, 0));
	ASSERT_EQ(CALL_RETURNED, call_wait_returned(self->reader));
	EXPECT_EQ(PAGE, self->reader->ret);
	EXPECT_EQ(-1, first_difference(p->data, p->seen, PAGE));
	p->map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, p->fd, 0);
	ASSERT_NE(MAP_FAILED, p->map);
	if (strstr(variant->file, "hard")) {
		EXPECT_TRUE(await_gone(p->map)) {
			TH_LOG("the page is still in the page cache");
		}
	} else {
		EXPECT_TRUE(is_cached(p->map));
	}
	EXPECT_EQ(-1, first_difference(p->data, p->map, PAGE));
}

TEST_HARNESS_MAIN
