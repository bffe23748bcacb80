/* Credentials as bytes and rules: sets, placeholders, heads. Bodies: test_cred_body.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/mem.h>
#include <cred/gate.h>
#include <cred/secret.h>
#include <cred/service.h>

#include "cred_rig.h"
#include "shapes.h"

/* ---- sets */

static void
must_refuse(struct cred_set *s, const char *words)
{
	struct err e = {0};

	assert_int_equal(cred_set_check(s, &e), -EINVAL);
	if (strstr(e.msg, words) == NULL)
		fail_msg("'%s' does not say '%s'", e.msg, words);
	cred_set_release(s);
}

static void
test_set_forms(void **state)
{
	CLEAN_CRED_SET struct cred_set good = {0};
	struct cred_set s = {0};
	struct err e = {0};

	(void)state;
	rig_add(&good, "github", GITHUB_HELD, GITHUB_VALUE, "api.github.com", "authorization",
		"Bearer %s");
	rig_add(&good, "any", NULL, NULL, "*.example.com", "x-key", "%s");
	assert_int_equal(cred_set_check(&good, &e), 0);
	rig_add(&s, "GitHub", NULL, GITHUB_VALUE, "api.github.com", "x-key", "%s");
	must_refuse(&s, "a-z");
	rig_add(&s, "a", NULL, "short", "a.example.com", "x-key", "%s");
	must_refuse(&s, "shorter than 8");
	rig_add(&s, "a", NULL, "line\r\nx-evil: 1", "a.example.com", "x-key", "%s");
	must_refuse(&s, "control character");
	rig_add(&s, "a", "short", GITHUB_VALUE, "a.example.com", "x-key", "%s");
	must_refuse(&s, "placeholder");
	rig_add(&s, "a", GITHUB_HELD, GITHUB_HELD, "a.example.com", "x-key", "%s");
	must_refuse(&s, "out of a sandbox");
	static const char *const hosts[] = {"*", "*.", "10.0.0.1", "localhost",
		"host.docker.internal", "A.example.com", "a.example.com:443", "com", ""};
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		rig_add(&s, "a", NULL, GITHUB_VALUE, hosts[i], "x-key", "%s");
		must_refuse(&s, "cannot go to");
	}
	static const char *const headers[] = {
		"", "x key", "x:", "Host", "content-length", "Transfer-Encoding", "x\r\ny"};
	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		rig_add(&s, "a", NULL, GITHUB_VALUE, "a.example.com", headers[i], "%s");
		must_refuse(&s, "into the header");
	}
	static const char *const formats[] = {"", "Bearer", "%d", "%s%s", "%s\r\n", "%%s"};
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		rig_add(&s, "a", NULL, GITHUB_VALUE, "a.example.com", "x-key", formats[i]);
		must_refuse(&s, "format");
	}
}

/* E7. */
static void
test_placeholders_apart(void **state)
{
	struct cred_set s = {0};
	struct err e = {0};

	(void)state;
	rig_add(&s, "a", GITHUB_HELD, GITHUB_VALUE, "a.example.com", "x-key", "%s");
	rig_add(&s, "b", GITHUB_HELD, "another-value", "b.example.com", "x-key", "%s");
	must_refuse(&s, "cannot be told apart");
	rig_add(&s, "a", GITHUB_HELD, GITHUB_VALUE, "a.example.com", "x-key", "%s");
	rig_add(&s, "b", GITHUB_HELD "X", "another-value", "b.example.com", "x-key", "%s");
	must_refuse(&s, "cannot be told apart");
	rig_add(&s, "a", "X" GITHUB_HELD, GITHUB_VALUE, "a.example.com", "x-key", "%s");
	rig_add(&s, "b", GITHUB_HELD, "another-value", "b.example.com", "x-key", "%s");
	must_refuse(&s, "cannot be told apart");
	rig_add(&s, "a", GITHUB_HELD, GITHUB_VALUE, "a.example.com", "x-key", "%s");
	rig_add(&s, "a", NULL, "another-value", "b.example.com", "x-key", "%s");
	must_refuse(&s, "there twice");
	rig_add(&s, "a", GITHUB_HELD, GITHUB_VALUE, "a.example.com", "x-key", "%s");
	rig_add(&s, "b", NULL, "another-value", "b.example.com", "x-key", "%s");
	assert_int_equal(cred_set_check(&s, &e), 0);
	cred_set_release(&s);
}

