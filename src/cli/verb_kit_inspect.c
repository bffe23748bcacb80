#include <stdio.h>
#include <string.h>

#include <kit/kit.h>

#include "verbs.h"

static void
print_words(const char *what, const struct strv *s)
{
	if (s->n == 0)
		return;
	printf("%-13s", what);
	for (size_t i = 0; i < s->n; i++)
		printf("%s%s", i > 0 ? " " : "", s->v[i]);
	printf("\n");
}

static void
print_lines(const char *what, const struct strv *s)
{
	for (size_t i = 0; i < s->n; i++)
		printf("%-13s%s\n", i == 0 ? what : "", s->v[i]);
}

/* For people: what it runs and may do; steps and file contents are left to --json. */
static void
print_kit(const struct kit *k, const char *from)
{
	printf("%-13s%s\n", "name", k->name);
	printf("%-13s%s\n", "from", from != NULL ? from : "built-in");
	if (k->description != NULL)
		printf("%-13s%s\n", "description", k->description);
	print_words("command", &k->command);
	print_words("arguments", &k->args);
	print_words("packages", &k->packages);
	print_words("npm", &k->npm);
	for (size_t i = 0; i < k->nsteps; i++)
		printf("%-13sas %s, %zu bytes of shell\n", i == 0 ? "install" : "",
			k->steps[i].root ? "root" : "agent", strlen(k->steps[i].run));
	for (size_t i = 0; i < k->nfiles; i++)
		printf("%-13s~/%s\n", i == 0 ? "files" : "", k->files[i].path);
	print_lines("environment", &k->env);
	print_lines("network", &k->rules);
	for (size_t i = 0; i < k->ncredentials; i++)
		printf("%-13s%s (declared; nothing uses it yet)\n", i == 0 ? "credentials" : "",
			k->credentials[i].name);
}

static int
kit_inspect_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_FREE char *config = kit_config_dir();
	CLEAN_FREE char *from = NULL, *text = NULL;
	CLEAN_KIT struct kit k = {0};
	int r;

	(void)c;
	if (a->nwords != 1)
		return usage_error(e, "write: paddock kit inspect NAME|FILE [--json]");
	r = kit_load(config, a->words[0], &k, &from, e);
	if (r < 0)
		return r;
	if (args_has(a, "json")) {
		text = kit_print(&k);
		printf("%s\n", text);
	} else {
		print_kit(&k, from);
	}
	return 0;
}

static const struct option_def kit_inspect_options[] = {
	{"json", 0, NULL, "all of it as JSON, which is a kit again"},
	{0},
};

const struct verb verb_kit_inspect = {.name = "kit inspect",
	.summary = "Show a kit with what it extends",
	.usage = "[--json] NAME|FILE",
	.options = kit_inspect_options,
	.exec = kit_inspect_exec};
