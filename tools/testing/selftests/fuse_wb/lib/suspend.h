/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Suspend that stops once all is frozen, and resumes: write "freeze" to PM_STATE.
 */

#ifndef FUSE_WB_SUSPEND_H
#define FUSE_WB_SUSPEND_H

#include <stdbool.h>
#include <unistd.h>

#include "proc.h"

#define PM_TEST		"/sys/power/pm_test"
#define PM_STATE	"/sys/power/state"
#define PM_TEST_DELAY	"/sys/module/suspend/parameters/pm_test_delay"

static inline bool suspend_is_there(void)
{
	return !access(PM_TEST, F_OK) && !access(PM_STATE, F_OK);
}

/* @seconds: for which it stays frozen.  Return: 0, or -1 with errno. */
static inline int suspend_only_freezes(const char *seconds)
{
	return write_file(PM_TEST, "freezer") ||
	       write_file(PM_TEST_DELAY, seconds) ? -1 : 0;
}

/* For the end of the test.  Return: 0, or -1 with errno. */
static inline int suspend_as_usual(void)
{
	return write_file(PM_TEST, "none");
}

#endif
