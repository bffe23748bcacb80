/*
 * How this works: fork, put the descriptors in place, prepare, exec. A close-on-exec pipe tells the
 * parent of a failure between fork and exec, with the message; end of file on it means success.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/proc.h>

static int
place_fds(const struct proc_spec *s, int *report)
{
	int tmp[PROC_FDS_MAX];
	int floor = (int)s->nfds + 1, fd;

	/* First out of the way of the targets, then onto them. */
	fd = fcntl(*report, F_DUPFD_CLOEXEC, floor);
	if (fd < 0)
		return -errno;
	*report = fd;
	for (size_t i = 0; i < s->nfds; i++) {
		if (s->fds[i] < 0)
			tmp[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
		else
			tmp[i] = fcntl(s->fds[i], F_DUPFD_CLOEXEC, floor);
		if (tmp[i] < 0)
			return -errno;
		if (tmp[i] < floor) {
			int up = fcntl(tmp[i], F_DUPFD_CLOEXEC, floor);

			close(tmp[i]);
			if (up < 0)
				return -errno;
			tmp[i] = up;
		}
	}
	for (size_t i = 0; i < s->nfds; i++)
		if (dup2(tmp[i], (int)i) < 0)
			return -errno;
	return 0;
}

static void
child_signals(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		if (i != SIGKILL && i != SIGSTOP)
			signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
tie_to(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127); /* it died before we could hear of it */
}

static int
child_main(const struct proc_spec *s, int *report, pid_t parent, struct err *e)
{
	int r;

	child_signals();
	if (s->die_with_parent)
		tie_to(parent);
	r = place_fds(s, report);
	if (r < 0)
		return err_sys(e, -r, "descriptors");
	if (s->new_session && setsid() < 0)
		return err_sys(e, errno, "setsid");
	if (s->cwd != NULL && chdir(s->cwd) < 0)
		return err_sys(e, errno, "chdir '%s'", s->cwd);
	if (s->prepare != NULL) {
		r = s->prepare(s->arg, e);
		if (r < 0)
			return r;
	}
	/* Credentials may have changed in there, which clears the parent-death signal. */
	if (s->die_with_parent)
		tie_to(parent);
	/* Nothing but 0..nfds-1 crosses exec, whatever the parent forgot to mark. */
	if (syscall(SYS_close_range, (unsigned)s->nfds, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */) < 0)
		return err_sys(e, errno, "close_range");
	if (s->envp != NULL)
		execvpe(s->file, s->argv, s->envp);
	else
		execvp(s->file, s->argv);
	return err_sys(e, errno, "start '%s'", s->file);
}

