#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "nflog.h"

enum { MESSAGES_PER_WAKE = 64 };

/* The attributes of one message: whole ones only. */
static void
parse_packet(struct nflog *l, const uint8_t *p, size_t n, nflog_fn *fn, void *arg)
{
	const uint8_t *packet = NULL;
	size_t size = 0;
	uint32_t seq = l->next, lost;
	struct nlattr a;

	for (size_t step; n >= sizeof(a); p += step, n -= step) {
		memcpy(&a, p, sizeof(a));
		if (a.nla_len < sizeof(a) || a.nla_len > n)
			break;
		if (a.nla_type == NFULA_PAYLOAD) {
			packet = p + sizeof(a);
			size = a.nla_len - sizeof(a);
		} else if (a.nla_type == NFULA_SEQ && a.nla_len == sizeof(a) + sizeof(seq)) {
			memcpy(&seq, p + sizeof(a), sizeof(seq));
			seq = ntohl(seq);
		}
		step = NLA_ALIGN(a.nla_len) < n ? NLA_ALIGN(a.nla_len) : n;
	}
	lost = l->began ? seq - l->next : 0;
	l->began = true;
	l->next = seq + 1;
	if (packet != NULL)
		fn(arg, packet, size, lost);
}

void
nflog_parse(struct nflog *l, const uint8_t *p, size_t n, nflog_fn *fn, void *arg)
{
	const size_t heads = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg));
	struct nlmsghdr h;

	for (size_t step; n >= NLMSG_HDRLEN; p += step, n -= step) {
		memcpy(&h, p, sizeof(h));
		if (h.nlmsg_len < NLMSG_HDRLEN || h.nlmsg_len > n)
			break;
		if (h.nlmsg_type == (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET) &&
			h.nlmsg_len >= heads)
			parse_packet(l, p + heads, h.nlmsg_len - heads, fn, arg);
		step = NLMSG_ALIGN(h.nlmsg_len) < n ? NLMSG_ALIGN(h.nlmsg_len) : n;
	}
}

void
nflog_read(struct nflog *l, int fd, nflog_fn *fn, void *arg)
{
	for (int i = 0; i < MESSAGES_PER_WAKE; i++) {
		ssize_t n = recv(fd, l->message, sizeof(l->message), MSG_DONTWAIT);

		if (n > 0)
			nflog_parse(l, l->message, (size_t)n, fn, arg);
		else if (n == 0 || (errno != EINTR && errno != ENOBUFS))
			return;
	}
}
