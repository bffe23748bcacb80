/*
 * Real namespaces and real confinement, as root and as an ordinary user. Beside each "cannot"
 * stands the same thing done where it can.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <jail/jail.h>

#include "jail_help.h"

#define CAPS_ARG "--print-capabilities"

static bool
has_cap(cap_value_t c, cap_flag_t set)
{
	cap_flag_value_t v = CAP_CLEAR;
	cap_t caps = cap_get_proc();

	CHECK(caps != NULL && cap_get_flag(caps, c, set, &v) == 0);
	cap_free(caps);
	return v == CAP_SET;
}

static void
put_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static bool
reads(const char *path, const char *text)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	return io_read_file(AT_FDCWD, path, 4096, &b, NULL) == 0 && strcmp(buf_str(&b), text) == 0;
}

static int
write_errno(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		return errno;
	CHECK(write(fd, "x", 1) == 1);
	close(fd);
	return 0;
}

/* A folder of the test's own below /tmp; the parent removes it. */
struct fixture {
	char dir[64];
	bool keep_dac;
};

static const char *
in(const struct fixture *f, const char *name)
{
	static char bufs[8][160];
	static unsigned next;
	char *b = bufs[next++ % 8];

	snprintf(b, sizeof(bufs[0]), "%s/%s", f->dir, name);
	return b;
}

static void
make_fixture(struct fixture *f)
{
	const char *const dirs[] = {"rw", "rw/inside", "ro", "ro/sub"};

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		CHECK(mkdir(in(f, dirs[i]), 0755) == 0);
	put_file(in(f, "rw/file"), "rw");
	put_file(in(f, "ro/file"), "ro");
	put_file(in(f, "secret"), "secret");
	CHECK(symlink("/", in(f, "rw/evil")) == 0);
}

static void
with_fixture(void (*body)(void *), bool keep_dac)
{
	for (int as_user = geteuid() == 0 ? 0 : 1; as_user < 2; as_user++) {
		struct fixture f = {.dir = "/tmp/jail-test-XXXXXX", .keep_dac = keep_dac};
		int r;

		assert_non_null(mkdtemp(f.dir));
		if (geteuid() == 0)
			assert_int_equal(
				chown(f.dir, as_user ? TEST_UID : 0, as_user ? TEST_UID : 0), 0);
		r = run_child(body, &f, as_user);
		assert_int_equal(io_remove_tree(AT_FDCWD, f.dir, NULL), 0);
		assert_int_equal(r, 0);
	}
}

static void
enter(unsigned which)
{
	struct jail j = JAIL_INIT;
	struct err e = {0};

	CHECK_OK(jail_create(&j, &e), e);
	CHECK_OK(jail_enter(&j, which, &e), e);
	jail_release(&j);
}

static ino_t
ns_inode(const char *name)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	CHECK(stat(path, &st) == 0);
	return st.st_ino;
}

static void
body_create(void *arg)
{
	const char *const names[] = {"user", "net", "ipc", "uts", "mnt"};
	ino_t before[ARRAY_LEN(names)];
	uid_t uid = getuid();
	gid_t gid = getgid();
	struct utsname u;

	(void)arg;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		before[i] = ns_inode(names[i]);
	enter(JAIL_NET | JAIL_UTS);
	/* user, net and uts are others; ipc was not asked for, mnt is made by jail_confine. */
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		CHECK((ns_inode(names[i]) != before[i]) == (i == 0 || i == 1 || i == 3));
	CHECK(uname(&u) == 0 && strcmp(u.nodename, "paddock") == 0);
	CHECK(getuid() == uid && getgid() == gid);
	CHECK(has_cap(CAP_SYS_ADMIN, CAP_EFFECTIVE));
	/* Root has the ids of others too, an ordinary user only its own. */
	CHECK((setresuid(TEST_UID + 1, TEST_UID + 1, TEST_UID + 1) == 0) == (uid == 0));
}

static void
test_create(void **state)
{
	(void)state;
	run_as_both(body_create, NULL);
}

