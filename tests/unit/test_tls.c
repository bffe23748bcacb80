#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <proto/tls.h>

#define BYTES(s) (s), sizeof(s) - 1

/* A ClientHello message with these extensions (already encoded; NULL: no such block at all). */
static void
message(struct buf *out, const char *extensions, size_t n)
{
	CLEAN_BUF struct buf body = BUF_INIT;

	buf_append(&body, BYTES("\3\3"));
	for (int i = 0; i < 32; i++)
		buf_append(&body, "r", 1);
	buf_append(&body, BYTES("\4sess\0\2\x13\x01\1\0"));
	if (extensions != NULL) {
		buf_append_be16(&body, (uint16_t)n);
		buf_append(&body, extensions, n);
	}
	buf_append_be32(out, (uint32_t)body.len | 1u << 24);
	buf_append(out, body.data, body.len);
}

/* In records of this size. */
static void
records(struct buf *out, const struct buf *m, size_t size)
{
	for (size_t at = 0; at < m->len; at += size) {
		size_t n = m->len - at < size ? m->len - at : size;

		buf_append(out, BYTES("\x16\3\1"));
		buf_append_be16(out, (uint16_t)n);
		buf_append(out, m->data + at, n);
	}
}

static enum tls_parse
parse_extensions(const char *extensions, size_t n, struct tls_hello *h)
{
	CLEAN_BUF struct buf m = BUF_INIT, r = BUF_INIT;

	message(&m, extensions, n);
	records(&r, &m, 16384);
	return tls_hello_parse(r.data, r.len, h);
}

static const char sni[] = "\0\0\0\x0b\0\x09\0\0\x06"
			  "a.test";
static const char alpn[] = "\0\x10\0\x0e\0\x0c\2h2\x08http/1.1";

static void
test_good(void **state)
{
	char both[sizeof(sni) + sizeof(alpn) - 2];
	struct tls_hello h;

	(void)state;
	memcpy(both, sni, sizeof(sni) - 1);
	memcpy(both + sizeof(sni) - 1, alpn, sizeof(alpn) - 1);
	assert_int_equal(parse_extensions(both, sizeof(both), &h), TLS_PARSE_OK);
	assert_string_equal(h.name, "a.test");
	assert_true(h.alpn_h2 && h.alpn_http1 && !h.alpn_other && !h.ech);
	assert_int_equal(parse_extensions(BYTES(alpn), &h), TLS_PARSE_OK);
	assert_string_equal(h.name, "");
	assert_int_equal(
		parse_extensions(BYTES("\xfe\x0d\0\1x\0\x10\0\4\0\2\1x"), &h), TLS_PARSE_OK);
	assert_true(h.ech && h.alpn_other);
	assert_int_equal(parse_extensions("", 0, &h), TLS_PARSE_OK);
	assert_int_equal(parse_extensions(NULL, 0, &h), TLS_PARSE_OK);
	assert_string_equal(h.name, "");
}

/* In records of any size, cut anywhere: more, more, more, and then the name. */
static void
test_split(void **state)
{
	CLEAN_BUF struct buf m = BUF_INIT;
	struct tls_hello h;

	(void)state;
	message(&m, BYTES(sni));
	for (size_t size = 1; size <= m.len; size++) {
		CLEAN_BUF struct buf r = BUF_INIT;

		records(&r, &m, size);
		for (size_t cut = 0; cut < r.len; cut++)
			assert_int_equal(tls_hello_parse(r.data, cut, &h), TLS_PARSE_MORE);
		assert_int_equal(tls_hello_parse(r.data, r.len, &h), TLS_PARSE_OK);
		assert_string_equal(h.name, "a.test");
		/* What comes in a record of its own behind it (early data) is not ours to judge. */
		buf_append(&r, BYTES("\x17\3\3\0\1x"));
		assert_int_equal(tls_hello_parse(r.data, r.len, &h), TLS_PARSE_OK);
	}
}

