/*
 * TLS that is looked into, between scripted guests and origins: attack rows B, and C inside of TLS.
 */
#include "intercept_scene.h"

/* ---- method and path rules
 * ----------------------------------------------------------------------- */

static void
test_requests_are_judged(void **state)
{
	struct tls_guest as;
	SSL *guest, *served;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	as = trusting(&s, "public.example");
	meet(&s, &as, NULL, &guest, &served);
	check_page_get(&s, guest, served);
	/* The next one in the same connection: another path. */
	tls_send(guest, GET("/ok/2"));
	serve(served, "GET /ok/2 ", PAGE);
	tls_expect(guest, PAGE);
	assert_int_equal(next_event(&s).op, NETEVENT_OPEN);
	assert_int_equal(next_event(&s).op, NETEVENT_CLOSE);
	tls_send(guest, "POST /ok/3 HTTP/1.1\r\nHost: public.example\r\n"
			"Accept: application/json\r\nContent-Length: 2\r\n\r\nhi");
	tls_expect_head(guest, "403 Forbidden");
	assert_non_null(strstr(tls_read_rest(guest), "\"error\":\"blocked\""));
	expect_event(&s, NETEVENT_HTTP, NETEVENT_BLOCKED, "denied");
	assert_int_equal(SSL_read(served, (char[1]){0}, 1), 0); /* it saw nothing of that */
	tls_close(guest);
	tls_close(served);
	scene_stop(&s);
}

/* C5: both in one record; the second must not reach anybody. */
static void
test_pipelined(void **state)
{
	struct tls_guest as;
	SSL *guest, *served;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	as = trusting(&s, "public.example");
	meet(&s, &as, NULL, &guest, &served);
	tls_send(guest, GET("/ok/1") GET("/secret"));
	serve(served, "GET /ok/1 ", PAGE);
	tls_expect(guest, PAGE);
	tls_expect_head(guest, "403 Forbidden");
	assert_int_equal(SSL_read(served, (char[1]){0}, 1), 0);
	tls_close(guest);
	tls_close(served);
	scene_stop(&s);
}

/* B2: the Host of every request is the server name's. */
static void
test_fronting(void **state)
{
	struct tls_guest as;
	SSL *guest, *served;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	as = trusting(&s, "public.example");
	meet(&s, &as, NULL, &guest, &served);
	check_page_get(&s, guest, served);
	tls_send(guest, "GET /ok/1 HTTP/1.1\r\nHost: two.example\r\n\r\n");
	tls_expect_head(guest, "403 Forbidden");
	expect_event(&s, NETEVENT_HTTP, NETEVENT_BLOCKED, "Host");
	assert_int_equal(SSL_read(served, (char[1]){0}, 1), 0);
	tls_close(guest);
	tls_close(served);
	scene_stop(&s);
}

/* C1, C7, C17 inside of TLS; each with its own connection. */
static void
test_malformed(void **state)
{
	static const struct {
		const char *request, *answer;
	} cases[] = {
		{"GET /ok/1 HTTP/1.1\r\nHost: public.example\r\nContent-Length: 1\r\n"
		 "Transfer-Encoding: chunked\r\n\r\n",
			"400 Bad Request"},
		{"GET /ok/../secret HTTP/1.1\r\nHost: public.example\r\n\r\n", "403 Forbidden"},
		{"GET /ok/%2e%2e/secret HTTP/1.1\r\nHost: public.example\r\n\r\n", "403 Forbidden"},
		{"get /ok/1 HTTP/1.1\r\nHost: public.example\r\n\r\n", "403 Forbidden"},
		{"GET /ok/1 HTTP/1.1\r\n\r\n", "400 Bad Request"},
		{"GET /ok/1\r\n\r\n", "400 Bad Request"},
		{"CONNECT two.example:443 HTTP/1.1\r\nHost: two.example:443\r\n\r\n",
			"403 Forbidden"},
		{"GET http://public.example/ok/1 HTTP/1.1\r\nHost: public.example\r\n\r\n",
			"403 Forbidden"},
	};
	struct tls_guest as;
	SSL *guest, *served;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	as = trusting(&s, "public.example");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		meet(&s, &as, NULL, &guest, &served);
		tls_send(guest, cases[i].request);
		tls_expect_head(guest, cases[i].answer);
		assert_int_equal(SSL_read(served, (char[1]){0}, 1), 0);
		tls_close(guest);
		tls_close(served);
	}
	scene_stop(&s);
}

