/* Kits: what is refused and where, what is read, what extends what, and the built-in ones. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <kit/kit.h>

static int
parse(const char *text, struct kit *ret, struct err *e)
{
	return kit_parse(text, strlen(text), ret, e);
}

#define HEAD "name: k\ncommand: [x]\n"

static const struct {
	const char *text, *error; /* "LINE:COLUMN: " and a part of the sentence */
} wrong[] = {
	{"", "1:1: the kit is empty"},
	{"# nothing\n", "2:1: the kit is empty"},
	{"- a\n", "1:1: a kit must be a map"},
	{"just words\n", "1:1: a kit must be a map"},
	{"{}\n", "1:1: a kit has no 'name'"},
	{"command: [x]\n", "1:1: a kit has no 'name'"},
	{"name: [a]\n", "1:7: a kit's name"},
	{"name: Kit\n", "1:7: a kit's name"},
	{"name: ../x\n", "1:7: a kit's name"},
	{"name: -x\n", "1:7: a kit's name"},
	{"name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", "1:7: a kit's name"},
	{"name: k\npacakges: [a]\n", "2:1: unknown key 'pacakges': there are name"},
	{"name: k\nname: k\n", "2:1: 'name' is there twice, first in line 1"},
	{"name: k\nenv:\n  A: 1\n  A: 2\n", "4:3: 'A' is there twice, first in line 3"},
	{"name: \"k\n", "2:1: "},
	{"name: k\n\tenv: {}\n", "2:1: "},
	{"name: k\ncommand: [x\n", "3:1: "},
	{"name: k\n---\nname: l\n", "2:1: a second document"},
	{"name: &a k\n", "1:7: anchors and tags"},
	{"name: !!str k\n", "1:7: anchors and tags"},
	{"name: k\ncommand: &a [x]\n", "2:10: aliases, anchors and tags"},
	{"name: k\ncommand: *a\n", "2:10: aliases, anchors and tags"},
	{"name: k\n? [a]\n: b\n", "2:3: a key must be a text"},
	{"name: k\ndescription: |\n  a\n  b\n", "2:14: description must be one line"},
	{"name: k\ndescription: \"a\\0b\"\n", "2:14: a text may not hold a NUL"},
	{"name: k\nextends: Shell\n", "2:10: extends must be"},
	{"name: k\npackages: git\n", "2:11: packages must be a list"},
	{"name: k\npackages:\n", "2:10: packages must be a list"},
	{"name: k\npackages: [--force]\n", "2:12: '--force' is no name of a Debian package"},
	{"name: k\npackages: [git, 'a b']\n", "2:17: 'a b' is no name of a Debian package"},
	{"name: k\npackages: [git=$(x)]\n", "2:12: 'git=$(x)' is no name"},
	{"name: k\npackages: [[git]]\n", "2:12: an entry of packages must be a text"},
	{"name: k\nnpm: [-g]\n", "2:7: '-g' is no npm package"},
	{"name: k\nnpm: ['@a']\n", "2:7: '@a' is no npm package"},
	{"name: k\nnpm: [./folder]\n", "2:7: './folder' is no npm package"},
	{"name: k\nnpm: ['https://x.test/y']\n", "2:7: 'https://x.test/y' is no npm package"},
	{"name: k\nnpm: [owner/repository]\n", "2:7: 'owner/repository' is no npm package"},
	{"name: k\ninstall: make\n", "2:10: install must be a list"},
	{"name: k\ninstall: ['']\n", "2:11: an empty step"},
	{"name: k\ninstall:\n  - user: root\n", "3:5: a step has no 'run'"},
	{"name: k\ninstall:\n  - run: x\n    user: www\n", "4:11: user must be agent or root"},
	{"name: k\ninstall:\n  - run: x\n    sudo: y\n", "4:5: unknown key 'sudo'"},
	{"name: k\nfiles:\n  - path: /etc/x\n    content: a\n", "3:11: '/etc/x' is no path"},
	{"name: k\nfiles:\n  - path: a/../../x\n    content: a\n", "3:11: 'a/../../x' is no"},
	{"name: k\nfiles:\n  - path: ~/\n    content: a\n", "3:11: '~/' is no path"},
	{"name: k\nfiles:\n  - path: a//b\n    content: a\n", "3:11: 'a//b' is no path"},
	{"name: k\nfiles:\n  - path: a\n", "3:5: a file has no 'content'"},
	{"name: k\nfiles:\n  - path: a\n    content: b\n    mode: rw\n", "5:11: mode must be"},
	{"name: k\nfiles:\n  - path: a\n    content: b\n    mode: 4755\n", "5:11: mode must be"},
	{"name: k\nfiles:\n  - {path: a, content: b}\n  - {path: ~/a, content: c}\n",
		"4:5: the file 'a' is there twice"},
	{"name: k\ncommand: x\n", "2:10: command must be a list"},
	{"name: k\ncommand: ['']\n", "2:11: '' is no word of a command"},
	{"name: k\nargs: {a: b}\n", "2:7: args must be a list"},
	{"name: k\nenv: [A=1]\n", "2:6: env must be a map"},
	{"name: k\nenv:\n  1A: x\n", "3:3: '1A' is no name of a variable"},
	{"name: k\nenv:\n  A: [x]\n", "3:6: a variable's value"},
	{"name: k\nnetwork: [x.test]\n", "2:10: network must be a map"},
	{"name: k\nnetwork:\n  allow: [x.test]\n  open: [y]\n", "4:3: unknown key 'open'"},
	{"name: k\nnetwork:\n  allow: ['x.test:0']\n", "3:11: "},
	{"name: k\nnetwork:\n  allow: ['a b']\n", "3:11: "},
	{"name: k\nnetwork:\n  allow: ['localhost:80']\n", "3:11: a kit cannot open"},
	{"name: k\nnetwork:\n  allow: ['host.docker.internal:80']\n", "3:11: "},
	{"name: k\nnetwork:\n  allow: ['192.0.2.1:443']\n", "3:11: a kit allows names"},
	{"name: k\nnetwork:\n  allow: ['10.0.0.0/8']\n", "3:11: a kit allows names"},
	{"name: k\ncredentials:\n  - name: a\n",
		"3:5: a credential has no 'hosts', and no service is called 'a'"},
	{"name: k\ncredentials:\n  - name: openai\n    header: x\n",
		"3:5: a credential has no 'hosts'"},
	{"name: k\ncredentials:\n  - name: openai\n    hosts: [x.test]\n",
		"3:5: a credential has no 'header'"},
	{"name: k\ncredentials:\n  - name: a\n    hosts: []\n    header: x\n",
		"4:12: a credential goes to"},
	{"name: k\ncredentials:\n  - name: a\n    hosts: ['*']\n    header: x\n",
		"4:13: '*' is no"},
	{"name: k\ncredentials:\n  - name: a\n    hosts: [x.test]\n    header: 'a: b'\n",
		"5:13: header must be"},
	{"name: k\ncredentials:\n  - name: a\n    hosts: [x.test]\n    header: x\n    format: y\n",
		"6:13: format must hold %s once"},
	{"name: k\ncredentials:\n  - name: a\n    hosts: [x.test]\n    header: x\n    format: "
	 "'%s%s'\n",
		"6:13: format must hold %s once"},
	{"name: k\nsettings: ~/.x/y\n", "2:11: settings must be a list"},
	{"name: k\nsettings: [~/.ssh/id_rsa]\n", "2:12: '.ssh/id_rsa' is nothing"},
	{"name: k\nsettings: [~/.bashrc]\n", "2:12: '.bashrc' is nothing"},
	{"name: k\nsettings: [~/Documents/x]\n", "2:12: 'Documents/x' is nothing"},
	{"name: k\nsettings: [~/.config/x]\n", "2:12: '.config/x' is nothing"},
	{"name: k\nsettings: [~/.config/gh/hosts.yml]\n", "2:12: '.config/gh/hosts.yml' is"},
	{"name: k\nsettings: [~/.x/../.ssh/y]\n", "2:12: '~/.x/../.ssh/y' is no path"},
	{"name: k\nsettings: [~/.x/y, .x/y]\n", "2:20: the setting '.x/y' is there twice"},
	{"name: k\nsettings:\n  - keys: [a]\n", "3:5: a setting has no 'path'"},
	{"name: k\nsettings:\n  - {path: ~/.x/y, keys: []}\n", "3:26: keys must name"},
	{"name: k\ncommand: [[[[[[[[[[x]]]]]]]]]]\n", "2:18: more, or deeper"},
	{"name: \"\xff\"\n", "not UTF-8"},
};

