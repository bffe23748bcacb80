#include <string.h>

#include "verbs.h"

/* In the order in which help shows them. */
const struct verb *const verbs[] = {
	&verb_run,
	&verb_create,
	&verb_exec,
	&verb_attach,
	&verb_ls,
	&verb_inspect,
	&verb_logs,
	&verb_diff,
	&verb_ports,
	&verb_stop,
	&verb_suspend,
	&verb_checkpoint,
	&verb_rollback,
	&verb_fork,
	&verb_rm,
	&verb_network,
	&verb_secret,
	&verb_kit,
	&verb_template,
	&verb_completion,
	&verb_version,
	&verb_help,
	NULL,
};

static const char *
last_word(const char *name)
{
	const char *space = strrchr(name, ' ');

	return space != NULL ? space + 1 : name;
}

const struct verb *
verb_find(const struct verb *const *table, const char *word)
{
	for (; *table != NULL; table++)
		if (strcmp(last_word((*table)->name), word) == 0 ||
			((*table)->alias != NULL && strcmp((*table)->alias, word) == 0))
			return *table;
	return NULL;
}
