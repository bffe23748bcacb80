#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <image/image.h>

#include "build.h"
#include "initramfs.h"
#include "recipe.h"
#include "store.h"

#define BUILD_WAIT_MS  (60 * 60 * 1000)
#define REMOVE_WAIT_MS (10 * 1000)

void
image_release(struct image *i)
{
	free(i->id);
	free(i->name);
	free(i->base);
	free(i->layer);
	free(i->disk);
	free(i->kernel);
	free(i->initramfs);
	free(i->ca_bundle);
	free(i->kernel_version);
	memset(i, 0, sizeof(*i));
}

void
image_list_release(struct image_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		image_release(&l->v[i]);
	free(l->v);
	memset(l, 0, sizeof(*l));
}

/* Takes what t holds; everything but the initramfs. */
static int
from_template(const char *data_dir, struct template *t, struct image *ret, struct err *e)
{
	const char *base = t->base != NULL ? t->base : t->id;
	struct image i = {.disk = xasprintf("%s/templates/%s/disk.ext4", data_dir, base),
		.kernel = xasprintf("%s/kernels/%s/vmlinux", data_dir, t->kernel),
		.ca_bundle = xasprintf("%s/templates/%s/ca-certificates.crt", data_dir, base),
		.layer = t->base != NULL ? xasprintf("%s/templates/%s/disk.qcow2", data_dir, t->id)
					 : NULL,
		.disk_bytes = t->disk_bytes,
		.created = t->created};
	struct stat st;
	int r = 0;

	if (stat(i.disk, &st) < 0)
		r = err_sys(e, errno, "image '%s': '%s'", t->id, i.disk);
	else if (i.layer != NULL && stat(i.layer, &st) < 0)
		r = err_sys(e, errno, "template '%s': '%s'", t->id, i.layer);
	else if (access(i.kernel, R_OK) < 0)
		r = err_sys(e, errno, "image '%s': '%s'", t->id, i.kernel);
	if (r < 0) {
		image_release(&i);
		return r;
	}
	i.used_bytes = (uint64_t)st.st_blocks * 512;
	i.id = TAKE_PTR(t->id);
	i.name = TAKE_PTR(t->name);
	i.base = TAKE_PTR(t->base);
	i.kernel_version = TAKE_PTR(t->kernel_release);
	*ret = i;
	return 0;
}

int
image_open(const char *data_dir, const char *id, const char *guest_bin, struct image *ret,
	struct err *e)
{
	CLEANUP(template_release) struct template t = {0};
	CLEAN_FREE char *kernel_dir = NULL;
	struct image i = {0};
	int r = store_load(data_dir, id, &t, e);

	if (r == -ENOENT)
		return err_set(e, ENOENT,
			"the machine image '%.80s' is gone: sandboxes made from it cannot start "
			"any more "
			"(paddock rm NAME); `paddock template build` makes a new image",
			id);
	if (r < 0)
		return r;
	kernel_dir = xasprintf("%s/kernels/%s", data_dir, t.kernel);
	r = from_template(data_dir, &t, &i, e);
	if (r == 0)
		r = initramfs_ensure(kernel_dir, guest_bin, &i.initramfs, e);
	if (r < 0) {
		image_release(&i);
		return r;
	}
	*ret = i;
	return 0;
}

/* The newest image of a recipe. Caller frees; NULL when there is none that can be used. */
static char *
find_built(const char *data_dir, const struct recipe *recipe)
{
	char digest[RECIPE_DIGEST_SIZE];
	CLEAN_STRV struct strv ids = {0};
	char *found = NULL;
	int64_t newest = -1;

	recipe_digest(recipe, digest);
	if (store_ids(data_dir, &ids, NULL) < 0)
		return NULL;
	for (size_t i = 0; i < ids.n; i++) {
		CLEANUP(template_release) struct template t = {0};
		struct image image = {0};

		/* One that this paddock cannot read is not one that it would have made. */
		if (store_load(data_dir, ids.v[i], &t, NULL) < 0 || t.base != NULL ||
			strcmp(t.recipe, digest) != 0 || t.created <= newest ||
			from_template(data_dir, &t, &image, NULL) < 0)
			continue;
		newest = image.created;
		free(found);
		found = TAKE_PTR(image.id);
		image_release(&image);
	}
	return found;
}

