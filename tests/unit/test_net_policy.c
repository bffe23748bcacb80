/* The net role and its policy: who is let through, and what becomes of a policy that changes. */
#include <poll.h>

#include "net_rig.h"

static void
use_policy(struct rig *g, const char *lines)
{
	struct err e = {0};

	g->own_policy = true;
	if (policy_decode(lines, strlen(lines), &g->policy, &e) < 0)
		fail_msg("%s", e.msg);
}

static void
send_policy(struct rig *g, uint64_t number, const char *lines)
{
	struct err e = {0};
	int fd = io_memfd("policy", lines, strlen(lines), &e);

	assert_true(fd >= 0);
	assert_int_equal(io_send_fds(g->control, &number, sizeof(number), &fd, 1), 0);
	close(fd);
}

/* As the supervisor does it: it is in force when this returns. */
static void
change_policy(struct rig *g, const char *lines)
{
	static uint64_t number = 1000;
	uint64_t answer = 0;

	send_policy(g, ++number, lines);
	peer_limit(g->control);
	assert_int_equal(recv(g->control, &answer, sizeof(answer), 0), sizeof(answer));
	assert_true(answer == number);
}

static void
expect_denied(struct rig *g, const char *name, uint16_t port, int listener)
{
	int guest = guest_call(g, name, port);

	peer_expect_reset(guest);
	close(guest);
	expect_nobody(listener);
	io_set_nonblock(listener, false);
}

static void
expect_allowed(struct rig *g, const char *name, uint16_t port, int listener)
{
	int guest = guest_call(g, name, port);

	check_talk(guest, peer_accept(listener));
}

static void
test_rules(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0;
	int origin = origin_at(FAKE_PUBLIC, &port, 10), guest;

	(void)state;
	use_policy(&g, "locked\nallow public.example\nallow *.below.example\nallow 192.0.2.0/24\n");
	rig_start(&g);
	expect_allowed(&g, "public.example", port, origin);
	expect_allowed(&g, "PUBLIC.example", port, origin);
	expect_allowed(&g, "a.b.below.example", port, origin);
	expect_denied(&g, "below.example", port, origin);
	expect_denied(&g, "other.example", port, origin);
	expect_denied(&g, "xpublic.example", port, origin);
	/* Nobody was asked for the address of a name that is denied. */
	assert_int_equal(fake_calls, 3);
	guest = guest_connect(&g, ntohl(inet_addr(FAKE_PUBLIC)), port);
	peer_expect_reset(guest);
	close(guest);
	expect_nobody(origin);
	close(origin);
	rig_stop(&g);
}

/* Log-ins to one host (SSH), and neither to another one nor to anything else of that host. */
static void
test_one_port_of_one_host(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0, other = 0;
	int origin = origin_at(FAKE_PUBLIC, &port, 10), beside = origin_at(FAKE_PUBLIC, &other, 10);
	char lines[64];

	(void)state;
	snprintf(lines, sizeof(lines), "locked\nallow public.example:%u\n", port);
	use_policy(&g, lines);
	rig_start(&g);
	expect_allowed(&g, "public.example", port, origin);
	expect_denied(&g, "two.example", port, origin);
	expect_denied(&g, "public.example", other, beside);
	snprintf(lines, sizeof(lines), "locked\nallow *.example:%u\n", other);
	change_policy(&g, lines);
	expect_allowed(&g, "public.example", other, beside);
	expect_denied(&g, "public.example", port, origin);
	close(origin);
	close(beside);
	rig_stop(&g);
}