static void
each_mistake_has_its_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct kit k = {0};
		struct err e = {0};

		if (parse(wrong[i].text, &k, &e) != -EINVAL ||
			strstr(e.msg, wrong[i].error) == NULL)
			fail_msg("%s\nsays '%s'\nnot  '%s'", wrong[i].text, e.msg, wrong[i].error);
		assert_null(k.name);
	}
}

static const char whole[] = "name: my-kit\n"
			    "description: for tests\n"
			    "extends: shell\n"
			    "packages: [ripgrep, g++, libc6-dev=2.41-12]\n"
			    "npm: ['@scope/thing@^1.2.0', left-pad]\n"
			    "install:\n"
			    "  - echo as agent\n"
			    "  - run: |\n"
			    "      echo as root\n"
			    "      echo \"twice\"\n"
			    "    user: root\n"
			    "files:\n"
			    "  - path: ~/.config/x.json\n"
			    "    mode: \"0600\"\n"
			    "    content: '{\"${WORKSPACE_JSON}\": \"${WORKSPACE}\"}'\n"
			    "command: [prog, sub]\n"
			    "args: [--yes, '']\n"
			    "env: {A: 1, NO: no, EMPTY: ''}\n"
			    "network: {allow: ['*.x.test:443'], deny: [bad.x.test]}\n"
			    "credentials:\n"
			    "  - name: x\n"
			    "    env: [X_KEY]\n"
			    "    hosts: [api.x.test, '*.y.test']\n"
			    "    header: Authorization\n"
			    "    format: Bearer %s\n"
			    "    placeholder: sk-x\n"
			    "settings:\n"
			    "  - ~/.x/NOTES.md\n"
			    "  - {path: ~/.config/x/s.json, keys: [model]}\n";

