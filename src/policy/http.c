#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <base/cleanup.h>
#include <policy/http.h>

static const char *const methods[] = {
	"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"};

uint16_t
http_method_bit(const char *method)
{
	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (strcmp(methods[i], method) == 0)
			return (uint16_t)(1U << i);
	return 0;
}

void
http_methods_format(uint16_t bits, char out[HTTP_METHODS_TEXT_MAX])
{
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (bits & 1U << i)
			at += (size_t)snprintf(out + at, HTTP_METHODS_TEXT_MAX - at, "%s%s",
				at > 0 ? "," : "", methods[i]);
}

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool
is_unreserved(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != 0 && strchr("-._~", c) != NULL);
}

/* pchar of RFC 3986 without ";", which some origins cut segments at. */
static bool
is_plain(int c)
{
	return is_unreserved(c) || (c != 0 && strchr("!$&'()*+,=:@", c) != NULL);
}

/* What origins take for the end of something, once they have decoded it (twice, some). */
static bool
is_ambiguous(int c)
{
	return c < 0x20 || c == 0x7f || strchr("/\\%;", c) != NULL;
}

/* UTF-8 as it may be (RFC 3629): no overlong form, no surrogate, nothing beyond U+10FFFF. */
struct utf8 {
	unsigned left, low, high;
};

static bool
utf8_take(struct utf8 *u, unsigned c)
{
	if (u->left > 0) {
		bool ok = c >= u->low && c <= u->high;

		*u = (struct utf8){u->left - 1, 0x80, 0xbf};
		return ok;
	}
	if (c < 0x80)
		return true;
	if (c < 0xc2 || c > 0xf4)
		return false;
	*u = (struct utf8){c < 0xe0   ? 1
			   : c < 0xf0 ? 2
				      : 3,
		c == 0xe0   ? 0xa0
		: c == 0xf0 ? 0x90
			    : 0x80,
		c == 0xed   ? 0x9f
		: c == 0xf4 ? 0x8f
			    : 0xbf};
	return true;
}

struct canonical {
	char *out;
	size_t n;
	struct utf8 utf8;
};

/* One byte of the path, as it was sent or decoded. */
static int
put(struct canonical *o, int c, bool encoded)
{
	static const char digits[] = "0123456789ABCDEF";

	if (!utf8_take(&o->utf8, (unsigned)c) || (encoded ? is_ambiguous(c) : !is_plain(c)))
		return -EINVAL;
	if (o->n + 4 > HTTP_PATH_MAX)
		return -ENAMETOOLONG;
	if (!encoded || is_unreserved(c)) {
		o->out[o->n++] = (char)c;
		return 0;
	}
	o->out[o->n++] = '%';
	o->out[o->n++] = digits[c >> 4];
	o->out[o->n++] = digits[c & 15];
	return 0;
}

/* A slash ends a segment: which may not be empty, nor end in a dot ("..", "a." on some hosts). */
static int
put_slash(struct canonical *o)
{
	if (o->utf8.left > 0 || (o->n > 0 && strchr("/.", o->out[o->n - 1]) != NULL))
		return -EINVAL;
	if (o->n + 4 > HTTP_PATH_MAX)
		return -ENAMETOOLONG;
	o->out[o->n++] = '/';
	return 0;
}

int
http_path_canonical(const char *target, size_t n, char out[HTTP_PATH_MAX])
{
	struct canonical o = {.out = out};
	int r = n > 0 && target[0] == '/' ? 0 : -EINVAL;

	for (size_t i = 0; r == 0 && i < n && target[i] != '?'; i++) {
		int high, low;

		if (target[i] == '/') {
			r = put_slash(&o);
		} else if (target[i] != '%') {
			r = put(&o, (unsigned char)target[i], false);
		} else if (i + 2 < n && (high = hex(target[i + 1])) >= 0 &&
			   (low = hex(target[i + 2])) >= 0) {
			r = put(&o, high << 4 | low, true);
			i += 2;
		} else {
			r = -EINVAL;
		}
	}
	if (r == 0 && (o.utf8.left > 0 || o.out[o.n - 1] == '.'))
		r = -EINVAL;
	if (r == 0)
		out[o.n] = '\0';
	return r;
}

/*
 * can[i]: the pattern's first i bytes match the path so far. A step for each byte of the path; what
 * a star may swallow stays possible. "**" is one token of two bytes: between them can[] is false.
 */
#define PATTERN_MAX 256

/* Stars match nothing, too. */
static void
skip_stars(const char *pattern, size_t n, bool *can)
{
	for (size_t i = 0; i < n; i++) {
		size_t token = pattern[i] == '*' && pattern[i + 1] == '*' ? 2 : 1;

		if (pattern[i] == '*' && can[i])
			can[i + token] = true;
		i += token - 1;
	}
}

static void
step(const char *pattern, size_t n, const bool *can, char c, bool *next)
{
	memset(next, 0, n + 1);
	for (size_t i = 0; i < n; i++) {
		size_t token = pattern[i] == '*' && pattern[i + 1] == '*' ? 2 : 1;

		if (can[i] && pattern[i] == '*' && (token == 2 || c != '/'))
			next[i] = true;
		if (can[i] && pattern[i] != '*' && pattern[i] == c)
			next[i + 1] = true;
		i += token - 1;
	}
}

bool
http_path_matches(const char *pattern, const char *path)
{
	size_t n = strnlen(pattern, PATTERN_MAX);
	bool rows[2][PATTERN_MAX + 1] = {{true}};
	unsigned row = 0;

	if (n == PATTERN_MAX)
		return false;
	skip_stars(pattern, n, rows[0]);
	for (; *path != '\0'; path++, row ^= 1) {
		step(pattern, n, rows[row], *path, rows[row ^ 1]);
		skip_stars(pattern, n, rows[row ^ 1]);
	}
	return rows[row][n];
}
