#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <supervisor/resolve.h>
#include <wire/control.h>

#include "boundlog.h"
#include "git.h"
#include "roles.h"
#include "sup.h"

static void
test_resolve(void **state)
{
	static const char *const bad[] = {"", "a", "a:1", "a:0:1.2.3.4", "a:65536:1.2.3.4",
		":1:1.2.3.4", "a:1:", "a:1:1.2.3", "a:1:host", "a b:1:1.2.3.4", "a:1:1.2.3.4:0",
		"a:1:1.2.3.4:x", "a:1:::1", "a:1:[::1", "a:1:[::1]x", "a:-1:1.2.3.4",
		"a:1:1.2.3.4:65536"};
	struct resolve_entry r;
	struct err e = {0};

	(void)state;
	assert_int_equal(resolve_parse("Registry.TEST.:443:127.0.0.1:5000", &r, &e), 0);
	assert_string_equal(r.host, "registry.test");
	assert_int_equal(r.port, 443);
	assert_int_equal(ntohs(((struct sockaddr_in *)&r.to)->sin_port), 5000);
	assert_int_equal(resolve_parse("a:80:[::1]", &r, &e), 0);
	assert_int_equal(r.to.ss_family, AF_INET6);
	assert_int_equal(ntohs(((struct sockaddr_in6 *)&r.to)->sin6_port), 80);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(resolve_parse(bad[i], &r, &e), -EINVAL);
}

#define PUBLIC  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHk"
#define PRIVATE "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n"

/* Public keys alone, whatever the setting names. */
static void
test_signing_key(void **state)
{
	static const struct {
		const char *format, *key, *told;
	} cases[] = {
		{"openpgp", "0A46826A!", "0A46826A!"},
		{"x509", "mina@example.org", "mina@example.org"},
		{"ssh", "key::" PUBLIC, "key::" PUBLIC},
		{"ssh", PUBLIC " mina@host", "key::" PUBLIC},
		{"ssh", "~/.ssh/id.pub", "key::" PUBLIC},
		{"ssh", "~/.ssh/id", "key::" PUBLIC}, /* git takes the .pub beside it */
		{"ssh", "~/.ssh/none", NULL},
		{"ssh", "~/.ssh/private.pub", NULL},
		{"ssh", "id.pub", NULL},
		{"ssh", "key::x", NULL},
		{"ssh", "ssh-ed25519", NULL},
		{"ssh", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5\"AAAAIHk", NULL},
	};
	char home[] = "/tmp/paddock-test-git.XXXXXX";
	CLEAN_FREE char *ssh = NULL;
	struct err e = {0};

	(void)state;
	assert_non_null(mkdtemp(home));
	ssh = xasprintf("%s/.ssh", home);
	assert_int_equal(mkdir(ssh, 0700), 0);
	CLEAN_CLOSE int fd = open(ssh, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(io_write_file_atomic(fd, "id", PRIVATE, strlen(PRIVATE), 0600, &e), 0);
	assert_int_equal(
		io_write_file_atomic(fd, "private.pub", PRIVATE, strlen(PRIVATE), 0600, &e), 0);
	assert_int_equal(io_write_file_atomic(fd, "id.pub", PUBLIC " mina@host\n",
				 strlen(PUBLIC) + 11, 0644, &e),
		0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN_FREE char *told = git_signing_key(cases[i].format, cases[i].key, home);

		if (cases[i].told == NULL ? told != NULL
					  : told == NULL || strcmp(told, cases[i].told) != 0)
			fail_msg("%s: '%s' is told as '%s'", cases[i].format, cases[i].key, told);
	}
	assert_int_equal(io_remove_tree(AT_FDCWD, home, &e), 0);
}

/* Every input, cut at every byte, is either the whole message or refused; nothing is read beyond.
 */
static void
test_role_config_cut(void **state)
{
	struct workspace ws[] = {
		{(char *)"/a", true, false, NULL}, {(char *)"/b/c", false, true, (char *)"/d"}};
	struct role_config c = {.debug = true,
		.allow_hooks = true,
		.guest_uid = 1000,
		.guest_gid = 1001,
		.workspaces = ws,
		.nworkspaces = 2,
		.policy = (char *)"locked\nallow a.test\n"};
	CLEAN_BUF struct buf b = BUF_INIT;

	(void)state;
	strv_add(&c.resolve, "a.test:1:127.0.0.1");
	strv_add(&c.shadows, "/a/target");
	role_config_encode(&c, &b);
	for (size_t n = 0; n <= b.len; n++) {
		CLEAN_FREE uint8_t *copy = xmalloc(n);
		struct role_config d = {0};

		memcpy(copy, b.data, n);
		if (role_config_decode(copy, n, &d) < 0) {
			assert_true(n < b.len);
			continue;
		}
		if (n == b.len) {
			assert_true(d.debug && d.allow_hooks && !d.host_is_root);
			assert_int_equal(d.guest_gid, 1001);
			assert_string_equal(d.workspaces[1].path, "/b/c");
			assert_null(d.workspaces[0].source);
			assert_string_equal(d.workspaces[1].source, "/d");
			assert_true(d.workspaces[0].read_only && d.workspaces[1].is_file);
			assert_string_equal(d.resolve.v[0], "a.test:1:127.0.0.1");
			assert_string_equal(d.shadows.v[0], "/a/target");
			assert_string_equal(d.policy, c.policy);
		}
		role_config_release(&d);
	}
	strv_release(&c.resolve);
	strv_release(&c.shadows);
}

static void
test_control_status_cut(void **state)
{
	struct control_status s = {
		.state = CONTROL_RUNNING, .accel = xstrdup("tcg"), .boot_ms = 4321};
	CLEAN_BUF struct buf b = BUF_INIT;

	(void)state;
	control_status_add_process(&s, "qemu", 42);
	control_status_encode(&s, &b);
	control_status_release(&s);
	for (size_t n = 0; n <= b.len; n++) {
		CLEAN_FREE uint8_t *copy = xmalloc(n);

		memcpy(copy, b.data, n);
		if (control_status_decode(copy, n, &s) < 0) {
			assert_true(n < b.len);
			continue;
		}
		assert_int_equal(s.state, CONTROL_RUNNING);
		if (n == b.len) {
			assert_int_equal(s.boot_ms, 4321);
			assert_string_equal(s.processes[0].role, "qemu");
			assert_int_equal(s.processes[0].pid, 42);
		}
		control_status_release(&s);
	}
}

/* A guest that floods its console costs two files of bounded size (attacks.md H19). */
static void
test_boundlog(void **state)
{
	char dir[] = "/tmp/paddock-log-XXXXXX", line[1000], found[64];
	struct boundlog l = BOUNDLOG_INIT;
	CLEAN_BUF struct buf tail = BUF_INIT;
	struct err e = {0};
	struct stat st;
	CLEAN_FREE char *older = NULL;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(boundlog_open(&l, xasprintf("%s/console.log", dir), &e), 0);
	older = xasprintf("%s.1", l.path);
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	for (int i = 0; i < 5000; i++)
		boundlog_write(&l, line, sizeof(line));
	assert_int_equal(stat(l.path, &st), 0);
	assert_in_range(st.st_size, 1, BOUNDLOG_MAX);
	assert_int_equal(stat(older, &st), 0);
	assert_in_range(st.st_size, BOUNDLOG_MAX / 2, BOUNDLOG_MAX);
	boundlog_write(&l, "first\r\nsecond\033[2J\r\n", 19);
	boundlog_tail(&l, 2, &tail);
	assert_string_equal(buf_str(&tail), "\n  | first\n  | second\\x1b[2J");
	/* The last one counts, to the end of its line, escaped; what lies far back does not. */
	boundlog_write(&l, "panic: one\r\npanic: two\033\r\nend\0\r\n", 32);
	assert_true(boundlog_find(&l, "panic: ", found, sizeof(found)));
	assert_string_equal(found, "two\\x1b");
	assert_false(boundlog_find(&l, "nowhere", found, sizeof(found)));
	for (int i = 0; i < 20; i++)
		boundlog_write(&l, line, sizeof(line));
	assert_false(boundlog_find(&l, "panic: ", found, sizeof(found)));
	/* It may be our standard error: the number stays when the file turns over. */
	fd = l.fd;
	for (int i = 0; i < 2000; i++)
		boundlog_write(&l, line, sizeof(line));
	assert_int_equal(l.fd, fd);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 1);
	boundlog_release(&l);
	assert_int_equal(io_remove_tree(AT_FDCWD, dir, &e), 0);
}