static void
all_keys_are_read(void **state)
{
	CLEAN_KIT struct kit k = {0};
	struct err e = {0};

	(void)state;
	if (parse(whole, &k, &e) != 0)
		fail_msg("%s", e.msg);
	assert_string_equal(k.name, "my-kit");
	assert_string_equal(k.description, "for tests");
	assert_string_equal(k.extends, "shell");
	assert_int_equal(k.packages.n, 3);
	assert_string_equal(k.packages.v[1], "g++");
	assert_int_equal(k.npm.n, 2);
	assert_int_equal(k.nsteps, 2);
	assert_false(k.steps[0].root);
	assert_true(k.steps[1].root);
	assert_string_equal(k.steps[1].run, "echo as root\necho \"twice\"\n");
	assert_int_equal(k.nfiles, 1);
	assert_string_equal(k.files[0].path, ".config/x.json");
	assert_int_equal(k.files[0].mode, 0600);
	assert_int_equal(k.command.n, 2);
	assert_int_equal(k.args.n, 2);
	assert_string_equal(k.args.v[1], "");
	assert_string_equal(strv_getenv(&k.env, "A"), "1");
	assert_string_equal(strv_getenv(&k.env, "NO"), "no");
	assert_string_equal(strv_getenv(&k.env, "EMPTY"), "");
	assert_int_equal(k.rules.n, 2);
	assert_string_equal(k.rules.v[0], "allow *.x.test:443");
	assert_string_equal(k.rules.v[1], "deny bad.x.test");
	assert_int_equal(k.ncredentials, 1);
	assert_string_equal(k.credentials[0].hosts.v[1], "*.y.test");
	assert_string_equal(k.credentials[0].placeholder, "sk-x");
	assert_int_equal(k.nsettings, 2);
	assert_string_equal(k.settings[0].path, ".x/NOTES.md");
	assert_int_equal(k.settings[0].keys.n, 0);
	assert_string_equal(k.settings[1].keys.v[0], "model");
}

static void
what_is_printed_reads_back(void **state)
{
	CLEAN_KIT struct kit k = {0}, back = {0};
	CLEAN_FREE char *text = NULL, *again = NULL;
	struct err e = {0};

	(void)state;
	assert_int_equal(parse(whole, &k, &e), 0);
	text = kit_print(&k);
	if (parse(text, &back, &e) != 0)
		fail_msg("%s in %s", e.msg, text);
	again = kit_print(&back);
	assert_string_equal(text, again);
	assert_non_null(strstr(text, "libc6-dev=2.41-12"));
}

