#include <errno.h>
#include <sys/socket.h>

#include <base/clock.h>

#include "server.h"

/* A query is 512 bytes at most by RFC 1035, and hardly more with EDNS options. */
enum { QUERY_MAX = 4096, QUERIES_PER_WAKE = 64 };

/* False: nothing more to read for now. */
static bool
serve_one(struct net *net, struct buf *out)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	uint8_t query[QUERY_MAX];
	ssize_t n = recvfrom(net->o->dns_fd, query, sizeof(query), MSG_DONTWAIT | MSG_TRUNC,
		(struct sockaddr *)&from, &len);

	if (n < 0)
		return errno != EAGAIN && errno != EBADF;
	if ((size_t)n > sizeof(query))
		return true;
	buf_clear(out);
	responder_answer(&net->responder, query, (size_t)n, RESPONDER_UDP, clock_mono_ms(), out);
	if (out->len > 0)
		(void)sendto(net->o->dns_fd, out->data, out->len, MSG_DONTWAIT | MSG_NOSIGNAL,
			(struct sockaddr *)&from, len); /* lost is lost, as ever over UDP */
	return true;
}

void
dns_udp_on_readable(void *arg, int events)
{
	struct net *net = arg;
	CLEAN_BUF struct buf out = BUF_INIT;

	for (int i = 0; i < QUERIES_PER_WAKE && serve_one(net, &out); i++)
		;
	/* An error (ICMP unreachable) stopped the watch; recvfrom has reported and cleared it. */
	if (events == 0)
		watch_events(net->dns, UV_READABLE);
}
