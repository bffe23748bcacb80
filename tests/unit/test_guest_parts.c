/* The guest's parts that need no machine: blocks in files, certificates, users, addresses, logs. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>

#include "boundlog.h"
#include "certs.h"
#include "deaf.h"
#include "near.h"
#include "netcfg.h"
#include "textblock.h"
#include "users.h"
#include "workspaces.h"

#define B "# paddock begin (written at every start)\n"
#define E "# paddock end\n"

/* The mounts themselves need a machine. */
int
guest_pump_start(int port_fd, const char *mountpoint, struct pump **ret, struct err *e)
{
	(void)port_fd;
	(void)mountpoint;
	(void)ret;
	return err_set(e, ENOSYS, "no pump in here");
}

void
guest_pump_go(struct pump *p)
{
	(void)p;
}

static char dir[64];

static int
make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/paddock-test-guest-XXXXXX");
	return mkdtemp(dir) == NULL;
}

static int
drop_dir(void **state)
{
	struct err e = {0};

	(void)state;
	return io_remove_tree(AT_FDCWD, dir, &e);
}

static char *
in_dir(const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

static char *
slurp(const char *path)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	if (io_read_file(AT_FDCWD, path, 1 << 24, &b, NULL) < 0)
		return xstrdup("(missing)");
	return xstrdup(buf_str(&b));
}

static void
put(const char *path, const char *text)
{
	struct err e = {0};

	if (io_write_file_atomic(AT_FDCWD, path, text, strlen(text), 0644, &e) < 0)
		fail_msg("%s", e.msg);
}

struct block_case {
	const char *text, *content, *want;
};

static const struct block_case block_cases[] = {
	{"", "x\n", B "x\n" E},
	{"", "x", B "x\n" E},
	{"a\n", "x\n", "a\n" B "x\n" E},
	{"a", "x\n", "a\n" B "x\n" E},
	{"a\n" B "old\nolder\n" E "z\n", "x\n", "a\n" B "x\n" E "z\n"},
	{B "old\n" E, "x\n", B "x\n" E},
	/* Taken out again, with what is around it left as it was. */
	{"a\n" B "old\n" E "z\n", NULL, "a\nz\n"},
	{"a\n" B "old\n" E, "", "a\n"},
	{"a\n", NULL, "a\n"},
	{"a", NULL, "a"},
	/* A marker as the last line, cut before its end. */
	{"a\n# paddock begin (written at every start)", "x\n", "a\n" B "x\n" E},
	{B "old\n# paddock end", "x\n", B "x\n" E},
	{"", NULL, ""},
	/* The end is lost: it goes to the last line. */
	{"a\n" B "old\nz\n", "x\n", "a\n" B "x\n" E},
	/* An end before the begin is not ours. */
	{E "a\n" B "old\n" E "z\n", "x\n", E "a\n" B "x\n" E "z\n"},
	/* A marker in the middle of a line is somebody's text. */
	{"say " B "a\n", "x\n", "say " B "a\n" B "x\n" E},
};

static void
block_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(block_cases); i++) {
		const struct block_case *c = &block_cases[i];
		CLEAN_BUF struct buf once = BUF_INIT;
		CLEAN_BUF struct buf twice = BUF_INIT;

		textblock_replace(c->text, c->content, &once);
		assert_string_equal(buf_str(&once), c->want);
		textblock_replace(buf_str(&once), c->content, &twice);
		assert_string_equal(buf_str(&twice), c->want);
	}
}

static void
block_file(void **state)
{
	CLEAN_FREE char *path = in_dir("hosts");
	CLEAN_FREE char *one = NULL, *two = NULL;
	struct stat first, second;
	struct err e = {0};

	(void)state;
	assert_int_equal(textblock_apply(path, "x\n", 0640, &e), 0);
	assert_int_equal(stat(path, &first), 0);
	assert_int_equal(first.st_mode & 07777, 0640);
	/* The same again writes nothing: the file is the very same one. */
	assert_int_equal(textblock_apply(path, "x\n", 0640, &e), 0);
	assert_int_equal(stat(path, &second), 0);
	assert_true(first.st_ino == second.st_ino);
	assert_int_equal(textblock_apply(path, "y\n", 0640, &e), 0);
	one = slurp(path);
	assert_string_equal(one, B "y\n" E);
	assert_int_equal(text_write(path, "z", 1, 0644, &e), 0);
	two = slurp(path);
	assert_string_equal(two, "z");
	assert_true(text_write("/nonexistent/x", "z", 1, 0644, &e) < 0);
}

static ino_t
inode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	return st.st_ino;
}

