#include <base/cleanup.h>
#include <base/clock.h>

#include "hostaddr.h"
#include "net_fakes.h"
#include "resolve.h"

struct rig {
	uv_loop_t loop;
	struct fake_resolver role;
	struct resolve *client;
	int lost;
};

struct asked {
	struct resolve_reply reply;
	int calls, errors;
};

static void
on_lost(void *arg)
{
	struct rig *g = arg;

	g->lost++;
}

static void
on_reply(void *arg, const struct resolve_reply *reply)
{
	struct asked *a = arg;

	a->reply = *reply;
	a->calls++;
	a->errors += reply->error != 0;
}

static void
rig_start(struct rig *g, uint64_t limit_ms)
{
	memset(g, 0, sizeof(*g));
	fake_resolver_start(&g->role);
	assert_int_equal(uv_loop_init(&g->loop), 0);
	g->client = resolve_new(&g->loop, g->role.sockets[0], limit_ms, on_lost, g);
	assert_non_null(g->client);
}

static void
rig_stop(struct rig *g)
{
	resolve_free(g->client);
	uv_run(&g->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&g->loop), 0);
	fake_resolver_stop(&g->role);
}

static void
run_until(struct rig *g, const int *counter, int want)
{
	uint64_t deadline = deadline_in_ms(PEER_LIMIT_S * 1000);

	while (*counter < want && deadline_left_ms(deadline) > 0)
		uv_run(&g->loop, UV_RUN_ONCE);
	assert_int_equal(*counter, want);
}

static struct asked
ask(struct rig *g, const char *name, int literal)
{
	struct asked a = {.calls = 0};

	assert_non_null(resolve_lookup(g->client, name, literal, on_reply, &a));
	assert_int_equal(a.calls, 0); /* never from within */
	run_until(g, &a.calls, 1);
	return a;
}

static void
assert_addr(const struct resolve_reply *r, uint32_t i, const char *want, int is_host)
{
	char text[IP_ADDR_TEXT_MAX];

	assert_true(i < r->n);
	ip_addr_format(&r->addrs[i].addr, text);
	assert_string_equal(text, want);
	assert_int_equal(r->addrs[i].is_host, is_host);
}

static void
test_answers(void **state)
{
	struct asked a;
	struct rig g;

	(void)state;
	rig_start(&g, 10000);
	a = ask(&g, "dual.example", 0);
	assert_int_equal(a.reply.error, 0);
	assert_int_equal(a.reply.n, 2);
	assert_addr(&a.reply, 0, FAKE_PUBLIC6, 0);
	assert_addr(&a.reply, 1, FAKE_PUBLIC, 0);
	a = ask(&g, "mixed.example", 0);
	assert_int_equal(a.reply.n, 3);
	assert_addr(&a.reply, 2, "10.0.0.1", 0);
	a = ask(&g, "own.example", 0);
	assert_addr(&a.reply, 0, FAKE_OWN, 1);
	a = ask(&g, "many.example", 0);
	assert_int_equal(a.reply.n, RESOLVE_ADDRS_MAX);
	a = ask(&g, FAKE_PUBLIC, 1);
	assert_int_equal(a.reply.n, 1);
	assert_addr(&a.reply, 0, FAKE_PUBLIC, 0);
	a = ask(&g, FAKE_OWN, 1);
	assert_addr(&a.reply, 0, FAKE_OWN, 1);
	rig_stop(&g);
}

static void
test_errors(void **state)
{
	static const struct {
		const char *name;
		int literal, error;
	} t[] = {
		{"none.example", 0, -ENOENT},
		{"again.example", 0, -EAGAIN},
		{"broken.example", 0, -EIO},
		/* The role judges names for itself, and asks nobody about these. */
		{"localhost", 0, -ENOENT},
		{"app.localhost", 0, -ENOENT},
		{"host.docker.internal", 0, -ENOENT},
		{"127.0.0.1", 0, -ENOENT},
		{"Public.example", 0, -ENOENT},
		{"a b.example", 0, -ENOENT},
		{"public.example", 1, -EINVAL},
	};
	struct rig g;

	(void)state;
	rig_start(&g, 10000);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct asked a = ask(&g, t[i].name, t[i].literal);

		assert_int_equal(a.reply.error, t[i].error);
		assert_int_equal(a.reply.n, 0);
	}
	assert_int_equal(fake_calls, 3);
	rig_stop(&g);
}

