/*
 * How this works: connect to 127.0.0.1, then to ::1 where nobody listens there (a server that binds
 * to "localhost" may have taken either). Then bytes both ways, as slow as the slower side; the
 * client's end of input is the socket's half-close, the socket's end of file is STDOUT_EOF; EXIT
 * comes when both have said all they had, or when the socket is dead.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "session.h"

#define CONNECT_MS 10000

struct forward {
	struct client *client;
	uint16_t port;
	int family; /* that is being tried */
	int fd;     /* while connecting */
	struct loop_io *connecting;
	struct loop_timer *timeout;
	struct buf early; /* input that came before the connection stood */
	bool early_end;
	bool in_ended, out_ended; /* the client has said all it had; the server has */
	struct loop_timer *over;  /* rings at once: outside of whatever calls us */
	struct sink in;
	struct source out;
};

static void
forward_free(struct forward *f)
{
	loop_io_del(f->connecting);
	loop_timer_del(f->timeout);
	loop_timer_del(f->over);
	cleanup_close_p(&f->fd);
	buf_release(&f->early);
	sink_close(&f->in);
	source_close(&f->out);
	free(f);
}

static void
fail(struct forward *f, int code)
{
	if (code == ECONNREFUSED)
		client_error(f->client, 125, "nothing listens on port %u in the sandbox", f->port);
	else
		client_error(f->client, 125, "port %u in the sandbox: %s", f->port, strerror(code));
	forward_free(f);
}

static void
on_over(void *arg)
{
	struct forward *f = arg;

	f->over = NULL;
	client_exit(f->client, 0);
	forward_free(f);
}

static bool
is_dead(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) != 0; /* nothing is asked for: an error, or both directions closed */
}

/* After the server's end of output: is there anybody left to whom input could go? */
static void
end_if_over(struct forward *f)
{
	if (f->over != NULL || !f->out_ended)
		return;
	if (f->in_ended || !f->in.open || is_dead(f->in.fd))
		f->over = loop_timer_add(f->client->all->guest->loop, 0, on_over, f);
}

static void
on_output(void *arg, struct source *src)
{
	struct forward *f = arg;
	uint8_t chunk[FRAME_CHUNK];
	size_t room = stream_room(f->client->stream);
	ssize_t n;

	if (room == 0) {
		source_want(src, false);
		return;
	}
	n = read(src->fd, chunk, room < sizeof(chunk) ? room : sizeof(chunk));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		client_output(f->client, SESSION_STDOUT, chunk, (size_t)n);
	} else if (n == 0) {
		source_close(&f->out);
		f->out_ended = true;
		client_output(f->client, SESSION_STDOUT_EOF, NULL, 0);
		end_if_over(f);
	} else {
		fail(f, errno);
	}
}

static void
on_input_end(void *arg, struct sink *in)
{
	struct forward *f = arg;

	shutdown(in->fd, SHUT_WR);
	f->in_ended = true;
	end_if_over(f);
}

static void
on_input_moved(void *arg)
{
	struct forward *f = arg;

	client_settle(f->client);
	end_if_over(f);
}

static void
connected(struct forward *f)
{
	struct loop *l = f->client->all->guest->loop;
	int in = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
	int r;

	loop_io_del(f->connecting);
	f->connecting = NULL;
	loop_timer_del(f->timeout);
	f->timeout = NULL;
	if (in < 0) {
		fail(f, errno);
		return;
	}
	sink_open(&f->in, l, in, on_input_end, on_input_moved, f);
	r = source_open(&f->out, l, TAKE_FD(f->fd), SESSION_STDOUT, on_output, f);
	if (r < 0) {
		fail(f, -r);
		return;
	}
	client_started(f->client, 0);
	sink_put(&f->in, f->early.data, f->early.len);
	buf_release(&f->early);
	if (f->early_end)
		sink_end(&f->in);
	client_settle(f->client);
}

static void try_connect(struct forward *f);

/* One family's answer: on to the other one where nobody listens. */
static void /* NOLINTNEXTLINE(misc-no-recursion): two families, then it ends */
tried(struct forward *f, int code)
{
	loop_io_del(f->connecting);
	f->connecting = NULL;
	if (code == 0) {
		connected(f);
		return;
	}
	cleanup_close_p(&f->fd);
	f->fd = -1;
	if (f->family == AF_INET) {
		f->family = AF_INET6;
		try_connect(f);
	} else {
		fail(f, code == EADDRNOTAVAIL || code == EAFNOSUPPORT ? ECONNREFUSED : code);
	}
}

static void
on_connect(void *arg, uint32_t events)
{
	struct forward *f = arg;
	int code = 0;
	socklen_t len = sizeof(code);

	(void)events;
	if (getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
		code = errno;
	tried(f, code);
}

static int
start_connect(struct forward *f)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET,
		.sin_port = htons(f->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
		.sin6_port = htons(f->port),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT};
	bool is_v4 = f->family == AF_INET;
	int one = 1;

	f->fd = socket(f->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->fd < 0)
		return -errno;
	/* Small frames are keystrokes and requests: they go at once. */
	setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(f->fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
		    is_v4 ? sizeof(v4) : sizeof(v6)) < 0)
		return -errno;
	return 0;
}

static void /* NOLINTNEXTLINE(misc-no-recursion): two families, then it ends */
try_connect(struct forward *f)
{
	int r = start_connect(f);

	if (r != -EINPROGRESS) {
		tried(f, -r);
		return;
	}
	f->connecting = loop_io_add(f->client->all->guest->loop, f->fd, EPOLLOUT, on_connect, f);
	if (f->connecting == NULL)
		fail(f, errno);
}

static void
on_timeout(void *arg)
{
	struct forward *f = arg;

	f->timeout = NULL;
	fail(f, ETIMEDOUT);
}

static void
role_input(struct client *c, const uint8_t *p, size_t n)
{
	struct forward *f = c->of;

	if (f->in.open) {
		sink_put(&f->in, p, n);
		end_if_over(f);
	} else if (f->fd >= 0 && !f->early_end) { /* still connecting */
		buf_append(&f->early, p, n);
	}
}

static void
role_input_end(struct client *c)
{
	struct forward *f = c->of;

	if (f->in.open)
		sink_end(&f->in);
	else
		f->early_end = true;
}

static void
role_room(struct client *c)
{
	struct forward *f = c->of;

	source_want(&f->out, true);
}

static void
role_gone(struct client *c)
{
	forward_free(c->of);
}

static size_t
role_held(const struct client *c)
{
	const struct forward *f = c->of;

	return f->early.len + f->in.q.len;
}

static const struct client_role forward_role = {
	.input = role_input,
	.input_end = role_input_end,
	.room = role_room,
	.gone = role_gone,
	.held = role_held,
};

void
session_forward(struct client *c, const struct session_open *o)
{
	struct forward *f = xcalloc(1, sizeof(*f));

	*f = (struct forward){.client = c, .port = o->port, .family = AF_INET, .fd = -1};
	c->of = f;
	c->role = &forward_role;
	f->timeout = loop_timer_add(c->all->guest->loop, CONNECT_MS, on_timeout, f);
	try_connect(f);
}
