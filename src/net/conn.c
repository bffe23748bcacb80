#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>
#include <base/mem.h>

#include "conn.h"
#include "dest.h"
#include "farewell.h"
#include "sock.h"

/*
 * How this works. A connection of the guest goes through these states:
 *   NEW   its destination becomes a host: the name behind a fake address, or a raw address (or
 *         what CONNECT says: proxy.c); policy judges it without an address
 *   LOOK  only if that is needed to go on: its first words are looked at (look.c, proxy.c)
 *   REACH  it is looked up, judged again and dialed
 *   RELAY  bytes go both ways; the guest's, once its first words do not contradict the destination:
 *         a server name in TLS must be this one, and plain HTTP goes on to HTTP
 *   INTERCEPT  TLS whose requests are to be seen, or that is denied: both handshakes (conn_tls.c)
 *   HTTP  each request is judged (http_conn.c)
 * Until RELAY nothing is read from the guest: what it sends waits in the kernel, looked at with
 * MSG_PEEK. Invariant: exactly the state's own of watch, reach, relay, intercept and http is set;
 * the guest's socket is ours until RELAY or HTTP.
 */

/* A connection whose client says nothing yet (the server speaks first) is logged after this. */
#define ANNOUNCE_MS 1000

void
conn_release(struct conn *c)
{
	struct net *net = c->net;

	if (c->name != NULL)
		names_unpin(net->names, c->name, clock_mono_ms());
	if (c->denied != NULL)
		net->nlooks--;
	watch_free(c->watch);
	alarm_free(c->limit);
	record_drop(&c->record);
	free(c->denied);
	LIST_REMOVE(c, link);
	net->nconns--;
	free(c);
}

void
conn_reset(struct conn *c)
{
	watch_free(c->watch);
	c->watch = NULL;
	sock_reset(c->guest_fd);
	conn_release(c);
}

void
conn_abort(struct conn *c)
{
	uint64_t up = 0, down = 0;

	switch (c->state) {
	case CONN_NEW:
	case CONN_LOOK:
		break;
	case CONN_REACH:
		reach_cancel(c->reach);
		break;
	case CONN_RELAY:
		relay_totals(c->relay, &up, &down);
		relay_cancel(c->relay);
		break;
	case CONN_INTERCEPT:
		intercept_cancel(c->intercept);
		break;
	case CONN_HTTP:
		if (c->h2 != NULL)
			h2_conn_cancel(c->h2);
		else
			http_conn_cancel(c->http);
		break;
	}
	if (c->state == CONN_RELAY)
		record_close(&c->record, up, down, 0);
	if (c->state == CONN_RELAY || c->state == CONN_HTTP)
		conn_release(c);
	else
		conn_reset(c);
}

void
conn_set_limit(struct conn *c, uint64_t ms, alarm_fn *fn)
{
	alarm_free(c->limit);
	c->limit = alarm_new(&c->net->loop, fn, c);
	alarm_set(c->limit, ms);
}

void
conn_log_blocked(struct conn *c, enum netevent_kind kind, const char *rule, const char *reason)
{
	if (c->announced)
		record_close(&c->record, 0, 0, 0);
	record_begin(&c->record, c->net->events, kind, c->via, c->dest.host, c->dest.port);
	record_end(&c->record, NETEVENT_BLOCKED, rule, reason, 0);
}

void
conn_say_goodbye(struct conn *c, struct buf *words)
{
	watch_free(c->watch); /* before somebody else watches the same descriptor */
	c->watch = NULL;
	farewell_start(c->net, c->guest_fd, words);
	conn_release(c);
}

/* ---- HTTP
 * ---------------------------------------------------------------------------------------- */

static void
on_http_done(void *arg)
{
	conn_release(arg);
}

static void
start_http(struct conn *c, const struct http_options *o, bool h2)
{
	if (c->announced)
		record_close(&c->record, 0, 0, 0);
	record_drop(&c->record); /* each request is logged on its own */
	watch_free(c->watch);
	alarm_free(c->limit);
	c->watch = NULL;
	c->limit = NULL;
	c->state = CONN_HTTP;
	if (h2)
		c->h2 = h2_conn_start(o, on_http_done, c);
	else
		c->http = http_conn_start(o, on_http_done, c);
	if (c->http == NULL && c->h2 == NULL)
		conn_release(c);
}

void
conn_start_http(struct conn *c, int origin_fd)
{
	const struct http_options o = {.net = c->net,
		.guest_fd = c->guest_fd,
		.origin_fd = origin_fd,
		.origin_to = c->to,
		.via = c->via,
		.forward = c->look == LOOK_PROXY && c->state == CONN_LOOK,
		.dest = c->dest};

	start_http(c, &o, false);
}

