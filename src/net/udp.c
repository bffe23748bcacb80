/*
 * UDP that rules open. How this works: the kernel hands over whole packets to open ports (jail's
 * ruleset; NFLOG). A flow is one socket of the guest's to one destination: judged, looked up and
 * judged again like a connection, then a connected socket of its own, so that nobody but the peer
 * answers. Answers go back as packets from the address that the guest knows (raw_fd). What is not
 * allowed is refused with ICMP, and says so at once.
 *
 *   REACH  being looked up; a few datagrams wait
 *   OPEN   datagrams go both ways, until nothing has for a while
 *
 * Flows stand in the order of their last use. There is a limit; beyond it the one that was not used
 * for the longest time goes. All loss is as it is with UDP: nobody is told.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/list.h>
#include <base/mem.h>
#include <proto/ipv4.h>

#include "dest.h"
#include "udp.h"

enum { WAITING_MAX = 8, DATAGRAMS_PER_WAKE = 32 };

struct datagram {
	struct datagram *next;
	size_t n;
	uint8_t bytes[];
};

struct udp_flow {
	TAILQ_ENTRY(udp_flow) link;
	struct hnode node;
	struct net *net;
	struct ipv4_packet key; /* addresses and ports */
	char host[HOST_NAME_TEXT_MAX];
	struct reach_dest dest;
	struct name *name; /* pinned; or NULL */
	struct ip_addr to; /* OPEN */
	struct reach *reach;
	int fd; /* -1: REACH */
	struct watch *watch;
	struct alarm *idle;
	uint64_t used_ms;
	bool answered;
	uint64_t up, down;
	uint16_t next_id; /* of packets to the guest */
	struct record record;
	uint8_t quoted[IPV4_QUOTED_MAX]; /* of the last packet: what an error is about */
	size_t nquoted;
	struct datagram *waiting, **waiting_end;
	size_t nwaiting;
};

static uint64_t
key_hash(const struct ipv4_packet *k)
{
	return hash_u64(hash_u64(0, k->dst), (uint64_t)k->sport << 16 | k->dport);
}

static struct udp_flow *
find(struct udp *u, const struct ipv4_packet *k)
{
	struct hnode *h;

	for (h = htab_first(&u->table, key_hash(k)); h != NULL; h = htab_next(h)) {
		struct udp_flow *f = container_of(h, struct udp_flow, node);

		if (f->key.dst == k->dst && f->key.sport == k->sport && f->key.dport == k->dport)
			return f;
	}
	return NULL;
}

/* ---- to the guest -------------------------------------------------------------------------- */

static void
send_packet(const struct net *net, const uint8_t *p, size_t n)
{
	const struct sockaddr_in guest = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(NET_GUEST)};

	(void)sendto(net->o->raw_fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL,
		(const struct sockaddr *)&guest, sizeof(guest));
}

static void
send_datagram(struct udp_flow *f, const uint8_t *p, size_t n)
{
	uint8_t packet[IPV4_MTU];
	size_t at = 0, size;

	if (++f->next_id == 0)
		f->next_id = 1;
	while ((size = ipv4_put_udp(&f->key, p, n, f->next_id, &at, packet)) > 0)
		send_packet(f->net, packet, size);
}

static void
send_error(const struct net *net, enum ipv4_unreachable code, const uint8_t *quoted, size_t n)
{
	uint8_t packet[IPV4_MTU];

	n = ipv4_put_unreachable(code, NET_GATEWAY, NET_GUEST, quoted, n, packet);
	send_packet(net, packet, n);
}

/* ---- a flow -------------------------------------------------------------------------------- */

/* Frees it; what is to be said in the log has been said. */
static void
drop(struct udp_flow *f)
{
	struct udp *u = &f->net->udp;

	if (f->reach != NULL)
		reach_cancel(f->reach);
	watch_free(f->watch);
	alarm_free(f->idle);
	if (f->fd >= 0)
		close(f->fd);
	if (f->name != NULL)
		names_unpin(f->net->names, f->name, clock_mono_ms());
	while (f->waiting != NULL) {
		struct datagram *d = f->waiting;

		f->waiting = d->next;
		free(d);
	}
	record_drop(&f->record);
	htab_remove(&u->table, &f->node);
	TAILQ_REMOVE(&u->flows, f, link);
	free(f);
}

