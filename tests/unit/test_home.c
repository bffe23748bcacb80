/* What goes into a sandbox's home: the archive, what a kit takes of the user's own, and what it
 * never does. */
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
#include <base/proc.h>
#include <kit/home.h>

/* ---- what looks like a secret ---- */

static const struct {
	const char *path, *content;
	bool secret;
} looks[] = {
	{".claude/CLAUDE.md", "Write tests first. Keep the task-list short.", false},
	{".claude/CLAUDE.md", "Never print an API key, token: it is secret.", false},
	{".claude/CLAUDE.md", "export ANTHROPIC_API_KEY=$(pass show anthropic/api-key)", false},
	{".claude/CLAUDE.md", "key: value-of-thirty-lowercase-letters-and-more", false},
	{".claude/CLAUDE.md", "sk-ant-...", false},
	{".claude/CLAUDE.md", "commit 0123456789abcdef0123456789abcdef01234567", false},
	{".claude/skills/tokens/SKILL.md", "how to count tokens", false},
	{".claude/skills/a/keyboard.md", "the keys are 1, 2, 3", false},
	{".claude/settings.json", "{\"model\": \"opus\", \"maxTokens\": 123456}", false},
	{".claude/.credentials.json", "{}", true},
	{".codex/auth.json", "{}", true},
	{".gemini/oauth_creds.json", "{}", true},
	{".claude/skills/x/.env", "A=1", true},
	{".claude/skills/x/.env.local", "A=1", true},
	{".claude/skills/x/server.PEM", "x", true},
	{".claude/skills/x/id_ed25519", "x", true},
	{"a", "x\n-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", true},
	{"a", "-----BEGIN RSA PRIVATE KEY-----", true},
	{"a", "-----BEGIN CERTIFICATE-----\nMIIB", false},
	{"a", "sk-ant-api03-AbCdEfGh0123456789_-xyz", true},
	{"a", "use sk-proj-AbCdEfGh0123456789 here", true},
	{"a", "(ghp_abcdefghijklmnopqrstuvwxyz0123456789)", true},
	{"a", "github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz", true},
	{"a", "AKIAIOSFODNN7EXAMPLE", true},
	{"a", "AIzaSyA0123456789abcdefghijklmnopqrstuv", true},
	{"a", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc123", true},
	{"a", "{\"apiKey\": \"0a1b2c3d4e5f6a7b8c9d0e1f\"}", true},
	{"a", "client-secret = '0a1b2c3d4e5f6a7b8c9d0e1f'", true},
	{"a", "MY_TOKEN=0a1b2c3d4e5f6a7b8c9d0e1f", true},
	{"a", "password: 0a1b2c3d4e5f6a7b8c9d0e1f", true},
};

static void
secrets_are_known(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(looks); i++) {
		const char *why =
			home_secret(looks[i].path, looks[i].content, strlen(looks[i].content));

		if ((why != NULL) != looks[i].secret)
			fail_msg("%s: '%s' is %s", looks[i].path, looks[i].content,
				why != NULL ? why : "taken");
	}
}

/* Cut at every byte: no read behind the end (for the sanitizers), and no key is found in a
 * beginning of one. */
static void
secrets_cut_anywhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(looks); i++)
		for (size_t n = 0; n < strlen(looks[i].content); n++) {
			CLEAN_FREE char *cut = xmalloc(n + 1);

			memcpy(cut, looks[i].content, n);
			if (!looks[i].secret)
				assert_null(home_secret(looks[i].path, cut, n));
			else
				home_secret(looks[i].path, cut, n);
		}
}

/* ---- the archive, as tar reads it ---- */

