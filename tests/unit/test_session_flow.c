/* Sessions in bulk: much data, many clients, slow ones, broken ones; ports forwarded. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/clock.h>
#include <base/cleanup.h>
#include <base/io.h>

#include "guest_harness.h"

static int
setup(void **state)
{
	static struct rig rig;

	rig_start(&rig);
	*state = &rig;
	return 0;
}

static int
teardown(void **state)
{
	rig_stop(*state);
	return 0;
}

static uint32_t
checksum(uint32_t sum, const uint8_t *p, size_t n)
{
	while (n-- > 0)
		sum = sum * 31 + *p++;
	return sum;
}

/* More than the connection's window, each way: it is given back as it goes. */
static void
test_more_than_all_windows(void **state)
{
	enum { TOTAL = 100 << 20 };
	static uint8_t chunk[FRAME_CHUNK];
	struct session_open o = {0};
	struct peer p;
	char words[32];
	size_t n = 0;

	snprintf(words, sizeof(words), "%d", TOTAL);
	peer_exec(&p, *state, &o, "head", "-c", words, "/dev/zero", NULL);
	while (peer_next(&p) > 0) {
		n += p.out.len;
		buf_clear(&p.out);
	}
	assert_int_equal(p.status, 0);
	assert_int_equal(n, TOTAL);
	peer_close(&p);
	o = (struct session_open){.stdin_open = true};
	peer_exec(&p, *state, &o, "wc", "-c", NULL);
	for (n = 0; n < TOTAL; n += sizeof(chunk))
		peer_send(&p, SESSION_STDIN, chunk, sizeof(chunk));
	peer_send(&p, SESSION_STDIN_EOF, NULL, 0);
	assert_int_equal(peer_run(&p), 0);
	assert_int_equal(atoi(buf_str(&p.out)), TOTAL);
	peer_close(&p);
}

