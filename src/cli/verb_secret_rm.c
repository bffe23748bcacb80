#include <errno.h>
#include <stdio.h>

#include "secret.h"
#include "verbs.h"

static int
remove_all(const struct cli *c, const struct args *a, const char *sandbox, struct err *e)
{
	CLEAN_CLOSE int lock = secrets_lock(&c->paths, e);
	CLEAN_SECRETS struct secrets s = {0};
	int r = lock < 0 ? lock : secrets_load(&c->paths, &s, e);

	/* All of them or none. */
	for (size_t i = 0; i < a->nwords && r == 0; i++)
		if (!secrets_remove(&s, a->words[i], sandbox))
			r = err_set(e, ENOENT, "no secret '%.40s'%s%s: see paddock secret ls",
				a->words[i], sandbox != NULL ? " of sandbox " : "",
				sandbox != NULL ? sandbox : "");
	return r == 0 ? secrets_save(&c->paths, &s, e) : r;
}

static int
rm_exec(struct cli *c, const struct args *a, struct err *e)
{
	/* One that is gone may have left some. */
	const char *sandbox = args_get(a, "sandbox");
	int r;

	if (a->nwords == 0)
		return usage_error(e, "write: paddock secret rm [--sandbox SANDBOX] NAME...");
	r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = remove_all(c, a, sandbox, e);
	for (size_t i = 0; i < a->nwords && r == 0; i++) {
		printf("%s\n", a->words[i]);
		r = secret_apply(c, sandbox, a->words[i], e);
	}
	return r;
}

static const struct option_def options[] = {
	{"sandbox", 0, "SANDBOX", "the one of this sandbox"},
	{0},
};

const struct verb verb_secret_rm = {.name = "secret rm",
	.summary = "Remove secrets, from the running sandboxes too",
	.usage = "[OPTIONS] NAME...",
	.options = options,
	.exec = rm_exec};
