#include <errno.h>
#include <stdio.h>

#include "network.h"
#include "verbs.h"

struct wanted {
	struct rule rule;
	bool exact; /* of methods and path, too */
	bool print;
};

static bool
is_wanted(const struct rule *r, void *arg)
{
	const struct wanted *w = arg;
	char line[RULE_LINE_MAX];

	if (w->exact ? !rule_same_match(r, &w->rule) : !rule_same_resource(r, &w->rule))
		return false;
	if (w->print) {
		rule_format_line(r, line);
		printf("%s\n", line);
	}
	return true;
}

static bool
is_there(const struct policy *p, struct wanted *w)
{
	for (size_t i = 0; i < p->nown; i++)
		if (is_wanted(&p->rules[i], w))
			return true;
	return false;
}

static int
not_there(const struct args *a, const struct policy *p, const struct wanted *w, struct err *e)
{
	char text[RULE_TEXT_MAX];

	rule_format(&w->rule, text);
	for (size_t i = p->nown; i < p->nrules; i++)
		if (rule_same_match(&p->rules[i], &w->rule))
			return err_set(e, ENOENT,
				"'%.100s' is a rule of the preset %s: paddock network deny %s "
				"'%.100s' closes it",
				text, policy_preset_name(p->preset), a->words[0], text);
	return err_set(e, ENOENT, "no rule '%.100s': see paddock network ls %s", text, a->words[0]);
}

static int
remove_rules(const struct args *a, struct policy *p, struct err *e)
{
	struct wanted w = {.exact = args_has(a, "method") || args_has(a, "path")};
	int r = 0;

	/* All of them or none. */
	for (size_t i = 1; i < a->nwords && r == 0; i++) {
		r = network_rule(a, RULE_ALLOW, a->words[i], &w.rule, e);
		if (r == 0 && !is_there(p, &w))
			r = not_there(a, p, &w, e);
	}
	w.print = true;
	for (size_t i = 1; i < a->nwords && r == 0; i++) {
		r = network_rule(a, RULE_ALLOW, a->words[i], &w.rule, e);
		(void)policy_remove(p, is_wanted, &w);
	}
	return r;
}

static int
rm_exec(struct cli *c, const struct args *a, struct err *e)
{
	int r;

	if (a->nwords < 2)
		return usage_error(e, "write: paddock network rm SANDBOX RESOURCE...");
	r = state_paths_init(&c->paths, e);
	return r == 0 ? network_change(c, a, a->words[0], false, remove_rules, e) : r;
}

const struct verb verb_network_rm = {.name = "network rm",
	.summary = "Take rules away",
	.usage = "SANDBOX RESOURCE... [--method LIST] [--path PATTERN]",
	.details = "All rules for the resource, as network ls shows it; with options only those\n"
		   "with just these methods and this path. Prints what is gone.",
	.options = network_rule_options,
	.exec = rm_exec};
