/*
 * How this works: all sources files are read with the same eyes. An entry counts as the main
 * archive when its suite is the host's codename, or a release name that Debian has used (an
 * administrator may write "stable"), and as the security archive when that name ends in -security.
 * That an archive really is Debian's and has the wanted suite is then seen from its Release file.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/proc.h>

#include "sources.h"

#define SOURCES_FILE_MAX (1 << 20)

void
mirror_release(struct mirror *m)
{
	free(m->main);
	free(m->security);
	free(m->components);
	memset(m, 0, sizeof(*m));
}

static bool
uri_fits(const char *uri)
{
	const char *host;

	if (str_has_prefix(uri, "http://"))
		host = uri + 7;
	else if (str_has_prefix(uri, "https://"))
		host = uri + 8;
	else
		return false;
	return !str_has_prefix(host, "localhost") && !str_has_prefix(host, "127.") &&
	       !str_has_prefix(host, "[::1]");
}

/* "trixie-security" or "trixie/updates" of a known release. */
static bool
suite_fits(const char *suite, const char *codename, bool *ret_security)
{
	static const char *const names[] = {"bullseye", "bookworm", "trixie", "forky", "oldstable",
		"stable", "testing", "unstable", "sid"};
	size_t n = strcspn(suite, "-/");
	bool known = strlen(codename) == n && strncmp(suite, codename, n) == 0;

	for (size_t i = 0; i < ARRAY_LEN(names) && !known; i++)
		known = strlen(names[i]) == n && strncmp(suite, names[i], n) == 0;
	*ret_security = strcmp(suite + n, "-security") == 0 || strcmp(suite + n, "/updates") == 0;
	return known && (suite[n] == '\0' || *ret_security);
}

/*
 * Words that reach a command line and a file in the image: only what such words are made of. An @,
 * before which a password may stand, is not among it.
 */
static bool
word_fits(const char *s)
{
	for (; *s != '\0'; s++)
		if (!isalnum((unsigned char)*s) && strchr("+-._~:/%[]", *s) == NULL)
			return false;
	return true;
}

static bool
has_word(const char *words, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = words; (p = strstr(p, word)) != NULL; p += n)
		if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
			return true;
	return false;
}

static void
take_entry(const char *uri, const char *suite, const char *components, const char *codename,
	struct mirror *ret)
{
	bool security;

	if (!suite_fits(suite, codename, &security) || !uri_fits(uri) || !word_fits(uri) ||
		!has_word(components, "main"))
		return;
	if (security) {
		if (ret->security == NULL)
			ret->security = xstrdup(uri);
	} else if (ret->main == NULL) {
		ret->main = xstrdup(uri);
		/* Other components than Debian's three would not be found in another suite. */
		ret->components = xasprintf("main%s%s%s",
			has_word(components, "contrib") ? " contrib" : "",
			has_word(components, "non-free") ? " non-free" : "",
			has_word(components, "non-free-firmware") ? " non-free-firmware" : "");
	}
}

static void
join(char **to, const char *word)
{
	char *all = *to == NULL ? xstrdup(word) : xasprintf("%s %s", *to, word);

	free(*to);
	*to = all;
}

/* deb [option=value ...] uri suite component... */
static void
read_line(char *line, const char *codename, struct mirror *ret)
{
	CLEAN_FREE char *components = NULL;
	char *save = NULL, *uri, *suite, *word;

	line[strcspn(line, "#")] = '\0';
	word = strtok_r(line, " \t", &save);
	if (word == NULL || strcmp(word, "deb") != 0)
		return;
	uri = strtok_r(NULL, " \t", &save);
	if (uri != NULL && uri[0] == '[') {
		while (uri != NULL && !str_has_suffix(uri, "]"))
			uri = strtok_r(NULL, " \t", &save);
		uri = strtok_r(NULL, " \t", &save);
	}
	suite = strtok_r(NULL, " \t", &save);
	while (suite != NULL && (word = strtok_r(NULL, " \t", &save)) != NULL)
		join(&components, word);
	if (components != NULL)
		take_entry(uri, suite, components, codename, ret);
}

