/*
 * UDP that a rule opens, and the log of all that is refused, through the jail's real network. The
 * guest does one step after the other; between two of them this side, which is the supervisor and
 * the origins too, looks at what was logged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/io.h>

#include "net_world.h"
#include "resolver.h"

#define OPEN_NAME  "udp.test"
#define OPEN_PORT  4433
#define DENIED     "other.test" /* at a port that is open, by no rule */
#define DEAD       "dead.test"  /* allowed, and nobody is there */
#define FLOOD_PORT 9
#define FLOOD      20000
#define SLOW       "slow.test" /* it takes long to look up, at a port of its own */
#define WAITING    8           /* datagrams that wait for that */
#define RULES                                                                                      \
	"locked\nallow " OPEN_NAME ":4433/udp\nallow " DEAD ":4433/udp\nallow " OPEN_NAME          \
	"\nallow " SLOW ":%u/udp\nallow 127.0.0.1:%u/udp\n"

static struct netevent log_[4096];
static size_t nlog, nlost;
static uint16_t slow_port;
static int slow_gate[2]; /* a byte for each lookup */

/* --- the guest ------------------------------------------------------------------------------ */

static void
step(struct world *w)
{
	char c = 0;

	CHECK(write(w->to_parent[1], &c, 1) == 1);
	CHECK(read(w->to_guest[0], &c, 1) == 1);
}

static int
udp_to(const char *name, uint16_t port)
{
	uint32_t a = resolve_at(JAIL_GATEWAY, name);
	char text[INET_ADDRSTRLEN];
	int fd;

	CHECK(a != 0 && inet_ntop(AF_INET, &a, text, sizeof(text)) != NULL);
	fd = call(SOCK_DGRAM, text, port);
	CHECK(fd >= 0);
	return fd;
}

/*
 * The error comes without anybody waiting for it: by the ICMP of this datagram or, after a cut, of
 * an earlier one. Sent again where a full queue has lost it.
 */
static void
check_refused(int fd, const char *what)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int tries = PEER_LIMIT_S, error = 0;
	char c;

	while (error == 0 && tries-- > 0) {
		if (send(fd, "x", 1, 0) < 0)
			error = errno;
		else if (poll(&p, 1, 1000) == 1 && recv(fd, &c, 1, MSG_DONTWAIT) < 0)
			error = errno;
	}
	if (error != ECONNREFUSED) {
		fprintf(stderr, "%s: %s\n", what, strerror(error));
		_exit(1);
	}
	close(fd);
}

static void
check_echo(int fd, size_t n)
{
	static uint8_t out[65507], in[65507];

	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(i * 3 + n);
	CHECK(send(fd, out, n, 0) == (ssize_t)n);
	CHECK(recv(fd, in, sizeof(in), 0) == (ssize_t)n);
	CHECK(memcmp(in, out, n) == 0);
}

static void
send_raw(int protocol, const void *p, size_t n)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr("8.8.8.8")};
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, protocol);

	CHECK(fd >= 0);
	CHECK(sendto(fd, p, n, 0, (struct sockaddr *)&a, sizeof(a)) == (ssize_t)n);
	close(fd);
}

static void
run_flood(const char *to)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(FLOOD_PORT),
		.sin_addr.s_addr = inet_addr(to)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	for (int i = 0; i < FLOOD; i++)
		CHECK(sendto(fd, "flood", 5, 0, (struct sockaddr *)&a, sizeof(a)) == 5);
	close(fd);
	check_refused(call(SOCK_DGRAM, "93.184.216.35", FLOOD_PORT), "behind the flood");
}

static void
plug_in(struct world *w)
{
	static struct cable cable;
	pthread_t thread;

	enter_own_network();
	cable = (struct cable){make_nic(), w->net.tap_fd};
	CHECK(pthread_create(&thread, NULL, run_cable, &cable) == 0);
}

