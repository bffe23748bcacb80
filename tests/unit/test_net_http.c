/*
 * The net role's gate, its forward proxy and HTTP between scripted guests and origins: hold, split,
 * reset, half-close, slow; and what it tells the network log of all that.
 */
#include "net_scene.h"

/* ---- the forward proxy
 * --------------------------------------------------------------------------- */

static void
test_absolute(void **state)
{
	struct scene s;
	struct netevent ev;
	char *head;
	int guest, served;

	(void)state;
	scene_start(&s, NULL);
	guest = proxy_connect(&s);
	ask(guest, s.port,
		"GET http://Public.example:PORT/p?q=1 HTTP/1.1\r\nHost: public.example:PORT\r\n"
		"Proxy-Authorization: secret\r\nConnection: X-Mine\r\nX-Mine: 1\r\nA: b\r\n\r\n");
	served = peer_accept(s.origin);
	head = read_head(served);
	assert_true(strncmp(head, "GET /p?q=1 HTTP/1.1\r\nHost: ", 27) == 0);
	assert_non_null(strstr(head, "A: b\r\n"));
	assert_null(strstr(head, "secret"));
	assert_null(strstr(head, "X-Mine"));
	peer_send(served, PAGE);
	expect_in_head(guest, "200 OK");
	peer_expect(guest, "hello");
	ev = next_event(&s);
	assert_int_equal(ev.op, NETEVENT_OPEN);
	assert_int_equal(ev.via, NETEVENT_FORWARD);
	assert_string_equal(ev.path, "/p"); /* without the query */
	ev = next_event(&s);
	assert_int_equal(ev.op, NETEVENT_CLOSE);
	assert_int_equal(ev.status, 200);
	/* The connections are kept: the same origin's for the same host. */
	ask(guest, s.port,
		"POST http://public.example:PORT/2 HTTP/1.1\r\nHost: public.example:PORT\r\n"
		"Content-Length: 4\r\n\r\nbo");
	expect_in_head(served, "POST /2 ");
	peer_expect(served, "bo");
	peer_send(guest, "dyGET /smuggled HTTP/1.1\r\n");
	peer_expect(served, "dy");
	peer_send(served, PAGE);
	expect_in_head(guest, "200 OK");
	peer_expect(guest, "hello");
	/* What came behind the body was never sent on: it is a request of its own, cut short. */
	shutdown(guest, SHUT_WR);
	expect_in_head(guest, "400 Bad Request");
	close(guest);
	close(served);
	scene_stop(&s);
}

static void
test_each_request_is_judged(void **state)
{
	struct scene s;
	char policy[128];
	int guest, served;

	(void)state;
	snprintf(policy, sizeof(policy), "locked\nallow public.example\n");
	scene_start(&s, policy);
	guest = proxy_connect(&s);
	/* Both at once, in one segment. */
	ask(guest, s.port,
		"GET http://public.example:PORT/ HTTP/1.1\r\nHost: public.example:PORT\r\n\r\n"
		"GET http://other.example/ HTTP/1.1\r\nHost: other.example\r\n"
		"Accept: application/json\r\n\r\n");
	served = peer_accept(s.origin);
	expect_in_head(served, "GET / ");
	peer_send(served, PAGE);
	expect_in_head(guest, "200 OK");
	peer_expect(guest, "hello");
	expect_in_head(guest, "403 Forbidden");
	assert_non_null(strstr(read_rest(guest),
		"{\"error\":\"blocked\",\"host\":\"other.example\",\"port\":80,"
		"\"rule\":\"<default policy>\""));
	peer_expect_end(served);
	close(guest);
	close(served);
	scene_stop(&s);
}

