/*
 * The link role against a guest that means harm, each attack beside a control that works.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <link/link.h>
#include <wire/line.h>

#include "guest_harness.h"
#include "h2_wire.h"

static void
wait_for_request(int line, uint8_t stream)
{
	const uint8_t head[] = {HEADERS, END_HEADERS, 0, 0, 0, stream};
	struct buf got = BUF_INIT;

	while (got.len == 0 || memmem(got.data, got.len, head, sizeof(head)) == NULL) {
		struct pollfd p = {.fd = line, .events = POLLIN};

		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		assert_true(buf_read_fd(&got, line, 4096) > 0);
	}
	buf_release(&got);
}

/* The link role with the test as its guest; its client's stream has been asked for. */
struct victim {
	pid_t pid;
	int line, control, client;
	struct buf said; /* by the link, while say() was on */
};

static void
victim_start(struct victim *v)
{
	int line[2], control[2], client[2];
	char msg = LINK_SESSION;

	memset(v, 0, sizeof(*v));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, client), 0);
	v->pid = fork();
	if (v->pid == 0) {
		struct link_options o = {.line_fd = line[1], .control_fd = control[1]};
		struct err e;

		close(line[0]);
		close(control[0]);
		close(client[0]);
		close(client[1]);
		exit(link_serve(&o, &e) < 0 ? 3 : 0);
	}
	close(line[1]);
	close(control[1]);
	v->line = line[0];
	v->control = control[0];
	v->client = client[0];
	assert_int_equal(io_send_fds(v->control, &msg, 1, &client[1], 1), 0);
	close(client[1]);
	wait_for_request(v->line, 1);
}

