/*
 * How this works: a poll(2) loop. Every round, what to wait for follows from the state alone: the
 * line is always read, and written while something waits; a client's socket is read while its
 * stream's buffer has room, and written while bytes from the guest wait.
 *
 *   client's socket                          stream
 *   end of file (its end half-closed)        END_STREAM behind what it wrote
 *   hung up, or takes no more bytes          what it wrote is still delivered, then RST_STREAM;
 *                                            after GONE_MS in any case
 *   half-closed, likewise                    <- STDOUT_EOF of a published port's server
 *   closed, after all bytes were written     <- END_STREAM or RST_STREAM of the guest
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <link/link.h>
#include <wire/line.h>

#include "mux.h"
#include "port.h"

#define LINE_OUT_MAX (128 * 1024)
#define READ_MAX     (64 * 1024)
/* A client that has gone: how long its last bytes may take to the guest. */
#define GONE_MS 2000
/* The guest must accept a stream within this time; a host's busy disk alone may take a minute. */
#define ANSWER_MS 120000
/* After the line's end: how long clients may take to read what came before it. */
#define FLUSH_MS 1000
/* Of all streams; the rest is kept for sessions, whatever comes to published ports. */
#define PORT_STREAMS_MAX (LINE_STREAMS_MAX / 4 * 3)

struct conn {
	int fd;
	struct mux_stream *stream;
	struct port_pipe *port; /* of a published port; NULL: a session */
	bool eof;               /* nothing more to read from the client */
	bool gone;              /* the client will not read any more */
	bool shut; /* we have half-closed: the client's own end then looks like a hang-up */
	uint64_t deadline_ms; /* of the answer, then of a gone client's last bytes; 0: none */
	struct conn *next;
	size_t slot; /* in polls, this round; 0: not there */
};

struct link {
	int line, control;
	struct mux *mux;
	struct buf out; /* to the line */
	struct conn *conns;
	size_t nconns, nports; /* nports: of them, of published ports */
	bool told_up;
	/* The guest's half of the wake word, until it has come; what came last meanwhile. */
	const uint8_t *awaited;
	struct buf recent;
	struct pollfd polls[2 + LINE_STREAMS_MAX];
	size_t npolls;
};

enum { POLL_CONTROL, POLL_LINE, POLL_CONNS };

static void
conn_free(struct link *l, struct conn *c)
{
	for (struct conn **p = &l->conns; *p != NULL; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			break;
		}
	}
	l->nconns--;
	if (c->port != NULL) {
		l->nports--;
		port_pipe_release(c->port);
		free(c->port);
	}
	mux_stream_free(c->stream);
	close(c->fd);
	free(c);
}

static struct conn *
conn_add(struct link *l, int fd)
{
	struct conn *c;
	struct mux_stream *s = NULL;

	if (l->nconns < LINE_STREAMS_MAX && io_set_nonblock(fd, true) == 0)
		s = mux_stream_new(l->mux);
	if (s == NULL) {
		log_warn("link: one session too many");
		close(fd);
		return NULL;
	}
	c = xcalloc(1, sizeof(*c));
	*c = (struct conn){.fd = fd, .stream = s, .next = l->conns};
	c->deadline_ms = deadline_in_ms(ANSWER_MS);
	l->conns = c;
	l->nconns++;
	return c;
}

