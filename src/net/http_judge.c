/* A request's head: read, judged, and its origin reached. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/mem.h>

#include "http_check.h"
#include "http_head.h"
#include "http_impl.h"

/* ---- refusing
 * ------------------------------------------------------------------------------------ */

static void
begin_record(struct http_conn *h, const struct http_request *q)
{
	enum netevent_via via = h->o.via;

	record_begin(&h->record, h->o.net->events, NETEVENT_HTTP, via, h->dest.host, h->dest.port);
	if (q != NULL)
		record_request(&h->record, q->method.p, q->method.n, q->path.p, q->path.n);
}

enum step
http_refuse_malformed(struct http_conn *h, int status, const char *reason)
{
	struct page p = {.status = status, .error = "malformed", .reason = reason};

	if (h->dest.host == NULL)
		h->dest = (struct reach_dest){.host = "(unknown)"};
	begin_record(h, NULL);
	record_end(&h->record, NETEVENT_BLOCKED, "<protocol>", reason, status);
	return http_end_with_page(h, &p);
}

static enum step
refuse_policy(struct http_conn *h, const struct policy_decision *d)
{
	struct page_store store;
	struct ip_addr raw;
	struct policy_dest dest = reach_dest_of(&h->dest, &raw);
	struct page p = page_of_decision(&store, &dest, d, h->o.net->sandbox);

	p.host = h->dest.host;
	h->status = p.status;
	record_end(&h->record, NETEVENT_BLOCKED, store.rule, store.reason, p.status);
	return http_end_with_page(h, &p);
}

enum step
http_refuse(struct http_conn *h, const char *rule, const char *reason)
{
	struct page p = {.status = 403,
		.error = "blocked",
		.host = h->dest.host,
		.port = h->dest.port,
		.rule = rule,
		.reason = reason,
		.sandbox = h->o.net->sandbox};

	record_end(&h->record, NETEVENT_BLOCKED, p.rule, reason, p.status);
	return http_end_with_page(h, &p);
}

/* ---- judging
 * ------------------------------------------------------------------------------------- */

static enum step start_reach(struct http_conn *h);

struct edit_request
http_edit_request(const struct http_conn *h)
{
	return (struct edit_request){.host = h->dest.host,
		.port = h->dest.port,
		.plain = h->o.tls_name == NULL,
		.method = h->method,
		.target = h->target};
}

/* Allowed: as it goes out. */
static enum step
send_on(struct http_conn *h, struct http_request *q)
{
	const struct edit_request er = http_edit_request(h);
	CLEAN_CRED_BUF struct buf store = BUF_INIT;
	const char *wrong = edit_request_fields(h->o.net, &er, q->fields, &q->nfields, &store);

	if (wrong != NULL)
		return http_refuse(h, "<credential>", wrong);
	if (q->body != HTTP_BODY_NONE)
		h->upload = edit_upload_start(h->o.net, &er);
	http_head_put_request(q, h->dest.host, &h->head);
	buf_consume(&h->guest.in, q->head_len);
	return start_reach(h);
}

/* What was asked is known and well-formed. */
static enum step
judge(struct http_conn *h, struct http_request *q)
{
	char named[HOST_NAME_TEXT_MAX];
	struct reach_dest says = {.port = 0};
	struct policy_decision d;
	const char *wrong = NULL;

	if (h->o.forward) {
		if (!reach_name(&q->to, h->host, &h->dest))
			return http_refuse_malformed(h, 400, "a host that is no name");
		h->dest.port = q->to.port != 0 ? q->to.port : 80;
	} else {
		h->dest = h->o.dest;
		wrong = http_check_name(&h->o, q->form, &q->host, named, &says);
	}
	h->dest.method = h->method;
	h->dest.target = h->target;
	begin_record(h, q);
	if (h->o.verdict.status == 403)
		wrong = h->o.verdict.reason;
	if (wrong != NULL)
		return http_refuse(h, "<name check>", wrong);
	says.method = h->method;
	says.target = h->target;
	d = http_decide(&h->o, &h->dest, &says, q->fields, q->nfields);
	if (d.outcome != POLICY_ALLOW)
		return refuse_policy(h, &d);
	if (h->o.verdict.status != 0)
		return http_end_unreachable(h, h->o.verdict.status, h->o.verdict.reason);
	return send_on(h, q);
}

static enum step
take_request(struct http_conn *h, struct http_request *q)
{
	memcpy(h->method, q->method.p, q->method.n);
	h->method[q->method.n] = '\0';
	free(h->target);
	h->target = xstrndup(q->path.p, q->path.n);
	http_end_edits(h);
	h->keep_alive = q->keep_alive;
	h->wants_upgrade = q->upgrade;
	h->minor = q->minor;
	h->status = 0;
	h->answered = h->origin_keep = false;
	h->form = page_form_of(q);
	h->up_bytes = h->down_bytes = 0;
	http_framer_init(&h->up, q->body, q->length);
	alarm_stop(h->limit);
	h->limit_of_head = false;
	if (h->o.forward && q->form != HTTP_FORM_ABSOLUTE)
		return http_refuse_malformed(
			h, 400, "this is a forward proxy: the target must be http://HOST/PATH");
	return judge(h, q);
}

