#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <base/mem.h>

#include "secret.h"
#include "verbs.h"

static json_t *
hosts_of(const struct secrets_entry *one)
{
	json_t *hosts = json_array();
	struct cred known = {0};
	const struct cred *c = &one->cred;

	if (c->nplaces == 0 && credentials_service(c->name, &known))
		c = &known;
	for (size_t i = 0; i < c->nplaces; i++)
		for (size_t k = 0; k < c->places[i].hosts.n; k++)
			json_array_append_new(hosts, json_string(c->places[i].hosts.v[k]));
	cred_release(&known);
	return hosts;
}

static void
print_row(const struct secrets_entry *one, json_t *hosts)
{
	printf("%-16s  %-16s  %-8s ", one->cred.name, one->sandbox != NULL ? one->sandbox : "(all)",
		one->command != NULL ? "command" : "value");
	for (size_t i = 0; i < json_array_size(hosts); i++)
		printf(" %s", json_string_value(json_array_get(hosts, i)));
	printf("%s\n", json_array_size(hosts) == 0 ? " (a kit's)" : "");
}

static int
ls_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_SECRETS struct secrets s = {0};
	const char *sandbox = NULL;
	bool json = args_has(a, "json");
	json_t *all;
	int r;

	if (a->nwords > 0)
		return usage_error(e, "write: paddock secret ls [--sandbox SANDBOX] [--json]");
	r = state_paths_init(&c->paths, e);
	if (r == 0)
		r = secret_sandbox(c, a, &sandbox, e);
	if (r == 0)
		r = secrets_load(&c->paths, &s, e);
	if (r < 0)
		return r;
	all = json_array();
	if (!json)
		printf("%-16s  %-16s  %-8s  %s\n", "NAME", "SANDBOX", "KIND", "HOSTS");
	for (size_t i = 0; i < s.n; i++) {
		const struct secrets_entry *one = &s.v[i];
		json_t *hosts;

		if (sandbox != NULL && one->sandbox != NULL && strcmp(one->sandbox, sandbox) != 0)
			continue;
		hosts = hosts_of(one);
		if (!json)
			print_row(one, hosts);
		json_array_append_new(all,
			json_pack("{s:s,s:s?,s:s,s:s?,s:o}", "name", one->cred.name, "sandbox",
				one->sandbox, "kind", one->command != NULL ? "command" : "value",
				"command", one->command, "hosts", hosts));
	}
	if (json) {
		CLEAN_FREE char *text = json_dumps(all, JSON_INDENT(2));

		printf("%s\n", text);
	}
	json_decref(all);
	return 0;
}

static const struct option_def options[] = {
	{"sandbox", 0, "SANDBOX", "what this one may be given"},
	{"json", 0, NULL, "as JSON"},
	{0},
};

const struct verb verb_secret_ls = {.name = "secret ls",
	.alias = "list",
	.summary = "List the secrets that are kept, without their values",
	.usage = "[OPTIONS]",
	.options = options,
	.exec = ls_exec};
