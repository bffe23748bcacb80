#include <base/mem.h>

#include "netlog.h"
#include "verbs.h"

int
netlog_open(const struct cli *c, const char *name, struct audit **ret, struct err *e)
{
	CLEAN_FREE char *folder = state_sandbox_file(&c->paths, name, AUDIT_FOLDER);
	CLEAN_FREE char *path = NULL;

	path = xasprintf("%s/%s", folder, AUDIT_FILE);
	return audit_open_read(path, ret, e);
}

static int
names_of(const struct cli *c, const struct args *a, struct strv *ret, struct err *e)
{
	struct sandbox s = {0};
	int r;

	if (a->nwords == 0)
		return sandbox_names(&c->paths, ret, e);
	r = sandbox_name_check(a->words[0], e);
	if (r == 0)
		r = sandbox_load(&c->paths, a->words[0], &s, e);
	sandbox_release(&s);
	if (r == 0)
		strv_add(ret, a->words[0]);
	return r;
}

static int
log_exec(struct cli *c, const struct args *a, struct err *e)
{
	const char *limit = args_get(a, "limit");
	bool follow = args_has(a, "follow"), json = args_has(a, "json");
	struct netlog_query q = {.only_blocked = args_has(a, "blocked")};
	CLEAN_STRV struct strv names = {0};
	int r;

	if (a->nwords > 1)
		return usage_error(e, "write: paddock network log [SANDBOX]");
	if (limit != NULL && str_to_u64(limit, 1, 1000000, &q.limit) < 0)
		return usage_error(e, "'--limit %s' is no number from 1 on", limit);
	if (limit == NULL && follow)
		q.limit = 10;
	r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = names_of(c, a, &names, e);
	if (r < 0)
		return r;
	if (follow || json)
		return netlog_feed(c, &names, &q, json, follow, e);
	return netlog_tables(c, &names, &q, e);
}

static const struct option_def log_options[] = {
	{"follow", 'f', NULL, "every attempt as it happens, until the sandbox stops"},
	{"json", 0, NULL, "every attempt as one JSON object a line"},
	{"limit", 0, "N", "the newest N rows or attempts"},
	{"blocked", 0, NULL, "only what was blocked"},
	{0},
};

const struct verb verb_network_log = {.name = "network log",
	.summary = "What a sandbox's network was used for, and what was blocked",
	.usage = "[SANDBOX] [--follow] [--json] [--limit N] [--blocked]",
	.details = "Counts stay as long as the sandbox does; of single attempts the oldest are "
		   "forgotten\n"
		   "once there are 20000.",
	.options = log_options,
	.exec = log_exec};