/* What no rule needs to see is not looked into: the guest sees the origin's own certificate. */
static void
test_others_are_tunnels(void **state)
{
	struct tls_guest as = {.sni = "two.example", .alpn = "\x02h2"};
	SSL *guest, *served;
	SSL_CTX *own;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	own = s.server;
	s.server = tls_server_ctx(&s.w.authority, "two.example", tls_now());
	as.trusts = &s.w.trust;
	meet(&s, &as, "\x02h2", &guest, &served);
	tls_send(guest, "PRI anything");
	tls_expect(served, "PRI anything");
	assert_int_equal(next_event(&s).kind, NETEVENT_TLS);
	tls_close(guest);
	tls_close(served);
	SSL_CTX_free(s.server);
	s.server = own;
	/* Control: of the other one it would not have believed anything. */
	as = (struct tls_guest){.sni = "public.example", .trusts = &s.w.trust};
	struct tls_handshake h;

	tls_connect_begin(&h, tls_guest_new(&as, guest_call(&s.g, as.sni, s.port)));
	served = tls_accept(s.server, peer_accept(s.origin), NULL);
	assert_int_not_equal(tls_connect_end(&h), 1);
	tls_close(h.ssl);
	if (served != NULL)
		tls_close(served);
	scene_stop(&s);
}

static void
test_bypass(void **state)
{
	struct tls_guest as;
	SSL *guest;
	struct scene s;

	(void)state;
	/* A rule that wants to see requests, and one that keeps them hidden: nothing passes. */
	scene_start(&s, POLICY "bypass public.example\nbypass denied.example\n");
	as = trusting(&s, "public.example");
	guest = tls_guest_new(&as, guest_call(&s.g, as.sni, s.port));
	assert_int_not_equal(SSL_connect(guest), 1);
	expect_event(&s, NETEVENT_TLS, NETEVENT_BLOCKED, "bypass");
	tls_close(guest);
	/* Nor is a denial's page put into it. */
	as.sni = "denied.example";
	guest = tls_guest_new(&as, guest_call(&s.g, as.sni, s.port));
	assert_int_not_equal(SSL_connect(guest), 1);
	expect_event(&s, NETEVENT_TLS, NETEVENT_BLOCKED, "denied by default");
	tls_close(guest);
	expect_nobody(s.origin);
	scene_stop(&s);
}

/* ---- denials
 * ------------------------------------------------------------------------------------- */

static void
test_denial_page(void **state)
{
	struct tls_guest as;
	SSL *guest;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	as = trusting(&s, "denied.example");
	guest = meet_page(&s, &as, as.sni);
	tls_send(guest, "GET /x HTTP/1.1\r\nHost: denied.example\r\n\r\n");
	tls_expect_head(guest, "403 Forbidden");
	assert_non_null(strstr(tls_read_rest(guest), "paddock network allow NAME denied.example"));
	expect_event(&s, NETEVENT_HTTP, NETEVENT_BLOCKED, "denied by default");
	tls_close(guest);
	/* Row B5: no name. The page is for the name behind the address. */
	as = (struct tls_guest){.trusts = &s.w.sandbox_cert, .verify_name = "public.example"};
	guest = tls_guest_new(&as, guest_call(&s.g, "public.example", s.port));
	assert_int_equal(SSL_connect(guest), 1);
	tls_send(guest, GET("/ok/1"));
	tls_expect_head(guest, "403 Forbidden");
	assert_non_null(strstr(tls_read_rest(guest), "tls_no_sni"));
	tls_close(guest);
	/* Row B4: another name than the destination's. */
	as = trusting(&s, "public.example");
	guest = meet_page(&s, &as, "denied.example");
	tls_send(guest, GET("/ok/1"));
	tls_expect_head(guest, "403 Forbidden");
	assert_non_null(strstr(tls_read_rest(guest), "tls_sni"));
	tls_close(guest);
	expect_nobody(s.origin);
	scene_stop(&s);
}