static void
test_shared_and_cancelled(void **state)
{
	struct asked a[10] = {{.calls = 0}}, other = {.calls = 0};
	struct lookup *l[10];
	struct rig g;

	(void)state;
	rig_start(&g, 10000);
	for (int i = 0; i < 10; i++) {
		l[i] = resolve_lookup(g.client, "hang.example", 0, on_reply, &a[i]);
		assert_non_null(l[i]);
	}
	lookup_cancel(l[3]);
	lookup_cancel(l[9]);
	/* Another name is not held up. */
	assert_non_null(resolve_lookup(g.client, "public.example", 0, on_reply, &other));
	run_until(&g, &other.calls, 1);
	assert_int_equal(a[0].calls, 0);
	sem_post(&fake_gate);
	run_until(&g, &a[8].calls, 1);
	for (int i = 0; i < 10; i++)
		assert_int_equal(a[i].calls, i != 3 && i != 9);
	assert_int_equal(fake_calls, 2);
	rig_stop(&g);
}

static void
test_limit(void **state)
{
	struct asked a = {.calls = 0}, b;
	uint64_t before = clock_mono_ms();
	struct rig g;

	(void)state;
	rig_start(&g, 100);
	assert_non_null(resolve_lookup(g.client, "hang.example", 0, on_reply, &a));
	run_until(&g, &a.calls, 1);
	assert_int_equal(a.reply.error, -ETIMEDOUT);
	assert_true(clock_mono_ms() - before >= 99);
	/* The answer that comes too late is nobody's. */
	sem_post(&fake_gate);
	b = ask(&g, "two.example", 0);
	assert_int_equal(b.reply.n, 2);
	assert_int_equal(a.calls, 1);
	rig_stop(&g);
}

/* Every thread hangs: what comes on top waits, and is answered once one is free. */
static void
test_all_threads_busy(void **state)
{
	struct asked hung = {.calls = 0}, a = {.calls = 0};
	uint64_t deadline = deadline_in_ms(PEER_LIMIT_S * 1000);
	struct rig g;
	char name[64];

	(void)state;
	rig_start(&g, 60000);
	for (int i = 0; i < RESOLVER_THREADS_MAX; i++) {
		snprintf(name, sizeof(name), "hang%d.example", i);
		assert_non_null(resolve_lookup(g.client, name, 0, on_reply, &hung));
	}
	while (fake_hanging < RESOLVER_THREADS_MAX && deadline_left_ms(deadline) > 0)
		sched_yield();
	assert_int_equal(fake_hanging, RESOLVER_THREADS_MAX);
	assert_non_null(resolve_lookup(g.client, "public.example", 0, on_reply, &a));
	uv_run(&g.loop, UV_RUN_NOWAIT);
	assert_int_equal(a.calls, 0);
	sem_post(&fake_gate);
	run_until(&g, &a.calls, 1);
	assert_int_equal(a.reply.error, 0);
	for (int i = 1; i < RESOLVER_THREADS_MAX; i++)
		sem_post(&fake_gate);
	run_until(&g, &hung.calls, RESOLVER_THREADS_MAX);
	rig_stop(&g);
}

static void
test_flood(void **state)
{
	struct asked a = {.calls = 0};
	struct rig g;
	int taken = 0, refused = 0;
	char name[64];

	(void)state;
	rig_start(&g, 60000);
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "n%d.example", i);
		if (resolve_lookup(g.client, name, 0, on_reply, &a) != NULL)
			taken++;
		else
			refused++;
	}
	assert_true(taken >= 1000 && refused >= 1000);
	run_until(&g, &a.calls, taken);
	assert_int_equal(a.reply.error, 0);
	/* And then there is room again. */
	assert_int_equal(ask(&g, "public.example", 0).reply.error, 0);
	rig_stop(&g);
}

/* More than the role's queue holds waits here instead, and none is refused. */
static void
test_many_slow_ones(void **state)
{
	enum { N = 2 * RESOLVER_QUEUE_MAX };
	struct asked a = {.calls = 0};
	struct rig g;
	char name[64];

	(void)state;
	rig_start(&g, 60000);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "hang%d.example", i);
		assert_non_null(resolve_lookup(g.client, name, 0, on_reply, &a));
	}
	for (int i = 0; i < N; i++)
		sem_post(&fake_gate);
	run_until(&g, &a.calls, N);
	assert_int_equal(a.errors, 0);
	rig_stop(&g);
}

