#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <base/mem.h>

#include "record.h"

static json_t *
from_strv(const struct strv *s)
{
	json_t *a = json_array();

	for (size_t i = 0; i < s->n; i++)
		json_array_append_new(a, json_string_nocheck(s->v[i]));
	return a;
}

void
record_encode(const struct sandbox *s, struct buf *out)
{
	json_t *ws = json_array(), *o;
	int version = 1;
	char *text;

	for (size_t i = 0; i < s->nworkspaces; i++) {
		const struct workspace *w = &s->workspaces[i];
		json_t *one = json_pack("{s:o,s:b,s:b}", "path", json_string_nocheck(w->path),
			"read_only", w->read_only, "file", w->is_file);

		if (w->source != NULL) {
			json_object_set_new(one, "source", json_string_nocheck(w->source));
			version = 2;
		}
		json_array_append_new(ws, one);
	}
	o = json_pack("{s:i,s:s,s:s,s:s,s:o,s:I,s:I,s:I,s:s,s:o,s:o,s:o,s:I}", "version", version,
		"name", s->name, "agent", s->agent, "image", s->image, "workspaces", ws, "cpus",
		(json_int_t)s->cpus, "memory_bytes", (json_int_t)s->memory_bytes, "disk_bytes",
		(json_int_t)s->disk_bytes, "accel", s->accel != NULL ? s->accel : "auto", "env",
		from_strv(&s->env), "resolve", from_strv(&s->resolve), "ports",
		from_strv(&s->ports), "created", (json_int_t)s->created);
	json_object_set_new(o, "allow_hooks", json_boolean(s->allow_hooks));
	json_object_set_new(o, "with_settings", json_boolean(s->with_settings));
	json_object_set_new(o, "shadows", from_strv(&s->shadows));
	json_object_set_new(o, "ssh_agent", from_strv(&s->ssh));
	text = json_dumps(o, JSON_INDENT(2));
	json_decref(o);
	if (text == NULL)
		abort();
	buf_append_str(out, text);
	buf_append_str(out, "\n");
	free(text);
}

static int
to_strv(json_t *a, struct strv *ret)
{
	json_t *v;
	size_t i;

	json_array_foreach (a, i, v) {
		if (!json_is_string(v))
			return -EINVAL;
		strv_add(ret, json_string_value(v));
	}
	return 0;
}

static int
to_workspaces(json_t *a, struct sandbox *s)
{
	json_t *v;
	size_t i;

	if (json_array_size(a) > SANDBOX_WORKSPACES_MAX)
		return -EINVAL;
	json_array_foreach (a, i, v) {
		const char *path, *source = NULL;
		int ro = 0, file = 0;

		if (json_unpack(v, "{s:s,s?b,s?b,s?s}", "path", &path, "read_only", &ro, "file",
			    &file, "source", &source) < 0 ||
			path[0] != '/' || (source != NULL && source[0] != '/'))
			return -EINVAL;
		sandbox_add_workspace(s, path, ro, file)->source =
			source != NULL ? xstrdup(source) : NULL;
	}
	return 0;
}

/* Absent in records of before there were any. */
static int
to_shadows(json_t *a, struct sandbox *s)
{
	if (json_array_size(a) > SANDBOX_SHADOWS_MAX || to_strv(a, &s->shadows) < 0)
		return -EINVAL;
	for (size_t i = 0; i < s->shadows.n; i++)
		if (s->shadows.v[i][0] != '/')
			return -EINVAL;
	return 0;
}

static int
from_json(json_t *o, struct sandbox *s, struct err *e)
{
	const char *name, *agent, *image, *accel;
	json_int_t cpus, memory, disk, created;
	json_t *ws, *env, *resolve, *ports = NULL; /* ports came later */
	json_error_t je;

	if (json_unpack_ex(o, &je, 0, "{s:s,s:s,s:s,s:o,s:I,s:I,s:I,s:s,s:o,s:o,s?o,s:I}", "name",
		    &name, "agent", &agent, "image", &image, "workspaces", &ws, "cpus", &cpus,
		    "memory_bytes", &memory, "disk_bytes", &disk, "accel", &accel, "env", &env,
		    "resolve", &resolve, "ports", &ports, "created", &created) < 0)
		return err_set(e, EINVAL, "sandbox.json: %s", je.text);
	if (cpus < 1 || cpus > 1024 || memory < 1 || disk < 0 || strchr(image, '/') != NULL)
		return err_set(e, EINVAL, "sandbox.json: a value is out of range");
	s->name = xstrdup(name);
	s->agent = xstrdup(agent);
	s->image = xstrdup(image);
	s->accel = xstrdup(accel);
	s->cpus = (unsigned)cpus;
	s->memory_bytes = (uint64_t)memory;
	s->disk_bytes = (uint64_t)disk;
	s->created = created;
	s->allow_hooks = json_is_true(json_object_get(o, "allow_hooks"));
	s->with_settings = json_is_true(json_object_get(o, "with_settings"));
	if (to_shadows(json_object_get(o, "shadows"), s) < 0 || to_workspaces(ws, s) < 0 ||
		to_strv(env, &s->env) < 0 || to_strv(resolve, &s->resolve) < 0 ||
		to_strv(ports, &s->ports) < 0 ||
		to_strv(json_object_get(o, "ssh_agent"), &s->ssh) < 0)
		return err_set(e, EINVAL, "sandbox.json: a list holds what it may not");
	return 0;
}

int
record_decode(const char *text, size_t n, struct sandbox *ret, struct err *e)
{
	struct sandbox s = {0};
	json_error_t je;
	json_t *o = json_loadb(text, n, 0, &je);
	json_int_t version = 0;
	int r;

	if (o == NULL)
		return err_set(e, EINVAL, "sandbox.json line %d: %s", je.line, je.text);
	if (json_unpack(o, "{s:I}", "version", &version) < 0)
		r = err_set(e, EINVAL, "sandbox.json has no version");
	else if (version > RECORD_VERSION)
		r = err_set(e, ENOTSUP,
			"sandbox.json has version %lld, this paddock knows %d: use a newer paddock",
			(long long)version, RECORD_VERSION);
	else
		r = from_json(o, &s, e);
	json_decref(o);
	if (r < 0) {
		sandbox_release(&s);
		return r;
	}
	*ret = s;
	return 0;
}
