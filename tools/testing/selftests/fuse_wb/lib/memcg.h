/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A memory cgroup for a fixture; like common.h, include it in one file of a
 * program.
 */

#ifndef FUSE_WB_MEMCG_H
#define FUSE_WB_MEMCG_H

#include <sys/mount.h>
#include <sys/stat.h>

#include "cgroup.h"
#include "common.h"

/**
 * use_memcg() - for FIXTURE_SETUP(), after mnt_setup(): create a cgroup, or
 * skip
 * @_metadata: the test
 * @cg: filled in
 * @m: the mount; what is mounted for the cgroup is next to it
 * @legacy: use the legacy hierarchy (v1)
 * @limit: bytes
 *
 * Return: false if the test is skipped and the caller must return.
 */
static inline bool use_memcg(struct __test_metadata *_metadata,
			     struct memcg *cg, struct mnt *m, bool legacy,
			     size_t limit)
{
	const char *missing;
	char where[80];

	snprintf(where, sizeof(where), "%s.cg", m->dir);
	ASSERT_EQ(0, mkdir(where, 0700));
	missing = memcg_make(cg, where, legacy, limit);
	if (missing) {
		memcg_remove(cg);
		umount2(where, MNT_DETACH);
		rmdir(where);
	}
	return !mnt_lacks(_metadata, m, missing);
}

/* For FIXTURE_TEARDOWN(), after mnt_teardown(). */
static inline void remove_memcg(struct __test_metadata *_metadata,
				struct memcg *cg)
{
	EXPECT_EQ(0, memcg_remove(cg));
	umount2(cg->top, MNT_DETACH);
	rmdir(cg->top);
}

#endif
