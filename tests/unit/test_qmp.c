/* The QMP client against a fake QEMU: a thread that plays a script on the other end. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <vmm/vmm.h>

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"
#define LIMIT_MS 5000

/* Steps of the fake: text to send, or NULL to await one command line first. */
struct peer {
	int fd;
	const char *const *script;
	size_t cut;       /* bytes per write; 0: all at once */
	char heard[2048]; /* what the client said */
	pthread_t thread;
};

static void
hear_line(struct peer *p)
{
	size_t n = strlen(p->heard);
	char c = 0;

	while (c != '\n' && n < sizeof(p->heard) - 1) {
		if (io_read_full(p->fd, &c, 1, deadline_in_ms(LIMIT_MS)) < 0)
			return;
		p->heard[n++] = c;
	}
}

static void
say(struct peer *p, const char *text)
{
	size_t n = strlen(text), step = p->cut > 0 ? p->cut : n;

	for (size_t at = 0; at < n; at += step) {
		size_t now = n - at < step ? n - at : step;

		if (send(p->fd, text + at, now, MSG_NOSIGNAL) < 0)
			return;
	}
}

static void *
peer_main(void *arg)
{
	struct peer *p = arg;

	for (const char *const *s = p->script; *s != NULL; s++) {
		if (strcmp(*s, "HEAR") == 0)
			hear_line(p);
		else if (strcmp(*s, "CLOSE") == 0)
			shutdown(p->fd, SHUT_RDWR);
		else
			say(p, *s);
	}
	return NULL;
}

static struct qmp *
peer_start(struct peer *p, const char *const *script, size_t cut)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	*p = (struct peer){.fd = sv[1], .script = script, .cut = cut};
	assert_int_equal(pthread_create(&p->thread, NULL, peer_main, p), 0);
	return qmp_new(sv[0]);
}

static void
peer_end(struct peer *p, struct qmp *q)
{
	qmp_free(q);
	pthread_join(p->thread, NULL);
	close(p->fd);
}

/* qmp_event after waiting for something to be there. */
static int
await_event(struct qmp *q, char name[64])
{
	uint64_t deadline = deadline_in_ms(LIMIT_MS);
	int r;

	while ((r = qmp_event(q, name)) == 0) {
		struct pollfd p = {.fd = qmp_fd(q), .events = POLLIN};

		if (poll(&p, 1, deadline_left_ms(deadline)) <= 0)
			return -ETIMEDOUT;
	}
	return r;
}

static const char *const talk[] = {
	GREETING,
	"HEAR",
	"{\"event\": \"RESUME\", \"timestamp\": {}}\r\n{\"return\": {}, \"id\": 1}\r\n",
	"HEAR",
	/* An event, an answer to nobody, then the answer, and another event in one go. */
	"{\"event\":\"A\\u001bB\"}\n{\"return\":{},\"id\":77}\n{\"return\":{},\"id\":2}\n"
	"{\"event\":\"SHUTDOWN\"}\n",
	"HEAR",
	"{\"id\":3,\"error\":{\"class\":\"GenericError\",\"desc\":\"no \\u0007way\"}}\n",
	"CLOSE",
	NULL,
};

static void
play_talk(size_t cut)
{
	struct peer p;
	struct qmp *q = peer_start(&p, talk, cut);
	uint64_t deadline = deadline_in_ms(LIMIT_MS);
	struct err e = {0};
	char name[64];

	assert_int_equal(qmp_hello(q, deadline, &e), 0);
	assert_int_equal(qmp_command(q, "stop", "{\"x\": [1, \"y\"]}", deadline, &e), 0);
	assert_int_equal(qmp_command(q, "quit", NULL, deadline, &e), -EIO);
	assert_string_equal(e.msg, "QEMU refused quit: no \\x07way");
	assert_int_equal(await_event(q, name), 1);
	assert_string_equal(name, "RESUME");
	assert_int_equal(await_event(q, name), 1);
	assert_string_equal(name, "A\\x1bB");
	assert_int_equal(await_event(q, name), 1);
	assert_string_equal(name, "SHUTDOWN");
	assert_int_equal(await_event(q, name), -EPIPE);
	assert_int_equal(await_event(q, name), -EPIPE);
	peer_end(&p, q);
	assert_string_equal(p.heard,
		"{\"execute\":\"qmp_capabilities\",\"id\":1}\n"
		"{\"execute\":\"stop\",\"id\":2,\"arguments\":{\"x\":[1,\"y\"]}}\n"
		"{\"execute\":\"quit\",\"id\":3}\n");
}

/* Whole, and cut into pieces of every small size. */
static void
talk_cut(void **state)
{
	(void)state;
	for (size_t cut = 0; cut < 40; cut++)
		play_talk(cut);
}

static int
hello_to(const char *first, const char *second, uint64_t limit_ms, struct err *e)
{
	const char *script[] = {first, second, NULL};
	struct peer p;
	struct qmp *q = peer_start(&p, script, 0);
	int r = qmp_hello(q, deadline_in_ms(limit_ms), e);

	peer_end(&p, q);
	return r;
}