static void
test_role_is_gone(void **state)
{
	struct asked a = {.calls = 0};
	struct rig g;

	(void)state;
	rig_start(&g, 200);
	assert_non_null(resolve_lookup(g.client, "hang.example", 0, on_reply, &a));
	shutdown(g.role.sockets[1], SHUT_RDWR);
	run_until(&g, &g.lost, 1);
	run_until(&g, &a.calls, 1);
	assert_int_equal(a.reply.error, -ETIMEDOUT);
	rig_stop(&g);
}

/* Whoever took net over can send the role anything; it answers what is a request. */
static void
test_role_against_junk(void **state)
{
	struct fake_resolver role;
	struct resolve_request q = {.id = 7};
	struct resolve_reply reply;
	char junk[1024];

	(void)state;
	fake_resolver_start(&role);
	peer_limit(role.sockets[0]);
	memset(junk, 'x', sizeof(junk));
	for (size_t n = 1; n < sizeof(junk); n += 13)
		assert_int_equal(send(role.sockets[0], junk, n, 0), n);
	memset(q.name, 'x', sizeof(q.name)); /* no end */
	assert_int_equal(send(role.sockets[0], &q, sizeof(q), 0), sizeof(q));
	q.id = 8;
	strcpy(q.name, "public.example");
	assert_int_equal(send(role.sockets[0], &q, sizeof(q), 0), sizeof(q));
	assert_int_equal(recv(role.sockets[0], &reply, sizeof(reply), 0), sizeof(reply));
	assert_int_equal(reply.id, 8);
	assert_int_equal(reply.error, 0);
	assert_int_equal(reply.n, 1);
	fake_resolver_stop(&role);
}

/* More than its queue holds: refused at once, each with its number. */
static void
test_role_overflow(void **state)
{
	enum { N = RESOLVER_QUEUE_MAX + RESOLVER_THREADS_MAX + 50 };
	struct fake_resolver role;
	struct resolve_reply reply;
	int refused = 0;

	(void)state;
	fake_resolver_start(&role);
	peer_limit(role.sockets[0]);
	for (uint32_t i = 0; i < N; i++) {
		struct resolve_request q = {.id = i};

		snprintf(q.name, sizeof(q.name), "hang%u.example", i);
		assert_int_equal(send(role.sockets[0], &q, sizeof(q), 0), sizeof(q));
		/* Its threads start meanwhile; without waiting for them the count would vary. */
		while (i < RESOLVER_THREADS_MAX && fake_hanging <= (int)i)
			sched_yield();
	}
	while (refused < 50) {
		assert_int_equal(recv(role.sockets[0], &reply, sizeof(reply), 0), sizeof(reply));
		assert_int_equal(reply.error, -EAGAIN);
		assert_true(reply.id >= N - 50);
		refused++;
	}
	assert_int_equal(recv(role.sockets[0], &reply, sizeof(reply), MSG_DONTWAIT), -1);
	fake_resolver_stop(&role);
}

/* Against the kernel's own table. */
static void
test_hostaddr(void **state)
{
	static const struct {
		const char *text;
		int want;
	} t[] = {
		{"127.0.0.1", 1},
		{"127.9.9.9", 1},
		{"::1", 1},
		{"255.255.255.255", 1},
		{"198.51.100.7", 0},
		{"2001:db8:7::7", 0},
	};
	struct hostaddr h;

	(void)state;
	assert_int_equal(hostaddr_open(&h), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct ip_addr a;

		assert_int_equal(ip_addr_parse(t[i].text, &a), 0);
		if (hostaddr_is_local(&h, &a) != t[i].want)
			fail_msg("%s", t[i].text);
	}
	hostaddr_close(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_shared_and_cancelled),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_all_threads_busy),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_many_slow_ones),
		cmocka_unit_test(test_role_is_gone),
		cmocka_unit_test(test_role_against_junk),
		cmocka_unit_test(test_role_overflow),
		cmocka_unit_test(test_hostaddr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
