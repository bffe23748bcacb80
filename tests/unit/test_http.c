#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <proto/first.h>
#include <proto/http.h>

#define STR(s) (const uint8_t *)(s), sizeof(s) - 1

static enum http_parse
parse(const char *text, struct http_request *q)
{
	return http_request_parse((const uint8_t *)text, strlen(text), q);
}

static void
assert_str(struct http_str s, const char *want)
{
	assert_int_equal(s.n, strlen(want));
	assert_memory_equal(s.p, want, s.n);
}

static const struct {
	const char *text;
	enum http_form form;
	const char *host;
	unsigned port;
	const char *path;
	bool keep_alive;
	enum http_body body;
} good[] = {
	{"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", HTTP_FORM_ORIGIN, "a.test", 0, "/", true, 0},
	{"GET /x?y HTTP/1.0\r\n\r\n", HTTP_FORM_ORIGIN, "", 0, "/x?y", false, 0},
	{"GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n", HTTP_FORM_ORIGIN, "", 0, "/", true, 0},
	{"GET / HTTP/1.1\r\nHOST:a.test:8080\r\nConnection: x , close\r\n\r\n", HTTP_FORM_ORIGIN,
		"a.test", 8080, "/", false, 0},
	{"GET / HTTP/1.1\r\nHost: [::1]:1\r\n\r\n", HTTP_FORM_ORIGIN, "::1", 1, "/", true, 0},
	{"GET http://A.test HTTP/1.1\r\nHost: a.TEST:80\r\n\r\n", HTTP_FORM_ABSOLUTE, "A.test", 0,
		"/", true, 0},
	{"GET HTTP://a.test:81/p/../q HTTP/1.1\r\nHost: a.test:81\r\n\r\n", HTTP_FORM_ABSOLUTE,
		"a.test", 81, "/p/../q", true, 0},
	{"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", HTTP_FORM_AUTHORITY, "a.test",
		443, "", true, 0},
	{"CONNECT [fd00::1]:22 HTTP/1.0\r\n\r\n", HTTP_FORM_AUTHORITY, "fd00::1", 22, "", false, 0},
	{"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", HTTP_FORM_AUTHORITY, "a.test", 443,
		"", true, 0},
	{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_FORM_ASTERISK, "a", 0, "*", true, 0},
	{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", HTTP_FORM_ORIGIN, "a", 0, "/",
		true, HTTP_BODY_LENGTH},
	{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", HTTP_FORM_ORIGIN, "a",
		0, "/", true, HTTP_BODY_CHUNKED},
};

static void
test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		size_t n = strlen(good[i].text);
		char rest[600];
		struct http_request q;

		/* What comes behind the head is not looked at. */
		snprintf(rest, sizeof(rest), "%s\r\n\nGARBAGE \1", good[i].text);
		assert_int_equal(parse(rest, &q), HTTP_PARSE_OK);
		assert_int_equal(q.head_len, n);
		assert_int_equal(q.form, good[i].form);
		assert_str(q.to.host, good[i].host);
		assert_int_equal(q.to.port, good[i].port);
		assert_str(q.path, good[i].path);
		assert_int_equal(q.keep_alive, good[i].keep_alive);
		assert_int_equal(q.body, good[i].body);
		for (size_t cut = 0; cut < n; cut++)
			assert_int_equal(http_request_parse((const uint8_t *)rest, cut, &q),
				HTTP_PARSE_MORE);
	}
}

/* Each is the control request with one thing wrong. */
static const char control[] = "POST /p HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\n";
static const char *const bad[] = {
	/* request line */
	"GET /\r\nHost: a\r\n\r\n",
	"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
	"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\t\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
	"GET / http/1.1\r\nHost: a\r\n\r\n",
	"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
	" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n\n",
	"GET / HTTP/1.1\rX: a\r\n\r\n",
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\nHost: a\r\n\r\n",
	/* targets */
	"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://a:0/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://a:65536/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://a:/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://a%2e/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
	"CONNECT a:x HTTP/1.1\r\nHost: a\r\n\r\n",
	"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
	"CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"CONNECT b:1 HTTP/1.1\r\nHost: a\r\n\r\n",
	"CONNECT a:1 HTTP/1.1\r\nHost: a:2\r\n\r\n",
	"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
	"CONNECT [::1:1 HTTP/1.1\r\nHost: a\r\n\r\n",
	"CONNECT [::1]1 HTTP/1.1\r\nHost: a\r\n\r\n",
	"CONNECT []:1 HTTP/1.1\r\nHost: a\r\n\r\n",
	/* Host */
	"GET / HTTP/1.1\r\n\r\n",
	"GET / HTTP/1.1\r\nHost:\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: \xc3\xa4.test\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a:b:1\r\n\r\n",
	/* fields */
	"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
	"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7f\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
	/* framing: smuggling */
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
	("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b"
	 "chunked\r\n\r\n"),
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
	"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
};

