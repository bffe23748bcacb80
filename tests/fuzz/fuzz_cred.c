/*
 * Encoded sets, requests and bodies past a gate. A set that is read is written and read to the
 * same; a body has its length whatever happens, does not depend on how it is cut, and holds no
 * value; a request that passes has the value where it belongs alone.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/mem.h>
#include <cred/gate.h>
#include <cred/secret.h>

#include "shapes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HELD  "ghp_0123456789abcdef"
#define VALUE "value/of+it"

static void
require(int condition)
{
	if (!condition)
		abort();
}

static struct cred_gate *
new_gate(void)
{
	struct cred c = {.name = xstrdup("one"),
		.placeholder = xstrdup(HELD),
		.value = secret_dup(VALUE, strlen(VALUE))};
	struct cred_set s = {0};
	struct strv hosts = {0};

	strv_add(&hosts, "a.example.com");
	cred_add_place(&c, &hosts, "authorization", "Basic user:%s");
	cred_add_place(&c, &hosts, "x-key", "%s");
	strv_release(&hosts);
	cred_set_add(&s, &c);
	return cred_gate_new(&s);
}

static void
check_set(const uint8_t *p, size_t n)
{
	CLEAN_CRED_SET struct cred_set s = {0}, again = {0};
	CLEAN_CRED_BUF struct buf a = BUF_INIT, b = BUF_INIT;

	if (cred_set_decode(p, n, &s, NULL) < 0)
		return;
	cred_set_encode(&s, &a);
	require(cred_set_decode(a.data, a.len, &again, NULL) == 0);
	cred_set_encode(&again, &b);
	require(a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0));
}

static void
check_body(struct cred_gate *g, const struct cred_dest *d, const uint8_t *p, size_t n)
{
	CLEAN_BUF struct buf whole = BUF_INIT, parts = BUF_INIT;
	struct cred_stream *s = cred_stream_new(g, d, CRED_DOWN);

	require(cred_stream_feed(s, p, n, &whole) == CRED_PASS);
	require(cred_stream_end(s, &whole) == CRED_PASS);
	cred_stream_free(s);
	s = cred_stream_new(g, d, CRED_DOWN);
	for (size_t i = 0; i < n; i++)
		require(cred_stream_feed(s, p + i, 1, &parts) == CRED_PASS);
	require(cred_stream_end(s, &parts) == CRED_PASS);
	cred_stream_free(s);
	require(whole.len == n && parts.len == n);
	require(n == 0 || memcmp(whole.data, parts.data, n) == 0);
	require(n == 0 || memmem(whole.data, n, VALUE, strlen(VALUE)) == NULL);
}

static void
check_request(const struct cred_gate *g, const struct cred_dest *d, const uint8_t *p, size_t n)
{
	struct http_request q;
	struct http_field fields[HTTP_FIELDS_MAX];
	struct cred_edits edits = {0};
	struct cred_alarm alarm;
	size_t nfields;
	enum cred_verdict v;

	if (http_request_parse(p, n, &q) != HTTP_PARSE_OK)
		return;
	memcpy(fields, q.fields, sizeof(fields));
	nfields = q.nfields;
	v = cred_request(g, d, q.path, fields, HTTP_FIELDS_MAX, &nfields, &edits, &alarm);
	require((v == CRED_ALARM) == (alarm.name != NULL));
	require(nfields <= HTTP_FIELDS_MAX);
	for (size_t i = 0; i < nfields && v == CRED_PASS; i++) {
		bool has =
			memmem(fields[i].value.p, fields[i].value.n, VALUE, strlen(VALUE)) != NULL;

		require(!has || (d->tls && http_str_is(fields[i].name, "x-key")));
		for (size_t k = 0; k < fields[i].value.n; k++)
			require(fields[i].value.p[k] != '\n');
	}
	cred_edits_release(&edits);
	(void)cred_response(g, q.fields, q.nfields, &edits);
	cred_edits_release(&edits);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct cred_dest own = {"a.example.com", 443, true};
	static const struct cred_dest other = {"a.example.com", 80, false};
	static struct cred_gate *g;
	CLEAN_BUF struct buf plain = BUF_INIT;

	if (g == NULL)
		g = new_gate();
	if (size > 65536)
		return 0;
	check_set(data, size);
	check_body(g, &own, data, size);
	check_request(g, &own, data, size);
	check_request(g, &other, data, size);
	(void)base64_get(&plain, (const char *)data, size);
	percent_get(&plain, (const char *)data, size);
	return 0;
}
