/* The network log's store, its log role, and the records that it is fed with. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <audit/audit.h>
#include <base/cleanup.h>
#include <base/io.h>

static char folder[64], path[96];

static int
setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/paddock-audit-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/log.db", folder);
	return 0;
}

static int
teardown(void **state)
{
	struct err e;

	(void)state;
	return io_remove_tree(AT_FDCWD, folder, &e);
}

static struct netevent
event(enum netevent_verdict verdict, const char *host, uint16_t port)
{
	struct netevent ev = {.op = NETEVENT_ONE,
		.kind = NETEVENT_TCP,
		.verdict = verdict,
		.via = NETEVENT_TRANSPARENT,
		.port = port,
		.count = 1};

	snprintf(ev.host, sizeof(ev.host), "%s", host);
	return ev;
}

/* ---- the wire
 * ------------------------------------------------------------------------------------ */

static void
test_wire(void **state)
{
	struct netevent ev = event(NETEVENT_BLOCKED, "a.test", 443), got;
	CLEAN_BUF struct buf b = BUF_INIT;

	(void)state;
	ev.status = 403;
	ev.up = 7;
	ev.down = 1ULL << 50;
	ev.duration_ms = 12;
	strcpy(ev.method, "GET");
	strcpy(ev.path, "/x");
	strcpy(ev.rule, "<default policy>");
	strcpy(ev.reason, "why");
	netevent_encode(&ev, &b);
	assert_int_equal(netevent_decode(b.data, b.len, &got), 0);
	assert_memory_equal(&ev, &got, sizeof(ev));
	for (size_t cut = 0; cut < b.len; cut++)
		if (netevent_decode(b.data, cut, &got) == 0)
			assert_true(got.host[0] != '\0'); /* whole without its last texts */
	/* The longest there can be fits. */
	memset(ev.host, 'h', NETEVENT_HOST_MAX);
	memset(ev.method, 'm', NETEVENT_METHOD_MAX);
	memset(ev.path, 'p', NETEVENT_PATH_MAX);
	memset(ev.rule, 'r', NETEVENT_RULE_MAX);
	memset(ev.reason, 'w', NETEVENT_REASON_MAX);
	buf_clear(&b);
	netevent_encode(&ev, &b);
	assert_true(b.len <= NETEVENT_WIRE_MAX);
	assert_int_equal(netevent_decode(b.data, b.len, &got), 0);
	assert_memory_equal(&ev, &got, sizeof(ev));
}

static void
expect_bad(const struct netevent *ev)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct netevent got;

	netevent_encode(ev, &b);
	assert_int_equal(netevent_decode(b.data, b.len, &got), -EBADMSG);
}

static void
test_wire_refuses(void **state)
{
	struct netevent ev, good = event(NETEVENT_ALLOWED, "a.test", 1);

	(void)state;
#define BAD(change) (ev = good, change, expect_bad(&ev))
	BAD(ev.op = 0);
	BAD(ev.op = 9);
	BAD(ev.kind = 0);
	BAD(ev.kind = 99);
	BAD(ev.verdict = 99);
	BAD(ev.via = 0);
	BAD(ev.via = 4);
	BAD(ev.count = 0);
	BAD(ev.status = 1000);
	BAD(ev.up = (1ULL << 50) + 1);
	BAD(ev.host[0] = '\0');
	BAD(strcpy(ev.host, "a\033[2J"));
	BAD(strcpy(ev.host, "\xc3\xa4"));
	BAD(strcpy(ev.path, "/\n"));
	BAD(ev.op = NETEVENT_OPEN); /* without a number */
	BAD((ev.op = NETEVENT_OPEN, ev.conn = 1ULL << 63));
	BAD((ev = (struct netevent){.op = NETEVENT_CLOSE}));
	BAD((ev = (struct netevent){.op = NETEVENT_LOST}));
#undef BAD
	netevent_set_text(ev.host, sizeof(ev.host), "a\033\x80z\n", 5);
	assert_string_equal(ev.host, "a??z?");
}

/* ---- the store
 * ----------------------------------------------------------------------------------- */

