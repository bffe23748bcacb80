#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include <base/mem.h>
#include <state/port.h>
#include <supervisor/supervisor.h>

#include "verbs.h"

struct row {
	struct sandbox s;
	struct control_status st;
	bool running, suspended;
	char broken[ERR_MSG_MAX]; /* the record cannot be read: why */
};

static void
row_release(struct row *r)
{
	sandbox_release(&r->s);
	control_status_release(&r->st);
}

static const char *
row_status(const struct row *r)
{
	if (r->broken[0] != '\0')
		return "broken";
	if (r->running)
		return control_state_name(r->st.state);
	return r->suspended ? "suspended" : "stopped";
}

static void
row_load(struct cli *c, const char *name, struct row *ret)
{
	struct err e = {0};

	memset(ret, 0, sizeof(*ret));
	if (sandbox_load(&c->paths, name, &ret->s, &e) < 0) {
		snprintf(ret->broken, sizeof(ret->broken), "%s", e.msg);
		ret->s.name = xstrdup(name);
		return;
	}
	ret->running = supervisor_status(&c->paths, name, &ret->st, NULL) == 0;
	ret->suspended = state_is_suspended(&c->paths, name);
}

static char *
workspaces_text(const struct sandbox *s)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	for (size_t i = 0; i < s->nworkspaces; i++)
		buf_printf(&b, "%s%s%s", i > 0 ? ", " : "", workspace_source(&s->workspaces[i]),
			s->workspaces[i].read_only ? ":ro" : "");
	return xstrdup(buf_str(&b));
}

/* What is open right now: "127.0.0.1:8080->3000/tcp4, ..." */
static char *
ports_text(const struct row *r)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	for (size_t i = 0; i < r->st.nports; i++) {
		char shown[PORT_TEXT_MAX];
		struct port p[2];
		size_t n;

		if (port_parse(r->st.ports[i].listening, p, &n, NULL) < 0)
			continue;
		port_show(&p[0], shown);
		buf_printf(&b, "%s%s", b.len > 0 ? ", " : "", shown);
	}
	return xstrdup(buf_str(&b));
}

static json_t *
row_json(const struct row *r)
{
	json_t *o, *ws = json_array();
	char created[32] = "";
	struct tm tm;
	time_t t = (time_t)r->s.created;

	for (size_t i = 0; i < r->s.nworkspaces; i++)
		json_array_append_new(ws, json_string(workspace_source(&r->s.workspaces[i])));
	if (gmtime_r(&t, &tm) == NULL ||
		strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		created[0] = '\0';
	o = json_pack("{s:s,s:s,s:s,s:s,s:o,s:s}", "name", r->s.name, "id", r->s.name, "agent",
		r->s.agent != NULL ? r->s.agent : "", "status", row_status(r), "workspaces", ws,
		"created", created);
	CLEAN_FREE char *ports = ports_text(r);

	json_object_set_new(o, "ports", json_string(ports));
	if (r->broken[0] != '\0')
		json_object_set_new(o, "error", json_string(r->broken));
	return o;
}

static int
max_int(int a, int b)
{
	return a > b ? a : b;
}

static void
print_table(const struct row *rows, size_t n)
{
	int w = 7, wa = 5, wp = 5;

	for (size_t i = 0; i < n; i++) {
		CLEAN_FREE char *ports = ports_text(&rows[i]);

		w = max_int(w, (int)strlen(rows[i].s.name));
		wp = max_int(wp, (int)strlen(ports));
	}
	printf("%-*s  %-*s  %-9s  %-*s  %s\n", w, "SANDBOX", wa, "AGENT", "STATUS", wp, "PORTS",
		"WORKSPACE");
	for (size_t i = 0; i < n; i++) {
		CLEAN_FREE char *ws = workspaces_text(&rows[i].s), *ports = ports_text(&rows[i]);

		printf("%-*s  %-*s  %-9s  %-*s  %s\n", w, rows[i].s.name, wa,
			rows[i].s.agent != NULL ? rows[i].s.agent : "?", row_status(&rows[i]), wp,
			ports, rows[i].broken[0] != '\0' ? rows[i].broken : ws);
	}
}

static void
print_json(const struct row *rows, size_t n)
{
	json_t *all = json_array(), *o;

	for (size_t i = 0; i < n; i++)
		json_array_append_new(all, row_json(&rows[i]));
	o = json_pack("{s:o}", "sandboxes", all);
	json_dumpf(o, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(o);
}

static int
ls_exec(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_STRV struct strv names = {0};
	CLEAN_FREE struct row *rows = NULL;
	int r = state_paths_init(&c->paths, e);

	if (r == 0)
		r = sandbox_names(&c->paths, &names, e);
	if (r < 0)
		return r;
	rows = xcalloc(names.n, sizeof(*rows));
	for (size_t i = 0; i < names.n; i++) {
		if (args_has(a, "quiet"))
			printf("%s\n", names.v[i]);
		else
			row_load(c, names.v[i], &rows[i]);
	}
	if (args_has(a, "quiet"))
		return 0;
	if (args_has(a, "json"))
		print_json(rows, names.n);
	else if (names.n == 0)
		printf("No sandboxes found.\nLaunch one: paddock run claude\n");
	else
		print_table(rows, names.n);
	for (size_t i = 0; i < names.n; i++)
		row_release(&rows[i]);
	return 0;
}

static const struct option_def ls_options[] = {
	{"quiet", 'q', NULL, "only names"},
	{"json", 0, NULL, "as JSON"},
	{0},
};

const struct verb verb_ls = {.name = "ls",
	.alias = "list",
	.summary = "List sandboxes",
	.usage = "[-q] [--json]",
	.options = ls_options,
	.exec = ls_exec};