/* A client that does not believe the certificate: its alert is the end, and the log says why. */
static void
test_pinned(void **state)
{
	struct tls_guest as = {.sni = "denied.example"};
	struct tls_handshake h;
	struct scene s;
	SSL *guest, *served;

	(void)state;
	scene_start(&s, POLICY);
	guest = tls_guest_new(&as, guest_call(&s.g, as.sni, s.port));
	assert_int_not_equal(SSL_connect(guest), 1);
	expect_event(&s, NETEVENT_TLS, NETEVENT_BLOCKED, "denied by default");
	tls_close(guest);
	as.sni = "public.example";
	tls_connect_begin(&h, tls_guest_new(&as, guest_call(&s.g, as.sni, s.port)));
	served = tls_accept(s.server, peer_accept(s.origin), NULL);
	assert_int_not_equal(tls_connect_end(&h), 1);
	expect_event(&s, NETEVENT_TLS, NETEVENT_FAILED, "tls_pinned");
	tls_close(h.ssl);
	if (served != NULL)
		tls_close(served);
	scene_stop(&s);
}

/* ---- the origin's certificate
 * -------------------------------------------------------------------- */

static void
check_upstream(struct scene *s, SSL_CTX *server, const char *reason)
{
	struct tls_guest as = trusting(s, "public.example");
	struct tls_handshake h;
	SSL *served;
	int fd;

	tls_connect_begin(&h, tls_guest_new(&as, guest_call(&s->g, as.sni, s->port)));
	fd = peer_accept(s->origin);
	served = tls_accept(server, fd, NULL);
	if (tls_connect_end(&h) != 1)
		fail_msg("no page");
	tls_send(h.ssl, GET("/ok/1"));
	tls_expect_head(h.ssl, "502 Bad Gateway");
	if (strstr(tls_read_rest(h.ssl), reason) == NULL)
		fail_msg("no '%s'", reason);
	expect_event(s, NETEVENT_HTTP, NETEVENT_FAILED, reason);
	tls_close(h.ssl);
	if (served != NULL)
		tls_close(served);
	else
		close(fd);
	SSL_CTX_free(server);
}

/* Row B17. */
static void
test_upstream_is_verified(void **state)
{
	CLEAN_BUF struct buf stranger = BUF_INIT;
	struct tls_guest as;
	SSL *guest, *served;
	struct scene s;
	SSL_CTX *old;
	struct err e;

	(void)state;
	scene_start(&s, POLICY);
	check_upstream(&s, tls_server_ctx(&s.w.authority, "other.example", tls_now()),
		"hostname mismatch");
	check_upstream(&s,
		tls_server_ctx(&s.w.authority, "public.example", tls_now() - 100L * 24 * 3600),
		"expired");
	assert_int_equal(ca_new("stranger", &stranger, &e), 0);
	check_upstream(&s, tls_server_ctx(&stranger, "public.example", tls_now()),
		"unable to get local issuer certificate");
	/* Row B16: the sandbox's own authority is nobody's but the guest's. */
	check_upstream(&s, tls_server_ctx(&s.w.sandbox, "public.example", tls_now()),
		"unable to get local issuer certificate");
	old = tls_server_ctx(&s.w.authority, "public.example", tls_now());
	SSL_CTX_set_max_proto_version(old, TLS1_1_VERSION);
	SSL_CTX_set_security_level(old, 0);
	check_upstream(&s, old, "tls_upstream");
	/* One that wants the client's certificate (B14). */
	old = tls_server_ctx(&s.w.authority, "public.example", tls_now());
	SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION);
	SSL_CTX_set_verify(old, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	check_upstream(&s, old, "tls_client_certificate");
	/* Control. */
	as = trusting(&s, "public.example");
	meet(&s, &as, NULL, &guest, &served);
	check_page_get(&s, guest, served);
	tls_close(guest);
	tls_close(served);
	scene_stop(&s);
}

