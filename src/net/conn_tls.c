/*
 * A connection whose first words are TLS: does its server name fit the destination, may it be
 * looked into, and what becomes of it then. A denial is said inside of TLS, by the page that plain
 * HTTP gets; where that cannot be (the owner's bypass rules, other protocols), by an alert.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conn.h"
#include "edit.h"
#include "sock.h"

/*
 * Clients of databases and the like often name no server in TLS. Where their owner has allowed just
 * this host and port, that decides; 443 is for clients that do name it.
 */
static bool
may_be_nameless(const struct conn *c)
{
	struct policy_decision d = reach_judge(c->net, &c->dest);

	return d.outcome == POLICY_ALLOW && d.rule != NULL && d.rule->kind == RULE_HOST &&
	       !d.rule->preset && d.rule->port != 0 && d.rule->port != 443;
}

const char *
conn_check_server_name(const struct conn *c, char text[NETEVENT_REASON_MAX])
{
	const char *says = c->gate.hello.name;
	char host[HOST_NAME_TEXT_MAX];
	struct reach_dest d = {.host = host, .port = c->dest.port};
	bool own = !c->dest.is_raw && host_name_kind(c->dest.host) == HOST_NAME_HOST;

	if (says[0] == '\0')
		return c->dest.is_raw || own || may_be_nameless(c)
			       ? NULL
			       : "tls_no_sni: TLS without a server name";
	snprintf(text, NETEVENT_REASON_MAX, "tls_sni: the server name in TLS is %.90s", says);
	if (host_name_canonical(says, host) < 0)
		return text;
	if (reach_same_host(&d, &c->dest) || (own && strcmp(host, "localhost") == 0))
		return NULL;
	/* To an address that is allowed as such: the name must be, too. */
	if (c->dest.is_raw && host_name_kind(host) == HOST_NAME_ORDINARY &&
		reach_judge(c->net, &d).outcome == POLICY_ALLOW)
		return NULL;
	return text;
}

/* What the guest calls the server, as its certificate must say it. */
static void
set_tls_name(struct conn *c)
{
	if (host_name_canonical(c->gate.hello.name, c->tls_name) < 0)
		memcpy(c->tls_name, c->dest.host, strlen(c->dest.host) + 1);
}

static bool
is_bypassed(const struct conn *c, const struct ip_addr *to)
{
	struct ip_addr raw;
	struct policy_dest dest = reach_dest_of(&c->dest, &raw);

	if (!c->dest.is_raw && to != NULL)
		dest.addr = to;
	return policy_bypasses(c->net->o->policy, &dest);
}

/* NULL, or why it cannot be looked into. */
static const char *
why_not(const struct conn *c, const struct ip_addr *to)
{
	if (is_bypassed(c, to))
		return "a bypass rule keeps its requests from being seen";
	if (!intercept_speaks(&c->gate.hello))
		return "tls_alpn: not HTTP inside of TLS";
	if (c->net->tls == NULL)
		return "a rule looks at requests, and these cannot be seen";
	if (c->net->nintercepts >= c->net->hooks.intercepts_max)
		return "too much TLS at once";
	return NULL;
}

static void
say_alert(struct conn *c)
{
	CLEAN_BUF struct buf words = BUF_INIT;

	page_put_tls(&words);
	conn_say_goodbye(c, &words);
}

/* The handshake failed: the guest saw an alert, or has sent one. */
static void
end_failed(struct conn *c, const char *why)
{
	if (c->denied != NULL) {
		conn_log_blocked(c, NETEVENT_TLS, c->denied->rule, c->denied->reason);
	} else if (c->verdict.status == 403) {
		conn_log_blocked(c, NETEVENT_TLS, "<name check>", c->verdict.reason);
	} else {
		record_kind(&c->record, NETEVENT_TLS);
		record_end(&c->record, NETEVENT_FAILED, "", why, 0);
	}
	close(c->guest_fd);
	conn_release(c);
}

static void
on_intercepted(void *arg, const struct intercept_result *r)
{
	struct conn *c = arg;
	const struct reach_result *reach = &r->up.reach;

	c->intercept = NULL;
	c->state = CONN_NEW;
	if (r->guest == NULL) {
		end_failed(c, r->failed);
		return;
	}
	if (!c->no_origin && reach->end == REACH_FAILED) {
		c->verdict.status = reach->error == -ETIMEDOUT ? 504 : 502;
		snprintf(c->verdict.reason, sizeof(c->verdict.reason), "%s",
			r->up.tls_failed != NULL  ? r->up.tls_failed
			: reach->error == -ENOENT ? "no such host"
						  : strerror(-reach->error));
	}
	c->to = reach->to;
	conn_start_https(c, r);
}

/* origin_fd: connected, taken; -1: not. */
static void
start(struct conn *c, int origin_fd)
{
	struct intercept_options o = {.net = c->net,
		.dest = c->dest,
		.name = c->tls_name,
		.hello = &c->gate.hello,
		.guest_fd = c->guest_fd,
		.no_origin = c->no_origin,
		.origin_fd = origin_fd,
		.origin_to = c->to};

	watch_free(c->watch);
	alarm_free(c->limit);
	c->watch = NULL;
	c->limit = NULL;
	set_tls_name(c);
	c->state = CONN_INTERCEPT;
	c->intercept = intercept_start(&o, on_intercepted, c);
	if (c->intercept == NULL) {
		c->state = CONN_NEW;
		record_end(&c->record, NETEVENT_FAILED, "", "too many lookups", 0);
		conn_reset(c);
	}
}

void
conn_refuse_tls(struct conn *c, const char *rule, const char *reason)
{
	if (c->net->tls != NULL && why_not(c, NULL) == NULL) {
		c->no_origin = true;
		start(c, -1);
		return;
	}
	conn_log_blocked(c, NETEVENT_TLS, rule, reason);
	say_alert(c);
}

void
conn_refuse_name(struct conn *c, const char *reason)
{
	c->verdict.status = 403;
	snprintf(c->verdict.reason, sizeof(c->verdict.reason), "%s", reason);
	conn_refuse_tls(c, "<name check>", c->verdict.reason);
}

void
conn_inspect_tls(struct conn *c)
{
	char text[NETEVENT_REASON_MAX], rule[RULE_TEXT_MAX];
	const char *wrong = conn_check_server_name(c, text);
	struct policy_decision d;

	if (wrong != NULL) {
		conn_refuse_name(c, wrong);
		return;
	}
	wrong = why_not(c, NULL);
	if (wrong == NULL) {
		start(c, -1);
		return;
	}
	d = reach_judge(c->net, &c->dest);
	policy_decision_rule(&d, rule);
	conn_log_blocked(c, NETEVENT_TLS, rule, wrong);
	say_alert(c);
}

bool
conn_wants_edit(const struct conn *c)
{
	return edit_concerns(c->net, &c->dest) && !is_bypassed(c, &c->to);
}

/* What is not seen there could carry an answer with the value in it past the masking. */
void
conn_edit_tls(struct conn *c, int origin_fd)
{
	const char *wrong = why_not(c, &c->to);

	if (wrong == NULL) {
		start(c, origin_fd);
		return;
	}
	sock_reset(origin_fd);
	conn_log_blocked(c, NETEVENT_TLS, "<credential>", wrong);
	say_alert(c);
}

const char *
conn_tls_note(const struct conn *c)
{
	if (edit_concerns(c->net, &c->dest))
		return "bypass: a credential for this host is not put in";
	return c->gate.hello.ech ? "ech" : "";
}
