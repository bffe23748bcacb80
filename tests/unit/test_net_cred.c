/*
 * Credentials in the net role, between scripted guests and origins: attack rows C20, E1, E2, E4,
 * E8, and answers that echo a value.
 */
#include <base/mem.h>
#include <cred/secret.h>

#include "net_events.h"
#include "net_h2.h"

#define HOST  "public.example"
#define HELD  "sk-held-0123456789abcdef"
#define VALUE "sk-the-real-value"
#define SHUT  "dual.example" /* of the credential as well, and no business of ours */
#define POLICY                                                                                     \
	"locked\nallow public.example\nallow two.example --path /**\n"                             \
	"allow dual.example\nbypass dual.example\n"
#define STARS "*****************" /* as long as VALUE */

struct scene {
	struct rig g;
	struct tls_world w;
	int origin;
	SSL_CTX *server;
	int events[2];
	uint64_t number;
};

static void
scene_start(struct scene *s)
{
	uint16_t port = 443;
	struct err e;

	memset(s, 0, sizeof(*s));
	tls_world_start(&s->w);
	s->server = tls_server_ctx(&s->w.authority, HOST, tls_now());
	s->origin = origin_at(FAKE_PUBLIC, &port, 20);
	events_open(s->events);
	s->g.own_policy = true;
	assert_int_equal(policy_decode(POLICY, strlen(POLICY), &s->g.policy, &e), 0);
	s->g.events_fd = s->events[0];
	s->g.signer_fd = s->w.signer[0];
	s->g.trust = buf_str(&s->w.trust);
	rig_start(&s->g);
}

static void
scene_stop(struct scene *s)
{
	rig_stop(&s->g);
	close(s->origin);
	events_close(s->events);
	SSL_CTX_free(s->server);
	tls_world_stop(&s->w);
}

/* As the supervisor does it; obeyed when this returns. value NULL: none any more. */
static void
give(struct scene *s, const char *value)
{
	CLEAN_CRED_SET struct cred_set set = {0};
	CLEAN_CRED_BUF struct buf b = BUF_INIT;
	struct cred c = {.name = xstrdup("key"), .placeholder = xstrdup(HELD)};
	struct strv hosts = {0};
	uint64_t answer = 0;
	struct err e;

	strv_add(&hosts, HOST);
	strv_add(&hosts, SHUT);
	cred_add_place(&c, &hosts, "x-api-key", "%s");
	strv_release(&hosts);
	c.value = value != NULL ? secret_dup(value, strlen(value)) : NULL;
	cred_set_add(&set, &c);
	cred_set_encode(&set, &b);
	int fds[] = {io_memfd("policy", POLICY, strlen(POLICY), &e),
		io_memfd("credentials", b.data, b.len, &e)};

	s->number++;
	assert_int_equal(io_send_fds(s->g.control, &s->number, sizeof(s->number), fds, 2), 0);
	close(fds[0]);
	close(fds[1]);
	peer_limit(s->g.control);
	assert_int_equal(recv(s->g.control, &answer, sizeof(answer), 0), sizeof(answer));
	assert_int_equal(answer, s->number);
}

static void
meet_as(struct scene *s, const struct tls_guest *as, SSL_CTX *server, const char *alpn, SSL **guest,
	SSL **served)
{
	struct tls_handshake h;

	tls_connect_begin(&h, tls_guest_new(as, guest_call(&s->g, as->sni, 443)));
	*served = tls_accept(server, peer_accept(s->origin), alpn);
	assert_non_null(*served);
	assert_int_equal(tls_connect_end(&h), 1);
	*guest = h.ssl;
}

/* The world's own certificate is what the guest sees where nothing is intercepted. */
static void
meet(struct scene *s, struct buf *trusts, SSL **guest, SSL **served)
{
	const struct tls_guest as = {.sni = HOST, .trusts = trusts};

	meet_as(s, &as, s->server, NULL, guest, served);
}

static void
meet_h2(struct scene *s, const char *host, SSL_CTX *server, struct h2_end *guest,
	struct h2_end *served)
{
	const struct tls_guest as = {
		.sni = host, .trusts = &s->w.sandbox_cert, .alpn = "\x02h2\x08http/1.1"};
	SSL *g, *o;

	meet_as(s, &as, server, "\x02h2", &g, &o);
	h2_open(guest, g, true);
	h2_open(served, o, false);
}

