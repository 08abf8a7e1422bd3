/* SPDX-License-Identifier: GPL-2.0 */
/* The little of QEMU's plugin interface that is used: Debian lacks the header. */
#ifndef FUSE_WB_QEMU_H
#define FUSE_WB_QEMU_H

#include <linux/types.h>
#include <stddef.h>

#define ADD_U64	0
#define NO_REGS	0

struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef void (*tb_trans_cb)(__u64 id, struct qemu_plugin_tb *tb);
typedef void (*atexit_cb)(__u64 id, void *data);
typedef void (*insn_exec_cb)(unsigned int cpu, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(__u64 id, tb_trans_cb cb);
void qemu_plugin_register_atexit_cb(__u64 id, atexit_cb cb, void *data);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn,
						int op, void *counter,
						__u64 add);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    insn_exec_cb cb, int flags,
					    void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
						 size_t i);
__u64 qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

/* What QEMU calls */
int qemu_plugin_install(__u64 id, const void *info, int argc, char **argv);

#endif
