#pragma once
/*
 * Between net and the signer, one message each way over SOCK_SEQPACKET: a name and a public key go
 * there, a leaf certificate comes back. Neither side takes the other's bytes on trust.
 */
#include <stddef.h>
#include <stdint.h>

#include <base/buf.h>

#define SIGN_NAME_MAX 253
#define SIGN_KEY_MAX  256  /* a SubjectPublicKeyInfo (RFC 5280 4.1.2.7); P-256's has 91 bytes */
#define SIGN_CERT_MAX 4096 /* DER; ours have some 500 bytes */
#define SIGN_WIRE_MAX 4352

struct sign_request {
	uint64_t id;
	char name[SIGN_NAME_MAX + 1]; /* printable ASCII: a host name, or an address' text */
	uint8_t key[SIGN_KEY_MAX];
	size_t key_len;
};

struct sign_reply {
	uint64_t id;
	size_t cert_len; /* 0: the signer will not sign that */
	uint8_t cert[SIGN_CERT_MAX];
};

void sign_request_encode(const struct sign_request *q, struct buf *out);
int sign_request_decode(const void *p, size_t n, struct sign_request *ret); /* 0 or -EBADMSG */
void sign_reply_encode(const struct sign_reply *r, struct buf *out);
int sign_reply_decode(const void *p, size_t n, struct sign_reply *ret); /* 0 or -EBADMSG */