static void
test_connect(void **state)
{
	struct scene s;
	int guest, served;

	(void)state;
	scene_start(&s, "locked\nallow public.example\nallow none.example\n");
	guest = proxy_connect(&s);
	/* The head in pieces, and the first words right behind it. */
	ask(guest, s.port, "CONNECT public.exa");
	ask(guest, s.port, "mple:PORT HTTP/1.1\r\nHost: public.example:PORT\r\n\r\n\x01hello");
	expect_in_head(guest, "200 Connection established");
	served = peer_accept(s.origin);
	peer_expect(served, "\x01hello");
	check_talk(guest, served);
	guest = proxy_connect(&s);
	ask(guest, s.port, "CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n");
	expect_in_head(guest, "403 Forbidden");
	assert_non_null(strstr(read_rest(guest), "paddock network allow NAME other.example:443"));
	close(guest);
	/* Allowed, and not there: 502. */
	guest = proxy_connect(&s);
	ask(guest, s.port, "CONNECT none.example:443 HTTP/1.1\r\nHost: none.example:443\r\n\r\n");
	expect_in_head(guest, "502 Bad Gateway");
	close(guest);
	/* No name, no number: refused, and never anybody asked. */
	guest = proxy_connect(&s);
	ask(guest, s.port, "CONNECT 127.0.0.1:PORT HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n");
	expect_in_head(guest, "403 Forbidden");
	close(guest);
	guest = proxy_connect(&s);
	ask(guest, s.port, "GET / HTTP/1.1\r\nHost: public.example:PORT\r\n\r\n");
	expect_in_head(guest, "400 Bad Request");
	close(guest);
	expect_nobody(s.origin);
	scene_stop(&s);
}

/* ---- transparent
 * --------------------------------------------------------------------------------- */

static void
test_host_must_agree(void **state)
{
	struct scene s;
	int guest, served;

	(void)state;
	scene_start(&s, NULL);
	guest = guest_call(&s.g, "public.example", s.port);
	ask(guest, s.port, "GET /1 HTTP/1.1\r\nHost: PUBLIC.example.:PORT\r\n\r\n");
	served = peer_accept(s.origin);
	expect_in_head(served, "GET /1 ");
	peer_send(served, PAGE);
	expect_in_head(guest, "200 OK");
	peer_expect(guest, "hello");
	assert_int_equal(next_event(&s).op, NETEVENT_OPEN);
	assert_int_equal(next_event(&s).op, NETEVENT_CLOSE);
	peer_send(guest, "GET /2 HTTP/1.1\r\nHost: other.example\r\n\r\n");
	expect_in_head(guest, "403 Forbidden");
	expect_blocked(&s, NETEVENT_HTTP, "public.example", "<name check>", "Host");
	close(guest);
	peer_expect_end(served);
	close(served);
	/* In the very first one. The origin was dialed, and hears nothing. */
	guest = guest_call(&s.g, "public.example", s.port);
	peer_send(guest, "GET / HTTP/1.1\r\nHost: other.example\r\n\r\n");
	expect_in_head(guest, "403 Forbidden");
	served = peer_accept(s.origin);
	peer_expect_end(served);
	close(guest);
	close(served);
	scene_stop(&s);
}

/* One byte at a time, a name in the middle: nothing passes before it is whole. */
static void
test_split_head(void **state)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: other.example\r\n\r\n";
	struct scene s;
	int guest, served;

	(void)state;
	scene_start(&s, NULL);
	guest = guest_call(&s.g, "public.example", s.port);
	served = peer_accept(s.origin);
	for (size_t i = 0; text[i] != '\0'; i++)
		assert_int_equal(send(guest, text + i, 1, MSG_NOSIGNAL), 1);
	expect_in_head(guest, "403 Forbidden");
	peer_expect_end(served);
	close(guest);
	close(served);
	/* Begun, and never finished: the time ends it. */
	guest = guest_call(&s.g, "public.example", s.port);
	served = peer_accept(s.origin);
	peer_send(guest, "GET / HTT");
	shutdown(guest, SHUT_WR);
	expect_in_head(guest, "400 Bad Request");
	peer_expect_end(served);
	close(guest);
	close(served);
	scene_stop(&s);
}

