/* The parts of parsing that every kind of map shares. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <kit/kit.h>

#include "parse_map.h"

static int
unknown_key(const struct node *n, const struct key *keys, size_t nkeys, struct err *e)
{
	char known[160] = "";

	for (size_t i = 0; i < nkeys; i++) {
		size_t at = strlen(known);

		snprintf(known + at, sizeof(known) - at, "%s%s", i > 0 ? ", " : "", keys[i].name);
	}
	return node_key_error(n, e, "unknown key '%.40s': there are %s", n->key, known);
}

static const struct key *
find_key(const char *name, const struct key *keys, size_t nkeys)
{
	for (size_t i = 0; i < nkeys; i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

static bool
has_key(const struct node *map, const char *name)
{
	for (size_t i = 0; i < map->nkids; i++)
		if (strcmp(map->kids[i].key, name) == 0)
			return true;
	return false;
}

int
parse_map(const struct node *n, const struct key *keys, size_t nkeys, void *into, const char *what,
	struct err *e)
{
	int r = 0;

	if (n->type != NODE_MAP)
		return node_error(n, e, "%s must be a map: %s: ...", what, keys[0].name);
	for (size_t i = 0; i < n->nkids && r == 0; i++) {
		const struct key *k = find_key(n->kids[i].key, keys, nkeys);

		r = k != NULL ? k->read(&n->kids[i], into, e)
			      : unknown_key(&n->kids[i], keys, nkeys, e);
	}
	for (size_t i = 0; i < nkeys && r == 0; i++)
		if (keys[i].required && !has_key(n, keys[i].name))
			return node_error(n, e, "%s has no '%s'", what, keys[i].name);
	return r;
}

/* Printable, a single line. */
bool
parse_is_line(const char *s, size_t max)
{
	size_t n = strlen(s);

	if (n > max)
		return false;
	for (size_t i = 0; i < n; i++)
		if (iscntrl((unsigned char)s[i]))
			return false;
	return true;
}

int
parse_text(const struct node *n, const char *what, size_t max, char **ret, struct err *e)
{
	if (n->type != NODE_TEXT)
		return node_error(n, e, "%s must be a text", what);
	if (strlen(n->text) > max)
		return node_error(n, e, "%s is longer than %zu bytes", what, max);
	free(*ret);
	*ret = xstrdup(n->text);
	return 0;
}

int
parse_line(const struct node *n, const char *what, size_t max, char **ret, struct err *e)
{
	if (n->type == NODE_TEXT && (n->text[0] == '\0' || !parse_is_line(n->text, max)))
		return node_error(
			n, e, "%s must be one line of 1 to %zu printable bytes", what, max);
	return parse_text(n, what, max, ret, e);
}

/* A list of lines, each of which fits; fits may be NULL. */
int
parse_list(const struct node *n, const char *what, bool (*fits)(const char *), const char *how,
	struct strv *ret, struct err *e)
{
	if (n->type != NODE_LIST)
		return node_error(n, e, "%s must be a list: [...]", what);
	if (n->nkids > KIT_LIST_MAX)
		return node_error(n, e, "%s has more than %d entries", what, KIT_LIST_MAX);
	for (size_t i = 0; i < n->nkids; i++) {
		const struct node *k = &n->kids[i];

		if (k->type != NODE_TEXT)
			return node_error(k, e, "an entry of %s must be a text", what);
		if (strlen(k->text) > PARSE_TEXT_MAX || (fits != NULL && !fits(k->text)))
			return node_error(k, e, "'%.60s' is no %s", k->text, how);
		strv_add(ret, k->text);
	}
	return 0;
}

bool
kit_name_fits(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > KIT_NAME_MAX || s[0] == '-')
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

bool
parse_is_env_key(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > 128 || isdigit((unsigned char)s[0]))
		return false;
	for (; *s != '\0'; s++)
		if (!isalnum((unsigned char)*s) && *s != '_')
			return false;
	return true;
}
