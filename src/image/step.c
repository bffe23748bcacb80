#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/proc.h>

#include "step.h"
#include "watch.h"

#define LINE_MAX_BYTES 65536
#define GRACE_MS       10000

/*
 * A build's result depends on the plan, not on the caller's shell. Kept: how to reach the network,
 * and who one is.
 */
static void
environment(const char *tmpdir, struct strv *ret)
{
	static const char *const kept[] = {"HOME", "USER", "LOGNAME", "http_proxy", "https_proxy",
		"ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"};

	strv_add(ret, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	strv_add(ret, "LC_ALL=C.UTF-8");
	strv_addf(ret, "TMPDIR=%s", tmpdir);
	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		const char *value = getenv(kept[i]);

		if (value != NULL)
			strv_setenv(ret, kept[i], value);
	}
}

static void
kill_group(int sig)
{
	(void)sig;
	kill(0, SIGKILL);
}

/*
 * mmdebstrap, asked to end, first finishes what it is at. So a guard stays between us and the
 * program: the leader of a session of its own, it ends the whole group when it is told to, or when
 * we are gone. Among the group is the first process of the image's pid namespace, with which all
 * others in there end.
 */
static int
guard(void *arg, struct err *e)
{
	const pid_t *parent = arg;
	int status = 0;
	pid_t pid;

	signal(SIGTERM, kill_group);
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
		return err_sys(e, errno, "prctl");
	if (getppid() != *parent)
		kill_group(0);
	pid = fork();
	if (pid < 0)
		return err_sys(e, errno, "fork");
	if (pid == 0)
		return 0; /* to be the program */
	/* Neither the pipe to our parent nor the lock is the guard's to keep open. */
	syscall(SYS_close_range, 0U, ~0U, 0U);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void
take_lines(struct buf *b, struct watch *w, const struct progress *p)
{
	char *nl;

	while (b->len > 0 && (nl = memchr(b->data, '\n', b->len)) != NULL) {
		*nl = '\0';
		if (watch_line(w, (char *)b->data))
			progress_detail(p, w->detail);
		buf_consume(b, (size_t)(nl + 1 - (char *)b->data));
	}
	if (b->len > LINE_MAX_BYTES)
		buf_clear(b);
}

/* Until the program closes its end. 0, -ETIMEDOUT, or -errno. */
static int
follow(int fd, const struct step *s, struct watch *w)
{
	uint64_t limit = deadline_in_ms(STEP_LIMIT_MIN * 60 * 1000);
	CLEAN_BUF struct buf lines = BUF_INIT;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		uint64_t stall = deadline_in_ms(STEP_STALL_MIN * 60 * 1000);
		size_t before = lines.len;
		ssize_t n;
		int r = poll(&p, 1, deadline_left_ms(stall < limit ? stall : limit));

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r == 0 ? -ETIMEDOUT : -errno;
		n = buf_read_fd(&lines, fd, 16384);
		if (n <= 0)
			return (int)n;
		/* A log that cannot be written is no reason to fail: a full disk is noticed
		 * elsewhere. */
		io_write_full(s->log_fd, lines.data + before, (size_t)n, UINT64_MAX);
		take_lines(&lines, w, s->progress);
	}
}

static int
spawn(const struct step *s, int out_fd, pid_t *ret_pid, int *ret_pidfd, struct err *e)
{
	CLEAN_STRV struct strv env = {0};
	pid_t self = getpid();
	struct proc_spec spec = {.file = s->argv->v[0],
		.argv = s->argv->v,
		.fds = {-1, out_fd, out_fd},
		.nfds = 3 + s->nfds,
		.cwd = "/", /* the image's root may not see the caller's */
		.new_session = true,
		.prepare = guard,
		.arg = &self};

	environment(s->tmpdir, &env);
	spec.envp = env.v;
	for (size_t i = 0; i < s->nfds; i++)
		spec.fds[3 + i] = s->fds[i];
	return proc_spawn(&spec, ret_pid, ret_pidfd, e);
}

int
step_run(const struct step *s, struct err *e)
{
	CLEAN_CLOSE int rd = -1, wr = -1, pidfd = -1;
	struct watch w = {0};
	int pipe_fds[2], r, code;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	rd = pipe_fds[0];
	wr = pipe_fds[1];
	r = spawn(s, wr, &pid, &pidfd, e);
	if (r < 0)
		return r;
	close(TAKE_FD(wr));
	r = follow(rd, s, &w);
	if (r < 0) {
		proc_stop(pid, pidfd, GRACE_MS);
		return r == -ETIMEDOUT
			       ? err_set(e, ETIMEDOUT,
					 "%s made no headway and was ended; last: %s; log: %s",
					 s->what, w.detail, s->log_path)
			       : err_sys(e, -r, "%s", s->what);
	}
	code = proc_wait(pid, pidfd, deadline_in_ms(GRACE_MS));
	if (code == -ETIMEDOUT)
		code = proc_stop(pid, pidfd, GRACE_MS);
	log_debug("%s ended with %d", s->what, code);
	return code == 0 ? 0 : watch_failure(&w, s->what, code, s->log_path, e);
}
