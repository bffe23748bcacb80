#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <base/cleanup.h>

#include "hostaddr.h"

struct route_request {
	struct nlmsghdr h;
	struct rtmsg rt;
	struct rtattr attr;
	uint8_t dst[16];
};

int
hostaddr_open(struct hostaddr *h)
{
	const struct timeval limit = {.tv_sec = 2};
	CLEAN_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	*h = (struct hostaddr){.fd = TAKE_FD(fd)};
	return 0;
}

void
hostaddr_close(struct hostaddr *h)
{
	close(h->fd);
	h->fd = -1;
}

static int
ask(int fd, const struct ip_addr *a, uint32_t seq)
{
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	size_t len = a->family == AF_INET ? 4 : 16;
	struct route_request q = {
		.h = {.nlmsg_len = (uint32_t)(offsetof(struct route_request, dst) + len),
			.nlmsg_type = RTM_GETROUTE,
			.nlmsg_flags = NLM_F_REQUEST,
			.nlmsg_seq = seq},
		.rt = {.rtm_family = a->family, .rtm_dst_len = (uint8_t)(len * 8)},
		.attr = {.rta_type = RTA_DST, .rta_len = (uint16_t)RTA_LENGTH(len)},
	};

	memcpy(q.dst, a->b, len);
	if (sendto(fd, &q, q.h.nlmsg_len, 0, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -errno;
	return 0;
}

static int
judge(const struct nlmsghdr *h)
{
	const struct rtmsg *rt = NLMSG_DATA(h);
	const struct nlmsgerr *error = NLMSG_DATA(h);

	if (h->nlmsg_type == NLMSG_ERROR && h->nlmsg_len >= NLMSG_LENGTH(sizeof(*error))) {
		/* No way to it, or a forbidden one: not the host's, and connect(2) will say so. */
		switch (error->error) {
		case -ENETUNREACH:
		case -EHOSTUNREACH:
		case -EACCES:
		case -EINVAL: /* a blackhole route */
		case -EAFNOSUPPORT:
		case -EOPNOTSUPP: /* no IPv6 in this kernel */
			return 0;
		default:
			return error->error < 0 ? error->error : -EIO;
		}
	}
	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(*rt)))
		return -EIO;
	return rt->rtm_type == RTN_LOCAL || rt->rtm_type == RTN_BROADCAST ||
	       rt->rtm_type == RTN_ANYCAST || rt->rtm_type == RTN_MULTICAST;
}

int
hostaddr_is_local(struct hostaddr *h, const struct ip_addr *a)
{
	int r = ask(h->fd, a, ++h->seq);

	while (r == 0) {
		union {
			struct nlmsghdr h;
			char bytes[4096];
		} m;
		ssize_t n = recv(h->fd, &m, sizeof(m), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!NLMSG_OK(&m.h, (size_t)n))
			return -EIO;
		/* An answer to an earlier question that was given up on. */
		if (m.h.nlmsg_seq == h->seq)
			return judge(&m.h);
	}
	return r;
}
