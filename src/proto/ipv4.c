#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <proto/ipv4.h>

enum {
	IP_HEADER = 20,
	UDP_HEADER = 8,
	ICMP_HEADER = 8,
	OFFSET_MASK = 0x1fff,
	MORE_FRAGMENTS = 0x2000,
	FRAGMENT_MAX = (IPV4_MTU - IP_HEADER) & ~7, /* fragments begin at multiples of 8 */
	UNREACHABLE = 3,
	TTL = 64,
};

static uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void
put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void
put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}

/* RFC 1071; n is even but for the last part. */
static uint32_t
add_up(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i + 1 < n; i += 2)
		sum += get16(p + i);
	if (n % 2 != 0)
		sum += (uint32_t)p[n - 1] << 8;
	return sum;
}

static uint16_t
checksum(uint32_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* What the protocol on top says of itself, as far as it is there. */
static int
parse_payload(struct ipv4_packet *k, size_t whole)
{
	uint16_t length;

	if (k->protocol == IPPROTO_ICMP && k->n > 0)
		k->icmp_type = k->payload[0];
	if (k->protocol != IPPROTO_UDP)
		return 0;
	if (k->n < UDP_HEADER)
		return -EBADMSG;
	length = get16(k->payload + 4);
	if (length < UDP_HEADER || length > whole)
		return -EBADMSG;
	k->sport = get16(k->payload);
	k->dport = get16(k->payload + 2);
	k->n = (k->n < length ? k->n : length) - UDP_HEADER;
	k->payload += UDP_HEADER;
	return 0;
}

int
ipv4_parse(const uint8_t *p, size_t n, struct ipv4_packet *ret)
{
	struct ipv4_packet k = {0};
	size_t header, total;
	int r;

	if (n < IP_HEADER || p[0] >> 4 != 4)
		return -EBADMSG;
	header = (size_t)(p[0] & 15) * 4;
	total = get16(p + 2);
	if (header < IP_HEADER || header > total || header > n || (get16(p + 6) & OFFSET_MASK) != 0)
		return -EBADMSG;
	k.protocol = p[9];
	k.src = get32(p + 12);
	k.dst = get32(p + 16);
	k.payload = p + header;
	k.n = (n < total ? n : total) - header;
	r = parse_payload(&k, total - header);
	if (r == 0)
		*ret = k;
	return r;
}

static void
put_ip(uint8_t *out, size_t total, uint16_t id, uint16_t fragment, uint8_t protocol, uint32_t src,
	uint32_t dst)
{
	memset(out, 0, IP_HEADER);
	out[0] = 0x45;
	put16(out + 2, (uint16_t)total);
	put16(out + 4, id);
	put16(out + 6, fragment);
	out[8] = TTL;
	out[9] = protocol;
	put32(out + 12, src);
	put32(out + 16, dst);
	put16(out + 10, checksum(add_up(0, out, IP_HEADER)));
}

static void
put_udp_header(const struct ipv4_packet *flow, const uint8_t *p, size_t n, uint8_t *out)
{
	uint32_t sum = IPPROTO_UDP + (uint32_t)(UDP_HEADER + n);
	uint16_t check;

	put16(out, flow->dport);
	put16(out + 2, flow->sport);
	put16(out + 4, (uint16_t)(UDP_HEADER + n));
	put16(out + 6, 0);
	sum += (flow->src >> 16) + (flow->src & 0xffff);
	sum += (flow->dst >> 16) + (flow->dst & 0xffff);
	check = checksum(add_up(add_up(sum, out, UDP_HEADER), p, n));
	put16(out + 6, check != 0 ? check : 0xffff); /* 0 would mean: none */
}

size_t
ipv4_put_udp(const struct ipv4_packet *flow, const uint8_t *p, size_t n, uint16_t id, size_t *at,
	uint8_t out[IPV4_MTU])
{
	size_t left = *at < UDP_HEADER + n ? UDP_HEADER + n - *at : 0;
	size_t size = left <= IPV4_MTU - IP_HEADER ? left : FRAGMENT_MAX, taken = size;
	uint16_t fragment = (uint16_t)(*at / 8 | (size < left ? MORE_FRAGMENTS : 0));
	uint8_t *to = out + IP_HEADER;

	if (n > IPV4_UDP_MAX || left == 0)
		return 0;
	put_ip(out, IP_HEADER + size, id, fragment, IPPROTO_UDP, flow->dst, flow->src);
	if (*at == 0) {
		put_udp_header(flow, p, n, to);
		to += UDP_HEADER;
		taken -= UDP_HEADER;
	} else {
		p += *at - UDP_HEADER;
	}
	if (taken > 0)
		memcpy(to, p, taken);
	*at += size;
	return IP_HEADER + size;
}

size_t
ipv4_put_unreachable(enum ipv4_unreachable code, uint32_t from, uint32_t to, const uint8_t *quoted,
	size_t n, uint8_t out[IPV4_MTU])
{
	uint8_t *icmp = out + IP_HEADER;

	if (n > IPV4_QUOTED_MAX)
		n = IPV4_QUOTED_MAX;
	memset(icmp, 0, ICMP_HEADER);
	icmp[0] = UNREACHABLE;
	icmp[1] = (uint8_t)code;
	memcpy(icmp + ICMP_HEADER, quoted, n);
	put16(icmp + 2, checksum(add_up(0, icmp, ICMP_HEADER + n)));
	put_ip(out, IP_HEADER + ICMP_HEADER + n, 0, 0, IPPROTO_ICMP, from, to);
	return IP_HEADER + ICMP_HEADER + n;
}