static void
test_bad(void **state)
{
	struct http_request q;

	(void)state;
	assert_int_equal(parse(control, &q), HTTP_PARSE_OK);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		enum http_parse r = parse(bad[i], &q);

		if (r != HTTP_PARSE_BAD)
			fail_msg("%d for %s", r, bad[i]);
		assert_non_null(q.error);
		/* Cut anywhere it is never good. */
		for (size_t cut = 0; cut < strlen(bad[i]); cut++)
			assert_int_not_equal(http_request_parse((const uint8_t *)bad[i], cut, &q),
				HTTP_PARSE_OK);
	}
	/* A NUL is one byte, not an end. */
	assert_int_equal(
		http_request_parse(STR("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"), &q), HTTP_PARSE_BAD);
}

static void
test_limits(void **state)
{
	CLEAN_FREE char *text = calloc(1, 3 * HTTP_HEAD_MAX);
	struct http_request q;
	size_t n;

	(void)state;
	n = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: a\r\n");
	for (int i = 1; i < HTTP_FIELDS_MAX; i++)
		n += (size_t)sprintf(text + n, "X: %d\r\n", i);
	strcpy(text + n, "\r\n");
	assert_int_equal(parse(text, &q), HTTP_PARSE_OK);
	assert_int_equal(q.nfields, HTTP_FIELDS_MAX);
	strcpy(text + n, "Y: 1\r\n\r\n");
	assert_int_equal(parse(text, &q), HTTP_PARSE_TOO_LARGE);
	/* One endless field, one endless line. */
	n = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
	memset(text + n, 'x', 2 * HTTP_HEAD_MAX);
	assert_int_equal(parse(text, &q), HTTP_PARSE_TOO_LARGE);
	assert_int_equal(http_request_parse((uint8_t *)text, 1000, &q), HTTP_PARSE_MORE);
	memset(text, 'x', 2 * HTTP_HEAD_MAX);
	assert_int_equal(parse(text, &q), HTTP_PARSE_TOO_LARGE);
	sprintf(text, "GET /%0*d HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_TARGET_MAX + 100, 1);
	assert_int_equal(parse(text, &q), HTTP_PARSE_TOO_LARGE);
	sprintf(text, "GET /%0*d HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_TARGET_MAX - 100, 1);
	assert_int_equal(parse(text, &q), HTTP_PARSE_OK);
}

static void
test_hop_fields(void **state)
{
	static const char text[] =
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Own, Host, upgrade\r\n"
		"Upgrade: websocket\r\nX-Own: 1\r\nProxy-Authorization: x\r\n"
		"Authorization: y\r\n\r\n";
	struct http_request q;

	(void)state;
	assert_int_equal(parse(text, &q), HTTP_PARSE_OK);
	assert_true(q.upgrade);
	for (size_t i = 0; i < q.nfields; i++) {
		struct http_str name = q.fields[i].name;
		bool passes = http_str_is(name, "host") || http_str_is(name, "authorization");

		assert_int_equal(http_field_is_hop(q.fields, q.nfields, name), !passes);
	}
}

static void
test_response(void **state)
{
	static const struct {
		const char *text;
		bool to_head;
		int status;
		enum http_body body;
		uint64_t length;
		bool keep_alive;
	} all[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, 200, HTTP_BODY_LENGTH, 3,
			true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, 200, HTTP_BODY_NONE, 0,
			true},
		{"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, 200, HTTP_BODY_NONE, 0, true},
		{"HTTP/1.1 200 \r\n\r\n", false, 200, HTTP_BODY_CLOSE, 0, false},
		{"HTTP/1.0 200 Fine \xe2\x9c\x93\r\n\r\n", false, 200, HTTP_BODY_CLOSE, 0, false},
		{"HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n", false, 304, HTTP_BODY_NONE, 0,
			true},
		{"HTTP/1.1 204 x\r\n\r\n", false, 204, HTTP_BODY_NONE, 0, true},
		{"HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\n", false, 101, HTTP_BODY_NONE, 0, true},
		{"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n", false,
			200, HTTP_BODY_CHUNKED, 0, false},
	};
	static const char *const wrong[] = {"HTTP/2 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n",
		"HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 099 x\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n",
		"HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1 200 OK\n\n",
		"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"};
	struct http_response s;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		const uint8_t *p = (const uint8_t *)all[i].text;
		size_t n = strlen(all[i].text);

		assert_int_equal(http_response_parse(p, n, all[i].to_head, &s), HTTP_PARSE_OK);
		assert_int_equal(s.status, all[i].status);
		assert_int_equal(s.body, all[i].body);
		assert_int_equal(s.length, all[i].length);
		assert_int_equal(s.keep_alive, all[i].keep_alive);
		assert_int_equal(s.head_len, n);
		for (size_t cut = 0; cut < n; cut++)
			assert_int_equal(http_response_parse(p, cut, false, &s), HTTP_PARSE_MORE);
	}
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(
			http_response_parse((const uint8_t *)wrong[i], strlen(wrong[i]), false, &s),
			HTTP_PARSE_BAD);
}

/* All of the text in pieces of this size: how many bytes are the body's; -1: malformed. */
static long
feed(enum http_body body, uint64_t length, const char *text, size_t piece, bool *ret_done)
{
	size_t n = strlen(text), at = 0;
	struct http_framer f;

	http_framer_init(&f, body, length);
	while (at < n && !http_framer_done(&f)) {
		size_t want = n - at < piece ? n - at : piece;
		long r = http_framer_feed(&f, (const uint8_t *)text + at, want);

		if (r < 0)
			return -1;
		at += (size_t)r;
	}
	*ret_done = http_framer_done(&f);
	return (long)at;
}

static void
test_framer(void **state)
{
	static const struct {
		const char *text;
		long n;
	} chunked[] = {
		{"0\r\n\r\n", 5},
		{"5\r\nhello\r\n0\r\n\r\nGET /next", 15},
		{"00a\r\n0123456789\r\nA\r\n0123456789\r\n000\r\n\r\n", 39},
		{"0\r\nX-Sum: 1\r\nEtag: a:b\r\n\r\nmore", 26},
		{"5;x=y\r\nhello\r\n0\r\n\r\n", -1},
		{"5 \r\nhello\r\n0\r\n\r\n", -1},
		{" 5\r\nhello\r\n0\r\n\r\n", -1},
		{"+5\r\nhello\r\n0\r\n\r\n", -1},
		{"0x5\r\nhello\r\n0\r\n\r\n", -1},
		{"5\nhello\r\n0\r\n\r\n", -1},
		{"5\r\nhello!\r\n0\r\n\r\n", -1},
		{"5\r\nhello\n0\r\n\r\n", -1},
		{"\r\n\r\n", -1},
		{"fffffffffffffffff\r\n", -1},
		{"0\r\nHost: b\r\n\r\n", -1},
		{"0\r\nAuthorization: b\r\n\r\n", -1},
		{"0\r\nproxy-x: b\r\n\r\n", -1},
		{"0\r\nContent-Length: 3\r\n\r\n", -1},
		{"0\r\nX y: b\r\n\r\n", -1},
		{"0\r\n: b\r\n\r\n", -1},
		{"0\r\nX: \x01\r\n\r\n", -1},
		{"0\r\nX: b\n\r\n", -1},
	};
	bool done;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(chunked); i++)
		for (size_t piece = 1; piece < 40; piece++) {
			assert_int_equal(feed(HTTP_BODY_CHUNKED, 0, chunked[i].text, piece, &done),
				chunked[i].n);
			if (chunked[i].n > 0)
				assert_true(done);
		}
	assert_int_equal(feed(HTTP_BODY_LENGTH, 4, "123456", 3, &done), 4);
	assert_true(done);
	assert_int_equal(feed(HTTP_BODY_LENGTH, 9, "123456", 3, &done), 6);
	assert_false(done);
	assert_int_equal(feed(HTTP_BODY_CLOSE, 0, "123456", 3, &done), 6);
	assert_false(done);
	assert_int_equal(feed(HTTP_BODY_NONE, 0, "123456", 3, &done), 0);
	assert_true(done);
}