/* ---- what passes through
 * ------------------------------------------------------------------------- */

struct sender {
	SSL *ssl;
	size_t n;
};

static void *
send_all(void *arg)
{
	struct sender *x = arg;
	uint8_t block[10000];
	struct stream bytes = {77};

	for (size_t left = x->n; left > 0;) {
		size_t n = left < sizeof(block) ? left : sizeof(block);

		stream_fill(&bytes, block, n);
		if (SSL_write(x->ssl, block, (int)n) != (int)n)
			return NULL;
		left -= n;
	}
	return x;
}

static void
receive_all(SSL *ssl, size_t total)
{
	static uint8_t got[65536], want[65536];
	struct stream bytes = {77};

	while (total > 0) {
		int n = SSL_read(ssl, got, total < sizeof(got) ? (int)total : (int)sizeof(got));

		assert_true(n > 0);
		stream_fill(&bytes, want, (size_t)n);
		assert_memory_equal(got, want, (size_t)n);
		total -= (size_t)n;
	}
}

/* More than any buffer holds, both ways; the receiver begins late, so that all of them fill. */
static void
test_large_bodies(void **state)
{
	enum { BODY = 8000000 };
	struct tls_guest as;
	SSL *guest, *served;
	struct sender up, down;
	pthread_t thread;
	char head[200];
	void *result;
	struct scene s;

	(void)state;
	scene_start(&s, "locked\nallow public.example --path /ok/**\n");
	as = trusting(&s, "public.example");
	meet(&s, &as, NULL, &guest, &served);
	snprintf(head, sizeof(head),
		"POST /ok/up HTTP/1.1\r\nHost: public.example\r\nContent-Length: %d\r\n\r\n", BODY);
	tls_send(guest, head);
	up = (struct sender){guest, BODY};
	assert_int_equal(pthread_create(&thread, NULL, send_all, &up), 0);
	tls_expect_head(served, "POST /ok/up ");
	receive_all(served, BODY);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_non_null(result);
	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BODY);
	tls_send(served, head);
	down = (struct sender){served, BODY};
	assert_int_equal(pthread_create(&thread, NULL, send_all, &down), 0);
	tls_expect_head(guest, "200 OK");
	receive_all(guest, BODY);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_non_null(result);
	assert_string_equal(next_event(&s).method, "POST");
	assert_true(next_event(&s).down >= BODY);
	check_page_get(&s, guest, served);
	tls_close(guest);
	tls_close(served);
	scene_stop(&s);
}

/* Server-sent events come one by one, a WebSocket is a tunnel, its ends close one after the other.
 */
static void
test_streams(void **state)
{
	struct tls_guest as;
	SSL *guest, *served;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	as = trusting(&s, "public.example");
	meet(&s, &as, NULL, &guest, &served);
	tls_send(guest, GET("/ok/events"));
	serve(served, "GET /ok/events ",
		"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
		"Transfer-Encoding: chunked\r\n\r\n");
	tls_expect_head(guest, "text/event-stream");
	tls_send(served, "8\r\ndata: 1\n\r\n");
	tls_expect(guest, "8\r\ndata: 1\n\r\n");
	tls_send(served, "8\r\ndata: 2\n\r\n0\r\n\r\n");
	tls_expect(guest, "8\r\ndata: 2\n\r\n0\r\n\r\n");
	tls_send(guest, "GET /ok/ws HTTP/1.1\r\nHost: public.example\r\nUpgrade: websocket\r\n"
			"Connection: Upgrade\r\n\r\n");
	serve(served, "Upgrade: websocket",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		"Connection: Upgrade\r\n\r\nfirst");
	tls_expect_head(guest, "101 Switching");
	tls_expect(guest, "first");
	tls_send(guest, "ping");
	tls_expect(served, "ping");
	tls_send(served, "pong");
	tls_expect(guest, "pong");
	assert_int_equal(SSL_shutdown(guest), 0);
	assert_int_equal(SSL_read(served, (char[1]){0}, 1), 0);
	tls_send(served, "last");
	tls_expect(guest, "last");
	tls_close(served);
	assert_int_equal(SSL_read(guest, (char[1]){0}, 1), 0);
	assert_int_equal(SSL_get_error(guest, 0), SSL_ERROR_ZERO_RETURN);
	tls_close(guest);
	scene_stop(&s);
}

