/* The sandbox's authority, its leaf certificates, and the protocol with the signer. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/str.h>
#include <signer/signer.h>
#include <wire/sign.h>

#include "ca.h"

static X509 *
read_cert(struct buf *pem)
{
	BIO *bio = BIO_new_mem_buf(buf_str(pem), -1);
	X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	return x;
}

static size_t
public_key(uint8_t *out, size_t size)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(key, &der);

	assert_true(n > 0 && (size_t)n <= size);
	memcpy(out, der, (size_t)n);
	OPENSSL_free(der);
	EVP_PKEY_free(key);
	return (size_t)n;
}

static void
test_authority(void **state)
{
	CLEAN_BUF struct buf pem = BUF_INIT, again = BUF_INIT, cert = BUF_INIT;
	char name[256];
	struct err e = {0};
	X509 *x;

	(void)state;
	assert_int_equal(ca_new("my-box", &pem, &e), 0);
	assert_non_null(strstr(buf_str(&pem), "PRIVATE KEY"));
	assert_int_equal(ca_certificate(buf_str(&pem), &cert, &e), 0);
	assert_null(strstr(buf_str(&cert), "PRIVATE"));
	x = read_cert(&cert);
	assert_non_null(x);
	assert_int_equal(X509_check_ca(x), 1);
	assert_int_equal(X509_get_pathlen(x), 0);
	assert_int_equal(X509_get_key_usage(x), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	X509_NAME_oneline(X509_get_subject_name(x), name, sizeof(name));
	assert_non_null(strstr(name, "Paddock sandbox my-box "));
	assert_true(X509_cmp_current_time(X509_get0_notBefore(x)) < 0);
	X509_free(x);
	/* Another one of the same name is another one. */
	assert_int_equal(ca_new("my-box", &again, &e), 0);
	assert_string_not_equal(buf_str(&pem), buf_str(&again));
	buf_clear(&cert);
	assert_int_equal(ca_certificate("-----BEGIN CERTIFICATE-----\n", &cert, &e), -EBADMSG);
	assert_int_equal(ca_certificate("paddock authority, version 1\nx", &cert, &e), -EBADMSG);
	assert_int_equal(ca_certificate("paddock authority, version 2\n", &cert, &e), -EBADMSG);
	assert_int_equal(cert.len, 0);
}

/* The key of one authority beside the certificate of another is nothing. */
static void
test_mixed_authority(void **state)
{
	CLEAN_BUF struct buf a = BUF_INIT, b = BUF_INIT, out = BUF_INIT;
	struct err e = {0};
	char *cert;

	(void)state;
	assert_int_equal(ca_new("a", &a, &e), 0);
	assert_int_equal(ca_certificate(buf_str(&a), &out, &e), 0);
	buf_clear(&out);
	assert_int_equal(ca_new("b", &b, &e), 0);
	cert = strstr((char *)(uintptr_t)buf_str(&a), "-----BEGIN CERTIFICATE");
	*cert = '\0';
	buf_append_str(&out, buf_str(&a));
	buf_append_str(&out, strstr(buf_str(&b), "-----BEGIN CERTIFICATE"));
	assert_int_equal(ca_certificate(buf_str(&out), &b, &e), -EBADMSG);
}

struct leaf_case {
	const char *name;
	bool ok;
	const char *host, *ip, *other;
};

static void
check_leaf(const struct ca *ca, const struct leaf_case *c)
{
	CLEAN_BUF struct buf der = BUF_INIT;
	uint8_t key[SIGN_KEY_MAX];
	size_t n = public_key(key, sizeof(key));
	int64_t now = (int64_t)(clock_real_ns() / 1000000000);
	const unsigned char *p;
	struct err e = {0};
	time_t week = now - 6 * 24 * 3600, month = now + 29 * 24 * 3600;
	X509 *x;

	assert_int_equal(leaf_sign(ca, c->name, key, n, now, &der, &e), c->ok ? 0 : -EINVAL);
	if (!c->ok) {
		assert_int_equal(der.len, 0);
		return;
	}
	assert_true(der.len < SIGN_CERT_MAX);
	p = der.data;
	x = d2i_X509(NULL, &p, (long)der.len);
	assert_non_null(x);
	assert_int_equal(X509_verify(x, X509_get0_pubkey(ca->cert)), 1);
	assert_int_equal(X509_check_ca(x), 0);
	assert_int_equal(X509_get_extended_key_usage(x), XKU_SSL_SERVER);
	if (c->host != NULL)
		assert_int_equal(X509_check_host(x, c->host, 0, 0, NULL), 1);
	if (c->ip != NULL)
		assert_int_equal(X509_check_ip_asc(x, c->ip, 0), 1);
	assert_int_equal(X509_check_host(x, c->other, 0, 0, NULL), 0);
	assert_true(X509_cmp_time(X509_get0_notBefore(x), &week) < 0);
	assert_true(X509_cmp_time(X509_get0_notAfter(x), &month) > 0);
	X509_free(x);
}

