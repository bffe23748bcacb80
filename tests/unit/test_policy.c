#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <policy/policy.h>

struct span {
	const char *first, *last;
	enum ip_range range;
	/* The addresses just outside, and what they are; NULL: there is none, or other lines say.
	 */
	const char *before, *after;
	enum ip_range before_range, after_range;
};

#define PUBLIC IP_RANGE_PUBLIC

static const struct span spans[] = {
	{"0.0.0.0", "0.255.255.255", IP_RANGE_UNSPECIFIED, NULL, "1.0.0.0", 0, PUBLIC},
	{"10.0.0.0", "10.255.255.255", IP_RANGE_PRIVATE, "9.255.255.255", "11.0.0.0", PUBLIC,
		PUBLIC},
	{"100.64.0.0", "100.127.255.255", IP_RANGE_SHARED, "100.63.255.255", "100.128.0.0", PUBLIC,
		PUBLIC},
	{"100.100.100.200", "100.100.100.200", IP_RANGE_METADATA, "100.100.100.199",
		"100.100.100.201", IP_RANGE_SHARED, IP_RANGE_SHARED},
	{"127.0.0.0", "127.255.255.255", IP_RANGE_LOOPBACK, "126.255.255.255", "128.0.0.0", PUBLIC,
		PUBLIC},
	{"168.63.129.16", "168.63.129.16", IP_RANGE_METADATA, "168.63.129.15", "168.63.129.17",
		PUBLIC, PUBLIC},
	{"169.254.0.0", "169.254.255.255", IP_RANGE_LINK_LOCAL, "169.253.255.255", "169.255.0.0",
		PUBLIC, PUBLIC},
	{"169.254.169.254", "169.254.169.254", IP_RANGE_METADATA, "169.254.169.252",
		"169.254.169.255", IP_RANGE_LINK_LOCAL, IP_RANGE_LINK_LOCAL},
	{"172.16.0.0", "172.31.255.255", IP_RANGE_PRIVATE, "172.15.255.255", "172.32.0.0", PUBLIC,
		PUBLIC},
	{"192.0.0.0", "192.0.0.255", IP_RANGE_RESERVED, "191.255.255.255", "192.0.1.0", PUBLIC,
		PUBLIC},
	{"192.0.0.192", "192.0.0.192", IP_RANGE_METADATA, "192.0.0.191", "192.0.0.193",
		IP_RANGE_RESERVED, IP_RANGE_RESERVED},
	{"192.88.99.0", "192.88.99.255", IP_RANGE_TRANSLATION, "192.88.98.255", "192.88.100.0",
		PUBLIC, PUBLIC},
	{"192.168.0.0", "192.168.255.255", IP_RANGE_PRIVATE, "192.167.255.255", "192.169.0.0",
		PUBLIC, PUBLIC},
	{"198.18.0.0", "198.19.255.255", IP_RANGE_BENCHMARK, "198.17.255.255", "198.20.0.0", PUBLIC,
		PUBLIC},
	{"224.0.0.0", "239.255.255.255", IP_RANGE_MULTICAST, "223.255.255.255", "240.0.0.0", PUBLIC,
		IP_RANGE_RESERVED},
	{"240.0.0.0", "255.255.255.254", IP_RANGE_RESERVED, NULL, "255.255.255.255", 0,
		IP_RANGE_BROADCAST},
	/* The documentation ranges are not blocked. */
	{"192.0.2.0", "192.0.2.255", PUBLIC, NULL, NULL, 0, 0},
	{"198.51.100.0", "198.51.100.255", PUBLIC, NULL, NULL, 0, 0},
	{"203.0.113.0", "203.0.113.255", PUBLIC, NULL, NULL, 0, 0},

	{"::", "::", IP_RANGE_UNSPECIFIED, NULL, "::1", 0, IP_RANGE_LOOPBACK},
	{"::2", "::ffff:ffff", IP_RANGE_TRANSLATION, "::1", "::1:0:0", IP_RANGE_LOOPBACK,
		IP_RANGE_RESERVED},
	{"::ffff:0:0:0", "::ffff:0:ffff:ffff", IP_RANGE_TRANSLATION, "::fffe:ffff:ffff:ffff",
		"::ffff:1:0:0", IP_RANGE_RESERVED, IP_RANGE_RESERVED},
	{"64:ff9b::", "64:ff9b::ffff:ffff", IP_RANGE_TRANSLATION,
		"64:ff9a:ffff::", "64:ff9b::1:0:0", IP_RANGE_RESERVED, IP_RANGE_RESERVED},
	{"64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", IP_RANGE_TRANSLATION,
		"64:ff9b:0:ffff::", "64:ff9b:2::", IP_RANGE_RESERVED, IP_RANGE_RESERVED},
	{"100::", "100::ffff:ffff:ffff:ffff", IP_RANGE_RESERVED, NULL, NULL, 0, 0},
	{"2000::", "2000:ffff::", PUBLIC, "1fff:ffff::", NULL, IP_RANGE_RESERVED, 0},
	{"2001::", "2001::ffff:ffff:ffff:ffff:ffff:ffff", IP_RANGE_TRANSLATION,
		"2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:1::", PUBLIC, IP_RANGE_RESERVED},
	{"2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", IP_RANGE_BENCHMARK,
		"2001:1:ffff::", "2001:2:1::", IP_RANGE_RESERVED, IP_RANGE_RESERVED},
	{"2001:10::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", IP_RANGE_RESERVED, NULL,
		"2001:200::", 0, PUBLIC},
	{"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC, NULL, NULL, 0, 0},
	{"2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", IP_RANGE_TRANSLATION,
		"2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::", PUBLIC, PUBLIC},
	{"2003::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC, NULL, "4000::", 0,
		IP_RANGE_RESERVED},
	{"5f00::", "5f00:ffff::", IP_RANGE_RESERVED, NULL, NULL, 0, 0},
	{"fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", IP_RANGE_PRIVATE,
		"fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::", IP_RANGE_RESERVED,
		IP_RANGE_RESERVED},
	{"fd00:ec2::254", "fd00:ec2::254", IP_RANGE_METADATA,
		"fd00:ec1:ffff::", "fd00:ec3::", IP_RANGE_PRIVATE, IP_RANGE_PRIVATE},
	{"fd20:ce::254", "fd20:ce::254", IP_RANGE_METADATA, "fd20:ce::253", "fd20:ce::255",
		IP_RANGE_PRIVATE, IP_RANGE_PRIVATE},
	{"fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", IP_RANGE_LINK_LOCAL,
		"fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::", IP_RANGE_RESERVED,
		IP_RANGE_PRIVATE},
	{"fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", IP_RANGE_PRIVATE, NULL, "ff00::", 0,
		IP_RANGE_MULTICAST},
	{"ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", IP_RANGE_MULTICAST, NULL, NULL, 0, 0},
};

static struct ip_addr
addr(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(text, &a), 0);
	return a;
}

