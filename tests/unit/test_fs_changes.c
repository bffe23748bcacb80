/*
 * The record of what the guest changes that the host may run later: attack rows G2, G4, G5, G7 and
 * G11. Beside each what is not in it: ordinary files, what was put back, what the host does itself.
 */
#include <linux/fs.h>

#include <wire/change.h>

#include "../../src/fs/watchlist.h"
#include "fake_kernel.h"

#define ROOT FUSE_ROOT_ID

struct world {
	struct fk k; /* first: fk_teardown takes it */
	int sock;    /* the supervisor's end */
	struct change told[700];
	size_t n;
};

static void
serve(int stream, int changes, const struct fk *k)
{
	struct strv all = {0};
	struct fs_options o = {.stream_fd = stream,
		.root_fd = k->rootfd,
		.workspaces = &all,
		.changes_fd = changes};

	strv_add(&all, "/w");
	fk_serve_with(&o);
}

static int
setup(void **state)
{
	static const char *const dirs[] = {"w", "w/.git", "w/.git/objects", "w/.git/refs",
		"w/.git/hooks", "w/.vscode", "w/src", "w/node_modules", "w/tools", "w/tools/hooks"};
	struct world *w = calloc(1, sizeof(*w));
	struct fk *k = &w->k;
	int sv[2], ch[2];

	*state = w;
	fk_folders(k);
	fk_host_dirs(k, dirs, ARRAY_LEN(dirs));
	fk_host_file(k, "w/.git/HEAD", "ref: refs/heads/main\n");
	fk_host_file(k, "w/.git/config",
		"[core]\n\tbare = false\n\tpager = less\n\thooksPath = ./tools/x/../hooks\n"
		"[include]\n\tpath = ../team.conf\n");
	fk_host_file(k, "w/.vscode/settings.json", "{}");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ch), 0);
	k->pid = fork();
	if (k->pid == 0) {
		close(sv[0]);
		close(ch[0]);
		serve(sv[1], ch[1], k);
	}
	close(sv[1]);
	close(ch[1]);
	k->sock = sv[0];
	w->sock = ch[0];
	return fk_init(k);
}

static void
forget_told(struct world *w)
{
	for (size_t i = 0; i < w->n; i++)
		change_release(&w->told[i]);
	w->n = 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;

	forget_told(w);
	close(w->sock);
	return fk_teardown(state);
}

/* One packet within the limit: its type. */
static uint8_t
packet(struct world *w)
{
	struct pollfd p = {w->sock, POLLIN, 0};
	uint8_t data[8192];
	ssize_t n;

	assert_int_equal(poll(&p, 1, FK_WAIT_MS), 1);
	n = recv(w->sock, data, sizeof(data), 0);
	assert_true(n > 0);
	if (data[0] == FS_CHANGE) {
		assert_true(w->n < ARRAY_LEN(w->told));
		assert_int_equal(change_decode(data + 1, (size_t)n - 1, &w->told[w->n]), 0);
		w->n++;
	}
	return data[0];
}

/* What is told from the last time up to now. */
static void
sync_changes(struct world *w)
{
	const uint8_t ask = FS_SYNC;

	forget_told(w);
	assert_int_equal(send(w->sock, &ask, 1, 0), 1);
	while (packet(w) != FS_SYNCED)
		;
}

static const struct change *
told(const struct world *w, const char *path, const char *key)
{
	const struct change *found = NULL;

	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->told[i].path, path) == 0 && strcmp(w->told[i].key, key) == 0)
			found = &w->told[i];
	return found;
}

static void
is_told(const struct world *w, const char *path, const char *key, enum change_what what)
{
	const struct change *c = told(w, path, key);

	if (c == NULL)
		fail_msg("nothing of %s %s", path, key);
	assert_int_equal(c->what, what);
}

