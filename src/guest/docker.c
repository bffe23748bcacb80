/*
 * How this works: the socket is ours from boot on (sd_listen_fds(3)); the first connection starts
 * dockerd with it as descriptor 3, and beside it containerd, as Debian's services do: dockerd waits
 * a minute for one that it is told of, and 15 s for one of its own, which a slow machine misses.
 *   IDLE    the socket is watched; a connection -> RUNNING
 *   RUNNING dockerd accepts for itself, we watch only its end. It ended well -> IDLE. It failed
 *           while somebody waits -> IDLE, where it is started once more. It failed again
 *           -> whoever waits in the queue is closed, so that nobody hangs on a daemon that does
 *           not come up, then IDLE: the next connection tries again.
 *   STOPPED at power-off
 * containerd stays when dockerd ends. When it ends itself, it is started anew, unless it has just
 * been: then dockerd fails.
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
#include "setkey.h"
#include "textblock.h"
#include "users.h"

#define SOCKET            "/run/docker.sock"
#define DOCKERD           "/usr/sbin/dockerd"
#define CONTAINERD        "/usr/bin/containerd"
#define CONTAINERD_CONFIG "/run/paddock/containerd.toml"
#define CONTAINERD_SOCKET "/run/containerd/containerd.sock"
#define LOG               "/var/log/dockerd.log"
#define LOG_LIMIT         (1u << 20)
#define BACKLOG           128
/* By then dockerd has told its containers to end. */
#define DEAF_AFTER_MS 1000
#define ENV_PID       "LISTEN_PID="
/* A containerd that lives for less does not come up. */
#define CONTAINERD_LIFE_MS 10000

/* What dockerd does not use: the first one takes a second to start, the others look for modules. */
static const char containerd_config[] = "version = 2\n"
					"disabled_plugins = [\"io.containerd.grpc.v1.cri\", "
					"\"io.containerd.snapshotter.v1.aufs\", "
					"\"io.containerd.snapshotter.v1.btrfs\", "
					"\"io.containerd.snapshotter.v1.zfs\"]\n";

struct docker {
	struct guest *guest;
	int listen_fd;
	struct loop_io *listen_io;
	pid_t pid;  /* 0: does not run */
	bool again; /* it has failed, and is tried once more */
	pid_t containerd;
	uint64_t containerd_young_until_ms;
	int log_pipe[2]; /* what both of them say */
	struct boundlog log;
};

static void docker_arm(struct docker *d);

static void
on_log(void *arg, uint32_t events)
{
	struct docker *d = arg;
	char chunk[16384];
	ssize_t n = read(d->log_pipe[0], chunk, sizeof(chunk));

	(void)events;
	if (n > 0)
		boundlog_write(&d->log, chunk, (size_t)n);
}

static void
log_end(struct docker *d, const char *who, int status)
{
	char line[96];
	int n = snprintf(line, sizeof(line), "paddock-guest: %s %s %d\n", who,
		WIFEXITED(status) ? "ended with code" : "was ended by signal",
		WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));

	boundlog_write(&d->log, line, (size_t)n);
	if (status != 0)
		log_debug("%.*s", n - 1, line);
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

	(void)pid;
	d->pid = 0;
	log_end(d, "dockerd", status);
	if (status != 0 && d->again)
		drop_waiting(d);
	d->again = status != 0 && !d->again && somebody_waits(d);
	if (!d->guest->shutting_down)
		docker_arm(d);
}

static int
daemon_prepare(void *arg, struct err *e)
{
	struct rlimit files = {1 << 20, 1 << 20}, core = {0, RLIM_INFINITY};
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	(void)arg;
	(void)e;
	/* As its unit file has it: of the guest's programs it goes late, but before us. */
	if (fd >= 0 && write(fd, "-500", 4) < 0)
		errno = 0;
	cleanup_close_p(&fd);
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &core);
	return 0;
}

/* In the child: LISTEN_PID must name the very process, which only now exists. */
static int
docker_prepare(void *arg, struct err *e)
{
	snprintf(arg, 16, "%d", (int)getpid());
	return daemon_prepare(NULL, e);
}

static void
daemon_env(const struct docker *d, struct strv *env)
{
	static const struct guest_user root = {.name = "root", .home = "/root", .shell = "/bin/sh"};

	CLEAN_FREE char *path = NULL;

	guest_base_env(d->guest, &root, env);
	path = xasprintf(RUNC_DIR ":%s", strv_getenv(env, "PATH"));
	strv_setenv(env, "PATH", path);
}

