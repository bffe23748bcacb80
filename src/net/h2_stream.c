/* One request over HTTP/2: judged, sent on, answered. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "h2_impl.h"

/* Beside what nghttp2 itself refuses in heads (RFC 9113 8.2.2: what belongs to one connection). */
#define NV_MAX (HTTP_FIELDS_MAX + 4)

/* ---- fields
 * -------------------------------------------------------------------------------------- */

void
h2_fields_clear(struct h2_fields *f)
{
	buf_clear(&f->text);
	f->n = 0;
	f->too_large = false;
}

void
h2_fields_add(struct h2_fields *f, const uint8_t *name, size_t name_len, const uint8_t *value,
	size_t value_len)
{
	if (f->n == HTTP_FIELDS_MAX || f->text.len + name_len + value_len > H2_FIELDS_BYTES) {
		f->too_large = true;
		return;
	}
	f->f[f->n].name_len = name_len;
	f->f[f->n++].value_len = value_len;
	buf_append(&f->text, name, name_len);
	buf_append(&f->text, value, value_len);
}

/* As HTTP/1's parser shows them; they point into f. Pseudo fields are left out. */
static size_t
show(const struct h2_fields *f, struct http_field out[HTTP_FIELDS_MAX])
{
	const char *p = (const char *)f->text.data;
	size_t n = 0;

	for (size_t i = 0; i < f->n; i++) {
		out[n].name = (struct http_str){p, f->f[i].name_len};
		p += f->f[i].name_len;
		out[n].value = (struct http_str){p, f->f[i].value_len};
		p += f->f[i].value_len;
		n += out[n].name.n > 0 && out[n].name.p[0] != ':';
	}
	return n;
}

static struct http_str
find(const struct h2_fields *f, const char *name)
{
	const char *p = (const char *)f->text.data;

	for (size_t i = 0; i < f->n; i++) {
		struct http_str v = {p + f->f[i].name_len, f->f[i].value_len};

		if (http_str_is((struct http_str){p, f->f[i].name_len}, name))
			return v;
		p += f->f[i].name_len + f->f[i].value_len;
	}
	return (struct http_str){NULL, 0};
}

static nghttp2_nv
nv(const char *name, size_t name_len, const char *value, size_t value_len)
{
	return (nghttp2_nv){.name = (uint8_t *)name,
		.namelen = name_len,
		.value = (uint8_t *)value,
		.valuelen = value_len};
}

static nghttp2_nv
nv_text(const char *name, const char *value)
{
	return nv(name, strlen(name), value, value != NULL ? strlen(value) : 0);
}

/* Those that go on, behind the n that are there. */
static size_t
put_fields(const struct http_field *fields, size_t nfields, nghttp2_nv *out, size_t n)
{
	for (size_t i = 0; i < nfields; i++) {
		const struct http_field *f = &fields[i];
		bool trailers = http_str_is(f->name, "te") && http_str_is(f->value, "trailers");

		if (http_str_is(f->name, "host") ||
			(!trailers && http_field_is_hop(fields, nfields, f->name)))
			continue;
		out[n++] = nv(f->name.p, f->name.n, f->value.p, f->value.n);
	}
	return n;
}

static struct edit_request
edit_request_of(const struct h2_stream *st)
{
	const struct reach_dest *d = &st->h->o.dest;

	return (struct edit_request){
		.host = d->host, .port = d->port, .method = st->method, .target = st->target};
}

/* ---- content
 * ------------------------------------------------------------------------------------- */

/* What the trailers may not say so late is what HTTP/1's framer refuses: here it is left out. */
static void
put_trailers(struct h2_stream *st, bool up, nghttp2_session *to, int32_t id)
{
	const struct edit_request er = edit_request_of(st);
	CLEAN_CRED_BUF struct buf store = BUF_INIT;
	struct http_field fields[HTTP_FIELDS_MAX];
	nghttp2_nv out[NV_MAX];
	size_t n = show(&st->trailers[up], fields), kept = 0;

	if (!up)
		edit_answer_fields(st->h->o.net, &er, fields, n, &store);
	for (size_t i = 0; i < n; i++)
		if (!http_trailer_is_forbidden(fields[i].name))
			fields[kept++] = fields[i];
	nghttp2_submit_trailer(to, id, out, put_fields(fields, kept, out, 0));
}

