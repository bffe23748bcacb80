#include <string.h>
#include <sys/stat.h>

#include <base/str.h>

#include "hookrules.h"

enum hook_folder
hook_folder_kind(unsigned marks)
{
	const unsigned common = HOOK_MARK_OBJECTS | HOOK_MARK_REFS;

	if (marks & HOOK_MARK_NAMED ||
		(marks & (common | HOOK_MARK_HEAD)) == (common | HOOK_MARK_HEAD))
		return HOOK_FOLDER_STRONG;
	return (marks & common) == common ? HOOK_FOLDER_WEAK : HOOK_FOLDER_NONE;
}

static int
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

bool
hook_name_is(const char *name, const char *word)
{
	for (; *name != '\0' && lower(*name) == lower(*word); name++)
		word++;
	return *name == '\0' && *word == '\0';
}

bool
hook_name_like(const char *name, const char *word)
{
	size_t n = strlen(name);

	if (n == 0)
		return false;
	if (strchr(". ", name[n - 1]) != NULL || strchr(name, '~') != NULL)
		return true;
	for (const char *c = name; *c != '\0'; c++)
		if ((unsigned char)*c >= 0x80)
			return true;
	return hook_name_is(name, word);
}

/* Git copies its samples into every new repository and never runs them. */
static bool
is_sample(const char *name)
{
	return str_has_suffix(name, ".sample");
}

bool
hook_kept_out(enum hook_folder kind, unsigned depth, const char *name, bool folder)
{
	switch (kind) {
	case HOOK_FOLDER_STRONG:
		/* All of it: hooks call other files that lie beside them. */
		return depth > 0 || !is_sample(name);
	case HOOK_FOLDER_WEAK:
		/* No hook of git's has a dot in its name, nearly every source file has. */
		return depth == 0 && !folder && strchr(name, '.') == NULL;
	default:
		return false;
	}
}

bool
hook_is_live(const char *name, mode_t mode)
{
	return strchr(name, '.') == NULL && (S_ISLNK(mode) || (S_ISREG(mode) && (mode & 0111)));
}
