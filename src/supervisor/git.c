/*
 * What git in the sandbox is told of the host's: who commits, and with which key the user signs.
 * Never a key itself: a sandbox cannot sign, so it is not told to (commit.gpgSign) either, or each
 * commit in it would fail.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/proc.h>

#include "git.h"

#define KEY_FILE_MAX 16384
#define VALUE_MAX    2000 /* what the guest takes (wire/identity.h) */

#define KEYS "^(user\\.(name|email|signingkey)|gpg\\.format)$"

/*
 * Each that is set, the last one of a key; git prints the key, a line's end, the value, NUL. Run in
 * "/" and with the settings that start programs pinned off: no repository's configuration has a say
 * in what git does here (attacks.md G2).
 */
static void
ask_git(struct strv *ret)
{
	CLEAN_BUF struct buf out = BUF_INIT;
	char *argv[] = {"git", "-C", "/", "-c", "core.fsmonitor=false", "-c",
		"core.hooksPath=/dev/null", "config", "--global", "--null", "--get-regexp", KEYS,
		NULL};

	if (proc_run(argv, 2000, &out, NULL) < 0)
		return;
	for (size_t at = 0; at < out.len; at += strlen(buf_str(&out) + at) + 1) {
		CLEAN_FREE char *key = xstrdup(buf_str(&out) + at);
		char *value = strchr(key, '\n');

		if (value == NULL)
			continue;
		*value++ = '\0';
		value[strcspn(value, "\n")] = '\0';
		strv_setenv(ret, key, value);
	}
}

/* sshd(8), AUTHORIZED_KEYS: the type and the key, without what follows. NULL: it is none. */
static char *
public_key(const char *line)
{
	size_t type = strcspn(line, " \n");
	const char *key = line + type + 1;
	size_t n;

	if (line[type] != ' ' ||
		(!str_has_prefix(line, "ssh-") && !str_has_prefix(line, "ecdsa-") &&
			!str_has_prefix(line, "sk-")))
		return NULL;
	n = strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=");
	if (n < 16 || (key[n] != '\0' && key[n] != ' ' && key[n] != '\n'))
		return NULL;
	return xasprintf("key::%.*s", (int)(type + 1 + n), line);
}

static char *
public_key_of_file(const char *path, const char *home)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	CLEAN_FREE char *file = xasprintf("%s%s%s", path[0] == '~' ? home : "",
		path[0] == '~' ? path + 1 : path, str_has_suffix(path, ".pub") ? "" : ".pub");

	if (file[0] != '/' || io_read_file(AT_FDCWD, file, KEY_FILE_MAX, &b, NULL) < 0)
		return NULL;
	return public_key(buf_str(&b));
}

char *
git_signing_key(const char *format, const char *key, const char *home)
{
	if (strcmp(format, "ssh") != 0)
		return xstrdup(key); /* a key's number, or whose it is */
	if (str_has_prefix(key, "key::"))
		return public_key(key + strlen("key::"));
	if (str_has_prefix(key, "ssh-"))
		return public_key(key);
	return public_key_of_file(key, home);
}

static void
tell(struct strv *ret, const char *key, const char *value)
{
	if (value != NULL && value[0] != '\0' && strlen(value) <= VALUE_MAX)
		strv_setenv(ret, key, value);
}

void
git_settings(struct strv *ret)
{
	static const char *const keys[] = {"user.name", "user.email", "gpg.format"};
	CLEAN_STRV struct strv set = {0};
	CLEAN_FREE char *told = NULL;
	const char *key, *format, *home = getenv("HOME");

	ask_git(&set);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		tell(ret, keys[i], strv_getenv(&set, keys[i]));
	key = strv_getenv(&set, "user.signingkey");
	format = strv_getenv(&set, "gpg.format");
	if (key != NULL)
		told = git_signing_key(
			format != NULL ? format : "openpgp", key, home != NULL ? home : "");
	tell(ret, "user.signingkey", told);
}
