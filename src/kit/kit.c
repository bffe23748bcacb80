/* What kits are to each other, and what is made of one. Pure. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/digest.h>
#include <base/json.h>
#include <base/mem.h>
#include <kit/kit.h>

/* ---- extends ---- */

/* The parent's, then what the child adds. */
static void
join(struct strv *child, const struct strv *parent)
{
	struct strv all = {0};

	for (size_t i = 0; i < parent->n; i++)
		strv_add(&all, parent->v[i]);
	for (size_t i = 0; i < child->n; i++)
		if (!strv_has(&all, child->v[i]))
			strv_add(&all, child->v[i]);
	strv_release(child);
	*child = all;
}

static void
join_env(struct strv *child, const struct strv *parent)
{
	struct strv all = {0};

	for (size_t i = 0; i < parent->n + child->n; i++) {
		const char *entry = i < parent->n ? parent->v[i] : child->v[i - parent->n];
		CLEAN_FREE char *key = xstrndup(entry, strcspn(entry, "="));

		strv_setenv(&all, key, entry + strlen(key) + 1);
	}
	strv_release(child);
	*child = all;
}

static void
copy_words(struct strv *to, const struct strv *from)
{
	for (size_t i = 0; i < from->n; i++)
		strv_add(to, from->v[i]);
}

static void
join_steps(struct kit *child, const struct kit *parent)
{
	struct kit_step *all = xcalloc(parent->nsteps + child->nsteps + 1, sizeof(*all));

	for (size_t i = 0; i < parent->nsteps; i++)
		all[i] = (struct kit_step){parent->steps[i].root, xstrdup(parent->steps[i].run)};
	for (size_t i = 0; i < child->nsteps; i++)
		all[parent->nsteps + i] = child->steps[i];
	free(child->steps);
	child->steps = all;
	child->nsteps += parent->nsteps;
}

static bool
has_file(const struct kit *k, const char *path)
{
	for (size_t i = 0; i < k->nfiles; i++)
		if (strcmp(k->files[i].path, path) == 0)
			return true;
	return false;
}

static void
join_files(struct kit *child, const struct kit *parent)
{
	struct kit_file *all = xcalloc(parent->nfiles + child->nfiles + 1, sizeof(*all));
	size_t n = 0;

	for (size_t i = 0; i < parent->nfiles; i++) {
		const struct kit_file *f = &parent->files[i];

		if (!has_file(child, f->path))
			all[n++] =
				(struct kit_file){xstrdup(f->path), xstrdup(f->content), f->mode};
	}
	for (size_t i = 0; i < child->nfiles; i++)
		all[n++] = child->files[i];
	free(child->files);
	child->files = all;
	child->nfiles = n;
}

static bool
has_credential(const struct kit *k, const char *name)
{
	for (size_t i = 0; i < k->ncredentials; i++)
		if (strcmp(k->credentials[i].name, name) == 0)
			return true;
	return false;
}

static char *
copy_text(const char *s)
{
	return s != NULL ? xstrdup(s) : NULL;
}

static void
join_credentials(struct kit *child, const struct kit *parent)
{
	struct kit_credential *all =
		xcalloc(parent->ncredentials + child->ncredentials + 1, sizeof(*all));
	size_t n = 0;

	for (size_t i = 0; i < parent->ncredentials; i++) {
		const struct kit_credential *c = &parent->credentials[i];

		if (has_credential(child, c->name))
			continue;
		all[n] = (struct kit_credential){.name = xstrdup(c->name),
			.header = copy_text(c->header),
			.format = copy_text(c->format),
			.placeholder = copy_text(c->placeholder)};
		copy_words(&all[n].env, &c->env);
		copy_words(&all[n++].hosts, &c->hosts);
	}
	for (size_t i = 0; i < child->ncredentials; i++)
		all[n++] = child->credentials[i];
	free(child->credentials);
	child->credentials = all;
	child->ncredentials = n;
}

bool
kit_has_setting(const struct kit *k, const char *path)
{
	for (size_t i = 0; i < k->nsettings; i++)
		if (strcmp(k->settings[i].path, path) == 0)
			return true;
	return false;
}

static void
join_settings(struct kit *child, const struct kit *parent)
{
	struct kit_setting *all = xcalloc(parent->nsettings + child->nsettings + 1, sizeof(*all));
	size_t n = 0;

	for (size_t i = 0; i < parent->nsettings; i++) {
		const struct kit_setting *s = &parent->settings[i];

		if (kit_has_setting(child, s->path))
			continue;
		all[n].path = xstrdup(s->path);
		copy_words(&all[n++].keys, &s->keys);
	}
	for (size_t i = 0; i < child->nsettings; i++)
		all[n++] = child->settings[i];
	free(child->settings);
	child->settings = all;
	child->nsettings = n;
}

