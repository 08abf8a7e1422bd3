/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Rules for how the server handles a request instead of just carrying it out.
 */

#ifndef FUSE_WB_RULES_H
#define FUSE_WB_RULES_H

#include <stdbool.h>
#include <linux/types.h>

#include "reqlog.h"

#define RULES_MAX 16

/**
 * enum rule_act - what a rule does; each says what the rule's argument is
 * @RULE_HOLD: keep the request, neither carried out nor replied to, until it is
 *	       released; no argument
 * @RULE_ERRNO: reply with this errno and do nothing
 * @RULE_SIZE: carry it out, and reply to a READ with this many bytes at most, to
 *	       a WRITE as if this many bytes had been written, even if too many;
 *	       copy this many bytes at most for a COPY_FILE_RANGE
 * @RULE_LACK: reply like a server that does not implement such requests; no
 *	       argument
 * @RULE_DELAY: carry it out after this many microseconds.  Other threads of the
 *		server run meanwhile
 * @RULE_DIE: the server kills itself; no argument
 * @RULE_INVAL: carry it out after FUSE_NOTIFY_INVAL_INODE for the whole of its
 *		node; no argument
 * @RULE_STORE: carry it out after FUSE_NOTIFY_STORE of what the server has in
 *		the request's range; no argument
 * @RULE_ATTR_SIZE: carry it out, and set the size of each regular file in the
 *		    reply to this many bytes.  For LOOKUP, GETATTR, SETATTR and
 *		    READDIRPLUS
 */
enum rule_act {
	RULE_HOLD,
	RULE_ERRNO,
	RULE_SIZE,
	RULE_LACK,
	RULE_DELAY,
	RULE_DIE,
	RULE_INVAL,
	RULE_STORE,
	RULE_ATTR_SIZE,
};

/**
 * struct rule - one rule
 * @match: the requests to which it applies
 * @act: how they are handled
 * @arg: the argument, see enum rule_act
 */
struct rule {
	struct req_match match;
	enum rule_act act;
	__u64 arg;
};

/**
 * struct rules - all rules of a server; zeroed: none
 * @nr: how many
 * @rule: the rules, oldest first
 */
struct rules {
	int nr;
	struct rule rule[RULES_MAX];
};

/* Return: 0, or -ENOSPC. */
int rules_add(struct rules *rules, const struct rule *rule);

/* Remove the rules that hold requests. */
void rules_drop_holds(struct rules *rules);

/**
 * rules_find() - find the rule for a request: the newest that matches
 * @rules: the rules
 * @req: the request
 * @may_hold: false for a request that was held and is now released
 *
 * Return: the rule, or NULL.
 */
const struct rule *rules_find(const struct rules *rules, const struct req *req,
			      bool may_hold);

#endif
