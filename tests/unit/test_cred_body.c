/* Bodies: what is masked, what stops, whatever way the bytes are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/mem.h>
#include <cred/gate.h>

#include "cred_rig.h"
#include "match.h"
#include "shapes.h"

static const struct cred_dest model = {"api.model.test", 443, true};
static const struct cred_dest other = {"other.test", 443, true};

static enum cred_verdict
run(struct cred_gate *g, const struct cred_dest *d, enum cred_direction dir, const void *p,
	size_t n, size_t step, struct buf *out, struct cred_alarm *alarm)
{
	struct cred_stream *s = cred_stream_new(g, d, dir);
	enum cred_verdict v = CRED_PASS;

	for (size_t at = 0; at < n && v == CRED_PASS; at += step)
		v = cred_stream_feed(s, (const char *)p + at, n - at < step ? n - at : step, out);
	if (v == CRED_PASS)
		v = cred_stream_end(s, out);
	*alarm = cred_stream_alarm(s);
	cred_stream_free(s);
	return v;
}

static char *
stars(const char *before, size_t n, const char *after)
{
	char *s = xcalloc(1, strlen(before) + n + strlen(after) + 1);

	memcpy(s, before, strlen(before));
	memset(s + strlen(before), '*', n);
	memcpy(s + strlen(before) + n, after, strlen(after));
	return s;
}

/* An answer that echoes the value, in every shape, cut at every step. */
static void
test_answer_is_masked(void **state)
{
	struct cred_gate *g = rig_gate();
	static const char *const shapes[] = {MODEL_VALUE,
		"sk-ant-api03-the%2Freal%2Bvalue%3Dof%22model",
		"sk-ant-api03-the%2freal%2bvalue%3dof%22model",
		"sk-ant-api03-the/real+value=of\\\"model",
		"sk-ant-api03-the\\/real+value=of\\\"model", GITHUB_VALUE};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		CLEAN_FREE char *in = xasprintf("data: {\"key\":\"%s\"}\n\n", shapes[i]);
		CLEAN_FREE char *want = stars("data: {\"key\":\"", strlen(shapes[i]), "\"}\n\n");

		for (size_t step = 1; step <= strlen(in); step++) {
			CLEAN_BUF struct buf out = BUF_INIT;
			struct cred_alarm a;

			assert_int_equal(run(g, &model, CRED_DOWN, in, strlen(in), step, &out, &a),
				CRED_PASS);
			assert_string_equal(buf_str(&out), want);
			assert_true(a.value);
		}
	}
	cred_gate_free(g);
}

static void
test_base64_is_masked(void **state)
{
	struct cred_gate *g = rig_gate();

	(void)state;
	for (size_t before = 0; before < 4; before++) {
		CLEAN_BUF struct buf in = BUF_INIT, out = BUF_INIT;
		CLEAN_FREE char *text = xasprintf("%.*s" MODEL_VALUE "zz", (int)before, "user");
		struct cred_alarm a;

		base64_put(&in, text, strlen(text));
		assert_int_equal(
			run(g, &model, CRED_DOWN, in.data, in.len, 3, &out, &a), CRED_PASS);
		assert_int_equal(out.len, in.len);
		assert_string_equal(a.name, "model");
		/* At most the bits beside the ends are left. */
		size_t masked = 0;
		for (size_t i = 0; i < out.len; i++)
			masked += out.data[i] == '*';
		assert_true(masked >= strlen(MODEL_VALUE) * 8 / 6 - 2);
	}
	cred_gate_free(g);
}

/* What comes in pieces leaves in the same pieces: nothing is kept that begins nothing. */
static void
test_events_are_not_held(void **state)
{
	struct cred_gate *g = rig_gate();
	struct cred_stream *s = cred_stream_new(g, &model, CRED_DOWN);
	static const char event[] = "event: delta\ndata: {\"text\":\"hello\"}\n\n";
	CLEAN_BUF struct buf out = BUF_INIT;

	(void)state;
	assert_int_equal(cred_stream_feed(s, event, strlen(event), &out), CRED_PASS);
	assert_string_equal(buf_str(&out), event);
	buf_clear(&out);
	/* The beginning of a value is, until it is known to be none. */
	assert_int_equal(cred_stream_feed(s, "data: sk-ant", 12, &out), CRED_PASS);
	assert_string_equal(buf_str(&out), "data: ");
	assert_int_equal(cred_stream_feed(s, "!", 1, &out), CRED_PASS);
	assert_string_equal(buf_str(&out), "data: sk-ant!");
	cred_stream_free(s);
	cred_gate_free(g);
}

