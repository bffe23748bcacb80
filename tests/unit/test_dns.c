/* Answers are read with the C library's own parser (ns_initparse), so that we do not judge
 * ourselves. */
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <proto/dns.h>

/* A string literal with NULs in it. */
#define BYTES(s) (const uint8_t *)(s), sizeof(s) - 1

#define HEADER(qd, an, ns, ar) "\x12\x34\x01\x00" qd an ns ar
#define ONE                    "\x00\x01"
#define NONE                   "\x00\x00"
#define WWW                                                                                        \
	"\x03www\x07"                                                                              \
	"eXample\x03"                                                                              \
	"com\x00"
#define A_IN                               "\x00\x01\x00\x01"
#define OPT(payload, version, flags, data) "\x00\x00\x29" payload "\x00" version flags data

struct sample {
	const char *what;
	const uint8_t *msg;
	size_t n;
	enum dns_parse parse;
	enum dns_rcode rcode; /* for DNS_PARSE_ERROR */
	const char *name;
	bool edns;
	uint16_t payload;
};

static const struct sample samples[] = {
	{"plain", BYTES(HEADER(ONE, NONE, NONE, NONE) WWW A_IN), DNS_PARSE_OK, 0, "www.example.com",
		false, 512},
	{"root", BYTES(HEADER(ONE, NONE, NONE, NONE) "\x00" A_IN), DNS_PARSE_OK, 0, "", false, 512},
	{"edns",
		BYTES(HEADER(ONE, NONE, NONE, ONE)
				WWW A_IN OPT("\x04\xd0", "\x00", "\x80\x00", "\x00\x00")),
		DNS_PARSE_OK, 0, "www.example.com", true, 1232},
	{"edns with a cookie",
		BYTES(HEADER(ONE, NONE, NONE, ONE) WWW A_IN OPT("\x10\x00", "\x00", "\x00\x00",
			"\x00\x0c\x00\x0a\x00\x08"
			"01234567")),
		DNS_PARSE_OK, 0, "www.example.com", true, 4096},
	{"edns with a tiny payload",
		BYTES(HEADER(ONE, NONE, NONE, ONE)
				WWW A_IN OPT("\x00\x01", "\x00", "\x00\x00", "\x00\x00")),
		DNS_PARSE_OK, 0, "www.example.com", true, 512},
	{"another record, compressed, before edns",
		BYTES(HEADER(ONE, NONE, NONE, "\x00\x02") WWW A_IN
			"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x01\x02\x03\x04" OPT(
				"\x04\xd0", "\x00", "\x00\x00", "\x00\x00")),
		DNS_PARSE_OK, 0, "www.example.com", true, 1232},
	{"unusual bytes are escaped",
		BYTES(HEADER(ONE, NONE, NONE, NONE) "\x05"
						    "a.b\x00\xff\x03"
						    "com\x00" A_IN),
		DNS_PARSE_OK, 0, "a\\046b\\000\\255.com", false, 512},
	{"an answer", BYTES("\x12\x34\x81\x80" ONE NONE NONE NONE WWW A_IN), DNS_PARSE_DROP, 0, "",
		false, 0},
	{"no header", BYTES("\x12\x34\x01\x00" ONE NONE NONE "\x00"), DNS_PARSE_DROP, 0, "", false,
		0},
	{"nothing", BYTES(""), DNS_PARSE_DROP, 0, "", false, 0},
	{"opcode notify", BYTES("\x12\x34\x21\x00" ONE NONE NONE NONE WWW A_IN), DNS_PARSE_ERROR,
		DNS_NOTIMP, "", false, 0},
	{"no question", BYTES(HEADER(NONE, NONE, NONE, NONE)), DNS_PARSE_ERROR, DNS_FORMERR, "",
		false, 0},
	{"two questions", BYTES(HEADER("\x00\x02", NONE, NONE, NONE) WWW A_IN WWW A_IN),
		DNS_PARSE_ERROR, DNS_FORMERR, "", false, 0},
	{"65535 questions", BYTES(HEADER("\xff\xff", NONE, NONE, NONE) WWW A_IN), DNS_PARSE_ERROR,
		DNS_FORMERR, "", false, 0},
	{"65535 records", BYTES(HEADER(ONE, "\xff\xff", "\xff\xff", "\xff\xff") WWW A_IN),
		DNS_PARSE_ERROR, DNS_FORMERR, "www.example.com", false, 0},
	{"a pointer as the question", BYTES(HEADER(ONE, NONE, NONE, NONE) "\xc0\x0c" A_IN),
		DNS_PARSE_ERROR, DNS_FORMERR, "", false, 0},
	{"a pointer behind a label",
		BYTES(HEADER(ONE, NONE, NONE, NONE) "\x01"
						    "a\xc0\x0c" A_IN),
		DNS_PARSE_ERROR, DNS_FORMERR, "", false, 0},
	{"label type 01",
		BYTES(HEADER(ONE, NONE, NONE, NONE) "\x41"
						    "a\x00" A_IN),
		DNS_PARSE_ERROR, DNS_FORMERR, "", false, 0},
	{"bytes behind the end", BYTES(HEADER(ONE, NONE, NONE, NONE) WWW A_IN "x"), DNS_PARSE_ERROR,
		DNS_FORMERR, "www.example.com", false, 0},
	{"two OPT records",
		BYTES(HEADER(ONE, NONE, NONE, "\x00\x02") WWW A_IN OPT("\x04\xd0", "\x00",
			"\x00\x00", "\x00\x00") OPT("\x04\xd0", "\x00", "\x00\x00", "\x00\x00")),
		DNS_PARSE_ERROR, DNS_FORMERR, "www.example.com", true, 1232},
	{"OPT among the answers",
		BYTES(HEADER(ONE, ONE, NONE, NONE)
				WWW A_IN OPT("\x04\xd0", "\x00", "\x00\x00", "\x00\x00")),
		DNS_PARSE_ERROR, DNS_FORMERR, "www.example.com", false, 512},
	{"OPT with a name",
		BYTES(HEADER(ONE, NONE, NONE, ONE) WWW A_IN
			"\x01"
			"a" OPT("\x04\xd0", "\x00", "\x00\x00", "\x00\x00")),
		DNS_PARSE_ERROR, DNS_FORMERR, "www.example.com", false, 512},
	{"option longer than the record",
		BYTES(HEADER(ONE, NONE, NONE, ONE) WWW A_IN OPT("\x04\xd0", "\x00", "\x00\x00",
			"\x00\x05\x00\x0a\x00\x02"
			"x")),
		DNS_PARSE_ERROR, DNS_FORMERR, "www.example.com", false, 512},
	{"edns version 1",
		BYTES(HEADER(ONE, NONE, NONE, ONE)
				WWW A_IN OPT("\x04\xd0", "\x01", "\x00\x00", "\x00\x00")),
		DNS_PARSE_ERROR, DNS_BADVERS, "www.example.com", true, 1232},
};

