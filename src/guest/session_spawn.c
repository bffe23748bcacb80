/*
 * How this works: fork; the child sheds what it inherited, becomes the user, enters the folder and
 * executes the program. Each of these may wait for a file system whose other end hangs, so the
 * parent does not wait: a close-on-exec pipe reports. Between fork and exec only functions that are
 * safe there are used (signal-safety(7)): other threads of the guest may have held malloc's lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <base/cleanup.h>

#include "session_spawn.h"

#define REPORT_FD 3

/* The usual limits of a machine with systemd, which PID 1 of ours is not. */
#define NOFILE_SOFT 65536
#define NOFILE_HARD 524288

static void
fresh_signals(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* 0..2 and the report at 3; everything else is closed. */
static int
place_fds(const struct spawn *s, int report)
{
	int tmp[4] = {s->fds[0], s->fds[1], s->fds[2], report};

	for (int i = 0; i < 4; i++) {
		tmp[i] = fcntl(tmp[i], F_DUPFD, REPORT_FD + 1);
		if (tmp[i] < 0)
			return -errno;
	}
	for (int i = 0; i < 4; i++)
		if (dup2(tmp[i], i) < 0)
			return -errno;
	if (fcntl(REPORT_FD, F_SETFD, FD_CLOEXEC) < 0 ||
		syscall(SYS_close_range, REPORT_FD + 1, ~0U, 0) < 0)
		return -errno;
	return 0;
}

/* What PID 1 has of its own and a program should not: best effort, tests run without root. */
static void
ordinary_limits(void)
{
	struct rlimit nofile = {NOFILE_SOFT, NOFILE_HARD};
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, "0", 1) < 0)
			errno = 0;
		close(fd);
	}
	setrlimit(RLIMIT_NOFILE, &nofile);
	umask(022);
}

static int
become(const struct guest_user *u)
{
	gid_t groups[ARRAY_LEN(u->groups)];

	if (geteuid() != 0)
		return u->uid == geteuid() ? 0 : -EPERM;
	for (size_t i = 0; i < u->ngroups; i++)
		groups[i] = u->groups[i];
	if (setgroups(u->ngroups, groups) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
		setresuid(u->uid, u->uid, u->uid) < 0)
		return -errno;
	return 0;
}

static void __attribute__((noreturn, format(printf, 2, 3)))
give_up(int status, const char *fmt, ...)
{
	struct spawn_failure f = {.status = status};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f.msg, sizeof(f.msg), fmt, ap);
	va_end(ap);
	_exit(write(REPORT_FD, &f, sizeof(f)) < 0 ? 125 : status);
}

static int
status_of(int code)
{
	return code == ENOENT ? 127 : 126;
}

static void
enter_folder(const struct spawn *s)
{
	if (chdir(s->cwd) == 0)
		return;
	if (!s->cwd_optional)
		give_up(status_of(errno), "cannot enter the folder '%s': %s", s->cwd,
			strerror(errno));
	if (chdir("/") < 0)
		give_up(126, "cannot enter '/': %s", strerror(errno));
}

/* One folder of PATH: does not return where the program starts. */
static int
try_in(const struct spawn *s, const char *dir, size_t n)
{
	char path[PATH_MAX];
	int len = snprintf(
		path, sizeof(path), "%.*s/%s", n > 0 ? (int)n : 1, n > 0 ? dir : ".", s->file);

	if (len < 0 || (size_t)len >= sizeof(path))
		return ENAMETOOLONG;
	execve(path, s->argv, s->envp);
	return errno;
}

static void __attribute__((noreturn)) exec_in_path(const struct spawn *s)
{
	int seen = ENOENT;
	const char *dir = s->path;

	for (;;) {
		size_t n = strcspn(dir, ":");
		int code = try_in(s, dir, n);

		if (code == EACCES)
			seen = EACCES; /* perhaps a later folder has one that may be started */
		else if (code != ENOENT && code != ENOTDIR && code != ENAMETOOLONG && code != ELOOP)
			give_up(126, "exec '%s': %s", s->file, strerror(code));
		dir += n;
		if (*dir++ == '\0')
			break;
	}
	if (seen == EACCES)
		give_up(126, "exec '%s': %s", s->file, strerror(EACCES));
	give_up(127, "exec '%s': executable file not found in $PATH", s->file);
}

static void __attribute__((noreturn)) exec_program(const struct spawn *s)
{
	if (strchr(s->file, '/') == NULL)
		exec_in_path(s);
	execve(s->file, s->argv, s->envp);
	if (errno == ENOENT && access(s->file, F_OK) == 0)
		give_up(127, "exec '%s': its interpreter is not there", s->file);
	give_up(status_of(errno), "exec '%s': %s", s->file, strerror(errno));
}

static void __attribute__((noreturn)) child_main(const struct spawn *s, int report)
{
	int r;

	fresh_signals();
	if (place_fds(s, report) < 0)
		_exit(125);
	if (setsid() < 0)
		give_up(125, "setsid: %s", strerror(errno));
	if (s->tty && ioctl(0, TIOCSCTTY, 0) < 0)
		give_up(125, "controlling terminal: %s", strerror(errno));
	ordinary_limits();
	r = become(s->user);
	if (r < 0)
		give_up(126, "become user '%s': %s", s->user->name, strerror(-r));
	enter_folder(s);
	exec_program(s);
}

int
spawn_start(const struct spawn *s, pid_t *ret_pid, int *ret_report, struct err *e)
{
	int report[2];
	pid_t pid;

	if (pipe2(report, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_sys(e, errno, "pipe");
	pid = fork();
	if (pid < 0) {
		int code = errno;

		close(report[0]);
		close(report[1]);
		return err_sys(e, code, "fork");
	}
	if (pid == 0)
		child_main(s, report[1]);
	close(report[1]);
	*ret_pid = pid;
	*ret_report = report[0];
	return 0;
}

static int
pty_prepare(int master, int slave, const struct guest_user *u, uint16_t rows, uint16_t cols)
{
	struct winsize ws = {.ws_row = rows > 0 ? rows : 24, .ws_col = cols > 0 ? cols : 80};
	struct termios t;

	if (ioctl(master, TIOCSWINSZ, &ws) < 0 || tcgetattr(slave, &t) < 0)
		return -errno;
	t.c_iflag |= IUTF8; /* the line discipline then erases whole characters */
	if (tcsetattr(slave, TCSANOW, &t) < 0)
		return -errno;
	/* The group (tty) is that of the mount; sudo, ssh and tmux open the terminal by its name.
	 */
	if (geteuid() == 0 && (fchown(slave, u->uid, (gid_t)-1) < 0 || fchmod(slave, 0620) < 0))
		return -errno;
	return 0;
}

int
spawn_pty(const struct guest_user *u, uint16_t rows, uint16_t cols, int *ret_master, int *ret_slave,
	struct err *e)
{
	CLEAN_CLOSE int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	CLEAN_CLOSE int slave = -1;
	int unlock = 0, r;

	if (master < 0)
		return err_sys(e, errno, "open /dev/ptmx");
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_sys(e, errno, "unlock the terminal");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return err_sys(e, errno, "open the terminal");
	r = pty_prepare(master, slave, u, rows, cols);
	if (r < 0)
		return err_sys(e, -r, "set up the terminal");
	*ret_master = TAKE_FD(master);
	*ret_slave = TAKE_FD(slave);
	return 0;
}
