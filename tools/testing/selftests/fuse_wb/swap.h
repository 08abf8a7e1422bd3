/* SPDX-License-Identifier: GPL-2.0 */
/* Swap space on a disk in memory. */

#ifndef FUSE_WB_SWAP_H
#define FUSE_WB_SWAP_H

#include <stddef.h>

/**
 * struct swap - swap space of the test's own; zeroed: there is none
 * @device: where it is
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

/* Read back all that is swapped out.  Return: 0, or -1 after a message. */
int swap_end(struct swap *s);

#endif