static void
run_guest(struct world *w)
{
	char in[100];
	int fd, many[6];

	plug_in(w);
	/* What is allowed. 4000 bytes come and go in fragments. */
	fd = udp_to(OPEN_NAME, OPEN_PORT);
	check_echo(fd, 5);
	check_echo(fd, 0);
	check_echo(fd, 1472);
	check_echo(fd, 4000);
	check_echo(fd, 60000);
	step(w); /* now somebody else sends to this flow's socket, then the origin does */
	CHECK(recv(fd, in, sizeof(in), 0) == 4 && memcmp(in, "peer", 4) == 0);
	/* What is not. */
	check_refused(udp_to(DENIED, OPEN_PORT), "other name");
	check_refused(udp_to(OPEN_NAME, OPEN_PORT + 1), "other port");
	check_refused(call(SOCK_DGRAM, "93.184.216.34", OPEN_PORT), "raw address");
	check_refused(call(SOCK_DGRAM, "127.0.0.2", 1), "control: nobody's port");
	check_refused(call(SOCK_DGRAM, "10.0.0.1", OPEN_PORT), "private address");
	check_refused(call(SOCK_DGRAM, "1.1.1.1", 853), "DNS over QUIC");
	check_refused(udp_to(DEAD, OPEN_PORT), "nobody there");
	send_raw(IPPROTO_ICMP, "\x08\0\xf7\xfe\0\1\0\0", 8);
	send_raw(132, "12345678", 8);
	send_raw(253, "12345678", 8);
	check_echo(fd, 7);
	step(w);
	/* More flows than there may be: the first ones go, and come again. */
	for (size_t i = 0; i < 6; i++)
		check_echo(many[i] = udp_to(OPEN_NAME, OPEN_PORT), i + 1);
	check_echo(many[0], 9);
	step(w); /* now net is stopped */
	run_flood("93.184.216.36");
	step(w); /* now it goes on */
	run_flood("93.184.216.34");
	step(w); /* now the rule is taken away */
	check_refused(fd, "cut");
	check_refused(many[5], "cut");
	step(w); /* now net is gone */
	check_refused(call(SOCK_DGRAM, "93.184.216.34", 77), "without net");
	_exit(0);
}

/* Between the two nothing is said, for longer than a flow lives. */
static void
run_idle_guest(struct world *w)
{
	int fd;

	plug_in(w);
	fd = udp_to(OPEN_NAME, OPEN_PORT);
	check_echo(fd, 5);
	step(w);
	check_echo(fd, 6);
	_exit(0);
}

static void
run_early_guest(struct world *w)
{
	int fd;

	plug_in(w);
	fd = udp_to(SLOW, slow_port);
	for (uint8_t i = 0; i < 2 * WAITING; i++)
		CHECK(send(fd, &i, 1, 0) == 1);
	/* By the same queue, so that net has all of them. */
	check_echo(udp_to(OPEN_NAME, OPEN_PORT), 5);
	step(w); /* now the name is known */
	CHECK(send(fd, "late", 4, 0) == 4);
	step(w);
	_exit(0);
}

/* --- the host ------------------------------------------------------------------------------- */

struct origin {
	int fd;
	struct sockaddr_in last; /* who has sent to it */
};

static int
bind_udp(struct sockaddr_in *a)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*a);

	*a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	CHECK(bind(fd, (struct sockaddr *)a, sizeof(*a)) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)a, &len) == 0);
	return fd;
}

