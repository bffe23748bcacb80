/*
 * The jail, QEMU and the roles: planned, started, watched. Each child dies with the supervisor.
 * net, resolver and signer are one group: when one ends, all are started again on the listeners
 * that the supervisor keeps, and until then nothing gets out. An fs role that is killed is started
 * again on the same stream, with the memory that the last one wrote for it. log is started again on
 * its socket, and ends as the last one, once it has written what net said. ssh ends with the agent
 * that it speaks to. The end of any other
 * child ends the sandbox: its disk is safe, and the next command starts it anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/proc.h>
#include <fs/fs.h>
#include <audit/audit.h>
#include <net/net.h>
#include <supervisor/supervisor.h>

#include "qemu.h"
#include "save.h"

#define ROLES_PROGRAM      "paddock-role"
#define RESTARTS_MAX       10
#define RESTARTS_WINDOW_MS 60000
#define LOG_END_LIMIT_MS   3000

/* What one child needs beyond its descriptors. */
struct child_plan {
	int slot;
	const char *role;
	int fds[12]; /* placed from descriptor 3 on */
	size_t nfds;
	unsigned namespaces; /* JAIL_NET ...; ~0u: the host's, no jail at all */
	bool in_paddock;     /* a row in role_main.c, not in paddock_role.c */
};

struct enter {
	const struct jail *jail;
	unsigned which;
};

static int
enter_jail(void *arg, struct err *e)
{
	struct enter *en = arg;

	return jail_enter(en->jail, en->which, e);
}

static void on_child_end(uv_poll_t *p, int status, int events);

static int
watch(struct sup *s, int slot, const char *role, pid_t pid, int pidfd)
{
	struct child *c = &s->child[slot];

	c->role = role;
	c->pid = pid;
	c->pidfd = pidfd;
	c->poll = xcalloc(1, sizeof(*c->poll));
	uv_poll_init(&s->loop, c->poll, pidfd);
	c->poll->data = s;
	uv_poll_start(c->poll, UV_READABLE, on_child_end);
	log_debug("started %s, pid %d", role, (int)pid);
	return 0;
}

static int
spawn(struct sup *s, struct proc_spec *spec, int slot, const char *role, struct err *e)
{
	CLEAN_STRV struct strv env = {0};
	pid_t pid;
	int pidfd, r;

	/*
	 * Every process of the sandbox holds its lock (one open file description): after a kill -9
	 * of the supervisor nobody starts the disk's next QEMU before the last one is really gone.
	 */
	spec->fds[spec->nfds++] = s->lock_fd;
	spec->die_with_parent = true;
	own_environment(&env);
	spec->envp = env.v;
	r = proc_spawn(spec, &pid, &pidfd, e);
	return r < 0 ? err_prefix(e, "%s", role) : watch(s, slot, role, pid, pidfd);
}

/* Each role is told what it needs and nothing else. */
static int
config_fd(const struct sup *s, int slot, struct err *e)
{
	CLEAN_BUF struct buf b = BUF_INIT, policy = BUF_INIT, trust = BUF_INIT,
			     authority = BUF_INIT;
	CLEAN_FREE char *folder = state_sandbox_file(&s->paths, s->sandbox.name, AUDIT_FOLDER);
	struct role_config c = {.debug = log_get_level() == LOG_DEBUG,
		.host_is_root = s->paths.uid == 0,
		.guest_uid = s->paths.uid == 0 ? 1000 : s->paths.uid,
		.guest_gid = s->paths.uid == 0 ? 1000 : s->paths.gid};

	if (slot == CHILD_FS) {
		c.workspaces = s->sandbox.workspaces;
		c.nworkspaces = s->sandbox.nworkspaces;
		c.shadows = s->sandbox.shadows;
		c.allow_hooks = s->sandbox.allow_hooks;
		c.copied = s->copied;
	} else if (slot == CHILD_NET) {
		c.resolve = s->sandbox.resolve;
		policy_encode(&s->policy, &policy);
		c.policy = (char *)buf_str(&policy);
		c.name = s->sandbox.name;
		sup_trust_bundle(&trust);
		c.trust = (char *)buf_str(&trust);
	} else if (slot == CHILD_LINK) {
		c.wake = s->wake;
	} else if (slot == CHILD_SIGNER) {
		buf_append(&authority, s->authority.data, s->authority.len);
		c.authority = (char *)buf_str(&authority);
	} else if (slot == CHILD_SSH) {
		c.ssh_hosts = s->ssh_hosts;
	} else if (slot == CHILD_LOG) {
		c.log_folder = folder;
	}
	role_config_encode(&c, &b);
	return io_memfd("paddock-role", b.data, b.len, e);
}