void
conn_start_https(struct conn *c, const struct intercept_result *r)
{
	const struct http_options o = {.net = c->net,
		.guest_fd = c->guest_fd,
		.guest_ssl = r->guest,
		.origin_fd = r->up.reach.fd,
		.origin_ssl = r->up.ssl,
		.origin_to = c->to,
		.via = c->via,
		.dest = c->dest,
		.tls_name = c->tls_name,
		.verdict = c->verdict};

	start_http(c, &o, r->alpn == TLS_ALPN_H2);
}

/* ---- relaying
 * ------------------------------------------------------------------------------------ */

static void
announce(struct conn *c, enum netevent_kind kind)
{
	char rule[RULE_TEXT_MAX];
	struct policy_decision d;

	if (c->announced)
		return;
	d = reach_rejudge(c->net, &c->dest, &c->to);
	policy_decision_rule(&d, rule);
	record_kind(&c->record, kind);
	record_open(&c->record, rule, kind == NETEVENT_TLS ? conn_tls_note(c) : "");
	c->announced = true;
}

static void
on_relayed(void *arg, enum relay_end end, uint64_t up, uint64_t down)
{
	struct conn *c = arg;

	(void)end;
	announce(c, NETEVENT_TCP);
	record_close(&c->record, up, down, 0);
	conn_release(c);
}

/* The guest's first words contradict what was allowed. readable: a proper ClientHello does. */
static enum relay_hold
cut(struct conn *c, enum netevent_kind kind, bool readable, const char *reason)
{
	CLEAN_BUF struct buf words = BUF_INIT;
	bool silent = relay_is_silent(c->relay);

	if (!silent || kind != NETEVENT_TLS) {
		conn_log_blocked(c, kind, "<name check>", reason);
		relay_cancel(c->relay);
		conn_release(c);
		return RELAY_HOLD_GONE;
	}
	relay_detach(c->relay);
	sock_reset(c->remote_fd);
	if (readable) {
		conn_refuse_name(c, reason);
		return RELAY_HOLD_GONE;
	}
	conn_log_blocked(c, kind, "<name check>", reason);
	page_put_tls(&words);
	conn_say_goodbye(c, &words);
	return RELAY_HOLD_GONE;
}

static enum relay_hold
pass_on(struct conn *c, enum netevent_kind kind)
{
	alarm_free(c->limit);
	c->limit = NULL;
	announce(c, kind);
	return RELAY_HOLD_GO;
}

static void on_gate_limit(void *arg);

/* From the first byte on; not prolonged by more of the same. */
static void
limit_gate(struct conn *c)
{
	const struct net_hooks *hooks = &c->net->hooks;
	uint64_t ms = c->gate.brief ? hooks->gate_brief_ms : hooks->gate_limit_ms;

	if (ms != c->gate_ms)
		conn_set_limit(c, ms, on_gate_limit);
	c->gate_ms = ms;
}

static enum relay_hold
on_hold(void *arg)
{
	struct conn *c = arg;
	char text[NETEVENT_REASON_MAX];
	const char *wrong;

	switch (gate_look(&c->gate, c->guest_fd)) {
	case GATE_MORE:
		if (c->gate.seen > 0)
			limit_gate(c);
		return RELAY_HOLD_MORE;
	case GATE_OTHER:
		return pass_on(c, NETEVENT_TCP);
	case GATE_BAD:
		return cut(c, NETEVENT_TLS, false, "tls_malformed: no proper ClientHello");
	case GATE_TLS:
		wrong = conn_check_server_name(c, text);
		if (wrong != NULL)
			return cut(c, NETEVENT_TLS, true, wrong);
		if (!relay_is_silent(c->relay) || !conn_wants_edit(c))
			return pass_on(c, NETEVENT_TLS);
		relay_detach(c->relay);
		c->relay = NULL;
		conn_edit_tls(c, c->remote_fd);
		return RELAY_HOLD_GONE;
	case GATE_HTTP:
		break;
	}
	if (!relay_is_silent(c->relay))
		return cut(c, NETEVENT_HTTP, false, "HTTP after the server has spoken");
	relay_detach(c->relay);
	c->relay = NULL;
	conn_start_http(c, c->remote_fd);
	return RELAY_HOLD_GONE;
}

static void
on_gate_limit(void *arg)
{
	struct conn *c = arg;

	c->gate.late = true;
	if (on_hold(c) == RELAY_HOLD_GO)
		relay_unhold(c->relay);
}

static void
on_announce(void *arg)
{
	announce(arg, NETEVENT_TCP);
}