static void
body_exec(void *arg)
{
	char *const argv[] = {"test", CAPS_ARG, NULL};
	pid_t pid;

	(void)arg;
	/* Control: without the jail an ordinary user has nothing after an exec. */
	pid = fork();
	if (pid == 0) {
		execv("/proc/self/exe", argv);
		_exit(99);
	}
	CHECK(await(pid) == (geteuid() == 0 ? 0 : 1));
	enter(JAIL_ALL);
	execv("/proc/self/exe", argv);
	CHECK(false);
}

static void
test_capabilities_survive_exec(void **state)
{
	(void)state;
	run_as_both(body_exec, NULL);
}

/* What is left of a namespace when nothing holds it: nothing. */
static void
body_release(void *arg)
{
	struct jail j = JAIL_INIT;
	struct err e = {0};

	int first = -1;

	(void)arg;
	for (int i = 0; i < 20; i++) {
		CHECK_OK(jail_create(&j, &e), e);
		first = i == 0 ? j.user_ns : first;
		CHECK(j.user_ns == first); /* no descriptor is lost */
		CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
		jail_release(&j);
		CHECK(j.user_ns == -1 && j.net_ns == -1 && j.ipc_ns == -1 && j.uts_ns == -1);
	}
}

static void
test_release(void **state)
{
	(void)state;
	run_as_both(body_release, NULL);
}

static void
plan_tree(struct jail_confine *c, const struct fixture *f)
{
	jail_confine_add(c, JAIL_BIND, in(f, "rw"), "/home/x/rw", false);
	jail_confine_add(c, JAIL_BIND, in(f, "ro"), "/ro", true);
	jail_confine_add(c, JAIL_BIND, in(f, "ro"), "/home/x/rw/inside", true);
	jail_confine_add(c, JAIL_BIND, in(f, "rw/file"), "/etc/one", true);
	jail_confine_add(c, JAIL_BIND, "/dev/null", "/dev/null", false)->dev = true;
	jail_confine_add(c, JAIL_BIND, "/dev/null", "/dev/dead", false);
	jail_confine_add(c, JAIL_BIND, "/proc/self/fd", "/fd", false);
	jail_confine_add(c, JAIL_TMPFS, NULL, "/empty", true);
	jail_confine_add(c, JAIL_SYMLINK, "home/x/rw", "/link", false);
}

/* The jail entered, with a file system mounted inside the folder that will be read-only. */
static void
enter_with_submount(const struct fixture *f)
{
	enter(JAIL_ALL);
	CHECK(unshare(CLONE_NEWNS) == 0);
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(mount("tmpfs", in(f, "ro/sub"), "tmpfs", 0, NULL) == 0);
	put_file(in(f, "ro/sub/deep"), "deep");
	/* As systemd leaves a host's mounts: ours must not travel along. */
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) == 0);
}

