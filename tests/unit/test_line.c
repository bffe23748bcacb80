/* The two ends of the line when it delivers in crumbs, says nonsense, or nobody is there. */
#include <linux/sockios.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/clock.h>
#include <base/io.h>
#include <wire/line.h>

#include "guest_harness.h"
#include "h2_wire.h"

/* Reads and writes of random sizes, 1 byte often, in both directions of the line. */
static void
crumbs(int a, int b)
{
	struct {
		int from, to;
		uint8_t p[300];
		size_t at, len;
	} way[2] = {{.from = a, .to = b}, {.from = b, .to = a}};

	srand(1);
	for (;;) {
		struct pollfd p[2] = {{.fd = a}, {.fd = b}};

		for (int i = 0; i < 2; i++)
			if (way[i].len == 0)
				p[i].events |= POLLIN;
			else
				p[1 - i].events |= POLLOUT;
		poll(p, 2, -1);
		for (int i = 0; i < 2; i++) {
			size_t n = rand() % 3 == 0 ? 1 : 1 + (size_t)rand() % sizeof(way[i].p);
			ssize_t r;

			if (way[i].len == 0) {
				r = recv(way[i].from, way[i].p, n, MSG_DONTWAIT);
				if (r == 0)
					_exit(0);
				way[i].at = 0;
				way[i].len = r > 0 ? (size_t)r : 0;
			} else {
				r = send(way[i].to, way[i].p + way[i].at,
					n < way[i].len ? n : way[i].len,
					MSG_DONTWAIT | MSG_NOSIGNAL);
				way[i].at += r > 0 ? (size_t)r : 0;
				way[i].len -= r > 0 ? (size_t)r : 0;
			}
		}
	}
}

static void
test_line_in_crumbs(void **state)
{
	struct session_open o = {.stdin_open = true};
	struct rig r;
	struct peer p, q[5];
	static char text[100001];

	(void)state;
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('a' + i * i % 26);
	rig_crumbs = crumbs;
	rig_start(&r);
	rig_crumbs = NULL;
	peer_exec(&p, &r, &o, "cat", NULL);
	for (int i = 0; i < 5; i++) {
		struct session_open none = {0};
		char script[64];

		snprintf(script, sizeof(script), "seq 1 2000; exit %d", i);
		peer_exec(&q[i], &r, &none, "sh", "-c", script, NULL);
	}
	for (size_t at = 0; at < sizeof(text) - 1; at += 10000)
		peer_send(&p, SESSION_STDIN, text + at, 10000);
	peer_send(&p, SESSION_STDIN_EOF, NULL, 0);
	assert_int_equal(peer_run(&p), 0);
	assert_int_equal(p.out.len, sizeof(text) - 1);
	assert_string_equal(buf_str(&p.out), text);
	peer_close(&p);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(peer_run(&q[i]), i);
		assert_int_equal(q[i].out.len, 8893);
		peer_close(&q[i]);
	}
	rig_stop(&r);
}

/* All that was written has been read by the guest. */
static void
wait_until_read(int line)
{
	uint64_t deadline = deadline_in_ms(WAIT_MS);
	int left = 1;

	while (left > 0) {
		assert_true(deadline_left_ms(deadline) > 0);
		assert_int_equal(ioctl(line, SIOCOUTQ, &left), 0);
		poll(NULL, 0, 1);
	}
}

static void
guest_after(const uint8_t *nonsense, size_t first, size_t rest)
{
	struct rig r;
	struct peer p;
	int line;

	rig_start_guest(&r, &line);
	assert_int_equal(io_write_full(line, nonsense, first, deadline_in_ms(WAIT_MS)), 0);
	wait_until_read(line);
	assert_int_equal(io_write_full(line, nonsense + first, rest, deadline_in_ms(WAIT_MS)), 0);
	wait_until_read(line);
	rig_start_link(&r, line);
	assert_int_equal(sh(&r, &p, "exit 3"), 3);
	peer_close(&p);
	rig_stop(&r);
}

/*
 * What an earlier host left on the line belongs to nobody: half a frame, half a preface, beginnings
 * of one that go on as another.
 */
static void
test_guest_woken(void **state)
{
	static const char *const before[] = {"", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r", "PPRI",
		"PRI * HTTPRI * HTTP", "\1\2\3PRI * HTTP/2.0\r\nPRI *",
		"PRI * HTTP/2.0\r\n\r\nPRI"};

	(void)state;
	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++)
		for (size_t cut = 0; cut <= strlen(before[i]); cut++)
			guest_after((const uint8_t *)before[i], cut, strlen(before[i]) - cut);
}

/*
 * Saved in the midst of a conversation, and woken at another line: what was said is void in both
 * directions, and every program goes on, also one that had nothing but its client.
 */
