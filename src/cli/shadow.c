/* --shadow DIR: a folder of a workspace that stays on the sandbox's own disk. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <base/mem.h>

#include "cli.h"

/* Absolute, without "//", "/." and a slash at the end. NULL where there is a "..". Caller frees. */
static char *
normal_path(const char *base, const char *word)
{
	CLEAN_FREE char *joined = word[0] == '/' ? xstrdup(word) : xasprintf("%s/%s", base, word);
	CLEAN_BUF struct buf out = BUF_INIT;
	char *save = NULL;

	for (char *c = strtok_r(joined, "/", &save); c != NULL; c = strtok_r(NULL, "/", &save)) {
		if (strcmp(c, "..") == 0)
			return NULL;
		if (strcmp(c, ".") != 0) {
			buf_append_str(&out, "/");
			buf_append_str(&out, c);
		}
	}
	return xstrdup(out.len > 0 ? buf_str(&out) : "/");
}

/* b lies below a. */
static bool
is_below(const char *a, const char *b)
{
	size_t n = strlen(a);

	return strncmp(a, b, n) == 0 && b[n] == '/';
}

static int
check_inside(const struct sandbox *s, const char *path, struct err *e)
{
	bool inside = false;

	for (size_t i = 0; i < s->nworkspaces; i++) {
		const struct workspace *w = &s->workspaces[i];

		if (strcmp(w->path, path) == 0)
			return err_set(e, EINVAL,
				"--shadow '%s' is a workspace itself: name a folder inside it, or "
				"leave the workspace out",
				path);
		if (is_below(path, w->path))
			return err_set(e, EINVAL,
				"--shadow '%s' would hide the workspace '%s', which lies in it",
				path, w->path);
		inside |= !w->is_file && is_below(w->path, path);
	}
	if (!inside)
		return err_set(e, EINVAL,
			"--shadow '%s' does not lie in a workspace: write it relative to the first "
			"workspace, or absolute inside any",
			path);
	return 0;
}

static int
check_others(const struct sandbox *s, const char *path, struct err *e)
{
	for (size_t i = 0; i < s->shadows.n; i++) {
		const char *other = s->shadows.v[i];

		if (strcmp(other, path) == 0)
			return err_set(e, EINVAL, "--shadow '%s' is named twice", path);
		if (is_below(other, path) || is_below(path, other))
			return err_set(e, EINVAL,
				"--shadow '%s' and '%s' overlap: name the outer one alone", path,
				other);
	}
	if (s->shadows.n >= SANDBOX_SHADOWS_MAX)
		return err_set(e, E2BIG, "at most %d --shadow folders", SANDBOX_SHADOWS_MAX);
	return 0;
}

/* What the host has there: a folder or nothing, in a folder that is there, with no link between. */
static int
check_host(const char *path, struct err *e)
{
	CLEAN_FREE char *parent = xstrndup(path, (size_t)(strrchr(path, '/') - path));
	CLEAN_FREE char *real = realpath(parent, NULL);
	struct stat st;

	if (real == NULL)
		return err_sys(
			e, errno, "--shadow '%s': '%s' (make that folder first)", path, parent);
	if (strcmp(real, parent) != 0)
		return err_set(e, EINVAL,
			"--shadow '%s' leads through a symlink: write '%s%s' instead", path, real,
			strrchr(path, '/'));
	if (lstat(path, &st) == 0 && !S_ISDIR(st.st_mode))
		return err_set(e, ENOTDIR,
			"--shadow '%s': the host has a %s of that name there, only a folder can be "
			"shadowed",
			path, S_ISLNK(st.st_mode) ? "symlink" : "file");
	if (stat(real, &st) < 0 || !S_ISDIR(st.st_mode))
		return err_set(e, ENOTDIR, "--shadow '%s': '%s' is not a folder", path, parent);
	return 0;
}

static int
check_text(const char *path, struct err *e)
{
	CLEAN_FREE char *shown = xmalloc(strlen(path) * 4 + 1);

	str_escape(path, strlen(path), shown, strlen(path) * 4 + 1);
	if (strlen(path) >= PATH_MAX || strcmp(shown, path) != 0)
		return err_set(e, EINVAL, "--shadow '%.200s': not a printable UTF-8 path", shown);
	return 0;
}

int
shadow_add(struct sandbox *s, const char *word, struct err *e)
{
	CLEAN_FREE char *path = normal_path(s->workspaces[0].path, word);
	int r;

	if (word[0] == '\0')
		return usage_error(e, "--shadow '': write a folder, e.g. node_modules");
	if (path == NULL)
		return usage_error(e, "--shadow '%.200s': write it without '..'", word);
	r = check_text(path, e);
	if (r == 0)
		r = check_inside(s, path, e);
	if (r == 0)
		r = check_others(s, path, e);
	if (r == 0)
		r = check_host(path, e);
	if (r == 0)
		strv_add(&s->shadows, path);
	return r;
}

bool
shadow_is_known(const struct sandbox *s, const char *word)
{
	CLEAN_FREE char *path = normal_path(s->workspaces[0].path, word);

	for (size_t i = 0; path != NULL && i < s->shadows.n; i++)
		if (strcmp(s->shadows.v[i], path) == 0)
			return true;
	return false;
}
