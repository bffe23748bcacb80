/*
 * The network of a jail, as the guest meets it: raw frames through the TAP against the kernel's own
 * stack with the real ruleset, as root and as an ordinary user. The traffic never leaves the
 * namespace, whatever addresses stand in it. "Nothing comes back" is shown without waiting: a ping
 * sent behind the frame is answered (the kernel works in order) while the frame was not.
 */
#include <net/if.h>
#include <netinet/in.h>
#include <linux/netfilter_ipv4.h> /* after it: both define struct in_addr */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>

#include <cmocka.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <jail/jail.h>

#include "jail_help.h"
#include "jail_wire.h"

#define WAIT_MS 5000
#define PUBLIC  "93.184.216.34"

static const struct flow guest = {JAIL_GUEST_MAC, JAIL_GUEST, PUBLIC, 40000, 80};

static struct flow
to(const char *address, uint16_t dport)
{
	struct flow w = guest;

	w.to = address;
	w.dport = dport;
	return w;
}

static void
send_frame(const struct jail_net *n, const struct frame *f, size_t size)
{
	CHECK(write(n->tap_fd, f, size) == (ssize_t)size);
}

static bool
is_pong(const struct frame *f, const void *arg)
{
	(void)arg;
	return f->eth.ether_type == htons(ETHERTYPE_IP) && f->ip.protocol == IPPROTO_ICMP &&
	       f->icmp.type == ICMP_ECHOREPLY && f->icmp.un.echo.id == htons(7777);
}

static bool
is_any(const struct frame *f, const void *arg)
{
	(void)f;
	(void)arg;
	return true;
}

static void
send_mark(const struct jail_net *n)
{
	struct flow w = to(JAIL_GATEWAY, 0);
	struct frame f;

	w.sport = 7777;
	send_frame(n, &f, frame_ping(&f, &w));
}

/* The frame, then a ping: the first that comes back is the ping's answer. */
static void
check_silent(const struct jail_net *n, const struct frame *f, size_t size)
{
	struct frame in;

	send_frame(n, f, size);
	send_mark(n);
	CHECK(frame_wait(n->tap_fd, &in, is_any, NULL, WAIT_MS));
	CHECK(is_pong(&in, NULL));
}

/* The frame comes back as an ICMP error of this code, from the gateway, before the mark's answer.
 */
static void
check_rejected(const struct jail_net *n, const struct frame *f, size_t size, uint8_t code)
{
	struct frame in;

	send_frame(n, f, size);
	send_mark(n);
	CHECK(frame_wait(n->tap_fd, &in, is_any, NULL, WAIT_MS));
	CHECK(in.ip.protocol == IPPROTO_ICMP && in.icmp.type == ICMP_DEST_UNREACH);
	CHECK(in.icmp.code == code);
	CHECK(in.ip.daddr == inet_addr(JAIL_GUEST));
	/* RFC 792: the header that it is about, with the address that the guest had used. */
	CHECK(memcmp(in.bytes + sizeof(in.icmp), &f->ip, sizeof(f->ip)) == 0);
	CHECK(frame_wait(n->tap_fd, &in, is_any, NULL, WAIT_MS) && is_pong(&in, NULL));
}

static bool
is_tcp(const struct frame *f, const void *arg)
{
	const struct flow *w = arg;

	return f->eth.ether_type == htons(ETHERTYPE_IP) && f->ip.protocol == IPPROTO_TCP &&
	       f->ip.saddr == inet_addr(w->to) && f->tcp.source == htons(w->dport) &&
	       f->tcp.dest == htons(w->sport);
}

static int
accept_wait(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	CHECK(poll(&p, 1, WAIT_MS) == 1);
	return accept4(fd, NULL, NULL, SOCK_CLOEXEC);
}

