#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>
#include <base/log.h>
#include <base/mem.h>
#include <policy/policy.h>

#include "reach.h"
#include "relay.h"
#include "server.h"
#include "sock.h"

/*
 * How this works. A connection of the guest goes through these states:
 *   NEW    its destination becomes a host: the name behind a fake address, or a raw address;
 *          policy judges it without an address
 *   REACH  it is looked up, judged again and dialed
 *   RELAY  bytes go both ways
 * Until RELAY nothing is read from the guest: what it sends waits in the kernel. Every way out but
 * the relay's own end resets the guest's side. Invariant: exactly the state's own of reach and
 * relay is set; the guest's socket is ours until RELAY.
 */

enum conn_state { CONN_NEW, CONN_REACH, CONN_RELAY };

struct conn {
	LIST_ENTRY(conn) link;
	struct net *net;
	enum conn_state state;
	int guest_fd;
	struct name *name; /* pinned; NULL for a raw address and for the host itself */
	struct reach_dest dest;
	struct ip_addr to; /* RELAY: where it goes */
	char raw[IP_ADDR_TEXT_MAX];
	uint64_t since_ms;
	struct reach *reach;
	struct relay *relay;
};

/* One line for each connection that was. */
static void
report(const struct conn *c, const char *what, uint64_t up, uint64_t down)
{
	log_debug("tcp %s:%u: %s; %llu bytes up, %llu down, %llu ms", c->dest.host, c->dest.port,
		what, (unsigned long long)up, (unsigned long long)down,
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
	case CONN_REACH:
		reach_cancel(c->reach);
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
start_relay(struct conn *c, int fd)
{
	c->relay = relay_start(&c->net->loop, &c->net->pipes, c->guest_fd, fd, on_relayed, c);
	if (c->relay == NULL) {
		report(c, "no relay", 0, 0);
		release(c);
		return;
	}
	c->state = CONN_RELAY;
}

static void
deny(struct conn *c, const struct policy_decision *decision)
{
	char why[POLICY_TEXT_MAX];

	policy_decision_text(decision, why);
	fail(c, why);
}

static void
on_reached(void *arg, const struct reach_result *r)
{
	struct conn *c = arg;

	c->reach = NULL;
	c->to = r->to;
	if (r->end == REACH_CONNECTED)
		start_relay(c, r->fd);
	else if (r->end == REACH_DENIED)
		deny(c, &r->decision);
	else
		fail(c, r->error == -ENOENT ? "no such host" : strerror(-r->error));
}

/* Finds out what the guest means by this address. False: nothing. */
static bool
identify(struct conn *c, uint32_t addr)
{
	struct ip_addr raw = ip_addr_v4(addr);

	ip_addr_format(&raw, c->raw);
	c->dest.host = c->raw;
	c->dest.is_raw = true;
	if (addr == NET_GATEWAY) {
		c->dest.host = HOST_NAME_DOCKER;
		c->dest.is_raw = false;
	} else if (addr >= NET_FAKE_FIRST && addr <= NET_FAKE_LAST) {
		c->name = names_find(c->net->names, addr);
		if (c->name == NULL)
			return false;
		names_pin(c->net->names, c->name);
		c->dest.host = name_text(c->name);
		c->dest.is_raw = false;
	}
	return true;
}

static void
start(struct conn *c)
{
	struct policy_decision decision = reach_judge(c->net, &c->dest);

	if (decision.outcome != POLICY_ALLOW) {
		deny(c, &decision);
		return;
	}
	c->reach = reach_start(c->net, &c->dest, on_reached, c);
	if (c->reach == NULL)
		fail(c, "too many lookups");
	else
		c->state = CONN_REACH;
}

void
conn_start(struct net *net, int guest_fd, const struct sockaddr_in *dst)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	c->net = net;
	c->guest_fd = guest_fd;
	c->dest.port = ntohs(dst->sin_port);
	c->since_ms = clock_mono_ms();
	LIST_INSERT_HEAD(&net->conns, c, link);
	net->nconns++;
	sock_tune(guest_fd);
	if (identify(c, ntohl(dst->sin_addr.s_addr)))
		start(c);
	else
		fail(c, "an address that stands for no name");
}

struct conn *
conn_next(const struct conn *c)
{
	return LIST_NEXT(c, link);
}

void
conn_recheck(struct conn *c)
{
	struct policy_decision decision =
		reach_rejudge(c->net, &c->dest, c->state == CONN_RELAY ? &c->to : NULL);
	char why[POLICY_TEXT_MAX];

	if (decision.outcome == POLICY_ALLOW)
		return;
	policy_decision_text(&decision, why);
	report(c, why, 0, 0);
	conn_abort(c);
}
