/* Kits' layers: found, and taken into the store. What is in them is made elsewhere, in a sandbox.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/proc.h>
#include <image/image.h>

#include <base/digest.h>
#include "store.h"

#define WAIT_MS (60 * 60 * 1000)
#define COPY_MS (30 * 60 * 1000)

char *
image_layer_find(const struct image_layer *l)
{
	CLEAN_STRV struct strv ids = {0};
	char *found = NULL;
	int64_t newest = -1;

	if (store_ids(l->data_dir, &ids, NULL) < 0)
		return NULL;
	for (size_t i = 0; i < ids.n; i++) {
		CLEANUP(template_release) struct template t = {0};
		CLEAN_FREE char *disk =
			xasprintf("%s/templates/%s/disk.qcow2", l->data_dir, ids.v[i]);

		if (store_load(l->data_dir, ids.v[i], &t, NULL) < 0 || t.base == NULL ||
			strcmp(t.base, l->base) != 0 || strcmp(t.recipe, l->digest) != 0 ||
			t.created < newest || access(disk, R_OK) < 0)
			continue;
		newest = t.created;
		free(found);
		found = TAKE_PTR(t.id);
	}
	return found;
}

static void
say_waiting(void *arg)
{
	progress_step(arg, "waiting for another build of a kit's template");
}

int
image_layers_lock(const char *data_dir, const struct progress *p, struct err *e)
{
	return store_lock(data_dir, STORE_LOCK_LAYERS, WAIT_MS, say_waiting, (void *)p, e);
}

/* What the base says of its kernel and disk holds for what stands on it. */
static int
describe(const struct image_layer *l, struct template *t, struct err *e)
{
	uint64_t now = clock_real_ns(), id;
	int r = store_load(l->data_dir, l->base, t, e);

	if (r < 0)
		return r;
	/* Two builds of one kit are two layers. */
	id = digest_add(DIGEST_INIT, l->digest, strlen(l->digest));
	id = digest_add(id, &now, sizeof(now));
	free(t->base);
	t->base = TAKE_PTR(t->id);
	t->id = xasprintf("%s-%012" PRIx64, l->kit, id >> 16);
	free(t->name);
	t->name = xstrdup(l->kit);
	free(t->recipe);
	t->recipe = xstrdup(l->digest);
	t->created = (int64_t)(now / 1000000000);
	return 0;
}

/* The sandboxes' folder may be on another file system, where a link stands for one of the two. */
static int
move_disk(const char *from, const char *to, struct err *e)
{
	char *argv[] = {(char *)"cp", (char *)"--sparse=always", (char *)"--", (char *)from,
		(char *)to, NULL};
	CLEAN_CLOSE int fd = -1;
	int r;

	if (rename(from, to) < 0) {
		if (errno != EXDEV)
			return err_sys(e, errno, "move '%s'", from);
		r = proc_run(argv, COPY_MS, NULL, e);
		if (r < 0)
			return r;
	}
	if (chmod(to, 0400) < 0)
		return err_sys(e, errno, "'%s'", to);
	/* Neither QEMU nor cp waits for the disk. */
	fd = open(to, O_RDONLY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? err_sys(e, errno, "write '%s' to disk", to) : 0;
}

static int
fill(const struct image_layer *l, const struct template *t, const char *work, const char *disk,
	struct err *e)
{
	CLEAN_FREE char *folder = xasprintf("%s/templates/%s", l->data_dir, t->id);
	CLEAN_FREE char *all = xasprintf("%s/templates", l->data_dir);
	CLEAN_FREE char *json = xasprintf("%s/template.json", work);
	CLEAN_FREE char *to = xasprintf("%s/disk.qcow2", work);
	CLEAN_FREE char *text = template_encode(t);
	CLEAN_CLOSE int fd = -1;
	int r = move_disk(disk, to, e);

	if (r == 0)
		r = io_write_file_atomic(AT_FDCWD, json, text, strlen(text), 0600, e);
	if (r < 0)
		return r;
	if (rename(work, folder) < 0)
		return err_sys(e, errno, "create template '%s'", t->id);
	fd = open(all, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? err_sys(e, errno, "write '%s' to disk", all) : 0;
}

/* What an interrupted builder left; its lock is ours now. */
static int
sweep(const char *data_dir, struct err *e)
{
	CLEAN_FREE char *all = xasprintf("%s/templates", data_dir);
	CLEAN_CLOSEDIR DIR *d = opendir(all);
	struct dirent *de;
	int r = 0;

	while (d != NULL && r == 0 && (de = readdir(d)) != NULL)
		if (str_has_prefix(de->d_name, ".layer-"))
			r = io_remove_tree(dirfd(d), de->d_name, e);
	return r;
}

int
image_layer_add(const struct image_layer *l, const char *disk, char **ret_id, struct err *e)
{
	/* Not ".build-": an image's builder, whose lock is another one, sweeps those away. */
	CLEAN_FREE char *work = xasprintf("%s/templates/.layer-XXXXXX", l->data_dir);
	CLEANUP(template_release) struct template t = {0};
	int r = sweep(l->data_dir, e);

	if (r == 0)
		r = describe(l, &t, e);
	if (r < 0)
		return r;
	if (mkdtemp(work) == NULL)
		return err_sys(e, errno, "create folder '%s'", work);
	r = fill(l, &t, work, disk, e);
	if (r < 0) {
		io_remove_tree(AT_FDCWD, work, NULL);
		return r;
	}
	*ret_id = TAKE_PTR(t.id);
	return 0;
}
