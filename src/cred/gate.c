#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/mem.h>
#include <cred/secret.h>

#include "gate.h"
#include "shapes.h"

/* Of USER:PASSWORD the password is as secret alone. */
static void
add_password(struct matcher *m, const struct cred *c, uint16_t tag)
{
	const char *colon = strchr(c->value, ':');

	for (size_t i = 0; i < c->nplaces && colon != NULL; i++)
		if (strcmp(c->places[i].format, "Basic %s") == 0) {
			shapes_add(m, colon + 1, tag);
			return;
		}
}

struct cred_gate *
cred_gate_new(struct cred_set *set)
{
	struct cred_gate *g = xcalloc(1, sizeof(*g));

	g->holders = 1;
	g->set = *set;
	*set = (struct cred_set){0};
	matcher_init(&g->matcher);
	for (size_t i = 0; i < g->set.n; i++) {
		const struct cred *c = &g->set.v[i];

		shapes_add(&g->matcher, c->placeholder, GATE_TAG(i, false));
		if (c->value == NULL)
			continue;
		shapes_add(&g->matcher, c->value, GATE_TAG(i, true));
		add_password(&g->matcher, c, GATE_TAG(i, true));
	}
	matcher_build(&g->matcher);
	return g;
}

void
cred_gate_free(struct cred_gate *g)
{
	if (g == NULL || --g->holders > 0)
		return;
	matcher_release(&g->matcher);
	cred_set_release(&g->set);
	free(g);
}

static bool
host_is(const char *pattern, const char *host)
{
	size_t n = strlen(host), below;

	if (strncmp(pattern, "*.", 2) != 0)
		return strcmp(pattern, host) == 0;
	below = strlen(pattern + 1); /* with its dot */
	return n > below && strcmp(host + n - below, pattern + 1) == 0;
}

bool
gate_place_at(const struct cred_place *p, const struct cred_dest *d)
{
	if (!d->tls || d->port != CRED_PORT)
		return false;
	for (size_t i = 0; i < p->hosts.n; i++)
		if (host_is(p->hosts.v[i], d->host))
			return true;
	return false;
}

bool
gate_cred_at(const struct cred *c, const struct cred_dest *d)
{
	for (size_t i = 0; i < c->nplaces && c->value != NULL; i++)
		if (gate_place_at(&c->places[i], d))
			return true;
	return false;
}

bool
cred_gate_covers(const struct cred_gate *g, const struct cred_dest *d)
{
	for (size_t i = 0; i < g->set.n; i++)
		if (gate_cred_at(&g->set.v[i], d))
			return true;
	return false;
}

bool
gate_wants(const void *arg, uint16_t tag)
{
	const struct gate_want *w = arg;

	if ((tag & 1) != 0)
		return true;
	return w->placeholders && !gate_cred_at(&w->g->set.v[tag >> 1], w->dest);
}

struct cred_alarm
gate_alarm(const struct cred_gate *g, uint16_t tag, const char *where)
{
	return (struct cred_alarm){g->set.v[tag >> 1].name, (tag & 1) != 0, where};
}

void
cred_alarm_text(const struct cred_alarm *a, char *out, size_t size)
{
	snprintf(out, size, "the %s of credential '%s' in %s",
		a->value ? "real value" : "placeholder", a->name, a->where);
}
