#include <string.h>

#include <base/cleanup.h>
#include <proto/dns.h>

/*
 * How this works. A query is a header, exactly one question, and perhaps records of which only the
 * OPT record means something to us; the others are walked over so that a message is either
 * well-formed to its last byte or an error. The question's name is never compressed: its only
 * possible targets would be the header and itself. In the records behind it a pointer ends the name
 * and is not followed, so there are no loops to fear.
 */

enum {
	FLAG_QR = 0x8000,
	FLAG_TC = 0x0200,
	FLAG_RD = 0x0100,
	FLAG_RA = 0x0080,
	FLAG_CD = 0x0010,
	EDNS_DO = 0x8000,
	RR_FIXED_LEN = 10, /* type, class, TTL, length */
	OPT_LEN = 1 + RR_FIXED_LEN,
};

struct cursor {
	const uint8_t *p;
	size_t at, n;
};

static bool
take(struct cursor *c, size_t n, const uint8_t **ret)
{
	if (c->n - c->at < n)
		return false;
	*ret = c->p + c->at;
	c->at += n;
	return true;
}

static uint16_t
be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* RFC 1035 5.1 escapes, so that a dot or a control byte inside a label cannot pass for text. */
static size_t
put_label_byte(uint8_t c, char *out)
{
	if (c >= 'A' && c <= 'Z')
		c = (uint8_t)(c - 'A' + 'a');
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_') {
		out[0] = (char)c;
		return 1;
	}
	out[0] = '\\';
	out[1] = (char)('0' + c / 100);
	out[2] = (char)('0' + c / 10 % 10);
	out[3] = (char)('0' + c % 10);
	return 4;
}

static bool
read_question_name(struct cursor *c, char out[DNS_NAME_TEXT_MAX])
{
	size_t start = c->at, text = 0;
	const uint8_t *p;

	for (;;) {
		uint8_t len;

		if (!take(c, 1, &p))
			return false;
		len = *p;
		if (len == 0)
			break;
		/* Includes pointers and the obsolete label types of RFC 2673. */
		if (len > 63 || !take(c, len, &p) || c->at - start + 1 > DNS_NAME_WIRE_MAX)
			return false;
		if (text > 0)
			out[text++] = '.';
		for (size_t i = 0; i < len; i++)
			text += put_label_byte(p[i], out + text);
	}
	out[text] = '\0';
	return true;
}

static bool
read_question(struct cursor *c, struct dns_query *q)
{
	size_t start = c->at;
	const uint8_t *p;

	if (!read_question_name(c, q->name) || !take(c, 4, &p)) {
		q->name[0] = '\0';
		return false;
	}
	q->qtype = be16(p);
	q->qclass = be16(p + 2);
	q->question = c->p + start;
	q->question_len = c->at - start;
	return true;
}

/* Sets *ret_root where the owner name is the root, as an OPT record's must be. */
static bool
skip_record_name(struct cursor *c, bool *ret_root)
{
	size_t start = c->at;
	const uint8_t *p;

	for (;;) {
		if (!take(c, 1, &p))
			return false;
		if (*p == 0)
			break;
		if ((*p & 0xc0) == 0xc0) {
			if (!take(c, 1, &p))
				return false;
			break;
		}
		if (*p > 63 || !take(c, *p, &p) || c->at - start + 1 > DNS_NAME_WIRE_MAX)
			return false;
	}
	*ret_root = c->at - start == 1;
	return true;
}

static bool
options_are_sane(const uint8_t *p, size_t n)
{
	struct cursor c = {.p = p, .n = n};
	const uint8_t *o;

	while (c.at < c.n)
		if (!take(&c, 4, &o) || !take(&c, be16(o + 2), &o))
			return false;
	return true;
}

static bool
read_opt(
	struct dns_query *q, bool root, const uint8_t *fixed, const uint8_t *data, uint8_t *version)
{
	size_t len = be16(fixed + 8);

	/* RFC 6891 6.1.1: a second OPT is an error, and so is one that is not the root's. */
	if (q->edns || !root || !options_are_sane(data, len))
		return false;
	q->edns = true;
	q->payload = be16(fixed + 2) > DNS_UDP_MIN ? be16(fixed + 2) : DNS_UDP_MIN;
	q->dnssec_ok = (be16(fixed + 6) & EDNS_DO) != 0;
	*version = fixed[5];
	return true;
}

static bool
read_records(
	struct cursor *c, size_t plain, size_t additional, struct dns_query *q, uint8_t *version)
{
	for (size_t i = 0; i < plain + additional; i++) {
		const uint8_t *fixed, *data;
		bool root;

		if (!skip_record_name(c, &root) || !take(c, RR_FIXED_LEN, &fixed) ||
			!take(c, be16(fixed + 8), &data))
			return false;
		if (be16(fixed) != DNS_TYPE_OPT)
			continue;
		if (i < plain || !read_opt(q, root, fixed, data, version))
			return false;
	}
	return c->at == c->n;
}

