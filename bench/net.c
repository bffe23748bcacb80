/*
 * The net role on the host side, beside the same traffic without anything between and through other
 * proxies of the distribution, all in one run on loopback: throughput and its price, connections,
 * latency, memory. Every figure is a median of rounds in which each way has its turn, so that what
 * else the machine does meets all of them. Proxies that are not installed are left out, and said.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>

#include "net_ways.h"
#include "server.h"

enum {
	ROUNDS = 5,
	BULK_MIB = 256,
	PINGS = 1000,
	CONNECTIONS = 200,
	IDLE = 1000,
};

#define DESTINATION "10.1.2.3" /* what the guest asks for; an override says where it is */

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

static double
seconds(void)
{
	return (double)clock_mono_ns() / 1e9;
}

/* What the process and the children that it has waited for have used. */
static double
cpu_seconds(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (pid == 0)
		return 0;
	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) < 0)
		die("clock_getcpuclockid");
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
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
ask_connect(int fd, const char *target)
{
	char text[512];
	size_t n = 0;
	int len = snprintf(
		text, sizeof(text), "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target);

	if (send(fd, text, (size_t)len, MSG_NOSIGNAL) != len)
		die("CONNECT");
	do {
		ssize_t r = recv(fd, text + n, sizeof(text) - 1 - n, 0);

		if (r <= 0)
			die("CONNECT's answer");
		n += (size_t)r;
		text[n] = '\0';
	} while (strstr(text, "\r\n\r\n") == NULL);
	if (strncmp(text, "HTTP/1.", 7) != 0 || strncmp(text + 8, " 200", 4) != 0) {
		fprintf(stderr, "%s\n", text);
		exit(1);
	}
}

static int
enter(const struct way *w)
{
	int fd = call(w->port);

	if (w->target[0] != '\0')
		ask_connect(fd, w->target);
	return fd;
}

static void
ping(int fd)
{
	char c = 0; /* the beginning neither of HTTP nor of TLS: nothing is waited for */

	if (send(fd, &c, 1, MSG_NOSIGNAL) != 1 || recv(fd, &c, 1, 0) != 1)
		die("ping");
}

static int
compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static double
median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), compare);
	return v[n / 2];
}

/* ---- the figures --------------------------------------------------------------------------- */

enum figure { GBITS, CPU_PER_GIB, PER_SECOND, P50_US, P99_US, FIGURES };

/* To the byte that says that all has arrived. */
static void
bulk(const struct way *w, double out[FIGURES])
{
	static char block[1 << 20];
	double cpu = cpu_seconds(w->pid), begin = seconds();
	int fd = enter(w);
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
	out[GBITS] = BULK_MIB * 8.0 * 1.048576 / 1000 / (seconds() - begin);
	out[CPU_PER_GIB] = (cpu_seconds(w->pid) - cpu) / (BULK_MIB / 1024.0);
}

static void
latency(const struct way *w, double out[FIGURES])
{
	static double took[PINGS];
	int fd = enter(w);

	for (int i = 0; i < PINGS; i++) {
		uint64_t begin = clock_mono_ns();

		ping(fd);
		took[i] = (double)(clock_mono_ns() - begin) / 1e3;
	}
	close(fd);
	out[P50_US] = median(took, PINGS);
	out[P99_US] = took[PINGS * 99 / 100];
}

/* One after the other: connect, a byte there and back, close. */
static void
connections(const struct way *w, double out[FIGURES])
{
	double begin = seconds();

	for (int i = 0; i < CONNECTIONS; i++) {
		int fd = enter(w);

		ping(fd);
		close(fd);
	}
	out[PER_SECOND] = CONNECTIONS / (seconds() - begin);
}

/* Of the process alone: sockets and pipes are the kernel's. */
static double
idle_kib(const struct way *w)
{
	static int fds[IDLE];
	long before = pss_kib(w->pid), after;

	for (int i = 0; i < IDLE; i++) {
		fds[i] = enter(w);
		ping(fds[i]);
	}
	after = pss_kib(w->pid);
	for (int i = 0; i < IDLE; i++)
		close(fds[i]);
	return (double)(after - before);
}

static void
measure(const struct way *ways, size_t n)
{
	static double all[WAYS_MAX][FIGURES][ROUNDS];
	double m[WAYS_MAX][FIGURES];

	for (int round = 0; round < ROUNDS; round++)
		for (size_t i = 0; i < n; i++) {
			double out[FIGURES];

			bulk(&ways[i], out);
			latency(&ways[i], out);
			connections(&ways[i], out);
			for (int k = 0; k < FIGURES; k++)
				all[i][k][round] = out[k];
		}
	printf("%-18s %8s %9s %8s %8s %8s %9s %9s %13s\n", "", "Gbit/s", "CPU s/GiB", "conn/s",
		"p50 us", "p99 us", "added p50", "added p99", "KiB/1000 idle");
	for (size_t i = 0; i < n; i++) {
		for (int k = 0; k < FIGURES; k++)
			m[i][k] = median(all[i][k], ROUNDS);
		printf("%-18s %8.1f %9.3f %8.0f %8.0f %8.0f %9.0f %9.0f", ways[i].name, m[i][GBITS],
			m[i][CPU_PER_GIB], m[i][PER_SECOND], m[i][P50_US], m[i][P99_US],
			m[i][P50_US] - m[0][P50_US], m[i][P99_US] - m[0][P99_US]);
		if (ways[i].pid != 0)
			printf(" %13.0f", idle_kib(&ways[i]) * 1000 / IDLE);
		printf("\n");
	}
	/* Above 1: paddock is ahead. The forward proxy is compared, as it does the same work. */
	printf("\nahead of           Gbit/s   CPU/GiB   conn/s      p50      p99\n");
	for (size_t i = WAY_FORWARD + 1; i < n; i++)
		printf("%-18s %6.2f %9.2f %8.2f %8.2f %8.2f\n", ways[i].name,
			m[WAY_FORWARD][GBITS] / m[i][GBITS],
			m[i][CPU_PER_GIB] / m[WAY_FORWARD][CPU_PER_GIB],
			m[WAY_FORWARD][PER_SECOND] / m[i][PER_SECOND],
			m[i][P50_US] / m[WAY_FORWARD][P50_US],
			m[i][P99_US] / m[WAY_FORWARD][P99_US]);
}

static pid_t
start_net(uint16_t origin_port, bool forward, uint16_t *ret_port)
{
	int listener = listen_at(ret_port);
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run_net(listener, origin_port, forward);
	}
	close(listener);
	return pid;
}

int
main(void)
{
	struct way ways[WAYS_MAX] = {[WAY_DIRECT] = {.name = "direct"},
		[WAY_TRANSPARENT] = {.name = "paddock"},
		[WAY_FORWARD] = {.name = "paddock, CONNECT", .target = DESTINATION ":443"}};
	size_t n = WAY_FORWARD + 1;
	struct rlimit files;
	uint16_t direct;
	int origin = listen_at(&direct);
	pid_t server;

	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max < 20000 ? files.rlim_max : 20000;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run_origin(origin);
	}
	close(origin);
	ways[WAY_DIRECT].port = direct;
	ways[WAY_TRANSPARENT].pid = start_net(direct, false, &ways[WAY_TRANSPARENT].port);
	ways[WAY_FORWARD].pid = start_net(direct, true, &ways[WAY_FORWARD].port);
	n += ways_start(direct, ways + n);
	measure(ways, n);
	ways_end(ways, n);
	kill(server, SIGKILL);
	while (wait(NULL) > 0)
		;
	return 0;
}
