#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <wire/frame.h>

void
frame_put(struct buf *b, uint8_t type, const void *p, size_t n)
{
	if (n > FRAME_MAX)
		abort();
	buf_append(b, &type, 1);
	buf_append_be32(b, (uint32_t)n);
	buf_append(b, p, n);
}

int
frame_peek_max(const struct buf *in, size_t max, struct frame *ret)
{
	uint32_t n;

	if (in->len < FRAME_HEAD)
		return 0;
	memcpy(&n, in->data + 1, sizeof(n));
	n = be32toh(n);
	if (n > max)
		return -EMSGSIZE;
	if (in->len - FRAME_HEAD < n)
		return 0;
	ret->type = in->data[0];
	ret->p = in->data + FRAME_HEAD;
	ret->n = n;
	return 1;
}

int
frame_peek(const struct buf *in, struct frame *ret)
{
	return frame_peek_max(in, FRAME_MAX, ret);
}