/* At the very end of an allocation of its own, where the sanitizer sees the first byte too many. */
static uint8_t *
exact_copy(const uint8_t *p, size_t n)
{
	uint8_t *copy = xmalloc(n);

	memcpy(copy, p, n);
	return copy;
}

static void
test_parse(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		const struct sample *s = &samples[i];
		CLEAN_FREE uint8_t *msg = exact_copy(s->msg, s->n);
		enum dns_rcode rcode = DNS_NOERROR;
		struct dns_query q;

		if (dns_query_parse(msg, s->n, &q, &rcode) != s->parse)
			fail_msg("%s", s->what);
		if (s->parse == DNS_PARSE_ERROR)
			assert_int_equal(rcode, s->rcode);
		if (s->parse == DNS_PARSE_DROP)
			continue;
		assert_int_equal(q.id, 0x1234);
		assert_true(q.rd);
		assert_string_equal(q.name, s->name);
		assert_int_equal(q.edns, s->edns);
		if (s->payload != 0)
			assert_int_equal(q.payload, s->payload);
	}
}

/* Whatever is cut off, the rest is no query any more: every byte counts. */
static void
test_parse_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++)
		for (size_t n = 0; n < samples[i].n; n++) {
			CLEAN_FREE uint8_t *msg = exact_copy(samples[i].msg, n);
			enum dns_rcode rcode = DNS_NOERROR;
			struct dns_query q;
			enum dns_parse p = dns_query_parse(msg, n, &q, &rcode);

			/* But for junk behind the end, which is what is cut off first. */
			if (strcmp(samples[i].what, "bytes behind the end") == 0 &&
				n == samples[i].n - 1)
				assert_int_equal(p, DNS_PARSE_OK);
			else
				assert_int_not_equal(p, DNS_PARSE_OK);
			assert_int_equal(p == DNS_PARSE_DROP,
				n < DNS_HEADER_LEN || samples[i].msg[2] & 0x80);
		}
}

