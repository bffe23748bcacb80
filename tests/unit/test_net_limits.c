/*
 * Attack row C16: heads without end, slow heads, connections that do nothing, floods. They cost who
 * makes them.
 */
#include <poll.h>
#include <sys/resource.h>

#include "net_scene.h"

/* Nobody reads: nothing waits, and the sums come as soon as somebody does. */
static void
test_flood(void **state)
{
	enum { MANY = 3000 };
	struct scene s;
	uint32_t addr, count = 0;
	int guest;

	(void)state;
	scene_start(&s, "locked\n");
	addr = guest_resolve(&s.g, "public.example");
	for (int i = 0; i < MANY; i++) {
		guest = guest_connect(&s.g, addr, 9);
		assert_int_equal(send(guest, "\1", 1, MSG_NOSIGNAL), 1);
		peer_expect_reset(guest);
		close(guest);
	}
	while (count < MANY)
		count += next_event(&s).count;
	assert_int_equal(count, MANY);
	scene_stop(&s);
}

static void
start_with_limits(struct scene *s)
{
	s->g.hooks.head_limit_ms = 300;
	s->g.hooks.request_idle_ms = 600;
}

/* Another one is served meanwhile, and a head that takes its time, but not too much. */
static void
check_others(struct scene *s)
{
	int guest = guest_call(&s->g, "public.example", s->port), served;

	peer_send(guest, "GET /other HTTP/1.1\r\n");
	peer_send(guest, "Host: public.example\r\n\r\n");
	served = peer_accept(s->origin);
	expect_in_head(served, "GET /other ");
	peer_send(served, PAGE);
	expect_in_head(guest, "200 OK");
	close(guest);
	close(served);
}

/* Bytes that come one by one do not prolong it. */
static void
test_slow_head(void **state)
{
	struct scene s;
	uint64_t begin;
	int guest;

	(void)state;
	scene_start_with(&s, "locked\nallow public.example --method GET\n", start_with_limits);
	guest = guest_call(&s.g, "public.example", s.port);
	peer_send(guest, "GET / HTTP/1.1\r\nX: ");
	begin = clock_mono_ms();
	while (send(guest, "x", 1, MSG_NOSIGNAL) == 1 && clock_mono_ms() - begin < 20000) {
		struct pollfd p = {.fd = guest, .events = POLLIN};

		check_others(&s);
		if (poll(&p, 1, 20) == 1)
			break;
	}
	expect_in_head(guest, "400 Bad Request");
	assert_true(clock_mono_ms() - begin < 10000);
	close(guest);
	expect_nobody(s.origin);
	scene_stop(&s);
}

/* Kept alive, and used no more. */
static void
test_idle(void **state)
{
	struct scene s;
	int guest, served;

	(void)state;
	scene_start_with(&s, "locked\nallow public.example --method GET\n", start_with_limits);
	guest = guest_call(&s.g, "public.example", s.port);
	peer_send(guest, "GET / HTTP/1.1\r\nHost: public.example\r\n\r\n");
	served = peer_accept(s.origin);
	expect_in_head(served, "GET / ");
	peer_send(served, PAGE);
	expect_in_head(guest, "200 OK");
	peer_expect(guest, "hello");
	check_others(&s);
	peer_expect_end(guest);
	peer_expect_end(served);
	close(guest);
	close(served);
	scene_stop(&s);
}

/* 100,000 fields, and a field of 1 MiB: refused at the limit, whoever goes on sending. */
static void
test_large_heads(void **state)
{
	struct scene s;

	(void)state;
	scene_start(&s, "locked\nallow public.example --method GET\n");
	for (int kind = 0; kind < 2; kind++) {
		int guest = guest_call(&s.g, "public.example", s.port);
		char block[8192];
		size_t sent = 0;

		for (size_t i = 0; i + 8 <= sizeof(block); i += 8)
			memcpy(block + i, kind == 0 ? "Ab: cd\r\n" : "xxxxxxxx", 8);
		peer_send(guest, "GET / HTTP/1.1\r\nHost: public.example\r\nX: ");
		peer_send(guest, kind == 0 ? "x\r\n" : "x");
		while (sent < 1 << 20) {
			ssize_t n = send(guest, block, sizeof(block), MSG_NOSIGNAL);

			if (n < 0)
				break;
			sent += (size_t)n;
		}
		assert_true(sent >= HTTP_HEAD_MAX / 2);
		/* What was not read makes the end a reset, which may overtake the page. */
		char head[64] = "";
		ssize_t n = recv(guest, head, sizeof(head) - 1, 0);

		assert_true(n <= 0 || strstr(head, " 431 ") != NULL);
		close(guest);
		expect_blocked(&s, NETEVENT_HTTP, "public.example", "<protocol>", "too large");
		check_others(&s);
		assert_int_equal(next_event(&s).op, NETEVENT_OPEN);
		assert_int_equal(next_event(&s).op, NETEVENT_CLOSE);
	}
	scene_stop(&s);
}