/* E1, E4: a body to somewhere else, cut at every step; nothing of it gets through whole. */
static void
test_wrong_direction(void **state)
{
	struct cred_gate *g = rig_gate();
	static const char *const bodies[] = {
		"{\"k\":\"" MODEL_HELD "\"}", "k=" MODEL_HELD, "{\"k\":\"" MODEL_VALUE "\"}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
		for (size_t step = 1; step <= strlen(bodies[i]); step++) {
			CLEAN_BUF struct buf out = BUF_INIT;
			struct cred_alarm a;

			assert_int_equal(run(g, &other, CRED_UP, bodies[i], strlen(bodies[i]), step,
						 &out, &a),
				CRED_ALARM);
			assert_string_equal(a.name, "model");
			assert_int_equal(a.value, i == 2);
			assert_true(out.len <= 6);
		}
	CLEAN_BUF struct buf coded = BUF_INIT, out = BUF_INIT, again = BUF_INIT;
	struct cred_alarm a;
	base64_put(&coded, "me:" MODEL_HELD, strlen("me:" MODEL_HELD));
	assert_int_equal(run(g, &other, CRED_UP, coded.data, coded.len, 5, &out, &a), CRED_ALARM);
	/* Control: the same length of something else passes. */
	memset(coded.data, 'A', coded.len);
	assert_int_equal(run(g, &other, CRED_UP, coded.data, coded.len, 5, &again, &a), CRED_PASS);
	assert_int_equal(again.len, coded.len);
	assert_null(a.name);
	cred_gate_free(g);
}

/* How much of what was fed has not come out. */
static size_t
feed_held(struct cred_stream *s, const struct buf *in, struct buf *out)
{
	size_t most = 0;

	for (size_t at = 0; at < in->len; at += 16384) {
		size_t n = in->len - at < 16384 ? in->len - at : 16384;

		assert_int_equal(cred_stream_feed(s, in->data + at, n, out), CRED_PASS);
		if (at + n - out->len > most)
			most = at + n - out->len;
	}
	return most;
}

/*
 * C20: gzip with a gigabyte in it (deflate's fixed code, 13 bits for 258 zeros), and beginnings of
 * a placeholder in one shape after the other. Nothing is unpacked and next to nothing held; it
 * passes as it came, and what is behind it is found.
 */
static void
test_bomb(void **state)
{
	static const char head[] = "\x1f\x8b\x08\0\0\0\0\0\0\x03\x63";
	static const char zeros[] = "\x18\x05\xa3\x60\x14\x8c\x82\x51\x30\x0a\x46\xc1\x28";
	static const char *const shapes[] = {MODEL_HELD, "me:" MODEL_HELD};
	CLEAN_BUF struct buf in = BUF_INIT, coded = BUF_INIT, out = BUF_INIT;
	struct cred_gate *g = rig_gate();
	struct cred_stream *s = cred_stream_new(g, &other, CRED_UP);

	(void)state;
	buf_append(&in, head, sizeof(head) - 1);
	for (size_t i = 0; i < (1u << 30) / (8 * 258); i++)
		buf_append(&in, zeros, sizeof(zeros) - 1);
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		buf_clear(&coded);
		base64_put(&coded, shapes[i], strlen(shapes[i]));
		for (size_t k = 0; k < 20000; k++) {
			buf_append(&in, shapes[i], strlen(shapes[i]) - 1);
			buf_append(&in, coded.data, coded.len - 8);
		}
	}
	assert_in_range(feed_held(s, &in, &out), 0, CRED_HOLD_MAX);
	assert_memory_equal(out.data, in.data, out.len);
	assert_int_equal(cred_stream_feed(s, MODEL_HELD, strlen(MODEL_HELD), &out), CRED_ALARM);
	cred_stream_free(s);
	cred_gate_free(g);
}

