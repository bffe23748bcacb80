#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h> /* before the kernel header, which then leaves struct in_addr alone */
#include <linux/netfilter_ipv4.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <base/log.h>

#include "server.h"
#include "sock.h"

enum { ACCEPTS_PER_WAKE = 64 };

static int
original_dst(const struct net *net, int fd, struct sockaddr_in *ret)
{
	socklen_t len = sizeof(*ret);

	if (net->hooks.original_dst != NULL)
		return net->hooks.original_dst(fd, ret);
	return getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, ret, &len) < 0 ? -errno : 0;
}

static void
dispatch(struct net *net, int fd)
{
	struct sockaddr_in dst;

	/* ENOENT: somebody in the jail called the listener itself, which is no destination. */
	if (original_dst(net, fd, &dst) < 0 || dst.sin_family != AF_INET) {
		log_debug("connection without an original destination: reset");
		sock_reset(fd);
	} else if (net->nconns + net->ndns_tcps >= net->hooks.conns_max) {
		log_debug("too many connections: reset");
		sock_reset(fd);
	} else if (dst.sin_port == htons(NET_DNS_PORT)) {
		/* Whomever it was meant for: DNS is answered here or not at all. */
		dns_tcp_start(net, fd);
	} else {
		conn_start(net, fd, &dst);
	}
}

/* Without a descriptor the connection would wait in the backlog, and we would spin. */
static void
refuse_one(struct net *net)
{
	int fd;

	if (net->spare_fd < 0)
		return;
	close(net->spare_fd);
	fd = accept4(net->o->tcp_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		sock_reset(fd);
	net->spare_fd = eventfd(0, EFD_CLOEXEC);
	log_debug("out of descriptors: connection reset");
}

void
listener_on_readable(void *arg, int events)
{
	struct net *net = arg;

	(void)events;
	for (int i = 0; i < ACCEPTS_PER_WAKE; i++) {
		int fd = accept4(net->o->tcp_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			dispatch(net, fd);
		} else if (errno == EMFILE || errno == ENFILE) {
			refuse_one(net);
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}