/* The guest connects: the handshake by hand, the listener's socket knows where it was going. */
static int
check_connects(const struct jail_net *n, const struct flow *w)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	struct frame f, in;
	int fd;

	send_frame(n, &f, frame_tcp(&f, w, TH_SYN, 1000, 0));
	CHECK(frame_wait(n->tap_fd, &in, is_tcp, w, WAIT_MS));
	CHECK((in.tcp.th_flags & (TH_SYN | TH_ACK | TH_RST)) == (TH_SYN | TH_ACK));
	CHECK(ntohl(in.tcp.ack_seq) == 1001);
	send_frame(n, &f, frame_tcp(&f, w, TH_ACK, 1001, ntohl(in.tcp.seq) + 1));
	fd = accept_wait(n->tcp_fd);
	CHECK(fd >= 0);
	CHECK(getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, &a, &len) == 0);
	CHECK(a.sin_addr.s_addr == inet_addr(w->to) && a.sin_port == htons(w->dport));
	len = sizeof(a);
	CHECK(getpeername(fd, (struct sockaddr *)&a, &len) == 0);
	CHECK(a.sin_addr.s_addr == inet_addr(JAIL_GUEST) && a.sin_port == htons(w->sport));
	return fd;
}

static void
check_tcp(const struct jail_net *n)
{
	static const struct {
		const char *to;
		uint16_t port;
	} cases[] = {{PUBLIC, 80}, {PUBLIC, 443}, {"8.8.8.8", 53}, {JAIL_GATEWAY, JAIL_TCP_PORT},
		{JAIL_GATEWAY, 22}, {"198.18.1.7", 443}, {"10.0.0.1", 22}, {"169.254.169.254", 80},
		{"127.0.0.1", 80}, {"192.168.1.1", 65535}, {"1.1.1.1", 853}};
	struct flow w;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		w = to(cases[i].to, cases[i].port);
		w.sport = (uint16_t)(41000 + i);
		close(check_connects(n, &w));
	}
}

/* Data flows on the redirected connection, and comes back from the address that the guest knows. */
static void
check_tcp_data(const struct jail_net *n)
{
	struct flow w = to(PUBLIC, 8080);
	struct frame in;
	int fd;

	w.sport = 42000;
	fd = check_connects(n, &w);
	CHECK(write(fd, "hello", 5) == 5);
	CHECK(frame_wait(n->tap_fd, &in, is_tcp, &w, WAIT_MS));
	while ((in.tcp.th_flags & TH_PUSH) == 0)
		CHECK(frame_wait(n->tap_fd, &in, is_tcp, &w, WAIT_MS));
	CHECK(memcmp(in.bytes + in.tcp.doff * 4, "hello", 5) == 0);
	close(fd);
}

/* A segment of no connection is reset, from the address that it was sent to. */
static void
check_tcp_stray(const struct jail_net *n)
{
	struct flow w = to(PUBLIC, 9999);
	struct frame f, in;

	w.sport = 43000;
	send_frame(n, &f, frame_tcp(&f, &w, TH_ACK, 5, 5));
	CHECK(frame_wait(n->tap_fd, &in, is_tcp, &w, WAIT_MS) && (in.tcp.th_flags & TH_RST) != 0);
	/* Flags that no TCP sends: connection tracking will not redirect them. Reset all the same.
	 */
	w.sport = 43001;
	send_frame(n, &f, frame_tcp(&f, &w, TH_SYN | TH_FIN, 5, 0));
	CHECK(frame_wait(n->tap_fd, &in, is_tcp, &w, WAIT_MS) && (in.tcp.th_flags & TH_RST) != 0);
	CHECK(accept4(n->tcp_fd, NULL, NULL, 0) < 0 && errno == EAGAIN);
}

