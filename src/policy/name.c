#include <errno.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/str.h>
#include <policy/name.h>

static bool
is_label_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Copies one label, lower-cased; its length, or -1 when it is none. */
static int
copy_label(const char *s, size_t n, char *out)
{
	if (n < 1 || n > 63)
		return -1;
	for (size_t i = 0; i < n; i++) {
		char c = s[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (!is_label_byte(c))
			return -1;
		out[i] = c;
	}
	return (int)n;
}

int
host_name_canonical(const char *text, char out[HOST_NAME_TEXT_MAX])
{
	char copy[HOST_NAME_TEXT_MAX];
	size_t n = strnlen(text, HOST_NAME_TEXT_MAX + 1), at = 0;

	if (n > 0 && text[n - 1] == '.')
		n--;
	if (n == 0 || n >= HOST_NAME_TEXT_MAX)
		return -EINVAL;
	while (at < n) {
		const char *dot = memchr(text + at, '.', n - at);
		size_t label = dot != NULL ? (size_t)(dot - (text + at)) : n - at;

		if (copy_label(text + at, label, copy + at) < 0)
			return -EINVAL;
		at += label;
		if (dot == NULL)
			break;
		copy[at++] = '.';
		if (at == n) /* "a.." less its trailing dot */
			return -EINVAL;
	}
	copy[n] = '\0';
	memcpy(out, copy, n + 1);
	return 0;
}

/* The rule of the WHATWG URL standard's "ends in a number": 1.2.3.4, 127.1, 0x7f.1, 2130706433. */
static bool
is_number(const char *label)
{
	size_t n = strlen(label);

	if (n >= 2 && label[0] == '0' && label[1] == 'x')
		return strspn(label + 2, "0123456789abcdef") == n - 2;
	return n > 0 && strspn(label, "0123456789") == n;
}

static bool
is_below(const char *name, const char *domain)
{
	size_t n = strlen(name), d = strlen(domain);

	if (n < d || strcmp(name + n - d, domain) != 0)
		return false;
	return n == d || name[n - d - 1] == '.';
}

/*
 * Special-use domains (RFC 6761 and its registry) whose answer is always "no such name" here:
 * .test and .example are not among them, they may stand for anything that a host resolves.
 * use-application-dns.net says to browsers that DNS over HTTPS is not wanted.
 */
static const char *const special_domains[] = {
	"local",
	"internal",
	"localdomain",
	"home.arpa",
	"arpa",
	"onion",
	"invalid",
	"alt",
	"use-application-dns.net",
};

enum host_name_kind
host_name_kind(const char *name)
{
	char canonical[HOST_NAME_TEXT_MAX];
	const char *last;

	if (host_name_canonical(name, canonical) < 0 || strcmp(name, canonical) != 0)
		return HOST_NAME_INVALID;
	if (strcmp(name, HOST_NAME_DOCKER) == 0 || strcmp(name, HOST_NAME_GATEWAY) == 0)
		return HOST_NAME_HOST;
	if (is_below(name, "localhost"))
		return HOST_NAME_LOCALHOST;
	last = strrchr(name, '.');
	if (is_number(last != NULL ? last + 1 : name))
		return HOST_NAME_NUMERIC;
	for (size_t i = 0; i < ARRAY_LEN(special_domains); i++)
		if (is_below(name, special_domains[i]))
			return HOST_NAME_SPECIAL;
	return last == NULL ? HOST_NAME_SINGLE : HOST_NAME_ORDINARY;
}
