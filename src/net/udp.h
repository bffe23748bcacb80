#pragma once
/* The guest's UDP to what rules open. */
#include <sys/queue.h>

#include <base/htab.h>
#include <proto/ipv4.h>

#include "nflog.h"

#define UDP_FLOWS_MAX 512
/* RFC 4787 REQ-5: not less than two minutes. */
#define UDP_IDLE_MS       180000
#define UDP_UNANSWERED_MS 30000

struct net;
struct udp_flow;
TAILQ_HEAD(udp_flows, udp_flow);

struct udp {
	struct udp_flows flows; /* the one that was used last is the last */
	struct htab table;
	struct nflog nflog;
	uint8_t answer[IPV4_UDP_MAX]; /* one datagram, on its way to the guest */
};

void udp_init(struct udp *u);
/* The kernel has packets to open ports. */
void udp_on_readable(void *net, int events);
/* The policy is another: ends what it forbids. */
void udp_recheck(struct net *net);
void udp_close_all(struct net *net);
