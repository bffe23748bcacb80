#include "network.h"
#include "verbs.h"

static int
apply(const struct args *a, struct policy *p, struct err *e)
{
	return network_add_rules(a, RULE_ALLOW, p, e);
}

static int
allow_exec(struct cli *c, const struct args *a, struct err *e)
{
	int r;

	if (a->nwords < 2)
		return usage_error(e, "write: paddock network allow SANDBOX RESOURCE...");
	r = state_paths_init(&c->paths, e);
	return r == 0 ? network_change(c, a, a->words[0], false, apply, e) : r;
}

const struct verb verb_network_allow = {.name = "network allow",
	.summary = "Allow hosts, addresses or requests",
	.usage = "SANDBOX RESOURCE... [--method LIST] [--path PATTERN]",
	.details = "RESOURCE is a host, *.domain, address or range, each with :PORT or without; a "
		   "service\n"
		   "of the host is localhost:PORT. A rule for the same that denied is replaced. "
		   "Prints\n"
		   "the rules as they are kept.",
	.options = network_rule_options,
	.exec = allow_exec};