static void
assert_range(const char *text, enum ip_range want)
{
	struct ip_addr a = addr(text);

	if (ip_addr_range(&a) != want)
		fail_msg("%s is %s, should be %s", text, ip_range_name(ip_addr_range(&a)),
			ip_range_name(want));
}

static void
test_ranges(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
		assert_range(spans[i].first, spans[i].range);
		assert_range(spans[i].last, spans[i].range);
		if (spans[i].before != NULL)
			assert_range(spans[i].before, spans[i].before_range);
		if (spans[i].after != NULL)
			assert_range(spans[i].after, spans[i].after_range);
	}
}

/* Every IPv4 line again in its mapped form, also where somebody built the struct by hand. */
static void
test_mapped(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(spans) && strchr(spans[i].first, ':') == NULL; i++) {
		struct ip_addr v4 = addr(spans[i].first), raw = {.family = AF_INET6}, mapped;
		char text[64] = "::ffff:";

		mapped = addr(strcat(text, spans[i].first));
		assert_true(ip_addr_equal(&mapped, &v4));
		raw.b[10] = raw.b[11] = 0xff;
		memcpy(raw.b + 12, v4.b, 4);
		assert_int_equal(ip_addr_range(&raw), spans[i].range);
	}
}

/* No address of the whole IPv4 space is judged otherwise than by its range's corner addresses. */
static void
test_v4_sweep(void **state)
{
	size_t public = 0, total = 0;

	(void)state;
	for (uint64_t a = 0; a < 1ULL << 32; a += 4099) {
		struct ip_addr v = ip_addr_v4((uint32_t)a);

		public += ip_addr_range(&v) == IP_RANGE_PUBLIC;
		total++;
	}
	/* 0/8, 10/8, 127/8, 224/3 and the smaller ones leave 86.2 % of the space. */
	assert_in_range(public * 1000 / total, 860, 864);
}

