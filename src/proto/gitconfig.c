/*
 * How this works: as in git's own parser, one pass over the characters, "\r\n" read as "\n" and the
 * end of the file as one more "\n". States: between settings, in a section's head, in a key, in a
 * value (quoted or not). Whatever git refuses is refused here; what git would take is taken.
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include <base/str.h>
#include <proto/gitconfig.h>

struct text {
	char *s;
	size_t n, size;
};

struct reader {
	const char *p, *end;
	bool eof;
	char key[GITCONFIG_KEY_MAX];
	size_t section; /* length of "section.sub." in key */
	char value[GITCONFIG_VALUE_MAX];
};

static int
next(struct reader *r)
{
	if (r->p == r->end) {
		r->eof = true;
		return '\n';
	}
	if (*r->p == '\r' && r->end - r->p > 1 && r->p[1] == '\n')
		r->p++;
	return (unsigned char)*r->p++;
}

/* What does not fit is left out: such a name means nothing to git. */
static void
put(struct text *t, int c)
{
	if (t->n + 1 < t->size)
		t->s[t->n++] = (char)c;
	t->s[t->n] = '\0';
}

static bool
is_blank(int c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool
is_key_char(int c)
{
	return isalnum(c) || c == '-';
}

/* [section "sub"]: behind the section's name. */
static int
read_subsection(struct reader *r, struct text *t, int c)
{
	do {
		if (c == '\n')
			return -EBADMSG;
		c = next(r);
	} while (is_blank(c));
	if (c != '"')
		return -EBADMSG;
	put(t, '.');
	for (;;) {
		c = next(r);
		if (c == '\n')
			return -EBADMSG;
		if (c == '"')
			return next(r) == ']' ? 0 : -EBADMSG;
		if (c == '\\') {
			c = next(r);
			if (c == '\n')
				return -EBADMSG;
		}
		put(t, c);
	}
}

static int
read_section(struct reader *r)
{
	struct text t = {r->key, 0, sizeof(r->key) / 2};

	for (;;) {
		int c = next(r), e;

		if (r->eof)
			return -EBADMSG;
		if (c == ']' || is_blank(c)) {
			e = c == ']' ? 0 : read_subsection(r, &t, c);
			if (t.n + 2 > t.size) /* cut, but never the dot */
				t.n = t.size - 2;
			put(&t, '.');
			r->section = t.n;
			return e;
		}
		if (!is_key_char(c) && c != '.')
			return -EBADMSG;
		put(&t, tolower(c));
	}
}

/* -1: not an escape of git's. */
static int
unescape(int c)
{
	switch (c) {
	case 't':
		return '\t';
	case 'b':
		return '\b';
	case 'n':
		return '\n';
	case '\\':
	case '"':
		return c;
	default:
		return -1;
	}
}

static int
read_value(struct reader *r)
{
	struct text t = {r->value, 0, sizeof(r->value)};
	bool quoted = false, comment = false;
	size_t blanks = 0;

	r->value[0] = '\0';
	for (;;) {
		int c = next(r);

		if (c == '\n')
			return quoted ? -EBADMSG : 0;
		if (comment)
			continue;
		if (is_blank(c) && !quoted) {
			blanks += t.n > 0;
			continue;
		}
		if (!quoted && (c == ';' || c == '#')) {
			comment = true;
			continue;
		}
		for (; blanks > 0; blanks--)
			put(&t, ' ');
		if (c == '\\') {
			c = next(r);
			if (c == '\n')
				continue;
			c = unescape(c);
			if (c < 0)
				return -EBADMSG;
			put(&t, c);
		} else if (c == '"') {
			quoted = !quoted;
		} else {
			put(&t, c);
		}
	}
}

static int
read_setting(struct reader *r, int first, gitconfig_fn *fn, void *arg)
{
	struct text t = {r->key, r->section, sizeof(r->key)};
	int c, e;

	put(&t, tolower(first));
	while (is_key_char(c = next(r)) && !r->eof)
		put(&t, tolower(c));
	while (c == ' ' || c == '\t')
		c = next(r);
	if (c == '\n')
		return fn(arg, r->key, NULL);
	if (c != '=')
		return -EBADMSG;
	e = read_value(r);
	return e < 0 ? e : fn(arg, r->key, r->value);
}

int
gitconfig_parse(const char *p, size_t n, gitconfig_fn *fn, void *arg)
{
	static const char bom[] = "\xef\xbb\xbf";
	struct reader r = {.p = p, .end = p + n};
	bool comment = false;
	int e = 0;

	if (n >= 3 && memcmp(p, bom, 3) == 0)
		r.p += 3;
	while (e == 0) {
		int c = next(&r);

		if (r.eof)
			return 0;
		if (c == '\n')
			comment = false;
		else if (comment || is_blank(c))
			continue;
		else if (c == '#' || c == ';')
			comment = true;
		else if (c == '[')
			e = read_section(&r);
		else
			e = isalpha(c) ? read_setting(&r, c, fn, arg) : -EBADMSG;
	}
	return e;
}

/* ---- what settings do ---- */

static bool
any(const char *v)
{
	(void)v;
	return true;
}

/* core.fsmonitor: git's own daemon, or a program. */
static bool
not_bool(const char *v)
{
	static const char *const words[] = {
		"", "true", "false", "yes", "no", "on", "off", "0", "1"};

	for (size_t i = 0; v != NULL && i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasecmp(v, words[i]) == 0)
			return false;
	return v != NULL;
}

static bool
shell(const char *v)
{
	return v != NULL && v[0] == '!';
}

/* An alias runs a shell, or git itself with settings of its own. */
static bool
alias(const char *v)
{
	return shell(v) ||
	       (v != NULL && (strstr(v, "-c") != NULL || strstr(v, "--exec-path") != NULL ||
				     strstr(v, "--config-env") != NULL));
}

/* A remote helper (git-remote-ext runs what it is told), or an option in place of an address. */
static bool
helper_url(const char *v)
{
	return v != NULL && (v[0] == '-' || strstr(v, "::") != NULL);
}

static const struct {
	const char *section, *key; /* with a subsection between them or not; key NULL: any */
	bool (*when)(const char *value);
} active[] = {
	{"core", "hookspath", any},
	{"core", "fsmonitor", not_bool},
	{"core", "sshcommand", any},
	{"core", "pager", any},
	{"core", "editor", any},
	{"core", "askpass", any},
	{"core", "gitproxy", any},
	{"core", "worktree", any},
	{"core", "alternaterefscommand", any},
	{"pager", NULL, not_bool},
	{"sequence", "editor", any},
	{"interactive", "difffilter", any},
	{"filter", "clean", any},
	{"filter", "smudge", any},
	{"filter", "process", any},
	{"diff", "external", any},
	{"diff", "command", any},
	{"diff", "textconv", any},
	{"merge", "driver", any},
	{"difftool", "cmd", any},
	{"difftool", "path", any},
	{"mergetool", "cmd", any},
	{"mergetool", "path", any},
	{"guitool", "cmd", any},
	{"browser", "cmd", any},
	{"browser", "path", any},
	{"man", "cmd", any},
	{"man", "path", any},
	{"alias", NULL, alias},
	{"include", "path", any},
	{"includeif", "path", any},
	{"url", "insteadof", any},
	{"url", "pushinsteadof", any},
	{"remote", "url", helper_url},
	{"remote", "pushurl", helper_url},
	{"remote", "uploadpack", any},
	{"remote", "receivepack", any},
	{"remote", "vcs", any},
	{"protocol", "allow", any},
	{"submodule", "update", shell},
	{"submodule", "url", helper_url},
	{"credential", "helper", any},
	{"gpg", "program", any},
	{"gpg", "defaultkeycommand", any},
	{"init", "templatedir", any},
	{"uploadpack", "packobjectshook", any},
	{"gc", "recentobjectshook", any},
	{"trailer", "command", any},
	{"trailer", "cmd", any},
	{"tar", "command", any},
	{"sendemail", "smtpserver", any},
	{"sendemail", "sendmailcmd", any},
	{"sendemail", "tocmd", any},
	{"sendemail", "cccmd", any},
	{"sendemail", "headercmd", any},
	{"imap", "tunnel", any},
	{"instaweb", "httpd", any},
	{"hook", "command", any},
	{"lfs", "path", any},
	{"lfs", "clean", any},
	{"lfs", "smudge", any},
};

bool
gitconfig_is_active(const char *key, const char *value)
{
	const char *first = strchr(key, '.'), *last = strrchr(key, '.');

	if (first == NULL)
		return false;
	for (size_t i = 0; i < sizeof(active) / sizeof(active[0]); i++) {
		size_t n = strlen(active[i].section);

		if ((size_t)(first - key) == n && memcmp(key, active[i].section, n) == 0 &&
			(active[i].key == NULL || strcmp(last + 1, active[i].key) == 0) &&
			active[i].when(value))
			return true;
	}
	return false;
}
