/* The whole net role: names and addresses, transport, failures, limits. */
#include <netinet/tcp.h>
#include <sys/resource.h>

#include "net_rig.h"

static void
test_by_name(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0;
	int origin = origin_at(FAKE_PUBLIC, &port, 10), guest;

	(void)state;
	rig_start(&g);
	guest = guest_call(&g, "public.example", port);
	check_talk(guest, peer_accept(origin));
	/* What the guest says before anybody answers is waiting for the origin. */
	guest = guest_call(&g, "hang.example", port);
	peer_send(guest, "early");
	shutdown(guest, SHUT_WR);
	sem_post(&fake_gate);
	int served = peer_accept(origin);

	peer_expect(served, "early");
	peer_expect_end(served);
	peer_send(served, "late");
	close(served);
	peer_expect(guest, "late");
	peer_expect_end(guest);
	close(guest);
	close(origin);
	rig_stop(&g);
}

static int
option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

/* Whom the listener accepts does not have to be told: what it has is handed down. */
static void
test_accepted_sockets_are_tuned(void **state)
{
	struct rig g = {.port = 0};
	int listener, caller, accepted;

	(void)state;
	rig_start(&g);
	listener = dup(g.o.tcp_fd);
	rig_stop(&g);
	caller = guest_connect(&g, ntohl(inet_addr(FAKE_PUBLIC)), 80);
	accepted = peer_accept(listener);
	assert_int_equal(option(accepted, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(option(accepted, SOL_SOCKET, SO_OOBINLINE), 1);
	assert_int_equal(option(accepted, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(option(accepted, IPPROTO_TCP, TCP_KEEPIDLE), 60);
	assert_int_equal(option(accepted, IPPROTO_TCP, TCP_KEEPINTVL), 20);
	assert_int_equal(option(accepted, IPPROTO_TCP, TCP_KEEPCNT), 6);
	close(accepted);
	close(caller);
	close(listener);
}

static void
test_raw_address(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0;
	int origin = origin_at(FAKE_PUBLIC, &port, 10), own_port_fd, guest;
	uint16_t own = port;

	(void)state;
	own_port_fd = origin_at(FAKE_OWN, &own, 10);
	rig_start(&g);
	guest = guest_connect(&g, ntohl(inet_addr(FAKE_PUBLIC)), port);
	check_talk(guest, peer_accept(origin));
	/* One of the host's own addresses, however public. */
	guest = guest_connect(&g, ntohl(inet_addr(FAKE_OWN)), own);
	peer_expect_reset(guest);
	close(guest);
	expect_nobody(own_port_fd);
	close(own_port_fd);
	close(origin);
	rig_stop(&g);
}

/* Denied before anybody is asked. The port has a listener on loopback, where 127.0.0.1 would lead.
 */
static void
test_denied_addresses(void **state)
{
	static const char *const denied[] = {"127.0.0.1", "10.0.0.1", "169.254.169.254",
		"198.18.0.2", "198.18.0.99", "0.0.0.0", "255.255.255.255", "224.0.0.1",
		"100.64.0.1", "192.168.1.1", "198.18.0.1", "198.19.255.255",
		"198.18.77.77" /* stands for no name */};
	struct rig g = {.port = 0};
	uint16_t port = 0;
	int origin = peer_listen(&port), guest;

	(void)state;
	rig_start(&g);
	for (size_t i = 0; i < ARRAY_LEN(denied); i++) {
		guest = guest_connect(&g, ntohl(inet_addr(denied[i])), port);
		peer_expect_reset(guest);
		close(guest);
	}
	guest = guest_connect(&g, ntohl(inet_addr(FAKE_PUBLIC)), 0);
	peer_expect_reset(guest);
	close(guest);
	/* No intent at all: somebody called the listener itself. */
	guest = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	peer_limit(guest);
	struct sockaddr_in a = {.sin_family = AF_INET,
				   .sin_port = htons(g.port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
			   self;
	socklen_t len = sizeof(self);

	self = (struct sockaddr_in){.sin_family = AF_INET};
	assert_int_equal(bind(guest, (struct sockaddr *)&self, sizeof(self)), 0);
	assert_int_equal(getsockname(guest, (struct sockaddr *)&self, &len), 0);
	intents[ntohs(self.sin_port)].sin_family = 0;
	assert_int_equal(connect(guest, (struct sockaddr *)&a, sizeof(a)), 0);
	peer_expect_reset(guest);
	close(guest);
	assert_int_equal(fake_calls, 0);
	expect_nobody(origin);
	close(origin);
	rig_stop(&g);
}

static void
test_answers_are_judged(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0;
	int loopback = peer_listen(&port), origin = origin_at(FAKE_PUBLIC, &port, 10), guest;

	(void)state;
	rig_start(&g);
	/* Every address is private: nothing is left. A listener waits at 127.0.0.1. */
	guest = guest_call(&g, "private.example", port);
	peer_expect_reset(guest);
	close(guest);
	guest = guest_call(&g, "own.example", port);
	peer_expect_reset(guest);
	close(guest);
	/* One of three is public, and that is the one. */
	guest = guest_call(&g, "mixed.example", port);
	check_talk(guest, peer_accept(origin));
	guest = guest_call(&g, "mapped.example", port);
	check_talk(guest, peer_accept(origin));
	expect_nobody(loopback);
	close(loopback);
	close(origin);
	rig_stop(&g);
}

static void
test_lookup_failures(void **state)
{
	static const char *const names[] = {"none.example", "again.example", "broken.example"};
	struct rig g = {.hooks = {.resolve_limit_ms = 200}};
	uint64_t before = clock_mono_ms();
	int guest;

	(void)state;
	rig_start(&g);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		guest = guest_call(&g, names[i], 443);
		peer_expect_reset(guest);
		close(guest);
	}
	assert_true(clock_mono_ms() - before < 2000);
	guest = guest_call(&g, "hang.example", 443);
	peer_expect_reset(guest);
	close(guest);
	assert_true(clock_mono_ms() - before < 5000);
	rig_stop(&g);
}

static void
test_overrides(void **state)
{
	struct rig g = {.port = 0};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint16_t port;
	int origin = peer_listen(&port), guest;

	(void)state;
	to.sin_port = htons(port);
	g.overrides[0] = (struct net_override){.host = "origin.test", .port = 443};
	memcpy(&g.overrides[0].to, &to, sizeof(to));
	to.sin_port = 0; /* the port asked for */
	g.overrides[1] = (struct net_override){.host = "registry", .port = 0};
	memcpy(&g.overrides[1].to, &to, sizeof(to));
	g.overrides[2] = (struct net_override){.host = "host.docker.internal", .port = port};
	memcpy(&g.overrides[2].to, &to, sizeof(to));
	g.overrides[3] = (struct net_override){.host = "10.1.2.3", .port = port};
	memcpy(&g.overrides[3].to, &to, sizeof(to));
	/* An exact port comes before one for every port, whichever was given first. */
	to.sin_port = htons(1);
	g.overrides[4] = (struct net_override){.host = "both.test", .port = 0};
	memcpy(&g.overrides[4].to, &to, sizeof(to));
	g.overrides[5] = g.overrides[0];
	g.overrides[5].host = "both.test";
	rig_start(&g);
	guest = guest_call(&g, "both.test", 443);
	check_talk(guest, peer_accept(origin));
	guest = guest_call(&g, "origin.test", 443);
	check_talk(guest, peer_accept(origin));
	guest = guest_call(&g, "registry", port);
	check_talk(guest, peer_accept(origin));
	guest = guest_connect(&g, NET_GATEWAY, port);
	check_talk(guest, peer_accept(origin));
	guest = guest_connect(&g, ntohl(inet_addr("10.1.2.3")), port);
	check_talk(guest, peer_accept(origin));
	guest = guest_call(&g, "both.test", 80);
	peer_expect_reset(guest);
	close(guest);
	assert_int_equal(fake_calls, 0);
	/* For exactly that host and port: the next address, the next port, the next name. */
	guest = guest_connect(&g, ntohl(inet_addr("10.1.2.4")), port);
	peer_expect_reset(guest);
	close(guest);
	guest = guest_connect(&g, NET_GATEWAY, (uint16_t)(port + 1));
	peer_expect_reset(guest);
	close(guest);
	guest = guest_call(&g, "private.example", port);
	peer_expect_reset(guest);
	close(guest);
	guest = guest_call(&g, "origin.test", port);
	peer_expect_reset(guest);
	close(guest);
	assert_int_equal(guest_resolve(&g, "registry2"), 0);
	close(origin);
	rig_stop(&g);
}

static void
test_refused(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0;
	uint64_t before;
	int guest, origin;

	(void)state;
	/* Bound, so that nobody else gets the port, and not listening any more. */
	origin = origin_at(FAKE_PUBLIC, &port, 1);
	close(origin);
	rig_start(&g);
	before = clock_mono_ms();
	guest = guest_call(&g, "public.example", port);
	peer_expect_reset(guest);
	close(guest);
	guest = guest_call(&g, "dual.example", port);
	peer_expect_reset(guest);
	close(guest);
	/* At once, without the time between two attempts. */
	assert_true(clock_mono_ms() - before < 240);
	/* The first address refuses, the second serves: no wait either. */
	origin = origin_at(FAKE_PUBLIC, &port, 10);
	before = clock_mono_ms();
	guest = guest_call(&g, "two.example", port);
	check_talk(guest, peer_accept(origin));
	assert_true(clock_mono_ms() - before < 240);
	close(origin);
	rig_stop(&g);
}

/* A listener whose queue is full lets SYNs fall: nobody answers there. */
static int
black_hole(const char *address, uint16_t *port, int *fillers, size_t n)
{
	int fd = origin_at(address, port, 0);
	struct sockaddr_storage ss;
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(address, &a), 0);
	ip_addr_to_sockaddr(&a, *port, &ss);
	for (size_t i = 0; i < n; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)!connect(fillers[i], (struct sockaddr *)&ss, sizeof(struct sockaddr_in));
	}
	return fd;
}

static void
test_time_outs(void **state)
{
	struct rig g = {.hooks = {.dial_limit_ms = 600}};
	uint16_t port = 0;
	int fillers[4], hole = black_hole(FAKE_PUBLIC2, &port, fillers, 4), origin, guest, served;
	uint64_t before;

	(void)state;
	origin = origin_at(FAKE_PUBLIC, &port, 10);
	rig_start(&g);
	/* The second address is tried while the first still says nothing. */
	before = clock_mono_ms();
	guest = guest_call(&g, "two.example", port);
	served = peer_accept(origin);
	assert_in_range(clock_mono_ms() - before, 200, 550);
	check_talk(guest, served);
	/* And with nobody at all there is an end. */
	before = clock_mono_ms();
	guest = guest_connect(&g, ntohl(inet_addr(FAKE_PUBLIC2)), port);
	peer_expect_reset(guest);
	assert_in_range(clock_mono_ms() - before, 500, 3000);
	close(guest);
	for (size_t i = 0; i < ARRAY_LEN(fillers); i++)
		close(fillers[i]);
	close(hole);
	close(origin);
	rig_stop(&g);
}

static void
test_ipv6(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0;
	int origin = origin_at(FAKE_PUBLIC6, &port, 10), guest;

	(void)state;
	rig_start(&g);
	guest = guest_call(&g, "dual.example", port);
	check_talk(guest, peer_accept(origin));
	close(origin);
	rig_stop(&g);
}

static void
test_dns_over_tcp(void **state)
{
	struct rig g = {.port = 0};
	uint8_t query[600], answers[4096];
	uint32_t addr;
	size_t n, want;
	int guest, q;

	(void)state;
	rig_start(&g);
	addr = guest_resolve(&g, "public.example");
	q = res_mkquery(
		ns_o_query, "public.example", ns_c_in, ns_t_a, NULL, 0, NULL, query + 2, 512);
	query[0] = 0;
	query[1] = (uint8_t)q;
	n = (size_t)q + 2;
	/* To anybody's port 53; byte by byte. */
	guest = guest_connect(&g, ntohl(inet_addr("8.8.8.8")), 53);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(send(guest, query + i, 1, 0), 1);
	want = n + 16;
	assert_int_equal(peer_recv(guest, answers, want, MSG_WAITALL), want);
	assert_int_equal(answers[0] << 8 | answers[1], want - 2);
	assert_int_equal(parse_answer(answers + 2, want - 2), addr);
	/* Several at once, then no more: all are answered, then the end. */
	for (int i = 0; i < 3; i++)
		assert_int_equal(send(guest, query, n, 0), n);
	shutdown(guest, SHUT_WR);
	assert_int_equal(peer_recv(guest, answers, 3 * want, MSG_WAITALL), 3 * want);
	peer_expect_end(guest);
	close(guest);
	/* Junk is an error or nothing, and hurts nobody. */
	guest = guest_connect(&g, NET_GATEWAY, 53);
	assert_int_equal(send(guest, "\0\3abc\0\0\0\14aaaaaaaaaaaa", 21, 0), 21);
	assert_int_equal(peer_recv(guest, answers, 2, MSG_WAITALL), 2);
	assert_int_equal(answers[0] << 8 | answers[1], 12);
	peer_reset(guest);
	guest = guest_connect(&g, NET_GATEWAY, 53);
	close(guest);
	assert_int_equal(guest_resolve(&g, "public.example"), addr);
	rig_stop(&g);
}

static void
test_dns_tcp_idle(void **state)
{
	struct rig g = {.hooks = {.dns_idle_ms = 100}};
	uint64_t before = clock_mono_ms();
	int guest;

	(void)state;
	rig_start(&g);
	guest = guest_connect(&g, NET_GATEWAY, 53);
	peer_send(guest, "x");
	peer_expect_end(guest);
	assert_in_range(clock_mono_ms() - before, 90, 5000);
	close(guest);
	rig_stop(&g);
}

/* A client that asks and asks and does not read is not read either, and then gets all of it. */
static void
test_dns_tcp_slow_reader(void **state)
{
	struct rig g = {.port = 0};
	struct pollfd p = {.events = POLLOUT};
	uint8_t query[600], answer[600];
	size_t sent = 0, got = 0, n;
	int guest, q;

	(void)state;
	rig_start(&g);
	q = res_mkquery(ns_o_query, "x.example", ns_c_in, ns_t_txt, NULL, 0, NULL, query + 2, 512);
	query[0] = 0;
	query[1] = (uint8_t)q;
	n = (size_t)q + 2;
	guest = guest_connect(&g, NET_GATEWAY, 53);
	p.fd = guest;
	while (TEMP_FAILURE_RETRY(poll(&p, 1, 300)) == 1) {
		ssize_t w = send(guest, query + sent % n, n - sent % n, MSG_DONTWAIT);

		if (w > 0)
			sent += (size_t)w;
		assert_true(sent < 256 << 20);
	}
	/* No data: an answer is as long as its question. */
	for (; got < sent / n; got++) {
		assert_int_equal(peer_recv(guest, answer, n, MSG_WAITALL), n);
		assert_int_equal(answer[1], n - 2);
		if (sent % n != 0) {
			ssize_t w = send(guest, query + sent % n, n - sent % n, MSG_DONTWAIT);

			sent += w > 0 ? (size_t)w : 0;
		}
	}
	close(guest);
	rig_stop(&g);
}

static void
test_udp_junk(void **state)
{
	struct rig g = {.port = 0};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct stream s = {4711};
	uint8_t junk[60000];

	(void)state;
	rig_start(&g);
	a.sin_port = htons(g.dns_port);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	for (int i = 0; i < 2000; i++) {
		size_t n = i % 100 == 0 ? sizeof(junk) : (size_t)i % 300;

		stream_fill(&s, junk, n);
		(void)send(fd, junk, n, 0); /* its own answers may have been refused */
	}
	/* The answers go nowhere, and the errors that come back stop nothing. */
	close(fd);
	for (int i = 0; i < 10; i++)
		assert_int_not_equal(guest_resolve(&g, "public.example"), 0);
	rig_stop(&g);
}

enum { MANY = 500 };

static void
test_many_at_once(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0;
	int origin = origin_at(FAKE_PUBLIC, &port, MANY), guests[MANY], served[MANY];
	char text[32], name[64];

	(void)state;
	rig_start(&g);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "n%d.example", i % 7);
		guests[i] = guest_call(&g, name, port);
	}
	/* All are open at the same time. */
	for (int i = 0; i < MANY; i++)
		served[i] = peer_accept(origin);
	for (int i = 0; i < MANY; i++) {
		snprintf(text, sizeof(text), "guest %04d", i);
		peer_send(guests[i], text);
	}
	for (int i = 0; i < MANY; i++) {
		char got[11] = "";

		assert_int_equal(peer_recv(served[i], got, 10, MSG_WAITALL), 10);
		peer_send(served[i], got);
	}
	for (int i = 0; i < MANY; i++) {
		snprintf(text, sizeof(text), "guest %04d", i);
		peer_expect(guests[i], text);
		close(guests[i]);
	}
	for (int i = 0; i < MANY; i++) {
		peer_expect_end(served[i]);
		close(served[i]);
	}
	close(origin);
	rig_stop(&g);
}

static void
test_limit(void **state)
{
	struct rig g = {.hooks = {.conns_max = 5}};
	uint16_t port = 0;
	int origin = origin_at(FAKE_PUBLIC, &port, 10), guests[5], served[5], guest;
	uint32_t addr;

	(void)state;
	rig_start(&g);
	addr = guest_resolve(&g, "public.example");
	for (int i = 0; i < 5; i++) {
		guests[i] = guest_connect(&g, addr, port);
		served[i] = peer_accept(origin);
	}
	guest = guest_connect(&g, addr, port);
	peer_expect_reset(guest);
	close(guest);
	/* The others live on, and each that ends makes room. */
	for (int i = 0; i < 5; i++)
		check_talk(guests[i], served[i]);
	guest = guest_connect(&g, addr, port);
	check_talk(guest, peer_accept(origin));
	close(origin);
	rig_stop(&g);
}

/* No descriptor is left to accept with: refused at once, not left waiting, and no spinning. */
static void
test_out_of_descriptors(void **state)
{
	struct rig g = {.port = 0};
	struct rlimit old, low;
	uint16_t port = 0;
	int origin = origin_at(FAKE_PUBLIC, &port, 10), a, b, next;
	uint32_t addr;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	rig_start(&g);
	addr = guest_resolve(&g, "public.example");
	a = guest_socket(addr, port);
	b = guest_socket(addr, port);
	next = dup(b);
	close(next);
	low = (struct rlimit){(rlim_t)next, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_port = htons(g.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	assert_int_equal(connect(a, (struct sockaddr *)&to, sizeof(to)), 0);
	peer_expect_reset(a);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(connect(b, (struct sockaddr *)&to, sizeof(to)), 0);
	check_talk(b, peer_accept(origin));
	close(a);
	close(origin);
	rig_stop(&g);
}

/* The end of the supervisor, with connections in every state. */
static void
test_end(void **state)
{
	struct rig g = {.port = 0};
	uint16_t port = 0, hole_port = 0;
	int origin = origin_at(FAKE_PUBLIC, &port, 10), fillers[4], guests[5], served;
	int hole = black_hole(FAKE_PUBLIC2, &hole_port, fillers, 4);

	(void)state;
	rig_start(&g);
	guests[0] = guest_call(&g, "public.example", port);
	served = peer_accept(origin);
	peer_send(guests[0], "x");
	peer_expect(served, "x");
	guests[1] = guest_call(&g, "hang.example", port);
	guests[2] = guest_call(&g, "hang.example", port);
	guests[3] = guest_connect(&g, ntohl(inet_addr(FAKE_PUBLIC2)), hole_port);
	guests[4] = guest_connect(&g, NET_GATEWAY, 53);
	while (fake_hanging < 1)
		sched_yield();
	rig_stop(&g);
	peer_expect_reset(served);
	close(served);
	for (int i = 0; i < 4; i++) {
		peer_expect_reset(guests[i]);
		close(guests[i]);
	}
	close(guests[4]);
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	close(hole);
	close(origin);
}

static void
test_resolver_gone(void **state)
{
	struct rig g = {.port = 0};

	(void)state;
	rig_start(&g);
	shutdown(g.role.sockets[1], SHUT_RDWR);
	rig_join(&g, -EPIPE);
	assert_non_null(strstr(g.e.msg, "resolver"));
	close(g.control);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_name),
		cmocka_unit_test(test_accepted_sockets_are_tuned),
		cmocka_unit_test(test_raw_address),
		cmocka_unit_test(test_denied_addresses),
		cmocka_unit_test(test_answers_are_judged),
		cmocka_unit_test(test_lookup_failures),
		cmocka_unit_test(test_overrides),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_time_outs),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_dns_over_tcp),
		cmocka_unit_test(test_dns_tcp_idle),
		cmocka_unit_test(test_dns_tcp_slow_reader),
		cmocka_unit_test(test_udp_junk),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_out_of_descriptors),
		cmocka_unit_test(test_end),
		cmocka_unit_test(test_resolver_gone),
	};
	struct rlimit files;

	make_network();
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
