#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <state/state.h>

#include "record.h"
#include "runtime.h"

void
workspaces_free(struct workspace *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(v[i].path);
		free(v[i].source);
	}
	free(v);
}

void
sandbox_release(struct sandbox *s)
{
	free(s->name);
	free(s->agent);
	free(s->image);
	free(s->accel);
	workspaces_free(s->workspaces, s->nworkspaces);
	strv_release(&s->env);
	strv_release(&s->resolve);
	strv_release(&s->ports);
	strv_release(&s->shadows);
	strv_release(&s->ssh);
	memset(s, 0, sizeof(*s));
}

struct workspace *
sandbox_add_workspace(struct sandbox *s, const char *path, bool read_only, bool is_file)
{
	s->workspaces = xreallocarray(s->workspaces, s->nworkspaces + 1, sizeof(*s->workspaces));
	s->workspaces[s->nworkspaces] = (struct workspace){xstrdup(path), read_only, is_file, NULL};
	return &s->workspaces[s->nworkspaces++];
}

const char *
workspace_source(const struct workspace *w)
{
	return w->source != NULL ? w->source : w->path;
}

/* Both absolute and resolved. */
const char *
path_below(const char *path, const char *base)
{
	size_t n = strlen(base);

	return strncmp(path, base, n) == 0 && (path[n] == '/' || path[n] == '\0') ? path + n : NULL;
}

static bool
name_char(char c)
{
	return isalnum((unsigned char)c) || strchr("._+-", c) != NULL;
}

int
sandbox_name_check(const char *name, struct err *e)
{
	size_t n = strlen(name);
	bool ok = n >= 2 && n <= 63 && isalnum((unsigned char)name[0]);

	for (size_t i = 0; ok && i < n; i++)
		ok = name_char(name[i]);
	if (ok)
		return 0;
	char shown[80];

	str_escape(name, n, shown, sizeof(shown));
	return err_set(e, EINVAL,
		"'%s' is no sandbox name: use 2 to 63 letters, digits, '.', '_', '+' or '-', "
		"beginning with a letter or digit",
		shown);
}

char *
sandbox_name_default(const char *agent, const char *workspace)
{
	const char *slash = strrchr(workspace, '/');
	char *name =
		xasprintf("%s-%s", agent, slash != NULL && slash[1] != '\0' ? slash + 1 : "root");

	for (char *c = name; *c != '\0'; c++)
		if (!name_char(*c))
			*c = '-';
	if (strlen(name) > 63)
		name[63] = '\0';
	return name;
}

int
sandbox_load(const struct state_paths *p, const char *name, struct sandbox *ret, struct err *e)
{
	CLEAN_FREE char *path = state_sandbox_file(p, name, "sandbox.json");
	CLEAN_BUF struct buf b = BUF_INIT;
	int r = io_read_file(AT_FDCWD, path, 1 << 20, &b, e);

	if (r == -ENOENT)
		return err_set(e, ENOENT, "no sandbox '%s': see paddock ls", name);
	if (r == 0)
		r = record_decode(buf_str(&b), b.len, ret, e);
	if (r < 0)
		return err_prefix(e, "sandbox '%s'", name);
	/* A folder that somebody copied or renamed is the sandbox that it is called. */
	free(ret->name);
	ret->name = xstrdup(name);
	return 0;
}

int
sandbox_save(const struct state_paths *p, const struct sandbox *s, struct err *e)
{
	CLEAN_FREE char *dir = state_sandbox_dir(p, s->name);
	CLEAN_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEAN_BUF struct buf b = BUF_INIT;

	if (fd < 0)
		return err_sys(e, errno, "sandbox '%s'", s->name);
	record_encode(s, &b);
	return io_write_file_atomic(fd, "sandbox.json", b.data, b.len, 0600, e);
}

int
sandbox_exists_error(const char *name, struct err *e)
{
	return err_set(e, EEXIST,
		"sandbox '%s' exists already: enter it with paddock run %s, choose another --name, "
		"or remove it with paddock rm %s",
		name, name, name);
}

int
sandbox_check_workspaces(const struct state_paths *p, const struct sandbox *s, struct err *e)
{
	const char *own[] = {p->data, p->runtime};

	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		CLEAN_FREE char *real = realpath(own[i], NULL);

		for (size_t k = 0; real != NULL && k < s->nworkspaces; k++) {
			const char *at = workspace_source(&s->workspaces[k]);

			if (path_below(real, at) != NULL || path_below(at, real) != NULL)
				return err_set(e, EINVAL,
					"'%s' cannot be a workspace: Paddock keeps its own state "
					"in '%s'; "
					"name a folder below it or beside it",
					at, real);
		}
	}
	return 0;
}