static void
says(const char *path, const char *want, size_t n)
{
	CLEAN_FREE char *text = slurp(path);

	assert_int_equal(strlen(text), n);
	assert_memory_equal(text, want, n);
}

/* A small one stays the same file; what others may see by another name is left as it is. */
static void
text_in_place(void **state)
{
	CLEAN_FREE char *path = in_dir("small"), *other = in_dir("other");
	struct err e = {0};
	char large[5000];
	ino_t first;

	(void)state;
	memset(large, 'l', sizeof(large));
	put(path, "something longer\n");
	first = inode_of(path);
	assert_int_equal(text_write(path, "short\n", 6, 0444, &e), 0);
	says(path, "short\n", 6);
	assert_true(inode_of(path) == first);
	assert_int_equal(text_write(path, large, sizeof(large), 0644, &e), 0);
	says(path, large, sizeof(large));
	first = inode_of(path);
	assert_int_equal(text_write(path, "short\n", 6, 0644, &e), 0);
	says(path, "short\n", 6);
	assert_true(inode_of(path) != first);

	assert_int_equal(link(path, other), 0);
	assert_int_equal(text_write(path, "linked\n", 7, 0644, &e), 0);
	says(path, "linked\n", 7);
	says(other, "short\n", 6);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(text_write(path, "symlink\n", 8, 0644, &e), 0);
	says(path, "symlink\n", 8);
	says(other, "short\n", 6);
	inode_of(path);
}