static void
check_dns(const struct jail_net *n)
{
	static const char *const servers[] = {"8.8.8.8", JAIL_GATEWAY, "192.168.0.1"};
	struct frame f, in;
	struct sockaddr_in from;
	char got[64];

	for (size_t i = 0; i < ARRAY_LEN(servers); i++) {
		struct pollfd p = {.fd = n->dns_fd, .events = POLLIN};
		struct flow w = to(servers[i], 53);
		socklen_t len = sizeof(from);

		w.sport = (uint16_t)(44000 + i);
		send_frame(n, &f, frame_udp(&f, &w, "question", 8));
		CHECK(poll(&p, 1, WAIT_MS) == 1);
		CHECK(recvfrom(n->dns_fd, got, sizeof(got), 0, (struct sockaddr *)&from, &len) ==
			8);
		CHECK(memcmp(got, "question", 8) == 0);
		CHECK(from.sin_addr.s_addr == inet_addr(JAIL_GUEST));
		CHECK(from.sin_port == htons(w.sport));
		CHECK(sendto(n->dns_fd, "answer", 6, 0, (struct sockaddr *)&from, len) == 6);
		/* It has to come from the server that was asked. */
		CHECK(frame_wait(n->tap_fd, &in, is_any, NULL, WAIT_MS));
		CHECK(in.ip.protocol == IPPROTO_UDP && in.ip.saddr == inet_addr(servers[i]));
		CHECK(in.udp.source == htons(53) && in.udp.dest == htons(w.sport));
		CHECK(memcmp(in.bytes + sizeof(in.udp), "answer", 6) == 0);
	}
}

static void
check_udp_rejected(const struct jail_net *n)
{
	static const uint16_t ports[] = {443, 123, 853, 3129, 65535, 67};
	static const char *const addresses[] = {PUBLIC, JAIL_GATEWAY, "10.1.2.3", "127.0.0.1"};
	struct frame f;

	for (size_t i = 0; i < ARRAY_LEN(ports); i++)
		for (size_t k = 0; k < ARRAY_LEN(addresses); k++) {
			struct flow w = to(addresses[k], ports[i]);

			check_rejected(n, &f, frame_udp(&f, &w, "x", 1), ICMP_PORT_UNREACH);
		}
	/* Far beyond the kernel's default of six errors at once: none may be withheld. */
	for (int i = 0; i < 200; i++) {
		struct flow w = to(PUBLIC, 443);

		w.sport = (uint16_t)(50000 + i);
		check_rejected(n, &f, frame_udp(&f, &w, "x", 1), ICMP_PORT_UNREACH);
	}
}

static void
check_other_protocols(const struct jail_net *n)
{
	static const uint8_t protocols[] = {2, 33, 41, 47, 50, 89, 132, 255};
	struct flow w = to(PUBLIC, 0);
	struct frame f;

	check_rejected(n, &f, frame_ping(&f, &w), ICMP_PKT_FILTERED);
	w = to("10.0.0.1", 0);
	check_rejected(n, &f, frame_ping(&f, &w), ICMP_PKT_FILTERED);
	for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
		frame_eth(&f, w.mac, ETHERTYPE_IP);
		check_rejected(n, &f, frame_ip(&f, &w, protocols[i], 32, -1), ICMP_PROT_UNREACH);
	}
	/* No answer to an ICMP that is no question (RFC 1122 3.2.2): redirects, errors, timestamps.
	 */
	for (uint8_t type = 3; type < 18; type++) {
		if (type == ICMP_ECHO)
			continue;
		frame_ping(&f, &w);
		f.icmp.type = type;
		f.icmp.checksum = 0;
		check_silent(n, &f, frame_ip(&f, &w, IPPROTO_ICMP, sizeof(f.icmp) + 8, 2));
	}
}

static bool
is_arp_reply(const struct frame *f, const void *arg)
{
	(void)arg;
	return f->eth.ether_type == htons(ETHERTYPE_ARP) &&
	       f->arp.ea_hdr.ar_op == htons(ARPOP_REPLY);
}

