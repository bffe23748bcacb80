#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
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
	uint32_t seq = l->next, lost, known;
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
	known = lost < l->ahead ? lost : l->ahead;
	lost -= known;
	l->ahead -= known;
	l->shown += lost;
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

/* sk_drops of netlink's full receive buffer (Linux 4.12). */
static uint32_t
count_dropped(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(info);

	(void)getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len);
	return info[SK_MEMINFO_DROPS];
}

/* The socket loses only while it is full, so what was lost last is known once it is empty. */
static void
tell_last(struct nflog *l, int fd, nflog_fn *fn, void *arg)
{
	uint32_t dropped = count_dropped(fd), n = dropped - l->dropped;

	l->dropped = dropped;
	n -= n < l->shown ? n : l->shown;
	l->shown = 0;
	l->ahead += n;
	if (n > 0)
		fn(arg, NULL, 0, n);
}

void
nflog_init(struct nflog *l, int fd)
{
	l->dropped = count_dropped(fd);
}

void
nflog_read(struct nflog *l, int fd, nflog_fn *fn, void *arg)
{
	for (int i = 0; i < MESSAGES_PER_WAKE; i++) {
		ssize_t n = recv(fd, l->message, sizeof(l->message), MSG_DONTWAIT);

		if (n > 0)
			nflog_parse(l, l->message, (size_t)n, fn, arg);
		else if (n == 0 || (errno != EINTR && errno != ENOBUFS)) {
			tell_last(l, fd, fn, arg);
			return;
		}
	}
}