enum dns_parse
dns_query_parse(const uint8_t *msg, size_t n, struct dns_query *q, enum dns_rcode *ret_rcode)
{
	struct cursor c = {.p = msg, .n = n};
	const uint8_t *h;
	uint8_t version = 0;
	uint16_t flags;

	memset(q, 0, sizeof(*q));
	q->payload = DNS_UDP_MIN;
	if (!take(&c, DNS_HEADER_LEN, &h))
		return DNS_PARSE_DROP;
	flags = be16(h + 2);
	if (flags & FLAG_QR)
		return DNS_PARSE_DROP; /* an answer: answering it could make two servers chat */
	q->id = be16(h);
	q->opcode = (flags >> 11) & 0xf;
	q->rd = flags & FLAG_RD;
	q->cd = flags & FLAG_CD;
	if (q->opcode != 0) {
		*ret_rcode = DNS_NOTIMP;
		return DNS_PARSE_ERROR;
	}
	*ret_rcode = DNS_FORMERR;
	if (be16(h + 4) != 1 || !read_question(&c, q))
		return DNS_PARSE_ERROR;
	if (!read_records(&c, (size_t)be16(h + 6) + be16(h + 8), be16(h + 10), q, &version))
		return DNS_PARSE_ERROR;
	if (version != 0) {
		*ret_rcode = DNS_BADVERS;
		return DNS_PARSE_ERROR;
	}
	return DNS_PARSE_OK;
}

size_t
dns_udp_max(const struct dns_query *q)
{
	return q->payload < DNS_UDP_PAYLOAD ? q->payload : DNS_UDP_PAYLOAD;
}

void
dns_reply_begin(struct dns_reply *r, const struct dns_query *q, struct buf *out, size_t max)
{
	static const uint8_t header[DNS_HEADER_LEN];

	*r = (struct dns_reply){.q = q, .out = out, .start = out->len, .max = max};
	buf_append(out, header, sizeof(header));
	if (q->question != NULL)
		buf_append(out, q->question, q->question_len);
	/* Room for the OPT record is set aside from the start. */
	if (q->edns)
		r->max -= OPT_LEN;
}

/* The record's name is a pointer to the question's. False: it does not fit. */
static bool
begin_record(struct dns_reply *r, uint16_t type, uint32_t ttl, size_t rdlen)
{
	size_t used = r->out->len - r->start;

	if (r->truncated || used + 2 + RR_FIXED_LEN + rdlen > r->max) {
		r->truncated = true;
		return false;
	}
	buf_append_be16(r->out, 0xc000 | DNS_HEADER_LEN);
	buf_append_be16(r->out, type);
	buf_append_be16(r->out, DNS_CLASS_IN);
	buf_append_be32(r->out, ttl);
	buf_append_be16(r->out, (uint16_t)rdlen);
	r->nanswers++;
	return true;
}

void
dns_reply_a(struct dns_reply *r, uint32_t ttl, const uint8_t addr[4])
{
	if (begin_record(r, DNS_TYPE_A, ttl, 4))
		buf_append(r->out, addr, 4);
}

void
dns_reply_ptr(struct dns_reply *r, uint32_t ttl, const char *name)
{
	if (!begin_record(r, DNS_TYPE_PTR, ttl, strlen(name) + 2))
		return;
	while (*name != '\0') {
		size_t n = strcspn(name, ".");
		uint8_t len = (uint8_t)n;

		buf_append(r->out, &len, 1);
		buf_append(r->out, name, n);
		name += n + (name[n] == '.');
	}
	buf_append(r->out, "", 1);
}

static void
put_opt(struct dns_reply *r, enum dns_rcode rcode)
{
	buf_append(r->out, "", 1);
	buf_append_be16(r->out, DNS_TYPE_OPT);
	buf_append_be16(r->out, DNS_UDP_PAYLOAD);
	buf_append_be32(
		r->out, (uint32_t)(rcode >> 4) << 24 | (r->q->dnssec_ok ? (uint32_t)EDNS_DO : 0));
	buf_append_be16(r->out, 0);
}

static void
put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

void
dns_reply_end(struct dns_reply *r, enum dns_rcode rcode)
{
	const struct dns_query *q = r->q;
	uint8_t *h;

	if (q->edns)
		put_opt(r, rcode);
	h = r->out->data + r->start;
	put_be16(h, q->id);
	put_be16(h + 2, (uint16_t)(FLAG_QR | FLAG_RA | (uint16_t)(q->opcode << 11) |
				   (r->truncated ? FLAG_TC : 0) | (q->rd ? FLAG_RD : 0) |
				   (q->cd ? FLAG_CD : 0) | (rcode & 0xf)));
	put_be16(h + 4, q->question != NULL);
	put_be16(h + 6, r->nanswers);
	put_be16(h + 10, q->edns);
}
