#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <jansson.h>

#include <base/mem.h>

#include "certs.h"
#include "oci.h"
#include "runc.h"
#include "setkey.h"

#define BUNDLE   OCI_TRUST_DIR "/ca-certificates.crt"
#define EXTRA    OCI_TRUST_DIR "/ca-extra.crt"
#define WGETRC   OCI_TRUST_DIR "/wgetrc"
#define APT_CONF OCI_TRUST_DIR "/apt.conf"

const struct oci_file oci_trust_files[] = {
	{CERTS_BUNDLE, BUNDLE},
	{CERTS_HOST, EXTRA},
	{OCI_TRUST_SOURCES "/wgetrc", WGETRC},
	{OCI_TRUST_SOURCES "/apt.conf", APT_CONF},
	{NULL, NULL},
};

const struct oci_variable oci_trust_variables[] = {
	{"SSL_CERT_FILE", BUNDLE},
	{"REQUESTS_CA_BUNDLE", BUNDLE},
	{"PIP_CERT", BUNDLE},
	{"CURL_CA_BUNDLE", BUNDLE},
	{"GIT_SSL_CAINFO", BUNDLE},
	{"NODE_EXTRA_CA_CERTS", EXTRA}, /* it has the usual ones built in */
	{"SYSTEM_WGETRC", WGETRC},
	{"APT_CONFIG", APT_CONF},
	{NULL, NULL},
};

static bool
is_set(const json_t *env, const char *name)
{
	size_t i, n = strlen(name);
	json_t *v;

	json_array_foreach (env, i, v)
		if (json_is_string(v) && strncmp(json_string_value(v), name, n) == 0 &&
			json_string_value(v)[n] == '=')
			return true;
	return false;
}

/* The member, made where it is missing; NULL: it is something else. Borrowed. */
static json_t *
array_in(json_t *object, const char *name)
{
	json_t *a = json_object_get(object, name);

	if (a == NULL || json_is_null(a)) {
		a = json_array();
		json_object_set_new(object, name, a);
	}
	return json_is_array(a) ? a : NULL;
}

static bool
has_destination(const char *path, bool (*has)(const char *source))
{
	for (const struct oci_file *f = oci_trust_files; f->source != NULL; f++)
		if (strcmp(f->destination, path) == 0)
			return has(f->source);
	return false;
}

static int
add_variables(json_t *process, bool (*has)(const char *source), struct err *e)
{
	json_t *env = array_in(process, "env");

	if (env == NULL)
		return err_set(e, EINVAL, "'env' is no list");
	for (const struct oci_variable *v = oci_trust_variables; v->name != NULL; v++)
		if (!is_set(env, v->name) && has_destination(v->value, has))
			json_array_append_new(env, json_sprintf("%s=%s", v->name, v->value));
	return 0;
}

static int
add_mounts(json_t *config, bool (*has)(const char *source), struct err *e)
{
	json_t *mounts = array_in(config, "mounts");

	if (mounts == NULL)
		return err_set(e, EINVAL, "'mounts' is no list");
	for (const struct oci_file *f = oci_trust_files; f->source != NULL; f++)
		if (has(f->source))
			json_array_append_new(mounts,
				json_pack("{s:s, s:s, s:s, s:[s,s,s,s,s]}", "destination",
					f->destination, "type", "bind", "source", f->source,
					"options", "bind", "ro", "nosuid", "nodev", "noexec"));
	return 0;
}

static json_t *
overlay_options(const struct oci_overlay *o)
{
	json_t *a = json_array();

	json_array_append_new(a, json_sprintf("lowerdir=%s", o->lower));
	if (o->upper != NULL) {
		json_array_append_new(a, json_sprintf("upperdir=%s", o->upper));
		json_array_append_new(a, json_sprintf("workdir=%s", o->work));
	} else {
		json_array_append_new(a, json_string("ro"));
	}
	/* What is in the upper folder is then whole files, each under its own name. */
	json_array_append_new(a, json_string("redirect_dir=off"));
	json_array_append_new(a, json_string("metacopy=off"));
	json_array_append_new(a, json_string("index=off"));
	return a;
}

