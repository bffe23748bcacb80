/* What looks like a secret, by name and by content. Pure. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <base/cleanup.h>
#include <kit/home.h>

static const char *const file_names[] = {".credentials.json", "credentials", "credentials.json",
	"auth.json", "oauth_creds.json", "token", "token.json", "tokens.json", "secrets.json",
	"secrets.yaml", ".env", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".htpasswd",
	".git-credentials", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"};
static const char *const file_ends[] = {
	".pem", ".key", ".p12", ".pfx", ".jks", ".kdbx", ".keystore", ".gpg", ".asc"};

static bool
is_secret_name(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
	size_t n = strlen(name);

	for (size_t i = 0; i < ARRAY_LEN(file_names); i++)
		if (strcasecmp(name, file_names[i]) == 0)
			return true;
	for (size_t i = 0; i < ARRAY_LEN(file_ends); i++) {
		size_t end = strlen(file_ends[i]);

		if (n > end && strcasecmp(name + n - end, file_ends[i]) == 0)
			return true;
	}
	return strncasecmp(name, ".env.", 5) == 0;
}

/* How the keys of well-known services begin, and how many more characters make one. */
static const struct {
	const char *prefix;
	size_t more;
} shapes[] = {{"sk-", 20}, {"ghp_", 30}, {"gho_", 30}, {"ghu_", 30}, {"ghs_", 30}, {"ghr_", 30},
	{"github_pat_", 30}, {"glpat-", 18}, {"xoxb-", 16}, {"xoxp-", 16}, {"xoxa-", 16},
	{"xoxr-", 16}, {"xapp-", 16}, {"AKIA", 16}, {"ASIA", 16}, {"AIza", 30}, {"ya29.", 20},
	{"npm_", 30}, {"hf_", 25}, {"gsk_", 30}, {"xai-", 30}, {"sgp_", 30}, {"sgamp_", 20},
	{"fk-", 20}, {"dckr_pat_", 20}, {"pypi-", 30}, {"rk_live_", 16}, {"sk_live_", 16},
	{"eyJ", 40}, {"crsr_", 30}, {"key_", 32}, {"1//", 40}};

static bool
is_key_char(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_';
}

/* How many characters of a key follow; 0 when it is a word: keys have digits and letters. */
static size_t
key_length(const char *p, size_t n, const char *more)
{
	size_t len = 0, digits = 0, letters = 0;

	while (len < n &&
		(is_key_char(p[len]) || (p[len] != '\0' && strchr(more, p[len]) != NULL))) {
		digits += isdigit((unsigned char)p[len]) != 0;
		letters += isalpha((unsigned char)p[len]) != 0;
		len++;
	}
	return digits > 0 && letters > 0 ? len : 0;
}

static bool
has_shape(const char *p, size_t left)
{
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		size_t n = strlen(shapes[i].prefix);

		if (left > n && memcmp(p, shapes[i].prefix, n) == 0 &&
			key_length(p + n, left - n, ".") >= shapes[i].more)
			return true;
	}
	return false;
}

/* A name such as API_KEY, "apiKey" or client-secret, and what is assigned to it. */
static const char *const assigned[] = {"key", "token", "secret", "password", "passwd"};
#define ASSIGNED_MIN 20

static size_t
skip(const char *p, size_t n, const char *set)
{
	size_t i = 0;

	while (i < n && p[i] != '\0' && strchr(set, p[i]) != NULL)
		i++;
	return i;
}

static bool
is_assignment(const char *p, size_t left)
{
	for (size_t i = 0; i < ARRAY_LEN(assigned); i++) {
		size_t n = strlen(assigned[i]), at = n;

		if (left <= n || strncasecmp(p, assigned[i], n) != 0)
			continue;
		at += skip(p + at, left - at, "\"'` ");
		if (at == left || (p[at] != '=' && p[at] != ':'))
			continue;
		at += skip(p + at, left - at, ":=\"'` ");
		if (key_length(p + at, left - at, "+/=.") >= ASSIGNED_MIN)
			return true;
	}
	return false;
}

const char *
home_secret(const char *path, const void *data, size_t n)
{
	static const char begin[] = "-----BEGIN ", private[] = "PRIVATE KEY";
	const char *p = data;

	if (is_secret_name(path))
		return "its name is that of a secret";
	for (size_t i = 0; i < n; i++) {
		size_t left = n - i;

		if (p[i] == '-' && left > sizeof(begin) &&
			memcmp(p + i, begin, sizeof(begin) - 1) == 0 &&
			memmem(p + i, left < 64 ? left : 64, private, sizeof(private) - 1) != NULL)
			return "it holds a private key";
		if ((i == 0 || !is_key_char(p[i - 1])) && has_shape(p + i, left))
			return "it holds what looks like a key";
		if (is_assignment(p + i, left))
			return "it holds what looks like a key";
	}
	return NULL;
}