/* An update of paddock while this one runs must not mix two versions: what is open stays. */
int
sup_roles_open(struct sup *s, struct err *e)
{
	CLEAN_FREE char *path = supervisor_beside(ROLES_PROGRAM, e);
	CLEAN_CLOSE int fd = path != NULL ? open(path, O_PATH | O_CLOEXEC) : -1;

	if (path == NULL)
		return -e->code;
	/* Above all descriptors that a child is given. */
	s->roles_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, PROC_FDS_MAX + 1);
	return s->roles_fd < 0 ? err_sys(e, errno, "open '%s'", path) : 0;
}

static char *
roles_program(const struct sup *s)
{
	return xasprintf("/proc/self/fd/%d", s->roles_fd);
}

static int
spawn_role(struct sup *s, const struct child_plan *p, struct err *e)
{
	CLEAN_CLOSE int config = config_fd(s, p->slot, e);
	CLEAN_FREE char *arg = xasprintf("%s%s", SUPERVISOR_ROLE_ARG, p->role);
	CLEAN_FREE char *program = p->in_paddock ? xstrdup("/proc/self/exe") : roles_program(s);
	char *argv[] = {"paddock", arg, NULL};
	struct enter en = {.jail = &s->jail, .which = p->namespaces};
	struct proc_spec spec = {
		.file = program, .argv = argv, .fds = {-1, -1, s->log_writer, config}};

	if (config < 0)
		return config;
	spec.nfds = 4;
	for (size_t i = 0; i < p->nfds; i++)
		spec.fds[spec.nfds++] = p->fds[i];
	spec.prepare = enter_jail;
	spec.arg = &en;
	return spawn(s, &spec, p->slot, p->role, e);
}

struct cables {
	int link[2], fs[2], console[2], qmp[2], control[2], log[2];
};

enum { OURS, THEIRS };

static int
make_cables(struct cables *c, struct err *e)
{
	struct {
		int *pair, type;
	} sockets[] = {{c->link, SOCK_STREAM}, {c->fs, SOCK_STREAM}, {c->console, SOCK_STREAM},
		{c->qmp, SOCK_STREAM}, {c->control, SOCK_SEQPACKET}};

	for (size_t i = 0; i < ARRAY_LEN(sockets); i++)
		if (socketpair(AF_UNIX, sockets[i].type | SOCK_CLOEXEC, 0, sockets[i].pair) < 0)
			return err_sys(e, errno, "socketpair");
	if (pipe2(c->log, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	return 0;
}

static void
close_cables(struct cables *c)
{
	int *pairs[] = {c->link, c->fs, c->console, c->qmp, c->control, c->log};

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
		for (int k = 0; k < 2; k++)
			if (pairs[i][k] >= 0)
				close(pairs[i][k]);
}

static int
spawn_qemu(struct sup *s, struct cables *c, struct err *e)
{
	CLEAN_FREE char *disk = state_sandbox_file(&s->paths, s->sandbox.name, "disk.qcow2");
	struct qemu_start q = {.jail = &s->jail,
		.image = &s->image,
		.machine = sup_machine_plan(s),
		.disk = disk,
		.tap = s->jail_net.tap_fd,
		.link = c->link[THEIRS],
		.fs = c->fs[THEIRS],
		.console = c->console[THEIRS],
		.qmp = c->qmp[THEIRS],
		.state = -1,
		.log = s->log_writer,
		.lock = s->lock_fd};
	CLEAN_CLOSE int state = -1;
	pid_t pid;
	int pidfd, r;

	if (s->snapshot.id != NULL) {
		state = open(s->snapshot.state, O_RDONLY | O_CLOEXEC);
		if (state < 0)
			return err_sys(e, errno, "open '%s'", s->snapshot.state);
		s->ram_fd = open(s->snapshot.ram, O_RDONLY | O_CLOEXEC);
		if (s->ram_fd < 0)
			return err_sys(e, errno, "open '%s'", s->snapshot.ram);
		q.machine.memory = VMM_MEMORY_CLONE;
		q.machine.hold = s->wake.len > 0;
		q.machine.preload =
			vmm_needs_preload(s->snapshot.qemu_major, s->snapshot.qemu_minor);
		q.ram = s->snapshot.ram;
		q.state = state;
	}
	r = qemu_start(&q, &pid, &pidfd, e);
	s->cloning = r == 0 && s->snapshot.id != NULL && s->wake.len == 0;
	return r < 0 ? err_prefix(e, "qemu") : watch(s, CHILD_QEMU, "qemu", pid, pidfd);
}

/* A socket pair joins net with each of the others; the supervisor keeps only net's life line. */
static int
spawn_net(struct sup *s, struct err *e)
{
	int names[2] = {-1, -1}, leaves[2] = {-1, -1}, control[2] = {-1, -1}, r = 0;
	int *pairs[] = {names, leaves, control};

	for (size_t i = 0; i < ARRAY_LEN(pairs) && r == 0; i++)
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pairs[i]) < 0)
			r = err_sys(e, errno, "socketpair");
	struct child_plan plans[] = {
		{CHILD_RESOLVER, "resolver", {names[0]}, 1, JAIL_IPC | JAIL_UTS},
		{CHILD_SIGNER, "signer", {leaves[0]}, 1, JAIL_ALL, true},
		{CHILD_NET, "net",
			{s->jail_net.tcp_fd, s->jail_net.dns_fd, names[1], control[1], s->events[1],
				leaves[1], s->jail_net.udp_fd, s->jail_net.refused_fd,
				s->jail_net.flood_fd, s->jail_net.raw_fd},
			10, JAIL_IPC | JAIL_UTS, true}};
	for (size_t i = 0; i < ARRAY_LEN(plans) && r == 0; i++)
		r = spawn_role(s, &plans[i], e);
	if (control[0] >= 0)
		sup_policy_net_started(s, TAKE_FD(control[0]));
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		cleanup_close_p(&pairs[i][0]);
		cleanup_close_p(&pairs[i][1]);
	}
	return r;
}