/* As an editor or a shell does it: made or cut to nothing, then written. */
static void
put(struct fk *k, const char *dir, const char *name, const char *text)
{
	uint64_t d = fk_walk(k, dir);
	int64_t id = fk_lookup(k, d, name), fh;
	struct fk_made f;

	if (id > 0) {
		fh = fk_open(k, (uint64_t)id, O_WRONLY | O_TRUNC);
		assert_true(fh >= 0);
		f = (struct fk_made){(uint64_t)id, (uint64_t)fh};
	} else {
		assert_int_equal(fk_create(k, d, name, O_WRONLY, 0644, &f), 0);
	}
	assert_int_equal(fk_write(k, f.id, f.fh, 0, text, O_WRONLY), strlen(text));
	assert_int_equal(fk_release(k, f.id, f.fh), 0);
}

/* Created when absent, changed, put back, removed. */
static void
test_files(void **state)
{
	struct world *w = *state;
	struct fk *k = &w->k;

	put(k, "w", ".mcp.json", "{}");
	put(k, "w", "AGENTS.md", "obey");
	put(k, "w/.vscode", "tasks.json", "{}");
	put(k, "w/.vscode", "settings.json", "{\"x\":1}");
	put(k, "w", "main.c", "int main;");
	put(k, "w", "Makefile", "all:");
	assert_int_equal(fk_mkdir(k, fk_walk(k, "w"), ".claude", 0755), 0);
	put(k, "w/.claude", "settings.json", "{\"hooks\":{}}");
	sync_changes(w);
	is_told(w, "/w/.mcp.json", "", CHANGE_ADDED);
	is_told(w, "/w/AGENTS.md", "", CHANGE_ADDED);
	is_told(w, "/w/.vscode/tasks.json", "", CHANGE_ADDED);
	is_told(w, "/w/.vscode/settings.json", "", CHANGE_MODIFIED);
	is_told(w, "/w/.claude/settings.json", "", CHANGE_ADDED);
	assert_int_equal(w->n, 5);
	assert_int_equal(told(w, "/w/.mcp.json", "")->kind, CHANGE_AGENT);
	sync_changes(w);
	assert_int_equal(w->n, 0);
	put(k, "w/.vscode", "settings.json", "{}");
	assert_int_equal(fk_name(k, FUSE_UNLINK, fk_walk(k, "w"), ".mcp.json"), 0);
	sync_changes(w);
	is_told(w, "/w/.vscode/settings.json", "", CHANGE_NONE);
	is_told(w, "/w/.mcp.json", "", CHANGE_NONE);
	assert_int_equal(fk_name(k, FUSE_UNLINK, fk_walk(k, "w/.vscode"), "settings.json"), 0);
	sync_changes(w);
	is_told(w, "/w/.vscode/settings.json", "", CHANGE_REMOVED);
}

/* Without being asked, some moments later. */
static void
test_by_itself(void **state)
{
	struct world *w = *state;

	put(&w->k, "w", ".envrc", "export A=1");
	assert_int_equal(packet(w), FS_CHANGE);
	is_told(w, "/w/.envrc", "", CHANGE_ADDED);
}

/* What the host does itself is its own business. */
static void
test_host(void **state)
{
	struct world *w = *state;

	fk_host_file(&w->k, "w/.envrc", "host");
	fk_host_file(&w->k, "w/.vscode/settings.json", "host");
	fk_walk(&w->k, "w/.envrc");
	assert_true(fk_open(&w->k, fk_walk(&w->k, "w/.vscode/settings.json"), O_RDONLY) >= 0);
	sync_changes(w);
	assert_int_equal(w->n, 0);
}