static struct netevent
next_event(struct scene *s)
{
	return events_next(s->events);
}

static void
expect_alarm(struct scene *s, const char *reason)
{
	struct netevent ev;

	do
		ev = next_event(s);
	while (ev.verdict != NETEVENT_BLOCKED);
	assert_string_equal(ev.rule, "<credential>");
	if (strstr(ev.reason, reason) == NULL)
		fail_msg("'%s' in '%s'", reason, ev.reason);
}

#define REQUEST(extra) "POST /a HTTP/1.1\r\nHost: public.example\r\n" extra

static void
test_value_is_put_in(void **state)
{
	struct scene s;
	SSL *guest, *served;

	(void)state;
	scene_start(&s);
	give(&s, VALUE);
	meet(&s, &s.w.sandbox_cert, &guest, &served);
	tls_send(guest, REQUEST("x-api-key: " HELD "\r\nContent-Length: 2\r\n\r\nok"));
	tls_expect_head(served, "\r\nx-api-key: " VALUE "\r\n");
	tls_expect(served, "ok");
	/* It echoes it: in its head, and in pieces. */
	tls_send(served, "HTTP/1.1 200 OK\r\nLocation: /" VALUE "\r\n"
			 "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":\"s\r\n");
	tls_expect_head(guest, "\r\nLocation: /" STARS "\r\n");
	tls_send(served, "a\r\nk-the-real\r\n9\r\n-value\"}\n\r\n0\r\n\r\n");
	tls_expect(guest, "6\r\n{\"a\":\"\r\n14\r\n" STARS "\"}\n\r\n0\r\n\r\n");
	/* The same connection; whatever the guest sends there, or nothing. */
	tls_send(guest, "GET /b HTTP/1.1\r\nHost: public.example\r\nX-API-Key: mine\r\n\r\n");
	tls_expect_head(served, "\r\nX-API-Key: " VALUE "\r\n");
	tls_send(served, "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n" VALUE);
	tls_expect(guest, "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n" STARS);
	tls_close(guest);
	tls_close(served);
	scene_stop(&s);
}

/* E8, and back: what is relayed is cut, what comes then is looked into. */
static void
test_given_while_it_runs(void **state)
{
	struct scene s;
	SSL *guest, *served;

	(void)state;
	scene_start(&s);
	meet(&s, &s.w.trust, &guest, &served);
	tls_send(guest, "GET / HTTP/1.1\r\nHost: public.example\r\nx-api-key: " HELD "\r\n\r\n");
	tls_expect_head(served, "x-api-key: " HELD);
	give(&s, VALUE);
	expect_alarm(&s, "connect anew");
	char byte;
	assert_true(SSL_read(guest, &byte, 1) <= 0);
	tls_close(guest);
	tls_close(served);
	meet(&s, &s.w.sandbox_cert, &guest, &served);
	tls_send(guest, "GET / HTTP/1.1\r\nHost: public.example\r\n\r\n");
	tls_expect_head(served, "\r\nx-api-key: " VALUE "\r\n");
	tls_close(guest);
	tls_close(served);
	give(&s, NULL);
	meet(&s, &s.w.trust, &guest, &served);
	tls_close(guest);
	tls_close(served);
	scene_stop(&s);
}

/* A server whose certificate nobody has signed that net believes. */
static void
test_not_to_a_false_server(void **state)
{
	struct scene s;
	struct tls_handshake h;
	SSL_CTX *false_server;

	(void)state;
	scene_start(&s);
	give(&s, VALUE);
	false_server = tls_server_ctx(&s.w.sandbox, HOST, tls_now());
	struct tls_guest as = {.sni = HOST, .trusts = &s.w.sandbox_cert};
	tls_connect_begin(&h, tls_guest_new(&as, guest_call(&s.g, HOST, 443)));
	assert_null(tls_accept(false_server, peer_accept(s.origin), NULL));
	assert_int_equal(tls_connect_end(&h), 1);
	tls_send(h.ssl, "GET / HTTP/1.1\r\nHost: public.example\r\nx-api-key: " HELD "\r\n\r\n");
	tls_expect_head(h.ssl, "HTTP/1.1 502 ");
	tls_close(h.ssl);
	SSL_CTX_free(false_server);
	scene_stop(&s);
}

