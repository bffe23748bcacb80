#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/proc.h>

#include "helper.h"

#define END_LIMIT_MS 5000

static _Noreturn void
child_main(int sock, pid_t parent, helper_work *work, void *arg)
{
	int fds[HELPER_FDS_MAX];
	struct err e = {0};
	size_t n = 0;
	char byte;

	memset(fds, -1, sizeof(fds));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	if (work(arg, fds, &e) < 0 && e.code == 0)
		e.code = EIO;
	while (e.code == 0 && n < HELPER_FDS_MAX && fds[n] >= 0)
		n++;
	if (io_send_fds(sock, &e, sizeof(e), fds, n) == 0)
		while (read(sock, &byte, 1) > 0)
			; /* the parent closes its end, or kills us */
	_exit(0);
}

int
helper_start(struct helper *h, helper_work *work, void *arg, struct err *e)
{
	pid_t parent = getpid();
	sigset_t all, old;
	int pair[2], code;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "socketpair");
	/* The child must never run our signal handlers, which may write into an event loop's pipe.
	 */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	h->pid = fork();
	code = errno;
	if (h->pid == 0) {
		close(pair[0]);
		child_main(pair[1], parent, work, arg);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(pair[1]);
	h->sock = pair[0];
	if (h->pid < 0)
		return err_sys(e, code, "fork");
	h->pidfd = (int)syscall(SYS_pidfd_open, h->pid, 0);
	if (h->pidfd < 0)
		return err_sys(e, errno, "pidfd");
	return 0;
}

int
helper_result(struct helper *h, int *ret_fds, size_t nfds, uint64_t deadline_ms, struct err *e)
{
	struct pollfd p = {.fd = h->sock, .events = POLLIN};
	int fds[HELPER_FDS_MAX], r;
	struct err child;
	size_t got = 0;
	ssize_t n;

	do
		r = poll(&p, 1, deadline_left_ms(deadline_ms));
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return err_set(e, r == 0 ? ETIMEDOUT : errno, "the kernel did not answer in time");
	n = io_recv_fds(h->sock, &child, sizeof(child), fds, HELPER_FDS_MAX, &got);
	if (n == (ssize_t)sizeof(child) && child.code == 0 && got == nfds) {
		if (nfds > 0)
			memcpy(ret_fds, fds, nfds * sizeof(*fds));
		return 0;
	}
	while (got > 0)
		close(fds[--got]);
	if (n != (ssize_t)sizeof(child) || child.code == 0)
		return err_set(e, EIO, "the helper process died");
	if (e != NULL)
		*e = child;
	return -child.code;
}

void
helper_end(struct helper *h)
{
	if (h->pid > 0) {
		kill(h->pid, SIGKILL);
		/* A limit, as a kernel that hangs in the child's tear-down must not hang us. */
		proc_wait(h->pid, h->pidfd, deadline_in_ms(END_LIMIT_MS));
	}
	if (h->pidfd >= 0)
		close(h->pidfd);
	if (h->sock >= 0)
		close(h->sock);
	*h = (struct helper)HELPER_INIT;
}
