/*
 * Request and response heads, chunked bodies and the guess about the first bytes. What parses once,
 * parses the same from its own bytes alone; everything that it points to lies inside them; a body's
 * framing does not depend on how its bytes are cut.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <proto/first.h>
#include <proto/http.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int condition)
{
	if (!condition)
		abort();
}

static void
inside(struct http_str s, const uint8_t *p, size_t n)
{
	const uint8_t *at = (const uint8_t *)s.p;

	if (s.n > 0 && !(s.n == 1 && s.p[0] == '/'))
		require(at >= p && s.n <= n && (size_t)(at - p) <= n - s.n);
	for (size_t i = 0; i < s.n; i++)
		require(s.p[i] != '\r' && s.p[i] != '\n' && s.p[i] != '\0');
}

static void
check_request(const uint8_t *p, size_t n)
{
	struct http_request q, again;

	if (http_request_parse(p, n, &q) != HTTP_PARSE_OK)
		return;
	require(q.head_len <= n && q.head_len <= HTTP_HEAD_MAX);
	inside(q.method, p, q.head_len);
	inside(q.path, p, q.head_len);
	inside(q.to.host, p, q.head_len);
	require(q.form != HTTP_FORM_AUTHORITY || q.to.port != 0);
	require(q.minor == 0 || q.host.host.n > 0);
	require(q.body != HTTP_BODY_CLOSE);
	for (size_t i = 0; i < q.nfields; i++) {
		inside(q.fields[i].name, p, q.head_len);
		inside(q.fields[i].value, p, q.head_len);
		(void)http_field_is_hop(q.fields, q.nfields, q.fields[i].name);
	}
	require(http_request_parse(p, q.head_len, &again) == HTTP_PARSE_OK);
	require(again.nfields == q.nfields && again.head_len == q.head_len);
	require(http_request_parse(p, q.head_len - 1, &again) == HTTP_PARSE_MORE);
	/* Whatever the strict parser takes for HTTP, the guess does too, or it is h2's preface. */
	require(first_classify(p, n) == FIRST_HTTP);
}

static void
check_response(const uint8_t *p, size_t n)
{
	struct http_response s;

	if (http_response_parse(p, n, n % 2, &s) != HTTP_PARSE_OK)
		return;
	require(s.head_len <= n && s.status >= 100 && s.status <= 599);
	inside(s.reason, p, s.head_len);
	for (size_t i = 0; i < s.nfields; i++)
		inside(s.fields[i].value, p, s.head_len);
}

static void
check_framer(enum http_body body, const uint8_t *p, size_t n)
{
	struct http_framer whole, bytes;
	long total = 0, r, one = 0;

	http_framer_init(&whole, body, 100);
	http_framer_init(&bytes, body, 100);
	r = http_framer_feed(&whole, p, n);
	require(r < 0 || (size_t)r <= n);
	for (size_t i = 0; i < n && one >= 0 && !http_framer_done(&bytes); i++) {
		one = http_framer_feed(&bytes, p + i, 1);
		total += one;
	}
	require((one < 0) == (r < 0));
	require(r < 0 || (total == r && http_framer_done(&whole) == http_framer_done(&bytes)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum first f = first_classify(data, size);

	check_request(data, size);
	check_response(data, size);
	check_framer(HTTP_BODY_CHUNKED, data, size);
	check_framer(HTTP_BODY_LENGTH, data, size);
	require(first_classify_cut(data, size) != FIRST_MORE);
	require(f == FIRST_MORE || first_classify_cut(data, size) == f);
	require(size < FIRST_MAX || f != FIRST_MORE);
	return 0;
}
