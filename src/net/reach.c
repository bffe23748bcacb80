#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/log.h>
#include <base/mem.h>
#include <policy/policy.h>

#include "dial.h"
#include "reach.h"

struct reach {
	struct net *net;
	struct reach_dest dest;
	struct lookup *lookup; /* at most one of these two is set */
	struct dial *dial;
	struct ip_addr addrs[DIAL_MAX]; /* what is dialed */
	struct policy_decision decision;
	reach_fn *done;
	void *arg;
};

static const struct net_override *
find_override(const struct net *net, const struct reach_dest *d)
{
	const struct net_override *ov = overrides_find(&net->overrides, d->host, d->port);

	if (ov == NULL && strcmp(d->host, HOST_NAME_DOCKER) == 0)
		ov = overrides_find(&net->overrides, HOST_NAME_GATEWAY, d->port);
	return ov;
}

bool
reach_name(const struct http_authority *a, char host[HOST_NAME_TEXT_MAX], struct reach_dest *ret)
{
	char text[HTTP_HOST_MAX + 1];
	struct ip_addr ip;

	memcpy(text, a->host.p, a->host.n);
	text[a->host.n] = '\0';
	ret->host = host;
	ret->is_raw = ip_addr_parse(text, &ip) == 0;
	if (ret->is_raw)
		ip_addr_format(&ip, host);
	else if (a->is_ipv6 || host_name_canonical(text, host) < 0)
		return false;
	return true;
}

bool
reach_same_host(const struct reach_dest *a, const struct reach_dest *b)
{
	if (a->is_raw != b->is_raw)
		return false;
	if (strcmp(a->host, b->host) == 0)
		return true;
	return host_name_kind(a->host) == HOST_NAME_HOST &&
	       host_name_kind(b->host) == HOST_NAME_HOST;
}

struct policy_dest
reach_dest_of(const struct reach_dest *d, struct ip_addr *store)
{
	struct policy_dest dest = {.name = d->is_raw ? NULL : d->host,
		.port = d->port,
		.udp = d->udp,
		.method = d->method,
		.target = d->target};

	if (d->is_raw && ip_addr_parse(d->host, store) == 0)
		dest.addr = store;
	return dest;
}

struct policy_decision
reach_rejudge(const struct net *net, const struct reach_dest *d, const struct ip_addr *to)
{
	struct ip_addr raw;
	struct policy_dest dest = reach_dest_of(d, &raw);

	dest.overridden = find_override(net, d) != NULL;
	if (!d->is_raw)
		dest.addr = to;
	return policy_decide(net->o->policy, &dest);
}

struct policy_decision
reach_judge(const struct net *net, const struct reach_dest *d)
{
	return reach_rejudge(net, d, NULL);
}

static void
finish(struct reach *r, struct reach_result result)
{
	reach_fn *done = r->done;
	void *arg = r->arg;

	result.decision = r->decision;
	free(r);
	done(arg, &result);
}

static bool
may_go_on(const struct reach_dest *d, const struct policy_decision *v)
{
	return v->outcome == POLICY_ALLOW || (d->per_request && v->outcome == POLICY_INSPECT);
}

static void
on_dialed(void *arg, int fd, size_t index)
{
	struct reach *r = arg;

	r->dial = NULL;
	if (fd < 0) {
		finish(r, (struct reach_result){.end = REACH_FAILED, .fd = -1, .error = fd});
		return;
	}
	/* The policy may have changed since the address was judged. */
	r->decision = reach_rejudge(r->net, &r->dest, &r->addrs[index]);
	if (may_go_on(&r->dest, &r->decision)) {
		finish(r, (struct reach_result){
				  .end = REACH_CONNECTED, .fd = fd, .to = r->addrs[index]});
		return;
	}
	close(fd);
	finish(r, (struct reach_result){.end = REACH_DENIED, .fd = -1, .error = -EACCES});
}

