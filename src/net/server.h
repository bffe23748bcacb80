#pragma once
/* What the parts of the net role share, and the seams for its tests. */
#include <stdbool.h>
#include <sys/queue.h>
#include <uv.h>

#include <cred/gate.h>
#include <net/net.h>

#include "events.h"
#include "leaf.h"
#include "overrides.h"
#include "pipes.h"
#include "resolve.h"
#include "responder.h"
#include "tls.h"
#include "udp.h"
#include "watch.h"

#define NET_GATEWAY    0xc6120001 /* 198.18.0.1 */
#define NET_GUEST      0xc6120002 /* 198.18.0.2 */
#define NET_FAKE_FIRST 0xc6120100 /* 198.18.1.0 */
#define NET_FAKE_LAST  0xc613fffe /* 198.19.255.254 */
#define NET_DNS_PORT   53
#define NET_PROXY_PORT 3128 /* at the gateway: the forward proxy */

/* How long a denied client may take to show its protocol. */
#define LOOK_LIMIT_MS 1000
#define NET_CONNS_MAX 2048
/* From a request head's first byte to its last, and between two requests. */
#define NET_HEAD_LIMIT_MS   30000
#define NET_REQUEST_IDLE_MS 120000
#define NET_DNS_IDLE_MS     10000
#define NET_DNS_TCP_MAX     128
/* A relayed connection at its most: two sockets and two pipes. */
#define NET_FDS_PER_CONN 6
#define NET_FDS_OTHER    (128 + UDP_FLOWS_MAX)

/* Zeros and NULLs: as in real life. */
struct net_hooks {
	int (*original_dst)(int fd, struct sockaddr_in *ret); /* 0 or -errno */
	uint64_t resolve_limit_ms, dial_limit_ms, dns_idle_ms, look_limit_ms, gate_limit_ms,
		gate_brief_ms, udp_idle_ms, udp_unanswered_ms, head_limit_ms, request_idle_ms;
	size_t conns_max, intercepts_max, udp_flows_max;
};

LIST_HEAD(conns, conn);
LIST_HEAD(farewells, farewell);
LIST_HEAD(dns_tcps, dns_tcp);

struct net {
	uv_loop_t loop;
	const struct net_options *o;
	struct net_hooks hooks;
	struct overrides overrides;
	struct names *names;
	struct responder responder;
	struct resolve *resolve;
	struct pipes pipes;
	struct watch *listener, *dns, *control, *udp_in, *refused, *flood;
	struct udp udp;
	struct nflog nflog_refused, nflog_flood;
	int spare_fd; /* given up to accept and refuse when there are no others left */
	struct conns conns;
	struct farewells farewells;
	struct dns_tcps dns_tcps;
	size_t nconns, ndns_tcps, nfarewells, nlooks; /* looks: of what is refused anyway */
	size_t nintercepts;
	struct tls *tls;         /* NULL: nothing is intercepted */
	struct leaves *leaves;   /* likewise */
	struct cred_gate *creds; /* NULL: it was given none */
	const char *sandbox;
	struct events *events;
	const char *lost;  /* the role without which nothing goes on; NULL: none */
	struct err failed; /* code 0: not */
};

int net_serve_with(const struct net_options *o, const struct net_hooks *hooks, struct err *e);

/* listener.c: a readable listening socket. */
void listener_on_readable(void *net, int events);

/* conn.c: takes the socket, whatever happens to it. */
void conn_start(struct net *net, int guest_fd, const struct sockaddr_in *dst);
void conn_abort(struct conn *c);
struct conn *conn_next(const struct conn *c);
/* The policy is another: cuts what it forbids. Where the credentials are others, too, also what
 * runs past them: TLS that is relayed to a host that one is for now. */
void conn_recheck(struct conn *c, bool credentials);

/* control.c: a message from the supervisor */
void control_on_readable(void *net, int events);

/* refused.c: the kernel has refused packets */
void refused_on_readable(void *net, int events);
void flood_on_readable(void *net, int events);

/* dns_udp.c, dns_tcp.c */
void dns_udp_on_readable(void *net, int events);
void dns_tcp_start(struct net *net, int fd); /* takes the socket */
void dns_tcp_close(struct dns_tcp *d);
