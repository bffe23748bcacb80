#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/json.h>
#include <base/mem.h>
#include <state/credentials.h>

#define FILE_MAX (1U << 20)

static int
read_texts(json_t *a, struct strv *ret)
{
	json_t *v;
	size_t i;

	if (!json_is_array(a) || json_array_size(a) > CRED_HOSTS_MAX)
		return -EINVAL;
	json_array_foreach (a, i, v) {
		if (!json_is_string(v))
			return -EINVAL;
		strv_add(ret, json_string_value(v));
	}
	return 0;
}

static json_t *
cred_to_json(const struct cred *c)
{
	json_t *places = json_array();

	for (size_t i = 0; i < c->nplaces; i++)
		json_array_append_new(places,
			json_pack("{s:o,s:s,s:s}", "hosts", json_of_strv(&c->places[i].hosts),
				"header", c->places[i].header, "format", c->places[i].format));
	return json_pack("{s:s,s:o,s:s,s:o}", "name", c->name, "env", json_of_strv(&c->env),
		"placeholder", c->placeholder, "places", places);
}

static int
place_from_json(json_t *o, struct cred *c)
{
	CLEAN_STRV struct strv hosts = {0};
	const char *header, *format;
	json_t *list;

	if (json_unpack(o, "{s:o,s:s,s:s}", "hosts", &list, "header", &header, "format", &format) <
			0 ||
		read_texts(list, &hosts) < 0 || c->nplaces >= CRED_PLACES_MAX)
		return -EINVAL;
	cred_add_place(c, &hosts, header, format);
	return 0;
}

static int
cred_from_json(json_t *o, struct cred *c)
{
	const char *name, *placeholder;
	json_t *env, *places, *v;
	size_t i;
	int r;

	if (json_unpack(o, "{s:s,s:o,s:s,s:o}", "name", &name, "env", &env, "placeholder",
		    &placeholder, "places", &places) < 0 ||
		!json_is_array(places))
		return -EINVAL;
	c->name = xstrdup(name);
	c->placeholder = xstrdup(placeholder);
	r = read_texts(env, &c->env);
	json_array_foreach (places, i, v)
		if (r == 0)
			r = place_from_json(v, c);
	return r;
}

static int
from_json(json_t *o, struct cred_set *ret, struct err *e)
{
	json_int_t version = 0;
	json_t *list, *v;
	size_t i;

	if (json_unpack(o, "{s:I,s:o}", "version", &version, "credentials", &list) < 0)
		return err_set(e, EINVAL, "it is damaged");
	if (version > CREDENTIALS_FILE_VERSION)
		return err_set(e, ENOTSUP,
			"it has version %lld, this paddock knows %d: use a newer paddock",
			(long long)version, CREDENTIALS_FILE_VERSION);
	json_array_foreach (list, i, v) {
		struct cred c = {0};

		if (cred_from_json(v, &c) < 0) {
			cred_release(&c);
			return err_set(e, EINVAL, "its credential %zu is damaged", i + 1);
		}
		cred_set_add(ret, &c);
	}
	return cred_set_check(ret, e);
}

int
state_credentials_load(
	const struct state_paths *p, const char *name, struct cred_set *ret, struct err *e)
{
	CLEAN_FREE char *path = state_sandbox_file(p, name, "credentials.json");
	CLEAN_CRED_SET struct cred_set s = {0};
	CLEAN_BUF struct buf b = BUF_INIT;
	json_error_t je;
	json_t *o;
	int r = io_read_file(AT_FDCWD, path, FILE_MAX, &b, e);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	o = json_loadb(buf_str(&b), b.len, JSON_REJECT_DUPLICATES, &je);
	r = o != NULL ? from_json(o, &s, e) : err_set(e, EINVAL, "line %d: %s", je.line, je.text);
	json_decref(o);
	if (r < 0)
		return err_prefix(e, "'%s'", path);
	*ret = s;
	s = (struct cred_set){0};
	return 0;
}

int
state_credentials_save(
	const struct state_paths *p, const char *name, const struct cred_set *s, struct err *e)
{
	CLEAN_FREE char *path = state_sandbox_file(p, name, "credentials.json");
	CLEAN_FREE char *text = NULL;
	json_t *list = json_array(), *o;

	for (size_t i = 0; i < s->n; i++)
		json_array_append_new(list, cred_to_json(&s->v[i]));
	o = json_pack("{s:i,s:o}", "version", CREDENTIALS_FILE_VERSION, "credentials", list);
	text = json_dumps(o, JSON_INDENT(2));
	json_decref(o);
	if (text == NULL)
		abort();
	return io_write_file_atomic(AT_FDCWD, path, text, strlen(text), 0600, e);
}