static void
add_all(struct audit *a, const struct netevent *ev, size_t n, int64_t now)
{
	struct err e;

	assert_int_equal(audit_begin(a, &e), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(audit_add(a, &ev[i], now + (int64_t)i, &e), 0);
	assert_int_equal(audit_commit(a, &e), 0);
}

struct seen {
	size_t n;
	uint64_t count, up;
	struct audit_event first, last;
	struct audit_tally tally;
	size_t others;
};

static int
see_event(void *arg, const struct audit_event *ev)
{
	struct seen *s = arg;

	if (s->n++ == 0)
		s->first = *ev;
	s->last = *ev;
	return 0;
}

static int
see_tally(void *arg, const struct audit_tally *t)
{
	struct seen *s = arg;

	if (s->n++ == 0)
		s->tally = *t;
	s->count += t->count;
	s->up += t->ev.up;
	s->others += strcmp(t->ev.host, "(others)") == 0;
	return 0;
}

static struct seen
tallies(struct audit *a, enum netevent_verdict verdict)
{
	struct seen s = {0};
	struct err e;

	assert_int_equal(audit_tallies(a, verdict, 0, 0, see_tally, &s, &e), 0);
	return s;
}

static struct seen
events(struct audit *a, int64_t after, uint64_t limit, bool only_blocked)
{
	struct seen s = {0};
	struct err e;

	assert_int_equal(audit_events(a, after, limit, only_blocked, see_event, &s, &e), 0);
	return s;
}

static void
test_store(void **state)
{
	struct netevent ev[5] = {event(NETEVENT_ALLOWED, "a.test", 443),
		event(NETEVENT_BLOCKED, "b.test", 80), event(NETEVENT_BLOCKED, "b.test", 80),
		event(NETEVENT_ALLOWED, "c.test", 22)};
	struct audit *a = NULL, *reader = NULL;
	struct err e;
	struct seen s;

	(void)state;
	ev[2].count = 5;
	ev[3].op = NETEVENT_OPEN;
	ev[3].conn = 77;
	ev[4] = (struct netevent){
		.op = NETEVENT_CLOSE, .conn = 77, .up = 10, .down = 20, .duration_ms = 5};
	assert_int_equal(audit_open_read(path, &reader, &e), -ENOENT);
	assert_int_equal(audit_open(path, &a, &e), 0);
	add_all(a, ev, 4, 1000);
	/* A reader beside the writer. */
	assert_int_equal(audit_open_read(path, &reader, &e), 0);
	s = events(reader, 0, 0, false);
	assert_int_equal(s.n, 4);
	assert_true(s.last.open);
	add_all(a, &ev[4], 1, 2000);
	s = events(reader, 0, 0, false);
	assert_int_equal(s.n, 4);
	assert_false(s.last.open);
	assert_int_equal(s.last.ev.down, 20);
	assert_int_equal(s.last.ev.duration_ms, 5);
	assert_int_equal(s.first.time_ms, 1000);
	assert_string_equal(s.first.ev.host, "a.test");
	assert_int_equal(events(reader, s.first.id, 0, false).n, 3);
	assert_int_equal(events(reader, 0, 0, true).n, 2);
	s = events(reader, 0, 1, false); /* the newest */
	assert_int_equal(s.n, 1);
	assert_string_equal(s.last.ev.host, "c.test");
	s = tallies(reader, NETEVENT_BLOCKED);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.tally.count, 6);
	assert_int_equal(s.tally.first_ms, 1001);
	assert_int_equal(s.tally.last_ms, 1002);
	s = tallies(reader, NETEVENT_ALLOWED);
	assert_int_equal(s.n, 2);
	assert_int_equal(s.up, 10);
	/* Readers change nothing. */
	assert_true(audit_begin(reader, &e) < 0 || audit_add(reader, ev, 1, &e) < 0);
	audit_close(reader);
	audit_close(a);
}