static void *
run_echo(void *arg)
{
	static uint8_t bytes[65536];
	struct origin *o = arg;

	for (;;) {
		struct sockaddr_in from;
		socklen_t len = sizeof(from);
		ssize_t n =
			recvfrom(o->fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &len);

		if (n < 0)
			return NULL;
		o->last = from;
		(void)!sendto(o->fd, bytes, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
}

static void
read_log(struct world *w)
{
	uint8_t bytes[NETEVENT_WIRE_MAX];
	struct netevent ev;
	ssize_t n;

	while ((n = recv(w->events[0], bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
		CHECK(netevent_decode(bytes, (size_t)n, &ev) == 0);
		if (ev.op == NETEVENT_LOST)
			nlost += ev.count;
		else if (nlog < ARRAY_LEN(log_))
			log_[nlog++] = ev;
	}
}

static const struct netevent *
find_event(enum netevent_kind kind, enum netevent_verdict verdict, const char *host, uint16_t port)
{
	for (size_t i = 0; i < nlog; i++)
		if (log_[i].op != NETEVENT_CLOSE && log_[i].kind == kind &&
			log_[i].verdict == verdict && log_[i].port == port &&
			strcmp(log_[i].host, host) == 0)
			return &log_[i];
	return NULL;
}

/* Polls: what net writes comes a little later than what the guest sees. */
static const struct netevent *
expect_event(struct world *w, enum netevent_kind kind, enum netevent_verdict verdict,
	const char *host, uint16_t port)
{
	uint64_t deadline = deadline_in_ms(10000);
	const struct netevent *ev;

	for (;;) {
		struct pollfd p = {.fd = w->events[0], .events = POLLIN};

		read_log(w);
		ev = find_event(kind, verdict, host, port);
		if (ev != NULL)
			return ev;
		if (deadline_left_ms(deadline) == 0) {
			fprintf(stderr, "not in the log: %s %s:%u\n", netevent_kind_name(kind),
				host, port);
			_exit(1);
		}
		poll(&p, 1, deadline_left_ms(deadline));
	}
}

static void
check_log(struct world *w)
{
	const struct netevent *ev;

	ev = expect_event(w, NETEVENT_UDP, NETEVENT_ALLOWED, OPEN_NAME, OPEN_PORT);
	CHECK(ev->op == NETEVENT_OPEN && ev->via == NETEVENT_TRANSPARENT);
	CHECK(strcmp(ev->rule, OPEN_NAME ":4433/udp") == 0);
	ev = expect_event(w, NETEVENT_UDP, NETEVENT_BLOCKED, DENIED, OPEN_PORT);
	CHECK(strcmp(ev->rule, "<default policy>") == 0);
	expect_event(w, NETEVENT_UDP, NETEVENT_BLOCKED, OPEN_NAME, OPEN_PORT + 1);
	ev = expect_event(w, NETEVENT_UDP, NETEVENT_BLOCKED, "93.184.216.34", OPEN_PORT);
	CHECK(ev->via == NETEVENT_DIRECT);
	expect_event(w, NETEVENT_UDP, NETEVENT_BLOCKED, "10.0.0.1", OPEN_PORT);
	expect_event(w, NETEVENT_UDP, NETEVENT_BLOCKED, "1.1.1.1", 853);
	expect_event(w, NETEVENT_UDP, NETEVENT_ALLOWED, DEAD, OPEN_PORT);
	ev = expect_event(w, NETEVENT_ICMP, NETEVENT_BLOCKED, "8.8.8.8", 0);
	CHECK(strcmp(ev->reason, "ICMP is not carried (type 8)") == 0);
	ev = expect_event(w, NETEVENT_OTHER, NETEVENT_BLOCKED, "8.8.8.8", 0);
	CHECK(strcmp(ev->reason, "SCTP is not carried") == 0);
	CHECK(nlost == 0);
}

/* A flow that was used and went has its bytes in the log. */
static void
check_bytes(struct world *w, uint64_t up, uint64_t down)
{
	uint64_t deadline = deadline_in_ms(10000);

	for (;;) {
		read_log(w);
		for (size_t i = 0; i < nlog; i++)
			if (log_[i].op == NETEVENT_CLOSE && log_[i].up == up &&
				log_[i].down == down)
				return;
		CHECK(deadline_left_ms(deadline) > 0);
		sched_yield();
	}
}

/* Told as one or as few, none is untold, and none told twice: what a full queue lost last, too. */
static void
check_flood(struct world *w, const char *to, size_t lost_before)
{
	size_t records = 0, packets = 0;

	expect_event(w, NETEVENT_UDP, NETEVENT_BLOCKED, to, FLOOD_PORT);
	expect_event(w, NETEVENT_UDP, NETEVENT_BLOCKED, "93.184.216.35", FLOOD_PORT);
	for (uint64_t end = deadline_in_ms(30000); packets < FLOOD;) {
		if (deadline_left_ms(end) == 0)
			break;
		read_log(w);
		packets = nlost - lost_before;
		records = 0;
		for (size_t i = 0; i < nlog; i++)
			if (log_[i].port == FLOOD_PORT && strcmp(log_[i].host, to) == 0) {
				packets += log_[i].count;
				records++;
			}
		sched_yield();
	}
	if (packets != FLOOD || records > 1500) {
		fprintf(stderr, "%zu records, %zu packets, %zu lost\n", records, packets,
			nlost - lost_before);
		_exit(1);
	}
}

static void
set_policy(struct world *w, const char *rules)
{
	uint64_t number = 7, answer = 0;
	struct err e = {0};
	int fd = io_memfd("policy", rules, strlen(rules), &e);

	CHECK(fd >= 0);
	CHECK(io_send_fds(w->control[1], &number, sizeof(number), &fd, 1) == 0);
	CHECK(recv(w->control[1], &answer, sizeof(answer), 0) == sizeof(answer) && answer == 7);
	close(fd);
}

static void
await_step(struct world *w)
{
	char c;

	if (read(w->to_parent[0], &c, 1) != 1) {
		await(w->guest_pid); /* it has said why */
		_exit(1);
	}
}

static void
go_on(struct world *w)
{
	CHECK(write(w->to_guest[1], "x", 1) == 1);
}

/* A resolver that answers when it is let: this host, which a rule names. */
static int
slow_getaddrinfo(
	const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	const struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM};
	char c;

	(void)name;
	(void)service;
	(void)hints;
	CHECK(read(slow_gate[0], &c, 1) == 1);
	return getaddrinfo("127.0.0.1", NULL, &numeric, ret);
}

static int
slow_is_host(const struct ip_addr *a)
{
	(void)a;
	return 0;
}

static void
run_slow_resolver(struct world *w)
{
	const struct resolver_hooks hooks = {.getaddrinfo = slow_getaddrinfo,
		.freeaddrinfo = freeaddrinfo,
		.is_host = slow_is_host};
	struct err e = {0};

	close(w->resolver[0]);
	close(w->to_parent[1]);
	CHECK_OK(resolver_serve(w->resolver[1], &hooks, &e), e);
	_exit(0);
}

/* Returns the socket to which SLOW leads. */
static int
prepare(struct world *w, struct origin *o, void (*resolver)(struct world *w),
	void (*guest)(struct world *w))
{
	struct sockaddr_in a, dead, slow;
	int slow_fd = bind_udp(&slow);
	uint16_t ports[] = {OPEN_PORT, slow_port = ntohs(slow.sin_port)};
	struct err e = {0};
	char rules[512];

	make_world(w);
	snprintf(rules, sizeof(rules), RULES, slow_port, slow_port);
	CHECK_OK(policy_decode(rules, strlen(rules), &w->policy, &e), e);
	o->fd = bind_udp(&a);
	close(bind_udp(&dead));
	w->noverrides = 3;
	w->override[0] = (struct net_override){.host = OPEN_NAME, .port = OPEN_PORT};
	w->override[1] = (struct net_override){.host = DENIED, .port = OPEN_PORT};
	w->override[2] = (struct net_override){.host = DEAD, .port = OPEN_PORT};
	memcpy(&w->override[0].to, &a, sizeof(a));
	memcpy(&w->override[1].to, &a, sizeof(a));
	memcpy(&w->override[2].to, &dead, sizeof(dead));
	w->hooks.udp_flows_max = 4;
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, w->events) == 0);
	CHECK_OK(jail_net_open_udp(&w->jail, ports, ARRAY_LEN(ports), &e), e);
	CHECK(pipe2(slow_gate, O_CLOEXEC) == 0);
	peer_limit(slow_fd);
	w->net_pid = start(w, run_net);
	w->resolver_pid = start(w, resolver);
	close(w->resolver[0]);
	close(w->resolver[1]);
	close(w->control[0]);
	w->guest_pid = start(w, guest);
	close(w->to_parent[1]);
	return slow_fd;
}

static void
tear_down(struct world *w)
{
	kill(w->net_pid, SIGKILL);
	CHECK(await(w->net_pid) == 128 + SIGKILL);
	CHECK(await(w->resolver_pid) == 0);
	jail_release(&w->jail);
}

static void
body(void *arg)
{
	struct world w = {.origin = -1};
	struct sockaddr_in a;
	struct origin o;
	pthread_t echo;
	int stranger = bind_udp(&a);
	size_t lost;

	(void)arg;
	prepare(&w, &o, run_resolver, run_guest);
	CHECK(pthread_create(&echo, NULL, run_echo, &o) == 0);
	await_step(&w);
	CHECK(sendto(stranger, "evil", 4, 0, (struct sockaddr *)&o.last, sizeof(o.last)) == 4);
	CHECK(sendto(o.fd, "peer", 4, 0, (struct sockaddr *)&o.last, sizeof(o.last)) == 4);
	go_on(&w);
	await_step(&w);
	check_log(&w);
	go_on(&w);
	await_step(&w);
	check_bytes(&w, 65484, 65488); /* 5 + 0 + 1472 + 4000 + 60000 + ... */
	kill(w.net_pid, SIGSTOP);
	go_on(&w);
	await_step(&w);
	kill(w.net_pid, SIGCONT);
	check_flood(&w, "93.184.216.36", 0);
	lost = nlost;
	go_on(&w);
	await_step(&w);
	check_flood(&w, "93.184.216.34", lost);
	CHECK(find_event(NETEVENT_UDP, NETEVENT_BLOCKED, OPEN_NAME, OPEN_PORT) == NULL);
	set_policy(&w, "locked\nallow " OPEN_NAME "\n");
	expect_event(&w, NETEVENT_UDP, NETEVENT_BLOCKED, OPEN_NAME, OPEN_PORT);
	go_on(&w);
	await_step(&w);
	kill(w.net_pid, SIGKILL);
	CHECK(await(w.net_pid) == 128 + SIGKILL);
	go_on(&w);
	CHECK(await(w.guest_pid) == 0);
	CHECK(await(w.resolver_pid) == 0);
	jail_release(&w.jail);
}

/* One that is used no more goes, and the next datagram begins another. */
static void
idle_body(void *arg)
{
	struct world w = {.origin = -1, .hooks = {.udp_idle_ms = 300, .udp_unanswered_ms = 300}};
	struct origin o;
	pthread_t echo;

	(void)arg;
	prepare(&w, &o, run_resolver, run_idle_guest);
	CHECK(pthread_create(&echo, NULL, run_echo, &o) == 0);
	await_step(&w);
	check_bytes(&w, 5, 5);
	go_on(&w);
	CHECK(await(w.guest_pid) == 0);
	check_bytes(&w, 6, 6);
	tear_down(&w);
}

/* Of those that come before a name is known the first ones wait, in their order, and no more. */
static void
early_body(void *arg)
{
	struct world w = {.origin = -1};
	struct origin o;
	pthread_t echo;
	char in[100];
	int slow;

	(void)arg;
	slow = prepare(&w, &o, run_slow_resolver, run_early_guest);
	CHECK(pthread_create(&echo, NULL, run_echo, &o) == 0);
	await_step(&w);
	CHECK(recv(slow, in, sizeof(in), MSG_DONTWAIT) < 0 && errno == EAGAIN);
	CHECK(write(slow_gate[1], "x", 1) == 1);
	for (uint8_t i = 0; i < WAITING; i++)
		CHECK(recv(slow, in, sizeof(in), 0) == 1 && in[0] == i);
	go_on(&w);
	CHECK(recv(slow, in, sizeof(in), 0) == 4 && memcmp(in, "late", 4) == 0);
	await_step(&w);
	go_on(&w);
	CHECK(await(w.guest_pid) == 0);
	tear_down(&w);
}

static void
test_early(void **state)
{
	(void)state;
	assert_int_equal(run_child(early_body, NULL, 0), 0);
}

static void
test_idle(void **state)
{
	(void)state;
	assert_int_equal(run_child(idle_body, NULL, 0), 0);
}

static void
test_udp(void **state)
{
	(void)state;
	assert_int_equal(run_child(body, NULL, 0), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
