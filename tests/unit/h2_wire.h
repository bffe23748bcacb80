#pragma once
/* HTTP/2 frames made by hand (RFC 9113, 4.1), for peers that mean harm. */
#include <base/buf.h>

enum {
	DATA,
	HEADERS,
	PRIORITY,
	RST_STREAM,
	SETTINGS,
	PUSH_PROMISE,
	PING,
	GOAWAY,
	WINDOW_UPDATE,
	CONTINUATION
};
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

static inline void
frame(struct buf *b, uint8_t type, uint8_t flags, uint32_t stream, const void *p, size_t n)
{
	uint8_t head[5] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags};

	buf_append(b, head, sizeof(head));
	buf_append_be32(b, stream);
	buf_append(b, p, n);
}
