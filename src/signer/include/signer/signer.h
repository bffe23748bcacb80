#pragma once
/*
 * A certificate authority for one sandbox: an ECDSA P-256 key and a self-signed certificate
 * (RFC 5280), and the role that signs leaf certificates with it.
 */
#include <base/buf.h>
#include <base/err.h>

#define CA_PEM_MAX 16384

/*
 * A new authority, as PEM: a first line with the version of the form, the key (PKCS #8), the
 * certificate. The sandbox's name shows in the certificate's subject.
 */
int ca_new(const char *sandbox, struct buf *ret_pem, struct err *e);
/* The certificate alone, for those who are to trust it. -EBADMSG where the text is no authority. */
int ca_certificate(const char *pem, struct buf *ret_pem, struct err *e);

/* What the library loads at its first use, before confinement takes the files away. */
void signer_prepare(void);
/* Serves net's requests (wire/sign.h) until the socket closes. */
int signer_serve(int fd, const char *pem, struct err *e);
