/* What the guest's pump keeps of its requests until it knows that they have arrived. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <base/buf.h>
#include <wire/fuse.h>

#include "pending.h"

struct sent {
	struct fuse_in_header head[16];
	uint64_t body[16]; /* the first word behind it */
	size_t n;
};

static struct pending p;

static void
make(uint8_t *msg, uint32_t op, uint64_t unique, uint64_t body)
{
	struct fuse_in_header h = {.len = sizeof(h) + 8, .opcode = op, .unique = unique};

	memcpy(msg, &h, sizeof(h));
	memcpy(msg + sizeof(h), &body, sizeof(body));
}

static void
ask(uint32_t op, uint64_t unique)
{
	uint8_t *msg = pending_buffer(&p);

	make(msg, op, unique, unique);
	pending_add(&p, &msg, sizeof(struct fuse_in_header) + 8);
	free(msg);
}

static void
say(uint64_t fh)
{
	uint8_t *msg = pending_buffer(&p);

	make(msg, FUSE_RELEASE, 0, fh);
	pending_add_unanswered(&p, &msg, sizeof(struct fuse_in_header) + 8);
	free(msg);
}

static int
note(void *arg, const uint8_t *msg, size_t n)
{
	struct sent *s = arg;

	assert_true(s->n < 16 && n >= sizeof(s->head[0]) + 8);
	memcpy(&s->head[s->n], msg, sizeof(s->head[0]));
	memcpy(&s->body[s->n], msg + sizeof(s->head[0]), 8);
	s->n++;
	return 0;
}

static bool
never(void *arg)
{
	(void)arg;
	return false;
}

static struct sent
again(void)
{
	struct sent s = {.n = 0};

	assert_int_equal(pending_again(&p, note, never, &s), 0);
	return s;
}

static int
setup(void **state)
{
	(void)state;
	memset(&p, 0, sizeof(p));
	pending_init(&p);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	while (!list_is_empty(&p.all) && again().n > 0)
		for (uint64_t u = 1; u < 100; u++)
			pending_remove(&p, u, NULL);
	while (p.nspare > 0)
		free(p.spare[--p.nspare]);
	htab_release(&p.by_unique);
	return 0;
}

static void
test_what_has_no_answer_is_sent_again(void **state)
{
	struct sent s;

	(void)state;
	ask(FUSE_LOOKUP, 2);
	ask(FUSE_MKDIR, 4);
	ask(FUSE_READ, 6);
	assert_true(pending_remove(&p, 4, NULL));
	assert_false(pending_remove(&p, 4, NULL));
	for (int round = 0; round < 2; round++) {
		s = again();
		assert_int_equal(s.n, 2);
		assert_int_equal(s.head[0].unique, 2);
		assert_int_equal(s.head[1].unique, 6);
	}
	assert_true(pending_remove(&p, 2, NULL));
	assert_true(pending_remove(&p, 6, NULL));
	assert_int_equal(again().n, 0);
}

/* Those without an answer: until a later one has one. */
static void
test_release_is_not_lost(void **state)
{
	struct sent s;

	(void)state;
	ask(FUSE_LOOKUP, 2);
	say(71);
	ask(FUSE_LOOKUP, 4);
	say(72);
	assert_true(pending_remove(&p, 2, NULL)); /* says nothing about what came after it */
	s = again();
	assert_int_equal(s.n, 3);
	assert_int_equal(s.body[0], 71);
	assert_int_equal(s.head[1].unique, 4);
	assert_int_equal(s.body[2], 72);
	assert_true(pending_remove(&p, 4, NULL));
	s = again();
	assert_int_equal(s.n, 1);
	assert_int_equal(s.body[0], 72);
	ask(FUSE_LOOKUP, 6);
	assert_true(pending_remove(&p, 6, NULL));
	assert_int_equal(again().n, 0);
}

/* Or who waits for a lock could not be ended any more. */
static void
test_interrupt_is_not_lost(void **state)
{
	uint8_t msg[sizeof(struct fuse_in_header) + 8];
	struct sent s;

	(void)state;
	ask(FUSE_SETLKW, 2);
	ask(FUSE_SETLKW, 4);
	make(msg, FUSE_INTERRUPT, 5, 4);
	pending_interrupt(&p, msg, sizeof(msg));
	make(msg, FUSE_INTERRUPT, 9, 8); /* of something that was answered */
	pending_interrupt(&p, msg, sizeof(msg));
	for (int round = 0; round < 2; round++) {
		s = again();
		assert_int_equal(s.n, 3);
		assert_int_equal(s.head[1].unique, 4);
		assert_int_equal(s.head[2].opcode, FUSE_INTERRUPT);
		assert_int_equal(s.head[2].unique, 5);
		assert_int_equal(s.body[2], 4);
	}
	assert_true(pending_remove(&p, 4, NULL));
	assert_int_equal(again().n, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_what_has_no_answer_is_sent_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_release_is_not_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupt_is_not_lost, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