static size_t
count_entries(const char *path)
{
	DIR *d = opendir(path);
	size_t n = 0;

	CHECK(d != NULL);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void
check_only_the_tree(const struct fixture *f)
{
	static const char *const there[] = {"home", "ro", "etc", "dev", "fd", "empty", "link"};
	DIR *d = opendir("/");
	struct dirent *de;
	size_t n = 0;

	CHECK(d != NULL);
	while ((de = readdir(d)) != NULL) {
		if (de->d_name[0] == '.')
			continue;
		n++;
		for (size_t i = 0; i <= ARRAY_LEN(there); i++) {
			CHECK(i < ARRAY_LEN(there));
			if (strcmp(de->d_name, there[i]) == 0)
				break;
		}
	}
	closedir(d);
	CHECK(n == ARRAY_LEN(there));
	CHECK(reads("/home/x/rw/file", "rw") && reads("/link/file", "rw"));
	CHECK(reads("/etc/one", "rw"));
	CHECK(!reads(in(f, "rw/file"), "rw") && errno == ENOENT);
	CHECK(access("/etc/passwd", F_OK) < 0 && access("/proc", F_OK) < 0);
	CHECK(access("../../../../../etc/passwd", F_OK) < 0);
	/* The guest's symlink to "/" leads to the tree's root and no further. */
	CHECK(access("/home/x/rw/evil/etc/one", F_OK) == 0);
	CHECK(access("/home/x/rw/evil/etc/passwd", F_OK) < 0);
}

static void
check_read_only(void)
{
	CHECK(write_errno("/home/x/rw/new") == 0);
	CHECK(reads("/ro/file", "ro") && write_errno("/ro/file") == EROFS);
	CHECK(reads("/ro/sub/deep", "deep") && write_errno("/ro/sub/deep") == EROFS);
	CHECK(write_errno("/home/x/rw/inside/file") == EROFS);
	CHECK(write_errno("/etc/one") == EROFS);
	CHECK(mkdir("/new", 0755) < 0 && errno == EROFS);
	CHECK(mkdir("/empty/new", 0755) < 0 && errno == EROFS);
	CHECK(mkdir("/home/x/new", 0755) < 0 && errno == EROFS);
}

static void
check_devices(void)
{
	int fd;

	CHECK(write_errno("/dev/null") == 0);
	CHECK(write_errno("/dev/dead") == EACCES);
	/* Not executable, on the very file that is readable. */
	fd = open("/home/x/rw/file", O_RDONLY);
	CHECK(fd >= 0 && mmap(NULL, 2, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED);
	CHECK(mmap(NULL, 2, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED);
	close(fd);
}

static void
check_powerless(const struct fixture *f)
{
	for (cap_value_t c = 0; c < cap_max_bits(); c++) {
		bool kept =
			f->keep_dac && (c == CAP_DAC_OVERRIDE || c == CAP_FOWNER || c == CAP_CHOWN);

		CHECK(has_cap(c, CAP_PERMITTED) == kept && has_cap(c, CAP_EFFECTIVE) == kept);
		CHECK(!has_cap(c, CAP_INHERITABLE));
		CHECK(prctl(PR_CAPBSET_READ, c, 0, 0, 0) == 0);
		CHECK(cap_get_ambient(c) == 0);
	}
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
	CHECK(mount("tmpfs", "/empty", "tmpfs", 0, NULL) < 0 && errno == EPERM);
	CHECK(unshare(CLONE_NEWUSER) < 0 && errno == EPERM);
}

static void
check_limits(void)
{
	struct rlimit r;

	CHECK(getrlimit(RLIMIT_CORE, &r) == 0 && r.rlim_cur == 0 && r.rlim_max == 0);
	CHECK(getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur == 321);
}

static void
body_confine(void *arg)
{
	struct fixture *f = arg;
	struct jail_confine c = {
		.keep_dac = f->keep_dac, .nofile = 321, .syscalls = JAIL_SYSCALLS_ALL};
	struct err e = {0};
	size_t before;

	make_fixture(f);
	enter_with_submount(f);
	/* The controls: what is forbidden below works here. */
	CHECK(write_errno(in(f, "ro/sub/deep")) == 0 && write_errno(in(f, "ro/file")) == 0);
	CHECK(mkdir(in(f, "rw/tmp"), 0755) == 0);
	CHECK(mount("tmpfs", in(f, "rw/tmp"), "tmpfs", 0, NULL) == 0);
	CHECK(umount(in(f, "rw/tmp")) == 0);
	put_file(in(f, "ro/sub/deep"), "deep");
	put_file(in(f, "ro/file"), "ro");
	before = count_entries("/proc/self/fd");
	plan_tree(&c, f);
	CHECK_OK(jail_confine(&c, &e), e);
	jail_confine_release(&c);
	CHECK(count_entries("/fd") == before); /* above all none of the old root is left over */
	check_only_the_tree(f);
	check_read_only();
	check_devices();
	check_powerless(f);
	check_limits();
}

static void
test_confine(void **state)
{
	(void)state;
	with_fixture(body_confine, false);
}

static void
test_confine_keeps_dac(void **state)
{
	(void)state;
	with_fixture(body_confine, true);
}

/* Root's fs role: the rights on other users' files stay, through exactly the capabilities kept. */
static void
body_dac(void *arg)
{
	struct fixture *f = arg;
	struct jail_confine c = {.keep_dac = f->keep_dac, .syscalls = JAIL_SYSCALLS_FS};
	struct err e = {0};
	int denied = f->keep_dac ? 0 : -1;

	if (geteuid() != 0)
		return;
	make_fixture(f);
	CHECK(chown(in(f, "rw/file"), TEST_UID, TEST_UID) == 0 &&
		chmod(in(f, "rw/file"), 0600) == 0);
	enter(JAIL_ALL);
	jail_confine_add(&c, JAIL_BIND, in(f, "rw"), "/rw", false);
	CHECK_OK(jail_confine(&c, &e), e);
	jail_confine_release(&c);
	CHECK((write_errno("/rw/file") == 0) == f->keep_dac);
	CHECK(chmod("/rw/file", 0640) == denied);
	CHECK(chown("/rw/file", TEST_UID + 1, TEST_UID) == denied);
}

static void
test_dac(void **state)
{
	(void)state;
	with_fixture(body_dac, false);
	with_fixture(body_dac, true);
}

static int
connect_errno(uint16_t port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	CLEAN_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	return connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? errno : 0;
}

static void
body_network(void *arg)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct jail_confine c = {.new_net = true};
	socklen_t n = sizeof(a);
	struct err e = {0};

	(void)arg;
	CHECK(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 5) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&a, &n) == 0);
	enter(0);
	CHECK(connect_errno(a.sin_port) == 0);
	CHECK_OK(jail_confine(&c, &e), e);
	CHECK(connect_errno(a.sin_port) == ENETUNREACH);
	CHECK(if_nametoindex("lo") == 1 && if_nametoindex("eth0") == 0);
}

