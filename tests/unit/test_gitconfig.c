/* Git's configuration: against tables, and against git itself. */
#include <fcntl.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/htab.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/proc.h>
#include <proto/gitconfig.h>

/* As `git config --list -z`: key NEWLINE value NUL, key NUL where there is no value. */
static int
collect(void *arg, const char *key, const char *value)
{
	struct buf *b = arg;

	buf_append(b, key, strlen(key));
	if (value != NULL) {
		buf_append(b, "\n", 1);
		buf_append(b, value, strlen(value));
	}
	buf_append(b, "", 1);
	return 0;
}

static void
parses(const char *text, const char *want, size_t n)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	assert_int_equal(gitconfig_parse(text, strlen(text), collect, &b), 0);
	if (b.len != n || memcmp(b.data, want, n) != 0)
		fail_msg("%s\n-> %s", text, buf_str(&b));
}

#define PARSES(text, want) parses(text, want, sizeof(want) - 1)

static void
test_parse(void **state)
{
	(void)state;
	PARSES("", "");
	PARSES("[core]\n\tbare = false\n", "core.bare\nfalse\0");
	PARSES("[CORE]HooksPath=x", "core.hookspath\nx\0");
	PARSES("\xef\xbb\xbf[a]b", "a.b\0");
	PARSES("[a \"B.c\"]d=1\n[x.Y]z", "a.B.c.d\n1\0x.y.z\0");
	PARSES("[a \"q\\\"\\\\\\n\"]d=", "a.q\"\\n.d\n\0");
	PARSES("[a]b = x  y  # c\n c = \"x # y \" z;d", "a.b\nx  y\0a.c\nx # y  z\0");
	PARSES("[a]b = x\\\n y\\tz\\\"", "a.b\nx y\tz\"\0");
	PARSES("[a]\r\nb = x\r\n; c\r\n# d = e\r\nf", "a.b\nx\0a.f\0");
	PARSES("# [a]\n[b] # c\nd\n", "b.d\0");
}

static void
test_refused(void **state)
{
	static const char *const bad[] = {"[a", "[a]b c", "[a \"b]\n", "[a \"b\"x]", "[a b]",
		"[a_b]", "=x", "[a]b = \"x", "[a]b = \"x\ny\"", "[a]b = \\q", "[a]1 = x",
		"[a]b_c = x", "]", "[a \"x\\\n\"]"};
	CLEAN_BUF struct buf b = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (gitconfig_parse(bad[i], strlen(bad[i]), collect, &b) != -EBADMSG)
			fail_msg("taken: %s", bad[i]);
}

/* Cut at every byte, and too long: nothing is read or written beyond, the key's end stays. */
static void
test_bounds(void **state)
{
	CLEAN_BUF struct buf text = BUF_INIT, b = BUF_INIT;
	static char longer[20000];

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	buf_printf(&text, "[filter \"%s\"]\nsmudge = %s\n", longer, longer);
	assert_int_equal(gitconfig_parse(buf_str(&text), text.len, collect, &b), 0);
	assert_int_equal(b.len < GITCONFIG_KEY_MAX + GITCONFIG_VALUE_MAX, true);
	*strchr((char *)b.data, '\n') = '\0';
	assert_true(gitconfig_is_active((char *)b.data, "x"));
	for (size_t n = 0; n < text.len; n += n < 300 ? 1 : 997) {
		char *copy = xmalloc(n);

		memcpy(copy, text.data, n);
		buf_clear(&b);
		gitconfig_parse(copy, n, collect, &b);
		free(copy);
	}
}

