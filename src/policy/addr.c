#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <base/cleanup.h>
#include <policy/addr.h>

struct range {
	const char *prefix;
	unsigned bits;
	enum ip_range range;
};

/*
 * The longest prefix wins. The documentation ranges (192.0.2.0/24, 198.51.100.0/24,
 * 203.0.113.0/24) are left out on purpose: nothing private can be there, and networks exist whose
 * mirrors and proxies answer on them.
 */
static const struct range v4_ranges[] = {
	{"0.0.0.0", 8, IP_RANGE_UNSPECIFIED},
	{"10.0.0.0", 8, IP_RANGE_PRIVATE},
	{"100.64.0.0", 10, IP_RANGE_SHARED},
	{"100.100.100.200", 32, IP_RANGE_METADATA}, /* Alibaba Cloud */
	{"127.0.0.0", 8, IP_RANGE_LOOPBACK},
	{"168.63.129.16", 32, IP_RANGE_METADATA}, /* Azure; looks public, is not */
	{"169.254.0.0", 16, IP_RANGE_LINK_LOCAL},
	{"169.254.169.254", 32, IP_RANGE_METADATA}, /* nearly every cloud */
	{"169.254.169.123", 32, IP_RANGE_METADATA}, /* AWS time service */
	{"169.254.169.253", 32, IP_RANGE_METADATA}, /* AWS resolver */
	{"169.254.170.2", 32, IP_RANGE_METADATA},   /* AWS ECS credentials */
	{"169.254.170.23", 32, IP_RANGE_METADATA},  /* AWS EKS pod identity */
	{"169.254.0.23", 32, IP_RANGE_METADATA},    /* Tencent Cloud */
	{"172.16.0.0", 12, IP_RANGE_PRIVATE},
	{"192.0.0.0", 24, IP_RANGE_RESERVED},      /* IETF protocol assignments, RFC 6890 */
	{"192.0.0.192", 32, IP_RANGE_METADATA},    /* Oracle Cloud, classic */
	{"192.88.99.0", 24, IP_RANGE_TRANSLATION}, /* 6to4 relay anycast, RFC 7526 */
	{"192.168.0.0", 16, IP_RANGE_PRIVATE},
	{"198.18.0.0", 15, IP_RANGE_BENCHMARK},
	{"224.0.0.0", 4, IP_RANGE_MULTICAST},
	{"240.0.0.0", 4, IP_RANGE_RESERVED},
	{"255.255.255.255", 32, IP_RANGE_BROADCAST},
};

/*
 * Only 2000::/3 is global unicast; everything else is refused even where no line names it.
 * IPv4-mapped addresses (::ffff:0:0/96) are judged as IPv4 before this table is asked. The other
 * embeddings are refused whole: what they reach depends on a translator somewhere in the host's
 * network, which may well hold private addresses (RFC 6052 section 3.1).
 */
static const struct range v6_ranges[] = {
	{"::", 96, IP_RANGE_TRANSLATION}, /* IPv4-compatible, deprecated */
	{"::", 128, IP_RANGE_UNSPECIFIED},
	{"::1", 128, IP_RANGE_LOOPBACK},
	{"::ffff:0:0:0", 96, IP_RANGE_TRANSLATION}, /* SIIT, RFC 2765 */
	{"64:ff9b::", 96, IP_RANGE_TRANSLATION},    /* NAT64, RFC 6052 */
	{"64:ff9b:1::", 48, IP_RANGE_TRANSLATION},  /* local-use NAT64, RFC 8215 */
	{"100::", 64, IP_RANGE_RESERVED},           /* discard only, RFC 6666 */
	{"2000::", 3, IP_RANGE_PUBLIC},
	{"2001::", 23, IP_RANGE_RESERVED},    /* IETF protocol assignments */
	{"2001::", 32, IP_RANGE_TRANSLATION}, /* Teredo, RFC 4380 */
	{"2001:2::", 48, IP_RANGE_BENCHMARK},
	{"2002::", 16, IP_RANGE_TRANSLATION}, /* 6to4, RFC 3056 */
	{"fc00::", 7, IP_RANGE_PRIVATE},
	{"fd00:ec2::", 32, IP_RANGE_METADATA},    /* AWS: metadata, time, resolver, credentials */
	{"fd20:ce::254", 128, IP_RANGE_METADATA}, /* Google Cloud */
	{"fd00:c1::a9fe:a9fe", 128, IP_RANGE_METADATA}, /* Oracle Cloud */
	{"fe80::", 10, IP_RANGE_LINK_LOCAL},
	{"fe80::a9fe:a9fe", 128, IP_RANGE_METADATA}, /* OpenStack */
	{"fec0::", 10, IP_RANGE_PRIVATE},            /* site-local, deprecated by RFC 3879 */
	{"ff00::", 8, IP_RANGE_MULTICAST},
	{"::", 0, IP_RANGE_RESERVED},
};

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct ip_addr
ip_addr_v4(uint32_t host_order)
{
	struct ip_addr a = {.family = AF_INET};
	uint32_t n = htonl(host_order);

	memcpy(a.b, &n, sizeof(n));
	return a;
}