static void
test_network(void **state)
{
	(void)state;
	run_as_both(body_network, NULL);
}

static pid_t
start_sleeper(int death_signal)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, death_signal);
		alarm(30);
		pause();
		_exit(0);
	}
	return pid;
}

/* Signals to the rest of the host: no PID namespace stands between, so filters have to. */
static void
body_signals(void *arg)
{
	struct jail_confine c = {.syscalls = *(enum jail_syscalls *)arg, .no_fork = true};
	pid_t other = getppid(), victim = start_sleeper(0);
	struct err e = {0};
	int status;

	/* Control: the sibling-to-be can be reached before. */
	CHECK(kill(victim, 0) == 0);
	enter(JAIL_ALL);
	CHECK(kill(victim, 0) == 0);
	CHECK_OK(jail_confine(&c, &e), e);
	CHECK(kill(victim, SIGKILL) < 0 && errno == EPERM);
	CHECK(kill(-1, 0) < 0 && kill(0, 0) < 0 && kill(other, 0) < 0);
	CHECK(syscall(SYS_tgkill, victim, victim, SIGKILL) < 0);
	CHECK(syscall(SYS_tkill, victim, SIGKILL) < 0);
	CHECK(fcntl(0, F_SETOWN, victim) < 0 && errno == EPERM);
	CHECK(waitpid(victim, &status, WNOHANG) == 0);
	CHECK(kill(getpid(), 0) == 0 && raise(SIGCHLD) == 0);
	_exit(77); /* the victim is the outer process's to end */
}

static void
reap_signals_test(void *arg)
{
	pid_t pid;

	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	pid = fork();
	if (pid == 0)
		body_signals(arg);
	CHECK(await(pid) == 77);
	pid = waitpid(-1, NULL, WNOHANG);
	CHECK(pid == 0); /* the victim lives on */
	CHECK(signal(SIGTERM, SIG_IGN) != SIG_ERR && kill(0, SIGTERM) == 0);
	CHECK(waitpid(-1, NULL, 0) > 0);
}

static void
own_group(void *arg)
{
	CHECK(setpgid(0, 0) == 0);
	reap_signals_test(arg);
}