static void
test_active(void **state)
{
	static const struct {
		const char *key, *value;
		bool active;
	} t[] = {
		{"core.hookspath", ".husky", true},
		{"core.fsmonitor", "./x", true},
		{"core.fsmonitor", "true", false},
		{"core.fsmonitor", NULL, false},
		{"core.sshcommand", "ssh -v", true},
		{"core.bare", "true", false},
		{"filter.lfs.smudge", "git-lfs smudge", true},
		{"filter.a.b.process", "x", true},
		{"filter.lfs.required", "true", false},
		{"diff.x.textconv", "x", true},
		{"diff.external", "x", true},
		{"diff.renames", "true", false},
		{"merge.x.driver", "x", true},
		{"merge.conflictstyle", "diff3", false},
		{"alias.st", "status", false},
		{"alias.st", "!sh", true},
		{"alias.st", "-c core.pager=x log", true},
		{"include.path", "x", true},
		{"includeif.gitdir:/x/.path", "x", true},
		{"url.ext::sh.insteadof", "https://x/", true},
		{"remote.origin.url", "https://x.test/y", false},
		{"remote.origin.url", "ext::sh -c x", true},
		{"remote.o.url", "-x", true},
		{"remote.o.uploadpack", "x", true},
		{"credential.helper", "!x", true},
		{"credential.https://x.test.helper", "store", true},
		{"gpg.program", "x", true},
		{"gpg.ssh.program", "x", true},
		{"submodule.a.update", "!x", true},
		{"submodule.a.update", "merge", false},
		{"pager.log", "x", true},
		{"pager.log", "false", false},
		{"branch.main.remote", "origin", false},
		{"user.name", "!x", false},
		{"corex.pager", "x", false},
		{"core", "x", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (gitconfig_is_active(t[i].key, t[i].value) != t[i].active)
			fail_msg("%s = %s", t[i].key, t[i].value);
}

/* Newer versions of git keep a tab inside a value, older ones make a blank of it. */
static void
blanks(struct buf *b)
{
	for (size_t i = 0; i < b->len; i++)
		if (b->data[i] == '\t' || b->data[i] == '\r')
			b->data[i] = ' ';
}

/* What git says of this text. */
static bool
ask_git(const char *path, struct buf *out)
{
	char *argv[] = {(char *)"git", (char *)"config", (char *)"--no-includes", (char *)"--file",
		(char *)path, (char *)"--list", (char *)"-z", NULL};

	return proc_run(argv, 10000, out, NULL) == 0;
}

/* Mostly well-formed lines: among settings that git refuses nothing else shows. */
static void
random_text(uint64_t seed, struct buf *out)
{
	static const char *const heads[] = {"[core]\n", "[a \"b\"]", "[a.C] ", "\t[Q \"x\\\"y\"]\n",
		"k", "hooksPath =", "s-1 = ", "# c\n", "B=", "b \t =", "\n", "\r\n", "[", "1"};
	static const char *const values[] = {"x", " ", "\t", "\"a ;b\"", "#", ";", "\\n", "\\\"",
		"\\\n", "\\\\", "=", "[", "]", "\r", "y z", "\xc3\xa9", "\"", "\\q"};

	for (size_t i = 0, n = hash_u64(seed, 0) % 6 + 1; i < n; i++) {
		uint64_t h = hash_u64(seed, i + 1);
		/* The last two of each are mostly bad. */
		size_t nheads = sizeof(heads) / sizeof(heads[0]) - (h % 8 == 0 ? 0 : 2);
		size_t nvalues = sizeof(values) / sizeof(values[0]) - (h % 16 == 1 ? 0 : 2);

		buf_append_str(out, heads[(h >> 8) % nheads]);
		if (strchr("kshBb", ((char *)out->data)[out->len - 1]) != NULL ||
			((char *)out->data)[out->len - 1] == '=')
			for (size_t k = 0; k < (h >> 16) % 6; k++)
				buf_append_str(out, values[hash_u64(h, k) % nvalues]);
		buf_append_str(out, "\n");
	}
}

/* Random settings: git and this parser see the same, or both refuse. */
static void
test_as_git(void **state)
{
	char path[] = "/tmp/paddock-gitconfig-XXXXXX";
	int fd = mkstemp(path), taken = 0;
	struct err e = {0};

	(void)state;
	close(fd);
	for (uint64_t seed = 1; seed <= 150; seed++) {
		CLEAN_BUF struct buf text = BUF_INIT, ours = BUF_INIT, gits = BUF_INIT;
		int r;
		bool ok;

		buf_append_str(&text, "[s]\n");
		random_text(seed, &text);
		assert_int_equal(
			io_write_file_atomic(AT_FDCWD, path, text.data, text.len, 0600, &e), 0);
		ok = ask_git(path, &gits);
		r = gitconfig_parse((char *)text.data, text.len, collect, &ours);
		blanks(&ours);
		blanks(&gits);
		if (ok != (r == 0) || (ok && (ours.len != gits.len ||
						     memcmp(ours.data, gits.data, ours.len) != 0)))
			fail_msg("seed %d: git %s, we %d, of:\n%s", (int)seed,
				ok ? "takes" : "refuses", r, buf_str(&text));
		taken += ok;
	}
	assert_true(taken > 40 && taken < 130);
	unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_active),
		cmocka_unit_test(test_as_git),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
