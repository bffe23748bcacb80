/* Commands through the link role and the guest's session server, as a client sees them. */
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

#include <sys/syscall.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/cleanup.h>
#include <base/io.h>
#include <link/link.h>
#include <wire/identity.h>
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

static void
test_exit_codes(void **state)
{
	static const struct {
		const char *script;
		int status;
	} cases[] = {
		{"exit 0", 0},
		{"exit 1", 1},
		{"exit 255", 255},
		{"kill -KILL $$", 128 + 9},
		{"kill -TERM $$", 128 + 15},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct peer p;

		assert_int_equal(sh(*state, &p, cases[i].script), cases[i].status);
		assert_false(p.failed);
		peer_close(&p);
	}
}

/* What docker exec answers: 127 not found, 126 not to be executed; with a sentence. */
static void
test_not_started(void **state)
{
	static const struct {
		const char *program, *cwd, *user;
		int status;
		const char *text;
	} cases[] = {
		{"no-such-program", NULL, NULL, 127, "executable file not found in $PATH"},
		{"/no/such/program", NULL, NULL, 127, "No such file"},
		{"/etc/passwd", NULL, NULL, 126, "Permission denied"},
		{"/", NULL, NULL, 126, "Permission denied"},
		{"true", "/no/such/folder", NULL, 127, "cannot enter the folder"},
		{"true", "/etc/passwd", NULL, 126, "cannot enter the folder"},
		{"true", NULL, "stranger", 126, "no user 'stranger'"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct session_open o = {0};
		struct peer p;

		if (cases[i].cwd != NULL)
			o.cwd = strdup(cases[i].cwd);
		if (cases[i].user != NULL)
			o.user = strdup(cases[i].user);
		peer_exec(&p, *state, &o, cases[i].program, NULL);
		assert_int_equal(peer_run(&p), cases[i].status);
		assert_true(p.failed);
		if (strstr(p.text, cases[i].text) == NULL)
			fail_msg("'%s' is not in '%s'", cases[i].text, p.text);
		assert_int_equal(p.id, 0);
		peer_close(&p);
	}
}

/* A file of that name in PATH that may not be executed is not the same as none. */
static void
test_not_executable_in_path(void **state)
{
	struct session_open o = {0};
	struct peer p;

	strv_add(&o.env, "PATH=/no/such/folder:/etc:/usr");
	peer_exec(&p, *state, &o, "passwd", NULL);
	assert_int_equal(peer_run(&p), 126);
	assert_non_null(strstr(p.text, "Permission denied"));
	peer_close(&p);
	o = (struct session_open){0};
	strv_add(&o.env, "PATH=/etc:/usr/bin:/bin");
	peer_exec(&p, *state, &o, "true", NULL);
	assert_int_equal(peer_run(&p), 0);
	peer_close(&p);
}

static void
test_out_and_err(void **state)
{
	struct peer p;

	assert_int_equal(sh(*state, &p, "echo out; echo err >&2; echo more"), 0);
	assert_string_equal(buf_str(&p.out), "out\nmore\n");
	assert_string_equal(buf_str(&p.errs), "err\n");
	peer_close(&p);
}

static void
test_what_the_program_gets(void **state)
{
	struct session_open o = {.stdin_open = true};
	struct peer p;

	o.cwd = strdup("/usr");
	strv_add(&o.env, "COLOUR=blue");
	strv_add(&o.env, "LAYER=mine");
	peer_exec(&p, *state, &o, "sh", "-c",
		"pwd; echo $COLOUR $LAYER $HOME; umask; ls /proc/self/fd | wc -l; "
		"grep -E 'Sig(Blk|Ign)' /proc/self/status; cat /proc/self/oom_score_adj; "
		"ps -o pid=,pgid=,sid= -p $$ | awk '{ print $1 == $2, $2 == $3 }'; "
		"echo through > /dev/stderr",
		NULL);
	assert_int_equal(peer_run(&p), 0);
	/* 0, 1, 2 and the folder that ls itself reads */
	assert_string_equal(buf_str(&p.out),
		"/usr\nblue mine /\n0022\n4\n"
		"SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
		"0\n1 1\n");
	assert_string_equal(buf_str(&p.errs), "through\n");
	peer_close(&p);
}

static void
test_other_user(void **state)
{
	struct session_open o = {0};
	struct peer p;

	o.user = strdup("nobody");
	peer_exec(&p, *state, &o, "sh", "-c", "id -u; id -g; echo x > /dev/stdout", NULL);
	peer_run(&p);
	if (geteuid() == 0) {
		assert_int_equal(p.status, 0);
		assert_string_equal(buf_str(&p.out), "65534\n65534\nx\n");
	} else {
		assert_int_equal(p.status, 126);
	}
	peer_close(&p);
}

static void
test_login_shell(void **state)
{
	struct session_open o = {.login_shell = true};
	struct peer p;

	peer_exec(&p, *state, &o, "/bin/sh", "-c", "tr '\\0' ' ' < /proc/$$/cmdline | cut -c 1-3",
		NULL);
	assert_int_equal(peer_run(&p), 0);
	assert_string_equal(buf_str(&p.out), "-sh\n");
	peer_close(&p);
}

static void
test_stdin(void **state)
{
	struct session_open o = {.stdin_open = true};
	struct peer p;

	peer_exec(&p, *state, &o, "cat", NULL);
	peer_started(&p);
	peer_say(&p, "first");
	peer_until(&p, "first");
	peer_say(&p, "second");
	peer_send(&p, SESSION_STDIN_EOF, NULL, 0);
	assert_int_equal(peer_run(&p), 0);
	assert_string_equal(buf_str(&p.out), "firstsecond");
	peer_close(&p);
}

/* Without -i the program sees the end of its input at once; what is sent is dropped. */
static void
test_stdin_not_open(void **state)
{
	struct session_open o = {0};
	struct peer p;

	peer_exec(&p, *state, &o, "cat", NULL);
	peer_say(&p, "dropped");
	assert_int_equal(peer_run(&p), 0);
	assert_int_equal(p.out.len, 0);
	peer_close(&p);
}

/* The client's half-close is the program's end of input, and its output still arrives. */
static void
test_half_close(void **state)
{
	struct session_open o = {.stdin_open = true};
	struct peer p;

	peer_exec(&p, *state, &o, "sh", "-c", "cat; echo end", NULL);
	peer_say(&p, "text ");
	assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
	assert_int_equal(peer_run(&p), 0);
	assert_string_equal(buf_str(&p.out), "text end\n");
	peer_close(&p);
}

static void
test_background_does_not_hold_up(void **state)
{
	struct session_open o = {.tty = true};
	struct peer p;
	uint64_t start = clock_mono_ms();

	assert_int_equal(sh(*state, &p, "sleep 30 & echo started $!"), 0);
	peer_close(&p);
	peer_exec(&p, *state, &o, "sh", "-c", "trap '' HUP; sleep 30 & echo started", NULL);
	assert_int_equal(peer_run(&p), 0);
	assert_string_equal(buf_str(&p.out), "started\r\n");
	peer_close(&p);
	/* One that never falls silent is left behind, too. */
	assert_int_equal(sh(*state, &p, "yes & exit 7"), 7);
	peer_close(&p);
	assert_true(clock_mono_ms() - start < 25000);
}

static void
test_signal(void **state)
{
	struct session_open o = {0};
	struct peer p;
	uint8_t term = SIGTERM;

	peer_exec(&p, *state, &o, "sh", "-c",
		"trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.1; done", NULL);
	peer_until(&p, "ready");
	peer_send(&p, SESSION_SIGNAL, &term, 1);
	assert_int_equal(peer_run(&p), 3);
	assert_string_equal(buf_str(&p.out), "ready\ncaught\n");
	peer_close(&p);
}

static void
wait_for(bool (*there)(const char *), const char *arg, bool wanted)
{
	uint64_t deadline = deadline_in_ms(WAIT_MS);

	while (there(arg) != wanted) {
		if (deadline_left_ms(deadline) == 0)
			fail_msg("waited in vain for '%s'", arg);
		poll(NULL, 0, 5);
	}
}

static bool
exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static bool
lives(const char *pid)
{
	return kill((pid_t)atoi(pid), 0) == 0;
}

static void
test_client_gone(void **state)
{
	struct session_open o = {0};
	char path[] = "/tmp/test-sessions-XXXXXX";
	CLEAN_FREE char *script = NULL;
	CLEAN_FREE char *pid = NULL;
	struct peer p;

	close(mkstemp(path));
	unlink(path);
	assert_true(asprintf(&script,
			    "trap 'touch %s; exit' HUP; echo $$.; while :; do sleep 0.1; done",
			    path) > 0);
	peer_exec(&p, *state, &o, "sh", "-c", script, NULL);
	peer_until(&p, ".");
	pid = strdup(buf_str(&p.out));
	assert_true(lives(pid));
	peer_close(&p);
	wait_for(exists, path, true);
	wait_for(lives, pid, false);
	unlink(path);
}

/* One that takes SIGHUP for granted is killed, with its whole group, a while later. */
static void
test_client_gone_stubborn(void **state)
{
	struct session_open o = {0};
	CLEAN_FREE char *pid = NULL;
	CLEAN_FREE char *child = NULL;
	struct peer p;

	peer_exec(&p, *state, &o, "sh", "-c",
		"trap '' HUP; sleep 60 & echo $$ $!.; while :; do sleep 0.1; done", NULL);
	peer_until(&p, ".");
	pid = strdup(buf_str(&p.out));
	child = strdup(strchr(pid, ' ') + 1);
	peer_close(&p);
	assert_true(lives(pid));
	wait_for(lives, pid, false);
	wait_for(lives, child, false);
}

static void
test_detached_exec(void **state)
{
	struct session_open o = {.detach = true};
	char path[] = "/tmp/test-sessions-XXXXXX";
	CLEAN_FREE char *script = NULL;
	struct peer p;

	close(mkstemp(path));
	unlink(path);
	assert_true(asprintf(&script, "sleep 0.3; echo nobody hears; touch %s", path) > 0);
	peer_exec(&p, *state, &o, "sh", "-c", script, NULL);
	assert_int_equal(peer_run(&p), 0);
	assert_int_not_equal(p.id, 0);
	assert_int_equal(p.out.len, 0);
	peer_close(&p);
	wait_for(exists, path, true);
	unlink(path);
}

static void
test_ping_and_list(void **state)
{
	struct session_open ping = {.op = SESSION_OP_PING}, list = {.op = SESSION_OP_LIST};
	struct session_open o = {.tty = true, .stdin_open = true};
	struct session_info i;
	struct tlv_reader rd;
	struct peer p, q;
	bool found = false;

	peer_open(&p, *state, &ping);
	assert_int_equal(peer_run(&p), 0);
	peer_close(&p);
	peer_exec(&q, *state, &o, "cat", "-u", NULL);
	peer_started(&q);
	peer_open(&p, *state, &list);
	assert_int_equal(peer_run(&p), 0);
	tlv_reader_init(&rd, p.out.data, p.out.len);
	while (session_info_next(&rd, &i) > 0) {
		if (i.id == q.id) {
			found = true;
			assert_string_equal(i.command, "cat -u");
			assert_true(i.tty && i.attached && i.pid > 1);
		}
		session_info_release(&i);
	}
	assert_true(found);
	peer_close(&p);
	peer_say(&q, "\4");
	assert_int_equal(peer_run(&q), 0);
	peer_close(&q);
}

static void
test_line_lost(void **state)
{
	struct session_open o = {0};
	struct rig r;
	struct peer p;
	char msg = 0;
	struct pollfd pfd;

	(void)state;
	rig_start(&r);
	peer_exec(&p, &r, &o, "sh", "-c", "echo last words; sleep 0.2", NULL);
	peer_until(&p, "words");
	rig_stop_guest(&r);
	assert_int_equal(peer_run(&p), -1); /* end of the stream without EXIT */
	pfd = (struct pollfd){.fd = r.control, .events = POLLIN};
	assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
	assert_int_equal(recv(r.control, &msg, 1, 0), 1);
	assert_int_equal(msg, LINK_DOWN);
	peer_close(&p);
	rig_stop(&r);
}

static void
put_identity(struct session_open *o, const char *hostname)
{
	struct identity i = {.hostname = strdup(hostname),
		.name = strdup("box"),
		.address = strdup("198.18.0.2/30"),
		.gateway = strdup("198.18.0.1")};

	strv_add(&i.env, "LAYER=identity");
	identity_add_workspace(&i, "/usr", false, false);
	*o = (struct session_open){.op = SESSION_OP_IDENTITY};
	identity_encode(&i, &o->identity);
	identity_release(&i);
}

static int
identify(struct rig *r, struct peer *p, const char *hostname)
{
	struct session_open o;

	put_identity(&o, hostname);
	peer_open(p, r, &o);
	session_open_release(&o);
	return peer_run(p);
}

static void
test_identity_and_shutdown(void **state)
{
	struct session_open shut = {.op = SESSION_OP_SHUTDOWN};
	struct rig r;
	struct peer p;

	(void)state;
	rig_without_identity = true;
	rig_start(&r);
	rig_without_identity = false;
	assert_int_equal(sh(&r, &p, "true"), 125);
	assert_non_null(strstr(p.text, "not ready"));
	peer_close(&p);
	assert_int_equal(identify(&r, &p, "refuse"), 125);
	assert_non_null(strstr(p.text, "refused"));
	peer_close(&p);
	assert_int_equal(identify(&r, &p, "box"), 0);
	peer_close(&p);
	assert_int_equal(identify(&r, &p, "box"), 125);
	peer_close(&p);
	assert_int_equal(sh(&r, &p, "echo $LAYER; pwd"), 0);
	assert_string_equal(buf_str(&p.out), "identity\n/usr\n");
	peer_close(&p);
	peer_open(&p, &r, &shut);
	assert_int_equal(peer_run(&p), 0);
	peer_close(&p);
	rig_stop_guest(&r); /* which ended by itself */
	rig_stop(&r);
}

/* Some callers (timeout under make) leave the C library's own signals ignored, and it hides them.
 */
static void
reset_hidden_signals(void)
{
	const unsigned long dfl[4] = {0};

	for (int n = 32; n <= 33; n++)
		syscall(SYS_rt_sigaction, n, dfl, NULL, 8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_codes),
		cmocka_unit_test(test_not_started),
		cmocka_unit_test(test_not_executable_in_path),
		cmocka_unit_test(test_out_and_err),
		cmocka_unit_test(test_what_the_program_gets),
		cmocka_unit_test(test_other_user),
		cmocka_unit_test(test_login_shell),
		cmocka_unit_test(test_stdin),
		cmocka_unit_test(test_stdin_not_open),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_background_does_not_hold_up),
		cmocka_unit_test(test_signal),
		cmocka_unit_test(test_client_gone),
		cmocka_unit_test(test_client_gone_stubborn),
		cmocka_unit_test(test_detached_exec),
		cmocka_unit_test(test_ping_and_list),
		cmocka_unit_test(test_line_lost),
		cmocka_unit_test(test_identity_and_shutdown),
	};

	signal(SIGPIPE, SIG_IGN);
	reset_hidden_signals();
	return cmocka_run_group_tests(tests, setup, teardown);
}
