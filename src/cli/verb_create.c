#include <stdio.h>

#include "credentials.h"
#include "verbs.h"

static int
create_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_FREE char *made = NULL;
	CLEAN_STRV struct strv env = {0};
	CLEAN_KIT struct kit kit = {0};
	CLEAN_CRED_SET struct cred_set credentials = {0};
	struct ui u;
	int r;

	if (a->nwords < 2)
		return usage_error(
			e, "write: paddock create [OPTIONS] AGENT WORKSPACE [WORKSPACE...]");
	struct make_request q = {.kit = &kit,
		.name = args_get(a, "name"),
		.paths = &a->words[1],
		.npaths = a->nwords - 1,
		.env = &env};

	r = agent_find(a->words[0], &kit, e);
	if (r == -ENOENT) {
		char known[160];

		agent_names(known, sizeof(known));
		return usage_error(e, "no agent is called '%s': there are %s; see paddock kit ls",
			a->words[0], known);
	}
	if (r == 0)
		r = env_from_args(a, &env, e);
	if (r == 0)
		r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = credentials_ask(c, a, &kit, NULL, &credentials, e);
	if (r < 0)
		return r;
	ui_init(&u, c);
	r = make_sandbox(c, a, &q, &u, &made, e);
	ui_finish(&u);
	if (r == 0)
		r = make_started(c, made, &u, e);
	if (r == 0)
		r = credentials_give(c, made, &credentials, NULL, e);
	if (r == 0)
		r = ssh_give(c, made, e);
	if (r == 0)
		r = agent_prepare(c, made, &kit, e);
	if (r == 0)
		printf("%s\n", made);
	return r;
}

const struct verb verb_create = {.name = "create",
	.summary = "Make a sandbox and start it, without its agent",
	.usage = "[OPTIONS] AGENT WORKSPACE [WORKSPACE...]",
	.details = "The workspaces appear inside at the same absolute paths; PATH:ro makes one "
		   "read-only.\n"
		   "Further ones may be single files. Prints the sandbox's name.",
	.shared = make_options,
	.exec = create_exec};