static void
test_guest_saved_and_woken(void **state)
{
	static const uint8_t half[] = {0, 0, 9, DATA, 0, 0, 0, 0, 1, 'h', 'a'};
	struct session_open tty = {.tty = true, .stdin_open = true}, plain = {0};
	struct session_open save = {.op = SESSION_OP_SAVE}, attach = {.op = SESSION_OP_ATTACH};
	struct peer t, p, q;
	uint8_t word[LINE_WAKE];
	struct rig r;
	int line, kept;
	pid_t pid;

	(void)state;
	srand(3);
	for (size_t i = 0; i < sizeof(word); i++)
		word[i] = (uint8_t)(rand() >> 7);
	rig_start_guest(&r, &line);
	kept = dup(line);
	rig_start_link(&r, line);
	peer_exec(&t, &r, &tty, "cat", NULL);
	peer_started(&t);
	peer_exec(&p, &r, &plain, "sh", "-c", "echo $$; exec sleep 600", NULL);
	peer_until(&p, "\n");
	pid = atoi(buf_str(&p.out));
	buf_append(&save.wake, word, sizeof(word));
	peer_open(&q, &r, &save);
	assert_int_equal(peer_run(&q), 0);
	peer_close(&q);
	/* Nothing has changed for those who are there. */
	peer_say(&t, "before\n");
	peer_until(&t, "before");

	/* The machine has gone from them; what was under way is half a frame. */
	kill(r.link, SIGSTOP);
	peer_say(&t, "lost\n");
	kill(r.link, SIGKILL);
	waitpid(r.link, NULL, 0);
	close(r.control);
	assert_int_equal(io_write_full(kept, half, sizeof(half), deadline_in_ms(WAIT_MS)), 0);
	rig_wake = word;
	rig_start_link(&r, kept);
	rig_wake = NULL;
	peer_close(&t);
	peer_close(&p);
	assert_int_equal(sh(&r, &q, "exit 3"), 3);
	peer_close(&q);
	assert_int_equal(kill(pid, 0), 0);
	peer_open(&t, &r, &attach);
	peer_started(&t);
	peer_say(&t, "after\n");
	peer_until(&t, "after");
	kill(pid, SIGKILL);
	peer_send(&t, SESSION_SIGNAL, (uint8_t[]){SIGKILL}, 1);
	peer_run(&t);
	peer_close(&t);
	session_open_release(&save);
	rig_stop(&r);
}

/* The guest's end gets over nonsense, and serves who then speaks to it properly. */
static void
test_guest_junk(void **state)
{
	static const uint8_t almost[] = "PRI * HTTP/2.0\r\n\r\nSM and then something else";
	uint8_t junk[5000];

	(void)state;
	srand(7);
	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = (uint8_t)(rand() >> 7);
	guest_after(junk, sizeof(junk), 0);
	guest_after(almost, sizeof(almost) - 1, 0);
	guest_after(almost, 8, sizeof(almost) - 9);
}

/* Behind a proper beginning, in a session that runs: the guest drops it all and lives. */
static void
test_guest_junk_later(void **state)
{
	static const char magic[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	/* POST /session in static table entries and literals */
	static const uint8_t request[] = "\x83\x86\x44\x08/session\x41\x05guest";

	(void)state;
	for (unsigned seed = 1; seed <= 60; seed++) {
		struct rig r;
		struct buf b = BUF_INIT, open = BUF_INIT, f = BUF_INIT;
		struct session_open o = {.op = SESSION_OP_EXEC, .tty = seed % 2};
		int line;

		srand(seed);
		rig_start_guest(&r, &line);
		strv_add(&o.argv, "true");
		session_open_encode(&o, &open);
		frame_put(&f, SESSION_OPEN, open.data, open.len);
		buf_append(&b, magic, sizeof(magic) - 1);
		frame(&b, SETTINGS, 0, 0, NULL, 0);
		frame(&b, HEADERS, END_HEADERS, 1, request, sizeof(request) - 1);
		frame(&b, DATA, 0, 1, f.data, f.len);
		for (int i = 0; i < 5; i++) {
			uint8_t junk[64];

			for (size_t k = 0; k < sizeof(junk); k++)
				junk[k] = (uint8_t)(rand() >> 7);
			frame(&b, (uint8_t)(rand() % 11), (uint8_t)rand(), (uint32_t)rand() % 4,
				junk, (size_t)rand() % sizeof(junk));
		}
		assert_int_equal(io_write_full(line, b.data, b.len, deadline_in_ms(WAIT_MS)), 0);
		wait_until_read(line);
		close(line);
		rig_stop_guest(&r);
		buf_release(&b);
		buf_release(&open);
		buf_release(&f);
		session_open_release(&o);
	}
}

/* A line with nobody on it costs no time. */
static void
test_guest_alone_is_idle(void **state)
{
	struct rig r;
	int line;

	(void)state;
	rig_start_guest(&r, &line);
	close(line);
	poll(NULL, 0, 200); /* its start is not what is measured */
	assert_in_range(cpu_ms_within(r.guest, 500), 0, 30);
	rig_stop_guest(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_in_crumbs),
		cmocka_unit_test(test_guest_woken),
		cmocka_unit_test(test_guest_saved_and_woken),
		cmocka_unit_test(test_guest_junk),
		cmocka_unit_test(test_guest_junk_later),
		cmocka_unit_test(test_guest_alone_is_idle),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