static char *
put(const char *dir, const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", dir, name);

	assert_int_equal(io_write_file_atomic(AT_FDCWD, path, text, strlen(text), 0600, NULL), 0);
	return path;
}

/* Both of them; the same file twice, by whatever name, counts once. */
static void
test_trust_bundle(void **state)
{
	char dir[] = "/tmp/paddock-trust-XXXXXX";
	CLEAN_BUF struct buf both = BUF_INIT, once = BUF_INIT;
	CLEAN_FREE char *one = NULL, *other = NULL, *link = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	one = put(dir, "one", "ONE\n");
	other = put(dir, "other", "OTHER\n");
	link = xasprintf("%s/link", dir);
	assert_int_equal(symlink("one", link), 0);
	setenv("SSL_CERT_FILE", one, 1);
	setenv("NODE_EXTRA_CA_CERTS", other, 1);
	sup_trust_bundle(&both);
	assert_string_equal(buf_str(&both), "ONE\n\nOTHER\n");
	setenv("NODE_EXTRA_CA_CERTS", link, 1);
	sup_trust_bundle(&once);
	assert_string_equal(buf_str(&once), "ONE\n");
	unsetenv("SSL_CERT_FILE");
	unsetenv("NODE_EXTRA_CA_CERTS");
	assert_int_equal(io_remove_tree(AT_FDCWD, dir, NULL), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_signing_key),
		cmocka_unit_test(test_role_config_cut),
		cmocka_unit_test(test_control_status_cut),
		cmocka_unit_test(test_boundlog),
		cmocka_unit_test(test_trust_bundle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
