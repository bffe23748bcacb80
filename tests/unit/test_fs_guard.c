/*
 * What the guest may not leave for git on the host to run: attack rows G1, G4, G11 and F14 of the
 * fs role. Beside each attack the same request where it is harmless, or allowed.
 */
#include <linux/fs.h>

#include "../../src/fs/hookrules.h"
#include "fake_kernel.h"

#define ROOT FUSE_ROOT_ID

static void
serve(int sock, const struct fk *k, bool allow)
{
	struct strv all = {0};
	struct fs_options o = {
		.stream_fd = sock, .root_fd = k->rootfd, .workspaces = &all, .allow_hooks = allow};

	strv_add(&all, "/w");
	fk_serve_with(&o);
}

static void
host_hook(const struct fk *k, const char *path)
{
	fk_host_file(k, path, "host");
	assert_int_equal(fchmodat(k->rootfd, path, 0755, 0), 0);
}

/* /w: a repository with a hook that has a second name, a submodule's, and linked hooks. /bare. */
static int
setup_with(void **state, bool allow)
{
	static const char *const dirs[] = {"w", "w/.git", "w/.git/objects", "w/.git/refs",
		"w/.git/hooks", "w/.git/modules", "w/.git/modules/lib",
		"w/.git/modules/lib/objects", "w/.git/modules/lib/refs", "w/tools", "bare",
		"bare/objects", "bare/refs", "bare/hooks", "w/src", "w/src/hooks"};
	struct fk *k = calloc(1, sizeof(*k));
	int sv[2];

	*state = k;
	fk_folders(k);
	fk_host_dirs(k, dirs, ARRAY_LEN(dirs));
	fk_host_file(k, "w/.git/HEAD", "ref: refs/heads/main\n");
	fk_host_file(k, "w/.git/modules/lib/HEAD", "ref: refs/heads/main\n");
	fk_host_file(k, "bare/HEAD", "ref: refs/heads/main\n");
	host_hook(k, "w/.git/hooks/pre-commit");
	host_hook(k, "w/.git/hooks/x.sample");
	host_hook(k, "bare/hooks/update");
	host_hook(k, "w/tools/pre-push");
	fk_host_file(k, "w/f", "f");
	assert_int_equal(linkat(k->rootfd, "w/.git/hooks/pre-commit", k->rootfd, "w/twin", 0), 0);
	assert_int_equal(symlinkat("../../../tools", k->rootfd, "w/.git/modules/lib/hooks"), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	k->pid = fork();
	if (k->pid == 0) {
		close(sv[0]);
		serve(sv[1], k, allow);
	}
	close(sv[1]);
	k->sock = sv[0];
	return fk_init(k);
}

static int
setup(void **state)
{
	return setup_with(state, false);
}

static int
setup_allowed(void **state)
{
	return setup_with(state, true);
}

static int
create(struct fk *k, uint64_t dir, const char *name, uint32_t mode)
{
	struct fk_made f;
	int r = fk_create(k, dir, name, O_WRONLY, mode, &f);

	if (r == 0)
		fk_release(k, f.id, f.fh);
	return r;
}

static int
symlink_to(struct fk *k, uint64_t dir, const char *name, const char *text)
{
	char both[300];
	int n = snprintf(both, sizeof(both), "%s%c%s", name, 0, text);

	return fk_call(k, FUSE_SYMLINK, dir, NULL, 0, both, (size_t)n + 1);
}

static int
hard_link(struct fk *k, uint64_t old, uint64_t dir, const char *name)
{
	return fk_call(k, FUSE_LINK, dir, FK_IN(fuse_link_in, old), name, strlen(name) + 1);
}

static int
set(struct fk *k, uint64_t id, uint32_t what, uint32_t mode)
{
	return fk_call(k, FUSE_SETATTR, id,
		FK_IN(fuse_setattr_in, .valid = what, .mode = mode, .atimensec = 1), NULL, 0);
}

static int
open_for(struct fk *k, uint64_t id, uint32_t flags)
{
	int64_t fh = fk_open(k, id, flags);

	if (fh >= 0)
		fk_release(k, id, (uint64_t)fh);
	return fh < 0 ? (int)fh : 0;
}

/* No hook comes into being, by any request that makes a name. */
static void
test_no_new_hook(void **state)
{
	static const char *const folders[] = {"w/.git/hooks", "bare/hooks", "w/tools"};
	struct fk *k = *state;
	uint64_t f = fk_walk(k, "w/f"), w = fk_walk(k, "w");

	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		uint64_t hooks = fk_walk(k, folders[i]);

		assert_int_equal(create(k, hooks, "post-commit", 0755), -EPERM);
		assert_int_equal(create(k, hooks, "post-commit", 0644), -EPERM);
		assert_int_equal(create(k, hooks, "helper.sh", 0755), -EPERM);
		assert_int_equal(symlink_to(k, hooks, "post-commit", "../../f"), -EPERM);
		assert_int_equal(hard_link(k, f, hooks, "post-commit"), -EPERM);
		assert_int_equal(fk_rename(k, w, "f", hooks, "post-commit", 0), -EPERM);
		assert_int_equal(fk_mkdir(k, hooks, "pre-commit.d", 0755), -EPERM);
		assert_int_equal(
			fk_call(k, FUSE_MKNOD, hooks, FK_IN(fuse_mknod_in, .mode = S_IFREG | 0755),
				"post-commit", sizeof("post-commit")),
			-EPERM);
		/* Control: what git init copies, executable as it is. */
		assert_int_equal(create(k, hooks, "post-commit.sample", 0755), 0);
		assert_int_equal(
			fk_rename(k, hooks, "post-commit.sample", hooks, "post-commit", 0), -EPERM);
		assert_int_equal(fk_name(k, FUSE_UNLINK, hooks, "post-commit.sample"), 0);
	}
	/* Control: in a folder that only is called so. */
	assert_int_equal(create(k, fk_walk(k, "w/src/hooks"), "post-commit", 0755), 0);
	assert_int_equal(create(k, w, "post-commit", 0755), 0);
}