static void
test_git_settings(void **state)
{
	struct world *w = *state;
	struct fk *k = &w->k;
	uint64_t git = fk_walk(k, "w/.git");

	put(k, "w/.git", "config",
		"[core]\n\tbare = true\n\tpager = less\n\tfsmonitor = ./evil\n"
		"[alias]\n\tst = status\n\tx = !sh\n");
	sync_changes(w);
	is_told(w, "/w/.git/config", "core.fsmonitor", CHANGE_ADDED);
	assert_string_equal(told(w, "/w/.git/config", "core.fsmonitor")->value, "./evil");
	is_told(w, "/w/.git/config", "alias.x", CHANGE_ADDED);
	assert_true(told(w, "/w/.git/config", "core.pager") == NULL ||
		    told(w, "/w/.git/config", "core.pager")->what == CHANGE_NONE);
	assert_null(told(w, "/w/.git/config", "core.bare"));
	assert_null(told(w, "/w/.git/config", "alias.st"));
	/* As git writes it: a lock file, renamed. */
	put(k, "w/.git", "config.lock", "[core]\n\tpager = ./evil\n");
	assert_int_equal(fk_rename(k, git, "config.lock", git, "config", 0), 0);
	sync_changes(w);
	is_told(w, "/w/.git/config", "core.pager", CHANGE_MODIFIED);
	is_told(w, "/w/.git/config", "core.fsmonitor", CHANGE_NONE);
	put(k, "w/.git", "config", "[core]\n\tpager = \"less");
	sync_changes(w);
	is_told(w, "/w/.git/config", "core.pager", CHANGE_REMOVED);
	is_told(w, "/w/.git/config", "(not understood by git)", CHANGE_ADDED);
	/* In its place a link to a file of one's own. */
	assert_int_equal(fk_name(k, FUSE_UNLINK, git, "config"), 0);
	assert_int_equal(fk_call(k, FUSE_SYMLINK, git, NULL, 0, "config\0../evil",
				 sizeof("config\0../evil")),
		0);
	sync_changes(w);
	is_told(w, "/w/.git/config", "(a symlink)", CHANGE_ADDED);
	assert_string_equal(told(w, "/w/.git/config", "(a symlink)")->value, "../evil");
	assert_int_equal(fk_name(k, FUSE_UNLINK, git, "config"), 0);
	put(k, "w", ".gitmodules", "[submodule \"a\"]\n\tpath = a\n\turl = ../a\n\tupdate = !sh\n");
	sync_changes(w);
	is_told(w, "/w/.gitmodules", "submodule.a.update", CHANGE_ADDED);
	assert_null(told(w, "/w/.gitmodules", "submodule.a.url"));
}

/* More than can be kept one by one is still seen to change. */
static void
test_many_settings(void **state)
{
	struct world *w = *state;
	CLEAN_BUF struct buf b = BUF_INIT;

	buf_append_str(&b, "[alias]\n");
	for (int i = 0; i < 200; i++)
		buf_printf(&b, "x%d = !a\nsame = !%d\n", i, i);
	put(&w->k, "w/.git", "config", buf_str(&b));
	sync_changes(w);
	is_told(w, "/w/.git/config", "(more)", CHANGE_ADDED);
	is_told(w, "/w/.git/config", "alias.same", CHANGE_ADDED);
	buf_printf(&b, "same = !evil\nlast = !evil\n");
	put(&w->k, "w/.git", "config", buf_str(&b));
	CLEAN_FREE char *more = strdup(told(w, "/w/.git/config", "(more)")->value);
	CLEAN_FREE char *same = strdup(told(w, "/w/.git/config", "alias.same")->value);
	sync_changes(w);
	assert_string_not_equal(told(w, "/w/.git/config", "(more)")->value, more);
	assert_string_not_equal(told(w, "/w/.git/config", "alias.same")->value, same);
}

/* A repository under another name, and one that is made of parts. */
static void
test_git_elsewhere(void **state)
{
	struct world *w = *state;
	struct fk *k = &w->k;
	uint64_t dir = fk_walk(k, "w"), bare;

	assert_int_equal(fk_mkdir(k, dir, "bare", 0755), 0);
	bare = fk_walk(k, "w/bare");
	assert_int_equal(fk_mkdir(k, bare, "refs", 0755), 0);
	put(k, "w/bare", "HEAD", "ref: refs/heads/main\n");
	put(k, "w/bare", "config", "[core]\n\tsshCommand = ./evil\n");
	put(k, "w/src", "config", "[core]\n\tsshCommand = ./evil\n");
	sync_changes(w);
	is_told(w, "/w/bare/config", "core.sshcommand", CHANGE_ADDED);
	assert_int_equal(w->n, 1);
	/* The settings first, then a repository around them. */
	assert_int_equal(fk_mkdir(k, fk_walk(k, "w/src"), "refs", 0755), 0);
	assert_int_equal(fk_mkdir(k, fk_walk(k, "w/src"), "objects", 0755), 0);
	sync_changes(w);
	is_told(w, "/w/src/config", "core.sshcommand", CHANGE_ADDED);
	/* mv .git .git2, with one of one's own in its place */
	assert_int_equal(fk_rename(k, dir, ".git", dir, ".git2", 0), 0);
	assert_int_equal(fk_rename(k, dir, "bare", dir, ".git", 0), 0);
	sync_changes(w);
	is_told(w, "/w/.git/config", "core.sshcommand", CHANGE_ADDED);
	is_told(w, "/w/.git/config", "core.pager", CHANGE_REMOVED);
}

