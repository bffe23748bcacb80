/* Terminal sessions through the link role and the guest's session server. */
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

#include <base/cleanup.h>
#include <base/clock.h>
#include <wire/tlv.h>

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

/* sh -c script on a terminal of 24 rows and 80 columns. */
static void
terminal(struct peer *p, struct rig *r, const char *script)
{
	struct session_open o = {.tty = true, .stdin_open = true, .rows = 24, .cols = 80};

	peer_exec(p, r, &o, "sh", "-c", script, NULL);
	peer_started(p);
}

static void
attach(struct peer *p, struct rig *r, uint32_t id)
{
	struct session_open o = {
		.op = SESSION_OP_ATTACH, .session = id, .stdin_open = true, .rows = 24, .cols = 80};

	peer_open(p, r, &o);
}

/* The one session of the test is the only one: whatever the last test left is over. */
static void
wait_for_count(struct rig *r, int wanted)
{
	uint64_t deadline = deadline_in_ms(WAIT_MS);
	int count;

	do {
		struct session_open o = {.op = SESSION_OP_LIST};
		struct session_info i;
		struct tlv_reader rd;
		struct peer p;

		peer_open(&p, r, &o);
		assert_int_equal(peer_run(&p), 0);
		tlv_reader_init(&rd, p.out.data, p.out.len);
		for (count = 0; session_info_next(&rd, &i) > 0; count++)
			session_info_release(&i);
		peer_close(&p);
		if (deadline_left_ms(deadline) == 0)
			fail_msg("%d sessions instead of %d", count, wanted);
	} while (count != wanted);
}

static void
test_is_a_terminal(void **state)
{
	struct peer p;

	terminal(&p, *state,
		"test -t 0 && test -t 1 && test -t 2 && echo yes; stty size; stty -a | grep -c "
		"'[^-]iutf8'; echo $TERM; echo direct > /dev/tty; echo named > $(tty); exit 9");
	assert_int_equal(peer_run(&p), 9);
	assert_string_equal(buf_str(&p.out), "yes\r\n24 80\r\n1\r\nxterm\r\ndirect\r\nnamed\r\n");
	peer_close(&p);
}

static void
test_resize(void **state)
{
	struct peer p;

	terminal(&p, *state,
		"trap 'echo size $(stty size).' WINCH; echo ready; while :; do sleep 0.05; done");
	peer_until(&p, "ready");
	peer_winsize(&p, 50, 132);
	peer_until(&p, "size 50 132.");
	peer_say(&p, "\3");
	peer_run(&p);
	peer_close(&p);
}

static void
test_interrupt_byte(void **state)
{
	struct peer p;

	terminal(&p, *state,
		"trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done");
	peer_until(&p, "ready");
	peer_say(&p, "\3");
	assert_int_equal(peer_run(&p), 5);
	assert_non_null(strstr(buf_str(&p.out), "caught"));
	peer_close(&p);
}

/* A signal goes to the job in the foreground, not to the shell behind it. */
static void
test_signal_to_foreground(void **state)
{
	struct session_open o = {.tty = true, .stdin_open = true};
	struct peer p;
	uint8_t term = SIGTERM;

	strv_add(&o.env, "PS1=prompt:");
	peer_exec(&p, *state, &o, "bash", "--norc", "--noediting", "-i", NULL);
	peer_until(&p, "prompt:");
	peer_say(&p, "sh -c 'echo in''side; sleep 60'; echo st''atus $?\n");
	peer_until(&p, "inside");
	peer_send(&p, SESSION_SIGNAL, &term, 1);
	peer_until(&p, "status 143");
	peer_say(&p, "exit 6\n");
	assert_int_equal(peer_run(&p), 6);
	peer_close(&p);
}

static void
test_end_of_input(void **state)
{
	struct peer p;

	terminal(&p, *state, "stty -echo; echo ready; cat; echo after");
	peer_until(&p, "ready");
	peer_say(&p, "line\n");
	peer_send(&p, SESSION_STDIN_EOF, NULL, 0);
	assert_int_equal(peer_run(&p), 0);
	assert_string_equal(buf_str(&p.out), "ready\r\nline\r\nafter\r\n");
	peer_close(&p);

	/* In the middle of a line. */
	terminal(&p, *state, "stty -echo; echo ready; cat; echo after");
	peer_until(&p, "ready");
	peer_say(&p, "half");
	peer_send(&p, SESSION_STDIN_EOF, NULL, 0);
	assert_int_equal(peer_run(&p), 0);
	assert_string_equal(buf_str(&p.out), "ready\r\nhalfafter\r\n");
	peer_close(&p);
}

