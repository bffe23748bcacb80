/*
 * Boots one machine by vmm_plan and speaks to it over the link, without supervisor and jail: for
 * measuring and for looking inside. As root, in a network namespace of its own.
 *
 *   bootvm -k VMLINUX -i INITRAMFS -b BASE -d DISK [-w FOLDER]... [-c CPUS] [-m MIB] [-D] [-B]
 *          [-C CA.pem] [-s] [-u USER] [COMMAND [ARG]...]
 *
 * The disk is made where it does not exist. Prints the console and a time line to stderr (seconds
 * since QEMU's start, seconds of its processor time); the command's output to stdout. -B: bare,
 * ends with the console's first line that says "bare init" (to compare with an empty init). -D:
 * talkative. -s: no shutdown, QEMU is killed. -F: nobody serves the workspaces. -x TEXT: more text
 * for the kernel's command line. -q ARGUMENT: one more for QEMU.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/proc.h>
#include <fs/fs.h>
#include <link/link.h>
#include <vmm/vmm.h>
#include <wire/identity.h>
#include <wire/session.h>

#define LIMIT_MS 300000

struct args {
	const char *kernel, *initramfs, *base, *disk, *ca, *user, *extra;
	struct strv workspaces, qemu;
	unsigned cpus;
	uint64_t memory_mib, disk_gib;
	bool debug, bare, no_shutdown, no_fs;
	char **command;
	int ncommand;
};

struct vm {
	struct args a;
	uint64_t start_ns;
	int console, qmp, control;
	pid_t qemu, link, fs;
	int qemu_pidfd;
	struct buf line; /* of the console, not yet whole */
	bool up, down;
	int bare_seen;
};

static void
die(const char *what, const struct err *e)
{
	fprintf(stderr, "bootvm: %s: %s\n", what, e != NULL ? e->msg : strerror(errno));
	exit(125);
}

/* What all of QEMU's threads have run so far (proc_pid_schedstat): it does not grow with others'
 * load. */
static uint64_t
cpu_us(const struct vm *v)
{
	CLEAN_FREE char *dir = xasprintf("/proc/%d/task", (int)v->qemu);
	CLEAN_CLOSEDIR DIR *d = opendir(dir);
	struct dirent *de;
	uint64_t sum = 0;

	while (d != NULL && (de = readdir(d)) != NULL) {
		CLEAN_FREE char *path = xasprintf("%s/%s/schedstat", dir, de->d_name);
		CLEAN_BUF struct buf b = BUF_INIT;

		if (de->d_name[0] != '.' && io_read_file(AT_FDCWD, path, 256, &b, NULL) == 0)
			sum += strtoull(buf_str(&b), NULL, 10) / 1000;
	}
	return sum;
}

static void
stamp(const struct vm *v, const char *what)
{
	uint64_t us = (clock_mono_ns() - v->start_ns) / 1000, cpu = cpu_us(v);

	fprintf(stderr, "== %3llu.%03llu %3llu.%03llu %s\n", (unsigned long long)us / 1000000,
		(unsigned long long)us / 1000 % 1000, (unsigned long long)cpu / 1000000,
		(unsigned long long)cpu / 1000 % 1000, what);
}

static int
make_tap(void)
{
	int fd, s;
	struct ifreq q = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	struct sockaddr_in in = {.sin_family = AF_INET};

	if (unshare(CLONE_NEWNET) < 0)
		die("network namespace (run me as root)", NULL);
	s = socket(AF_INET, SOCK_DGRAM, 0);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	strcpy(q.ifr_name, "tap0");
	if (fd < 0 || ioctl(fd, TUNSETIFF, &q) < 0)
		die("tap", NULL);
	inet_pton(AF_INET, "198.18.0.1", &in.sin_addr);
	memcpy(&q.ifr_addr, &in, sizeof(in));
	ioctl(s, SIOCSIFADDR, &q);
	inet_pton(AF_INET, "255.255.255.252", &in.sin_addr);
	memcpy(&q.ifr_addr, &in, sizeof(in));
	ioctl(s, SIOCSIFNETMASK, &q);
	q.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(s, SIOCSIFFLAGS, &q) < 0)
		die("tap up", NULL);
	close(s);
	return fd;
}

