/*
 * How this works: the socket is ours from boot on (sd_listen_fds(3)); the first connection starts
 * dockerd with it as descriptor 3.
 *   IDLE    the socket is watched; a connection -> RUNNING
 *   RUNNING dockerd accepts for itself, we watch only its end. It ended well -> IDLE. It failed
 *           while somebody waits -> IDLE, where it is started once more: it gives containerd 15 s
 *           to come up, which on a slow machine are enough the second time only. It failed again
 *           -> whoever waits in the queue is closed, so that nobody hangs on a daemon that does
 *           not come up, then IDLE: the next connection tries again.
 *   STOPPED at power-off
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/proc.h>

#include "boundlog.h"
#include "certs.h"
#include "deaf.h"
#include "guest.h"
#include "oci.h"
#include "runc.h"
#include "textblock.h"
#include "users.h"

#define SOCKET    "/run/docker.sock"
#define DOCKERD   "/usr/sbin/dockerd"
#define LOG       "/var/log/dockerd.log"
#define LOG_LIMIT (1u << 20)
#define BACKLOG   128
/* By then dockerd has told its containers to end. */
#define DEAF_AFTER_MS 1000
#define ENV_PID       "LISTEN_PID="

struct docker {
	struct guest *guest;
	int listen_fd;
	struct loop_io *listen_io;
	pid_t pid;  /* 0: does not run */
	bool again; /* it has failed, and is tried once more */
	int log_fd; /* its standard output and error */
	struct loop_io *log_io;
	struct boundlog log;
};

static void docker_arm(struct docker *d);

static void
on_log(void *arg, uint32_t events)
{
	struct docker *d = arg;
	char chunk[16384];
	ssize_t n = read(d->log_fd, chunk, sizeof(chunk));

	(void)events;
	if (n > 0) {
		boundlog_write(&d->log, chunk, (size_t)n);
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* The last of its writers has gone; containerd may have outlived dockerd for a moment. */
	loop_io_del(d->log_io);
	d->log_io = NULL;
	close(d->log_fd);
	d->log_fd = -1;
	boundlog_close(&d->log);
}

static bool
somebody_waits(const struct docker *d)
{
	struct pollfd p = {.fd = d->listen_fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static void
drop_waiting(struct docker *d)
{
	int fd;

	while ((fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
}

static void
on_docker_end(void *arg, pid_t pid, int status)
{
	struct docker *d = arg;
	char line[96];
	int n = snprintf(line, sizeof(line), "paddock-guest: dockerd %s %d\n",
		WIFEXITED(status) ? "ended with code" : "was ended by signal",
		WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));

	(void)pid;
	d->pid = 0;
	boundlog_write(&d->log, line, (size_t)n);
	if (d->log_fd < 0)
		boundlog_close(&d->log);
	if (status != 0)
		log_debug("%.*s", n - 1, line);
	if (status != 0 && d->again)
		drop_waiting(d);
	d->again = status != 0 && !d->again && somebody_waits(d);
	if (!d->guest->shutting_down)
		docker_arm(d);
}

/* In the child: LISTEN_PID must name the very process, which only now exists. */
static int
docker_prepare(void *arg, struct err *e)
{
	struct rlimit files = {1 << 20, 1 << 20}, core = {0, RLIM_INFINITY};
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	(void)e;
	snprintf(arg, 16, "%d", (int)getpid());
	/* As its unit file has it: of the guest's programs it goes late, but before us. */
	if (fd >= 0 && write(fd, "-500", 4) < 0)
		errno = 0;
	cleanup_close_p(&fd);
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &core);
	return 0;
}

static void
docker_env(const struct docker *d, struct strv *env)
{
	static const struct guest_user root = {.name = "root", .home = "/root", .shell = "/bin/sh"};

	CLEAN_FREE char *path = NULL;

	guest_base_env(d->guest, &root, env);
	path = xasprintf(RUNC_DIR ":%s", strv_getenv(env, "PATH"));
	strv_setenv(env, "PATH", path);
	strv_setenv(env, "LISTEN_FDS", "1");
	strv_add(env, ENV_PID "               ");
}

/* What makes its containers trust whom the guest trusts: our runc, and the files that it names. */
static int
put_trust(struct err *e)
{
	static const char *const us = "/proc/1/exe"; /* no file system has it any more */
	int r = io_mkdirs(RUNC_DIR, 0755, e);

	if (r == 0)
		r = io_mkdirs(OCI_TRUST_SOURCES, 0755, e);
	if (r == 0)
		r = text_write(
			OCI_TRUST_SOURCES "/wgetrc", OCI_WGETRC, strlen(OCI_WGETRC), 0644, e);
	if (r == 0)
		r = text_write(
			OCI_TRUST_SOURCES "/apt.conf", OCI_APT_CONF, strlen(OCI_APT_CONF), 0644, e);
	if (r == 0 && symlink(us, RUNC_DIR "/runc") < 0 && errno != EEXIST)
		return err_sys(e, errno, "create '%s'", RUNC_DIR "/runc");
	return r;
}

/* A pipe: its write end is for dockerd, the read end for on_log. */
static int
open_log(struct docker *d, int *ret_write, struct err *e)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "docker: pipe");
	io_set_nonblock(p[0], true);
	/* At power-off nobody reads it: room for all that dockerd says while it stops. */
	fcntl(p[1], F_SETPIPE_SZ, 1 << 20);
	if (d->log_io != NULL) {
		/* A child of the last dockerd still holds the old one; nobody reads that any more.
		 */
		loop_io_del(d->log_io);
		close(d->log_fd);
	}
	d->log_fd = p[0];
	d->log_io = loop_io_add(d->guest->loop, p[0], EPOLLIN, on_log, d);
	*ret_write = p[1];
	return 0;
}

static int
docker_start(struct docker *d, struct err *e)
{
	CLEAN_STRV struct strv env = {0};
	CLEAN_CLOSE int log = -1;
	char *argv[] = {(char *)"dockerd", (char *)"-H", (char *)"fd://",
		(char *)"--shutdown-timeout", (char *)"6", NULL};
	struct proc_spec spec = {
		.file = DOCKERD, .argv = argv, .nfds = 4, .cwd = "/", .new_session = true};
	int r = open_log(d, &log, e);

	if (r == 0)
		r = put_trust(e);
	if (r < 0)
		return r;
	docker_env(d, &env);
	spec.envp = env.v;
	spec.fds[0] = -1;
	spec.fds[1] = spec.fds[2] = log;
	spec.fds[3] = d->listen_fd;
	spec.prepare = docker_prepare;
	spec.arg = env.v[env.n - 1] + strlen(ENV_PID);
	r = proc_spawn(&spec, &d->pid, NULL, e);
	if (r < 0)
		return r;
	loop_child_watch(d->guest->loop, d->pid, on_docker_end, d);
	return 0;
}

static void
on_connection(void *arg, uint32_t events)
{
	struct docker *d = arg;
	struct err e;

	(void)events;
	loop_io_set(d->listen_io, 0);
	if (docker_start(d, &e) == 0) {
		log_debug("dockerd started, pid %d", (int)d->pid);
		return;
	}
	log_warn("docker: %s", e.msg);
	drop_waiting(d);
	docker_arm(d);
}

static void
docker_arm(struct docker *d)
{
	loop_io_set(d->listen_io, EPOLLIN);
}

static gid_t
docker_group(void)
{
	CLEAN_BUF struct buf group = BUF_INIT;
	struct guest_user u;

	if (io_read_file(AT_FDCWD, "/etc/group", 4 << 20, &group, NULL) < 0 ||
		users_find("", buf_str(&group), "0:docker", &u, NULL) < 0)
		return 0;
	return u.gid;
}

static int
listen_on(const char *path, struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	CLEAN_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, BACKLOG) < 0)
		return err_sys(e, errno, "listen on %s", path);
	if (chown(path, 0, docker_group()) < 0 || chmod(path, 0660) < 0)
		return err_sys(e, errno, "mode of %s", path);
	return TAKE_FD(fd);
}

