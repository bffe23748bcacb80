#pragma once
/* A scripted end of HTTP/2 inside of TLS, for tests of the net role. */
#include <nghttp2/nghttp2.h>

#include "net_tls.h"

#define H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* A scripted end of HTTP/2: frames are written by hand, heads through nghttp2's own HPACK. */
struct h2_end {
	SSL *ssl;
	nghttp2_hd_deflater *deflater;
	nghttp2_hd_inflater *inflater;
	uint8_t frame[70000];
	size_t len; /* of the last frame's payload */
	uint8_t type, flags;
	uint32_t id;
};

enum { F_DATA, F_HEADERS, F_RST = 3, F_SETTINGS, F_PING = 6, F_GOAWAY, F_WINDOW, F_CONTINUATION };
enum { END_STREAM = 1, END_HEADERS = 4 };

static inline void
h2_write(struct h2_end *e, uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n)
{
	uint8_t bytes[9 + 20000] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags,
		(uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};

	assert_true(n <= 20000);
	if (n > 0)
		memcpy(bytes + 9, p, n);
	assert_int_equal(SSL_write(e->ssl, bytes, (int)n + 9), (int)n + 9);
}

static inline bool
h2_read_bytes(struct h2_end *e, uint8_t *p, size_t n)
{
	while (n > 0) {
		int r = SSL_read(e->ssl, p, (int)n);

		if (r <= 0)
			return false;
		p += r;
		n -= (size_t)r;
	}
	return true;
}

/* The next frame; false: the end. */
static inline bool
h2_read(struct h2_end *e)
{
	uint8_t h[9];

	if (!h2_read_bytes(e, h, 9))
		return false;
	e->len = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
	e->type = h[3];
	e->flags = h[4];
	e->id = (uint32_t)h[5] << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | h[8];
	assert_true(e->len < sizeof(e->frame));
	return h2_read_bytes(e, e->frame, e->len);
}

/* The next of this type. SETTINGS are acknowledged on the way, the rest is passed over. */
static inline void
h2_wait(struct h2_end *e, uint8_t type)
{
	do {
		if (!h2_read(e))
			fail_msg("ended before a frame of type %u", type);
		if (e->type == F_SETTINGS && (e->flags & 1) == 0)
			h2_write(e, F_SETTINGS, 1, 0, NULL, 0);
		if (e->type == F_GOAWAY && type != F_GOAWAY)
			fail_msg("GOAWAY: %u", e->frame[7]);
	} while (e->type != type);
}

static inline void
h2_open(struct h2_end *e, SSL *ssl, bool client)
{
	char preface[24];

	memset(e, 0, sizeof(*e));
	e->ssl = ssl;
	nghttp2_hd_deflate_new(&e->deflater, 4096);
	nghttp2_hd_inflate_new(&e->inflater);
	if (client) {
		tls_send(ssl, H2_PREFACE);
	} else {
		assert_true(h2_read_bytes(e, (uint8_t *)preface, 24));
		assert_memory_equal(preface, H2_PREFACE, 24);
	}
	h2_write(e, F_SETTINGS, 0, 0, NULL, 0);
}

static inline void
h2_close(struct h2_end *e)
{
	nghttp2_hd_deflate_del(e->deflater);
	nghttp2_hd_inflate_del(e->inflater);
	tls_close(e->ssl);
}

/* "name value" pairs, one a line. */
static inline void
h2_head(struct h2_end *e, uint32_t id, uint8_t flags, const char *lines)
{
	char *copy = strdup(lines), *save = NULL;
	uint8_t block[16000];
	nghttp2_nv out[64];
	ssize_t len;
	size_t n = 0;

	for (char *l = strtok_r(copy, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(l, ' ');

		*value++ = '\0';
		out[n++] =
			(nghttp2_nv){(uint8_t *)l, (uint8_t *)value, strlen(l), strlen(value), 0};
	}
	len = nghttp2_hd_deflate_hd(e->deflater, block, sizeof(block), out, n);
	assert_true(len > 0);
	h2_write(e, F_HEADERS, (uint8_t)(flags | END_HEADERS), id, block, (size_t)len);
	free(copy);
}

/* The next HEADERS frame as "name value\n" lines. */
static inline const char *
h2_expect_head(struct h2_end *e)
{
	static char text[8192];
	const uint8_t *p;
	size_t left, at = 0;
	int flags = 0;
	nghttp2_nv f;

	h2_wait(e, F_HEADERS);
	p = e->frame + ((e->flags & 0x20) != 0 ? 5 : 0);
	left = e->len - (size_t)(p - e->frame);
	while ((flags & NGHTTP2_HD_INFLATE_FINAL) == 0) {
		ssize_t r = nghttp2_hd_inflate_hd2(e->inflater, &f, &flags, p, left, 1);

		assert_true(r >= 0);
		p += r;
		left -= (size_t)r;
		if (flags & NGHTTP2_HD_INFLATE_EMIT)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%.*s %.*s\n",
				(int)f.namelen, f.name, (int)f.valuelen, f.value);
	}
	nghttp2_hd_inflate_end_headers(e->inflater);
	return text;
}

static inline void
h2_expect_in_head(struct h2_end *e, uint32_t id, const char *part)
{
	const char *head = h2_expect_head(e);

	assert_int_equal(e->id, id);
	if (strstr(head, part) == NULL)
		fail_msg("no '%s' in %s", part, head);
}

static inline void
h2_expect_data(struct h2_end *e, const char *text)
{
	h2_wait(e, F_DATA);
	assert_int_equal(e->len, strlen(text));
	assert_memory_equal(e->frame, text, e->len);
}
