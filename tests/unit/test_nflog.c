/*
 * What a socket of NFLOG's has lost is told, and once: seen in the numbers, or by the count of a
 * socket that was full. That count is the same for UDP, by which this test plays the kernel.
 */
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>

#include "net_peers.h"
#include "nflog.h"

#define PACKET "a packet"

struct scene {
	struct nflog log;
	int kernel, fd;
	uint32_t sent;
	size_t came, lost, shown; /* shown: of the lost, those told with a packet */
};

struct message {
	struct nlmsghdr head;
	struct nfgenmsg gen;
	struct nlattr seq_attr;
	uint32_t seq;
	struct nlattr payload_attr;
	char payload[sizeof(PACKET) - 1];
};

static void
on_packet(void *arg, const uint8_t *p, size_t n, uint32_t lost)
{
	struct scene *s = arg;

	s->lost += lost;
	if (p == NULL) {
		assert_true(n == 0 && lost > 0);
		return;
	}
	assert_int_equal(n, strlen(PACKET));
	assert_memory_equal(p, PACKET, n);
	s->came++;
	s->shown += lost;
}

static void
send_packets(struct scene *s, size_t n)
{
	struct message m = {
		.head = {.nlmsg_len = sizeof(m),
			.nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET},
		.seq_attr = {.nla_len = sizeof(m.seq_attr) + sizeof(m.seq), .nla_type = NFULA_SEQ},
		.payload_attr = {.nla_len = sizeof(m.payload_attr) + sizeof(m.payload),
			.nla_type = NFULA_PAYLOAD},
		.payload = PACKET,
	};

	while (n-- > 0) {
		m.seq = htonl(s->sent++);
		assert_int_equal(send(s->kernel, &m, sizeof(m), 0), sizeof(m));
	}
}

/* Until nothing is there and every packet has come or is told as lost. */
static void
read_all(struct scene *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLIN};

	do
		nflog_read(&s->log, s->fd, on_packet, s);
	while (s->came + s->lost < s->sent && poll(&p, 1, PEER_LIMIT_S * 1000) == 1);
	assert_int_equal(s->came + s->lost, s->sent);
}

/* One message, as in a wake-up that ends early: there is room again. */
static void
read_one(struct scene *s)
{
	uint8_t bytes[1024];
	ssize_t n = recv(s->fd, bytes, sizeof(bytes), 0);

	assert_true(n > 0);
	nflog_parse(&s->log, bytes, (size_t)n, on_packet, s);
}

static void
set_scene(struct scene *s)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int room = 8192; /* for about twenty */

	*s = (struct scene){.kernel = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
		.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
	assert_int_equal(setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(connect(s->kernel, (struct sockaddr *)&a, sizeof(a)), 0);
	peer_limit(s->fd);
	nflog_init(&s->log, s->fd);
}

static void
end_scene(struct scene *s)
{
	close(s->kernel);
	close(s->fd);
}

static void
test_none(void **state)
{
	struct scene s;

	(void)state;
	set_scene(&s);
	send_packets(&s, 1);
	read_all(&s);
	send_packets(&s, 1);
	read_all(&s);
	assert_int_equal(s.came, 2);
	assert_int_equal(s.lost, 0);
	end_scene(&s);
}

static void
test_last(void **state)
{
	struct scene s;
	size_t lost;

	(void)state;
	set_scene(&s);
	send_packets(&s, 100);
	read_all(&s);
	lost = s.lost;
	assert_true(s.came > 0 && lost > 0);
	/* The next one shows the same gap, which was told. */
	send_packets(&s, 1);
	read_all(&s);
	assert_int_equal(s.lost, lost);
	assert_int_equal(s.shown, 0);
	end_scene(&s);
}

/* In between, behind, and again, where the reader gets to the end only after all of it. */
static void
test_in_between(void **state)
{
	struct scene s;
	size_t shown = 0;

	(void)state;
	set_scene(&s);
	for (int round = 0; round < 5; round++) {
		send_packets(&s, 100);
		for (int i = 0; i < 10; i++)
			read_one(&s);
		send_packets(&s, 100);
		read_all(&s);
		assert_true(s.shown > shown);
		shown = s.shown;
	}
	end_scene(&s);
}

/* Who takes the socket over answers for what is lost from then on. */
static void
test_heir(void **state)
{
	struct scene s;

	(void)state;
	set_scene(&s);
	send_packets(&s, 100);
	read_all(&s);
	s.log = (struct nflog){0};
	nflog_init(&s.log, s.fd);
	s.sent = 0;
	s.came = s.lost = 0;
	send_packets(&s, 1);
	read_all(&s);
	assert_int_equal(s.came, 1);
	assert_int_equal(s.lost, 0);
	send_packets(&s, 100);
	read_all(&s);
	assert_true(s.lost > 0);
	end_scene(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_last),
		cmocka_unit_test(test_in_between),
		cmocka_unit_test(test_heir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
