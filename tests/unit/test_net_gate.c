/*
 * The first words of TLS, which the net role looks at and passes on: the server's name must be the
 * destination's (attack rows B).
 */
#include "net_scene.h"

static void
test_tls(void **state)
{
	struct scene s;
	uint8_t bytes[512], got[512];
	size_t n;
	int guest, served;

	(void)state;
	scene_start(&s, NULL);
	/* In two pieces, the first of them a single byte. */
	n = hello("Public.Example.", bytes);
	guest = guest_call(&s.g, "public.example", s.port);
	assert_int_equal(send(guest, bytes, 1, 0), 1);
	served = peer_accept(s.origin);
	assert_int_equal(send(guest, bytes + 1, n - 1, 0), n - 1);
	assert_int_equal(peer_recv(served, got, n, MSG_WAITALL), n);
	assert_memory_equal(got, bytes, n);
	check_talk(guest, served);
	struct netevent ev = next_event(&s);
	assert_int_equal(ev.kind, NETEVENT_TLS);
	assert_int_equal(ev.verdict, NETEVENT_ALLOWED);
	assert_int_equal(next_event(&s).op, NETEVENT_CLOSE);
	/* Another name, none, one that is no name, an address. */
	static const struct {
		const char *name, *reason;
	} wrong[] = {{"other.example", "other.example"}, {"", "tls_no_sni"}, {"a b", "a b"},
		{FAKE_PUBLIC, FAKE_PUBLIC}, {"public.example.evil.example", "evil"}};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		n = hello(wrong[i].name, bytes);
		guest = guest_call(&s.g, "public.example", s.port);
		assert_int_equal(send(guest, bytes, n, 0), n);
		expect_alert(guest);
		expect_blocked(&s, NETEVENT_TLS, "public.example", "<name check>", wrong[i].reason);
		served = peer_accept(s.origin);
		assert_true(peer_recv(served, got, 1, 0) <= 0);
		close(served);
	}
	/* Never finished. */
	n = hello("public.example", bytes);
	guest = guest_call(&s.g, "public.example", s.port);
	assert_int_equal(send(guest, bytes, n - 3, 0), n - 3);
	expect_alert(guest);
	expect_blocked(&s, NETEVENT_TLS, "public.example", "<name check>", "tls_malformed");
	scene_stop(&s);
}

/* To an address: a name in it is judged like any other. */
static void
test_tls_to_address(void **state)
{
	struct scene s;
	char policy[96];
	uint8_t bytes[512];
	size_t n;
	int guest, served;

	(void)state;
	snprintf(policy, sizeof(policy), "locked\nallow %s\nallow public.example\n", FAKE_PUBLIC);
	scene_start(&s, policy);
	for (int i = 0; i < 2; i++) {
		n = hello(i == 0 ? "" : "public.example", bytes);
		guest = guest_connect(&s.g, ntohl(inet_addr(FAKE_PUBLIC)), s.port);
		assert_int_equal(send(guest, bytes, n, 0), n);
		served = peer_accept(s.origin);
		assert_int_equal(peer_recv(served, bytes, n, MSG_WAITALL), n);
		check_talk(guest, served);
	}
	n = hello("other.example", bytes);
	guest = guest_connect(&s.g, ntohl(inet_addr(FAKE_PUBLIC)), s.port);
	assert_int_equal(send(guest, bytes, n, 0), n);
	expect_alert(guest);
	scene_stop(&s);
}

/* TLS that names no server, as databases' clients do: a rule for just this host and port decides.
 */
static void
test_tls_nameless(void **state)
{
	static const struct {
		const char *policy;
		bool passes;
	} cases[] = {{"locked\nallow public.example:PORT\n", true},
		{"locked\nallow public.example\n", false}, {"locked\nallow *:PORT\n", false},
		{"locked\nallow *.example:PORT\n", false}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t bytes[512], got[512];
		size_t n = hello("", bytes);
		struct scene s;
		int guest, served;

		scene_start(&s, cases[i].policy);
		guest = guest_call(&s.g, "public.example", s.port);
		assert_int_equal(send(guest, bytes, n, 0), n);
		served = peer_accept(s.origin);
		if (cases[i].passes) {
			assert_int_equal(peer_recv(served, got, n, MSG_WAITALL), n);
			assert_memory_equal(got, bytes, n);
			check_talk(guest, served);
		} else {
			expect_alert(guest);
			expect_blocked(
				&s, NETEVENT_TLS, "public.example", "<name check>", "tls_no_sni");
			close(served);
		}
		/* A wrong name is wrong whatever the rule. */
		n = hello("other.example", bytes);
		guest = guest_call(&s.g, "public.example", s.port);
		assert_int_equal(send(guest, bytes, n, 0), n);
		expect_alert(guest);
		close(guest);
		scene_stop(&s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_tls_to_address),
		cmocka_unit_test(test_tls_nameless),
	};

	make_network();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
