/*
 * How this works: a list is read entry by entry, and written again as it was but for the entries
 * that are ours, which are left out or put at its end.
 *
 *   JKS      magic, version, count; entries; SHA-1 of the password, a phrase and all of that
 *   PKCS #12 PFX { 3, data { AuthenticatedSafe { data { SafeContents { SafeBag... } }... } } }
 *            with neither encryption nor a MAC: only lengths need to be made anew
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* EVP would bring all of libcrypto into a static program */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "keystore.h"

#define PEM_BEGIN "-----BEGIN CERTIFICATE-----"
#define PEM_END   "-----END CERTIFICATE-----"
#define CERT_MAX  65536

#define JKS_MAGIC     0xfeedfeed
#define JKS_PRIVATE   1
#define JKS_TRUSTED   2
#define JKS_HEADER    12
#define JKS_PASSWORD  "changeit" /* what every Java's list comes with */
#define JKS_PHRASE    "Mighty Aphrodite"
#define DER_INTEGER   0x02
#define DER_OCTETS    0x04
#define DER_OID       0x06
#define DER_BMP       0x1e
#define DER_SEQUENCE  0x30
#define DER_SET       0x31
#define DER_CONTEXT_0 0xa0
#define OID_DATA      "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"             /* PKCS #7 */
#define OID_CERT_BAG  "\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x03"     /* PKCS #12 */
#define OID_X509      "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01"         /* PKCS #9 */
#define OID_NAME      "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x14"             /* friendlyName */
#define OID_TRUSTED   "\x60\x86\x48\x01\x86\xf9\x66\xad\xca\x7b\x01\x01" /* Oracle's */
#define OID_ANY_USAGE "\x55\x1d\x25\x00"

struct span {
	const uint8_t *p;
	size_t n;
};

/* What is to be done with a list: ours out of it, or these into it. */
struct change {
	const char *pem; /* NULL: out */
	struct span whole;
	unsigned added, removed;
	void (*put)(struct buf *out, const char *alias, struct span cert);
};

static bool
take(struct span *s, size_t n, struct span *ret)
{
	if (s->n < n)
		return false;
	*ret = (struct span){s->p, n};
	s->p += n;
	s->n -= n;
	return true;
}

static bool
take_number(struct span *s, size_t size, uint32_t *ret)
{
	struct span v;

	if (!take(s, size, &v))
		return false;
	*ret = 0;
	for (size_t i = 0; i < size; i++)
		*ret = *ret << 8 | v.p[i];
	return true;
}

static bool
is(struct span s, const char *bytes, size_t n)
{
	return s.n == n && memcmp(s.p, bytes, n) == 0;
}

/* ---- DER (X.690), definite lengths ---- */

static bool
der_take(struct span *s, uint8_t tag, struct span *ret)
{
	uint32_t first = 0, n = 0;
	struct span t;

	if (!take(s, 1, &t) || t.p[0] != tag || !take_number(s, 1, &first))
		return false;
	if (first < 0x80)
		return take(s, first, ret);
	return first > 0x80 && first <= 0x84 && take_number(s, first & 0x7f, &n) && take(s, n, ret);
}

static void
der_put(struct buf *out, uint8_t tag, const void *p, size_t n)
{
	uint8_t head[6] = {tag};
	size_t size = 0, at = 1;

	while (n >> 8 * size != 0)
		size++;
	if (n < 0x80) {
		head[at++] = (uint8_t)n;
	} else {
		head[at++] = (uint8_t)(0x80 | size);
		for (size_t i = size; i > 0; i--)
			head[at++] = (uint8_t)(n >> 8 * (i - 1));
	}
	buf_append(out, head, at);
	buf_append(out, p, n);
}

/* Puts that header before all that is in there. */
static void
der_wrap(struct buf *b, uint8_t tag)
{
	struct buf inner = *b;

	*b = (struct buf)BUF_INIT;
	der_put(b, tag, inner.data, inner.len);
	buf_release(&inner);
}

/* ---- certificates ---- */

