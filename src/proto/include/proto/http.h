#pragma once
/*
 * HTTP/1.0 and 1.1 message heads (RFC 9112, RFC 9110) and body framing, stricter than the RFCs
 * where a second reader could understand the bytes differently (request smuggling): lines end in
 * CRLF and nothing else, no folding, no blanks before a colon, one Host, one Content-Length of
 * digits, "chunked" as the only transfer coding and never beside a length, no chunk extensions.
 * Pure; everything points into the parsed bytes.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX   65536
#define HTTP_TARGET_MAX 16384
#define HTTP_METHOD_MAX 32
#define HTTP_HOST_MAX   255
#define HTTP_FIELDS_MAX 128

struct http_str {
	const char *p;
	size_t n;
};

struct http_field {
	struct http_str name, value;
};

enum http_parse {
	HTTP_PARSE_OK,
	HTTP_PARSE_MORE,      /* the head is not whole yet */
	HTTP_PARSE_BAD,       /* 400; see error */
	HTTP_PARSE_TOO_LARGE, /* 431 */
};

enum http_form {
	HTTP_FORM_ORIGIN,    /* /path?query */
	HTTP_FORM_ABSOLUTE,  /* http://host/path?query */
	HTTP_FORM_AUTHORITY, /* CONNECT host:port */
	HTTP_FORM_ASTERISK,  /* OPTIONS * */
};

enum http_body { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED, HTTP_BODY_CLOSE };

/* host[:port] as it was written: letters, digits, '-', '.', '_', or what stands in brackets. */
struct http_authority {
	struct http_str host; /* without brackets; empty: none was given */
	bool is_ipv6;
	uint16_t port; /* 0: none was given */
};

struct http_request {
	struct http_str method, target;
	enum http_form form;
	struct http_authority to;   /* of the target's authority, else of Host */
	struct http_authority host; /* of the Host field */
	struct http_str path; /* "/path?query"; "/" for a bare authority, "*", "" for CONNECT */
	int minor;            /* HTTP/1.minor */
	struct http_field fields[HTTP_FIELDS_MAX];
	size_t nfields;
	enum http_body body; /* never HTTP_BODY_CLOSE */
	uint64_t length;
	bool keep_alive;
	bool upgrade; /* Upgrade and "Connection: upgrade" */
	size_t head_len;
	const char *error; /* of HTTP_PARSE_BAD: what is wrong, a few words */
};

enum http_parse http_request_parse(const uint8_t *p, size_t n, struct http_request *ret);

struct http_response {
	int status, minor;
	struct http_str reason;
	struct http_field fields[HTTP_FIELDS_MAX];
	size_t nfields;
	enum http_body body;
	uint64_t length;
	bool keep_alive;
	size_t head_len;
	const char *error;
};

/* to_head: the answer to a HEAD request, which has no body whatever its fields say. */
enum http_parse http_response_parse(
	const uint8_t *p, size_t n, bool to_head, struct http_response *ret);

/* Field names compare without case. */
bool http_str_is(struct http_str s, const char *text);
/*
 * Fields that belong to one hop and are never passed on (RFC 9110 7.6.1), those that the message's
 * own Connection names included.
 */
bool http_field_is_hop(const struct http_field *fields, size_t n, struct http_str name);

/* "host:port", "[v6]:port", "host": for CONNECT and Host. False: not one. */
bool http_authority_parse(struct http_str s, struct http_authority *ret);

/* What comes too late, behind the body, or would be credentials that nobody has looked at. */
bool http_trailer_is_forbidden(struct http_str name);

/*
 * How much of a body is left. Feed it with bytes as they come; they pass as they are. Trailers pass
 * unless they name what must be known before the body (framing, routing, credentials).
 */
struct http_framer {
	enum http_body body;
	uint64_t left; /* of the length, or of the chunk */
	uint8_t state;
	uint8_t digits;
	uint16_t line; /* bytes of the present trailer line */
	uint32_t trailer_bytes;
	char name[24]; /* beginning of the trailer's name, lower case */
	uint8_t name_len;
};

void http_framer_init(struct http_framer *f, enum http_body body, uint64_t length);
bool http_framer_done(const struct http_framer *f); /* HTTP_BODY_CLOSE never is */
/* The number of bytes that belong to the body; less than n: it is done. -EBADMSG: malformed. */
long http_framer_feed(struct http_framer *f, const uint8_t *p, size_t n);
/* As far as the end of the first content in there, which *ret points to (n 0: none). */
long http_framer_next(
	struct http_framer *f, const uint8_t *p, size_t n, struct http_str *ret_content);