static ssize_t
read_content(nghttp2_session *to, int32_t id, uint8_t *p, size_t n, uint32_t *flags,
	nghttp2_data_source *source, void *arg)
{
	struct h2_stream *st = source->ptr;
	struct h2_conn *h = arg;
	bool up = to == h->origin.session;
	struct buf *b = up ? &st->up : &st->down;
	nghttp2_session *from = up ? h->guest.session : h->origin.session;
	bool ended = up ? st->up_ended : st->down_ended;

	if (b->len == 0 && !ended)
		return NGHTTP2_ERR_DEFERRED;
	n = n < b->len ? n : b->len;
	if (n > 0)
		memcpy(p, b->data, n);
	buf_consume(b, n);
	*(up ? &st->up_bytes : &st->down_bytes) += n;
	/* A page's content came from nobody. */
	if (n > 0 && from != NULL && (up || !st->page))
		nghttp2_session_consume(from, up ? st->guest_id : st->origin_id, n);
	if (ended && b->len == 0) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (st->trailers[up].n > 0) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			put_trailers(st, up, to, id);
		}
	}
	return (ssize_t)n;
}

static void
moved(struct h2_stream *st, bool up)
{
	struct h2_conn *h = st->h;

	/* One that waits for nothing says so, which is no error. */
	if (up && st->origin_id != 0 && !st->origin_closed)
		(void)nghttp2_session_resume_data(h->origin.session, st->origin_id);
	else if (!up && !st->guest_closed)
		(void)nghttp2_session_resume_data(h->guest.session, st->guest_id);
}

void
h2_stream_trailers(struct h2_stream *st, bool up)
{
	struct h2_fields *to = &st->trailers[up];

	/* With credentials a request's are left out, as over HTTP/1: its body was looked into. */
	if (!up || st->upload == NULL) {
		buf_release(&to->text);
		*to = st->fields;
		st->fields = (struct h2_fields){0};
	}
	h2_stream_content(st, up, NULL, 0, true);
}

/* ---- its life
 * ------------------------------------------------------------------------------------ */

struct h2_stream *
h2_stream_new(struct h2_conn *h, int32_t guest_id)
{
	struct h2_stream *st = xcalloc(1, sizeof(*st));

	st->h = h;
	st->guest_id = guest_id;
	LIST_INSERT_HEAD(&h->streams, st, link);
	h->nstreams++;
	return st;
}

/* What came and goes nowhere any more is no reason to keep the connection's window closed. */
static void
forget(struct h2_stream *st)
{
	struct h2_conn *h = st->h;

	if (st->up.len > 0 && h->guest.session != NULL)
		nghttp2_session_consume_connection(h->guest.session, st->up.len);
	if (st->down.len > 0 && !st->page && h->origin.session != NULL)
		nghttp2_session_consume_connection(h->origin.session, st->down.len);
	if (!st->guest_closed && h->guest.session != NULL)
		nghttp2_session_set_stream_user_data(h->guest.session, st->guest_id, NULL);
	if (st->origin_id != 0 && !st->origin_closed && h->origin.session != NULL)
		nghttp2_session_set_stream_user_data(h->origin.session, st->origin_id, NULL);
}

void
h2_stream_free(struct h2_stream *st)
{
	forget(st);
	record_close(&st->record, st->up_bytes, st->down_bytes, st->status);
	LIST_REMOVE(st, link);
	st->h->nstreams--;
	buf_release(&st->fields.text);
	buf_release(&st->trailers[0].text);
	buf_release(&st->trailers[1].text);
	buf_release(&st->up);
	buf_release(&st->down);
	edit_upload_free(st->upload);
	edit_answer_free(st->answer);
	free(st->method);
	free(st->target);
	free(st);
}

