/*
 * How this works: nghttp2 parses and builds the frames; its callbacks move bytes between them and
 * the streams' buffers. A stream's object and nghttp2's idea of it live apart: HTTP/2 may have
 * closed a stream whose last bytes are not passed on yet, and a client may have left while frames
 * are under way. The tie is nghttp2's stream user data, cut (NULL) by whichever ends first.
 *
 * What a hostile guest could make us hold: LINE_STREAMS_MAX times LINE_WINDOW of stream data (flow
 * control, enforced by nghttp2), one header block (64 KiB, capped by nghttp2), acknowledgements
 * (max_outbound_ack), and for each stream one window update and one reset that it does not read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nghttp2/nghttp2.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <wire/line.h>

#include "mux.h"

#define ACKS_MAX 128

struct mux {
	nghttp2_session *h2;
	bool up;
	const char *broken; /* what the guest did to end it */
};

static ssize_t
read_body(nghttp2_session *h2, int32_t id, uint8_t *p, size_t max, uint32_t *flags,
	nghttp2_data_source *source, void *arg)
{
	struct mux_stream *s = nghttp2_session_get_stream_user_data(h2, id);
	size_t n;

	(void)source;
	(void)arg;
	if (s == NULL)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = s->up.len < max ? s->up.len : max;
	if (n > 0)
		memcpy(p, s->up.data, n);
	buf_consume(&s->up, n);
	if (s->up_end && s->up.len == 0) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	} else if (n == 0) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)n;
}

static int
on_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name, size_t name_len,
	const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct mux_stream *s = nghttp2_session_get_stream_user_data(h2, f->hd.stream_id);

	(void)flags;
	(void)arg;
	if (s != NULL && name_len == 7 && memcmp(name, ":status", 7) == 0 && value_len == 3 &&
		memcmp(value, "200", 3) == 0)
		s->answered = true;
	return 0;
}

static int
on_frame_recv(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
	struct mux *m = arg;
	struct mux_stream *s;

	switch (f->hd.type) {
	case NGHTTP2_SETTINGS:
		if (!(f->hd.flags & NGHTTP2_FLAG_ACK))
			m->up = true;
		break;
	case NGHTTP2_GOAWAY:
		m->broken = "the guest ended the line";
		break;
	case NGHTTP2_DATA:
	case NGHTTP2_HEADERS:
		s = nghttp2_session_get_stream_user_data(h2, f->hd.stream_id);
		if (s != NULL && (f->hd.flags & NGHTTP2_FLAG_END_STREAM))
			s->down_end = true;
		break;
	default:
		break;
	}
	return 0;
}

static int
on_data_chunk(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct mux_stream *s = nghttp2_session_get_stream_user_data(h2, id);

	(void)flags;
	(void)arg;
	nghttp2_session_consume_connection(h2, n);
	if (s != NULL && !s->discard)
		buf_append(&s->down, p, n);
	else
		nghttp2_session_consume_stream(h2, id, n);
	return 0;
}

static int
on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *arg)
{
	struct mux_stream *s = nghttp2_session_get_stream_user_data(h2, id);

	(void)code;
	(void)arg;
	if (s != NULL) {
		nghttp2_session_set_stream_user_data(h2, id, NULL);
		s->closed = true;
		s->down_end = true;
	}
	return 0;
}

/* nghttp2 answers it with GOAWAY; for us the line is over at once. */
static int
on_invalid_frame(nghttp2_session *h2, const nghttp2_frame *f, int code, void *arg)
{
	struct mux *m = arg;

	(void)h2;
	if (f->hd.stream_id == 0)
		m->broken = nghttp2_strerror(code);
	return 0;
}

