#include <state/policy.h>

#include "network.h"
#include "verbs.h"

static int
show(const struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_POLICY struct policy p = {0};
	int r = state_default_policy_load(&c->paths, &p, e);

	if (r < 0)
		return r;
	if (args_has(a, "json"))
		network_print_json(&p, NULL);
	else
		network_print(&p, NULL, args_has(a, "all"));
	return 0;
}

static int
change(const struct cli *c, const struct args *a, enum policy_preset *preset, struct err *e)
{
	CLEAN_CLOSE int lock = state_policy_lock(&c->paths, NULL, e);
	CLEAN_POLICY struct policy p = {0};
	int r = lock < 0 ? lock : 0;

	if (r == 0 && args_has(a, "reset"))
		policy_init(&p, POLICY_BALANCED);
	else if (r == 0)
		r = state_default_policy_load(&c->paths, &p, e);
	if (r == 0 && preset != NULL)
		policy_set_preset(&p, *preset);
	if (r == 0)
		r = network_policy_apply(a, &p, e);
	return r == 0 ? state_default_policy_save(&c->paths, &p, e) : r;
}

static int
default_exec(struct cli *c, const struct args *a, struct err *e)
{
	bool shown = args_has(a, "json") || args_has(a, "all");
	enum policy_preset preset;
	int r;

	bool changed = a->nwords > 0 || args_has(a, "reset") || network_policy_asked(a);

	if (a->nwords > 1 || (shown && changed))
		return usage_error(e, "write: paddock network default [open|balanced|locked] "
				      "[--allow-host HOST] ..., or alone to see it");
	if (a->nwords == 1 && policy_preset_parse(a->words[0], &preset) < 0)
		return usage_error(
			e, "'%s' is no preset: write open, balanced or locked", a->words[0]);
	r = state_paths_init(&c->paths, e);
	if (r < 0)
		return r;
	if (!changed)
		return show(c, a, e);
	return change(c, a, a->nwords == 1 ? &preset : NULL, e);
}

static const struct option_def default_options[] = {
	{"reset", 0, NULL, "begin anew, with balanced and no rules"},
	{"all", 'a', NULL, "show the preset's rules too"},
	{"json", 0, NULL, "show it as JSON"},
	{0},
};

const struct verb verb_network_default = {.name = "network default",
	.summary = "Show or change what new sandboxes may reach",
	.usage = "[open|balanced|locked] [--allow-host HOST] ... [--reset] | [--all] [--json]",
	.details = "Sandboxes that exist keep what they have.",
	.options = default_options,
	.shared = network_policy_options,
	.exec = default_exec};