/* ---- answers
 * ------------------------------------------------------------------------------------- */

static void
answer_page(struct h2_stream *st, const struct page *p)
{
	struct h2_conn *h = st->h;
	nghttp2_data_provider data = {.source.ptr = st, .read_callback = read_content};
	char status[8];
	nghttp2_nv out[4];

	snprintf(status, sizeof(status), "%d", p->status);
	buf_clear(&st->down);
	out[0] = nv_text(":status", status);
	out[1] = nv_text("content-type", page_put_body(p, st->form, &st->down));
	out[2] = nv_text("cache-control", "no-store");
	out[3] = nv_text("x-paddock", p->error);
	st->down_ended = st->answered = st->page = true;
	st->status = p->status;
	nghttp2_submit_response(
		h->guest.session, st->guest_id, out, 4, st->form.no_body ? NULL : &data);
}

static void
refuse(struct h2_stream *st, int status, enum netevent_verdict verdict, const char *error,
	const char *rule, const char *reason)
{
	const struct http_options *o = &st->h->o;
	const struct page p = {.status = status,
		.error = error,
		.host = o->dest.host,
		.port = o->dest.port,
		.rule = rule,
		.reason = reason,
		.sandbox = o->net->sandbox};

	record_end(&st->record, verdict, rule, reason, status);
	answer_page(st, &p);
}

static void
refuse_policy(struct h2_stream *st, const struct reach_dest *d, const struct policy_decision *v)
{
	const struct net *net = st->h->o.net;
	struct page_store store;
	struct ip_addr raw;
	struct policy_dest dest = reach_dest_of(d, &raw);
	struct page p = page_of_decision(&store, &dest, v, net->sandbox);

	p.host = d->host;
	record_end(&st->record, NETEVENT_BLOCKED, store.rule, store.reason, p.status);
	answer_page(st, &p);
}

/* What goes up must not go on. The origin's stream ends, and with it the guest's (on_close). */
static void
refuse_upload(struct h2_stream *st, const char *why)
{
	buf_clear(&st->up);
	st->refused = why;
	nghttp2_submit_rst_stream(
		st->h->origin.session, NGHTTP2_FLAG_NONE, st->origin_id, NGHTTP2_CANCEL);
}

void
h2_stream_content(struct h2_stream *st, bool up, const uint8_t *p, size_t n, bool last)
{
	const char *wrong = NULL;

	if (up && st->refused != NULL)
		return;
	if (up && st->upload != NULL)
		wrong = edit_upload_body(st->upload, p, n, last, &st->up);
	else if (!up && st->answer != NULL)
		edit_answer_body(st->answer, p, n, last, &st->down);
	else
		buf_append(up ? &st->up : &st->down, p, n);
	if (wrong != NULL) {
		refuse_upload(st, wrong);
		return;
	}
	*(up ? &st->up_ended : &st->down_ended) |= last;
	moved(st, up);
}

void
h2_stream_broken(struct h2_stream *st, uint32_t code, const char *reason)
{
	struct h2_conn *h = st->h;

	if (!st->answered && st->refused != NULL) {
		refuse(st, 403, NETEVENT_BLOCKED, "blocked", "<credential>", st->refused);
		return;
	}
	if (!st->answered && code != NGHTTP2_REFUSED_STREAM) {
		refuse(st, 502, NETEVENT_FAILED, "unreachable", "", reason);
		return;
	}
	nghttp2_submit_rst_stream(h->guest.session, NGHTTP2_FLAG_NONE, st->guest_id,
		code != NGHTTP2_NO_ERROR ? code : NGHTTP2_INTERNAL_ERROR);
}

