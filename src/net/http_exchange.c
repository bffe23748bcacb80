/* A request that is on its way: its body up, its answer down; and what becomes of an upgrade. */
#include <string.h>

#include <base/cleanup.h>

#include "http_head.h"
#include "http_impl.h"

static enum step
broken(struct http_conn *h, int status, const char *reason)
{
	struct page p = {.status = status,
		.error = status == 400 ? "malformed" : "unreachable",
		.host = h->dest.host,
		.port = h->dest.port,
		.reason = reason,
		.sandbox = h->o.net->sandbox};

	h->status = status;
	if (h->answered)
		return http_finish(h, true);
	return http_end_with_page(h, &p);
}

/* The request was on its way already, and is no longer. */
static enum step
refuse_upload(struct http_conn *h, const char *why)
{
	endpoint_close(&h->origin, true);
	if (h->answered)
		return http_finish(h, true);
	return http_refuse(h, "<credential>", why);
}

/* ---- bodies that are looked into: their content is framed anew, trailers are left out (RFC 9110
 * 6.5.1 lets whoever is in between do so) */

/* One of the two. */
struct filter {
	struct edit_upload *up;
	struct edit_answer *down;
};

static const char *
filter_content(const struct filter *by, const void *p, size_t n, bool last, struct buf *out)
{
	if (by->up != NULL)
		return edit_upload_body(by->up, p, n, last, out);
	edit_answer_body(by->down, p, n, last, out);
	return NULL;
}

static void
put_framed(const struct http_framer *f, const struct buf *content, bool last, struct buf *out)
{
	bool chunked = f->body == HTTP_BODY_CHUNKED;

	if (chunked && content->len > 0)
		buf_printf(out, "%zx\r\n", content->len);
	buf_append(out, content->data, content->len);
	if (chunked && content->len > 0)
		buf_append_str(out, "\r\n");
	if (chunked && last)
		buf_append_str(out, "0\r\n\r\n");
}

/* As http_framer_feed, with what may go on appended. *wrong: nothing more may. */
static long
filter_feed(struct http_framer *f, const struct filter *by, const uint8_t *p, size_t n,
	struct buf *out, const char **wrong)
{
	CLEAN_CRED_BUF struct buf content = BUF_INIT;
	size_t at = 0;

	while (at < n && !http_framer_done(f) && *wrong == NULL) {
		struct http_str piece;
		long took = http_framer_next(f, p + at, n - at, &piece);

		if (took < 0)
			return took;
		at += (size_t)took;
		*wrong = filter_content(by, piece.p, piece.n, http_framer_done(f), &content);
	}
	if (*wrong == NULL)
		put_framed(f, &content, http_framer_done(f), out);
	return (long)at;
}

/* The request's body. */
static enum step
move_up(struct http_conn *h)
{
	size_t n = h->guest.in.len;
	const char *wrong = NULL;
	long took;

	if (http_framer_done(&h->up) || n == 0)
		return STEP_AGAIN;
	if (h->origin.out.len >= HTTP_HIGH)
		return STEP_AGAIN;
	if (h->upload != NULL) {
		const struct filter by = {.up = h->upload};

		took = filter_feed(&h->up, &by, h->guest.in.data, n, &h->origin.out, &wrong);
	} else {
		took = http_framer_feed(&h->up, h->guest.in.data, n);
		buf_append(&h->origin.out, h->guest.in.data, took > 0 ? (size_t)took : 0);
	}
	if (took < 0)
		return broken(h, 400, "a malformed chunked body");
	if (wrong != NULL)
		return refuse_upload(h, wrong);
	buf_consume(&h->guest.in, (size_t)took);
	h->up_bytes += (uint64_t)took;
	return STEP_AGAIN;
}

static void
pass_answer(struct http_conn *h, struct http_response *s)
{
	bool final = s->status >= 200;
	const struct edit_request er = http_edit_request(h);
	CLEAN_CRED_BUF struct buf store = BUF_INIT;

	edit_answer_fields(h->o.net, &er, s->fields, s->nfields, &store);
	h->status = s->status;
	if (final) {
		h->origin_keep = s->keep_alive;
		h->keep_alive &= s->body != HTTP_BODY_CLOSE && http_framer_done(&h->up);
		http_framer_init(&h->down, s->body, s->length);
		h->answered = true;
		h->answer = edit_answer_start(h->o.net, &er);
	}
	/* Interim answers mean nothing to HTTP/1.0 (RFC 9110 15.2). */
	if (final || h->minor == 1)
		http_head_put_response(s, final && !h->keep_alive, h->minor, &h->guest.out);
	h->down_bytes += s->head_len;
	buf_consume(&h->origin.in, s->head_len);
}

