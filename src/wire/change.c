#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/mem.h>
#include <wire/change.h>
#include <wire/tlv.h>

enum { TAG_KIND = 1, TAG_WHAT, TAG_PATH, TAG_KEY, TAG_VALUE, TAG_AT, TAG_TIMES };

void
change_release(struct change *c)
{
	free(c->path);
	free(c->key);
	free(c->value);
	memset(c, 0, sizeof(*c));
}

void
change_encode(const struct change *c, struct buf *out)
{
	tlv_put_u64(out, TAG_KIND, c->kind);
	tlv_put_u64(out, TAG_WHAT, c->what);
	tlv_put_str(out, TAG_PATH, c->path);
	tlv_put_str(out, TAG_KEY, c->key);
	tlv_put_str(out, TAG_VALUE, c->value);
	tlv_put_u64(out, TAG_AT, c->at_ms);
	tlv_put_u64(out, TAG_TIMES, c->times);
}

static int
get_below(const struct tlv *t, uint64_t end, unsigned *ret)
{
	uint64_t v;

	if (tlv_u64(t, &v) < 0 || v >= end)
		return -EBADMSG;
	*ret = (unsigned)v;
	return 0;
}

static int
field(struct change *c, const struct tlv *t)
{
	unsigned v = 0;
	int r;

	switch (t->tag) {
	case TAG_KIND:
		r = get_below(t, CHANGE_KINDS, &v);
		c->kind = (enum change_kind)v;
		return r;
	case TAG_WHAT:
		r = get_below(t, CHANGE_WHATS, &v);
		c->what = (enum change_what)v;
		return r;
	case TAG_PATH:
		return tlv_str(t, CHANGE_PATH_MAX, &c->path);
	case TAG_KEY:
		return tlv_str(t, CHANGE_KEY_MAX, &c->key);
	case TAG_VALUE:
		return tlv_str(t, CHANGE_VALUE_MAX, &c->value);
	case TAG_AT:
		return tlv_u64(t, &c->at_ms);
	case TAG_TIMES:
		return tlv_u64(t, &c->times);
	default:
		return -EBADMSG; /* same program on both ends */
	}
}

int
change_decode(const void *p, size_t n, struct change *ret)
{
	struct change c = {0};
	struct tlv_reader rd;
	struct tlv t;
	int r;

	tlv_reader_init(&rd, p, n);
	while ((r = tlv_next(&rd, &t)) > 0) {
		r = field(&c, &t);
		if (r < 0)
			break;
	}
	if (r < 0 || c.kind == 0 || c.path == NULL || c.path[0] != '/' || c.key == NULL ||
		c.value == NULL) {
		change_release(&c);
		return -EBADMSG;
	}
	*ret = c;
	return 0;
}