static nghttp2_session *
h2_new(struct mux *m)
{
	static const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LINE_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 4096},
	};
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *opt = NULL;
	nghttp2_session *h2 = NULL;

	if (nghttp2_session_callbacks_new(&cb) != 0 || nghttp2_option_new(&opt) != 0)
		abort(); /* out of memory is the only cause */
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_option_set_no_auto_window_update(opt, 1);
	nghttp2_option_set_no_closed_streams(opt, 1);
	nghttp2_option_set_max_reserved_remote_streams(opt, 0);
	nghttp2_option_set_peer_max_concurrent_streams(opt, LINE_STREAMS_MAX);
	nghttp2_option_set_max_outbound_ack(opt, ACKS_MAX);
	if (nghttp2_session_client_new2(&h2, cb, m, opt) != 0 ||
		nghttp2_submit_settings(h2, 0, settings, ARRAY_LEN(settings)) != 0 ||
		nghttp2_session_set_local_window_size(h2, 0, 0, LINE_WINDOW_ALL) != 0)
		abort();
	nghttp2_option_del(opt);
	nghttp2_session_callbacks_del(cb);
	return h2;
}

struct mux *
mux_new(void)
{
	struct mux *m = xcalloc(1, sizeof(*m));

	m->h2 = h2_new(m);
	return m;
}

void
mux_free(struct mux *m)
{
	if (m == NULL)
		return;
	nghttp2_session_del(m->h2);
	free(m);
}

bool
mux_is_up(const struct mux *m)
{
	return m->up;
}

static int
check(struct mux *m, struct err *e)
{
	if (m->broken != NULL)
		return err_set(e, EPROTO, "the guest broke the link's protocol: %s", m->broken);
	return 0;
}

int
mux_feed(struct mux *m, const void *p, size_t n, struct err *e)
{
	ssize_t r = nghttp2_session_mem_recv(m->h2, p, n);

	if (r < 0 && m->broken == NULL)
		m->broken = nghttp2_strerror((int)r);
	return check(m, e);
}

int
mux_pull(struct mux *m, struct buf *out, size_t limit, struct err *e)
{
	while (out->len < limit) {
		const uint8_t *p;
		ssize_t n = nghttp2_session_mem_send(m->h2, &p);

		if (n < 0 && m->broken == NULL)
			m->broken = nghttp2_strerror((int)n);
		if (n <= 0)
			break;
		buf_append(out, p, (size_t)n);
	}
	if (m->broken == NULL && nghttp2_session_want_read(m->h2) == 0)
		m->broken = "no further use";
	return check(m, e);
}

#define HEADER(name, value)                                                                        \
	{                                                                                          \
		(uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, sizeof(value) - 1,        \
			NGHTTP2_NV_FLAG_NONE                                                       \
	}

struct mux_stream *
mux_stream_new(struct mux *m)
{
	static const nghttp2_nv request[] = {HEADER(":method", "POST"), HEADER(":scheme", "http"),
		HEADER(":authority", "guest"), HEADER(":path", LINE_PATH)};
	nghttp2_data_provider body = {.read_callback = read_body};
	struct mux_stream *s = xcalloc(1, sizeof(*s));

	s->mux = m;
	s->id = nghttp2_submit_request(m->h2, NULL, request, ARRAY_LEN(request), &body, s);
	if (s->id < 0) { /* no stream numbers left, or the guest said GOAWAY */
		free(s);
		return NULL;
	}
	return s;
}

void
mux_stream_free(struct mux_stream *s)
{
	if (s == NULL)
		return;
	if (!s->closed) {
		nghttp2_session_set_stream_user_data(s->mux->h2, s->id, NULL);
		nghttp2_submit_rst_stream(s->mux->h2, 0, s->id, NGHTTP2_CANCEL);
	}
	buf_release(&s->up);
	buf_release(&s->down);
	free(s);
}

void
mux_stream_resume(struct mux_stream *s)
{
	if (!s->deferred || s->closed)
		return;
	s->deferred = false;
	nghttp2_session_resume_data(s->mux->h2, s->id);
}

void
mux_stream_passed(struct mux_stream *s, size_t n)
{
	buf_consume(&s->down, n);
	if (!s->closed)
		nghttp2_session_consume_stream(s->mux->h2, s->id, n);
}

void
mux_stream_discard(struct mux_stream *s)
{
	s->discard = true;
	mux_stream_passed(s, s->down.len);
}