/* The decision about a name is not the last one: where it leads is judged as well. */
static void
test_resolved(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0, port2;
	int origin = origin_at(FAKE_PUBLIC, &port, 10), second;

	(void)state;
	port2 = port;
	second = origin_at(FAKE_PUBLIC2, &port2, 10);
	use_policy(&g, "locked\nallow *.example\nallow two.example\ndeny " FAKE_PUBLIC2 "\n");
	rig_start(&g);
	expect_allowed(&g, "two.example", port, second); /* named itself */
	change_policy(&g, "locked\nallow *.example\ndeny " FAKE_PUBLIC2 "\n");
	expect_allowed(&g, "two.example", port, origin); /* the other address of the answer */
	expect_denied(&g, "private.example", port, origin);
	expect_denied(&g, "own.example", port, origin);
	expect_allowed(&g, "mixed.example", port, origin);
	change_policy(
		&g, "open\nallow mixed.example\nallow own.example\ndeny " FAKE_PUBLIC "/32:1\n");
	expect_allowed(&g, "mixed.example", port, origin);
	expect_denied(&g, "own.example", port, origin);
	close(origin);
	close(second);
	rig_stop(&g);
}

static void
test_host_services(void **state)
{
	struct rig g = {.port = 0};
	uint16_t open4 = 0, open6 = 0, closed = 0;
	int service4 = origin_at("127.0.0.1", &open4, 10);
	int service6 = origin_at("::1", &open6, 10);
	int other = origin_at("127.0.0.1", &closed, 10);
	char lines[128];

	(void)state;
	snprintf(lines, sizeof(lines), "open\nallow localhost:%u\nallow localhost:%u\n", open4,
		open6);
	use_policy(&g, lines);
	rig_start(&g);
	expect_allowed(&g, "host.docker.internal", open4, service4);
	expect_allowed(&g, "gateway.docker.internal", open4, service4);
	expect_allowed(&g, "host.docker.internal", open6, service6);
	expect_denied(&g, "host.docker.internal", closed, other);
	/* Another name for it is not how it is reached. */
	expect_denied(&g, "private.example", open4, service4);
	change_policy(&g, "open\nallow *\nallow *:443\nallow 127.0.0.0/8\nallow ::1\n");
	expect_denied(&g, "host.docker.internal", open4, service4);
	close(service4);
	close(service6);
	close(other);
	rig_stop(&g);
}

/* D19 of the attacks: open connections end with the rule that allowed them; others go on. */
static void
test_cut(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0;
	int origin = origin_at(FAKE_PUBLIC, &port, 10), cut, kept, cut_served, kept_served;

	(void)state;
	use_policy(&g, "locked\nallow public.example\nallow kept.example\n");
	rig_start(&g);
	cut = guest_call(&g, "public.example", port);
	cut_served = peer_accept(origin);
	kept = guest_call(&g, "kept.example", port);
	kept_served = peer_accept(origin);
	peer_send(cut, "one");
	peer_expect(cut_served, "one");
	change_policy(&g, "locked\nallow kept.example\n");
	peer_expect_broken(cut);
	peer_expect_broken(cut_served);
	close(cut);
	close(cut_served);
	expect_denied(&g, "public.example", port, origin);
	check_talk(kept, kept_served);
	change_policy(&g, "locked\nallow public.example\n");
	expect_allowed(&g, "public.example", port, origin);
	close(origin);
	rig_stop(&g);
}

/* By where it leads, too; and one that is not connected yet is not forgotten. */
static void
test_cut_by_address(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0;
	int origin = origin_at(FAKE_PUBLIC, &port, 10), guest, served, hanging, waiting;

	(void)state;
	rig_start(&g);
	guest = guest_call(&g, "public.example", port);
	served = peer_accept(origin);
	peer_send(guest, "one");
	peer_expect(served, "one");
	hanging = guest_call(&g, "hang.example", port);
	waiting = guest_call(&g, "hang2.example", port);
	while (fake_hanging < 2)
		poll(NULL, 0, 1);
	change_policy(&g, "open\ndeny " FAKE_PUBLIC "\ndeny hang.example\n");
	peer_expect_broken(guest);
	peer_expect_broken(served);
	peer_expect_broken(hanging); /* before its answer came */
	sem_post(&fake_gate);
	sem_post(&fake_gate);
	peer_expect_reset(waiting); /* with the answer */
	expect_nobody(origin);
	close(guest);
	close(served);
	close(hanging);
	close(waiting);
	change_policy(&g, "open\n");
	io_set_nonblock(origin, false);
	expect_allowed(&g, "public.example", port, origin);
	close(origin);
	rig_stop(&g);
}

