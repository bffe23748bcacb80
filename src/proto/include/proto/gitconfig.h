#pragma once
/*
 * Git's configuration files (git-config(1), "Syntax"; git's config.c), and which of their keys make
 * git run a program, read another such file, or talk to another place. Pure: bytes in, keys out.
 */
#include <stdbool.h>
#include <stddef.h>

#define GITCONFIG_KEY_MAX   512
#define GITCONFIG_VALUE_MAX 8192

/*
 * One setting: "section.key" or "section.subsection.key", section and key in lower case; value NULL
 * for a key without "=". Longer ones are cut. Another result than 0 ends the parsing.
 */
typedef int gitconfig_fn(void *arg, const char *key, const char *value);

/*
 * 0; -EBADMSG where git would refuse the whole file (what came before was told); what fn returned.
 */
int gitconfig_parse(const char *p, size_t n, gitconfig_fn *fn, void *arg);

/* Whether git, given this setting, may run something or fetch from elsewhere than it seems. */
bool gitconfig_is_active(const char *key, const char *value);
