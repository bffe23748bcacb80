#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/mem.h>
#include <wire/tlv.h>

#define TLV_HEAD 6

void
tlv_put(struct buf *b, uint16_t tag, const void *p, size_t n)
{
	if (n > UINT32_MAX)
		abort();
	buf_append_be16(b, tag);
	buf_append_be32(b, (uint32_t)n);
	buf_append(b, p, n);
}

void
tlv_put_str(struct buf *b, uint16_t tag, const char *s)
{
	tlv_put(b, tag, s, strlen(s));
}

void
tlv_put_u64(struct buf *b, uint16_t tag, uint64_t v)
{
	v = htobe64(v);
	tlv_put(b, tag, &v, sizeof(v));
}

void
tlv_reader_init(struct tlv_reader *r, const void *p, size_t n)
{
	r->p = p;
	r->left = n;
}

int
tlv_next(struct tlv_reader *r, struct tlv *ret)
{
	uint16_t tag;
	uint32_t n;

	if (r->left == 0)
		return 0;
	if (r->left < TLV_HEAD)
		return -EBADMSG;
	memcpy(&tag, r->p, sizeof(tag));
	memcpy(&n, r->p + sizeof(tag), sizeof(n));
	n = be32toh(n);
	if (n > r->left - TLV_HEAD)
		return -EBADMSG;
	ret->tag = be16toh(tag);
	ret->p = r->p + TLV_HEAD;
	ret->n = n;
	r->p += TLV_HEAD + n;
	r->left -= TLV_HEAD + n;
	return 1;
}

int
tlv_u64(const struct tlv *t, uint64_t *ret)
{
	uint64_t v;

	if (t->n != sizeof(v))
		return -EBADMSG;
	memcpy(&v, t->p, sizeof(v));
	*ret = be64toh(v);
	return 0;
}

int
tlv_str(const struct tlv *t, size_t max, char **ret)
{
	if (t->n > max || memchr(t->p, '\0', t->n) != NULL)
		return -EBADMSG;
	free(*ret);
	*ret = xstrndup((const char *)t->p, t->n);
	return 0;
}

int
tlv_strv(const struct tlv *t, size_t max, size_t max_n, struct strv *sv)
{
	char *s = NULL;
	int r;

	if (sv->n >= max_n)
		return -EBADMSG;
	r = tlv_str(t, max, &s);
	if (r == 0)
		strv_add_take(sv, s);
	return r;
}
