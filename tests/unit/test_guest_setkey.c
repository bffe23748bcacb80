/* dockerd's hook for a container's network: one message to dockerd, or dockerd's own hook. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>

#include "setkey.h"

#define STATE "{\"ociVersion\":\"1.2.0\",\"id\":\"c0ffee\",\"status\":\"created\",\"pid\":4711}"

struct world {
	char root[32], real[64];
	int listen_fd;
};

static void
write_text(const char *path, const char *text, mode_t mode)
{
	CLEAN_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_int_equal(io_write_full(fd, text, strlen(text), UINT64_MAX), 0);
}

/* dockerd's socket, and in dockerd's place a program that tells what it was given. */
static int
setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	CLEAN_FREE char *dir = NULL;

	strcpy(w->root, "/tmp/setkey.XXXXXX");
	assert_non_null(mkdtemp(w->root));
	dir = xasprintf("%s/libnetwork", w->root);
	assert_int_equal(mkdir(dir, 0700), 0);
	snprintf(w->real, sizeof(w->real), "%s/real", w->root);
	write_text(w->real, "#!/bin/sh\nexec >\"$0.told\"\necho \"$@\"\ncat\n", 0755);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/7e57.sock", dir);
	w->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(w->listen_fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(w->listen_fd, 4), 0);
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;
	struct err e;

	close(w->listen_fd);
	assert_int_equal(io_remove_tree(AT_FDCWD, w->root, &e), 0);
	free(w);
	return 0;
}

static pid_t
hook(const struct world *w, const char *const *words, const char *text)
{
	char *argv[8] = {(char *)SETKEY_NAME, xasprintf("-exec-root=%s", w->root)};
	int p[2];
	pid_t pid;

	for (size_t i = 0; words[i] != NULL; i++)
		argv[i + 2] = (char *)words[i];
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		setenv(SETKEY_REAL, w->real, 1);
		dup2(p[0], STDIN_FILENO);
		dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
		close(p[1]);
		_exit(guest_setkey(argv));
	}
	free(argv[1]);
	assert_int_equal(io_write_full(p[1], text, strlen(text), UINT64_MAX), 0);
	close(p[0]);
	close(p[1]);
	return pid;
}

static int
code_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void
answered(const struct world *w, const char *answer, int code)
{
	static const char *const words[] = {"c0ffee", "7e57", NULL};
	pid_t pid = hook(w, words, STATE);
	char got[256] = "";
	CLEAN_CLOSE int fd = accept(w->listen_fd, NULL, NULL);

	assert_true(read(fd, got, sizeof(got) - 1) > 0);
	assert_string_equal(got, "{\"ContainerID\":\"c0ffee\",\"Key\":\"/proc/4711/ns/net\"}");
	assert_int_equal(write(fd, answer, strlen(answer)), (ssize_t)strlen(answer));
	cleanup_close_p(&fd);
	assert_int_equal(code_of(pid), code);
}

static void
dockerd_answers(void **state)
{
	answered(*state, "success", 0);
	answered(*state, "no sandbox for this container", 1);
	answered(*state, "", 1);
}

/* Words that are not known, a state that is none, a controller that is not there. */
static void
what_is_not_understood(void **state)
{
	static const struct {
		const char *words[4], *text;
	} cases[] = {
		{{"c0ffee", NULL}, STATE},
		{{"-new", "c0ffee", "7e57"}, STATE},
		{{"c0ffee", "7e57", "more"}, STATE},
		{{"c0ffee", "gone"}, STATE},
		{{"c0ffee", "7e57"}, "{\"pid\":\"4711\"}"},
		{{"c0ffee", "7e57"}, "no state"},
	};
	const struct world *w = *state;
	CLEAN_FREE char *told = xasprintf("%s.told", w->real);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CLEAN_BUF struct buf b = BUF_INIT;
		CLEAN_BUF struct buf expected = BUF_INIT;

		assert_int_equal(code_of(hook(w, cases[i].words, cases[i].text)), 0);
		buf_printf(&expected, "-exec-root=%s", w->root);
		for (size_t k = 0; k < 4 && cases[i].words[k] != NULL; k++)
			buf_printf(&expected, " %s", cases[i].words[k]);
		buf_printf(&expected, "\n%s", cases[i].text);
		assert_int_equal(io_read_file(AT_FDCWD, told, 4096, &b, NULL), 0);
		assert_string_equal(buf_str(&b), buf_str(&expected));
		unlink(told);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(dockerd_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_not_understood, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
