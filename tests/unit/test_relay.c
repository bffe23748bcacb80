#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include <base/cleanup.h>
#include <base/clock.h>

#include "net_peers.h"
#include "relay.h"
#include "sock.h"

#define MIB (1024 * 1024)

/* guest and remote are our ends; the relay has the others and runs in a thread of its own. */
struct rig {
	uv_loop_t loop;
	struct pipes pipes;
	int guest, remote, inner_guest, inner_remote;
	pthread_t thread;
	enum relay_end end;
	uint64_t up, down;
	int ended;
};

static void
on_end(void *arg, enum relay_end end, uint64_t up, uint64_t down)
{
	struct rig *g = arg;

	g->end = end;
	g->up = up;
	g->down = down;
	g->ended++;
}

static void *
run_loop(void *arg)
{
	struct rig *g = arg;

	uv_run(&g->loop, UV_RUN_DEFAULT);
	return NULL;
}

static void
rig_connect(struct rig *g)
{
	peer_pair(&g->guest, &g->inner_guest);
	peer_pair(&g->remote, &g->inner_remote);
	fcntl(g->inner_guest, F_SETFL, O_NONBLOCK);
	fcntl(g->inner_remote, F_SETFL, O_NONBLOCK);
	sock_tune(g->inner_guest);
	sock_tune(g->inner_remote);
}

static void
rig_run(struct rig *g)
{
	assert_int_equal(uv_loop_init(&g->loop), 0);
	assert_non_null(
		relay_start(&g->loop, &g->pipes, g->inner_guest, g->inner_remote, NULL, on_end, g));
	assert_int_equal(pthread_create(&g->thread, NULL, run_loop, g), 0);
}

static void
rig_start(struct rig *g)
{
	memset(g, 0, sizeof(*g));
	rig_connect(g);
	rig_run(g);
}

/* Waits for the relay's own end. */
static void
rig_finish(struct rig *g, enum relay_end want)
{
	struct timespec limit;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += PEER_LIMIT_S;
	assert_int_equal(pthread_timedjoin_np(g->thread, NULL, &limit), 0);
	assert_int_equal(g->ended, 1);
	assert_int_equal(g->end, want);
	assert_int_equal(uv_loop_close(&g->loop), 0);
	if (g->guest >= 0)
		close(g->guest);
	if (g->remote >= 0)
		close(g->remote);
	/* Whatever is in the pool is empty. */
	for (size_t i = 0; i < g->pipes.nspare; i++) {
		char c;

		assert_int_equal(read(g->pipes.spare[i].read_fd, &c, 1), -1);
		assert_int_equal(errno, EAGAIN);
	}
	pipes_release(&g->pipes);
}

struct transfer {
	int fd;
	uint64_t seed;
	size_t total;
	bool send, ok;
};

static void *
run_transfer(void *arg)
{
	struct transfer *t = arg;

	if (!t->send) {
		t->ok = stream_check(t->fd, t->seed, t->total);
		return NULL;
	}
	t->ok = stream_send(t->fd, t->seed, t->total);
	shutdown(t->fd, SHUT_WR);
	return NULL;
}

static void
test_bulk_both_ways(void **state)
{
	struct rig g;
	pthread_t threads[4];

	(void)state;
	rig_start(&g);
	struct transfer t[4] = {
		{g.guest, 11, 100 * MIB, true, false},
		{g.remote, 11, 100 * MIB, false, false},
		{g.remote, 22, 100 * MIB + 7, true, false},
		{g.guest, 22, 100 * MIB + 7, false, false},
	};
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_transfer, &t[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 4; i++)
		assert_true(t[i].ok);
	rig_finish(&g, RELAY_DONE);
	assert_int_equal(g.up, 100 * MIB);
	assert_int_equal(g.down, 100 * MIB + 7);
}

static void
test_half_close(void **state)
{
	struct rig g;
	struct transfer t;
	pthread_t thread;

	(void)state;
	rig_start(&g);
	peer_send(g.guest, "request");
	shutdown(g.guest, SHUT_WR);
	peer_expect(g.remote, "request");
	peer_expect_end(g.remote);
	/* The other direction is still open, for as long as it likes. */
	t = (struct transfer){g.remote, 5, 4 * MIB, true, false};
	pthread_create(&thread, NULL, run_transfer, &t);
	assert_true(stream_check(g.guest, 5, 4 * MIB));
	pthread_join(thread, NULL);
	assert_true(t.ok);
	rig_finish(&g, RELAY_DONE);
	assert_int_equal(g.up, 7);
}

static void
test_empty(void **state)
{
	struct rig g;

	(void)state;
	rig_start(&g);
	shutdown(g.remote, SHUT_WR);
	peer_expect_end(g.guest);
	shutdown(g.guest, SHUT_WR);
	peer_expect_end(g.remote);
	rig_finish(&g, RELAY_DONE);
	assert_int_equal(g.up + g.down, 0);
}

static void
test_reset_by_remote(void **state)
{
	struct rig g;

	(void)state;
	rig_start(&g);
	peer_send(g.guest, "hello");
	peer_expect(g.remote, "hello");
	peer_reset(g.remote);
	g.remote = -1;
	peer_expect_reset(g.guest);
	rig_finish(&g, RELAY_RESET);
}

static void
test_reset_by_guest(void **state)
{
	struct rig g;

	(void)state;
	rig_start(&g);
	peer_send(g.remote, "banner");
	peer_expect(g.guest, "banner");
	peer_reset(g.guest);
	g.guest = -1;
	peer_expect_reset(g.remote);
	rig_finish(&g, RELAY_RESET);
}