/* One certificate's body of base64 with line ends. Empty: it is none. */
static void
decode(const char *p, const char *end, struct buf *ret)
{
	CLEAN_BUF struct buf text = BUF_INIT;
	struct span all, inner;
	int n;

	for (; p < end; p++)
		if (strchr(" \t\r\n", *p) == NULL)
			buf_append(&text, p, 1);
	if (text.len == 0 || text.len > CERT_MAX)
		return;
	n = EVP_DecodeBlock(buf_reserve(ret, text.len), text.data, (int)text.len);
	for (size_t i = text.len; n > 0 && i > 0 && text.data[i - 1] == '='; i--)
		n--; /* it decodes padding, too */
	if (n <= 0)
		return;
	buf_commit(ret, (size_t)n);
	all = (struct span){ret->data, ret->len};
	/* Java reads none of a list in which one is damaged. */
	if (!der_take(&all, DER_SEQUENCE, &inner) || all.n != 0)
		buf_clear(ret);
}

static void
put_new(struct change *c, struct buf *out)
{
	const char *p = c->pem, *end;
	size_t old = out->len; /* of the whole */

	if (p == NULL)
		return;
	while ((p = strstr(p, PEM_BEGIN)) != NULL && (end = strstr(p, PEM_END)) != NULL) {
		CLEAN_BUF struct buf der = BUF_INIT;
		char alias[32];

		decode(p + strlen(PEM_BEGIN), end, &der);
		p = end;
		if (der.len == 0 || memmem(c->whole.p, c->whole.n, der.data, der.len) != NULL ||
			(out->len > old &&
				memmem(out->data + old, out->len - old, der.data, der.len) != NULL))
			continue;
		snprintf(alias, sizeof(alias), KEYSTORE_ALIAS "%u", ++c->added);
		c->put(out, alias, (struct span){der.data, der.len});
	}
}

static bool
is_ours(struct span alias)
{
	return alias.n > strlen(KEYSTORE_ALIAS) &&
	       memcmp(alias.p, KEYSTORE_ALIAS, strlen(KEYSTORE_ALIAS)) == 0;
}

/* ---- JKS ---- */

static void
jks_digest(const void *p, size_t n, uint8_t ret[SHA_DIGEST_LENGTH])
{
	SHA_CTX s;

	SHA1_Init(&s);
	for (const char *c = JKS_PASSWORD; *c != '\0'; c++)
		SHA1_Update(&s, (const char[]){0, *c}, 2); /* UTF-16 */
	SHA1_Update(&s, JKS_PHRASE, strlen(JKS_PHRASE));
	SHA1_Update(&s, p, n);
	SHA1_Final(ret, &s);
}

static void
jks_put(struct buf *out, const char *alias, struct span cert)
{
	buf_append_be32(out, JKS_TRUSTED);
	buf_append_be16(out, (uint16_t)strlen(alias));
	buf_append_str(out, alias);
	buf_append_be64(out, 0); /* when; nobody asks */
	buf_append_be16(out, (uint16_t)strlen("X.509"));
	buf_append_str(out, "X.509");
	buf_append_be32(out, (uint32_t)cert.n);
	buf_append(out, cert.p, cert.n);
}

static bool
jks_take_cert(struct span *s, uint32_t version)
{
	struct span ignored;
	uint32_t n;

	if (version == 2 && (!take_number(s, 2, &n) || !take(s, n, &ignored)))
		return false;
	return take_number(s, 4, &n) && take(s, n, &ignored);
}

/* One entry; how long it is shows in what is left. */
static bool
jks_take_entry(struct span *s, uint32_t version, struct span *ret_alias)
{
	struct span ignored;
	uint32_t tag, n;

	if (!take_number(s, 4, &tag) || !take_number(s, 2, &n) || !take(s, n, ret_alias) ||
		!take(s, 8, &ignored))
		return false;
	if (tag == JKS_TRUSTED)
		return jks_take_cert(s, version);
	if (tag != JKS_PRIVATE || !take_number(s, 4, &n) || !take(s, n, &ignored) ||
		!take_number(s, 4, &n))
		return false;
	while (n-- > 0)
		if (!jks_take_cert(s, version))
			return false;
	return true;
}