/* Files and folders that the repository's settings name, as the host had them. */
static void
test_named(void **state)
{
	struct world *w = *state;
	struct fk *k = &w->k;

	put(k, "w/tools/hooks", "pre-commit", "evil");
	put(k, "w/tools", "other", "x");
	put(k, "w", "team.conf", "[alias]\n\tx = !evil\n\ty = log\n");
	sync_changes(w);
	is_told(w, "/w/tools/hooks/pre-commit", "", CHANGE_ADDED);
	is_told(w, "/w/team.conf", "alias.x", CHANGE_ADDED);
	assert_int_equal(w->n, 2);
}

static void
test_moved_folders(void **state)
{
	struct world *w = *state;
	struct fk *k = &w->k;
	uint64_t dir = fk_walk(k, "w");

	assert_int_equal(fk_mkdir(k, dir, "x", 0755), 0);
	put(k, "w/x", "tasks.json", "{\"runOn\":\"folderOpen\"}");
	assert_int_equal(fk_rename(k, dir, ".vscode", dir, "y", 0), 0);
	assert_int_equal(fk_rename(k, dir, "x", dir, ".vscode", 0), 0);
	sync_changes(w);
	is_told(w, "/w/.vscode/tasks.json", "", CHANGE_ADDED);
	is_told(w, "/w/.vscode/settings.json", "", CHANGE_REMOVED);
	assert_int_equal(fk_rename(k, dir, ".vscode", dir, "y", RENAME_EXCHANGE), 0);
	sync_changes(w);
	is_told(w, "/w/.vscode/tasks.json", "", CHANGE_NONE);
	is_told(w, "/w/.vscode/settings.json", "", CHANGE_NONE);
}

static void
test_refused(void **state)
{
	struct world *w = *state;
	uint64_t hooks = fk_walk(&w->k, "w/.git/hooks");
	struct fk_made f;

	assert_int_equal(fk_create(&w->k, hooks, "pre-commit", O_WRONLY, 0755, &f), -EPERM);
	assert_int_equal(fk_create(&w->k, hooks, "pre-commit", O_WRONLY, 0755, &f), -EPERM);
	assert_int_equal(fk_create(&w->k, hooks, "update.sample", O_WRONLY, 0755, &f), 0);
	sync_changes(w);
	is_told(w, "/w/.git/hooks/pre-commit", "", CHANGE_REFUSED);
	assert_int_equal(w->told[0].times, 2);
	assert_int_equal(w->n, 1);
}

/* The list is bounded, and says so. */
static void
test_many(void **state)
{
	struct world *w = *state;
	uint64_t src = fk_walk(&w->k, "w/src");
	char name[32];
	bool lost = false;

	for (int i = 0; i < 600; i++) {
		struct fk_made f;

		snprintf(name, sizeof(name), "%d.code-workspace", i);
		assert_int_equal(fk_create(&w->k, src, name, O_WRONLY, 0644, &f), 0);
		assert_int_equal(fk_release(&w->k, f.id, f.fh), 0);
	}
	/* Some was told by itself already, and the pipe may be full for a moment. */
	size_t total = 0;
	const uint8_t ask = FS_SYNC;
	assert_int_equal(send(w->sock, &ask, 1, 0), 1);
	while (packet(w) != FS_SYNCED) {
		lost |= w->n > 0 && w->told[w->n - 1].what == CHANGE_LOST;
		total++;
	}
	assert_true(lost);
	assert_int_equal(total, 501);
}

