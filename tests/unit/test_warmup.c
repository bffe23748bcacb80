/* A process that waits to run a program once: when it is told, and never where nobody tells it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>

#include "warmup.h"

/* The program tells on a FIFO that it runs, and on what. */
struct world {
	char dir[32];
	char *fifo, *script;
	int told;
};

static int
setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));

	strcpy(w->dir, "/tmp/warmup.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->fifo = xasprintf("%s/told", w->dir);
	assert_int_equal(mkfifo(w->fifo, 0600), 0);
	w->script = xasprintf("{ readlink /proc/$$/fd/0; pwd; echo $A; } > %s", w->fifo);
	w->told = open(w->fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(w->told >= 0);
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;

	close(w->told);
	io_remove_tree(AT_FDCWD, w->dir, NULL);
	free(w->fifo);
	free(w->script);
	free(w);
	return 0;
}

static int
prepare(struct world *w)
{
	char *argv[] = {(char *)"sh", (char *)"-c", w->script, NULL};
	char *envp[] = {(char *)"A=known", NULL};
	struct guest_user u = {.uid = geteuid(), .gid = getegid()};
	struct spawn s = {.file = "/bin/sh", .argv = argv, .envp = envp, .cwd = "/", .user = &u};
	struct err e = {0};
	int go = -1;

	assert_int_equal(warmup_prepare(&s, &go, &e), 0);
	assert_true(go >= 0);
	return go;
}

/* All that was told once every process of it has ended. */
static void
ended(struct world *w, struct buf *ret)
{
	char chunk[256];
	ssize_t n;

	assert_true(wait(NULL) > 0);
	assert_int_equal(wait(NULL), -1);
	while ((n = read(w->told, chunk, sizeof(chunk))) > 0)
		buf_append(ret, chunk, (size_t)n);
}

static void
runs_once_told(void **state)
{
	CLEAN_BUF struct buf said = BUF_INIT;
	int go = prepare(*state);

	warmup_go(&go);
	assert_int_equal(go, -1);
	warmup_go(&go); /* a second identity */
	ended(*state, &said);
	assert_string_equal(buf_str(&said), "/dev/null\n/\nknown\n");
}

/* The machine that is saved, and what is made of it where nobody tells it. */
static void
does_not_run_untold(void **state)
{
	CLEAN_BUF struct buf said = BUF_INIT;
	int go = prepare(*state);

	close(go);
	ended(*state, &said);
	assert_string_equal(buf_str(&said), "");
}

/* A pipe whose end somebody waits for does not stay open in it. */
static void
keeps_nothing_open(void **state)
{
	CLEAN_BUF struct buf said = BUF_INIT;
	int other[2], go;
	char byte;

	assert_int_equal(pipe(other), 0);
	go = prepare(*state);
	close(other[1]);
	assert_int_equal(read(other[0], &byte, 1), 0);
	close(other[0]);
	close(go);
	ended(*state, &said);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(runs_once_told, setup, teardown),
		cmocka_unit_test_setup_teardown(does_not_run_untold, setup, teardown),
		cmocka_unit_test_setup_teardown(keeps_nothing_open, setup, teardown),
	};

	return cmocka_run_group_tests_name("warmup", tests, NULL, NULL);
}