void
h2_stream_answer(struct h2_stream *st, bool ended)
{
	struct h2_conn *h = st->h;
	nghttp2_data_provider data = {.source.ptr = st, .read_callback = read_content};
	struct http_field fields[HTTP_FIELDS_MAX];
	nghttp2_nv out[NV_MAX];
	struct http_str status = find(&st->fields, ":status");
	const struct edit_request er = edit_request_of(st);
	CLEAN_CRED_BUF struct buf store = BUF_INIT;
	size_t n;

	if (st->guest_closed)
		return;
	if (st->fields.too_large || status.n != 3) {
		nghttp2_submit_rst_stream(h->origin.session, NGHTTP2_FLAG_NONE, st->origin_id,
			NGHTTP2_INTERNAL_ERROR);
		return; /* its end is told by on_close */
	}
	st->status = (status.p[0] - '0') * 100 + (status.p[1] - '0') * 10 + status.p[2] - '0';
	n = show(&st->fields, fields);
	edit_answer_fields(h->o.net, &er, fields, n, &store);
	out[0] = nv(":status", 7, status.p, status.n);
	n = put_fields(fields, n, out, 1);
	st->down_bytes += st->fields.text.len;
	if (st->status < 200) {
		nghttp2_submit_headers(
			h->guest.session, NGHTTP2_FLAG_NONE, st->guest_id, NULL, out, n, NULL);
		return;
	}
	st->answered = true;
	st->down_ended = ended;
	st->answer = edit_answer_start(h->o.net, &er);
	nghttp2_submit_response(h->guest.session, st->guest_id, out, n, ended ? NULL : &data);
}

/* ---- requests
 * ------------------------------------------------------------------------------------ */

/* As http_conn.c does with HTTP/1; nghttp2 has looked at the form (RFC 9113 8.3). */
static const char *
parse(struct h2_stream *st, struct http_authority *said, enum http_form *ret_form)
{
	const struct h2_fields *f = &st->fields;
	struct http_str method = find(f, ":method"), path = find(f, ":path");
	struct http_str scheme = find(f, ":scheme"), authority = find(f, ":authority");
	struct http_str host = find(f, "host");

	if (method.n == 0 || method.n > HTTP_METHOD_MAX)
		return "a malformed method";
	st->method = xstrndup(method.p, method.n);
	if (strcmp(st->method, "CONNECT") == 0)
		return "a request for a proxy in a connection to a server";
	if (path.n == 0 || path.n > HTTP_TARGET_MAX || !http_str_is(scheme, "https"))
		return "a malformed target";
	for (size_t i = 0; i < path.n; i++)
		if (path.p[i] <= 0x20 || path.p[i] >= 0x7f || path.p[i] == '#')
			return "a malformed target";
	st->target = xstrndup(path.p, path.n);
	*ret_form = path.p[0] == '/' ? HTTP_FORM_ORIGIN
		    : strcmp(st->target, "*") == 0 && strcmp(st->method, "OPTIONS") == 0
			    ? HTTP_FORM_ASTERISK
			    : HTTP_FORM_ABSOLUTE;
	if (authority.n > 0 && host.n > 0 &&
		(authority.n != host.n || strncasecmp(authority.p, host.p, host.n) != 0))
		return "a Host field that differs from :authority";
	if (authority.n == 0)
		authority = host;
	if (authority.n == 0)
		return "neither :authority nor Host";
	return http_authority_parse(authority, said) ? NULL : "a malformed :authority";
}

static void
begin_record(struct h2_stream *st)
{
	const struct http_options *o = &st->h->o;
	const char *method = st->method != NULL ? st->method : "";
	const char *target = st->target != NULL ? st->target : "";

	record_begin(
		&st->record, o->net->events, NETEVENT_HTTP, o->via, o->dest.host, o->dest.port);
	record_request(&st->record, method, strlen(method), target, strlen(target));
}

static struct page_form
form_of(const struct h2_fields *f, const char *method)
{
	struct http_request q = {.method = {method, strlen(method)}};

	q.nfields = show(f, q.fields);
	return page_form_of(&q);
}

