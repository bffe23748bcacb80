/*
 * How fast a command's bytes travel: through the link role and the guest's session server, against
 * the same bytes through a plain pipe from the same program, in one run. Also the round trip of one
 * byte through a program that echoes, and of a whole command. Prints figures and ratios; asserts
 * nothing.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/clock.h>

#include "guest_harness.h"

#define MIB    256
#define ROUNDS 1000
#define RUNS   200

static double
seconds(uint64_t since_ns)
{
	return (double)(clock_mono_ns() - since_ns) / 1e9;
}

static double
through_pipe(const char *command)
{
	static char chunk[65536];
	uint64_t start = clock_mono_ns();
	FILE *f = popen(command, "re");

	while (read(fileno(f), chunk, sizeof(chunk)) > 0)
		;
	pclose(f);
	return seconds(start);
}

static double
through_link(struct rig *r, const char *command)
{
	struct session_open o = {0};
	uint64_t start = clock_mono_ns();
	struct peer p;

	peer_exec(&p, r, &o, "sh", "-c", command, NULL);
	while (peer_next(&p) > 0)
		buf_clear(&p.out);
	assert_int_equal(p.status, 0);
	peer_close(&p);
	return seconds(start);
}

static double
into_link(struct rig *r)
{
	static char chunk[FRAME_CHUNK];
	struct session_open o = {.stdin_open = true};
	uint64_t start = clock_mono_ns();
	struct peer p;

	peer_exec(&p, r, &o, "sh", "-c", "cat > /dev/null", NULL);
	for (size_t n = 0; n < (size_t)MIB << 20; n += sizeof(chunk))
		peer_send(&p, SESSION_STDIN, chunk, sizeof(chunk));
	peer_send(&p, SESSION_STDIN_EOF, NULL, 0);
	assert_int_equal(peer_run(&p), 0);
	peer_close(&p);
	return seconds(start);
}

static double
echoes(struct rig *r)
{
	struct session_open o = {.stdin_open = true};
	struct peer p;
	uint64_t start;
	double t;

	peer_exec(&p, r, &o, "cat", NULL);
	peer_started(&p);
	start = clock_mono_ns();
	for (int i = 0; i < ROUNDS; i++) {
		peer_say(&p, "x");
		peer_until(&p, "x");
		buf_clear(&p.out);
	}
	t = seconds(start) / ROUNDS;
	peer_send(&p, SESSION_STDIN_EOF, NULL, 0);
	peer_run(&p);
	peer_close(&p);
	return t;
}

static double
commands(struct rig *r)
{
	uint64_t start = clock_mono_ns();

	for (int i = 0; i < RUNS; i++) {
		struct peer p;

		sh(r, &p, ":");
		peer_close(&p);
	}
	return seconds(start) / RUNS;
}

int
main(void)
{
	char command[64];
	struct rig r;
	double bare, out, in;
	uint64_t start;

	signal(SIGPIPE, SIG_IGN);
	rig_start(&r);
	snprintf(command, sizeof(command), "head -c %dM /dev/zero", MIB);
	bare = through_pipe(command);
	out = through_link(&r, command);
	in = into_link(&r);
	printf("output   %6.0f MiB/s   %.1f times the time of a pipe (%.0f MiB/s)\n", MIB / out,
		out / bare, MIB / bare);
	printf("input    %6.0f MiB/s\n", MIB / in);
	printf("echo     %6.0f us a byte, there and back\n", echoes(&r) * 1e6);
	start = clock_mono_ns();
	for (int i = 0; i < RUNS; i++)
		(void)!system(":");
	bare = seconds(start) / RUNS;
	out = commands(&r);
	printf("command  %6.2f ms         %.1f times a plain sh -c\n", out * 1e3, out / bare);
	rig_stop(&r);
	return 0;
}
