/*
 * The net role on the host side, beside the same traffic without anything between and through other
 * proxies of the distribution, all in one run on loopback: throughput and its price, connections,
 * latency, memory. Every figure is a median of rounds in which each way has its turn, so that what
 * else the machine does meets all of them. Proxies that are not installed are left out, and said.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>

#include "net_common.h"
#include "net_ways.h"
#include "server.h"

enum { ROUNDS = 5, PINGS = 1000, IDLE = 1000 };

/* A round's work; --quick is for whoever works on the bench itself. */
static struct {
	int rounds, bulk_mib, pings, connections, idle;
} load = {ROUNDS, 256, PINGS, 200, IDLE}, quick = {1, 16, 100, 20, 100};

enum { WAY_DIRECT, WAY_TRANSPARENT, WAY_FORWARD };

/* Logs are off, as are caches. haproxy is no CONNECT proxy without Lua: it relays TCP. */
static const struct other others[] = {
	{"squid", "/usr/sbin/squid",
		"http_port 127.0.0.1:%2$u\nhttp_access allow all\ncache deny all\n"
		"access_log none\ncache_log %1$s/squid.log\npid_filename none\n"
		"coredump_dir %1$s\npinger_enable off\nvisible_hostname bench\n"
		"shutdown_lifetime 0 seconds\nmax_filedescriptors 16384\n# origin %3$u\n",
		NULL, true, {"squid", "-N", "-f", "CONFIG"}},
	{"tinyproxy", "/usr/bin/tinyproxy",
		"Port %2$u\nListen 127.0.0.1\nAllow 127.0.0.1\nMaxClients 4000\nTimeout 600\n"
		"LogLevel Critical\nConnectPort %3$u\n# %1$s\n",
		NULL, true, {"tinyproxy", "-d", "-c", "CONFIG"}},
	{"haproxy, TCP", "/usr/sbin/haproxy",
		"# %1$s\nglobal\n maxconn 4000\ndefaults\n mode tcp\n option splice-auto\n"
		" timeout connect 5s\n timeout client 600s\n timeout server 600s\n"
		"listen bench\n bind 127.0.0.1:%2$u\n server origin 127.0.0.1:%3$u\n",
		NULL, false, {"haproxy", "-db", "-f", "CONFIG"}},
};

#define DESTINATION "10.1.2.3" /* what the guest asks for; an override says where it is */

/* What asks for an answer; the beginning neither of HTTP nor of TLS, so nothing is waited for. */
#define ASK "\1"

/* A byte for what ends in ASK; bulk data is zeros. */
static void
serve_one(int epoll, int fd)
{
	static char block[1 << 20];
	ssize_t n = recv(fd, block, sizeof(block), MSG_DONTWAIT);

	if (n > 0 && block[n - 1] == ASK[0]) {
		(void)!send(fd, ASK, 1, MSG_NOSIGNAL);
	} else if (n == 0 || (n < 0 && errno != EAGAIN)) {
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

/* As a guest that asks for an address, and as one that asks the forward proxy. */
static int
to_destination(int fd, struct sockaddr_in *ret)
{
	(void)fd;
	*ret = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons(443),
		.sin_addr.s_addr = inet_addr(DESTINATION)};
	return 0;
}

static int
to_proxy(int fd, struct sockaddr_in *ret)
{
	(void)fd;
	*ret = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons(NET_PROXY_PORT),
		.sin_addr.s_addr = htonl(NET_GATEWAY)};
	return 0;
}

