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

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netinet/ether.h>
#include <poll.h>
#include <pthread.h>
#include <resolv.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>

#include <base/clock.h>
#include <jail/jail.h>
#include <net/net.h>

#include "jail_help.h"
#include "net_peers.h"

#define NAME      "origin.test"
#define NAME_PORT 443
#define BULK      (8 * 1024 * 1024)
#define FRAME_MAX 65600

struct world {
	struct jail jail;
	struct jail_net net;
	struct net_override override;
	int resolver[2], control[2];
	int to_parent[2], to_guest[2];
	int origin;
	pid_t net_pid, resolver_pid, guest_pid;
};

static void
run_net(struct world *w)
{
	const struct jail_confine plan = {
		.no_fork = true, .nofile = 16384, .syscalls = JAIL_SYSCALLS_NET};
	struct policy open = {.preset = POLICY_OPEN};
	const struct net_options o = {.tcp_fd = w->net.tcp_fd,
		.dns_fd = w->net.dns_fd,
		.resolver_fd = w->resolver[0],
		.control_fd = w->control[0],
		.overrides = &w->override,
		.noverrides = 1,
		.policy = &open};
	struct err e = {0};

	close(w->control[1]);
	close(w->resolver[1]);
	CHECK_OK(jail_enter(&w->jail, 0, &e), e);
	CHECK_OK(jail_confine(&plan, &e), e);
	CHECK_OK(net_serve(&o, &e), e);
	_exit(0);
}

static void
enter_own_network(void)
{
	char map[64];
	uid_t uid = getuid();
	int fd;

	if (geteuid() == 0) {
		CHECK(unshare(CLONE_NEWNET) == 0);
		return;
	}
	CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0);
	fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	snprintf(map, sizeof(map), "0 %u 1", uid);
	CHECK(write(fd, map, strlen(map)) > 0);
	close(fd);
}

/* Where it finds no server: no test asks a real one. */
static void
run_resolver(struct world *w)
{
	struct err e = {0};

	close(w->resolver[0]);
	enter_own_network();
	CHECK_OK(net_resolver_serve(w->resolver[1], &e), e);
	_exit(0);
}

/* --- the guest ------------------------------------------------------------------------------ */

static void
put_address(struct sockaddr *sa, const char *address)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(address)};

	memcpy(sa, &a, sizeof(a));
}

static int
make_nic(void)
{
	struct ifreq r = {.ifr_name = "eth0", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
	int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK), s;

	CHECK(tap >= 0);
	CHECK(ioctl(tap, TUNSETIFF, &r) == 0);
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	r.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	CHECK(ether_aton_r(JAIL_GUEST_MAC, (struct ether_addr *)r.ifr_hwaddr.sa_data) != NULL);
	CHECK(ioctl(s, SIOCSIFHWADDR, &r) == 0);
	put_address(&r.ifr_addr, JAIL_GUEST);
	CHECK(ioctl(s, SIOCSIFADDR, &r) == 0);
	put_address(&r.ifr_netmask, "255.255.255.252");
	CHECK(ioctl(s, SIOCSIFNETMASK, &r) == 0);
	r.ifr_flags = IFF_UP;
	CHECK(ioctl(s, SIOCSIFFLAGS, &r) == 0);
	put_address(&route.rt_dst, "0.0.0.0");
	put_address(&route.rt_genmask, "0.0.0.0");
	put_address(&route.rt_gateway, JAIL_GATEWAY);
	CHECK(ioctl(s, SIOCADDRT, &route) == 0);
	close(s);
	return tap;
}

struct cable {
	int a, b;
};

static void
carry(int from, int to)
{
	static __thread uint8_t frame[FRAME_MAX];
	ssize_t n;

	while ((n = read(from, frame, sizeof(frame))) > 0)
		(void)!write(to, frame, (size_t)n); /* a full queue loses frames, as wires do */
}

static void *
run_cable(void *arg)
{
	struct cable *c = arg;
	struct pollfd p[2] = {{.fd = c->a, .events = POLLIN}, {.fd = c->b, .events = POLLIN}};

	for (;;) {
		poll(p, 2, -1);
		carry(c->a, c->b);
		carry(c->b, c->a);
	}
	return NULL;
}

static uint32_t
answered_address(const uint8_t *p, size_t n)
{
	uint32_t a;
	ns_msg m;
	ns_rr rr;

	CHECK(ns_initparse(p, (int)n, &m) == 0);
	if (ns_msg_getflag(m, ns_f_rcode) != 0 || ns_msg_count(m, ns_s_an) == 0)
		return 0;
	CHECK(ns_parserr(&m, ns_s_an, 0, &rr) == 0);
	memcpy(&a, ns_rr_rdata(rr), 4);
	return a;
}

static int
call(int type, const char *address, uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = inet_addr(address)};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	peer_limit(fd);
	return connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ? fd : -errno;
}

static size_t
make_query(const char *name, uint8_t out[514])
{
	int n = res_mkquery(ns_o_query, name, ns_c_in, ns_t_a, NULL, 0, NULL, out + 2, 512);

	CHECK(n > 0);
	out[0] = 0;
	out[1] = (uint8_t)n;
	return (size_t)n;
}

/* Over UDP to that server; network order, 0: no address. */
static uint32_t
resolve_at(const char *server, const char *name)
{
	uint8_t query[514], answer[1500];
	size_t n = make_query(name, query);
	int fd = call(SOCK_DGRAM, server, 53);
	ssize_t got;

	CHECK(fd >= 0);
	CHECK(send(fd, query + 2, n, 0) == (ssize_t)n);
	got = recv(fd, answer, sizeof(answer), 0);
	CHECK(got > 0);
	close(fd);
	return answered_address(answer, (size_t)got);
}

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
make_world(struct world *w)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct err e = {0};
	uint16_t port;

	w->jail = (struct jail)JAIL_INIT;
	CHECK_OK(jail_create(&w->jail, &e), e);
	CHECK_OK(jail_net_setup(&w->jail, &w->net, &e), e);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, w->resolver) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, w->control) == 0);
	CHECK(pipe2(w->to_parent, O_CLOEXEC) == 0);
	CHECK(pipe2(w->to_guest, O_CLOEXEC) == 0);
	w->origin = peer_listen(&port);
	to.sin_port = htons(port);
	w->override = (struct net_override){.host = NAME, .port = NAME_PORT};
	memcpy(&w->override.to, &to, sizeof(to));
}

static pid_t
start(struct world *w, void (*body)(struct world *w))
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(100);
		body(w);
	}
	return pid;
}

static void
body(void *arg)
{
	struct world w = {.origin = -1};
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
