/*
 * HTTP/2 inside of TLS that is looked into, between scripted guests and origins: every request is
 * judged, floods end (row C19), content is held back where nobody takes it.
 */
#include <poll.h>

#include "intercept_scene.h"
#include "net_h2.h"

#define H2_GET(path)                                                                               \
	":method GET\n:scheme https\n:authority public.example\n:path " path "\naccept */*\n"

static void
h2_meet(struct scene *s, struct h2_end *guest, struct h2_end *served)
{
	struct tls_guest as = trusting(s, "public.example");
	const unsigned char *p;
	SSL *g, *o;
	unsigned n;

	as.alpn = "\x02h2\x08http/1.1";
	meet(s, &as, "\x02h2", &g, &o);
	SSL_get0_alpn_selected(g, &p, &n);
	assert_int_equal(n, 2);
	h2_open(guest, g, true);
	h2_open(served, o, false);
}

static void
test_requests(void **state)
{
	struct h2_end guest, served;
	struct netevent ev;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	h2_meet(&s, &guest, &served);
	h2_head(&guest, 1, END_STREAM, H2_GET("/ok/1?q=secret"));
	h2_expect_in_head(&served, 1, ":path /ok/1?q=secret\naccept */*\n");
	assert_true(served.flags & END_STREAM);
	ev = next_event(&s);
	assert_int_equal(ev.op, NETEVENT_OPEN);
	assert_string_equal(ev.path, "/ok/1");
	h2_head(&served, 1, 0, ":status 200\ncontent-type text/plain\n");
	h2_expect_in_head(&guest, 1, ":status 200\ncontent-type text/plain\n");
	/* Content comes as it is sent; then trailers, as gRPC has them. */
	h2_write(&served, F_DATA, 0, 1, "one", 3);
	h2_expect_data(&guest, "one");
	h2_write(&served, F_DATA, 0, 1, "two", 3);
	h2_expect_data(&guest, "two");
	h2_head(&served, 1, END_STREAM, "grpc-status 0\ncontent-type text/evil\n");
	h2_expect_in_head(&guest, 1, "grpc-status 0\n");
	assert_true(guest.flags & END_STREAM);
	ev = next_event(&s);
	assert_int_equal(ev.op, NETEVENT_CLOSE);
	assert_int_equal(ev.status, 200);
	/* Two at once: one goes, the other is refused, and its content goes nowhere. */
	h2_head(&guest, 3, 0,
		":method POST\n:scheme https\n:authority public.example\n"
		":path /ok/2\naccept application/json\n");
	h2_head(&guest, 5, END_STREAM, H2_GET("/ok/3"));
	h2_write(&guest, F_DATA, END_STREAM, 3, "smuggled", 8);
	h2_expect_in_head(&guest, 3, ":status 403\n");
	h2_wait(&guest, F_DATA);
	assert_non_null(memmem(guest.frame, guest.len, "\"error\":\"blocked\"", 17));
	h2_expect_in_head(&served, 3, ":path /ok/3\n");
	h2_head(&served, 3, END_STREAM, ":status 204\n");
	h2_expect_in_head(&guest, 5, ":status 204\n");
	h2_close(&guest);
	h2_close(&served);
	scene_stop(&s);
}