/* add_mounts has been there, so there is a list. */
static void
add_overlays(json_t *config, const struct oci_overlay *overlays, size_t n)
{
	json_t *mounts = array_in(config, "mounts");

	for (size_t i = 0; i < n; i++)
		json_array_append_new(
			mounts, json_pack("{s:s, s:s, s:s, s:o}", "destination",
					overlays[i].destination, "type", "overlay", "source",
					"overlay", "options", overlay_options(&overlays[i])));
}

/* Those of dockerd: "/proc/PID/exe" under this name. */
static void
replace_hooks(json_t *config)
{
	json_t *hook;
	size_t i;

	json_array_foreach (
		json_object_get(json_object_get(config, "hooks"), "prestart"), i, hook) {
		const char *path = json_string_value(json_object_get(hook, "path"));
		const char *name =
			json_string_value(json_array_get(json_object_get(hook, "args"), 0));

		if (path == NULL || name == NULL || strcmp(name, SETKEY_NAME) != 0 ||
			json_object_get(hook, "env") != NULL)
			continue;
		json_object_set_new(
			hook, "env", json_pack("[o]", json_sprintf(SETKEY_REAL "=%s", path)));
		json_object_set_new(hook, "path", json_string(RUNC_DIR "/" SETKEY_NAME));
	}
}

static int
append(const char *data, size_t n, void *arg)
{
	buf_append(arg, data, n);
	return 0;
}

static char *
copy_of(const json_t *string)
{
	return json_is_string(string) ? xstrdup(json_string_value(string)) : NULL;
}

void
oci_container_release(struct oci_container *c)
{
	free(c->root);
	free(c->java_home);
	strv_release(&c->mounted);
}

int
oci_container_read(const char *text, struct oci_container *ret, struct err *e)
{
	json_error_t why;
	json_auto_t *config = json_loads(text, JSON_REJECT_DUPLICATES, &why);
	json_t *root = json_object_get(config, "root"), *v;
	size_t i;

	if (config == NULL)
		return err_set(e, EINVAL, "line %d: %s", why.line, why.text);
	ret->root = copy_of(json_object_get(root, "path"));
	ret->readonly = json_is_true(json_object_get(root, "readonly"));
	json_array_foreach (json_object_get(json_object_get(config, "linux"), "namespaces"), i, v) {
		const char *type = json_string_value(json_object_get(v, "type"));

		ret->user_namespace |= type != NULL && strcmp(type, "user") == 0;
	}
	json_array_foreach (json_object_get(json_object_get(config, "process"), "env"), i, v)
		if (ret->java_home == NULL && json_is_string(v) &&
			str_has_prefix(json_string_value(v), "JAVA_HOME="))
			ret->java_home = xstrdup(json_string_value(v) + strlen("JAVA_HOME="));
	json_array_foreach (json_object_get(config, "mounts"), i, v) {
		const char *at = json_string_value(json_object_get(v, "destination"));

		if (at != NULL)
			strv_add(&ret->mounted, at);
	}
	return 0;
}

int
oci_amend(const char *text, enum oci_kind kind, bool (*has)(const char *source),
	const struct oci_overlay *overlays, size_t n, struct buf *out, struct err *e)
{
	json_error_t why;
	json_auto_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &why);
	json_t *process = kind == OCI_PROCESS ? root : json_object_get(root, "process");
	int r = 0;

	if (root == NULL)
		return err_set(e, EINVAL, "line %d: %s", why.line, why.text);
	/* A bundle without a process is allowed: it is to be joined by others. */
	if (process != NULL && !json_is_object(process))
		return err_set(e, EINVAL, "no process in it");
	if (process != NULL)
		r = add_variables(process, has, e);
	if (r == 0 && kind == OCI_CONTAINER)
		r = json_is_object(root) ? add_mounts(root, has, e)
					 : err_set(e, EINVAL, "no object");
	if (r == 0 && kind == OCI_CONTAINER) {
		add_overlays(root, overlays, n);
		replace_hooks(root);
	}
	return r == 0 ? json_dump_callback(root, append, out, JSON_COMPACT) : r;
}