/*
 * A folder ".NAME.newXXXXXX" for work in progress. Its maker holds a lock on it, which tells a live
 * one from what a killed one left; a pid would not (it is used again, and containers that share a
 * home have each their own). Returns the folder's descriptor.
 */
static int
make_temporary(const struct state_paths *p, const char *name, char **ret_path, struct err *e)
{
	for (int tries = 0; tries < 10; tries++) {
		CLEAN_FREE char *path = xasprintf("%s/sandboxes/.%s.newXXXXXX", p->data, name);
		CLEAN_CLOSE int fd = -1;

		if (mkdtemp(path) == NULL)
			return err_sys(e, errno, "create folder '%s'", path);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		/* Somebody may have taken it for a left-over before it was locked: once more. */
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && is_still_at(fd, path)) {
			*ret_path = TAKE_PTR(path);
			return TAKE_FD(fd);
		}
	}
	return err_set(e, EBUSY, "the new sandbox's folder keeps being removed");
}

static int
move_into_place(
	const struct sandbox *s, const char *all, const char *tmp, const char *dir, struct err *e)
{
	CLEAN_CLOSE int parent = open(all, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* rename(2) refuses to replace a folder that is not empty: two creators cannot both win. */
	if (rename(tmp, dir) < 0)
		return errno == ENOTEMPTY || errno == EEXIST
			       ? sandbox_exists_error(s->name, e)
			       : err_sys(e, errno, "create sandbox '%s'", s->name);
	return parent < 0 || fsync(parent) < 0 ? err_sys(e, errno, "write '%s' to disk", all) : 0;
}

int
sandbox_create(const struct state_paths *p, const struct sandbox *s,
	int (*fill)(const char *dir, void *arg, struct err *e), void *arg, struct err *e)
{
	CLEAN_FREE char *dir = state_sandbox_dir(p, s->name);
	CLEAN_FREE char *all = xasprintf("%s/sandboxes", p->data);
	CLEAN_FREE char *tmp = NULL;
	CLEAN_BUF struct buf b = BUF_INIT;
	CLEAN_CLOSE int fd = -1;
	int r = io_mkdirs(all, 0700, e);

	if (r < 0)
		return r;
	fd = make_temporary(p, s->name, &tmp, e);
	if (fd < 0)
		return fd;
	record_encode(s, &b);
	r = io_write_new_file(fd, "sandbox.json", b.data, b.len, 0600, e);
	if (r == 0 && fill != NULL)
		r = fill(tmp, arg, e);
	/* Neither qemu-img nor rename(2) waits for the disk: a power cut would leave an empty
	 * image. */
	if (r == 0)
		r = io_sync_files(fd, e);
	if (r == 0)
		r = move_into_place(s, all, tmp, dir, e);
	if (r < 0)
		io_remove_tree(AT_FDCWD, tmp, NULL);
	return r;
}

int
sandbox_remove(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_FREE char *dir = state_sandbox_dir(p, name);
	CLEAN_FREE char *tmp = xasprintf("%s/sandboxes/.%s.rmXXXXXX", p->data, name);

	/* Replaced by the rename: an empty folder may be. */
	if (mkdtemp(tmp) == NULL)
		return err_sys(e, errno, "remove sandbox '%s'", name);
	if (rename(dir, tmp) < 0) {
		int code = errno;

		rmdir(tmp);
		return code == ENOENT ? err_set(e, ENOENT, "no sandbox '%s': see paddock ls", name)
				      : err_sys(e, code, "remove sandbox '%s'", name);
	}
	return io_remove_tree(AT_FDCWD, tmp, e);
}

/* ".NAME.rmXXXXXX" may go whoever began it; ".NAME.newXXXXXX" when its maker is gone. */
static void
remove_left_over(int all, const char *name)
{
	const char *dot = strrchr(name, '.');
	CLEAN_CLOSE int fd = -1;

	if (name[0] != '.' || dot == name || dot == NULL)
		return;
	if (strlen(dot) == strlen(".newXXXXXX") && str_has_prefix(dot, ".new")) {
		fd = openat(all, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
			return;
	} else if (strlen(dot) != strlen(".rmXXXXXX") || !str_has_prefix(dot, ".rm")) {
		return;
	}
	io_remove_tree(all, name, NULL);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int
sandbox_names(const struct state_paths *p, struct strv *ret, struct err *e)
{
	CLEAN_FREE char *all = xasprintf("%s/sandboxes", p->data);
	CLEAN_CLOSEDIR DIR *d = opendir(all);
	struct dirent *de;

	if (d == NULL)
		return errno == ENOENT ? 0 : err_sys(e, errno, "read '%s'", all);
	while ((de = readdir(d)) != NULL) {
		if (sandbox_name_check(de->d_name, NULL) == 0)
			strv_add(ret, de->d_name);
		else
			remove_left_over(dirfd(d), de->d_name);
	}
	if (ret->n > 1)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_name);
	return 0;
}
