#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <base/buf.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/mem.h>

#include "server.h"
#include "sock.h"

/*
 * How this works. DNS over TCP (RFC 7766): messages with a length of two bytes before them, any
 * number on one connection, answered in order. Queries are read only while the answers go out, so
 * a client that does not read its answers is not read either. Idle connections are closed.
 */

enum {
	READ_MAX = 4096,
	BACKLOG_MAX = 64 * 1024, /* answers not taken yet; more than this and we stop reading */
};

struct dns_tcp {
	LIST_ENTRY(dns_tcp) link;
	struct net *net;
	int fd;
	struct watch *watch;
	struct alarm *idle;
	struct buf in, out;
	bool ended; /* the client has sent its last query */
};

void
dns_tcp_close(struct dns_tcp *d)
{
	watch_free(d->watch);
	alarm_free(d->idle);
	close(d->fd);
	buf_release(&d->in);
	buf_release(&d->out);
	LIST_REMOVE(d, link);
	d->net->ndns_tcps--;
	free(d);
}

static void
answer_one(struct dns_tcp *d, const uint8_t *msg, size_t n)
{
	CLEAN_BUF struct buf answer = BUF_INIT;

	responder_answer(&d->net->responder, msg, n, RESPONDER_TCP, clock_mono_ms(), &answer);
	if (answer.len == 0)
		return;
	buf_append_be16(&d->out, (uint16_t)answer.len);
	buf_append(&d->out, answer.data, answer.len);
}

static void
answer_all(struct dns_tcp *d)
{
	while (d->in.len >= 2) {
		size_t n = (size_t)d->in.data[0] << 8 | d->in.data[1];

		if (d->in.len < 2 + n)
			return;
		answer_one(d, d->in.data + 2, n);
		buf_consume(&d->in, 2 + n);
	}
}

/* False: the connection is over. */
static bool
send_answers(struct dns_tcp *d)
{
	while (d->out.len > 0) {
		ssize_t n = send(d->fd, d->out.data, d->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		buf_consume(&d->out, (size_t)n);
		alarm_set(d->idle, d->net->hooks.dns_idle_ms);
	}
	return true;
}

static bool
receive_queries(struct dns_tcp *d)
{
	ssize_t n = buf_read_fd(&d->in, d->fd, READ_MAX);

	if (n == 0)
		d->ended = true;
	else if (n > 0)
		alarm_set(d->idle, d->net->hooks.dns_idle_ms);
	return n >= 0 || n == -EAGAIN;
}

static void
on_ready(void *arg, int events)
{
	struct dns_tcp *d = arg;
	bool alive = events != 0;

	if (alive && (events & UV_READABLE))
		alive = receive_queries(d);
	if (alive) {
		answer_all(d);
		alive = send_answers(d);
	}
	if (!alive || (d->ended && d->out.len == 0)) {
		dns_tcp_close(d);
		return;
	}
	watch_events(d->watch, (d->out.len > 0 ? UV_WRITABLE : 0) |
				       (!d->ended && d->out.len < BACKLOG_MAX ? UV_READABLE : 0));
}

static void
on_idle(void *arg)
{
	dns_tcp_close(arg);
}

void
dns_tcp_start(struct net *net, int fd)
{
	struct dns_tcp *d;

	if (net->ndns_tcps >= NET_DNS_TCP_MAX) {
		log_debug("dns: too many connections: reset");
		sock_reset(fd);
		return;
	}
	d = xcalloc(1, sizeof(*d));
	d->net = net;
	d->fd = fd;
	LIST_INSERT_HEAD(&net->dns_tcps, d, link);
	net->ndns_tcps++;
	d->idle = alarm_new(&net->loop, on_idle, d);
	alarm_set(d->idle, d->net->hooks.dns_idle_ms);
	d->watch = watch_new(&net->loop, fd, on_ready, d);
	if (d->watch == NULL)
		dns_tcp_close(d);
	else
		watch_events(d->watch, UV_READABLE);
}
