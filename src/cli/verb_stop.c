#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <supervisor/supervisor.h>

#include "verbs.h"

static int
stop_exec(struct cli *c, const struct args *a, struct err *e)
{
	int r;

	if (a->nwords == 0)
		return usage_error(e, "write: paddock stop SANDBOX [SANDBOX...]");
	r = state_paths_init(&c->paths, e);
	for (size_t i = 0; i < a->nwords && r == 0; i++) {
		struct sandbox s = {0};

		r = sandbox_name_check(a->words[i], e);
		if (r == 0)
			r = sandbox_load(&c->paths, a->words[i], &s, e);
		sandbox_release(&s);
		if (r == 0)
			r = args_has(a, "suspend") ? suspend_sandbox(c, a->words[i], e)
						   : supervisor_stop(&c->paths, a->words[i], e);
		if (r == 0)
			printf("%s\n", a->words[i]);
	}
	return r;
}

static const struct option_def stop_options[] = {
	{"suspend", 0, NULL, "save what runs, as paddock suspend does"},
	{0},
};

const struct verb verb_stop = {.name = "stop",
	.summary = "Stop sandboxes; their disks stay",
	.usage = "[--suspend] SANDBOX [SANDBOX...]",
	.options = stop_options,
	.exec = stop_exec};
