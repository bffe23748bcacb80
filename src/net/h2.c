#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/mem.h>

#include "farewell.h"
#include "h2_impl.h"

/*
 * How this works. Two nghttp2 sessions: a server's towards the guest, a client's towards the
 * origin. A stream of the guest that is allowed becomes one of the origin's (h2_stream.c). Content
 * that has come waits in the stream until the other session asks for it, and only then its window
 * opens again: so H2_STREAM_WINDOW and H2_WINDOW bound what is held, and a reader that stops stops
 * the writer. What sessions want to send goes into the endpoint's buffer up to HIGH. An origin that
 * ends, or wants to, ends the guest's connection, too: GOAWAY, and once the streams that were begun
 * are through, the end. Protocol errors and floods (settings, pings, continuations: nghttp2's own
 * bounds; resets: RESETS_MAX) end the connection.
 */
enum {
	HIGH = 128 * 1024,
	RESETS_MAX = 200, /* of the guest's streams, before they were answered */
};

static void on_guest(void *arg, int events);
static void on_origin(void *arg, int events);

/* ---- ends
 * ---------------------------------------------------------------------------------------- */

static void
release(struct h2_conn *h, bool reset)
{
	struct h2_stream *st;

	while ((st = LIST_FIRST(&h->streams)) != NULL)
		h2_stream_free(st);
	nghttp2_session_del(h->guest.session);
	nghttp2_session_del(h->origin.session);
	endpoint_close(&h->guest.end, reset);
	endpoint_close(&h->origin.end, reset);
	alarm_free(h->limit);
	free(h);
}

static void
finish(struct h2_conn *h, bool reset)
{
	http_done_fn *done = h->done;
	void *arg = h->arg;

	if (!reset && h->guest.end.out.len > 0)
		farewell_endpoint(h->o.net, &h->guest.end);
	release(h, reset);
	done(arg);
}

void
h2_conn_cancel(struct h2_conn *h)
{
	release(h, true);
}

/* ---- what nghttp2 tells
 * -------------------------------------------------------------------------- */

static struct h2_stream *
stream_of(nghttp2_session *s, int32_t id)
{
	return nghttp2_session_get_stream_user_data(s, id);
}

static int
on_begin_headers(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct h2_conn *h = arg;
	struct h2_stream *st;

	/* Nothing may come between its frames (RFC 9113, 6.10): there is only one at a time. */
	if (s == h->guest.session) {
		h->head_id = frame->hd.stream_id;
		alarm_set(h->limit, h->o.net->hooks.head_limit_ms);
	}
	if (s == h->guest.session && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		st = h2_stream_new(h, frame->hd.stream_id);
		nghttp2_session_set_stream_user_data(s, frame->hd.stream_id, st);
		return 0;
	}
	st = stream_of(s, frame->hd.stream_id);
	if (st != NULL)
		h2_fields_clear(&st->fields);
	return 0;
}

static int
on_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
	const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct h2_stream *st = stream_of(s, frame->hd.stream_id);

	(void)flags;
	(void)arg;
	if (st != NULL)
		h2_fields_add(&st->fields, name, name_len, value, value_len);
	return 0;
}

static int
on_frame(nghttp2_session *s, const nghttp2_frame *frame, void *arg)
{
	struct h2_conn *h = arg;
	struct h2_stream *st = stream_of(s, frame->hd.stream_id);
	bool up = s == h->guest.session;
	bool ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

	if (frame->hd.type == NGHTTP2_GOAWAY)
		h->closing |= !up;
	if (frame->hd.type == NGHTTP2_HEADERS && up)
		h->head_id = 0;
	if (st == NULL)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS) {
		if (up && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
			h2_stream_request(st, ended);
		else if (ended && (up || st->answered))
			h2_stream_trailers(st, up);
		else if (!up)
			h2_stream_answer(st, ended);
	} else if (frame->hd.type == NGHTTP2_DATA && ended) {
		h2_stream_content(st, up, NULL, 0, true);
	} else if (frame->hd.type == NGHTTP2_RST_STREAM && up && !st->answered) {
		h->resets++;
	}
	return 0;
}

