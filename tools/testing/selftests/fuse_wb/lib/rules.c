// SPDX-License-Identifier: GPL-2.0
/* Rules for how the server handles a request, see rules.h. */

#include <errno.h>
#include <stddef.h>

#include "rules.h"

int rules_add(struct rules *rules, const struct rule *rule)
{
	if (rules->nr == RULES_MAX)
		return -ENOSPC;
	rules->rule[rules->nr++] = *rule;
	return 0;
}

void rules_drop_holds(struct rules *rules)
{
	int i, kept = 0;

	for (i = 0; i < rules->nr; i++)
		if (rules->rule[i].act != RULE_HOLD)
			rules->rule[kept++] = rules->rule[i];
	rules->nr = kept;
}

const struct rule *rules_find(const struct rules *rules, const struct req *req,
			      bool may_hold)
{
	int i;

	for (i = rules->nr - 1; i >= 0; i--) {
		const struct rule *rule = &rules->rule[i];

		if ((may_hold || rule->act != RULE_HOLD) &&
		    req_matches(&rule->match, req))
			return rule;
	}
	return NULL;
}
