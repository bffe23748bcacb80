/*
 * Heads. How a request's is treated: for each header that some credential names at this destination
 * there is one winner, the credential whose placeholder the client sent there, else the first. Its
 * header is written anew, whatever the client sent. Then everything that is passed on as the client
 * wrote it is searched.
 */
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <cred/secret.h>

#include "gate.h"
#include "shapes.h"

#define BASIC "Basic "

void
cred_edits_release(struct cred_edits *e)
{
	for (size_t i = 0; i < e->n; i++)
		secret_free(e->v[i]);
	e->n = 0;
}

static bool
keep(struct cred_edits *e, const struct buf *text, struct http_str *ret)
{
	if (e->n >= CRED_EDITS_MAX)
		return false;
	e->v[e->n] = secret_dup(text->data, text->len);
	*ret = (struct http_str){e->v[e->n++], text->len};
	return true;
}

static bool
holds(struct http_str s, const char *text)
{
	return memmem(s.p, s.n, text, strlen(text)) != NULL;
}

/* RFC 7617: "Basic" and what it says, decoded. */
static bool
basic_get(struct http_str s, struct buf *out)
{
	size_t at = strlen(BASIC);

	if (s.n <= at || strncasecmp(s.p, BASIC, at) != 0)
		return false;
	while (at < s.n && s.p[at] == ' ')
		at++;
	return base64_get(out, s.p + at, s.n - at);
}

static void
put_format(struct buf *out, const char *format, const char *value)
{
	const char *at = strstr(format, "%s");

	buf_append(out, format, (size_t)(at - format));
	buf_append_str(out, value);
	buf_append_str(out, at + 2);
}

static void
put_basic(struct buf *out, const struct buf *plain)
{
	buf_append_str(out, BASIC);
	base64_put(out, plain->data, plain->len);
}

/* The client's own "user:password", where one of the two is the placeholder and nothing else. */
static bool
put_clients_basic(struct buf *out, const struct cred *c, const struct buf *sent)
{
	CLEAN_CRED_BUF struct buf plain = BUF_INIT;
	const char *p = (const char *)sent->data;
	const char *colon = sent->len > 0 ? memchr(p, ':', sent->len) : NULL;
	size_t nuser = colon != NULL ? (size_t)(colon - p) : sent->len, n = strlen(c->placeholder);
	const char *password = colon != NULL ? colon + 1 : p;
	size_t npassword = colon != NULL ? sent->len - nuser - 1 : 0;
	bool is_user = nuser == n && memcmp(p, c->placeholder, n) == 0;
	bool is_password = npassword == n && memcmp(password, c->placeholder, n) == 0;

	if (colon == NULL || (!is_user && !is_password))
		return false;
	buf_append(&plain, is_user ? c->value : p, is_user ? strlen(c->value) : nuser);
	buf_append_str(&plain, ":");
	buf_append(&plain, is_password ? c->value : password,
		is_password ? strlen(c->value) : npassword);
	put_basic(out, &plain);
	return true;
}

/* False: the client's own stays. sent: NULL where there is none. */
static bool
put_value(struct buf *out, const struct cred *c, const struct cred_place *p,
	const struct http_str *sent)
{
	CLEAN_CRED_BUF struct buf clients = BUF_INIT, plain = BUF_INIT;
	bool is_basic = sent != NULL && basic_get(*sent, &clients);
	bool whole = strcmp(p->format, BASIC "%s") == 0;

	if (is_basic && !whole && put_clients_basic(out, c, &clients))
		return true;
	if (!str_has_prefix(p->format, BASIC)) {
		put_format(out, p->format, c->value);
		return true;
	}
	/* A token that the server gave for this (RFC 6750) is the way on. */
	if (sent != NULL && sent->n > 0 && !is_basic && !holds(*sent, c->placeholder))
		return false;
	put_format(&plain, p->format + strlen(BASIC), c->value);
	put_basic(out, &plain);
	return true;
}

static bool
sends(const struct http_field *f, const struct cred *c)
{
	CLEAN_CRED_BUF struct buf plain = BUF_INIT;

	if (holds(f->value, c->placeholder))
		return true;
	return basic_get(f->value, &plain) && plain.len > 0 &&
	       holds((struct http_str){(const char *)plain.data, plain.len}, c->placeholder);
}

struct head {
	const struct cred_gate *g;
	const struct cred_dest *d;
	struct http_field *fields;
	size_t cap, *n;
	bool ours[HTTP_FIELDS_MAX + 1]; /* written here: not searched */
	struct cred_edits *edits;
};

static struct http_field *
find_field(const struct head *h, const char *name)
{
	for (size_t i = 0; i < *h->n; i++)
		if (http_str_is(h->fields[i].name, name))
			return &h->fields[i];
	return NULL;
}

struct winner {
	const struct cred *cred;
	const struct cred_place *place;
	bool sent; /* its placeholder was */
};

static struct winner
pick(const struct head *h, const char *header)
{
	const struct http_field *f = find_field(h, header);
	struct winner w = {0};

	for (size_t i = 0; i < h->g->set.n; i++) {
		const struct cred *c = &h->g->set.v[i];

		for (size_t k = 0; k < c->nplaces && c->value != NULL; k++) {
			bool sent = f != NULL && sends(f, c);

			if (strcasecmp(c->places[k].header, header) != 0 ||
				!gate_place_at(&c->places[k], h->d) ||
				(w.cred != NULL && (w.sent || !sent)))
				continue;
			w = (struct winner){c, &c->places[k], sent};
		}
	}
	return w;
}

static void
remove_others(struct head *h, const char *header, const struct http_field *but)
{
	size_t to = 0;

	for (size_t i = 0; i < *h->n; i++) {
		const struct http_field *f = &h->fields[i];

		if (f != but && http_str_is(f->name, header))
			continue;
		h->ours[to] = h->ours[i];
		h->fields[to++] = *f;
	}
	*h->n = to;
}

