#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <base/io.h>
#include <base/mem.h>

#include "cli.h"

/* A shell expands "~" only at a word's beginning and unquoted; scripts and :ro words do not. */
static char *
expand_home(const char *path)
{
	const char *home = getenv("HOME");

	if (path[0] != '~' || (path[1] != '/' && path[1] != '\0') || home == NULL)
		return xstrdup(path);
	return xasprintf("%s%s", home, path + 1);
}

static int
offer_creation(const char *path, struct err *e)
{
	char shown[PATH_MAX];
	CLEAN_FREE char *question = NULL;

	str_escape(path, strlen(path), shown, sizeof(shown));
	question = xasprintf("Workspace '%s' does not exist. Create it?", shown);
	if (!ui_confirm(question))
		return err_set(e, ENOENT,
			"workspace '%s' does not exist: create it with mkdir first", shown);
	return io_mkdirs(path, 0755, e);
}

static bool
utf8_clean(const char *s)
{
	CLEAN_FREE char *shown = xmalloc(strlen(s) * 4 + 1);

	str_escape(s, strlen(s), shown, strlen(s) * 4 + 1);
	return strcmp(s, shown) == 0;
}

/* Places that cannot be seen at the same path inside without breaking the machine. */
static int
check_place(const char *path, struct err *e)
{
	static const char *const taken[] = {"/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32",
		"/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var", "/home", "/tmp"};
	static const char *const whole[] = {"/bin", "/boot", "/dev", "/etc", "/lib", "/lib64",
		"/proc", "/sbin", "/sys", "/usr/bin", "/usr/lib", "/usr/sbin", "/run/paddock"};

	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		if (strcmp(path, taken[i]) == 0)
			return err_set(e, EINVAL,
				"'%s' cannot be a workspace: the machine has its own; name a "
				"folder below it",
				path);
	for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
		size_t n = strlen(whole[i]);

		if (strncmp(path, whole[i], n) == 0 && (path[n] == '/' || path[n] == '\0'))
			return err_set(e, EINVAL,
				"'%s' cannot be a workspace: '%s' is the machine's own", path,
				whole[i]);
	}
	if (!utf8_clean(path))
		return err_set(e, EINVAL, "the workspace's path is not printable UTF-8: rename it");
	return 0;
}

static int
check_double(const struct sandbox *s, const char *path, struct err *e)
{
	for (size_t i = 0; i < s->nworkspaces; i++)
		if (strcmp(s->workspaces[i].path, path) == 0)
			return err_set(e, EINVAL, "workspace '%s' is named twice", path);
	if (s->nworkspaces >= SANDBOX_WORKSPACES_MAX)
		return err_set(e, E2BIG, "at most %d workspaces", SANDBOX_WORKSPACES_MAX);
	return 0;
}

/* The path of PATH[:ro|:readonly], "~" expanded. Caller frees. */
static char *
typed_path(const char *word, bool *ret_ro)
{
	CLEAN_FREE char *whole = expand_home(word);
	size_t n = strlen(whole);
	struct stat st;

	*ret_ro = false;
	/* ":ro" belongs to the grammar unless a file of just that name exists. */
	if (lstat(whole, &st) < 0) {
		size_t cut = str_has_suffix(whole, ":ro")         ? 3
			     : str_has_suffix(whole, ":readonly") ? 9
								  : 0;

		*ret_ro = cut > 0;
		n -= cut;
	}
	return xstrndup(whole, n);
}

bool
workspace_is(const struct workspace *w, const char *word)
{
	bool ro;
	CLEAN_FREE char *path = typed_path(word, &ro);
	CLEAN_FREE char *real = realpath(path, NULL);

	return strcmp(workspace_source(w), real != NULL ? real : path) == 0 && w->read_only == ro;
}

int
workspace_add(struct sandbox *s, const char *word, struct err *e)
{
	bool ro;
	CLEAN_FREE char *path = typed_path(word, &ro);
	CLEAN_FREE char *real = NULL;
	struct stat st;
	int r = 0;

	if (path[0] == '\0')
		return usage_error(e, "an empty workspace path");
	if (stat(path, &st) < 0 && errno == ENOENT)
		r = offer_creation(path, e);
	if (r < 0)
		return r;
	real = realpath(path, NULL);
	if (real == NULL || stat(real, &st) < 0)
		return err_sys(e, errno, "workspace '%s'", path);
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return err_set(e, ENOTDIR, "workspace '%s' is neither a folder nor a file", real);
	if (s->nworkspaces == 0 && !S_ISDIR(st.st_mode))
		return err_set(e, ENOTDIR,
			"the first workspace must be a folder, '%s' is a file: name a folder "
			"before it",
			real);
	r = check_place(real, e);
	if (r == 0)
		r = check_double(s, real, e);
	if (r == 0)
		sandbox_add_workspace(s, real, ro, S_ISREG(st.st_mode));
	return r;
}