static void
end(struct udp_flow *f)
{
	if (f->fd >= 0)
		record_close(&f->record, f->up, f->down, 0);
	drop(f);
}

static void
refuse(struct udp_flow *f, const struct policy_decision *d)
{
	char rule[RULE_TEXT_MAX], why[POLICY_TEXT_MAX];

	policy_decision_rule(d, rule);
	policy_decision_text(d, why);
	record_end(&f->record, NETEVENT_BLOCKED, rule, why, 0);
	send_error(f->net, IPV4_PORT_UNREACHABLE, f->quoted, f->nquoted);
	drop(f);
}

static void
fail(struct udp_flow *f, const char *reason)
{
	record_end(&f->record, NETEVENT_FAILED, "", reason, 0);
	send_error(f->net, IPV4_HOST_UNREACHABLE, f->quoted, f->nquoted);
	drop(f);
}

static void
use(struct udp_flow *f)
{
	f->used_ms = clock_mono_ms();
	TAILQ_REMOVE(&f->net->udp.flows, f, link);
	TAILQ_INSERT_TAIL(&f->net->udp.flows, f, link);
}

static void
on_idle(void *arg)
{
	struct udp_flow *f = arg;
	const struct net_hooks *hooks = &f->net->hooks;
	uint64_t limit = f->answered ? hooks->udp_idle_ms : hooks->udp_unanswered_ms;
	uint64_t idle = clock_mono_ms() - f->used_ms;

	if (idle >= limit)
		end(f);
	else
		alarm_set(f->idle, limit - idle);
}

/* The other side says that nobody is there; the next datagram begins anew. */
static void
on_unreachable(struct udp_flow *f)
{
	send_error(f->net, IPV4_PORT_UNREACHABLE, f->quoted, f->nquoted);
	end(f);
}