static int
spawn_fs(struct sup *s, struct err *e)
{
	struct child_plan fs = {CHILD_FS, "fs", {s->fs_stream, s->fs_journal, -1}, 3, JAIL_ALL};
	int r = sup_changes_open(s, &fs.fds[2], e);

	if (r < 0)
		return r;
	r = spawn_role(s, &fs, e);
	close(fs.fds[2]);
	return r;
}

static int
spawn_log(struct sup *s, struct err *e)
{
	struct child_plan log = {CHILD_LOG, "log", {s->events[0]}, 1, JAIL_ALL};

	return spawn_role(s, &log, e);
}

/* The folder is the log's own: the role sees nothing else. */
static int
prepare_log(struct sup *s, struct err *e)
{
	CLEAN_FREE char *folder = state_sandbox_file(&s->paths, s->sandbox.name, AUDIT_FOLDER);

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s->events) < 0)
		return err_sys(e, errno, "socketpair");
	return io_mkdirs(folder, 0700, e);
}

static int
spawn_all(struct sup *s, struct cables *c, struct err *e)
{
	struct child_plan link = {
		CHILD_LINK, "link", {c->link[OURS], c->control[THEIRS]}, 2, JAIL_ALL};
	int r = spawn_qemu(s, c, e);

	if (r == 0)
		r = prepare_log(s, e);
	if (r == 0)
		r = spawn_log(s, e);
	if (r == 0)
		r = spawn_role(s, &link, e);
	if (r == 0)
		r = spawn_fs(s, e);
	return r == 0 ? spawn_net(s, e) : r;
}

int
sup_machine_start(struct sup *s, struct err *e)
{
	struct cables c = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
	int r = jail_create(&s->jail, e);

	if (r == 0)
		r = jail_net_setup(&s->jail, &s->jail_net, e);
	if (r == 0)
		r = sup_policy_open_udp(s, e);
	if (r == 0)
		r = make_cables(&c, e);
	if (r == 0)
		r = s->fs_journal = fs_journal_new(e);
	if (r >= 0) {
		s->fs_stream = TAKE_FD(c.fs[OURS]);
		s->fs_peer = fcntl(c.fs[THEIRS], F_DUPFD_CLOEXEC, 0);
		s->log_fd = TAKE_FD(c.log[OURS]);
		s->log_writer = TAKE_FD(c.log[THEIRS]);
		r = s->fs_peer < 0 ? err_sys(e, errno, "line of the workspaces") : 0;
		if (r == 0 && s->wake.len > 0)
			r = sup_resume_fs(s, s->fs_journal, s->fs_stream, e);
		if (r == 0)
			r = spawn_all(s, &c, e);
		s->console_fd = TAKE_FD(c.console[OURS]);
		s->link_control = TAKE_FD(c.control[OURS]);
		s->qmp = qmp_new(TAKE_FD(c.qmp[OURS]));
	}
	close_cables(&c);
	if (r >= 0)
		r = sup_identity_gather(s, e); /* QEMU starts meanwhile */
	return r >= 0 && s->wake.len > 0 ? sup_resume_go(s, e) : r;
}