/* A name that was asked is only worth a line where nobody went there. */
static void
test_names_asked(void **state)
{
	struct netevent ev[3] = {event(NETEVENT_ALLOWED, "a.test", 0),
		event(NETEVENT_ALLOWED, "a.test", 443), event(NETEVENT_ALLOWED, "b.test", 0)};
	struct audit *a = NULL;
	struct err e;
	struct seen s;

	(void)state;
	ev[0].kind = ev[2].kind = NETEVENT_DNS;
	assert_int_equal(audit_open(path, &a, &e), 0);
	add_all(a, ev, 3, 1);
	s = tallies(a, 0);
	assert_int_equal(s.n, 2);
	assert_string_equal(s.tally.ev.host, "b.test");
	audit_close(a);
}

/* Many more than there is room for: bounded, the newest are there, and no count is lost. */
static void
test_bounds(void **state)
{
	enum { N = AUDIT_EVENTS_MAX + 3000 };
	struct netevent ev;
	struct audit *a = NULL;
	struct err e;
	struct seen s;
	char host[32];

	(void)state;
	assert_int_equal(audit_open(path, &a, &e), 0);
	assert_int_equal(audit_begin(a, &e), 0);
	for (int i = 0; i < N; i++) {
		snprintf(host, sizeof(host), "n%d.test", i);
		ev = event(NETEVENT_BLOCKED, host, 443);
		assert_int_equal(audit_add(a, &ev, i, &e), 0);
	}
	assert_int_equal(audit_commit(a, &e), 0);
	s = events(a, 0, 0, false);
	assert_in_range(s.n, AUDIT_EVENTS_MAX, AUDIT_EVENTS_MAX + 500);
	assert_string_equal(s.last.ev.host, host);
	s = tallies(a, NETEVENT_BLOCKED);
	assert_in_range(s.n, AUDIT_TALLIES_MAX, AUDIT_TALLIES_MAX + 501);
	assert_int_equal(s.count, N);
	assert_int_equal(s.others, 1);
	assert_string_equal(s.tally.ev.host, host);
	audit_close(a);
}

/* What is no database is put aside, and the log goes on. */
static void
test_damaged(void **state)
{
	struct netevent ev = event(NETEVENT_ALLOWED, "a.test", 1);
	char aside[128];
	struct audit *a = NULL;
	struct err e;

	(void)state;
	assert_int_equal(
		io_write_file_atomic(AT_FDCWD, path, "this is not it, not at all", 26, 0600, &e),
		0);
	assert_int_equal(audit_open(path, &a, &e), 0);
	add_all(a, &ev, 1, 1);
	assert_int_equal(events(a, 0, 0, false).n, 1);
	snprintf(aside, sizeof(aside), "%s.damaged", path);
	assert_int_equal(access(aside, F_OK), 0);
	audit_close(a);
}

/* ---- the role
 * ------------------------------------------------------------------------------------ */

static int role_fd;

static void *
run_role(void *arg)
{
	struct err e;

	(void)arg;
	return (void *)(intptr_t)audit_serve(role_fd, path, &e);
}

static void
send_event(int fd, const struct netevent *ev)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	netevent_encode(ev, &b);
	assert_int_equal(send(fd, b.data, b.len, MSG_NOSIGNAL), b.len);
}

static void
test_role(void **state)
{
	struct netevent ev = event(NETEVENT_BLOCKED, "x.test", 1);
	struct audit *a = NULL;
	uint64_t lost = 0;
	pthread_t thread;
	struct err e;
	void *result;
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	role_fd = fds[1];
	assert_int_equal(pthread_create(&thread, NULL, run_role, NULL), 0);
	for (int i = 0; i < 3000; i++)
		send_event(fds[0], &ev);
	/* From a net role that was taken over. */
	assert_int_equal(send(fds[0], "rubbish", 7, 0), 7);
	ev = (struct netevent){.op = NETEVENT_LOST, .count = 4};
	send_event(fds[0], &ev);
	close(fds[0]);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_int_equal((intptr_t)result, 0);
	close(fds[1]);
	assert_int_equal(audit_open_read(path, &a, &e), 0);
	assert_int_equal(tallies(a, 0).count, 3000);
	assert_int_equal(events(a, 0, 0, false).n, 3000);
	assert_int_equal(audit_lost(a, &lost, &e), 0);
	assert_int_equal(lost, 5);
	audit_close(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wire),
		cmocka_unit_test(test_wire_refuses),
		cmocka_unit_test_setup_teardown(test_store, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_role, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