static void
test_signals(void **state)
{
	static enum jail_syscalls profiles[] = {JAIL_SYSCALLS_ALL, JAIL_SYSCALLS_QEMU};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(profiles); i++)
		run_as_both(own_group, &profiles[i]);
}

/* Landlock alone, where the filter must leave kill to a program that may have children. */
static void
body_landlock(void *arg)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* VERSION */);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), before, after;
	int want = abi >= 6 ? EPERM : 0;
	struct jail_confine c = {.syscalls = JAIL_SYSCALLS_ALL};
	struct err e = {0};
	pid_t outside = start_sleeper(SIGKILL), child;
	socklen_t n;

	(void)arg;
	/* An abstract name, which the kernel picks: no mount namespace is in its way. */
	CHECK(bind(l, (struct sockaddr *)&a, sizeof(a.sun_family)) == 0 && listen(l, 5) == 0);
	n = sizeof(a);
	CHECK(getsockname(l, (struct sockaddr *)&a, &n) == 0);
	before = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	after = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	enter(0);
	CHECK(kill(outside, 0) == 0 && connect(before, (struct sockaddr *)&a, n) == 0);
	CHECK_OK(jail_confine(&c, &e), e);
	CHECK((kill(outside, SIGKILL) < 0 ? errno : 0) == want);
	CHECK((connect(after, (struct sockaddr *)&a, n) < 0 ? errno : 0) == want);
	/* Its own children are its own. */
	child = start_sleeper(SIGKILL);
	CHECK(kill(child, SIGKILL) == 0 && await(child) == 128 + SIGKILL);
}

static void
test_landlock(void **state)
{
	(void)state;
	run_as_both(body_landlock, NULL);
}

struct bad {
	const char *source, *target, *says;
	bool resolved;
};

static void
body_bad(void *arg)
{
	const struct bad *b = arg;
	struct fixture f = {.dir = "/tmp/jail-test-XXXXXX"};
	struct jail_confine c = {0};
	struct err e = {0};
	int r;

	CHECK(mkdtemp(f.dir) != NULL);
	make_fixture(&f);
	enter(JAIL_ALL);
	jail_confine_add(&c, JAIL_BIND, in(&f, "rw"), "/w", false);
	jail_confine_add(&c, JAIL_BIND, b->source[0] == '/' ? b->source : in(&f, b->source),
		b->target, false)
		->resolved = b->resolved;
	r = jail_confine(&c, &e);
	/* Before pivot_root nothing has changed for us: look at what was left on the host. */
	CHECK((b->says == NULL) == (r == 0));
	if (r == 0)
		_exit(0); /* the parent has to clean up: we cannot reach it any more */
	if (strstr(e.msg, b->says) == NULL) {
		fprintf(stderr, "'%s' does not say '%s'\n", e.msg, b->says);
		_exit(1);
	}
	CHECK(access(in(&f, "rw/missing"), F_OK) < 0);
	CHECK(io_remove_tree(AT_FDCWD, f.dir, NULL) == 0);
	_exit(3);
}