static void
test_placeholder_shapes(void **state)
{
	uint8_t random[CRED_RANDOM_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(random); i++)
		random[i] = (uint8_t)(i * 37);
	CLEAN_FREE char *front = cred_placeholder("ghp_", random);
	CLEAN_FREE char *middle = cred_placeholder("sk-{rand}-end", random);
	CLEAN_FREE char *none = cred_placeholder(NULL, random);

	assert_int_equal(strlen(front), 4 + CRED_RANDOM_BYTES);
	assert_memory_equal(front, "ghp_", 4);
	assert_memory_equal(middle, "sk-", 3);
	assert_string_equal(middle + 3 + CRED_RANDOM_BYTES, "-end");
	assert_memory_equal(none, "paddock-", 8);
	random[0]++;
	CLEAN_FREE char *other = cred_placeholder("ghp_", random);
	assert_string_not_equal(front, other);
	assert_true(cred_shape_fits("sk-ant-api03-{rand}-x"));
	assert_false(cred_shape_fits("sk-{rand}-{rand}"));
	assert_false(cred_shape_fits("with blank"));
	assert_false(cred_shape_fits("quote\""));
}

static void
test_services(void **state)
{
	const struct cred_service *s;
	CLEAN_CRED_SET struct cred_set all = {0};
	struct err e = {0};
	uint8_t random[CRED_RANDOM_BYTES] = {0};

	(void)state;
	for (size_t i = 0; (s = cred_service_at(i)) != NULL; i++) {
		struct cred c = {.name = xstrdup(s->name)};

		random[0] = (uint8_t)i;
		c.placeholder = cred_placeholder(s->shape, random);
		cred_service_places(s, &c);
		cred_set_add(&all, &c);
		assert_non_null(s->env[0]);
		assert_true(cred_shape_fits(s->shape));
		assert_ptr_equal(cred_service_find(s->name), s);
	}
	assert_int_equal(cred_set_check(&all, &e), 0);
	assert_true(all.n >= 11);
	assert_null(cred_service_find("nobody"));
	assert_int_equal(cred_set_find(&all, "github")->nplaces, 2);
}

static void
test_encoded(void **state)
{
	CLEAN_CRED_SET struct cred_set s = {0}, back = {0};
	CLEAN_CRED_BUF struct buf b = BUF_INIT;
	struct err e = {0};

	(void)state;
	rig_two(&s);
	rig_add(&s, "empty", NULL, NULL, "*.example.com", "x-key", "%s");
	cred_set_encode(&s, &b);
	assert_int_equal(cred_set_decode(b.data, b.len, &back, &e), 0);
	assert_int_equal(back.n, 3);
	assert_string_equal(back.v[0].value, GITHUB_VALUE);
	assert_string_equal(back.v[0].placeholder, GITHUB_HELD);
	assert_int_equal(back.v[0].nplaces, 2);
	assert_string_equal(back.v[0].places[1].format, "Basic x-access-token:%s");
	assert_string_equal(back.v[0].places[1].hosts.v[0], "github.com");
	assert_null(back.v[2].value);
	/* Cut anywhere, it is refused, or is what remains whole. */
	for (size_t n = 1; n < b.len; n++) {
		struct cred_set part = {0};

		if (cred_set_decode(b.data, n, &part, &e) == 0)
			assert_true(part.n < 3);
		cred_set_release(&part);
	}
}

