#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/x509v3.h>

#include <base/cleanup.h>
#include <policy/addr.h>
#include <policy/name.h>

#include "ca.h"

/* Back, for a guest whose clock is behind: it is set when a sandbox goes on, but not at once. */
#define LEAF_BEFORE_S (7L * 24 * 60 * 60)
#define LEAF_AFTER_S  (30L * 24 * 60 * 60)

/* RFC 5280's bound of a common name; the name that counts is the subjectAltName. */
#define CN_MAX 64

static int
subject_alt_name(const char *name, char out[HOST_NAME_TEXT_MAX + 16])
{
	char canonical[HOST_NAME_TEXT_MAX];
	struct ip_addr a;

	if (ip_addr_parse(name, &a) == 0) {
		snprintf(out, HOST_NAME_TEXT_MAX + 16, "IP:%s", name);
		return 0;
	}
	/* Canonical names have no byte that the extension's little language knows. */
	if (host_name_canonical(name, canonical) < 0 || strcmp(name, canonical) != 0)
		return -EINVAL;
	snprintf(out, HOST_NAME_TEXT_MAX + 16, "DNS:%s", name);
	return 0;
}

static int
set_names(X509 *x, const struct ca *ca, const char *name)
{
	const char *cn = strlen(name) <= CN_MAX ? name : "Paddock";

	if (X509_set_issuer_name(x, X509_get_subject_name(ca->cert)) != 1)
		return -EIO;
	return X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
		       (const unsigned char *)cn, -1, -1, 0) == 1
		       ? 0
		       : -EIO;
}

static int
set_validity(X509 *x, int64_t now_s)
{
	time_t now = (time_t)now_s;

	return X509_time_adj(X509_getm_notBefore(x), -LEAF_BEFORE_S, &now) != NULL &&
			       X509_time_adj(X509_getm_notAfter(x), LEAF_AFTER_S, &now) != NULL
		       ? 0
		       : -EIO;
}

static int
set_key(X509 *x, const uint8_t *key, size_t key_len)
{
	const unsigned char *p = key;
	EVP_PKEY *public = d2i_PUBKEY(NULL, &p, (long)key_len);
	int ok = public != NULL && p == key + key_len && EVP_PKEY_is_a(public, "EC") == 1 &&
		 X509_set_pubkey(x, public) == 1;

	EVP_PKEY_free(public);
	return ok ? 0 : -EIO;
}

static int
fill(X509 *x, const struct ca *ca, const char *name, const char *san)
{
	const struct {
		int nid;
		const char *value;
	} extensions[] = {{NID_basic_constraints, "critical,CA:FALSE"},
		{NID_key_usage, "critical,digitalSignature"}, {NID_ext_key_usage, "serverAuth"},
		{NID_subject_alt_name, san}, {NID_authority_key_identifier, "keyid:always"}};

	if (X509_set_version(x, X509_VERSION_3) != 1 || ca_set_serial(x) < 0 ||
		set_names(x, ca, name) < 0)
		return -EIO;
	for (size_t i = 0; i < ARRAY_LEN(extensions); i++)
		if (ca_add_extension(x, ca->cert, extensions[i].nid, extensions[i].value) < 0)
			return -EIO;
	return X509_sign(x, ca->key, EVP_sha256()) > 0 ? 0 : -EIO;
}

int
leaf_sign(const struct ca *ca, const char *name, const uint8_t *key, size_t key_len, int64_t now_s,
	struct buf *ret_der, struct err *e)
{
	char san[HOST_NAME_TEXT_MAX + 16];
	unsigned char *der = NULL;
	X509 *x;
	int n = -1;

	if (subject_alt_name(name, san) < 0)
		return err_set(e, EINVAL, "no name to sign for");
	x = X509_new();
	if (x != NULL && set_key(x, key, key_len) == 0 && set_validity(x, now_s) == 0 &&
		fill(x, ca, name, san) == 0)
		n = i2d_X509(x, &der);
	X509_free(x);
	if (n <= 0)
		return err_set(e, EIO, "the leaf certificate cannot be made");
	buf_append(ret_der, der, (size_t)n);
	OPENSSL_free(der);
	return 0;
}
