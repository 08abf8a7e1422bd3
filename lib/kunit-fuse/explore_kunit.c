// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random orders: in each step one of a few callers makes its next call, or one of
 * the outstanding requests is carried out, replied to, failed or cut short, or a
 * caller is killed. A seed chooses. After each step the oracle checks the calls that
 * returned. At the end the server must have the whole file, with nothing in flight
 * or counted. On a broken kernel a call returns bytes that the file never had or no
 * longer has, an error is hidden or invented, acknowledged data is lost, or a call
 * blocks with no request outstanding.
 *
 * A schedule that fails is shortened while it still fails, and then printed. Its
 * seed repeats it: fuse_wb_kunit.seed=SEED fuse_wb_kunit.schedules=1 on the kernel
 * command line.
 *
 * Promise: explored
 */

#include <linux/delay.h>
#include <linux/fcntl.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/sched/debug.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>

#include "explore.h"

/* Schedules in one case, few enough to finish within KUnit's timeout. */
#define BATCH	4000U

static unsigned int seed = 1;
module_param(seed, uint, 0444);
MODULE_PARM_DESC(seed, "Seed of the first explored schedule");

static unsigned int schedules = 20000;
module_param(schedules, uint, 0444);
MODULE_PARM_DESC(schedules, "Explored schedules, of all ways to open a file together");

static const struct ex_mode modes[] = {
	{
		.name = "cached",
		.options.flags = FUSE_WRITEBACK_CACHE | FUSE_ASYNC_DIO,
		.open_flags = FOPEN_KEEP_CACHE,
		.flags = { 0, 0, O_DIRECT },
	}, {
		.name = "write_through",
		.options.flags = FUSE_ASYNC_DIO,
		.open_flags = FOPEN_KEEP_CACHE,
		.flags = { 0, 0, O_DIRECT },
	}, {
		.name = "small_requests",
		.options = {
			.flags = FUSE_WRITEBACK_CACHE | FUSE_ASYNC_DIO,
			.max_pages = 1,
			.max_background = 1,
		},
		.open_flags = FOPEN_KEEP_CACHE,
		.flags = { 0, 0, O_DIRECT },
	}, {
		.name = "parallel",
		.options = {
			.flags = FUSE_WRITEBACK_CACHE | FUSE_ASYNC_DIO,
			.max_pages = 1,
		},
		.open_flags = FOPEN_KEEP_CACHE | FOPEN_PARALLEL_DIRECT_WRITES,
		.flags = { O_DIRECT, O_DIRECT, O_DIRECT },
	}, {
		.name = "direct_io",
		.options = {
			.flags = FUSE_ASYNC_DIO,
			.max_pages = 1,
		},
		.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
		.flags = { 0, O_DIRECT, O_DIRECT },
	},
};

/* The more often an operation is listed, the more often it is called. */
static const enum ex_op ops[] = {
	EX_READ, EX_READ, EX_READ, EX_READ, EX_AIO_READ, EX_AIO_READ,
	EX_WRITE, EX_WRITE, EX_WRITE, EX_WRITE, EX_AIO_WRITE, EX_AIO_WRITE,
	EX_TRUNCATE, EX_TRUNCATE, EX_PUNCH, EX_FSYNC, EX_FSYNC, EX_CLOSE,
	EX_WRITEPAGES, EX_WRITEPAGES, EX_WRITEPAGES, EX_REMOTE, EX_REMOTE,
	EX_STORE, EX_STORE,
};

static const u8 lengths[] = { 1, 1, 2, 3, 4, 4, 8, 12 };

struct schedule {
	unsigned int seed;
	unsigned int size;
	unsigned int nr;
	struct ex_step steps[EX_STEPS];
};

/*
 * Of four seeds, one has errors and kills, one has kills, and two have neither, so
 * that no error of a call is excused.
 */
static enum ex_what choose_what(struct rnd_state *rnd, unsigned int seed)
{
	u32 number = prandom_u32_state(rnd) % 32;

	if (number < 14)
		return EX_CALL;
	if (number < 20)
		return EX_CARRY;
	if (number < 28 || seed % 4 < 2)
		return EX_REPLY;
	if (seed % 4 == 2 || number < 30)
		return EX_KILL;
	return number == 30 ? EX_FAIL : EX_SHORT;
}

static void generate(struct schedule *s, unsigned int seed)
{
	struct rnd_state rnd;
	unsigned int i;

	prandom_seed_state(&rnd, seed);
	s->seed = seed;
	s->size = prandom_u32_state(&rnd) % (EX_CELLS + 1);
	s->nr = EX_STEPS;
	for (i = 0; i < EX_STEPS; i++) {
		u32 number = prandom_u32_state(&rnd);

		s->steps[i] = (struct ex_step) {
			.what = choose_what(&rnd, seed),
			.op = ops[prandom_u32_state(&rnd) % ARRAY_SIZE(ops)],
			.which = number,
			.from = (number >> 8) % EX_CELLS,
			.len = lengths[(number >> 16) % ARRAY_SIZE(lengths)],
		};
	}
}

