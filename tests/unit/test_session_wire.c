/* Frames, records, OPEN and the identity: whole, cut at every byte, and damaged. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <base/mem.h>
#include <wire/identity.h>
#include <wire/session.h>
#include <wire/tlv.h>

/* Bytes at the very end of an allocation, so that a sanitizer sees a read behind them. */
static uint8_t *
exact(const struct buf *b, size_t n)
{
	uint8_t *p = xmalloc(n > 0 ? n : 1);

	if (n > 0)
		memcpy(p, b->data, n);
	return p;
}

static void
full_open(struct session_open *o)
{
	*o = (struct session_open){.op = SESSION_OP_EXEC,
		.cwd = xstrdup("/tmp"),
		.user = xstrdup("root:0"),
		.tty = true,
		.detach = true,
		.login_shell = true,
		.rows = 50,
		.cols = 65535,
		.session = 7,
		.port = 8080};
	strv_add(&o->argv, "sh");
	strv_add(&o->argv, "");
	strv_add(&o->env, "A=b=c");
	strv_add(&o->env, "EMPTY=");
}

static void
test_open_round_trip(void **state)
{
	struct buf b = BUF_INIT;
	struct session_open o, got;

	(void)state;
	full_open(&o);
	session_open_encode(&o, &b);
	assert_int_equal(session_open_decode(b.data, b.len, &got), 0);
	assert_int_equal(got.op, SESSION_OP_EXEC);
	assert_int_equal(got.argv.n, 2);
	assert_string_equal(got.argv.v[0], "sh");
	assert_string_equal(got.argv.v[1], "");
	assert_int_equal(got.env.n, 2);
	assert_string_equal(got.env.v[0], "A=b=c");
	assert_string_equal(got.cwd, "/tmp");
	assert_string_equal(got.user, "root:0");
	assert_true(got.tty && got.detach && got.login_shell);
	assert_false(got.stdin_open || got.privileged);
	assert_int_equal(got.rows, 50);
	assert_int_equal(got.cols, 65535);
	assert_int_equal(got.session, 7);
	assert_int_equal(got.port, 8080);
	session_open_release(&o);
	session_open_release(&got);
	buf_release(&b);
}

/* Cut where a record ends it may still say something whole; anywhere else it is refused. */
static void
test_open_cut_everywhere(void **state)
{
	struct buf b = BUF_INIT;
	struct session_open o;
	size_t accepted = 0;

	(void)state;
	full_open(&o);
	session_open_encode(&o, &b);
	session_open_release(&o);
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *p = exact(&b, n);
		struct tlv_reader r;
		struct tlv t;
		int end;

		tlv_reader_init(&r, p, n);
		while ((end = tlv_next(&r, &t)) > 0)
			;
		if (session_open_decode(p, n, &o) == 0) {
			assert_int_equal(end, 0);
			accepted++;
			session_open_release(&o);
		}
		free(p);
	}
	assert_in_range(accepted, 1, 12);
	buf_release(&b);
}

/* Every byte replaced by each of some values: never a crash, and what is accepted keeps the rules.
 */
static void
test_open_damaged_everywhere(void **state)
{
	static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
	struct buf b = BUF_INIT;
	struct session_open o;

	(void)state;
	full_open(&o);
	session_open_encode(&o, &b);
	session_open_release(&o);
	for (size_t i = 0; i < b.len; i++) {
		for (size_t k = 0; k < sizeof(values); k++) {
			uint8_t *p = exact(&b, b.len);

			p[i] = values[k];
			if (session_open_decode(p, b.len, &o) == 0) {
				if (o.op == SESSION_OP_EXEC)
					assert_true(o.argv.n > 0 && o.argv.v[0][0] != '\0');
				assert_true(o.cwd == NULL || o.cwd[0] == '/' ||
					    o.op != SESSION_OP_EXEC);
				session_open_release(&o);
			}
			free(p);
		}
	}
	buf_release(&b);
}

static void
refused(const struct session_open *o)
{
	struct session_open got;
	struct buf b = BUF_INIT;

	session_open_encode(o, &b);
	assert_int_equal(session_open_decode(b.data, b.len, &got), -EBADMSG);
	buf_release(&b);
}

