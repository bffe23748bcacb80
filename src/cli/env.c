#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/io.h>
#include <base/mem.h>

#include <wire/session.h>

#include "cli.h"

#define ENV_MAX (256 * 1024)

extern char **environ;

static bool
key_ok(const char *key, size_t n)
{
	if (n == 0 || isdigit((unsigned char)key[0]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (key[i] == '=' || isspace((unsigned char)key[i]) ||
			!isprint((unsigned char)key[i]))
			return false;
	return true;
}

/* KEY=VALUE, or KEY: the calling shell's value; a KEY that it does not have adds nothing. */
static int
add(struct strv *env, const char *word, const char *where, struct err *e)
{
	const char *eq = strchr(word, '=');
	size_t n = eq != NULL ? (size_t)(eq - word) : strlen(word);
	CLEAN_FREE char *key = xstrndup(word, n);
	const char *value = eq != NULL ? eq + 1 : getenv(key);

	if (!key_ok(key, n))
		return usage_error(
			e, "%s: write KEY=VALUE, or KEY to copy the shell's value", where);
	if (value != NULL)
		strv_setenv(env, key, value);
	return 0;
}

static int
add_file(struct strv *env, const char *path, struct err *e)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	char where[128];
	int r = io_read_file(AT_FDCWD, path, 1 << 20, &b, e), line = 0;

	if (r < 0)
		return err_prefix(e, "--env-file");
	CLEAN_FREE char *text = xstrdup(buf_str(&b));

	for (char *at = text; at != NULL && r == 0;) {
		char *next = strchr(at, '\n');

		if (next != NULL)
			*next++ = '\0';
		line++;
		at[strcspn(at, "\r")] = '\0';
		at += strspn(at, " \t");
		if (str_has_prefix(at, "export "))
			at += strlen("export ");
		snprintf(where, sizeof(where), "'%.80s' line %d", path, line);
		if (*at != '\0' && *at != '#')
			r = add(env, at, where, e);
		at = next;
	}
	return r;
}

/* The kernel's limit of one variable, and what fits into one message to the guest. */
static int
check_size(const struct strv *env, struct err *e)
{
	size_t all = 0;

	for (size_t i = 0; i < env->n; i++) {
		size_t n = strlen(env->v[i]);

		all += n;
		if (n >= SESSION_STR_MAX)
			return usage_error(e, "the variable '%.*s' is longer than 128 KiB",
				(int)strcspn(env->v[i], "="), env->v[i]);
	}
	if (all > ENV_MAX)
		return usage_error(
			e, "the variables are longer than 256 KiB together: put them into a file");
	return 0;
}

int
env_from_args(const struct args *a, struct strv *ret, struct err *e)
{
	CLEAN_STRV struct strv files = {0}, words = {0};
	int r = 0;

	/* -e wins over files, a later file over an earlier one. */
	args_all(a, "env-file", &files);
	args_all(a, "env", &words);
	for (size_t i = 0; i < files.n && r == 0; i++)
		r = add_file(ret, files.v[i], e);
	for (size_t i = 0; i < words.n && r == 0; i++)
		r = add(ret, words.v[i], "-e", e);
	return r == 0 ? check_size(ret, e) : r;
}

void
env_from_shell(struct strv *ret)
{
	static const char *const keys[] = {
		"TERM", "COLORTERM", "LANG", "LANGUAGE", "TZ", "NO_COLOR"};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (getenv(keys[i]) != NULL)
			strv_setenv(ret, keys[i], getenv(keys[i]));
	for (char **p = environ; *p != NULL; p++) {
		const char *eq = strchr(*p, '=');

		if (!str_has_prefix(*p, "LC_") || eq == NULL)
			continue;
		CLEAN_FREE char *key = xstrndup(*p, (size_t)(eq - *p));

		strv_setenv(ret, key, eq + 1);
	}
}
