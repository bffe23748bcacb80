/*
 * The system call filters, each probe in a process of its own: what a role needs works, what it
 * must not do ends it (or fails with the errno that a library expects), and the same probe works
 * without the filter, so that it is the filter that is seen.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <termios.h>

#include <cmocka.h>
#include <uv.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <jail/jail.h>
#include <jail_seccomp.h>

#include "jail_help.h"

enum { NO_FILTER = -1 };

/* Fates: 0, an errno, or this; what a sanitizer build sees instead is the default's EPERM. */
#define KILLED 1000
#if defined(__SANITIZE_ADDRESS__)
#define KILLED_HERE EPERM
#else
#define KILLED_HERE KILLED
#endif

struct probe {
	const char *name;
	long (*run)(void); /* 0 or more, or -1 with errno */
	int fs, net, link; /* fates */
};

static const enum jail_syscalls roles[] = {JAIL_SYSCALLS_FS, JAIL_SYSCALLS_NET, JAIL_SYSCALLS_LINK};

static int
fate(int profile, bool no_fork, long (*run)(void))
{
	pid_t pid;
	int code;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct err e = {0};

		alarm(20);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (profile != NO_FILTER &&
			jail_seccomp_load((enum jail_syscalls)profile, no_fork, &e) < 0)
			_exit(200);
		_exit(run() < 0 ? errno : 0);
	}
	code = await(pid);
	return code == 128 + SIGSYS ? KILLED : code;
}

static long
p_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : waitpid(pid, NULL, 0);
}

static long
p_vfork_exec(void)
{
	char *const argv[] = {(char *)"true", NULL};

	execv("/bin/true", argv);
	return -1;
}

static void *
thread_main(void *arg)
{
	*(int *)arg = 1;
	return NULL;
}

static long
p_thread(void)
{
	pthread_t t;
	int ran = 0;

	if (pthread_create(&t, NULL, thread_main, &ran) != 0 || pthread_join(t, NULL) != 0)
		return -1;
	return ran ? 0 : -1;
}

static long
p_kill(void)
{
	return kill(getppid(), 0);
}

static long
p_tgkill_other(void)
{
	return syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static long
p_raise(void)
{
	signal(SIGUSR1, SIG_IGN);
	return raise(SIGUSR1) == 0 ? 0 : -1;
}

static long
p_setown(void)
{
	return fcntl(0, F_SETOWN, getpid());
}

static long
p_ptrace(void)
{
	return ptrace(PTRACE_TRACEME, 0, 0, 0);
}

static long
p_unshare(void)
{
	return unshare(CLONE_NEWUSER);
}

static long
p_unshare_fs(void)
{
	return unshare(CLONE_FS);
}

static long
p_clone_newuser(void)
{
	long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : waitpid((pid_t)pid, NULL, 0);
}

static long
p_clone3(void)
{
	/* A size of 0 is EINVAL for the kernel itself: seen without the filter. */
	return syscall(SYS_clone3, NULL, 0) < 0 && errno == EINVAL ? 0 : -1;
}

static long
p_io_uring(void)
{
	return syscall(SYS_io_uring_setup, 0, NULL) < 0 && errno != ENOSYS ? 0 : -1;
}

static long
p_process_vm(void)
{
	char a = 1, b = 0;
	struct iovec l = {&b, 1}, r = {&a, 1};

	return process_vm_readv(getpid(), &l, 1, &r, 1, 0);
}

static long
p_personality(void)
{
	return syscall(SYS_personality, 0xffffffffUL);
}

static long
p_setuid(void)
{
	return setuid(getuid());
}

static long
p_keyctl(void)
{
	return syscall(SYS_keyctl, 0 /* GET_KEYRING_ID */, -3, 0) < 0 && errno == EPERM ? -1 : 0;
}

static long
p_x32(void)
{
	/* Without the filter: the x32 number where the kernel has it, else ENOSYS. */
	return syscall(0x40000000 | SYS_getpid) < 0 && errno != ENOSYS ? -1 : 0;
}

static long
p_mmap_data(void)
{
	return mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED
		       ? -1
		       : 0;
}

static long
p_mmap_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED
		       ? -1
		       : 0;
}

static long
p_mprotect_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -1 : mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static long
p_getrlimit(void)
{
	struct rlimit r;

	return getrlimit(RLIMIT_NOFILE, &r);
}

static long
p_setrlimit(void)
{
	struct rlimit r = {64, 64};

	return setrlimit(RLIMIT_NOFILE, &r);
}