static void
test_unknown_family(void **state)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNIX};
	struct ip_addr a = {.family = AF_UNIX};

	(void)state;
	assert_int_equal(ip_addr_range(&a), IP_RANGE_RESERVED);
	assert_true(ip_addr_from_sockaddr(&ss, &a) < 0);
}

static void
test_sockaddr_round_trip(void **state)
{
	static const char *const texts[] = {"192.0.2.1", "2001:db8::17"};
	char out[IP_ADDR_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct ip_addr a = addr(texts[i]), b;
		struct sockaddr_storage ss;

		ip_addr_to_sockaddr(&a, 443, &ss);
		assert_int_equal(ip_addr_from_sockaddr(&ss, &b), 0);
		assert_true(ip_addr_equal(&a, &b));
		ip_addr_format(&b, out);
		assert_string_equal(out, texts[i]);
	}
}

static void
test_canonical(void **state)
{
	static const struct {
		const char *in, *out; /* NULL: none */
	} t[] = {
		{"Example.COM", "example.com"},
		{"example.com.", "example.com"},
		{"a", "a"},
		{"_dmarc.x-y.org", "_dmarc.x-y.org"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"", NULL},
		{".", NULL},
		{".a", NULL},
		{"a..b", NULL},
		{"a..", NULL},
		{"a b", NULL},
		{"a/b", NULL},
		{"b\xc3\xbc.example", NULL},
		{"a\\046b.example", NULL},
		{"[::1]", NULL},
		{"a:80", NULL},
	};
	char out[HOST_NAME_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		if (t[i].out == NULL) {
			assert_true(host_name_canonical(t[i].in, out) < 0);
			continue;
		}
		assert_int_equal(host_name_canonical(t[i].in, out), 0);
		assert_string_equal(out, t[i].out);
	}
}

static void
test_canonical_lengths(void **state)
{
	char in[300], out[HOST_NAME_TEXT_MAX];

	(void)state;
	memset(in, 'a', sizeof(in));
	for (size_t i = 63; i < sizeof(in); i += 64)
		in[i] = '.';
	in[253] = '\0';
	assert_int_equal(host_name_canonical(in, out), 0);
	assert_int_equal(strlen(out), 253);
	in[253] = '.';
	in[254] = '\0';
	assert_int_equal(host_name_canonical(in, out), 0);
	in[253] = 'a';
	assert_true(host_name_canonical(in, out) < 0);
	in[10] = '\0';
	memset(in, 'a', 64);
	in[64] = '\0';
	assert_true(host_name_canonical(in, out) < 0);
	in[63] = '\0';
	assert_int_equal(host_name_canonical(in, out), 0);
}