/* Each stream names the host that TLS has named, and a path that is read in one way. */
static void
test_fronting(void **state)
{
	static const struct {
		const char *head, *status;
	} cases[] = {
		{":method GET\n:scheme https\n:authority two.example\n:path /ok/1\n",
			":status 403"},
		{":method GET\n:scheme https\n:authority public.example\n:path /ok/1\n"
		 "host two.example\n",
			":status 400"},
		{":method GET\n:scheme https\n:authority public.example:1\n:path /ok/1\n",
			":status 403"},
		{":method GET\n:scheme http\n:authority public.example\n:path /ok/1\n",
			":status 400"},
		{":method GET\n:scheme https\n:authority public.example\n:path /ok/../x\n",
			":status 403"},
		{":method DELETE\n:scheme https\n:authority public.example\n:path /ok/1\n",
			":status 403"},
		{":method get\n:scheme https\n:authority public.example\n:path /ok/1\n",
			":status 403"},
		/* C8 */
		{":method GET\n:scheme https\n:authority public.example\n:path /ok/1\n"
		 "x-http-method-override DELETE\n",
			":status 403"},
		{":method CONNECT\n:authority two.example:443\n", ":status 400"},
	};
	struct h2_end guest, served;
	struct scene s;
	uint32_t id = 1;

	(void)state;
	scene_start(&s, POLICY);
	h2_meet(&s, &guest, &served);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++, id += 2) {
		h2_head(&guest, id, END_STREAM, cases[i].head);
		h2_expect_in_head(&guest, id, cases[i].status);
		assert_int_equal(next_event(&s).verdict, NETEVENT_BLOCKED);
	}
	/* Control, and nothing else has reached it. */
	h2_head(&guest, id, END_STREAM, H2_GET("/ok/1"));
	h2_expect_in_head(&served, 1, ":path /ok/1\n");
	h2_head(&served, 1, END_STREAM, ":status 200\n");
	h2_expect_in_head(&guest, id, ":status 200\n");
	h2_close(&guest);
	h2_close(&served);
	scene_stop(&s);
}

/* A guest that takes nothing stops the origin, at the window's size; then all of it comes. */
static void
test_flow_control(void **state)
{
	enum { BODY = 3000000, BLOCK = 16000 };
	uint8_t block[BLOCK], window[4];
	struct h2_end guest, served;
	size_t sent = 0, got = 0, room = 65535, stream_room = 65535;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	h2_meet(&s, &guest, &served);
	h2_head(&guest, 1, END_STREAM, H2_GET("/ok/big"));
	h2_wait(&served, F_SETTINGS);
	for (size_t i = 0; i + 6 <= served.len; i += 6)
		if (served.frame[i + 1] == 4)
			stream_room = (size_t)served.frame[i + 2] << 24 |
				      (size_t)served.frame[i + 3] << 16 |
				      (size_t)served.frame[i + 4] << 8 | served.frame[i + 5];
	while (true) {
		assert_true(h2_read(&served));
		if (served.type == F_WINDOW && served.id == 0)
			room += (size_t)served.frame[1] << 16 | (size_t)served.frame[2] << 8 |
				served.frame[3];
		if (served.type == F_HEADERS)
			break;
	}
	assert_true(room <= 1100000 && stream_room <= 300000);
	h2_head(&served, 1, 0, ":status 200\n");
	h2_expect_in_head(&guest, 1, ":status 200\n");
	memset(block, 'x', sizeof(block));
	while (sent < BODY) {
		size_t n = BODY - sent < BLOCK ? BODY - sent : BLOCK;

		if (n <= stream_room && n <= room) {
			h2_write(&served, F_DATA, sent + n == BODY ? END_STREAM : 0, 1, block, n);
			sent += n;
			room -= n;
			stream_room -= n;
			continue;
		}
		/* No room: the guest has to take something first, and to say so. */
		for (size_t took = 0; took < 65535 && got < sent;) {
			h2_wait(&guest, F_DATA);
			took += guest.len;
			got += guest.len;
			memcpy(window,
				(uint8_t[]){0, 0, (uint8_t)(guest.len >> 8), (uint8_t)guest.len},
				4);
			h2_write(&guest, F_WINDOW, 0, 0, window, 4);
			h2_write(&guest, F_WINDOW, 0, 1, window, 4);
			if (SSL_pending(served.ssl) > 0)
				break;
		}
		while (n > stream_room || n > room) {
			struct pollfd p = {.fd = SSL_get_fd(served.ssl), .events = POLLIN};
			size_t more;

			if (SSL_pending(served.ssl) == 0 && poll(&p, 1, 20) == 0)
				break;
			assert_true(h2_read(&served));
			if (served.type != F_WINDOW)
				continue;
			more = (size_t)served.frame[1] << 16 | (size_t)served.frame[2] << 8 |
			       served.frame[3];
			*(served.id == 0 ? &room : &stream_room) += more;
		}
	}
	while (got < BODY) {
		h2_wait(&guest, F_DATA);
		got += guest.len;
		if (guest.len > 0 && got < BODY) {
			memcpy(window,
				(uint8_t[]){0, 0, (uint8_t)(guest.len >> 8), (uint8_t)guest.len},
				4);
			h2_write(&guest, F_WINDOW, 0, 0, window, 4);
			h2_write(&guest, F_WINDOW, 0, 1, window, 4);
		}
	}
	assert_int_equal(got, BODY);
	h2_close(&guest);
	h2_close(&served);
	scene_stop(&s);
}

