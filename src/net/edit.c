#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/mem.h>

#include "edit.h"
#include "server.h"

#define WHY_MAX 160

struct edit_upload {
	const struct net *net;
	struct cred_stream *stream;
	char host[HOST_NAME_TEXT_MAX];
	uint16_t port;
	char why[WHY_MAX];
	bool told;
};

struct edit_answer {
	struct cred_stream *stream;
};

void
edit_take(struct net *net, struct cred_set *set)
{
	cred_gate_free(net->creds);
	net->creds = cred_gate_new(set);
}

bool
edit_concerns(const struct net *net, const struct reach_dest *d)
{
	const struct cred_dest to = {d->host, d->port, true};

	return net->creds != NULL && !d->is_raw && cred_gate_covers(net->creds, &to);
}

static struct cred_dest
dest_of(const struct edit_request *q)
{
	return (struct cred_dest){q->host, q->port, !q->plain};
}

/* From memory that is given back now into the caller's, in one piece so that nothing moves. */
static void
move_edits(struct cred_edits *edits, struct http_field *fields, size_t n, struct buf *store)
{
	size_t all = 0;

	for (size_t i = 0; i < edits->n; i++)
		all += strlen(edits->v[i]);
	(void)buf_reserve(store, all + WHY_MAX);
	for (size_t i = 0; i < edits->n; i++) {
		const char *from = edits->v[i];
		const char *to = (const char *)store->data + store->len;

		buf_append(store, from, strlen(from));
		for (size_t k = 0; k < n; k++) {
			if (fields[k].name.p == from)
				fields[k].name.p = to;
			if (fields[k].value.p == from)
				fields[k].value.p = to;
		}
	}
	cred_edits_release(edits);
}

const char *
edit_request_fields(const struct net *net, const struct edit_request *q, struct http_field *fields,
	size_t *n, struct buf *store)
{
	const struct cred_dest d = dest_of(q);
	struct cred_edits edits = {0};
	struct cred_alarm alarm;
	enum cred_verdict v;
	char why[WHY_MAX];

	if (net->creds == NULL)
		return NULL;
	v = cred_request(net->creds, &d, (struct http_str){q->target, strlen(q->target)}, fields,
		HTTP_FIELDS_MAX, n, &edits, &alarm);
	if (v == CRED_PASS) {
		move_edits(&edits, fields, *n, store);
		return NULL;
	}
	cred_edits_release(&edits);
	if (v == CRED_NO_ROOM)
		return "more header fields than a credential leaves room for";
	cred_alarm_text(&alarm, why, sizeof(why));
	buf_append_str(store, why);
	return buf_str(store);
}

/* ---- bodies */

struct edit_upload *
edit_upload_start(const struct net *net, const struct edit_request *q)
{
	const struct cred_dest d = dest_of(q);
	struct edit_upload *u;

	if (net->creds == NULL)
		return NULL;
	u = xcalloc(1, sizeof(*u));
	u->net = net;
	u->stream = cred_stream_new(net->creds, &d, CRED_UP);
	u->port = q->port;
	snprintf(u->host, sizeof(u->host), "%s", q->host);
	return u;
}

/* The request is in the log as allowed already. */
static void
tell(struct edit_upload *u, bool masked)
{
	struct netevent ev = {.kind = NETEVENT_HTTP,
		.via = NETEVENT_TRANSPARENT,
		.verdict = NETEVENT_BLOCKED,
		.port = u->port};
	char text[WHY_MAX + 16];

	snprintf(text, sizeof(text), "%s%s", u->why, masked ? " was masked" : "");
	netevent_set_text(ev.host, sizeof(ev.host), u->host, strlen(u->host));
	netevent_set_text(ev.rule, sizeof(ev.rule), "<credential>", strlen("<credential>"));
	netevent_set_text(ev.reason, sizeof(ev.reason), text, strlen(text));
	events_one(u->net->events, &ev);
	u->told = true;
}

const char *
edit_upload_body(struct edit_upload *u, const uint8_t *p, size_t n, bool last, struct buf *out)
{
	enum cred_verdict v = cred_stream_feed(u->stream, p, n, out);
	struct cred_alarm alarm;

	if (v == CRED_PASS && last)
		v = cred_stream_end(u->stream, out);
	alarm = cred_stream_alarm(u->stream);
	if (alarm.name == NULL)
		return NULL;
	cred_alarm_text(&alarm, u->why, sizeof(u->why));
	if (!u->told)
		tell(u, v == CRED_PASS);
	return v == CRED_PASS ? NULL : u->why;
}

void
edit_upload_free(struct edit_upload *u)
{
	if (u == NULL)
		return;
	cred_stream_free(u->stream);
	free(u);
}

/* Whoever was told no value knows none. */
static bool
may_echo(const struct net *net, const struct cred_dest *d)
{
	return net->creds != NULL && cred_gate_covers(net->creds, d);
}

void
edit_answer_fields(const struct net *net, const struct edit_request *q, struct http_field *fields,
	size_t n, struct buf *store)
{
	const struct cred_dest d = dest_of(q);
	struct cred_edits edits = {0};

	if (may_echo(net, &d) && cred_response(net->creds, fields, n, &edits))
		move_edits(&edits, fields, n, store);
}

struct edit_answer *
edit_answer_start(const struct net *net, const struct edit_request *q)
{
	const struct cred_dest d = dest_of(q);
	struct edit_answer *a;

	if (!may_echo(net, &d))
		return NULL;
	a = xcalloc(1, sizeof(*a));
	a->stream = cred_stream_new(net->creds, &d, CRED_DOWN);
	return a;
}

void
edit_answer_body(struct edit_answer *a, const uint8_t *p, size_t n, bool last, struct buf *out)
{
	(void)cred_stream_feed(a->stream, p, n, out);
	if (last)
		(void)cred_stream_end(a->stream, out);
}

void
edit_answer_free(struct edit_answer *a)
{
	if (a == NULL)
		return;
	cred_stream_free(a->stream);
	free(a);
}