static void
bad_peers(void **state)
{
	struct err e = {0};

	(void)state;
	assert_int_equal(hello_to("hello\n", NULL, LIMIT_MS, &e), -EBADMSG);
	assert_int_equal(hello_to("\n", NULL, LIMIT_MS, &e), -EBADMSG);
	assert_int_equal(hello_to("[]\n", NULL, LIMIT_MS, &e), -EBADMSG);
	assert_int_equal(hello_to("{\"QMP\":3}\n", NULL, LIMIT_MS, &e), -EBADMSG);
	assert_int_equal(hello_to("{\"return\":{}}\n", NULL, LIMIT_MS, &e), -EBADMSG);
	assert_int_equal(hello_to(GREETING, "nonsense\n", LIMIT_MS, &e), -EBADMSG);
	assert_int_equal(hello_to(GREETING, "[]\n", LIMIT_MS, &e), -EBADMSG);
	assert_int_equal(hello_to("CLOSE", NULL, LIMIT_MS, &e), -EPIPE);
	assert_int_equal(hello_to(GREETING, "CLOSE", LIMIT_MS, &e), -EPIPE);
	/* Neither error nor return, but with the id: refused, without a word of QEMU's. */
	assert_int_equal(hello_to(GREETING, "{\"id\":1}\n", LIMIT_MS, &e), -EIO);
	assert_non_null(strstr(e.msg, "no reason given"));
}

static void
silent_peer(void **state)
{
	uint64_t begin = clock_mono_ms(), took;
	struct err e = {0};

	(void)state;
	assert_int_equal(hello_to("{\"QMP\":", NULL, 50, &e), -ETIMEDOUT);
	assert_int_equal(hello_to(GREETING, "HEAR", 50, &e), -ETIMEDOUT);
	took = clock_mono_ms() - begin;
	assert_in_range(took, 90, LIMIT_MS);
}

/* An answer that comes after its command was given up is not taken for the next one's. */
static void
late_answer(void **state)
{
	static const char *const script[] = {GREETING, "HEAR", "{\"return\":{},\"id\":1}\n", "HEAR",
		"HEAR", "{\"return\":{},\"id\":2}\n{\"error\":{\"desc\":\"third\"},\"id\":3}\n",
		NULL};
	struct peer p;
	struct qmp *q = peer_start(&p, script, 0);
	struct err e = {0};

	(void)state;
	assert_int_equal(qmp_hello(q, deadline_in_ms(LIMIT_MS), &e), 0);
	assert_int_equal(qmp_command(q, "a", NULL, deadline_in_ms(20), &e), -ETIMEDOUT);
	assert_int_equal(qmp_command(q, "b", NULL, deadline_in_ms(LIMIT_MS), &e), -EIO);
	assert_string_equal(e.msg, "QEMU refused b: third");
	peer_end(&p, q);
}

static char flood[(1 << 20) + 4096];

static void
oversize_line(void **state)
{
	struct err e = {0};

	(void)state;
	memset(flood, ' ', sizeof(flood) - 1);
	assert_int_equal(hello_to(flood, NULL, LIMIT_MS, &e), -EMSGSIZE);
}

/* Nobody asks for events: the latest 64 are kept. */
static void
event_flood(void **state)
{
	static char many[200 * 24];
	const char *script[] = {many, "CLOSE", NULL};
	struct peer p;
	struct qmp *q;
	char name[64], first[64] = "";
	size_t n = 0, at = 0;
	struct err e = {0};

	(void)state;
	for (int i = 0; i < 200; i++)
		at += (size_t)snprintf(many + at, sizeof(many) - at, "{\"event\":\"E%d\"}\n", i);
	q = peer_start(&p, script, 0);
	assert_int_equal(qmp_hello(q, deadline_in_ms(LIMIT_MS), &e), -EPIPE);
	while (qmp_event(q, name) == 1)
		if (n++ == 0)
			memcpy(first, name, sizeof(first));
	assert_int_equal(n, 64);
	assert_string_equal(first, "E136");
	peer_end(&p, q);
}

static void
bad_arguments(void **state)
{
	const char *script[] = {NULL};
	struct peer p;
	struct qmp *q = peer_start(&p, script, 0);
	struct err e = {0};

	(void)state;
	assert_int_equal(qmp_command(q, "x", "[1]", deadline_in_ms(10), &e), -EINVAL);
	assert_int_equal(qmp_command(q, "x", "{", deadline_in_ms(10), &e), -EINVAL);
	peer_end(&p, q);
}

#define VERSION_7 "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":22,\"minor\":2,\"major\":7}}}}\n"
#define OK(id)    "{\"return\":{},\"id\":" id "}\n"

