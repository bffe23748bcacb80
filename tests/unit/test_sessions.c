/* Commands through the link role and the guest's session server, as a client sees them. */
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
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

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
	assert_true(clock_mono_ms() - start < 15000);
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

static uint32_t
checksum(uint32_t sum, const uint8_t *p, size_t n)
{
	while (n-- > 0)
		sum = sum * 31 + *p++;
	return sum;
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
		still = now == last ? still + 1 : 0;
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
	static const uint8_t huge[] = {SESSION_STDIN, 0x7f, 0xff, 0xff, 0xff};
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
	for (int opened = 0; opened < 2; opened++) {
		struct session_open o = {.stdin_open = true};

		memset(&p, 0, sizeof(p));
		p.status = -1;
		if (opened) {
			peer_exec(&p, *state, &o, "cat", NULL);
			peer_started(&p);
		} else {
			p.fd = rig_connect(*state);
		}
		assert_int_equal(io_write_full(p.fd, huge, sizeof(huge), UINT64_MAX), 0);
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
	conn = accept(listener, NULL, NULL);
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
	conn = accept(listener, NULL, NULL);
	peer_started(&p);
	peer_close(&p);
	assert_int_equal(io_read_full(conn, &c, 1, deadline_in_ms(WAIT_MS)), -EPIPE);
	close(conn);
	close(listener);
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_codes),
		cmocka_unit_test(test_not_started),
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
		cmocka_unit_test(test_ten_mib_both_ways),
		cmocka_unit_test(test_fifty_streams_and_two_stalled),
		cmocka_unit_test(test_backpressure),
		cmocka_unit_test(test_one_byte_drip),
		cmocka_unit_test(test_broken_frames),
		cmocka_unit_test(test_large_open),
		cmocka_unit_test(test_more_clients_than_streams),
		cmocka_unit_test(test_forward),
		cmocka_unit_test(test_forward_client_gone),
		cmocka_unit_test(test_line_lost),
		cmocka_unit_test(test_identity_and_shutdown),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, setup, teardown);
}