static void
test_watchlist(void **state)
{
	static const struct {
		const char *path;
		enum change_kind kind;
		bool settings;
	} t[] = {
		{"/w/.git/config", CHANGE_GIT, true},
		{"/w/.GIT/Config", CHANGE_GIT, true},
		{"/w/a/.git/config.worktree", CHANGE_GIT, true},
		{"/w/.git/hooks/pre-commit", CHANGE_HOOK, false},
		{"/w/.git/hooks/pre-commit.sample", 0, false},
		{"/w/.git/hooks", CHANGE_HOOK, false},
		{"/w/.git/index", 0, false},
		{"/w/.git/refs/heads/hooks", 0, false},
		{"/w/.vscode/tasks.json", CHANGE_EDITOR, false},
		{"/w/.vscode", CHANGE_EDITOR, false},
		{"/w/.VSCode/x/y", CHANGE_EDITOR, false},
		{"/w/a.code-workspace", CHANGE_EDITOR, false},
		{"/w/a.code-workspace/b", 0, false},
		{"/w/sub/.envrc", CHANGE_SHELL, false},
		{"/w/.envrc/x", 0, false},
		{"/w/.cargo/config.toml", CHANGE_SHELL, false},
		{"/w/cargo/config.toml", 0, false},
		{"/w/claude.md", CHANGE_AGENT, false},
		{"/w/.github/copilot-instructions.md", CHANGE_AGENT, false},
		{"/w/.github/workflows/x.yml", 0, false},
		{"/w/node_modules/x/.vscode/settings.json", 0, false},
		{"/w/.vscode/node_modules/x", 0, false},
		{"/w/package.json", 0, false},
		{"/w/Makefile", 0, false},
		{"/", 0, false},
		{"", 0, false},
	};
	bool settings;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		if (watchlist_find(t[i].path, &settings) != t[i].kind || settings != t[i].settings)
			fail_msg("%s", t[i].path);
}

/* Cut at every byte, each byte another: refused or whole. */
static void
test_packets(void **state)
{
	const struct change c = {CHANGE_GIT, CHANGE_ADDED, (char *)"/w/.git/config",
		(char *)"core.pager", (char *)"x", 1700000000, 3};
	CLEAN_BUF struct buf b = BUF_INIT;
	struct change d;

	(void)state;
	change_encode(&c, &b);
	assert_int_equal(change_decode(b.data, b.len, &d), 0);
	assert_int_equal(d.kind, CHANGE_GIT);
	assert_int_equal(d.times, 3);
	assert_string_equal(d.key, "core.pager");
	change_release(&d);
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *copy = malloc(n + 1);

		memcpy(copy, b.data, n);
		if (change_decode(copy, n, &d) == 0)
			change_release(&d);
		free(copy);
		b.data[n] ^= 0x81;
		if (change_decode(b.data, b.len, &d) == 0)
			change_release(&d);
		b.data[n] ^= 0x81;
	}
}

static void
say(const struct world *w, uint8_t what)
{
	assert_int_equal(send(w->sock, &what, 1, 0), 1);
}

/* Frozen it answers nobody; what was asked meanwhile is answered when it goes on. */
static void
test_frozen(void **state)
{
	struct world *w = *state;
	struct fk *k = &w->k;
	struct fk_made f;
	struct pollfd p = {k->sock, POLLIN, 0};

	assert_int_equal(fk_create(k, fk_walk(k, "w"), "file", O_RDWR, 0644, &f), 0);
	say(w, FS_FREEZE);
	while (packet(w) != FS_FROZEN)
		;
	fk_send(k, FUSE_GETATTR, f.id, FK_IN(fuse_getattr_in, 0), NULL, 0);
	assert_int_equal(poll(&p, 1, 300), 0);
	say(w, FS_THAW);
	assert_int_equal(fk_answer(k), 0);
	sync_changes(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watchlist),
		cmocka_unit_test(test_packets),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_by_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_git_settings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_settings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_git_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_named, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moved_folders, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_frozen, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
