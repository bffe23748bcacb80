#include <errno.h>
#include <string.h>
#include <strings.h>

#include <base/cleanup.h>
#include <proto/http.h>

/*
 * How this works: a chunked body (RFC 9112 7.1) is SIZE CRLF DATA CRLF ..., 0 CRLF, trailer lines,
 * CRLF; one state for each place in that.
 */
enum {
	SIZE,     /* in the digits */
	SIZE_LF,  /* behind the digits' CR */
	DATA,     /* left bytes of the chunk */
	DATA_CR,  /* behind the chunk */
	DATA_LF,  /* behind its CR */
	TRAILER,  /* in a trailer's name, or at the empty line */
	VALUE,    /* behind the name's colon */
	VALUE_LF, /* behind the value's CR */
	FINAL_LF, /* behind the empty line's CR */
	DONE,
};

#define TRAILERS_MAX 8192

void
http_framer_init(struct http_framer *f, enum http_body body, uint64_t length)
{
	*f = (struct http_framer){.body = body, .left = length};
	f->state = body == HTTP_BODY_NONE || (body == HTTP_BODY_LENGTH && length == 0) ? DONE
		   : body == HTTP_BODY_CHUNKED                                         ? SIZE
										       : DATA;
	if (body == HTTP_BODY_CHUNKED)
		f->left = 0;
}

bool
http_framer_done(const struct http_framer *f)
{
	return f->state == DONE;
}

static int
hex(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 15 digits: no sum of sizes overflows. */
static int
in_size(struct http_framer *f, uint8_t c)
{
	int v = hex(c);

	if (v >= 0 && f->digits < 15) {
		f->left = f->left << 4 | (uint64_t)v;
		f->digits++;
		return 0;
	}
	if (c != '\r' || f->digits == 0)
		return -EBADMSG; /* an extension, a blank, a sign, too long, nothing */
	f->state = SIZE_LF;
	return 0;
}

bool
http_trailer_is_forbidden(struct http_str name)
{
	static const char *const names[] = {"host", "content-length", "transfer-encoding",
		"connection", "upgrade", "authorization", "cookie", "set-cookie", "te", "trailer",
		"content-encoding", "content-type", "content-range", "expect", "x-api-key"};

	if (name.n >= 6 && strncasecmp(name.p, "proxy-", 6) == 0)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (http_str_is(name, names[i]))
			return true;
	return false;
}

static bool
is_name_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_';
}

static int
in_trailer(struct http_framer *f, uint8_t c)
{
	if (c == '\r' && f->line == 0) {
		f->state = FINAL_LF;
		return 0;
	}
	if (c == ':' && f->line > 0) {
		f->state = VALUE;
		return http_trailer_is_forbidden((struct http_str){f->name, f->name_len}) ? -EBADMSG
											  : 0;
	}
	if (!is_name_byte(c))
		return -EBADMSG;
	f->line++;
	if (c >= 'A' && c <= 'Z')
		c |= 0x20;
	if (f->name_len < sizeof(f->name))
		f->name[f->name_len++] = (char)c;
	return 0;
}

static int
in_value(struct http_framer *f, uint8_t c)
{
	if (c == '\r')
		f->state = VALUE_LF;
	return (c < 0x20 && c != '\t' && c != '\r') || c == 0x7f ? -EBADMSG : 0;
}

static int
step(struct http_framer *f, uint8_t c)
{
	if (f->state >= TRAILER && ++f->trailer_bytes > TRAILERS_MAX)
		return -EBADMSG;
	switch (f->state) {
	case SIZE:
		return in_size(f, c);
	case DATA_CR:
		f->state = DATA_LF;
		return c == '\r' ? 0 : -EBADMSG;
	case TRAILER:
		return in_trailer(f, c);
	case VALUE:
		return in_value(f, c);
	default:
		break;
	}
	if (c != '\n')
		return -EBADMSG;
	if (f->state == SIZE_LF)
		f->state = f->left > 0 ? DATA : TRAILER;
	else if (f->state == DATA_LF)
		f->state = SIZE;
	else
		f->state = f->state == VALUE_LF ? TRAILER : DONE;
	f->digits = f->name_len = 0;
	f->line = 0;
	return 0;
}

/* Bytes without structure. */
static size_t
take_data(struct http_framer *f, size_t n)
{
	if (f->body == HTTP_BODY_CLOSE)
		return n;
	if (n > f->left)
		n = (size_t)f->left;
	f->left -= n;
	if (f->left == 0)
		f->state = f->body == HTTP_BODY_CHUNKED ? DATA_CR : DONE;
	return n;
}

long
http_framer_next(struct http_framer *f, const uint8_t *p, size_t n, struct http_str *ret_content)
{
	size_t at = 0;

	*ret_content = (struct http_str){0};
	while (at < n && f->state != DONE) {
		if (f->state == DATA) {
			*ret_content =
				(struct http_str){(const char *)p + at, take_data(f, n - at)};
			return (long)(at + ret_content->n);
		}
		if (step(f, p[at++]) < 0)
			return -EBADMSG;
	}
	return (long)at;
}

long
http_framer_feed(struct http_framer *f, const uint8_t *p, size_t n)
{
	struct http_str content;
	size_t at = 0;

	while (at < n && f->state != DONE) {
		long took = http_framer_next(f, p + at, n - at, &content);

		if (took < 0)
			return took;
		at += (size_t)took;
	}
	return (long)at;
}
