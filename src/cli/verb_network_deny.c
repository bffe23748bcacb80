#include "network.h"
#include "verbs.h"

static int
apply(const struct args *a, struct policy *p, struct err *e)
{
	return network_add_rules(a, RULE_DENY, p, e);
}

static int
deny_exec(struct cli *c, const struct args *a, struct err *e)
{
	int r;

	if (a->nwords < 2)
		return usage_error(e, "write: paddock network deny SANDBOX RESOURCE...");
	r = state_paths_init(&c->paths, e);
	return r == 0 ? network_change(c, a, a->words[0], false, apply, e) : r;
}

const struct verb verb_network_deny = {.name = "network deny",
	.summary = "Deny hosts, addresses or requests",
	.usage = "SANDBOX RESOURCE... [--method LIST] [--path PATTERN]",
	.details =
		"RESOURCE is as with network allow. A rule for the same that allowed is replaced, "
		"and\n"
		"open connections that are denied now are cut. Prints the rules as they are kept.",
	.options = network_rule_options,
	.exec = deny_exec};