static char *
lower(const char *s)
{
	char *out = xstrdup(s);

	for (char *p = out; *p != '\0'; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p |= 0x20;
	return out;
}

static bool
add_field(struct head *h, const char *header, struct http_str value)
{
	CLEAN_FREE char *name = lower(header);
	struct buf b = {.data = (uint8_t *)name, .len = strlen(name)};
	struct http_field *f = &h->fields[*h->n];

	if (*h->n >= h->cap || *h->n >= ARRAY_LEN(h->ours) || !keep(h->edits, &b, &f->name))
		return false;
	f->value = value;
	h->ours[(*h->n)++] = true;
	return true;
}

/* False: no room. */
static bool
write_header(struct head *h, const char *header)
{
	struct http_field *f = find_field(h, header);
	struct winner w = pick(h, header);
	CLEAN_CRED_BUF struct buf text = BUF_INIT;
	struct http_str value;

	if (f != NULL && h->ours[f - h->fields])
		return true;
	if (w.cred == NULL || !put_value(&text, w.cred, w.place, f != NULL ? &f->value : NULL))
		return true;
	if (!keep(h->edits, &text, &value))
		return false;
	if (f == NULL)
		return add_field(h, header, value);
	f->value = value;
	h->ours[f - h->fields] = true;
	remove_others(h, header, f);
	return true;
}

/* An answer that is compressed could not be searched. */
static bool
ask_for_plain(struct head *h)
{
	static const struct buf identity = {.data = (uint8_t *)"identity", .len = 8};
	struct http_field *f = find_field(h, "accept-encoding");
	struct http_str value;

	if (!keep(h->edits, &identity, &value))
		return false;
	if (f == NULL)
		return add_field(h, "accept-encoding", value);
	f->value = value;
	remove_others(h, "accept-encoding", f);
	return true;
}

static bool
found(const struct head *h, const char *p, size_t n, const char *where, struct cred_alarm *ret)
{
	const struct gate_want want = {.g = h->g, .placeholders = true, .dest = h->d};
	struct match m;

	if (n == 0 || matcher_find(&h->g->matcher, (const uint8_t *)p, n, true, gate_wants, &want,
			      &m) != MATCH_FOUND)
		return false;
	*ret = gate_alarm(h->g, m.text->tag, where);
	return true;
}

/* A name is in lower case by now, whatever the client wrote. */
static bool
found_in_host(const struct head *h, struct cred_alarm *ret)
{
	for (size_t i = 0; i < h->g->set.n; i++) {
		const struct cred *c = &h->g->set.v[i];
		bool value = c->value != NULL && strcasestr(h->d->host, c->value) != NULL;

		if (!value && strcasestr(h->d->host, c->placeholder) == NULL)
			continue;
		*ret = gate_alarm(h->g, GATE_TAG(i, value), "the host's name");
		return true;
	}
	return false;
}

/* As it is written, and as it is meant. */
static bool
found_in_target(const struct head *h, struct http_str path, struct cred_alarm *ret)
{
	static const char where[] = "the request's target";
	CLEAN_CRED_BUF struct buf plain = BUF_INIT;

	percent_get(&plain, path.p, path.n);
	return found(h, path.p, path.n, where, ret) ||
	       found(h, (const char *)plain.data, plain.len, where, ret);
}

static bool
found_in_fields(const struct head *h, struct cred_alarm *ret)
{
	for (size_t i = 0; i < *h->n; i++) {
		const struct http_field *f = &h->fields[i];

		if (found(h, f->name.p, f->name.n, "a header", ret) ||
			(!h->ours[i] && found(h, f->value.p, f->value.n, "a header", ret)))
			return true;
	}
	return false;
}

enum cred_verdict
cred_request(const struct cred_gate *g, const struct cred_dest *d, struct http_str path,
	struct http_field *fields, size_t cap, size_t *nfields, struct cred_edits *edits,
	struct cred_alarm *ret)
{
	struct head h = {
		.g = g, .d = d, .fields = fields, .cap = cap, .n = nfields, .edits = edits};
	bool room = true;

	*ret = (struct cred_alarm){0};
	for (size_t i = 0; i < g->set.n && room; i++)
		for (size_t k = 0; k < g->set.v[i].nplaces && room; k++)
			if (gate_place_at(&g->set.v[i].places[k], d))
				room = write_header(&h, g->set.v[i].places[k].header);
	if (room && cred_gate_covers(g, d))
		room = ask_for_plain(&h);
	if (!room)
		return CRED_NO_ROOM;
	if (found_in_host(&h, ret) || found_in_target(&h, path, ret) || found_in_fields(&h, ret))
		return CRED_ALARM;
	return CRED_PASS;
}

bool
cred_response(const struct cred_gate *g, struct http_field *fields, size_t nfields,
	struct cred_edits *edits)
{
	const struct gate_want want = {.g = g};
	bool any = false;
	struct match m;

	for (size_t i = 0; i < nfields; i++) {
		struct http_field *f = &fields[i];
		char *own = NULL;

		for (size_t at = 0; at < f->value.n; at += m.at + m.n) {
			const uint8_t *p = (const uint8_t *)f->value.p + at;

			if (matcher_find(&g->matcher, p, f->value.n - at, true, gate_wants, &want,
				    &m) != MATCH_FOUND)
				break;
			if (own == NULL) {
				struct buf b = {.data = (uint8_t *)f->value.p, .len = f->value.n};

				if (!keep(edits, &b, &f->value))
					break;
				own = edits->v[edits->n - 1];
				any = true;
			}
			memset(own + at + m.at, '*', m.n);
		}
	}
	return any;
}
