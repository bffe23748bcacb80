#include "network.h"
#include "verbs.h"

static int
ls_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_POLICY struct policy p = {0};
	struct sandbox s = {0};
	int r;

	if (a->nwords != 1)
		return usage_error(e, "write: paddock network ls SANDBOX");
	r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = network_load(c, a->words[0], &s, &p, e);
	if (r < 0)
		return r;
	if (args_has(a, "json"))
		network_print_json(&p, &s);
	else
		network_print(&p, &s, args_has(a, "all"));
	sandbox_release(&s);
	return 0;
}

static const struct option_def ls_options[] = {
	{"all", 'a', NULL, "the preset's rules too"},
	{"json", 0, NULL, "as JSON, always with the preset's"},
	{0},
};

const struct verb verb_network_ls = {.name = "network ls",
	.alias = "list",
	.summary = "List the rules of a sandbox",
	.usage = "SANDBOX [--all] [--json]",
	.options = ls_options,
	.exec = ls_exec};
