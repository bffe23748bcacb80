/* The line that outlives the fs role: cut at every byte, taken over, and read in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <wire/fuse_line.h>

static const uint8_t nonces[2][FUSE_LINE_NONCE] = {
	{0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0}, {0xff, 0}};

/* Replies whose bodies are the worst for the reader: zeros, and lengths that look like others. */
static void
put_message(struct buf *out, uint64_t unique, size_t body, uint8_t fill)
{
	struct fuse_out_header h = {.len = (uint32_t)(sizeof(h) + body), .unique = unique};

	buf_append(out, &h, sizeof(h));
	memset(buf_reserve(out, body), fill, body);
	buf_commit(out, body);
	fuse_line_seal(out);
}

static void
put_messages(struct buf *out, uint64_t first)
{
	put_message(out, first, 0, 0);
	put_message(out, first + 1, 30, 0);
	put_message(out, first + 2, 256 - sizeof(struct fuse_out_header), 0x40);
	put_message(out, first + 3, 7, 0x9e);
}

#define NMESSAGES 4

struct seen {
	uint64_t uniques[64];
	size_t n, restarts;
	uint8_t nonce[FUSE_LINE_NONCE];
};

static void
take(struct fuse_line *l, struct buf *in, struct seen *s)
{
	enum fuse_line_event ev;
	struct fuse_out_header h;
	size_t len;

	while ((ev = fuse_line_next(l, in, &len, s->nonce)) != FUSE_LINE_MORE) {
		assert_int_not_equal(ev, FUSE_LINE_BROKEN);
		if (ev == FUSE_LINE_RESTART) {
			s->restarts++;
			continue;
		}
		memcpy(&h, in->data, sizeof(h));
		assert_int_equal(h.len, len);
		s->uniques[s->n++] = h.unique;
		fuse_line_took(in, len);
	}
}

/* In pieces of `step` bytes. */
static struct seen
read_all(const struct buf *b, size_t step)
{
	struct buf in = BUF_INIT;
	struct fuse_line l = {0};
	struct seen s = {0};

	for (size_t at = 0; at < b->len; at += step) {
		buf_append(&in, b->data + at, b->len - at < step ? b->len - at : step);
		take(&l, &in, &s);
	}
	assert_int_equal(in.len, 0);
	assert_false(l.lost);
	buf_release(&in);
	return s;
}

static void
test_whole(void **state)
{
	struct buf b = BUF_INIT;

	(void)state;
	put_messages(&b, 1);
	for (size_t step = 1; step < b.len; step += 5) {
		struct seen s = read_all(&b, step);

		assert_int_equal(s.n, NMESSAGES);
		assert_int_equal(s.restarts, 0);
	}
	buf_release(&b);
}

/* Whole messages before the cut and all behind the mark, never the one that was cut. */
static void
check_cut(const struct buf *old, size_t cut)
{
	struct buf b = BUF_INIT;
	struct seen s;
	size_t k = 0;

	buf_append(&b, old->data, cut);
	fuse_line_mark(&b, nonces[0]);
	put_messages(&b, 101);
	s = read_all(&b, 40000);
	assert_int_equal(s.restarts, 1);
	assert_memory_equal(s.nonce, nonces[0], FUSE_LINE_NONCE);
	for (size_t at = 0; at < cut; k++) {
		struct fuse_out_header h;

		memcpy(&h, old->data + at, sizeof(h));
		at += h.len + FUSE_LINE_SEAL;
		if (at > cut)
			break;
		assert_int_equal(s.uniques[k], h.unique);
	}
	assert_int_equal(s.n, k + NMESSAGES);
	for (size_t i = 0; i < NMESSAGES; i++)
		assert_int_equal(s.uniques[k + i], 101 + i);
	buf_release(&b);
}

static void
test_cut_anywhere(void **state)
{
	struct buf old = BUF_INIT;

	(void)state;
	put_messages(&old, 1);
	for (size_t cut = 0; cut <= old.len; cut++)
		check_cut(&old, cut);
	buf_release(&old);
}

/* The longest message, of which only the first bytes came. */
static void
test_cut_longest(void **state)
{
	struct buf old = BUF_INIT;

	(void)state;
	put_message(&old, 9, FUSE_WIRE_MSG_MAX - sizeof(struct fuse_out_header), 0x55);
	check_cut(&old, 1);
	check_cut(&old, 3);
	check_cut(&old, 20);
	check_cut(&old, FUSE_WIRE_MSG_MAX / 2);
	check_cut(&old, old.len - 1);
	buf_release(&old);
}

/* The second role dies as well, while it writes its zeros and its mark. */
static void
test_cut_twice(void **state)
{
	struct buf mark = BUF_INIT, b = BUF_INIT;
	size_t from;

	(void)state;
	fuse_line_mark(&mark, nonces[1]);
	from = mark.len - sizeof(struct fuse_out_header) - FUSE_LINE_NONCE - FUSE_LINE_SEAL - 2;
	for (size_t cut = from; cut <= mark.len; cut++) {
		struct seen s;

		buf_clear(&b);
		put_message(&b, 1, 100, 1);
		b.len -= 30;
		buf_append(&b, mark.data, cut);
		fuse_line_mark(&b, nonces[0]);
		put_messages(&b, 5);
		s = read_all(&b, 77777);
		assert_int_equal(s.restarts, cut == mark.len ? 2 : 1);
		assert_memory_equal(s.nonce, nonces[0], FUSE_LINE_NONCE);
		assert_int_equal(s.n, NMESSAGES);
	}
	buf_release(&mark);
	buf_release(&b);
}

static void
test_nonsense(void **state)
{
	const struct fuse_out_header bad[] = {{.len = FUSE_WIRE_MSG_MAX + 1}, {.len = UINT32_MAX}};
	uint8_t nonce[FUSE_LINE_NONCE];
	struct fuse_line l = {0};
	size_t len;

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		struct buf b = BUF_INIT;

		buf_append(&b, &bad[k], sizeof(bad[k]));
		assert_int_equal(fuse_line_next(&l, &b, &len, nonce), FUSE_LINE_BROKEN);
		buf_release(&b);
	}
	/* Behind zeros, something sealed that is no mark. */
	struct buf b = BUF_INIT;

	memset(buf_reserve(&b, 64), 0, 64);
	buf_commit(&b, 64);
	put_message(&b, 3, 16, 2);
	assert_int_equal(fuse_line_next(&l, &b, &len, nonce), FUSE_LINE_BROKEN);
	buf_release(&b);
}

static void
test_answer(void **state)
{
	struct buf sent = BUF_INIT, in = BUF_INIT;

	(void)state;
	/* Whatever was cut, with parts of the nonce in it, then the answer, then a request. */
	buf_append(&sent, nonces[0], FUSE_LINE_NONCE - 1);
	buf_append(&sent, nonces[1], FUSE_LINE_NONCE);
	fuse_line_answer(&sent, nonces[0]);
	buf_append(&sent, "request", 7);
	for (size_t step = 1; step <= sent.len; step++) {
		bool found = false;

		buf_clear(&in);
		for (size_t at = 0; at < sent.len; at += step) {
			buf_append(
				&in, sent.data + at, sent.len - at < step ? sent.len - at : step);
			if (!found)
				found = fuse_line_answered(&in, nonces[0]);
			assert_true(found || in.len < FUSE_LINE_NONCE);
		}
		assert_true(found);
		assert_int_equal(in.len, 7);
		assert_memory_equal(in.data, "request", 7);
	}
	buf_release(&sent);
	buf_release(&in);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_cut_longest),
		cmocka_unit_test(test_cut_twice),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
