#pragma once
/*
 * From a destination to an origin that may be talked to: reached (reach.h) and, where it is to be
 * TLS, with the handshake done and the certificate verified.
 */
#include "reach.h"
#include "tls.h"

struct upstream_options {
	struct net *net;
	struct reach_dest dest;
	const char *tls_name;     /* whom the certificate must be for; outlives it. NULL: plain */
	bool alpn_h2, alpn_http1; /* what is offered */
	int fd;                   /* connected to it already: taken; -1: not */
	struct ip_addr to;        /* then: where it goes */
};

struct upstream_result {
	struct reach_result reach; /* CONNECTED: fd is the callee's */
	SSL *ssl;                  /* likewise; NULL: plain */
	const char *tls_failed;    /* FAILED in TLS: why; NULL: before */
};

struct upstream;
/* Called once, never from within upstream_start; it is gone by then. */
typedef void upstream_fn(void *arg, const struct upstream_result *r);

/* NULL: too many lookups at once; a descriptor that was handed over is closed. */
struct upstream *upstream_start(const struct upstream_options *o, upstream_fn *done, void *arg);
void upstream_cancel(struct upstream *u);
