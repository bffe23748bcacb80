/* paddock diff, and what a session ends with: what the host may run that the guest has changed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/mem.h>
#include <state/change_list.h>
#include <supervisor/supervisor.h>

#include "verbs.h"

#define REPORT_LINES 12

/* Relative to the first workspace where it lies there. */
static const char *
shown_path(const struct sandbox *s, const char *path)
{
	const char *rest = s->nworkspaces > 0 ? path_below(path, s->workspaces[0].path) : NULL;

	return rest != NULL && rest[0] == '/' ? rest + 1 : path;
}

static void
print_item(FILE *f, const char *indent, const struct sandbox *s, const struct change_item *i)
{
	fprintf(f, "%s%-8s  %-6s  %s", indent, change_what_name(i->what), change_kind_name(i->kind),
		shown_path(s, i->path));
	if (i->key[0] != '\0')
		fprintf(f, ": %s", i->key);
	if (i->value[0] != '\0')
		fprintf(f, " = %s", i->value);
	if (i->what == CHANGE_REFUSED && i->times > 1)
		fprintf(f, " (%llu times)", (unsigned long long)i->times);
	fprintf(f, "\n");
}

/* What the running machine has to say first; a stopped one has said all. */
static int
load(struct cli *c, const char *name, struct sandbox *s, struct change_list *l, struct err *e)
{
	int r = sandbox_load(&c->paths, name, s, e);

	if (r < 0)
		return r;
	r = supervisor_changes(&c->paths, name, e);
	if (r < 0 && r != -ESRCH)
		return r;
	return change_list_load(&c->paths, name, l, e);
}

static void
print_report(const struct sandbox *s, const struct change_list *l, int64_t since_ms)
{
	size_t n = 0, shown = 0;

	for (size_t i = 0; i < l->n; i++) {
		if (l->v[i].at_ms < since_ms || n++ >= REPORT_LINES)
			continue;
		if (shown++ == 0)
			fprintf(stderr,
				"changed in %s, where programs on this computer may run it:\n",
				s->workspaces[0].source != NULL ? s->workspaces[0].source
								: "the workspace");
		print_item(stderr, "  ", s, &l->v[i]);
	}
	if (n > shown)
		fprintf(stderr, "  and %zu more: paddock diff %s\n", n - shown, s->name);
}

void
changes_report(struct cli *c, const char *name, int64_t since_ms)
{
	struct change_list l = {0};
	struct sandbox s = {0};

	if (!c->quiet && load(c, name, &s, &l, NULL) == 0)
		print_report(&s, &l, since_ms);
	change_list_release(&l);
	sandbox_release(&s);
}

static int
diff_exec(struct cli *c, const struct args *a, struct err *e)
{
	struct change_list l = {0};
	struct sandbox s = {0};
	int r;

	if (a->nwords != 1)
		return usage_error(e, "write: paddock diff [--json] SANDBOX");
	r = sandbox_name_check(a->words[0], e);
	if (r == 0)
		r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = load(c, a->words[0], &s, &l, e);
	if (r == 0 && args_has(a, "json")) {
		CLEAN_FREE char *text = change_list_json(&l);

		printf("%s\n", text);
	} else if (r == 0) {
		for (size_t i = 0; i < l.n; i++)
			print_item(stdout, "", &s, &l.v[i]);
		if (l.incomplete)
			fprintf(stderr, "note: there is more than is kept: this list is not "
					"complete\n");
	}
	change_list_release(&l);
	sandbox_release(&s);
	return r;
}

static const struct option_def diff_options[] = {
	{"json", 0, NULL, "as JSON"},
	{0},
};

const struct verb verb_diff = {.name = "diff",
	.summary = "Show what the guest changed that programs on this computer may run",
	.usage = "[--json] SANDBOX",
	.details =
		"Git hooks and settings that run programs, settings of editors and agents, .envrc "
		"and the\n"
		"like, compared with the state before the sandbox first touched them. 'refused' is "
		"what\n"
		"the guest tried to write and could not.",
	.options = diff_options,
	.exec = diff_exec};
