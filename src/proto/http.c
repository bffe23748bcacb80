#include <errno.h>
#include <string.h>
#include <strings.h>

#include <base/cleanup.h>
#include <proto/http.h>

#include "http_parts.h"

/*
 * How this works: the head is cut into lines at CRLF, each byte of it checked on the way; the first
 * line and the fields are cut further; then the fields that decide about routing and framing are
 * looked at. Nothing is corrected: what is not exactly right is refused.
 */

bool
http_str_is(struct http_str s, const char *text)
{
	return strlen(text) == s.n && strncasecmp(s.p, text, s.n) == 0;
}

bool
http_is_token(struct http_str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL)))
			return false;
	}
	return s.n > 0;
}

struct http_str
http_trim(struct http_str s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.n--;
	}
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

bool
http_cut(struct http_str *rest, char at, struct http_str *ret)
{
	const char *p = memchr(rest->p, at, rest->n);

	if (p == NULL)
		return false;
	*ret = (struct http_str){rest->p, (size_t)(p - rest->p)};
	rest->n -= ret->n + 1;
	rest->p = p + 1;
	return true;
}

/* One line without its CRLF. */
enum http_parse
http_line(struct http_str *rest, struct http_str *ret)
{
	const char *cr = NULL;

	for (size_t i = 0; i < rest->n && cr == NULL; i++) {
		unsigned char c = (unsigned char)rest->p[i];

		if (c == '\r')
			cr = rest->p + i;
		else if ((c < 0x20 && c != '\t') || c == 0x7f)
			return HTTP_PARSE_BAD; /* a bare LF, a NUL, an escape sequence */
	}
	if (cr == NULL || cr + 1 == rest->p + rest->n)
		return HTTP_PARSE_MORE;
	if (cr[1] != '\n')
		return HTTP_PARSE_BAD;
	*ret = (struct http_str){rest->p, (size_t)(cr - rest->p)};
	rest->n -= ret->n + 2;
	rest->p = cr + 2;
	return HTTP_PARSE_OK;
}

enum http_parse
http_fields(struct http_str *rest, struct http_field *fields, size_t *n, const char **error)
{
	struct http_str line;
	enum http_parse r;

	for (*n = 0;; ++*n) {
		struct http_field *f = &fields[*n];

		r = http_line(rest, &line);
		if (r != HTTP_PARSE_OK) {
			*error = "a control character in the head";
			return r;
		}
		if (line.n == 0)
			return HTTP_PARSE_OK;
		if (*n == HTTP_FIELDS_MAX)
			return HTTP_PARSE_TOO_LARGE;
		/* Folding begins with a blank, which is no token either. */
		if (!http_cut(&line, ':', &f->name) || !http_is_token(f->name)) {
			*error = "a malformed field name";
			return HTTP_PARSE_BAD;
		}
		f->value = http_trim(line);
	}
}

bool
http_version(struct http_str s, int *ret_minor)
{
	if (s.n != 8 || memcmp(s.p, "HTTP/1.", 7) != 0 || (s.p[7] != '0' && s.p[7] != '1'))
		return false;
	*ret_minor = s.p[7] - '0';
	return true;
}

bool
http_list_has(const struct http_field *fields, size_t n, const char *name, struct http_str want)
{
	for (size_t i = 0; i < n; i++) {
		struct http_str rest = fields[i].value, item;
		bool more = true;

		if (!http_str_is(fields[i].name, name))
			continue;
		while (more) {
			more = http_cut(&rest, ',', &item);
			item = http_trim(more ? item : rest);
			if (item.n == want.n && strncasecmp(item.p, want.p, want.n) == 0)
				return true;
		}
	}
	return false;
}

static bool
connection_has(const struct http_field *fields, size_t n, const char *word)
{
	return http_list_has(fields, n, "connection", (struct http_str){word, strlen(word)});
}

bool
http_keep_alive(const struct http_field *fields, size_t n, int minor)
{
	if (connection_has(fields, n, "close"))
		return false;
	return minor == 1 || connection_has(fields, n, "keep-alive");
}

bool
http_upgrades(const struct http_field *fields, size_t n)
{
	return http_field_find(fields, n, "upgrade") != NULL &&
	       connection_has(fields, n, "upgrade");
}

const struct http_field *
http_field_find(const struct http_field *fields, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (http_str_is(fields[i].name, name))
			return &fields[i];
	return NULL;
}

bool
http_field_is_hop(const struct http_field *fields, size_t n, struct http_str name)
{
	static const char *const hop[] = {"connection", "keep-alive", "proxy-connection",
		"proxy-authorization", "proxy-authenticate", "te", "upgrade"};
	/* What decides about framing and routing is no hop's private matter, whoever says so. */
	static const char *const never[] = {"host", "content-length", "transfer-encoding"};

	for (size_t i = 0; i < ARRAY_LEN(hop); i++)
		if (http_str_is(name, hop[i]))
			return true;
	for (size_t i = 0; i < ARRAY_LEN(never); i++)
		if (http_str_is(name, never[i]))
			return false;
	return http_list_has(fields, n, "connection", name);
}

/* Digits only, at most 2^62: sums cannot overflow. */
static bool
parse_length(struct http_str s, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0 || s.n > 18)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	*ret = v;
	return true;
}

/* The body's framing as the fields tell it; HTTP_BODY_NONE when they tell nothing. */
const char *
http_body_fields(const struct http_field *fields, size_t n, int minor, enum http_body *ret,
	uint64_t *ret_length)
{
	const struct http_field *length = NULL, *coding = NULL;

	*ret = HTTP_BODY_NONE;
	*ret_length = 0;
	for (size_t i = 0; i < n; i++) {
		const struct http_field **at =
			http_str_is(fields[i].name, "content-length")      ? &length
			: http_str_is(fields[i].name, "transfer-encoding") ? &coding
									   : NULL;
		if (at != NULL && *at != NULL)
			return "two fields that say how long the body is";
		if (at != NULL)
			*at = &fields[i];
	}
	if (length != NULL && coding != NULL)
		return "Content-Length beside Transfer-Encoding";
	if (coding != NULL && (minor == 0 || !http_str_is(coding->value, "chunked")))
		return "a transfer coding other than chunked";
	if (length != NULL && !parse_length(length->value, ret_length))
		return "a malformed Content-Length";
	if (coding != NULL)
		*ret = HTTP_BODY_CHUNKED;
	else if (*ret_length > 0)
		*ret = HTTP_BODY_LENGTH;
	return NULL;
}
