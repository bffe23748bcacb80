#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <state/state.h>

#include "record.h"

void
sandbox_release(struct sandbox *s)
{
	free(s->name);
	free(s->agent);
	free(s->image);
	free(s->accel);
	for (size_t i = 0; i < s->nworkspaces; i++)
		free(s->workspaces[i].path);
	free(s->workspaces);
	strv_release(&s->env);
	strv_release(&s->resolve);
	memset(s, 0, sizeof(*s));
}

void
sandbox_add_workspace(struct sandbox *s, const char *path, bool read_only, bool is_file)
{
	s->workspaces = xreallocarray(s->workspaces, s->nworkspaces + 1, sizeof(*s->workspaces));
	s->workspaces[s->nworkspaces++] = (struct workspace){xstrdup(path), read_only, is_file};
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
	return r < 0 ? err_prefix(e, "sandbox '%s'", name) : 0;
}

int
sandbox_create(const struct state_paths *p, const struct sandbox *s,
	int (*fill)(const char *dir, void *arg, struct err *e), void *arg, struct err *e)
{
	CLEAN_FREE char *dir = state_sandbox_dir(p, s->name);
	CLEAN_FREE char *tmp = xasprintf("%s/sandboxes/.%s.new%d", p->data, s->name, (int)getpid());
	CLEAN_FREE char *json = xasprintf("%s/sandbox.json", tmp);
	CLEAN_FREE char *all = xasprintf("%s/sandboxes", p->data);
	CLEAN_BUF struct buf b = BUF_INIT;
	int r = io_mkdirs(all, 0700, e);

	if (r < 0)
		return r;
	if (mkdir(tmp, 0700) < 0)
		return err_sys(e, errno, "create folder '%s'", tmp);
	record_encode(s, &b);
	r = io_write_file_atomic(AT_FDCWD, json, b.data, b.len, 0600, e);
	if (r == 0 && fill != NULL)
		r = fill(tmp, arg, e);
	/* rename(2) refuses to replace a folder that is not empty: two creators cannot both win. */
	if (r == 0 && rename(tmp, dir) < 0)
		r = errno == ENOTEMPTY || errno == EEXIST
			    ? err_set(e, EEXIST, "sandbox '%s' exists already", s->name)
			    : err_sys(e, errno, "create sandbox '%s'", s->name);
	if (r < 0)
		io_remove_tree(AT_FDCWD, tmp, NULL);
	return r;
}

int
sandbox_remove(const struct state_paths *p, const char *name, struct err *e)
{
	CLEAN_FREE char *dir = state_sandbox_dir(p, name);
	CLEAN_FREE char *tmp = xasprintf("%s/sandboxes/.%s.rm%d", p->data, name, (int)getpid());

	if (rename(dir, tmp) < 0)
		return errno == ENOENT ? err_set(e, ENOENT, "no sandbox '%s': see paddock ls", name)
				       : err_sys(e, errno, "remove sandbox '%s'", name);
	return io_remove_tree(AT_FDCWD, tmp, e);
}

/* ".NAME.newPID" and ".NAME.rmPID" of a process that is gone. */
static bool
is_left_over(const char *name)
{
	const char *dot = strrchr(name, '.'), *digits;
	uint64_t pid;

	if (name[0] != '.' || dot == NULL)
		return false;
	digits = dot + 1 + strcspn(dot + 1, "0123456789");
	if (digits == dot + 1 || str_to_u64(digits, 1, INT32_MAX, &pid) < 0)
		return false;
	return kill((pid_t)pid, 0) < 0 && errno == ESRCH;
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
		if (is_left_over(de->d_name))
			io_remove_tree(dirfd(d), de->d_name, NULL);
		else if (sandbox_name_check(de->d_name, NULL) == 0)
			strv_add(ret, de->d_name);
	}
	if (ret->n > 1)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_name);
	return 0;
}
