#pragma once
/*
 * Frames of a byte stream: u8 type, u32 length (big-endian), payload. Used for the session
 * protocol (cli <-> guest) and the control protocol (cli <-> supervisor). The reader is
 * incremental and refuses a length over FRAME_MAX before it takes memory for it.
 */
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>

#define FRAME_HEAD 5
#define FRAME_MAX  (1u << 20)
/* What a sender puts into one data frame, so that streams share the line fairly. */
#define FRAME_CHUNK 32768

void frame_put(struct buf *b, uint8_t type, const void *p, size_t n);

struct frame {
	uint8_t type;
	const uint8_t *p; /* into the buffer */
	size_t n;
};

/*
 * The first whole frame of in: 1 (the caller then buf_consume()s FRAME_HEAD + n), 0 for "need more
 * bytes", -EMSGSIZE for a length over FRAME_MAX (the stream is unusable from there).
 */
int frame_peek(const struct buf *in, struct frame *ret);
/* As frame_peek, with a limit of the caller's that is at most FRAME_MAX. */
int frame_peek_max(const struct buf *in, size_t max, struct frame *ret);