static void
test_open_rules(void **state)
{
	struct session_open o = {.op = SESSION_OP_EXEC};

	(void)state;
	refused(&o); /* no program */
	strv_add(&o.argv, "");
	refused(&o); /* no name */
	strv_release(&o.argv);
	strv_add(&o.argv, "sh");
	o.cwd = xstrdup("relative");
	refused(&o);
	free(o.cwd);
	o.cwd = NULL;
	strv_add(&o.env, "NOVALUE");
	refused(&o);
	strv_release(&o.env);
	strv_add(&o.env, "=nokey");
	refused(&o);
	session_open_release(&o);
	o = (struct session_open){.op = SESSION_OP_FORWARD};
	refused(&o);
	o = (struct session_open){.op = SESSION_OP_IDENTITY};
	refused(&o);
	o = (struct session_open){.op = 0};
	refused(&o);
	o = (struct session_open){.op = 99};
	refused(&o);
}

static void
test_open_limits(void **state)
{
	struct session_open o = {.op = SESSION_OP_EXEC}, got;
	struct buf b = BUF_INIT;
	char *big = xcalloc(1, SESSION_STR_MAX + 2);

	(void)state;
	memset(big, 'x', SESSION_STR_MAX);
	strv_add(&o.argv, big);
	session_open_encode(&o, &b);
	assert_int_equal(session_open_decode(b.data, b.len, &got), 0);
	session_open_release(&got);
	big[SESSION_STR_MAX] = 'x';
	strv_add(&o.argv, big);
	refused(&o);
	strv_release(&o.argv);
	for (int i = 0; i < SESSION_ARGS_MAX; i++)
		strv_add(&o.argv, "a");
	buf_clear(&b);
	session_open_encode(&o, &b);
	assert_int_equal(session_open_decode(b.data, b.len, &got), 0);
	session_open_release(&got);
	strv_add(&o.argv, "a");
	refused(&o);
	session_open_release(&o);
	buf_release(&b);
	free(big);
}

static void
full_identity(struct identity *i)
{
	*i = (struct identity){.hostname = xstrdup("web"),
		.name = xstrdup("web"),
		.uid = 1000,
		.gid = 1001,
		.time_ns = 1700000000123456789u,
		.timezone = xstrdup("Europe/Berlin"),
		.address = xstrdup("198.18.0.2/30"),
		.gateway = xstrdup("198.18.0.1"),
		.disk_bytes = 1u << 30};
	buf_append(&i->entropy, "0123456789abcdef", 16);
	buf_append_str(&i->ca_pem, "-----BEGIN");
	strv_add(&i->git, "user.name=A Name");
	strv_add(&i->git, "user.email=a@example.test");
	strv_add(&i->env, "K=V");
	identity_add_workspace(i, "/home/u/p", false, false);
	identity_add_workspace(i, "/home/u/q", true, true);
	strv_add(&i->shadows, "/home/u/p/target");
}

static void
test_identity(void **state)
{
	struct buf b = BUF_INIT;
	struct identity i, got;

	(void)state;
	full_identity(&i);
	identity_encode(&i, &b);
	assert_int_equal(identity_decode(b.data, b.len, &got), 0);
	assert_string_equal(got.hostname, "web");
	assert_int_equal(got.uid, 1000);
	assert_int_equal(got.gid, 1001);
	assert_true(got.time_ns == i.time_ns && got.disk_bytes == i.disk_bytes);
	assert_string_equal(strv_getenv(&got.git, "user.email"), "a@example.test");
	assert_int_equal(got.entropy.len, 16);
	assert_int_equal(got.nworkspaces, 2);
	assert_string_equal(got.workspaces[1].path, "/home/u/q");
	assert_true(got.workspaces[1].read_only && got.workspaces[1].is_file);
	assert_false(got.workspaces[0].read_only || got.workspaces[0].is_file);
	assert_int_equal(got.shadows.n, 1);
	assert_string_equal(got.shadows.v[0], "/home/u/p/target");
	identity_release(&got);
	identity_release(&i);
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *p = exact(&b, n);

		if (identity_decode(p, n, &got) == 0) {
			assert_non_null(got.hostname);
			assert_non_null(got.gateway);
			identity_release(&got);
		}
		free(p);
	}
	for (size_t at = 0; at < b.len; at++) {
		uint8_t *p = exact(&b, b.len);

		p[at] ^= 0x81;
		if (identity_decode(p, b.len, &got) == 0)
			identity_release(&got);
		free(p);
	}
	buf_release(&b);
}

static void
test_identity_limits(void **state)
{
	struct buf b = BUF_INIT;
	struct identity i, got;

	(void)state;
	full_identity(&i);
	while (i.nworkspaces <= IDENTITY_WORKSPACES_MAX)
		identity_add_workspace(&i, "/w", false, false);
	identity_encode(&i, &b);
	assert_int_equal(identity_decode(b.data, b.len, &got), -EBADMSG);
	identity_release(&i);
	buf_release(&b);
}