/* Cut anywhere, it is refused or a kit, and never more than it was. */
static void
cut_anywhere(void **state)
{
	struct kit k = {0};
	size_t read = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(whole); i++) {
		struct err e = {0};
		unsigned line, column;

		if (kit_parse(whole, i, &k, &e) == 0) {
			read++;
			kit_release(&k);
			continue;
		}
		assert_int_equal(sscanf(e.msg, "%u:%u: ", &line, &column), 2);
		assert_in_range(line, 1, 30);
	}
	assert_true(read > 10);
}

static void
layers(void **state)
{
	CLEAN_KIT struct kit none = {0}, a = {0}, b = {0};
	char da[KIT_DIGEST_SIZE], db[KIT_DIGEST_SIZE];

	(void)state;
	assert_int_equal(parse(HEAD "files: [{path: a, content: b}]\n", &none, NULL), 0);
	assert_false(kit_has_layer(&none));
	assert_int_equal(parse(HEAD "npm: [a]\n", &a, NULL), 0);
	assert_true(kit_has_layer(&a));
	assert_int_equal(parse(HEAD "npm: [a]\nargs: [b]\ndescription: c\n", &b, NULL), 0);
	kit_layer_digest(&a, "base-1", da);
	kit_layer_digest(&b, "base-1", db);
	assert_string_equal(da, db); /* how it is started is not on its disk */
	kit_layer_digest(&b, "base-2", db);
	assert_string_not_equal(da, db);
	kit_release(&b);
	assert_int_equal(parse(HEAD "packages: [aa]\n", &b, NULL), 0);
	kit_layer_digest(&b, "base-1", db);
	assert_string_not_equal(da, db);
	kit_release(&b);
	assert_int_equal(parse(HEAD "npm: [a]\nenv: {X: y}\n", &b, NULL), 0);
	kit_layer_digest(&b, "base-1", db);
	assert_string_not_equal(da, db);
}

static void
files_are_filled(void **state)
{
	CLEAN_KIT struct kit k = {0};
	CLEAN_FREE char *text = NULL;

	(void)state;
	assert_int_equal(parse(whole, &k, NULL), 0);
	text = kit_file_fill(&k.files[0], &(struct kit_vars){.workspace = "/home/a \"b\"\\c/ä"});
	assert_string_equal(text, "{\"/home/a \\\"b\\\"\\\\c/ä\": \"/home/a \"b\"\\c/ä\"}");
}

/* What the sandbox holds in a credential's place goes into files; without it there is no file. */
static void
files_hold_placeholders(void **state)
{
	static const char text[] = "name: k\ncommand: [x]\n"
				   "credentials: [{name: openai}, {name: npm}]\n"
				   "files:\n"
				   "  - {path: a, content: '${CREDENTIAL:openai} ${WORKSPACE}'}\n"
				   "  - {path: b, content: '${CREDENTIAL:npm}'}\n"
				   "  - {path: c, content: '$CREDENTIAL {x}'}\n";
	CLEAN_KIT struct kit k = {0};
	CLEAN_FREE char *a = NULL, *b = NULL, *c = NULL;
	struct kit_vars v = {.workspace = "/w"};
	struct err e = {0};

	(void)state;
	strv_setenv(&v.credentials, "openai", "sk-proj-0");
	assert_int_equal(parse(text, &k, &e), 0);
	assert_int_equal(kit_check_whole(&k, &e), 0);
	assert_int_equal(k.credentials[0].hosts.n, 0);
	a = kit_file_fill(&k.files[0], &v);
	b = kit_file_fill(&k.files[1], &v);
	c = kit_file_fill(&k.files[2], &v);
	assert_string_equal(a, "sk-proj-0 /w");
	assert_null(b);
	assert_string_equal(c, "$CREDENTIAL {x}");
	strv_release(&v.credentials);
}

/* Of the kit's credentials, which may be those of a kit that it extends. */
static void
files_name_the_kits_credentials(void **state)
{
	static const char *const contents[] = {
		"${CREDENTIAL:npm}", "${CREDENTIAL:npm", "${CREDENTIAL:}", "x${CREDENTIAL:a\n}"};
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(contents); i++) {
		CLEAN_KIT struct kit k = {0}, parent = {0};
		struct kit_file f = {.path = (char *)"a", .content = (char *)contents[i]};

		assert_int_equal(parse("name: k\ncommand: [x]\n", &k, &e), 0);
		k.files = xcalloc(1, sizeof(f));
		k.files[0] = (struct kit_file){xstrdup(f.path), xstrdup(f.content), 0644};
		k.nfiles = 1;
		assert_int_equal(kit_check_whole(&k, &e), -EINVAL);
		assert_non_null(strstr(e.msg, "names the credential"));
		/* Control: the first is right once there is one of that name. */
		assert_int_equal(parse("name: p\ncredentials: [{name: npm}]\n", &parent, &e), 0);
		kit_extend(&k, &parent);
		assert_int_equal(kit_check_whole(&k, &e), i == 0 ? 0 : -EINVAL);
	}
}

