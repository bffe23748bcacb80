#pragma once
/* Scripted peers for tests of the net role: blocking sockets on loopback, each wait with a limit.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#define PEER_LIMIT_S 30

static inline int
peer_listen(uint16_t *ret_port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1024), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static inline void
peer_limit(int fd)
{
	const struct timeval limit = {.tv_sec = PEER_LIMIT_S};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static inline int
peer_connect(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	assert_true(fd >= 0);
	peer_limit(fd);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static inline int
peer_accept(int listener)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};
	int fd;

	assert_int_equal(poll(&p, 1, PEER_LIMIT_S * 1000), 1);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	peer_limit(fd);
	return fd;
}

static inline void
peer_pair(int *ret_a, int *ret_b)
{
	uint16_t port;
	int listener = peer_listen(&port);

	*ret_a = peer_connect(port);
	*ret_b = peer_accept(listener);
	close(listener);
}

static inline void
peer_reset(int fd)
{
	const struct linger now = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

/* Once more after EINTR: the kernel does not restart calls that have a time limit (signal(7)). */
static inline ssize_t
peer_recv(int fd, void *p, size_t n, int flags)
{
	size_t got = 0;
	ssize_t r;

	do {
		r = TEMP_FAILURE_RETRY(recv(fd, (char *)p + got, n - got, flags));
		got += r > 0 ? (size_t)r : 0;
	} while (r > 0 && got < n && (flags & MSG_WAITALL) != 0);
	return r < 0 ? r : (ssize_t)got;
}

static inline void
peer_send(int fd, const char *text)
{
	assert_int_equal(
		TEMP_FAILURE_RETRY(send(fd, text, strlen(text), MSG_NOSIGNAL)), strlen(text));
}

/* Reads exactly this. */
static inline void
peer_expect(int fd, const char *text)
{
	size_t n = strlen(text);
	char *got = calloc(1, n + 1);

	assert_int_equal(peer_recv(fd, got, n, MSG_WAITALL), n);
	assert_string_equal(got, text);
	free(got);
}

static inline void
peer_expect_end(int fd)
{
	char c;

	assert_int_equal(peer_recv(fd, &c, 1, 0), 0);
}

static inline void
peer_expect_reset(int fd)
{
	char c;

	errno = 0;
	assert_int_equal(peer_recv(fd, &c, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
}

/* The same where this end has read the other's end of file already: recv(2) goes on to say 0. */
static inline void
peer_expect_broken(int fd)
{
	struct pollfd p = {.fd = fd};

	assert_int_equal(poll(&p, 1, PEER_LIMIT_S * 1000), 1);
	assert_true(p.revents & POLLERR);
}

/* A stream of bytes that has no period that a buffer could hide; xorshift. */
struct stream {
	uint64_t x;
};

static inline void
stream_fill(struct stream *s, uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		s->x ^= s->x << 13;
		s->x ^= s->x >> 7;
		s->x ^= s->x << 17;
		p[i] = (uint8_t)(s->x >> 32);
	}
}

/* For threads, which may not use cmocka's asserts. False: the socket broke. */
static inline bool
stream_send(int fd, uint64_t seed, size_t total)
{
	struct stream s = {seed};
	uint8_t block[65536];

	while (total > 0) {
		size_t n = total < sizeof(block) ? total : sizeof(block), at = 0;

		stream_fill(&s, block, n);
		while (at < n) {
			ssize_t w = TEMP_FAILURE_RETRY(send(fd, block + at, n - at, MSG_NOSIGNAL));

			if (w <= 0)
				return false;
			at += (size_t)w;
		}
		total -= n;
	}
	return true;
}

/* Reads to the end: exactly total bytes of that stream. */
static inline bool
stream_check(int fd, uint64_t seed, size_t total)
{
	struct stream s = {seed};
	uint8_t block[65536], want[65536];

	for (;;) {
		ssize_t n = peer_recv(fd, block, sizeof(block), 0);

		if (n < 0 || (size_t)n > total)
			return false;
		if (n == 0)
			return total == 0;
		stream_fill(&s, want, (size_t)n);
		if (memcmp(block, want, (size_t)n) != 0)
			return false;
		total -= (size_t)n;
	}
}