/* The first time it is put to the end of the very file; one that a crash has cut is made whole. */
static void
textblock_at_the_end(void **state)
{
	CLEAN_FREE char *path = in_dir("end"), *whole = NULL, *mended = NULL;
	struct stat before, after;
	struct err e = {0};

	(void)state;
	put(path, "old\n");
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(textblock_apply(path, "x\n", 0644, &e), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_true(before.st_ino == after.st_ino);
	whole = slurp(path);
	assert_string_equal(whole, "old\n" B "x\n" E);
	for (off_t cut = (off_t)strlen("old\n" B); cut < (off_t)strlen(whole); cut++) {
		CLEAN_FREE char *text = NULL;

		assert_int_equal(truncate(path, cut), 0);
		assert_int_equal(textblock_apply(path, "x\n", 0644, &e), 0);
		text = slurp(path);
		assert_string_equal(text, whole);
	}
	/* Another one takes its place, in a file of its own. */
	assert_int_equal(textblock_apply(path, "other\n", 0644, &e), 0);
	mended = slurp(path);
	assert_string_equal(mended, "old\n" B "other\n" E);
}

#define CERT(x) "-----BEGIN CERTIFICATE-----\n" x "\n-----END CERTIFICATE-----\n"

static void
certs_only_new(void **state)
{
	CLEAN_BUF struct buf out = BUF_INIT;

	(void)state;
	certs_unknown("junk\n" CERT("AAA") CERT("BBB") "between" CERT("CCC")
			      CERT("BBB") "-----BEGIN CERTIFICATE-----\nDDD",
		CERT("xxx") CERT("AAA"), &out);
	assert_string_equal(buf_str(&out), CERT("BBB") CERT("CCC"));
}

struct certs_files {
	char *bundle, *host, *stamp, *first, *second, *link;
	char *local, *links;
};

static struct certs_paths
certs_setup(struct certs_files *f, const char *bundle)
{
	*f = (struct certs_files){in_dir("bundle"), in_dir("host"), in_dir("stamp"),
		in_dir("local/paddock-ca-1.crt"), in_dir("local/paddock-ca-2.crt"),
		in_dir("links/paddock-ca-1.pem"), in_dir("local"), in_dir("links")};
	put(f->bundle, bundle);
	unlink(f->host);
	unlink(f->stamp);
	mkdir(f->local, 0755);
	mkdir(f->links, 0755);
	return (struct certs_paths){f->bundle, f->host, f->stamp, f->local, f->links};
}

static void
certs_done(struct certs_files *f)
{
	free(f->bundle);
	free(f->host);
	free(f->stamp);
	free(f->first);
	free(f->second);
	free(f->link);
	free(f->local);
	free(f->links);
}

static void
assert_file(const char *path, const char *want)
{
	CLEAN_FREE char *got = slurp(path);

	assert_string_equal(got, want);
}

static void
certs_life(void **state)
{
	struct certs_files f;
	struct certs_paths p = certs_setup(&f, CERT("image"));
	struct err e = {0};
	struct stat before, after;

	(void)state;
	/* None wanted, none there: nothing is touched. */
	assert_int_equal(certs_apply(&p, "", &e), 0);
	assert_file(f.bundle, CERT("image"));
	assert_file(f.stamp, "(missing)");

	assert_int_equal(certs_apply(&p, CERT("image") CERT("host"), &e), 1);
	assert_file(f.bundle, CERT("image") B CERT("host") E);
	assert_file(f.host, CERT("image") CERT("host"));
	assert_file(f.first, CERT("host"));
	assert_file(f.link, CERT("host"));
	assert_file(f.second, "(missing)");
	stat(f.bundle, &before);
	assert_int_equal(certs_apply(&p, CERT("image") CERT("host"), &e), 0);
	stat(f.bundle, &after);
	assert_true(before.st_ino == after.st_ino);

	/* Somebody ran update-ca-certificates: the bundle is new and holds ours without markers. */
	put(f.bundle, CERT("image") CERT("host"));
	assert_int_equal(certs_apply(&p, CERT("image") CERT("host"), &e), 1);
	assert_file(f.bundle, CERT("image") CERT("host"));
	assert_file(f.first, CERT("host"));

	/* The image's package was upgraded: ours are gone and come back. */
	put(f.bundle, CERT("newer"));
	assert_int_equal(certs_apply(&p, CERT("image") CERT("host"), &e), 1);
	assert_file(f.bundle, CERT("newer") B CERT("image") CERT("host") E);
	assert_file(f.first, CERT("image"));
	assert_file(f.second, CERT("host"));
	assert_int_equal(certs_apply(&p, CERT("host"), &e), 1);
	assert_file(f.bundle, CERT("newer") B CERT("host") E);
	assert_file(f.link, CERT("host"));
	assert_file(f.second, "(missing)");

	/* The host has no more extra ones. */
	assert_int_equal(certs_apply(&p, "", &e), 1);
	assert_file(f.bundle, CERT("newer"));
	assert_file(f.host, "(missing)");
	assert_file(f.first, "(missing)");
	assert_file(f.link, "(missing)");
	certs_done(&f);
}

#define PASSWD                                                                                     \
	"root:x:0:0:root:/root:/bin/bash\n"                                                        \
	"# comment:x:5:5::/:/\n"                                                                   \
	"broken line\n"                                                                            \
	"noid:x:abc:1::/:/\n"                                                                      \
	"daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"                                        \
	"agent:x:1000:1001:coding agent,,,:/home/agent:/bin/bash\n"                                \
	"77:x:2000:2000::/home/77:\n"                                                              \
	"nohome:x:3000:3000:::/bin/sh" /* no newline at the end */
#define GROUP                                                                                      \
	"root:x:0:\nsudo:x:27:agent\nagent:x:1001:\ndocker:x:102:someone,agent,agent2\n"           \
	"not:x:103:agent2\nshort:x\n55:x:9:\n"

struct user_case {
	const char *spec;
	int r;
	uint32_t uid, gid;
	const char *name, *home, *shell;
	uint32_t groups[4];
	size_t ngroups;
};

static const struct user_case user_cases[] = {
	{"agent", 0, 1000, 1001, "agent", "/home/agent", "/bin/bash", {1001, 27, 102}, 3},
	{"1000", 0, 1000, 1001, "agent", "/home/agent", "/bin/bash", {1001, 27, 102}, 3},
	{"root", 0, 0, 0, "root", "/root", "/bin/bash", {0}, 1},
	/* A name of digits is a name first. */
	{"77", 0, 2000, 2000, "77", "/home/77", "/bin/sh", {2000}, 1},
	{"nohome", 0, 3000, 3000, "nohome", "/", "/bin/sh", {3000}, 1},
	/* No entry: as docker exec has it. */
	{"4242", 0, 4242, 0, "4242", "/", "/bin/sh", {0}, 1},
	/* An explicit group is the only one. */
	{"agent:docker", 0, 1000, 102, "agent", "/home/agent", "/bin/bash", {102}, 1},
	{"agent:5", 0, 1000, 5, "agent", "/home/agent", "/bin/bash", {5}, 1},
	{"1:55", 0, 1, 9, "daemon", "/usr/sbin", "/usr/sbin/nologin", {9}, 1},
	{"nobody", -ENOENT},
	{"noid", -ENOENT},
	{"# comment", -ENOENT},
	{"agent:none", -ENOENT},
	{"", -EINVAL},
	{":docker", -EINVAL},
	{"agent:", -EINVAL},
	{"agent:1:2", -EINVAL},
	{"-1", -ENOENT},
	{"4294967295", -ENOENT}, /* means "no change" to the kernel */
	{"4294967296", -ENOENT},
	{"0x0", -ENOENT},
	{" 0", -ENOENT},
};

static void
user_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(user_cases); i++) {
		const struct user_case *c = &user_cases[i];
		struct guest_user u = {.uid = 99};
		struct err e = {0};

		if (users_find(PASSWD, GROUP, c->spec, &u, &e) != c->r)
			fail_msg("'%s': %s", c->spec, e.msg);
		if (c->r < 0) {
			assert_int_equal(u.uid, 99);
			continue;
		}
		assert_int_equal(u.uid, c->uid);
		assert_int_equal(u.gid, c->gid);
		assert_string_equal(u.name, c->name);
		assert_string_equal(u.home, c->home);
		assert_string_equal(u.shell, c->shell);
		assert_int_equal(u.ngroups, c->ngroups);
		assert_memory_equal(u.groups, c->groups, c->ngroups * sizeof(c->groups[0]));
	}
}

