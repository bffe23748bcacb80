#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "farewell.h"
#include "http_impl.h"

/*
 * How this works, one request after the other:
 *   HEAD      the guest's bytes are read until a head is whole; it is judged
 *   REACH     its origin is looked up and dialed, unless the one at hand is the same
 *   EXCHANGE  the request's body goes up while interim answers, the answer and its body come down
 *   SWITCH    the origin has switched protocols: what is in memory is written out, then a relay
 *             takes both sockets (RELAY); where one of them is TLS, bytes go on from memory to
 *             memory (TUNNEL)
 * Invariants: nothing of a request is sent before the request was judged and its destination
 * reached; nothing behind its body is looked at before it was answered. So requests that are
 * pipelined are judged one by one, and an origin never sees a byte that belongs to another.
 * Backpressure: from a side is read only while less than HTTP_HIGH waits for the other.
 * Whatever is malformed ends the connection: with a page while nothing was answered yet, else by a
 * reset, never with something that looks like a whole answer.
 */

static void on_guest(void *arg, int events);
static void on_origin(void *arg, int events);

/* ---- ends
 * ---------------------------------------------------------------------------------------- */

void
http_end_edits(struct http_conn *h)
{
	edit_upload_free(h->upload);
	edit_answer_free(h->answer);
	h->upload = NULL;
	h->answer = NULL;
	cred_buf_wipe(&h->head);
}

static void
free_conn(struct http_conn *h)
{
	if (h->upstream != NULL)
		upstream_cancel(h->upstream);
	alarm_free(h->limit);
	record_drop(&h->record);
	http_end_edits(h);
	free(h->target);
	free(h);
}

enum step
http_finish(struct http_conn *h, bool reset)
{
	http_done_fn *done = h->done;
	void *arg = h->arg;

	record_close(&h->record, h->up_bytes, h->down_bytes, h->status);
	endpoint_close(&h->guest, reset);
	endpoint_close(&h->origin, reset);
	free_conn(h);
	done(arg);
	return STEP_GONE;
}

enum step
http_say_goodbye(struct http_conn *h)
{
	if (h->guest.out.len > 0 || h->guest.in.len > 0)
		farewell_endpoint(h->o.net, &h->guest);
	return http_finish(h, false);
}

enum step
http_end_with_page(struct http_conn *h, const struct page *p)
{
	page_put(p, h->form, &h->guest.out);
	return http_say_goodbye(h);
}

enum step
http_end_unreachable(struct http_conn *h, int status, const char *reason)
{
	struct page p = {.status = status,
		.error = "unreachable",
		.host = h->dest.host,
		.port = h->dest.port,
		.reason = reason,
		.sandbox = h->o.net->sandbox};

	h->status = status;
	record_end(&h->record, NETEVENT_FAILED, "", reason, status);
	return http_end_with_page(h, &p);
}

void
http_conn_cancel(struct http_conn *h)
{
	if (h->relay != NULL)
		relay_cancel(h->relay);
	record_close(&h->record, h->up_bytes, h->down_bytes, h->status);
	endpoint_close(&h->guest, true);
	endpoint_close(&h->origin, true);
	free_conn(h);
}

/* ---- the loop
 * ------------------------------------------------------------------------------------ */

/*
 * Behind a whole request nothing is read before its answer: there the guest is only watched for its
 * death. An end of file may be what is wanted (half-closed), so it is watched for once only.
 */
static bool
wants_guest(const struct http_conn *h)
{
	const struct endpoint *g = &h->guest;
	bool body = h->state == H_EXCHANGE && !http_framer_done(&h->up);

	return (h->state == H_HEAD || body || h->state == H_TUNNEL) && !g->ended &&
	       g->in.len < ENDPOINT_READ_MAX && h->origin.out.len < HTTP_HIGH;
}

static bool
wants_origin(const struct http_conn *h)
{
	const struct endpoint *o = &h->origin;

	return o->fd >= 0 && h->state != H_SWITCH && !o->ended && o->in.len < ENDPOINT_READ_MAX &&
	       h->guest.out.len < HTTP_HIGH;
}

static enum step
step(struct http_conn *h)
{
	switch (h->state) {
	case H_HEAD:
		return http_step_head(h);
	case H_EXCHANGE:
		return http_step_exchange(h);
	case H_SWITCH:
		return http_step_switch(h);
	case H_TUNNEL:
		return http_step_tunnel(h);
	case H_REACH:
	case H_RELAY:
		break;
	}
	return STEP_WAIT;
}

