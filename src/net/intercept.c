#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "intercept.h"
#include "leaf.h"
#include "server.h"
#include "sock.h"

/*
 * How this works:
 *   ORIGIN  the origin is reached, its handshake done with what the guest offers to speak
 *           (ALPN), its certificate verified; passed over where only a page is to be said
 *   LEAF    the signer is asked, unless the certificate is at hand
 *   GUEST   the guest's handshake; it is offered what the origin has chosen
 * The guest's bytes wait in its socket until GUEST. An origin that cannot be had does not end it:
 * the guest is told inside of TLS.
 */

struct intercept {
	struct intercept_options o;
	bool h2, http1; /* what the guest speaks */
	struct upstream *upstream;
	struct leaf_wait *leaf;
	struct watch *watch;
	struct alarm *limit;
	SSL *ssl;
	struct upstream_result up;
	char tls_failed[TLS_REASON_MAX];
	intercept_fn *done;
	void *arg;
};

bool
intercept_speaks(const struct tls_hello *h)
{
	return h->alpn_http1 || h->alpn_h2 || !h->alpn_other;
}

static void
release(struct intercept *i)
{
	watch_free(i->watch);
	alarm_free(i->limit);
	SSL_free(i->ssl);
	SSL_free(i->up.ssl);
	if (i->up.reach.end == REACH_CONNECTED && i->up.reach.fd >= 0)
		sock_reset(i->up.reach.fd);
	i->o.net->nintercepts--;
	free(i);
}

static void
finish(struct intercept *i, struct intercept_result r)
{
	char tls_failed[TLS_REASON_MAX];
	intercept_fn *done = i->done;
	void *arg = i->arg;

	if (r.guest != NULL) {
		r.up = i->up;
		i->up.ssl = NULL;
		i->up.reach.fd = -1;
		if (i->up.tls_failed != NULL) {
			memcpy(tls_failed, i->tls_failed, sizeof(tls_failed));
			r.up.tls_failed = tls_failed;
		}
	}
	release(i);
	done(arg, &r);
}

static void
go_on(struct intercept *i)
{
	struct intercept_result done = {0};
	char why[TLS_REASON_MAX];

	switch (tls_handshake(i->ssl)) {
	case TLS_STEP_DONE:
		done.alpn = tls_chosen(i->ssl);
		done.guest = TAKE_PTR(i->ssl);
		finish(i, done);
		return;
	case TLS_STEP_READ:
		watch_events(i->watch, UV_READABLE);
		return;
	case TLS_STEP_WRITE:
		watch_events(i->watch, UV_WRITABLE);
		return;
	case TLS_STEP_FAILED:
		tls_why_server(why);
		finish(i, (struct intercept_result){.failed = why});
	}
}

static void
on_guest(void *arg, int events)
{
	(void)events;
	go_on(arg);
}

static void
on_limit(void *arg)
{
	finish(arg,
		(struct intercept_result){.failed = "tls_handshake: the client takes too long"});
}

static enum tls_alpn
offer(const struct intercept *i)
{
	bool origin = i->up.ssl != NULL;
	enum tls_alpn chosen = origin ? tls_chosen(i->up.ssl) : TLS_ALPN_NONE;

	if (!i->h2 && !i->http1)
		return TLS_ALPN_NONE;
	if (chosen == TLS_ALPN_H2 || (!origin && !i->http1))
		return TLS_ALPN_H2;
	return i->http1 ? TLS_ALPN_HTTP1 : TLS_ALPN_NONE;
}

static void
start_guest(struct intercept *i, X509 *leaf)
{
	struct net *net = i->o.net;

	i->limit = alarm_new(&net->loop, on_limit, i);
	i->ssl = leaf != NULL ? tls_server(net->tls, i->o.guest_fd, leaf, offer(i)) : NULL;
	i->watch = i->ssl != NULL ? watch_new(&net->loop, i->o.guest_fd, on_guest, i) : NULL;
	if (i->watch == NULL) {
		finish(i,
			(struct intercept_result){.failed = "tls_leaf: no certificate to be had"});
		return;
	}
	alarm_set(i->limit, INTERCEPT_LIMIT_MS);
	watch_events(i->watch, UV_READABLE);
}

static void
on_leaf(void *arg, X509 *leaf)
{
	struct intercept *i = arg;

	i->leaf = NULL;
	start_guest(i, leaf);
}

static void
start_leaf(struct intercept *i)
{
	struct leaves *all = i->o.net->leaves;
	X509 *leaf = leaf_find(all, i->o.name);

	if (leaf == NULL)
		i->leaf = leaf_get(all, i->o.name, on_leaf, i);
	if (i->leaf == NULL)
		start_guest(i, leaf);
	X509_free(leaf);
}

static void
on_upstream(void *arg, const struct upstream_result *r)
{
	struct intercept *i = arg;

	i->upstream = NULL;
	i->up = *r;
	if (r->tls_failed != NULL) {
		snprintf(i->tls_failed, sizeof(i->tls_failed), "%s", r->tls_failed);
		i->up.tls_failed = i->tls_failed;
	}
	start_leaf(i);
}

/* Begins with the loop's next round, as all callbacks do. */
static void
on_begin(void *arg)
{
	struct intercept *i = arg;

	alarm_free(i->limit);
	i->limit = NULL;
	start_leaf(i);
}

struct intercept *
intercept_start(const struct intercept_options *o, intercept_fn *done, void *arg)
{
	struct net *net = o->net;
	struct intercept *i = xcalloc(1, sizeof(*i));

	*i = (struct intercept){.o = *o,
		.h2 = o->hello->alpn_h2,
		.http1 = o->hello->alpn_http1,
		.up.reach = {.end = REACH_FAILED, .fd = -1},
		.done = done,
		.arg = arg};
	net->nintercepts++;
	if (o->no_origin) {
		i->limit = alarm_new(&net->loop, on_begin, i);
		alarm_set(i->limit, 0);
		return i;
	}
	struct upstream_options u = {.net = net,
		.dest = o->dest,
		.tls_name = o->name,
		.alpn_h2 = i->h2,
		.alpn_http1 = i->http1 || !i->h2,
		.fd = o->origin_fd,
		.to = o->origin_to};

	/* Before any request is seen. */
	u.dest.per_request = true;
	i->upstream = upstream_start(&u, on_upstream, i);
	if (i->upstream == NULL) {
		release(i);
		return NULL;
	}
	return i;
}

void
intercept_cancel(struct intercept *i)
{
	if (i->upstream != NULL)
		upstream_cancel(i->upstream);
	if (i->leaf != NULL)
		leaf_cancel(i->leaf);
	release(i);
}