/* The plan's fixed names -> this machine's. */
static char *
real_paths(const struct args *a, char *arg)
{
	const char *const names[][2] = {{VMM_PATH_KERNEL, a->kernel},
		{VMM_PATH_INITRAMFS, a->initramfs}, {VMM_PATH_BASE, a->base},
		{VMM_PATH_DISK, a->disk}};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char *at = strstr(arg, names[i][0]);

		if (at != NULL)
			return xasprintf("%.*s%s%s", (int)(at - arg), arg, names[i][1],
				at + strlen(names[i][0]));
	}
	if (a->extra != NULL && strstr(arg, "console=ttyS0") == arg)
		return xasprintf("%s %s", arg, a->extra);
	return xstrdup(arg);
}

static void
start_qemu(struct vm *v, int tap, int link, int fs, int console, int qmp)
{
	struct vmm_machine m = {.accel = VMM_ACCEL_TCG,
		.cpus = v->a.cpus,
		.memory_bytes = v->a.memory_mib << 20,
		.tsc_khz = vmm_tsc_khz(),
		.mac = "52:54:00:70:61:64",
		.tap_fd = 3,
		.link_fd = 4,
		.fs_fd = 5,
		.console_fd = 6,
		.qmp_fd = 7,
		.debug = v->a.debug};
	struct strv plan = {0}, argv = {0};
	struct vmm_host host = {0};
	struct err e = {0};

	if (vmm_host_find(&host, &e) < 0 || vmm_plan(&m, host.qemu, &plan, &e) < 0)
		die("plan", &e);
	for (size_t i = 0; i < plan.n; i++)
		strv_add_take(&argv, real_paths(&v->a, plan.v[i]));
	for (size_t i = 0; i < v->a.qemu.n; i++)
		strv_add(&argv, v->a.qemu.v[i]);
	struct proc_spec spec = {.file = host.qemu,
		.argv = argv.v,
		.fds = {-1, 1, 2, tap, link, fs, console, qmp},
		.nfds = 8,
		.die_with_parent = true};

	v->start_ns = clock_mono_ns();
	if (proc_spawn(&spec, &v->qemu, &v->qemu_pidfd, &e) < 0)
		die("qemu", &e);
}

static pid_t
start_link(int line, int control)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct link_options o = {.line_fd = line, .control_fd = control};
		struct err e = {0};
		int r;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		r = link_serve(&o, &e);
		if (r < 0)
			fprintf(stderr, "== link: %s\n", e.msg);
		_exit(r < 0);
	}
	return pid;
}

static pid_t
start_fs(int line)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct err e = {0};
		struct fs_options o = {.stream_fd = line,
			.root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC),
			.proc_fd = fs_proc_open(&e),
			.guest_uid = 1000,
			.guest_gid = 1000};
		int r;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		r = o.proc_fd < 0 ? o.proc_fd : fs_serve(&o, &e);
		if (r < 0)
			fprintf(stderr, "== fs: %s\n", e.msg);
		_exit(r < 0);
	}
	return pid;
}

static void
start_vm(struct vm *v)
{
	int tap = make_tap(), link[2], fs[2], console[2], qmp[2], control[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link) < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fs) < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console) < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qmp) < 0 ||
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
		die("sockets", NULL);
	start_qemu(v, tap, link[1], fs[1], console[1], qmp[1]);
	close(link[1]);
	close(fs[1]);
	close(console[1]);
	close(qmp[1]);
	v->link = start_link(link[0], control[1]);
	v->fs = v->a.no_fs ? 0 : start_fs(fs[0]);
	v->console = console[0];
	v->qmp = qmp[0];
	v->control = control[0];
	close(control[1]);
	close(link[0]);
	if (!v->a.no_fs)
		close(fs[0]);
}

static void
on_console(struct vm *v)
{
	ssize_t n = buf_read_fd(&v->line, v->console, 65536);
	const char *nl;

	if (n <= 0) {
		close(v->console);
		v->console = -1;
		return;
	}
	while ((nl = memchr(v->line.data, '\n', v->line.len)) != NULL) {
		size_t len = (size_t)(nl - (const char *)v->line.data);
		char text[400];

		str_escape((const char *)v->line.data, len > 0 ? len - 1 : 0, text, sizeof(text));
		stamp(v, text);
		if (strstr(text, "bare init") != NULL)
			v->bare_seen = 1;
		buf_consume(&v->line, len + 1);
	}
}

