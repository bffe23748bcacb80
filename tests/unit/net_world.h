#pragma once
/*
 * A jail with its real network, the net and resolver roles in it, confined, and a guest: a process
 * in a network namespace of its own with a TAP like QEMU's; a cable of two descriptors joins it to
 * the jail's.
 */
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

#include "jail_help.h"
#include "net_peers.h"
#include "server.h"

#define NAME      "origin.test"
#define NAME_PORT 443
#define FRAME_MAX 65600
#define NIC_QUEUE 32768 /* frames: a flood waits for the cable, and loses nothing */

struct world {
	struct jail jail;
	struct jail_net net;
	struct net_override override[4];
	size_t noverrides;
	struct policy policy;
	struct net_hooks hooks;
	int events[2]; /* [1] is net's; 0: nobody wants them */
	int resolver[2], control[2];
	int to_parent[2], to_guest[2];
	int origin;
	pid_t net_pid, resolver_pid, guest_pid;
};

static inline void
run_net(struct world *w)
{
	const struct jail_confine plan = {
		.no_fork = true, .nofile = 16384, .syscalls = JAIL_SYSCALLS_NET};
	const struct net_options o = {.tcp_fd = w->net.tcp_fd,
		.dns_fd = w->net.dns_fd,
		.resolver_fd = w->resolver[0],
		.control_fd = w->control[0],
		.events_fd = w->events[1],
		.udp_fd = w->net.udp_fd,
		.refused_fd = w->net.refused_fd,
		.flood_fd = w->net.flood_fd,
		.raw_fd = w->net.raw_fd,
		.overrides = w->override,
		.noverrides = w->noverrides,
		.policy = &w->policy};
	struct err e = {0};

	close(w->control[1]);
	close(w->resolver[1]);
	close(w->to_parent[1]); /* the guest's end, by which its failure is seen */
	CHECK_OK(jail_enter(&w->jail, 0, &e), e);
	CHECK_OK(jail_confine(&plan, &e), e);
	CHECK_OK(net_serve_with(&o, &w->hooks, &e), e);
	_exit(0);
}

static inline void
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
static inline void
run_resolver(struct world *w)
{
	struct err e = {0};

	close(w->resolver[0]);
	close(w->to_parent[1]);
	enter_own_network();
	CHECK_OK(net_resolver_serve(w->resolver[1], &e), e);
	_exit(0);
}

/* --- the guest ------------------------------------------------------------------------------ */

static inline void
put_address(struct sockaddr *sa, const char *address)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(address)};

	memcpy(sa, &a, sizeof(a));
}

static inline int
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
	r.ifr_qlen = NIC_QUEUE;
	CHECK(ioctl(s, SIOCSIFTXQLEN, &r) == 0);
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

static inline void
carry(int from, int to)
{
	static __thread uint8_t frame[FRAME_MAX];
	ssize_t n;

	while ((n = read(from, frame, sizeof(frame))) > 0)
		(void)!write(to, frame, (size_t)n); /* a full queue loses frames, as wires do */
}

static inline void *
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

static inline uint32_t
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

static inline int
call(int type, const char *address, uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = inet_addr(address)};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	peer_limit(fd);
	return connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ? fd : -errno;
}

static inline size_t
make_query(const char *name, uint8_t out[514])
{
	int n = res_mkquery(ns_o_query, name, ns_c_in, ns_t_a, NULL, 0, NULL, out + 2, 512);

	CHECK(n > 0);
	out[0] = 0;
	out[1] = (uint8_t)n;
	return (size_t)n;
}

/* Over UDP to that server; network order, 0: no address. */
static inline uint32_t
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

/* --- the host ------------------------------------------------------------------------------- */

static inline void
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
	w->override[0] = (struct net_override){.host = NAME, .port = NAME_PORT};
	memcpy(&w->override[0].to, &to, sizeof(to));
	w->noverrides = 1;
}

static inline pid_t
start(struct world *w, void (*body)(struct world *w))
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(100);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		body(w);
	}
	return pid;
}
