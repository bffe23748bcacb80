/*
 * What the kernel hands over of the guest's packets: bare, and within a message of NFLOG's. What is
 * understood lies within the bytes, and a datagram that is answered is one again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <proto/ipv4.h>

#include "nflog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int condition)
{
	if (!condition)
		abort();
}

static void
try_packet(void *arg, const uint8_t *p, size_t n, uint32_t lost)
{
	uint8_t packet[IPV4_MTU];
	struct ipv4_packet k, answer;
	size_t at = 0, size;

	(void)arg;
	(void)lost;
	if (ipv4_parse(p, n, &k) < 0)
		return;
	require(k.payload >= p && k.payload + k.n <= p + n);
	if (k.protocol != 17 || k.n > IPV4_UDP_MAX)
		return;
	size = ipv4_put_udp(&k, k.payload, k.n, 1, &at, packet);
	require(size >= 28 && at == size - 20);
	if (k.n + 28 <= IPV4_MTU) {
		require(ipv4_parse(packet, size, &answer) == 0);
		require(answer.src == k.dst && answer.dport == k.sport && answer.n == k.n);
		require(k.n == 0 || memcmp(answer.payload, k.payload, k.n) == 0);
	}
	size = ipv4_put_unreachable(IPV4_PORT_UNREACHABLE, 1, 2, p, n, packet);
	require(size <= 56 && ipv4_parse(packet, size, &answer) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nflog l;

	l.began = false;

	try_packet(NULL, data, size, 0);
	nflog_parse(&l, data, size, try_packet, NULL);
	return 0;
}