struct stanza {
	char *types, *uris, *suites, *components;
	bool disabled;
};

static void
end_stanza(struct stanza *s, const char *codename, struct mirror *ret)
{
	char *save = NULL;

	if (!s->disabled && s->types != NULL && has_word(s->types, "deb") && s->uris != NULL &&
		s->suites != NULL && s->components != NULL)
		for (char *suite = strtok_r(s->suites, " ", &save); suite != NULL;
			suite = strtok_r(NULL, " ", &save)) {
			CLEAN_FREE char *uri = xstrndup(s->uris, strcspn(s->uris, " "));

			take_entry(uri, suite, s->components, codename, ret);
		}
	free(s->types);
	free(s->uris);
	free(s->suites);
	free(s->components);
	memset(s, 0, sizeof(*s));
}

/* One line of a stanza; *field remembers whom a continuation line belongs to. */
static void
read_field(char *line, struct stanza *s, char ***field)
{
	char *save = NULL, *value = line;

	if (line[0] != ' ' && line[0] != '\t') {
		size_t n = strcspn(line, ":");

		if (line[n] == '\0')
			return;
		line[n] = '\0';
		value = line + n + 1;
		*field = strcasecmp(line, "Types") == 0        ? &s->types
			 : strcasecmp(line, "URIs") == 0       ? &s->uris
			 : strcasecmp(line, "Suites") == 0     ? &s->suites
			 : strcasecmp(line, "Components") == 0 ? &s->components
							       : NULL;
		if (strcasecmp(line, "Enabled") == 0 && strstr(value, "no") != NULL)
			s->disabled = true;
	}
	if (*field == NULL)
		return;
	for (char *w = strtok_r(value, " \t", &save); w != NULL; w = strtok_r(NULL, " \t", &save))
		join(*field, w);
}

void
sources_read(const char *text, bool deb822, const char *codename, struct mirror *ret)
{
	CLEAN_FREE char *copy = xstrdup(text);
	struct stanza stanza = {0};
	char **field = NULL, *line = copy;

	while (line != NULL && *line != '\0') {
		char *end = line + strcspn(line, "\n"), *next = *end == '\n' ? end + 1 : NULL;

		*end = '\0';
		if (!deb822) {
			read_line(line, codename, ret);
		} else if (line[strspn(line, " \t\r")] == '\0') {
			end_stanza(&stanza, codename, ret);
			field = NULL;
		} else if (line[0] != '#') {
			read_field(line, &stanza, &field);
		}
		line = next;
	}
	end_stanza(&stanza, codename, ret);
}

void
sources_for_suite(const struct mirror *m, const char *suite, const char *keyring, struct strv *ret)
{
	strv_addf(ret, "deb [signed-by=%s] %s %s %s", keyring, m->main, suite, m->components);
	strv_addf(
		ret, "deb [signed-by=%s] %s %s-updates %s", keyring, m->main, suite, m->components);
	if (m->security != NULL)
		strv_addf(ret, "deb [signed-by=%s] %s %s-security %s", keyring, m->security, suite,
			m->components);
}

void
apt_options_pick(const char *dump, struct strv *build, struct strv *keep)
{
	static const char *const fetching[] = {"Acquire::http::", "Acquire::https::",
		"Acquire::Retries ", "Acquire::ForceIPv4 ", "Acquire::ForceIPv6 "};
	static const char *const clocks[] = {"Acquire::Check-Valid-Until ", "Acquire::Check-Date ",
		"Acquire::Max-ValidTime ", "Acquire::Max-FutureTime "};

	while (*dump != '\0') {
		size_t n = strcspn(dump, "\n");
		CLEAN_FREE char *line = xstrndup(dump, n);

		dump += n + (dump[n] == '\n');
		if (!str_has_suffix(line, "\";") || str_has_suffix(line, " \"\";"))
			continue;
		for (size_t i = 0; i < ARRAY_LEN(fetching); i++)
			if (str_has_prefix(line, fetching[i]))
				strv_add(build, line);
		for (size_t i = 0; i < ARRAY_LEN(clocks); i++)
			if (str_has_prefix(line, clocks[i])) {
				strv_add(build, line);
				strv_add(keep, line);
			}
	}
}