static void
check_arp(const struct jail_net *n)
{
	struct flow w = to(JAIL_GATEWAY, 0);
	struct ether_addr mac;
	struct frame f, in;

	ether_aton_r(JAIL_GATEWAY_MAC, &mac);
	send_frame(n, &f, frame_arp(&f, &w));
	CHECK(frame_wait(n->tap_fd, &in, is_arp_reply, NULL, WAIT_MS));
	CHECK(memcmp(in.arp.arp_sha, &mac, 6) == 0);
	CHECK(memcmp(in.arp.arp_spa, &(in_addr_t){inet_addr(JAIL_GATEWAY)}, 4) == 0);
	/* Nobody else is here, and nobody else may ask. */
	w = to("198.18.0.3", 0);
	check_silent(n, &f, frame_arp(&f, &w));
	w = to(PUBLIC, 0);
	check_silent(n, &f, frame_arp(&f, &w));
	w = to(JAIL_GATEWAY, 0);
	w.from = "198.18.0.3";
	check_silent(n, &f, frame_arp(&f, &w));
	w = to(JAIL_GATEWAY, 0);
	w.mac = "02:70:61:64:64:77";
	check_silent(n, &f, frame_arp(&f, &w));
	/* Gratuitous: "the gateway is me", "the guest is somebody else". */
	w = to(JAIL_GATEWAY, 0);
	w.from = JAIL_GATEWAY;
	check_silent(n, &f, frame_arp(&f, &w));
}

/* Another source address or MAC: no TCP, no DNS, no error messages either (they are spoofed). */
static void
check_spoofed(const struct jail_net *n)
{
	static const struct flow liars[] = {{JAIL_GUEST_MAC, "198.18.0.3", PUBLIC, 45000, 80},
		{JAIL_GUEST_MAC, JAIL_GATEWAY, PUBLIC, 45001, 80},
		{JAIL_GUEST_MAC, "127.0.0.1", PUBLIC, 45002, 80},
		{JAIL_GUEST_MAC, "10.0.0.1", JAIL_GATEWAY, 45003, JAIL_TCP_PORT},
		{JAIL_GUEST_MAC, "0.0.0.0", "255.255.255.255", 68, 67},
		{"02:70:61:64:64:77", JAIL_GUEST, PUBLIC, 45004, 80},
		{JAIL_GATEWAY_MAC, JAIL_GUEST, PUBLIC, 45005, 80}};
	struct flow honest = to(PUBLIC, 80);
	struct frame f;
	char c;

	for (size_t i = 0; i < ARRAY_LEN(liars); i++) {
		struct flow w = liars[i];

		check_silent(n, &f, frame_tcp(&f, &w, TH_SYN, 1, 0));
		check_silent(n, &f, frame_udp(&f, &w, "x", 1));
		check_silent(n, &f, frame_ping(&f, &w));
		w.dport = 53;
		check_silent(n, &f, frame_udp(&f, &w, "x", 1));
	}
	CHECK(accept4(n->tcp_fd, NULL, NULL, 0) < 0 && errno == EAGAIN);
	CHECK(recv(n->dns_fd, &c, 1, 0) < 0 && errno == EAGAIN);
	honest.sport = 45100;
	close(check_connects(n, &honest));
}

/* IPv6, VLAN tags, other EtherTypes, scraps: nobody there. */
static void
check_other_frames(const struct jail_net *n)
{
	static const uint16_t types[] = {
		ETHERTYPE_IPV6, 0x8100, 0x88a8, 0x88cc, 0x8863, 0x0000, 0x9000};
	struct frame f;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		frame_tcp(&f, &guest, TH_SYN, 1, 0);
		f.eth.ether_type = htons(types[i]);
		if (types[i] == ETHERTYPE_IPV6)
			memcpy(f.payload, "\x60\0\0\0\0\x14\x06\x40", 8); /* to :: from :: */
		check_silent(n, &f, sizeof(f));
	}
	for (size_t size = VNET + sizeof(f.eth); size < VNET + sizeof(f.eth) + 40; size++) {
		frame_tcp(&f, &guest, TH_SYN, 1, 0);
		check_silent(n, &f, size);
	}
	CHECK(accept4(n->tcp_fd, NULL, NULL, 0) < 0 && errno == EAGAIN);
}

