#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include <base/mem.h>
#include <kit/kit.h>

#include "verbs.h"

/* A kit of one's own that does not load is shown with its mistake. */
static void
show(const char *config, const char *name, json_t *all, bool json)
{
	CLEAN_FREE char *from = NULL;
	CLEAN_KIT struct kit k = {0};
	struct err why = {0};
	int r = kit_load(config, name, &k, &from, &why);
	const char *text = r < 0 ? why.msg : k.description != NULL ? k.description : "";
	char shown[ERR_MSG_MAX * 4];

	str_escape(text, strlen(text), shown, sizeof(shown));
	if (!json)
		printf("%-16s  %-8s  %s%s\n", name, from == NULL && r == 0 ? "built-in" : "own",
			r < 0 ? "broken: " : "", shown);
	json_array_append_new(all,
		json_pack("{s:s,s:b,s:s,s:s?}", "name", name, "built_in", from == NULL && r == 0,
			r < 0 ? "error" : "description", shown, "path", from));
}

static int
kit_ls_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_FREE char *config = kit_config_dir();
	CLEAN_STRV struct strv own = {0};
	bool json = args_has(a, "json");
	json_t *all;
	int r = kit_own_names(config, &own, e);

	(void)c;
	if (r < 0)
		return r;
	all = json_array();
	if (!json)
		printf("%-16s  %-8s  %s\n", "KIT", "FROM", "DESCRIPTION");
	for (size_t i = 0; i < own.n; i++)
		show(config, own.v[i], all, json);
	for (size_t i = 0; kit_builtin_name(i) != NULL; i++)
		if (!strv_has(&own, kit_builtin_name(i)))
			show(config, kit_builtin_name(i), all, json);
	if (json) {
		json_dumpf(all, stdout, JSON_INDENT(2));
		printf("\n");
	}
	json_decref(all);
	return 0;
}

static const struct option_def kit_ls_options[] = {
	{"json", 0, NULL, "as JSON"},
	{0},
};

const struct verb verb_kit_ls = {.name = "kit ls",
	.alias = "list",
	.summary = "List kits: your own, then the built-in ones",
	.usage = "[--json]",
	.options = kit_ls_options,
	.exec = kit_ls_exec};
