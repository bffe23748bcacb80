#include <errno.h>
#include <string.h>

#include <proto/tls.h>

enum { RECORD_HEAD = 5, RECORD_MAX = 16384, MESSAGE_HEAD = 4 };
enum { TYPE_FIRST = 20, TYPE_HANDSHAKE = 22, TYPE_LAST = 24, CLIENT_HELLO = 1 };
enum { EXT_SERVER_NAME = 0, EXT_ALPN = 16, EXT_ECH = 0xfe0d };
enum { EXTENSIONS_MAX = 128 };

/* A cursor; bad once something did not fit, and then everything reads as empty. */
struct cursor {
	const uint8_t *p;
	size_t n;
	bool bad;
};

static const uint8_t *
take(struct cursor *c, size_t n)
{
	const uint8_t *p = c->p;

	if (c->bad || n > c->n) {
		c->bad = true;
		return NULL;
	}
	c->p += n;
	c->n -= n;
	return p;
}

static unsigned
take_int(struct cursor *c, size_t bytes)
{
	const uint8_t *p = take(c, bytes);
	unsigned v = 0;

	for (size_t i = 0; p != NULL && i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

/* A vector with its length in front. */
static struct cursor
take_vector(struct cursor *c, size_t length_bytes, size_t min)
{
	size_t n = take_int(c, length_bytes);
	const uint8_t *p = take(c, n);

	if (n < min)
		c->bad = true;
	return (struct cursor){.p = p, .n = p != NULL ? n : 0, .bad = c->bad};
}

bool
tls_is_likely(const uint8_t *p, size_t n)
{
	if (n == 0 || p[0] < TYPE_FIRST || p[0] > TYPE_LAST)
		return false;
	return n == 1 || p[1] == 3;
}

/*
 * Puts the message together from its records. OK with *ret_n bytes in message; a whole ClientHello
 * must be the only thing in its records.
 */
static enum tls_parse
join_records(const uint8_t *p, size_t n, uint8_t *message, size_t *ret_n)
{
	size_t got = 0, want = MESSAGE_HEAD, at = 0;

	while (got < want) {
		if (n - at < RECORD_HEAD)
			return TLS_PARSE_MORE;
		size_t length = (size_t)p[at + 3] << 8 | p[at + 4];

		if (p[at] != TYPE_HANDSHAKE || p[at + 1] != 3 || p[at + 2] > 4 || length == 0 ||
			length > RECORD_MAX || length > TLS_HELLO_MAX - got)
			return TLS_PARSE_BAD;
		at += RECORD_HEAD;
		size_t have = n - at < length ? n - at : length;

		memcpy(message + got, p + at, have);
		got += have;
		at += have;
		if (got >= 1 && message[0] != CLIENT_HELLO)
			return TLS_PARSE_BAD;
		if (got >= MESSAGE_HEAD)
			want = MESSAGE_HEAD +
			       ((size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3]);
		if (want > TLS_HELLO_MAX || got > want)
			return TLS_PARSE_BAD;
		if (have < length)
			return TLS_PARSE_MORE;
	}
	*ret_n = got;
	return TLS_PARSE_OK;
}

/* Exactly one name, of the one type that there is. */
static bool
parse_server_name(struct cursor body, struct tls_hello *h)
{
	struct cursor list = take_vector(&body, 2, 1);
	unsigned type = take_int(&list, 1);
	struct cursor name = take_vector(&list, 2, 1);

	if (body.bad || body.n > 0 || list.bad || list.n > 0 || type != 0 || name.bad ||
		name.n > TLS_NAME_MAX || memchr(name.p, '\0', name.n) != NULL)
		return false;
	memcpy(h->name, name.p, name.n);
	h->name[name.n] = '\0';
	return true;
}

static bool
parse_alpn(struct cursor body, struct tls_hello *h)
{
	struct cursor list = take_vector(&body, 2, 2);

	while (!list.bad && list.n > 0) {
		struct cursor name = take_vector(&list, 1, 1);

		if (name.bad)
			return false;
		if (name.n == 2 && memcmp(name.p, "h2", 2) == 0)
			h->alpn_h2 = true;
		else if (name.n == 8 && memcmp(name.p, "http/1.1", 8) == 0)
			h->alpn_http1 = true;
		else
			h->alpn_other = true;
	}
	return !body.bad && body.n == 0 && !list.bad;
}

static bool
parse_extensions(struct cursor all, struct tls_hello *h)
{
	uint16_t seen[EXTENSIONS_MAX];
	size_t n = 0;

	while (!all.bad && all.n > 0) {
		uint16_t type = (uint16_t)take_int(&all, 2);
		struct cursor body = take_vector(&all, 2, 0);

		for (size_t i = 0; i < n; i++)
			if (seen[i] == type)
				return false;
		if (all.bad || n == EXTENSIONS_MAX)
			return false;
		seen[n++] = type;
		if (type == EXT_SERVER_NAME && !parse_server_name(body, h))
			return false;
		if (type == EXT_ALPN && !parse_alpn(body, h))
			return false;
		h->ech |= type == EXT_ECH;
	}
	return !all.bad;
}

static bool
parse_message(struct cursor c, struct tls_hello *h)
{
	struct cursor session, ciphers, extensions;
	unsigned version;

	(void)take(&c, MESSAGE_HEAD);
	version = take_int(&c, 2);
	(void)take(&c, 32); /* random */
	session = take_vector(&c, 1, 0);
	ciphers = take_vector(&c, 2, 2);
	(void)take_vector(&c, 1, 1); /* compression */
	if (c.bad || version < 0x0300 || version > 0x0303 || session.n > 32 || ciphers.n % 2 != 0)
		return false;
	if (c.n == 0)
		return true; /* without extensions, as in the nineties */
	extensions = take_vector(&c, 2, 0);
	return !c.bad && c.n == 0 && parse_extensions(extensions, h);
}

enum tls_parse
tls_hello_parse(const uint8_t *p, size_t n, struct tls_hello *ret)
{
	uint8_t message[TLS_HELLO_MAX];
	struct cursor c = {.p = message};
	enum tls_parse r;

	memset(ret, 0, sizeof(*ret));
	r = join_records(p, n < TLS_HELLO_MAX ? n : TLS_HELLO_MAX, message, &c.n);
	if (r == TLS_PARSE_MORE && n >= TLS_HELLO_MAX)
		return TLS_PARSE_BAD;
	if (r != TLS_PARSE_OK)
		return r;
	if (!parse_message(c, ret)) {
		memset(ret, 0, sizeof(*ret));
		return TLS_PARSE_BAD;
	}
	return TLS_PARSE_OK;
}