/* Ends it, if it has not ended itself; what it exited with: 3 is "the line broke". */
static int
victim_end(struct victim *v)
{
	uint64_t deadline = deadline_in_ms(WAIT_MS);
	int status = 0;

	close(v->control);
	while (waitpid(v->pid, &status, WNOHANG) == 0) {
		if (deadline_left_ms(deadline) == 0) {
			kill(v->pid, SIGKILL);
			fail_msg("the link role hangs");
		}
		poll(NULL, 0, 2);
	}
	close(v->line);
	close(v->client);
	buf_release(&v->said);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* What an honest guest says first: SETTINGS, the acknowledgement, 200 on the first stream. */
static void
preface(struct buf *b)
{
	static const uint8_t settings[] = {0, 3, 0, 0, 1, 0}, ok[] = {0x88};

	frame(b, SETTINGS, 0, 0, settings, sizeof(settings));
	frame(b, SETTINGS, ACK, 0, NULL, 0);
	frame(b, HEADERS, END_HEADERS, 1, ok, sizeof(ok));
}

/* Writes to the link; false where it has ended the line. What it says is kept in v->said. */
static bool
say(struct victim *v, const void *p, size_t n)
{
	const uint8_t *at = p;
	uint64_t deadline = deadline_in_ms(WAIT_MS);

	while (n > 0) {
		struct pollfd pfd = {.fd = v->line, .events = POLLIN | POLLOUT};
		ssize_t put;

		assert_true(deadline_left_ms(deadline) > 0);
		assert_true(poll(&pfd, 1, WAIT_MS) > 0);
		if ((pfd.revents & POLLIN) && buf_read_fd(&v->said, v->line, 65536) == 0)
			return false;
		put = send(v->line, at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (put < 0 && errno != EAGAIN)
			return false;
		if (put > 0) {
			at += put;
			n -= (size_t)put;
		}
	}
	return true;
}

static bool
say_buf(struct victim *v, struct buf *b)
{
	bool r = say(v, b->data, b->len);

	buf_clear(b);
	return r;
}

/* Waits for the line's end, and for LINK_DOWN (behind LINK_UP). */
static void
expect_down(struct victim *v)
{
	uint64_t deadline = deadline_in_ms(WAIT_MS);
	char msg = 0, drop[65536];

	while (msg != LINK_DOWN) {
		struct pollfd p[2] = {
			{.fd = v->control, .events = POLLIN}, {.fd = v->line, .events = POLLIN}};

		if (poll(p, 2, deadline_left_ms(deadline)) <= 0)
			fail_msg("the link did not end the line");
		if (p[0].revents & POLLIN)
			assert_int_equal(recv(v->control, &msg, 1, 0), 1);
		else if (p[1].revents != 0 && recv(v->line, drop, sizeof(drop), 0) <= 0)
			poll(NULL, 0, 1);
	}
	assert_int_equal(victim_end(v), 3);
}

static void
expect_client_gets(struct victim *v, const char *text)
{
	char got[64] = "";

	assert_int_equal(io_read_full(v->client, got, strlen(text), deadline_in_ms(WAIT_MS)), 0);
	assert_string_equal(got, text);
}

/* The control to all below: an honest guest. */
static void
test_honest(void **state)
{
	struct victim v;
	struct buf b = BUF_INIT;
	char msg = 0, c;

	(void)state;
	victim_start(&v);
	preface(&b);
	frame(&b, DATA, 0, 1, "hello", 5);
	assert_true(say_buf(&v, &b));
	expect_client_gets(&v, "hello");
	assert_int_equal(recv(v.control, &msg, 1, 0), 1);
	assert_int_equal(msg, LINK_UP);
	frame(&b, DATA, END_STREAM, 1, "bye", 3);
	assert_true(say_buf(&v, &b));
	expect_client_gets(&v, "bye");
	assert_int_equal(io_read_full(v.client, &c, 1, deadline_in_ms(WAIT_MS)), -EPIPE);
	assert_int_equal(victim_end(&v), 0);
	buf_release(&b);
}

/* The same one byte at a time. */
static void
test_drip(void **state)
{
	struct victim v;
	struct buf b = BUF_INIT;

	(void)state;
	victim_start(&v);
	preface(&b);
	frame(&b, PING, 0, 0, "12345678", 8);
	frame(&b, DATA, END_STREAM, 1, "hello", 5);
	for (size_t i = 0; i < b.len; i++)
		assert_true(say(&v, b.data + i, 1));
	expect_client_gets(&v, "hello");
	assert_int_equal(victim_end(&v), 0);
	buf_release(&b);
}

static void
test_junk(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 100; seed++) {
		struct victim v;
		struct buf b = BUF_INIT;
		uint8_t junk[20000];
		char c;

		srand(seed);
		victim_start(&v);
		if (seed % 2 == 0)
			preface(&b);
		for (size_t i = 0; i < sizeof(junk); i++)
			junk[i] = (uint8_t)(rand() >> 7);
		/* A frame head that makes sense now and then, for junk to get further. */
		if (seed % 4 == 0)
			frame(&b, (uint8_t)(rand() % 11), (uint8_t)rand(), rand() % 4, junk,
				(size_t)rand() % 100);
		buf_append(&b, junk, sizeof(junk));
		say_buf(&v, &b);
		shutdown(v.line, SHUT_WR);
		/* The client is told, by the end of its stream. */
		while (io_read_full(v.client, &c, 1, deadline_in_ms(WAIT_MS)) == 0)
			;
		expect_down(&v);
		buf_release(&b);
	}
}

/* Each of these breaks RFC 9113, or what we announced, and ends the line. */
static void
test_breaches(void **state)
{
	static uint8_t zeros[20000];
	static const uint8_t promise[] = {0, 0, 0, 2, 0x82, 0x84, 0x86, 0x41, 1, 'h'};
	static const struct {
		const char *what;
		uint8_t type, flags;
		uint32_t stream;
		const void *p;
		size_t n;
	} cases[] = {
		{"push", PUSH_PROMISE, END_HEADERS, 1, promise, sizeof(promise)},
		{"a frame over 16384 bytes", DATA, 0, 1, zeros, 16385},
		{"data on the connection", DATA, 0, 0, zeros, 1},
		{"data on a stream never opened", DATA, 0, 77, zeros, 1},
		{"a stream of its own", HEADERS, END_HEADERS, 2, "\x88", 1},
		{"goaway", GOAWAY, 0, 0, zeros, 8},
		{"window overflow", WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4},
		{"settings of a wrong length", SETTINGS, 0, 0, zeros, 5},
		{"a window too large", SETTINGS, 0, 0, "\0\4\xff\xff\xff\xff", 6},
		{"ping of a wrong length", PING, 0, 0, zeros, 7},
		{"continuation of nothing", CONTINUATION, END_HEADERS, 1, zeros, 1},
		{"broken compression", HEADERS, END_HEADERS, 1, "\xff\xff\xff\xff\xff\xff", 6},
		{"data before any header", DATA, 0, 3, zeros, 1},
		{"an idle stream reset", RST_STREAM, 0, 9, zeros, 4},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct victim v;
		struct buf b = BUF_INIT;

		victim_start(&v);
		preface(&b);
		frame(&b, cases[i].type, cases[i].flags, cases[i].stream, cases[i].p, cases[i].n);
		say_buf(&v, &b);
		print_message("%s\n", cases[i].what);
		expect_down(&v);
		buf_release(&b);
	}
}

/* These cost the one stream: its client is hung up on, another one is served. */
static void
test_one_stream_lost(void **state)
{
	static const struct {
		uint8_t type, flags;
		const char *p;
		size_t n;
	} cases[] = {
		{RST_STREAM, 0, "\0\0\0\2", 4},
		{HEADERS, END_HEADERS | END_STREAM, "\x8d", 1}, /* :status 404 */
		{WINDOW_UPDATE, 0, "\x7f\xff\xff\xff", 4},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct victim v;
		struct buf b = BUF_INIT;
		int second[2];
		char msg = LINK_SESSION, c;

		victim_start(&v);
		frame(&b, SETTINGS, 0, 0, NULL, 0);
		frame(&b, SETTINGS, ACK, 0, NULL, 0);
		assert_true(say_buf(&v, &b));
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, second), 0);
		assert_int_equal(io_send_fds(v.control, &msg, 1, &second[1], 1), 0);
		close(second[1]);
		wait_for_request(v.line, 3);
		frame(&b, cases[i].type, cases[i].flags, 1, cases[i].p, cases[i].n);
		frame(&b, HEADERS, END_HEADERS, 3, "\x88", 1);
		frame(&b, DATA, 0, 3, "fine", 4);
		assert_true(say_buf(&v, &b));
		assert_int_equal(io_read_full(v.client, &c, 1, deadline_in_ms(WAIT_MS)), -EPIPE);
		close(v.client);
		v.client = second[0];
		expect_client_gets(&v, "fine");
		assert_int_equal(victim_end(&v), 0);
		buf_release(&b);
	}
}

