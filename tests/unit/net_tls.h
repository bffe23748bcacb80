#pragma once
/*
 * TLS peers for tests of the net role: two authorities (the world's, which net trusts, and the
 * sandbox's with its signer in a thread), and blocking clients and servers over sockets.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <signer/signer.h>

#include "ca.h"
#include "net_rig.h"

struct tls_world {
	struct buf authority, trust; /* of the world: with its key, without */
	struct buf sandbox, sandbox_cert;
	int signer[2]; /* net's end, the role's */
	pthread_t thread;
};

static void *
run_signer(void *arg)
{
	struct tls_world *w = arg;
	struct err e = {0};

	return (void *)(intptr_t)signer_serve(w->signer[1], buf_str(&w->sandbox), &e);
}

static inline void
tls_world_start(struct tls_world *w)
{
	struct err e;

	*w = (struct tls_world){0};
	assert_int_equal(ca_new("world", &w->authority, &e), 0);
	assert_int_equal(ca_certificate(buf_str(&w->authority), &w->trust, &e), 0);
	assert_int_equal(ca_new("box", &w->sandbox, &e), 0);
	assert_int_equal(ca_certificate(buf_str(&w->sandbox), &w->sandbox_cert, &e), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, w->signer), 0);
	assert_int_equal(pthread_create(&w->thread, NULL, run_signer, w), 0);
}

/* Net is gone. */
static inline void
tls_world_stop(struct tls_world *w)
{
	void *result;

	if (w->signer[0] >= 0)
		close(w->signer[0]);
	assert_int_equal(pthread_join(w->thread, &result), 0);
	assert_int_equal((intptr_t)result, 0);
	close(w->signer[1]);
	buf_release(&w->authority);
	buf_release(&w->trust);
	buf_release(&w->sandbox);
	buf_release(&w->sandbox_cert);
}

/* A server's certificate for this name; now_s lets it be one that has expired. */
static inline SSL_CTX *
tls_server_ctx(struct buf *authority, const char *name, int64_t now_s)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	CLEAN_BUF struct buf der = BUF_INIT;
	unsigned char *public = NULL;
	struct ca ca = {0};
	int n = i2d_PUBKEY(key, &public);
	struct err e;

	assert_int_equal(ca_parse(buf_str(authority), &ca, &e), 0);
	assert_int_equal(leaf_sign(&ca, name, public, (size_t)n, now_s, &der, &e), 0);
	assert_int_equal(SSL_CTX_use_certificate_ASN1(ctx, (int)der.len, der.data), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
	ca_release(&ca);
	EVP_PKEY_free(key);
	OPENSSL_free(public);
	return ctx;
}

static inline int64_t
tls_now(void)
{
	return (int64_t)(clock_real_ns() / 1000000000);
}

static int
tls_choose(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
	unsigned in_len, void *arg)
{
	const char *want = arg;
	unsigned char *at;
	int r = SSL_select_next_proto(
		&at, out_len, (const unsigned char *)want, (unsigned)strlen(want), in, in_len);

	(void)ssl;
	*out = at;
	return r == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

/* The origin's side of one connection. NULL: the handshake failed. alpn: "\x02h2" or NULL. */
static inline SSL *
tls_accept(SSL_CTX *ctx, int fd, const char *alpn)
{
	SSL *ssl;

	if (alpn != NULL)
		SSL_CTX_set_alpn_select_cb(ctx, tls_choose, (void *)(uintptr_t)alpn);
	ssl = SSL_new(ctx);
	assert_int_equal(SSL_set_fd(ssl, fd), 1);
	if (SSL_accept(ssl) == 1)
		return ssl;
	SSL_free(ssl);
	ERR_clear_error();
	return NULL;
}

struct tls_guest {
	const char *sni;         /* NULL: none */
	struct buf *trusts;      /* PEM; NULL: nobody */
	const char *alpn;        /* wire form, or NULL */
	const char *verify_name; /* NULL: the SNI */
};

/* Not shaken hands yet. */
static inline SSL *
tls_guest_new(const struct tls_guest *g, int fd)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl;

	if (g->trusts != NULL) {
		BIO *bio = BIO_new_mem_buf(buf_str(g->trusts), -1);
		X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);

		assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x), 1);
		X509_free(x);
		BIO_free(bio);
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	if (g->sni != NULL)
		SSL_set_tlsext_host_name(ssl, g->sni);
	if (g->verify_name != NULL || g->sni != NULL)
		SSL_set1_host(ssl, g->verify_name != NULL ? g->verify_name : g->sni);
	if (g->alpn != NULL)
		SSL_set_alpn_protos(ssl, (const unsigned char *)g->alpn, (unsigned)strlen(g->alpn));
	assert_int_equal(SSL_set_fd(ssl, fd), 1);
	return ssl;
}

/* In a thread of its own while the test plays the origin. */
struct tls_handshake {
	SSL *ssl;
	pthread_t thread;
};

static void *
tls_connect_thread(void *arg)
{
	int r = SSL_connect(((struct tls_handshake *)arg)->ssl);

	return (void *)(intptr_t)r;
}

static inline void
tls_connect_begin(struct tls_handshake *h, SSL *ssl)
{
	h->ssl = ssl;
	assert_int_equal(pthread_create(&h->thread, NULL, tls_connect_thread, h), 0);
}

static inline int
tls_connect_end(struct tls_handshake *h)
{
	void *result;

	assert_int_equal(pthread_join(h->thread, &result), 0);
	return (int)(intptr_t)result;
}

static inline void
tls_send(SSL *ssl, const char *text)
{
	assert_int_equal(SSL_write(ssl, text, (int)strlen(text)), (int)strlen(text));
}

static inline void
tls_expect(SSL *ssl, const char *text)
{
	size_t n = strlen(text), got = 0;
	char *bytes = calloc(1, n + 1);

	while (got < n) {
		int r = SSL_read(ssl, bytes + got, (int)(n - got));

		if (r <= 0)
			fail_msg("ended behind '%s', '%s' wanted", bytes, text);
		got += (size_t)r;
	}
	assert_string_equal(bytes, text);
	free(bytes);
}

static inline char *
tls_read_head(SSL *ssl)
{
	static char text[8192];
	size_t n = 0;

	while (n < sizeof(text) - 1 && (n < 4 || memcmp(text + n - 4, "\r\n\r\n", 4) != 0)) {
		if (SSL_read(ssl, text + n, 1) != 1)
			fail_msg("ended within: %.*s", (int)n, text);
		n++;
	}
	text[n] = '\0';
	return text;
}

static inline void
tls_expect_head(SSL *ssl, const char *part)
{
	const char *head = tls_read_head(ssl);

	if (strstr(head, part) == NULL)
		fail_msg("no %s in %s", part, head);
}

/* The rest, up to a proper end. */
static inline char *
tls_read_rest(SSL *ssl)
{
	static char text[8192];
	size_t n = 0;
	int r;

	while (n < sizeof(text) - 1 &&
		(r = SSL_read(ssl, text + n, (int)(sizeof(text) - 1 - n))) > 0)
		n += (size_t)r;
	assert_int_equal(SSL_get_error(ssl, 0), SSL_ERROR_ZERO_RETURN);
	text[n] = '\0';
	return text;
}

static inline void
tls_close(SSL *ssl)
{
	int fd = SSL_get_fd(ssl);

	(void)SSL_shutdown(ssl);
	SSL_free(ssl);
	close(fd);
	ERR_clear_error();
}