static void
test_bad_plans(void **state)
{
	static const struct bad cases[] = {
		{"nowhere", "/x", "No such file", false},
		{"ro", "x", "absolute", false},
		{"ro", "/", "nothing can be mounted", false},
		{"ro", "/a/../b", "Invalid", false},
		{"ro", "/..", "nothing can be mounted", false},
		/* below a bind nothing is made, and its symlinks lead nowhere */
		{"ro", "/w/missing/x", "No such file", false},
		{"ro", "/w/missing", "No such file", false},
		{"secret", "/w/missing", "No such file", false},
		{"ro", "/w/evil", "Not a directory", false},
		{"ro", "/w/evil/etc", "Not a directory", false},
		{"secret", "/w/evil", "Too many levels", false},
		{"ro", "/w/file", "Not a directory", false},
		{"secret", "/w/inside", "Is a directory", false},
		/* a source that was resolved once and now has a symlink in it */
		{"rw/evil", "/x", "a symlink has taken the place", true},
		{"rw/evil/tmp", "/x", "a symlink has taken the place", true},
		{"/proc/self/root", "/x", "Too many levels", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (geteuid() == 0)
			assert_int_equal(run_child(body_bad, (void *)&cases[i], 0), 3);
		assert_int_equal(run_child(body_bad, (void *)&cases[i], 1), 3);
	}
}

/* The same sources work where nothing is wrong with them (the controls of test_bad_plans). */
static void
body_good(void *arg)
{
	struct fixture *f = arg;
	struct jail_confine c = {0};
	struct err e = {0};

	make_fixture(f);
	CHECK(symlink("ro", in(f, "alias")) == 0);
	enter(JAIL_ALL);
	jail_confine_add(&c, JAIL_BIND, in(f, "rw"), "/w", false);
	jail_confine_add(&c, JAIL_BIND, in(f, "ro"), "/x", false)->resolved = true;
	jail_confine_add(&c, JAIL_BIND, in(f, "alias"), "/y", false);
	jail_confine_add(&c, JAIL_BIND, in(f, "secret"), "/w/file", false)->resolved = true;
	jail_confine_add(&c, JAIL_TMPFS, NULL, "/w/inside", true);
	CHECK_OK(jail_confine(&c, &e), e);
	jail_confine_release(&c);
	CHECK(reads("/x/file", "ro") && reads("/y/file", "ro") && reads("/w/file", "secret"));
	CHECK(mkdir("/w/inside/x", 0755) < 0 && errno == EROFS);
}

static void
test_good_plans(void **state)
{
	(void)state;
	with_fixture(body_good, false);
}

static void
body_empty(void *arg)
{
	struct jail_confine c = {0};
	struct err e = {0};
	DIR *d;

	(void)arg;
	enter(0);
	CHECK_OK(jail_confine(&c, &e), e);
	d = opendir("/");
	CHECK(d != NULL);
	for (struct dirent *de; (de = readdir(d)) != NULL;)
		CHECK(strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0);
	closedir(d);
}

static void
test_empty_tree(void **state)
{
	(void)state;
	run_as_both(body_empty, NULL);
}

/* As the supervisor does for QEMU: confined, then a program from the tree itself. */
static void
body_exec_inside(void *arg)
{
	static const char *const folders[] = {"/usr", "/lib", "/lib64", "/bin"};
	char *const argv[] = {"sh", "-c",
		"exec 2>&-; test -e /usr/bin && ! test -e /etc && ! test -e /tmp && "
		"! (echo > /usr/x) && ! mount -t tmpfs x /usr && exit 42",
		NULL};
	struct jail_confine c = {.new_net = true, .syscalls = JAIL_SYSCALLS_QEMU};
	struct err e = {0};

	(void)arg;
	enter(JAIL_ALL);
	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		if (access(folders[i], F_OK) == 0)
			jail_confine_add(&c, JAIL_BIND, folders[i], folders[i], true)->exec = true;
	CHECK_OK(jail_confine(&c, &e), e);
	execv("/bin/sh", argv);
	CHECK(false);
}

static void
test_exec_inside(void **state)
{
	(void)state;
	if (geteuid() == 0)
		assert_int_equal(run_child(body_exec_inside, NULL, 0), 42);
	assert_int_equal(run_child(body_exec_inside, NULL, 1), 42);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_capabilities_survive_exec),
		cmocka_unit_test(test_release),
		cmocka_unit_test(test_confine),
		cmocka_unit_test(test_confine_keeps_dac),
		cmocka_unit_test(test_dac),
		cmocka_unit_test(test_network),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_landlock),
		cmocka_unit_test(test_bad_plans),
		cmocka_unit_test(test_good_plans),
		cmocka_unit_test(test_empty_tree),
		cmocka_unit_test(test_exec_inside),
	};

	if (argc == 2 && strcmp(argv[1], CAPS_ARG) == 0)
		return has_cap(CAP_SYS_ADMIN, CAP_EFFECTIVE) && has_cap(CAP_SETPCAP, CAP_EFFECTIVE)
			       ? 0
			       : 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