/*
 * Wait until everything else is blocked or idle: then the step is over. The sleep only
 * yields the processor. It must be long enough for others to run: a sleep as short as
 * the clock allows may be over before this task has been scheduled out.
 */
static void await_quiet(struct explore *ex)
{
	unsigned long end = jiffies + FUSE_WB_DEADLINE;

	while (nr_running() > 1) {
		if (time_after(jiffies, end)) {
			ex_fail(ex, "tasks still run at the deadline");
			return;
		}
		usleep_idle_range(100, 200);
	}
}

static unsigned int busy_callers(struct explore *ex)
{
	unsigned int i, nr = 0;

	for (i = 0; i < EX_CALLERS; i++)
		nr += ex->callers[i].busy;

	return nr;
}

static void end_step(struct explore *ex)
{
	unsigned int i;

	await_quiet(ex);
	for (i = 0; i < EX_CALLERS; i++) {
		struct ex_caller *caller = &ex->callers[i];

		if (!caller->busy || !READ_ONCE(caller->returned))
			continue;
		caller->busy = false;
		ex_returned(caller);
	}
	if (ex_outstanding(ex))
		return;
	if (!busy_callers(ex))
		ex_settled(ex);
	for (i = 0; i < EX_CALLERS; i++)
		if (ex->callers[i].busy)
			ex_fail(ex, "%s of caller %u is blocked with no request outstanding",
				ex_op_names[ex->callers[i].call.op], i);
}

static void kill_caller(struct explore *ex, unsigned int which)
{
	struct ex_caller *caller = &ex->callers[which % EX_CALLERS];

	if (!caller->busy)
		return;
	ex_trace(ex, "kill caller %u", which % EX_CALLERS);
	caller->call.killed = true;
	send_sig(SIGKILL, caller->task, 1);
}

static void do_step(struct explore *ex, const struct ex_step *step)
{
	struct ex_caller *caller = &ex->callers[step->which % EX_CALLERS];
	unsigned int nr = ex_outstanding(ex);

	ex->now++;
	switch (step->what) {
	case EX_CALL:
		if (!caller->busy)
			ex_begin(caller, step->op, step->from, step->len);
		break;
	case EX_CARRY:
		if (nr)
			ex_carry(ex, step->which % nr);
		break;
	case EX_KILL:
		kill_caller(ex, step->which);
		break;
	default:
		if (nr)
			ex_reply(ex, step->which % nr, step->what);
		break;
	}
	end_step(ex);
}

/* Reply to all requests until no call is blocked. False: one stays blocked. */
static bool settle(struct explore *ex)
{
	unsigned int waited = 0;

	while (ex_outstanding(ex) || busy_callers(ex)) {
		ex->now++;
		if (!ex_outstanding(ex) && waited++ == FUSE_WB_DEADLINE)
			return false;
		if (ex_outstanding(ex))
			ex_reply(ex, 0, EX_REPLY);
		else
			schedule_timeout_idle(1);
		end_step(ex);
	}

	return true;
}

static bool call_and_settle(struct explore *ex, unsigned int i, enum ex_op op)
{
	ex->now++;
	ex_begin(&ex->callers[i], op, 0, EX_CELLS);
	end_step(ex);

	return settle(ex);
}

/* All has been sent, nothing is in flight: the cache must match the server. */
static void expect_same_bytes(struct explore *ex, const struct ex_caller *caller)
{
	unsigned int i;

	for (i = 0; i < max(caller->call.ret, 0L) / EX_CELL; i++)
		if (!ex->cells[i].lost &&
		    caller->bytes[i * EX_CELL] != ex->store[i * EX_CELL])
			ex_fail(ex, "at the end cell %u has %u in the cache and %u at the server",
				i, caller->bytes[i * EX_CELL],
				ex->store[i * EX_CELL]);
}

/* The cache can be read, and matches the server. */
static bool end_with_reads(struct explore *ex)
{
	unsigned int i;

	/* If a WRITE has failed, the first fsync reports it */
	if (!call_and_settle(ex, 0, EX_FSYNC) ||
	    !call_and_settle(ex, 0, EX_FSYNC))
		return false;
	for (i = 0; i < EX_CALLERS; i++) {
		if (!call_and_settle(ex, i, EX_READ))
			return false;
		expect_same_bytes(ex, &ex->callers[i]);
	}

	return true;
}