static void
test_server_speaks_first(void **state)
{
	struct scene s;
	int guest, served;

	(void)state;
	scene_start(&s, NULL);
	guest = guest_call(&s.g, "public.example", s.port);
	served = peer_accept(s.origin);
	peer_send(served, "220 welcome\r\n");
	peer_expect(guest, "220 welcome\r\n");
	peer_send(guest, "EHLO me\r\n");
	peer_expect(served, "EHLO me\r\n");
	/* Half-closed ways stay open the other way. */
	shutdown(guest, SHUT_WR);
	peer_expect_end(served);
	peer_send(served, "221 bye\r\n");
	peer_expect(guest, "221 bye\r\n");
	close(served);
	peer_expect_end(guest);
	close(guest);
	/* And the server that ends first, with a client that never spoke. */
	guest = guest_call(&s.g, "public.example", s.port);
	served = peer_accept(s.origin);
	peer_send(served, "421 too busy\r\n");
	close(served);
	peer_expect(guest, "421 too busy\r\n");
	peer_expect_end(guest);
	close(guest);
	/* HTTP to one that has spoken is no way around the check. */
	guest = guest_call(&s.g, "public.example", s.port);
	served = peer_accept(s.origin);
	peer_send(served, "x");
	peer_expect(guest, "x");
	peer_send(guest, "GET / HTTP/1.1\r\nHost: other.example\r\n\r\n");
	peer_expect_reset(guest);
	peer_expect_reset(served);
	close(guest);
	close(served);
	/* A reset passes as one, while nothing has been said. */
	guest = guest_call(&s.g, "public.example", s.port);
	served = peer_accept(s.origin);
	peer_reset(guest);
	peer_expect_reset(served);
	close(served);
	scene_stop(&s);
}

/* ---- denials
 * ------------------------------------------------------------------------------------- */

static void
test_denials(void **state)
{
	struct scene s;
	uint8_t bytes[512];
	size_t n;
	int guest;

	(void)state;
	scene_start(&s, "locked\n");
	s.g.o.sandbox = NULL;
	guest = guest_call(&s.g, "public.example", s.port);
	peer_send(guest, "HEAD /x HTTP/1.1\r\nHost: public.example\r\n\r\n");
	expect_in_head(guest, "403 Forbidden");
	assert_string_equal(read_rest(guest), "");
	close(guest);
	struct netevent ev = next_event(&s);
	assert_int_equal(ev.status, 403);
	assert_string_equal(ev.method, "HEAD");
	assert_string_equal(ev.path, "/x");
	guest = guest_call(&s.g, "public.example", s.port);
	n = hello("public.example", bytes);
	assert_int_equal(send(guest, bytes, n, 0), n);
	expect_alert(guest);
	expect_blocked(&s, NETEVENT_TLS, "public.example", "<default policy>", "");
	guest = guest_call(&s.g, "public.example", s.port);
	peer_send(guest, "\1\2\3");
	peer_expect_reset(guest);
	close(guest);
	expect_blocked(&s, NETEVENT_TCP, "public.example", "<default policy>", "");
	guest = guest_call(&s.g, "public.example", s.port); /* silent */
	peer_expect_reset(guest);
	close(guest);
	expect_blocked(&s, NETEVENT_TCP, "public.example", "<default policy>", "");
	assert_int_equal(fake_calls, 0);
	expect_nobody(s.origin);
	scene_stop(&s);
}

