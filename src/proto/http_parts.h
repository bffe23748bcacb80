#pragma once
/* What http_request.c and http_response.c share. */
#include <proto/http.h>

bool http_is_token(struct http_str s);
struct http_str http_trim(struct http_str s); /* blanks and tabs at both ends */
/* What stands before the first such character; rest then begins behind it. */
bool http_cut(struct http_str *rest, char at, struct http_str *ret);
/* The next line, without its CRLF: OK, MORE or BAD. */
enum http_parse http_line(struct http_str *rest, struct http_str *ret);
/* Fields up to and with the empty line. */
enum http_parse http_fields(
	struct http_str *rest, struct http_field *fields, size_t *n, const char **error);
bool http_version(struct http_str s, int *ret_minor);
/* Is it in one of the comma-separated lists of this name? */
bool http_list_has(
	const struct http_field *fields, size_t n, const char *name, struct http_str want);
const struct http_field *http_field_find(
	const struct http_field *fields, size_t n, const char *name);
bool http_keep_alive(const struct http_field *fields, size_t n, int minor);
bool http_upgrades(const struct http_field *fields, size_t n);
/* NULL, or what is wrong. */
const char *http_body_fields(const struct http_field *fields, size_t n, int minor,
	enum http_body *ret, uint64_t *ret_length);
