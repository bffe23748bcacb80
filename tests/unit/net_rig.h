#pragma once
/*
 * The whole net role in a thread, between scripted guests and origins. Everything happens in a
 * network namespace of the test's own (make_network), whose loopback device carries the "public"
 * addresses that the fake resolver knows. Where a connection was going, which the jail's nftables
 * tell in real life, the guest writes down before it connects.
 */
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/ipv6.h>
#include <resolv.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>

#include "net_fakes.h"
#include "server.h"

struct rig {
	struct fake_resolver role;
	struct net_options o;
	struct net_hooks hooks;
	struct net_override overrides[8];
	struct policy policy; /* open where the test says nothing else */
	bool own_policy;
	uint16_t port, dns_port;
	int control;   /* our end */
	int events_fd; /* net's end; 0: none */
	int signer_fd; /* likewise */
	const char *trust;
	pthread_t thread;
	struct err e;
	bool own_resolver;
};

/* By the guest's port: where it meant to go. */
static struct sockaddr_in intents[65536];

static inline int
read_intent(int fd, struct sockaddr_in *ret)
{
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		return -errno;
	if (intents[ntohs(peer.sin_port)].sin_family == 0)
		return -ENOENT;
	*ret = intents[ntohs(peer.sin_port)];
	return 0;
}

static inline void *
run_net(void *arg)
{
	struct rig *g = arg;

	return (void *)(intptr_t)net_serve_with(&g->o, &g->hooks, &g->e);
}

static inline int
udp_socket(uint16_t *ret_port)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*ret_port = ntohs(a.sin_port);
	peer_limit(fd);
	return fd;
}

static inline void
rig_start(struct rig *g)
{
	int control[2];

	fake_resolver_start(&g->role);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
	g->control = control[1];
	g->hooks.original_dst = read_intent;
	if (g->hooks.look_limit_ms == 0)
		g->hooks.look_limit_ms = 30;
	if (g->hooks.gate_brief_ms == 0)
		g->hooks.gate_brief_ms = 10;
	g->o = (struct net_options){.tcp_fd = peer_listen(&g->port),
		.dns_fd = udp_socket(&g->dns_port),
		.resolver_fd = g->role.sockets[0],
		.control_fd = control[0],
		.events_fd = g->events_fd,
		.signer_fd = g->signer_fd,
		.trust = g->trust,
		.overrides = g->overrides,
		.policy = &g->policy};
	if (!g->own_policy)
		policy_init(&g->policy, POLICY_OPEN);
	while (g->o.noverrides < 8 && g->overrides[g->o.noverrides].host != NULL)
		g->o.noverrides++;
	io_set_nonblock(g->o.tcp_fd, true);
	assert_int_equal(pthread_create(&g->thread, NULL, run_net, g), 0);
}

static inline void
rig_join(struct rig *g, int want)
{
	struct timespec limit;
	void *result;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += PEER_LIMIT_S;
	assert_int_equal(pthread_timedjoin_np(g->thread, &result, &limit), 0);
	assert_int_equal((intptr_t)result, want);
	close(g->o.tcp_fd);
	close(g->o.dns_fd);
	close(g->o.control_fd);
	policy_release(&g->policy);
	fake_resolver_stop(&g->role);
}

static inline void
rig_stop(struct rig *g)
{
	close(g->control);
	rig_join(g, 0);
}

/* The guest's socket, bound and with its intent written down, not yet connected. */
static inline int
guest_socket(uint32_t addr, uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	peer_limit(fd);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	intents[ntohs(a.sin_port)] = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(addr)};
	return fd;
}