int
sup_spawn_snapshot(struct sup *s, struct err *e)
{
	char *argv[] = {"paddock", (SUPERVISOR_ROLE_ARG "snapshot"), s->sandbox.name,
		log_get_level() == LOG_DEBUG ? "--debug" : NULL, NULL};
	struct proc_spec spec = {
		.file = "/proc/self/exe", .argv = argv, .fds = {-1, -1, STDERR_FILENO}, .nfds = 3};

	spec.fds[spec.nfds++] = s->lock_fd;
	spec.die_with_parent = true;
	pid_t pid;
	int pidfd, r = proc_spawn(&spec, &pid, &pidfd, e);

	return r < 0 ? err_prefix(e, "snapshot") : watch(s, CHILD_SNAPSHOT, "snapshot", pid, pidfd);
}

int
sup_spawn_ssh(struct sup *s, int session, int agent, struct err *e)
{
	struct child_plan ssh = {
		CHILD_SSH, "ssh", {session, agent, s->events[1]}, 3, JAIL_ALL, true};

	return spawn_role(s, &ssh, e);
}

int
sup_spawn_save(
	struct sup *s, const char *folder, bool suspend, const struct vmm_ram *m, struct err *e)
{
	CLEAN_FREE char *disk =
		suspend ? xstrdup("")
			: state_sandbox_file(&s->paths, s->sandbox.name, "disk.qcow2");
	CLEAN_FREE char *address = xasprintf("%llu", (unsigned long long)m->address);
	CLEAN_FREE char *bytes = xasprintf("%llu", (unsigned long long)s->sandbox.memory_bytes);
	char *argv[] = {"paddock", (SUPERVISOR_ROLE_ARG "save"), (char *)folder, address, bytes,
		disk, log_get_level() == LOG_DEBUG ? "--debug" : NULL, NULL};
	CLEAN_FREE char *program = roles_program(s);
	struct proc_spec spec = {.file = program,
		.argv = argv,
		.fds = {-1, -1, STDERR_FILENO, m->mem, m->pagemap, s->ram_fd, s->lock_fd},
		.nfds = 7,
		.die_with_parent = true};
	pid_t pid;
	int pidfd, r = proc_spawn(&spec, &pid, &pidfd, e);

	return r < 0 ? err_prefix(e, "save") : watch(s, CHILD_SAVE, "save", pid, pidfd);
}

bool
sup_machine_gone(const struct sup *s)
{
	for (size_t i = 0; i < CHILD_COUNT; i++)
		if (s->child[i].role != NULL)
			return false;
	return true;
}

static void
on_log_timer(uv_timer_t *t)
{
	struct sup *s = t->data;

	if (s->child[CHILD_LOG].role != NULL)
		kill(s->child[CHILD_LOG].pid, SIGKILL);
}

/* log ends by itself, once it has read the end of what net said. */
void
sup_machine_kill(struct sup *s)
{
	/* What the guest did last is in the fs role's memory. */
	if (s->child[CHILD_FS].role != NULL)
		sup_changes_last(s);
	for (size_t i = 0; i < CHILD_COUNT; i++)
		if (s->child[i].role != NULL && i != CHILD_LOG)
			kill(s->child[i].pid, SIGKILL);
	for (size_t i = 0; i < 2; i++) {
		if (s->events[i] >= 0)
			close(s->events[i]);
		s->events[i] = -1;
	}
	uv_timer_start(&s->log_timer, on_log_timer, LOG_END_LIMIT_MS, 0);
}

static void
describe_end(const char *role, int status, char *out, size_t size)
{
	if (status >= 128)
		snprintf(out, size, "the %s process was ended by signal %d (%s)", role,
			status - 128, strsignal(status - 128));
	else
		snprintf(out, size, "the %s process ended with exit code %d", role, status);
}

static bool
may_restart(struct child *c)
{
	uint64_t now = clock_mono_ms();

	if (now - c->restarts_since_ms > RESTARTS_WINDOW_MS) {
		c->restarts_since_ms = now;
		c->restarts = 0;
	}
	return ++c->restarts <= RESTARTS_MAX;
}

