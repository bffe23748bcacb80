#include <stdio.h>
#include <string.h>
#include <time.h>

#include <base/mem.h>
#include <policy/addr.h>

#include "netlog.h"

/* SANDBOX TYPE HOST PROXY RULE REASON LAST-SEEN COUNT */
enum { COLUMNS = 8 };

struct table {
	char *(*rows)[COLUMNS];
	size_t n;
};

struct collect {
	struct table table;
	const char *sandbox;
};

static void
table_release(struct table *t)
{
	for (size_t i = 0; i < t->n; i++)
		for (int k = 0; k < COLUMNS; k++)
			free(t->rows[i][k]);
	free(t->rows);
}

void
netlog_host(const struct netevent *ev, char out[NETLOG_HOST_MAX])
{
	bool v6 = strchr(ev->host, ':') != NULL;

	if (ev->port == 0)
		snprintf(out, NETLOG_HOST_MAX, "%s", ev->host);
	else
		snprintf(out, NETLOG_HOST_MAX, v6 ? "[%s]:%u" : "%s:%u", ev->host, ev->port);
}

static char *
time_text(int64_t ms)
{
	time_t t = (time_t)(ms / 1000);
	char text[32];
	struct tm tm;

	if (localtime_r(&t, &tm) == NULL ||
		strftime(text, sizeof(text), "%H:%M:%S %d-%b", &tm) == 0)
		return xstrdup("?");
	return xstrdup(text);
}

static int
add_row(void *arg, const struct audit_tally *t)
{
	struct collect *c = arg;
	char host[NETLOG_HOST_MAX];
	char **row;

	c->table.rows = xreallocarray(c->table.rows, c->table.n + 1, sizeof(*c->table.rows));
	row = c->table.rows[c->table.n++];
	netlog_host(&t->ev, host);
	row[0] = xstrdup(c->sandbox);
	row[1] = xstrdup(netevent_kind_name(t->ev.kind));
	row[2] = xstrdup(host);
	row[3] = xstrdup(netevent_via_name(t->ev.via));
	row[4] = xstrdup(t->ev.rule[0] != '\0' ? t->ev.rule : "-");
	row[5] = xstrdup(t->ev.reason);
	row[6] = time_text(t->last_ms);
	row[7] = xasprintf("%llu", (unsigned long long)t->count);
	return 0;
}

static void
print_row(char *const row[COLUMNS], const int width[COLUMNS])
{
	for (int k = 0; k < COLUMNS - 1; k++)
		printf("%-*s  ", width[k], row[k]);
	printf("%s\n", row[COLUMNS - 1]);
}

static void
print_table(const char *title, const struct table *t)
{
	static char *const head[COLUMNS] = {(char *)"SANDBOX", (char *)"TYPE", (char *)"HOST",
		(char *)"PROXY", (char *)"RULE", (char *)"REASON", (char *)"LAST SEEN",
		(char *)"COUNT"};
	int width[COLUMNS];

	for (int k = 0; k < COLUMNS; k++) {
		width[k] = (int)strlen(head[k]);
		for (size_t i = 0; i < t->n; i++)
			if ((int)strlen(t->rows[i][k]) > width[k])
				width[k] = (int)strlen(t->rows[i][k]);
	}
	printf("%s\n", title);
	print_row(head, width);
	for (size_t i = 0; i < t->n; i++)
		print_row(t->rows[i], width);
}

static int
collect(const struct cli *c, const struct strv *names, enum netevent_verdict verdict,
	uint64_t limit, struct collect *all, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < names->n && r == 0; i++) {
		struct audit *a = NULL;

		r = netlog_open(c, names->v[i], &a, e);
		all->sandbox = names->v[i];
		if (r == 0)
			r = audit_tallies(a, verdict, 0, limit, add_row, all, e);
		audit_close(a);
		if (r == -ENOENT)
			r = 0;
	}
	return r;
}

static int
tell_lost(const struct cli *c, const struct strv *names, struct err *e)
{
	for (size_t i = 0; i < names->n; i++) {
		struct audit *a = NULL;
		uint64_t lost = 0;
		int r = netlog_open(c, names->v[i], &a, e);

		if (r == 0)
			r = audit_lost(a, &lost, e);
		audit_close(a);
		if (r < 0 && r != -ENOENT)
			return r;
		if (lost > 0)
			printf("\n%s: %llu more were too many at once to be told apart\n",
				names->v[i], (unsigned long long)lost);
	}
	return 0;
}

int
netlog_tables(
	const struct cli *c, const struct strv *names, const struct netlog_query *q, struct err *e)
{
	static const struct {
		enum netevent_verdict verdict;
		const char *title;
		bool always;
	} tables[] = {
		{NETEVENT_BLOCKED, "Blocked requests:", true},
		{NETEVENT_ALLOWED, "\nAllowed requests:", true},
		{NETEVENT_FAILED, "\nAllowed, but not reached:", false},
	};

	for (size_t i = 0; i < (q->only_blocked ? 1 : ARRAY_LEN(tables)); i++) {
		struct collect all = {.sandbox = NULL};
		int r = collect(c, names, tables[i].verdict, q->limit, &all, e);

		if (r == 0 && (tables[i].always || all.table.n > 0))
			print_table(tables[i].title, &all.table);
		table_release(&all.table);
		if (r < 0)
			return r;
	}
	return tell_lost(c, names, e);
}

/* ---- what run says at its end
 * -------------------------------------------------------------------- */

enum { NOTICE_NAMED = 5 };

struct notice {
	struct strv hosts;
};

static int
add_host(void *arg, const struct audit_tally *t)
{
	struct notice *n = arg;

	if (t->ev.kind == NETEVENT_DNS || strcmp(t->ev.host, "(others)") == 0)
		return 0;
	for (size_t i = 0; i < n->hosts.n; i++)
		if (strcmp(n->hosts.v[i], t->ev.host) == 0)
			return 0;
	strv_add(&n->hosts, t->ev.host);
	return 0;
}

bool
netlog_notice(const struct cli *c, const char *name, int64_t since_ms, char *out, size_t size)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct notice n = {{0}};
	struct audit *a = NULL;
	struct err e;
	int r = netlog_open(c, name, &a, &e);
	bool any;

	if (r == 0)
		r = audit_tallies(a, NETEVENT_BLOCKED, since_ms, 0, add_host, &n, &e);
	audit_close(a);
	any = r == 0 && n.hosts.n > 0;
	for (size_t i = 0; any && i < n.hosts.n && i < NOTICE_NAMED; i++)
		buf_printf(&b, "%s%s", i > 0 ? ", " : "", n.hosts.v[i]);
	if (any)
		snprintf(out, size, "%zu %s blocked: %s%s \xe2\x80\x94 paddock network log %s",
			n.hosts.n, n.hosts.n == 1 ? "host was" : "hosts were", buf_str(&b),
			n.hosts.n > NOTICE_NAMED ? ", ..." : "", name);
	strv_release(&n.hosts);
	return any;
}
