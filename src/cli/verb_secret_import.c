#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/mem.h>
#include <cred/secret.h>

#include "secret.h"
#include "verbs.h"

static bool
is_asked_for(const struct args *a, const char *name)
{
	for (size_t i = 0; i < a->nwords; i++)
		if (strcmp(a->words[i], name) == 0)
			return true;
	return a->nwords == 0;
}

static const char *
variable_of(const struct cred_service *s)
{
	for (size_t i = 0; i < SERVICE_ENV_MAX && s->env[i] != NULL; i++) {
		const char *v = getenv(s->env[i]);

		if (v != NULL && v[0] != '\0')
			return s->env[i];
	}
	return NULL;
}

/* Enough to tell keys apart, too little of a long one to matter. */
static void
preview(const char *value, char out[8])
{
	size_t n = strlen(value);

	snprintf(out, 8, "...%s", n >= 16 ? value + n - 4 : "");
}

static int
keep(const struct cli *c, const struct cred_service *s, const char *value, struct err *e)
{
	struct secrets_entry one = {.cred = {.name = xstrdup(s->name)}};
	CLEAN_SECRETS struct secrets rest = {0};
	int r = cred_value_check(s->name, value, strlen(value), e);

	if (r == 0) {
		one.cred.value = secret_dup(value, strlen(value));
		r = secret_keep(c, &one, e);
	}
	if (one.cred.name != NULL)
		secrets_put(&rest, &one); /* to be released with it */
	return r == 0 ? secret_apply(c, NULL, s->name, e) : r;
}

static int
import_one(const struct cli *c, const struct args *a, const struct secrets *there,
	const struct cred_service *s, struct err *e)
{
	const char *variable = variable_of(s);
	const char *value = variable != NULL ? getenv(variable) : NULL;
	char last[8];

	if (value == NULL || !is_asked_for(a, s->name))
		return 0;
	preview(value, last);
	if (secrets_find(there, s->name, NULL) != NULL && !args_has(a, "force")) {
		printf("%-12s  %s %s: kept already; --force replaces it\n", s->name, variable,
			last);
		return 0;
	}
	if (!args_has(a, "dry-run") && !args_has(a, "all")) {
		CLEAN_FREE char *q = xasprintf("Import %s from %s (%s)?", s->name, variable, last);

		if (!ui_confirm(q))
			return 0;
	}
	printf("%-12s  %s %s%s\n", s->name, variable, last,
		args_has(a, "dry-run") ? ": would be imported" : "");
	return args_has(a, "dry-run") ? 0 : keep(c, s, value, e);
}

static int
import_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_SECRETS struct secrets there = {0};
	const struct cred_service *s;
	bool any = false;
	int r;

	for (size_t i = 0; i < a->nwords; i++)
		if (cred_service_find(a->words[i]) == NULL)
			return usage_error(e,
				"no service is called '%.40s': see paddock secret "
				"set --help",
				a->words[i]);
	/* Where nobody can be asked, nothing is done silently. */
	if (!args_has(a, "all") && !args_has(a, "dry-run") && !isatty(STDIN_FILENO))
		return usage_error(e, "there is no terminal to ask on: --all imports all, "
				      "--dry-run shows them");
	r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = secrets_load(&c->paths, &there, e);
	for (size_t i = 0; r == 0 && (s = cred_service_at(i)) != NULL; i++) {
		any |= variable_of(s) != NULL && is_asked_for(a, s->name);
		r = import_one(c, a, &there, s, e);
	}
	if (r == 0 && !any)
		ui_note("no variable of a known service is set");
	return r;
}

static const struct option_def options[] = {
	{"all", 0, NULL, "without asking"},
	{"force", 0, NULL, "replace what is kept already"},
	{"dry-run", 0, NULL, "only show what there is"},
	{0},
};

const struct verb verb_secret_import = {.name = "secret import",
	.summary = "Keep the keys that the environment has (ANTHROPIC_API_KEY, GH_TOKEN, ...)",
	.usage = "[OPTIONS] [SERVICE...]",
	.details = "Asks for each, showing its last four characters.",
	.options = options,
	.exec = import_exec};