/* Allowed: to the origin. */
static void
send_on(struct h2_stream *st, bool ended, const struct policy_decision *d)
{
	struct h2_conn *h = st->h;
	const struct edit_request er = edit_request_of(st);
	nghttp2_data_provider data = {.source.ptr = st, .read_callback = read_content};
	CLEAN_CRED_BUF struct buf store = BUF_INIT;
	struct http_field fields[HTTP_FIELDS_MAX];
	struct http_str authority = find(&st->fields, ":authority");
	size_t n = show(&st->fields, fields);
	char rule[RULE_TEXT_MAX];
	nghttp2_nv out[NV_MAX];
	const char *wrong = edit_request_fields(h->o.net, &er, fields, &n, &store);
	int32_t id;

	if (wrong != NULL) {
		refuse(st, 403, NETEVENT_BLOCKED, "blocked", "<credential>", wrong);
		return;
	}
	if (authority.n == 0)
		authority = find(&st->fields, "host");
	out[0] = nv_text(":method", st->method);
	out[1] = nv_text(":scheme", "https");
	out[2] = nv(":authority", 10, authority.p, authority.n);
	out[3] = nv_text(":path", st->target);
	n = put_fields(fields, n, out, 4);
	id = nghttp2_submit_request(h->origin.session, NULL, out, n, ended ? NULL : &data, st);
	if (id < 0) {
		refuse(st, 502, NETEVENT_FAILED, "unreachable", "",
			"the server takes no more requests");
		return;
	}
	policy_decision_rule(d, rule);
	record_open(&st->record, rule, "");
	if (!ended)
		st->upload = edit_upload_start(h->o.net, &er);
	st->origin_id = id;
	st->up_bytes = st->fields.text.len;
}

static void
judge(struct h2_stream *st, bool ended, enum http_form form, const struct http_authority *said)
{
	const struct http_options *o = &st->h->o;
	char named[HOST_NAME_TEXT_MAX];
	struct reach_dest dest = o->dest, says = {.port = 0};
	struct http_field fields[HTTP_FIELDS_MAX];
	const char *wrong = http_check_name(o, form, said, named, &says);
	struct policy_decision d;

	if (o->verdict.status == 403)
		wrong = o->verdict.reason;
	if (wrong != NULL) {
		refuse(st, 403, NETEVENT_BLOCKED, "blocked", "<name check>", wrong);
		return;
	}
	dest.method = says.method = st->method;
	dest.target = says.target = st->target;
	d = http_decide(o, &dest, &says, fields, show(&st->fields, fields));
	/* The address was judged before any request was seen. */
	if (d.outcome == POLICY_ALLOW && st->h->origin.session != NULL)
		d = reach_rejudge(o->net, &dest, &o->origin_to);
	if (d.outcome != POLICY_ALLOW)
		refuse_policy(st, &dest, &d);
	else if (o->verdict.status != 0)
		refuse(st, o->verdict.status, NETEVENT_FAILED, "unreachable", "",
			o->verdict.reason);
	else if (st->h->origin.session == NULL)
		refuse(st, 502, NETEVENT_FAILED, "unreachable", "", "the server is gone");
	else
		send_on(st, ended, &d);
}

void
h2_stream_request(struct h2_stream *st, bool ended)
{
	struct http_authority said = {0};
	enum http_form form = HTTP_FORM_ORIGIN;
	const char *wrong = parse(st, &said, &form);

	st->up_ended = ended;
	begin_record(st);
	st->form = form_of(&st->fields, st->method != NULL ? st->method : "");
	if (st->fields.too_large)
		refuse(st, 431, NETEVENT_BLOCKED, "malformed", "<protocol>",
			"a head that is too large");
	else if (wrong != NULL)
		refuse(st, 400, NETEVENT_BLOCKED, "malformed", "<protocol>", wrong);
	else
		judge(st, ended, form, &said);
}

bool
h2_stream_is_allowed(const struct h2_stream *st)
{
	struct reach_dest d = st->h->o.dest;

	if (st->origin_id == 0)
		return true;
	d.method = st->method;
	d.target = st->target;
	return reach_rejudge(st->h->o.net, &d, &st->h->o.origin_to).outcome == POLICY_ALLOW;
}
