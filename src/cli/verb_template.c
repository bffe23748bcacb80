#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include <base/mem.h>
#include <image/image.h>
#include <supervisor/supervisor.h>

#include "verbs.h"

/*
 * The sandboxes that stand on this image. One that cannot be read may stand on any: it is left out,
 * and the first such one's error comes back.
 */
static int
users_of(const struct cli *c, const char *id, struct strv *ret, struct err *e)
{
	CLEAN_STRV struct strv names = {0};
	int r = sandbox_names(&c->paths, &names, e);

	for (size_t i = 0; i < names.n; i++) {
		struct sandbox s = {0};
		int one = sandbox_load(&c->paths, names.v[i], &s, r == 0 ? e : NULL);

		if (one == 0 && strcmp(s.image, id) == 0)
			strv_add(ret, names.v[i]);
		if (one == 0)
			sandbox_release(&s);
		else if (r == 0)
			r = one;
	}
	return r;
}

static int
remove_one(struct cli *c, const char *id, struct err *e)
{
	CLEAN_CLOSE int lock = state_images_lock(&c->paths, true, e);
	CLEAN_STRV struct strv users = {0};
	int r = lock < 0 ? lock : users_of(c, id, &users, e);

	if (users.n > 0)
		return err_set(e, EBUSY,
			"template '%s' is the base of sandbox '%s': remove that first", id,
			users.v[0]);
	if (lock >= 0 && r < 0)
		return err_prefix(e, "whether a sandbox stands on template '%s'", id);
	return r < 0 ? r : image_remove(c->paths.data, id, e);
}

static int
template_ls(struct cli *c, bool json, struct err *e)
{
	struct image_list l = {0};
	json_t *all = json_array();
	int r = image_list(c->paths.data, &l, e);

	if (r == 0 && !json)
		printf("%-32s  %-10s  %-16s  %-9s  %s\n", "TEMPLATE", "SIZE", "CREATED",
			"SANDBOXES", "ON");
	for (size_t i = 0; r == 0 && i < l.n; i++) {
		CLEAN_STRV struct strv users = {0};
		time_t t = (time_t)l.v[i].created;
		char size[16], created[32] = "";
		struct tm tm;

		users_of(c, l.v[i].id, &users, NULL);
		str_from_size(l.v[i].used_bytes, size);
		if (localtime_r(&t, &tm) == NULL ||
			strftime(created, sizeof(created), "%Y-%m-%d %H:%M", &tm) == 0)
			created[0] = '\0';
		if (!json)
			printf("%-32s  %-10s  %-16s  %-9zu  %s\n", l.v[i].id, size, created,
				users.n, l.v[i].base != NULL ? l.v[i].base : "-");
		json_array_append_new(
			all, json_pack("{s:s,s:s,s:s?,s:I,s:I,s:s,s:i}", "id", l.v[i].id, "name",
				     l.v[i].name, "base", l.v[i].base, "used_bytes",
				     (json_int_t)l.v[i].used_bytes, "created",
				     (json_int_t)l.v[i].created, "kernel", l.v[i].kernel_version,
				     "sandboxes", (int)users.n));
	}
	if (r == 0 && json) {
		json_dumpf(all, stdout, JSON_INDENT(2));
		printf("\n");
	}
	json_decref(all);
	image_list_release(&l);
	return r;
}

static int
template_rm(struct cli *c, const struct args *a, struct err *e)
{
	int r = 0;

	if (a->nwords < 2)
		return usage_error(e, "write: paddock template rm TEMPLATE [TEMPLATE...]");
	for (size_t i = 1; i < a->nwords && r == 0; i++) {
		r = remove_one(c, a->words[i], e);
		if (r == 0)
			printf("%s\n", a->words[i]);
	}
	return r;
}

static int
template_build(struct cli *c, const struct args *a, struct err *e)
{
	CLEAN_KIT struct kit kit = {0};
	CLEAN_POLICY struct policy policy = {0};
	bool force = args_has(a, "force");
	struct image img = {0};
	struct ui u;
	int r = agent_find(a->nwords > 1 ? a->words[1] : "shell", &kit, e);

	if (r < 0)
		return r == -ENOENT ? usage_error(e, "no agent is called '%s': see paddock kit ls",
					      a->words[1])
				    : r;
	ui_init(&u, c);
	if (kit_has_layer(&kit))
		r = make_policy(c, a, &kit, &policy, e);
	if (r == 0 && kit_has_layer(&kit))
		r = make_template(c, a, &kit, force, &policy, &u, &img, e);
	else if (r == 0)
		r = make_image(c, force, &u, &img, e);
	ui_finish(&u);
	if (r == 0)
		printf("%s\n", img.id);
	image_release(&img);
	return r;
}

static int
template_exec(struct cli *c, const struct args *a, struct err *e)
{
	const char *what = a->nwords > 0 ? a->words[0] : "";
	int r = state_paths_init(&c->paths, e);

	if (r < 0)
		return r;
	if (strcmp(what, "ls") == 0 || strcmp(what, "list") == 0)
		return template_ls(c, args_has(a, "json"), e);
	if (strcmp(what, "rm") == 0)
		return template_rm(c, a, e);
	if (strcmp(what, "build") == 0)
		return template_build(c, a, e);
	return usage_error(
		e, "write: paddock template ls, template rm TEMPLATE or template build [AGENT]");
}

static const struct option_def template_options[] = {
	{"force", 'f', NULL, "build: even when there is one"},
	{"json", 0, NULL, "ls: as JSON"},
	{"quiet", 'q', NULL, "no progress"},
	{0},
};

const struct verb verb_template = {.name = "template",
	.summary = "List, remove or build templates: machine images, and kits' layers on them",
	.usage = "ls [--json] | rm TEMPLATE... | build [--force] [AGENT|KIT.yaml]",
	.options = template_options,
	.exec = template_exec};
