/*
 * A query from the guest through the parser and the responder. Whatever it was, the answer is one
 * that the C library's parser accepts, with the query's number, and not longer than it may be.
 */
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <base/buf.h>
#include <proto/dns.h>

#include "responder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int condition)
{
	if (!condition)
		abort();
}

static void
check_answer(const uint8_t *query, size_t max, const struct buf *answer)
{
	ns_msg m;
	ns_rr rr;

	require(answer->len <= max);
	require(ns_initparse(answer->data, (int)answer->len, &m) == 0);
	require(ns_msg_id(m) == (query[0] << 8 | query[1]));
	require(ns_msg_getflag(m, ns_f_qr));
	for (int i = 0; i < ns_msg_count(m, ns_s_an); i++)
		require(ns_parserr(&m, ns_s_an, i, &rr) == 0);
	for (int i = 0; i < ns_msg_count(m, ns_s_ar); i++)
		require(ns_parserr(&m, ns_s_ar, i, &rr) == 0);
}

static void
check_transport(struct responder *r, const uint8_t *data, size_t size, enum responder_transport t)
{
	CLEAN_BUF struct buf out = BUF_INIT;

	responder_answer(r, data, size, t, 1, &out);
	if (out.len > 0)
		check_answer(data, t == RESPONDER_UDP ? DNS_UDP_PAYLOAD : DNS_TCP_MAX, &out);
	else /* silence is for what is no query */
		require(size < DNS_HEADER_LEN || data[2] & 0x80);
}

static void
check_truncation(const struct dns_query *q, size_t max)
{
	CLEAN_BUF struct buf out = BUF_INIT;
	struct dns_reply r;

	dns_reply_begin(&r, q, &out, max);
	for (int i = 0; i < 40; i++)
		dns_reply_a(&r, 1, (const uint8_t *)"\1\2\3\4");
	dns_reply_end(&r, DNS_NOERROR);
	require(out.len <= max);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct overrides none = {NULL, 0};
	static const struct policy locked;
	struct responder r = {.names = names_new(0xc6120100, 0xc61201ff, 16, 1000),
		.overrides = &none,
		.policy = &locked,
		.gateway = 0xc6120001};
	enum dns_rcode rcode;
	struct dns_query q;

	check_transport(&r, data, size, RESPONDER_UDP);
	check_transport(&r, data, size, RESPONDER_TCP);
	if (dns_query_parse(data, size, &q, &rcode) == DNS_PARSE_OK) {
		require(strlen(q.name) < DNS_NAME_TEXT_MAX);
		require(q.payload >= DNS_UDP_MIN);
		check_truncation(&q, dns_udp_max(&q));
	}
	names_free(r.names);
	return 0;
}
