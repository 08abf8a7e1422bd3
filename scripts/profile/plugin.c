// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU that counts how often each instruction is executed between
 * the marks of scripts/bench/main.c, and writes a line of ADDRESS and COUNT for
 * each to the file out=. For one processor.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "qemu.h"

int qemu_plugin_version = 1;

#define BUCKETS	65536

/* What an instruction counted. Never moved or freed: compiled code adds to it. */
struct counter {
	struct counter *next;
	__u64 address;
	__u64 count;
	__u64 at_begin;
	__u64 measured;
};

static struct counter *buckets[BUCKETS];
static const char *out;

static struct counter *find(__u64 address)
{
	struct counter **bucket = &buckets[address * 0x9e3779b97f4a7c15 >> 48];
	struct counter *c;

	for (c = *bucket; c; c = c->next)
		if (c->address == address)
			return c;
	c = calloc(1, sizeof(*c));
	if (!c)
		abort();
	c->address = address;
	c->next = *bucket;
	*bucket = c;
	return c;
}

/* The marks take turns: one begins, the next ends. */
static void on_mark(unsigned int cpu, void *data)
{
	static int measuring;
	struct counter *c;
	int i;

	(void)cpu;
	(void)data;
	for (i = 0; i < BUCKETS; i++) {
		for (c = buckets[i]; c; c = c->next) {
			if (measuring)
				c->measured += c->count - c->at_begin;
			else
				c->at_begin = c->count;
		}
	}
	measuring = !measuring;
}

static void on_translation(__u64 id, struct qemu_plugin_tb *tb)
{
	static const unsigned char mark[] = {
		0x0f, 0x1f, 0x80, 0x77, 0x62, 0x6d, 0x6b
	};
	struct qemu_plugin_insn *insn;
	struct counter *c;
	size_t i;

	(void)id;
	for (i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		insn = qemu_plugin_tb_get_insn(tb, i);
		c = find(qemu_plugin_insn_vaddr(insn));
		qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64,
							   &c->count, 1);
		if (qemu_plugin_insn_size(insn) == sizeof(mark) &&
		    !memcmp(qemu_plugin_insn_data(insn), mark, sizeof(mark)))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark,
							       NO_REGS, NULL);
	}
}

static void on_end(__u64 id, void *data)
{
	FILE *file = fopen(out, "w");
	struct counter *c;
	int i;

	(void)id;
	(void)data;
	if (!file) {
		perror(out);
		return;
	}
	for (i = 0; i < BUCKETS; i++)
		for (c = buckets[i]; c; c = c->next)
			if (c->measured)
				fprintf(file, "%llx %llu\n",
					c->address, c->measured);
	fclose(file);
}

int qemu_plugin_install(__u64 id, const void *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4)) {
		fputs("profile: the plugin takes out=FILE\n", stderr);
		return -1;
	}
	out = strdup(argv[0] + 4);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	qemu_plugin_register_atexit_cb(id, on_end, NULL);
	return 0;
}
