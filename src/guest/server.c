/*
 * How this works: nghttp2 is a machine without I/O: bytes of the port go in, its callbacks tell
 * what they mean, bytes for the port come out. Bytes come out of it in a timer's callback of 0 ms
 * only (flush), armed by whoever has something to say. So the callbacks that end a stream run at
 * the top of the event loop, and nobody's stream disappears under his feet.
 *
 *   stream:  OPEN --stream_end()--> ENDING --END_STREAM sent, then RST_STREAM(NO_ERROR)--> gone
 *            any state --RST_STREAM of the client, line lost--> gone
 *
 * The server speaks after the client's SETTINGS only: whoever finds a line on which somebody else
 * has left an attempt reads no second SETTINGS frame of ours, to acknowledge in vain.
 *
 * A client begins with its preface; what comes before that is dropped, for it belongs to a client
 * that was there before (the machine may have been saved, and woken at another line). A machine
 * that is saved in the midst of a conversation knows the next client by the wake word
 * (wire/line.h).
 *
 * The port reads as end of file while no host is connected (virtio_console.c of Linux); a new host
 * wakes its pollers. Hence the edge-triggered wait in that state.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <nghttp2/nghttp2.h>

#include <base/buf.h>
#include <base/cleanup.h>
#include <base/io.h>
#include <base/mem.h>
#include <wire/frame.h>
#include <wire/line.h>

#include "server.h"

#define PORT_OUT_MAX (128 * 1024)
#define PORT_READ    (64 * 1024)

struct server {
	struct loop *loop;
	int fd;
	struct loop_io *io;
	size_t preface; /* bytes of it that have come; LINE_PREFACE_LEN: all */
	bool heard;     /* a host has spoken properly: before that, nothing is said */
	bool lost;      /* no host on the line */
	bool armed;     /* wake holds something */
	uint8_t wake[LINE_WAKE];
	struct buf recent; /* the last bytes that came, while armed */
	struct loop_timer *flush_timer;
	const struct stream_ops *ops;
	void *ops_arg;
	nghttp2_session *h2;
	struct buf out;
	struct stream *streams;
	void (*flushed)(void *arg);
	void *flushed_arg;
};

struct stream {
	struct server *server;
	int32_t id;
	void *owner;
	struct buf out;
	bool method_ok, path_ok; /* the request is one of ours */
	bool deferred;           /* nghttp2 waits for nghttp2_session_resume_data */
	bool starved;            /* the owner was told that there is no room */
	bool ending;
	struct stream *next, **pprev;
};

static void flush(void *arg);

static void
flush_soon(struct server *s)
{
	if (s->flush_timer == NULL)
		s->flush_timer = loop_timer_add(s->loop, 0, flush, s);
}

static struct stream *
stream_new(struct server *s, int32_t id)
{
	struct stream *st = xcalloc(1, sizeof(*st));

	*st = (struct stream){.server = s, .id = id, .next = s->streams, .pprev = &s->streams};
	if (st->next != NULL)
		st->next->pprev = &st->next;
	s->streams = st;
	return st;
}

static void
stream_gone(struct stream *st, bool slept)
{
	if (st->owner != NULL)
		st->server->ops->gone(st->owner, slept);
	*st->pprev = st->next;
	if (st->next != NULL)
		st->next->pprev = st->pprev;
	buf_release(&st->out);
	free(st);
}

static struct stream *
stream_of(nghttp2_session *h2, int32_t id)
{
	return nghttp2_session_get_stream_user_data(h2, id);
}

/* nghttp2 asks for the body of a response. */
static ssize_t
read_body(nghttp2_session *h2, int32_t id, uint8_t *p, size_t max, uint32_t *flags,
	nghttp2_data_source *source, void *arg)
{
	struct stream *st = stream_of(h2, id);
	size_t n;

	(void)source;
	(void)arg;
	if (st == NULL)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = st->out.len < max ? st->out.len : max;
	if (n > 0)
		memcpy(p, st->out.data, n);
	buf_consume(&st->out, n);
	if (st->ending && st->out.len == 0) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	} else if (n == 0) {
		st->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (st->starved && !st->ending && stream_room(st) >= STREAM_OUT_MAX / 2) {
		st->starved = false;
		st->server->ops->room(st->owner);
	}
	return (ssize_t)n;
}