static void
expect_h2_end(struct h2_end *e)
{
	while (h2_read(e))
		;
}

/* Row C19: floods end the connection, and nobody else's. */
static void
test_floods(void **state)
{
	struct h2_end guest, served;
	uint8_t zero[8] = {0};
	struct tls_guest as;
	SSL *g, *o;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	/* Rapid reset. */
	h2_meet(&s, &guest, &served);
	for (uint32_t id = 1; id < 2001; id += 2) {
		uint8_t bytes[9 + 4] = {0, 0, 4, F_RST, 0, 0, 0, (uint8_t)(id >> 8), (uint8_t)id};
		uint8_t head[4096];
		nghttp2_nv nvs[] = {{(uint8_t *)":method", (uint8_t *)"GET", 7, 3, 0},
			{(uint8_t *)":scheme", (uint8_t *)"https", 7, 5, 0},
			{(uint8_t *)":authority", (uint8_t *)"public.example", 10, 14, 0},
			{(uint8_t *)":path", (uint8_t *)"/ok/1", 5, 5, 0}};
		ssize_t n = nghttp2_hd_deflate_hd(guest.deflater, head + 9, 4000, nvs, 4);

		memcpy(head,
			(uint8_t[]){0, (uint8_t)(n >> 8), (uint8_t)n, F_HEADERS,
				END_HEADERS | END_STREAM, 0, 0, (uint8_t)(id >> 8), (uint8_t)id},
			9);
		if (SSL_write(guest.ssl, head, (int)n + 9) <= 0 ||
			SSL_write(guest.ssl, bytes, sizeof(bytes)) <= 0)
			break;
	}
	expect_h2_end(&guest);
	h2_close(&guest);
	h2_close(&served);
	/* Continuations without an end. */
	h2_meet(&s, &guest, &served);
	h2_write(&guest, F_HEADERS, END_STREAM, 1, "\x82", 1);
	for (int i = 0; i < 2000; i++) {
		uint8_t frame[10] = {0, 0, 1, F_CONTINUATION, 0, 0, 0, 0, 1, 0x82};

		if (SSL_write(guest.ssl, frame, sizeof(frame)) <= 0)
			break;
	}
	expect_h2_end(&guest);
	h2_close(&guest);
	h2_close(&served);
	/* Pings whose answers nobody reads: they are bounded, whatever becomes of the connection.
	 */
	h2_meet(&s, &guest, &served);
	h2_write(&guest, F_PING, 0, 0, zero, 8);
	h2_wait(&guest, F_PING);
	h2_close(&guest);
	h2_close(&served);
	/* Control: another connection is well. */
	as = trusting(&s, "public.example");
	meet(&s, &as, NULL, &g, &o);
	tls_send(g, GET("/ok/1"));
	serve(o, "GET /ok/1 ", PAGE);
	tls_expect(g, PAGE);
	tls_close(g);
	tls_close(o);
	scene_stop(&s);
}