/* Those that are there are not changed, by whatever name. */
static void
test_no_changed_hook(void **state)
{
	static const char *const names[] = {
		"w/.git/hooks/pre-commit", "w/twin", "bare/hooks/update", "w/tools/pre-push"};
	struct fk *k = *state;
	uint64_t w = fk_walk(k, "w");

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		uint64_t id = fk_walk(k, names[i]);

		assert_int_equal(open_for(k, id, O_WRONLY), -EPERM);
		assert_int_equal(open_for(k, id, O_RDWR), -EPERM);
		assert_int_equal(open_for(k, id, O_RDONLY | O_TRUNC), -EPERM);
		assert_int_equal(set(k, id, FATTR_SIZE, 0), -EPERM);
		assert_int_equal(set(k, id, FATTR_MODE, 0755), -EPERM);
		assert_int_equal(hard_link(k, id, w, "alias"), -EPERM);
		/* Control */
		assert_int_equal(open_for(k, id, O_RDONLY), 0);
		assert_int_equal(set(k, id, FATTR_ATIME, 0), 0);
		fk_host_is(k, names[i], "host");
	}
	/* Swapped with another file. */
	assert_int_equal(
		fk_rename(k, fk_walk(k, "w/.git/hooks"), "pre-commit", w, "f", RENAME_EXCHANGE),
		-EPERM);
	assert_int_equal(fk_rename(k, w, "f", fk_walk(k, "bare/hooks"), "update", 0), -EPERM);
	/* The one that lost its name is still the hook's other name. */
	uint64_t twin = fk_walk(k, "w/twin");
	assert_int_equal(fk_name(k, FUSE_UNLINK, w, "twin"), 0);
	assert_int_equal(open_for(k, twin, O_WRONLY), -EPERM);
	/* Control: samples, and files elsewhere. */
	assert_int_equal(open_for(k, fk_walk(k, "w/.git/hooks/x.sample"), O_WRONLY), 0);
	assert_int_equal(open_for(k, fk_walk(k, "w/f"), O_WRONLY), 0);
	assert_int_equal(set(k, fk_walk(k, "w/f"), FATTR_MODE, 0755), 0);
	/* A repository may be deleted. */
	assert_int_equal(fk_name(k, FUSE_UNLINK, fk_walk(k, "w/.git/hooks"), "pre-commit"), 0);
}

