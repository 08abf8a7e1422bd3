/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Numbered records that processes append to one file.  Whatever happens to that
 * file, every record must be there in the end, intact, and in order per writer.
 */

#ifndef FUSE_WB_RECORDS_H
#define FUSE_WB_RECORDS_H

#define RECORD_LEN	13
#define RECORD_WRITERS	2

/**
 * records_append() - append records, and start writeback after each
 * @fd: a file open with O_APPEND
 * @writer: which writer, from 0
 * @nr: how many records
 *
 * Return: 0; -1 if a write failed, or was short.
 */
int records_append(int fd, int writer, unsigned long nr);

/**
 * records_check() - are all records there?
 * @text: the records
 * @len: bytes of @text
 * @nr: the expected number of each writer; RECORD_WRITERS numbers
 *
 * Return: 0, or -1 after printing which one is not.
 */
int records_check(const char *text, unsigned long len, const unsigned long *nr);

#endif