/* An answer that goes on to the connection's end, which nobody has announced, is cut, not whole. */
static void
test_truncated(void **state)
{
	struct tls_guest as;
	SSL *guest, *served;
	struct scene s;
	char byte;
	int fd;

	(void)state;
	scene_start(&s, POLICY);
	as = trusting(&s, "public.example");
	meet(&s, &as, NULL, &guest, &served);
	tls_send(guest, GET("/ok/1"));
	serve(served, "GET /ok/1 ", "HTTP/1.1 200 OK\r\n\r\nhalf");
	tls_expect_head(guest, "200 OK");
	tls_expect(guest, "half");
	fd = SSL_get_fd(served);
	SSL_free(served);
	close(fd);
	assert_true(SSL_read(guest, &byte, 1) <= 0);
	assert_int_not_equal(SSL_get_error(guest, 0), SSL_ERROR_ZERO_RETURN);
	tls_close(guest);
	/* Control: announced, it is whole. */
	meet(&s, &as, NULL, &guest, &served);
	tls_send(guest, GET("/ok/1"));
	serve(served, "GET /ok/1 ", "HTTP/1.1 200 OK\r\n\r\nwhole");
	tls_close(served);
	tls_expect_head(guest, "200 OK");
	assert_string_equal(tls_read_rest(guest), "whole");
	tls_close(guest);
	scene_stop(&s);
}

/* ---- ALPN and names
 * ------------------------------------------------------------------------------ */

/* Row B13: what is not HTTP is not let through to where requests decide. */
static void
test_alpn(void **state)
{
	struct tls_guest as;
	SSL *guest, *served;
	const unsigned char *p;
	unsigned n;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	as = trusting(&s, "public.example");
	as.alpn = "\x04imap";
	guest = tls_guest_new(&as, guest_call(&s.g, as.sni, s.port));
	assert_int_not_equal(SSL_connect(guest), 1);
	expect_event(&s, NETEVENT_TLS, NETEVENT_BLOCKED, "tls_alpn");
	tls_close(guest);
	expect_nobody(s.origin);
	io_set_nonblock(s.origin, false);
	/* Control, and: an origin that has no opinion gets HTTP/1.1. */
	as.alpn = "\x04imap\x08http/1.1";
	meet(&s, &as, NULL, &guest, &served);
	SSL_get0_alpn_selected(guest, &p, &n);
	assert_int_equal(n, 8);
	check_page_get(&s, guest, served);
	tls_close(guest);
	tls_close(served);
	scene_stop(&s);
}

/* Row B7: one name in any form; the leaf is for its canonical one. */
static void
test_name_forms(void **state)
{
	struct tls_guest as;
	SSL *guest, *served;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	as = trusting(&s, "PUBLIC.Example");
	meet(&s, &as, NULL, &guest, &served);
	tls_send(guest, "GET /ok/1 HTTP/1.1\r\nHost: public.EXAMPLE.\r\n\r\n");
	serve(served, "GET /ok/1 ", PAGE);
	tls_expect(guest, PAGE);
	tls_close(guest);
	tls_close(served);
	scene_stop(&s);
}