static int
on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct h2_conn *h = arg;
	struct h2_stream *st = stream_of(s, id);
	bool up = s == h->guest.session;

	(void)flags;
	/* Nobody waits for it (a request that was refused): it is dropped. */
	if (st == NULL || (up ? st->origin_id == 0 || st->origin_closed : st->guest_closed)) {
		nghttp2_session_consume(s, id, n);
		return 0;
	}
	h2_stream_content(st, up, p, n, false);
	return 0;
}

static int
on_close(nghttp2_session *s, int32_t id, uint32_t code, void *arg)
{
	struct h2_conn *h = arg;
	struct h2_stream *st = stream_of(s, id);

	if (s == h->guest.session && id == h->head_id)
		h->head_id = 0;
	if (st == NULL)
		return 0;
	if (s == h->guest.session) {
		st->guest_closed = true;
		if (st->origin_id != 0 && !st->origin_closed)
			nghttp2_submit_rst_stream(h->origin.session, NGHTTP2_FLAG_NONE,
				st->origin_id, NGHTTP2_CANCEL);
	} else {
		st->origin_closed = true;
		if (!st->guest_closed && (code != NGHTTP2_NO_ERROR || !st->down_ended))
			h2_stream_broken(st, code, "the server closed the stream");
	}
	if (st->guest_closed && (st->origin_id == 0 || st->origin_closed))
		h2_stream_free(st);
	return 0;
}

static bool
make_session(struct h2_conn *h, struct h2_side *side, bool server)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_FIELDS_BYTES},
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, server ? H2_STREAMS_MAX : 0},
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *option = NULL;
	int r = nghttp2_session_callbacks_new(&cb);

	if (r == 0)
		r = nghttp2_option_new(&option);
	if (r == 0) {
		nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
		nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
		nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
		nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
		nghttp2_option_set_no_auto_window_update(option, 1);
		r = server ? nghttp2_session_server_new2(&side->session, cb, h, option)
			   : nghttp2_session_client_new2(&side->session, cb, h, option);
	}
	/* A server has no pushes to forbid. */
	if (r == 0)
		r = nghttp2_submit_settings(
			side->session, NGHTTP2_FLAG_NONE, settings, server ? 3 : 4);
	if (r == 0)
		r = nghttp2_session_set_local_window_size(
			side->session, NGHTTP2_FLAG_NONE, 0, H2_WINDOW);
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(option);
	return r == 0;
}

/* ---- the loop
 * ------------------------------------------------------------------------------------ */

/* False: what came is not HTTP/2, or too much of it. */
static bool
take(struct h2_side *side)
{
	struct buf *in = &side->end.in;
	ssize_t n;

	if (side->session == NULL || in->len == 0)
		return true;
	n = nghttp2_session_mem_recv(side->session, in->data, in->len);
	if (n < 0)
		return false;
	buf_consume(in, (size_t)n);
	return true;
}

static bool
give(struct h2_side *side, size_t *moved)
{
	const uint8_t *p;
	ssize_t n = 1;

	while (side->session != NULL && n > 0 && side->end.out.len < HIGH) {
		n = nghttp2_session_mem_send(side->session, &p);
		if (n > 0) {
			buf_append(&side->end.out, p, (size_t)n);
			*moved += (size_t)n;
		}
	}
	return n >= 0 && endpoint_flush(&side->end);
}

static void
lose_origin(struct h2_conn *h)
{
	struct h2_stream *st, *next;

	h->closing = true;
	for (st = LIST_FIRST(&h->streams); st != NULL; st = next) {
		next = LIST_NEXT(st, link);
		if (st->origin_id == 0 || st->origin_closed)
			continue;
		st->origin_closed = true;
		if (st->guest_closed)
			h2_stream_free(st);
		else if (!st->down_ended)
			h2_stream_broken(
				st, NGHTTP2_INTERNAL_ERROR, "the server closed the connection");
	}
	nghttp2_session_del(h->origin.session);
	h->origin.session = NULL;
	endpoint_close(&h->origin.end, false);
}

