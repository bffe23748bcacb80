#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <base/mem.h>
#include <base/str.h>

void
strv_release(struct strv *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->v[i]);
	free(s->v);
	memset(s, 0, sizeof(*s));
}

void
strv_add_take(struct strv *s, char *str)
{
	s->v = xreallocarray(s->v, s->n + 2, sizeof(*s->v));
	s->v[s->n++] = str;
	s->v[s->n] = NULL;
}

void
strv_add(struct strv *s, const char *str)
{
	strv_add_take(s, xstrdup(str));
}

void
strv_addf(struct strv *s, const char *fmt, ...)
{
	char *str = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&str, fmt, ap) < 0)
		abort();
	va_end(ap);
	strv_add_take(s, str);
}

static char **
find_key(const struct strv *s, const char *key)
{
	size_t n = strlen(key);

	for (size_t i = 0; i < s->n; i++)
		if (strncmp(s->v[i], key, n) == 0 && s->v[i][n] == '=')
			return &s->v[i];
	return NULL;
}

void
strv_setenv(struct strv *s, const char *key, const char *value)
{
	char **slot = find_key(s, key), *entry = xasprintf("%s=%s", key, value);

	if (slot == NULL) {
		strv_add_take(s, entry);
		return;
	}
	free(*slot);
	*slot = entry;
}

const char *
strv_getenv(const struct strv *s, const char *key)
{
	char **slot = find_key(s, key);

	return slot != NULL ? *slot + strlen(key) + 1 : NULL;
}

bool
strv_has(const struct strv *s, const char *str)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->v[i], str) == 0)
			return true;
	return false;
}

bool
str_has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool
str_has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}

int
str_to_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (*s == '\0')
		return -EINVAL;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(v, 10, &v) ||
			__builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return -ERANGE;
	}
	if (v < min || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

int
str_to_size(const char *s, uint64_t *ret_bytes)
{
	static const char units[] = "bkmgt";
	char digits[24];
	size_t n = strspn(s, "0123456789");
	const char *unit = s + n, *u;
	uint64_t v;
	int r, shift = 0;

	if (n == 0 || n >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, s, n);
	digits[n] = '\0';
	r = str_to_u64(digits, 0, UINT64_MAX, &v);
	if (r < 0)
		return r;
	if (*unit != '\0') {
		u = strchr(units, *unit | 0x20);
		if (u == NULL)
			return -EINVAL;
		shift = 10 * (int)(u - units);
		if (strcasecmp(unit + 1, "") != 0 && strcasecmp(unit + 1, "b") != 0 &&
			strcasecmp(unit + 1, "ib") != 0)
			return -EINVAL;
	}
	if (__builtin_mul_overflow(v, (uint64_t)1 << shift, &v))
		return -ERANGE;
	*ret_bytes = v;
	return 0;
}

void
str_from_size(uint64_t bytes, char out[16])
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double v = (double)bytes;
	size_t i = 0;

	while (v >= 1024 && i + 1 < sizeof(unit) / sizeof(unit[0])) {
		v /= 1024;
		i++;
	}
	snprintf(out, 16, i == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v, unit[i]);
}

/* The length of the valid, printable UTF-8 sequence at s, or 0. */
static size_t
utf8_printable(const unsigned char *s, size_t n)
{
	uint32_t c, min;
	size_t len;

	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f ? 1 : 0;
	if (s[0] >= 0xc2 && s[0] <= 0xdf) {
		len = 2;
		c = s[0] & 0x1f;
		min = 0xa0; /* below: C1 controls */
	} else if ((s[0] & 0xf0) == 0xe0) {
		len = 3;
		c = s[0] & 0x0f;
		min = 0x800;
	} else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		len = 4;
		c = s[0] & 0x07;
		min = 0x10000;
	} else {
		return 0;
	}
	if (n < len)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	/* Line, paragraph separators and bidirectional controls rewrite what a reader sees. */
	if ((c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069))
		return 0;
	return len;
}

void
str_escape(const char *s, size_t n, char *out, size_t size)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t o = 0;

	if (size == 0)
		return;
	for (size_t i = 0; i < n;) {
		size_t len = utf8_printable(p + i, n - i);
		char esc[8];

		if (len > 0) {
			if (o + len >= size)
				break;
			memcpy(out + o, p + i, len);
			o += len;
			i += len;
			continue;
		}
		len = (size_t)snprintf(esc, sizeof(esc), p[i] == '\n' ? "\\n" : "\\x%02x", p[i]);
		if (o + len >= size)
			break;
		memcpy(out + o, esc, len);
		o += len;
		i++;
	}
	out[o] = '\0';
}
