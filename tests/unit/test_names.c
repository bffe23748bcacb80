#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "names.h"

#define FIRST 0xc6120100
#define HOLD  1000

static void
test_same_name_same_address(void **state)
{
	struct names *t = names_new(FIRST, FIRST + 999, 100, HOLD), *u;
	uint32_t a, b, c;

	(void)state;
	u = names_new(FIRST, FIRST + 999, 100, HOLD);
	assert_int_equal(names_assign(t, "a.example", 0, &a), 0);
	assert_int_equal(names_assign(t, "b.example", 0, &b), 0);
	assert_int_not_equal(a, b);
	assert_int_equal(names_assign(t, "a.example", 5, &c), 0);
	assert_int_equal(a, c);
	assert_string_equal(name_text(names_find(t, b)), "b.example");
	/* Also in a table of its own, asked in another order: after a restart, in a clone. */
	assert_int_equal(names_assign(u, "b.example", 0, &c), 0);
	assert_int_equal(b, c);
	assert_int_equal(names_assign(u, "a.example", 0, &c), 0);
	assert_int_equal(a, c);
	names_free(t);
	names_free(u);
}

static void
test_outside(void **state)
{
	struct names *t = names_new(FIRST, FIRST, 10, HOLD);
	uint32_t a;

	(void)state;
	assert_null(names_find(t, FIRST));
	assert_int_equal(names_assign(t, "a.example", 0, &a), 0);
	assert_int_equal(a, FIRST);
	assert_null(names_find(t, FIRST - 1));
	assert_null(names_find(t, FIRST + 1));
	assert_null(names_find(t, 0));
	assert_null(names_find(t, UINT32_MAX));
	assert_non_null(names_find(t, FIRST));
	names_free(t);
}

static void
test_hold_and_pins(void **state)
{
	struct names *t = names_new(FIRST, FIRST + 99, 2, HOLD);
	uint32_t a, b, c;
	struct name *n;

	(void)state;
	assert_int_equal(names_assign(t, "a.example", 0, &a), 0);
	assert_int_equal(names_assign(t, "b.example", 10, &b), 0);
	n = names_find(t, a);
	names_pin(t, n);
	/* b was answered at 10: its address is spoken for until 1010. */
	assert_true(names_assign(t, "c.example", 1009, &c) < 0);
	assert_int_equal(names_assign(t, "c.example", 1010, &c), 0);
	assert_true(c == b || names_find(t, b) == NULL);
	/* a has a connection. */
	assert_string_equal(name_text(names_find(t, a)), "a.example");
	assert_int_equal(names_assign(t, "d.example", 9000, &b), 0);
	assert_string_equal(name_text(names_find(t, a)), "a.example");
	/* The hold begins with the connection's end. */
	names_unpin(t, n, 9500);
	assert_int_equal(names_assign(t, "e.example", 10000, &b), 0);
	assert_string_equal(name_text(names_find(t, a)), "a.example");
	assert_true(names_assign(t, "f.example", 10499, &b) < 0);
	assert_int_equal(names_assign(t, "f.example", 10500, &b), 0);
	assert_int_equal(names_count(t), 2);
	names_free(t);
}

/*
 * Against a model that remembers everything: for each address who owned it and until when nobody
 * else may. Small numbers of names and addresses make every kind of collision likely.
 */
enum { ADDRS = 64, NAMES = 200, CAPACITY = 40, STEPS = 200000 };

struct model {
	uint64_t now, until[ADDRS];
	int owner[ADDRS]; /* -1: nobody yet */
	int address_of[NAMES];
	unsigned pins[NAMES];
	size_t assigned, refused;
};

static void
make_name(int i, char out[32])
{
	snprintf(out, 32, "host-%d.example", i);
}