static bool
jks_change(struct change *c, struct buf *out)
{
	CLEAN_BUF struct buf entries = BUF_INIT;
	uint8_t digest[SHA_DIGEST_LENGTH];
	struct span s = c->whole;
	uint32_t magic, version, count;

	if (!take_number(&s, 4, &magic) || magic != JKS_MAGIC || !take_number(&s, 4, &version) ||
		(version != 1 && version != 2) || !take_number(&s, 4, &count) ||
		s.n < sizeof(digest))
		return false;
	s.n -= sizeof(digest);
	jks_digest(c->whole.p, c->whole.n - sizeof(digest), digest);
	if (memcmp(s.p + s.n, digest, sizeof(digest)) != 0)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *from = s.p;
		struct span alias;

		if (!jks_take_entry(&s, version, &alias))
			return false;
		if (c->pem == NULL && is_ours(alias))
			c->removed++;
		else
			buf_append(&entries, from, (size_t)(s.p - from));
	}
	if (s.n != 0 || (version == 1 && c->pem != NULL))
		return false;
	put_new(c, &entries);
	buf_append_be32(out, JKS_MAGIC);
	buf_append_be32(out, version);
	buf_append_be32(out, count - c->removed + c->added);
	buf_append(out, entries.data, entries.len);
	jks_digest(out->data, out->len, digest);
	buf_append(out, digest, sizeof(digest));
	return true;
}

/* ---- PKCS #12 ---- */

/* An attribute: its name, and its values in a set. */
static void
bag_put_attribute(struct buf *out, const char *oid, size_t n, struct buf *value)
{
	CLEAN_BUF struct buf a = BUF_INIT;

	der_wrap(value, DER_SET);
	der_put(&a, DER_OID, oid, n);
	buf_append(&a, value->data, value->len);
	der_put(out, DER_SEQUENCE, a.data, a.len);
}

/* CertBag { x509Certificate, [0] { OCTET STRING } }, named, and trusted for all that there is. */
static void
bag_put(struct buf *out, const char *alias, struct span cert)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	CLEAN_BUF struct buf attributes = BUF_INIT;
	CLEAN_BUF struct buf name = BUF_INIT;
	CLEAN_BUF struct buf usage = BUF_INIT;
	CLEAN_BUF struct buf bag = BUF_INIT;

	der_put(&b, DER_OCTETS, cert.p, cert.n);
	der_wrap(&b, DER_CONTEXT_0);
	der_put(&bag, DER_OID, OID_X509, strlen(OID_X509));
	buf_append(&bag, b.data, b.len);
	der_wrap(&bag, DER_SEQUENCE);
	der_wrap(&bag, DER_CONTEXT_0);

	for (; *alias != '\0'; alias++)
		buf_append_be16(&name, (uint8_t)*alias);
	der_wrap(&name, DER_BMP);
	bag_put_attribute(&attributes, OID_NAME, strlen(OID_NAME), &name);
	der_put(&usage, DER_OID, OID_ANY_USAGE, sizeof(OID_ANY_USAGE) - 1);
	bag_put_attribute(&attributes, OID_TRUSTED, strlen(OID_TRUSTED), &usage);
	der_wrap(&attributes, DER_SET);

	buf_clear(&b);
	der_put(&b, DER_OID, OID_CERT_BAG, strlen(OID_CERT_BAG));
	buf_append(&b, bag.data, bag.len);
	buf_append(&b, attributes.data, attributes.len);
	der_put(out, DER_SEQUENCE, b.data, b.len);
}

static bool
name_is_ours(struct span value)
{
	uint8_t text[sizeof(
		KEYSTORE_ALIAS)]; /* UTF-16; one character more than the alias begins with */
	struct span set, name;
	size_t n = 0;

	if (!der_take(&value, DER_SET, &set) || !der_take(&set, DER_BMP, &name))
		return false;
	for (; n < sizeof(text) && 2 * n + 1 < name.n; n++)
		text[n] = name.p[2 * n] == 0 ? name.p[2 * n + 1] : '?';
	return is_ours((struct span){text, n});
}

/* SafeBag { OID, [0] value, SET of attributes OPTIONAL } */
static bool
bag_is_ours(struct span bag)
{
	struct span ignored, attributes, a, oid;

	if (!der_take(&bag, DER_OID, &oid) || !is(oid, OID_CERT_BAG, strlen(OID_CERT_BAG)) ||
		!der_take(&bag, DER_CONTEXT_0, &ignored) || !der_take(&bag, DER_SET, &attributes))
		return false;
	while (der_take(&attributes, DER_SEQUENCE, &a))
		if (der_take(&a, DER_OID, &oid) && is(oid, OID_NAME, strlen(OID_NAME)) &&
			name_is_ours(a))
			return true;
	return false;
}

