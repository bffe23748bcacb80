/* changes.json: what several runs of a machine come to, on disk and back. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <state/change_list.h>

struct fixture {
	char dir[64];
	struct state_paths p;
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	CLEAN_FREE char *box = NULL;

	*state = f;
	snprintf(f->dir, sizeof(f->dir), "/tmp/paddock-changes-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->p.data = f->dir;
	box = state_sandbox_dir(&f->p, "box");
	return io_mkdirs(box, 0700, NULL);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	io_remove_tree(AT_FDCWD, f->dir, NULL);
	free(f);
	return 0;
}

static void
put(struct change_list *l, enum change_what what, const char *path, const char *key,
	const char *value, uint64_t at)
{
	const struct change c = {CHANGE_GIT, what, (char *)path, (char *)key, (char *)value, at,
		what == CHANGE_REFUSED ? 2 : 0};

	change_list_put(l, &c);
}

/* Stops and starts: what is on disk is what earlier runs made of it. */
static void
next_run(const struct fixture *f, struct change_list *l)
{
	struct err e = {0};

	assert_int_equal(change_list_save(&f->p, "box", l, &e), 0);
	change_list_release(l);
	assert_int_equal(change_list_load(&f->p, "box", l, &e), 0);
}

/* What is there to be seen of the one file. */
static void
shown(const struct change_list *l, enum change_what what)
{
	CLEAN_FREE char *text = change_list_json(l);
	CLEAN_FREE char *want = xasprintf("\"change\": \"%s\"", change_what_name(what));

	assert_true((strstr(text, "/w/f") != NULL) == (what != CHANGE_NONE));
	assert_true(what == CHANGE_NONE || strstr(text, want) != NULL);
}

static void
test_runs(void **state)
{
	/* What two runs say of one file, each against its own beginning; then what is to be shown.
	 */
	static const enum change_what t[][3] = {
		{CHANGE_ADDED, CHANGE_MODIFIED, CHANGE_ADDED},
		{CHANGE_ADDED, CHANGE_REMOVED, CHANGE_NONE},
		{CHANGE_MODIFIED, CHANGE_MODIFIED, CHANGE_MODIFIED},
		{CHANGE_MODIFIED, CHANGE_REMOVED, CHANGE_REMOVED},
		{CHANGE_REMOVED, CHANGE_ADDED, CHANGE_MODIFIED},
		{CHANGE_ADDED, CHANGE_NONE, CHANGE_ADDED},
		{CHANGE_NONE, CHANGE_ADDED, CHANGE_ADDED},
	};
	const struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct change_list l = {0};

		put(&l, t[i][0], "/w/f", "", "", 10);
		next_run(f, &l);
		put(&l, t[i][1], "/w/f", "", "", 20);
		shown(&l, t[i][2]);
		/* Put back as this run found it. */
		put(&l, CHANGE_NONE, "/w/f", "", "", 30);
		shown(&l, t[i][0]);
		put(&l, t[i][1], "/w/f", "", "", 40);
		change_list_begin(&l); /* an fs role that was killed */
		shown(&l, t[i][2]);
		next_run(f, &l);
		shown(&l, t[i][2]);
		change_list_release(&l);
	}
}

static void
test_settings_and_refusals(void **state)
{
	const struct fixture *f = *state;
	struct change_list l = {0};

	put(&l, CHANGE_ADDED, "/w/.git/config", "core.pager", "a", 10);
	put(&l, CHANGE_ADDED, "/w/.git/config", "core.editor", "b", 10);
	put(&l, CHANGE_REFUSED, "/w/.git/hooks/x", "", "", 10);
	put(&l, CHANGE_REFUSED, "/w/.git/hooks/x", "", "", 12);
	/* Told again with another one: as old as it is. */
	put(&l, CHANGE_ADDED, "/w/.git/config", "core.pager", "a", 20);
	put(&l, CHANGE_ADDED, "/w/.git/config", "core.editor", "c", 20);
	next_run(f, &l);
	assert_int_equal(l.n, 3);
	assert_int_equal(l.v[0].at_ms, 10);
	assert_int_equal(l.v[1].at_ms, 20);
	assert_string_equal(l.v[1].value, "c");
	assert_int_equal(l.v[2].times, 4);
	assert_int_equal(l.v[2].at_ms, 12);
	assert_false(l.incomplete);
	change_list_release(&l);
}

/* Names are hostile bytes: nothing of them reaches a terminal as it is. */
static void
test_escaped(void **state)
{
	const struct fixture *f = *state;
	struct change_list l = {0};

	put(&l, CHANGE_ADDED, "/w/\x1b]52;c;x\a/\xff\xfe\n.envrc", "k\x9bm", "\x1b[2J", 10);
	next_run(f, &l);
	assert_int_equal(l.n, 1);
	for (const char *t = l.v[0].path; *t != '\0'; t++)
		assert_true((unsigned char)*t >= ' ' && (unsigned char)*t < 0x7f);
	assert_string_equal(l.v[0].value, "\\x1b[2J");
	assert_non_null(strstr(l.v[0].path, "\\xff\\xfe\\n.envrc"));
	change_list_release(&l);
}

static void
test_bounded(void **state)
{
	const struct fixture *f = *state;
	struct change_list l = {0};
	char path[32];

	for (int i = 0; i <= CHANGE_LIST_MAX; i++) {
		snprintf(path, sizeof(path), "/w/%d", i);
		put(&l, CHANGE_ADDED, path, "", "", 1);
	}
	assert_int_equal(l.n, CHANGE_LIST_MAX);
	next_run(f, &l);
	assert_true(l.incomplete);
	assert_int_equal(l.n, CHANGE_LIST_MAX);
	change_list_release(&l);
	put(&l, CHANGE_LOST, "/", "", "", 1);
	assert_true(l.incomplete);
	change_list_release(&l);
}

static void
test_damaged(void **state)
{
	static const struct {
		const char *text;
		int code;
	} bad[] = {{"", -EINVAL}, {"{", -EINVAL}, {"[]", -EINVAL}, {"{\"version\":1}", -EINVAL},
		{"{\"version\":2,\"complete\":true,\"changes\":[]}", -ENOTSUP},
		{"{\"version\":1,\"complete\":true,\"changes\":[{}]}", -EINVAL},
		{"{\"version\":1,\"complete\":true,\"changes\":[3]}", -EINVAL}};
	const struct fixture *f = *state;
	CLEAN_FREE char *path = state_sandbox_file(&f->p, "box", "changes.json");
	struct change_list l = {0};
	struct err e = {0};

	assert_int_equal(change_list_load(&f->p, "box", &l, &e), 0); /* none is an empty one */
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(io_write_file_atomic(AT_FDCWD, path, bad[i].text,
					 strlen(bad[i].text), 0600, &e),
			0);
		assert_int_equal(change_list_load(&f->p, "box", &l, &e), bad[i].code);
		assert_int_equal(l.n, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_runs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_settings_and_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_escaped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
