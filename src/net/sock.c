#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "sock.h"

static void
set(int fd, int level, int option, int value)
{
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

void
sock_tune(int fd)
{
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set(fd, SOL_SOCKET, SO_OOBINLINE, 1); /* see relay.c */
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 20);
	set(fd, IPPROTO_TCP, TCP_KEEPCNT, 6);
}

/* The guest's packets may be larger than what the way out takes: they are fragmented as needed. */
void
sock_tune_datagrams(int fd)
{
	set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
	set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
}

void
sock_reset(int fd)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

socklen_t
sock_addr_len(const struct sockaddr_storage *ss)
{
	return ss->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}
