#pragma once
/*
 * IPv4 packets (RFC 791) of the guest, and the few that are made for it: UDP (RFC 768) and the
 * ICMP error for what is refused (RFC 792). Pure. Addresses and ports in host order.
 */
#include <stddef.h>
#include <stdint.h>

#define IPV4_MTU        1500
#define IPV4_UDP_MAX    65507 /* of payload */
#define IPV4_QUOTED_MAX 28    /* of a packet without options: what an ICMP error says it is about */

struct ipv4_packet {
	uint32_t src, dst;
	uint8_t protocol;
	uint16_t sport, dport;  /* UDP; else 0 */
	uint8_t icmp_type;      /* ICMP; else 0 */
	const uint8_t *payload; /* of UDP, else of IP; within the bytes that were parsed */
	size_t n;               /* fewer than the packet had, where it was cut short */
};

/*
 * The header, and what is there of the rest. -EBADMSG for no IPv4 packet, for a fragment that is
 * not the first, for lengths that contradict each other.
 */
int ipv4_parse(const uint8_t *p, size_t n, struct ipv4_packet *ret);

/*
 * One packet of the datagram from the given flow's dst to its src, beginning at byte *at of UDP
 * header and payload (0 at first), which is moved on; its length, or 0 where nothing is left. id
 * joins the fragments and is not 0. n: at most IPV4_UDP_MAX.
 */
size_t ipv4_put_udp(const struct ipv4_packet *flow, const uint8_t *p, size_t n, uint16_t id,
	size_t *at, uint8_t out[IPV4_MTU]);

enum ipv4_unreachable { IPV4_HOST_UNREACHABLE = 1, IPV4_PORT_UNREACHABLE = 3 };

/* The ICMP error from the given address about a packet that began with these bytes. Its length. */
size_t ipv4_put_unreachable(enum ipv4_unreachable code, uint32_t from, uint32_t to,
	const uint8_t *quoted, size_t n, uint8_t out[IPV4_MTU]);
