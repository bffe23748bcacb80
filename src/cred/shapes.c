#include <string.h>

#include <base/cleanup.h>
#include <cred/set.h>

#include "shapes.h"

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char for_urls[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void
put_sextets(struct buf *out, const uint8_t *p, size_t n, const char *alphabet)
{
	uint32_t bits = 0;
	unsigned have = 0;

	for (size_t i = 0; i < n; i++) {
		bits = bits << 8 | p[i];
		for (have += 8; have >= 6; have -= 6)
			buf_append(out, &alphabet[bits >> (have - 6) & 63], 1);
	}
	if (have > 0)
		buf_append(out, &alphabet[bits << (6 - have) & 63], 1);
}

void
base64_put(struct buf *out, const void *p, size_t n)
{
	put_sextets(out, p, n, standard);
	buf_append(out, "==", (3 - n % 3) % 3);
}

static int
sextet(char c)
{
	const char *at = c != '\0' ? strchr(standard, c) : NULL;

	if (at == NULL && (c == '-' || c == '_'))
		return c == '-' ? 62 : 63;
	return at != NULL ? (int)(at - standard) : -1;
}

bool
base64_get(struct buf *out, const char *p, size_t n)
{
	uint32_t bits = 0;
	unsigned have = 0;

	while (n > 0 && p[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++) {
		int v = sextet(p[i]);
		uint8_t byte;

		if (v < 0)
			return false;
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have >= 8) {
			have -= 8;
			byte = (uint8_t)(bits >> have);
			buf_append(out, &byte, 1);
		}
	}
	return n % 4 != 1;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void
percent_get(struct buf *out, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char c = p[i];

		if (c == '%' && i + 2 < n && hex_digit(p[i + 1]) >= 0 && hex_digit(p[i + 2]) >= 0) {
			c = (char)(hex_digit(p[i + 1]) << 4 | hex_digit(p[i + 2]));
			i += 2;
		}
		buf_append(out, &c, 1);
	}
}

/* RFC 3986 2.3 leaves these as they are; everybody encodes most of the others. */
static bool
is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("-._~", c) != NULL);
}

static void
add_percent(struct matcher *m, const char *text, const char *digits, uint16_t tag)
{
	CLEAN_CRED_BUF struct buf b = BUF_INIT;

	for (const char *p = text; *p != '\0'; p++) {
		uint8_t c = (uint8_t)*p;
		char escape[3] = {'%', digits[c >> 4], digits[c & 15]};

		if (is_unreserved(*p))
			buf_append(&b, p, 1);
		else
			buf_append(&b, escape, 3);
	}
	matcher_add(m, b.data, b.len, tag);
}

static void
add_json(struct matcher *m, const char *text, const char *escaped, uint16_t tag)
{
	CLEAN_CRED_BUF struct buf b = BUF_INIT;

	for (const char *p = text; *p != '\0'; p++) {
		if (strchr(escaped, *p) != NULL)
			buf_append(&b, "\\", 1);
		buf_append(&b, p, 1);
	}
	matcher_add(m, b.data, b.len, tag);
}

/* Those characters that do not depend on what stands before and behind the text. */
static void
add_base64(struct matcher *m, const char *text, const char *alphabet, uint16_t tag)
{
	static const size_t skipped[] = {0, 2, 3}; /* characters that hold bits of what is before */
	size_t n = strlen(text);

	for (size_t before = 0; before < 3; before++) {
		CLEAN_CRED_BUF struct buf raw = BUF_INIT, b = BUF_INIT;
		size_t whole = (before + n) * 8 / 6;

		buf_append(&raw, "\0\0", before);
		buf_append(&raw, text, n);
		put_sextets(&b, raw.data, raw.len, alphabet);
		if (whole > skipped[before])
			matcher_add(m, b.data + skipped[before], whole - skipped[before], tag);
	}
}

void
shapes_add(struct matcher *m, const char *text, uint16_t tag)
{
	matcher_add(m, text, strlen(text), tag);
	add_percent(m, text, "0123456789ABCDEF", tag);
	add_percent(m, text, "0123456789abcdef", tag);
	add_json(m, text, "\"\\", tag);
	add_json(m, text, "\"\\/", tag);
	add_base64(m, text, standard, tag);
	add_base64(m, text, for_urls, tag);
}