/* A reset, not an end of file: what the client has seen of the answer may not be all. */
static void
reset_at_close(int fd)
{
	struct linger now = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void
port_add(struct link *l, int fd, uint16_t port)
{
	struct conn *c;

	reset_at_close(fd);
	if (l->nports >= PORT_STREAMS_MAX) {
		close(fd); /* said by nobody: whoever floods a port would flood the log */
		return;
	}
	c = conn_add(l, fd);
	if (c == NULL)
		return;
	c->port = xcalloc(1, sizeof(*c->port));
	l->nports++;
	port_pipe_open(c->port, c->stream, port);
}

static void
port_cut(struct link *l, uint16_t port)
{
	struct conn *next;

	for (struct conn *c = l->conns; c != NULL; c = next) {
		next = c->next;
		if (c->port != NULL && c->port->port == port)
			conn_free(l, c);
	}
}

static void
conn_gone(struct conn *c)
{
	if (c->gone)
		return;
	c->gone = true;
	c->deadline_ms = deadline_in_ms(GONE_MS);
	mux_stream_discard(c->stream);
}

static bool
conn_wants_read(const struct conn *c)
{
	if (c->eof || c->stream->closed)
		return false;
	return c->port != NULL ? port_pipe_has_room(c->stream) : c->stream->up.len < MUX_UP_MAX;
}

static ssize_t
read_more(struct conn *c)
{
	struct mux_stream *s = c->stream;

	return c->port != NULL ? port_pipe_read(s, c->fd)
			       : buf_read_fd(&s->up, c->fd, MUX_UP_MAX - s->up.len);
}

static void
conn_read(struct conn *c)
{
	struct mux_stream *s = c->stream;
	ssize_t n;

	while (conn_wants_read(c)) {
		n = read_more(c);
		if (n == -EAGAIN && !c->gone)
			break;
		if (n <= 0) {
			c->eof = true;
			/* A gone client's stream is reset, not half-closed: it has no one to
			 * answer. */
			if (!c->gone && n == 0)
				s->up_end = true;
			else
				conn_gone(c);
		}
	}
	mux_stream_resume(s);
}

/* What the client gets: the stream's bytes, or those of a published port without their frames. */
static struct buf *
conn_down(struct conn *c)
{
	if (c->port == NULL)
		return &c->stream->down;
	port_pipe_take(c->port, c->stream);
	return &c->port->out;
}

static void
conn_write(struct conn *c)
{
	ssize_t n = 1;

	while (n > 0 && !c->gone) {
		struct buf *down = conn_down(c);

		if (down->len == 0 && c->port != NULL && c->port->half && !c->shut) {
			c->shut = true;
			shutdown(c->fd, SHUT_WR);
		}
		if (down->len == 0)
			return;
		n = send(c->fd, down->data, down->len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0 && c->port != NULL)
			buf_consume(down, (size_t)n);
		else if (n > 0)
			mux_stream_passed(c->stream, (size_t)n);
		else if (n < 0 && errno != EAGAIN && errno != EINTR)
			conn_gone(c);
	}
}

static void
conn_polled(struct conn *c, short revents)
{
	/* Both directions are closed: whatever it had written is still there to be read. */
	if ((revents & POLLERR) || ((revents & POLLHUP) && !c->shut))
		conn_gone(c);
	if (revents & (POLLIN | POLLHUP | POLLERR))
		conn_read(c);
}

static bool
conn_is_done(const struct conn *c)
{
	const struct mux_stream *s = c->stream;

	if (c->deadline_ms != 0 && deadline_left_ms(c->deadline_ms) == 0 &&
		(c->gone || !s->answered))
		return true;
	if (c->gone && (s->closed || (c->eof && s->up.len == 0)))
		return true;
	if (c->port != NULL && c->port->ended)
		return c->port->out.len == 0;
	return s->down_end && s->down.len == 0 && (c->port == NULL || c->port->out.len == 0);
}

/* Over, and the client is told how: an orderly end is no reset. */
static void
conn_end(struct link *l, struct conn *c)
{
	struct linger off = {0};

	if (c->port != NULL && c->port->ended && !c->port->failed)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
	conn_free(l, c);
}

static int
take_session(struct link *l)
{
	uint8_t msg[3] = {0};
	size_t nfds = 0;
	int fd = -1;
	ssize_t n = io_recv_fds(l->control, msg, sizeof(msg), &fd, 1, &nfds);
	uint16_t port = (uint16_t)(msg[1] << 8 | msg[2]);

	if (n == -EAGAIN)
		return 1;
	if (n <= 0)
		return 0; /* the supervisor has gone, or hangs up */
	if (nfds == 1 && msg[0] == LINK_SESSION)
		conn_add(l, fd);
	else if (nfds == 1 && msg[0] == LINK_PORT && n == sizeof(msg))
		port_add(l, fd, port);
	else if (nfds == 1)
		close(fd);
	else if (msg[0] == LINK_CUT && n == sizeof(msg))
		port_cut(l, port);
	return 1;
}

static void
tell(struct link *l, char msg)
{
	if (send(l->control, &msg, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_warn("link: control: %s", strerror(errno));
}

/* What comes before the guest's half of the wake word was for another line. False: no more. */
static bool
skip_to_answer(struct link *l, struct buf *in)
{
	const uint8_t *at;

	buf_append(&l->recent, in->data, in->len);
	buf_clear(in);
	at = memmem(l->recent.data, l->recent.len, l->awaited, LINE_WAKE - LINE_WAKE_HALF);
	if (at == NULL) {
		if (l->recent.len > LINE_WAKE_HALF - 1)
			buf_consume(&l->recent, l->recent.len - (LINE_WAKE_HALF - 1));
		return false;
	}
	at += LINE_WAKE - LINE_WAKE_HALF;
	buf_append(in, at, (size_t)(l->recent.data + l->recent.len - at));
	l->awaited = NULL;
	return true;
}

static int
read_line(struct link *l, struct err *e)
{
	CLEAN_BUF struct buf in = BUF_INIT;
	ssize_t n = buf_read_fd(&in, l->line, READ_MAX);
	int r;

	if (n == -EAGAIN)
		return 0;
	if (n == 0)
		return err_set(e, EPIPE, "the machine closed the line");
	if (n < 0)
		return err_sys(e, (int)-n, "the line");
	if (l->awaited != NULL && !skip_to_answer(l, &in))
		return 0;
	r = mux_feed(l->mux, in.data, in.len, e);
	if (r == 0 && !l->told_up && mux_is_up(l->mux)) {
		l->told_up = true;
		tell(l, LINK_UP);
	}
	return r;
}

static int
write_line(struct link *l, struct err *e)
{
	ssize_t n;

	for (;;) {
		int r = mux_pull(l->mux, &l->out, LINE_OUT_MAX, e);

		if (r < 0 || l->out.len == 0)
			return r;
		n = buf_write_fd(&l->out, l->line);
		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return err_sys(e, (int)-n, "the line");
	}
}

/* What to wait for, from the state alone. */
static void
set_polls(struct link *l)
{
	l->polls[POLL_CONTROL] = (struct pollfd){.fd = l->control, .events = POLLIN};
	/* Always read, even while a write waits: the other end may be waiting likewise. */
	l->polls[POLL_LINE] = (struct pollfd){.fd = l->line, .events = POLLIN};
	if (l->out.len > 0)
		l->polls[POLL_LINE].events |= POLLOUT;
	l->npolls = POLL_CONNS;
	for (struct conn *c = l->conns; c != NULL; c = c->next) {
		c->slot = 0;
		/* A hang-up that is known would come for ever. */
		if (c->gone || (c->shut && !conn_wants_read(c)))
			continue;
		c->slot = l->npolls;
		l->polls[l->npolls++] = (struct pollfd){.fd = c->fd,
			.events = (short)((conn_wants_read(c) ? POLLIN : 0) |
					  (conn_down(c)->len > 0 ? POLLOUT : 0))};
	}
}

static int
wait_ms(const struct link *l)
{
	int ms = -1;

	for (const struct conn *c = l->conns; c != NULL; c = c->next) {
		int left;

		if (c->deadline_ms == 0 || (!c->gone && c->stream->answered))
			continue;
		left = deadline_left_ms(c->deadline_ms);
		if (ms < 0 || left < ms)
			ms = left;
	}
	return ms;
}

static void
serve_conns(struct link *l)
{
	for (struct conn *c = l->conns; c != NULL; c = c->next) {
		if (c->slot != 0)
			conn_polled(c, l->polls[c->slot].revents);
		conn_write(c);
	}
}

/*
 * What follows from what was just written to the line, where no event would tell: a gone client
 * has room for its last bytes, a stream is over. True where there is more for the line now.
 */
static bool
settle_conns(struct link *l)
{
	struct conn *next;
	bool more = false;

	for (struct conn *c = l->conns; c != NULL; c = next) {
		next = c->next;
		if (c->gone && conn_wants_read(c)) {
			conn_read(c);
			more = true;
		}
		if (conn_is_done(c)) {
			conn_end(l, c);
			more = true;
		}
	}
	return more;
}

static int
say_all(struct link *l, struct err *e)
{
	int r;

	do
		r = write_line(l, e);
	while (r == 0 && settle_conns(l));
	return r;
}

/* One round: 1 to go on, 0 at the end of control, -errno for a broken line. */
static int
round_once(struct link *l, struct err *e)
{
	int r;

	set_polls(l);
	r = poll(l->polls, l->npolls, wait_ms(l));
	if (r < 0 && errno != EINTR)
		return err_sys(e, errno, "poll");
	if (r < 0)
		return 1;
	if (l->polls[POLL_LINE].revents & (POLLIN | POLLHUP | POLLERR)) {
		r = read_line(l, e);
		if (r < 0)
			return r;
	}
	serve_conns(l);
	if (l->polls[POLL_CONTROL].revents != 0 && take_session(l) == 0)
		return 0;
	r = say_all(l, e);
	return r < 0 ? r : 1;
}

/* The line is lost; what came over it still goes to the clients that read. */
static void
flush_conns(struct link *l)
{
	uint64_t deadline = deadline_in_ms(FLUSH_MS);

	for (;;) {
		struct conn *next;

		for (struct conn *c = l->conns; c != NULL; c = next) {
			next = c->next;
			conn_write(c);
			if (c->gone || conn_down(c)->len == 0)
				conn_end(l, c);
		}
		if (l->conns == NULL || deadline_left_ms(deadline) == 0)
			return;
		l->npolls = 0;
		for (struct conn *c = l->conns; c != NULL; c = c->next)
			l->polls[l->npolls++] = (struct pollfd){.fd = c->fd, .events = POLLOUT};
		poll(l->polls, l->npolls, deadline_left_ms(deadline));
	}
}

int
link_serve(const struct link_options *o, struct err *e)
{
	struct link *l = xcalloc(1, sizeof(*l));
	int r = io_set_nonblock(o->line_fd, true);

	if (r == 0)
		r = io_set_nonblock(o->control_fd, true);
	if (r < 0) {
		free(l);
		return err_sys(e, -r, "link");
	}
	signal(SIGPIPE, SIG_IGN);
	l->line = o->line_fd;
	l->control = o->control_fd;
	l->mux = mux_new();
	if (o->wake != NULL) {
		buf_append(&l->out, o->wake, LINE_WAKE_HALF);
		l->awaited = o->wake + LINE_WAKE_HALF;
	}
	r = write_line(l, e);
	if (r == 0)
		do
			r = round_once(l, e);
		while (r > 0);
	if (r < 0) {
		flush_conns(l);
		tell(l, LINK_DOWN);
	}
	while (l->conns != NULL)
		conn_free(l, l->conns);
	mux_free(l->mux);
	buf_release(&l->out);
	buf_release(&l->recent);
	free(l);
	return r;
}
