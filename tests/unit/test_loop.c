/* The guest's event loop: what may be deleted when, timers, and children. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop.h"

struct probe {
	struct loop *loop;
	struct loop_io *a, *b;
	struct loop_timer *timer;
	int pair[2];
	char order[32];
	int calls, status;
};

static int
setup(void **state)
{
	struct probe *p = calloc(1, sizeof(*p));

	p->loop = loop_new();
	assert_non_null(p->loop);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, p->pair), 0);
	*state = p;
	return 0;
}

static int
teardown(void **state)
{
	struct probe *p = *state;

	loop_free(p->loop);
	close(p->pair[0]);
	close(p->pair[1]);
	free(p);
	return 0;
}

static void
stop(void *arg)
{
	struct probe *p = arg;

	loop_stop(p->loop);
}

static void
note(struct probe *p, char c)
{
	p->order[strlen(p->order)] = c;
}

static void
on_first(void *arg)
{
	note(arg, '1');
}

static void
on_second(void *arg)
{
	note(arg, '2');
}

static void
on_third(void *arg)
{
	note(arg, '3');
}

static void
test_timers_in_order(void **state)
{
	struct probe *p = *state;
	struct loop_timer *never;

	loop_timer_add(p->loop, 30, on_third, p);
	loop_timer_add(p->loop, 0, on_first, p);
	never = loop_timer_add(p->loop, 10, on_third, p);
	loop_timer_add(p->loop, 20, on_second, p);
	loop_timer_add(p->loop, 40, stop, p);
	loop_timer_del(never);
	loop_timer_del(NULL);
	assert_int_equal(loop_run(p->loop), 0);
	assert_string_equal(p->order, "123");
}

static void
again(void *arg)
{
	struct probe *p = arg;

	if (++p->calls < 1000000)
		loop_timer_add(p->loop, 0, again, p);
}

static void
on_readable(void *arg, uint32_t events)
{
	struct probe *p = arg;

	assert_true(events & EPOLLIN);
	note(p, 'r');
	loop_stop(p->loop);
}

/* A timer that sets itself again and again does not keep descriptors waiting. */
static void
test_timer_starves_nobody(void **state)
{
	struct probe *p = *state;
	struct loop_io *io = loop_io_add(p->loop, p->pair[0], EPOLLIN, on_readable, p);

	loop_timer_add(p->loop, 0, again, p);
	assert_int_equal(write(p->pair[1], "x", 1), 1);
	assert_int_equal(loop_run(p->loop), 0);
	assert_string_equal(p->order, "r");
	assert_true(p->calls < 1000000);
	loop_io_del(io);
}

static void
delete_both(void *arg, uint32_t events)
{
	struct probe *p = arg;

	(void)events;
	p->calls++;
	loop_io_del(p->a);
	loop_io_del(p->b);
	loop_io_del(p->a);
	loop_timer_add(p->loop, 20, stop, p);
}

/* Both are ready in the same round; whichever is called first, the other is not called any more. */
static void
test_delete_in_callback(void **state)
{
	struct probe *p = *state;

	p->a = loop_io_add(p->loop, p->pair[0], EPOLLIN, delete_both, p);
	p->b = loop_io_add(p->loop, p->pair[1], EPOLLIN, delete_both, p);
	/* Hung up, for that is reported to whoever is still in the round's list. */
	shutdown(p->pair[0], SHUT_RDWR);
	assert_int_equal(loop_run(p->loop), 0);
	assert_int_equal(p->calls, 1);
}

static void
count(void *arg, uint32_t events)
{
	struct probe *p = arg;

	(void)events;
	p->calls++;
}

/* A hang-up that nobody wants to know of does not spin. */
static void
test_paused_is_silent(void **state)
{
	struct probe *p = *state;
	struct loop_io *io = loop_io_add(p->loop, p->pair[0], EPOLLIN, count, p);

	assert_int_equal(loop_io_set(io, 0), 0);
	shutdown(p->pair[1], SHUT_RDWR);
	loop_timer_add(p->loop, 20, stop, p);
	assert_int_equal(loop_run(p->loop), 0);
	assert_int_equal(p->calls, 0);
	assert_int_equal(loop_io_set(io, EPOLLIN), 0);
	loop_timer_add(p->loop, 20, stop, p);
	assert_int_equal(loop_run(p->loop), 0);
	assert_true(p->calls > 0);
	loop_io_del(io);
}

static void
test_bad_descriptor(void **state)
{
	struct probe *p = *state;

	assert_null(loop_io_add(p->loop, 9999, EPOLLIN, count, p));
}

static void
on_child(void *arg, pid_t pid, int status)
{
	struct probe *p = arg;

	assert_true(pid > 0);
	p->status = status;
	p->calls++;
	loop_timer_add(p->loop, 0, stop, p);
}

static pid_t
child(int code)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(code);
	assert_true(pid > 0);
	return pid;
}

static void
test_children(void **state)
{
	struct probe *p = *state;
	pid_t orphan = child(1), watched = child(42), unwatched = child(2);

	loop_child_watch(p->loop, watched, on_child, p);
	loop_child_watch(p->loop, unwatched, on_child, p);
	loop_child_unwatch(p->loop, unwatched);
	assert_int_equal(loop_run(p->loop), 0);
	assert_int_equal(p->calls, 1);
	assert_int_equal(WEXITSTATUS(p->status), 42);
	/* The others have been reaped, or are within a few rounds. */
	while (kill(orphan, 0) == 0 || kill(unwatched, 0) == 0) {
		loop_timer_add(p->loop, 5, stop, p);
		assert_int_equal(loop_run(p->loop), 0);
	}
	assert_int_equal(p->calls, 1);
}

static void
test_stop_before_run(void **state)
{
	struct probe *p = *state;

	loop_stop(p->loop);
	assert_int_equal(loop_run(p->loop), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_timers_in_order),
		TEST(test_timer_starves_nobody),
		TEST(test_delete_in_callback),
		TEST(test_paused_is_silent),
		TEST(test_bad_descriptor),
		TEST(test_children),
		TEST(test_stop_before_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