static int
refuse(nghttp2_session *h2, int32_t id)
{
	static const nghttp2_nv status = {(uint8_t *)":status", (uint8_t *)"404", 7, 3, 0};

	return nghttp2_submit_response(h2, id, &status, 1, NULL);
}

static int
accept_request(struct server *s, nghttp2_session *h2, struct stream *st)
{
	static const nghttp2_nv status = {(uint8_t *)":status", (uint8_t *)"200", 7, 3, 0};
	nghttp2_data_provider body = {.read_callback = read_body};

	st->owner = s->ops->open(s->ops_arg, st);
	return nghttp2_submit_response(h2, st->id, &status, 1, &body);
}

static int
on_begin_headers(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
	struct stream *st;

	if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	st = stream_new(arg, f->hd.stream_id);
	nghttp2_session_set_stream_user_data(h2, f->hd.stream_id, st);
	return 0;
}

static bool
is(const uint8_t *p, size_t n, const char *s)
{
	return n == strlen(s) && memcmp(p, s, n) == 0;
}

static int
on_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name, size_t name_len,
	const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct stream *st = stream_of(h2, f->hd.stream_id);

	(void)flags;
	(void)arg;
	if (st == NULL)
		return 0;
	if (is(name, name_len, ":method"))
		st->method_ok = is(value, value_len, "POST");
	else if (is(name, name_len, ":path"))
		st->path_ok = is(value, value_len, LINE_PATH);
	return 0;
}

static int
on_frame_recv(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
	struct server *s = arg;
	struct stream *st;
	int r = 0;

	if (f->hd.type == NGHTTP2_SETTINGS)
		s->heard = true;
	if (f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA)
		return 0;
	st = stream_of(h2, f->hd.stream_id);
	if (st == NULL)
		return 0;
	if (f->hd.type == NGHTTP2_HEADERS && f->headers.cat == NGHTTP2_HCAT_REQUEST)
		r = st->method_ok && st->path_ok ? accept_request(s, h2, st) : refuse(h2, st->id);
	if (r == 0 && (f->hd.flags & NGHTTP2_FLAG_END_STREAM) && st->owner != NULL && !st->ending)
		s->ops->eof(st->owner);
	return r == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int
on_data_chunk(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct server *s = arg;
	struct stream *st = stream_of(h2, id);

	(void)flags;
	nghttp2_session_consume_connection(h2, n);
	if (st != NULL && st->owner != NULL && !st->ending)
		s->ops->data(st->owner, p, n);
	else
		nghttp2_session_consume_stream(h2, id, n);
	return 0;
}

/* A client that still talks after the response's end is told that nobody listens (RFC 9113, 8.1).
 */
static int
on_frame_send(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
	(void)arg;
	if ((f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS) &&
		(f->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
		nghttp2_session_get_stream_remote_close(h2, f->hd.stream_id) == 0)
		nghttp2_submit_rst_stream(h2, 0, f->hd.stream_id, NGHTTP2_NO_ERROR);
	return 0;
}

static int
on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *arg)
{
	struct stream *st = stream_of(h2, id);

	(void)code;
	(void)arg;
	if (st != NULL) {
		nghttp2_session_set_stream_user_data(h2, id, NULL);
		stream_gone(st, false);
	}
	return 0;
}

static nghttp2_session *
h2_new(struct server *s)
{
	static const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, LINE_STREAMS_MAX},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LINE_WINDOW},
	};
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *opt = NULL;
	nghttp2_session *h2 = NULL;

	if (nghttp2_session_callbacks_new(&cb) != 0 || nghttp2_option_new(&opt) != 0)
		abort(); /* out of memory is the only cause */
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_option_set_no_auto_window_update(opt, 1);
	nghttp2_option_set_no_closed_streams(opt, 1);
	/* Each command that is interrupted is a reset; the host is no attacker of the guest. */
	nghttp2_option_set_stream_reset_rate_limit(opt, 1 << 20, 1 << 16);
	if (nghttp2_session_server_new2(&h2, cb, s, opt) != 0 ||
		nghttp2_submit_settings(h2, 0, settings, ARRAY_LEN(settings)) != 0 ||
		nghttp2_session_set_local_window_size(h2, 0, 0, LINE_WINDOW_ALL) != 0)
		abort();
	nghttp2_option_del(opt);
	nghttp2_session_callbacks_del(cb);
	return h2;
}