static enum step
read_answer(struct http_conn *h)
{
	struct http_response s;
	bool to_head = strcmp(h->method, "HEAD") == 0;

	switch (http_response_parse(h->origin.in.data, h->origin.in.len, to_head, &s)) {
	case HTTP_PARSE_OK:
		break;
	case HTTP_PARSE_MORE:
		return h->origin.ended ? broken(h, 502, "the server closed the connection")
				       : STEP_WAIT;
	case HTTP_PARSE_BAD:
		return broken(h, 502, s.error);
	case HTTP_PARSE_TOO_LARGE:
		return broken(h, 502, "a head that is too large in the answer");
	}
	if (s.status == 101 && (!h->wants_upgrade || !http_framer_done(&h->up)))
		return broken(h, 502, "the server switched protocols unasked");
	pass_answer(h, &s);
	if (s.status == 101)
		h->state = H_SWITCH;
	return STEP_AGAIN;
}

static enum step
complete(struct http_conn *h)
{
	record_close(&h->record, h->up_bytes, h->down_bytes, h->status);
	if (!h->origin_keep || !http_framer_done(&h->up))
		endpoint_close(&h->origin, false);
	if (!h->keep_alive || !http_framer_done(&h->up))
		return http_say_goodbye(h);
	h->state = H_HEAD;
	return STEP_AGAIN;
}

/* The answer's body. */
static enum step
move_down(struct http_conn *h)
{
	long took;

	if (h->guest.out.len >= HTTP_HIGH)
		return STEP_WAIT;
	if (h->origin.in.len > 0 && !http_framer_done(&h->down)) {
		if (h->answer != NULL) {
			const struct filter by = {.down = h->answer};
			const char *wrong = NULL;

			took = filter_feed(&h->down, &by, h->origin.in.data, h->origin.in.len,
				&h->guest.out, &wrong);
		} else {
			took = http_framer_feed(&h->down, h->origin.in.data, h->origin.in.len);
			buf_append(&h->guest.out, h->origin.in.data, took > 0 ? (size_t)took : 0);
		}
		if (took < 0)
			return broken(h, 502, "a malformed chunked body");
		buf_consume(&h->origin.in, (size_t)took);
		h->down_bytes += (uint64_t)took;
	}
	if (http_framer_done(&h->down))
		return complete(h);
	if (!h->origin.ended)
		return STEP_WAIT;
	if (h->down.body != HTTP_BODY_CLOSE || h->origin.cut)
		return http_finish(h, true);
	if (h->answer != NULL)
		edit_answer_body(h->answer, NULL, 0, true, &h->guest.out);
	return complete(h);
}

enum step
http_step_exchange(struct http_conn *h)
{
	enum step s = move_up(h);

	if (s == STEP_GONE)
		return s;
	/* The guest gave up in the middle of its body. */
	if (h->guest.ended && h->guest.in.len == 0 && !http_framer_done(&h->up) && !h->answered)
		return http_finish(h, true);
	return h->answered ? move_down(h) : read_answer(h);
}

/* ---- after 101
 * ----------------------------------------------------------------------------------- */

static void
on_relayed(void *arg, enum relay_end end, uint64_t up, uint64_t down)
{
	struct http_conn *h = arg;

	(void)end;
	h->relay = NULL;
	h->up_bytes += up;
	h->down_bytes += down;
	(void)http_finish(h, false);
}

/* Two plain ends: the kernel moves the bytes. */
static enum step
start_relay(struct http_conn *h)
{
	int guest = endpoint_take_fd(&h->guest), origin = endpoint_take_fd(&h->origin);

	h->state = H_RELAY;
	h->relay =
		relay_start(&h->o.net->loop, &h->o.net->pipes, guest, origin, NULL, on_relayed, h);
	return h->relay != NULL ? STEP_WAIT : http_finish(h, true);
}

enum step
http_step_switch(struct http_conn *h)
{
	struct endpoint *g = &h->guest, *o = &h->origin;

	if (g->ssl != NULL || o->ssl != NULL) {
		h->state = H_TUNNEL;
		return STEP_AGAIN;
	}
	buf_append(&o->out, g->in.data, g->in.len);
	buf_append(&g->out, o->in.data, o->in.len);
	h->up_bytes += g->in.len;
	h->down_bytes += o->in.len;
	buf_clear(&g->in);
	buf_clear(&o->in);
	if (g->out.len > 0 || o->out.len > 0)
		return STEP_WAIT;
	return start_relay(h);
}

/* An end is passed on once everything before it is out. */
static void
move(struct endpoint *from, struct endpoint *to, uint64_t *total, bool *end)
{
	if (to->out.len < HTTP_HIGH) {
		buf_append(&to->out, from->in.data, from->in.len);
		*total += from->in.len;
		buf_clear(&from->in);
	}
	if (!*end && from->ended && from->in.len == 0 && endpoint_flush(to) && to->out.len == 0) {
		*end = true;
		endpoint_finish(to);
	}
}

enum step
http_step_tunnel(struct http_conn *h)
{
	if (h->guest.cut || h->origin.cut)
		return http_finish(h, true);
	move(&h->guest, &h->origin, &h->up_bytes, &h->up_end);
	move(&h->origin, &h->guest, &h->down_bytes, &h->down_end);
	return h->up_end && h->down_end ? http_finish(h, false) : STEP_WAIT;
}
