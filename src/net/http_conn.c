#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/mem.h>
#include <proto/http.h>

#include "farewell.h"
#include "http_conn.h"
#include "http_head.h"
#include "page.h"
#include "relay.h"
#include "sock.h"

/*
 * How this works, one request after the other:
 *   HEAD      the guest's bytes are read until a head is whole; it is judged
 *   REACH     its origin is looked up and dialed, unless the one at hand is the same
 *   EXCHANGE  the request's body goes up while interim answers, the answer and its body come down
 *   SWITCH    the origin has switched protocols: what is in memory is written out, then a relay
 *             takes both sockets
 * Invariants: nothing of a request is sent before the request was judged and its destination
 * reached; nothing behind its body is looked at before it was answered. So requests that are
 * pipelined are judged one by one, and an origin never sees a byte that belongs to another.
 * Backpressure: from a side is read only while less than HIGH waits for the other.
 * Whatever is malformed ends the connection: with a page while nothing was answered yet, else by a
 * reset, never with something that looks like a whole answer.
 */

enum {
	HIGH = 128 * 1024,
	READ_MAX = 65536,
	HEAD_LIMIT_MS = 30000,  /* from a head's first byte to its last */
	IDLE_LIMIT_MS = 120000, /* between requests */
};

enum http_state { H_HEAD, H_REACH, H_EXCHANGE, H_SWITCH, H_RELAY };
enum step { STEP_WAIT, STEP_AGAIN, STEP_GONE };

struct peer {
	int fd; /* -1: none */
	struct watch *watch;
	struct buf in, out;
	bool ended; /* its end of file was read */
};

struct http_conn {
	struct http_options o;
	enum http_state state;
	struct peer guest, origin;
	struct ip_addr origin_to;
	char origin_host[HOST_NAME_TEXT_MAX];
	uint16_t origin_port;
	struct alarm *limit;
	bool limit_of_head; /* which of the two it is */
	struct reach *reach;
	struct relay *relay;
	struct record record;
	http_done_fn *done;
	void *arg;
	size_t scanned; /* of guest.in: no end of a head in there */

	/* the present request */
	char host[HOST_NAME_TEXT_MAX]; /* forward: of dest */
	struct reach_dest dest;
	char method[HTTP_METHOD_MAX + 1];
	char *target;
	struct buf head; /* to be sent once it is reached */
	bool keep_alive, wants_upgrade;
	struct page_form form;
	int minor, status;
	struct http_framer up, down;
	bool answered;    /* its answer's head has gone down */
	bool origin_keep; /* the answer says that the origin may be asked again */
	uint64_t up_bytes, down_bytes;
};

static void on_guest(void *arg, int events);
static void on_origin(void *arg, int events);
static void run(struct http_conn *h);

/* ---- ends
 * ---------------------------------------------------------------------------------------- */

static void
peer_close(struct peer *p, bool reset)
{
	watch_free(p->watch);
	if (p->fd >= 0 && reset)
		sock_reset(p->fd);
	else if (p->fd >= 0)
		close(p->fd);
	buf_release(&p->in);
	buf_release(&p->out);
	*p = (struct peer){.fd = -1};
}

static void
free_conn(struct http_conn *h)
{
	if (h->reach != NULL)
		reach_cancel(h->reach);
	alarm_free(h->limit);
	record_drop(&h->record);
	buf_release(&h->head);
	free(h->target);
	free(h);
}

static enum step
finish(struct http_conn *h, bool reset)
{
	http_done_fn *done = h->done;
	void *arg = h->arg;

	record_close(&h->record, h->up_bytes, h->down_bytes, h->status);
	peer_close(&h->guest, reset);
	peer_close(&h->origin, reset);
	free_conn(h);
	done(arg);
	return STEP_GONE;
}

/* What is in guest.out, then the end. */
static enum step
say_goodbye(struct http_conn *h)
{
	if (h->guest.out.len == 0 && h->guest.in.len == 0)
		return finish(h, false);
	watch_free(h->guest.watch);
	farewell_start(h->o.net, TAKE_FD(h->guest.fd), &h->guest.out);
	h->guest.watch = NULL;
	return finish(h, false);
}

static enum step
end_with_page(struct http_conn *h, const struct page *p)
{
	page_put(p, h->form, &h->guest.out);
	return say_goodbye(h);
}

