#include "verbs.h"

/* In the order in which help shows them: one verb_kit_*.c each. */
static const struct verb *const kit_verbs[] = {
	&verb_kit_ls,
	&verb_kit_inspect,
	&verb_kit_check,
	NULL,
};

/* Reached only where no word of the table follows. */
static int
kit_exec(struct cli *c, const struct args *a, struct err *e)
{
	(void)c;
	if (a->nwords > 0)
		return usage_error(
			e, "unknown command 'kit %s': see paddock kit --help", a->words[0]);
	help_verb(&verb_kit);
	return EXIT_USAGE;
}

const struct verb verb_kit = {.name = "kit",
	.summary = "What agents are made of: list, show, check kits",
	.usage = "COMMAND ...",
	.details = "A kit is a YAML file, described in paddock-kit(5): a built-in one, one of your "
		   "own in\n"
		   "$XDG_CONFIG_HOME/paddock/kits/NAME.yaml, or any by its path: paddock run "
		   "./my-kit.yaml",
	.subs = kit_verbs,
	.exec = kit_exec};