/* The files cut at every byte: an answer or none, nothing worse. */
static void
user_cut(void **state)
{
	(void)state;
	for (size_t n = 0; n <= strlen(PASSWD); n++) {
		CLEAN_FREE char *passwd = xstrndup(PASSWD, n);
		CLEAN_FREE char *group = xstrndup(GROUP, n < strlen(GROUP) ? n : strlen(GROUP));
		struct guest_user u;

		users_find(passwd, group, "agent", &u, NULL);
		users_find(passwd, group, "77:docker", &u, NULL);
	}
}

/* More groups than there is room for. */
static void
user_many_groups(void **state)
{
	CLEAN_BUF struct buf group = BUF_INIT;
	struct guest_user u;

	(void)state;
	for (int i = 0; i < 500; i++)
		buf_printf(&group, "g%d:x:%d:agent\n", i, 5000 + i);
	assert_int_equal(users_find(PASSWD, buf_str(&group), "agent", &u, NULL), 0);
	assert_int_equal(u.ngroups, ARRAY_LEN(u.groups));
}

static void
base_env(void **state)
{
	struct guest g = {0};
	struct guest_user u = {.name = "agent", .home = "/home/agent", .shell = "/bin/bash"};
	CLEAN_STRV struct strv env = {0};

	(void)state;
	identity_add_workspace(&g.identity, "/work/a", false, false);
	identity_add_workspace(&g.identity, "/work/b", true, false);
	g.identity.timezone = xstrdup("Europe/Berlin");
	strv_add(&g.identity.env, "LANG=de_DE.UTF-8");
	strv_add(&g.identity.env, "K=a=b");
	strv_add(&g.identity.env, "novalue");
	strv_add(&g.identity.env, "=x");
	guest_base_env(&g, &u, &env);
	assert_string_equal(strv_getenv(&env, "HOME"), "/home/agent");
	assert_string_equal(strv_getenv(&env, "USER"), "agent");
	assert_string_equal(strv_getenv(&env, "WORKSPACE_DIR"), "/work/a");
	assert_string_equal(strv_getenv(&env, "TZ"), "Europe/Berlin");
	assert_string_equal(strv_getenv(&env, "IS_SANDBOX"), "1");
	/* The sandbox's own on top. */
	assert_string_equal(strv_getenv(&env, "LANG"), "de_DE.UTF-8");
	assert_string_equal(strv_getenv(&env, "K"), "a=b");
	assert_null(strv_getenv(&env, "novalue"));
	for (size_t i = 0; i < env.n; i++)
		assert_true(env.v[i][0] != '=');
	identity_release(&g.identity);
}

static void
addresses(void **state)
{
	struct netcfg c = {.address = 7};

	(void)state;
	assert_int_equal(netcfg_parse("198.18.0.2/30", "198.18.0.1", &c), 0);
	assert_int_equal(ntohl(c.address), 0xc6120002);
	assert_int_equal(ntohl(c.netmask), 0xfffffffc);
	assert_int_equal(ntohl(c.gateway), 0xc6120001);
	assert_int_equal(netcfg_parse("10.0.0.1/32", "10.0.0.1", &c), 0);
	assert_int_equal(ntohl(c.netmask), 0xffffffff);
	assert_int_equal(netcfg_parse("198.18.0.2", "198.18.0.1", &c), -EINVAL);
	assert_int_equal(netcfg_parse("198.18.0.2/0", "198.18.0.1", &c), -EINVAL);
	assert_int_equal(netcfg_parse("198.18.0.2/33", "198.18.0.1", &c), -EINVAL);
	assert_int_equal(netcfg_parse("198.18.0/30", "198.18.0.1", &c), -EINVAL);
	assert_int_equal(netcfg_parse("198.18.0.2/30", "gateway", &c), -EINVAL);
	assert_int_equal(netcfg_parse("198.18.0.2/30x", "198.18.0.1", &c), -EINVAL);
}

