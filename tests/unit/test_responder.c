#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <proto/dns.h>

#include "responder.h"

#define GATEWAY 0xc6120001
#define FIRST   0xc6120100
#define LAST    0xc613fffe

static const struct net_override override_list[] = {
	{.host = "registry", .port = 5000},
	{.host = "vault.internal", .port = 0},
};
static const struct overrides overrides = {override_list, ARRAY_LEN(override_list)};

struct fixture {
	struct responder r;
	struct buf out;
	ns_msg m;
};

static int
setup(void **state)
{
	static struct policy policy;
	static struct fixture f;

	f = (struct fixture){.r = {.names = names_new(FIRST, LAST, 100, 1000),
				     .overrides = &overrides,
				     .policy = &policy,
				     .gateway = GATEWAY}};
	*state = &f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	names_free(f->r.names);
	buf_release(&f->out);
	return 0;
}

/* Asks through the C library's own builder and parser. The number of answers, or -1-rcode. */
static int
ask(struct fixture *f, const char *name, int class, int type)
{
	uint8_t query[512];
	int n = res_mkquery(ns_o_query, name, class, type, NULL, 0, NULL, query, sizeof(query));

	assert_true(n > 0);
	buf_clear(&f->out);
	responder_answer(&f->r, query, (size_t)n, RESPONDER_UDP, 5, &f->out);
	assert_int_equal(ns_initparse(f->out.data, (int)f->out.len, &f->m), 0);
	if (ns_msg_getflag(f->m, ns_f_rcode) != 0)
		return -1 - ns_msg_getflag(f->m, ns_f_rcode);
	return ns_msg_count(f->m, ns_s_an);
}

static uint32_t
answered_address(struct fixture *f)
{
	uint32_t a;
	ns_rr rr;

	assert_int_equal(ns_parserr(&f->m, ns_s_an, 0, &rr), 0);
	assert_int_equal(ns_rr_type(rr), ns_t_a);
	assert_int_equal(ns_rr_rdlen(rr), 4);
	assert_in_range(ns_rr_ttl(rr), 1, 300);
	memcpy(&a, ns_rr_rdata(rr), 4);
	return ntohl(a);
}

enum { NO_NAME = -1 - ns_r_nxdomain, NO_ANSWER = -1 - ns_r_refused, NO_DATA = 0 };

static void
test_address(void **state)
{
	struct fixture *f = *state;
	uint32_t a;

	assert_int_equal(ask(f, "github.com", ns_c_in, ns_t_a), 1);
	a = answered_address(f);
	assert_in_range(a, FIRST, LAST);
	assert_string_equal(name_text(names_find(f->r.names, a)), "github.com");
	/* The same name in any spelling. */
	assert_int_equal(ask(f, "GitHub.COM.", ns_c_in, ns_t_a), 1);
	assert_int_equal(answered_address(f), a);
	assert_int_equal(ask(f, "gitlab.com", ns_c_in, ns_t_a), 1);
	assert_int_not_equal(answered_address(f), a);
	assert_int_equal(names_count(f->r.names), 2);
}

static void
test_kinds(void **state)
{
	static const struct {
		const char *name;
		int class, type, want;
		uint32_t address; /* 0: in the fake range */
	} t[] = {
		{"github.com", ns_c_in, ns_t_a, 1, 0}, {"github.com", ns_c_in, ns_t_any, 1, 0},
		{"github.com", ns_c_any, ns_t_a, 1, 0},
		{"github.com", ns_c_in, ns_t_aaaa, NO_DATA, 0},
		{"github.com", ns_c_in, 65, NO_DATA, 0}, /* HTTPS */
		{"github.com", ns_c_in, 64, NO_DATA, 0}, /* SVCB */
		{"github.com", ns_c_in, ns_t_mx, NO_DATA, 0},
		{"github.com", ns_c_in, ns_t_txt, NO_DATA, 0},
		{"_http._tcp.mirror.example", ns_c_in, ns_t_srv, NO_DATA, 0},
		{"github.com", ns_c_in, ns_t_soa, NO_DATA, 0},
		{"github.com", ns_c_in, ns_t_axfr, NO_ANSWER, 0},
		{"github.com", ns_c_in, ns_t_ixfr, NO_ANSWER, 0},
		{"version.bind", ns_c_chaos, ns_t_txt, NO_ANSWER, 0},
		{".", ns_c_in, ns_t_ns, NO_DATA, 0},
		{"host.docker.internal", ns_c_in, ns_t_a, 1, GATEWAY},
		{"gateway.docker.internal", ns_c_in, ns_t_a, 1, GATEWAY},
		{"host.docker.internal", ns_c_in, ns_t_aaaa, NO_DATA, 0},
		{"localhost", ns_c_in, ns_t_a, 1, INADDR_LOOPBACK},
		{"app.localhost", ns_c_in, ns_t_a, 1, INADDR_LOOPBACK},
		{"localhost", ns_c_in, ns_t_aaaa, NO_DATA, 0}, {"db", ns_c_in, ns_t_a, NO_NAME, 0},
		{"printer.local", ns_c_in, ns_t_a, NO_NAME, 0},
		{"metadata.google.internal", ns_c_in, ns_t_a, NO_NAME, 0},
		{"127.0.0.1", ns_c_in, ns_t_a, NO_NAME, 0}, {"0x7f.1", ns_c_in, ns_t_a, NO_NAME, 0},
		{"use-application-dns.net", ns_c_in, ns_t_a, NO_NAME, 0},
		{"a b.example.com", ns_c_in, ns_t_a, NO_NAME, 0},
		{"a\\.b.example.com", ns_c_in, ns_t_a, NO_NAME, 0},
		{"registry", ns_c_in, ns_t_a, 1, 0},       /* the owner named it */
		{"vault.internal", ns_c_in, ns_t_a, 1, 0}, /* likewise */
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		int got = ask(f, t[i].name, t[i].class, t[i].type);

		if (got != t[i].want)
			fail_msg("%s %d: %d, not %d", t[i].name, t[i].type, got, t[i].want);
		if (got == 1 && t[i].address != 0)
			assert_int_equal(answered_address(f), t[i].address);
		else if (got == 1)
			assert_in_range(answered_address(f), FIRST, LAST);
	}
	/* Only what got an address of its own is in the table. */
	assert_int_equal(names_count(f->r.names), 3);
}