static void
test_name_lengths(void **state)
{
	uint8_t msg[DNS_HEADER_LEN + 300] = {0x12, 0x34, 1, 0, 0, 1};
	enum dns_rcode rcode;
	struct dns_query q;

	(void)state;
	/* 4 labels of 62 and one of 2: 4 * 63 + 3 = 255 with the root. Every byte needs an escape.
	 */
	for (int extra = 0; extra < 2; extra++) {
		size_t at = DNS_HEADER_LEN;

		for (int label = 0; label < 5; label++) {
			size_t len = label < 4 ? 62 : (size_t)(1 + extra);

			msg[at++] = (uint8_t)len;
			memset(msg + at, 0xe9, len);
			at += len;
		}
		memcpy(msg + at, "\0\0\1\0\1", 5);
		at += 5;
		assert_int_equal(dns_query_parse(msg, at, &q, &rcode),
			extra == 0 ? DNS_PARSE_OK : DNS_PARSE_ERROR);
		assert_int_equal(strlen(q.name), extra == 0 ? (4 * 62 + 1) * 4 + 4 : 0);
	}
}

/* Lengths from 64 on are no lengths: pointers and what RFC 1035 left open. */
static void
test_label_types(void **state)
{
	uint8_t msg[DNS_HEADER_LEN + 262] = {0x12, 0x34, 1, 0, 0, 1};
	enum dns_rcode rcode;
	struct dns_query q;

	(void)state;
	for (unsigned len = 1; len < 256; len++) {
		size_t at = DNS_HEADER_LEN;

		msg[at++] = (uint8_t)len;
		memset(msg + at, 'a', len);
		at += len;
		memcpy(msg + at, "\0\0\1\0\1", 5);
		assert_int_equal(dns_query_parse(msg, at + 5, &q, &rcode),
			len < 64 ? DNS_PARSE_OK : DNS_PARSE_ERROR);
	}
}

static void
parse_one(const uint8_t *msg, size_t n, struct dns_query *q)
{
	enum dns_rcode rcode;

	assert_int_equal(dns_query_parse(msg, n, q, &rcode), DNS_PARSE_OK);
}

static void
test_reply_a(void **state)
{
	static const uint8_t address[4] = {198, 18, 1, 7};
	CLEAN_BUF struct buf out = BUF_INIT;
	struct dns_reply r;
	struct dns_query q;
	ns_msg m;
	ns_rr rr;

	(void)state;
	parse_one(samples[2].msg, samples[2].n, &q);
	buf_append_str(&out, "before");
	dns_reply_begin(&r, &q, &out, dns_udp_max(&q));
	dns_reply_a(&r, 60, address);
	dns_reply_end(&r, DNS_NOERROR);
	assert_memory_equal(out.data, "before", 6);
	buf_consume(&out, 6);

	assert_int_equal(ns_initparse(out.data, (int)out.len, &m), 0);
	assert_int_equal(ns_msg_id(m), 0x1234);
	assert_int_equal(ns_msg_getflag(m, ns_f_qr), 1);
	assert_int_equal(ns_msg_getflag(m, ns_f_ra), 1);
	assert_int_equal(ns_msg_getflag(m, ns_f_rd), 1);
	assert_int_equal(ns_msg_getflag(m, ns_f_tc), 0);
	assert_int_equal(ns_msg_getflag(m, ns_f_rcode), 0);
	assert_int_equal(ns_parserr(&m, ns_s_qd, 0, &rr), 0);
	/* As it came, upper case and all: askers compare (draft-vixie-dnsext-dns0x20). */
	assert_string_equal(ns_rr_name(rr), "www.eXample.com");
	assert_int_equal(ns_msg_count(m, ns_s_an), 1);
	assert_int_equal(ns_parserr(&m, ns_s_an, 0, &rr), 0);
	assert_string_equal(ns_rr_name(rr), "www.eXample.com");
	assert_int_equal(ns_rr_type(rr), ns_t_a);
	assert_int_equal(ns_rr_ttl(rr), 60);
	assert_int_equal(ns_rr_rdlen(rr), 4);
	assert_memory_equal(ns_rr_rdata(rr), address, 4);
	assert_int_equal(ns_parserr(&m, ns_s_ar, 0, &rr), 0);
	assert_int_equal(ns_rr_type(rr), ns_t_opt);
	assert_int_equal(ns_rr_class(rr), DNS_UDP_PAYLOAD);
	assert_int_equal(ns_rr_ttl(rr), 0x8000); /* DO is given back */
}

