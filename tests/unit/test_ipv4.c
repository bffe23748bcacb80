/* IPv4 packets: what the guest may have put into one, and those that are made for it. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <proto/ipv4.h>

/* 198.18.0.2:40000 to 198.18.1.5:443, "hello" */
static const uint8_t hello[] = {0x45, 0, 0, 33, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0, 198, 18, 0, 2,
	198, 18, 1, 5, 0x9c, 0x40, 0x01, 0xbb, 0, 13, 0, 0, 'h', 'e', 'l', 'l', 'o'};

static void
test_parse(void **state)
{
	struct ipv4_packet k;

	(void)state;
	assert_int_equal(ipv4_parse(hello, sizeof(hello), &k), 0);
	assert_int_equal(k.src, 0xc6120002);
	assert_int_equal(k.dst, 0xc6120105);
	assert_int_equal(k.protocol, IPPROTO_UDP);
	assert_int_equal(k.sport, 40000);
	assert_int_equal(k.dport, 443);
	assert_int_equal(k.n, 5);
	assert_memory_equal(k.payload, "hello", 5);
}

/* Cut short, by whoever copied it: what is there is what there is, and never more. */
static void
test_cut(void **state)
{
	struct ipv4_packet k;

	(void)state;
	for (size_t n = 0; n < sizeof(hello); n++) {
		int r = ipv4_parse(hello, n, &k);

		assert_int_equal(r, n < 28 ? -EBADMSG : 0);
		if (r == 0)
			assert_int_equal(k.n, n - 28);
	}
}

static void
test_bad(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} changes[] = {{0, 0x65}, {0, 0x44}, {0, 0x4f}, {3, 19}, {3, 27}, {7, 1}, {25, 7}, {25, 14},
		{24, 1}};
	uint8_t p[sizeof(hello)];
	struct ipv4_packet k = {.n = 77};

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		memcpy(p, hello, sizeof(p));
		p[changes[i].at] = changes[i].value;
		assert_int_equal(ipv4_parse(p, sizeof(p), &k), -EBADMSG);
		assert_int_equal(k.n, 77);
	}
	/* Padding behind the packet is none of it; a shorter UDP length neither. */
	memcpy(p, hello, sizeof(p));
	p[25] = 10;
	assert_int_equal(ipv4_parse(p, sizeof(p), &k), 0);
	assert_int_equal(k.n, 2);
	/* The first fragment of more to come is read; other protocols have no ports. */
	memcpy(p, hello, sizeof(p));
	p[6] = 0x20;
	assert_int_equal(ipv4_parse(p, sizeof(p), &k), 0);
	p[9] = 132;
	assert_int_equal(ipv4_parse(p, sizeof(p), &k), 0);
	assert_true(k.protocol == 132 && k.dport == 0 && k.n == 13);
	p[9] = IPPROTO_ICMP;
	p[20] = 8;
	assert_int_equal(ipv4_parse(p, sizeof(p), &k), 0);
	assert_int_equal(k.icmp_type, 8);
}

/* The sum over everything, checksum included, is all ones (RFC 1071). */
static uint32_t
sum(const uint8_t *p, size_t n, uint32_t s)
{
	for (size_t i = 0; i < n; i++)
		s += (uint32_t)p[i] << (i % 2 == 0 ? 8 : 0);
	while (s >> 16 != 0)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

/* Put together again, the fragments are the datagram, from whom the guest had asked. */
static void
check_datagram(size_t n)
{
	static uint8_t data[IPV4_UDP_MAX], whole[65536];
	uint8_t packet[IPV4_MTU];
	struct ipv4_packet flow, k;
	size_t at = 0, size, total = 20, packets = 0;

	assert_int_equal(ipv4_parse(hello, sizeof(hello), &flow), 0);
	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)(i * 7 + n);
	while ((size = ipv4_put_udp(&flow, data, n, 9, &at, packet)) > 0) {
		size_t offset = (size_t)((packet[6] << 8 | packet[7]) & 0x1fff) * 8;

		assert_true(size > 20 && size <= IPV4_MTU);
		assert_int_equal(sum(packet, 20, 0), 0xffff);
		assert_int_equal(packet[2] << 8 | packet[3], size);
		assert_int_equal((packet[6] & 0x20) != 0, at < n + 8);
		assert_int_equal(offset, total - 20);
		if (packets++ == 0)
			memcpy(whole, packet, 20);
		memcpy(whole + 20 + offset, packet + 20, size - 20);
		total += size - 20;
	}
	assert_int_equal(packets, n + 8 <= 1480 ? 1 : (n + 8 + 1479) / 1480);
	assert_int_equal(total, n + 28);
	whole[2] = (uint8_t)(total >> 8);
	whole[3] = (uint8_t)total;
	whole[6] = 0;
	assert_int_equal(ipv4_parse(whole, total, &k), 0);
	assert_true(k.src == flow.dst && k.dst == flow.src);
	assert_true(k.sport == flow.dport && k.dport == flow.sport && k.n == n);
	if (n > 0)
		assert_memory_equal(k.payload, data, n);
	assert_int_equal(
		sum(whole + 20, n + 8, 17 + (uint32_t)n + 8 + sum(whole + 12, 8, 0)), 0xffff);
}

static void
test_datagrams(void **state)
{
	static const size_t sizes[] = {0, 1, 2, 1200, 1471, 1472, 1473, 2952, 2953, 9000, 65507};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		check_datagram(sizes[i]);
}

static void
test_unreachable(void **state)
{
	uint8_t packet[IPV4_MTU];
	struct ipv4_packet k;
	size_t n = ipv4_put_unreachable(
		IPV4_PORT_UNREACHABLE, 0xc6120001, 0xc6120002, hello, sizeof(hello), packet);

	(void)state;
	assert_int_equal(n, 20 + 8 + 28);
	assert_int_equal(ipv4_parse(packet, n, &k), 0);
	assert_true(k.protocol == IPPROTO_ICMP && k.src == 0xc6120001 && k.dst == 0xc6120002);
	assert_int_equal(sum(k.payload, k.n, 0), 0xffff);
	assert_true(k.payload[0] == 3 && k.payload[1] == 3);
	assert_memory_equal(k.payload + 8, hello, 28);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_datagrams),
		cmocka_unit_test(test_unreachable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