static void
read_sources_file(int dirfd, const char *name, const char *codename, struct mirror *ret)
{
	CLEAN_BUF struct buf text = BUF_INIT;

	/* A file that this user may not read is one that the image should not know. */
	if (io_read_file(dirfd, name, SOURCES_FILE_MAX, &text, NULL) == 0)
		sources_read(buf_str(&text), str_has_suffix(name, ".sources"), codename, ret);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
read_all_sources(const char *codename, struct mirror *ret)
{
	CLEAN_CLOSEDIR DIR *d = opendir("/etc/apt/sources.list.d");
	CLEAN_STRV struct strv names = {0};
	struct dirent *de;

	read_sources_file(AT_FDCWD, "/etc/apt/sources.list", codename, ret);
	while (d != NULL && (de = readdir(d)) != NULL)
		if (str_has_suffix(de->d_name, ".list") || str_has_suffix(de->d_name, ".sources"))
			strv_add(&names, de->d_name);
	if (names.n > 0)
		qsort(names.v, names.n, sizeof(*names.v), by_name);
	for (size_t i = 0; i < names.n; i++)
		read_sources_file(dirfd(d), names.v[i], codename, ret);
}

/* The value of KEY in /etc/os-release, without its quotes. NULL when it is not there. */
static char *
os_release(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *p = text; *p != '\0'; p += strcspn(p, "\n"), p += *p == '\n') {
		if (strncmp(p, key, n) != 0 || p[n] != '=')
			continue;
		p += n + 1;
		p += *p == '"';
		return xstrndup(p, strcspn(p, "\"\n"));
	}
	return NULL;
}

/* Asks a mirror for a suite's Release file, with the host's own apt and all of its settings. */
static bool
mirror_has(const char *uri, const char *suite)
{
	char path[] = "/tmp/paddock-release-XXXXXX";
	CLEAN_CLOSE int fd = mkostemp(path, O_CLOEXEC);
	CLEAN_BUF struct buf text = BUF_INIT;
	CLEAN_FREE char *url = xasprintf("%s/dists/%s/InRelease", uri, suite);
	char *argv[] = {
		(char *)"/usr/lib/apt/apt-helper", (char *)"download-file", url, path, NULL};
	bool has;

	if (fd < 0)
		return false;
	has = proc_run(argv, 30000, NULL, NULL) == 0 &&
	      io_read_file(AT_FDCWD, path, SOURCES_FILE_MAX, &text, NULL) == 0 &&
	      strstr(buf_str(&text), "\nOrigin: Debian\n") != NULL;
	unlink(path);
	return has;
}

int
sources_of_host(const char *suite, struct mirror *ret)
{
	CLEAN_BUF struct buf release = BUF_INIT;
	CLEAN_FREE char *id = NULL, *codename = NULL, *security = xasprintf("%s-security", suite);
	struct mirror m = {0};

	if (io_read_file(AT_FDCWD, "/etc/os-release", SOURCES_FILE_MAX, &release, NULL) < 0)
		return 0;
	id = os_release(buf_str(&release), "ID");
	codename = os_release(buf_str(&release), "VERSION_CODENAME");
	if (id == NULL || strcmp(id, "debian") != 0)
		return 0;
	read_all_sources(codename != NULL ? codename : "sid", &m);
	if (m.main == NULL || !mirror_has(m.main, suite)) {
		mirror_release(&m);
		return 0;
	}
	if (m.security != NULL && !mirror_has(m.security, security)) {
		free(m.security);
		m.security = NULL;
	}
	*ret = m;
	return 1;
}