static void
test_tlv_cut(void **state)
{
	struct buf b = BUF_INIT;

	(void)state;
	tlv_put_str(&b, 1, "one");
	tlv_put_u64(&b, 2, 22);
	tlv_put(&b, 3, NULL, 0);
	for (size_t n = 0; n <= b.len; n++) {
		uint8_t *p = exact(&b, n);
		struct tlv_reader r;
		struct tlv t;
		int records = 0, end;

		tlv_reader_init(&r, p, n);
		while ((end = tlv_next(&r, &t)) > 0)
			records++;
		assert_int_equal(end, n == 0 || n == 9 || n == 23 || n == 29 ? 0 : -EBADMSG);
		assert_int_equal(records, (n >= 9) + (n >= 23) + (n >= 29));
		free(p);
	}
	buf_release(&b);
}

static void
test_frame_limits(void **state)
{
	static const uint8_t over[] = {1, 0x00, 0x10, 0x00, 0x01}; /* FRAME_MAX + 1 */
	static const uint8_t most[] = {1, 0x00, 0x10, 0x00, 0x00};
	struct buf b = BUF_INIT;
	struct frame f;

	(void)state;
	/* Refused from its head, before a byte of it is waited for. */
	buf_append(&b, over, sizeof(over));
	assert_int_equal(frame_peek(&b, &f), -EMSGSIZE);
	buf_clear(&b);
	buf_append(&b, most, sizeof(most));
	assert_int_equal(frame_peek(&b, &f), 0);
	assert_int_equal(frame_peek_max(&b, FRAME_CHUNK, &f), -EMSGSIZE);
	buf_release(&b);
}

/*
 * A model: frames of random types and sizes go into one stream, which arrives in pieces of random
 * sizes; what is read must be what was put, in order, however the pieces fall.
 */
static void
test_frames_model(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 200; seed++) {
		struct buf stream = BUF_INIT, in = BUF_INIT;
		uint32_t sizes[40];
		size_t put = 0, got = 0;

		srand(seed);
		for (; put < 40; put++) {
			uint8_t bytes[3000];

			sizes[put] = (uint32_t)rand() % (rand() % 4 == 0 ? sizeof(bytes) : 6);
			memset(bytes, (int)put, sizeof(bytes));
			frame_put(&stream, (uint8_t)(put + 100), bytes, sizes[put]);
		}
		while (stream.len > 0) {
			size_t n = 1 + (size_t)rand() % (rand() % 2 ? 3 : 4000);
			struct frame f;

			n = n < stream.len ? n : stream.len;
			buf_append(&in, stream.data, n);
			buf_consume(&stream, n);
			while (frame_peek(&in, &f) > 0) {
				assert_int_equal(f.type, got + 100);
				assert_int_equal(f.n, sizes[got]);
				for (size_t i = 0; i < f.n; i++)
					assert_int_equal(f.p[i], got);
				buf_consume(&in, FRAME_HEAD + f.n);
				got++;
			}
		}
		assert_int_equal(got, put);
		assert_int_equal(in.len, 0);
		buf_release(&stream);
		buf_release(&in);
	}
}

static void
test_info_list(void **state)
{
	struct session_info i = {.id = 3, .pid = 44, .tty = true, .command = (char *)"a b"}, got;
	struct buf b = BUF_INIT;
	struct tlv_reader r;

	(void)state;
	session_info_encode(&i, &b);
	i.id = 4;
	i.attached = true;
	session_info_encode(&i, &b);
	tlv_reader_init(&r, b.data, b.len);
	assert_int_equal(session_info_next(&r, &got), 1);
	assert_true(got.id == 3 && got.pid == 44 && got.tty && !got.attached);
	assert_string_equal(got.command, "a b");
	session_info_release(&got);
	assert_int_equal(session_info_next(&r, &got), 1);
	assert_true(got.id == 4 && got.attached);
	session_info_release(&got);
	assert_int_equal(session_info_next(&r, &got), 0);
	for (size_t n = 1; n < b.len; n++) {
		uint8_t *p = exact(&b, n);
		int end;

		tlv_reader_init(&r, p, n);
		while ((end = session_info_next(&r, &got)) > 0)
			session_info_release(&got);
		assert_int_equal(end, n == b.len / 2 ? 0 : -EBADMSG);
		free(p);
	}
	buf_release(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_round_trip),
		cmocka_unit_test(test_open_cut_everywhere),
		cmocka_unit_test(test_open_damaged_everywhere),
		cmocka_unit_test(test_open_rules),
		cmocka_unit_test(test_open_limits),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_identity_limits),
		cmocka_unit_test(test_tlv_cut),
		cmocka_unit_test(test_frame_limits),
		cmocka_unit_test(test_frames_model),
		cmocka_unit_test(test_info_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