void
http_conn_cancel(struct http_conn *h)
{
	if (h->relay != NULL)
		relay_cancel(h->relay);
	record_close(&h->record, h->up_bytes, h->down_bytes, h->status);
	peer_close(&h->guest, true);
	peer_close(&h->origin, true);
	free_conn(h);
}

/* ---- judging
 * ------------------------------------------------------------------------------------- */

static void
set_limit(struct http_conn *h, bool head)
{
	if (head && h->limit_of_head)
		return; /* not prolonged by more bytes */
	h->limit_of_head = head;
	alarm_set(h->limit, head ? HEAD_LIMIT_MS : IDLE_LIMIT_MS);
}

static void
begin_record(struct http_conn *h, const struct http_request *q)
{
	enum netevent_via via = h->o.via;

	record_begin(&h->record, h->o.net->events, NETEVENT_HTTP, via, h->dest.host, h->dest.port);
	if (q != NULL)
		record_request(&h->record, q->method.p, q->method.n, q->path.p, q->path.n);
}

static enum step
refuse_malformed(struct http_conn *h, int status, const char *reason)
{
	struct page p = {.status = status, .error = "malformed", .reason = reason};

	if (h->dest.host == NULL)
		h->dest = (struct reach_dest){.host = "(unknown)"};
	begin_record(h, NULL);
	record_end(&h->record, NETEVENT_BLOCKED, "<protocol>", reason, status);
	return end_with_page(h, &p);
}

static enum step
refuse_policy(struct http_conn *h, const struct policy_decision *d)
{
	struct page_store store;
	struct ip_addr raw;
	struct policy_dest dest = reach_dest_of(&h->dest, &raw);
	struct page p = page_of_decision(&store, &dest, d, h->o.net->sandbox);

	p.host = h->dest.host;
	h->status = p.status;
	record_end(&h->record, NETEVENT_BLOCKED, store.rule, store.reason, p.status);
	return end_with_page(h, &p);
}

static enum step
refuse_name(struct http_conn *h, const char *reason)
{
	struct page p = {.status = 403,
		.error = "blocked",
		.host = h->dest.host,
		.port = h->dest.port,
		.rule = "<name check>",
		.reason = reason,
		.sandbox = h->o.net->sandbox};

	record_end(&h->record, NETEVENT_BLOCKED, p.rule, reason, p.status);
	return end_with_page(h, &p);
}

/*
 * In a connection to a name, Host says the same name; in one to an address, another name may be
 * said, if that is allowed as well. NULL, or why not; *ret is what Host says.
 */
static const char *
check_name(const struct http_conn *h, const struct http_request *q, char host[HOST_NAME_TEXT_MAX],
	struct reach_dest *ret)
{
	ret->port = h->o.dest.port;
	if (q->form != HTTP_FORM_ORIGIN && q->form != HTTP_FORM_ASTERISK)
		return "a request for a proxy in a connection to a server";
	if (q->host.host.n == 0) {
		*ret = h->o.dest;
		return NULL;
	}
	if (!reach_name(&q->host, host, ret))
		return "a Host that is no name";
	if (q->host.port != 0 && q->host.port != h->o.dest.port)
		return "a Host with another port than the connection's";
	if (reach_same_host(ret, &h->o.dest) || (h->o.dest.is_raw && !ret->is_raw))
		return NULL;
	return "a Host that is not the connection's";
}

static enum step start_reach(struct http_conn *h);

/* What was asked is known and well-formed. */
static enum step
judge(struct http_conn *h, const struct http_request *q)
{
	char named[HOST_NAME_TEXT_MAX];
	struct reach_dest says = {.port = 0};
	struct policy_decision d;
	const char *wrong = NULL;

	if (h->o.forward) {
		if (!reach_name(&q->to, h->host, &h->dest))
			return refuse_malformed(h, 400, "a host that is no name");
		h->dest.port = q->to.port != 0 ? q->to.port : 80;
	} else {
		h->dest = h->o.dest;
		wrong = check_name(h, q, named, &says);
	}
	h->dest.method = h->method;
	h->dest.target = h->target;
	begin_record(h, q);
	if (wrong != NULL)
		return refuse_name(h, wrong);
	d = reach_judge(h->o.net, &h->dest);
	if (d.outcome == POLICY_ALLOW && says.host != NULL && h->dest.is_raw && !says.is_raw) {
		says.method = h->method;
		says.target = h->target;
		d = reach_judge(h->o.net, &says);
	}
	if (d.outcome != POLICY_ALLOW)
		return refuse_policy(h, &d);
	http_head_put_request(q, h->dest.host, &h->head);
	buf_consume(&h->guest.in, q->head_len);
	return start_reach(h);
}

