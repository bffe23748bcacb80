/*
 * A stream's first bytes as a ClientHello. Whatever is found is found again in the same bytes with
 * something behind them in a record of its own, and never in fewer of them.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <proto/tls.h>

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
	struct tls_hello h, again;
	enum tls_parse r = tls_hello_parse(data, size, &h);

	if (r == TLS_PARSE_MORE) {
		require(size < TLS_HELLO_MAX);
		require(size == 0 || tls_is_likely(data, size) || size < 5);
	}
	if (r != TLS_PARSE_OK) {
		require(h.name[0] == '\0');
		return 0;
	}
	require(tls_is_likely(data, size));
	require(memchr(h.name, '\0', sizeof(h.name)) != NULL);
	for (size_t n = size; n-- > 0;) {
		enum tls_parse less = tls_hello_parse(data, n, &again);

		require(less != TLS_PARSE_BAD);
		if (less == TLS_PARSE_MORE)
			break;
		require(strcmp(h.name, again.name) == 0);
	}
	return 0;
}