void
http_run(struct http_conn *h)
{
	enum step s;

	do {
		s = step(h);
		if (s == STEP_GONE)
			return;
		if (!endpoint_flush(&h->guest)) {
			(void)http_finish(h, true);
			return;
		}
		/* An origin that does not listen any more may have answered already. */
		if (!endpoint_flush(&h->origin)) {
			if (h->state == H_TUNNEL) {
				(void)http_finish(h, true);
				return;
			}
			buf_clear(&h->origin.out);
		}
	} while (s == STEP_AGAIN);
	/* What was waited for may be out already. */
	if (h->state == H_SWITCH || h->state == H_TUNNEL)
		s = step(h);
	if (s == STEP_GONE || h->state == H_RELAY)
		return;
	endpoint_wait(&h->guest, wants_guest(h));
	endpoint_wait(&h->origin, wants_origin(h));
}

static void
on_guest(void *arg, int events)
{
	struct http_conn *h = arg;

	if (events == 0 || (wants_guest(h) && !endpoint_fill(&h->guest))) {
		(void)http_finish(h, true);
		return;
	}
	http_run(h);
}

static void
on_origin(void *arg, int events)
{
	struct http_conn *h = arg;

	/* A reset: what came before it counts, and then it is an end. */
	if ((events == 0 || wants_origin(h)) && !endpoint_fill(&h->origin))
		h->origin.ended = true;
	if (events == 0)
		h->origin.ended = true;
	if (h->state == H_HEAD) {
		/* Idle: an end, something that nobody has asked for, or TLS' own affairs. */
		if (h->origin.ended || h->origin.in.len > 0)
			endpoint_close(&h->origin, false);
		return;
	}
	http_run(h);
}

bool
http_take_origin(struct http_conn *h, int fd, SSL *ssl, const struct ip_addr *to)
{
	h->origin_to = *to;
	return endpoint_open(&h->origin, &h->o.net->loop, fd, ssl, on_origin, h);
}

static void
on_limit(void *arg)
{
	struct http_conn *h = arg;

	if (h->limit_of_head)
		(void)http_refuse_malformed(h, 400, "a head that took too long");
	else
		(void)http_finish(h, false);
}

struct http_conn *
http_conn_start(const struct http_options *o, http_done_fn *done, void *arg)
{
	struct http_conn *h = xcalloc(1, sizeof(*h));
	bool ok;

	*h = (struct http_conn){.o = *o, .done = done, .arg = arg, .origin.fd = -1};
	h->dest = o->dest;
	h->limit = alarm_new(&o->net->loop, on_limit, h);
	ok = endpoint_open(&h->guest, &o->net->loop, o->guest_fd, o->guest_ssl, on_guest, h);
	if (o->origin_fd >= 0)
		ok &= http_take_origin(h, o->origin_fd, o->origin_ssl, &o->origin_to);
	if (!ok) {
		endpoint_close(&h->guest, true);
		endpoint_close(&h->origin, true);
		free_conn(h);
		return NULL;
	}
	if (o->origin_fd >= 0) {
		memcpy(h->origin_host, o->dest.host, strlen(o->dest.host) + 1);
		h->origin_port = o->dest.port;
	}
	(void)http_step_head(h); /* nothing is there yet: its limit is set */
	endpoint_wait(&h->guest, wants_guest(h));
	endpoint_wait(&h->origin, wants_origin(h));
	return h;
}

/* Between requests: the next one is judged anyway, but what is open may be so no longer. */
static bool
may_stay(const struct http_conn *h)
{
	struct ip_addr a;
	struct reach_dest d = {.host = h->origin_host,
		.is_raw = ip_addr_parse(h->origin_host, &a) == 0,
		.port = h->origin_port};

	return h->origin.fd < 0 ||
	       reach_rejudge(h->o.net, &d, &h->origin_to).outcome != POLICY_DENY;
}

bool
http_conn_recheck(struct http_conn *h)
{
	if (h->state == H_HEAD)
		return may_stay(h);
	return reach_rejudge(h->o.net, &h->dest, h->origin.fd >= 0 ? &h->origin_to : NULL)
		       .outcome == POLICY_ALLOW;
}
