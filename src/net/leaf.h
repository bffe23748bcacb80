#pragma once
/*
 * Leaf certificates from the signer role: asked for without waiting, kept for a while. One question
 * for a name at a time, whoever wants it.
 */
#include <openssl/x509.h>
#include <stdint.h>
#include <uv.h>

#define LEAF_LIMIT_MS 5000

struct leaves;
struct leaf_wait; /* one who asks */

/* Never called from within leaf_get. NULL: there is none to be had; else valid for the call. */
typedef void leaf_fn(void *arg, X509 *leaf);
/* The signer is gone. */
typedef void leaf_lost_fn(void *arg);

/* fd stays the caller's. key: SubjectPublicKeyInfo, copied. NULL where the loop cannot take it. */
struct leaves *leaves_new(
	uv_loop_t *loop, int fd, const uint8_t *key, size_t key_len, leaf_lost_fn *lost, void *arg);
/* Everybody who asked must have been answered or cancelled. */
void leaves_free(struct leaves *l);

/* Of the cache: the caller's (X509_free). NULL: leaf_get it. */
X509 *leaf_find(struct leaves *l, const char *name);
/* NULL: too many at once. */
struct leaf_wait *leaf_get(struct leaves *l, const char *name, leaf_fn *done, void *arg);
void leaf_cancel(struct leaf_wait *w);
