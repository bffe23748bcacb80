/* What net and the signer say to each other, were one of them taken over: what decodes is bounded,
 * printable, and encodes again into the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <wire/sign.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int condition)
{
	if (!condition)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN_BUF struct buf b = BUF_INIT, c = BUF_INIT;
	struct sign_request q;
	struct sign_reply r;

	if (sign_request_decode(data, size, &q) == 0) {
		require(strnlen(q.name, sizeof(q.name)) < sizeof(q.name) && q.name[0] != '\0');
		for (const char *p = q.name; *p != '\0'; p++)
			require(*p > 0x20 && *p < 0x7f);
		require(q.key_len > 0 && q.key_len <= SIGN_KEY_MAX);
		sign_request_encode(&q, &b);
		require(b.len == size && memcmp(b.data, data, size) == 0);
		require(b.len <= SIGN_WIRE_MAX);
	}
	if (sign_reply_decode(data, size, &r) == 0) {
		require(r.cert_len <= SIGN_CERT_MAX);
		sign_reply_encode(&r, &c);
		require(c.len == size && memcmp(c.data, data, size) == 0);
		require(c.len <= SIGN_WIRE_MAX);
	}
	return 0;
}