static void
start_dial(struct reach *r, const struct sockaddr_storage *addrs, size_t n)
{
	n = n < DIAL_MAX ? n : DIAL_MAX;
	for (size_t i = 0; i < n; i++)
		(void)ip_addr_from_sockaddr(&addrs[i], &r->addrs[i]);
	r->dial = dial_start(&r->net->loop, r->dest.udp ? SOCK_DGRAM : SOCK_STREAM, addrs, n,
		r->net->hooks.dial_limit_ms, on_dialed, r);
}

static bool
is_allowed(struct reach *r, const struct resolve_addr *a)
{
	struct ip_addr raw;
	struct policy_dest dest = reach_dest_of(&r->dest, &raw);
	char text[IP_ADDR_TEXT_MAX], why[POLICY_TEXT_MAX];
	struct policy_decision decision;

	dest.addr = &a->addr;
	dest.addr_is_host = a->is_host;
	decision = policy_decide(r->net->o->policy, &dest);
	if (may_go_on(&r->dest, &decision))
		return true;
	r->decision = decision;
	ip_addr_format(&a->addr, text);
	policy_decision_text(&decision, why);
	log_debug("%s:%u: %s %s", r->dest.host, r->dest.port, text, why);
	return false;
}

/* An address that is not allowed is taken out of the answer; the others may be used. */
static size_t
choose_addresses(struct reach *r, const struct resolve_reply *reply, struct sockaddr_storage *out)
{
	size_t n = 0;

	for (uint32_t i = 0; i < reply->n; i++)
		if (is_allowed(r, &reply->addrs[i]))
			ip_addr_to_sockaddr(&reply->addrs[i].addr, r->dest.port, &out[n++]);
	dial_sort(out, n);
	return n;
}

static void
on_resolved(void *arg, const struct resolve_reply *reply)
{
	struct sockaddr_storage addrs[RESOLVE_ADDRS_MAX];
	struct reach *r = arg;
	size_t n;

	r->lookup = NULL;
	if (reply->error < 0) {
		finish(r, (struct reach_result){
				  .end = REACH_FAILED, .fd = -1, .error = reply->error});
		return;
	}
	n = choose_addresses(r, reply, addrs);
	if (n == 0)
		finish(r, (struct reach_result){.end = REACH_DENIED, .fd = -1, .error = -EACCES});
	else
		start_dial(r, addrs, n);
}

/* The host's own service: on its loopback, in whichever family it listens. */
static void
dial_host(struct reach *r)
{
	struct ip_addr to[2];
	struct sockaddr_storage addrs[2];

	(void)ip_addr_parse("127.0.0.1", &to[0]);
	(void)ip_addr_parse("::1", &to[1]);
	for (size_t i = 0; i < 2; i++)
		ip_addr_to_sockaddr(&to[i], r->dest.port, &addrs[i]);
	start_dial(r, addrs, 2);
}

struct reach *
reach_start(struct net *net, const struct reach_dest *d, reach_fn *done, void *arg)
{
	const struct net_override *ov = find_override(net, d);
	struct reach *r = xcalloc(1, sizeof(*r));
	struct sockaddr_storage to;

	*r = (struct reach){
		.net = net, .dest = *d, .done = done, .arg = arg, .decision = reach_judge(net, d)};
	if (ov != NULL) {
		override_address(ov, d->port, &to);
		start_dial(r, &to, 1);
		return r;
	}
	if (!d->is_raw && host_name_kind(d->host) == HOST_NAME_HOST) {
		dial_host(r);
		return r;
	}
	/* A raw address is only looked at: is it one of the host's own? */
	r->lookup = resolve_lookup(net->resolve, d->host, d->is_raw, on_resolved, r);
	if (r->lookup == NULL) {
		free(r);
		return NULL;
	}
	return r;
}

void
reach_cancel(struct reach *r)
{
	if (r->lookup != NULL)
		lookup_cancel(r->lookup);
	if (r->dial != NULL)
		dial_cancel(r->dial);
	free(r);
}
