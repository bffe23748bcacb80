#pragma once
/*
 * Java's lists of trusted certificates (cacerts), in both of their formats: JKS with the usual
 * password (sun.security.provider.JavaKeyStore) and PKCS #12 without one (RFC 7292; JDK-8076190).
 * Pure.
 */
#include <stddef.h>

#include <base/buf.h>

enum keystore_result {
	KEYSTORE_CHANGED, /* out has the new list */
	KEYSTORE_SAME,    /* nothing to do */
	KEYSTORE_UNKNOWN, /* another format, another password, damaged */
};

/* Lower case, as Java has all aliases. */
#define KEYSTORE_ALIAS "paddock-ca-"

/*
 * The list with those certificates of pem that it does not have, under aliases of ours. Appends to
 * out where it returns KEYSTORE_CHANGED, and nothing else.
 */
enum keystore_result keystore_add(const void *p, size_t n, const char *pem, struct buf *out);

/* The same without all that has an alias of ours. */
enum keystore_result keystore_remove(const void *p, size_t n, struct buf *out);