/* A rule that looks at requests: those are let through one by one, what shows none is refused. */
static void
test_rules_for_requests(void **state)
{
	struct scene s;
	uint8_t bytes[512];
	size_t n;
	int guest, served;

	(void)state;
	scene_start(&s, "locked\nallow public.example --method GET --path /ok/**\n");
	guest = guest_call(&s.g, "public.example", s.port);
	peer_send(guest, "GET /ok/1 HTTP/1.1\r\nHost: public.example\r\n\r\n");
	served = peer_accept(s.origin);
	expect_in_head(served, "GET /ok/1 ");
	peer_send(served, PAGE);
	expect_in_head(guest, "200 OK");
	peer_expect(guest, "hello");
	peer_send(
		guest, "POST /ok/1 HTTP/1.1\r\nHost: public.example\r\nContent-Length: 0\r\n\r\n");
	expect_in_head(guest, "403 Forbidden");
	close(guest);
	close(served);
	guest = guest_call(&s.g, "public.example", s.port);
	peer_send(guest, "GET /ok/%2e%2e/no HTTP/1.1\r\nHost: public.example\r\n\r\n");
	expect_in_head(guest, "403 Forbidden");
	close(guest);
	n = hello("public.example", bytes);
	guest = guest_call(&s.g, "public.example", s.port);
	assert_int_equal(send(guest, bytes, n, 0), n);
	expect_alert(guest);
	guest = guest_call(&s.g, "public.example", s.port);
	peer_send(guest, "\1");
	peer_expect_reset(guest);
	close(guest);
	expect_nobody(s.origin);
	scene_stop(&s);
}

/* C8: what a field says instead of the method is a method, too. */
static void
test_method_override(void **state)
{
	static const char *const bad[] = {"X-HTTP-Method-Override: DELETE", "x-http-method: delete",
		"X_Method_Override:  PATCH ", "X-HTTP-Method-Override:",
		"X-HTTP-Method-Override: POST\r\nX-HTTP-Method-Override: DELETE",
		"X-HTTP-Method-Override: POST, DELETE"};
	static const char *const good[] = {"X-HTTP-Method-Override: POST",
		"X-HTTP-Method-Overrides: DELETE", "X-Http: DELETE"};
	struct scene s;
	char text[256];
	int guest, served;

	(void)state;
	scene_start(&s, "locked\nallow public.example --method GET,POST\n");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		snprintf(text, sizeof(text),
			"POST /x HTTP/1.1\r\nHost: public.example\r\n%s\r\n"
			"Content-Length: 0\r\n\r\n",
			bad[i]);
		guest = guest_call(&s.g, "public.example", s.port);
		peer_send(guest, text);
		expect_in_head(guest, "403 Forbidden");
		close(guest);
	}
	expect_nobody(s.origin);
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		snprintf(text, sizeof(text),
			"POST /x HTTP/1.1\r\nHost: public.example\r\n%s\r\n"
			"Content-Length: 0\r\n\r\n",
			good[i]);
		guest = guest_call(&s.g, "public.example", s.port);
		peer_send(guest, text);
		served = peer_accept(s.origin);
		expect_in_head(served, good[i]);
		close(guest);
		close(served);
	}
	scene_stop(&s);
	/* Where nobody asks for methods, it is none of our business. */
	scene_start(&s, "locked\nallow public.example\n");
	guest = guest_call(&s.g, "public.example", s.port);
	peer_send(guest, "POST /x HTTP/1.1\r\nHost: public.example\r\n"
			 "X-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n");
	served = peer_accept(s.origin);
	expect_in_head(served, "Override: DELETE");
	close(guest);
	close(served);
	scene_stop(&s);
}

/* ---- bodies and answers
 * -------------------------------------------------------------------------- */

static int
open_request(struct scene *s, const char *request, int *ret_served)
{
	int guest = guest_call(&s->g, "public.example", s->port);

	peer_send(guest, request);
	*ret_served = peer_accept(s->origin);
	return guest;
}