/* False: the flow is gone. */
static bool
send_up(struct udp_flow *f, const uint8_t *p, size_t n)
{
	ssize_t r = send(f->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

	/* An error of an earlier datagram is reported instead of sending this one. */
	if (r < 0 && errno == ECONNREFUSED) {
		on_unreachable(f);
		return false;
	}
	if (r >= 0)
		f->up += (uint64_t)n;
	return true;
}

static void
on_answer(void *arg, int events)
{
	struct udp_flow *f = arg;
	uint8_t *bytes = f->net->udp.answer;

	for (int i = 0; i < DATAGRAMS_PER_WAKE; i++) {
		ssize_t n = recv(f->fd, bytes, IPV4_UDP_MAX, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			on_unreachable(f);
			return;
		}
		f->down += (uint64_t)n;
		f->answered = true;
		send_datagram(f, bytes, (size_t)n);
	}
	use(f);
	if (events == 0) /* an error has stopped the watch, and was read */
		watch_events(f->watch, UV_READABLE);
}

static void
open_flow(struct udp_flow *f, const struct reach_result *r)
{
	struct policy_decision d = reach_rejudge(f->net, &f->dest, &r->to);
	char rule[RULE_TEXT_MAX];
	struct datagram *waits;

	f->fd = r->fd;
	f->to = r->to;
	f->watch = watch_new(&f->net->loop, f->fd, on_answer, f);
	if (f->watch == NULL) {
		fail(f, "out of descriptors");
		return;
	}
	watch_events(f->watch, UV_READABLE);
	policy_decision_rule(&d, rule);
	record_open(&f->record, rule, "");
	while ((waits = f->waiting) != NULL) {
		f->waiting = waits->next;
		bool here = send_up(f, waits->bytes, waits->n);

		free(waits);
		if (!here)
			return;
	}
}

static void
on_reached(void *arg, const struct reach_result *r)
{
	struct udp_flow *f = arg;

	f->reach = NULL;
	if (r->end == REACH_DENIED)
		refuse(f, &r->decision);
	else if (r->end == REACH_FAILED)
		fail(f, r->error == -ENOENT ? "no such host" : strerror(-r->error));
	else
		open_flow(f, r);
}

static void
wait_in_line(struct udp_flow *f, const uint8_t *p, size_t n)
{
	struct datagram *d;

	if (f->nwaiting == WAITING_MAX)
		return;
	d = xmalloc(sizeof(*d) + n);
	d->next = NULL;
	d->n = n;
	if (n > 0)
		memcpy(d->bytes, p, n);
	*f->waiting_end = d;
	f->waiting_end = &d->next;
	f->nwaiting++;
}

/* NULL: refused. */
static struct udp_flow *
begin(struct net *net, const struct ipv4_packet *k, const uint8_t *packet, size_t n)
{
	struct udp_flow *f = xcalloc(1, sizeof(*f));
	struct policy_decision d;
	enum netevent_via via;

	if (net->udp.table.n >= net->hooks.udp_flows_max)
		end(TAILQ_FIRST(&net->udp.flows));
	*f = (struct udp_flow){.net = net, .key = *k, .fd = -1};
	f->key.payload = NULL;
	f->nquoted = n < sizeof(f->quoted) ? n : sizeof(f->quoted);
	memcpy(f->quoted, packet, f->nquoted);
	f->waiting_end = &f->waiting;
	f->name = dest_identify(net, k->dst, f->host, &f->dest, &via);
	f->dest.port = k->dport;
	f->dest.udp = true;
	if (f->name != NULL)
		names_pin(net->names, f->name);
	TAILQ_INSERT_TAIL(&net->udp.flows, f, link);
	htab_add(&net->udp.table, &f->node, key_hash(k));
	record_begin(&f->record, net->events, NETEVENT_UDP, via, f->dest.host, f->dest.port);
	d = reach_judge(net, &f->dest);
	if (d.outcome != POLICY_ALLOW) {
		refuse(f, &d);
		return NULL;
	}
	f->idle = alarm_new(&net->loop, on_idle, f);
	alarm_set(f->idle, net->hooks.udp_unanswered_ms);
	f->reach = reach_start(net, &f->dest, on_reached, f);
	if (f->reach == NULL) {
		fail(f, "too many lookups");
		return NULL;
	}
	return f;
}

static void
on_packet(void *arg, const uint8_t *p, size_t n, uint32_t lost)
{
	struct net *net = arg;
	struct ipv4_packet k;
	struct udp_flow *f;

	(void)lost;
	/* The source was checked by the kernel, too. */
	if (ipv4_parse(p, n, &k) < 0 || k.protocol != IPPROTO_UDP || k.src != NET_GUEST)
		return;
	f = find(&net->udp, &k);
	if (f == NULL)
		f = begin(net, &k, p, n);
	if (f == NULL)
		return;
	use(f);
	if (f->fd < 0)
		wait_in_line(f, k.payload, k.n);
	else
		(void)send_up(f, k.payload, k.n);
}

/* ---- for the others ------------------------------------------------------------------------ */

void
udp_init(struct udp *u)
{
	TAILQ_INIT(&u->flows);
}

void
udp_on_readable(void *arg, int events)
{
	struct net *net = arg;

	(void)events;
	nflog_read(&net->udp.nflog, net->o->udp_fd, on_packet, net);
}

void
udp_recheck(struct net *net)
{
	struct udp_flow *f, *next;

	for (f = TAILQ_FIRST(&net->udp.flows); f != NULL; f = next) {
		struct policy_decision d = reach_rejudge(net, &f->dest, f->fd >= 0 ? &f->to : NULL);

		next = TAILQ_NEXT(f, link);
		if (d.outcome == POLICY_ALLOW)
			continue;
		if (f->fd >= 0)
			record_close(&f->record, f->up, f->down, 0);
		record_begin(&f->record, net->events, NETEVENT_UDP,
			f->dest.is_raw ? NETEVENT_DIRECT : NETEVENT_TRANSPARENT, f->dest.host,
			f->dest.port);
		refuse(f, &d);
	}
}

void
udp_close_all(struct net *net)
{
	while (!TAILQ_EMPTY(&net->udp.flows))
		end(TAILQ_FIRST(&net->udp.flows));
	htab_release(&net->udp.table);
}