static long
p_isatty(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return -1;
	return isatty(pair[0]) == 0 && errno == ENOTTY ? 0 : -1;
}

static long
p_open(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static long
p_stat(void)
{
	struct stat st;

	return lstat("/dev/null", &st);
}

static long
p_fstat(void)
{
	struct stat st;

	return fstat(0, &st);
}

static long
p_readlink(void)
{
	char b[64];

	return readlink("/proc/self/exe", b, sizeof(b));
}

static long
p_inet(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), c;
	int s6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (l < 0 || s6 < 0 || bind(l, (struct sockaddr *)&a, n) < 0 || listen(l, 1) < 0)
		return -1;
	c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (getsockname(l, (struct sockaddr *)&a, &n) < 0 ||
		connect(c, (struct sockaddr *)&a, n) < 0)
		return -1;
	return accept4(l, NULL, NULL, SOCK_CLOEXEC);
}

static long
p_unix(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long
p_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

static long
p_packet(void)
{
	/* EPERM without the capability: then the kernel itself said no, as a control that is
	 * enough. */
	return socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno != EPERM ? -1 : 0;
}

/* Descriptors over a socket, splice through a pipe, epoll, timer, event: what all three live on. */
static long
p_traffic(void)
{
	int pair[2], pipes[2], got[1], ep = epoll_create1(EPOLL_CLOEXEC);
	struct itimerspec soon = {.it_value.tv_nsec = 1};
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), ev = eventfd(1, EFD_CLOEXEC);
	struct epoll_event e = {.events = EPOLLIN};
	char b[8];
	size_t n;

	if (ep < 0 || timer < 0 || ev < 0 || pipe2(pipes, O_CLOEXEC) < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	if (send(pair[0], "x", 1, MSG_NOSIGNAL) != 1 || io_recv_fds(pair[1], b, 1, got, 1, &n) != 1)
		return -1;
	if (send(pair[0], "data", 4, MSG_NOSIGNAL) != 4 ||
		splice(pair[1], NULL, pipes[1], NULL, 4, 0) != 4 || read(pipes[0], b, 4) != 4)
		return -1;
	if (timerfd_settime(timer, 0, &soon, NULL) < 0 ||
		epoll_ctl(ep, EPOLL_CTL_ADD, timer, &e) < 0)
		return -1;
	if (io_set_nonblock(pair[0], true) < 0 || fcntl(pipes[0], F_SETPIPE_SZ, 65536) < 0)
		return -1;
	return epoll_wait(ep, &e, 1, 5000) == 1 ? 0 : -1;
}

static long
p_pass_fds(void)
{
	int pair[2], ev = eventfd(1, EFD_CLOEXEC);

	if (ev < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	return io_send_fds(pair[0], "x", 1, &ev, 1);
}

/* With MSG_FASTOPEN this would be a connect(2). */
static long
p_send_to(void)
{
	struct sockaddr sa = {.sa_family = AF_UNIX};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	return sendto(pair[0], "x", 1, MSG_NOSIGNAL, &sa, sizeof(sa)) < 0 && errno != EISCONN ? -1
											      : 0;
}

static long
end_direction(int how)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	return shutdown(pair[0], how);
}

static long
p_half_close(void)
{
	return end_direction(SHUT_WR);
}

/* What would make a listener a socket that can connect. */
static long
p_shut_down(void)
{
	return end_direction(SHUT_RDWR);
}

static void
on_timer(uv_timer_t *t)
{
	*(int *)t->data += 1;
	uv_stop(t->loop);
}

static void
on_work(uv_work_t *w)
{
	*(int *)w->data += 10;
}

static void
after_work(uv_work_t *w, int status)
{
	uv_timer_t *t = w->loop->data;

	if (status == 0)
		uv_timer_start(t, on_timer, 1, 0);
}

/* libuv's loop with its thread pool. */
static long
p_uv(void)
{
	uv_loop_t loop;
	uv_timer_t t;
	uv_work_t w;
	int n = 0;

	if (uv_loop_init(&loop) < 0 || uv_timer_init(&loop, &t) < 0)
		return -1;
	loop.data = &t;
	t.data = w.data = &n;
	if (uv_queue_work(&loop, &w, on_work, after_work) < 0)
		return -1;
	uv_run(&loop, UV_RUN_DEFAULT);
	return n == 11 ? 0 : -1;
}

static long
p_stdio(void)
{
	char *p = malloc(8 << 20);

	if (p == NULL)
		return -1;
	memset(p, 1, 8 << 20);
	free(p);
	return fprintf(stderr, "%s", "") < 0 ? -1 : 0;
}

static const struct probe probes[] = {
	{"fork", p_fork, KILLED, KILLED, KILLED},
	{"exec", p_vfork_exec, KILLED, KILLED, KILLED},
	{"thread", p_thread, 0, 0, 0},
	{"kill", p_kill, KILLED, KILLED, KILLED},
	{"tgkill other", p_tgkill_other, KILLED, KILLED, KILLED},
	{"raise", p_raise, 0, 0, 0},
	{"F_SETOWN", p_setown, KILLED, KILLED, KILLED},
	{"ptrace", p_ptrace, KILLED, KILLED, KILLED},
	{"unshare", p_unshare, KILLED, KILLED, KILLED},
	{"unshare CLONE_FS", p_unshare_fs, 0, KILLED, KILLED},
	{"clone", p_clone_newuser, KILLED, KILLED, KILLED},
	{"clone3", p_clone3, ENOSYS, ENOSYS, ENOSYS},
	{"io_uring", p_io_uring, ENOSYS, ENOSYS, ENOSYS},
	{"process_vm_readv", p_process_vm, KILLED, KILLED, KILLED},
	{"personality", p_personality, KILLED, KILLED, KILLED},
	{"setuid", p_setuid, KILLED, KILLED, KILLED},
	{"keyctl", p_keyctl, KILLED, KILLED, KILLED},
	{"mmap", p_mmap_data, 0, 0, 0},
	{"mmap exec", p_mmap_code, EACCES, EACCES, EACCES},
	{"mprotect exec", p_mprotect_code, EACCES, EACCES, EACCES},
	{"getrlimit", p_getrlimit, 0, 0, 0},
	{"setrlimit", p_setrlimit, EPERM, EPERM, EPERM},
	{"isatty", p_isatty, 0, 0, 0},
	{"open", p_open, 0, EACCES, EACCES},
	{"lstat", p_stat, 0, 0, 0},
	{"fstat", p_fstat, 0, 0, 0},
	{"readlink", p_readlink, 0, EACCES, EACCES},
	{"inet", p_inet, EACCES, 0, EACCES},
	{"unix", p_unix, EACCES, EAFNOSUPPORT, EACCES},
	{"netlink", p_netlink, EACCES, EAFNOSUPPORT, EACCES},
	{"packet", p_packet, EACCES, EAFNOSUPPORT, EACCES},
	{"traffic", p_traffic, 0, 0, 0},
	{"pass descriptors", p_pass_fds, 0, 0, KILLED},
	{"send to an address", p_send_to, 0, 0, KILLED},
	{"half-close", p_half_close, 0, 0, 0},
	{"shut down", p_shut_down, 0, 0, KILLED},
	{"libuv", p_uv, 0, 0, 0},
	{"stdio", p_stdio, 0, 0, 0},
};

static void
test_roles(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
		const struct probe *p = &probes[i];
		const int want[] = {p->fs, p->net, p->link};
		int got = fate(NO_FILTER, true, p->run);

		if (got != 0)
			fail_msg("%s without a filter: %d", p->name, got);
		for (size_t k = 0; k < ARRAY_LEN(roles); k++) {
			int expected = want[k] == KILLED ? KILLED_HERE : want[k];

			got = fate(roles[k], true, p->run);
			if (got != expected)
				fail_msg("%s in profile %d: %d, not %d", p->name, roles[k], got,
					expected);
		}
	}
}

