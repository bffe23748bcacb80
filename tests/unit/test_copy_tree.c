/* io_copy_tree: a workspace's copy is like it in all that a program sees, and leads nowhere else.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/proc.h>

static const char *const make_tree =
	"cd \"$1\" && mkdir -p from/a/b from/empty && cd from && printf one > a/one &&"
	"ln a/one a/b/again && ln -s /etc/passwd a/out && ln -s nowhere a/dangling &&"
	"printf '#!/bin/sh\\n' > a/tool && chmod 4755 a/tool && chmod 2750 empty &&"
	"truncate -s 64M a/sparse && printf x >> a/sparse && mkfifo a/fifo &&"
	"printf odd > \"$(printf 'a/new\\nline\\377')\" && chmod 0400 a/b/again &&"
	"touch -d '2001-02-03 04:05:06.789' a/tool a/b a &&"
	"touch -h -d '2001-02-03 04:05:06.789' a/out";

/* All that the copy shall have alike, a line for each name; links among them by their count. */
static const char *const show_tree =
	"cd \"$1\" && find . -printf '%P %y %l %#m %n %s %T@ %U:%G\\n' | sort | grep -v '^ d' &&"
	"find . -type f -exec cksum {} + | sort";

static int
shell(const char *script, const char *arg, struct buf *out)
{
	char *argv[] = {"sh", "-c", (char *)script, "sh", (char *)arg, NULL};
	struct err e = {0};
	int r = proc_run(argv, 20000, out, &e);

	if (r < 0)
		print_error("%s\n", e.msg);
	return r;
}

static int
setup(void **state)
{
	char *dir = xstrdup("/tmp/paddock-tree-XXXXXX");

	*state = dir;
	return mkdtemp(dir) != NULL && shell(make_tree, dir, NULL) == 0 ? 0 : -1;
}

static int
teardown(void **state)
{
	CLEAN_FREE char *dir = *state;

	return io_remove_tree(AT_FDCWD, dir, NULL);
}

static char *
below(void **state, const char *name)
{
	return xasprintf("%s/%s", (char *)*state, name);
}

static void
assert_missing(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), -1);
}

static void
like_the_original(void **state)
{
	CLEAN_FREE char *from = below(state, "from"), *to = below(state, "to");
	CLEAN_FREE char *tool = below(state, "to/a/tool"), *plain = below(state, "from/a/tool");
	CLEAN_FREE char *sparse = below(state, "to/a/sparse");
	CLEAN_FREE char *left = below(state, "to.incomplete");
	CLEAN_BUF struct buf was = BUF_INIT, is = BUF_INIT;
	struct err e = {0};
	char value[8] = "";
	struct stat st, other;

	assert_int_equal(setxattr(plain, "user.of", "mine", 4, 0), 0);
	assert_int_equal(io_copy_tree(from, to, &e), 0);
	/* A program that would run as another is an ordinary one in a copy. */
	assert_int_equal(stat(tool, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(chmod(plain, 0755), 0);
	assert_int_equal(shell(show_tree, from, &was), 0);
	assert_int_equal(shell(show_tree, to, &is), 0);
	assert_string_equal(buf_str(&is), buf_str(&was));
	assert_non_null(strstr(buf_str(&was), "a/b/again f  0400 2 3 "));
	assert_int_equal(getxattr(tool, "user.of", value, sizeof(value)), 4);
	assert_int_equal(stat(sparse, &st), 0);
	assert_true(st.st_blocks * 512 < 1 << 20);
	assert_missing(left);
	/* What two names of one file are in the copy is not the original. */
	assert_int_equal(stat(plain, &other), 0);
	assert_int_equal(stat(tool, &st), 0);
	assert_true(st.st_ino != other.st_ino);
}

static void
one_file(void **state)
{
	CLEAN_FREE char *from = below(state, "from/a/tool"), *to = below(state, "tool");
	struct err e = {0};
	struct stat st;

	assert_int_equal(io_copy_tree(from, to, &e), 0);
	assert_int_equal(stat(to, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(st.st_size, 10);
}

static void
what_is_there_stays(void **state)
{
	CLEAN_FREE char *from = below(state, "from"), *to = below(state, "from/empty");
	CLEAN_FREE char *fresh = below(state, "fresh"), *half = below(state, "fresh.incomplete");
	struct err e = {0};

	assert_int_equal(io_copy_tree(from, to, &e), -EEXIST);
	assert_int_equal(mkdir(half, 0700), 0);
	assert_int_equal(io_copy_tree(from, fresh, &e), -EEXIST);
	assert_non_null(strstr(e.msg, "remove it"));
	assert_int_equal(access(half, F_OK), 0);
	assert_missing(fresh);
}

/* Somebody who may write in a folder around them leads the copy to another place. */
static void
no_symlink_is_followed(void **state)
{
	CLEAN_FREE char *link = below(state, "link"), *inside = below(state, "link/a");
	CLEAN_FREE char *from = below(state, "from/a"), *to = below(state, "to");
	CLEAN_FREE char *into = below(state, "link/new"), *behind = below(state, "from/new");
	struct err e = {0};

	assert_int_equal(symlink("from", link), 0);
	assert_int_equal(io_copy_tree(inside, to, &e), -ELOOP);
	assert_int_equal(io_copy_tree(link, to, &e), -ENOTDIR);
	assert_missing(to);
	assert_int_equal(io_copy_tree(from, into, &e), -ELOOP);
	assert_missing(behind);
	/* The control. */
	assert_int_equal(io_copy_tree(from, to, &e), 0);
}

static void
half_a_copy_is_none(void **state)
{
	CLEAN_FREE char *from = below(state, "from"), *to = below(state, "to");
	CLEAN_FREE char *half = below(state, "to.incomplete");
	struct err e = {0};

	assert_int_equal(shell("cd \"$1\" && for i in $(seq 220); do mkdir d && cd d || exit; done",
				 from, NULL),
		0);
	assert_int_equal(io_copy_tree(from, to, &e), -ELOOP);
	assert_missing(to);
	assert_missing(half);
	assert_int_equal(shell("rm -r \"$1\"/d", from, NULL), 0);
}

static void
all_or_none(void **state)
{
	CLEAN_FREE char *from = below(state, "from/a"), *first = below(state, "first");
	CLEAN_FREE char *missing = below(state, "missing"), *second = below(state, "second");
	CLEAN_STRV struct strv pairs = {0};
	struct err e = {0};

	strv_add(&pairs, from);
	strv_add(&pairs, first);
	assert_int_equal(io_copy_trees(&pairs, &e), 0);
	assert_int_equal(access(first, F_OK), 0);
	assert_int_equal(io_remove_tree(AT_FDCWD, first, &e), 0);
	strv_add(&pairs, missing);
	strv_add(&pairs, second);
	assert_int_equal(io_copy_trees(&pairs, &e), -ENOENT);
	assert_missing(first);
	assert_missing(second);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(like_the_original, setup, teardown),
		cmocka_unit_test_setup_teardown(one_file, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_there_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(no_symlink_is_followed, setup, teardown),
		cmocka_unit_test_setup_teardown(half_a_copy_is_none, setup, teardown),
		cmocka_unit_test_setup_teardown(all_or_none, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
