/*
 * The net role where it belongs: confined, behind the jail's real network. The guest is a process
 * in a network namespace of its own with a TAP like QEMU's; a cable of two descriptors joins it to
 * the jail's. Its origin is the test itself, on loopback, under a name that an override gives it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net_world.h"

#define BULK (8 * 1024 * 1024)

static uint32_t
resolve_over_tcp(const char *server, const char *name)
{
	uint8_t query[514], answer[1500];
	size_t n = make_query(name, query) + 2;
	int fd = call(SOCK_STREAM, server, 53);
	ssize_t got;

	CHECK(fd >= 0);
	CHECK(send(fd, query, n, 0) == (ssize_t)n);
	got = recv(fd, answer, 2, MSG_WAITALL);
	CHECK(got == 2);
	got = recv(fd, answer, (size_t)(answer[0] << 8 | answer[1]), MSG_WAITALL);
	CHECK(got > 0);
	close(fd);
	return answered_address(answer, (size_t)got);
}

static void
check_names(char origin[INET_ADDRSTRLEN])
{
	uint32_t a = resolve_at(JAIL_GATEWAY, NAME);

	CHECK(a != 0);
	CHECK(ntohl(a) >= 0xc6120100 && ntohl(a) <= 0xc613fffe);
	/* Whoever is asked, it is the same who answers. */
	CHECK(resolve_at("8.8.8.8", "Origin.Test") == a);
	CHECK(resolve_over_tcp(JAIL_GATEWAY, NAME) == a);
	CHECK(resolve_over_tcp("1.1.1.1", NAME) == a);
	CHECK(resolve_at(JAIL_GATEWAY, "host.docker.internal") == inet_addr(JAIL_GATEWAY));
	CHECK(resolve_at(JAIL_GATEWAY, "printer.local") == 0);
	CHECK(inet_ntop(AF_INET, &a, origin, INET_ADDRSTRLEN) != NULL);
}

/* The origin echoes: what comes back is what went. */
static void
check_bulk(const char *origin)
{
	int fd = call(SOCK_STREAM, origin, NAME_PORT);
	pid_t sender;

	CHECK(fd >= 0);
	sender = fork();
	if (sender == 0) {
		CHECK(stream_send(fd, 42, BULK));
		shutdown(fd, SHUT_WR);
		_exit(0);
	}
	CHECK(stream_check(fd, 42, BULK));
	CHECK(await(sender) == 0);
	close(fd);
}

static void
check_reset(const char *address, uint16_t port)
{
	int fd = call(SOCK_STREAM, address, port);
	char c;

	if (fd < 0) {
		CHECK(fd == -ECONNRESET || fd == -ECONNREFUSED);
		return;
	}
	CHECK(recv(fd, &c, 1, 0) == -1 && errno == ECONNRESET);
	close(fd);
}

static void
check_nothing_gets_out(const char *origin)
{
	uint8_t query[514];
	size_t n = make_query(NAME, query);
	int fd;

	CHECK(call(SOCK_STREAM, origin, NAME_PORT) == -ECONNREFUSED);
	CHECK(call(SOCK_STREAM, "93.184.216.34", 443) == -ECONNREFUSED);
	CHECK(call(SOCK_STREAM, "1.1.1.1", 53) == -ECONNREFUSED);
	fd = call(SOCK_DGRAM, JAIL_GATEWAY, 53);
	CHECK(send(fd, query + 2, n, 0) == (ssize_t)n);
	CHECK(recv(fd, query, sizeof(query), 0) == -1);
	CHECK(errno == ECONNREFUSED); /* ICMP says so, and nobody waits */
	close(fd);
}

static void
run_guest(struct world *w)
{
	static const char *const denied[] = {"10.0.0.1", "127.0.0.1", "169.254.169.254",
		"192.168.1.1", "100.64.0.1", "198.18.99.99", "240.0.0.1"};
	static struct cable cable;
	char origin[INET_ADDRSTRLEN], c = 0;
	pthread_t thread;

	enter_own_network();
	cable = (struct cable){make_nic(), w->net.tap_fd};
	CHECK(pthread_create(&thread, NULL, run_cable, &cable) == 0);
	check_names(origin);
	check_bulk(origin);
	check_reset(origin, NAME_PORT + 1); /* its name resolves to nothing but at that port */
	check_reset(JAIL_GATEWAY, 80);
	for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++)
		if (strcmp(denied[i], "127.0.0.1") != 0) /* the guest's own */
			check_reset(denied[i], 80);
	check_bulk(origin);
	/* Now without the net role. */
	CHECK(write(w->to_parent[1], &c, 1) == 1);
	CHECK(read(w->to_guest[0], &c, 1) == 1);
	check_nothing_gets_out(origin);
	_exit(0);
}

/* --- the host ------------------------------------------------------------------------------- */

static void *
run_origin(void *arg)
{
	struct world *w = arg;
	static uint8_t block[65536];

	for (;;) {
		int fd = accept4(w->origin, NULL, NULL, SOCK_CLOEXEC);
		ssize_t n;

		if (fd < 0)
			return NULL;
		while ((n = recv(fd, block, sizeof(block), 0)) > 0)
			if (send(fd, block, (size_t)n, MSG_NOSIGNAL) != n)
				break;
		close(fd);
	}
}

static void
body(void *arg)
{
	struct world w = {
		.origin = -1, .policy = {.preset = POLICY_OPEN}, .hooks = {.look_limit_ms = 100}};
	pthread_t origin;
	int code;
	char c;

	(void)arg;
	make_world(&w);
	w.net_pid = start(&w, run_net);
	w.resolver_pid = start(&w, run_resolver);
	close(w.resolver[1]);
	close(w.resolver[0]);
	close(w.control[0]);
	close(w.net.tcp_fd);
	close(w.net.dns_fd);
	w.guest_pid = start(&w, run_guest);
	close(w.to_parent[1]);
	CHECK(pthread_create(&origin, NULL, run_origin, &w) == 0);
	/* End of file instead of a byte: the guest failed. */
	code = (int)read(w.to_parent[0], &c, 1);
	kill(w.net_pid, SIGKILL);
	CHECK(await(w.net_pid) == 128 + SIGKILL);
	/* It lost its peer, and ends by itself. */
	CHECK(await(w.resolver_pid) == 0);
	CHECK(code != 1 || write(w.to_guest[1], "x", 1) == 1);
	CHECK(await(w.guest_pid) == 0);
	jail_release(&w.jail);
}

static void
test_behind_the_jail(void **state)
{
	(void)state;
	assert_int_equal(run_child(body, NULL, 0), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_behind_the_jail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