static void
test_answers(void **state)
{
	static const char get[] = "GET / HTTP/1.1\r\nHost: public.example\r\n\r\n";
	static const struct {
		const char *answer, *want;
		bool reset;
	} all[] = {
		/* until the end; chunked; interim first; an answer that is no HTTP; cut short */
		{"HTTP/1.0 200 OK\r\n\r\nall of it",
			"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it", false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: "
		 "close\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
			"chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
			false},
		{"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
			"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
			false},
		{"SSH-2.0-x\r\n", "HTTP/1.1 502 Bad Gateway\r\n", false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
			"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3x\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true},
		{"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "HTTP/1.1 502 Bad Gateway\r\n",
			false},
		{"", "HTTP/1.1 502 Bad Gateway\r\n", false},
	};
	struct scene s;

	(void)state;
	scene_start(&s, NULL);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		int served, guest = open_request(&s, get, &served);

		expect_in_head(served, "GET / ");
		peer_send(served, all[i].answer);
		shutdown(served, SHUT_WR);
		peer_expect(guest, all[i].want);
		if (all[i].reset)
			peer_expect_reset(guest);
		close(guest);
		close(served);
	}
	scene_stop(&s);
}

/* Large, both ways, with a reader that is slow: nothing is lost, and memory stays bounded. */
static void
test_large_bodies(void **state)
{
	enum { SIZE = 8 << 20 };
	struct scene s;
	char head[256];
	int guest, served;
	pid_t pid;

	(void)state;
	scene_start(&s, NULL);
	snprintf(head, sizeof(head),
		"POST / HTTP/1.1\r\nHost: public.example\r\nContent-Length: %d\r\n\r\n", SIZE);
	guest = open_request(&s, head, &served);
	pid = fork();
	if (pid == 0)
		_exit(stream_send(guest, 7, SIZE) ? 0 : 1);
	expect_in_head(served, "POST / ");
	struct stream want = {7};
	uint8_t got[4096], expect[4096];

	for (size_t at = 0; at < SIZE; at += sizeof(got)) {
		assert_int_equal(peer_recv(served, got, sizeof(got), MSG_WAITALL), sizeof(got));
		stream_fill(&want, expect, sizeof(expect));
		assert_memory_equal(got, expect, sizeof(got));
	}
	peer_send(served, PAGE);
	expect_in_head(guest, "200 OK");
	peer_expect(guest, "hello");
	close(guest);
	close(served);
	scene_stop(&s);
}

static void
test_upgrade(void **state)
{
	struct scene s;
	int guest, served;

	(void)state;
	scene_start(&s, NULL);
	guest = open_request(&s,
		"GET /ws HTTP/1.1\r\nHost: public.example\r\nConnection: keep-alive, Upgrade\r\n"
		"Upgrade: websocket\r\n\r\nearly",
		&served);
	expect_in_head(served, "Upgrade: websocket\r\n");
	peer_send(served, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
			  "Upgrade\r\n\r\nfirst");
	expect_in_head(guest, "101 ");
	peer_expect(guest, "first");
	peer_expect(served, "early");
	check_talk(guest, served);
	/* Refused by the origin: an ordinary answer, and the next request is judged. */
	guest = open_request(&s,
		"GET /ws HTTP/1.1\r\nHost: public.example\r\nConnection: Upgrade\r\n"
		"Upgrade: websocket\r\n\r\nGET / HTTP/1.1\r\nHost: other.example\r\n\r\n",
		&served);
	expect_in_head(served, "GET /ws ");
	peer_send(served, PAGE);
	expect_in_head(guest, "200 OK");
	peer_expect(guest, "hello");
	expect_in_head(guest, "403 Forbidden");
	peer_expect_end(served);
	close(guest);
	close(served);
	scene_stop(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_absolute),
		cmocka_unit_test(test_each_request_is_judged),
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_host_must_agree),
		cmocka_unit_test(test_split_head),
		cmocka_unit_test(test_server_speaks_first),
		cmocka_unit_test(test_denials),
		cmocka_unit_test(test_rules_for_requests),
		cmocka_unit_test(test_method_override),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_large_bodies),
		cmocka_unit_test(test_upgrade),
	};

	make_network();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
