/*
 * NFLOG: linux/netfilter/nfnetlink_log.h, netlink(7). A group belongs to the socket that has bound
 * it, whoever holds that socket later; what binds needs CAP_NET_ADMIN in the namespace, as every
 * message of nfnetlink does, so that a heir can only read.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>

#include "nflog.h"

enum { ANSWER_LIMIT_MS = 5000, ROOM = 1 << 20, WHOLE_PACKETS = 0xffff };

/* One message with one attribute, which is how the kernel's own examples do it. */
struct request {
	struct nlmsghdr head;
	struct nfgenmsg gen;
	struct nlattr attr;
	uint8_t value[8];
};

static int
read_answer(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		uint8_t rest[256];
	} in;
	ssize_t n;

	if (poll(&p, 1, ANSWER_LIMIT_MS) != 1)
		return -ETIMEDOUT;
	n = recv(fd, &in, sizeof(in), MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(in.head) + sizeof(in.error) || in.head.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return in.error.error;
}

static int
configure(int fd, uint16_t group, uint16_t type, const void *value, size_t n)
{
	struct request q = {
		.head = {.nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.gen = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(group)},
		.attr = {.nla_len = (uint16_t)(sizeof(q.attr) + n), .nla_type = type},
	};
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	memcpy(q.value, value, n);
	q.head.nlmsg_len = (uint32_t)(offsetof(struct request, value) + NLMSG_ALIGN(n));
	if (sendto(fd, &q, q.head.nlmsg_len, 0, (const struct sockaddr *)&kernel, sizeof(kernel)) <
		0)
		return -errno;
	return read_answer(fd);
}

static int
bind_group(int fd, uint16_t group)
{
	const struct nfulnl_msg_config_cmd bind = {NFULNL_CFG_CMD_BIND};
	const struct nfulnl_msg_config_mode mode = {
		.copy_range = htonl(WHOLE_PACKETS), .copy_mode = NFULNL_COPY_PACKET};
	const uint16_t numbered = htons(NFULNL_CFG_F_SEQ);
	int r = configure(fd, group, NFULA_CFG_CMD, &bind, sizeof(bind));

	if (r == 0)
		r = configure(fd, group, NFULA_CFG_MODE, &mode, sizeof(mode));
	return r == 0 ? configure(fd, group, NFULA_CFG_FLAGS, &numbered, sizeof(numbered)) : r;
}

int
nflog_open(uint16_t group, struct err *e)
{
	CLEAN_CLOSE int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
	int one = 1, room = ROOM, r;

	if (fd < 0)
		return err_sys(e, errno, "a netlink socket");
	r = bind_group(fd, group);
	if (r < 0)
		return err_sys(e, -r, "hear what nftables logs (module nfnetlink_log)");
	/* What is lost is seen in the numbers; and it must not keep out what comes later. */
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof(one));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	return TAKE_FD(fd);
}