/* Another table of system calls is no way around: it ends the process, whatever the profile. */
static void
test_x32(void **state)
{
	static const int profiles[] = {JAIL_SYSCALLS_ALL, JAIL_SYSCALLS_FS, JAIL_SYSCALLS_NET,
		JAIL_SYSCALLS_LINK, JAIL_SYSCALLS_QEMU};

	(void)state;
	assert_int_equal(fate(NO_FILTER, true, p_x32), 0);
	for (size_t i = 0; i < ARRAY_LEN(profiles); i++)
		assert_int_equal(fate(profiles[i], true, p_x32), KILLED);
}

static void
test_abort(void **state)
{
	(void)state;
	/* A crash is seen as the crash that it is, not as a forbidden call. */
	assert_int_equal(fate(JAIL_SYSCALLS_NET, true, (long (*)(void))(void (*)(void))abort),
		128 + SIGABRT);
}

static void
test_deny_lists(void **state)
{
	static const struct {
		const char *name;
		long (*run)(void);
		int qemu, all, no_fork;
	} cases[] = {
		{"fork", p_fork, 0, 0, EPERM},
		{"exec", p_vfork_exec, 0, 0, EPERM},
		{"thread", p_thread, 0, 0, 0},
		{"clone", p_clone_newuser, EPERM, EPERM, EPERM},
		{"clone3", p_clone3, ENOSYS, ENOSYS, ENOSYS},
		{"kill", p_kill, EPERM, 0, EPERM},
		{"tgkill other", p_tgkill_other, EPERM, 0, EPERM},
		{"raise", p_raise, 0, 0, 0},
		{"F_SETOWN", p_setown, EPERM, 0, EPERM},
		{"ptrace", p_ptrace, EPERM, EPERM, EPERM},
		{"unshare", p_unshare, EPERM, EPERM, EPERM},
		{"process_vm_readv", p_process_vm, EPERM, EPERM, EPERM},
		{"keyctl", p_keyctl, EPERM, EPERM, EPERM},
		{"open", p_open, 0, 0, 0},
		{"mmap exec", p_mmap_code, 0, 0, 0},
		{"inet", p_inet, 0, 0, 0},
		{"unix", p_unix, 0, 0, 0},
		{"libuv", p_uv, 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int qemu = fate(JAIL_SYSCALLS_QEMU, false, cases[i].run);
		int all = fate(JAIL_SYSCALLS_ALL, false, cases[i].run);
		int no_fork = fate(JAIL_SYSCALLS_ALL, true, cases[i].run);

		assert_int_equal(fate(NO_FILTER, false, cases[i].run), 0);
		if (qemu != cases[i].qemu || all != cases[i].all || no_fork != cases[i].no_fork)
			fail_msg("%s: %d %d %d", cases[i].name, qemu, all, no_fork);
	}
}

static char work[64];

/* Everything that a file server does, in one go. */
static long
p_files(void)
{
	struct stat st;
	int dir, fd, watch;
	char b[16];

	dir = open(work, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -1;
	fd = openat(dir, "a", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0 || watch < 0 || inotify_add_watch(watch, work, IN_CREATE) < 0)
		return -1;
	if (pwrite(fd, "abc", 3, 0) != 3 || pread(fd, b, 3, 0) != 3 || fsync(fd) < 0 ||
		ftruncate(fd, 1) < 0 || fallocate(fd, 0, 0, 10) < 0 || fchmod(fd, 0600) < 0)
		return -1;
	if (mkdirat(dir, "d", 0755) < 0 || symlinkat("a", dir, "s") < 0 ||
		linkat(dir, "a", dir, "l", 0) < 0 || mknodat(dir, "f", S_IFIFO | 0600, 0) < 0 ||
		readlinkat(dir, "s", b, sizeof(b)) != 1 || renameat2(dir, "l", dir, "m", 0) < 0)
		return -1;
	if (fstatat(dir, "m", &st, AT_SYMLINK_NOFOLLOW) < 0 || utimensat(dir, "m", NULL, 0) < 0 ||
		fchownat(dir, "m", getuid(), getgid(), AT_SYMLINK_NOFOLLOW) < 0 ||
		(fsetxattr(fd, "user.x", "1", 1, 0) < 0 && errno != ENOTSUP) ||
		faccessat(dir, "m", R_OK, 0) < 0 || flock(fd, LOCK_EX) < 0)
		return -1;
	if (unlinkat(dir, "m", 0) < 0 || unlinkat(dir, "s", 0) < 0 || unlinkat(dir, "f", 0) < 0 ||
		unlinkat(dir, "d", AT_REMOVEDIR) < 0 || unlinkat(dir, "a", 0) < 0)
		return -1;
	return 0;
}

static void
test_files(void **state)
{
	(void)state;
	strcpy(work, "/tmp/jail-seccomp-XXXXXX");
	assert_non_null(mkdtemp(work));
	assert_int_equal(fate(NO_FILTER, true, p_files), 0);
	assert_int_equal(fate(JAIL_SYSCALLS_FS, true, p_files), 0);
	assert_int_equal(fate(JAIL_SYSCALLS_LINK, true, p_files), EACCES);
	assert_int_equal(rmdir(work), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roles),
		cmocka_unit_test(test_x32),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_deny_lists),
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
