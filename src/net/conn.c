#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>
#include <base/log.h>
#include <base/mem.h>
#include <policy/policy.h>

#include "dial.h"
#include "relay.h"
#include "server.h"
#include "sock.h"

/*
 * How this works. A connection of the guest goes through these states:
 *   (accepted)  its destination becomes a host: the name behind a fake address, or a raw address;
 *               policy judges it without an address
 *   LOOKUP      the resolver is asked; policy judges every address of the answer
 *   DIAL        the addresses that passed are connected to
 *   RELAY       bytes go both ways
 * Until RELAY nothing is read from the guest: what it sends waits in the kernel. Every way out but
 * the relay's own end resets the guest's side. Invariant: exactly the state's own of lookup, dial
 * and relay is set; the guest's socket is ours until RELAY.
 */

enum conn_state { CONN_NEW, CONN_LOOKUP, CONN_DIAL, CONN_RELAY };

struct conn {
	LIST_ENTRY(conn) link;
	struct net *net;
	enum conn_state state;
	int guest_fd;
	struct name *name; /* pinned; NULL for a raw address and for the host itself */
	const char *host;  /* the name's text, or raw */
	char raw[IP_ADDR_TEXT_MAX];
	uint16_t port;
	uint64_t since_ms;
	struct lookup *lookup;
	struct dial *dial;
	struct relay *relay;
};

/* One line for each connection that was. */
static void
report(const struct conn *c, const char *what, uint64_t up, uint64_t down)
{
	log_debug("tcp %s:%u: %s; %llu bytes up, %llu down, %llu ms", c->host, c->port, what,
		(unsigned long long)up, (unsigned long long)down,
		(unsigned long long)(clock_mono_ms() - c->since_ms));
}

static void
release(struct conn *c)
{
	struct net *net = c->net;

	if (c->name != NULL)
		names_unpin(net->names, c->name, clock_mono_ms());
	LIST_REMOVE(c, link);
	net->nconns--;
	free(c);
}

void
conn_abort(struct conn *c)
{
	switch (c->state) {
	case CONN_NEW:
		break;
	case CONN_LOOKUP:
		lookup_cancel(c->lookup);
		break;
	case CONN_DIAL:
		dial_cancel(c->dial);
		break;
	case CONN_RELAY:
		relay_cancel(c->relay);
		break;
	}
	if (c->state != CONN_RELAY)
		sock_reset(c->guest_fd);
	release(c);
}

/* The present state has nothing running any more. */
static void
fail(struct conn *c, const char *what)
{
	report(c, what, 0, 0);
	sock_reset(c->guest_fd);
	release(c);
}

static void
on_relayed(void *arg, enum relay_end end, uint64_t up, uint64_t down)
{
	static const char *const ends[] = {
		[RELAY_DONE] = "closed", [RELAY_RESET] = "reset", [RELAY_FAILED] = "out of pipes"};
	struct conn *c = arg;

	report(c, ends[end], up, down);
	release(c);
}

static void
on_dialed(void *arg, int fd, size_t index)
{
	struct conn *c = arg;

	(void)index;
	c->dial = NULL;
	if (fd < 0) {
		fail(c, strerror(-fd));
		return;
	}
	c->relay = relay_start(&c->net->loop, &c->net->pipes, c->guest_fd, fd, on_relayed, c);
	if (c->relay == NULL) {
		report(c, "no relay", 0, 0);
		release(c);
		return;
	}
	c->state = CONN_RELAY;
}

static void
start_dial(struct conn *c, const struct sockaddr_storage *addrs, size_t n)
{
	c->dial = dial_start(&c->net->loop, addrs, n, c->net->hooks.dial_limit_ms, on_dialed, c);
	c->state = CONN_DIAL;
}

static bool
is_allowed(const struct conn *c, const struct resolve_addr *a)
{
	const struct policy_dest dest = {.name = c->name != NULL ? c->host : NULL,
		.addr = &a->addr,
		.port = c->port,
		.addr_is_host = a->is_host};
	struct policy_decision decision = policy_decide(&dest);
	char text[IP_ADDR_TEXT_MAX], why[POLICY_TEXT_MAX];

	if (decision.outcome == POLICY_ALLOW)
		return true;
	ip_addr_format(&a->addr, text);
	policy_decision_text(&decision, why);
	log_debug("tcp %s:%u: %s %s", c->host, c->port, text, why);
	return false;
}

