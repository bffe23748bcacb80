#pragma once
/*
 * A guest's TLS connection that is looked into: the origin's handshake, a leaf certificate, the
 * guest's handshake. What comes of it are two ends that speak HTTP.
 */
#include <proto/tls.h>

#include "upstream.h"

#define INTERCEPTS_MAX     1024  /* at once; beyond, reset */
#define INTERCEPT_LIMIT_MS 30000 /* for the guest's handshake */

struct intercept_options {
	struct net *net;
	struct reach_dest dest;
	const char *name; /* what the guest calls the server: a host name or an address */
	const struct tls_hello *hello;
	int guest_fd;   /* its ClientHello has been looked at and not been read */
	bool no_origin; /* nothing but a page will be said */
	int origin_fd;  /* connected already; -1: not */
	struct ip_addr origin_to;
};

struct intercept_result {
	SSL *guest;         /* the callee's; NULL: see failed. The guest's socket is the caller's */
	const char *failed; /* the guest's handshake failed: why */
	enum tls_alpn alpn;
	struct upstream_result up; /* no origin where one was wanted: why, and so a page is due */
};

struct intercept;
/* Called once, never from within intercept_start; it is gone by then. */
typedef void intercept_fn(void *arg, const struct intercept_result *r);

/* Takes the origin's socket. NULL: nothing of the kind is possible now. */
struct intercept *intercept_start(const struct intercept_options *o, intercept_fn *done, void *arg);
void intercept_cancel(struct intercept *i);
/* Could it be intercepted, with what the client offers to speak? */
bool intercept_speaks(const struct tls_hello *h);
