#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/io.h>
#include <base/mem.h>

#include "network.h"
#include "verbs.h"

static int
parse(const struct verb *v, struct args *a, struct err *e, int argc, const char *const *argv)
{
	struct cli c = {0};

	return args_parse(v, &c, argc, (char *const *)argv, a, e);
}

static void
test_run_words(void **state)
{
	const char *argv[] = {"--name", "web", "shell", "-eA=1", "/a", "--env", "B", "/b:ro", "-qd",
		"--memory=2g", "--", "-c", "npm test", "--name", NULL};
	struct args a = {0};
	struct err e = {0};
	CLEAN_STRV struct strv env = {0};

	(void)state;
	assert_int_equal(parse(&verb_run, &a, &e, 14, argv), 0);
	assert_string_equal(args_get(&a, "name"), "web");
	assert_string_equal(args_get(&a, "memory"), "2g");
	assert_true(args_has(&a, "quiet") && args_has(&a, "detached"));
	assert_int_equal(a.nwords, 3);
	assert_string_equal(a.words[2], "/b:ro");
	assert_int_equal(a.nrest, 3);
	assert_string_equal(a.rest[1], "npm test");
	args_all(&a, "env", &env);
	assert_int_equal(env.n, 2);
	assert_string_equal(env.v[1], "B");
	args_release(&a);
}

/* Behind the sandbox's name nothing is ours: docker exec's grammar. */
static void
test_exec_words(void **state)
{
	const char *argv[] = {"-it", "-u", "root", "web", "ls", "-la", "--help", "--", "x", NULL};
	const char *dashed[] = {"web", "--", "-prog", NULL};
	struct args a = {0};
	struct err e = {0};

	(void)state;
	assert_int_equal(parse(&verb_exec, &a, &e, 9, argv), 0);
	assert_true(args_has(&a, "tty") && args_has(&a, "interactive") && !args_has(&a, "help"));
	assert_string_equal(args_get(&a, "user"), "root");
	assert_int_equal(a.nrest, 5);
	assert_string_equal(a.rest[1], "-la");
	args_release(&a);
	assert_int_equal(parse(&verb_exec, &a, &e, 3, dashed), 0);
	assert_int_equal(a.nrest, 1);
	assert_string_equal(a.rest[0], "-prog");
	args_release(&a);
}

static void
test_bad_options(void **state)
{
	static const char *const bad[][3] = {{"--nope", NULL}, {"-Z", NULL}, {"--name", NULL},
		{"--quiet=1", NULL}, {"-e", NULL}};
	struct args a = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = {0};

		assert_int_equal(parse(&verb_run, &a, &e, 1, bad[i]), -EINVAL);
		assert_true(strlen(e.msg) > 10);
	}
}

static void
test_env(void **state)
{
	const char *argv[] = {
		"--env-file", "f", "-e", "A=last", "-e", "FROM_SHELL", "-e", "NOT_SET", NULL};
	static const char file[] = "# note\n\nA=first\r\nexport B=two words\n  C=x=y\nFROM_SHELL\n";
	char dir[] = "/tmp/paddock-env-XXXXXX";
	CLEAN_STRV struct strv env = {0};
	struct args a = {0};
	struct err e = {0};

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(io_write_file_atomic(AT_FDCWD, "f", file, strlen(file), 0600, &e), 0);
	setenv("FROM_SHELL", "here", 1);
	unsetenv("NOT_SET");
	assert_int_equal(parse(&verb_run, &a, &e, 8, argv), 0);
	assert_int_equal(env_from_args(&a, &env, &e), 0);
	assert_string_equal(strv_getenv(&env, "A"), "last");
	assert_string_equal(strv_getenv(&env, "B"), "two words");
	assert_string_equal(strv_getenv(&env, "C"), "x=y");
	assert_string_equal(strv_getenv(&env, "FROM_SHELL"), "here");
	assert_null(strv_getenv(&env, "NOT_SET"));
	assert_int_equal(env.n, 4);
	args_release(&a);
	assert_int_equal(io_write_file_atomic(AT_FDCWD, "f", "A=1\n=x\n", 7, 0600, &e), 0);
	assert_int_equal(parse(&verb_run, &a, &e, 2, argv), 0);
	assert_int_equal(env_from_args(&a, &env, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "line 2"));
	args_release(&a);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(io_remove_tree(AT_FDCWD, dir, &e), 0);
}