/* Its stream stays open here, so that neither QEMU nor the guest notices. */
static void
restart_fs(struct sup *s, const char *why)
{
	struct err e = {0};

	if (!may_restart(&s->child[CHILD_FS])) {
		sup_fail(
			s, "%s, and does not stay up: what uses the workspaces is in its log", why);
		return;
	}
	log_warn("%s: starting it again", why);
	if (spawn_fs(s, &e) < 0)
		sup_fail(s, "%s, and could not be started again: %s", why, e.msg);
}

/* Without it net goes on, and counts what nobody has written. */
static void
restart_log(struct sup *s, const char *why)
{
	struct err e = {0};

	log_warn("%s: starting it again", why);
	if (!may_restart(&s->child[CHILD_LOG]))
		log_warn("the log role does not stay up: no network log from now on");
	else if (spawn_log(s, &e) < 0)
		log_warn("no network log from now on: %s", e.msg);
}

/* They go down together and come back together. */
static const int net_group[] = {CHILD_NET, CHILD_RESOLVER, CHILD_SIGNER};

static bool
is_of_net(const struct sup *s, const struct child *c)
{
	for (size_t i = 0; i < ARRAY_LEN(net_group); i++)
		if (c == &s->child[net_group[i]])
			return true;
	return false;
}

static void
restart_net(struct sup *s, struct child *dead, const char *why)
{
	struct child *n = &s->child[CHILD_NET];
	bool some_left = false;
	struct err e = {0};

	if (dead == n)
		sup_policy_net_ended(s);
	for (size_t i = 0; i < ARRAY_LEN(net_group); i++) {
		const struct child *other = &s->child[net_group[i]];

		if (other->role == NULL)
			continue;
		kill(other->pid, SIGKILL);
		some_left = true;
	}
	if (some_left)
		return; /* the last one's end comes here again */
	log_warn("%s: starting it again", why);
	if (!may_restart(n)) {
		log_warn("the net role does not stay up: the sandbox has no network from now on");
		return;
	}
	if (spawn_net(s, &e) < 0)
		log_warn("the sandbox has no network from now on: %s", e.msg);
}

static void
on_poll_closed(uv_handle_t *h)
{
	free(h);
}

/*
 * A process that ends with an exit code has said why. Roles do so when their cable ends, too, which
 * is mostly QEMU's end.
 */
static void
fail_with_words(struct sup *s, const struct child *c, const char *why)
{
	CLEAN_FREE char *words = sup_last_words(s);
	const char *colon = words[0] != '\0' ? ": " : "";

	if (c == &s->child[CHILD_QEMU])
		sup_fail(s, "%s%s%s", why, colon, words);
	else
		sup_lost(s, "%s%s%s", why, colon, words);
}

static void
on_child_end(uv_poll_t *p, int status, int events)
{
	struct sup *s = p->data;
	struct child *c = s->child;
	char why[160];

	(void)status;
	(void)events;
	while (c->poll != p)
		c++;
	int code = proc_wait(c->pid, -1, UINT64_MAX);

	describe_end(c->role, code, why, sizeof(why));
	uv_poll_stop(p);
	uv_close((uv_handle_t *)p, on_poll_closed);
	close(c->pidfd);
	c->poll = NULL;
	c->role = NULL;
	log_debug("%s", why);
	if (s->phase == PHASE_STOPPING) {
		if (c == &s->child[CHILD_QEMU])
			sup_machine_kill(s);
		sup_child_ended(s);
		return;
	}
	if (c == &s->child[CHILD_SNAPSHOT]) {
		sup_snapshot_made(s, code);
		return;
	}
	if (c == &s->child[CHILD_SAVE]) {
		sup_saving_ended(s, code);
		return;
	}
	if (is_of_net(s, c)) {
		restart_net(s, c, why);
		return;
	}
	if (c == &s->child[CHILD_FS] && code >= 128) {
		restart_fs(s, why);
		return;
	}
	if (c == &s->child[CHILD_SSH]) {
		log_warn("%s: no SSH agent until the next command brings one", why);
		return;
	}
	if (c == &s->child[CHILD_LOG]) {
		restart_log(s, why);
		return;
	}
	if (c == &s->child[CHILD_QEMU] && code == 0)
		sup_powered_off(s);
	else if (code < 128)
		fail_with_words(s, c, why);
	else
		sup_fail(s, "%s", why);
}