/* ---- kits in files ---- */

static char *
write_kit(const char *folder, const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", folder, name);

	if (io_write_file_atomic(AT_FDCWD, path, text, strlen(text), 0644, NULL) < 0)
		fail_msg("'%s' cannot be written", path);
	return path;
}

static int
set_up(void **state)
{
	char *folder = xstrdup("/tmp/paddock-test-kit.XXXXXX");

	*state = folder;
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
	int r = io_remove_tree(AT_FDCWD, *state, NULL);

	free(*state);
	return r;
}

static void
extends(void **state)
{
	CLEAN_FREE char *parent = write_kit(*state, "parent.yaml",
		"name: parent\ndescription: p\npackages: [aa, bb]\ncommand: [run]\nargs: [-a]\n"
		"env: {A: 1, B: 2}\nfiles: [{path: x, content: old}, {path: y, content: y}]\n"
		"install: [one]\nnetwork: {allow: [a.test]}\n"
		"credentials: [{name: c, hosts: [a.test], header: x}]\n"
		"settings: [~/.x/a, {path: ~/.x/b, keys: [k]}]\n");
	CLEAN_FREE char *child = write_kit(*state, "child.yaml",
		"name: child\nextends: parent\npackages: [bb, cc]\nargs: [-b]\nenv: {B: 3}\n"
		"files: [{path: x, content: new}]\ninstall: [two]\nnetwork: {allow: [b.test]}\n"
		"credentials: [{name: c, hosts: [c.test], header: y}]\n"
		"settings: [~/.x/b]\n");
	CLEAN_FREE char *other = write_kit(
		*state, "other.yaml", "name: other\nextends: ./child.yaml\ncommand: [own]\n");
	CLEAN_KIT struct kit k = {0}, o = {0};
	CLEAN_FREE char *from = NULL;
	struct err e = {0};

	if (kit_load(*state, "child", &k, &from, &e) != 0)
		fail_msg("%s", e.msg);
	assert_string_equal(from, child);
	assert_null(k.extends);
	assert_string_equal(k.description, "p");
	assert_int_equal(k.packages.n, 3);
	assert_string_equal(k.packages.v[2], "cc");
	assert_string_equal(k.command.v[0], "run");
	assert_int_equal(k.args.n, 1);
	assert_string_equal(k.args.v[0], "-b");
	assert_string_equal(strv_getenv(&k.env, "A"), "1");
	assert_string_equal(strv_getenv(&k.env, "B"), "3");
	assert_int_equal(k.nfiles, 2);
	assert_string_equal(k.files[0].path, "y");
	assert_string_equal(k.files[1].content, "new");
	assert_int_equal(k.nsteps, 2);
	assert_string_equal(k.steps[0].run, "one");
	assert_int_equal(k.rules.n, 2);
	assert_int_equal(k.ncredentials, 1);
	assert_string_equal(k.credentials[0].hosts.v[0], "c.test");
	assert_int_equal(k.nsettings, 2);
	assert_int_equal(k.settings[1].keys.n, 0);
	assert_non_null(parent);
	/* A path, relative to the kit; another command does not get the arguments of the first. */
	assert_int_equal(kit_load(NULL, other, &o, NULL, &e), -EINVAL); /* parent is one's own */
	assert_non_null(strstr(e.msg, "'parent', which there is not"));
	assert_int_equal(kit_load(*state, other, &o, NULL, &e), 0);
	assert_string_equal(o.command.v[0], "own");
	assert_int_equal(o.args.n, 0);
}

