#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <supervisor/supervisor.h>

#include "verbs.h"

static int
discard(struct cli *c, const char *name, struct err *e)
{
	CLEAN_CLOSE int lock = state_lock(&c->paths, name, e);

	if (lock == -EWOULDBLOCK)
		return err_set(e, EBUSY, "sandbox '%s' is running: nothing is saved", name);
	return lock < 0 ? lock : state_suspended_remove(&c->paths, name, e);
}

int
suspend_sandbox(struct cli *c, const char *name, struct err *e)
{
	struct sandbox s = {0};
	int r = sandbox_name_check(name, e);

	if (r == 0)
		r = sandbox_load(&c->paths, name, &s, e);
	sandbox_release(&s);
	if (r < 0)
		return r;
	r = supervisor_suspend(&c->paths, name, e);
	if (r == -ESRCH && state_is_suspended(&c->paths, name))
		return 0;
	if (r == -ESRCH)
		return err_set(e, ESRCH, "sandbox '%s' is not running", name);
	return r < 0 ? err_prefix(e, "sandbox '%s' was not suspended and runs on", name) : 0;
}

static int
suspend_exec(struct cli *c, const struct args *a, struct err *e)
{
	int r;

	if (a->nwords == 0)
		return usage_error(e, "write: paddock suspend SANDBOX [SANDBOX...]");
	r = state_paths_init(&c->paths, e);
	for (size_t i = 0; i < a->nwords && r == 0; i++) {
		r = args_has(a, "discard") ? sandbox_name_check(a->words[i], e) : 0;
		if (r == 0)
			r = args_has(a, "discard") ? discard(c, a->words[i], e)
						   : suspend_sandbox(c, a->words[i], e);
		if (r == 0)
			printf("%s\n", a->words[i]);
	}
	return r;
}

static const struct option_def suspend_options[] = {
	{"discard", 0, NULL, "throw away what was saved: the next start boots from the disk"},
	{0},
};

const struct verb verb_suspend = {.name = "suspend",
	.summary = "Save running sandboxes to disk, every process included, and stop them",
	.usage = "SANDBOX [SANDBOX...]",
	.details =
		"The next run, exec or attach goes on where they were, also after the host has\n"
		"started anew. Files of the workspaces that the host changed meanwhile are seen\n"
		"as they are then; network connections are reset; attached terminals detach.",
	.options = suspend_options,
	.exec = suspend_exec};