static void
model_assign(struct model *m, struct names *t, int i)
{
	char text[32];
	uint32_t a;

	make_name(i, text);
	if (names_assign(t, text, m->now, &a) < 0) {
		size_t busy = 0;

		/* Refused only where the table is full of names that may not go. */
		for (int k = 0; k < ADDRS; k++)
			if (m->owner[k] >= 0 && (m->until[k] > m->now || m->pins[m->owner[k]] > 0))
				busy++;
		assert_true(busy >= CAPACITY);
		m->refused++;
		return;
	}
	a -= FIRST;
	assert_in_range(a, 0, ADDRS - 1);
	if (m->owner[a] != i && m->owner[a] >= 0) {
		assert_true(m->until[a] <= m->now);
		assert_int_equal(m->pins[m->owner[a]], 0);
		m->address_of[m->owner[a]] = -1;
	}
	if (m->address_of[i] >= 0 && m->address_of[i] != (int)a) {
		/* It was forgotten and has moved. */
		assert_true(m->until[m->address_of[i]] <= m->now);
		m->owner[m->address_of[i]] = -1;
	}
	m->owner[a] = i;
	m->address_of[i] = (int)a;
	m->until[a] = m->now + HOLD;
	assert_string_equal(name_text(names_find(t, FIRST + a)), text);
	m->assigned++;
}

static void
model_pin(struct model *m, struct names *t, uint32_t a)
{
	struct name *n = names_find(t, FIRST + a);
	char text[32];

	if (m->owner[a] >= 0 && (m->until[a] > m->now || m->pins[m->owner[a]] > 0)) {
		make_name(m->owner[a], text);
		assert_non_null(n);
		assert_string_equal(name_text(n), text);
	}
	if (n == NULL)
		return;
	if (rand() % 2 == 0 && m->pins[m->owner[a]] < 3) {
		names_pin(t, n);
		m->pins[m->owner[a]]++;
	} else if (m->pins[m->owner[a]] > 0) {
		names_unpin(t, n, m->now);
		m->pins[m->owner[a]]--;
		m->until[a] = m->now + HOLD;
	}
}

static void
test_model(void **state)
{
	struct names *t = names_new(FIRST, FIRST + ADDRS - 1, CAPACITY, HOLD);
	struct model m = {.now = 1};

	(void)state;
	srand(20260);
	for (int i = 0; i < ADDRS; i++)
		m.owner[i] = -1;
	for (int i = 0; i < NAMES; i++)
		m.address_of[i] = -1;
	for (int i = 0; i < STEPS; i++) {
		m.now += (uint64_t)(rand() % 30);
		if (rand() % 3 != 0)
			model_assign(&m, t, rand() % NAMES);
		else
			model_pin(&m, t, (uint32_t)(rand() % ADDRS));
		assert_true(names_count(t) <= CAPACITY);
	}
	/* Both kinds of end were met often enough to mean something. */
	assert_true(m.assigned > STEPS / 10 && m.refused > STEPS / 100);
	names_free(t);
}

/* As many as there may be: still found, and quickly. */
static void
test_full(void **state)
{
	struct names *t = names_new(FIRST, 0xc613fffe, NAMES_CAPACITY, NAMES_HOLD_MS);
	char text[32];
	uint32_t a;

	(void)state;
	for (int i = 0; i < NAMES_CAPACITY; i++) {
		make_name(i, text);
		assert_int_equal(names_assign(t, text, 0, &a), 0);
	}
	assert_true(names_assign(t, "one.more.example", 0, &a) < 0);
	for (int i = 0; i < NAMES_CAPACITY; i++) {
		make_name(i, text);
		assert_int_equal(names_assign(t, text, 0, &a), 0);
		assert_string_equal(name_text(names_find(t, a)), text);
	}
	assert_int_equal(names_assign(t, "one.more.example", NAMES_HOLD_MS, &a), 0);
	names_free(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_name_same_address),
		cmocka_unit_test(test_outside),
		cmocka_unit_test(test_hold_and_pins),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
