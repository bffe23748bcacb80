#include <errno.h>
#include <string.h>

#include <base/cleanup.h>
#include <wire/netevent.h>
#include <wire/tlv.h>

enum {
	TAG_OP = 1,
	TAG_KIND,
	TAG_VERDICT,
	TAG_VIA,
	TAG_PORT,
	TAG_STATUS,
	TAG_COUNT,
	TAG_CONN,
	TAG_UP,
	TAG_DOWN,
	TAG_DURATION,
	TAG_HOST,
	TAG_METHOD,
	TAG_PATH,
	TAG_RULE,
	TAG_REASON,
};

static const char *const kinds[] = {[NETEVENT_DNS] = "dns",
	[NETEVENT_TCP] = "tcp",
	[NETEVENT_TLS] = "tls",
	[NETEVENT_HTTP] = "http",
	[NETEVENT_UDP] = "udp",
	[NETEVENT_ICMP] = "icmp",
	[NETEVENT_OTHER] = "other"};
static const char *const verdicts[] = {[NETEVENT_ALLOWED] = "allowed",
	[NETEVENT_BLOCKED] = "blocked",
	[NETEVENT_FAILED] = "failed"};
static const char *const vias[] = {[NETEVENT_FORWARD] = "forward",
	[NETEVENT_TRANSPARENT] = "transparent",
	[NETEVENT_DIRECT] = "direct"};

static const char *
name_of(const char *const *names, size_t n, unsigned i)
{
	return i < n && names[i] != NULL ? names[i] : "?";
}

const char *
netevent_kind_name(enum netevent_kind k)
{
	return name_of(kinds, ARRAY_LEN(kinds), k);
}

const char *
netevent_verdict_name(enum netevent_verdict v)
{
	return name_of(verdicts, ARRAY_LEN(verdicts), v);
}

const char *
netevent_via_name(enum netevent_via v)
{
	return name_of(vias, ARRAY_LEN(vias), v);
}

/* Printable ASCII. */
static bool
is_text_byte(char c)
{
	return c >= 0x20 && c < 0x7f;
}

void
netevent_set_text(char *out, size_t size, const char *text, size_t n)
{
	if (n >= size)
		n = size - 1;
	for (size_t i = 0; i < n; i++)
		out[i] = (char)(is_text_byte(text[i]) ? text[i] : '?');
	out[n] = '\0';
}

static void
put_number(struct buf *out, uint16_t tag, uint64_t v)
{
	if (v != 0)
		tlv_put_u64(out, tag, v);
}

static void
put_text(struct buf *out, uint16_t tag, const char *text)
{
	if (text[0] != '\0')
		tlv_put_str(out, tag, text);
}

void
netevent_encode(const struct netevent *ev, struct buf *out)
{
	put_number(out, TAG_OP, ev->op);
	put_number(out, TAG_KIND, ev->kind);
	put_number(out, TAG_VERDICT, ev->verdict);
	put_number(out, TAG_VIA, ev->via);
	put_number(out, TAG_PORT, ev->port);
	put_number(out, TAG_STATUS, ev->status);
	put_number(out, TAG_COUNT, ev->count);
	put_number(out, TAG_CONN, ev->conn);
	put_number(out, TAG_UP, ev->up);
	put_number(out, TAG_DOWN, ev->down);
	put_number(out, TAG_DURATION, ev->duration_ms);
	put_text(out, TAG_HOST, ev->host);
	put_text(out, TAG_METHOD, ev->method);
	put_text(out, TAG_PATH, ev->path);
	put_text(out, TAG_RULE, ev->rule);
	put_text(out, TAG_REASON, ev->reason);
}

static int
text(const struct tlv *t, char *out, size_t size)
{
	if (t->n >= size)
		return -EBADMSG;
	for (size_t i = 0; i < t->n; i++)
		if (!is_text_byte((char)t->p[i]))
			return -EBADMSG;
	memcpy(out, t->p, t->n);
	out[t->n] = '\0';
	return 0;
}

