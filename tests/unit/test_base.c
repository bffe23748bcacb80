#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/mem.h>
#include <base/proc.h>
#include <base/str.h>

static void
test_err(void **state)
{
	struct err e = {0};
	char big[600];

	(void)state;
	assert_int_equal(err_sys(&e, ENOENT, "open '%s'", "/x"), -ENOENT);
	assert_int_equal(err_prefix(&e, "disk"), -ENOENT);
	assert_string_equal(e.msg, "disk: open '/x': No such file or directory");
	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	err_set(&e, EIO, "%s", big);
	err_prefix(&e, "p");
	assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
}

/* A model-based random test: the buffer against a plain array. */
static void
test_buf_model(void **state)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	static uint8_t model[1 << 20];
	size_t n = 0;

	(void)state;
	srandom(1);
	for (int step = 0; step < 20000; step++) {
		size_t k = (size_t)random() % 300;

		if (random() % 2 == 0 && n + k < sizeof(model)) {
			for (size_t i = 0; i < k; i++)
				model[n + i] = (uint8_t)random();
			buf_append(&b, model + n, k);
			n += k;
		} else {
			k = k > n ? n : k;
			buf_consume(&b, k);
			memmove(model, model + k, n - k);
			n -= k;
		}
		assert_int_equal(b.len, n);
		assert_memory_equal(b.len > 0 ? b.data : model, model, n);
	}
	assert_true(b.cap < 1 << 20); /* consuming gives room back */
}

static void
test_sizes(void **state)
{
	static const struct {
		const char *word;
		int r;
		uint64_t v;
	} t[] = {{"0", 0, 0}, {"512", 0, 512}, {"1k", 0, 1024}, {"8g", 0, 8ULL << 30},
		{"8GiB", 0, 8ULL << 30}, {"2MB", 0, 2 << 20}, {"3t", 0, 3ULL << 40},
		{"", -EINVAL, 0}, {"g", -EINVAL, 0}, {"-1", -EINVAL, 0}, {"1x", -EINVAL, 0},
		{"1gg", -EINVAL, 0}, {"1.5g", -EINVAL, 0}, {"99999999999999999999", -ERANGE, 0},
		{"18446744073709551615t", -ERANGE, 0}, {" 1g", -EINVAL, 0}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		uint64_t v = 7;

		assert_int_equal(str_to_size(t[i].word, &v), t[i].r);
		assert_int_equal(v, t[i].r == 0 ? t[i].v : 7);
	}
}