/* ContentInfo { data, [0] { OCTET STRING } }: what is in there. */
static bool
data_take(struct span *s, struct span *ret)
{
	struct span info, oid, explicit;

	return der_take(s, DER_SEQUENCE, &info) && der_take(&info, DER_OID, &oid) &&
	       is(oid, OID_DATA, strlen(OID_DATA)) && der_take(&info, DER_CONTEXT_0, &explicit) &&
	       info.n == 0 && der_take(&explicit, DER_OCTETS, ret) && explicit.n == 0;
}

static void
data_wrap(struct buf *b)
{
	struct buf inner = *b;

	der_wrap(&inner, DER_OCTETS);
	der_wrap(&inner, DER_CONTEXT_0);
	*b = (struct buf)BUF_INIT;
	der_put(b, DER_OID, OID_DATA, strlen(OID_DATA));
	buf_append(b, inner.data, inner.len);
	der_wrap(b, DER_SEQUENCE);
	buf_release(&inner);
}

/* One SafeContents, without ours where they are to go. */
static bool
contents_change(struct change *c, struct span data, struct buf *out)
{
	CLEAN_BUF struct buf kept = BUF_INIT;
	unsigned before = c->removed;
	struct span bags, bag;

	if (!der_take(&data, DER_SEQUENCE, &bags) || data.n != 0)
		return false;
	while (bags.n > 0) {
		const uint8_t *from = bags.p;

		if (!der_take(&bags, DER_SEQUENCE, &bag))
			return false;
		if (c->pem == NULL && bag_is_ours(bag))
			c->removed++;
		else
			buf_append(&kept, from, (size_t)(bags.p - from));
	}
	/* One that had nothing but ours goes, as it came. */
	if (kept.len == 0 && c->removed > before)
		return true;
	der_wrap(&kept, DER_SEQUENCE);
	data_wrap(&kept);
	buf_append(out, kept.data, kept.len);
	return true;
}

static bool
pkcs12_change(struct change *c, struct buf *out)
{
	CLEAN_BUF struct buf safe = BUF_INIT;
	CLEAN_BUF struct buf fresh = BUF_INIT;
	CLEAN_BUF struct buf pfx = BUF_INIT;
	struct span s = c->whole, file, version, inner, infos, data;

	if (!der_take(&s, DER_SEQUENCE, &file) || s.n != 0 ||
		!der_take(&file, DER_INTEGER, &version) || !is(version, "\3", 1) ||
		!data_take(&file, &inner) || file.n != 0 || /* a MAC: there is a password */
		!der_take(&inner, DER_SEQUENCE, &infos) || inner.n != 0)
		return false;
	while (infos.n > 0)
		if (!data_take(&infos, &data) || !contents_change(c, data, &safe))
			return false;
	put_new(c, &fresh);
	if (fresh.len > 0) {
		der_wrap(&fresh, DER_SEQUENCE);
		data_wrap(&fresh);
		buf_append(&safe, fresh.data, fresh.len);
	}
	der_wrap(&safe, DER_SEQUENCE);
	data_wrap(&safe);
	der_put(&pfx, DER_INTEGER, "\3", 1);
	buf_append(&pfx, safe.data, safe.len);
	der_put(out, DER_SEQUENCE, pfx.data, pfx.len);
	return true;
}

static enum keystore_result
change(struct change *c, struct buf *out)
{
	CLEAN_BUF struct buf new = BUF_INIT;
	bool jks = c->whole.n > JKS_HEADER && c->whole.p[0] == JKS_MAGIC >> 24;

	c->put = jks ? jks_put : bag_put;
	if (!(jks ? jks_change : pkcs12_change)(c, &new))
		return KEYSTORE_UNKNOWN;
	if (c->added == 0 && c->removed == 0)
		return KEYSTORE_SAME;
	buf_append(out, new.data, new.len);
	return KEYSTORE_CHANGED;
}

enum keystore_result
keystore_add(const void *p, size_t n, const char *pem, struct buf *out)
{
	return change(&(struct change){.pem = pem, .whole = {p, n}}, out);
}

enum keystore_result
keystore_remove(const void *p, size_t n, struct buf *out)
{
	return change(&(struct change){.whole = {p, n}}, out);
}
