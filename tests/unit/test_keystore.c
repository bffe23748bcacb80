/* Java's lists of certificates, with lists that keytool of JDK 17 made (fuzz/corpus/keystore). */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>

#include "keystore.h"

static void
read_list(const char *name, struct buf *ret)
{
	CLEAN_FREE char *path = xasprintf(KEYSTORES "/%s", name);
	struct err e = {0};

	if (io_read_file(AT_FDCWD, path, 1 << 20, ret, &e) < 0)
		fail_msg("%s", e.msg);
}

static void
assert_same(const struct buf *a, const struct buf *b)
{
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->data, b->data, a->len);
}

/* keytool put the certificate of two-pem into one-FORMAT under an alias of ours: both-FORMAT. */
static void
ours_go(void **state)
{
	static const char *const formats[] = {"jks", "pkcs12"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		CLEAN_FREE char *name_one = xasprintf("one-%s", formats[i]);
		CLEAN_FREE char *name_both = xasprintf("both-%s", formats[i]);
		CLEAN_BUF struct buf one = BUF_INIT;
		CLEAN_BUF struct buf both = BUF_INIT;
		CLEAN_BUF struct buf out = BUF_INIT;

		read_list(name_one, &one);
		read_list(name_both, &both);
		assert_int_equal(keystore_remove(both.data, both.len, &out), KEYSTORE_CHANGED);
		assert_same(&out, &one);
		buf_clear(&out);
		assert_int_equal(keystore_remove(one.data, one.len, &out), KEYSTORE_SAME);
		assert_int_equal(out.len, 0);
	}
}

/* The same bytes as keytool's, but for when it was, and for PKCS #12 a part of its own. */
static void
they_come(void **state)
{
	CLEAN_BUF struct buf one = BUF_INIT;
	CLEAN_BUF struct buf both = BUF_INIT;
	CLEAN_BUF struct buf pem = BUF_INIT;
	CLEAN_BUF struct buf out = BUF_INIT;
	static const char tail[] = "\0\0\0\2\0\014paddock-ca-1";
	const uint8_t *ours, *theirs;

	(void)state;
	read_list("one-jks", &one);
	read_list("both-jks", &both);
	read_list("two-pem", &pem);
	assert_int_equal(keystore_add(one.data, one.len, buf_str(&pem), &out), KEYSTORE_CHANGED);
	assert_int_equal(out.len, both.len);
	ours = memmem(out.data, out.len, tail, sizeof(tail) - 1);
	theirs = memmem(both.data, both.len, tail, sizeof(tail) - 1);
	assert_non_null(ours);
	assert_non_null(theirs);
	ours += sizeof(tail) - 1 + 8;
	theirs += sizeof(tail) - 1 + 8;
	/* "X.509" and the certificate, to where ours ends. */
	assert_memory_equal(ours, theirs, (size_t)(out.data + out.len - 20 - ours));
	assert_memory_equal(out.data, "\xfe\xed\xfe\xed\0\0\0\2\0\0\0\2", 12);
}

/* There is no second one of what is there, under whichever name, and none of what is no
 * certificate. */
static void
nothing_to_do(void **state)
{
	static const char *const pems[] = {"", "x", "-----BEGIN CERTIFICATE-----",
		"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
		"-----BEGIN CERTIFICATE-----\nMAMC\n-----END CERTIFICATE-----\n",
		"-----BEGIN CERTIFICATE-----\nMAMCAQUA\n-----END CERTIFICATE-----\n",
		"-----BEGIN CERTIFICATE-----\n!AMCAQU=\n-----END CERTIFICATE-----\n"};
	static const char *const lists[] = {"both-jks", "both-pkcs12"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		CLEAN_BUF struct buf list = BUF_INIT;
		CLEAN_BUF struct buf pem = BUF_INIT;
		CLEAN_BUF struct buf out = BUF_INIT;

		read_list(lists[i], &list);
		read_list("two-pem", &pem);
		assert_int_equal(
			keystore_add(list.data, list.len, buf_str(&pem), &out), KEYSTORE_SAME);
		for (size_t k = 0; k < ARRAY_LEN(pems); k++)
			if (keystore_add(list.data, list.len, pems[k], &out) != KEYSTORE_SAME)
				fail_msg("taken: %s", pems[k]);
		assert_int_equal(keystore_add(list.data, list.len,
					 "-----BEGIN CERTIFICATE-----\r\nMAMCAQU=\r\n"
					 "-----END CERTIFICATE-----\r\n",
					 &out),
			KEYSTORE_CHANGED); /* control */
	}
}

/* A password, another format; and every list cut at every byte. */
static void
unknown(void **state)
{
	static const char *const no[] = {"password-jks", "password-pkcs12", "one-jceks", "two-pem"};
	static const char *const whole[] = {"one-jks", "one-pkcs12", "key-jks"};
	CLEAN_BUF struct buf pem = BUF_INIT;
	CLEAN_BUF struct buf out = BUF_INIT;

	(void)state;
	read_list("two-pem", &pem);
	for (size_t i = 0; i < ARRAY_LEN(no); i++) {
		CLEAN_BUF struct buf list = BUF_INIT;

		read_list(no[i], &list);
		if (keystore_add(list.data, list.len, buf_str(&pem), &out) != KEYSTORE_UNKNOWN)
			fail_msg("taken: %s", no[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
		CLEAN_BUF struct buf list = BUF_INIT;

		read_list(whole[i], &list);
		for (size_t n = 0; n < list.len; n++) {
			CLEAN_FREE uint8_t *cut = xmalloc(n + 1);

			memcpy(cut, list.data, n);
			if (keystore_add(cut, n, buf_str(&pem), &out) != KEYSTORE_UNKNOWN)
				fail_msg("taken: %zu bytes of %s", n, whole[i]);
		}
		assert_int_equal(out.len, 0);
		assert_int_equal(
			keystore_add(list.data, list.len, buf_str(&pem), &out), KEYSTORE_CHANGED);
		buf_clear(&out);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ours_go),
		cmocka_unit_test(they_come),
		cmocka_unit_test(nothing_to_do),
		cmocka_unit_test(unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