static const char *const saving[] = {VERSION_7, "HEAR", OK("1"), "HEAR", OK("2"), "HEAR",
	"{\"event\":\"STOP\"}\n" OK("3"), "HEAR", OK("4"), "HEAR", OK("5"), NULL};

static void
saves(void **state)
{
	CLEAN_CLOSE int fd = io_memfd("x", "", 0, NULL);
	struct peer p;
	struct qmp *q = peer_start(&p, saving, 0);
	uint64_t deadline = deadline_in_ms(LIMIT_MS);
	unsigned major = 0, minor = 0;
	struct err e = {0};

	(void)state;
	assert_int_equal(qmp_hello(q, deadline, &e), 0);
	qmp_version(q, &major, &minor);
	assert_int_equal(major, 7);
	assert_int_equal(minor, 2);
	if (qmp_save(q, fd, deadline, &e) < 0)
		fail_msg("%s", e.msg);
	peer_end(&p, q);
	assert_non_null(strstr(p.heard,
		"{\"execute\":\"stop\",\"id\":2}\n"
		"{\"execute\":\"add-fd\",\"id\":3,\"arguments\":{\"fdset-id\":1}}\n"
		"{\"execute\":\"xen-save-devices-state\",\"id\":4,\"arguments\":"
		"{\"filename\":\"/dev/fdset/1\",\"live\":false}}\n"
		"{\"execute\":\"remove-fd\",\"id\":5,\"arguments\":{\"fdset-id\":1}}\n"));
}

/* The descriptor is taken back all the same, and what is told is the first cause. */
static void
save_fails(void **state)
{
	static const char *const script[] = {GREETING, "HEAR", OK("1"), "HEAR", OK("2"), "HEAR",
		OK("3"), "HEAR", "{\"error\":{\"desc\":\"no\\u0007room\"},\"id\":4}\n", "HEAR",
		"{\"error\":{\"desc\":\"not found\"},\"id\":5}\n", NULL};
	CLEAN_CLOSE int fd = io_memfd("x", "", 0, NULL);
	struct peer p;
	struct qmp *q = peer_start(&p, script, 0);
	struct err e = {0};

	(void)state;
	assert_int_equal(qmp_hello(q, deadline_in_ms(LIMIT_MS), &e), 0);
	assert_int_equal(qmp_save(q, fd, deadline_in_ms(LIMIT_MS), &e), -EIO);
	assert_non_null(strstr(e.msg, "refused xen-save-devices-state: no\\x07room"));
	peer_end(&p, q);
	assert_non_null(strstr(p.heard, "remove-fd"));
}

/* Never answered: given up. */
static void
save_hangs(void **state)
{
	static const char *const script[] = {
		GREETING, "HEAR", OK("1"), "HEAR", OK("2"), "HEAR", OK("3"), NULL};
	CLEAN_CLOSE int fd = io_memfd("x", "", 0, NULL);
	struct peer p;
	struct qmp *q = peer_start(&p, script, 0);
	struct err e = {0};

	(void)state;
	assert_int_equal(qmp_hello(q, deadline_in_ms(LIMIT_MS), &e), 0);
	assert_int_equal(qmp_save(q, fd, deadline_in_ms(300), &e), -ETIMEDOUT);
	peer_end(&p, q);
}

static int
address_of(const char *answer, uint64_t *ret)
{
	const char *script[] = {GREETING, "HEAR", OK("1"), "HEAR", answer, NULL};
	struct peer p;
	struct qmp *q = peer_start(&p, script, 0);
	struct err e = {0};
	int r;

	assert_int_equal(qmp_hello(q, deadline_in_ms(LIMIT_MS), &e), 0);
	r = qmp_memory_address(q, ret, deadline_in_ms(LIMIT_MS), &e);
	peer_end(&p, q);
	return r;
}

static void
tells_where_its_memory_is(void **state)
{
	uint64_t at = 0;

	(void)state;
	assert_int_equal(address_of("{\"return\":\"Host virtual address for 0x0 (ram) is "
				    "0x7f12a4000000\\r\\n\",\"id\":2}\n",
				 &at),
		0);
	assert_int_equal(at, 0x7f12a4000000);
	assert_int_equal(
		address_of(
			"{\"return\":\"Memory at address 0x0 is not RAM\\r\\n\",\"id\":2}\n", &at),
		-EBADMSG);
	assert_int_equal(address_of("{\"return\":{},\"id\":2}\n", &at), -EBADMSG);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(talk_cut),
		cmocka_unit_test(bad_peers),
		cmocka_unit_test(silent_peer),
		cmocka_unit_test(late_answer),
		cmocka_unit_test(oversize_line),
		cmocka_unit_test(event_flood),
		cmocka_unit_test(bad_arguments),
		cmocka_unit_test(saves),
		cmocka_unit_test(save_fails),
		cmocka_unit_test(save_hangs),
		cmocka_unit_test(tells_where_its_memory_is),
	};

	/* As the supervisor does: a peer may be gone before a command is written to it. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
