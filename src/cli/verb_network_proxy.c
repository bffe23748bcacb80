#include "network.h"
#include "verbs.h"

static int
proxy_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_POLICY struct policy scratch = {0};
	int r;

	if (a->nwords != 1 || !network_policy_asked(a))
		return usage_error(e, "write: paddock network proxy SANDBOX --policy allow|deny "
				      "[--allow-host HOST] ...");
	/* What is wrong with the words is said before anything is looked for. */
	r = network_policy_apply(a, &scratch, e);
	if (r == 0)
		r = state_paths_init(&c->paths, e);
	return r == 0 ? network_change(
				c, a, a->words[0], args_has(a, "policy"), network_policy_apply, e)
		      : r;
}

const struct verb verb_network_proxy = {.name = "network proxy",
	.summary = "Change what a sandbox may reach, also while it runs",
	.usage = "SANDBOX [--policy allow|deny|balanced] [--allow-host HOST] ...",
	.details =
		"Rules stay until network rm takes them away. The next connection obeys, and\n"
		"open ones that are no longer allowed are cut. Every option but --policy may be\n"
		"given more than once. The section NETWORK of paddock(1) tells how rules are\n"
		"written and which one decides.",
	.options = network_policy_options,
	.exec = proxy_exec};
