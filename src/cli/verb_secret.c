#include <errno.h>
#include <string.h>

#include <base/mem.h>
#include <supervisor/supervisor.h>

#include "secret.h"
#include "verbs.h"

static bool
runs(const struct cli *c, const char *name)
{
	struct control_status st = {0};
	bool yes = supervisor_status(&c->paths, name, &st, NULL) == 0;

	control_status_release(&st);
	return yes;
}

/* What holds for this sandbox now: another value, or none any more. */
static int
apply_to(const struct cli *c, const char *sandbox, const char *name, struct err *e)
{
	CLEAN_CRED_SET struct cred_set set = {0};
	CLEAN_KIT struct kit kit = {0};
	struct sandbox s = {0};
	struct cred one = {0};
	int r = sandbox_load(&c->paths, sandbox, &s, e);

	if (r == 0)
		r = agent_of(c, &s, &kit, e);
	if (r == 0)
		r = credentials_one(c, &kit, sandbox, name, &one, e);
	if (r == 0)
		cred_set_add(&set, &one);
	if (r == 0 || r == -ENOENT)
		r = credentials_give(c, sandbox, &set, name, e);
	sandbox_release(&s);
	return r < 0 ? err_prefix(e, "sandbox '%s'", sandbox) : 0;
}

int
secret_apply(const struct cli *c, const char *sandbox, const char *name, struct err *e)
{
	CLEAN_STRV struct strv names = {0};
	int r = 0;

	if (sandbox != NULL)
		return runs(c, sandbox) ? apply_to(c, sandbox, name, e) : 0;
	r = sandbox_names(&c->paths, &names, e);
	for (size_t i = 0; i < names.n && r == 0; i++)
		if (runs(c, names.v[i]))
			r = apply_to(c, names.v[i], name, e);
	return r;
}

int
secret_sandbox(const struct cli *c, const struct args *a, const char **ret, struct err *e)
{
	struct sandbox s = {0};
	const char *name = args_get(a, "sandbox");
	int r = 0;

	if (name != NULL)
		r = sandbox_name_check(name, e);
	if (name != NULL && r == 0)
		r = sandbox_load(&c->paths, name, &s, e);
	sandbox_release(&s);
	if (r == 0)
		*ret = name;
	return r;
}

int
secret_keep(const struct cli *c, struct secrets_entry *one, struct err *e)
{
	CLEAN_CLOSE int lock = secrets_lock(&c->paths, e);
	CLEAN_SECRETS struct secrets s = {0};
	int r = lock < 0 ? lock : secrets_load(&c->paths, &s, e);

	if (r < 0)
		return r;
	if (s.n >= SECRETS_ENTRIES_MAX)
		return err_set(e, ENOSPC, "there are %d secrets already: see paddock secret ls",
			SECRETS_ENTRIES_MAX);
	secrets_put(&s, one);
	r = secrets_save(&c->paths, &s, e);
	if (r == 0 && !s.encrypted && !c->quiet)
		ui_note("note: kept in a file that only you can read (mode 0600), not encrypted: "
			"there is no Secret Service here (secret-tool of libsecret-tools)");
	return r;
}

static const struct verb *const secret_verbs[] = {
	&verb_secret_set,
	&verb_secret_ls,
	&verb_secret_rm,
	&verb_secret_import,
	NULL,
};

/* Reached only where no word of the table follows. */
static int
secret_exec(struct cli *c, const struct args *a, struct err *e)
{
	(void)c;
	if (a->nwords > 0)
		return usage_error(
			e, "unknown command 'secret %s': see paddock secret --help", a->words[0]);
	help_verb(&verb_secret);
	return EXIT_USAGE;
}

const struct verb verb_secret = {.name = "secret",
	.summary = "Keys that agents work with and never see: set, list, remove, import",
	.usage = "COMMAND ...",
	.details =
		"A sandbox holds a placeholder; on requests to the hosts of the service, over "
		"TLS,\n"
		"the real value is put in its place outside. A secret opens no host: see network.",
	.subs = secret_verbs,
	.exec = secret_exec};
