/*
 * The guest's end of bench/guest-net: what a TCP connection to the host carries, in both
 * directions, and how long a byte takes there and back. A program in a sandbox (guest-net
 * ADDRESS:PORT:MIB:PINGS) and, with the same words behind bench= in the kernel's command line, the
 * init of a bare machine with QEMU's own user networking.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <netinet/tcp.h>

enum { BLOCK = 256 << 10 };

static uint8_t block[BLOCK];

static void
die(const char *what)
{
	printf("guest-net: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What is asked for: \1, a letter, how much. (No beginning of HTTP or TLS, so nobody waits for
 * more.) */
static int
call(const char *address, uint16_t port, char what, uint64_t n)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	uint8_t head[10] = {1, (uint8_t)what};

	memcpy(head + 2, &n, sizeof(n));
	inet_pton(AF_INET, address, &a.sin_addr);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("connect");
	if (write(fd, head, sizeof(head)) != sizeof(head))
		die("write");
	return fd;
}

static double
down(const char *address, uint16_t port, uint64_t n)
{
	double start = now();
	int fd = call(address, port, 'd', n);
	uint64_t got = 0;
	ssize_t r;

	while ((r = read(fd, block, sizeof(block))) > 0)
		got += (uint64_t)r;
	if (got != n)
		die("the bytes from the host");
	close(fd);
	return now() - start;
}

static double
up(const char *address, uint16_t port, uint64_t n)
{
	double start = now();
	int fd = call(address, port, 'u', n);
	uint8_t done;

	for (uint64_t left = n; left > 0;) {
		ssize_t r = write(fd, block, left < sizeof(block) ? left : sizeof(block));

		if (r <= 0)
			die("write");
		left -= (uint64_t)r;
	}
	if (read(fd, &done, 1) != 1)
		die("the host's word that it has all");
	close(fd);
	return now() - start;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Seconds: the median. */
static double
ping(const char *address, uint16_t port, uint64_t n)
{
	double *took = calloc(n, sizeof(*took)), median;
	int fd = call(address, port, 'p', n);
	uint8_t c = 0;

	for (uint64_t i = 0; i < n; i++) {
		double start = now();

		if (write(fd, &c, 1) != 1 || read(fd, &c, 1) != 1)
			die("ping");
		took[i] = now() - start;
	}
	close(fd);
	qsort(took, n, sizeof(*took), compare);
	median = took[n / 2];
	free(took);
	return median;
}

static void
measure(const char *address, uint16_t port, uint64_t mib, uint64_t pings)
{
	down(address, port, mib << 16); /* a sixteenth, to warm up */
	printf("guest-net: {\"down\": %.6f, \"up\": %.6f, \"ping\": %.9f}\n",
		down(address, port, mib << 20), up(address, port, mib << 20),
		ping(address, port, pings));
	fflush(stdout);
}

/* ---- the bare machine ---------------------------------------------------------------------- */

static void
load_modules(void)
{
	char path[256];
	FILE *f = fopen("/modules/modules.list", "r");

	while (f != NULL && fgets(path, sizeof(path), f) != NULL) {
		int fd;

		path[strcspn(path, "\n")] = '\0';
		fd = open(path, O_RDONLY);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
			die(path);
		close(fd);
	}
}

static void
set_address(int s, unsigned long request, const char *address)
{
	struct ifreq r = {.ifr_name = "eth0"};
	struct sockaddr_in a = {.sin_family = AF_INET};

	inet_pton(AF_INET, address, &a.sin_addr);
	memcpy(&r.ifr_addr, &a, sizeof(a));
	if (ioctl(s, request, &r) < 0)
		die("eth0");
}

/* As QEMU's user networking has it: invocation, "-netdev user". The host is 10.0.2.2. */
static void
plug_in(void)
{
	struct ifreq r = {.ifr_name = "eth0", .ifr_flags = IFF_UP};
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	set_address(s, SIOCSIFADDR, "10.0.2.15");
	set_address(s, SIOCSIFNETMASK, "255.255.255.0");
	if (ioctl(s, SIOCSIFFLAGS, &r) < 0)
		die("eth0 up");
	close(s);
}

static void
parse_and_measure(const char *words)
{
	char address[INET_ADDRSTRLEN];
	unsigned port, mib, pings;

	if (sscanf(words, "%15[0-9.]:%u:%u:%u", address, &port, &mib, &pings) != 4)
		die("bench=");
	measure(address, (uint16_t)port, mib, pings);
}

static int
be_init(void)
{
	const char *words = getenv("bench");
	int console = open("/dev/console", O_WRONLY);

	dup2(console, STDOUT_FILENO);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (fork() == 0) {
		load_modules();
		plug_in();
		parse_and_measure(words == NULL ? "" : words);
		_exit(0);
	}
	while (wait(NULL) < 0)
		;
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

int
main(int argc, char **argv)
{
	if (getpid() == 1)
		return be_init();
	if (argc != 2) {
		fprintf(stderr, "usage: guest-net ADDRESS:PORT:MIB:PINGS\n");
		return 2;
	}
	parse_and_measure(argv[1]);
	return 0;
}