void
kit_extend(struct kit *child, const struct kit *parent)
{
	if (child->description == NULL)
		child->description = copy_text(parent->description);
	join(&child->packages, &parent->packages);
	join(&child->npm, &parent->npm);
	join_steps(child, parent);
	join_files(child, parent);
	/* A command of its own does not get another one's arguments. */
	if (!child->has_args && !child->has_command) {
		copy_words(&child->args, &parent->args);
		child->has_args = parent->has_args;
	}
	if (!child->has_command) {
		copy_words(&child->command, &parent->command);
		child->has_command = parent->has_command;
	}
	join_env(&child->env, &parent->env);
	join(&child->rules, &parent->rules);
	join_credentials(child, parent);
	join_settings(child, parent);
	free(child->extends);
	child->extends = NULL;
}

/* ---- as JSON ---- */

static void
set_words(json_t *o, const char *key, const struct strv *s)
{
	if (s->n > 0)
		json_object_set_new(o, key, json_of_strv(s));
}

static void
set_text(json_t *o, const char *key, const char *text)
{
	if (text != NULL)
		json_object_set_new(o, key, json_string(text));
}

static void
set_steps(json_t *o, const struct kit *k)
{
	json_t *a = json_array();

	for (size_t i = 0; i < k->nsteps; i++)
		json_array_append_new(
			a, json_pack("{s:s,s:s}", "user", k->steps[i].root ? "root" : "agent",
				   "run", k->steps[i].run));
	if (k->nsteps > 0)
		json_object_set(o, "install", a);
	json_decref(a);
}

static void
set_files(json_t *o, const struct kit *k)
{
	json_t *a = json_array();

	for (size_t i = 0; i < k->nfiles; i++) {
		char mode[16];

		snprintf(mode, sizeof(mode), "%04o", k->files[i].mode);
		json_array_append_new(a, json_pack("{s:s,s:s,s:s}", "path", k->files[i].path,
						 "mode", mode, "content", k->files[i].content));
	}
	if (k->nfiles > 0)
		json_object_set(o, "files", a);
	json_decref(a);
}

static void
set_env(json_t *o, const struct kit *k)
{
	json_t *m = json_object();

	for (size_t i = 0; i < k->env.n; i++) {
		CLEAN_FREE char *key = xstrndup(k->env.v[i], strcspn(k->env.v[i], "="));

		json_object_set_new(m, key, json_string(k->env.v[i] + strlen(key) + 1));
	}
	if (k->env.n > 0)
		json_object_set(o, "env", m);
	json_decref(m);
}

static void
set_rules(json_t *o, const struct kit *k)
{
	json_t *allow = json_array(), *deny = json_array(), *m = json_object();

	for (size_t i = 0; i < k->rules.n; i++) {
		const char *line = k->rules.v[i];

		if (str_has_prefix(line, "allow "))
			json_array_append_new(allow, json_string(line + strlen("allow ")));
		else
			json_array_append_new(deny, json_string(line + strlen("deny ")));
	}
	if (json_array_size(allow) > 0)
		json_object_set(m, "allow", allow);
	if (json_array_size(deny) > 0)
		json_object_set(m, "deny", deny);
	if (k->rules.n > 0)
		json_object_set(o, "network", m);
	json_decref(allow);
	json_decref(deny);
	json_decref(m);
}

static void
set_credentials(json_t *o, const struct kit *k)
{
	json_t *a = json_array();

	for (size_t i = 0; i < k->ncredentials; i++) {
		const struct kit_credential *c = &k->credentials[i];
		json_t *one = json_object();

		set_text(one, "name", c->name);
		set_words(one, "env", &c->env);
		set_words(one, "hosts", &c->hosts);
		set_text(one, "header", c->header);
		set_text(one, "format", c->format);
		set_text(one, "placeholder", c->placeholder);
		json_array_append_new(a, one);
	}
	if (k->ncredentials > 0)
		json_object_set(o, "credentials", a);
	json_decref(a);
}

static void
set_settings(json_t *o, const struct kit *k)
{
	json_t *a = json_array();

	for (size_t i = 0; i < k->nsettings; i++) {
		json_t *one = json_object();

		set_text(one, "path", k->settings[i].path);
		set_words(one, "keys", &k->settings[i].keys);
		json_array_append_new(a, one);
	}
	if (k->nsettings > 0)
		json_object_set(o, "settings", a);
	json_decref(a);
}

char *
kit_print(const struct kit *k)
{
	json_t *o = json_object();
	char *text;

	set_text(o, "name", k->name);
	set_text(o, "description", k->description);
	set_text(o, "extends", k->extends);
	set_words(o, "packages", &k->packages);
	set_words(o, "npm", &k->npm);
	set_steps(o, k);
	set_files(o, k);
	if (k->has_command)
		json_object_set_new(o, "command", json_of_strv(&k->command));
	if (k->has_args)
		json_object_set_new(o, "args", json_of_strv(&k->args));
	set_env(o, k);
	set_rules(o, k);
	set_credentials(o, k);
	set_settings(o, k);
	text = json_dumps(o, JSON_INDENT(2));
	json_decref(o);
	if (text == NULL)
		abort();
	return text;
}

