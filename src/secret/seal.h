#pragma once
/* AES-256-GCM (NIST SP 800-38D), a random nonce of 96 bits for every writing. */
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>

#define SEAL_KEY_BYTES   32
#define SEAL_NONCE_BYTES 12
#define SEAL_TAG_BYTES   16

/* Nonce, tag, ciphertext. 0 or -EIO. */
int seal_put(const uint8_t key[SEAL_KEY_BYTES], const void *p, size_t n, struct buf *out);
/* -EBADMSG: not what this key has sealed; out is as it was then. */
int seal_get(const uint8_t key[SEAL_KEY_BYTES], const uint8_t *p, size_t n, struct buf *out);
