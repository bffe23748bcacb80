/*
 * Mounts a folder through the whole path on this machine's own kernel: the guest's pump on one end
 * of a socket pair, the fs role's server on the other.
 *
 *   fs_mount FOLDER MOUNTPOINT [UID]     says "ready", then serves until SIGTERM or its stdin ends
 *
 * SIGUSR1 freezes the server, as the supervisor does to save a machine; SIGUSR2 lets it go on.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/log.h>
#include <fs/fs.h>
#include <jail/jail.h>
#include <wire/change.h>

#include "../../src/guest/guest.h"
#include "jail_seccomp.h"

static void
put(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0) {
		perror(path);
		_exit(4);
	}
}

/* A user namespace of the server's own, with a limit of inotify watches. */
static void
limit_watches(const char *n)
{
	char uids[32], gids[32];

	snprintf(uids, sizeof(uids), "0 %d 1", (int)geteuid());
	snprintf(gids, sizeof(gids), "0 %d 1", (int)getegid());
	if (unshare(CLONE_NEWUSER) < 0) {
		perror("unshare");
		_exit(4);
	}
	put("/proc/self/uid_map", uids);
	put("/proc/self/setgroups", "deny");
	put("/proc/self/gid_map", gids);
	put("/proc/sys/user/max_inotify_watches", n);
}

static int
serve(int stream, int journal, int changes, const char *folder, uid_t uid)
{
	struct fs_options o = {.stream_fd = stream,
		.guest_uid = uid,
		.guest_gid = uid,
		.journal_fd = journal,
		.changes_fd = changes};
	struct strv workspaces = {0};
	struct err e = {0};

	strv_add(&workspaces, "/");
	o.workspaces = &workspaces;
	o.allow_hooks = getenv("FS_ALLOW_HOOKS") != NULL;
	if (getenv("FS_WATCHES") != NULL)
		limit_watches(getenv("FS_WATCHES"));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	log_init("fs", getenv("FS_DEBUG") != NULL ? LOG_DEBUG : LOG_WARN);
	o.root_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	o.proc_fd = fs_proc_open(&e);
	/* With the role's own list of system calls: what programs make it do is all on it. */
	if (o.root_fd < 0 || o.proc_fd < 0 || jail_seccomp_load(JAIL_SYSCALLS_FS, true, &e) < 0 ||
		fs_serve(&o, &e) < 0) {
		fprintf(stderr, "fs_serve: %s\n", e.msg);
		return 1;
	}
	return 0;
}

struct server {
	int stream, other_end, journal;
	int changes, told; /* what the guest changed, and where it is told */
	const char *folder;
	uid_t uid;
	pid_t pid;
};

static void
start(struct server *s)
{
	s->pid = fork();
	if (s->pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		close(s->other_end);
		_exit(serve(s->stream, s->journal, s->told, s->folder, s->uid));
	}
}

/*
 * Until somebody wants the end: a signal, or the end of stdin. A server that was killed is started
 * again where FS_RESTART says so, as the supervisor does; else what the mount does then is to be
 * seen.
 */
static void
wait_end(struct server *srv, int signals)
{
	struct pollfd p[3] = {{0, POLLIN, 0}, {signals, POLLIN, 0}, {srv->changes, POLLIN, 0}};
	struct signalfd_siginfo si;

	for (;;) {
		int status;
		char drop;

		if (poll(p, 3, -1) < 0 && errno == EINTR)
			continue;
		while (recv(srv->changes, &drop, sizeof(drop), MSG_DONTWAIT) > 0)
			;
		if (p[0].revents == 0 && p[1].revents == 0)
			continue;
		if (p[0].revents != 0 || read(signals, &si, sizeof(si)) != sizeof(si))
			return;
		if (si.ssi_signo == SIGUSR1 || si.ssi_signo == SIGUSR2) {
			char byte = si.ssi_signo == SIGUSR1 ? FS_FREEZE : FS_THAW;

			(void)!send(srv->changes, &byte, 1, MSG_NOSIGNAL);
			continue;
		}
		if (si.ssi_signo != SIGCHLD)
			return;
		if (waitpid(srv->pid, &status, WNOHANG) != srv->pid)
			continue;
		if (srv->journal > 0 && WIFSIGNALED(status))
			start(srv);
		else
			srv->pid = -1;
	}
}

int
main(int argc, char **argv)
{
	struct server srv = {.uid = argc > 3 ? (uid_t)atoi(argv[3]) : 0};
	struct err e = {0};
	struct pump *pump = NULL;
	int sv[2], told[2], status = 0, signals;
	sigset_t s;

	if (argc < 3 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0 ||
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, told) < 0)
		return 2;
	sigemptyset(&s);
	sigaddset(&s, SIGTERM);
	sigaddset(&s, SIGINT);
	sigaddset(&s, SIGCHLD);
	sigaddset(&s, SIGUSR1);
	sigaddset(&s, SIGUSR2);
	sigprocmask(SIG_BLOCK, &s, NULL);
	signals = signalfd(-1, &s, SFD_CLOEXEC);
	srv.stream = sv[0];
	srv.other_end = sv[1];
	srv.changes = told[0];
	srv.told = told[1];
	srv.folder = argv[1];
	if (getenv("FS_RESTART") != NULL)
		srv.journal = fs_journal_new(&e);
	start(&srv);
	if (srv.journal <= 0)
		close(sv[0]);
	if (guest_pump_start(sv[1], argv[2], &pump, &e) < 0) {
		fprintf(stderr, "pump: %s\n", e.msg);
		return 1;
	}
	guest_pump_go(pump);
	printf("ready %d\n", (int)srv.pid);
	fflush(stdout);
	wait_end(&srv, signals);
	umount2(argv[2], MNT_DETACH);
	shutdown(sv[1], SHUT_RDWR);
	if (srv.pid > 0)
		waitpid(srv.pid, &status, 0);
	if (status != 0)
		fprintf(stderr, "server: status %x\n", status);
	/* The pump's threads are still there. */
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 3);
}