/* Nothing is read from a half-closed guest any more, and still its death is noticed. */
static void
test_reset_after_half_close(void **state)
{
	struct rig g;

	(void)state;
	rig_start(&g);
	shutdown(g.guest, SHUT_WR);
	peer_expect_end(g.remote);
	peer_reset(g.guest);
	g.guest = -1;
	peer_expect_broken(g.remote);
	rig_finish(&g, RELAY_RESET);
}

/* An upload refused half-way: the answer arrives although the server then reset. */
static void
test_answer_before_reset(void **state)
{
	struct rig g;
	char block[65536] = {0};

	(void)state;
	rig_start(&g);
	fcntl(g.guest, F_SETFL, O_NONBLOCK);
	while (send(g.guest, block, sizeof(block), MSG_NOSIGNAL) > 0)
		;
	fcntl(g.guest, F_SETFL, 0);
	peer_send(g.remote, "413 too large");
	close(g.remote); /* with unread data: a reset */
	g.remote = -1;
	peer_expect(g.guest, "413 too large");
	peer_expect_reset(g.guest);
	rig_finish(&g, RELAY_RESET);
}

static uint64_t
thread_cpu_ns(pthread_t thread)
{
	struct timespec ts;
	clockid_t clock;

	assert_int_equal(pthread_getcpuclockid(thread, &clock), 0);
	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* How much a peer that nobody reads can send: until the socket stays full for a while. */
static size_t
fill(int fd, struct stream *s)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	size_t total = 0;

	while (poll(&p, 1, 300) == 1) {
		struct stream before = *s;
		uint8_t piece[100];
		ssize_t n;

		stream_fill(s, piece, sizeof(piece));
		n = send(fd, piece, sizeof(piece), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < (ssize_t)sizeof(piece)) {
			*s = before;
			stream_fill(s, piece, n > 0 ? (size_t)n : 0);
		}
		total += n > 0 ? (size_t)n : 0;
	}
	return total;
}

/* Small segments fill a pipe's slots long before its bytes. */
static void
test_slow_reader(void **state)
{
	struct rig g;
	struct stream s = {77};
	uint64_t before;
	size_t total;

	(void)state;
	rig_start(&g);
	total = fill(g.remote, &s);
	/* Bounded by socket buffers and one pipe. */
	assert_in_range(total, 10000, 64 * MIB);
	/* A full sink is waited for, not asked again and again. */
	before = thread_cpu_ns(g.thread);
	assert_int_equal(poll(NULL, 0, 300), 0); /* the time that is measured */
	assert_true(thread_cpu_ns(g.thread) - before < 100 * 1000000ULL);
	shutdown(g.remote, SHUT_WR);
	assert_true(stream_check(g.guest, 77, total));
	shutdown(g.guest, SHUT_WR);
	peer_expect_end(g.remote);
	rig_finish(&g, RELAY_DONE);
	assert_int_equal(g.down, total);
}

/* splice(2) stops at the urgent mark and poll(2) does not. */
static void
test_urgent(void **state)
{
	struct rig g;
	uint64_t before;

	(void)state;
	rig_start(&g);
	peer_send(g.guest, "abc");
	peer_expect(g.remote, "abc");
	assert_int_equal(send(g.guest, "X", 1, MSG_OOB), 1);
	peer_send(g.guest, "def");
	peer_expect(g.remote, "Xdef");
	assert_int_equal(send(g.guest, "Y", 1, MSG_OOB), 1);
	peer_expect(g.remote, "Y");
	shutdown(g.guest, SHUT_WR);
	peer_expect_end(g.remote);
	before = thread_cpu_ns(g.thread);
	assert_int_equal(poll(NULL, 0, 200), 0); /* the time that is measured */
	assert_true(thread_cpu_ns(g.thread) - before < 50 * 1000000ULL);
	peer_send(g.remote, "answer");
	peer_expect(g.guest, "answer");
	shutdown(g.remote, SHUT_WR);
	peer_expect_end(g.guest);
	rig_finish(&g, RELAY_DONE);
}

/* What is left in a pipe when its connection dies must not reach the next one. */
static void
test_no_leak_between_connections(void **state)
{
	struct rig g, h;
	struct stream s = {99};

	(void)state;
	rig_start(&g);
	fill(g.remote, &s);
	peer_reset(g.guest);
	g.guest = -1;
	peer_expect_reset(g.remote);
	h = (struct rig){0};
	rig_connect(&h);
	rig_finish(&g, RELAY_RESET);
	rig_run(&h);
	peer_send(h.guest, "mine");
	peer_expect(h.remote, "mine");
	peer_send(h.remote, "yours");
	peer_expect(h.guest, "yours");
	close(h.guest);
	h.guest = -1;
	peer_expect_end(h.remote);
	close(h.remote);
	h.remote = -1;
	rig_finish(&h, RELAY_DONE);
}

static void
test_out_of_descriptors(void **state)
{
	struct rlimit old, low;
	struct rig g;
	int next;

	(void)state;
	rig_start(&g);
	next = dup(g.guest);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = (struct rlimit){(rlim_t)next, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	peer_send(g.guest, "x");
	peer_expect_reset(g.remote);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	peer_expect_reset(g.guest);
	rig_finish(&g, RELAY_FAILED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bulk_both_ways),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_reset_by_remote),
		cmocka_unit_test(test_reset_by_guest),
		cmocka_unit_test(test_reset_after_half_close),
		cmocka_unit_test(test_answer_before_reset),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_urgent),
		cmocka_unit_test(test_no_leak_between_connections),
		cmocka_unit_test(test_out_of_descriptors),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