/* E1, E2, C20: over plain HTTP, to whatever host. */
static void
test_wrong_direction(void **state)
{
	static const char *const requests[] = {
		"GET /?k=" HELD " HTTP/1.1\r\nHost: public.example\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: public.example\r\nx-api-key: " HELD "\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: public.example\r\nContent-Length: 28\r\n\r\nkey=" HELD,
		"POST / HTTP/1.1\r\nHost: public.example\r\nTransfer-Encoding: chunked\r\n\r\n"
		"4\r\nsk-h\r\n14\r\neld-0123456789abcdef\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: public.example\r\nContent-Length: 17\r\n\r\n" VALUE,
		/* C20: it is looked into whatever it is said to be. */
		"POST / HTTP/1.1\r\nHost: public.example\r\nContent-Encoding: gzip\r\n"
		"Content-Length: 28\r\n\r\nkey=" HELD,
	};
	static const char *const where[] = {
		"placeholder of credential 'key' in the request's target", "in a header",
		"in the body", "in the body", "real value of credential 'key'", "in the body"};
	struct scene s;
	uint16_t port = 80;
	int web, guest, served;

	(void)state;
	scene_start(&s);
	give(&s, VALUE);
	web = origin_at(FAKE_PUBLIC, &port, 20);
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		guest = guest_call(&s.g, HOST, 80);
		peer_send(guest, requests[i]);
		char bytes[600];
		ssize_t n = 0, all = 0;

		served = peer_accept(web);
		while ((n = peer_recv(served, bytes + all, sizeof(bytes) - (size_t)all, 0)) > 0)
			all += n;
		assert_true(i >= 2 || all == 0);
		assert_null(memmem(bytes, (size_t)all, &HELD[4], strlen(HELD) - 4));
		assert_null(memmem(bytes, (size_t)all, VALUE, strlen(VALUE)));
		close(served);
		peer_expect(guest, "HTTP/1.1 403 ");
		close(guest);
		expect_alarm(&s, where[i]);
	}
	/* Control: the same without it. */
	guest = guest_call(&s.g, HOST, 80);
	peer_send(guest, "POST / HTTP/1.1\r\nHost: public.example\r\nContent-Encoding: gzip\r\n"
			 "Transfer-Encoding: chunked\r\n\r\n4\r\nsk-h\r\n2\r\nel\r\n0\r\n\r\n");
	served = peer_accept(web);
	peer_expect(served, "POST / HTTP/1.1\r\nHost: public.example\r\n"
			    "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n");
	close(guest);
	close(served);
	close(web);
	scene_stop(&s);
}

/* Other protocols at the credential's host, and a host that its owner keeps shut. */
static void
test_not_looked_into(void **state)
{
	struct tls_guest as = {.sni = HOST, .trusts = NULL, .alpn = "\x04mqtt"};
	struct netevent ev;
	struct scene s;
	SSL *guest, *served;
	SSL_CTX *shut;
	int fd;

	(void)state;
	scene_start(&s);
	as.trusts = &s.w.trust;
	meet_as(&s, &as, s.server, "\x04mqtt", &guest, &served);
	tls_send(guest, "CONNECT");
	tls_expect(served, "CONNECT");
	give(&s, VALUE);
	expect_alarm(&s, "connect anew");
	assert_true(SSL_read(guest, (char[1]){0}, 1) <= 0);
	tls_close(guest);
	tls_close(served);
	guest = tls_guest_new(&as, guest_call(&s.g, HOST, 443));
	assert_int_not_equal(SSL_connect(guest), 1);
	expect_alarm(&s, "tls_alpn: not HTTP inside of TLS");
	fd = peer_accept(s.origin);
	assert_true(peer_recv(fd, (char[1]){0}, 1, 0) <= 0);
	close(fd);
	tls_close(guest);
	/* A bypass rule is the owner's word: it passes, as the guest has written it. */
	shut = tls_server_ctx(&s.w.authority, SHUT, tls_now());
	as = (struct tls_guest){.sni = SHUT, .trusts = &s.w.trust};
	meet_as(&s, &as, shut, NULL, &guest, &served);
	tls_send(guest, "GET / HTTP/1.1\r\nHost: " SHUT "\r\nx-api-key: " HELD "\r\n\r\n");
	tls_expect_head(served, "\r\nx-api-key: " HELD "\r\n");
	do
		ev = next_event(&s);
	while (ev.kind != NETEVENT_TLS || ev.verdict != NETEVENT_ALLOWED);
	assert_non_null(strstr(ev.reason, "bypass: "));
	tls_close(guest);
	tls_close(served);
	SSL_CTX_free(shut);
	scene_stop(&s);
}

