#include <string.h>

#include <proto/http.h>

#include "http_parts.h"

/* "HTTP/1.1 200 OK"; some servers leave out the reason and its blank. */
static const char *
parse_status_line(struct http_response *s, struct http_str line)
{
	struct http_str version, code = line;

	if (!http_cut(&line, ' ', &version) || !http_version(version, &s->minor))
		return "a version other than HTTP/1.0 and HTTP/1.1";
	if (!http_cut(&line, ' ', &code)) {
		code = line;
		line.n = 0;
	}
	if (code.n != 3)
		return "a malformed status";
	for (int i = 0; i < 3; i++) {
		if (code.p[i] < '0' || code.p[i] > '9')
			return "a malformed status";
		s->status = s->status * 10 + (code.p[i] - '0');
	}
	s->reason = line;
	return s->status >= 100 && s->status <= 599 ? NULL : "a malformed status";
}

static const char *
parse_body(struct http_response *s, bool to_head)
{
	const char *error = http_body_fields(s->fields, s->nfields, s->minor, &s->body, &s->length);
	bool has_length = http_field_find(s->fields, s->nfields, "content-length") != NULL;
	bool never = to_head || s->status < 200 || s->status == 204 || s->status == 304;

	s->keep_alive = http_keep_alive(s->fields, s->nfields, s->minor);
	if (error != NULL)
		return error;
	if (never) {
		s->body = HTTP_BODY_NONE;
		s->length = 0;
	} else if (s->body == HTTP_BODY_NONE && !has_length) {
		s->body = HTTP_BODY_CLOSE;
		s->keep_alive = false;
	}
	return NULL;
}

enum http_parse
http_response_parse(const uint8_t *p, size_t n, bool to_head, struct http_response *ret)
{
	struct http_str rest = {(const char *)p, n < HTTP_HEAD_MAX ? n : HTTP_HEAD_MAX}, line;
	enum http_parse r;

	memset(ret, 0, offsetof(struct http_response, fields));
	ret->nfields = 0;
	ret->error = "a malformed status line";
	r = http_line(&rest, &line);
	if (r == HTTP_PARSE_OK) {
		ret->error = parse_status_line(ret, line);
		if (ret->error != NULL)
			return HTTP_PARSE_BAD;
		r = http_fields(&rest, ret->fields, &ret->nfields, &ret->error);
	}
	if (r == HTTP_PARSE_MORE && n >= HTTP_HEAD_MAX)
		return HTTP_PARSE_TOO_LARGE;
	if (r != HTTP_PARSE_OK)
		return r;
	ret->head_len = (size_t)(rest.p - (const char *)p);
	ret->error = parse_body(ret, to_head);
	return ret->error == NULL ? HTTP_PARSE_OK : HTTP_PARSE_BAD;
}