static void
test_bad_extensions(void **state)
{
	static const struct {
		const char *p;
		size_t n;
	} all[] = {
		/* two names in the list; two lists; the same extension twice */
		{BYTES("\0\0\0\x0d\0\x0b\0\0\1a\0\0\1b\0\0\0")},
		{BYTES("\0\0\0\6\0\4\0\0\1a\0\0\0\6\0\4\0\0\1a")},
		{BYTES("\xff\1\0\0\xff\1\0\0")},
		/* another type of name, an empty one, one with a NUL, bytes behind it */
		{BYTES("\0\0\0\6\0\4\1\0\1a")},
		{BYTES("\0\0\0\5\0\3\0\0\0")},
		{BYTES("\0\0\0\7\0\5\0\0\2a\0")},
		{BYTES("\0\0\0\7\0\4\0\0\1ax")},
		{BYTES("\0\0\0\0")},
		/* lengths that do not fit */
		{BYTES("\0\0\0\6\0\5\0\0\1a")},
		{BYTES("\0\0\0\7\0\4\0\0\1a")},
		{BYTES("\0\0\0\6\0\4\0\0\2a")},
		{BYTES("\0")},
		/* ALPN: an empty name, no list, bytes behind it */
		{BYTES("\0\x10\0\3\0\1\0")},
		{BYTES("\0\x10\0\2\0\0")},
		{BYTES("\0\x10\0\6\0\3\2h2x")},
	};
	struct tls_hello h;

	(void)state;
	assert_int_equal(parse_extensions(BYTES("\0\0\0\6\0\4\0\0\1a"), &h), TLS_PARSE_OK);
	assert_string_equal(h.name, "a");
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (parse_extensions(all[i].p, all[i].n, &h) != TLS_PARSE_BAD)
			fail_msg("case %zu", i);
		assert_string_equal(h.name, "");
	}
}

static void
test_bad_records(void **state)
{
	CLEAN_BUF struct buf m = BUF_INIT, good = BUF_INIT;
	struct tls_hello h;

	(void)state;
	message(&m, BYTES(sni));
	records(&good, &m, 40);
	/* Every one of the two record heads' bytes matters. */
	for (size_t at = 0; at < 5; at++) {
		for (size_t head = 0; head <= 45; head += 45) {
			uint8_t was = good.data[head + at];

			if (at == 2) /* any minor version up to 4 */
				good.data[head + at] = 5;
			else
				good.data[head + at] ^= at == 4 ? 0x20 : 0x41;
			assert_int_not_equal(
				tls_hello_parse(good.data, good.len, &h), TLS_PARSE_OK);
			good.data[head + at] = was;
		}
	}
	assert_int_equal(tls_hello_parse(good.data, good.len, &h), TLS_PARSE_OK);
	/* Something between its records, an empty record, another message behind it. */
	static const char *const heads[] = {"\x17\3\3\0\1x", "\x14\3\3\0\1\1", "\x15\3\3\0\2\1\0"};

	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		CLEAN_BUF struct buf b = BUF_INIT;

		buf_append(&b, good.data, 45);
		buf_append(&b, heads[i], i == 2 ? 7 : 6);
		buf_append(&b, good.data + 45, good.len - 45);
		assert_int_equal(tls_hello_parse(b.data, b.len, &h), TLS_PARSE_BAD);
	}
	assert_int_equal(tls_hello_parse((const uint8_t *)BYTES("\x16\3\1\0\0\x16\3\1\0\1\1"), &h),
		TLS_PARSE_BAD);
	{
		CLEAN_BUF struct buf two = BUF_INIT, r = BUF_INIT;

		buf_append(&two, m.data, m.len);
		buf_append(&two, m.data, m.len);
		records(&r, &two, 16384);
		assert_int_equal(tls_hello_parse(r.data, r.len, &h), TLS_PARSE_BAD);
	}
	/* Not a ClientHello; a message of an impossible length. */
	assert_int_equal(
		tls_hello_parse((const uint8_t *)BYTES("\x16\3\1\0\1\2"), &h), TLS_PARSE_BAD);
	assert_int_equal(tls_hello_parse((const uint8_t *)BYTES("\x16\3\1\0\4\1\xff\0\0"), &h),
		TLS_PARSE_BAD);
}

/* Large ones (many keys, padding) are read; endless ones are not waited for. */
static void
test_sizes(void **state)
{
	CLEAN_BUF struct buf ext = BUF_INIT, m = BUF_INIT, r = BUF_INIT;
	CLEAN_FREE uint8_t *zeros = calloc(1, 60000);
	struct tls_hello h;

	(void)state;
	buf_append(&ext, BYTES("\0\x15"));
	buf_append_be16(&ext, 20000);
	buf_append(&ext, zeros, 20000);
	buf_append(&ext, BYTES(sni));
	message(&m, (const char *)ext.data, ext.len);
	records(&r, &m, 16384);
	assert_int_equal(tls_hello_parse(r.data, r.len, &h), TLS_PARSE_OK);
	assert_string_equal(h.name, "a.test");
	buf_clear(&r);
	records(&r, &m, 3); /* the records' heads count as well */
	assert_int_equal(tls_hello_parse(r.data, r.len, &h), TLS_PARSE_BAD);
}

static void
test_likely(void **state)
{
	(void)state;
	assert_true(tls_is_likely((const uint8_t *)"\x16\3", 2));
	assert_true(tls_is_likely((const uint8_t *)"\x16", 1));
	assert_false(tls_is_likely((const uint8_t *)"\x16\2", 2));
	assert_false(tls_is_likely((const uint8_t *)"G", 1));
	assert_false(tls_is_likely(NULL, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_bad_extensions),
		cmocka_unit_test(test_bad_records),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_likely),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
