#pragma once
/*
 * HTTP/1 between a guest and its origins: each request is parsed strictly, judged on its own,
 * written anew and answered before the next one is looked at. For requests to the forward proxy,
 * for plain HTTP inside of a connection to a name, and for what is intercepted of TLS.
 */
#include <openssl/ssl.h>

#include "events.h"
#include "reach.h"

/* Whatever is asked gets this answer, once policy has not refused it anyway. */
struct http_verdict {
	int status; /* 0: none; 403: a name that contradicts; 502, 504: the origin cannot be had */
	char reason[NETEVENT_REASON_MAX + 1];
};

struct http_options {
	struct net *net;
	int guest_fd;
	SSL *guest_ssl;           /* NULL: plain */
	int origin_fd;            /* connected to dest already; -1: not */
	SSL *origin_ssl;          /* likewise with its handshake; NULL: plain */
	struct ip_addr origin_to; /* then: where it goes */
	enum netevent_via via;
	bool forward;           /* absolute-form, any destination; else dest alone */
	struct reach_dest dest; /* its host outlives the connection */
	const char *tls_name;   /* whom origins' certificates are for; outlives it. NULL: plain */
	struct http_verdict verdict;
};

struct http_conn;
/* Called once, never from within http_conn_start; everything is closed by then. */
typedef void http_done_fn(void *arg);

/* Takes both sockets. NULL where the loop cannot take them; then they are closed. */
struct http_conn *http_conn_start(const struct http_options *o, http_done_fn *done, void *arg);
/* Resets both sides; done is not called. */
void http_conn_cancel(struct http_conn *h);
/* The policy is another. False: what goes on now is not allowed any more; cancel it. */
bool http_conn_recheck(struct http_conn *h);