struct ip_addr
ip_addr_v6(const uint8_t b[16])
{
	struct ip_addr a = {0};

	if (memcmp(b, mapped_prefix, sizeof(mapped_prefix)) == 0) {
		a.family = AF_INET;
		memcpy(a.b, b + 12, 4);
	} else {
		a.family = AF_INET6;
		memcpy(a.b, b, 16);
	}
	return a;
}

int
ip_addr_from_sockaddr(const struct sockaddr_storage *ss, struct ip_addr *ret)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;

	if (ss->ss_family == AF_INET)
		*ret = ip_addr_v4(ntohl(v4->sin_addr.s_addr));
	else if (ss->ss_family == AF_INET6)
		*ret = ip_addr_v6(v6->sin6_addr.s6_addr);
	else
		return -EAFNOSUPPORT;
	return 0;
}

void
ip_addr_to_sockaddr(const struct ip_addr *a, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (a->family == AF_INET) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, a->b, 4);
	} else {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		memcpy(&v6->sin6_addr, a->b, 16);
	}
}

int
ip_addr_parse(const char *text, struct ip_addr *ret)
{
	uint8_t b[16];

	if (inet_pton(AF_INET, text, b) == 1) {
		*ret = (struct ip_addr){.family = AF_INET};
		memcpy(ret->b, b, 4);
		return 0;
	}
	if (inet_pton(AF_INET6, text, b) != 1)
		return -EINVAL;
	*ret = ip_addr_v6(b);
	return 0;
}

void
ip_addr_format(const struct ip_addr *a, char out[IP_ADDR_TEXT_MAX])
{
	if (inet_ntop(a->family, a->b, out, IP_ADDR_TEXT_MAX) == NULL)
		memcpy(out, "?", 2);
}

bool
ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return a->family == b->family && memcmp(a->b, b->b, a->family == AF_INET ? 4 : 16) == 0;
}

static bool
has_prefix(const uint8_t *b, const uint8_t *prefix, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(b, prefix, whole) != 0)
		return false;
	return rest == 0 || ((b[whole] ^ prefix[whole]) >> (8 - rest)) == 0;
}

bool
ip_addr_in(const struct ip_addr *a, const struct ip_addr *net, unsigned bits)
{
	return a->family == net->family && has_prefix(a->b, net->b, bits);
}

static struct range
lookup(const struct ip_addr *a, const struct range *t, size_t n, enum ip_range otherwise)
{
	struct range best = {"", 0, otherwise};
	uint8_t prefix[16];

	for (size_t i = 0; i < n; i++) {
		if (t[i].bits < best.bits || inet_pton(a->family, t[i].prefix, prefix) != 1)
			continue;
		if (has_prefix(a->b, prefix, t[i].bits))
			best = t[i];
	}
	return best;
}

static struct range
find_range(const struct ip_addr *a)
{
	/* A caller may have filled the struct by hand: the mapped form is unwrapped here as well.
	 */
	struct ip_addr v = a->family == AF_INET6 ? ip_addr_v6(a->b) : *a;

	if (v.family == AF_INET)
		return lookup(&v, v4_ranges, ARRAY_LEN(v4_ranges), IP_RANGE_PUBLIC);
	if (v.family == AF_INET6)
		return lookup(&v, v6_ranges, ARRAY_LEN(v6_ranges), IP_RANGE_RESERVED);
	return (struct range){"", 0, IP_RANGE_RESERVED};
}

enum ip_range
ip_addr_range(const struct ip_addr *a)
{
	return find_range(a).range;
}

unsigned
ip_addr_range_bits(const struct ip_addr *a)
{
	return find_range(a).bits;
}

const char *
ip_range_name(enum ip_range r)
{
	static const char *const names[IP_RANGE_COUNT] = {
		[IP_RANGE_PUBLIC] = "public",
		[IP_RANGE_UNSPECIFIED] = "unspecified",
		[IP_RANGE_PRIVATE] = "private",
		[IP_RANGE_SHARED] = "carrier-grade NAT",
		[IP_RANGE_LOOPBACK] = "loopback",
		[IP_RANGE_LINK_LOCAL] = "link-local",
		[IP_RANGE_METADATA] = "metadata",
		[IP_RANGE_BENCHMARK] = "benchmarking",
		[IP_RANGE_MULTICAST] = "multicast",
		[IP_RANGE_BROADCAST] = "broadcast",
		[IP_RANGE_TRANSLATION] = "address translation",
		[IP_RANGE_RESERVED] = "reserved",
	};

	return (unsigned)r < IP_RANGE_COUNT ? names[r] : "?";
}
