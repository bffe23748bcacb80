/* The keys whose values are lists of maps: files, install, network, credentials, settings. */
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <cred/service.h>
#include <cred/set.h>
#include <kit/kit.h>
#include <policy/rule.h>

#include "parse_parts.h"

/* ---- files ---- */

static int
read_home_path(const struct node *n, char **ret, struct err *e)
{
	CLEAN_FREE char *text = NULL;
	const char *p;
	int r = parse_line(n, "path", 1024, &text, e);

	if (r < 0)
		return r;
	p = str_has_prefix(text, "~/") ? text + 2 : text;
	for (const char *part = p;; part = strchr(part, '/') + 1) {
		size_t len = strcspn(part, "/");

		if (len == 0 || (len == 1 && part[0] == '.') ||
			(len == 2 && memcmp(part, "..", 2) == 0))
			return node_error(n, e,
				"'%.60s' is no path below the home: write it relative, without "
				"'.' and '..'",
				text);
		if (part[len] == '\0')
			break;
	}
	free(*ret);
	*ret = xstrdup(p);
	return 0;
}

static int
read_file_path(const struct node *n, void *into, struct err *e)
{
	struct kit_file *f = into;

	return read_home_path(n, &f->path, e);
}

static int
read_file_content(const struct node *n, void *into, struct err *e)
{
	struct kit_file *f = into;

	return parse_text(n, "content", KIT_TEXT_MAX, &f->content, e);
}

static int
read_file_mode(const struct node *n, void *into, struct err *e)
{
	struct kit_file *f = into;
	unsigned mode = 0;

	if (n->type != NODE_TEXT || strlen(n->text) < 3 || strlen(n->text) > 4 ||
		strspn(n->text, "01234567") != strlen(n->text) ||
		(mode = (unsigned)strtoul(n->text, NULL, 8)) > 0777 || (mode & 0400) == 0)
		return node_error(
			n, e, "mode must be an octal number such as \"0600\" or \"0755\"");
	f->mode = mode;
	return 0;
}

void
parts_file_release(struct kit_file *f)
{
	free(f->path);
	free(f->content);
}

int
parts_read_files(const struct node *n, void *into, struct err *e)
{
	static const struct key keys[] = {{"path", read_file_path, true},
		{"content", read_file_content, true}, {"mode", read_file_mode, false}};
	struct kit *k = into;

	if (n->type != NODE_LIST || n->nkids > KIT_LIST_MAX)
		return node_error(n, e, "files must be a list of at most %d", KIT_LIST_MAX);
	for (size_t i = 0; i < n->nkids; i++) {
		struct kit_file f = {.mode = 0644};
		int r = parse_map(&n->kids[i], keys, ARRAY_LEN(keys), &f, "a file", e);

		for (size_t j = 0; j < k->nfiles && r == 0; j++)
			if (strcmp(k->files[j].path, f.path) == 0)
				r = node_error(
					&n->kids[i], e, "the file '%.60s' is there twice", f.path);
		if (r < 0) {
			parts_file_release(&f);
			return r;
		}
		k->files = xreallocarray(k->files, k->nfiles + 1, sizeof(*k->files));
		k->files[k->nfiles++] = f;
	}
	return 0;
}

/* ---- install ---- */

static int
read_step_run(const struct node *n, void *into, struct err *e)
{
	struct kit_step *s = into;

	if (n->type == NODE_TEXT && n->text[strspn(n->text, " \t\n")] == '\0')
		return node_error(n, e, "an empty step");
	return parse_text(n, "run", KIT_TEXT_MAX, &s->run, e);
}

static int
read_step_user(const struct node *n, void *into, struct err *e)
{
	struct kit_step *s = into;

	if (n->type != NODE_TEXT || (strcmp(n->text, "root") != 0 && strcmp(n->text, "agent") != 0))
		return node_error(n, e, "user must be agent or root");
	s->root = n->text[0] == 'r';
	return 0;
}

int
parts_read_install(const struct node *n, void *into, struct err *e)
{
	static const struct key keys[] = {
		{"run", read_step_run, true}, {"user", read_step_user, false}};
	struct kit *k = into;

	if (n->type != NODE_LIST || n->nkids > KIT_LIST_MAX)
		return node_error(n, e, "install must be a list of at most %d steps", KIT_LIST_MAX);
	for (size_t i = 0; i < n->nkids; i++) {
		const struct node *kid = &n->kids[i];
		struct kit_step s = {0};
		int r = kid->type == NODE_TEXT
				? read_step_run(kid, &s, e)
				: parse_map(kid, keys, ARRAY_LEN(keys), &s, "a step", e);

		if (r < 0) {
			free(s.run);
			return r;
		}
		k->steps = xreallocarray(k->steps, k->nsteps + 1, sizeof(*k->steps));
		k->steps[k->nsteps++] = s;
	}
	return 0;
}

