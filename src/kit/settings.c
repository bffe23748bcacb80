/*
 * The user's own settings of an agent, as far as its kit names them. They are the user's files, but
 * they go where everything can read them and send them away: nothing is followed out of the folder
 * that was named, and what looks like a secret stays.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <kit/home.h>

#define DEPTH_MAX 8

struct gather {
	struct home *h;
	const struct kit *k;
	const struct kit_vars *vars;
	struct strv *left;
	size_t nfiles;
	uint64_t bytes;
	struct err *e;
};

static void
leave(struct gather *g, const char *path, const char *why)
{
	strv_addf(g->left, "~/%s: %s", path, why);
}

/* Not a step through a symbolic link. O_NONBLOCK: a FIFO is looked at, not waited for. */
static int
open_below(int dirfd, const char *path)
{
	return io_openat2(dirfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY,
		RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

/* ---- a file ---- */

static const struct kit_file *
kit_file_of(const struct kit *k, const char *path)
{
	for (size_t i = 0; i < k->nfiles; i++)
		if (strcmp(k->files[i].path, path) == 0)
			return &k->files[i];
	return NULL;
}

/* Those of the keys that the user's file has, and over them what the kit has in this file. */
static char *
pick_keys(const struct gather *g, const char *path, const struct strv *keys, const struct buf *text)
{
	json_t *all = json_loadb((const char *)text->data, text->len, JSON_REJECT_DUPLICATES, NULL);
	const struct kit_file *own = kit_file_of(g->k, path);
	CLEAN_FREE char *filled = own != NULL ? kit_file_fill(own, g->vars) : NULL;
	json_t *picked = json_object(), *over = filled != NULL ? json_loads(filled, 0, NULL) : NULL;
	char *printed = NULL;

	for (size_t i = 0; i < keys->n; i++)
		if (json_object_get(all, keys->v[i]) != NULL)
			json_object_set(picked, keys->v[i], json_object_get(all, keys->v[i]));
	if (json_is_object(all) && (filled == NULL || json_is_object(over))) {
		json_object_update(picked, over);
		printed = json_dumps(picked, JSON_INDENT(2));
	}
	json_decref(all);
	json_decref(picked);
	json_decref(over);
	return printed;
}

static int
too_much(const struct gather *g)
{
	return err_set(g->e, EFBIG,
		"your settings of '%s' are more than %d files or %d MiB: leave out "
		"--with-settings, or name fewer of them in a kit of your own",
		g->k->name, HOME_FILES_MAX, HOME_BYTES_MAX >> 20);
}

static int
take_content(struct gather *g, const char *path, unsigned mode, const struct strv *keys,
	struct buf *content)
{
	const char *why;

	if (keys->n > 0) {
		CLEAN_FREE char *picked = pick_keys(g, path, keys, content);

		if (picked == NULL) {
			leave(g, path, "it is no JSON object");
			return 0;
		}
		buf_clear(content);
		buf_append_str(content, picked);
	}
	why = home_secret(path, content->data, content->len);
	if (why != NULL) {
		leave(g, path, why);
		return 0;
	}
	g->bytes += content->len;
	if (++g->nfiles > HOME_FILES_MAX || g->bytes > HOME_BYTES_MAX)
		return too_much(g);
	home_add(g->h, path, mode, content);
	return 0;
}

static int
take_file(
	struct gather *g, int fd, const struct stat *st, const char *path, const struct strv *keys)
{
	CLEAN_BUF struct buf content = BUF_INIT;
	int r;

	if (st->st_size > HOME_FILE_MAX || strlen(path) > HOME_PATH_MAX) {
		leave(g, path, "it is too large, or its path too long");
		return 0;
	}
	r = io_read_fd_all(fd, HOME_FILE_MAX, &content, g->e);
	if (r == -EFBIG) {
		leave(g, path, "it is too large");
		return 0;
	}
	return r < 0 ? r : take_content(g, path, st->st_mode & 0100 ? 0755 : 0644, keys, &content);
}

/* ---- a folder ---- */

static int take(struct gather *g, int dirfd, const char *name, const char *path,
	const struct strv *keys, unsigned depth);

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In the order of the names: what is taken is the same each time. */
static int
/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX bounds it */
take_folder(struct gather *g, int fd, const char *path, unsigned depth)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEAN_CLOSEDIR DIR *d = own >= 0 ? fdopendir(own) : NULL;
	CLEAN_STRV struct strv names = {0};
	struct dirent *de;
	int r = 0;

	if (d == NULL)
		return err_sys(g->e, errno, "read folder '~/%s'", path);
	while ((de = readdir(d)) != NULL) {
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0 &&
			strcmp(de->d_name, ".git") != 0)
			strv_add(&names, de->d_name);
		if (names.n > HOME_FILES_MAX)
			return too_much(g);
	}
	if (names.n > 1)
		qsort(names.v, names.n, sizeof(*names.v), by_name);
	for (size_t i = 0; i < names.n && r == 0; i++) {
		CLEAN_FREE char *below = xasprintf("%s/%s", path, names.v[i]);
		static const struct strv whole;

		r = take(g, fd, names.v[i], below, &whole, depth + 1);
	}
	return r;
}

static int
/* NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX bounds it */
take(struct gather *g, int dirfd, const char *name, const char *path, const struct strv *keys,
	unsigned depth)
{
	CLEAN_CLOSE int fd = open_below(dirfd, name);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 && (errno == ELOOP || errno == EXDEV))
		leave(g, path, "it is a symbolic link, or behind one");
	else if (fd < 0 || fstat(fd, &st) < 0)
		leave(g, path, strerror(errno));
	else if (S_ISREG(st.st_mode))
		return take_file(g, fd, &st, path, keys);
	else if (S_ISDIR(st.st_mode) && keys->n == 0 && depth < DEPTH_MAX)
		return take_folder(g, fd, path, depth);
	else
		leave(g, path, "it is no file, or too deep");
	return 0;
}

int
home_add_settings(struct home *h, const struct kit *k, const char *folder, const struct kit_vars *v,
	struct strv *ret_left, struct err *e)
{
	CLEAN_CLOSE int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct gather g = {.h = h, .k = k, .vars = v, .left = ret_left, .e = e};
	int r = fd < 0 ? err_sys(e, errno, "read folder '%s'", folder) : 0;

	for (size_t i = 0; i < k->nsettings && r == 0; i++)
		r = take(&g, fd, k->settings[i].path, k->settings[i].path, &k->settings[i].keys, 0);
	return r;
}
