/*
 * The net role's relay on the host side, beside the same traffic without it: throughput and its
 * price, connections, latency, memory. One process each for client, net and origin, on loopback.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>

#include "server.h"

enum {
	BULK_MIB = 4096,
	ROUNDS = 20000,
	CONNECTIONS = 5000,
	IDLE = 1000,
};

#define DESTINATION "10.1.2.3" /* what the guest asks for; an override says where it is */

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static int
listen_at(uint16_t *ret_port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 4096) < 0 ||
		getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		die("listen");
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static int
call(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("connect");
	return fd;
}

/* A single byte is sent back; of anything longer only the end is acknowledged, with one byte. */
static void
serve_one(int epoll, int fd)
{
	static char block[1 << 20];
	ssize_t n = recv(fd, block, sizeof(block), MSG_DONTWAIT);

	if (n == 1) {
		(void)!send(fd, block, 1, MSG_NOSIGNAL);
	} else if (n == 0 || (n < 0 && errno != EAGAIN)) {
		(void)!send(fd, "e", 1, MSG_NOSIGNAL);
		epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
		close(fd);
	}
}

static void
run_origin(int listener)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = listener}, got[64];
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &ev);
	for (;;) {
		int n = epoll_wait(epoll, got, 64, -1);

		for (int i = 0; i < n; i++) {
			if (got[i].data.fd != listener) {
				serve_one(epoll, got[i].data.fd);
				continue;
			}
			ev.data.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			epoll_ctl(epoll, EPOLL_CTL_ADD, ev.data.fd, &ev);
		}
	}
}

static int
fixed_destination(int fd, struct sockaddr_in *ret)
{
	(void)fd;
	*ret = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons(443),
		.sin_addr.s_addr = inet_addr(DESTINATION)};
	return 0;
}

static void
run_net(int listener, uint16_t origin_port)
{
	struct net_override ov = {.host = DESTINATION, .port = 443};
	struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_port = htons(origin_port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct net_hooks hooks = {.original_dst = fixed_destination};
	struct net_options o = {.tcp_fd = listener, .overrides = &ov, .noverrides = 1};
	int resolver[2], alive[2];
	struct err e = {0};

	memcpy(&ov.to, &to, sizeof(to));
	o.dns_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, resolver) < 0 ||
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, alive) < 0)
		die("socketpair");
	o.resolver_fd = resolver[0];
	o.control_fd = alive[0];
	io_set_nonblock(listener, true);
	if (net_serve_with(&o, &hooks, &e) < 0)
		fprintf(stderr, "%s\n", e.msg);
	exit(1);
}

static double
seconds(void)
{
	return (double)clock_mono_ns() / 1e9;
}

static double
cpu_seconds(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) < 0)
		die("clock_getcpuclockid");
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Gbit/s, to the byte that says that all has arrived. */
static double
bulk(uint16_t port)
{
	static char block[1 << 20];
	double begin = seconds();
	int fd = call(port);
	char c;

	for (int i = 0; i < BULK_MIB; i++)
		for (size_t at = 0; at < sizeof(block);) {
			ssize_t n = send(fd, block + at, sizeof(block) - at, MSG_NOSIGNAL);

			if (n < 0)
				die("send");
			at += (size_t)n;
		}
	shutdown(fd, SHUT_WR);
	if (recv(fd, &c, 1, 0) != 1)
		die("recv");
	close(fd);
	return BULK_MIB * 8.0 * 1.048576 / 1000 / (seconds() - begin);
}

static void
ping(int fd)
{
	char c = 'p';

	if (send(fd, &c, 1, MSG_NOSIGNAL) != 1 || recv(fd, &c, 1, 0) != 1)
		die("ping");
}

static int
compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void
latency(uint16_t port, double *ret_p50_us, double *ret_p99_us)
{
	static uint64_t took[ROUNDS];
	int fd = call(port);

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t begin = clock_mono_ns();

		ping(fd);
		took[i] = clock_mono_ns() - begin;
	}
	close(fd);
	qsort(took, ROUNDS, sizeof(took[0]), compare);
	*ret_p50_us = (double)took[ROUNDS / 2] / 1e3;
	*ret_p99_us = (double)took[ROUNDS * 99 / 100] / 1e3;
}

/* One after the other: connect, a byte there and back, close. Per second. */
static double
connections(uint16_t port)
{
	double begin = seconds();

	for (int i = 0; i < CONNECTIONS; i++) {
		int fd = call(port);

		ping(fd);
		close(fd);
	}
	return CONNECTIONS / (seconds() - begin);
}

static long
pss_kib(pid_t pid)
{
	CLEAN_FCLOSE FILE *f = NULL;
	char line[256], path[64];
	long kib;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "Pss: %ld", &kib) == 1)
			return kib;
	die(path);
	return 0;
}

static void
idle_memory(pid_t net, uint16_t port)
{
	long before = pss_kib(net);
	static int fds[IDLE];

	for (int i = 0; i < IDLE; i++) {
		fds[i] = call(port);
		ping(fds[i]);
	}
	printf("memory      net %ld KiB, with %d idle connections %ld KiB\n", before, IDLE,
		pss_kib(net));
	for (int i = 0; i < IDLE; i++)
		close(fds[i]);
}

static void
measure(pid_t net, uint16_t direct, uint16_t relayed)
{
	double d, r, cpu, d50, d99, r50, r99;

	bulk(direct);
	d = bulk(direct);
	cpu = cpu_seconds(net);
	r = bulk(relayed);
	cpu = cpu_seconds(net) - cpu;
	printf("throughput  direct %.1f, relayed %.1f Gbit/s, ratio %.2f; net's CPU %.3f s per "
	       "GiB\n",
		d, r, r / d, cpu / (BULK_MIB / 1024.0));
	latency(direct, &d50, &d99);
	latency(relayed, &r50, &r99);
	printf("round trip  direct p50 %.0f p99 %.0f, relayed p50 %.0f p99 %.0f us, ratio %.2f "
	       "%.2f\n",
		d50, d99, r50, r99, r50 / d50, r99 / d99);
	d = connections(direct);
	r = connections(relayed);
	printf("connections direct %.0f, relayed %.0f a second, ratio %.2f\n", d, r, r / d);
	idle_memory(net, relayed);
}

int
main(void)
{
	struct rlimit files;
	uint16_t direct, relayed;
	int origin = listen_at(&direct), listener = listen_at(&relayed);
	pid_t net, server;

	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max < 20000 ? files.rlim_max : 20000;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	server = fork();
	if (server == 0)
		run_origin(origin);
	net = fork();
	if (net == 0)
		run_net(listener, direct);
	close(origin);
	close(listener);
	measure(net, direct, relayed);
	kill(net, SIGKILL);
	kill(server, SIGKILL);
	while (wait(NULL) > 0)
		;
	return 0;
}
