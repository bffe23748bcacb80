/* Connections to published ports: the link role, the guest's server and a listener behind it. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <link/link.h>
#include <wire/line.h>

#include "guest_harness.h"

#define BYTES (1 << 20)

static struct rig rig;

static int
listener(uint16_t *ret_port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(fd, LINE_STREAMS_MAX), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*ret_port = ntohs(sa.sin_port);
	return fd;
}

static void
tell(uint8_t what, uint16_t port, int fd)
{
	const char msg[3] = {(char)what, (char)(port >> 8), (char)port};

	assert_int_equal(io_send_fds(rig.control, msg, sizeof(msg), &fd, fd >= 0 ? 1 : 0), 0);
}

/* A client's end of a connection that came to a published port. */
static int
arrive(uint16_t port)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	tell(LINK_PORT, port, sv[1]);
	close(sv[1]);
	return sv[0];
}

static int
accept_one(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	return accept4(fd, NULL, NULL, SOCK_CLOEXEC);
}

/* The end, within the limit: what came before it is n bytes. */
static size_t
until_end(int fd)
{
	uint64_t deadline = deadline_in_ms(WAIT_MS);
	size_t n = 0;
	char byte;

	while (io_read_full(fd, &byte, 1, deadline) == 0)
		n++;
	assert_true(deadline_left_ms(deadline) > 0);
	return n;
}

struct sender {
	int fd;
	const char *data;
};

static void *
send_all(void *arg)
{
	struct sender *s = arg;

	io_write_full(s->fd, s->data, BYTES, deadline_in_ms(WAIT_MS));
	shutdown(s->fd, SHUT_WR);
	return NULL;
}

/* from has all of data for to, and its end; what to has to say comes back whole. */
static void
carry(int from, int to, const char *data)
{
	struct sender s = {from, data};
	char *got = malloc(BYTES);
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, send_all, &s), 0);
	assert_int_equal(io_read_full(to, got, BYTES, deadline_in_ms(WAIT_MS)), 0);
	assert_memory_equal(got, data, BYTES);
	assert_int_equal(until_end(to), 0);
	pthread_join(t, NULL);
	free(got);
}

static void
test_both_ways(void **state)
{
	char *data = malloc(BYTES);
	uint16_t port;
	int fd = listener(&port), client, server;

	(void)state;
	for (size_t i = 0; i < BYTES; i++)
		data[i] = (char)(i * 7 + i / 251);
	rig_start(&rig);
	client = arrive(port);
	server = accept_one(fd);
	/* The client's half-close goes through; the server may still answer. */
	carry(client, server, data);
	carry(server, client, data);
	close(server);
	close(client);
	close(fd);
	rig_stop(&rig);
	free(data);
}

/* The server half-closes first: what the client says after that still arrives, and its end. */
static void
test_server_half_closes(void **state)
{
	char *data = malloc(BYTES);
	uint16_t port;
	int fd = listener(&port), client, server;

	(void)state;
	for (size_t i = 0; i < BYTES; i++)
		data[i] = (char)(i * 5 + i / 253);
	rig_start(&rig);
	client = arrive(port);
	server = accept_one(fd);
	carry(server, client, data);
	carry(client, server, data);
	close(server);
	close(client);
	/* It half-closes, then breaks: the client learns of that, too. */
	client = arrive(port);
	server = accept_one(fd);
	shutdown(server, SHUT_WR);
	assert_int_equal(until_end(client), 0);
	assert_int_equal(setsockopt(server, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
				 sizeof(struct linger)),
		0);
	close(server);
	for (uint64_t end = deadline_in_ms(WAIT_MS); send(client, "x", 1, MSG_NOSIGNAL) == 1;) {
		assert_true(deadline_left_ms(end) > 0);
		sched_yield();
	}
	close(client);
	close(fd);
	rig_stop(&rig);
	free(data);
}

static void
test_nobody_listens(void **state)
{
	uint16_t port;
	int fd = listener(&port), client;

	(void)state;
	close(fd);
	rig_start(&rig);
	client = arrive(port);
	assert_int_equal(until_end(client), 0);
	close(client);
	rig_stop(&rig);
}

static void
test_cut(void **state)
{
	uint16_t port, other;
	int fd = listener(&port), fd2 = listener(&other);
	int client, server, client2, server2;
	char byte = 'x';

	(void)state;
	rig_start(&rig);
	client = arrive(port);
	server = accept_one(fd);
	client2 = arrive(other);
	server2 = accept_one(fd2);
	tell(LINK_CUT, port, -1);
	assert_int_equal(until_end(client), 0);
	assert_int_equal(until_end(server), 0);
	/* The other port's goes on. */
	assert_int_equal(io_write_full(client2, &byte, 1, deadline_in_ms(WAIT_MS)), 0);
	assert_int_equal(io_read_full(server2, &byte, 1, deadline_in_ms(WAIT_MS)), 0);
	close(client);
	close(server);
	close(client2);
	close(server2);
	close(fd);
	close(fd2);
	rig_stop(&rig);
}

/* However many come to a port, sessions have their place. */
static void
test_sessions_first(void **state)
{
	int clients[LINE_STREAMS_MAX], fd;
	struct peer p;
	uint16_t port;

	(void)state;
	fd = listener(&port);
	rig_start(&rig);
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		clients[i] = arrive(port);
	/* The last ones were refused. */
	assert_int_equal(until_end(clients[ARRAY_LEN(clients) - 1]), 0);
	assert_int_equal(sh(&rig, &p, "exit 7"), 7);
	peer_close(&p);
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		close(clients[i]);
	close(fd);
	rig_stop(&rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_server_half_closes),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_sessions_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