/* Fragments: whole again they are a packet as any other; alone they never answer nor connect. */
static void
check_fragments(const struct jail_net *n)
{
	struct flow w = to(PUBLIC, 443);
	struct frame f;
	size_t size = frame_udp(&f, &w, "0123456789abcdefghijklmn", 24);

	f.ip.frag_off = htons(IP_MF);
	f.ip.check = 0;
	f.ip.check = checksum(&f.ip, sizeof(f.ip), 0);
	check_silent(n, &f, size);
	/* Never-ending and overlapping ones fill what the kernel gives them (RFC 5722), no more:
	 * all that is whole goes on. */
	for (int i = 0; i < 20000; i++) {
		size = frame_udp(&f, &w, "0123456789abcdefghijklmn", 24);
		f.ip.id = htons((uint16_t)(i / 2));
		f.ip.frag_off = htons((uint16_t)(IP_MF | (i % 2)));
		f.ip.check = 0;
		f.ip.check = checksum(&f.ip, sizeof(f.ip), 0);
		send_frame(n, &f, size);
	}
	check_rejected(n, &f, frame_udp(&f, &w, "x", 1), ICMP_PORT_UNREACH);
	w.sport = 46000;
	close(check_connects(n, &w));
}

/*
 * Floods are cut off before connection tracking: at most the burst and then so many a second get
 * through. Sent in small groups, each taken off before the next, so that no queue drops any.
 */
static void
check_dns_flood(const struct jail_net *n)
{
	uint64_t start = clock_mono_ms();
	size_t got = 0;
	struct frame f, in;
	char b[16];

	for (int i = 0; i < 6000; i++) {
		struct flow w = to("8.8.8.8", 53);

		w.sport = (uint16_t)(20000 + i);
		send_frame(n, &f, frame_udp(&f, &w, "q", 1));
		if (i % 50 != 49)
			continue;
		send_mark(n);
		CHECK(frame_wait(n->tap_fd, &in, is_pong, NULL, WAIT_MS));
		while (recv(n->dns_fd, b, sizeof(b), 0) > 0)
			got++;
		CHECK(i > 1900 || got == (size_t)i + 1);
	}
	CHECK(got >= 2000 && got <= 2000 + 2 * (clock_mono_ms() - start) + 50);
}

static bool
is_syn_ack(const struct frame *f, const void *arg)
{
	(void)arg;
	return f->eth.ether_type == htons(ETHERTYPE_IP) && f->ip.protocol == IPPROTO_TCP &&
	       (f->tcp.th_flags & (TH_SYN | TH_ACK)) == (TH_SYN | TH_ACK);
}

static void
check_syn_flood(const struct jail_net *n)
{
	uint64_t start = clock_mono_ms();
	size_t got = 0;
	struct frame f, in;

	for (int i = 0; i < 9000; i++) {
		struct flow w = to(PUBLIC, 443);

		w.sport = (uint16_t)(10000 + i);
		send_frame(n, &f, frame_tcp(&f, &w, TH_SYN, 7, 0));
		while (frame_wait(n->tap_fd, &in, is_syn_ack, NULL, 0))
			got++;
		send_frame(n, &f, frame_tcp(&f, &w, TH_RST, 8, 0));
		CHECK(i > 3900 || got == (size_t)i + 1);
	}
	CHECK(got >= 4000 && got <= 4000 + 2 * (clock_mono_ms() - start) + 50);
}

/* From inside the namespace, where QEMU is: not even the listeners. */
static void
body_inside(void *arg)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(JAIL_TCP_PORT),
		.sin_addr.s_addr = inet_addr(JAIL_GATEWAY)};
	struct jail j = JAIL_INIT;
	struct jail_net n = JAIL_NET_INIT;
	struct err e = {0};
	struct flow w = guest;
	int fd;

	(void)arg;
	CHECK_OK(jail_create(&j, &e), e);
	CHECK_OK(jail_net_setup(&j, &n, &e), e);
	CHECK_OK(jail_enter(&j, JAIL_NET, &e), e);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK(connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0);
	/* The control: the guest does reach it, afterwards. */
	close(check_connects(&n, &w));
	CHECK(accept4(n.tcp_fd, NULL, NULL, 0) < 0 && errno == EAGAIN);
	a.sin_addr.s_addr = inet_addr(PUBLIC);
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 && errno == ENETUNREACH);
	CHECK(if_nametoindex("lo") == 1 && if_nametoindex("tap0") == 2 &&
		if_nametoindex("eth0") == 0);
}

