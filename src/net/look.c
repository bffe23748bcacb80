#include <base/mem.h>

#include "conn.h"
#include "sock.h"

/*
 * How this works: a denial is said in the client's own protocol, which only its first words tell. A
 * client that says nothing (its server would have spoken first), and one of another protocol, are
 * reset. Only LOOKS_MAX of what is refused may be waited for at once: a flood of denials does not
 * keep out what is allowed.
 */
#define LOOKS_MAX 256
#define LOOK_MS   30000 /* for a request, or for words to the proxy */

static void
end_refused(struct conn *c, enum netevent_kind kind)
{
	CLEAN_BUF struct buf words = BUF_INIT;
	bool tls = kind == NETEVENT_TLS;

	conn_log_blocked(c, kind, c->denied->rule, c->denied->reason);
	if (!tls) {
		conn_reset(c);
		return;
	}
	page_put_tls(&words);
	conn_say_goodbye(c, &words);
}

/* A rule wants to see requests, and this shows none. */
static void
end_unseen(struct conn *c, enum netevent_kind kind)
{
	static const char reason[] = "a rule looks at requests, and these cannot be seen";
	struct policy_decision d = reach_judge(c->net, &c->dest);
	CLEAN_BUF struct buf words = BUF_INIT;
	char rule[RULE_TEXT_MAX];

	policy_decision_rule(&d, rule);
	conn_log_blocked(c, kind, rule, reason);
	if (kind != NETEVENT_TLS) {
		conn_reset(c);
		return;
	}
	page_put_tls(&words);
	conn_say_goodbye(c, &words);
}

/* With its ClientHello. */
static void
go_on_tls(struct conn *c)
{
	char text[NETEVENT_REASON_MAX];
	const char *wrong;

	if (c->look == LOOK_REQUESTS) {
		conn_inspect_tls(c);
		return;
	}
	wrong = c->gate.hello.name[0] != '\0' ? conn_check_server_name(c, text) : NULL;
	if (wrong != NULL)
		conn_refuse_name(c, wrong);
	else
		conn_refuse_tls(c, c->denied->rule, c->denied->reason);
}

static void
look(struct conn *c)
{
	enum gate_sight sight;
	enum netevent_kind kind;

	if (c->look == LOOK_PROXY) {
		proxy_look(c);
		return;
	}
	sight = gate_look(&c->gate, c->guest_fd);
	if (sight == GATE_MORE)
		return;
	kind = sight == GATE_TLS || sight == GATE_BAD ? NETEVENT_TLS : NETEVENT_TCP;
	if (sight == GATE_HTTP)
		conn_start_http(c, -1);
	else if (sight == GATE_TLS)
		go_on_tls(c);
	else if (c->look == LOOK_REFUSED)
		end_refused(c, kind);
	else
		end_unseen(c, kind);
}

static void
on_readable(void *arg, int events)
{
	struct conn *c = arg;

	if (events != 0) {
		look(c);
		return;
	}
	if (c->look == LOOK_REFUSED)
		end_refused(c, NETEVENT_TCP);
	else
		conn_reset(c);
}

static void
on_limit(void *arg)
{
	struct conn *c = arg;

	c->gate.late = true;
	look(c);
}

/* There the client speaks first; a slow one may have a store of certificates to read before. */
static bool
is_web(const struct conn *c)
{
	return c->dest.port == 443 || c->dest.port == 80;
}

void
conn_look(struct conn *c, enum look what)
{
	uint64_t limit = c->net->hooks.look_limit_ms * (is_web(c) ? 10 : 1);
	uint64_t ms = what == LOOK_REFUSED ? limit : LOOK_MS;

	c->look = what;
	c->state = CONN_LOOK;
	c->watch = watch_new(&c->net->loop, c->guest_fd, on_readable, c);
	if (c->watch == NULL) {
		conn_reset(c);
		return;
	}
	watch_events(c->watch, UV_READABLE);
	conn_set_limit(c, ms, on_limit);
}

void
conn_refuse(struct conn *c, const struct policy_decision *d)
{
	struct page_store *store = xcalloc(1, sizeof(*store));
	struct ip_addr raw;
	struct policy_dest dest = reach_dest_of(&c->dest, &raw);
	struct page p = page_of_decision(store, &dest, d, c->net->sandbox);
	bool crowded = c->net->nlooks >= LOOKS_MAX;

	p.host = c->dest.host;
	c->denied = store;
	c->net->nlooks++;
	if (c->connect) {
		conn_log_blocked(c, NETEVENT_TCP, store->rule, store->reason);
		proxy_end(c, &p);
	} else if (crowded) {
		end_refused(c, NETEVENT_TCP);
	} else {
		conn_look(c, LOOK_REFUSED);
	}
}