static void
say_waiting(void *arg)
{
	progress_step(arg, "waiting for another build of the machine image");
}

static int
build_alone(const struct image_request *q, const struct recipe *recipe, const struct progress *p,
	char **ret_id, struct err *e)
{
	CLEAN_CLOSE int lock = -1;

	lock = store_lock(q->data_dir, STORE_LOCK_IMAGES, BUILD_WAIT_MS, say_waiting, (void *)p, e);
	if (lock < 0)
		return lock;
	/* Whom we waited for may have built it. */
	if (!q->rebuild)
		*ret_id = find_built(q->data_dir, recipe);
	return *ret_id != NULL ? 0 : build_image(q->data_dir, recipe, lock, p, ret_id, e);
}

int
image_ensure(
	const struct image_request *q, const struct progress *p, struct image *ret, struct err *e)
{
	CLEAN_FREE char *id = NULL;
	struct recipe recipe;
	struct utsname host;
	int r;

	if (uname(&host) < 0)
		return err_sys(e, errno, "uname");
	r = recipe_find(q->name, host.machine, q->uid, q->gid, &recipe, e);
	if (r < 0)
		return r;
	if (!q->rebuild)
		id = find_built(q->data_dir, &recipe);
	if (id == NULL) {
		r = store_init(q->data_dir, e);
		if (r == 0)
			r = build_alone(q, &recipe, p, &id, e);
		if (r < 0)
			return r;
	}
	return image_open(q->data_dir, id, q->guest_bin, ret, e);
}

int
image_list(const char *data_dir, struct image_list *ret, struct err *e)
{
	CLEANUP(image_list_release) struct image_list l = {0};
	CLEAN_STRV struct strv ids = {0};
	int r = store_ids(data_dir, &ids, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ids.n; i++) {
		CLEANUP(template_release) struct template t = {0};

		r = store_load(data_dir, ids.v[i], &t, e);
		/* Somebody's own folder. */
		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		l.v = xreallocarray(l.v, l.n + 1, sizeof(*l.v));
		r = from_template(data_dir, &t, &l.v[l.n], e);
		if (r < 0)
			return r;
		l.n++;
	}
	*ret = l;
	memset(&l, 0, sizeof(l));
	return 0;
}

static int
check_no_layer_on(const char *data_dir, const char *id, struct err *e)
{
	CLEAN_STRV struct strv ids = {0};
	int r = store_ids(data_dir, &ids, e);

	for (size_t i = 0; i < ids.n && r == 0; i++) {
		CLEANUP(template_release) struct template t = {0};
		int one = store_load(data_dir, ids.v[i], &t, NULL);

		if (one == 0 && t.base != NULL && strcmp(t.base, id) == 0)
			r = err_set(e, EBUSY,
				"template '%s' is the base of template '%s': remove that first", id,
				ids.v[i]);
	}
	return r;
}

int
image_remove(const char *data_dir, const char *id, struct err *e)
{
	CLEAN_FREE char *from = xasprintf("%s/templates/%s", data_dir, id);
	CLEAN_FREE char *to = xasprintf("%s/templates/.gone-%s", data_dir, id);
	CLEANUP(template_release) struct template t = {0};
	CLEAN_CLOSE int lock = -1;
	int r;

	if (!store_name_fits(id) || access(from, F_OK) < 0)
		return err_set(
			e, ENOENT, "no image is called '%.80s': see paddock template ls", id);
	lock = store_lock(data_dir, STORE_LOCK_IMAGES, REMOVE_WAIT_MS, NULL, NULL, e);
	if (lock < 0)
		return lock;
	/* A broken one may go, but not one that a newer paddock understands. */
	r = store_load(data_dir, id, &t, e);
	if (r == -EPROTO)
		return r;
	r = check_no_layer_on(data_dir, id, e);
	if (r < 0)
		return r;
	/* First out of sight in one step, so that there is never half an image. */
	if (rename(from, to) < 0)
		return err_sys(e, errno, "remove image '%s'", id);
	r = io_remove_tree(AT_FDCWD, to, e);
	return r < 0 ? r : store_drop_kernels(data_dir, e);
}
