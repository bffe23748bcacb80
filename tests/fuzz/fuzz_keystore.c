/* Java's lists of certificates, as an image has them or as a container has written them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/mem.h>

#include "keystore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not the smallest certificate, but what the code asks of one: SEQUENCE { INTEGER 5 } */
static const char pem[] = "-----BEGIN CERTIFICATE-----\nMAMCAQU=\n-----END CERTIFICATE-----\n";
static const char der[] = "\x30\x03\x02\x01\x05";

/* What was put in goes out again, and the rest is as it was, whichever of it was ours before. */
static void
there_and_back(const uint8_t *data, size_t size)
{
	CLEAN_BUF struct buf with = BUF_INIT;
	CLEAN_BUF struct buf without = BUF_INIT;
	CLEAN_BUF struct buf bare = BUF_INIT;

	if (keystore_add(data, size, pem, &with) != KEYSTORE_CHANGED) {
		if (with.len != 0)
			abort();
		return;
	}
	if (memmem(with.data, with.len, der, sizeof(der) - 1) == NULL ||
		keystore_add(with.data, with.len, pem, &bare) != KEYSTORE_SAME ||
		keystore_remove(with.data, with.len, &without) != KEYSTORE_CHANGED ||
		keystore_remove(without.data, without.len, &bare) != KEYSTORE_SAME || bare.len != 0)
		abort();
}

/* Past the digest, which no random change keeps. */
static void
sealed(const uint8_t *data, size_t size)
{
	static const char before[] = "\0c\0h\0a\0n\0g\0e\0i\0tMighty Aphrodite";
	CLEAN_BUF struct buf all = BUF_INIT;
	uint8_t digest[SHA_DIGEST_LENGTH];

	if (size < SHA_DIGEST_LENGTH)
		return;
	size -= SHA_DIGEST_LENGTH;
	buf_append(&all, before, sizeof(before) - 1);
	buf_append(&all, data, size);
	SHA1(all.data, all.len, digest);
	buf_append(&all, digest, sizeof(digest));
	there_and_back(all.data + sizeof(before) - 1, all.len - (sizeof(before) - 1));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* PKCS #12 without an entry. */
	static const uint8_t empty[] = {0x30, 0x16, 0x02, 0x01, 0x03, 0x30, 0x11, 0x06, 0x09, 0x2a,
		0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01, 0xa0, 0x04, 0x04, 0x02, 0x30, 0x00};
	CLEAN_FREE char *text = xstrndup((const char *)data, size);
	CLEAN_BUF struct buf out = BUF_INIT;

	there_and_back(data, size);
	sealed(data, size);
	keystore_remove(data, size, &out);
	buf_clear(&out);
	if (keystore_add(empty, sizeof(empty), pem, &out) != KEYSTORE_CHANGED)
		abort();
	buf_clear(&out);
	keystore_add(empty, sizeof(empty), text, &out);
	return 0;
}
