#include "verbs.h"

/* In the order in which help shows them: one verb_network_*.c each. */
static const struct verb *const network_verbs[] = {
	&verb_network_proxy,
	&verb_network_allow,
	&verb_network_deny,
	&verb_network_rm,
	&verb_network_ls,
	&verb_network_check,
	&verb_network_log,
	&verb_network_learn,
	&verb_network_default,
	NULL,
};

/* Reached only where no word of the table follows. */
static int
network_exec(struct cli *c, const struct args *a, struct err *e)
{
	(void)c;
	if (a->nwords > 0)
		return usage_error(
			e, "unknown command 'network %s': see paddock network --help", a->words[0]);
	help_verb(&verb_network);
	return EXIT_USAGE;
}

const struct verb verb_network = {.name = "network",
	.summary = "What a sandbox may reach, and what it tried to",
	.usage = "COMMAND ...",
	.subs = network_verbs,
	.exec = network_exec};