/* To a credential's own host: its placeholder as it is, another one's masked and reported. */
static void
test_conversation(void **state)
{
	struct cred_gate *g = rig_gate();
	static const char in[] = "env: " MODEL_HELD " " GITHUB_HELD " end";
	CLEAN_FREE char *want = stars("env: " MODEL_HELD " ", strlen(GITHUB_HELD), " end");
	CLEAN_BUF struct buf out = BUF_INIT;
	struct cred_alarm a;

	(void)state;
	assert_int_equal(run(g, &model, CRED_UP, in, strlen(in), 7, &out, &a), CRED_PASS);
	assert_string_equal(buf_str(&out), want);
	assert_string_equal(a.name, "github");
	assert_false(a.value);
	cred_gate_free(g);
}

static bool
want_all(const void *arg, uint16_t tag)
{
	(void)arg;
	(void)tag;
	return true;
}

/* Against a search that looks at every place for every text. */
static void
test_matcher_model(void **state)
{
	unsigned seed = 1;

	(void)state;
	for (int round = 0; round < 600; round++) {
		struct matcher m;
		char texts[6][24], bytes[200];
		size_t ntexts = 1 + (size_t)rand_r(&seed) % 6, n = 1 + (size_t)rand_r(&seed) % 200;
		size_t len[6], best_at = SIZE_MAX, best_n = 0;

		matcher_init(&m);
		for (size_t i = 0; i < ntexts; i++) {
			len[i] = MATCH_MIN + (size_t)rand_r(&seed) % 12;
			for (size_t k = 0; k < len[i]; k++)
				texts[i][k] = (char)('a' + rand_r(&seed) % 2);
			matcher_add(&m, texts[i], len[i], (uint16_t)i);
		}
		matcher_build(&m);
		for (size_t i = 0; i < n; i++)
			bytes[i] = (char)('a' + rand_r(&seed) % 2);
		for (size_t at = 0; at < n && best_at == SIZE_MAX; at++)
			for (size_t i = 0; i < ntexts; i++)
				if (n - at >= len[i] && memcmp(bytes + at, texts[i], len[i]) == 0 &&
					len[i] > best_n) {
					best_at = at;
					best_n = len[i];
				}
		struct match found;
		enum match_kind kind =
			matcher_find(&m, (const uint8_t *)bytes, n, true, want_all, NULL, &found);
		assert_int_equal(kind == MATCH_FOUND, best_at != SIZE_MAX);
		if (kind == MATCH_FOUND) {
			assert_int_equal(found.at, best_at);
			assert_int_equal(found.n, best_n);
		}
		matcher_release(&m);
	}
}

/* Whatever the cuts, the same comes out. */
static void
test_cuts(void **state)
{
	struct cred_gate *g = rig_gate();
	unsigned seed = 2;
	static const char *const pieces[] = {MODEL_VALUE, MODEL_HELD, GITHUB_VALUE, GITHUB_HELD,
		"sk-ant-api03-the/real", "ghp_", "x", "\n", "ghp_the-value-of-githu"};

	(void)state;
	for (int round = 0; round < 500; round++) {
		CLEAN_BUF struct buf in = BUF_INIT, whole = BUF_INIT;
		struct cred_alarm a;

		for (int i = 0; i < 12; i++)
			buf_append_str(&in, pieces[(size_t)rand_r(&seed) % ARRAY_LEN(pieces)]);
		run(g, &model, CRED_DOWN, in.data, in.len, in.len, &whole, &a);
		assert_int_equal(whole.len, in.len);
		assert_null(memmem(whole.data, whole.len, MODEL_VALUE, strlen(MODEL_VALUE)));
		assert_null(memmem(whole.data, whole.len, GITHUB_VALUE, strlen(GITHUB_VALUE)));
		for (size_t step = 1; step < 40; step += 6) {
			CLEAN_BUF struct buf out = BUF_INIT;

			run(g, &model, CRED_DOWN, in.data, in.len, step, &out, &a);
			assert_int_equal(out.len, whole.len);
			assert_memory_equal(out.data, whole.data, out.len);
		}
	}
	cred_gate_free(g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answer_is_masked),
		cmocka_unit_test(test_base64_is_masked),
		cmocka_unit_test(test_events_are_not_held),
		cmocka_unit_test(test_wrong_direction),
		cmocka_unit_test(test_bomb),
		cmocka_unit_test(test_conversation),
		cmocka_unit_test(test_matcher_model),
		cmocka_unit_test(test_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