/* What is written there is "${CREDENTIAL:NAME}", of one of the kit's. */
static int
check_file(const struct kit *k, const struct kit_file *f, struct err *e)
{
	const char *p = f->content;

	while ((p = strstr(p, KIT_VAR_CREDENTIAL)) != NULL) {
		p += strlen(KIT_VAR_CREDENTIAL);
		CLEAN_FREE char *name = xstrndup(p, strcspn(p, "}\n"));

		if (p[strlen(name)] != '}' || !has_credential(k, name))
			return err_set(e, EINVAL,
				"kit '%s': its file '%.60s' names the credential '%.40s', which is "
				"none of its credentials",
				k->name, f->path, name);
	}
	return 0;
}

int
kit_check_whole(const struct kit *k, struct err *e)
{
	CLEAN_FREE char *text = kit_print(k);
	CLEAN_KIT struct kit back = {0};
	int r = 0;

	for (size_t i = 0; i < k->nfiles && r == 0; i++)
		r = check_file(k, &k->files[i], e);
	if (r < 0)
		return r;
	if (k->command.n == 0 && k->args.n == 0)
		return err_set(e, EINVAL,
			"kit '%s' has nothing to run: give it a command, or extends: shell",
			k->name);
	if (kit_parse(text, strlen(text), &back, NULL) < 0)
		return err_set(e, EINVAL,
			"kit '%s' and what it extends are together more than a kit can be",
			k->name);
	return 0;
}

/* ---- its layer ---- */

bool
kit_has_layer(const struct kit *k)
{
	return k->packages.n > 0 || k->npm.n > 0 || k->nsteps > 0;
}

static uint64_t
add(uint64_t d, const char *s)
{
	return digest_add(d, s, strlen(s) + 1);
}

static uint64_t
add_words(uint64_t h, const char *what, const struct strv *s)
{
	h = add(h, what);
	for (size_t i = 0; i < s->n; i++)
		h = add(h, s->v[i]);
	return h;
}

/* To be raised when the same kit's layer is to be built in another way. */
#define LAYER_VERSION "1"

void
kit_layer_digest(const struct kit *k, const char *base_id, char out[KIT_DIGEST_SIZE])
{
	uint64_t h = add(DIGEST_INIT, LAYER_VERSION);

	h = add(h, base_id);
	h = add(h, k->name);
	h = add_words(h, "packages", &k->packages);
	h = add_words(h, "npm", &k->npm);
	for (size_t i = 0; i < k->nsteps; i++) {
		h = add(h, k->steps[i].root ? "root" : "agent");
		h = add(h, k->steps[i].run);
	}
	/* Steps run with the kit's environment. */
	h = add_words(h, "env", &k->env);
	snprintf(out, KIT_DIGEST_SIZE, "%016" PRIx64, h);
}

/* ---- files ---- */

/* RFC 8259 section 7, for the inside of a string. */
static void
append_json(struct buf *b, const char *s)
{
	CLEAN_FREE char *quoted = NULL;
	json_t *j = json_string(s);

	quoted = j != NULL ? json_dumps(j, JSON_ENCODE_ANY) : NULL;
	json_decref(j);
	if (quoted != NULL)
		buf_append(b, quoted + 1, strlen(quoted) - 2);
}

/* *p is behind the variable's beginning, and then behind its end. */
static const char *
find_placeholder(const char **p, const struct kit_vars *v)
{
	size_t n = strcspn(*p, "}");
	CLEAN_FREE char *name = xstrndup(*p, n);

	*p += (*p)[n] == '}' ? n + 1 : n;
	return strv_getenv(&v->credentials, name);
}

char *
kit_file_fill(const struct kit_file *f, const struct kit_vars *v)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	const char *placeholder;

	for (const char *p = f->content; *p != '\0';) {
		if (str_has_prefix(p, KIT_VAR_WORKSPACE_JSON)) {
			append_json(&b, v->workspace);
			p += strlen(KIT_VAR_WORKSPACE_JSON);
		} else if (str_has_prefix(p, KIT_VAR_WORKSPACE)) {
			buf_append_str(&b, v->workspace);
			p += strlen(KIT_VAR_WORKSPACE);
		} else if (str_has_prefix(p, KIT_VAR_CREDENTIAL)) {
			p += strlen(KIT_VAR_CREDENTIAL);
			placeholder = find_placeholder(&p, v);
			if (placeholder == NULL)
				return NULL;
			buf_append_str(&b, placeholder);
		} else {
			buf_append(&b, p++, 1);
		}
	}
	return xstrdup(buf_str(&b));
}