int
proc_spawn(const struct proc_spec *s, pid_t *ret_pid, int *ret_pidfd, struct err *e)
{
	CLEAN_CLOSE int pidfd = -1;
	struct err child = {0};
	int report[2];
	pid_t pid, parent = getpid();
	ssize_t n;

	if (pipe2(report, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	pid = fork();
	if (pid < 0) {
		close(report[0]);
		close(report[1]);
		return err_sys(e, errno, "fork");
	}
	if (pid == 0) {
		child_main(s, &report[1], parent, &child);
		n = write(report[1], &child, sizeof(child));
		_exit(n == (ssize_t)sizeof(child) ? 127 : 126);
	}
	close(report[1]);
	do
		n = read(report[0], &child, sizeof(child));
	while (n < 0 && errno == EINTR);
	close(report[0]);
	if (n != 0) {
		waitpid(pid, NULL, 0);
		if (n != (ssize_t)sizeof(child) || child.code <= 0)
			return err_set(e, EIO, "start '%s': the child died", s->file);
		if (e != NULL)
			*e = child;
		return -child.code;
	}
	if (ret_pidfd != NULL) {
		pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		if (pidfd < 0) {
			int code = errno;

			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			return err_sys(e, code, "pidfd");
		}
		*ret_pidfd = TAKE_FD(pidfd);
	}
	*ret_pid = pid;
	return 0;
}

int
proc_wait(pid_t pid, int pidfd, uint64_t deadline_ms)
{
	int status, r;

	if (pidfd >= 0) {
		struct pollfd p = {.fd = pidfd, .events = POLLIN};

		do
			r = poll(&p, 1,
				deadline_ms == UINT64_MAX ? -1 : deadline_left_ms(deadline_ms));
		while (r < 0 && errno == EINTR);
		if (r == 0)
			return -ETIMEDOUT;
	}
	do
		r = waitpid(pid, &status, 0);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int
proc_stop(pid_t pid, int pidfd, uint64_t grace_ms)
{
	int r;

	kill(pid, SIGTERM);
	if (pidfd >= 0) {
		r = proc_wait(pid, pidfd, deadline_in_ms(grace_ms));
		if (r != -ETIMEDOUT)
			return r;
	}
	kill(pid, SIGKILL);
	return proc_wait(pid, -1, UINT64_MAX);
}

/* Keeps the last lines of what a failed program said, on one line. */
static void
tail_of(struct buf *b, char *out, size_t size)
{
	const char *s = buf_str(b);
	size_t n = b->len;

	while (n > 0 && (s[n - 1] == '\n' || s[n - 1] == ' '))
		n--;
	if (n > size - 1) {
		s += n - (size - 1);
		n = size - 1;
	}
	str_escape(s, n, out, size);
}

static int
collect(int out_fd, int err_fd, uint64_t deadline, struct buf *out, struct buf *errs)
{
	struct pollfd p[2] = {{.fd = out_fd, .events = POLLIN}, {.fd = err_fd, .events = POLLIN}};

	while (p[0].fd >= 0 || p[1].fd >= 0) {
		int r = poll(p, 2, deadline_left_ms(deadline));

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r == 0 ? -ETIMEDOUT : -errno;
		for (int i = 0; i < 2; i++) {
			struct buf *b = i == 0 ? out : errs;
			ssize_t n;

			if (p[i].fd < 0 || p[i].revents == 0)
				continue;
			n = buf_read_fd(b, p[i].fd, 16384);
			if (n <= 0)
				p[i].fd = -1;
			if (i == 1 && b->len > 65536)
				buf_consume(b, b->len - 32768);
		}
	}
	return 0;
}

int
proc_run(char *const *argv, uint64_t timeout_ms, struct buf *out, struct err *e)
{
	CLEAN_BUF struct buf errs = BUF_INIT;
	CLEAN_BUF struct buf dropped = BUF_INIT;
	uint64_t deadline = deadline_in_ms(timeout_ms);
	int o[2], s[2], r, code = 0;
	CLEAN_CLOSE int pidfd = -1, or = -1, sr = -1;
	pid_t pid = 0;
	char tail[160];

	if (pipe2(o, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	or = o[0];
	if (pipe2(s, O_CLOEXEC) < 0) {
		close(o[1]);
		return err_sys(e, errno, "pipe");
	}
	sr = s[0];
	struct proc_spec spec = {.file = argv[0],
		.argv = argv,
		.fds = {-1, o[1], s[1]},
		.nfds = 3,
		.die_with_parent = true};
	r = proc_spawn(&spec, &pid, &pidfd, e);
	close(o[1]);
	close(s[1]);
	if (r < 0)
		return r;
	r = collect(or, sr, deadline, out != NULL ? out : &dropped, &errs);
	if (r == 0)
		r = code = proc_wait(pid, pidfd, deadline);
	if (r < 0) {
		proc_stop(pid, pidfd, 0);
		return r == -ETIMEDOUT ? err_set(e, ETIMEDOUT, "'%s' did not end within %llu s",
						 argv[0], (unsigned long long)timeout_ms / 1000)
				       : err_sys(e, -r, "'%s'", argv[0]);
	}
	if (code == 0)
		return 0;
	tail_of(&errs, tail, sizeof(tail));
	return err_set(e, EIO, "'%s' failed with exit code %d: %s", argv[0], code, tail);
}

char *
proc_find(const char *name)
{
	const char *env = getenv("PATH");
	CLEAN_FREE char *path = xasprintf(
		"%s:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin", env != NULL ? env : "");
	char *save = NULL;

	if (strchr(name, '/') != NULL)
		return access(name, X_OK) == 0 ? xstrdup(name) : NULL;
	for (char *dir = strtok_r(path, ":", &save); dir != NULL;
		dir = strtok_r(NULL, ":", &save)) {
		char *full = xasprintf("%s/%s", dir, name);

		if (dir[0] == '/' && access(full, X_OK) == 0)
			return full;
		free(full);
	}
	return NULL;
}