/* Whatever is moved where, in whatever order a repository is put together. */
static void
test_moves(void **state)
{
	struct fk *k = *state;
	uint64_t w = fk_walk(k, "w"), git = fk_walk(k, "w/.git"), id;

	/* mv .git .git2; mkdir .git */
	id = fk_walk(k, "w/.git/hooks/pre-commit");
	assert_int_equal(fk_rename(k, w, ".git", w, ".git2", 0), 0);
	assert_int_equal(open_for(k, id, O_WRONLY), -EPERM);
	assert_int_equal(create(k, fk_walk(k, "w/.git2/hooks"), "pre-push", 0755), -EPERM);
	assert_int_equal(fk_mkdir(k, w, ".git", 0755), 0);
	assert_int_equal(fk_mkdir(k, fk_walk(k, "w/.git"), "hooks", 0755), 0);
	assert_int_equal(create(k, fk_walk(k, "w/.git/hooks"), "pre-push", 0755), -EPERM);
	assert_int_equal(fk_name(k, FUSE_RMDIR, fk_walk(k, "w/.git"), "hooks"), 0);
	assert_int_equal(fk_name(k, FUSE_RMDIR, w, ".git"), 0);
	assert_int_equal(fk_rename(k, w, ".git2", w, ".git", 0), 0);
	/* A git folder that is none for a while keeps its hooks as they are. */
	assert_int_equal(fk_rename(k, git, "objects", w, "o", 0), 0);
	assert_int_equal(fk_rename(k, git, "hooks", w, "h", 0), 0);
	assert_int_equal(open_for(k, fk_walk(k, "w/h/pre-commit"), O_WRONLY), -EPERM);
	assert_int_equal(fk_rename(k, w, "h", git, "hooks", 0), 0);
	assert_int_equal(fk_rename(k, w, "o", git, "objects", 0), 0);
	/* hooks of one's own, moved or linked to where they would run. */
	assert_int_equal(fk_name(k, FUSE_UNLINK, fk_walk(k, "w/.git/hooks"), "pre-commit"), 0);
	assert_int_equal(fk_rename(k, git, "hooks", git, "old", 0), 0);
	assert_int_equal(fk_mkdir(k, w, "mine", 0755), 0);
	assert_int_equal(create(k, fk_walk(k, "w/mine"), "pre-commit", 0755), 0);
	assert_int_equal(fk_rename(k, w, "mine", git, "hooks", 0), -EPERM);
	assert_int_equal(symlink_to(k, git, "hooks", "../mine"), -EPERM);
	assert_int_equal(symlink_to(k, w, "hooks", "mine"), 0); /* control */
	assert_int_equal(fk_rename(k, w, "hooks", git, "hooks", 0), -EPERM);
	assert_int_equal(set(k, fk_walk(k, "w/mine/pre-commit"), FATTR_MODE, 0644), 0);
	assert_int_equal(fk_rename(k, w, "mine", git, "hooks", 0), 0); /* control: nothing to run */
	assert_int_equal(set(k, fk_walk(k, "w/.git/hooks/pre-commit"), FATTR_MODE, 0755), -EPERM);
}

/* hooks first, then what makes a git folder of the one around them. */
static void
test_built_around_hooks(void **state)
{
	struct fk *k = *state;
	uint64_t w = fk_walk(k, "w"), x, y;

	assert_int_equal(fk_mkdir(k, w, "x", 0755), 0);
	x = fk_walk(k, "w/x");
	assert_int_equal(fk_mkdir(k, x, "hooks", 0755), 0);
	assert_int_equal(create(k, fk_walk(k, "w/x/hooks"), "pre-commit", 0755), 0);
	assert_int_equal(create(k, x, "HEAD", 0644), 0);
	assert_int_equal(fk_mkdir(k, x, "refs", 0755), 0);
	assert_int_equal(fk_mkdir(k, x, "objects", 0755), -EPERM);
	assert_int_equal(create(k, x, "objects", 0755), -EPERM);
	assert_int_equal(symlink_to(k, x, "objects", "../.git/objects"), -EPERM);
	assert_int_equal(fk_mkdir(k, w, "o", 0755), 0);
	assert_int_equal(fk_rename(k, w, "o", x, "objects", 0), -EPERM);
	/* Prepared elsewhere and given the name. */
	assert_int_equal(fk_rename(k, w, ".git", w, "away", 0), 0);
	assert_int_equal(fk_rename(k, w, "x", w, ".git", 0), 0);
	assert_int_equal(fk_mkdir(k, x, "objects", 0755), -EPERM);
	/* Control: without an executable hook; then none can be had. */
	assert_int_equal(fk_name(k, FUSE_UNLINK, fk_walk(k, "w/.git/hooks"), "pre-commit"), 0);
	assert_int_equal(fk_mkdir(k, x, "objects", 0755), 0);
	assert_int_equal(create(k, fk_walk(k, "w/.git/hooks"), "pre-commit", 0755), -EPERM);

	/* A hook's other name outside, for when the guest's kernel has forgotten the first. */
	assert_int_equal(fk_mkdir(k, w, "z", 0755), 0);
	assert_int_equal(fk_mkdir(k, fk_walk(k, "w/z"), "hooks", 0755), 0);
	assert_int_equal(create(k, fk_walk(k, "w/z/hooks"), "pre-push", 0644), 0);
	assert_int_equal(hard_link(k, fk_walk(k, "w/z/hooks/pre-push"), w, "other"), 0);
	assert_int_equal(fk_mkdir(k, fk_walk(k, "w/z"), "refs", 0755), 0);
	assert_int_equal(fk_mkdir(k, fk_walk(k, "w/z"), "objects", 0755), 0);
	fk_forget(k, fk_walk(k, "w/z/hooks/pre-push"), 1000);
	assert_int_equal(set(k, fk_walk(k, "w/other"), FATTR_MODE, 0755), -EPERM);
	assert_int_equal(open_for(k, fk_walk(k, "w/other"), O_WRONLY), -EPERM);
	/* objects and refs that another folder's HEAD names as its own (commondir). */
	assert_int_equal(fk_mkdir(k, w, "y", 0755), 0);
	y = fk_walk(k, "w/y");
	assert_int_equal(fk_mkdir(k, y, "objects", 0755) + fk_mkdir(k, y, "refs", 0755) +
				 fk_mkdir(k, y, "hooks", 0755),
		0);
	assert_int_equal(create(k, fk_walk(k, "w/y/hooks"), "pre-commit", 0755), -EPERM);
	/* Control: it may as well be a source tree. */
	assert_int_equal(create(k, fk_walk(k, "w/y/hooks"), "useThing.ts", 0644), 0);
	assert_int_equal(fk_mkdir(k, fk_walk(k, "w/y/hooks"), "auth", 0755), 0);
	assert_int_equal(create(k, fk_walk(k, "w/y/hooks/auth"), "login", 0755), 0);
}