static void
test_kinds(void **state)
{
	static const struct {
		const char *name;
		enum host_name_kind kind;
	} t[] = {
		{"example.com", HOST_NAME_ORDINARY},
		{"origin.test", HOST_NAME_ORDINARY},
		{"3.example.com", HOST_NAME_ORDINARY},
		{"notlocal", HOST_NAME_SINGLE},
		{"x.notlocal", HOST_NAME_ORDINARY},
		{"localhost.example", HOST_NAME_ORDINARY},
		{"host.docker.internal", HOST_NAME_HOST},
		{"gateway.docker.internal", HOST_NAME_HOST},
		{"other.docker.internal", HOST_NAME_SPECIAL},
		{"metadata.google.internal", HOST_NAME_SPECIAL},
		{"printer.local", HOST_NAME_SPECIAL},
		{"local", HOST_NAME_SPECIAL},
		{"1.0.0.127.in-addr.arpa", HOST_NAME_SPECIAL},
		{"x.onion", HOST_NAME_SPECIAL},
		{"use-application-dns.net", HOST_NAME_SPECIAL},
		{"localhost", HOST_NAME_LOCALHOST},
		{"app.localhost", HOST_NAME_LOCALHOST},
		{"db", HOST_NAME_SINGLE},
		{"127.0.0.1", HOST_NAME_NUMERIC},
		{"127.1", HOST_NAME_NUMERIC},
		{"2130706433", HOST_NAME_NUMERIC},
		{"0x7f.1", HOST_NAME_NUMERIC},
		{"1.0x7f", HOST_NAME_NUMERIC},
		{"a.0x", HOST_NAME_NUMERIC},
		{"a.0xg", HOST_NAME_ORDINARY},
		{"Example.com", HOST_NAME_INVALID},
		{"example.com.", HOST_NAME_INVALID},
		{"", HOST_NAME_INVALID},
		{"a b.c", HOST_NAME_INVALID},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		if (host_name_kind(t[i].name) != t[i].kind)
			fail_msg("%s is %d", t[i].name, host_name_kind(t[i].name));
}

static void
test_decisions(void **state)
{
	static const struct {
		const char *name, *address;
		uint16_t port;
		bool is_host, overridden;
		enum policy_outcome outcome;
		enum policy_reason reason;
		const char *text;
	} t[] = {
		{"example.com", NULL, 443, false, false, POLICY_ALLOW, POLICY_REASON_DEFAULT,
			"allowed by default"},
		{"example.com", "93.184.216.34", 443, false, false, POLICY_ALLOW,
			POLICY_REASON_DEFAULT, "allowed by default"},
		{NULL, "93.184.216.34", 22, false, false, POLICY_ALLOW, POLICY_REASON_DEFAULT,
			"allowed by default"},
		{NULL, "203.0.113.80", 80, false, false, POLICY_ALLOW, POLICY_REASON_DEFAULT,
			"allowed by default"},
		{"rebind.example", "127.0.0.1", 443, false, false, POLICY_DENY, POLICY_REASON_RANGE,
			"denied: loopback address"},
		{"rebind.example", "::ffff:169.254.169.254", 80, false, false, POLICY_DENY,
			POLICY_REASON_RANGE, "denied: metadata address"},
		{"rebind.example", "64:ff9b::a00:1", 80, false, false, POLICY_DENY,
			POLICY_REASON_RANGE, "denied: address translation address"},
		{"self.example", "93.184.216.34", 443, true, false, POLICY_DENY, POLICY_REASON_HOST,
			"denied: the host's own address"},
		{"origin.test", "127.0.0.1", 443, true, true, POLICY_ALLOW, POLICY_REASON_OVERRIDE,
			"allowed: resolved by the owner"},
		{"host.docker.internal", NULL, 8080, false, true, POLICY_ALLOW,
			POLICY_REASON_OVERRIDE, "allowed: resolved by the owner"},
		{"host.docker.internal", NULL, 8080, false, false, POLICY_DENY, POLICY_REASON_HOST,
			"denied: the host's own service"},
		{"db", NULL, 5432, false, false, POLICY_DENY, POLICY_REASON_NAME,
			"denied: name of a single label"},
		{"example.com", NULL, 0, false, true, POLICY_DENY, POLICY_REASON_PORT,
			"denied: port 0"},
	};
	const struct policy open = {.preset = POLICY_OPEN};
	char text[POLICY_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct ip_addr a = t[i].address != NULL ? addr(t[i].address) : ip_addr_v4(0);
		const struct policy_dest dest = {.name = t[i].name,
			.addr = t[i].address != NULL ? &a : NULL,
			.port = t[i].port,
			.addr_is_host = t[i].is_host,
			.overridden = t[i].overridden};
		struct policy_decision d = policy_decide(&open, &dest);

		policy_decision_text(&d, text);
		assert_string_equal(text, t[i].text);
		assert_int_equal(d.outcome, t[i].outcome);
		assert_int_equal(d.reason, t[i].reason);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_v4_sweep),
		cmocka_unit_test(test_unknown_family),
		cmocka_unit_test(test_sockaddr_round_trip),
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_canonical_lengths),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_decisions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
