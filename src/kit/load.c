/* Kits in files, and what they extend. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <kit/kit.h>

#define EXTENDS_MAX 8

bool
kit_word_is_path(const char *word)
{
	return strchr(word, '/') != NULL || str_has_suffix(word, ".yaml");
}

char *
kit_config_dir(void)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

	if (xdg != NULL && xdg[0] == '/')
		return xasprintf("%s/paddock/kits", xdg);
	return home != NULL && home[0] == '/' ? xasprintf("%s/.config/paddock/kits", home) : NULL;
}

static int
parse_named(const char *text, size_t n, const char *where, struct kit *ret, struct err *e)
{
	struct err why = {0};

	/* FILE:LINE:COLUMN: as compilers write it, so that editors jump there. */
	return kit_parse(text, n, ret, &why) < 0 ? err_set(e, EINVAL, "%s:%s", where, why.msg) : 0;
}

static int
load_file(const char *path, struct kit *ret, struct err *e)
{
	CLEAN_BUF struct buf text = BUF_INIT;
	struct stat st;
	int r;

	/* Not from a FIFO or a device: reading those has no end. */
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "kit '%s' is not a file", path);
	r = io_read_file(AT_FDCWD, path, KIT_TEXT_MAX, &text, e);
	if (r == -ENOENT)
		return err_set(e, ENOENT, "there is no kit at '%s'", path);
	return r < 0 ? r : parse_named(buf_str(&text), text.len, path, ret, e);
}

/* The kit alone, and where it is: NULL for a built-in one. */
static int
find(const char *config_dir, const char *word, const char *folder, struct kit *ret, char **ret_path,
	struct err *e)
{
	CLEAN_FREE char *path = NULL;
	const char *text;
	int r;

	if (kit_word_is_path(word)) {
		path = word[0] == '/' || folder == NULL ? xstrdup(word)
							: xasprintf("%s/%s", folder, word);
		r = load_file(path, ret, e);
		*ret_path = r == 0 ? TAKE_PTR(path) : NULL;
		return r;
	}
	if (!kit_name_fits(word))
		return err_set(e, ENOENT, "no kit is called '%.80s': see paddock kit ls", word);
	if (config_dir != NULL) {
		path = xasprintf("%s/%s.yaml", config_dir, word);
		r = load_file(path, ret, e);
		if (r != -ENOENT) {
			*ret_path = r == 0 ? TAKE_PTR(path) : NULL;
			return r;
		}
	}
	text = kit_builtin(word);
	if (text == NULL)
		return err_set(e, ENOENT, "no kit is called '%.80s': see paddock kit ls", word);
	*ret_path = NULL;
	return parse_named(text, strlen(text), word, ret, e);
}

/*
 * What k extends, once. path: of the file that says so, which becomes that of the one found (NULL:
 * built-in). One's own kit "claude" may extend the built-in "claude".
 */
static int
resolve_one(const char *config_dir, struct kit *k, char **path, char **name, struct err *e)
{
	CLEAN_FREE char *word = TAKE_PTR(k->extends), *folder = NULL, *found = NULL;
	CLEAN_KIT struct kit parent = {0};
	int r;

	if (*path != NULL) {
		const char *slash = strrchr(*path, '/');

		folder = slash != NULL ? xstrndup(*path, (size_t)(slash - *path) + (slash == *path))
				       : xstrdup(".");
	}
	r = find(strcmp(word, *name) == 0 ? NULL : config_dir, word, folder, &parent, &found, e);
	/* Not ENOENT: the kit itself was found. */
	if (r == -ENOENT)
		return err_set(
			e, EINVAL, "kit '%s' extends '%.80s', which there is not", k->name, word);
	if (r < 0)
		return r;
	kit_extend(k, &parent);
	k->extends = TAKE_PTR(parent.extends);
	free(*path);
	*path = TAKE_PTR(found);
	free(*name);
	*name = TAKE_PTR(parent.name);
	return 0;
}

static int
load(const char *config_dir, const char *word, struct kit *ret, char **ret_from, struct err *e)
{
	CLEAN_FREE char *path = NULL, *from = NULL, *name = NULL;
	CLEAN_KIT struct kit k = {0};
	int r = find(config_dir, word, NULL, &k, &path, e);

	if (r == 0)
		name = xstrdup(k.name);
	if (r == 0 && path != NULL)
		from = xstrdup(path);
	for (unsigned depth = 0; r == 0 && k.extends != NULL; depth++) {
		if (depth == EXTENDS_MAX)
			return err_set(e, ELOOP,
				"kit '%s' extends more than %d others, or itself in a circle",
				k.name, EXTENDS_MAX);
		r = resolve_one(config_dir, &k, &path, &name, e);
	}
	if (r < 0)
		return r;
	*ret_from = TAKE_PTR(from);
	*ret = k;
	k = (struct kit){0};
	return 0;
}

/* A kit's file is called as the kit, so that ls, run and the file say the same. */
static int
check_own_name(const char *config_dir, const char *word, const char *path, const struct kit *k,
	struct err *e)
{
	if (config_dir == NULL || path == NULL || kit_word_is_path(word) ||
		strcmp(k->name, word) == 0)
		return 0;
	return err_set(
		e, EINVAL, "'%s' holds a kit called '%s': rename one of them", path, k->name);
}

int
kit_load(const char *config_dir, const char *word, struct kit *ret, char **ret_from, struct err *e)
{
	CLEAN_FREE char *path = NULL;
	CLEAN_KIT struct kit k = {0};
	int r = load(config_dir, word, &k, &path, e);

	if (r == 0)
		r = check_own_name(config_dir, word, path, &k, e);
	if (r == 0)
		r = kit_check_whole(&k, e);
	if (r < 0)
		return r;
	if (ret_from != NULL)
		*ret_from = TAKE_PTR(path);
	*ret = k;
	k = (struct kit){0};
	return 0;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int
kit_own_names(const char *config_dir, struct strv *ret, struct err *e)
{
	CLEAN_CLOSEDIR DIR *d = config_dir != NULL ? opendir(config_dir) : NULL;
	struct dirent *de;

	if (d == NULL)
		return config_dir == NULL || errno == ENOENT
			       ? 0
			       : err_sys(e, errno, "read folder '%s'", config_dir);
	while ((de = readdir(d)) != NULL) {
		size_t n = strlen(de->d_name);
		CLEAN_FREE char *name = NULL;

		if (!str_has_suffix(de->d_name, ".yaml"))
			continue;
		name = xstrndup(de->d_name, n - strlen(".yaml"));
		if (kit_name_fits(name))
			strv_add(ret, name);
	}
	if (ret->n > 1)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_name);
	return 0;
}