static void
test_workspaces(void **state)
{
	char dir[] = "/tmp/paddock-ws-XXXXXX", real[PATH_MAX];
	struct sandbox s = {0};
	struct err e = {0};

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(mkdir("proj", 0755) + mkdir("odd:ro", 0755) + symlink("proj", "link"), 0);
	assert_int_equal(io_write_file_atomic(AT_FDCWD, "file", "x", 1, 0600, &e), 0);
	assert_non_null(realpath("proj", real));
	assert_int_equal(workspace_add(&s, "file", &e), -ENOTDIR); /* not as the first one */
	assert_int_equal(workspace_add(&s, "link", &e), 0);
	assert_string_equal(s.workspaces[0].path, real); /* symlinks are resolved */
	assert_false(s.workspaces[0].read_only);
	assert_int_equal(workspace_add(&s, "proj:ro", &e), -EINVAL); /* twice */
	assert_int_equal(workspace_add(&s, "odd:ro", &e), 0); /* a folder of just that name */
	assert_false(s.workspaces[1].read_only);
	assert_int_equal(workspace_add(&s, "file:readonly", &e), 0);
	assert_true(s.workspaces[2].read_only && s.workspaces[2].is_file);
	setenv("HOME", dir, 1);
	assert_int_equal(mkdir("other", 0755), 0);
	assert_int_equal(workspace_add(&s, "~/other:ro", &e), 0);
	assert_true(s.workspaces[3].read_only);
	assert_int_equal(workspace_add(&s, "missing", &e), -ENOENT); /* nobody to ask */
	assert_non_null(strstr(e.msg, "mkdir"));
	assert_int_equal(workspace_add(&s, "/", &e), -EINVAL);
	assert_int_equal(workspace_add(&s, "/usr", &e), -EINVAL);
	assert_int_equal(workspace_add(&s, "/etc/ssl", &e), -EINVAL);
	assert_int_equal(s.nworkspaces, 4);
	sandbox_release(&s);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(io_remove_tree(AT_FDCWD, dir, &e), 0);
}

static void
refused_shadow(struct sandbox *s, const char *word, int code, const char *says)
{
	struct err e = {0};

	assert_int_equal(shadow_add(s, word, &e), code);
	if (strstr(e.msg, says) == NULL)
		fail_msg("'%s': %s", word, e.msg);
}

static void
test_shadows(void **state)
{
	char dir[] = "/tmp/paddock-ws-XXXXXX";
	struct sandbox s = {0};
	struct err e = {0};

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(mkdir("p", 0755) + mkdir("p/sub", 0755) + mkdir("p/a", 0755) +
				 mkdir("p/a/there", 0755) + mkdir("q", 0755) + mkdir("p/w", 0755) +
				 mkdir("p/w/inner", 0755) + symlink("sub", "p/link"),
		0);
	assert_int_equal(io_write_file_atomic(AT_FDCWD, "p/file", "x", 1, 0600, &e), 0);
	assert_int_equal(workspace_add(&s, "p", &e), 0);
	assert_int_equal(workspace_add(&s, "p/w/inner:ro", &e), 0);
	assert_int_equal(workspace_add(&s, "p/file", &e), 0);
	/* Absent or there, relative or not, spelled in any way. */
	assert_int_equal(shadow_add(&s, "node_modules/", &e), 0);
	assert_int_equal(shadow_add(&s, "./a//there", &e), 0);
	CLEAN_FREE char *in_ro = xasprintf("%s/target", s.workspaces[1].path);
	assert_int_equal(shadow_add(&s, in_ro, &e), 0);
	CLEAN_FREE char *first = xasprintf("%s/node_modules", s.workspaces[0].path);
	assert_string_equal(s.shadows.v[0], first);
	assert_true(shadow_is_known(&s, "node_modules") && shadow_is_known(&s, first));
	assert_false(shadow_is_known(&s, "dist") || shadow_is_known(&s, "../p/node_modules"));

	refused_shadow(&s, "node_modules", -EINVAL, "named twice");
	refused_shadow(&s, "a", -EINVAL, "overlap");
	refused_shadow(&s, "node_modules/x", -EINVAL, "overlap");
	refused_shadow(&s, "", -EINVAL, "write a folder");
	refused_shadow(&s, "../q", -EINVAL, "without '..'");
	refused_shadow(&s, ".", -EINVAL, "is a workspace itself");
	refused_shadow(&s, "w", -EINVAL, "would hide the workspace");
	refused_shadow(&s, "/usr/lib", -EINVAL, "does not lie in a workspace");
	refused_shadow(&s, "file", -EINVAL, "is a workspace itself");
	refused_shadow(&s, "link", -ENOTDIR, "symlink of that name");
	refused_shadow(&s, "link/x", -EINVAL, "leads through a symlink");
	refused_shadow(&s, "no/such/x", -ENOENT, "make that folder first");
	refused_shadow(&s, "a\x1b[2J", -EINVAL, "not a printable");
	assert_int_equal(io_write_file_atomic(AT_FDCWD, "p/f", "x", 1, 0600, &e), 0);
	refused_shadow(&s, "f", -ENOTDIR, "file of that name");
	assert_int_equal(s.shadows.n, 3);
	sandbox_release(&s);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(io_remove_tree(AT_FDCWD, dir, &e), 0);
}