static void
test_reply_ptr(void **state)
{
	CLEAN_BUF struct buf out = BUF_INIT;
	char name[NS_MAXDNAME];
	struct dns_reply r;
	struct dns_query q;
	ns_msg m;
	ns_rr rr;

	(void)state;
	parse_one(samples[0].msg, samples[0].n, &q);
	dns_reply_begin(&r, &q, &out, 512);
	dns_reply_ptr(&r, 60, "host.docker.internal");
	dns_reply_end(&r, DNS_NOERROR);
	assert_int_equal(ns_initparse(out.data, (int)out.len, &m), 0);
	assert_int_equal(ns_parserr(&m, ns_s_an, 0, &rr), 0);
	assert_true(ns_name_uncompress(ns_msg_base(m), ns_msg_end(m), ns_rr_rdata(rr), name,
			    sizeof(name)) > 0);
	assert_string_equal(name, "host.docker.internal");
	assert_int_equal(ns_msg_count(m, ns_s_ar), 0);
}

/* At every limit the message stays within it, is well-formed, and says whether all is there. */
static void
test_reply_truncated(void **state)
{
	static const uint8_t address[4] = {198, 18, 1, 7};
	struct dns_query q;

	(void)state;
	parse_one(samples[2].msg, samples[2].n, &q);
	for (size_t max = 48; max < 200; max++) {
		CLEAN_BUF struct buf out = BUF_INIT;
		struct dns_reply r;
		ns_msg m;

		dns_reply_begin(&r, &q, &out, max);
		for (int i = 0; i < 5; i++)
			dns_reply_a(&r, 60, address);
		dns_reply_end(&r, DNS_NOERROR);
		assert_true(out.len <= max);
		assert_int_equal(ns_initparse(out.data, (int)out.len, &m), 0);
		assert_int_equal(ns_msg_count(m, ns_s_ar), 1);
		assert_int_equal(ns_msg_getflag(m, ns_f_tc), ns_msg_count(m, ns_s_an) < 5);
		assert_int_equal(ns_msg_count(m, ns_s_an), max - 44 < 80 ? (max - 44) / 16 : 5);
	}
}

/* Nothing comes behind what was left out: a gap would look like the whole. */
static void
test_reply_truncated_in_order(void **state)
{
	CLEAN_BUF struct buf out = BUF_INIT;
	struct dns_reply r;
	struct dns_query q;
	ns_msg m;

	(void)state;
	parse_one(samples[0].msg, samples[0].n, &q);
	dns_reply_begin(&r, &q, &out, samples[0].n + 20);
	dns_reply_ptr(&r, 60, "a.rather.long.name.example");
	dns_reply_a(&r, 60, (const uint8_t *)"\1\2\3\4");
	dns_reply_end(&r, DNS_NOERROR);
	assert_int_equal(ns_initparse(out.data, (int)out.len, &m), 0);
	assert_int_equal(ns_msg_getflag(m, ns_f_tc), 1);
	assert_int_equal(ns_msg_count(m, ns_s_an), 0);
}

static void
test_reply_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
		CLEAN_BUF struct buf out = BUF_INIT;
		enum dns_rcode rcode = DNS_NOERROR;
		struct dns_reply r;
		struct dns_query q;
		ns_msg m;
		ns_rr rr;

		if (dns_query_parse(samples[i].msg, samples[i].n, &q, &rcode) != DNS_PARSE_ERROR)
			continue;
		dns_reply_begin(&r, &q, &out, dns_udp_max(&q));
		dns_reply_end(&r, rcode);
		assert_int_equal(ns_initparse(out.data, (int)out.len, &m), 0);
		assert_int_equal(ns_msg_getflag(m, ns_f_rcode), samples[i].rcode & 0xf);
		if (rcode == DNS_BADVERS) {
			assert_int_equal(ns_parserr(&m, ns_s_ar, 0, &rr), 0);
			assert_int_equal(ns_rr_ttl(rr) >> 24, 1);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_parse_cut),
		cmocka_unit_test(test_name_lengths),
		cmocka_unit_test(test_label_types),
		cmocka_unit_test(test_reply_a),
		cmocka_unit_test(test_reply_ptr),
		cmocka_unit_test(test_reply_truncated),
		cmocka_unit_test(test_reply_truncated_in_order),
		cmocka_unit_test(test_reply_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