static enum step
take_request(struct http_conn *h, const struct http_request *q)
{
	memcpy(h->method, q->method.p, q->method.n);
	h->method[q->method.n] = '\0';
	free(h->target);
	h->target = xstrndup(q->path.p, q->path.n);
	buf_clear(&h->head);
	h->keep_alive = q->keep_alive;
	h->wants_upgrade = q->upgrade;
	h->minor = q->minor;
	h->status = 0;
	h->answered = h->origin_keep = false;
	h->form = page_form_of(q);
	h->up_bytes = h->down_bytes = 0;
	http_framer_init(&h->up, q->body, q->length);
	alarm_stop(h->limit);
	h->limit_of_head = false;
	if (h->o.forward && q->form != HTTP_FORM_ABSOLUTE)
		return refuse_malformed(
			h, 400, "this is a forward proxy: the target must be http://HOST/PATH");
	return judge(h, q);
}

/* Parsing begins where a head may end, so that a slow sender costs nothing each byte. */
static bool
head_may_be_whole(struct http_conn *h)
{
	const uint8_t *p = h->guest.in.data;
	size_t n = h->guest.in.len;
	size_t from = h->scanned > 3 ? h->scanned - 3 : 0;

	h->scanned = n;
	for (size_t i = from; i + 1 < n; i++)
		if (p[i] == '\n' &&
			(p[i + 1] == '\n' || (p[i + 1] == '\r' && i + 2 < n && p[i + 2] == '\n')))
			return true;
	return n >= HTTP_HEAD_MAX || h->guest.ended;
}

static enum step
step_head(struct http_conn *h)
{
	struct http_request q;

	if (h->guest.in.len == 0 && h->guest.ended)
		return finish(h, false);
	if (h->guest.in.len == 0) {
		set_limit(h, false);
		return STEP_WAIT;
	}
	set_limit(h, true);
	if (!head_may_be_whole(h))
		return STEP_WAIT;
	switch (http_request_parse(h->guest.in.data, h->guest.in.len, &q)) {
	case HTTP_PARSE_OK:
		h->scanned = 0;
		return take_request(h, &q);
	case HTTP_PARSE_BAD:
		return refuse_malformed(h, 400, q.error);
	case HTTP_PARSE_TOO_LARGE:
		return refuse_malformed(h, 431, "a head that is too large");
	case HTTP_PARSE_MORE:
		break;
	}
	return h->guest.ended ? refuse_malformed(h, 400, "a head that was cut short") : STEP_WAIT;
}

/* ---- reaching the origin
 * ------------------------------------------------------------------------- */

static enum step
end_unreachable(struct http_conn *h, int status, const char *reason)
{
	struct page p = {.status = status,
		.error = "unreachable",
		.host = h->dest.host,
		.port = h->dest.port,
		.reason = reason,
		.sandbox = h->o.net->sandbox};

	h->status = status;
	record_end(&h->record, NETEVENT_FAILED, "", reason, status);
	return end_with_page(h, &p);
}

static bool
take_origin(struct http_conn *h, int fd, const struct ip_addr *to)
{
	h->origin.fd = fd;
	h->origin_to = *to;
	h->origin.watch = watch_new(&h->o.net->loop, fd, on_origin, h);
	if (h->origin.watch == NULL)
		peer_close(&h->origin, true);
	return h->origin.watch != NULL;
}

static void
open_exchange(struct http_conn *h)
{
	char rule[RULE_TEXT_MAX];
	struct policy_decision d = reach_rejudge(h->o.net, &h->dest, &h->origin_to);

	policy_decision_rule(&d, rule);
	record_open(&h->record, rule, "");
	buf_append(&h->origin.out, h->head.data, h->head.len);
	h->up_bytes = h->head.len;
	h->state = H_EXCHANGE;
}

