#include <errno.h>

#include <wire/ssh.h>

int
ssh_line_peek(const struct buf *in, size_t max, struct ssh_line *ret)
{
	const uint8_t *d = in->data;
	size_t n;

	if (in->len < SSH_LINE_HEAD)
		return 0;
	n = (size_t)d[1] << 24 | (size_t)d[2] << 16 | (size_t)d[3] << 8 | d[4];
	if (d[0] >= SSH_LINE_CLIENTS_MAX || n > max)
		return -EMSGSIZE;
	if (in->len < SSH_LINE_HEAD + n)
		return 0;
	*ret = (struct ssh_line){d[0], d + SSH_LINE_HEAD, n};
	return 1;
}

void
ssh_line_put(struct buf *out, uint8_t client, const void *p, size_t n)
{
	buf_append(out, &client, 1);
	buf_append_be32(out, (uint32_t)n);
	if (n > 0)
		buf_append(out, p, n);
}