static void
start_relay(struct conn *c, int fd)
{
	c->remote_fd = fd;
	c->relay =
		relay_start(&c->net->loop, &c->net->pipes, c->guest_fd, fd, on_hold, on_relayed, c);
	if (c->relay == NULL) {
		record_end(&c->record, NETEVENT_FAILED, "", "out of descriptors", 0);
		conn_release(c);
		return;
	}
	c->state = CONN_RELAY;
	conn_set_limit(c, ANNOUNCE_MS, on_announce);
}

/* ---- reaching
 * ------------------------------------------------------------------------------------ */

/* Allowed, and not reached: not the same as denied, for the log and for whoever asked. */
static void
fail(struct conn *c, int status, const char *reason)
{
	const struct page p = {.status = status,
		.error = "unreachable",
		.host = c->dest.host,
		.port = c->dest.port,
		.reason = reason,
		.sandbox = c->net->sandbox};

	record_end(&c->record, NETEVENT_FAILED, "", reason, 0);
	if (c->connect)
		proxy_end(c, &p);
	else
		conn_reset(c);
}

static void
on_reached(void *arg, const struct reach_result *r)
{
	struct conn *c = arg;

	c->reach = NULL;
	c->state = CONN_NEW;
	c->to = r->to;
	if (r->end == REACH_DENIED) {
		conn_refuse(c, &r->decision);
	} else if (r->end == REACH_FAILED) {
		fail(c, r->error == -ETIMEDOUT ? 504 : 502,
			r->error == -ENOENT ? "no such host" : strerror(-r->error));
	} else if (c->connect && !proxy_established(c)) {
		close(r->fd);
		conn_reset(c);
	} else {
		start_relay(c, r->fd);
	}
}

void
conn_judge(struct conn *c)
{
	struct policy_decision d = reach_judge(c->net, &c->dest);

	if (d.outcome == POLICY_DENY) {
		conn_refuse(c, &d);
		return;
	}
	if (d.outcome == POLICY_INSPECT) {
		if (c->connect && !proxy_established(c))
			conn_reset(c);
		else
			conn_look(c, LOOK_REQUESTS);
		return;
	}
	c->reach = reach_start(c->net, &c->dest, on_reached, c);
	c->state = CONN_REACH;
	if (c->reach == NULL) {
		c->state = CONN_NEW;
		fail(c, 503, "too many lookups");
	}
}

/* ---- the beginning
 * ------------------------------------------------------------------------------- */

void
conn_start(struct net *net, int guest_fd, const struct sockaddr_in *dst)
{
	struct conn *c = xcalloc(1, sizeof(*c));
	uint32_t addr = ntohl(dst->sin_addr.s_addr);

	*c = (struct conn){.net = net, .guest_fd = guest_fd, .remote_fd = -1};
	c->name = dest_identify(net, addr, c->host, &c->dest, &c->via);
	if (c->name != NULL)
		names_pin(net->names, c->name);
	c->dest.port = ntohs(dst->sin_port);
	LIST_INSERT_HEAD(&net->conns, c, link);
	net->nconns++;
	if (addr == NET_GATEWAY && c->dest.port == NET_PROXY_PORT) {
		c->via = NETEVENT_FORWARD;
		conn_look(c, LOOK_PROXY);
		return;
	}
	record_begin(&c->record, net->events, NETEVENT_TCP, c->via, c->dest.host, c->dest.port);
	conn_judge(c);
}

struct conn *
conn_next(const struct conn *c)
{
	return LIST_NEXT(c, link);
}

/* What is refused, or has no destination yet, has nothing to cut. */
void
conn_recheck(struct conn *c, bool credentials)
{
	struct policy_decision d;
	char rule[RULE_TEXT_MAX], why[POLICY_TEXT_MAX];

	if (c->state == CONN_LOOK || c->state == CONN_NEW)
		return;
	if (c->state == CONN_HTTP) {
		if (c->h2 != NULL ? !h2_conn_recheck(c->h2) : !http_conn_recheck(c->http))
			conn_abort(c);
		return;
	}
	if (credentials && c->state == CONN_RELAY && conn_wants_edit(c)) {
		conn_log_blocked(c, NETEVENT_TLS, "<credential>",
			"a credential for this host has been set: connect anew");
		conn_abort(c);
		return;
	}
	d = reach_rejudge(c->net, &c->dest, c->state == CONN_RELAY ? &c->to : NULL);
	if (d.outcome == POLICY_ALLOW ||
		(c->state == CONN_INTERCEPT && (c->no_origin || d.outcome == POLICY_INSPECT)))
		return;
	policy_decision_rule(&d, rule);
	policy_decision_text(&d, why);
	conn_log_blocked(c, NETEVENT_TCP, rule, why);
	conn_abort(c);
}