int
guest_docker_listen(struct guest *g, struct err *e)
{
	struct docker *d;
	int fd;

	if (access(DOCKERD, X_OK) < 0)
		return 0;
	fd = listen_on(SOCKET, e);
	if (fd < 0)
		return fd;
	d = xcalloc(1, sizeof(*d));
	*d = (struct docker){.guest = g,
		.listen_fd = fd,
		.log_fd = -1,
		.log = {.path = LOG, .limit = LOG_LIMIT, .fd = -1}};
	d->listen_io = loop_io_add(g->loop, fd, EPOLLIN, on_connection, d);
	g->docker = d;
	return 0;
}

/* Waits for dockerd's end; true when it has come. SIGCHLD is blocked, so it can be awaited. */
static bool
await_end(struct docker *d, uint64_t deadline_ms)
{
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	while (waitpid(d->pid, NULL, WNOHANG) == 0) {
		int left = deadline_left_ms(deadline_ms);
		struct timespec t = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000L};

		if (left == 0)
			return false;
		sigtimedwait(&chld, NULL, &t);
	}
	return true;
}

/* At power-off the event loop does not run any more, so dockerd's end is awaited here. */
void
guest_docker_stop(struct guest *g, uint64_t limit_ms)
{
	struct docker *d = g->docker;
	uint64_t deadline = deadline_in_ms(limit_ms);

	if (d == NULL || d->pid == 0)
		return;
	kill(d->pid, SIGTERM);
	if (!await_end(d, deadline_in_ms(DEAF_AFTER_MS))) {
		deaf_kill();
		await_end(d, deadline);
	}
	d->pid = 0;
	boundlog_close(&d->log);
}
