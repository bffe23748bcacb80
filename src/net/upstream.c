#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "sock.h"
#include "upstream.h"

/* How this works: REACH (unless a socket was given), then the handshake; one of reach and watch. */

struct upstream {
	struct upstream_options o;
	struct reach *reach;
	struct watch *watch;
	struct alarm *limit;
	int fd;
	SSL *ssl;
	struct policy_decision decision;
	upstream_fn *done;
	void *arg;
};

static void
release(struct upstream *u)
{
	watch_free(u->watch);
	alarm_free(u->limit);
	SSL_free(u->ssl);
	if (u->fd >= 0)
		sock_reset(u->fd);
	free(u);
}

static void
finish(struct upstream *u, const struct upstream_result *r)
{
	upstream_fn *done = u->done;
	void *arg = u->arg;

	release(u);
	done(arg, r);
}

static void
connected(struct upstream *u)
{
	struct upstream_result r = {.ssl = u->ssl};

	r.reach.end = REACH_CONNECTED;
	r.reach.fd = u->fd;
	r.reach.to = u->o.to;
	r.reach.decision = u->decision;
	u->ssl = NULL;
	u->fd = -1;
	finish(u, &r);
}

static void
failed(struct upstream *u, int error, const char *why)
{
	const struct upstream_result r = {
		.reach = {.end = REACH_FAILED, .fd = -1, .error = error}, .tls_failed = why};

	finish(u, &r);
}

static void
go_on(struct upstream *u)
{
	char why[TLS_REASON_MAX];

	switch (tls_handshake(u->ssl)) {
	case TLS_STEP_DONE:
		connected(u);
		return;
	case TLS_STEP_READ:
		watch_events(u->watch, UV_READABLE);
		return;
	case TLS_STEP_WRITE:
		watch_events(u->watch, UV_WRITABLE);
		return;
	case TLS_STEP_FAILED:
		tls_why_client(u->ssl, why);
		failed(u, -EPROTO, why);
	}
}

static void
on_ready(void *arg, int events)
{
	(void)events; /* an error shows in the handshake */
	go_on(arg);
}

static void
on_limit(void *arg)
{
	failed(arg, -ETIMEDOUT, "tls_upstream: the server takes too long");
}

/* The socket is there. Never calls back from within: the first flight waits for the loop. */
static void
start_tls(struct upstream *u)
{
	const struct upstream_options *o = &u->o;

	u->limit = alarm_new(&o->net->loop, on_limit, u);
	u->ssl = tls_client(o->net->tls, u->fd, o->tls_name, o->alpn_h2, o->alpn_http1);
	u->watch = u->ssl != NULL ? watch_new(&o->net->loop, u->fd, on_ready, u) : NULL;
	alarm_set(u->limit, u->watch != NULL ? o->net->hooks.dial_limit_ms : 0);
	if (u->watch != NULL)
		watch_events(u->watch, UV_WRITABLE);
}

static void
on_reached(void *arg, const struct reach_result *r)
{
	struct upstream *u = arg;
	const struct upstream_result end = {.reach = *r};

	u->reach = NULL;
	if (r->end != REACH_CONNECTED) {
		finish(u, &end);
		return;
	}
	u->fd = r->fd;
	u->o.to = r->to;
	u->decision = r->decision;
	if (u->o.tls_name != NULL)
		start_tls(u);
	else
		connected(u);
}

struct upstream *
upstream_start(const struct upstream_options *o, upstream_fn *done, void *arg)
{
	struct upstream *u = xcalloc(1, sizeof(*u));

	*u = (struct upstream){.o = *o, .fd = o->fd, .done = done, .arg = arg};
	if (o->fd >= 0) {
		start_tls(u);
		return u;
	}
	u->reach = reach_start(o->net, &o->dest, on_reached, u);
	if (u->reach == NULL) {
		release(u);
		return NULL;
	}
	return u;
}

void
upstream_cancel(struct upstream *u)
{
	if (u->reach != NULL)
		reach_cancel(u->reach);
	release(u);
}
