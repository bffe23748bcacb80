#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/json.h>
#include <base/mem.h>
#include <cred/secret.h>

#include "entry.h"

static void
entry_release(struct secrets_entry *one)
{
	free(one->sandbox);
	free(one->command);
	cred_release(&one->cred);
}

void
secrets_release(struct secrets *s)
{
	for (size_t i = 0; i < s->n; i++)
		entry_release(&s->v[i]);
	free(s->v);
	*s = (struct secrets){0};
}

static bool
same_sandbox(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

struct secrets_entry *
secrets_find(const struct secrets *s, const char *name, const char *sandbox)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->v[i].cred.name, name) == 0 && same_sandbox(s->v[i].sandbox, sandbox))
			return &s->v[i];
	return NULL;
}

bool
secrets_remove(struct secrets *s, const char *name, const char *sandbox)
{
	struct secrets_entry *old = secrets_find(s, name, sandbox);
	size_t i = old != NULL ? (size_t)(old - s->v) : 0;

	if (old == NULL)
		return false;
	entry_release(old);
	memmove(old, old + 1, (s->n - i - 1) * sizeof(*old));
	s->n--;
	return true;
}

void
secrets_put(struct secrets *s, struct secrets_entry *one)
{
	(void)secrets_remove(s, one->cred.name, one->sandbox);
	s->v = xreallocarray(s->v, s->n + 1, sizeof(*s->v));
	s->v[s->n++] = *one;
	*one = (struct secrets_entry){0};
}

/* ---- JSON */

/* False: it is no UTF-8. */
static bool
set_text(json_t *o, const char *key, const char *text)
{
	return text == NULL || json_object_set_new(o, key, json_string(text)) == 0;
}

json_t *
entries_to_json(const struct secrets *s)
{
	json_t *list = json_array();
	bool fits = true;

	for (size_t i = 0; i < s->n; i++) {
		const struct secrets_entry *one = &s->v[i];
		json_t *o = json_pack("{s:s}", "name", one->cred.name);

		fits &= set_text(o, "sandbox", one->sandbox) &&
			set_text(o, "command", one->command) &&
			set_text(o, "placeholder", one->cred.placeholder) &&
			set_text(o, "value", one->cred.value);
		if (one->cred.nplaces > 0) {
			const struct cred_place *p = &one->cred.places[0];

			json_object_set_new(o, "env", json_of_strv(&one->cred.env));
			json_object_set_new(o, "hosts", json_of_strv(&p->hosts));
			fits &= set_text(o, "header", p->header) &&
				set_text(o, "format", p->format);
		}
		json_array_append_new(list, o);
	}
	if (!fits) {
		json_decref(list);
		return NULL;
	}
	return list;
}

static char *
take_text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? xstrdup(s) : NULL;
}

static void
take_texts(json_t *o, const char *key, struct strv *ret)
{
	json_t *v;
	size_t i;

	json_array_foreach (json_object_get(o, key), i, v)
		if (json_is_string(v))
			strv_add(ret, json_string_value(v));
}

static void
take_place(json_t *o, struct cred *c)
{
	CLEAN_STRV struct strv hosts = {0};
	const char *header = json_string_value(json_object_get(o, "header"));
	const char *format = json_string_value(json_object_get(o, "format"));

	take_texts(o, "env", &c->env);
	take_texts(o, "hosts", &hosts);
	if (header != NULL && format != NULL)
		cred_add_place(c, &hosts, header, format);
}

static int
entry_from_json(json_t *o, struct secrets_entry *one)
{
	const char *value = json_string_value(json_object_get(o, "value"));

	one->sandbox = take_text(o, "sandbox");
	one->command = take_text(o, "command");
	one->cred.name = take_text(o, "name");
	one->cred.placeholder = take_text(o, "placeholder");
	if (value != NULL)
		one->cred.value = secret_dup(value, strlen(value));
	take_place(o, &one->cred);
	return one->cred.name != NULL && cred_name_fits(one->cred.name) &&
			       (value != NULL) != (one->command != NULL)
		       ? 0
		       : -EINVAL;
}

int
entries_from_json(json_t *list, struct secrets *ret, struct err *e)
{
	json_t *v;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > SECRETS_ENTRIES_MAX)
		return err_set(e, EINVAL, "its list of entries is damaged");
	json_array_foreach (list, i, v) {
		struct secrets_entry one = {0};

		if (entry_from_json(v, &one) < 0) {
			entry_release(&one);
			return err_set(e, EINVAL, "its entry %zu is damaged", i + 1);
		}
		secrets_put(ret, &one);
	}
	return 0;
}
