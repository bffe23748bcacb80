#pragma once
/* TLS that is looked into: the net role with a signer, one origin, and what the log is told. */
#include "net_events.h"
#include "net_tls.h"

#define PAGE   "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
#define GET(p) "GET " p " HTTP/1.1\r\nHost: public.example\r\n\r\n"

/* One whose requests decide, one that is allowed as it is; all others are denied. */
#define POLICY                                                                                     \
	"locked\nallow public.example --method GET --path /ok/**\nallow two.example\n"             \
	"allow dual.example --method GET\n"

struct scene {
	struct rig g;
	struct tls_world w;
	uint16_t port;
	int origin;
	SSL_CTX *server; /* for public.example */
	int events[2];
};

/* more: sets hooks; NULL: there are none to set. */
static inline void
scene_start_with(struct scene *s, const char *policy, void (*more)(struct scene *s))
{
	struct err e;

	memset(s, 0, sizeof(*s));
	tls_world_start(&s->w);
	s->server = tls_server_ctx(&s->w.authority, "public.example", tls_now());
	s->origin = origin_at(FAKE_PUBLIC, &s->port, 20);
	events_open(s->events);
	s->g.own_policy = true;
	assert_int_equal(policy_decode(policy, strlen(policy), &s->g.policy, &e), 0);
	s->g.events_fd = s->events[0];
	s->g.signer_fd = s->w.signer[0];
	s->g.trust = buf_str(&s->w.trust);
	s->g.hooks.gate_limit_ms = 300;
	s->g.hooks.look_limit_ms = 300;
	if (more != NULL)
		more(s);
	rig_start(&s->g);
}

static inline void
scene_start(struct scene *s, const char *policy)
{
	scene_start_with(s, policy, NULL);
}

static inline void
scene_stop(struct scene *s)
{
	rig_stop(&s->g);
	close(s->origin);
	events_close(s->events);
	SSL_CTX_free(s->server);
	tls_world_stop(&s->w);
}

static inline struct netevent
next_event(struct scene *s)
{
	return events_next(s->events);
}

static inline void
expect_event(
	struct scene *s, enum netevent_kind kind, enum netevent_verdict verdict, const char *reason)
{
	struct netevent ev = next_event(s);

	assert_int_equal(ev.kind, kind);
	assert_int_equal(ev.verdict, verdict);
	if (strstr(ev.reason, reason) == NULL)
		fail_msg("'%s' in '%s'", reason, ev.reason);
}

static inline struct tls_guest
trusting(struct scene *s, const char *name)
{
	return (struct tls_guest){.sni = name, .trusts = &s->w.sandbox_cert};
}

/* A guest and its origin, each with its handshake done. */
static inline void
meet(struct scene *s, const struct tls_guest *as, const char *origin_alpn, SSL **guest,
	SSL **served)
{
	struct tls_handshake h;

	tls_connect_begin(&h, tls_guest_new(as, guest_call(&s->g, as->sni, s->port)));
	*served = tls_accept(s->server, peer_accept(s->origin), origin_alpn);
	assert_non_null(*served);
	if (tls_connect_end(&h) != 1) {
		ERR_print_errors_fp(stderr);
		fail_msg("handshake");
	}
	*guest = h.ssl;
}

/* One that gets a page without that anybody is called. */
static inline SSL *
meet_page(struct scene *s, const struct tls_guest *as, const char *name)
{
	SSL *guest = tls_guest_new(as, guest_call(&s->g, name, s->port));

	if (SSL_connect(guest) != 1) {
		ERR_print_errors_fp(stderr);
		fail_msg("handshake");
	}
	return guest;
}

static inline void
serve(SSL *served, const char *line, const char *answer)
{
	tls_expect_head(served, line);
	tls_send(served, answer);
}

static inline void
check_page_get(struct scene *s, SSL *guest, SSL *served)
{
	struct netevent ev;

	tls_send(guest, GET("/ok/1?q=secret"));
	serve(served, "GET /ok/1?q=secret HTTP/1.1\r\nHost: public.example\r\n", PAGE);
	tls_expect(guest, PAGE);
	ev = next_event(s);
	assert_int_equal(ev.op, NETEVENT_OPEN);
	assert_int_equal(ev.kind, NETEVENT_HTTP);
	assert_string_equal(ev.method, "GET");
	assert_string_equal(ev.path, "/ok/1");
	ev = next_event(s);
	assert_int_equal(ev.op, NETEVENT_CLOSE);
	assert_int_equal(ev.status, 200);
}