/* ---- the head
 * ------------------------------------------------------------------------------------ */

static void
set_limit(struct http_conn *h, bool head)
{
	const struct net_hooks *hooks = &h->o.net->hooks;

	if (head && h->limit_of_head)
		return; /* not prolonged by more bytes */
	h->limit_of_head = head;
	alarm_set(h->limit, head ? hooks->head_limit_ms : hooks->request_idle_ms);
}

/* Parsing begins where a head may end, so that a slow sender costs nothing each byte. */
static bool
head_may_be_whole(struct http_conn *h)
{
	const uint8_t *p = h->guest.in.data;
	size_t n = h->guest.in.len;
	size_t from = h->scanned > 3 ? h->scanned - 3 : 0;

	h->scanned = n;
	for (size_t i = from; i + 1 < n; i++)
		if (p[i] == '\n' &&
			(p[i + 1] == '\n' || (p[i + 1] == '\r' && i + 2 < n && p[i + 2] == '\n')))
			return true;
	return n >= HTTP_HEAD_MAX || h->guest.ended;
}

enum step
http_step_head(struct http_conn *h)
{
	struct http_request q;

	if (h->guest.in.len == 0 && h->guest.ended)
		return http_finish(h, false);
	if (h->guest.in.len == 0) {
		set_limit(h, false);
		return STEP_WAIT;
	}
	set_limit(h, true);
	if (!head_may_be_whole(h))
		return STEP_WAIT;
	switch (http_request_parse(h->guest.in.data, h->guest.in.len, &q)) {
	case HTTP_PARSE_OK:
		h->scanned = 0;
		return take_request(h, &q);
	case HTTP_PARSE_BAD:
		return http_refuse_malformed(h, 400, q.error);
	case HTTP_PARSE_TOO_LARGE:
		return http_refuse_malformed(h, 431, "a head that is too large");
	case HTTP_PARSE_MORE:
		break;
	}
	return h->guest.ended ? http_refuse_malformed(h, 400, "a head that was cut short")
			      : STEP_WAIT;
}

/* ---- reaching the origin
 * ------------------------------------------------------------------------- */

static void
open_exchange(struct http_conn *h)
{
	char rule[RULE_TEXT_MAX];
	struct policy_decision d = reach_rejudge(h->o.net, &h->dest, &h->origin_to);

	policy_decision_rule(&d, rule);
	record_open(&h->record, rule, "");
	buf_append(&h->origin.out, h->head.data, h->head.len);
	h->up_bytes = h->head.len;
	cred_buf_wipe(&h->head);
	h->state = H_EXCHANGE;
}

static void
on_upstream(void *arg, const struct upstream_result *u)
{
	struct http_conn *h = arg;
	const struct reach_result *r = &u->reach;

	h->upstream = NULL;
	if (r->end == REACH_DENIED) {
		(void)refuse_policy(h, &r->decision);
	} else if (r->end == REACH_FAILED) {
		(void)http_end_unreachable(h, r->error == -ETIMEDOUT ? 504 : 502,
			u->tls_failed != NULL ? u->tls_failed
			: r->error == -ENOENT ? "no such host"
					      : strerror(-r->error));
	} else if (!http_take_origin(h, r->fd, u->ssl, &r->to)) {
		(void)http_end_unreachable(h, 503, "out of descriptors");
	} else {
		open_exchange(h);
		http_run(h);
	}
}

/* Is the open connection one to the same place, still alive, and still allowed? */
static bool
may_reuse(struct http_conn *h, const char *host, uint16_t port)
{
	if (h->origin.fd < 0 || h->dest.port != port || strcmp(h->dest.host, host) != 0)
		return false;
	if (h->origin.ended || !endpoint_fill(&h->origin) || h->origin.ended ||
		h->origin.in.len > 0)
		return false;
	return reach_rejudge(h->o.net, &h->dest, &h->origin_to).outcome == POLICY_ALLOW;
}

static enum step
start_reach(struct http_conn *h)
{
	const struct upstream_options u = {.net = h->o.net,
		.dest = h->dest,
		.tls_name = h->o.tls_name,
		.alpn_http1 = true,
		.fd = -1};

	if (may_reuse(h, h->origin_host, h->origin_port)) {
		open_exchange(h);
		return STEP_AGAIN;
	}
	endpoint_close(&h->origin, false);
	memcpy(h->origin_host, h->dest.host, strlen(h->dest.host) + 1);
	h->origin_port = h->dest.port;
	h->upstream = upstream_start(&u, on_upstream, h);
	if (h->upstream == NULL)
		return http_end_unreachable(h, 503, "too many lookups");
	h->state = H_REACH;
	return STEP_WAIT;
}
