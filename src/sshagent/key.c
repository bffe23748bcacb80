/* Public keys and signatures of SSH (RFC 4253 6.6, 5656, 8332, 8709), verified by OpenSSL. */
#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include <base/buf.h>
#include <sshagent/judge.h>

#include "wire.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 16384
#define DER_MAX      256 /* an ECDSA signature of P-521 has 139 */

static void
free_key(EVP_PKEY **p)
{
	EVP_PKEY_free(*p);
}
#define CLEAN_KEY __attribute__((cleanup(free_key)))

/* From parameters of this type of key; NULL: they are none. */
static EVP_PKEY *
from_params(const char *type, OSSL_PARAM *params)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *key = NULL;

	if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
		EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(ctx);
	return key;
}

static EVP_PKEY *
rsa_key(struct ssh_bytes b)
{
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	struct ssh_bytes e, n;
	BIGNUM *be = NULL, *bn = NULL;
	EVP_PKEY *key = NULL;

	if (bld != NULL && ssh_string(&b, &e) && ssh_string(&b, &n) && b.n == 0 && e.n <= 8 &&
		n.n <= RSA_BITS_MAX / 8 + 1) {
		be = BN_bin2bn(e.p, (int)e.n, NULL);
		bn = BN_bin2bn(n.p, (int)n.n, NULL);
	}
	if (be != NULL && bn != NULL && BN_num_bits(bn) >= RSA_BITS_MIN &&
		OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be) == 1 &&
		OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) == 1)
		params = OSSL_PARAM_BLD_to_param(bld);
	if (params != NULL)
		key = from_params("RSA", params);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	BN_free(be);
	BN_free(bn);
	return key;
}

static const struct curve {
	const char *ssh, *type, *group;
	const EVP_MD *(*hash)(void); /* RFC 5656 6.2.1 */
} curves[] = {
	{"nistp256", "ecdsa-sha2-nistp256", "prime256v1", EVP_sha256},
	{"nistp384", "ecdsa-sha2-nistp384", "secp384r1", EVP_sha384},
	{"nistp521", "ecdsa-sha2-nistp521", "secp521r1", EVP_sha512},
};

static EVP_PKEY *
ec_key(const struct curve *c, struct ssh_bytes b)
{
	struct ssh_bytes name, q;

	if (!ssh_string(&b, &name) || !ssh_is(name, c->ssh) || !ssh_string(&b, &q) || b.n > 0)
		return NULL;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)c->group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)q.p, q.n),
		OSSL_PARAM_construct_end()};
	return from_params("EC", params);
}

static bool
verify(EVP_PKEY *key, const EVP_MD *md, struct ssh_bytes signature, struct ssh_bytes data)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, md, NULL, key) == 1 &&
		  EVP_DigestVerify(ctx, signature.p, signature.n, data.p, data.n) == 1;

	EVP_MD_CTX_free(ctx);
	return ok;
}

static bool
verify_ed25519(struct ssh_bytes b, struct ssh_bytes signature, struct ssh_bytes data)
{
	CLEAN_KEY EVP_PKEY *key = NULL;
	struct ssh_bytes pk;

	if (!ssh_string(&b, &pk) || b.n > 0 || pk.n != 32 || signature.n != 64)
		return false;
	key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, pk.p, pk.n);
	return key != NULL && verify(key, NULL, signature, data);
}

/* RFC 8332: the same key with either hash; SHA-1 is too weak by now. */
static bool
verify_rsa(struct ssh_bytes b, struct ssh_bytes type, struct ssh_bytes signature,
	struct ssh_bytes data)
{
	const EVP_MD *md = ssh_is(type, "rsa-sha2-256")   ? EVP_sha256()
			   : ssh_is(type, "rsa-sha2-512") ? EVP_sha512()
							  : NULL;
	CLEAN_KEY EVP_PKEY *key = md != NULL ? rsa_key(b) : NULL;

	return key != NULL && verify(key, md, signature, data);
}

/* RFC 5656 3.1.2: two mpints, which OpenSSL wants in DER. */
static bool
verify_ecdsa(const struct curve *c, struct ssh_bytes b, struct ssh_bytes signature,
	struct ssh_bytes data)
{
	CLEAN_KEY EVP_PKEY *key = ec_key(c, b);
	ECDSA_SIG *sig = ECDSA_SIG_new();
	unsigned char der[DER_MAX], *at = der;
	struct ssh_bytes r, s;
	BIGNUM *br, *bs;
	bool ok = false;

	if (key != NULL && sig != NULL && ssh_string(&signature, &r) &&
		ssh_string(&signature, &s) && signature.n == 0 && r.n <= 67 && s.n <= 67) {
		br = BN_bin2bn(r.p, (int)r.n, NULL);
		bs = BN_bin2bn(s.p, (int)s.n, NULL);
		if (br != NULL && bs != NULL && ECDSA_SIG_set0(sig, br, bs) == 1) {
			int n = i2d_ECDSA_SIG(sig, NULL);

			if (n > 0 && n <= DER_MAX && i2d_ECDSA_SIG(sig, &at) == n)
				ok = verify(
					key, c->hash(), (struct ssh_bytes){der, (size_t)n}, data);
		} else {
			BN_free(br);
			BN_free(bs);
		}
	}
	ECDSA_SIG_free(sig);
	return ok;
}

static bool
verify_any(struct ssh_bytes key, struct ssh_bytes signature, struct ssh_bytes data)
{
	struct ssh_bytes type, how, bytes;

	if (!ssh_string(&key, &type) || !ssh_string(&signature, &how) ||
		!ssh_string(&signature, &bytes) || signature.n > 0)
		return false;
	if (ssh_is(type, "ssh-rsa"))
		return verify_rsa(key, how, bytes, data);
	if (!ssh_same(type, how))
		return false;
	if (ssh_is(type, "ssh-ed25519"))
		return verify_ed25519(key, bytes, data);
	for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
		if (ssh_is(type, curves[i].type))
			return verify_ecdsa(&curves[i], key, bytes, data);
	return false;
}

bool
sshagent_verify(const uint8_t *key, size_t nkey, const uint8_t *signature, size_t nsignature,
	const uint8_t *data, size_t n)
{
	bool ok = verify_any((struct ssh_bytes){key, nkey},
		(struct ssh_bytes){signature, nsignature}, (struct ssh_bytes){data, n});

	ERR_clear_error();
	return ok;
}

void
sshagent_print(const uint8_t *key, size_t nkey, char out[SSHAGENT_PRINT_SIZE])
{
	unsigned char hash[32], text[48];

	if (EVP_Q_digest(NULL, "SHA256", NULL, key, nkey, hash, NULL) != 1)
		memset(hash, 0, sizeof(hash));
	EVP_EncodeBlock(text, hash, sizeof(hash));
	snprintf(out, SSHAGENT_PRINT_SIZE, "SHA256:%.43s", (const char *)text);
}