static void
short_heads(struct scene *s)
{
	s->g.hooks.head_limit_ms = 300;
}

/* Row C16: a head that is begun and not ended is ended, beside a stream that waits.
 */
static void
test_slow_head(void **state)
{
	struct h2_end guest, served;
	uint64_t begin;
	struct scene s;

	(void)state;
	scene_start_with(&s, POLICY, short_heads);
	h2_meet(&s, &guest, &served);
	h2_head(&guest, 1, END_STREAM, H2_GET("/ok/1"));
	h2_expect_in_head(&served, 1, "/ok/1\n");
	begin = clock_mono_ms();
	h2_write(&guest, F_HEADERS, END_STREAM, 3, "\x82", 1);
	expect_h2_end(&guest);
	assert_true(clock_mono_ms() - begin < PEER_LIMIT_S * 1000 / 2);
	h2_close(&guest);
	h2_close(&served);
	/* Control: one that is whole is not, however long its answer takes. */
	h2_meet(&s, &guest, &served);
	h2_head(&guest, 1, END_STREAM, H2_GET("/ok/1"));
	h2_expect_in_head(&served, 1, "/ok/1\n");
	struct pollfd quiet = {.fd = SSL_get_fd(guest.ssl), .events = POLLIN};

	while (poll(&quiet, 1, 900) == 1)
		assert_true(h2_read(&guest));
	h2_head(&served, 1, END_STREAM, ":status 204\n");
	h2_expect_in_head(&guest, 1, ":status 204\n");
	h2_close(&guest);
	h2_close(&served);
	scene_stop(&s);
}

/* The origin goes away: a page for who waits, an error for who has half an answer, then the end. */
static void
test_origin_ends(void **state)
{
	struct h2_end guest, served;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	h2_meet(&s, &guest, &served);
	h2_head(&guest, 1, END_STREAM, H2_GET("/ok/1"));
	h2_head(&guest, 3, END_STREAM, H2_GET("/ok/2"));
	h2_expect_in_head(&served, 1, "/ok/1\n");
	h2_expect_in_head(&served, 3, "/ok/2\n");
	h2_head(&served, 1, 0, ":status 200\n");
	h2_write(&served, F_DATA, 0, 1, "half", 4);
	h2_expect_in_head(&guest, 1, ":status 200\n");
	h2_expect_data(&guest, "half");
	h2_close(&served);
	bool reset = false, page = false, away = false;

	while (h2_read(&guest)) {
		reset |= guest.type == F_RST && guest.id == 1;
		page |= guest.type == F_HEADERS && guest.id == 3;
		away |= guest.type == F_GOAWAY;
	}
	assert_true(reset && page && away);
	h2_close(&guest);
	scene_stop(&s);
}

/* One that speaks nothing else gets its denial in it, too. */
static void
test_page(void **state)
{
	struct tls_guest as;
	struct h2_end guest;
	struct scene s;

	(void)state;
	scene_start(&s, POLICY);
	as = trusting(&s, "denied.example");
	as.alpn = "\x02h2";
	h2_open(&guest, meet_page(&s, &as, as.sni), true);
	h2_head(&guest, 1, END_STREAM,
		":method GET\n:scheme https\n:authority denied.example\n:path /\n");
	h2_expect_in_head(&guest, 1, ":status 403\n");
	h2_wait(&guest, F_DATA);
	assert_non_null(memmem(guest.frame, guest.len, "paddock network allow", 21));
	expect_event(&s, NETEVENT_HTTP, NETEVENT_BLOCKED, "denied by default");
	h2_close(&guest);
	expect_nobody(s.origin);
	scene_stop(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_fronting),
		cmocka_unit_test(test_flow_control),
		cmocka_unit_test(test_floods),
		cmocka_unit_test(test_slow_head),
		cmocka_unit_test(test_origin_ends),
		cmocka_unit_test(test_page),
	};

	make_network();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