static int
set_up(void **state)
{
	char *folder = xstrdup("/tmp/paddock-test-home.XXXXXX");

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
put(const char *folder, const char *path, const char *content, mode_t mode)
{
	CLEAN_FREE char *file = xasprintf("%s/%s", folder, path);
	CLEAN_FREE char *parent = xstrndup(file, (size_t)(strrchr(file, '/') - file));
	CLEAN_CLOSE int fd = -1;
	struct err e = {0};

	if (io_mkdirs(parent, 0755, &e) < 0)
		fail_msg("%s", e.msg);
	fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (fd < 0 || io_write_full(fd, content, strlen(content), UINT64_MAX) < 0)
		fail_msg("'%s' cannot be written", file);
}

static void
add(struct home *h, const char *path, unsigned mode, const char *content)
{
	struct buf b = BUF_INIT;

	buf_append_str(&b, content);
	home_add(h, path, mode, &b);
}

static void
tar_reads_the_archive(void **state)
{
	CLEAN_HOME struct home h = {0};
	CLEAN_BUF struct buf archive = BUF_INIT, read = BUF_INIT, listed = BUF_INIT;
	CLEAN_FREE char *file = xasprintf("%s/a.tar", (char *)*state);
	CLEAN_FREE char *long_name = xasprintf("%0100d/%0100d", 1, 2);
	CLEAN_FREE char *too_long = xasprintf("%0130d", 1);
	CLEAN_FREE char *block = xmalloc(513);
	CLEAN_FREE char *expected = NULL;
	char *list[] = {(char *)"tar", (char *)"-tf", file, NULL};
	char *cat[] = {(char *)"tar", (char *)"-xOf", file, NULL};
	struct err e = {0};

	memset(block, 'x', 512);
	block[512] = '\0';
	add(&h, "a", 0644, "first\n");
	add(&h, "empty", 0600, "");
	add(&h, ".x/y/block", 0755, block);
	add(&h, long_name, 0644, "last\n");
	assert_int_equal(h.bytes, 6 + 512 + 5);
	if (home_archive(&h, &archive, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(archive.len % 512, 0);
	assert_int_equal(
		io_write_file_atomic(AT_FDCWD, file, archive.data, archive.len, 0600, &e), 0);
	if (proc_run(list, 10000, &listed, &e) < 0 || proc_run(cat, 10000, &read, &e) < 0)
		fail_msg("%s", e.msg);
	expected = xasprintf("a\nempty\n.x/y/block\n%s\n", long_name);
	assert_string_equal(buf_str(&listed), expected);
	free(expected);
	expected = xasprintf("first\n%slast\n", block);
	assert_string_equal(buf_str(&read), expected);
	add(&h, too_long, 0644, "");
	assert_int_equal(home_archive(&h, &archive, &e), -ENAMETOOLONG);
}

/* ---- the kit's own files ---- */

static const struct kit_vars vars = {.workspace = "/w"};

/* Those that wait for a credential come when it is there, the others once. */
static void
files_come_when_they_can(void **state)
{
	static const char text[] = "name: k\ncommand: [x]\ncredentials: [{name: npm}]\n"
				   "files: [{path: plain, content: a}, {path: key, mode: '0600', "
				   "content: '${CREDENTIAL:npm}'}]\n";
	CLEAN_KIT struct kit k = {0};
	CLEAN_HOME struct home first = {0}, later = {0};
	CLEAN_STRV struct strv written = {0};
	struct kit_vars with = vars;
	struct err e = {0};

	(void)state;
	assert_int_equal(kit_parse(text, strlen(text), &k, &e), 0);
	home_add_kit_files(&first, &k, &vars, &written);
	assert_int_equal(first.nfiles, 1);
	assert_string_equal(first.files[0].path, "plain");
	strv_add(&written, "plain");
	strv_setenv(&with.credentials, "npm", "npm_0");
	home_add_kit_files(&later, &k, &with, &written);
	assert_int_equal(later.nfiles, 1);
	assert_string_equal(later.files[0].path, "key");
	assert_int_equal(later.files[0].mode, 0600);
	assert_string_equal(buf_str(&later.files[0].content), "npm_0");
	strv_release(&with.credentials);
}

/* ---- the user's settings ---- */

static const char kit_text[] = "name: k\ncommand: [x]\n"
			       "files:\n"
			       "  - {path: ~/.x/settings.json, content: '{\"mode\": \"bypass\", "
			       "\"dir\": \"${WORKSPACE_JSON}\"}'}\n"
			       "settings:\n"
			       "  - ~/.x/NOTES.md\n"
			       "  - ~/.x/skills\n"
			       "  - path: ~/.x/settings.json\n"
			       "    keys: [model, mode]\n";

static const struct home_file *
find(const struct home *h, const char *path)
{
	for (size_t i = 0; i < h->nfiles; i++)
		if (strcmp(h->files[i].path, path) == 0)
			return &h->files[i];
	return NULL;
}

static bool
says(const struct strv *left, const char *path, const char *why)
{
	for (size_t i = 0; i < left->n; i++)
		if (strstr(left->v[i], path) != NULL && strstr(left->v[i], why) != NULL)
			return true;
	return false;
}

static void
what_the_kit_names_is_taken(void **state)
{
	CLEAN_KIT struct kit k = {0};
	CLEAN_HOME struct home h = {0};
	CLEAN_STRV struct strv left = {0};
	struct home_file *f;
	struct err e = {0};

	if (kit_parse(kit_text, strlen(kit_text), &k, &e) < 0)
		fail_msg("%s", e.msg);
	put(*state, ".x/NOTES.md", "mine", 0644);
	put(*state, ".x/history.jsonl", "not named", 0644);
	put(*state, ".x/skills/a/SKILL.md", "a", 0600);
	put(*state, ".x/skills/a/run.sh", "#!/bin/sh", 0755);
	put(*state, ".x/skills/.git/config", "[x]", 0644);
	put(*state, ".x/settings.json",
		"{\"model\": \"big\", \"mode\": \"ask\", \"env\": {\"KEY\": "
		"\"sk-ant-api03-AbCdEfGh0123456789\"}}",
		0600);
	if (home_add_settings(
		    &h, &k, *state, &(struct kit_vars){.workspace = "/w/\"p\""}, &left, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(left.n, 0);
	assert_int_equal(h.nfiles, 4);
	assert_string_equal(h.files[0].path, ".x/NOTES.md");
	assert_memory_equal(find(&h, ".x/NOTES.md")->content.data, "mine", 4);
	assert_int_equal(find(&h, ".x/skills/a/SKILL.md")->mode, 0644);
	assert_int_equal(find(&h, ".x/skills/a/run.sh")->mode, 0755);
	/* The kit's own value stays, what was not named does not come along. */
	f = (struct home_file *)find(&h, ".x/settings.json");
	assert_string_equal(buf_str(&f->content), "{\n  \"model\": \"big\",\n  \"mode\": "
						  "\"bypass\",\n  \"dir\": \"/w/\\\"p\\\"\"\n}");
}

static void
nothing_there_is_nothing_taken(void **state)
{
	CLEAN_KIT struct kit k = {0};
	CLEAN_HOME struct home h = {0};
	CLEAN_STRV struct strv left = {0};
	struct err e = {0};

	assert_int_equal(kit_parse(kit_text, strlen(kit_text), &k, &e), 0);
	assert_int_equal(home_add_settings(&h, &k, *state, &vars, &left, &e), 0);
	assert_int_equal(h.nfiles + left.n, 0);
	assert_int_equal(home_add_settings(&h, &k, "/nonexistent", &vars, &left, &e), -ENOENT);
}

static void
what_leads_elsewhere_or_is_secret_stays(void **state)
{
	CLEAN_KIT struct kit k = {0};
	CLEAN_HOME struct home h = {0};
	CLEAN_STRV struct strv left = {0};
	CLEAN_FREE char *secret = xasprintf("%s/outside", (char *)*state);
	CLEAN_FREE char *link = xasprintf("%s/.x/skills/link.md", (char *)*state);
	CLEAN_FREE char *link_dir = xasprintf("%s/.x/skills/folder", (char *)*state);
	CLEAN_FREE char *notes = xasprintf("%s/.x/NOTES.md", (char *)*state);
	CLEAN_FREE char *fifo = xasprintf("%s/.x/skills/fifo", (char *)*state);
	CLEAN_FREE char *large = xmalloc(HOME_FILE_MAX + 2);
	struct err e = {0};

	assert_int_equal(kit_parse(kit_text, strlen(kit_text), &k, &e), 0);
	memset(large, 'x', HOME_FILE_MAX + 1);
	large[HOME_FILE_MAX + 1] = '\0';
	put(*state, "outside", "outside", 0644);
	put(*state, ".x/skills/good.md", "good", 0644);
	put(*state, ".x/skills/large.md", large, 0644);
	put(*state, ".x/skills/.credentials.json", "{}", 0600);
	put(*state, ".x/skills/howto.md", "TOKEN=0a1b2c3d4e5f6a7b8c9d0e1f", 0644);
	put(*state, ".x/settings.json", "{\"model\": \"sk-ant-api03-AbCdEfGh0123456789\"}", 0600);
	assert_int_equal(symlink(secret, link), 0);
	assert_int_equal(symlink("..", link_dir), 0);
	assert_int_equal(symlink("skills/good.md", notes), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	if (home_add_settings(&h, &k, *state, &vars, &left, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(h.nfiles, 1);
	assert_non_null(find(&h, ".x/skills/good.md"));
	assert_int_equal(left.n, 8);
	assert_true(says(&left, "~/.x/NOTES.md", "symbolic link"));
	assert_true(says(&left, "link.md", "symbolic link"));
	assert_true(says(&left, "skills/folder", "symbolic link"));
	assert_true(says(&left, "fifo", "no file"));
	assert_true(says(&left, "large.md", "too large"));
	assert_true(says(&left, ".credentials.json", "name"));
	assert_true(says(&left, "howto.md", "looks like a key"));
	assert_true(says(&left, "settings.json", "looks like a key"));
}

static void
a_folder_that_is_a_link_is_left(void **state)
{
	CLEAN_KIT struct kit k = {0};
	CLEAN_HOME struct home h = {0};
	CLEAN_STRV struct strv left = {0};
	CLEAN_FREE char *link = xasprintf("%s/.x", (char *)*state);
	struct err e = {0};

	assert_int_equal(kit_parse(kit_text, strlen(kit_text), &k, &e), 0);
	put(*state, "real/NOTES.md", "mine", 0644);
	assert_int_equal(symlink("real", link), 0);
	assert_int_equal(home_add_settings(&h, &k, *state, &vars, &left, &e), 0);
	assert_int_equal(h.nfiles, 0);
	assert_true(says(&left, "~/.x/NOTES.md", "symbolic link"));
}

static void
too_much_is_an_error(void **state)
{
	CLEAN_KIT struct kit k = {0};
	CLEAN_HOME struct home h = {0}, less = {0};
	CLEAN_STRV struct strv left = {0};
	struct err e = {0};

	assert_int_equal(kit_parse(kit_text, strlen(kit_text), &k, &e), 0);
	for (int i = 0; i < HOME_FILES_MAX; i++) {
		CLEAN_FREE char *path = xasprintf(".x/skills/%03d", i);

		put(*state, path, "x", 0644);
	}
	if (home_add_settings(&less, &k, *state, &vars, &left, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(less.nfiles, HOME_FILES_MAX);
	put(*state, ".x/NOTES.md", "one more", 0644);
	assert_int_equal(home_add_settings(&h, &k, *state, &vars, &left, &e), -EFBIG);
	assert_non_null(strstr(e.msg, "more than 512 files or 8 MiB"));
}

/* Not its beginning, silently. */
static void
a_folder_of_too_many_folders_is_an_error(void **state)
{
	CLEAN_KIT struct kit k = {0};
	CLEAN_HOME struct home h = {0};
	CLEAN_STRV struct strv left = {0};
	struct err e = {0};

	assert_int_equal(kit_parse(kit_text, strlen(kit_text), &k, &e), 0);
	for (int i = 0; i < HOME_FILES_MAX + 1; i++) {
		CLEAN_FREE char *path = xasprintf("%s/.x/skills/%03d", (char *)*state, i);

		if (i == HOME_FILES_MAX)
			assert_int_equal(home_add_settings(&h, &k, *state, &vars, &left, &e), 0);
		assert_int_equal(io_mkdirs(path, 0755, &e), 0);
	}
	assert_int_equal(home_add_settings(&h, &k, *state, &vars, &left, &e), -EFBIG);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(secrets_are_known),
		cmocka_unit_test(secrets_cut_anywhere), cmocka_unit_test(files_come_when_they_can),
		cmocka_unit_test_setup_teardown(tar_reads_the_archive, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_the_kit_names_is_taken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_there_is_nothing_taken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			what_leads_elsewhere_or_is_secret_stays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_folder_that_is_a_link_is_left, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_folder_of_too_many_folders_is_an_error, set_up, tear_down),
		cmocka_unit_test_setup_teardown(too_much_is_an_error, set_up, tear_down)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