/* Everything is there before EXIT, however slowly it is read. */
static void
test_all_output(void **state)
{
	struct peer p;
	size_t lines = 0;

	terminal(&p, *state, "seq 1 60000");
	poll(NULL, 0, 100); /* let it fill every buffer; the result is the same without */
	assert_int_equal(peer_run(&p), 0);
	for (size_t i = 0; i < p.out.len; i++)
		lines += p.out.data[i] == '\n';
	assert_int_equal(lines, 60000);
	assert_true(p.out.len > 9 && strcmp(buf_str(&p.out) + p.out.len - 7, "60000\r\n") == 0);
	peer_close(&p);
}

/* The program lets go of its terminal, runs on, and takes it up again. */
static void
test_terminal_closed_for_a_while(void **state)
{
	struct peer p;

	terminal(&p, *state,
		"t=$(tty); exec </dev/null >/dev/null 2>&1; sleep 0.2; echo back > $t; sleep 0.2; "
		"exit 4");
	assert_int_equal(peer_run(&p), 4);
	assert_string_equal(buf_str(&p.out), "back\r\n");
	peer_close(&p);
}

static void
test_detach_and_attach(void **state)
{
	struct peer p, q;

	wait_for_count(*state, 0);
	terminal(&p, *state,
		"stty -echo; echo ready; while read -r w; do echo said $w after $old.; old=$w; "
		"done");
	peer_until(&p, "ready");
	peer_say(&p, "one\n");
	peer_until(&p, "said one");
	/* The last word before leaving is not lost (the answer to it may be: it was on its way). */
	peer_say(&p, "two\n");
	peer_close(&p);
	wait_for_count(*state, 1);
	attach(&q, *state, 0);
	peer_started(&q);
	assert_int_equal(q.id, p.id);
	peer_say(&q, "three\n");
	peer_until(&q, "said three after two.");
	assert_null(strstr(buf_str(&q.out), "said one"));
	peer_say(&q, "\4");
	assert_int_equal(peer_run(&q), 0);
	peer_close(&q);
	attach(&q, *state, p.id);
	assert_int_equal(peer_run(&q), 125);
	assert_non_null(strstr(q.text, "is not running"));
	peer_close(&q);
}

/* Nobody looks, and the program goes on; the newest of what it said is shown to who comes back. */
static void
test_output_while_detached(void **state)
{
	char path[] = "/tmp/test-terminal-XXXXXX";
	CLEAN_FREE char *script = NULL;
	uint64_t deadline = deadline_in_ms(WAIT_MS);
	struct peer p, q;

	close(mkstemp(path));
	unlink(path);
	assert_true(
		asprintf(&script,
			"stty -echo; echo ready; read go; seq 1000000 1099999; touch %s; read end",
			path) > 0);
	terminal(&p, *state, script);
	peer_until(&p, "ready");
	peer_say(&p, "go\n");
	peer_close(&p);
	while (access(path, F_OK) < 0) {
		assert_true(deadline_left_ms(deadline) > 0);
		poll(NULL, 0, 5);
	}
	unlink(path);
	attach(&q, *state, p.id);
	peer_until(&q, "1099999\r\n");
	/* The ring, and what the terminal itself still held: of 900 kB. */
	assert_in_range(q.out.len, 60000, 200000);
	/* From the start of a line. */
	assert_int_equal(q.out.data[7], '\r');
	peer_say(&q, "end\n");
	assert_int_equal(peer_run(&q), 0);
	peer_close(&q);
}

/* The size is the same as before, and yet the program is told to draw. */
static void
test_attach_redraws(void **state)
{
	struct peer p, q;

	terminal(&p, *state,
		"trap 'echo size $(stty size).' WINCH; echo ready; while :; do sleep 0.02; done");
	peer_until(&p, "ready");
	peer_close(&p);
	attach(&q, *state, p.id);
	peer_until(&q, "size 24 80.");
	peer_say(&q, "\3");
	peer_run(&q);
	peer_close(&q);
}

/* So is a program that looks at the size late, and draws only where it has changed. */
static void
test_attach_redraws_slowly(void **state)
{
	struct peer p, q;

	terminal(&p, *state,
		"stty -echo; old=$(stty size); trap 'sleep 0.4; new=$(stty size); "
		"[ \"$new\" = \"$old\" ] || echo \"now $new.\"; old=$new' WINCH; echo ready; "
		"while :; do sleep 0.02; done");
	peer_until(&p, "ready");
	peer_close(&p);
	attach(&q, *state, p.id);
	peer_winsize(&q, 24, 80);
	peer_until(&q, "now 24 80.");
	peer_say(&q, "\3");
	peer_run(&q);
	peer_close(&q);
}