static void
workspace_paths(void **state)
{
	static const char *const good[] = {"/home/u/p", "/a", "/tmp/x", "/usr/src/x", "/etc/x y",
		"/home/..x", "/home/x..", "/home/.x", "/dev/shm/x", "/run/user/x", "/process",
		"/run/paddocks"};
	static const char *const bad[] = {"", "/", "a/b", "/a/", "//a", "/a//b", "/a/./b",
		"/a/../b", "/..", "/.", "/a/..", "/a/.", "/proc", "/usr", "/etc", "/dev",
		"/run/paddock", "/proc/1", "/sys/fs", "/run/paddock/fs", "/home", "/var", "/run"};
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		if (workspaces_check_path(good[i], &e) < 0)
			fail_msg("%s", e.msg);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (workspaces_check_path(bad[i], &e) != -EINVAL)
			fail_msg("'%s' is taken", bad[i]);
}

#define STATUS(pids, caught)                                                                       \
	"Name:\tsleep\nPid:\t4711\nNSpid:\t" pids "\nSigQ:\t0/1\nSigIgn:\t0000000000000000\n"      \
	"SigCgt:\t" caught "\nCapInh:\t0\n"

static void
deaf_inits(void **state)
{
	(void)state;
	assert_true(deaf_status(STATUS("4711\t1", "0000000000000000")));
	assert_true(deaf_status(STATUS("4711\t12\t1", "00000000ffffbfff")));
	/* It has a handler for 15. */
	assert_false(deaf_status(STATUS("4711\t1", "0000000000004000")));
	/* Not the first of its namespace, or of the outermost one: PID 1 itself. */
	assert_false(deaf_status(STATUS("4711\t11", "0000000000000000")));
	assert_false(deaf_status(STATUS("4711\t1\t2", "0000000000000000")));
	assert_false(deaf_status(STATUS("4711", "0000000000000000")));
	assert_false(deaf_status(STATUS("1", "0000000000000000")));
	assert_false(deaf_status("Name:\tx\n"));
	assert_false(deaf_status(""));
}

static void
log_is_bounded(void **state)
{
	CLEAN_FREE char *path = in_dir("log");
	CLEAN_FREE char *old = in_dir("log.1");
	struct boundlog l = {.path = path, .limit = 100, .fd = -1};
	struct stat st;

	(void)state;
	for (int i = 0; i < 50; i++)
		boundlog_write(&l, "0123456789", 10);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 100);
	assert_int_equal(stat(old, &st), 0);
	assert_int_equal(st.st_size, 100);
	boundlog_close(&l);
	/* It goes on where it was. */
	boundlog_write(&l, "x", 1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 1);
	boundlog_close(&l);
	boundlog_write(&l, "y", 1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 2);
	boundlog_close(&l);
	/* An empty file is not worth keeping, however large the piece. */
	unlink(path);
	unlink(old);
	l.limit = 5;
	boundlog_write(&l, "0123456789", 10);
	boundlog_close(&l);
	assert_int_equal(stat(old, &st), -1);
}

/* Its name may hold anything, the fields before it may end early. */
static void
near_reads_cpu(void **state)
{
	static const char line[] =
		"17 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 "
		"26 27 28 29 30 31 32 33 34 35 5 37\n";

	(void)state;
	assert_int_equal(near_cpu_of(line), 5);
	assert_int_equal(near_cpu_of("17 (a) S 1 2 3"), -1);
	assert_int_equal(near_cpu_of("17 a S"), -1);
	assert_int_equal(near_cpu_of(""), -1);
	assert_int_equal(
		near_cpu_of("1 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 "
			    "22 23 24 25 26 27 28 29 30 31 32 33 34 35 -1 36"),
		-1);
	assert_int_equal(
		near_cpu_of("1 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 "
			    "22 23 24 25 26 27 28 29 30 31 32 33 34 35 99999 36"),
		-1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(block_table),
		cmocka_unit_test(block_file),
		cmocka_unit_test(text_in_place),
		cmocka_unit_test(textblock_at_the_end),
		cmocka_unit_test(certs_only_new),
		cmocka_unit_test(certs_life),
		cmocka_unit_test(user_table),
		cmocka_unit_test(user_cut),
		cmocka_unit_test(user_many_groups),
		cmocka_unit_test(base_env),
		cmocka_unit_test(addresses),
		cmocka_unit_test(workspace_paths),
		cmocka_unit_test(deaf_inits),
		cmocka_unit_test(log_is_bounded),
		cmocka_unit_test(near_reads_cpu),
	};

	return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
