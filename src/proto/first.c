#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include <base/cleanup.h>
#include <proto/first.h>
#include <proto/tls.h>

/*
 * How this works: TLS shows in its first two bytes. HTTP is a first line of text with "HTTP/" in
 * it. Deliberately wide: bare LF, lower case, blanks in wrong places and empty lines in front are
 * HTTP here, for there are servers that take them; the strict parser then refuses them. A line of
 * text without it is another protocol (SMTP, IRC, Redis, ...), and so is anything binary.
 */

/* HTTP/2 with prior knowledge (RFC 9113 3.4): a tunnel to us, as inside TLS. */
static const char preface[] = "PRI * HTTP/2.0\r\n";

static bool
is_binary(uint8_t c)
{
	return (c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7f;
}

static bool
has_http(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i + 5 <= n; i++)
		if (strncasecmp((const char *)p + i, "HTTP/", 5) == 0)
			return true;
	return false;
}

static size_t
blank_start(const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && (p[i] == '\r' || p[i] == '\n' || p[i] == ' ' || p[i] == '\t'))
		i++;
	return i;
}

/* A word, then a blank within reach: else it is no request, however long it gets. */
static bool
begins_like_request(const uint8_t *p, size_t n)
{
	enum { METHOD_REACH = 64 };

	for (size_t i = 0; i < n && i < METHOD_REACH; i++)
		if (p[i] == ' ' || p[i] == '\t')
			return i > 0;
	return n < METHOD_REACH;
}

enum first
first_classify(const uint8_t *p, size_t n)
{
	size_t start = blank_start(p, n), end;

	if (tls_is_likely(p, n))
		return n < 2 ? FIRST_MORE : FIRST_TLS;
	for (end = start; end < n && p[end] != '\n'; end++)
		if (is_binary(p[end]))
			return FIRST_OTHER;
	if (end < n) {
		if (start == 0 && n >= strlen(preface) && memcmp(p, preface, strlen(preface)) == 0)
			return FIRST_OTHER;
		return has_http(p + start, end - start) ? FIRST_HTTP : FIRST_OTHER;
	}
	if (!begins_like_request(p + start, n - start))
		return FIRST_OTHER;
	return n < FIRST_MAX ? FIRST_MORE : FIRST_HTTP;
}

enum first
first_classify_cut(const uint8_t *p, size_t n)
{
	/* IANA's registry of methods. */
	static const char *const methods[] = {"ACL", "BASELINE-CONTROL", "BIND", "CHECKIN",
		"CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LABEL", "LINK", "LOCK",
		"MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE",
		"MOVE", "OPTIONS", "ORDERPATCH", "PATCH", "POST", "PRI", "PROPFIND", "PROPPATCH",
		"PUT", "QUERY", "REBIND", "REPORT", "SEARCH", "TRACE", "UNBIND", "UNCHECKOUT",
		"UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL"};
	enum first f = first_classify(p, n);
	size_t start = blank_start(p, n), word;

	if (f != FIRST_MORE)
		return f;
	if (tls_is_likely(p, n))
		return FIRST_TLS;
	p += start;
	n -= start;
	for (word = 0; word < n && p[word] != ' ' && p[word] != '\t'; word++)
		;
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		size_t len = strlen(methods[i]);
		bool whole = word < n;

		/* "PO" may become POST, "PO " may not. */
		if (word > 0 && (whole ? word == len : word <= len) &&
			strncasecmp((const char *)p, methods[i], word) == 0)
			return FIRST_HTTP;
	}
	return FIRST_OTHER;
}