/* ---- so many and no more: what is beyond is refused at once, and others are served */

static bool
dns_answers(struct scene *s)
{
	uint8_t query[514], answer[514];
	int n = res_mkquery(
		ns_o_query, "x.example", ns_c_in, ns_t_a, NULL, 0, NULL, query + 2, 512);
	int guest = guest_connect(&s->g, NET_GATEWAY, 53);
	ssize_t got;

	query[0] = 0;
	query[1] = (uint8_t)n;
	(void)!send(guest, query, (size_t)n + 2, MSG_NOSIGNAL);
	got = recv(guest, answer, sizeof(answer), 0);
	close(guest);
	return got > 2;
}

static void
test_dns_connections(void **state)
{
	int guests[NET_DNS_TCP_MAX], guest;
	struct scene s;

	(void)state;
	scene_start(&s, "locked\nallow public.example --method GET\n");
	for (size_t i = 0; i < ARRAY_LEN(guests); i++)
		guests[i] = guest_connect(&s.g, NET_GATEWAY, 53);
	guest = guest_connect(&s.g, NET_GATEWAY, 53);
	peer_expect_reset(guest);
	close(guest);
	check_others(&s);
	/* Each that ends makes room, once its end was seen. */
	close(guests[0]);
	while (!dns_answers(&s))
		;
	for (size_t i = 1; i < ARRAY_LEN(guests); i++)
		close(guests[i]);
	scene_stop(&s);
}

static void
long_looks(struct scene *s)
{
	s->g.hooks.look_limit_ms = PEER_LIMIT_S * 10000;
}

/* Denied ones that are waited for, as they may say what they are; only so many of them are. */
static void
test_silent_denials(void **state)
{
	enum { WAITED_FOR = 256, MORE = 40 };
	int guests[WAITED_FOR + MORE];
	struct scene s;
	uint32_t addr;

	(void)state;
	scene_start_with(&s, "locked\nallow public.example --method GET\n", long_looks);
	addr = guest_resolve(&s.g, "denied.example");
	for (size_t i = 0; i < ARRAY_LEN(guests); i++)
		guests[i] = guest_connect(&s.g, addr, 9);
	for (size_t i = WAITED_FOR; i < ARRAY_LEN(guests); i++)
		peer_expect_reset(guests[i]);
	assert_int_equal(recv(guests[0], (char[1]){0}, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	check_others(&s);
	for (size_t i = 0; i < ARRAY_LEN(guests); i++)
		close(guests[i]);
	scene_stop(&s);
}

/* Names that the host's resolver does not answer. */
static void
test_lookups(void **state)
{
	enum { QUESTIONS = 1024 };
	static int guests[QUESTIONS];
	struct rlimit files;
	struct scene s;
	char name[32];
	int guest;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max < 20000 ? files.rlim_max : 20000;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	scene_start(&s, NULL);
	for (int i = 0; i < QUESTIONS; i++) {
		snprintf(name, sizeof(name), "hang%d.example", i);
		guests[i] = guest_call(&s.g, name, s.port);
	}
	guest = guest_call(&s.g, "hang.example", s.port);
	peer_expect_reset(guest);
	close(guest);
	assert_int_equal(recv(guests[0], (char[1]){0}, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	for (int i = 0; i < QUESTIONS; i++)
		close(guests[i]);
	scene_stop(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_slow_head),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_large_heads),
		cmocka_unit_test(test_dns_connections),
		cmocka_unit_test(test_silent_denials),
		cmocka_unit_test(test_lookups),
	};

	make_network();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