/* Ten MiB in and out at once through cat, both directions blocked by each other now and then. */
static void
test_ten_mib_both_ways(void **state)
{
	enum { TOTAL = 10 << 20 };
	struct session_open o = {.stdin_open = true};
	uint32_t sent = 0, got = 0, seed = 1;
	size_t up = 0, down = 0;
	struct buf out = BUF_INIT;
	struct peer p;

	peer_exec(&p, *state, &o, "cat", NULL);
	peer_started(&p);
	io_set_nonblock(p.fd, true);
	while (p.status < 0) {
		struct pollfd pfd = {.fd = p.fd, .events = POLLIN};

		if (out.len == 0 && up < TOTAL) {
			uint8_t chunk[FRAME_CHUNK];

			for (size_t i = 0; i < sizeof(chunk); i++)
				chunk[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
			sent = checksum(sent, chunk, sizeof(chunk));
			frame_put(&out, SESSION_STDIN, chunk, sizeof(chunk));
			up += sizeof(chunk);
			if (up == TOTAL)
				frame_put(&out, SESSION_STDIN_EOF, NULL, 0);
		}
		if (out.len > 0)
			pfd.events |= POLLOUT;
		if (poll(&pfd, 1, WAIT_MS) <= 0)
			fail_msg("stuck: up %zu, waiting %zu, down %zu", up, out.len, down);
		if (pfd.revents & POLLOUT)
			assert_true(buf_write_fd(&out, p.fd) != 0);
		while ((pfd.revents & POLLIN) && p.status < 0 && peer_next(&p) > 0) {
			got = checksum(got, p.out.data, p.out.len);
			down += p.out.len;
			buf_clear(&p.out);
			if (p.in.len < FRAME_HEAD)
				break;
		}
	}
	assert_int_equal(p.status, 0);
	assert_int_equal(down, TOTAL);
	assert_int_equal(got, sent);
	buf_release(&out);
	peer_close(&p);
}

/* Two that do not read hold up none of the fifty others, and get everything in the end. */
static void
test_fifty_streams_and_two_stalled(void **state)
{
	enum { N = 50 };
	struct session_open o = {0};
	struct peer stalled[2], p[N];
	char script[80];

	for (int i = 0; i < 2; i++) {
		o = (struct session_open){0};
		peer_exec(&stalled[i], *state, &o, "head", "-c", "3000000", "/dev/zero", NULL);
	}
	for (int i = 0; i < N; i++) {
		o = (struct session_open){0};
		snprintf(script, sizeof(script), "head -c 100000 /dev/zero; exit %d", i);
		peer_exec(&p[i], *state, &o, "sh", "-c", script, NULL);
	}
	for (int i = N - 1; i >= 0; i--) {
		assert_int_equal(peer_run(&p[i]), i);
		assert_int_equal(p[i].out.len, 100000);
		peer_close(&p[i]);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(peer_run(&stalled[i]), 0);
		assert_int_equal(stalled[i].out.len, 3000000);
		peer_close(&stalled[i]);
	}
}

/* A program whose client does not read is slowed, not collected in memory. */
static void
test_backpressure(void **state)
{
	struct session_open o = {0};
	struct peer p, q;
	long last = -1, now = 0;

	peer_exec(&p, *state, &o, "sh", "-c",
		"i=0; echo $$; while [ $i -lt 400 ]; do head -c 10000 /dev/zero; i=$((i+1)); echo "
		"$i > /tmp/test-progress.$$; done",
		NULL);
	peer_until(&p, "\n");
	for (int still = 0; still < 10;) {
		char script[64];

		snprintf(
			script, sizeof(script), "cat /tmp/test-progress.%d", atoi(buf_str(&p.out)));
		sh(*state, &q, script);
		now = atol(buf_str(&q.out));
		still = now > 0 && now == last ? still + 1 : 0;
		last = now;
		peer_close(&q);
		poll(NULL, 0, 20);
	}
	/* Two sockets, two windows, a pipe: well under a MiB, of 4 MB. */
	assert_in_range(now, 1, 150);
	assert_int_equal(peer_run(&p), 0);
	assert_true(p.out.len > 4000000);
	char path[64];

	snprintf(path, sizeof(path), "/tmp/test-progress.%d", atoi(buf_str(&p.out)));
	unlink(path);
	peer_close(&p);
}

static void
test_one_byte_drip(void **state)
{
	struct session_open o = {.op = SESSION_OP_EXEC, .stdin_open = true};
	struct buf payload = BUF_INIT, all = BUF_INIT;
	struct peer p = {.status = -1};

	strv_add(&o.argv, "cat");
	session_open_encode(&o, &payload);
	frame_put(&all, SESSION_OPEN, payload.data, payload.len);
	frame_put(&all, SESSION_STDIN, "drip", 4);
	frame_put(&all, SESSION_STDIN_EOF, NULL, 0);
	p.fd = rig_connect(*state);
	for (size_t i = 0; i < all.len; i++)
		assert_int_equal(send(p.fd, all.data + i, 1, 0), 1);
	assert_int_equal(peer_run(&p), 0);
	assert_string_equal(buf_str(&p.out), "drip");
	peer_close(&p);
	buf_release(&payload);
	buf_release(&all);
	session_open_release(&o);
}

/* Every breach of the protocol costs that stream, with a word, and nothing else. */
static void
test_broken_frames(void **state)
{
	static const struct {
		uint8_t type;
		const char *bytes;
		size_t n;
		bool opened;
	} cases[] = {
		{SESSION_STDIN, "x", 1, false},
		{SESSION_OPEN, "nonsense", 8, false},
		{SESSION_OPEN, "", 0, true},
		{0x77, "", 0, true},
		{SESSION_EXIT, "\0", 1, true},
		{SESSION_WINSIZE, "abc", 3, true},
		{SESSION_SIGNAL, "\0", 1, true},
		{SESSION_SIGNAL, "\xff", 1, true},
		{SESSION_SIGNAL, "", 0, true},
		{SESSION_STDIN_EOF, "x", 1, true},
	};
	static const struct {
		uint8_t head[FRAME_HEAD];
		bool opened;
	} heads[] = {
		{{SESSION_STDIN, 0x7f, 0xff, 0xff, 0xff}, true},
		{{SESSION_STDIN, 0x00, 0x00, 0x80, 0x01}, true}, /* FRAME_CHUNK + 1 */
		{{SESSION_OPEN, 0x00, 0x10, 0x00, 0x01}, false}, /* FRAME_MAX + 1 */
		{{SESSION_STDIN, 0x00, 0x00, 0x00, 0x05}, false},
	};
	struct peer p;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct session_open o = {.stdin_open = true};

		if (cases[i].opened) {
			peer_exec(&p, *state, &o, "cat", NULL);
			peer_started(&p);
		} else {
			memset(&p, 0, sizeof(p));
			p.fd = rig_connect(*state);
			p.status = -1;
		}
		peer_send(&p, cases[i].type, cases[i].bytes, cases[i].n);
		assert_int_equal(peer_run(&p), 125);
		assert_true(p.failed);
		peer_close(&p);
	}
	/* Too long, or not the time for it: refused from the head. */
	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		struct session_open o = {.stdin_open = true};

		memset(&p, 0, sizeof(p));
		p.status = -1;
		if (heads[i].opened) {
			peer_exec(&p, *state, &o, "cat", NULL);
			peer_started(&p);
		} else {
			p.fd = rig_connect(*state);
		}
		assert_int_equal(io_write_full(p.fd, heads[i].head, FRAME_HEAD, UINT64_MAX), 0);
		assert_int_equal(peer_run(&p), 125);
		peer_close(&p);
	}
	assert_int_equal(sh(*state, &p, "exit 4"), 4);
	peer_close(&p);
}

