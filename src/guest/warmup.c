/*
 * How this works: an emulator translates what it has not executed yet, and in a clone that is
 * everything: its first program takes six times as long as the next one. So a process is there
 * already when the machine is saved. In the clone it starts a program, which others need no more to
 * wait for, on a processor that has nothing to do while PID 1 applies the identity on another one.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/log.h>

#include "warmup.h"

enum { GO = 3, REST };

/* Safe after fork (signal-safety(7)): PID 1 has threads. Nobody's end of file waits for this one:
 * it keeps no descriptor but its own. */
static void __attribute__((noreturn)) warmup_main(const struct spawn *plan, int go)
{
	struct spawn s = *plan;
	struct err e = {0};
	int report;
	pid_t pid;
	char byte;

	if (dup2(go, GO) < 0 || syscall(SYS_close_range, REST, ~0U, 0) < 0 ||
		read(GO, &byte, 1) != 1)
		_exit(1);
	s.fds[0] = s.fds[1] = s.fds[2] = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (s.fds[0] >= 0 && spawn_start(&s, &pid, &report, &e) == 0)
		waitpid(pid, NULL, 0);
	_exit(0);
}

int
warmup_prepare(const struct spawn *s, int *ret_go, struct err *e)
{
	int go[2], code;
	pid_t pid;

	if (pipe2(go, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	pid = fork();
	code = errno;
	if (pid == 0)
		warmup_main(s, go[0]);
	close(go[0]);
	if (pid < 0) {
		close(go[1]);
		return err_sys(e, code, "fork");
	}
	*ret_go = go[1];
	return 0;
}

void
warmup_go(int *go)
{
	if (*go < 0)
		return;
	if (write(*go, "", 1) < 0)
		log_debug("nothing is warmed up: %s", strerror(errno));
	close(*go);
	*go = -1;
}
