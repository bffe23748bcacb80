/*
 * What the kernel has refused by itself (jail's ruleset): told to the log. Nothing here decides:
 * the packets are gone. What comes too fast to be read is counted.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <base/cleanup.h>
#include <proto/ipv4.h>

#include "dest.h"
#include "server.h"

static const struct {
	uint8_t number;
	const char *name;
} protocols[] = {{IPPROTO_IGMP, "IGMP"}, {IPPROTO_IPV6, "IPv6 in IPv4"}, {IPPROTO_GRE, "GRE"},
	{IPPROTO_DCCP, "DCCP"}, {IPPROTO_ESP, "ESP"}, {IPPROTO_AH, "AH"}, {IPPROTO_SCTP, "SCTP"}};

static void
set_reason(struct netevent *ev, const char *rule, const char *reason)
{
	netevent_set_text(ev->rule, sizeof(ev->rule), rule, strlen(rule));
	netevent_set_text(ev->reason, sizeof(ev->reason), reason, strlen(reason));
}

static void
describe_udp(struct net *net, const struct reach_dest *dest, struct netevent *ev)
{
	struct policy_decision d = reach_judge(net, dest);
	char rule[RULE_TEXT_MAX], why[POLICY_TEXT_MAX];

	ev->kind = NETEVENT_UDP;
	ev->port = dest->port;
	if (d.outcome == POLICY_ALLOW) { /* it came before the kernel knew of the rule */
		set_reason(ev, "<protocol>", "this UDP port was not open yet");
		return;
	}
	policy_decision_rule(&d, rule);
	policy_decision_text(&d, why);
	set_reason(ev, rule, why);
}

static void
describe_other(const struct ipv4_packet *k, struct netevent *ev)
{
	char text[NETEVENT_REASON_MAX];

	ev->kind = k->protocol == IPPROTO_ICMP ? NETEVENT_ICMP : NETEVENT_OTHER;
	snprintf(text, sizeof(text), "IP protocol %u is not carried", k->protocol);
	if (k->protocol == IPPROTO_ICMP)
		snprintf(text, sizeof(text), "ICMP is not carried (type %u)", k->icmp_type);
	for (size_t i = 0; i < ARRAY_LEN(protocols); i++)
		if (protocols[i].number == k->protocol)
			snprintf(text, sizeof(text), "%s is not carried", protocols[i].name);
	set_reason(ev, "<protocol>", text);
}

static void
on_packet(void *arg, const uint8_t *p, size_t n, uint32_t lost)
{
	struct net *net = arg;
	struct netevent ev = {.verdict = NETEVENT_BLOCKED};
	char host[HOST_NAME_TEXT_MAX];
	struct reach_dest dest;
	struct ipv4_packet k;

	events_lost(net->events, lost);
	if (ipv4_parse(p, n, &k) < 0)
		return;
	/* The guest's own kernel says so, of answers for which nobody waits any more. */
	if (k.protocol == IPPROTO_ICMP && k.icmp_type == 3)
		return;
	dest_identify(net, k.dst, host, &dest, &ev.via);
	dest.udp = k.protocol == IPPROTO_UDP;
	dest.port = k.dport;
	netevent_set_text(ev.host, sizeof(ev.host), dest.host, strlen(dest.host));
	if (dest.udp)
		describe_udp(net, &dest, &ev);
	else
		describe_other(&k, &ev);
	events_one(net->events, &ev);
}

void
refused_on_readable(void *arg, int events)
{
	struct net *net = arg;

	(void)events;
	nflog_read(&net->nflog_refused, net->o->refused_fd, on_packet, net);
}

void
flood_on_readable(void *arg, int events)
{
	struct net *net = arg;

	(void)events;
	nflog_read(&net->nflog_flood, net->o->flood_fd, on_packet, net);
}
