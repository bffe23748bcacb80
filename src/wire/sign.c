#include <errno.h>
#include <string.h>

#include <wire/sign.h>
#include <wire/tlv.h>

enum { TAG_ID = 1, TAG_NAME, TAG_KEY, TAG_CERT };

void
sign_request_encode(const struct sign_request *q, struct buf *out)
{
	tlv_put_u64(out, TAG_ID, q->id);
	tlv_put_str(out, TAG_NAME, q->name);
	tlv_put(out, TAG_KEY, q->key, q->key_len);
}

void
sign_reply_encode(const struct sign_reply *r, struct buf *out)
{
	tlv_put_u64(out, TAG_ID, r->id);
	tlv_put(out, TAG_CERT, r->cert, r->cert_len);
}

/* The next record is this one, of at most max bytes. */
static int
expect(struct tlv_reader *rd, uint16_t tag, size_t max, struct tlv *ret)
{
	return tlv_next(rd, ret) > 0 && ret->tag == tag && ret->n <= max ? 0 : -EBADMSG;
}

static int
expect_end(struct tlv_reader *rd)
{
	struct tlv t;

	return tlv_next(rd, &t) == 0 ? 0 : -EBADMSG;
}

static int
get_name(const struct tlv *t, char *out)
{
	if (t->n == 0)
		return -EBADMSG;
	for (size_t i = 0; i < t->n; i++)
		if (t->p[i] <= 0x20 || t->p[i] >= 0x7f)
			return -EBADMSG;
	memcpy(out, t->p, t->n);
	out[t->n] = '\0';
	return 0;
}

int
sign_request_decode(const void *p, size_t n, struct sign_request *ret)
{
	struct tlv_reader rd;
	struct tlv id, name, key;

	tlv_reader_init(&rd, p, n);
	if (expect(&rd, TAG_ID, 8, &id) < 0 || expect(&rd, TAG_NAME, SIGN_NAME_MAX, &name) < 0 ||
		expect(&rd, TAG_KEY, SIGN_KEY_MAX, &key) < 0 || expect_end(&rd) < 0 || key.n == 0)
		return -EBADMSG;
	if (tlv_u64(&id, &ret->id) < 0 || get_name(&name, ret->name) < 0)
		return -EBADMSG;
	memcpy(ret->key, key.p, key.n);
	ret->key_len = key.n;
	return 0;
}

int
sign_reply_decode(const void *p, size_t n, struct sign_reply *ret)
{
	struct tlv_reader rd;
	struct tlv id, cert;

	tlv_reader_init(&rd, p, n);
	if (expect(&rd, TAG_ID, 8, &id) < 0 || expect(&rd, TAG_CERT, SIGN_CERT_MAX, &cert) < 0 ||
		expect_end(&rd) < 0 || tlv_u64(&id, &ret->id) < 0)
		return -EBADMSG;
	if (cert.n > 0)
		memcpy(ret->cert, cert.p, cert.n);
	ret->cert_len = cert.n;
	return 0;
}
