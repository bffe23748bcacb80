#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <base/io.h>
#include <base/mem.h>

#include "clones.h"

void
clones_release(struct clones *c)
{
	workspaces_free(c->workspaces, c->n);
	strv_release(&c->from);
	strv_release(&c->to);
	*c = (struct clones){0};
}

/* Whether v is one of what o holds, also on the host; what follows o in v then, else NULL. */
static const char *
inside(const struct workspace *v, const struct workspace *o)
{
	const char *rest = path_below(v->path, o->path);
	const char *there = path_below(workspace_source(v), workspace_source(o));

	return rest != NULL && there != NULL && strcmp(rest, there) == 0 ? rest : NULL;
}

/* The workspace whose copy holds this one: the outermost that is written to; at worst itself. */
static const struct workspace *
holder(const struct sandbox *s, const struct workspace *v)
{
	const struct workspace *best = v;

	for (size_t i = 0; i < s->nworkspaces; i++) {
		const struct workspace *o = &s->workspaces[i];

		if (!o->read_only && !o->is_file && inside(v, o) != NULL &&
			strlen(o->path) < strlen(best->path))
			best = o;
	}
	return best;
}

static int
plan_copy(const struct workspace *v, const char *to, struct clones *ret, struct err *e)
{
	struct stat st;

	if (lstat(to, &st) == 0 || errno != ENOENT)
		return err_set(e, EEXIST,
			"'%s', which the workspace's copy would be, exists already: choose another "
			"name, or move it away",
			to);
	strv_add(&ret->from, workspace_source(v));
	strv_add(&ret->to, to);
	return 0;
}

static int
plan_workspace(const struct sandbox *s, const struct workspace *v, const char *name,
	struct clones *ret, struct sandbox *own, struct err *e)
{
	const struct workspace *o = holder(s, v);
	struct workspace *new = sandbox_add_workspace(own, v->path, v->read_only, v->is_file);
	CLEAN_FREE char *copy = xasprintf("%s-%s", o->path, name);

	if (o == v && v->read_only) { /* nobody can tell it from a copy */
		new->source = v->source != NULL ? xstrdup(v->source) : NULL;
		return 0;
	}
	new->source = xasprintf("%s%s", copy, inside(v, o));
	return o == v ? plan_copy(v, copy, ret, e) : 0;
}

int
clones_plan(const struct cli *c, const struct sandbox *original, const char *name,
	struct clones *ret, struct err *e)
{
	struct sandbox own = {0};
	int r = 0;

	for (size_t i = 0; i < original->nworkspaces && r == 0; i++)
		r = plan_workspace(original, &original->workspaces[i], name, ret, &own, e);
	if (r == 0)
		r = sandbox_check_workspaces(&c->paths, &own, e);
	ret->workspaces = own.workspaces;
	ret->n = own.nworkspaces;
	return r;
}

int
clones_copy(const struct clones *first, const struct clones *c, struct err *e)
{
	CLEAN_STRV struct strv pairs = {0};

	for (size_t i = 0; i < c->to.n; i++) {
		strv_add(&pairs, first->to.v[i]);
		strv_add(&pairs, c->to.v[i]);
	}
	return io_copy_trees(&pairs, e);
}

void
clones_remove(const struct clones *c)
{
	for (size_t i = 0; i < c->to.n; i++)
		io_remove_tree(AT_FDCWD, c->to.v[i], NULL);
}