static void
test_leaf(void **state)
{
	static const struct leaf_case cases[] = {
		{"api.example.com", true, "api.example.com", NULL, "www.example.com"},
		{"xn--bcher-kva.example", true, "xn--bcher-kva.example", NULL, "example"},
		{"a_b.example", true, "a_b.example", NULL, "ab.example"},
		{"192.0.2.7", true, NULL, "192.0.2.7", "192.0.2.8"},
		{"2001:db8::1", true, NULL, "2001:db8::1", "example"},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb."
		 "example",
			true,
			"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
			"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.example",
			NULL, "b.example"},
		{"Api.example.com", false, NULL, NULL, NULL},
		{"*.example.com", false, NULL, NULL, NULL},
		{"a,DNS:b", false, NULL, NULL, NULL},
		{"a.example.", false, NULL, NULL, NULL},
		{"", false, NULL, NULL, NULL},
	};
	CLEANUP(ca_release) struct ca ca = {0};
	CLEAN_BUF struct buf pem = BUF_INIT;
	struct err e = {0};

	(void)state;
	assert_int_equal(ca_new("box", &pem, &e), 0);
	assert_int_equal(ca_parse(buf_str(&pem), &ca, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check_leaf(&ca, &cases[i]);
}

static void
test_wire(void **state)
{
	struct sign_request q = {.id = 7, .name = "a.example", .key_len = 3}, q2;
	struct sign_reply r = {.id = 9, .cert_len = 4}, r2;
	CLEAN_BUF struct buf b = BUF_INIT, c = BUF_INIT;

	(void)state;
	memcpy(q.key, "key", 3);
	memcpy(r.cert, "cert", 4);
	sign_request_encode(&q, &b);
	assert_int_equal(sign_request_decode(b.data, b.len, &q2), 0);
	assert_int_equal(q2.id, 7);
	assert_string_equal(q2.name, "a.example");
	assert_memory_equal(q2.key, "key", 3);
	for (size_t i = 0; i < b.len; i++)
		assert_int_equal(sign_request_decode(b.data, i, &q2), -EBADMSG);
	sign_reply_encode(&r, &c);
	assert_int_equal(sign_reply_decode(c.data, c.len, &r2), 0);
	assert_int_equal(r2.cert_len, 4);
	for (size_t i = 0; i < c.len; i++)
		assert_int_equal(sign_reply_decode(c.data, i, &r2), -EBADMSG);
	/* Neither is the other. */
	assert_int_equal(sign_reply_decode(b.data, b.len, &r2), -EBADMSG);
	assert_int_equal(sign_request_decode(c.data, c.len, &q2), -EBADMSG);
}

/* The role itself: garbage is passed over, a bad name refused, a good one signed. */
static void
test_serve(void **state)
{
	CLEAN_BUF struct buf pem = BUF_INIT, out = BUF_INIT;
	struct sign_request q = {.id = 1, .name = "no name"};
	uint8_t bytes[SIGN_WIRE_MAX];
	struct sign_reply r;
	struct err e = {0};
	int s[2], status;
	pid_t pid;
	ssize_t n;

	(void)state;
	assert_int_equal(ca_new("box", &pem, &e), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
	pid = fork();
	if (pid == 0) {
		close(s[0]);
		alarm(20);
		_exit(signer_serve(s[1], buf_str(&pem), &e) == 0 ? 0 : 1);
	}
	close(s[1]);
	q.key_len = public_key(q.key, sizeof(q.key));
	assert_int_equal(send(s[0], "garbage", 7, 0), 7);
	memcpy(q.name, "A.EXAMPLE", 10);
	sign_request_encode(&q, &out);
	assert_int_equal(send(s[0], out.data, out.len, 0), out.len);
	n = recv(s[0], bytes, sizeof(bytes), 0);
	assert_int_equal(sign_reply_decode(bytes, (size_t)n, &r), 0);
	assert_int_equal(r.id, 1);
	assert_int_equal(r.cert_len, 0);
	buf_clear(&out);
	memcpy(q.name, "a.example", 10);
	q.id = 2;
	sign_request_encode(&q, &out);
	assert_int_equal(send(s[0], out.data, out.len, 0), out.len);
	n = recv(s[0], bytes, sizeof(bytes), 0);
	assert_int_equal(sign_reply_decode(bytes, (size_t)n, &r), 0);
	assert_int_equal(r.id, 2);
	assert_true(r.cert_len > 100);
	close(s[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_authority),
		cmocka_unit_test(test_mixed_authority),
		cmocka_unit_test(test_leaf),
		cmocka_unit_test(test_wire),
		cmocka_unit_test(test_serve),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