static void
drop_streams(struct server *s, bool slept)
{
	while (s->streams != NULL)
		stream_gone(s->streams, slept);
}

static void
begin_anew(struct server *s, bool slept)
{
	drop_streams(s, slept);
	nghttp2_session_del(s->h2);
	s->h2 = h2_new(s);
	buf_clear(&s->out);
	s->heard = false;
	s->preface = 0;
}

/* The peer is gone or talks nonsense: whatever it had is over, the next one starts afresh. */
static void
reset(struct server *s)
{
	begin_anew(s, false);
}

static void
line_lost(struct server *s)
{
	reset(s);
	s->lost = true;
	loop_io_set(s->io, EPOLLIN | EPOLLET);
}

/*
 * Looks for the preface; once it is whole, it and all that follows goes to nghttp2. Its beginning
 * comes again in it once, in "PRI * HTTP": what does not go on there may go on as "PR".
 */
static int
feed(struct server *s, const uint8_t *p, size_t n)
{
	static const uint8_t preface[] = LINE_PREFACE;

	for (; s->preface < LINE_PREFACE_LEN; p++, n--) {
		if (n == 0)
			return 0;
		while (s->preface > 0 && *p != preface[s->preface])
			s->preface = s->preface == strlen("PRI * HTTP") ? 1 : 0;
		s->preface += *p == preface[s->preface];
		if (s->preface == LINE_PREFACE_LEN &&
			nghttp2_session_mem_recv(s->h2, preface, LINE_PREFACE_LEN) < 0)
			return -EPROTO;
	}
	return nghttp2_session_mem_recv(s->h2, p, n) < 0 ? -EPROTO : 0;
}

/* Whether the wake word is in what has come; what follows it is left in the buffer. */
static bool
has_woken(struct server *s, struct buf *in)
{
	const uint8_t *at;

	buf_append(&s->recent, in->data, in->len);
	at = memmem(s->recent.data, s->recent.len, s->wake, LINE_WAKE_HALF);
	if (at == NULL) {
		if (s->recent.len > LINE_WAKE_HALF - 1)
			buf_consume(&s->recent, s->recent.len - (LINE_WAKE_HALF - 1));
		return false;
	}
	buf_consume(&s->recent, (size_t)(at - s->recent.data) + LINE_WAKE_HALF);
	buf_clear(in);
	buf_append(in, s->recent.data, s->recent.len);
	return true;
}

static void
wake(struct server *s)
{
	begin_anew(s, true);
	buf_append(&s->out, s->wake + LINE_WAKE_HALF, LINE_WAKE - LINE_WAKE_HALF);
	s->armed = false;
	buf_release(&s->recent);
}

static void
read_port(struct server *s)
{
	CLEAN_BUF struct buf in = BUF_INIT;
	ssize_t n = buf_read_fd(&in, s->fd, PORT_READ);

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		line_lost(s);
		return;
	}
	if (s->lost) {
		s->lost = false;
		loop_io_set(s->io, EPOLLIN);
	}
	if (s->armed && has_woken(s, &in))
		wake(s);
	if (feed(s, in.data, in.len) < 0)
		reset(s);
	flush_soon(s);
}

