#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <base/cleanup.h>
#include <base/str.h>
#include <signer/signer.h>

#include "ca.h"

/* The first line of the file; a later form has another number. */
#define CA_VERSION_LINE "paddock authority, version 1\n"
#define CA_DAYS_BEFORE  30
#define CA_DAYS_AFTER   3650
#define DAY_S           (24L * 60 * 60)

void
ca_release(struct ca *ca)
{
	EVP_PKEY_free(ca->key);
	X509_free(ca->cert);
	*ca = (struct ca){0};
}

static int
failed(const char *what, struct err *e)
{
	return err_set(e, EIO, "certificate authority: %s failed", what);
}

int
ca_set_serial(X509 *x)
{
	BIGNUM *n = BN_new();
	int ok = n != NULL && BN_rand(n, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
		 BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;

	BN_free(n);
	return ok ? 0 : -EIO;
}

int
ca_add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *ext;
	X509V3_CTX ctx;
	int ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext != NULL && X509_add_ext(x, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok ? 0 : -EIO;
}

/* Two sandboxes of one name, one after the other, are two authorities: so each has a number. */
static int
set_subject(X509 *x, const char *sandbox)
{
	unsigned char number[4];
	X509_NAME *name = X509_get_subject_name(x);
	char text[65];

	if (RAND_bytes(number, sizeof(number)) != 1)
		return -EIO;
	snprintf(text, sizeof(text), "Paddock sandbox %.38s %02x%02x%02x%02x", sandbox, number[0],
		number[1], number[2], number[3]);
	if (X509_NAME_add_entry_by_txt(
		    name, "O", MBSTRING_ASC, (const unsigned char *)"Paddock", -1, -1, 0) != 1 ||
		X509_NAME_add_entry_by_txt(
			name, "CN", MBSTRING_ASC, (const unsigned char *)text, -1, -1, 0) != 1)
		return -EIO;
	return X509_set_issuer_name(x, name) == 1 ? 0 : -EIO;
}

static int
fill(X509 *x, EVP_PKEY *key, const char *sandbox)
{
	static const struct {
		int nid;
		const char *value;
	} extensions[] = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
		{NID_key_usage, "critical,keyCertSign,cRLSign"},
		{NID_subject_key_identifier, "hash"}};

	if (X509_set_version(x, X509_VERSION_3) != 1 || ca_set_serial(x) < 0 ||
		set_subject(x, sandbox) < 0 || X509_set_pubkey(x, key) != 1 ||
		X509_gmtime_adj(X509_getm_notBefore(x), -CA_DAYS_BEFORE * DAY_S) == NULL ||
		X509_gmtime_adj(X509_getm_notAfter(x), CA_DAYS_AFTER * DAY_S) == NULL)
		return -EIO;
	for (size_t i = 0; i < ARRAY_LEN(extensions); i++)
		if (ca_add_extension(x, x, extensions[i].nid, extensions[i].value) < 0)
			return -EIO;
	return X509_sign(x, key, EVP_sha256()) > 0 ? 0 : -EIO;
}

static int
put_bio(BIO *bio, struct buf *out)
{
	char *p;
	long n = BIO_get_mem_data(bio, &p);

	if (n <= 0)
		return -EIO;
	buf_append(out, p, (size_t)n);
	return 0;
}

static int
put_ca(const struct ca *ca, bool with_key, struct buf *out)
{
	/* The key's bytes are wiped with it. */
	BIO *bio = BIO_new(BIO_s_secmem());
	int r = bio == NULL ? -EIO : 0;

	if (r == 0 && with_key &&
		PEM_write_bio_PKCS8PrivateKey(bio, ca->key, NULL, NULL, 0, NULL, NULL) != 1)
		r = -EIO;
	if (r == 0 && PEM_write_bio_X509(bio, ca->cert) != 1)
		r = -EIO;
	if (r == 0)
		r = put_bio(bio, out);
	BIO_free(bio);
	return r;
}

int
ca_new(const char *sandbox, struct buf *ret_pem, struct err *e)
{
	CLEANUP(ca_release) struct ca ca = {.key = EVP_EC_gen("P-256"), .cert = X509_new()};

	if (ca.key == NULL || ca.cert == NULL)
		return failed("to make a key", e);
	if (fill(ca.cert, ca.key, sandbox) < 0)
		return failed("to make a certificate", e);
	buf_append_str(ret_pem, CA_VERSION_LINE);
	return put_ca(&ca, true, ret_pem) < 0 ? failed("to write", e) : 0;
}

int
ca_parse(const char *pem, struct ca *ret, struct err *e)
{
	CLEANUP(ca_release) struct ca ca = {0};
	BIO *bio;

	if (!str_has_prefix(pem, CA_VERSION_LINE))
		return err_set(e, EBADMSG, "this is no authority of version 1");
	bio = BIO_new_mem_buf(pem, -1);
	if (bio != NULL) {
		ca.key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
		ca.cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		BIO_free(bio);
	}
	if (ca.key == NULL || ca.cert == NULL || X509_check_private_key(ca.cert, ca.key) != 1)
		return err_set(e, EBADMSG, "the authority's key or certificate is damaged");
	*ret = ca;
	ca = (struct ca){0};
	return 0;
}

int
ca_certificate(const char *pem, struct buf *ret_pem, struct err *e)
{
	CLEANUP(ca_release) struct ca ca = {0};
	int r = ca_parse(pem, &ca, e);

	if (r < 0)
		return r;
	return put_ca(&ca, false, ret_pem) < 0 ? failed("to write", e) : 0;
}
