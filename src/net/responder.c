#include <arpa/inet.h>
#include <string.h>

#include <base/log.h>
#include <base/str.h>
#include <policy/name.h>
#include <proto/dns.h>

#include "responder.h"

#define REVERSE_SUFFIX ".in-addr.arpa"

static void
put_address(struct dns_reply *reply, uint32_t addr)
{
	uint32_t n = htonl(addr);

	dns_reply_a(reply, NAMES_TTL_S, (const uint8_t *)&n);
}

/* "4.3.2.1.in-addr.arpa" to 1.2.3.4. */
static bool
parse_reverse(const char *name, uint32_t *ret)
{
	size_t n = strlen(name), suffix = sizeof(REVERSE_SUFFIX) - 1;
	char quad[INET_ADDRSTRLEN];
	struct in_addr a;

	if (n <= suffix || n - suffix >= sizeof(quad) || !str_has_suffix(name, REVERSE_SUFFIX))
		return false;
	memcpy(quad, name, n - suffix);
	quad[n - suffix] = '\0';
	if (inet_pton(AF_INET, quad, &a) != 1)
		return false;
	*ret = __builtin_bswap32(ntohl(a.s_addr));
	return true;
}

static const char *
reverse_name(const struct responder *r, uint32_t addr)
{
	const struct name *n;

	if (addr == r->gateway)
		return HOST_NAME_DOCKER;
	if (addr == INADDR_LOOPBACK)
		return "localhost";
	n = names_find(r->names, addr);
	return n != NULL ? name_text(n) : NULL;
}

static enum dns_rcode
answer_reverse(const struct responder *r, const struct dns_query *q, struct dns_reply *reply)
{
	const char *name = NULL;
	uint32_t addr;

	if (parse_reverse(q->name, &addr))
		name = reverse_name(r, addr);
	if (name == NULL)
		return DNS_NXDOMAIN;
	if (q->qtype == DNS_TYPE_PTR || q->qtype == DNS_TYPE_ANY)
		dns_reply_ptr(reply, NAMES_TTL_S, name);
	return DNS_NOERROR;
}

static enum dns_rcode
answer_ordinary(
	const struct responder *r, const char *name, uint64_t now_ms, struct dns_reply *reply)
{
	uint32_t addr;

	if (names_assign(r->names, name, now_ms, &addr) < 0) {
		log_debug("dns: no address is free for another name");
		return DNS_SERVFAIL;
	}
	put_address(reply, addr);
	return DNS_NOERROR;
}

/* Not the public DNS's business; an owner's rule may mean one nevertheless. */
static bool
is_private_name(enum host_name_kind kind)
{
	return kind == HOST_NAME_SINGLE || kind == HOST_NAME_SPECIAL;
}

static enum dns_rcode
answer_name(const struct responder *r, const struct dns_query *q, uint64_t now_ms,
	struct dns_reply *reply)
{
	bool wants_address = q->qtype == DNS_TYPE_A || q->qtype == DNS_TYPE_ANY;
	enum host_name_kind kind = host_name_kind(q->name);

	if (q->name[0] == '\0')
		return DNS_NOERROR; /* the root exists and has nothing */
	if (kind == HOST_NAME_HOST) {
		if (wants_address)
			put_address(reply, r->gateway);
		return DNS_NOERROR;
	}
	if (kind == HOST_NAME_LOCALHOST) {
		if (wants_address)
			put_address(reply, INADDR_LOOPBACK);
		return DNS_NOERROR;
	}
	if (kind != HOST_NAME_ORDINARY && !overrides_name(r->overrides, q->name) &&
		!(is_private_name(kind) && policy_names(r->policy, q->name)))
		return DNS_NXDOMAIN;
	/* There is no IPv6 in the jail, and no other record is known of any name: no data. */
	return wants_address ? answer_ordinary(r, q->name, now_ms, reply) : DNS_NOERROR;
}

static enum dns_rcode
answer(const struct responder *r, const struct dns_query *q, uint64_t now_ms,
	struct dns_reply *reply)
{
	if (q->qclass != DNS_CLASS_IN && q->qclass != DNS_CLASS_ANY)
		return DNS_REFUSED;
	if (q->qtype >= DNS_TYPE_IXFR && q->qtype <= DNS_TYPE_MAILA)
		return DNS_REFUSED;
	if (str_has_suffix(q->name, REVERSE_SUFFIX))
		return answer_reverse(r, q, reply);
	return answer_name(r, q, now_ms, reply);
}

void
responder_answer(const struct responder *r, const uint8_t *msg, size_t n,
	enum responder_transport transport, uint64_t now_ms, struct buf *out)
{
	enum dns_rcode rcode = DNS_FORMERR;
	struct dns_reply reply;
	struct dns_query q;
	enum dns_parse parsed = dns_query_parse(msg, n, &q, &rcode);

	if (parsed == DNS_PARSE_DROP)
		return;
	dns_reply_begin(
		&reply, &q, out, transport == RESPONDER_UDP ? dns_udp_max(&q) : DNS_TCP_MAX);
	if (parsed == DNS_PARSE_OK)
		rcode = answer(r, &q, now_ms, &reply);
	if (parsed == DNS_PARSE_OK && r->asked != NULL)
		r->asked(r->arg, &q, rcode);
	if (log_get_level() >= LOG_DEBUG)
		log_debug("dns: '%.253s' type %u: rcode %u, %u answers", q.name, q.qtype, rcode,
			reply.nanswers);
	dns_reply_end(&reply, rcode);
}
