#include <errno.h>
#include <limits.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <base/cleanup.h>
#include <cred/set.h>

#include "seal.h"

static void
cleanup_ctx_p(EVP_CIPHER_CTX **c)
{
	EVP_CIPHER_CTX_free(*c);
}

int
seal_put(const uint8_t key[SEAL_KEY_BYTES], const void *p, size_t n, struct buf *out)
{
	CLEANUP(cleanup_ctx_p) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t *to = buf_reserve(out, SEAL_NONCE_BYTES + SEAL_TAG_BYTES + n);
	uint8_t *nonce = to, *tag = to + SEAL_NONCE_BYTES, *text = tag + SEAL_TAG_BYTES;
	int len = 0, last = 0;

	if (c == NULL || n > INT_MAX / 2 || RAND_bytes(nonce, SEAL_NONCE_BYTES) != 1 ||
		EVP_EncryptInit_ex2(c, EVP_aes_256_gcm(), key, nonce, NULL) != 1 ||
		EVP_EncryptUpdate(c, text, &len, p, (int)n) != 1 ||
		EVP_EncryptFinal_ex(c, text + len, &last) != 1 ||
		EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_BYTES, tag) != 1)
		return -EIO;
	buf_commit(out, SEAL_NONCE_BYTES + SEAL_TAG_BYTES + n);
	return 0;
}

int
seal_get(const uint8_t key[SEAL_KEY_BYTES], const uint8_t *p, size_t n, struct buf *out)
{
	CLEANUP(cleanup_ctx_p) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	CLEAN_CRED_BUF struct buf plain = BUF_INIT;
	uint8_t tag[SEAL_TAG_BYTES], *to;
	int len = 0, last = 0;
	size_t left;

	if (n < SEAL_NONCE_BYTES + SEAL_TAG_BYTES || n > INT_MAX / 2)
		return -EBADMSG;
	left = n - SEAL_NONCE_BYTES - SEAL_TAG_BYTES;
	memcpy(tag, p + SEAL_NONCE_BYTES, sizeof(tag));
	to = buf_reserve(&plain, left + 1);
	if (c == NULL || EVP_DecryptInit_ex2(c, EVP_aes_256_gcm(), key, p, NULL) != 1 ||
		EVP_DecryptUpdate(c, to, &len, p + SEAL_NONCE_BYTES + SEAL_TAG_BYTES, (int)left) !=
			1 ||
		EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_BYTES, tag) != 1 ||
		EVP_DecryptFinal_ex(c, to + len, &last) != 1)
		return -EBADMSG;
	buf_append(out, to, left);
	return 0;
}