static int
fill_out(struct server *s)
{
	while (s->out.len < PORT_OUT_MAX) {
		const uint8_t *p;
		ssize_t n = nghttp2_session_mem_send(s->h2, &p);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return 0;
		buf_append(&s->out, p, (size_t)n);
	}
	return 0;
}

static void
said_all(struct server *s)
{
	void (*cb)(void *) = s->flushed;

	s->flushed = NULL;
	if (cb != NULL)
		cb(s->flushed_arg);
}

static void
flush(void *arg)
{
	struct server *s = arg;
	ssize_t n = 0;

	s->flush_timer = NULL;
	if (s->lost || !s->heard)
		return;
	do {
		if (fill_out(s) < 0) {
			reset(s);
			return;
		}
		if (s->out.len == 0)
			break;
		n = buf_write_fd(&s->out, s->fd);
	} while (n > 0);
	if (s->out.len > 0) {
		if (n == -EAGAIN || n == 0)
			loop_io_set(s->io, EPOLLIN | EPOLLOUT);
		else
			line_lost(s);
		return;
	}
	if (nghttp2_session_want_read(s->h2) == 0)
		reset(s); /* after an error of the peer's, once it has been told */
	said_all(s);
}

static void
on_port(void *arg, uint32_t events)
{
	struct server *s = arg;

	if (events & EPOLLOUT) {
		loop_io_set(s->io, EPOLLIN);
		flush_soon(s);
	}
	if (events & ~(uint32_t)EPOLLOUT)
		read_port(s);
}

struct server *
server_new(struct loop *l, int port_fd, const struct stream_ops *ops, void *ops_arg)
{
	struct server *s;
	int r = io_set_nonblock(port_fd, true);

	if (r < 0) {
		errno = -r;
		return NULL;
	}
	signal(SIGPIPE, SIG_IGN);
	s = xcalloc(1, sizeof(*s));
	*s = (struct server){.loop = l, .fd = port_fd, .ops = ops, .ops_arg = ops_arg};
	s->h2 = h2_new(s);
	s->io = loop_io_add(l, port_fd, EPOLLIN, on_port, s);
	if (s->io == NULL) {
		server_free(s);
		return NULL;
	}
	return s;
}

void
server_free(struct server *s)
{
	if (s == NULL)
		return;
	drop_streams(s, false);
	nghttp2_session_del(s->h2);
	loop_io_del(s->io);
	loop_timer_del(s->flush_timer);
	buf_release(&s->out);
	buf_release(&s->recent);
	free(s);
}

void
server_expect_wake(struct server *s, const uint8_t word[LINE_WAKE])
{
	memcpy(s->wake, word, LINE_WAKE);
	buf_clear(&s->recent);
	s->armed = true;
}

void
server_on_flushed(struct server *s, void (*cb)(void *arg), void *arg)
{
	s->flushed = cb;
	s->flushed_arg = arg;
	flush_soon(s);
}

size_t
stream_room(const struct stream *st)
{
	return st->out.len < STREAM_OUT_MAX ? STREAM_OUT_MAX - st->out.len : 0;
}

static void
resume(struct stream *st)
{
	if (st->deferred) {
		st->deferred = false;
		nghttp2_session_resume_data(st->server->h2, st->id);
	}
	flush_soon(st->server);
}

void
stream_send(struct stream *st, uint8_t type, const void *p, size_t n)
{
	if (st->ending)
		return;
	frame_put(&st->out, type, p, n);
	if (stream_room(st) == 0)
		st->starved = true;
	resume(st);
}

void
stream_consume(struct stream *st, size_t n)
{
	nghttp2_session_consume_stream(st->server->h2, st->id, n);
	flush_soon(st->server);
}

void
stream_end(struct stream *st)
{
	st->ending = true;
	resume(st);
}
