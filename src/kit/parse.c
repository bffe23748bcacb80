/* A tree of texts, lists and maps -> struct kit, by one table of keys for each kind of map. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <kit/kit.h>

#include "doc.h"
#include "parse_map.h"
#include "parse_parts.h"

/* Debian policy 5.6.1; "=VERSION" may follow. Never an option of apt's. */
static bool
is_package(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.");

	if (n < 2 || n > 100 || !isalnum((unsigned char)s[0]))
		return false;
	if (s[n] == '=') {
		const char *version = s + n + 1;
		size_t v = strlen(version);

		return v > 0 && v < 100 && isdigit((unsigned char)version[0]) &&
		       strspn(version, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789+-.:~") == v;
	}
	return s[n] == '\0';
}

/* What npm install takes from a registry: "name", "@scope/name", each with "@version". */
static bool
is_npm(const char *s)
{
	const char *name = s[0] == '@' ? strchr(s, '/') : s, *p;

	if (name == NULL || strlen(s) > 214)
		return false;
	if (s[0] == '@' && (name == s + 1 || !isalnum((unsigned char)s[1])))
		return false;
	name += s[0] == '@';
	if (!isalnum((unsigned char)name[0]))
		return false;
	for (p = s + 1; *p != '\0'; p++)
		if (!isalnum((unsigned char)*p) && strchr("-._~@^", *p) == NULL &&
			(*p != '/' || p + 1 != name))
			return false;
	return true;
}

static bool
is_word(const char *s)
{
	return s[0] != '\0';
}

/* ---- the kit ---- */

static int
read_name(const struct node *n, void *into, struct err *e)
{
	struct kit *k = into;

	if (n->type != NODE_TEXT || !kit_name_fits(n->text))
		return node_error(n, e,
			"a kit's name is of a-z, 0-9 and '-', at most %d characters", KIT_NAME_MAX);
	return parse_text(n, "name", KIT_NAME_MAX, &k->name, e);
}

static int
read_description(const struct node *n, void *into, struct err *e)
{
	struct kit *k = into;

	return parse_line(n, "description", PARSE_LINE_MAX, &k->description, e);
}

static int
read_extends(const struct node *n, void *into, struct err *e)
{
	struct kit *k = into;

	if (n->type != NODE_TEXT || !parse_is_line(n->text, PARSE_TEXT_MAX) ||
		(!kit_name_fits(n->text) && !kit_word_is_path(n->text)))
		return node_error(n, e, "extends must be the name of a kit, or a path to its file");
	return parse_text(n, "extends", PARSE_TEXT_MAX, &k->extends, e);
}

static int
read_packages(const struct node *n, void *into, struct err *e)
{
	struct kit *k = into;

	return parse_list(n, "packages", is_package, "name of a Debian package", &k->packages, e);
}

static int
read_npm(const struct node *n, void *into, struct err *e)
{
	struct kit *k = into;

	return parse_list(n, "npm", is_npm, "npm package of a registry", &k->npm, e);
}

static int
read_command(const struct node *n, void *into, struct err *e)
{
	struct kit *k = into;

	k->has_command = true;
	return parse_list(n, "command", is_word, "word of a command", &k->command, e);
}

static int
read_args(const struct node *n, void *into, struct err *e)
{
	struct kit *k = into;

	k->has_args = true;
	return parse_list(n, "args", NULL, "argument", &k->args, e);
}

static int
read_env(const struct node *n, void *into, struct err *e)
{
	struct kit *k = into;

	if (n->type != NODE_MAP || n->nkids > KIT_LIST_MAX)
		return node_error(
			n, e, "env must be a map of at most %d: KEY: VALUE", KIT_LIST_MAX);
	for (size_t i = 0; i < n->nkids; i++) {
		const struct node *v = &n->kids[i];

		if (!parse_is_env_key(v->key))
			return node_key_error(v, e, "'%.60s' is no name of a variable", v->key);
		if (v->type != NODE_TEXT || strlen(v->text) > PARSE_TEXT_MAX)
			return node_error(v, e, "a variable's value must be a text of at most %d",
				PARSE_TEXT_MAX);
		strv_setenv(&k->env, v->key, v->text);
	}
	return 0;
}

static const struct key keys[] = {
	{"name", read_name, true},
	{"description", read_description, false},
	{"extends", read_extends, false},
	{"packages", read_packages, false},
	{"npm", read_npm, false},
	{"install", parts_read_install, false},
	{"files", parts_read_files, false},
	{"command", read_command, false},
	{"args", read_args, false},
	{"env", read_env, false},
	{"network", parts_read_network, false},
	{"credentials", parts_read_credentials, false},
	{"settings", parts_read_settings, false},
};

void
kit_release(struct kit *k)
{
	free(k->name);
	free(k->description);
	free(k->extends);
	strv_release(&k->packages);
	strv_release(&k->npm);
	for (size_t i = 0; i < k->nsteps; i++)
		free(k->steps[i].run);
	free(k->steps);
	for (size_t i = 0; i < k->nfiles; i++)
		parts_file_release(&k->files[i]);
	free(k->files);
	strv_release(&k->command);
	strv_release(&k->args);
	strv_release(&k->env);
	strv_release(&k->rules);
	for (size_t i = 0; i < k->ncredentials; i++)
		parts_credential_release(&k->credentials[i]);
	free(k->credentials);
	for (size_t i = 0; i < k->nsettings; i++)
		parts_setting_release(&k->settings[i]);
	free(k->settings);
	memset(k, 0, sizeof(*k));
}

int
kit_parse(const char *text, size_t n, struct kit *ret, struct err *e)
{
	CLEANUP(node_release) struct node root = {0};
	CLEAN_KIT struct kit k = {0};
	int r;

	if (n > KIT_PRINT_MAX)
		return err_set(e, EINVAL, "1:1: longer than %d bytes", KIT_PRINT_MAX);
	r = doc_read(text, n, &root, e);
	if (r == 0)
		r = parse_map(&root, keys, ARRAY_LEN(keys), &k, "a kit", e);
	if (r < 0)
		return r;
	*ret = k;
	k = (struct kit){0};
	return 0;
}