static void
on_reached(void *arg, const struct reach_result *r)
{
	struct http_conn *h = arg;

	h->reach = NULL;
	if (r->end == REACH_DENIED) {
		(void)refuse_policy(h, &r->decision);
	} else if (r->end == REACH_FAILED) {
		(void)end_unreachable(h, r->error == -ETIMEDOUT ? 504 : 502,
			r->error == -ENOENT ? "no such host" : strerror(-r->error));
	} else if (!take_origin(h, r->fd, &r->to)) {
		(void)end_unreachable(h, 503, "out of descriptors");
	} else {
		open_exchange(h);
		run(h);
	}
}

/* Is the open connection one to the same place, still alive, and still allowed? */
static bool
may_reuse(const struct http_conn *h, const char *host, uint16_t port)
{
	char byte;
	ssize_t n;

	if (h->origin.fd < 0 || h->origin.ended || h->dest.port != port ||
		strcmp(h->dest.host, host) != 0)
		return false;
	n = recv(h->origin.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n >= 0 || errno != EAGAIN || h->origin.in.len > 0)
		return false;
	return reach_rejudge(h->o.net, &h->dest, &h->origin_to).outcome == POLICY_ALLOW;
}

static enum step
start_reach(struct http_conn *h)
{
	if (may_reuse(h, h->origin_host, h->origin_port)) {
		open_exchange(h);
		return STEP_AGAIN;
	}
	peer_close(&h->origin, false);
	memcpy(h->origin_host, h->dest.host, strlen(h->dest.host) + 1);
	h->origin_port = h->dest.port;
	h->reach = reach_start(h->o.net, &h->dest, on_reached, h);
	if (h->reach == NULL)
		return end_unreachable(h, 503, "too many lookups");
	h->state = H_REACH;
	return STEP_WAIT;
}

/* ---- the exchange
 * -------------------------------------------------------------------------------- */

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
		return finish(h, true);
	return end_with_page(h, &p);
}

/* The request's body. */
static enum step
move_up(struct http_conn *h)
{
	size_t n = h->guest.in.len;
	long took;

	if (http_framer_done(&h->up) || n == 0)
		return STEP_AGAIN;
	if (h->origin.out.len >= HIGH)
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
		peer_close(&h->origin, false);
	if (!h->keep_alive || !http_framer_done(&h->up))
		return say_goodbye(h);
	h->state = H_HEAD;
	return STEP_AGAIN;
}

/* The answer's body. */
static enum step
move_down(struct http_conn *h)
{
	long took;

	if (h->guest.out.len >= HIGH)
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
		return h->down.body == HTTP_BODY_CLOSE ? complete(h) : finish(h, true);
	return STEP_WAIT;
}

static enum step
step_exchange(struct http_conn *h)
{
	enum step s = move_up(h);

	if (s == STEP_GONE)
		return s;
	/* The guest gave up in the middle of its body. */
	if (h->guest.ended && h->guest.in.len == 0 && !http_framer_done(&h->up) && !h->answered)
		return finish(h, true);
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
	(void)finish(h, false);
}

static enum step
step_switch(struct http_conn *h)
{
	struct peer *g = &h->guest, *o = &h->origin;

	buf_append(&o->out, g->in.data, g->in.len);
	buf_append(&g->out, o->in.data, o->in.len);
	h->up_bytes += g->in.len;
	h->down_bytes += o->in.len;
	buf_clear(&g->in);
	buf_clear(&o->in);
	if (g->out.len > 0 || o->out.len > 0)
		return STEP_WAIT;
	watch_free(g->watch);
	watch_free(o->watch);
	g->watch = o->watch = NULL;
	h->state = H_RELAY;
	h->relay = relay_start(&h->o.net->loop, &h->o.net->pipes, TAKE_FD(g->fd), TAKE_FD(o->fd),
		NULL, on_relayed, h);
	return h->relay != NULL ? STEP_WAIT : finish(h, true);
}

/* ---- the loop
 * ------------------------------------------------------------------------------------ */

static bool
may_read(const struct peer *p, const struct peer *other)
{
	return !p->ended && p->in.len < READ_MAX && other->out.len < HIGH;
}