/* What --resolve gives an address counts as allowed, until a rule for the host says otherwise. */
static void
test_overridden(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0;
	int origin = peer_listen(&port), guest, served;
	char lines[64];

	(void)state;
	g.overrides[0].host = "mine.test";
	g.overrides[0].port = 0;
	struct sockaddr_in *to = (struct sockaddr_in *)&g.overrides[0].to;

	*to = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	use_policy(&g, "locked\ndeny *.test\ndeny 127.0.0.0/8\n");
	rig_start(&g);
	guest = guest_call(&g, "mine.test", 80);
	served = peer_accept(origin);
	change_policy(&g, "open\ndeny mine.test:81\n");
	peer_send(guest, "still");
	peer_expect(served, "still");
	snprintf(lines, sizeof(lines), "open\ndeny mine.test:80\n");
	change_policy(&g, lines);
	peer_expect_broken(guest);
	peer_expect_broken(served);
	close(guest);
	close(served);
	expect_denied(&g, "mine.test", 80, origin);
	expect_allowed(&g, "mine.test", 81, origin);
	close(origin);
	rig_stop(&g);
}

/* A connection whose requests nobody sees is denied where a rule depends on them. */
static void
test_unseen_requests(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0;
	int origin = origin_at(FAKE_PUBLIC, &port, 10), guest, served;

	(void)state;
	use_policy(&g, "open\n");
	rig_start(&g);
	guest = guest_call(&g, "public.example", port);
	served = peer_accept(origin);
	peer_send(guest, "one");
	peer_expect(served, "one");
	change_policy(&g, "open\ndeny public.example --method DELETE\n");
	peer_expect_broken(guest);
	peer_expect_broken(served);
	close(guest);
	close(served);
	expect_allowed(&g, "other.example", port, origin);
	close(origin);
	rig_stop(&g);
}

/* Names that are nobody's but the owner's are resolved where a rule means them. */
static void
test_own_names(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0;
	int origin = origin_at(FAKE_PUBLIC, &port, 10);

	(void)state;
	use_policy(&g, "locked\nallow wiki\nallow *.corp.internal\n");
	rig_start(&g);
	expect_allowed(&g, "wiki", port, origin);
	expect_allowed(&g, "git.corp.internal", port, origin);
	assert_int_equal(guest_resolve(&g, "intranet"), 0);
	assert_int_equal(guest_resolve(&g, "git.other.internal"), 0);
	change_policy(&g, "open\n");
	assert_int_equal(guest_resolve(&g, "wiki"), 0);
	close(origin);
	rig_stop(&g);
}

/* What cannot be read must not leave the policy before it in force. */
static void
test_damaged(void **state)
{
	static const char *const bad[] = {"", "half\n", "open\nfrobnicate\n", "open"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct rig g = {.port = 0};

		rig_start(&g);
		send_policy(&g, 1, bad[i]);
		rig_join(&g, -EINVAL);
		close(g.control);
	}
	struct rig g = {.port = 0};

	rig_start(&g);
	assert_int_equal(send(g.control, "short", 5, 0), 5);
	rig_join(&g, -EBADMSG);
	close(g.control);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_one_port_of_one_host),
		cmocka_unit_test(test_resolved),
		cmocka_unit_test(test_host_services),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_cut_by_address),
		cmocka_unit_test(test_overridden),
		cmocka_unit_test(test_unseen_requests),
		cmocka_unit_test(test_own_names),
		cmocka_unit_test(test_damaged),
	};

	make_network();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