static void
test_merge(void **state)
{
	CLEAN_CRED_SET struct cred_set into = {0}, from = {0};

	(void)state;
	rig_two(&into);
	rig_add(&from, "github", NULL, "ghp_newer-value", "api.github.com", "x", "%s");
	rig_add(&from, "model", NULL, NULL, "api.model.test", "x-api-key", "%s");
	rig_add(&from, "third", NULL, "the-third-value", "c.example.com", "x", "%s");
	cred_set_merge(&into, &from);
	assert_int_equal(from.n, 0);
	assert_int_equal(into.n, 2);
	assert_string_equal(cred_set_find(&into, "github")->value, "ghp_newer-value");
	assert_null(cred_set_find(&into, "model"));
	assert_non_null(cred_set_find(&into, "third"));
}

/* ---- requests */

struct sent {
	struct http_field fields[HTTP_FIELDS_MAX + 2];
	size_t n;
	struct cred_edits edits;
	struct cred_alarm alarm;
	char shown[4096];
};

/* Fields as "name: value\n..." in, the same out; NULL behind the last name. */
static enum cred_verdict
send_to(const struct cred_gate *g, const char *host, uint16_t port, bool tls, const char *path,
	const char *fields, struct sent *s)
{
	CLEAN_FREE char *text = xstrdup(fields);
	struct cred_dest d = {host, port, tls};
	char *rest = text;
	enum cred_verdict v;
	size_t at = 0;

	memset(s, 0, sizeof(*s));
	for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
		char *colon = strstr(line, ": ");

		if (colon == NULL)
			continue;
		s->fields[s->n++] = (struct http_field){
			{line, (size_t)(colon - line)}, {colon + 2, strlen(colon + 2)}};
	}
	v = cred_request(g, &d, (struct http_str){path, strlen(path)}, s->fields,
		ARRAY_LEN(s->fields), &s->n, &s->edits, &s->alarm);
	for (size_t i = 0; i < s->n; i++)
		at += (size_t)snprintf(s->shown + at, sizeof(s->shown) - at, "%.*s: %.*s\n",
			(int)s->fields[i].name.n, s->fields[i].name.p, (int)s->fields[i].value.n,
			s->fields[i].value.p);
	cred_edits_release(&s->edits);
	return v;
}

#define PLAIN "accept-encoding: identity\n"

static void
must_send(const struct cred_gate *g, const char *host, const char *in, const char *out)
{
	struct sent s;

	assert_int_equal(send_to(g, host, 443, true, "/", in, &s), CRED_PASS);
	assert_string_equal(s.shown, out);
}

static char *
basic(const char *plain)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	buf_append_str(&b, "Basic ");
	base64_put(&b, plain, strlen(plain));
	return xstrdup(buf_str(&b));
}

static void
test_header_is_written(void **state)
{
	struct cred_gate *g = rig_gate();

	(void)state;
	must_send(g, "api.model.test", "x-api-key: " MODEL_HELD "\naccept: a\n",
		"x-api-key: " MODEL_VALUE "\naccept: a\n" PLAIN);
	/* Whatever the client has there, however often, or nothing. */
	must_send(g, "api.model.test", "X-Api-Key: mine\nx-api-key: " MODEL_HELD "\n",
		"X-Api-Key: " MODEL_VALUE "\n" PLAIN);
	must_send(g, "api.model.test", "accept: a\nAccept-Encoding: gzip\n",
		"accept: a\nAccept-Encoding: identity\nx-api-key: " MODEL_VALUE "\n");
	must_send(g, "api.github.com", "Authorization: token " GITHUB_HELD "\n",
		"Authorization: Bearer " GITHUB_VALUE "\n" PLAIN);
	/* Another host: as it came. */
	must_send(g, "www.model.test", "x-api-key: mine\n", "x-api-key: mine\n");
	must_send(g, "evil-api.model.test", "accept: a\n", "accept: a\n");
	cred_gate_free(g);
}

