#include <errno.h>
#include <string.h>

#include <wire/fuse_line.h>

/* A message that was cut within its seal must not look whole either: no zero at its end. */
static const uint8_t seal[FUSE_LINE_SEAL] = {0x9e, 0x37, 0x79, 0xb9, 0x7f, 0x4a, 0x7c, 0x15};

struct mark {
	struct fuse_out_header head;
	uint8_t nonce[FUSE_LINE_NONCE];
};

/* The first byte behind the zeros is this length's lowest. */
_Static_assert(sizeof(struct mark) % 256 != 0, "a mark starts with a zero");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "both ends are little-endian");

void
fuse_line_seal(struct buf *out)
{
	buf_append(out, seal, sizeof(seal));
}

void
fuse_line_mark(struct buf *out, const uint8_t nonce[FUSE_LINE_NONCE])
{
	const size_t zeros = FUSE_WIRE_MSG_MAX + sizeof(seal);
	struct mark m = {.head = {.len = sizeof(m), .error = FUSE_LINE_MARK}};

	memcpy(m.nonce, nonce, sizeof(m.nonce));
	memset(buf_reserve(out, zeros), 0, zeros);
	buf_commit(out, zeros);
	buf_append(out, &m, sizeof(m));
	fuse_line_seal(out);
}

struct late_reply {
	struct fuse_out_header head, reply;
};

void
fuse_line_reply(struct buf *out, const struct fuse_out_header *reply)
{
	struct late_reply l = {
		.head = {.len = sizeof(l), .error = FUSE_LINE_REPLY}, .reply = *reply};

	buf_append(out, &l, sizeof(l));
	fuse_line_seal(out);
}

bool
fuse_line_is_reply(const uint8_t *msg, size_t n, struct fuse_out_header *ret)
{
	struct late_reply l;

	if (n != sizeof(l))
		return false;
	memcpy(&l, msg, sizeof(l));
	if (l.head.unique != 0 || l.head.error != FUSE_LINE_REPLY)
		return false;
	*ret = l.reply;
	return true;
}

static void
drop_zeros(struct buf *in)
{
	size_t n = 0;

	while (n < in->len && in->data[n] == 0)
		n++;
	buf_consume(in, n);
}

/* Behind the zeros nothing but a mark may come, or the start of one if the next role died as well.
 */
static enum fuse_line_event
next_mark(struct fuse_line *l, struct buf *in, uint8_t ret_nonce[FUSE_LINE_NONCE])
{
	struct mark m;

	l->lost = true;
	for (;;) {
		drop_zeros(in);
		if (in->len < sizeof(m) + sizeof(seal))
			return FUSE_LINE_MORE;
		if (memcmp(in->data + sizeof(m), seal, sizeof(seal)) == 0)
			break;
		fuse_line_took(in, sizeof(m));
	}
	memcpy(&m, in->data, sizeof(m));
	if (m.head.len != sizeof(m) || m.head.error != FUSE_LINE_MARK || m.head.unique != 0)
		return FUSE_LINE_BROKEN;
	memcpy(ret_nonce, m.nonce, sizeof(m.nonce));
	fuse_line_took(in, sizeof(m));
	l->lost = false;
	return FUSE_LINE_RESTART;
}

enum fuse_line_event
fuse_line_next(
	struct fuse_line *l, struct buf *in, size_t *ret_len, uint8_t ret_nonce[FUSE_LINE_NONCE])
{
	uint32_t len;

	if (l->lost)
		return next_mark(l, in, ret_nonce);
	if (in->len < sizeof(len))
		return FUSE_LINE_MORE;
	memcpy(&len, in->data, sizeof(len));
	/* Between two messages, or within the length of one. */
	if (len < sizeof(struct fuse_out_header)) {
		buf_consume(in, sizeof(len));
		return next_mark(l, in, ret_nonce);
	}
	if (len > FUSE_WIRE_MSG_MAX)
		return FUSE_LINE_BROKEN;
	if (in->len < len + sizeof(seal))
		return FUSE_LINE_MORE;
	if (memcmp(in->data + len, seal, sizeof(seal)) == 0) {
		*ret_len = len;
		return FUSE_LINE_MESSAGE;
	}
	fuse_line_took(in, len);
	return next_mark(l, in, ret_nonce);
}

void
fuse_line_took(struct buf *in, size_t len)
{
	buf_consume(in, len + sizeof(seal));
}

void
fuse_line_answer(struct buf *out, const uint8_t nonce[FUSE_LINE_NONCE])
{
	buf_append(out, nonce, FUSE_LINE_NONCE);
}

bool
fuse_line_answered(struct buf *in, const uint8_t nonce[FUSE_LINE_NONCE])
{
	const uint8_t *at;

	if (in->len < FUSE_LINE_NONCE)
		return false;
	at = memmem(in->data, in->len, nonce, FUSE_LINE_NONCE);
	if (at != NULL)
		buf_consume(in, (size_t)(at - in->data) + FUSE_LINE_NONCE);
	else
		buf_consume(in, in->len - (FUSE_LINE_NONCE - 1));
	return at != NULL;
}
