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

/* The request's body. */
static enum step
move_up(struct http_conn *h)
{
	size_t n = h->guest.in.len;
	long took;

	if (http_framer_done(&h->up) || n == 0)
		return STEP_AGAIN;
	if (h->origin.out.len >= HTTP_HIGH)
		return STEP_AGAIN;
	took = http_framer_feed(&h->up, h->guest.in.data, n);
	if (took < 0)
		return broken(h, 400, "a malformed chunked body");
	buf_append(&h->origin.out, h->guest.in.data, (size_t)took);
	buf_consume(&h->guest.in, (size_t)took);
	h->up_bytes += (uint64_t)took;
	return STEP_AGAIN;
}

static void
pass_answer(struct http_conn *h, const struct http_response *s)
{
	bool final = s->status >= 200;

	h->status = s->status;
	if (final) {
		h->origin_keep = s->keep_alive;
		h->keep_alive &= s->body != HTTP_BODY_CLOSE && http_framer_done(&h->up);
		http_framer_init(&h->down, s->body, s->length);
		h->answered = true;
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
		took = http_framer_feed(&h->down, h->origin.in.data, h->origin.in.len);
		if (took < 0)
			return broken(h, 502, "a malformed chunked body");
		buf_append(&h->guest.out, h->origin.in.data, (size_t)took);
		buf_consume(&h->origin.in, (size_t)took);
		h->down_bytes += (uint64_t)took;
	}
	if (http_framer_done(&h->down))
		return complete(h);
	if (h->origin.ended)
		return h->down.body == HTTP_BODY_CLOSE && !h->origin.cut ? complete(h)
									 : http_finish(h, true);
	return STEP_WAIT;
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