static void
run_net(int listener, uint16_t origin_port, bool forward)
{
	struct net_override ov = {.host = DESTINATION, .port = 443};
	struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_port = htons(origin_port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct net_hooks hooks = {.original_dst = forward ? to_proxy : to_destination};
	struct policy policy = {.preset = POLICY_OPEN};
	struct net_options o = {
		.tcp_fd = listener, .overrides = &ov, .noverrides = 1, .policy = &policy};
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

static int
enter(const struct way *w)
{
	int fd = bench_call(w->port);

	if (w->target[0] != '\0')
		bench_connect(fd, w->target);
	return fd;
}

static void
ping(int fd)
{
	char c;

	if (send(fd, ASK, 1, MSG_NOSIGNAL) != 1)
		die("send");
	errno = 0; /* the end is no error of recv's */
	if (recv(fd, &c, 1, 0) != 1)
		die("no answer");
}

/* ---- the figures --------------------------------------------------------------------------- */

enum figure { GBITS, CPU_PER_GIB, PER_SECOND, CPU_PER_CONN, P50_US, P99_US, FIGURES };

/* To the byte that says that all has arrived. */
static void
bulk(const struct way *w, double out[FIGURES])
{
	static char block[1 << 20];
	double cpu = bench_cpu(w->pid), begin = bench_now();
	int fd = enter(w);

	for (int i = 0; i < load.bulk_mib; i++)
		for (size_t at = 0; at < sizeof(block);) {
			ssize_t n = send(fd, block + at, sizeof(block) - at, MSG_NOSIGNAL);

			if (n < 0)
				die("send");
			at += (size_t)n;
		}
	ping(fd);
	close(fd);
	out[GBITS] = load.bulk_mib * 8.0 * 1.048576 / 1000 / (bench_now() - begin);
	out[CPU_PER_GIB] = (bench_cpu(w->pid) - cpu) / (load.bulk_mib / 1024.0);
}

static void
latency(const struct way *w, double out[FIGURES])
{
	static double took[PINGS];
	int fd = enter(w);

	for (int i = 0; i < load.pings; i++) {
		uint64_t begin = clock_mono_ns();

		ping(fd);
		took[i] = (double)(clock_mono_ns() - begin) / 1e3;
	}
	close(fd);
	out[P50_US] = bench_median(took, (size_t)load.pings);
	out[P99_US] = took[load.pings * 99 / 100];
}

/* One after the other: connect, a byte there and back, close. */
static void
connections(const struct way *w, double out[FIGURES])
{
	double cpu = bench_cpu(w->pid), begin = bench_now();

	for (int i = 0; i < load.connections; i++) {
		int fd = enter(w);

		ping(fd);
		close(fd);
	}
	out[PER_SECOND] = load.connections / (bench_now() - begin);
	out[CPU_PER_CONN] = (bench_cpu(w->pid) - cpu) * 1e6 / load.connections;
}

/* Of the process alone: sockets and pipes are the kernel's. */
static double
idle_kib(const struct way *w)
{
	static int fds[IDLE];
	long before = bench_pss_kib(w->pid), after;

	for (int i = 0; i < load.idle; i++) {
		fds[i] = enter(w);
		ping(fds[i]);
	}
	after = bench_pss_kib(w->pid);
	for (int i = 0; i < load.idle; i++)
		close(fds[i]);
	return (double)(after - before);
}

static void
measure(const struct way *ways, size_t n)
{
	static double all[WAYS_MAX][FIGURES][ROUNDS];
	double m[WAYS_MAX][FIGURES];

	for (int round = 0; round < load.rounds; round++)
		for (size_t i = 0; i < n; i++) {
			double out[FIGURES];

			bulk(&ways[i], out);
			latency(&ways[i], out);
			connections(&ways[i], out);
			for (int k = 0; k < FIGURES; k++)
				all[i][k][round] = out[k];
		}
	printf("%-18s %8s %9s %8s %9s %8s %8s %9s %9s %13s\n", "", "Gbit/s", "CPU s/GiB", "conn/s",
		"CPU us/c", "p50 us", "p99 us", "added p50", "added p99", "KiB/1000 idle");
	for (size_t i = 0; i < n; i++) {
		for (int k = 0; k < FIGURES; k++)
			m[i][k] = bench_median(all[i][k], (size_t)load.rounds);
		printf("%-18s %8.1f %9.3f %8.0f %9.0f %8.0f %8.0f %9.0f %9.0f", ways[i].name,
			m[i][GBITS], m[i][CPU_PER_GIB], m[i][PER_SECOND], m[i][CPU_PER_CONN],
			m[i][P50_US], m[i][P99_US], m[i][P50_US] - m[0][P50_US],
			m[i][P99_US] - m[0][P99_US]);
		if (ways[i].pid != 0)
			printf(" %13.0f", idle_kib(&ways[i]) * 1000 / load.idle);
		printf("\n");
	}
	/* Above 1: paddock is ahead. Compared is what does the same work. */
	printf("\nahead of           Gbit/s   CPU/GiB   conn/s CPU/conn      p50      p99\n");
	for (size_t i = WAY_FORWARD + 1; i < n; i++) {
		const double *ours = m[ways[i].target[0] != '\0' ? WAY_FORWARD : WAY_TRANSPARENT];

		printf("%-18s %6.2f %9.2f %8.2f %8.2f %8.2f %8.2f\n", ways[i].name,
			ours[GBITS] / m[i][GBITS], m[i][CPU_PER_GIB] / ours[CPU_PER_GIB],
			ours[PER_SECOND] / m[i][PER_SECOND],
			m[i][CPU_PER_CONN] / ours[CPU_PER_CONN], m[i][P50_US] / ours[P50_US],
			m[i][P99_US] / ours[P99_US]);
	}
}

static pid_t
start_net(uint16_t origin_port, bool forward, uint16_t *ret_port)
{
	int listener = bench_listen(ret_port);
	pid_t pid = ways_fork();

	if (pid == 0)
		run_net(listener, origin_port, forward);
	close(listener);
	return pid;
}

int
main(int argc, char **argv)
{
	struct way ways[WAYS_MAX] = {[WAY_DIRECT] = {.name = "direct"},
		[WAY_TRANSPARENT] = {.name = "paddock"},
		[WAY_FORWARD] = {.name = "paddock, CONNECT", .target = DESTINATION ":443"}};
	size_t n = WAY_FORWARD + 1;
	struct rlimit files;
	uint16_t direct;
	int origin = bench_listen(&direct);

	if (argc > 1 && strcmp(argv[1], "--quick") == 0)
		load = quick;
	ways_folder();
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max < 20000 ? files.rlim_max : 20000;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (ways_fork() == 0)
		run_origin(origin);
	close(origin);
	ways[WAY_DIRECT].port = direct;
	ways[WAY_TRANSPARENT].pid = start_net(direct, false, &ways[WAY_TRANSPARENT].port);
	ways[WAY_FORWARD].pid = start_net(direct, true, &ways[WAY_FORWARD].port);
	n += ways_start(others, ARRAY_LEN(others), direct, ways + n);
	measure(ways, n);
	return 0;
}