/* git over https, npm, registries. */
static void
test_basic(void **state)
{
	struct cred_gate *g = rig_gate();
	CLEAN_FREE char *held = basic("me:" GITHUB_HELD), *value = basic("me:" GITHUB_VALUE);
	CLEAN_FREE char *own = basic("x-access-token:" GITHUB_VALUE);
	CLEAN_FREE char *user = basic(GITHUB_HELD ":x-oauth-basic");
	CLEAN_FREE char *user_value = basic(GITHUB_VALUE ":x-oauth-basic");
	CLEAN_FREE char *others = basic("me:my-own-password");
	CLEAN_FREE char *longer = basic("me:" GITHUB_HELD "x");
	struct {
		const char *host, *in, *out;
	} cases[] = {{"github.com", held, value}, {"github.com", user, user_value},
		{"github.com", others, own}, {"github.com", longer, own},
		{"api.github.com", held, value}, {"github.com", "Bearer " GITHUB_HELD, own},
		/* A server's own token is the way on. */
		{"github.com", "Bearer of-the-server", "Bearer of-the-server"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN_FREE char *in = xasprintf("Authorization: %s\n", cases[i].in);
		CLEAN_FREE char *out = xasprintf("Authorization: %s\n" PLAIN, cases[i].out);

		must_send(g, cases[i].host, in, out);
	}
	CLEAN_FREE char *added = xasprintf("authorization: %s\n" PLAIN, own);
	must_send(g, "github.com", "", added);
	cred_gate_free(g);
}

static void
test_registry(void **state)
{
	struct cred_set s = {0};
	CLEAN_FREE char *value = basic("me:registry-password");
	CLEAN_FREE char *guess = basic("me:guess");
	CLEAN_FREE char *in = xasprintf("Authorization: %s\n", guess);
	CLEAN_FREE char *out = xasprintf("Authorization: %s\n" PLAIN, value);
	CLEAN_FREE char *added = xasprintf("authorization: %s\n" PLAIN, value);
	struct sent sent;

	(void)state;
	rig_add(&s, "registry", NULL, "me:registry-password", "r.registry.test", "authorization",
		"Basic %s");
	struct cred_gate *g = cred_gate_new(&s);
	must_send(g, "r.registry.test", in, out);
	must_send(g, "r.registry.test", "", added);
	must_send(g, "r.registry.test", "Authorization: Bearer abc\n",
		"Authorization: Bearer abc\n" PLAIN);
	/* Its password alone is a secret, too. */
	assert_int_equal(send_to(g, "other.test", 443, true, "/", "x: registry-password\n", &sent),
		CRED_ALARM);
	assert_true(sent.alarm.value);
	cred_gate_free(g);
}

/* Two credentials for one header of one host: the one whose placeholder is sent. */
static void
test_two_of_one_header(void **state)
{
	struct cred_set s = {0};

	(void)state;
	rig_two(&s);
	rig_add(&s, "copilot", "github_pat_0123456789abcdef", "copilot-value", "api.github.com",
		"authorization", "Bearer %s");
	struct cred_gate *g = cred_gate_new(&s);
	must_send(g, "api.github.com", "authorization: Bearer " GITHUB_HELD "\n",
		"authorization: Bearer " GITHUB_VALUE "\n" PLAIN);
	must_send(g, "api.github.com", "authorization: Bearer github_pat_0123456789abcdef\n",
		"authorization: Bearer copilot-value\n" PLAIN);
	must_send(g, "api.github.com", "authorization: else\n",
		"authorization: Bearer " GITHUB_VALUE "\n" PLAIN);
	cred_gate_free(g);
}

static void
must_alarm(const struct cred_gate *g, const char *host, uint16_t port, bool tls, const char *path,
	const char *fields, const char *where)
{
	struct sent s;
	char text[200];

	assert_int_equal(send_to(g, host, port, tls, path, fields, &s), CRED_ALARM);
	assert_string_equal(s.alarm.where, where);
	cred_alarm_text(&s.alarm, text, sizeof(text));
	assert_null(strstr(text, MODEL_VALUE));
	/* Nothing was put in for it. */
	if (!tls || port != 443)
		assert_null(strstr(s.shown, MODEL_VALUE));
}

/* E1, E2, E4, E5. */
static void
test_wrong_direction(void **state)
{
	struct cred_gate *g = rig_gate();
	CLEAN_FREE char *held = basic("me:" MODEL_HELD);
	CLEAN_FREE char *auth = xasprintf("Authorization: %s\n", held);
	struct sent s;

	(void)state;
	must_alarm(g, "evil.test", 443, true, "/", "x-api-key: " MODEL_HELD "\n", "a header");
	must_alarm(g, "evil.test", 443, true, "/?k=" MODEL_HELD, "", "the request's target");
	must_alarm(g, "evil.test", 443, true, "/", "cookie: a=b; k=" MODEL_HELD "\n", "a header");
	must_alarm(g, "evil.test", 443, true, "/", auth, "a header");
	must_alarm(g, "evil.test", 443, true, "/?k=%73k-ant-api03-held%5Fby%5Fthe%5Fguest", "",
		"the request's target");
	/* The right host at another port, or without TLS. */
	must_alarm(g, "api.model.test", 8443, true, "/", "x-api-key: " MODEL_HELD "\n", "a header");
	must_alarm(g, "api.model.test", 443, false, "/", "x-api-key: " MODEL_HELD "\n", "a header");
	must_alarm(g, "api.model.test", 80, false, "/", "x-api-key: " MODEL_HELD "\n", "a header");
	/* Another credential's host. */
	must_alarm(g, "api.model.test", 443, true, "/", "x-other: " GITHUB_HELD "\n", "a header");
	must_alarm(g, "api.model.test", 443, true, "/" GITHUB_HELD, "", "the request's target");
	must_alarm(g, "sk-ant-api03-held_by_the_guest.evil.test", 443, true, "/", "",
		"the host's name");
	/* The real value, to whatever host. */
	must_alarm(g, "evil.test", 443, true, "/", "x: " MODEL_VALUE "\n", "a header");
	must_alarm(g, "api.model.test", 443, true, "/?k=" MODEL_VALUE, "", "the request's target");
	/* Control: at its own host a placeholder elsewhere is harmless, and stays what it is. */
	assert_int_equal(
		send_to(g, "api.model.test", 443, true, "/" MODEL_HELD, "y: " MODEL_HELD "\n", &s),
		CRED_PASS);
	assert_string_equal(s.shown, "y: " MODEL_HELD "\nx-api-key: " MODEL_VALUE "\n" PLAIN);
	assert_int_equal(send_to(g, "evil.test", 443, true, "/?k=1", "x: y\n", &s), CRED_PASS);
	cred_gate_free(g);
}

static void
test_without_value(void **state)
{
	struct cred_set s = {0};
	struct sent sent;

	(void)state;
	rig_add(&s, "model", MODEL_HELD, NULL, "api.model.test", "x-api-key", "%s");
	struct cred_gate *g = cred_gate_new(&s);
	const struct cred_dest d = {"api.model.test", 443, true};

	assert_false(cred_gate_covers(g, &d));
	assert_int_equal(send_to(g, "api.model.test", 443, true, "/", "x-api-key: mine\n", &sent),
		CRED_PASS);
	assert_string_equal(sent.shown, "x-api-key: mine\n");
	cred_gate_free(g);
}

static void
test_covers(void **state)
{
	struct cred_set s = {0};

	(void)state;
	rig_two(&s);
	rig_add(&s, "below", NULL, "value-of-below", "*.example.com", "x-key", "%s");
	struct cred_gate *g = cred_gate_new(&s);
	struct {
		struct cred_dest d;
		bool covered;
	} cases[] = {{{"api.github.com", 443, true}, true}, {{"github.com", 443, true}, true},
		{{"api.github.com", 80, true}, false}, {{"api.github.com", 443, false}, false},
		{{"x.example.com", 443, true}, true}, {{"a.b.example.com", 443, true}, true},
		{{"example.com", 443, true}, false}, {{"notexample.com", 443, true}, false},
		{{"xgithub.com", 443, true}, false}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(cred_gate_covers(g, &cases[i].d), cases[i].covered);
	cred_gate_free(g);
}

static void
test_no_room(void **state)
{
	struct cred_gate *g = rig_gate();
	const struct cred_dest d = {"api.model.test", 443, true};
	struct http_field fields[HTTP_FIELDS_MAX];
	struct cred_edits edits = {0};
	struct cred_alarm alarm;
	size_t n = HTTP_FIELDS_MAX;

	(void)state;
	for (size_t i = 0; i < n; i++)
		fields[i] = (struct http_field){{"a", 1}, {"b", 1}};
	assert_int_equal(cred_request(g, &d, (struct http_str){"/", 1}, fields, HTTP_FIELDS_MAX, &n,
				 &edits, &alarm),
		CRED_NO_ROOM);
	cred_edits_release(&edits);
	n = HTTP_FIELDS_MAX - 2;
	assert_int_equal(cred_request(g, &d, (struct http_str){"/", 1}, fields, HTTP_FIELDS_MAX, &n,
				 &edits, &alarm),
		CRED_PASS);
	assert_int_equal(n, HTTP_FIELDS_MAX);
	cred_edits_release(&edits);
	cred_gate_free(g);
}

static void
test_answer_head(void **state)
{
	struct cred_gate *g = rig_gate();
	struct http_field fields[] = {{{"location", 8}, {"/?k=" MODEL_VALUE "&l=" MODEL_VALUE, 0}},
		{{"x", 1}, {"fine", 4}}};
	struct cred_edits edits = {0};
	char shown[200];

	(void)state;
	fields[0].value.n = strlen(fields[0].value.p);
	assert_true(cred_response(g, fields, 2, &edits));
	snprintf(shown, sizeof(shown), "%.*s", (int)fields[0].value.n, fields[0].value.p);
	assert_null(strstr(shown, MODEL_VALUE));
	assert_non_null(strstr(shown, "/?k=****"));
	assert_int_equal(strlen(shown), strlen("/?k=" MODEL_VALUE "&l=" MODEL_VALUE));
	assert_int_equal(fields[1].value.n, 4);
	cred_edits_release(&edits);
	assert_false(cred_response(g, fields + 1, 1, &edits));
	cred_gate_free(g);
}

static void
test_base64(void **state)
{
	static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
	static const char *const coded[] = {
		"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
		CLEAN_BUF struct buf a = BUF_INIT, b = BUF_INIT;

		base64_put(&a, plain[i], strlen(plain[i]));
		assert_string_equal(buf_str(&a), coded[i]);
		assert_true(base64_get(&b, coded[i], strlen(coded[i])));
		assert_string_equal(buf_str(&b), plain[i]);
	}
	CLEAN_BUF struct buf c = BUF_INIT;
	assert_false(base64_get(&c, "Zm9v!", 5));
	assert_false(base64_get(&c, "Zm9vY", 5));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_forms),
		cmocka_unit_test(test_placeholders_apart),
		cmocka_unit_test(test_placeholder_shapes),
		cmocka_unit_test(test_services),
		cmocka_unit_test(test_encoded),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_header_is_written),
		cmocka_unit_test(test_basic),
		cmocka_unit_test(test_registry),
		cmocka_unit_test(test_two_of_one_header),
		cmocka_unit_test(test_wrong_direction),
		cmocka_unit_test(test_without_value),
		cmocka_unit_test(test_covers),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_answer_head),
		cmocka_unit_test(test_base64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
