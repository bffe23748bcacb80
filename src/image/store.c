#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>

#include "store.h"

#define TEMPLATE_FILE_MAX 65536

static void
decref(json_t **j)
{
	json_decref(*j);
}

void
template_release(struct template *t)
{
	free(t->id);
	free(t->name);
	free(t->base);
	free(t->recipe);
	free(t->kernel);
	free(t->kernel_release);
	memset(t, 0, sizeof(*t));
}

bool
store_name_fits(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > 120 || s[0] == '.')
		return false;
	for (; *s != '\0'; s++)
		if (!isalnum((unsigned char)*s) && strchr("._+~-", *s) == NULL)
			return false;
	return true;
}

char *
template_encode(const struct template *t)
{
	CLEANUP(decref)
	json_t *j = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "version",
		t->base != NULL ? TEMPLATE_VERSION : 1, "id", t->id, "name", t->name, "recipe",
		t->recipe, "kernel", t->kernel, "kernel_release", t->kernel_release, "disk_bytes",
		(json_int_t)t->disk_bytes, "created", (json_int_t)t->created);
	char *text;

	if (t->base != NULL)
		json_object_set_new(j, "base", json_string(t->base));
	text = json_dumps(j, JSON_INDENT(2));

	if (text == NULL)
		abort();
	return text;
}

int
template_decode(const char *text, struct template *ret, struct err *e)
{
	const char *id, *name, *recipe, *kernel, *release, *base = NULL;
	json_int_t disk = 0, created = 0;
	json_error_t why;
	int version = 0;
	CLEANUP(decref) json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &why);

	if (j == NULL || json_unpack(j, "{s:i}", "version", &version) < 0)
		return err_set(e, EBADMSG, "not a template's description");
	if (version > TEMPLATE_VERSION)
		return err_set(e, EPROTO,
			"written by a newer paddock (version %d, this one knows %d): upgrade "
			"paddock",
			version, TEMPLATE_VERSION);
	if (json_unpack_ex(j, &why, 0, "{s:s, s:s, s?s, s:s, s:s, s:s, s:I, s:I}", "id", &id,
		    "name", &name, "base", &base, "recipe", &recipe, "kernel", &kernel,
		    "kernel_release", &release, "disk_bytes", &disk, "created", &created) < 0)
		return err_set(e, EBADMSG, "%s", why.text);
	if (!store_name_fits(id) || !store_name_fits(kernel) || disk <= 0 ||
		(base != NULL && !store_name_fits(base)))
		return err_set(e, EBADMSG, "not a template's description");
	*ret = (struct template){.id = xstrdup(id),
		.name = xstrdup(name),
		.base = base != NULL ? xstrdup(base) : NULL,
		.recipe = xstrdup(recipe),
		.kernel = xstrdup(kernel),
		.kernel_release = xstrdup(release),
		.disk_bytes = (uint64_t)disk,
		.created = (int64_t)created};
	return 0;
}

int
store_load(const char *data_dir, const char *id, struct template *ret, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/templates/%s/template.json", data_dir, id);
	CLEAN_BUF struct buf text = BUF_INIT;
	int r;

	if (!store_name_fits(id))
		return err_set(e, ENOENT, "no image is called '%.80s'", id);
	r = io_read_file(AT_FDCWD, path, TEMPLATE_FILE_MAX, &text, e);
	if (r < 0)
		return r;
	r = template_decode(buf_str(&text), ret, e);
	return r < 0 ? err_prefix(e, "'%s'", path) : 0;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The folders in a folder that carry a name, which unfinished ones do not. */
static int
folders(const char *path, struct strv *ret, struct err *e)
{
	CLEAN_CLOSEDIR DIR *d = opendir(path);
	struct dirent *de;
	struct stat st;

	if (d == NULL)
		return errno == ENOENT ? 0 : err_sys(e, errno, "read folder '%s'", path);
	while ((de = readdir(d)) != NULL)
		if (store_name_fits(de->d_name) && fstatat(dirfd(d), de->d_name, &st, 0) == 0 &&
			S_ISDIR(st.st_mode))
			strv_add(ret, de->d_name);
	if (ret->n > 0)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_name);
	return 0;
}

int
store_ids(const char *data_dir, struct strv *ret, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/templates", data_dir);

	return folders(path, ret, e);
}

int
store_init(const char *data_dir, struct err *e)
{
	CLEAN_FREE char *templates = xasprintf("%s/templates", data_dir);
	CLEAN_FREE char *kernels = xasprintf("%s/kernels", data_dir);
	int r = io_mkdirs(templates, 0700, e);

	return r < 0 ? r : io_mkdirs(kernels, 0700, e);
}

int
store_lock(const char *data_dir, const char *file, uint64_t limit_ms, void (*waiting)(void *arg),
	void *arg, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/templates/%s", data_dir, file);
	CLEAN_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return err_sys(e, errno, "open '%s'", path);
	r = io_lock(fd, 0);
	if (r == -ETIMEDOUT && limit_ms > 0) {
		if (waiting != NULL)
			waiting(arg);
		r = io_lock(fd, deadline_in_ms(limit_ms));
	}
	if (r == -ETIMEDOUT)
		return err_set(e, ETIMEDOUT,
			"another build of the machine image does not end ('%s' is locked)", path);
	return r < 0 ? err_sys(e, -r, "lock '%s'", path) : TAKE_FD(fd);
}

int
store_drop_kernels(const char *data_dir, struct err *e)
{
	CLEAN_FREE char *path = xasprintf("%s/kernels", data_dir);
	CLEAN_STRV struct strv ids = {0}, kernels = {0}, used = {0};
	int r = store_ids(data_dir, &ids, e);

	if (r == 0)
		r = folders(path, &kernels, e);
	for (size_t i = 0; i < ids.n && r == 0; i++) {
		struct template t = {0};

		r = store_load(data_dir, ids.v[i], &t, NULL);
		/* Somebody's own folder uses none of them; an image that cannot be read, any. */
		if (r < 0 && r != -ENOENT)
			return 0;
		if (r == 0)
			strv_setenv(&used, t.kernel, "");
		template_release(&t);
		r = 0;
	}
	for (size_t i = 0; i < kernels.n && r == 0; i++) {
		CLEAN_FREE char *folder = xasprintf("%s/%s", path, kernels.v[i]);

		if (strv_getenv(&used, kernels.v[i]) == NULL)
			r = io_remove_tree(AT_FDCWD, folder, e);
	}
	return r;
}