#define H2(method, host, path)                                                                     \
	":method " method "\n:scheme https\n:authority " host "\n:path " path "\n"

static void
test_h2(void **state)
{
	struct h2_end guest, served;
	struct scene s;

	(void)state;
	scene_start(&s);
	give(&s, VALUE);
	meet_h2(&s, HOST, s.server, &guest, &served);
	h2_head(&guest, 1, 0, H2("POST", HOST, "/a") "x-api-key " HELD "\naccept-encoding br\n");
	h2_expect_in_head(&served, 1, "x-api-key " VALUE "\naccept-encoding identity\n");
	h2_write(&guest, F_DATA, 0, 1, "ok", 2);
	h2_expect_data(&served, "ok");
	/* What comes so late could go round everything. */
	h2_head(&guest, 1, END_STREAM, "x-late " VALUE "\n");
	h2_wait(&served, F_DATA);
	assert_int_equal(served.len, 0);
	assert_int_equal(served.flags & END_STREAM, END_STREAM);
	/* It echoes it: in its head, in pieces, in its trailers. */
	h2_head(&served, 1, 0, ":status 200\nlocation /" VALUE "\n");
	h2_expect_in_head(&guest, 1, ":status 200\nlocation /" STARS "\n");
	h2_write(&served, F_DATA, 0, 1, "{sk-the-", 8);
	h2_expect_data(&guest, "{");
	h2_write(&served, F_DATA, 0, 1, "real-value}", 11);
	h2_expect_data(&guest, STARS "}");
	h2_head(&served, 1, END_STREAM, "grpc-status 0\nx-echo " VALUE "\n");
	h2_expect_in_head(&guest, 1, "grpc-status 0\nx-echo " STARS "\n");
	/* Without the header it is the same. */
	h2_head(&guest, 3, END_STREAM, H2("GET", HOST, "/b"));
	h2_expect_in_head(&served, 3, "x-api-key " VALUE "\n");
	h2_close(&guest);
	h2_close(&served);
	scene_stop(&s);
}

/* E1 and E5, to a host that is looked into for its requests' sake. */
static void
test_h2_wrong_direction(void **state)
{
	static const struct {
		const char *head, *where;
	} cases[] = {
		{H2("GET", "two.example", "/?k=" HELD), "in the request's target"},
		{H2("GET", "two.example", "/") "x-api-key " HELD "\n", "in a header"},
		{H2("GET", "two.example", "/") "x-api-key " VALUE "\n", "real value"},
	};
	struct h2_end guest, served;
	struct scene s;
	SSL_CTX *two;

	(void)state;
	scene_start(&s);
	give(&s, VALUE);
	two = tls_server_ctx(&s.w.authority, "two.example", tls_now());
	meet_h2(&s, "two.example", two, &guest, &served);
	for (uint32_t i = 0; i < ARRAY_LEN(cases); i++) {
		h2_head(&guest, 2 * i + 1, END_STREAM, cases[i].head);
		h2_expect_in_head(&guest, 2 * i + 1, ":status 403\n");
		expect_alarm(&s, cases[i].where);
	}
	h2_head(&guest, 11, 0, H2("POST", "two.example", "/body") "content-encoding gzip\n");
	h2_expect_in_head(&served, 1, ":path /body\ncontent-encoding gzip\n");
	h2_write(&guest, F_DATA, END_STREAM, 11, "k=" HELD "&", 27);
	h2_wait(&served, F_RST);
	expect_alarm(&s, "in the body");
	/* Control: the same without it; and nothing of the others has come. */
	h2_head(&guest, 13, END_STREAM, H2("GET", "two.example", "/?k=1") "x-api-key mine\n");
	h2_expect_in_head(&served, 3, ":path /?k=1\nx-api-key mine\n");
	h2_close(&guest);
	h2_close(&served);
	SSL_CTX_free(two);
	scene_stop(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_value_is_put_in),
		cmocka_unit_test(test_given_while_it_runs),
		cmocka_unit_test(test_not_to_a_false_server),
		cmocka_unit_test(test_wrong_direction),
		cmocka_unit_test(test_not_looked_into),
		cmocka_unit_test(test_h2),
		cmocka_unit_test(test_h2_wrong_direction),
	};

	make_network();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