/* An end of file may be what is wanted (half-closed), so it is watched for once only. */
static void
set_watches(struct http_conn *h)
{
	struct peer *g = &h->guest, *o = &h->origin;
	int events = 0;

	if (h->state == H_RELAY)
		return;
	/* Behind a whole request nothing is read before its answer: there the guest is only watched
	 * for its death. */
	bool body = h->state == H_EXCHANGE && !http_framer_done(&h->up);

	if ((h->state == H_HEAD || body) && may_read(g, o))
		events |= UV_READABLE;
	if (g->out.len > 0)
		events |= UV_WRITABLE;
	watch_events(g->watch, events != 0 ? events : UV_PRIORITIZED);
	if (o->watch == NULL)
		return;
	events = may_read(o, g) && h->state != H_SWITCH ? UV_READABLE : 0;
	if (o->out.len > 0)
		events |= UV_WRITABLE;
	watch_events(o->watch, events != 0 ? events : UV_PRIORITIZED);
}

/* False: the peer is broken. */
static bool
flush(struct peer *p)
{
	while (p->fd >= 0 && p->out.len > 0) {
		ssize_t n = send(p->fd, p->out.data, p->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		buf_consume(&p->out, (size_t)n);
	}
	return true;
}

static bool
fill(struct peer *p)
{
	ssize_t n = recv(p->fd, buf_reserve(&p->in, READ_MAX), READ_MAX, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	buf_commit(&p->in, (size_t)n);
	p->ended |= n == 0;
	return true;
}

static enum step
step(struct http_conn *h)
{
	switch (h->state) {
	case H_HEAD:
		return step_head(h);
	case H_EXCHANGE:
		return step_exchange(h);
	case H_SWITCH:
		return step_switch(h);
	case H_REACH:
	case H_RELAY:
		break;
	}
	return STEP_WAIT;
}

static void
run(struct http_conn *h)
{
	enum step s;

	do {
		s = step(h);
		if (s == STEP_GONE)
			return;
		if (!flush(&h->guest)) {
			(void)finish(h, true);
			return;
		}
		/* An origin that does not listen any more may have answered already. */
		if (!flush(&h->origin))
			buf_clear(&h->origin.out);
	} while (s == STEP_AGAIN);
	if (h->state == H_SWITCH && h->guest.out.len == 0 && h->origin.out.len == 0)
		s = step_switch(h);
	if (s != STEP_GONE)
		set_watches(h);
}

static void
on_guest(void *arg, int events)
{
	struct http_conn *h = arg;

	if (events == 0 || ((events & UV_READABLE) != 0 && !fill(&h->guest))) {
		(void)finish(h, true);
		return;
	}
	run(h);
}

static void
on_origin(void *arg, int events)
{
	struct http_conn *h = arg;

	/* A reset: what came before it counts, and then it is an end. */
	if ((events == 0 || (events & UV_READABLE) != 0) && !fill(&h->origin))
		h->origin.ended = true;
	if (events == 0)
		h->origin.ended = true;
	if (h->state == H_HEAD) { /* idle: an end, or something that nobody has asked for */
		peer_close(&h->origin, false);
		return;
	}
	run(h);
}

static void
on_limit(void *arg)
{
	struct http_conn *h = arg;

	if (h->limit_of_head)
		(void)refuse_malformed(h, 400, "a head that took too long");
	else
		(void)finish(h, false);
}

struct http_conn *
http_conn_start(const struct http_options *o, http_done_fn *done, void *arg)
{
	struct http_conn *h = xcalloc(1, sizeof(*h));

	*h = (struct http_conn){.o = *o, .done = done, .arg = arg};
	h->guest.fd = o->guest_fd;
	h->origin.fd = -1;
	h->dest = o->dest;
	h->limit = alarm_new(&o->net->loop, on_limit, h);
	h->guest.watch = watch_new(&o->net->loop, o->guest_fd, on_guest, h);
	if (h->guest.watch == NULL ||
		(o->origin_fd >= 0 && !take_origin(h, o->origin_fd, &o->origin_to))) {
		peer_close(&h->guest, true);
		free_conn(h);
		return NULL;
	}
	if (o->origin_fd >= 0) {
		memcpy(h->origin_host, o->dest.host, strlen(o->dest.host) + 1);
		h->origin_port = o->dest.port;
	}
	set_limit(h, false);
	watch_events(h->guest.watch, UV_READABLE);
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