/* An address that is not allowed is taken out of the answer; the others may be used. */
static size_t
choose_addresses(
	const struct conn *c, const struct resolve_reply *reply, struct sockaddr_storage *out)
{
	size_t n = 0;

	for (uint32_t i = 0; i < reply->n; i++)
		if (is_allowed(c, &reply->addrs[i]))
			ip_addr_to_sockaddr(&reply->addrs[i].addr, c->port, &out[n++]);
	dial_sort(out, n);
	return n;
}

static void
on_resolved(void *arg, const struct resolve_reply *reply)
{
	struct sockaddr_storage addrs[RESOLVE_ADDRS_MAX];
	struct conn *c = arg;
	size_t n;

	c->lookup = NULL;
	if (reply->error < 0) {
		fail(c, reply->error == -ENOENT ? "no such host" : "the host cannot be resolved");
		return;
	}
	n = choose_addresses(c, reply, addrs);
	if (n == 0)
		fail(c, "no address is allowed");
	else
		start_dial(c, addrs, n);
}

static void
start_lookup(struct conn *c)
{
	/* A raw address is only looked at: is it one of the host's own? */
	c->lookup = resolve_lookup(c->net->resolve, c->host, c->name == NULL, on_resolved, c);
	if (c->lookup == NULL)
		fail(c, "too many lookups");
	else
		c->state = CONN_LOOKUP;
}

/* Finds out what the guest means by this address. False: nothing. */
static bool
identify(struct conn *c, uint32_t addr)
{
	struct ip_addr raw = ip_addr_v4(addr);

	ip_addr_format(&raw, c->raw);
	c->host = c->raw;
	if (addr == NET_GATEWAY) {
		c->host = HOST_NAME_DOCKER;
	} else if (addr >= NET_FAKE_FIRST && addr <= NET_FAKE_LAST) {
		c->name = names_find(c->net->names, addr);
		if (c->name == NULL)
			return false;
		names_pin(c->net->names, c->name);
		c->host = name_text(c->name);
	}
	return true;
}

static const struct net_override *
find_override(const struct conn *c)
{
	const struct net_override *ov = overrides_find(&c->net->overrides, c->host, c->port);

	if (ov == NULL && strcmp(c->host, HOST_NAME_DOCKER) == 0)
		ov = overrides_find(&c->net->overrides, HOST_NAME_GATEWAY, c->port);
	return ov;
}

static void
judge(struct conn *c, uint32_t addr)
{
	const struct net_override *ov = find_override(c);
	struct ip_addr raw = ip_addr_v4(addr);
	const struct policy_dest dest = {.name = c->host != c->raw ? c->host : NULL,
		.addr = c->host == c->raw ? &raw : NULL,
		.port = c->port,
		.overridden = ov != NULL};
	struct policy_decision decision = policy_decide(&dest);
	struct sockaddr_storage to;
	char why[POLICY_TEXT_MAX];

	if (decision.outcome != POLICY_ALLOW) {
		policy_decision_text(&decision, why);
		fail(c, why);
	} else if (ov != NULL) {
		override_address(ov, c->port, &to);
		start_dial(c, &to, 1);
	} else {
		start_lookup(c);
	}
}

void
conn_start(struct net *net, int guest_fd, const struct sockaddr_in *dst)
{
	struct conn *c = xcalloc(1, sizeof(*c));
	uint32_t addr = ntohl(dst->sin_addr.s_addr);

	c->net = net;
	c->guest_fd = guest_fd;
	c->port = ntohs(dst->sin_port);
	c->since_ms = clock_mono_ms();
	LIST_INSERT_HEAD(&net->conns, c, link);
	net->nconns++;
	sock_tune(guest_fd);
	if (identify(c, addr))
		judge(c, addr);
	else
		fail(c, "an address that stands for no name");
}