static void
on_control(struct vm *v)
{
	char c;

	if (read(v->control, &c, 1) != 1 || c == LINK_DOWN) {
		stamp(v, "link down");
		v->down = true;
		close(v->control);
		v->control = -1;
	} else if (c == LINK_UP) {
		stamp(v, "link up");
		v->up = true;
	}
}

/* One round of waiting; false where QEMU has ended. extra: another descriptor, or -1. */
static bool
pump(struct vm *v, int extra)
{
	struct pollfd p[4] = {{.fd = v->console, .events = POLLIN},
		{.fd = v->control, .events = POLLIN}, {.fd = v->qemu_pidfd, .events = POLLIN},
		{.fd = extra, .events = POLLIN}};

	if (poll(p, 4, LIMIT_MS) <= 0)
		die("nothing happens", NULL);
	if (p[0].revents)
		on_console(v);
	if (p[1].revents)
		on_control(v);
	return p[2].revents == 0;
}

/* With the processor time it took, which tells more than the clock on a machine that is shared. */
static void
await_end(struct vm *v)
{
	char text[64];
	struct rusage u;
	int status;

	while (pump(v, -1))
		;
	wait4(v->qemu, &status, 0, &u);
	snprintf(text, sizeof(text), "QEMU ended, %.2f s of processor time",
		(double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
			(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
	stamp(v, text);
}

static int
open_session(struct vm *v, const struct session_open *o)
{
	CLEAN_BUF struct buf payload = BUF_INIT;
	CLEAN_BUF struct buf out = BUF_INIT;
	char c = LINK_SESSION;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		die("socketpair", NULL);
	session_open_encode(o, &payload);
	frame_put(&out, SESSION_OPEN, payload.data, payload.len);
	if (io_write_full(sv[0], out.data, out.len, deadline_in_ms(1000)) < 0 ||
		io_send_fds(v->control, &c, 1, &sv[1], 1) < 0)
		die("session", NULL);
	close(sv[1]);
	return sv[0];
}

/* Returns the exit status when the frame ends the session, else -1. */
static int
on_frame(const struct frame *f)
{
	switch (f->type) {
	case SESSION_STDOUT:
	case SESSION_STDERR:
		if (write(f->type == SESSION_STDOUT ? 1 : 2, f->p, f->n) < 0)
			die("write", NULL);
		return -1;
	case SESSION_EXIT:
		return f->n > 0 ? f->p[0] : 0;
	case SESSION_ERROR:
		fprintf(stderr, "== error: %.*s\n", (int)(f->n - 1), (const char *)f->p + 1);
		return f->p[0];
	default:
		return -1;
	}
}

static int
run_session(struct vm *v, const struct session_open *o)
{
	int fd = open_session(v, o), status = -1;
	CLEAN_BUF struct buf in = BUF_INIT;
	bool alive = true;

	while (alive && status < 0) {
		struct frame f;

		alive = pump(v, fd);
		ssize_t n = recv(fd, buf_reserve(&in, 65536), 65536, MSG_DONTWAIT);

		if (n > 0)
			buf_commit(&in, (size_t)n);
		else if (n == 0)
			break;
		while (status < 0 && frame_peek(&in, &f) > 0) {
			status = on_frame(&f);
			buf_consume(&in, FRAME_HEAD + f.n);
		}
	}
	close(fd);
	return status < 0 ? 125 : status;
}

static int
send_identity(struct vm *v)
{
	struct identity i = {.hostname = xstrdup("bootvm"),
		.name = xstrdup("bootvm"),
		.uid = 1000,
		.gid = 1000,
		.timezone = xstrdup("Europe/Berlin"),
		.address = xstrdup("198.18.0.2/30"),
		.gateway = xstrdup("198.18.0.1"),
		.disk_bytes = v->a.disk_gib << 30};
	struct session_open o = {.op = SESSION_OP_IDENTITY};
	struct err e = {0};
	int r;

	strv_add(&i.git, "user.name=A \"quoted\" Name");
	strv_add(&i.git, "user.email=someone@example.com");
	buf_reserve(&i.entropy, 64);
	if (getrandom(i.entropy.data, 64, 0) == 64)
		buf_commit(&i.entropy, 64);
	if (v->a.ca != NULL && io_read_file(AT_FDCWD, v->a.ca, 8 << 20, &i.ca_pem, &e) < 0)
		die("certificates", &e);
	for (size_t k = 0; k < v->a.workspaces.n; k++) {
		char *path = xstrdup(v->a.workspaces.v[k]);
		bool ro = str_has_suffix(path, ":ro");
		struct stat st;

		if (ro)
			path[strlen(path) - 3] = '\0';
		if (stat(path, &st) < 0)
			die(path, NULL);
		identity_add_workspace(&i, path, ro, !S_ISDIR(st.st_mode));
	}
	i.time_ns = clock_real_ns();
	identity_encode(&i, &o.identity);
	r = run_session(v, &o);
	stamp(v, r == 0 ? "identity applied" : "identity refused");
	return r;
}

static int
run_command(struct vm *v)
{
	struct session_open o = {.op = SESSION_OP_EXEC};
	int r;

	for (int i = 0; i < v->a.ncommand; i++)
		strv_add(&o.argv, v->a.command[i]);
	if (v->a.user != NULL)
		o.user = xstrdup(v->a.user);
	r = run_session(v, &o);
	stamp(v, "command ended");
	return r;
}

static void
stop(struct vm *v)
{
	struct session_open o = {.op = SESSION_OP_SHUTDOWN};

	if (v->a.no_shutdown) {
		kill(v->qemu, SIGKILL);
	} else {
		run_session(v, &o);
		stamp(v, "shutdown answered");
	}
	await_end(v);
}

static void
parse(struct args *a, int argc, char **argv)
{
	int c;

	a->cpus = 2;
	a->memory_mib = 2048;
	a->disk_gib = 20;
	while ((c = getopt(argc, argv, "+k:i:b:d:w:c:m:g:DBC:su:x:Fq:")) >= 0) {
		switch (c) {
		case 'k':
			a->kernel = optarg;
			break;
		case 'i':
			a->initramfs = optarg;
			break;
		case 'b':
			a->base = optarg;
			break;
		case 'd':
			a->disk = optarg;
			break;
		case 'w':
			strv_add(&a->workspaces, optarg);
			break;
		case 'c':
			a->cpus = (unsigned)atoi(optarg);
			break;
		case 'm':
			a->memory_mib = (uint64_t)atoi(optarg);
			break;
		case 'g':
			a->disk_gib = (uint64_t)atoi(optarg);
			break;
		case 'D':
			a->debug = true;
			break;
		case 'B':
			a->bare = true;
			break;
		case 'C':
			a->ca = optarg;
			break;
		case 's':
			a->no_shutdown = true;
			break;
		case 'u':
			a->user = optarg;
			break;
		case 'F':
			a->no_fs = true;
			break;
		case 'x':
			a->extra = optarg;
			break;
		case 'q':
			strv_add(&a->qemu, optarg);
			break;
		default:
			exit(2);
		}
	}
	if (a->kernel == NULL || a->initramfs == NULL || a->base == NULL || a->disk == NULL) {
		fprintf(stderr, "bootvm: -k, -i, -b and -d are needed\n");
		exit(2);
	}
	a->command = argv + optind;
	a->ncommand = argc - optind;
}

int
main(int argc, char **argv)
{
	struct vm v = {0};
	struct err e = {0};
	int r = 0;

	parse(&v.a, argc, argv);
	signal(SIGPIPE, SIG_IGN);
	if (access(v.a.disk, F_OK) < 0 &&
		vmm_disk_create(v.a.disk, v.a.base, VMM_RAW, v.a.disk_gib << 30, &e) < 0)
		die("disk", &e);
	start_vm(&v);
	while (!v.up && !v.down && !v.bare_seen && pump(&v, -1))
		;
	if (v.bare_seen) {
		await_end(&v);
		return 0;
	}
	if (!v.up)
		return 125;
	r = send_identity(&v);
	if (r == 0 && v.a.ncommand > 0)
		r = run_command(&v);
	stop(&v);
	return r;
}
