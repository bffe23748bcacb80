#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <base/log.h>
#include <base/mem.h>
#include <policy/addr.h>

#include "tls.h"

/* RFC 7301: each name with its length in front. */
struct protocols {
	const unsigned char *p;
	unsigned n;
};

static const unsigned char alpn_names[] = "\x02h2\x08http/1.1";
static const struct protocols choices[] = {[TLS_ALPN_NONE] = {NULL, 0},
	[TLS_ALPN_HTTP1] = {alpn_names + 3, 9},
	[TLS_ALPN_H2] = {alpn_names, 3}};

enum { READ_BUFFER = 65536 };

struct tls {
	EVP_PKEY *key;
	SSL_CTX *server, *client; /* client: from the first connection on */
	const char *trust;
	int asked; /* index of the note that an origin wants the client's certificate */
};

static int
choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
	unsigned in_len, void *arg)
{
	const struct protocols *want = SSL_get_app_data(ssl);
	unsigned char *at;
	int r;

	(void)arg;
	if (want->n == 0)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	r = SSL_select_next_proto(&at, out_len, want->p, want->n, in, in_len);
	*out = at;
	return r == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *
new_context(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (ctx == NULL)
		return NULL;
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
					 SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	/* Idle connections hold no buffers; busy ones take several records from the kernel at once.
	 */
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, READ_BUFFER);
	return ctx;
}

struct tls *
tls_new(const char *trust)
{
	struct tls *t = xcalloc(1, sizeof(*t));

	OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
	t->trust = trust != NULL ? trust : "";
	t->key = EVP_EC_gen("P-256");
	t->server = new_context(TLS_server_method());
	t->asked = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	if (t->key == NULL || t->server == NULL || t->asked < 0 ||
		SSL_CTX_use_PrivateKey(t->server, t->key) != 1) {
		tls_free(t);
		return NULL;
	}
	SSL_CTX_set_num_tickets(t->server, 0);
	SSL_CTX_set_alpn_select_cb(t->server, choose_alpn, NULL);
	return t;
}

void
tls_free(struct tls *t)
{
	if (t == NULL)
		return;
	SSL_CTX_free(t->server);
	SSL_CTX_free(t->client);
	EVP_PKEY_free(t->key);
	free(t);
}

size_t
tls_public_key(const struct tls *t, uint8_t *out, size_t size)
{
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(t->key, &der);
	size_t len = n > 0 && (size_t)n <= size ? (size_t)n : 0;

	if (len > 0)
		memcpy(out, der, len);
	OPENSSL_free(der);
	return len;
}

/* A certificate that OpenSSL cannot read is passed over, as everybody does. */
static void
add_trust(X509_STORE *store, const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *x;
	size_t n = 0;

	while (bio != NULL && !BIO_eof(bio)) {
		x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		if (x == NULL && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
			break;
		if (x != NULL && X509_STORE_add_cert(store, x) == 1)
			n++;
		X509_free(x);
	}
	BIO_free(bio);
	ERR_clear_error();
	log_debug("%zu certificates are trusted", n);
}

/* The guest's certificate, if it has one, is not ours to give. */
static int
on_certificate_asked(SSL *ssl, X509 **x, EVP_PKEY **key)
{
	const struct tls *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	(void)x;
	(void)key;
	SSL_set_ex_data(ssl, t->asked, ssl);
	return 0;
}

static bool
make_client(struct tls *t)
{
	if (t->client != NULL)
		return true;
	t->client = new_context(TLS_client_method());
	if (t->client == NULL)
		return false;
	add_trust(SSL_CTX_get_cert_store(t->client), t->trust);
	SSL_CTX_set_verify(t->client, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_app_data(t->client, t);
	SSL_CTX_set_client_cert_cb(t->client, on_certificate_asked);
	return true;
}

SSL *
tls_server(struct tls *t, int fd, X509 *leaf, enum tls_alpn alpn)
{
	SSL *ssl = SSL_new(t->server);

	if (ssl == NULL || SSL_use_certificate(ssl, leaf) != 1 ||
		SSL_use_PrivateKey(ssl, t->key) != 1 || SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_app_data(ssl, (struct protocols *)&choices[alpn]);
	SSL_set_accept_state(ssl);
	return ssl;
}

static bool
set_name(SSL *ssl, const char *name)
{
	X509_VERIFY_PARAM *p = SSL_get0_param(ssl);
	struct ip_addr a;

	if (ip_addr_parse(name, &a) == 0)
		return X509_VERIFY_PARAM_set1_ip_asc(p, name) == 1;
	X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return X509_VERIFY_PARAM_set1_host(p, name, 0) == 1 &&
	       SSL_set_tlsext_host_name(ssl, name) == 1;
}

SSL *
tls_client(struct tls *t, int fd, const char *name, bool h2, bool http1)
{
	/* h2 stands in front: both names are one text. */
	const unsigned char *alpn = choices[h2 ? TLS_ALPN_H2 : TLS_ALPN_HTTP1].p;
	unsigned len = (h2 ? choices[TLS_ALPN_H2].n : 0) + (http1 ? choices[TLS_ALPN_HTTP1].n : 0);
	SSL *ssl = make_client(t) ? SSL_new(t->client) : NULL;

	if (ssl == NULL || !set_name(ssl, name) || SSL_set_fd(ssl, fd) != 1 ||
		(len > 0 && SSL_set_alpn_protos(ssl, alpn, len) != 0)) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_connect_state(ssl);
	return ssl;
}

enum tls_step
tls_handshake(SSL *ssl)
{
	int r;

	ERR_clear_error();
	r = SSL_do_handshake(ssl);
	if (r == 1)
		return TLS_STEP_DONE;
	switch (SSL_get_error(ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return TLS_STEP_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_STEP_WRITE;
	default:
		return TLS_STEP_FAILED;
	}
}

enum tls_alpn
tls_chosen(const SSL *ssl)
{
	const unsigned char *p;
	unsigned n;

	SSL_get0_alpn_selected(ssl, &p, &n);
	if (n == 0)
		return TLS_ALPN_NONE;
	return n == 2 ? TLS_ALPN_H2 : TLS_ALPN_HTTP1;
}

void
tls_why_client(const SSL *ssl, char out[TLS_REASON_MAX])
{
	const struct tls *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	long v = SSL_get_verify_result(ssl);
	unsigned long code = ERR_peek_last_error();
	const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;

	if (v != X509_V_OK)
		snprintf(out, TLS_REASON_MAX, "tls_upstream: the server's certificate: %s",
			X509_verify_cert_error_string(v));
	else if (SSL_get_ex_data(ssl, t->asked) != NULL)
		snprintf(out, TLS_REASON_MAX,
			"tls_client_certificate: the server wants one of the client's own");
	else
		snprintf(out, TLS_REASON_MAX, "tls_upstream: %s",
			text != NULL ? text : "the server closed the connection");
	ERR_clear_error();
}

void
tls_why_server(char out[TLS_REASON_MAX])
{
	unsigned long code = ERR_peek_last_error();
	int reason = ERR_GET_REASON(code);
	const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	switch (reason) {
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
		snprintf(out, TLS_REASON_MAX,
			"tls_pinned: the client does not trust the sandbox's authority");
		return;
	default:
		snprintf(out, TLS_REASON_MAX, "tls_handshake: %s",
			text != NULL ? text : "the client closed the connection");
	}
}