static void
test_agent_words(void **state)
{
	CLEAN_KIT struct kit shell = {0}, other = {0};
	char *dash[] = {(char *)"-c", (char *)"true", NULL}, *word[] = {(char *)"htop", NULL};
	CLEAN_STRV struct strv none = {0}, appended = {0}, replaced = {0}, args = {0};
	static const char text[] = "{name: k, command: [prog, sub], args: [--yes]}";

	(void)state;
	assert_int_equal(agent_find("nobody", &shell, NULL), -ENOENT);
	assert_int_equal(agent_find("./nobody.yaml", &shell, NULL), -EINVAL);
	assert_int_equal(agent_find("shell", &shell, NULL), 0);
	agent_command(&shell, NULL, 0, &none);
	assert_int_equal(none.n, 2);
	agent_command(&shell, dash, 2, &appended);
	assert_int_equal(appended.n, 4);
	assert_string_equal(appended.v[2], "-c");
	agent_command(&shell, word, 1, &replaced);
	assert_int_equal(replaced.n, 1);
	assert_string_equal(replaced.v[0], "htop");
	/* A command stays: only its arguments are replaced. */
	assert_int_equal(kit_parse(text, strlen(text), &other, NULL), 0);
	agent_command(&other, word, 1, &args);
	assert_int_equal(args.n, 3);
	assert_string_equal(args.v[1], "sub");
	assert_string_equal(args.v[2], "htop");
}

/* What a kit wants to reach is added, but never where the owner denies it. */
static void
test_kit_rules(void **state)
{
	static const char text[] = "{name: k, command: [x], network: {allow: ['api.x.test:443', "
				   "'*.y.test', ok.test], deny: [bad.test]}}";
	static const char own[] = "locked\ndeny *.x.test\ndeny *.y.test:443\n";
	CLEAN_KIT struct kit k = {0};
	CLEAN_POLICY struct policy p = {0};
	CLEAN_BUF struct buf out = BUF_INIT;
	struct err e = {0};

	(void)state;
	assert_int_equal(kit_parse(text, strlen(text), &k, NULL), 0);
	if (policy_decode(own, strlen(own), &p, &e) != 0 || agent_rules(&k, &p, &e) != 0)
		fail_msg("%s", e.msg);
	policy_encode(&p, &out);
	assert_string_equal(buf_str(&out),
		"locked\ndeny *.x.test\ndeny *.y.test:443\nallow ok.test\ndeny bad.test\n");
}

static void
test_detach_keys(void **state)
{
	static const char *const bad[] = {
		"ctrl-", "ctrl-1", "ab", "ctrl-aa", "a,,b", "a,b,c,d,e,f,g,h,i"};
	unsigned char k[8];
	struct err e = {0};
	size_t n = 0;

	(void)state;
	assert_int_equal(terminal_detach_keys_parse("ctrl-p,ctrl-q", k, &n, &e), 0);
	assert_int_equal(n, 2);
	assert_int_equal(k[0], 0x10);
	assert_int_equal(k[1], 0x11);
	assert_int_equal(terminal_detach_keys_parse("ctrl-\\,x", k, &n, &e), 0);
	assert_int_equal(k[0], 0x1c);
	assert_int_equal(k[1], 'x');
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(terminal_detach_keys_parse(bad[i], k, &n, &e), -EINVAL);
}