/* What makes its containers trust whom the guest trusts: our runc, and the files that it names. */
static int
put_trust(struct err *e)
{
	static const char *const us = "/proc/1/exe"; /* no file system has it any more */
	static const char *const names[] = {RUNC_DIR "/runc", RUNC_DIR "/" SETKEY_NAME};
	int r = io_mkdirs(RUNC_DIR, 0755, e);

	if (r == 0)
		r = io_mkdirs(OCI_TRUST_SOURCES, 0755, e);
	if (r == 0)
		r = text_write(
			OCI_TRUST_SOURCES "/wgetrc", OCI_WGETRC, strlen(OCI_WGETRC), 0644, e);
	if (r == 0)
		r = text_write(
			OCI_TRUST_SOURCES "/apt.conf", OCI_APT_CONF, strlen(OCI_APT_CONF), 0644, e);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(names); i++)
		if (symlink(us, names[i]) < 0 && errno != EEXIST)
			r = err_sys(e, errno, "create '%s'", names[i]);
	return r;
}

static int
open_log(struct docker *d, struct err *e)
{
	if (d->log_pipe[0] >= 0)
		return 0;
	if (pipe2(d->log_pipe, O_CLOEXEC) < 0)
		return err_sys(e, errno, "docker: pipe");
	io_set_nonblock(d->log_pipe[0], true);
	/* At power-off nobody reads it: room for all that dockerd says while it stops. */
	fcntl(d->log_pipe[1], F_SETPIPE_SZ, 1 << 20);
	loop_io_add(d->guest->loop, d->log_pipe[0], EPOLLIN, on_log, d);
	return 0;
}

static int
daemon_spawn(struct docker *d, struct proc_spec *spec, pid_t *ret_pid, struct err *e)
{
	spec->cwd = "/";
	spec->new_session = true;
	spec->fds[0] = -1;
	spec->fds[1] = spec->fds[2] = d->log_pipe[1];
	return proc_spawn(spec, ret_pid, NULL, e);
}

static int containerd_start(struct docker *d, struct err *e);

static void
on_containerd_end(void *arg, pid_t pid, int status)
{
	struct docker *d = arg;
	struct err e;

	(void)pid;
	d->containerd = 0;
	log_end(d, "containerd", status);
	if (d->pid == 0 || d->guest->shutting_down)
		return;
	if (deadline_left_ms(d->containerd_young_until_ms) > 0)
		kill(d->pid, SIGKILL);
	else if (containerd_start(d, &e) < 0)
		log_warn("docker: %s", e.msg);
}

static int
containerd_start(struct docker *d, struct err *e)
{
	CLEAN_STRV struct strv env = {0};
	char *argv[] = {(char *)"containerd", (char *)"--config", (char *)CONTAINERD_CONFIG, NULL};
	struct proc_spec spec = {
		.file = CONTAINERD, .argv = argv, .nfds = 3, .prepare = daemon_prepare};
	int r;

	if (d->containerd != 0)
		return 0;
	r = text_write(CONTAINERD_CONFIG, containerd_config, strlen(containerd_config), 0644, e);
	if (r < 0)
		return r;
	daemon_env(d, &env);
	spec.envp = env.v;
	d->containerd_young_until_ms = deadline_in_ms(CONTAINERD_LIFE_MS);
	r = daemon_spawn(d, &spec, &d->containerd, e);
	if (r == 0)
		loop_child_watch(d->guest->loop, d->containerd, on_containerd_end, d);
	return r;
}

static int
dockerd_start(struct docker *d, struct err *e)
{
	CLEAN_STRV struct strv env = {0};
	char *argv[] = {(char *)"dockerd", (char *)"-H", (char *)"fd://",
		(char *)"--shutdown-timeout", (char *)"6",
		d->containerd != 0 ? (char *)"--containerd=" CONTAINERD_SOCKET : NULL, NULL};
	struct proc_spec spec = {
		.file = DOCKERD, .argv = argv, .nfds = 4, .prepare = docker_prepare};
	int r;

	daemon_env(d, &env);
	strv_setenv(&env, "LISTEN_FDS", "1");
	strv_add(&env, ENV_PID "               ");
	spec.envp = env.v;
	spec.fds[3] = d->listen_fd;
	spec.arg = env.v[env.n - 1] + strlen(ENV_PID);
	r = daemon_spawn(d, &spec, &d->pid, e);
	if (r == 0)
		loop_child_watch(d->guest->loop, d->pid, on_docker_end, d);
	return r;
}

/* An image without containerd has a dockerd that brings its own. */
static int
docker_start(struct docker *d, struct err *e)
{
	int r = open_log(d, e);

	if (r == 0)
		r = put_trust(e);
	if (r == 0 && access(CONTAINERD, X_OK) == 0)
		r = containerd_start(d, e);
	return r == 0 ? dockerd_start(d, e) : r;
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
		.log_pipe = {-1, -1},
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

	if (d == NULL)
		return;
	if (d->pid != 0) {
		kill(d->pid, SIGTERM);
		if (!await_end(d, deadline_in_ms(DEAF_AFTER_MS))) {
			deaf_kill();
			await_end(d, deadline);
		}
		d->pid = 0;
	}
	boundlog_close(&d->log);
}