/* As large as a frame may be: many windows' worth, before the session has begun. */
static void
test_large_open(void **state)
{
	struct session_open o = {0};
	CLEAN_FREE char *word = calloc(1, 100001);
	struct peer p;

	memset(word, 'x', 100000);
	peer_exec(&p, *state, &o, "sh", "-c", "echo $# ${#9}", "sh", word, word, word, word, word,
		word, word, word, word, NULL);
	assert_int_equal(peer_run(&p), 0);
	assert_string_equal(buf_str(&p.out), "9 100000\n");
	peer_close(&p);
}

/* A client too many is hung up on at once; the others are served. */
static void
test_more_clients_than_streams(void **state)
{
	enum { MAX = 256, N = 270 };
	struct pollfd pfd[N];
	int refused = 0;

	for (int i = 0; i < N; i++)
		pfd[i] = (struct pollfd){.fd = rig_connect(*state), .events = POLLIN};
	while (refused < N - MAX) {
		assert_true(poll(pfd, N, WAIT_MS) > 0);
		for (int i = 0; i < N; i++) {
			if (pfd[i].revents == 0)
				continue;
			close(pfd[i].fd);
			pfd[i].fd = -1;
			refused++;
		}
	}
	assert_int_equal(refused, N - MAX);
	for (int i = 0; i < N; i++) {
		struct session_open o = {.op = SESSION_OP_PING};
		struct peer p;

		if (pfd[i].fd < 0)
			continue;
		peer_open_on(&p, pfd[i].fd, &o);
		assert_int_equal(peer_run(&p), 0);
		peer_close(&p);
	}
}

static int
listen_on(int family, uint16_t *ret_port)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_in b = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	bool v4 = family == AF_INET;
	struct sockaddr *any = v4 ? (struct sockaddr *)&b : (struct sockaddr *)&a;
	socklen_t len = v4 ? sizeof(b) : sizeof(a);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, any, len) < 0) {
		close(fd);
		return -1;
	}
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, any, &len), 0);
	*ret_port = ntohs(v4 ? b.sin_port : a.sin6_port);
	return fd;
}

static int
accept_soon(int listener)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	return accept(listener, NULL, NULL);
}

static void
forward_once(struct rig *r, int family)
{
	struct session_open o = {.op = SESSION_OP_FORWARD};
	char got[16] = "";
	struct peer p;
	int listener = listen_on(family, &o.port), conn;

	if (listener < 0 && family == AF_INET6)
		return; /* a machine without IPv6 */
	peer_open(&p, r, &o);
	peer_say(&p, "question");
	peer_send(&p, SESSION_STDIN_EOF, NULL, 0);
	conn = accept_soon(listener);
	assert_true(conn >= 0);
	/* All of it, then the half-close, while the other direction lives. */
	assert_int_equal(io_read_full(conn, got, 8, deadline_in_ms(WAIT_MS)), 0);
	assert_string_equal(got, "question");
	assert_int_equal(io_read_full(conn, got, 1, deadline_in_ms(WAIT_MS)), -EPIPE);
	assert_int_equal(send(conn, "answer", 6, 0), 6);
	close(conn);
	assert_int_equal(peer_run(&p), 0);
	assert_string_equal(buf_str(&p.out), "answer");
	peer_close(&p);
	close(listener);
}

static void
test_forward(void **state)
{
	struct session_open o = {.op = SESSION_OP_FORWARD};
	struct peer p;
	int listener;

	forward_once(*state, AF_INET);
	forward_once(*state, AF_INET6);
	listener = listen_on(AF_INET, &o.port);
	close(listener);
	peer_open(&p, *state, &o);
	assert_int_equal(peer_run(&p), 125);
	assert_non_null(strstr(p.text, "nothing listens on port"));
	peer_close(&p);
}

static void
test_forward_client_gone(void **state)
{
	struct session_open o = {.op = SESSION_OP_FORWARD};
	struct peer p;
	int listener = listen_on(AF_INET, &o.port), conn;
	char c;

	peer_open(&p, *state, &o);
	conn = accept_soon(listener);
	peer_started(&p);
	peer_close(&p);
	assert_int_equal(io_read_full(conn, &c, 1, deadline_in_ms(WAIT_MS)), -EPIPE);
	close(conn);
	close(listener);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_more_than_all_windows),
		cmocka_unit_test(test_ten_mib_both_ways),
		cmocka_unit_test(test_fifty_streams_and_two_stalled),
		cmocka_unit_test(test_backpressure),
		cmocka_unit_test(test_one_byte_drip),
		cmocka_unit_test(test_broken_frames),
		cmocka_unit_test(test_large_open),
		cmocka_unit_test(test_more_clients_than_streams),
		cmocka_unit_test(test_forward),
		cmocka_unit_test(test_forward_client_gone),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, setup, teardown);
}