static void
check_table(const struct verb *const *table)
{
	for (; *table != NULL; table++) {
		const struct option_def *tables[] = {
			(*table)->options, (*table)->shared, global_options};
		bool letters[256] = {false};

		assert_non_null((*table)->summary);
		assert_non_null((*table)->usage);
		assert_non_null((*table)->exec);
		for (size_t t = 0; t < ARRAY_LEN(tables); t++)
			for (const struct option_def *d = tables[t]; d != NULL && d->name != NULL;
				d++) {
				assert_non_null(d->help);
				assert_false(d->letter != 0 && letters[(unsigned char)d->letter]);
				letters[(unsigned char)d->letter] = true;
			}
		if ((*table)->subs != NULL)
			check_table((*table)->subs);
	}
}

/* A host in a person's script is its A-labels, wherever it stands; letters that look alike differ.
 */
static void
test_international_names(void **state)
{
	static const struct {
		const char *in, *out; /* NULL: refused */
	} t[] = {
		{"example.com:443", "example.com:443"},
		{"B\u00fccher.example", "xn--bcher-kva.example"},
		{"*.b\u00fccher.example:8443/udp", "*.xn--bcher-kva.example:8443/udp"},
		{"bu\u0308cher.example", "xn--bcher-kva.example"},
		{"stra\u00dfe.example", "xn--strae-oqa.example"},
		{"\u0430pple.com", "xn--pple-43d.com"},
		{"example\u3002com", "example.com"},
		{"a\u2044b.example", NULL},
		{"\xff.example", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct err e = {0};
		CLEAN_FREE char *out = network_ascii(t[i].in, &e);

		if (t[i].out == NULL) {
			assert_null(out);
			assert_true(strlen(e.msg) > 10);
		} else {
			assert_non_null(out);
			assert_string_equal(out, t[i].out);
		}
	}
}

/* Of two options for the same the last word counts, whatever they are called. */
static void
test_policy_options(void **state)
{
	const char *argv[] = {"--allow-host", "a.test", "--policy", "deny", "--block-host",
		"a.test", "--bypass-cidr", "192.0.2.0/24", "--bypass-host", "p.test",
		"--allow-cidr", "192.0.2.0/24", "--block-cidr=10.0.0.0/8", NULL};
	CLEAN_POLICY struct policy p = {0};
	CLEAN_BUF struct buf b = BUF_INIT;
	struct args a = {0};
	struct err e = {0};

	(void)state;
	policy_init(&p, POLICY_BALANCED);
	assert_int_equal(parse(&verb_network_proxy, &a, &e, 13, argv), 0);
	assert_true(network_policy_asked(&a));
	if (network_policy_apply(&a, &p, &e) < 0)
		fail_msg("%s", e.msg);
	policy_encode(&p, &b);
	assert_string_equal(buf_str(&b),
		"locked\ndeny a.test\nbypass p.test\nallow 192.0.2.0/24\ndeny 10.0.0.0/8\n");
	args_release(&a);
}

/* Every verb tells what it is for; no two options of one verb share a name or a letter. */
static void
test_tables(void **state)
{
	(void)state;
	check_table(verbs);
	assert_ptr_equal(verb_find(verbs, "ls"), &verb_ls);
	assert_ptr_equal(verb_find(verbs, "list"), &verb_ls);
	assert_null(verb_find(verbs, "l"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run_words),
		cmocka_unit_test(test_exec_words),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_env),
		cmocka_unit_test(test_workspaces),
		cmocka_unit_test(test_shadows),
		cmocka_unit_test(test_agent_words),
		cmocka_unit_test(test_kit_rules),
		cmocka_unit_test(test_detach_keys),
		cmocka_unit_test(test_international_names),
		cmocka_unit_test(test_policy_options),
		cmocka_unit_test(test_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