/* Half of the schedules only close the files: dirty data must not be dropped. */
static bool finish(struct explore *ex, const struct schedule *s)
{
	if (!settle(ex) || (s->seed & 4 && !end_with_reads(ex)))
		return false;
	ex_expect_nothing_left(ex);
	ex->now++;
	ex_close(ex);
	await_quiet(ex);
	if (!settle(ex))
		return false;
	ex_expect_at_server(ex, ex->now, ex->lo, "server after the last close");
	if (!fuse_wb_count(ex->wb->server, FUSE_WB_FORGOTTEN, FUSE_FORGET))
		ex_fail(ex, "something still refers to the inode");

	return true;
}

/* Run a schedule; false if it left a mount that cannot be used again. */
static bool run(struct explore *ex, const struct schedule *s)
{
	struct fuse_wb_server *server = ex->wb->server;
	unsigned int i;
	int err;

	/* Restart the log for this schedule */
	spin_lock(&server->lock);
	server->nr_events = 0;
	spin_unlock(&server->lock);
	ex_oracle_reset(ex, s->size);
	ex_attr(ex)->size = s->size * EX_CELL;
	err = ex_open(ex);
	if (err) {
		ex_fail(ex, "open returns %d", err);
		return false;
	}
	for (i = 0; i < s->nr && !ex->failure[0]; i++)
		do_step(ex, &s->steps[i]);

	return finish(ex, s);
}

/* Drop the steps that a failing schedule does not need in order to fail. */
static void shrink(struct explore *ex, struct schedule *s)
{
	struct schedule *less = kunit_kmalloc(ex->wb->test, sizeof(*less),
					      GFP_KERNEL);
	unsigned int chunk, i;

	for (chunk = s->nr / 2; less && chunk; chunk /= 2) {
		for (i = 0; i + chunk <= s->nr;) {
			*less = *s;
			less->nr -= chunk;
			memmove(less->steps + i, less->steps + i + chunk,
				(less->nr - i) * sizeof(*less->steps));
			if (!run(ex, less))
				return;
			if (ex->failure[0])
				*s = *less;
			else
				i += chunk;
		}
	}
}

static void fail(struct explore *ex, struct schedule *s, bool usable)
{
	struct kunit *test = ex->wb->test;
	char first[sizeof(ex->failure)];
	unsigned int i;

	strscpy(first, ex->failure);
	if (usable) {
		shrink(ex, s);
		kunit_info(test, "the file has %u cells of %u bytes\n", s->size,
			   EX_CELL);
		ex->trace = true;
		usable = run(ex, s);
	}
	for (i = 0; i < EX_CALLERS && !usable; i++)
		if (ex->callers[i].busy)
			sched_show_task(ex->callers[i].task);
	fuse_wb_print(ex->wb->server);
	KUNIT_FAIL(test, "%s, seed %u: %s", ex->mode->name, s->seed,
		   ex->failure[0] ? ex->failure : first);
}

/* Cases are numbered from 1, and cycle through the modes. */
static unsigned int nr_cases(void)
{
	unsigned int each = DIV_ROUND_UP(schedules, ARRAY_SIZE(modes));

	return DIV_ROUND_UP(each, BATCH) * ARRAY_SIZE(modes);
}

static const void *explore_gen_params(const void *prev, char *desc)
{
	unsigned long next = (unsigned long)prev + 1;

	if (next > nr_cases())
		return NULL;
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s_%lu",
		 modes[(next - 1) % ARRAY_SIZE(modes)].name,
		 (next - 1) / ARRAY_SIZE(modes));

	return (void *)next;
}

static void explored_orders_keep_every_promise(struct kunit *test)
{
	unsigned long number = (unsigned long)test->param_value - 1;
	unsigned int batch = number / ARRAY_SIZE(modes) * BATCH;
	unsigned int each = DIV_ROUND_UP(schedules, ARRAY_SIZE(modes));
	unsigned int i, nr = min(each - batch, BATCH);
	struct schedule *s;
	struct explore *ex;
	bool usable;

	if (num_online_cpus() > 1)
		kunit_skip(test, "needs a kernel with one processor, to see when nothing runs");
	s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	ex = kunit_kzalloc(test, sizeof(*ex), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, s);
	KUNIT_ASSERT_NOT_NULL(test, ex);
	ex->mode = &modes[number % ARRAY_SIZE(modes)];
	ex->wb = fuse_wb_init(test, &ex->mode->options);
	ex_start_callers(ex);
	ex_hold(ex);
	await_quiet(ex);

	for (i = 0; i < nr; i++) {
		generate(s, seed + batch + i);
		usable = run(ex, s);
		if (ex->failure[0]) {
			fail(ex, s, usable);
			return;
		}
	}
}

static struct kunit_case explore_cases[] = {
	KUNIT_CASE_PARAM_ATTR(explored_orders_keep_every_promise, explore_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	{}
};

static struct kunit_suite explore_suite = {
	.name = "fuse_wb_explore",
	.test_cases = explore_cases,
};

kunit_test_suite(explore_suite);