static void
test_trailer_limit(void **state)
{
	struct http_framer f;
	long r = 0;

	(void)state;
	http_framer_init(&f, HTTP_BODY_CHUNKED, 0);
	assert_int_equal(http_framer_feed(&f, STR("0\r\n")), 3);
	for (int i = 0; i < 10000 && r >= 0; i++)
		r = http_framer_feed(&f, STR("X: y\r\n"));
	assert_int_equal(r, -EBADMSG);
}

static void
test_first(void **state)
{
	static const struct {
		const char *text;
		enum first whole, cut;
	} all[] = {
		{"", FIRST_MORE, FIRST_OTHER},
		{"GET / HTTP/1.1\r\n", FIRST_HTTP, FIRST_HTTP},
		{"GET / HTT", FIRST_MORE, FIRST_HTTP},
		{"GE", FIRST_MORE, FIRST_HTTP},
		{"get / http/1.1\n", FIRST_HTTP, FIRST_HTTP},
		{"\r\n\r\nGET / HTTP/1.1\r\n", FIRST_HTTP, FIRST_HTTP},
		{" GET\t/ HTTP/1.1 \r\n", FIRST_HTTP, FIRST_HTTP},
		{"FOO / HTTP/1.1\r\n", FIRST_HTTP, FIRST_HTTP},
		{"FOO / x", FIRST_MORE, FIRST_OTHER},
		{"SSH-2.0-OpenSSH_9.2\r\n", FIRST_OTHER, FIRST_OTHER},
		{"EHLO me\r\n", FIRST_OTHER, FIRST_OTHER},
		{"PING\r\n", FIRST_OTHER, FIRST_OTHER},
		{"PING", FIRST_MORE, FIRST_OTHER},
		{"PO", FIRST_MORE, FIRST_HTTP},
		{"PO ", FIRST_MORE, FIRST_OTHER},
		{"GET key\r\n", FIRST_OTHER, FIRST_OTHER},
		{"*1\r\n$4\r\nPING\r\n", FIRST_OTHER, FIRST_OTHER},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", FIRST_OTHER, FIRST_OTHER},
		{"\x16", FIRST_MORE, FIRST_TLS},
		{"\x16\x03\x01", FIRST_TLS, FIRST_TLS},
		{"\x15\x03\x01", FIRST_TLS, FIRST_TLS},
		{"\x16\x01", FIRST_OTHER, FIRST_OTHER},
		{"GET /\x01", FIRST_OTHER, FIRST_OTHER},
	};
	CLEAN_FREE char *text = malloc(FIRST_MAX + 1);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		const uint8_t *p = (const uint8_t *)all[i].text;
		size_t n = strlen(all[i].text);

		if (first_classify(p, n) != all[i].whole || first_classify_cut(p, n) != all[i].cut)
			fail_msg("%s: %d %d", all[i].text, first_classify(p, n),
				first_classify_cut(p, n));
		/* What was decided stays decided; what was not, was "more" or the same. */
		for (size_t cut = 0; cut < n; cut++) {
			enum first f = first_classify(p, cut);

			assert_true(f == FIRST_MORE || f == first_classify(p, n));
		}
	}
	assert_int_equal(first_classify(STR("\0\0\0\x08\x04\xd2\x16\x2f")), FIRST_OTHER);
	/* There always is an end. */
	memset(text, 'x', FIRST_MAX);
	assert_int_equal(first_classify((uint8_t *)text, FIRST_MAX), FIRST_OTHER);
	memcpy(text, "GET /", 5);
	assert_int_equal(first_classify((uint8_t *)text, FIRST_MAX), FIRST_HTTP);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_hop_fields),
		cmocka_unit_test(test_response),
		cmocka_unit_test(test_framer),
		cmocka_unit_test(test_trailer_limit),
		cmocka_unit_test(test_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
