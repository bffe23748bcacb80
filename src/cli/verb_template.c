#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include <base/mem.h>
#include <image/image.h>
#include <snapshot/snapshot.h>
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
	uint64_t freed;
	int r = lock < 0 ? lock : users_of(c, id, &users, e);

	if (users.n > 0)
		return err_set(e, EBUSY,
			"template '%s' is the base of sandbox '%s': remove that first", id,
			users.v[0]);
	if (lock >= 0 && r < 0)
		return err_prefix(e, "whether a sandbox stands on template '%s'", id);
	if (r == 0)
		r = image_remove(c->paths.data, id, e);
	return r < 0 ? r : snapshot_drop(c->paths.data, id, &freed, e);
}

/* What the snapshots of a template take on the disk. */
static uint64_t
snapshots_of(const struct snapshot_list *l, const char *id, int *ret_n)
{
	uint64_t sum = 0;

	*ret_n = 0;
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->v[i].image, id) == 0) {
			sum += l->v[i].used_bytes;
			++*ret_n;
		}
	return sum;
}

static int
template_ls(struct cli *c, bool json, struct err *e)
{
	CLEANUP(snapshot_list_release) struct snapshot_list snapshots = {0};
	struct image_list l = {0};
	json_t *all = json_array();
	int r = image_list(c->paths.data, &l, e);

	if (r == 0)
		r = snapshot_list(c->paths.data, &snapshots, e);
	if (r == 0 && !json)
		printf("%-32s  %-10s  %-16s  %-9s  %-10s  %s\n", "TEMPLATE", "SIZE", "CREATED",
			"SANDBOXES", "SNAPSHOTS", "ON");
	for (size_t i = 0; r == 0 && i < l.n; i++) {
		CLEAN_STRV struct strv users = {0};
		time_t t = (time_t)l.v[i].created;
		char size[16], snapshot_size[16], created[32] = "";
		uint64_t bytes;
		int nsnapshots;
		struct tm tm;

		users_of(c, l.v[i].id, &users, NULL);
		bytes = snapshots_of(&snapshots, l.v[i].id, &nsnapshots);
		str_from_size(l.v[i].used_bytes, size);
		str_from_size(bytes, snapshot_size);
		if (localtime_r(&t, &tm) == NULL ||
			strftime(created, sizeof(created), "%Y-%m-%d %H:%M", &tm) == 0)
			created[0] = '\0';
		if (!json)
			printf("%-32s  %-10s  %-16s  %-9zu  %-10s  %s\n", l.v[i].id, size, created,
				users.n, nsnapshots > 0 ? snapshot_size : "-",
				l.v[i].base != NULL ? l.v[i].base : "-");
		json_array_append_new(
			all, json_pack("{s:s,s:s,s:s?,s:I,s:I,s:s,s:i,s:i,s:I}", "id", l.v[i].id,
				     "name", l.v[i].name, "base", l.v[i].base, "used_bytes",
				     (json_int_t)l.v[i].used_bytes, "created",
				     (json_int_t)l.v[i].created, "kernel", l.v[i].kernel_version,
				     "sandboxes", (int)users.n, "snapshots", nsnapshots,
				     "snapshot_bytes", (json_int_t)bytes));
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

/* They are made anew when they are needed. */
static int
template_prune(struct cli *c, struct err *e)
{
	uint64_t freed = 0;
	char shown[16];
	int r = snapshot_drop(c->paths.data, NULL, &freed, e);

	if (r < 0)
		return r;
	str_from_size(freed, shown);
	printf("%s freed\n", shown);
	return 0;
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
	if (strcmp(what, "prune") == 0)
		return template_prune(c, e);
	return usage_error(e, "write: paddock template ls, template rm TEMPLATE, template build "
			      "[AGENT] or template prune");
}

static const struct option_def template_options[] = {
	{"force", 'f', NULL, "build: even when there is one"},
	{"json", 0, NULL, "ls: as JSON"},
	{"quiet", 'q', NULL, "no progress"},
	{0},
};

const struct verb verb_template = {.name = "template",
	.summary = "List, remove or build templates: machine images, and kits' layers on them",
	.usage = "ls [--json] | rm TEMPLATE... | build [--force] [AGENT|KIT.yaml] | prune",
	.details =
		"The first sandbox of a shape (template, CPUs, memory, ...) leaves a snapshot of\n"
		"a machine that has booted, and those that follow are clones of it. The last\n"
		"eight in use are kept, 4 GiB at most; prune removes them all.",
	.options = template_options,
	.exec = template_exec};