static long
memory_kib(pid_t pid)
{
	char path[64], line[256];
	long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "RssAnon: %ld kB", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

/*
 * A client that does not read, and a guest that ignores its window: the stream is over, and of it
 * is kept what the window allowed and the client's socket took.
 */
static void
test_window_ignored(void **state)
{
	static uint8_t zeros[16384];
	struct victim v;
	struct buf b = BUF_INIT, got = BUF_INIT;

	(void)state;
	victim_start(&v);
	preface(&b);
	for (int i = 0; i < 500; i++) {
		frame(&b, DATA, 0, 1, zeros, sizeof(zeros));
		assert_true(say_buf(&v, &b));
	}
	frame(&b, PING, 0, 0, "is done.", 8);
	assert_true(say_buf(&v, &b));
	while (v.said.len == 0 || memmem(v.said.data, v.said.len, "is done.", 8) == NULL)
		assert_true(buf_read_fd(&v.said, v.line, 4096) > 0);
	/* RST_STREAM, FLOW_CONTROL_ERROR */
	assert_non_null(memmem(v.said.data, v.said.len, "\3\0\0\0\0\1\0\0\0\3", 10));
	while (buf_read_fd(&got, v.client, 65536) > 0)
		;
	assert_in_range(got.len, LINE_WINDOW, LINE_WINDOW + (1 << 20));
	assert_int_equal(victim_end(&v), 0);
	buf_release(&b);
	buf_release(&got);
}

/* Talks without end and never listens: the link stops listening, too, and keeps its memory. */
static void
flood(uint8_t type, uint8_t flags, const void *p, size_t n, size_t streams)
{
	struct victim v;
	struct buf b = BUF_INIT, many = BUF_INIT;
	size_t said = 0;
	long before, after;
	char drop[4096];

	victim_start(&v);
	preface(&b);
	assert_true(say_buf(&v, &b));
	before = memory_kib(v.pid);
	for (int i = 0; i < 500; i++)
		frame(&many, type, flags, streams > 0 ? 1 : 0, p, n);
	while (said < 64 << 20) {
		struct pollfd pfd = {.fd = v.line, .events = POLLOUT};
		ssize_t put;

		if (poll(&pfd, 1, 300) == 0)
			break; /* it does not take any more */
		put = send(v.line, many.data, many.len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (put < 0 && errno != EAGAIN)
			break; /* it has ended the line */
		/* Whole frames only. */
		while (put > 0 && (size_t)put % (n + 9) != 0) {
			pfd.revents = 0;
			if (poll(&pfd, 1, 300) == 0)
				break;
			ssize_t more = send(v.line, many.data + (size_t)put % (n + 9),
				n + 9 - (size_t)put % (n + 9), MSG_DONTWAIT | MSG_NOSIGNAL);
			if (more < 0 && errno != EAGAIN)
				break;
			put += more > 0 ? more : 0;
		}
		said += put > 0 ? (size_t)put : 0;
		if (streams > 0) /* the client reads, so that the window goes on */
			while (recv(v.client, drop, sizeof(drop), MSG_DONTWAIT) > 0)
				;
	}
	after = kill(v.pid, 0) == 0 ? memory_kib(v.pid) : before;
	print_message(
		"type %d: %zu KiB said, memory %ld to %ld KiB\n", type, said >> 10, before, after);
	/* A sanitizer's shadow is not ours to count. */
#ifndef __SANITIZE_ADDRESS__
	assert_true(after < before + 8192);
#endif
	victim_end(&v);
	buf_release(&b);
	buf_release(&many);
}

static void
test_floods(void **state)
{
	static uint8_t zeros[4096];

	(void)state;
	flood(PING, 0, "12345678", 8, 0);
	flood(SETTINGS, 0, "\0\3\0\0\1\0", 6, 0);
	flood(WINDOW_UPDATE, 0, "\0\0\0\1", 4, 0);
	flood(PRIORITY, 0, "\0\0\0\5\1", 5, 1);
	flood(HEADERS, END_HEADERS,
		"\x08\x03"
		"100",
		5, 1); /* informational, again and again */
	flood(DATA, 0, zeros, sizeof(zeros), 1);
	flood(DATA, 0, zeros, 0, 1);
	flood(77, 0, zeros, 100, 0); /* of a type that nobody knows */
}

static void
test_continuation_flood(void **state)
{
	static uint8_t zeros[1000];
	struct victim v;
	struct buf b = BUF_INIT;
	bool alive;

	(void)state;
	victim_start(&v);
	preface(&b);
	frame(&b, HEADERS, 0, 1, "\x88", 1);
	alive = say_buf(&v, &b);
	for (int i = 0; alive && i < 10000; i++) {
		frame(&b, CONTINUATION, 0, 1, zeros, sizeof(zeros));
		alive = say_buf(&v, &b);
	}
	assert_false(alive);
	expect_down(&v);
	buf_release(&b);
}

/* What had come over the line before it broke still reaches a client that reads slowly. */
static void
test_flushed_after_the_line(void **state)
{
	static uint8_t bytes[10000];
	struct victim v;
	struct buf b = BUF_INIT, got = BUF_INIT;

	(void)state;
	victim_start(&v);
	preface(&b);
	/* More than the client's socket takes. */
	for (int i = 0; i < 25; i++)
		frame(&b, DATA, 0, 1, bytes, sizeof(bytes));
	frame(&b, PING, 0, 0, "is done.", 8);
	assert_true(say_buf(&v, &b));
	while (v.said.len == 0 || memmem(v.said.data, v.said.len, "is done.", 8) == NULL)
		assert_true(buf_read_fd(&v.said, v.line, 4096) > 0);
	shutdown(v.line, SHUT_RDWR);
	while (buf_read_fd(&got, v.client, 65536) > 0)
		;
	assert_int_equal(got.len, 25 * sizeof(bytes));
	expect_down(&v);
	buf_release(&b);
	buf_release(&got);
}

/*
 * A client that leaves while the guest takes none of what it wrote: the stream is reset a while
 * later, and the wait costs no time.
 */
static void
test_gone_while_blocked(void **state)
{
	static uint8_t bytes[150000];
	struct victim v;
	struct buf b = BUF_INIT;
	uint64_t deadline = deadline_in_ms(WAIT_MS);

	(void)state;
	victim_start(&v);
	preface(&b);
	assert_true(say_buf(&v, &b));
	io_write_full(v.client, bytes, sizeof(bytes), deadline_in_ms(500));
	close(v.client);
	v.client = -1;
	poll(NULL, 0, 100);
	assert_in_range(cpu_ms_within(v.pid, 500), 0, 50);
	/* RST_STREAM of stream 1, CANCEL */
	while (v.said.len == 0 ||
		memmem(v.said.data, v.said.len, "\3\0\0\0\0\1\0\0\0\10", 10) == NULL) {
		struct pollfd p = {.fd = v.line, .events = POLLIN};

		assert_int_equal(poll(&p, 1, deadline_left_ms(deadline)), 1);
		assert_true(buf_read_fd(&v.said, v.line, 65536) > 0);
	}
	assert_int_equal(victim_end(&v), 0);
	buf_release(&b);
}

/* Nobody on the line: control's end is enough. A message without a descriptor is nothing. */
static void
test_silent_line(void **state)
{
	struct victim v;
	char msg = LINK_SESSION;

	(void)state;
	victim_start(&v);
	assert_int_equal(send(v.control, &msg, 1, 0), 1);
	msg = '?';
	assert_int_equal(send(v.control, &msg, 1, 0), 1);
	assert_int_equal(victim_end(&v), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_honest),
		cmocka_unit_test(test_drip),
		cmocka_unit_test(test_junk),
		cmocka_unit_test(test_breaches),
		cmocka_unit_test(test_one_stream_lost),
		cmocka_unit_test(test_window_ignored),
		cmocka_unit_test(test_floods),
		cmocka_unit_test(test_continuation_flood),
		cmocka_unit_test(test_flushed_after_the_line),
		cmocka_unit_test(test_gone_while_blocked),
		cmocka_unit_test(test_silent_line),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
