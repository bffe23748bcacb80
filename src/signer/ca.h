#pragma once
/* The authority in memory, for this room alone. */
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdint.h>

#include <base/buf.h>
#include <base/err.h>

struct ca {
	EVP_PKEY *key;
	X509 *cert;
};

void ca_release(struct ca *ca);
int ca_parse(const char *pem, struct ca *ret, struct err *e);

/* A random number of 127 bits. */
int ca_set_serial(X509 *x);
int ca_add_extension(X509 *x, X509 *issuer, int nid, const char *value);

/*
 * The certificate for a name that policy's canonical form knows, or an address, and a public key.
 * now_s: seconds since the epoch. Appends DER.
 */
int leaf_sign(const struct ca *ca, const char *name, const uint8_t *key, size_t key_len,
	int64_t now_s, struct buf *ret_der, struct err *e);
