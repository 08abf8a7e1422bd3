/* SPDX-License-Identifier: GPL-2.0 */
/* Swap space on a RAM disk. */

#ifndef FUSE_WB_SWAP_H
#define FUSE_WB_SWAP_H

#include <stddef.h>

/**
 * struct swap - the test's private swap space; zeroed: there is none
 * @device: its block device
 */
struct swap {
	const char *device;
};

/**
 * swap_start() - swap to /dev/ram0
 * @s: filled in
 *
 * Return: NULL; or what is missing, as a sentence for SKIP; or "" after an error
 * that has been printed.
 */
const char *swap_start(struct swap *s);

/* Swap everything back in.  Return: 0, or -1 after a message. */
int swap_end(struct swap *s);

#endif
