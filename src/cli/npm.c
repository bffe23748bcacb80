/*
 * The host's npm knows where packages come from here, which may be a company's mirror. Starting it
 * takes half a second, so it is asked only where something mentions a registry: else its default
 * holds, which the sandbox's npm has too.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <base/io.h>
#include <base/mem.h>
#include <base/proc.h>

#include "cli.h"

#define NPM_MAX_MS 10000
#define FILE_MAX   65536

/* npmrc(5): a line "registry=..." or "registry = ...". */
static bool
mentions(const char *path)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	const char *line;

	if (io_read_file(AT_FDCWD, path, FILE_MAX, &b, NULL) < 0)
		return false;
	for (line = buf_str(&b); line != NULL; line = strchr(line, '\n')) {
		line += strspn(line, " \t\r\n");
		if (str_has_prefix(line, "registry"))
			return true;
	}
	return false;
}

static bool
worth_asking(const char *npm)
{
	static const char *const variables[] = {"npm_config_registry", "NPM_CONFIG_REGISTRY",
		"npm_config_userconfig", "NPM_CONFIG_USERCONFIG", "npm_config_globalconfig",
		"NPM_CONFIG_GLOBALCONFIG"};
	static const char *const files[] = {"/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc"};
	const char *home = getenv("HOME");
	CLEAN_FREE char *own = xasprintf("%s/.npmrc", home != NULL ? home : "");
	/* PREFIX/etc/npmrc, for an npm in PREFIX/bin. */
	CLEAN_FREE char *prefix =
		xasprintf("%.*s/../etc/npmrc", (int)(strrchr(npm, '/') - npm), npm);

	for (size_t i = 0; i < ARRAY_LEN(variables); i++)
		if (getenv(variables[i]) != NULL)
			return true;
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (mentions(files[i]))
			return true;
	return mentions(own) || mentions(prefix);
}

/* Asked in "/", so that no repository's .npmrc answers; what holds a password stays outside. */
void
npm_registry(struct strv *ret)
{
	char *argv[] = {(char *)"env", (char *)"-C", (char *)"/", (char *)"npm", (char *)"config",
		(char *)"get", (char *)"registry", NULL};
	CLEAN_FREE char *npm = proc_find("npm");
	CLEAN_BUF struct buf out = BUF_INIT;
	CLEAN_FREE char *url = NULL;

	if (npm == NULL || !worth_asking(npm) || proc_run(argv, NPM_MAX_MS, &out, NULL) < 0)
		return;
	url = xstrndup(buf_str(&out), strcspn(buf_str(&out), " \r\n"));
	if ((str_has_prefix(url, "https://") || str_has_prefix(url, "http://")) &&
		strchr(url, '@') == NULL)
		strv_setenv(ret, "npm_config_registry", url);
}