/* ---- network ---- */

/* The engine's own words are the message; the host's services stay the owner's to open. */
static int
add_rules(const struct node *n, const char *effect, struct kit *k, struct err *e)
{
	if (n->type != NODE_LIST || n->nkids > KIT_LIST_MAX)
		return node_error(
			n, e, "%s must be a list of at most %d rules", effect, KIT_LIST_MAX);
	for (size_t i = 0; i < n->nkids; i++) {
		const struct node *kid = &n->kids[i];
		CLEAN_FREE char *line = NULL;
		char text[RULE_LINE_MAX];
		struct err why = {0};
		struct rule rule;

		if (kid->type != NODE_TEXT)
			return node_error(kid, e, "a rule must be a text");
		line = xasprintf("%s %s", effect, kid->text);
		if (rule_parse_line(line, &rule, &why) < 0)
			return node_error(kid, e, "%s", why.msg);
		if (rule.effect == RULE_ALLOW && rule.kind == RULE_HOST &&
			host_name_kind(rule.name) != HOST_NAME_ORDINARY)
			return node_error(kid, e,
				"a kit cannot open the host's own services: its user may, with a "
				"rule of the sandbox");
		if (rule.effect == RULE_ALLOW && rule.kind == RULE_NET)
			return node_error(kid, e, "a kit allows names, not addresses");
		rule_format_line(&rule, text);
		strv_add(&k->rules, text);
	}
	return 0;
}

static int
read_allow(const struct node *n, void *into, struct err *e)
{
	return add_rules(n, "allow", into, e);
}

static int
read_deny(const struct node *n, void *into, struct err *e)
{
	return add_rules(n, "deny", into, e);
}

int
parts_read_network(const struct node *n, void *into, struct err *e)
{
	static const struct key keys[] = {{"allow", read_allow, false}, {"deny", read_deny, false}};

	return parse_map(n, keys, ARRAY_LEN(keys), into, "network", e);
}

/* ---- credentials ---- */

static int
read_credential_name(const struct node *n, void *into, struct err *e)
{
	struct kit_credential *c = into;

	if (n->type != NODE_TEXT || !kit_name_fits(n->text))
		return node_error(n, e, "a credential's name is of a-z, 0-9 and '-'");
	return parse_text(n, "name", KIT_NAME_MAX, &c->name, e);
}

static int
read_credential_env(const struct node *n, void *into, struct err *e)
{
	struct kit_credential *c = into;

	return parse_list(n, "env", parse_is_env_key, "name of a variable", &c->env, e);
}

static int
read_credential_hosts(const struct node *n, void *into, struct err *e)
{
	struct kit_credential *c = into;

	if (n->type == NODE_LIST && n->nkids == 0)
		return node_error(n, e, "a credential goes to at least one host");
	return parse_list(n, "hosts", cred_host_fits, "host name, or *.domain", &c->hosts, e);
}

static int
read_credential_header(const struct node *n, void *into, struct err *e)
{
	struct kit_credential *c = into;

	if (n->type != NODE_TEXT || !cred_header_fits(n->text))
		return node_error(n, e, "header must be the name of an HTTP header");
	return parse_text(n, "header", 100, &c->header, e);
}

static int
read_credential_format(const struct node *n, void *into, struct err *e)
{
	struct kit_credential *c = into;

	if (n->type != NODE_TEXT || !cred_format_fits(n->text))
		return node_error(n, e, "format must hold %%s once, as in \"Bearer %%s\"");
	return parse_line(n, "format", PARSE_LINE_MAX, &c->format, e);
}

static int
read_credential_placeholder(const struct node *n, void *into, struct err *e)
{
	struct kit_credential *c = into;

	if (n->type != NODE_TEXT || !cred_shape_fits(n->text))
		return node_error(n, e,
			"placeholder is a beginning such as sk-, or a text with {rand} in it: "
			"letters, digits, '-', '_' and '.'");
	return parse_line(n, "placeholder", PARSE_LINE_MAX, &c->placeholder, e);
}

void
parts_credential_release(struct kit_credential *c)
{
	free(c->name);
	strv_release(&c->env);
	strv_release(&c->hosts);
	free(c->header);
	free(c->format);
	free(c->placeholder);
}

