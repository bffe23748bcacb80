/* What the benches of the net role measure with. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>

#include "net_common.h"

void
die(const char *what)
{
	perror(what);
	exit(1);
}

int
bench_listen(uint16_t *ret_port)
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

int
bench_call(uint16_t port)
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

double
bench_now(void)
{
	return (double)clock_mono_ns() / 1e9;
}

/* What the process and the children that it has waited for have used. */
double
bench_cpu(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (pid == 0)
		return 0;
	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) < 0)
		die("clock_getcpuclockid");
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

long
bench_pss_kib(pid_t pid)
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

void
bench_connect(int fd, const char *target)
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
compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

double
bench_median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), compare);
	return v[n / 2];
}
