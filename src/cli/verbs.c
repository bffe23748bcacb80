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
	&verb_stop,
	&verb_rm,
	&verb_template,
	&verb_completion,
	&verb_version,
	&verb_help,
	NULL,
};
