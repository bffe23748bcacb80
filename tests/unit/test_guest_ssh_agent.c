/*
 * The guest's end of the SSH agent, as the process that it is: what clients say comes out behind
 * their numbers, and a newer end keeps the socket whatever becomes of the older one.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/clock.h>
#include <base/io.h>
#include <wire/ssh.h>

#include "ssh_agent.h"

#define LIMIT_MS 20000

struct end {
	pid_t pid;
	int to, from; /* its standard input and output: the host's side of the session */
};

static char dir[] = "/tmp/paddock-test-ssh.XXXXXX";
static char path[sizeof(dir) + 16];

static struct end
end_start(void)
{
	int in[2], out[2];
	struct end e;

	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	e = (struct end){.to = in[1], .from = out[0]};
	e.pid = fork();
	assert_true(e.pid >= 0);
	if (e.pid == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		close_range(3, ~0U, 0); /* the other end's pipes, too */
		_exit(ssh_agent_main(path));
	}
	close(in[0]);
	close(out[1]);
	return e;
}

/* As when the session has ended. */
static void
end_stop(struct end *e)
{
	int status = -1;

	close(e->to);
	assert_int_equal(waitpid(e->pid, &status, 0), e->pid);
	assert_int_equal(status, 0);
	close(e->from);
}

static ino_t
socket_now(void)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* Waits until another socket than this one is there. */
static ino_t
socket_other_than(ino_t old)
{
	uint64_t limit = deadline_in_ms(LIMIT_MS);
	struct timespec nap = {.tv_nsec = 1000000};
	ino_t now;

	while ((now = socket_now()) == old || now == 0) {
		assert_true(clock_mono_ms() < limit);
		nanosleep(&nap, NULL);
	}
	return now;
}

static int
client(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(a.sun_path, path, strlen(path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* A client asks, and this end hears it and answers. */
static void
ask(const struct end *e)
{
	static const uint8_t question[] = {0, 0, 0, 1, 11}, line[] = {0, 0, 0, 0, 1, 11},
			     answer[] = {0, 0, 0, 0, 2, 12, 7}, heard[] = {0, 0, 0, 2, 12, 7};
	uint64_t limit = deadline_in_ms(LIMIT_MS);
	uint8_t got[sizeof(line)];
	int fd = client();

	assert_int_equal(io_write_full(fd, question, sizeof(question), limit), 0);
	assert_int_equal(io_read_full(e->from, got, sizeof(line), limit), 0);
	assert_memory_equal(got, line, sizeof(line));
	assert_int_equal(io_write_full(e->to, answer, sizeof(answer), limit), 0);
	assert_int_equal(io_read_full(fd, got, sizeof(heard), limit), 0);
	assert_memory_equal(got, heard, sizeof(heard));
	close(fd);
	/* Its number is free again. */
	assert_int_equal(io_read_full(e->from, got, SSH_LINE_HEAD, limit), 0);
	assert_memory_equal(got, "\0\0\0\0\0", SSH_LINE_HEAD);
}

/* After a sandbox has woken, the old end may learn last that its session is over. */
static void
test_a_newer_end_keeps_the_socket(void **state)
{
	struct end older = end_start(), newer;
	ino_t first = socket_other_than(0);
	struct stat st;

	(void)state;
	ask(&older);
	newer = end_start();
	socket_other_than(first);
	end_stop(&older);
	ask(&newer);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);
	end_stop(&newer);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_newer_end_keeps_the_socket),
	};
	int r;

	if (mkdtemp(dir) == NULL)
		return 1;
	snprintf(path, sizeof(path), "%s/agent.sock", dir);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	rmdir(dir);
	return r;
}