static bool
descriptor_is(int fd, int want_nonblock)
{
	int fl = fcntl(fd, F_GETFL), fd_flags = fcntl(fd, F_GETFD);

	return fl >= 0 && ((fl & O_NONBLOCK) != 0) == want_nonblock && (fd_flags & FD_CLOEXEC) != 0;
}

static void
body_net(void *arg)
{
	struct jail j = JAIL_INIT;
	struct jail_net n = JAIL_NET_INIT;
	struct err e = {0};
	struct frame f;

	(void)arg;
	CHECK_OK(jail_create(&j, &e), e);
	CHECK_OK(jail_net_setup(&j, &n, &e), e);
	/* No process is in there, and none of ours is left over. */
	CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	CHECK(descriptor_is(n.tap_fd, 1) && descriptor_is(n.tcp_fd, 1) &&
		descriptor_is(n.dns_fd, 1));
	while (read(n.tap_fd, &f, sizeof(f)) > 0)
		;
	check_arp(&n);
	check_tcp(&n);
	check_tcp_data(&n);
	/* What is still on its way of those connections must not disturb the exact order below. */
	jail_release(&j);
}

static void
body_net_quiet(void *arg)
{
	struct jail j = JAIL_INIT;
	struct jail_net n = JAIL_NET_INIT;
	struct err e = {0};

	CHECK_OK(jail_create(&j, &e), e);
	CHECK_OK(jail_net_setup(&j, &n, &e), e);
	((void (*)(const struct jail_net *))arg)(&n);
	jail_release(&j);
}

static mode_t tun_mode;

/* Ordinary distributions have it 0666; where it is not, root opens it for the time of the test. */
static int
open_tun(void **state)
{
	struct stat st;

	(void)state;
	if (stat("/dev/net/tun", &st) < 0)
		return -1;
	tun_mode = st.st_mode & 07777;
	return geteuid() == 0 ? chmod("/dev/net/tun", 0666) : 0;
}

static int
close_tun(void **state)
{
	(void)state;
	return geteuid() == 0 ? chmod("/dev/net/tun", tun_mode) : 0;
}

static void
test_net(void **state)
{
	(void)state;
	run_as_both(body_net, NULL);
}

#define QUIET_TEST(name)                                                                           \
	static void test_##name(void **state)                                                      \
	{                                                                                          \
		(void)state;                                                                       \
		run_as_both(body_net_quiet, check_##name);                                         \
	}

QUIET_TEST(arp)
QUIET_TEST(tcp_stray)
QUIET_TEST(dns)
QUIET_TEST(udp_rejected)
QUIET_TEST(other_protocols)
QUIET_TEST(spoofed)
QUIET_TEST(other_frames)
QUIET_TEST(fragments)
QUIET_TEST(dns_flood)
QUIET_TEST(syn_flood)

static void
test_inside(void **state)
{
	(void)state;
	run_as_both(body_inside, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_net),
		cmocka_unit_test(test_arp),
		cmocka_unit_test(test_tcp_stray),
		cmocka_unit_test(test_dns),
		cmocka_unit_test(test_udp_rejected),
		cmocka_unit_test(test_other_protocols),
		cmocka_unit_test(test_spoofed),
		cmocka_unit_test(test_other_frames),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_dns_flood),
		cmocka_unit_test(test_syn_flood),
		cmocka_unit_test(test_inside),
	};

	return cmocka_run_group_tests(tests, open_tun, close_tun);
}
