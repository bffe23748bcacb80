#include <string.h>
#include <strings.h>

#include <proto/http.h>

#include "http_parts.h"

static bool
parse_port(struct http_str s, uint16_t *ret)
{
	unsigned v = 0;

	if (s.n == 0 || s.n > 5)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (unsigned)(s.p[i] - '0');
	}
	*ret = (uint16_t)v;
	return v >= 1 && v <= 65535;
}

static bool
all_of(struct http_str s, const char *more)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    (c != '\0' && strchr(more, c) != NULL)))
			return false;
	}
	return s.n > 0 && s.n <= HTTP_HOST_MAX;
}

bool
http_authority_parse(struct http_str s, struct http_authority *ret)
{
	struct http_authority a = {.host = s};
	struct http_str rest = s;

	if (s.n > 0 && s.p[0] == '[') {
		rest.p++;
		rest.n--;
		a.is_ipv6 = true;
		if (!http_cut(&rest, ']', &a.host) || !all_of(a.host, ":."))
			return false;
		if (rest.n > 0 && rest.p[0] != ':')
			return false;
		if (rest.n > 0 && !parse_port((struct http_str){rest.p + 1, rest.n - 1}, &a.port))
			return false;
	} else {
		if (http_cut(&rest, ':', &a.host) && !parse_port(rest, &a.port))
			return false;
		if (!all_of(a.host, "-._"))
			return false;
	}
	*ret = a;
	return true;
}

static bool
visible(struct http_str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= 0x20 || s.p[i] >= 0x7f || s.p[i] == '#')
			return false;
	return s.n > 0;
}

static const char *
absolute_form(struct http_request *q)
{
	static const char scheme[] = "http://";
	struct http_str rest = {q->target.p + sizeof(scheme) - 1, 0};
	const char *slash;

	if (q->target.n <= sizeof(scheme) - 1 ||
		strncasecmp(q->target.p, scheme, sizeof(scheme) - 1) != 0)
		return "a target of another scheme than http (https goes by CONNECT)";
	rest.n = q->target.n - (sizeof(scheme) - 1);
	slash = memchr(rest.p, '/', rest.n);
	q->path = (struct http_str){"/", 1};
	if (slash != NULL) {
		q->path = (struct http_str){slash, (size_t)(rest.p + rest.n - slash)};
		rest.n = (size_t)(slash - rest.p);
	}
	/* '?' straight behind the host, or user:password@, is no authority. */
	if (!http_authority_parse(rest, &q->to))
		return "a malformed authority in the target";
	q->form = HTTP_FORM_ABSOLUTE;
	return NULL;
}

static const char *
parse_target(struct http_request *q)
{
	bool connect = q->method.n == 7 && memcmp(q->method.p, "CONNECT", 7) == 0;

	if (!visible(q->target))
		return "a malformed target";
	if (connect) {
		q->form = HTTP_FORM_AUTHORITY;
		q->path = (struct http_str){"", 0};
		if (!http_authority_parse(q->target, &q->to) || q->to.port == 0)
			return "CONNECT without host:port";
		return NULL;
	}
	if (q->target.p[0] == '/') {
		q->form = HTTP_FORM_ORIGIN;
		q->path = q->target;
		return NULL;
	}
	if (q->target.n == 1 && q->target.p[0] == '*' && http_str_is(q->method, "OPTIONS")) {
		q->form = HTTP_FORM_ASTERISK;
		q->path = q->target;
		return NULL;
	}
	return absolute_form(q);
}

static const char *
parse_request_line(struct http_request *q, struct http_str line)
{
	if (!http_cut(&line, ' ', &q->method) || !http_cut(&line, ' ', &q->target))
		return "a malformed request line";
	if (q->method.n > HTTP_METHOD_MAX || !http_is_token(q->method))
		return "a malformed method";
	if (!http_version(line, &q->minor))
		return "a version other than HTTP/1.0 and HTTP/1.1";
	return parse_target(q);
}

static uint16_t
port_or_80(const struct http_authority *a)
{
	return a->port != 0 ? a->port : 80;
}

/* Two names of the destination in one request must be the same one. */
static const char *
check_host(struct http_request *q)
{
	const struct http_field *f = NULL;
	bool same;

	for (size_t i = 0; i < q->nfields; i++) {
		if (!http_str_is(q->fields[i].name, "host"))
			continue;
		if (f != NULL)
			return "two Host fields";
		f = &q->fields[i];
	}
	if (f == NULL)
		return q->minor == 1 ? "no Host field" : NULL;
	if (!http_authority_parse(f->value, &q->host))
		return "a malformed Host field";
	if (q->form == HTTP_FORM_ORIGIN || q->form == HTTP_FORM_ASTERISK) {
		q->to = q->host;
		return NULL;
	}
	same = q->to.host.n == q->host.host.n &&
	       strncasecmp(q->to.host.p, q->host.host.p, q->to.host.n) == 0 &&
	       q->to.is_ipv6 == q->host.is_ipv6;
	if (q->form == HTTP_FORM_ABSOLUTE)
		same &= port_or_80(&q->to) == port_or_80(&q->host);
	else /* CONNECT: some programs leave the port out */
		same &= q->host.port == 0 || q->host.port == q->to.port;
	return same ? NULL : "a Host field that differs from the target";
}

static const char *
parse_rest(struct http_request *q)
{
	const char *error = check_host(q);

	if (error == NULL)
		error = http_body_fields(q->fields, q->nfields, q->minor, &q->body, &q->length);
	if (error == NULL && q->form == HTTP_FORM_AUTHORITY && q->body != HTTP_BODY_NONE)
		error = "CONNECT with a body";
	q->keep_alive = http_keep_alive(q->fields, q->nfields, q->minor);
	q->upgrade = http_upgrades(q->fields, q->nfields);
	return error;
}

enum http_parse
http_request_parse(const uint8_t *p, size_t n, struct http_request *ret)
{
	struct http_str rest = {(const char *)p, n < HTTP_HEAD_MAX ? n : HTTP_HEAD_MAX}, line;
	bool cut = rest.n < n;
	enum http_parse r;

	memset(ret, 0, offsetof(struct http_request, fields));
	ret->nfields = 0;
	ret->error = "a malformed request line";
	r = http_line(&rest, &line);
	if (r == HTTP_PARSE_MORE && rest.n > HTTP_TARGET_MAX + HTTP_METHOD_MAX)
		return HTTP_PARSE_TOO_LARGE;
	if (r == HTTP_PARSE_OK && line.n > HTTP_TARGET_MAX + HTTP_METHOD_MAX)
		return HTTP_PARSE_TOO_LARGE;
	if (r != HTTP_PARSE_OK)
		return r;
	ret->error = parse_request_line(ret, line);
	if (ret->error != NULL)
		return HTTP_PARSE_BAD;
	r = http_fields(&rest, ret->fields, &ret->nfields, &ret->error);
	if (r == HTTP_PARSE_MORE && (cut || n >= HTTP_HEAD_MAX))
		return HTTP_PARSE_TOO_LARGE;
	if (r != HTTP_PARSE_OK)
		return r;
	ret->head_len = (size_t)(rest.p - (const char *)p);
	ret->error = parse_rest(ret);
	return ret->error == NULL ? HTTP_PARSE_OK : HTTP_PARSE_BAD;
}
