#pragma once
/*
 * Frames as a guest would send them, and a look at those that come back. The test is the guest: it
 * holds the TAP's descriptor. Each frame has a virtio_net_hdr of 10 zero bytes before it.
 */
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <netinet/ether.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <base/clock.h>
#include <jail/jail.h>

#define VNET 10

struct frame {
	uint8_t vnet[VNET];
	struct ether_header eth;
	union {
		struct ether_arp arp;
		struct {
			struct iphdr ip;
			union {
				struct tcphdr tcp;
				struct udphdr udp;
				struct icmphdr icmp;
				uint8_t bytes[1600];
			};
		};
		uint8_t payload[1700];
	};
} __attribute__((packed, aligned(8)));

/* What the guest claims to be, and to whom it speaks. */
struct flow {
	const char *mac, *from, *to;
	uint16_t sport, dport;
};

static inline uint16_t
checksum(const void *p, size_t n, uint32_t sum)
{
	const uint8_t *b = p;

	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)b[i] << 8 | b[i + 1];
	if (n % 2 != 0)
		sum += (uint32_t)b[n - 1] << 8;
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static inline uint32_t
pseudo_header(struct iphdr ip, size_t n)
{
	uint32_t s = ntohl(ip.saddr), d = ntohl(ip.daddr);

	return (s >> 16) + (s & 0xffff) + (d >> 16) + (d & 0xffff) + ip.protocol + (uint32_t)n;
}

static inline void
frame_eth(struct frame *f, const char *mac, uint16_t type)
{
	memset(f, 0, sizeof(*f));
	ether_aton_r(JAIL_GATEWAY_MAC, (struct ether_addr *)f->eth.ether_dhost);
	ether_aton_r(mac, (struct ether_addr *)f->eth.ether_shost);
	f->eth.ether_type = htons(type);
}

/* The IPv4 header around n bytes that stand in f->bytes, whose checksum is at offset sum_at. */
static inline size_t
frame_ip(struct frame *f, const struct flow *w, uint8_t protocol, size_t n, int sum_at)
{
	uint16_t sum;

	f->ip = (struct iphdr){.version = 4,
		.ihl = 5,
		.ttl = 64,
		.protocol = protocol,
		.tot_len = htons((uint16_t)(sizeof(f->ip) + n)),
		.saddr = inet_addr(w->from),
		.daddr = inet_addr(w->to)};
	f->ip.check = checksum(&f->ip, sizeof(f->ip), 0);
	if (sum_at >= 0) {
		sum = checksum(f->bytes, n, protocol == IPPROTO_ICMP ? 0 : pseudo_header(f->ip, n));
		memcpy(f->bytes + sum_at, &sum, sizeof(sum));
	}
	return VNET + sizeof(f->eth) + sizeof(f->ip) + n;
}

static inline size_t
frame_tcp(struct frame *f, const struct flow *w, uint8_t flags, uint32_t seq, uint32_t ack)
{
	frame_eth(f, w->mac, ETHERTYPE_IP);
	f->tcp = (struct tcphdr){.source = htons(w->sport),
		.dest = htons(w->dport),
		.seq = htonl(seq),
		.ack_seq = htonl(ack),
		.doff = 5,
		.window = htons(65535)};
	f->tcp.th_flags = flags;
	return frame_ip(f, w, IPPROTO_TCP, sizeof(f->tcp), 16);
}

static inline size_t
frame_udp(struct frame *f, const struct flow *w, const void *p, size_t n)
{
	frame_eth(f, w->mac, ETHERTYPE_IP);
	memcpy(f->bytes + sizeof(f->udp), p, n);
	f->udp = (struct udphdr){.source = htons(w->sport),
		.dest = htons(w->dport),
		.len = htons((uint16_t)(sizeof(f->udp) + n))};
	return frame_ip(f, w, IPPROTO_UDP, sizeof(f->udp) + n, 6);
}

static inline size_t
frame_ping(struct frame *f, const struct flow *w)
{
	frame_eth(f, w->mac, ETHERTYPE_IP);
	f->icmp = (struct icmphdr){.type = ICMP_ECHO, .un.echo = {.id = htons(w->sport)}};
	return frame_ip(f, w, IPPROTO_ICMP, sizeof(f->icmp) + 8, 2);
}

static inline size_t
frame_arp(struct frame *f, const struct flow *w)
{
	frame_eth(f, w->mac, ETHERTYPE_ARP);
	memset(f->eth.ether_dhost, 0xff, 6);
	f->arp.ea_hdr = (struct arphdr){.ar_hrd = htons(1),
		.ar_pro = htons(ETHERTYPE_IP),
		.ar_hln = 6,
		.ar_pln = 4,
		.ar_op = htons(ARPOP_REQUEST)};
	memcpy(f->arp.arp_sha, f->eth.ether_shost, 6);
	memcpy(f->arp.arp_spa, &(in_addr_t){inet_addr(w->from)}, 4);
	memcpy(f->arp.arp_tpa, &(in_addr_t){inet_addr(w->to)}, 4);
	return VNET + sizeof(f->eth) + sizeof(f->arp);
}

/* The next frame from the kernel for which match is true, or false when limit_ms have passed. */
static inline bool
frame_wait(int tap, struct frame *f, bool (*match)(const struct frame *f, const void *arg),
	const void *arg, uint64_t limit_ms)
{
	uint64_t deadline = deadline_in_ms(limit_ms);
	struct pollfd p = {.fd = tap, .events = POLLIN};

	for (;;) {
		memset(f, 0, sizeof(*f));
		if (read(tap, f, sizeof(*f)) > VNET && match(f, arg))
			return true;
		if (poll(&p, 1, deadline_left_ms(deadline)) == 0)
			return false;
	}
}