static void
loads_that_fail(void **state)
{
	CLEAN_FREE char *loop =
		write_kit(*state, "loop.yaml", "name: loop\nextends: ./loop.yaml\n");
	CLEAN_FREE char *bad = write_kit(*state, "bad.yaml", "name: bad\nenvironment: {}\n");
	CLEAN_FREE char *empty = write_kit(*state, "empty.yaml", "name: empty\n");
	CLEAN_FREE char *renamed = write_kit(*state, "renamed.yaml", HEAD);
	CLEAN_FREE char *fifo = xasprintf("%s/fifo.yaml", (char *)*state);
	CLEAN_FREE char *place = xasprintf("%s:2:1: unknown key 'environment'", bad);
	CLEAN_STRV struct strv names = {0};
	struct kit k = {0};
	struct err e = {0};

	assert_int_equal(kit_load(*state, "nobody", &k, NULL, &e), -ENOENT);
	assert_int_equal(kit_load(*state, "No Body", &k, NULL, &e), -ENOENT);
	assert_int_equal(kit_load(*state, "./nobody.yaml", &k, NULL, &e), -ENOENT);
	assert_int_equal(kit_load(*state, loop, &k, NULL, &e), -ELOOP);
	assert_int_equal(kit_load(*state, "bad", &k, NULL, &e), -EINVAL);
	assert_true(str_has_prefix(e.msg, place));
	assert_int_equal(kit_load(*state, empty, &k, NULL, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "nothing to run"));
	assert_int_equal(kit_load(*state, "renamed", &k, NULL, &e), -EINVAL);
	assert_non_null(strstr(e.msg, renamed));
	assert_non_null(strstr(e.msg, "a kit called 'k'"));
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(kit_load(*state, fifo, &k, NULL, &e), -EINVAL);
	assert_int_equal(kit_own_names(*state, &names, &e), 0);
	assert_int_equal(names.n, 5);
	assert_string_equal(names.v[0], "bad");
}

/* One's own "claude" comes before the built-in one, and may extend it. */
static void
own_before_built_in(void **state)
{
	CLEAN_FREE char *own = write_kit(
		*state, "claude.yaml", "name: claude\nextends: claude\nenv: {MINE: yes}\n");
	CLEAN_FREE char *second =
		write_kit(*state, "mine.yaml", "name: mine\nextends: claude\nenv: {MORE: yes}\n");
	CLEAN_KIT struct kit k = {0}, bare = {0}, both = {0};
	struct err e = {0};

	if (kit_load(*state, "claude", &k, NULL, &e) != 0)
		fail_msg("%s", e.msg);
	assert_non_null(own);
	assert_string_equal(strv_getenv(&k.env, "MINE"), "yes");
	assert_string_equal(k.command.v[0], "claude");
	assert_non_null(second);
	assert_int_equal(kit_load(*state, "mine", &both, NULL, &e), 0);
	assert_string_equal(strv_getenv(&both.env, "MINE"), "yes");
	assert_string_equal(strv_getenv(&both.env, "MORE"), "yes");
	assert_string_equal(both.command.v[0], "claude");
	assert_int_equal(kit_load(NULL, "claude", &bare, NULL, &e), 0);
	assert_null(strv_getenv(&bare.env, "MINE"));
}

static void
built_in_ones(void **state)
{
	static const char *const must[] = {"shell", "claude", "codex", "gemini", "copilot",
		"opencode", "amp", "cursor", "kiro", "droid", "docker-agent"};
	size_t n = 0;

	(void)state;
	for (const char *name; (name = kit_builtin_name(n)) != NULL; n++) {
		CLEAN_KIT struct kit k = {0};
		struct err e = {0};

		if (kit_load(NULL, name, &k, NULL, &e) != 0)
			fail_msg("%s", e.msg);
		assert_string_equal(k.name, name); /* kits/NAME.yaml */
		assert_non_null(k.description);
	}
	assert_int_equal(n, ARRAY_LEN(must));
	for (size_t i = 0; i < ARRAY_LEN(must); i++)
		assert_non_null(kit_builtin(must[i]));
	assert_null(kit_builtin("nobody"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_mistake_has_its_place),
		cmocka_unit_test(all_keys_are_read),
		cmocka_unit_test(what_is_printed_reads_back),
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(layers),
		cmocka_unit_test(files_are_filled),
		cmocka_unit_test(files_hold_placeholders),
		cmocka_unit_test(files_name_the_kits_credentials),
		cmocka_unit_test_setup_teardown(extends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(loads_that_fail, set_up, tear_down),
		cmocka_unit_test_setup_teardown(own_before_built_in, set_up, tear_down),
		cmocka_unit_test(built_in_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