/* A handshake that never goes on holds nothing up, and the signer's end is net's. */
static void
test_signer_gone(void **state)
{
	struct tls_guest as;
	SSL *guest, *served;
	struct scene s;
	void *result;

	(void)state;
	scene_start(&s, POLICY);
	as = trusting(&s, "public.example");
	meet(&s, &as, NULL, &guest, &served);
	check_page_get(&s, guest, served);
	shutdown(s.w.signer[1], SHUT_RDWR);
	rig_join(&s.g, -EPIPE);
	assert_non_null(strstr(s.g.e.msg, "the signer has ended"));
	close(s.g.control);
	close(s.w.signer[0]);
	assert_int_equal(pthread_join(s.w.thread, &result), 0);
	close(s.w.signer[1]);
	tls_close(guest);
	tls_close(served);
	close(s.origin);
	close(s.events[0]);
	close(s.events[1]);
	SSL_CTX_free(s.server);
	buf_release(&s.w.authority);
	buf_release(&s.w.trust);
	buf_release(&s.w.sandbox);
	buf_release(&s.w.sandbox_cert);
}

static void
one_at_once(struct scene *s)
{
	s->g.hooks.intercepts_max = 1;
}

/* What is beyond the limit is refused, and what is within it goes on; when that is done the next
 * may. */
static void
test_too_many(void **state)
{
	struct tls_handshake first;
	struct tls_guest as;
	SSL *guest, *served;
	struct scene s;
	int origin_fd;

	(void)state;
	scene_start_with(&s, POLICY, one_at_once);
	as = trusting(&s, "public.example");
	tls_connect_begin(&first, tls_guest_new(&as, guest_call(&s.g, as.sni, s.port)));
	origin_fd = peer_accept(s.origin);
	guest = tls_guest_new(&as, guest_call(&s.g, as.sni, s.port));
	assert_int_not_equal(SSL_connect(guest), 1);
	expect_event(&s, NETEVENT_TLS, NETEVENT_BLOCKED, "too much TLS at once");
	tls_close(guest);
	served = tls_accept(s.server, origin_fd, NULL);
	assert_non_null(served);
	assert_int_equal(tls_connect_end(&first), 1);
	check_page_get(&s, first.ssl, served);
	tls_close(first.ssl);
	tls_close(served);
	meet(&s, &as, NULL, &guest, &served);
	check_page_get(&s, guest, served);
	tls_close(guest);
	tls_close(served);
	scene_stop(&s);
}

/* A stricter policy cuts what is open (D19), in each state. */
static void
test_stricter_policy(void **state)
{
	static const char locked[] = "locked\n";
	uint64_t number = 1;
	struct tls_guest as;
	SSL *guest, *served;
	struct scene s;
	struct err e;
	int fd, waiting;

	(void)state;
	scene_start(&s, POLICY);
	as = trusting(&s, "public.example");
	meet(&s, &as, NULL, &guest, &served);
	tls_send(guest, GET("/ok/1"));
	tls_expect_head(served, "GET /ok/1 ");
	/* Another one, whose origin has not shaken hands yet. */
	SSL *second = tls_guest_new(&as, guest_call(&s.g, as.sni, s.port));
	struct tls_handshake h;

	tls_connect_begin(&h, second);
	waiting = peer_accept(s.origin);
	fd = io_memfd("policy", locked, sizeof(locked) - 1, &e);
	assert_int_equal(io_send_fds(s.g.control, &number, sizeof(number), &fd, 1), 0);
	assert_int_equal(peer_recv(s.g.control, &number, sizeof(number), 0), sizeof(number));
	close(fd);
	assert_true(SSL_read(guest, (char[1]){0}, 1) <= 0);
	assert_int_not_equal(tls_connect_end(&h), 1);
	tls_close(second);
	tls_close(guest);
	tls_close(served);
	close(waiting);
	scene_stop(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_are_judged),
		cmocka_unit_test(test_pipelined),
		cmocka_unit_test(test_fronting),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_others_are_tunnels),
		cmocka_unit_test(test_bypass),
		cmocka_unit_test(test_denial_page),
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_upstream_is_verified),
		cmocka_unit_test(test_large_bodies),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_alpn),
		cmocka_unit_test(test_name_forms),
		cmocka_unit_test(test_signer_gone),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_stricter_policy),
	};

	make_network();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