static bool
wants(const struct h2_conn *h, const struct h2_side *side)
{
	return side->end.fd >= 0 && !side->end.ended && h->guest.end.out.len < HIGH &&
	       h->origin.end.out.len < HIGH;
}

static void
say_closing(struct h2_conn *h)
{
	if (!h->closing || h->told)
		return;
	h->told = true;
	nghttp2_submit_goaway(h->guest.session, NGHTTP2_FLAG_NONE,
		nghttp2_session_get_last_proc_stream_id(h->guest.session), NGHTTP2_NO_ERROR, NULL,
		0);
}

static void
run(struct h2_conn *h)
{
	size_t moved;

	do {
		moved = 0;
		if (!take(&h->guest) || h->resets > RESETS_MAX) {
			log_debug("h2: a guest's protocol error, or a flood");
			finish(h, true);
			return;
		}
		if (h->origin.session != NULL &&
			(!take(&h->origin) || !give(&h->origin, &moved) || h->origin.end.ended))
			lose_origin(h);
		say_closing(h);
		if (!give(&h->guest, &moved)) {
			finish(h, true);
			return;
		}
		/* What has gone out may have opened a window of the other side's. */
	} while (moved > 0);
	if (h->guest.end.ended || (h->closing && h->nstreams == 0) ||
		(nghttp2_session_want_read(h->guest.session) == 0 &&
			nghttp2_session_want_write(h->guest.session) == 0)) {
		finish(h, h->guest.end.ended && h->guest.end.cut);
		return;
	}
	if (h->head_id == 0 && h->nstreams > 0)
		alarm_stop(h->limit);
	else if (h->head_id == 0)
		alarm_set(h->limit, h->o.net->hooks.request_idle_ms);
	endpoint_wait(&h->guest.end, wants(h, &h->guest));
	endpoint_wait(&h->origin.end, wants(h, &h->origin));
}

static void
on_guest(void *arg, int events)
{
	struct h2_conn *h = arg;

	if (events == 0 || (wants(h, &h->guest) && !endpoint_fill(&h->guest.end))) {
		finish(h, true);
		return;
	}
	run(h);
}

static void
on_origin(void *arg, int events)
{
	struct h2_conn *h = arg;

	if ((events == 0 || wants(h, &h->origin)) && !endpoint_fill(&h->origin.end))
		h->origin.end.ended = true;
	h->origin.end.ended |= events == 0;
	run(h);
}

/* Idle, or a head that never ends. */
static void
on_limit(void *arg)
{
	finish(arg, false);
}

struct h2_conn *
h2_conn_start(const struct http_options *o, http_done_fn *done, void *arg)
{
	struct h2_conn *h = xcalloc(1, sizeof(*h));
	size_t moved = 0;
	bool ok;

	*h = (struct h2_conn){.o = *o, .done = done, .arg = arg, .origin.end.fd = -1};
	LIST_INIT(&h->streams);
	h->limit = alarm_new(&o->net->loop, on_limit, h);
	ok = endpoint_open(&h->guest.end, &o->net->loop, o->guest_fd, o->guest_ssl, on_guest, h);
	if (o->origin_fd >= 0)
		ok &= endpoint_open(
			&h->origin.end, &o->net->loop, o->origin_fd, o->origin_ssl, on_origin, h);
	ok = ok && make_session(h, &h->guest, true) &&
	     (o->origin_fd < 0 || make_session(h, &h->origin, false));
	if (!ok) {
		release(h, true);
		return NULL;
	}
	alarm_set(h->limit, o->net->hooks.request_idle_ms);
	/* Both have settings to say, and the guest may have said something already. */
	(void)give(&h->guest, &moved);
	(void)give(&h->origin, &moved);
	endpoint_wait(&h->guest.end, true);
	endpoint_wait(&h->origin.end, true);
	return h;
}

bool
h2_conn_recheck(struct h2_conn *h)
{
	const struct h2_stream *st;

	if (reach_rejudge(h->o.net, &h->o.dest, NULL).outcome == POLICY_DENY)
		return h->origin.end.fd < 0;
	LIST_FOREACH(st, &h->streams, link)
	if (!h2_stream_is_allowed(st))
		return false;
	return true;
}
