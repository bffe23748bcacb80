#pragma once
/* What rules look at in a request: its method and its path. Pure. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One bit for each method that a rule can name: GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT
 * TRACE, in capitals (RFC 9110 section 9.1: methods are case-sensitive). 0 for any other.
 */
uint16_t http_method_bit(const char *method);
/* "GET,HEAD" for a set of them. */
#define HTTP_METHODS_TEXT_MAX 64
void http_methods_format(uint16_t bits, char out[HTTP_METHODS_TEXT_MAX]);

#define HTTP_PATH_MAX 4096

/*
 * The one form of a request's path (origin-form, RFC 9112 section 3.2.1; the query is left out)
 * that this side and every origin read alike: percent-encoding undone where it changes nothing
 * (RFC 3986 section 6.2.2), in capitals elsewhere. -EINVAL for what origins read differently: dot
 * segments, empty ones, those that end in a dot, encoded slashes, backslashes and percent signs,
 * parameters (";"), control bytes, bytes that are no UTF-8, a fragment. -ENAMETOOLONG.
 */
int http_path_canonical(const char *target, size_t n, char out[HTTP_PATH_MAX]);

/* Takes time in proportion to the product of the lengths, never more. */
bool http_path_matches(const char *pattern, const char *path);