static void
test_escape(void **state)
{
	static const struct {
		const char *in, *out;
	} /* clang-format off */
	t[] = {{"plain ü €", "plain ü €"}, {"a\033]52;c;x\a", "a\\x1b]52;c;x\\x07"},
		{"a\nb", "a\\nb"}, {"\x9b" "31m", "\\x9b31m"}, {"\xc2\x9b" "31m", "\\xc2\\x9b31m"},
		{"\xe2\x80\xae" "x", "\\xe2\\x80\\xaex"}, {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
		{"\xc0\xaf", "\\xc0\\xaf"}, {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
		{"cut \xe2\x82", "cut \\xe2\\x82"}};
	/* clang-format on */
	char out[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		str_escape(t[i].in, strlen(t[i].in), out, sizeof(out));
		assert_string_equal(out, t[i].out);
	}
	/* A small room never splits a character or an escape. */
	str_escape("aé\001", 4, out, 3);
	assert_string_equal(out, "a");
	str_escape("a\001", 2, out, 5);
	assert_string_equal(out, "a");
}

static void
test_env_vector(void **state)
{
	CLEAN_STRV struct strv v = {0};

	(void)state;
	strv_setenv(&v, "A", "1");
	strv_setenv(&v, "AB", "2");
	strv_setenv(&v, "A", "3");
	assert_int_equal(v.n, 2);
	assert_string_equal(strv_getenv(&v, "A"), "3");
	assert_string_equal(strv_getenv(&v, "AB"), "2");
	assert_null(strv_getenv(&v, "B"));
	assert_true(strv_has(&v, "A=3") && strv_has(&v, "AB=2"));
	assert_false(strv_has(&v, "A=1") || strv_has(&v, "AB") || strv_has(&v, ""));
	assert_null(v.v[2]);
}

static void
test_read_deadline(void **state)
{
	int p[2];
	char b;
	uint64_t start = clock_mono_ms();

	(void)state;
	assert_int_equal(pipe(p), 0);
	assert_int_equal(io_read_full(p[0], &b, 1, deadline_in_ms(50)), -ETIMEDOUT);
	assert_in_range(clock_mono_ms() - start, 45, 5000);
	close(p[1]);
	assert_int_equal(io_read_full(p[0], &b, 1, deadline_in_ms(50)), -EPIPE);
	close(p[0]);
}

static void
test_atomic_file(void **state)
{
	char dir[] = "/tmp/paddock-base-XXXXXX";
	CLEAN_BUF struct buf b = BUF_INIT;
	struct err e = {0};
	struct stat st;
	CLEAN_CLOSE int fd = -1;

	(void)state;
	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(io_write_file_atomic(fd, "f", "old", 3, 0600, &e), 0);
	assert_int_equal(io_write_file_atomic(fd, "f", "newer", 5, 0640, &e), 0);
	assert_int_equal(io_read_file(fd, "f", 100, &b, &e), 0);
	assert_string_equal(buf_str(&b), "newer");
	assert_int_equal(fstatat(fd, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	buf_clear(&b);
	assert_int_equal(io_read_file(fd, "f", 4, &b, &e), -EFBIG);
	/* A new one is no other. */
	assert_int_equal(io_write_new_file(fd, "f", "x", 1, 0600, &e), -EEXIST);
	assert_int_equal(io_write_new_file(fd, "g", "whole", 5, 0600, &e), 0);
	buf_clear(&b);
	assert_int_equal(io_read_file(fd, "g", 100, &b, &e), 0);
	assert_string_equal(buf_str(&b), "whole");
	/* A tree goes without following the symlinks in it. */
	assert_int_equal(mkdirat(fd, "d", 0700), 0);
	assert_int_equal(symlinkat(dir, fd, "d/up"), 0);
	assert_int_equal(io_remove_tree(fd, "d", &e), 0);
	assert_int_equal(faccessat(fd, "f", F_OK, 0), 0);
	assert_int_equal(io_remove_tree(AT_FDCWD, dir, &e), 0);
	assert_int_equal(access(dir, F_OK), -1);
}

static void
test_fds_over_socket(void **state)
{
	int sv[2], p[2], got[2];
	size_t n = 9;
	char b = 'x';

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(io_send_fds(sv[0], "hi", 2, p, 2), 0);
	char in[8];

	/* Room for one: the other is closed, not leaked. */
	assert_int_equal(io_recv_fds(sv[1], in, sizeof(in), got, 1, &n), 2);
	assert_int_equal(n, 1);
	assert_int_equal(write(p[1], &b, 1), 1);
	assert_int_equal(read(got[0], &b, 1), 1);
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	close(got[0]);
	assert_int_equal(close(p[0]) + close(p[1]) + close(sv[0]), 0);
	assert_int_equal(io_recv_fds(sv[1], in, sizeof(in), got, 1, &n), 0);
	close(sv[1]);
}

static void
test_proc(void **state)
{
	CLEAN_BUF struct buf out = BUF_INIT;
	char *echo[] = {"sh", "-c", "echo hi; exit 0", NULL};
	char *bad[] = {"sh", "-c", "echo broken >&2; exit 3", NULL};
	char *slow[] = {"sleep", "60", NULL};
	char *none[] = {"/nonexistent/program", NULL};
	struct err e = {0};
	uint64_t start;

	(void)state;
	assert_int_equal(proc_run(echo, 5000, &out, &e), 0);
	assert_string_equal(buf_str(&out), "hi\n");
	assert_int_equal(proc_run(bad, 5000, NULL, &e), -EIO);
	assert_string_equal(e.msg, "'sh' failed with exit code 3: broken");
	assert_int_equal(proc_run(none, 5000, NULL, &e), -ENOENT);
	start = clock_mono_ms();
	assert_int_equal(proc_run(slow, 100, NULL, &e), -ETIMEDOUT);
	assert_in_range(clock_mono_ms() - start, 90, 10000);
}

/* Descriptors land where they were asked for, even when the numbers cross, and no others pass. */
static void
test_proc_fds(void **state)
{
	char *argv[] = {
		"sh", "-c", "cat <&3 >&4; test ! -e /proc/self/fd/77 && echo none >&4", NULL};
	struct proc_spec s = {.file = "sh", .argv = argv};
	struct err e = {0};
	int in[2], out[2], pidfd;
	char text[64] = "";
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	s.fds[0] = s.fds[1] = s.fds[2] = -1;
	s.fds[3] = in[0];
	s.fds[4] = out[1];
	s.nfds = 5;
	assert_int_equal(dup2(in[0], 77), 77); /* not close-on-exec, and not asked for */
	assert_int_equal(write(in[1], "data\n", 5), 5);
	close(in[1]);
	assert_int_equal(proc_spawn(&s, &pid, &pidfd, &e), 0);
	assert_int_equal(proc_wait(pid, pidfd, deadline_in_ms(5000)), 0);
	close(out[1]);
	assert_true(read(out[0], text, sizeof(text) - 1) > 0);
	assert_string_equal(text, "data\nnone\n");
	close(77);
	close(in[0]);
	close(out[0]);
	close(pidfd);
}

static void
test_proc_stop(void **state)
{
	char *argv[] = {
		"sh", "-c", "trap '' TERM; echo ready >&3; while :; do sleep 1; done", NULL};
	struct proc_spec s = {.file = "sh", .argv = argv};
	struct err e = {0};
	int ready[2], pidfd;
	char b[8];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	s.fds[0] = s.fds[1] = s.fds[2] = -1;
	s.fds[3] = ready[1];
	s.nfds = 4;
	assert_int_equal(proc_spawn(&s, &pid, &pidfd, &e), 0);
	assert_int_equal(read(ready[0], b, 6), 6);
	assert_int_equal(proc_stop(pid, pidfd, 50), 128 + SIGKILL);
	close(pidfd);
	close(ready[0]);
	close(ready[1]);
}

/* How many pages come one by one when n bytes of the heap are written to. */
static long
faults(size_t n)
{
	struct rusage before, after;
	volatile char *p;

	getrusage(RUSAGE_SELF, &before);
	p = xmalloc(n);
	for (size_t i = 0; i < n; i += 4096)
		p[i] = 1;
	getrusage(RUSAGE_SELF, &after);
	free((char *)p);
	return after.ru_minflt - before.ru_minflt;
}

static void
test_prefault(void **state)
{
	enum { SIZE = 1 << 20, PAGES = SIZE / 4096 };

	(void)state;
	assert_in_range(faults(SIZE / 2), PAGES / 2, PAGES);
	mem_prefault(SIZE);
#ifndef __SANITIZE_ADDRESS__ /* whose heap is another one */
	assert_in_range(faults(SIZE / 2), 0, PAGES / 4);
	assert_in_range(faults(SIZE / 2), 0, PAGES / 4);
#endif
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err),
		cmocka_unit_test(test_buf_model),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_env_vector),
		cmocka_unit_test(test_read_deadline),
		cmocka_unit_test(test_atomic_file),
		cmocka_unit_test(test_fds_over_socket),
		cmocka_unit_test(test_proc),
		cmocka_unit_test(test_proc_fds),
		cmocka_unit_test(test_proc_stop),
		cmocka_unit_test(test_prefault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
