/*
 * The resolver role with the C library's real resolver, in namespaces of its own with its own
 * resolv.conf and DNS server: no name is completed by the host's search list, and a changed
 * resolv.conf is followed.
 */
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <fcntl.h>
#include <linux/if.h>
#include <pthread.h>
#include <resolv.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <base/cleanup.h>
#include <base/io.h>
#include <net/net.h>

#include "net_peers.h"
#include "resolve_wire.h"

#define SEARCH "search corp.test\noptions ndots:5 timeout:1 attempts:5\n"

/* Replaced by bind mounts, so that the host's own files do not matter. */
static char resolv_conf[] = "/tmp/paddock-resolv-XXXXXX";
static char nsswitch_conf[] = "/tmp/paddock-nsswitch-XXXXXX";

struct server {
	int fd;
	pthread_t thread;
	uint8_t last; /* octet of its answers */
	pthread_mutex_t lock;
	size_t nasked, nforeign;
};

/* Every name has an address; foreign ones are those that nobody asked for. */
static size_t
answer(struct server *s, const uint8_t *query, size_t n, uint8_t out[600])
{
	static const uint8_t record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 93, 184, 216};
	ns_msg m;
	ns_rr rr;

	if (ns_initparse(query, (int)n, &m) != 0 || ns_parserr(&m, ns_s_qd, 0, &rr) != 0)
		return 0;
	pthread_mutex_lock(&s->lock);
	s->nasked++;
	s->nforeign += strstr(ns_rr_name(rr), "corp.test") != NULL;
	pthread_mutex_unlock(&s->lock);
	n = 12 + strlen(ns_rr_name(rr)) + 2 + 4;
	memcpy(out, query, n);
	memcpy(out + 2, "\x81\x80\0\1\0\0\0\0\0\0", 10);
	if (ns_rr_type(rr) != ns_t_a)
		return n;
	out[7] = 1;
	memcpy(out + n, record, sizeof(record));
	out[n + sizeof(record)] = s->last;
	return n + sizeof(record) + 1;
}

static void *
run_server(void *arg)
{
	struct server *s = arg;
	uint8_t query[512], out[600];
	struct sockaddr_in from;

	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n =
			recvfrom(s->fd, query, sizeof(query), 0, (struct sockaddr *)&from, &len);
		size_t m = n > 0 ? answer(s, query, (size_t)n, out) : 0;

		if (m > 0)
			(void)!sendto(s->fd, out, m, 0, (struct sockaddr *)&from, len);
	}
	return NULL;
}

static void
start_server(struct server *s, const char *address, uint8_t last)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(53),
		.sin_addr.s_addr = inet_addr(address)};

	*s = (struct server){.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
		.last = last,
		.lock = PTHREAD_MUTEX_INITIALIZER};
	assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, run_server, s), 0);
}

/* In place: the mount is on this inode. */
static void
write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void *
run_role(void *arg)
{
	struct err e;

	return (void *)(intptr_t)net_resolver_serve(*(int *)arg, &e);
}

static void
check_lookup(int fd, const char *name, uint8_t want_last)
{
	struct resolve_request q = {.id = 1};
	struct resolve_reply reply;

	snprintf(q.name, sizeof(q.name), "%s", name);
	assert_int_equal(send(fd, &q, sizeof(q), 0), sizeof(q));
	assert_int_equal(recv(fd, &reply, sizeof(reply), 0), sizeof(reply));
	assert_int_equal(reply.error, 0);
	assert_int_equal(reply.n, 1);
	assert_int_equal(reply.addrs[0].addr.b[3], want_last);
	assert_int_equal(reply.addrs[0].is_host, 0);
}

static void
test_names_are_whole(void **state)
{
	static struct server first, second;
	pthread_t role;
	int sv[2];

	(void)state;
	start_server(&first, "127.0.0.1", 1);
	start_server(&second, "127.0.0.2", 2);
	write_file(resolv_conf, SEARCH "nameserver 127.0.0.1\n");
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	peer_limit(sv[0]);
	assert_int_equal(pthread_create(&role, NULL, run_role, &sv[1]), 0);
	/* More than once: what a thread was told must last. */
	for (int i = 0; i < 5; i++)
		check_lookup(sv[0], "www.example.com", 1);
	/* Another network, while we run. */
	write_file(resolv_conf, SEARCH "nameserver 127.0.0.2\n");
	for (int i = 0; i < 5; i++)
		check_lookup(sv[0], "www.example.com", 2);
	assert_true(first.nasked >= 5 && second.nasked >= 5);
	assert_int_equal(first.nforeign + second.nforeign, 0);
	close(sv[0]);
	assert_int_equal(pthread_join(role, NULL), 0);
	close(sv[1]);
}

static void
need(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static void
map_self(uid_t uid)
{
	char map[64];
	int fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);

	snprintf(map, sizeof(map), "0 %u 1", uid);
	need(fd >= 0 && write(fd, map, strlen(map)) > 0, "uid_map");
	close(fd);
}

static void
add_address(int fd, const char *device, const char *address)
{
	struct ifreq r = {.ifr_flags = 0};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(address)};

	strcpy(r.ifr_name, device);
	memcpy(&r.ifr_addr, &a, sizeof(a));
	need(ioctl(fd, SIOCSIFADDR, &r) == 0, address);
}

/*
 * Before there are threads. AI_ADDRCONFIG wants an address that is not loopback's; a network of
 * 93.184.0.0/16 on the wire (which ends here) makes the answers somebody else's.
 */
static void
make_world(void)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	uid_t uid = getuid();
	int fd;

	need(unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) == 0, "unshare");
	map_self(uid);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	add_address(fd, "lo", "127.0.0.1");
	need(ioctl(fd, SIOCSIFFLAGS, &r) == 0, "lo");
	add_address(fd, "lo:1", "203.0.113.7");
	close(fd);
	need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "/");
	need(mount(resolv_conf, "/etc/resolv.conf", NULL, MS_BIND, NULL) == 0, "/etc/resolv.conf");
	need(mount(nsswitch_conf, "/etc/nsswitch.conf", NULL, MS_BIND, NULL) == 0,
		"/etc/nsswitch.conf");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_whole),
	};
	int a = mkostemp(resolv_conf, O_CLOEXEC), b = mkostemp(nsswitch_conf, O_CLOEXEC), r;

	need(a >= 0 && b >= 0, "mkostemp");
	write_file(nsswitch_conf, "hosts: dns\n");
	close(a);
	close(b);
	make_world();
	r = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(resolv_conf);
	unlink(nsswitch_conf);
	return r;
}
