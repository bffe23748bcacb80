/*
 * The mount tree and what is left of a process in it, with real namespaces, as root and as an
 * ordinary user. Beside each "cannot" stands the same thing done where it can.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <jail/jail.h>

#include "jail_help.h"

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

/* What the fs role lives on: a descriptor of its own reopened by number, though it is not dumpable.
 */
static void
check_reopen(void)
{
	int fd = open("/home/x/rw/file", O_PATH | O_CLOEXEC);
	char path[32], b[8];
	int again;

	snprintf(path, sizeof(path), "/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && again >= 0 && read(again, b, sizeof(b)) == 2);
	/* The mount's root is its end: the rest of /proc is not behind it. */
	CHECK(access("/fd/../status", F_OK) < 0 && access("/fd/../../1", F_OK) < 0);
	close(fd);
	close(again);
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
	check_reopen();
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_confine),
		cmocka_unit_test(test_confine_keeps_dac),
		cmocka_unit_test(test_dac),
		cmocka_unit_test(test_bad_plans),
		cmocka_unit_test(test_good_plans),
		cmocka_unit_test(test_empty_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