static void
assert_pointer(struct fixture *f, const char *reverse, const char *want)
{
	char name[NS_MAXDNAME];
	ns_rr rr;

	assert_int_equal(ask(f, reverse, ns_c_in, ns_t_ptr), 1);
	assert_int_equal(ns_parserr(&f->m, ns_s_an, 0, &rr), 0);
	assert_true(ns_name_uncompress(ns_msg_base(f->m), ns_msg_end(f->m), ns_rr_rdata(rr), name,
			    sizeof(name)) > 0);
	assert_string_equal(name, want);
}

static void
test_reverse(void **state)
{
	struct fixture *f = *state;
	char text[64];
	uint32_t a;

	assert_int_equal(ask(f, "github.com", ns_c_in, ns_t_a), 1);
	a = answered_address(f);
	snprintf(text, sizeof(text), "%u.%u.18.198.in-addr.arpa", a & 255, a >> 8 & 255);
	if (a >> 16 == 0xc613)
		memcpy(strstr(text, "18.198"), "19", 2);
	assert_pointer(f, text, "github.com");
	assert_int_equal(ask(f, text, ns_c_in, ns_t_a), NO_DATA);
	assert_pointer(f, "1.0.18.198.in-addr.arpa", "host.docker.internal");
	assert_pointer(f, "1.0.0.127.in-addr.arpa", "localhost");
	assert_int_equal(ask(f, "8.8.8.8.in-addr.arpa", ns_c_in, ns_t_ptr), NO_NAME);
	assert_int_equal(ask(f, "9.255.19.198.in-addr.arpa", ns_c_in, ns_t_ptr), NO_NAME);
	assert_int_equal(ask(f, "256.0.18.198.in-addr.arpa", ns_c_in, ns_t_ptr), NO_NAME);
	assert_int_equal(ask(f, "0.18.198.in-addr.arpa", ns_c_in, ns_t_ptr), NO_NAME);
	assert_int_equal(ask(f, "x.1.0.18.198.in-addr.arpa", ns_c_in, ns_t_ptr), NO_NAME);
	assert_int_equal(ask(f, "1.0.0.0.0.0.0.0.ip6.arpa", ns_c_in, ns_t_ptr), NO_NAME);
}

/* A full table is the guest's own doing; what it knows goes on to work. */
static void
test_full(void **state)
{
	struct fixture *f = *state;
	char text[64];

	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "n%d.example", i);
		assert_int_equal(ask(f, text, ns_c_in, ns_t_a), 1);
	}
	assert_int_equal(ask(f, "n100.example", ns_c_in, ns_t_a), -1 - ns_r_servfail);
	assert_int_equal(ask(f, "n100.example", ns_c_in, ns_t_aaaa), NO_DATA);
	assert_int_equal(ask(f, "n0.example", ns_c_in, ns_t_a), 1);
}

static void
test_junk(void **state)
{
	struct fixture *f = *state;
	uint8_t query[512] = {0};

	for (size_t n = 0; n < DNS_HEADER_LEN; n++) {
		buf_clear(&f->out);
		responder_answer(&f->r, query, n, RESPONDER_UDP, 0, &f->out);
		assert_int_equal(f->out.len, 0);
	}
	responder_answer(&f->r, query, sizeof(query), RESPONDER_UDP, 0, &f->out);
	assert_int_equal(ns_initparse(f->out.data, (int)f->out.len, &f->m), 0);
	assert_int_equal(ns_msg_getflag(f->m, ns_f_rcode), ns_r_formerr);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_address, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reverse, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_junk, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