/* A branch, a submodule or a worktree may be called hooks. */
static void
test_ordinary_names(void **state)
{
	static const char *const dirs[] = {"w/.git/refs/heads", "w/.git/refs/heads/hooks",
		"w/.git/modules/hooks", "w/.git/worktrees", "w/.git/worktrees/hooks", "w/.git/logs",
		"w/.git/logs/hooks"};
	struct fk *k = *state;

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		char copy[64], *slash;

		snprintf(copy, sizeof(copy), "%s", dirs[i]);
		slash = strrchr(copy, '/');
		*slash = '\0';
		assert_int_equal(fk_mkdir(k, fk_walk(k, copy), slash + 1, 0755), 0);
		assert_int_equal(create(k, fk_walk(k, dirs[i]), "pre-commit", 0644), 0);
	}
}

static void
test_allowed(void **state)
{
	struct fk *k = *state;
	uint64_t hooks = fk_walk(k, "w/.git/hooks");

	assert_int_equal(create(k, hooks, "post-commit", 0755), 0);
	assert_int_equal(open_for(k, fk_walk(k, "w/.git/hooks/pre-commit"), O_WRONLY | O_TRUNC), 0);
	assert_int_equal(symlink_to(k, hooks, "pre-push", "x"), 0);
}

static void
test_rules(void **state)
{
	const unsigned o = HOOK_MARK_OBJECTS, r = HOOK_MARK_REFS, h = HOOK_MARK_HEAD;
	static const char *const alike[] = {"hooks", "HOOKS", "Hooks", "HOOKS~1", "hooks.",
		"hooks ", "hoo\xe2\x84\xaas", "hook\xc5\xbf", "h\xe2\x80\x8cooks"};
	static const char *const other[] = {"", "hook", "hookss", "xhooks", "hooks.d", "objects"};

	(void)state;
	assert_int_equal(hook_folder_kind(o | r | h), HOOK_FOLDER_STRONG);
	assert_int_equal(hook_folder_kind(HOOK_MARK_NAMED), HOOK_FOLDER_STRONG);
	assert_int_equal(hook_folder_kind(o | r), HOOK_FOLDER_WEAK);
	for (unsigned m = 0; m < 8; m++)
		if ((m & (o | r)) != (o | r))
			assert_int_equal(hook_folder_kind(m), HOOK_FOLDER_NONE);
	for (size_t i = 0; i < ARRAY_LEN(alike); i++)
		assert_true(hook_name_like(alike[i], "hooks"));
	for (size_t i = 0; i < ARRAY_LEN(other); i++)
		assert_false(hook_name_like(other[i], "hooks"));
	assert_true(hook_name_is(".GIT", ".git"));
	assert_false(hook_name_is(".git2", ".git") || hook_name_is(".gi", ".git"));
	assert_true(hook_is_live("pre-commit", S_IFREG | 0755));
	assert_true(hook_is_live("pre-commit", S_IFLNK | 0777));
	assert_false(hook_is_live("pre-commit", S_IFREG | 0644));
	assert_false(hook_is_live("a.sample", S_IFREG | 0755) || hook_is_live("d", S_IFDIR | 0755));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test_setup_teardown(test_no_new_hook, setup, fk_teardown),
		cmocka_unit_test_setup_teardown(test_no_changed_hook, setup, fk_teardown),
		cmocka_unit_test_setup_teardown(test_moves, setup, fk_teardown),
		cmocka_unit_test_setup_teardown(test_built_around_hooks, setup, fk_teardown),
		cmocka_unit_test_setup_teardown(test_ordinary_names, setup, fk_teardown),
		cmocka_unit_test_setup_teardown(test_allowed, setup_allowed, fk_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