/* Hosts and their header, or the name of a service, which has both. */
static int
check_places(const struct node *n, struct kit_credential *c, struct err *e)
{
	if (c->hosts.n == 0 && (c->header != NULL || c->format != NULL))
		return node_error(n, e, "a credential has no 'hosts'");
	if (c->hosts.n == 0 && cred_service_find(c->name) == NULL)
		return node_error(n, e,
			"a credential has no 'hosts', and no service is called '%s'", c->name);
	if (c->hosts.n > 0 && c->header == NULL)
		return node_error(n, e, "a credential has no 'header'");
	if (c->hosts.n > 0 && c->format == NULL)
		c->format = xstrdup("%s");
	return 0;
}

int
parts_read_credentials(const struct node *n, void *into, struct err *e)
{
	static const struct key keys[] = {{"name", read_credential_name, true},
		{"env", read_credential_env, false}, {"hosts", read_credential_hosts, false},
		{"header", read_credential_header, false},
		{"format", read_credential_format, false},
		{"placeholder", read_credential_placeholder, false}};
	struct kit *k = into;

	if (n->type != NODE_LIST || n->nkids > KIT_LIST_MAX)
		return node_error(n, e, "credentials must be a list of at most %d", KIT_LIST_MAX);
	for (size_t i = 0; i < n->nkids; i++) {
		struct kit_credential c = {0};
		int r = parse_map(&n->kids[i], keys, ARRAY_LEN(keys), &c, "a credential", e);

		if (r == 0)
			r = check_places(&n->kids[i], &c, e);
		for (size_t j = 0; j < k->ncredentials && r == 0; j++)
			if (strcmp(k->credentials[j].name, c.name) == 0)
				r = node_error(&n->kids[i], e, "the credential '%s' is there twice",
					c.name);
		if (r < 0) {
			parts_credential_release(&c);
			return r;
		}
		k->credentials =
			xreallocarray(k->credentials, k->ncredentials + 1, sizeof(*k->credentials));
		k->credentials[k->ncredentials++] = c;
	}
	return 0;
}

/* ---- settings ---- */

/*
 * A kit may be somebody else's, and its user says no more than "my settings": so it names what lies
 * in the folder of a program, and never that of one which keeps secrets.
 */
static bool
is_settings_path(const char *path)
{
	static const char *const closed[] = {".ssh/", ".gnupg/", ".aws/", ".azure/", ".kube/",
		".docker/", ".password-store/", ".pki/", ".mozilla/", ".thunderbird/", ".local/",
		".cache/", ".config/gh/", ".config/gcloud/", ".config/git/", ".config/paddock/",
		".config/rclone/", ".config/chromium/", ".config/google-chrome/"};
	const char *below = str_has_prefix(path, ".config/") ? path + strlen(".config/") : path;

	for (size_t i = 0; i < ARRAY_LEN(closed); i++)
		if (str_has_prefix(path, closed[i]))
			return false;
	return path[0] == '.' && strchr(below, '/') != NULL;
}

static int
read_setting_path(const struct node *n, void *into, struct err *e)
{
	struct kit_setting *s = into;
	int r = read_home_path(n, &s->path, e);

	if (r == 0 && !is_settings_path(s->path))
		return node_error(n, e,
			"'%.60s' is nothing that a kit can take: it must be in ~/.NAME/ or "
			"~/.config/NAME/ of a program that keeps no secrets there",
			s->path);
	return r;
}

static bool
is_json_key(const char *s)
{
	return s[0] != '\0';
}

static int
read_setting_keys(const struct node *n, void *into, struct err *e)
{
	struct kit_setting *s = into;

	if (n->type == NODE_LIST && n->nkids == 0)
		return node_error(n, e, "keys must name at least one key");
	return parse_list(n, "keys", is_json_key, "key", &s->keys, e);
}

void
parts_setting_release(struct kit_setting *s)
{
	free(s->path);
	strv_release(&s->keys);
}

int
parts_read_settings(const struct node *n, void *into, struct err *e)
{
	static const struct key keys[] = {
		{"path", read_setting_path, true}, {"keys", read_setting_keys, false}};
	struct kit *k = into;

	if (n->type != NODE_LIST || n->nkids > KIT_LIST_MAX)
		return node_error(n, e, "settings must be a list of at most %d", KIT_LIST_MAX);
	for (size_t i = 0; i < n->nkids; i++) {
		const struct node *kid = &n->kids[i];
		struct kit_setting s = {0};
		int r = kid->type == NODE_TEXT
				? read_setting_path(kid, &s, e)
				: parse_map(kid, keys, ARRAY_LEN(keys), &s, "a setting", e);

		if (r == 0 && kit_has_setting(k, s.path))
			r = node_error(kid, e, "the setting '%.60s' is there twice", s.path);
		if (r < 0) {
			parts_setting_release(&s);
			return r;
		}
		k->settings = xreallocarray(k->settings, k->nsettings + 1, sizeof(*k->settings));
		k->settings[k->nsettings++] = s;
	}
	return 0;
}
