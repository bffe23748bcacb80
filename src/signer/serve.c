#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <signer/signer.h>
#include <wire/sign.h>

#include "ca.h"

void
signer_prepare(void)
{
	unsigned char byte;

	/* No configuration file decides here, and none is looked for later on. */
	OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
	(void)RAND_bytes(&byte, 1);
}

static int
answer(int fd, const struct ca *ca, const struct sign_request *q)
{
	CLEAN_BUF struct buf der = BUF_INIT, out = BUF_INIT;
	struct sign_reply r = {.id = q->id};
	struct err e = {0};
	ssize_t n;

	if (leaf_sign(ca, q->name, q->key, q->key_len, (int64_t)(clock_real_ns() / 1000000000),
		    &der, &e) == 0 &&
		der.len <= SIGN_CERT_MAX) {
		memcpy(r.cert, der.data, der.len);
		r.cert_len = der.len;
	} else {
		log_debug("%s", e.msg);
	}
	ERR_clear_error();
	sign_reply_encode(&r, &out);
	do
		n = send(fd, out.data, out.len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int
signer_serve(int fd, const char *pem, struct err *e)
{
	CLEANUP(ca_release) struct ca ca = {0};
	uint8_t bytes[SIGN_WIRE_MAX];
	struct sign_request q;
	int r = ca_parse(pem, &ca, e);

	while (r == 0) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return 0;
		if (n < 0)
			return err_sys(e, errno, "signer: receive");
		if (sign_request_decode(bytes, (size_t)n, &q) == 0)
			r = answer(fd, &ca, &q);
		if (r == -EPIPE || r == -ECONNRESET)
			return 0; /* net is gone, and with it the need */
	}
	return r < 0 && e->code == 0 ? err_sys(e, -r, "signer: answer") : r;
}