static void
test_attach_wins(void **state)
{
	struct peer p, q;

	terminal(&p, *state, "stty -echo; echo ready; cat");
	peer_until(&p, "ready");
	attach(&q, *state, p.id);
	peer_started(&q);
	assert_int_equal(peer_run(&p), 125);
	assert_non_null(strstr(p.text, "another client"));
	peer_say(&q, "hello\n");
	peer_until(&q, "hello");
	peer_close(&p); /* the older one's going away is of no interest any more */
	peer_say(&q, "again\n");
	peer_until(&q, "again");
	peer_say(&q, "\4");
	assert_int_equal(peer_run(&q), 0);
	peer_close(&q);
}

static void
test_nothing_to_attach_to(void **state)
{
	struct session_open o = {0};
	struct peer p, q;

	wait_for_count(*state, 0);
	peer_exec(&p, *state, &o, "sleep", "60", NULL);
	peer_started(&p);
	attach(&q, *state, 0);
	assert_int_equal(peer_run(&q), 125);
	assert_string_equal(q.text, "no session is running; start one with: paddock run NAME");
	peer_close(&q);
	attach(&q, *state, p.id);
	assert_int_equal(peer_run(&q), 125);
	assert_non_null(strstr(q.text, "has no terminal"));
	peer_close(&q);
	peer_close(&p);
	wait_for_count(*state, 0);
}

/* exec -dt: a terminal that nobody has looked at yet. */
static void
test_started_detached(void **state)
{
	struct session_open o = {.tty = true, .detach = true, .stdin_open = true};
	struct peer p, q;

	peer_exec(&p, *state, &o, "sh", "-c", "echo early; read word; echo $word; exit 3", NULL);
	assert_int_equal(peer_run(&p), 0);
	attach(&q, *state, p.id);
	peer_until(&q, "early");
	peer_say(&q, "late\n");
	assert_int_equal(peer_run(&q), 3);
	peer_close(&p);
	peer_close(&q);
}

/* A program that reads nothing: the client is held up, not the guest's memory; nor the others. */
static void
test_input_backpressure(void **state)
{
	static char chunk[FRAME_CHUNK];
	struct peer p, q;
	struct buf out = BUF_INIT;
	size_t sent = 0;

	memset(chunk, 'x', sizeof(chunk));
	terminal(&p, *state, "stty raw -echo; echo ready; sleep 60");
	peer_until(&p, "ready");
	for (;;) {
		struct pollfd pfd = {.fd = p.fd, .events = POLLOUT};
		ssize_t n;

		if (out.len == 0)
			frame_put(&out, SESSION_STDIN, chunk, sizeof(chunk));
		if (poll(&pfd, 1, 300) == 0)
			break;
		n = send(p.fd, out.data, out.len, MSG_DONTWAIT);
		assert_true(n > 0);
		buf_consume(&out, (size_t)n);
		sent += (size_t)n;
		assert_true(sent < 4 << 20);
	}
	buf_release(&out);
	assert_int_equal(sh(*state, &q, "exit 2"), 2);
	peer_close(&q);
	/* Gone while blocked: the session is detached all the same, and another may come. */
	peer_close(&p);
	attach(&q, *state, p.id);
	peer_started(&q);
	uint8_t kill_it = SIGKILL;
	peer_send(&q, SESSION_SIGNAL, &kill_it, 1);
	while (peer_next(&q) > 0)
		;
	peer_close(&q);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_is_a_terminal),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_interrupt_byte),
		cmocka_unit_test(test_signal_to_foreground),
		cmocka_unit_test(test_end_of_input),
		cmocka_unit_test(test_all_output),
		cmocka_unit_test(test_terminal_closed_for_a_while),
		cmocka_unit_test(test_detach_and_attach),
		cmocka_unit_test(test_output_while_detached),
		cmocka_unit_test(test_attach_redraws),
		cmocka_unit_test(test_attach_redraws_slowly),
		cmocka_unit_test(test_attach_wins),
		cmocka_unit_test(test_nothing_to_attach_to),
		cmocka_unit_test(test_started_detached),
		cmocka_unit_test(test_input_backpressure),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, setup, teardown);
}
