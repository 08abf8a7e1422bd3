/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel reports under /proc, and about a process's own descriptors.
 */

#ifndef FUSE_WB_PROC_H
#define FUSE_WB_PROC_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

/* Close every descriptor but 0, 1, 2 and these two; -1 stands for none. */
void close_all_but(int fd1, int fd2);

/* A thread's state as in /proc/PID/task/TID/stat, 0 if it no longer exists. */
char task_state(pid_t pid, pid_t tid);

/*
 * How often a thread was switched out; -1 if it no longer exists.  A thread
 * that sleeps, and sleeps with the same number later, has not run in between.
 */
long task_runs(pid_t pid, pid_t tid);

/*
 * The pending signals of the main thread of a process, bit N - 1 for signal N.  A zombie
 * has those that it had at its end.  All bits if it no longer exists.
 */
unsigned long long task_signals(pid_t pid);

/**
 * task_dying() - is a process exiting, or has it got SIGKILL?
 * @pid: the process
 *
 * It may be stuck on its way to the end nevertheless.  Only its main thread
 * counts, not threads that share its descriptors.
 */
bool task_dying(pid_t pid);

/**
 * task_blocked_in() - does a thread of this process sleep in a system call?
 * @tid: the thread
 * @nr: the system call's number; -1: in no system call, as in a page fault
 *
 * Asleep is state S or D.  Where the kernel has no /proc/PID/syscall (it needs
 * CONFIG_HAVE_ARCH_TRACEHOOK, which UML lacks) only the state is checked: the
 * callers use this only for threads that do nothing but the one call, so any
 * other sleep is brief, for memory or a lock of the process.
 */
bool task_blocked_in(pid_t tid, long nr);

/* The same for the main thread of a process, be it this one or a child. */
bool process_blocked_in(pid_t pid, long nr);

/* Print a thread's state, system call and kernel stack as TAP diagnostics. */
void task_print(FILE *out, pid_t pid, pid_t tid);

/* The same for every thread of a process. */
void process_print(FILE *out, pid_t pid);

/**
 * vm_counter() - read a counter after folding the per-CPU deltas
 * @file: "/proc/meminfo" or "/proc/vmstat"
 * @name: "WritebackTmp:", "nr_writeback"; the first word of a line
 *
 * Return: the value, in kB from meminfo and in pages from vmstat; -1 if there
 * is no such line.
 */
long vm_counter(const char *file, const char *name);

/* Pages under writeback, including the copies that 6.12 makes of them. */
long pages_in_writeback(void);

/* Sleep until there are at most @max.  Return: 0, or -1 after WAIT_SECONDS. */
int await_pages_in_writeback(long max);

/**
 * bdi_counter() - read a counter of one mount's writeback
 * @minor: the mount's minor number
 * @name: "BdiWriteback:", "BdiReclaimable:"
 *
 * The per-CPU deltas are not included: see bdi_counter_slack().
 *
 * Return: the value in pages; -1 when there is no such line, as without debugfs
 * at /sys/kernel/debug.
 */
long bdi_counter(unsigned int minor, const char *name);

/* The maximum error of bdi_counter(), in pages. */
long bdi_counter_slack(void);

/* The minor number of the device mounted at @dir; 0: nothing is. */
unsigned int mount_minor(const char *dir);

/*
 * Does a page fault that waits block all mmap() in its address space, for lack
 * of per-VMA locks?  It does under UML.
 */
bool fault_holds_mmap_lock(void);

/* Let the caller run on one processor; there may be fewer than that number. */
void run_on_cpu(unsigned int cpu);

/*
 * The first line of a file, with its newline.  Return: 0, or -1 with errno set.
 */
int read_line(const char *path, char *text, size_t size);

/* Write a string to a file.  Return: 0, or -1 with errno set. */
int write_file(const char *path, const char *text);

#endif
