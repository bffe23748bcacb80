/*
 * Namespaces, capabilities over exec, and what a confined process can do to others, as root and as
 * an ordinary user. Beside each "cannot" stands the same thing done where it can.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <jail/jail.h>

#include "jail_help.h"

#define CAPS_ARG "--print-capabilities"

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
	char *const argv[] = {(char *)"test", (char *)CAPS_ARG, NULL};
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

/* A host that has switched namespaces off: a user namespace has a limit of its own to try it with.
 */
static void
body_switched_off(void *arg)
{
	struct jail j = JAIL_INIT;
	struct err e = {0};
	int fd;

	(void)arg;
	enter(0);
	CHECK_OK(jail_create(&j, &e), e);
	jail_release(&j);
	fd = open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);
	CHECK(fd >= 0 && write(fd, "0", 1) == 1);
	close(fd);
	CHECK(jail_create(&j, &e) == -ENOSPC && j.user_ns == -1);
	CHECK(strstr(e.msg, "Run: sudo sysctl user.max_user_namespaces=15000") != NULL);
}

static void
test_switched_off(void **state)
{
	(void)state;
	run_as_both(body_switched_off, NULL);
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

/* As the supervisor does for QEMU: confined, then a program from the tree itself. */
static void
body_exec_inside(void *arg)
{
	static const char *const folders[] = {"/usr", "/lib", "/lib64", "/bin"};
	char *const argv[] = {(char *)"sh", (char *)"-c",
		(char *)"exec 2>&-; test -e /usr/bin && ! test -e /etc && ! test -e /tmp && "
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
		cmocka_unit_test(test_switched_off),
		cmocka_unit_test(test_release),
		cmocka_unit_test(test_network),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_landlock),
		cmocka_unit_test(test_exec_inside),
	};

	if (argc == 2 && strcmp(argv[1], CAPS_ARG) == 0)
		return has_cap(CAP_SYS_ADMIN, CAP_EFFECTIVE) && has_cap(CAP_SETPCAP, CAP_EFFECTIVE)
			       ? 0
			       : 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
