#pragma once
/*
 * TLS for what is intercepted: as a server towards the guest, with a leaf of the sandbox's own
 * authority, and as a client towards origins, which are verified as the host's programs would.
 * RFC 8446, RFC 5246; nothing older. No session is resumed and nothing is renegotiated: each
 * connection is judged by its own ClientHello.
 */
#include <openssl/ssl.h>
#include <stdbool.h>

struct tls;

enum tls_alpn { TLS_ALPN_NONE, TLS_ALPN_HTTP1, TLS_ALPN_H2 };

/* trust: PEM, the caller's; read at the first connection to an origin. NULL: out of memory. */
struct tls *tls_new(const char *trust);
void tls_free(struct tls *t);

/* The public half of the one key that all leaves of this process are for: DER, of this length. */
size_t tls_public_key(const struct tls *t, uint8_t *out, size_t size);

/*
 * On a connected socket, which stays the caller's. leaf is not consumed. alpn is what the client
 * may choose; NONE: no ALPN is answered. NULL: out of memory.
 */
SSL *tls_server(struct tls *t, int fd, X509 *leaf, enum tls_alpn alpn);

/* name: what the certificate must be for, a host name or an address. h2, http1: what is offered. */
SSL *tls_client(struct tls *t, int fd, const char *name, bool h2, bool http1);

enum tls_step { TLS_STEP_DONE, TLS_STEP_READ, TLS_STEP_WRITE, TLS_STEP_FAILED };
/* Goes on with the handshake of either side, as far as the socket lets it. */
enum tls_step tls_handshake(SSL *ssl);

/* What was agreed on. */
enum tls_alpn tls_chosen(const SSL *ssl);

#define TLS_REASON_MAX 128
/* Why the handshake with an origin failed, for the log and the page. */
void tls_why_client(const SSL *ssl, char out[TLS_REASON_MAX]);
/* Why the one with a guest did: "tls_pinned: ..." where it does not believe the certificate. */
void tls_why_server(char out[TLS_REASON_MAX]);