static inline int
guest_connect(struct rig *g, uint32_t addr, uint16_t port)
{
	int fd = guest_socket(addr, port);
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(g->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static inline uint32_t
parse_answer(const uint8_t *p, size_t n)
{
	uint32_t a;
	ns_msg m;
	ns_rr rr;

	assert_int_equal(ns_initparse(p, (int)n, &m), 0);
	if (ns_msg_getflag(m, ns_f_rcode) != 0 || ns_msg_count(m, ns_s_an) == 0)
		return 0;
	assert_int_equal(ns_parserr(&m, ns_s_an, 0, &rr), 0);
	memcpy(&a, ns_rr_rdata(rr), 4);
	return ntohl(a);
}

/* The address that stands for the name, asked for over UDP; 0: none. */
static inline uint32_t
guest_resolve(struct rig *g, const char *name)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(g->dns_port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint8_t query[512], answer[512];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int n = res_mkquery(ns_o_query, name, ns_c_in, ns_t_a, NULL, 0, NULL, query, sizeof(query));
	ssize_t got;

	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	/* UDP may lose it (a full buffer), so it is asked again, as resolvers do. */
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int tries = 0;

	do
		assert_int_equal(send(fd, query, (size_t)n, 0), n);
	while (TEMP_FAILURE_RETRY(poll(&p, 1, 1000)) == 0 && ++tries < PEER_LIMIT_S);
	got = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
	assert_true(got > 0);
	assert_memory_equal(answer, query, 2);
	close(fd);
	return parse_answer(answer, (size_t)got);
}

static inline int
guest_call(struct rig *g, const char *name, uint16_t port)
{
	uint32_t addr = guest_resolve(g, name);

	assert_int_not_equal(addr, 0);
	return guest_connect(g, addr, port);
}

/* A listening origin at a "public" address. */
static inline int
origin_at(const char *address, uint16_t *port, int backlog)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct ip_addr a;
	int fd, one = 1;

	assert_int_equal(ip_addr_parse(address, &a), 0);
	ip_addr_to_sockaddr(&a, *port, &ss);
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, sizeof(ss)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	*port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
	return fd;
}

/* No connection is waiting there. */
static inline void
expect_nobody(int listener)
{
	io_set_nonblock(listener, true);
	assert_int_equal(accept(listener, NULL, NULL), -1);
	assert_int_equal(errno, EAGAIN);
}

/* Both ends talk: the positive control of every denial. */
static inline void
check_talk(int guest, int origin)
{
	peer_send(guest, "ping");
	peer_expect(origin, "ping");
	peer_send(origin, "pong");
	peer_expect(guest, "pong");
	close(guest);
	peer_expect_end(origin);
	close(origin);
}

static inline void
write_map(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		exit(1);
	close(fd);
}

static inline void
add_ipv4(int fd, const char *device, const char *address)
{
	struct ifreq r = {0};
	struct sockaddr_in *a = (struct sockaddr_in *)&r.ifr_addr;

	strcpy(r.ifr_name, device);
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = inet_addr(address);
	if (ioctl(fd, SIOCSIFADDR, &r) < 0)
		perror(address), exit(1);
}

/* Before there are threads, for the whole program. */
static inline void
make_network(void)
{
	struct in6_ifreq r6 = {.ifr6_prefixlen = 128, .ifr6_ifindex = 1};
	struct ifreq r = {.ifr_name = "lo"};
	char map[64];
	uid_t uid = getuid();
	int v4, v6;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		perror("unshare"), exit(1);
	snprintf(map, sizeof(map), "0 %u 1", uid);
	write_map("/proc/self/uid_map", map);
	v4 = socket(AF_INET, SOCK_DGRAM, 0);
	v6 = socket(AF_INET6, SOCK_DGRAM, 0);
	add_ipv4(v4, "lo", "127.0.0.1");
	r.ifr_flags = IFF_UP;
	if (ioctl(v4, SIOCSIFFLAGS, &r) < 0)
		perror("lo"), exit(1);
	add_ipv4(v4, "lo:1", FAKE_PUBLIC);
	add_ipv4(v4, "lo:2", FAKE_PUBLIC2);
	add_ipv4(v4, "lo:3", FAKE_OWN);
	inet_pton(AF_INET6, FAKE_PUBLIC6, &r6.ifr6_addr);
	if (ioctl(v6, SIOCSIFADDR, &r6) < 0)
		perror(FAKE_PUBLIC6), exit(1);
	close(v4);
	close(v6);
}
