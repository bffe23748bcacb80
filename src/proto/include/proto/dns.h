#pragma once
/*
 * DNS messages (RFC 1035, EDNS of RFC 6891): queries parsed, answers built. Pure and strict; every
 * byte of a query is hostile.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>

#define DNS_HEADER_LEN    12
#define DNS_NAME_WIRE_MAX 255
#define DNS_NAME_TEXT_MAX 1016 /* every byte escaped as \DDD, dots, NUL */
#define DNS_UDP_MIN       512
#define DNS_UDP_PAYLOAD   1232 /* what we offer and use at most: no fragments (DNS flag day 2020) */
#define DNS_TCP_MAX       65535

enum dns_type {
	DNS_TYPE_A = 1,
	DNS_TYPE_PTR = 12,
	DNS_TYPE_AAAA = 28,
	DNS_TYPE_OPT = 41,
	DNS_TYPE_IXFR = 251,
	DNS_TYPE_AXFR = 252,
	DNS_TYPE_MAILB = 253,
	DNS_TYPE_MAILA = 254,
	DNS_TYPE_ANY = 255,
};

enum dns_class { DNS_CLASS_IN = 1, DNS_CLASS_ANY = 255 };

enum dns_rcode {
	DNS_NOERROR = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_NOTIMP = 4,
	DNS_REFUSED = 5,
	DNS_BADVERS = 16, /* RFC 6891: needs the OPT record's upper bits */
};

/* A query; question points into the parsed message. */
struct dns_query {
	uint16_t id;
	uint8_t opcode;
	bool rd, cd;
	uint16_t qtype, qclass;
	char name[DNS_NAME_TEXT_MAX]; /* lower case, no trailing dot; the root is "" */
	const uint8_t *question;      /* NULL where none could be read; as it came, case included */
	size_t question_len;
	bool edns;
	uint16_t payload; /* of the asker, at least DNS_UDP_MIN */
	bool dnssec_ok;
};

enum dns_parse {
	DNS_PARSE_OK,
	DNS_PARSE_DROP,  /* no query at all: nothing may be answered */
	DNS_PARSE_ERROR, /* answer with *ret_rcode */
};

/* Fills *q as far as the message could be read, also for DNS_PARSE_ERROR. */
enum dns_parse dns_query_parse(
	const uint8_t *msg, size_t n, struct dns_query *q, enum dns_rcode *ret_rcode);

/*
 * An answer under construction, appended to `out`. It never grows beyond max: a record that does
 * not fit is left out and the answer is marked as truncated.
 */
struct dns_reply {
	const struct dns_query *q;
	struct buf *out;
	size_t start, max;
	uint16_t nanswers;
	bool truncated;
};

/* max: dns_udp_max(q) over UDP, DNS_TCP_MAX over TCP. */
void dns_reply_begin(struct dns_reply *r, const struct dns_query *q, struct buf *out, size_t max);
void dns_reply_a(struct dns_reply *r, uint32_t ttl, const uint8_t addr[4]);
/* name: labels of ordinary bytes without escapes, no trailing dot. */
void dns_reply_ptr(struct dns_reply *r, uint32_t ttl, const char *name);
void dns_reply_end(struct dns_reply *r, enum dns_rcode rcode);

size_t dns_udp_max(const struct dns_query *q);