static int
text_field(struct netevent *ev, const struct tlv *t)
{
	switch (t->tag) {
	case TAG_HOST:
		return text(t, ev->host, sizeof(ev->host));
	case TAG_METHOD:
		return text(t, ev->method, sizeof(ev->method));
	case TAG_PATH:
		return text(t, ev->path, sizeof(ev->path));
	case TAG_RULE:
		return text(t, ev->rule, sizeof(ev->rule));
	case TAG_REASON:
		return text(t, ev->reason, sizeof(ev->reason));
	default:
		return -EBADMSG;
	}
}

/* In [0, max]: what SQLite's signed numbers can hold, sums of many included. */
static int
number(const struct tlv *t, uint64_t max, uint64_t *ret)
{
	return tlv_u64(t, ret) < 0 || *ret > max ? -EBADMSG : 0;
}

static int
number_field(struct netevent *ev, const struct tlv *t)
{
	uint64_t v = 0;
	uint64_t max = t->tag == TAG_OP        ? NETEVENT_LOST
		       : t->tag == TAG_KIND    ? NETEVENT_OTHER
		       : t->tag == TAG_VERDICT ? NETEVENT_FAILED
		       : t->tag == TAG_VIA     ? NETEVENT_DIRECT
		       : t->tag == TAG_PORT    ? UINT16_MAX
		       : t->tag == TAG_STATUS  ? 999
		       : t->tag == TAG_COUNT   ? UINT32_MAX
		       : t->tag == TAG_CONN    ? INT64_MAX
					       : 1ULL << 50;

	if (number(t, max, &v) < 0)
		return -EBADMSG;
	switch (t->tag) {
	case TAG_OP:
		ev->op = (enum netevent_op)v;
		return 0;
	case TAG_KIND:
		ev->kind = (enum netevent_kind)v;
		return 0;
	case TAG_VERDICT:
		ev->verdict = (enum netevent_verdict)v;
		return 0;
	case TAG_VIA:
		ev->via = (enum netevent_via)v;
		return 0;
	case TAG_PORT:
		ev->port = (uint16_t)v;
		return 0;
	case TAG_STATUS:
		ev->status = (uint16_t)v;
		return 0;
	case TAG_COUNT:
		ev->count = (uint32_t)v;
		return 0;
	case TAG_CONN:
		ev->conn = v;
		return 0;
	case TAG_UP:
		ev->up = v;
		return 0;
	case TAG_DOWN:
		ev->down = v;
		return 0;
	default:
		ev->duration_ms = v;
		return 0;
	}
}

/* What each operation must have. */
static bool
is_whole(const struct netevent *ev)
{
	switch (ev->op) {
	case NETEVENT_ONE:
	case NETEVENT_OPEN:
		return ev->kind != 0 && ev->verdict != 0 && ev->via != 0 && ev->host[0] != '\0' &&
		       ev->count > 0 && (ev->op == NETEVENT_ONE || ev->conn != 0);
	case NETEVENT_CLOSE:
		return ev->conn != 0;
	case NETEVENT_LOST:
		return ev->count > 0;
	}
	return false;
}

int
netevent_decode(const void *p, size_t n, struct netevent *ret)
{
	struct netevent ev = {0};
	struct tlv_reader rd;
	struct tlv t;
	int r;

	if (n > NETEVENT_WIRE_MAX)
		return -EBADMSG;
	tlv_reader_init(&rd, p, n);
	while ((r = tlv_next(&rd, &t)) > 0) {
		if (t.tag < TAG_OP || t.tag > TAG_REASON)
			return -EBADMSG; /* same binary on both ends: nothing is unknown */
		r = t.tag < TAG_HOST ? number_field(&ev, &t) : text_field(&ev, &t);
		if (r < 0)
			return r;
	}
	if (r < 0 || !is_whole(&ev))
		return -EBADMSG;
	*ret = ev;
	return 0;
}
