#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <base/clock.h>
#include <base/htab.h>
#include <base/log.h>
#include <base/mem.h>

#include "events.h"
#include "watch.h"

/*
 * How this works: a bucket of RATE records a second decides whether an event is sent as it is. If
 * not, or if the socket is full, it goes into the table of sums, where events of the same key
 * (everything but method, path and numbers) become one; the table is sent every FLUSH_MS.
 */
enum { RATE = 200, BURST = 1000, SUMS_MAX = 256, FLUSH_MS = 500 };

struct sum {
	uint64_t hash;
	struct netevent ev;
};

struct events {
	int fd;
	struct alarm *flush;
	bool flush_set;
	uint64_t tokens, tokens_ms; /* in thousandths */
	uint64_t lost, next_conn;
	size_t nsums;
	struct sum sums[SUMS_MAX];
};

static bool
send_event(struct events *e, const struct netevent *ev)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	ssize_t n;

	netevent_encode(ev, &b);
	do
		n = send(e->fd, b.data, b.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n >= 0;
}

static bool
take_token(struct events *e)
{
	uint64_t now = clock_mono_ms();

	e->tokens += (now - e->tokens_ms) * RATE;
	e->tokens_ms = now;
	if (e->tokens > BURST * 1000ULL)
		e->tokens = BURST * 1000ULL;
	if (e->tokens < 1000)
		return false;
	e->tokens -= 1000;
	return true;
}

static void
send_lost(struct events *e)
{
	struct netevent ev = {.op = NETEVENT_LOST,
		.count = e->lost < UINT32_MAX ? (uint32_t)e->lost : UINT32_MAX};

	if (e->lost > 0 && send_event(e, &ev))
		e->lost -= ev.count;
}

static void
send_sums(struct events *e)
{
	while (e->nsums > 0 && send_event(e, &e->sums[e->nsums - 1].ev))
		e->nsums--;
	send_lost(e);
}

static void
want_flush(struct events *e)
{
	if (!e->flush_set)
		alarm_set(e->flush, FLUSH_MS);
	e->flush_set = true;
}

static void
on_flush(void *arg)
{
	struct events *e = arg;

	e->flush_set = false;
	send_sums(e);
	if (e->nsums > 0 || e->lost > 0)
		want_flush(e);
}

static uint64_t
key_hash(const struct netevent *ev)
{
	uint64_t h = (uint64_t)ev->kind << 40 | (uint64_t)ev->verdict << 32 |
		     (uint64_t)ev->via << 16 | ev->port;

	h = hash_bytes(h, ev->host, strlen(ev->host));
	h = hash_bytes(h, ev->rule, strlen(ev->rule));
	return hash_bytes(h, ev->reason, strlen(ev->reason));
}

static bool
same_key(const struct netevent *a, const struct netevent *b)
{
	return a->kind == b->kind && a->verdict == b->verdict && a->via == b->via &&
	       a->port == b->port && strcmp(a->host, b->host) == 0 &&
	       strcmp(a->rule, b->rule) == 0 && strcmp(a->reason, b->reason) == 0;
}

static void
add_to_sums(struct events *e, const struct netevent *ev)
{
	uint64_t hash = key_hash(ev);

	want_flush(e);
	for (size_t i = 0; i < e->nsums; i++) {
		struct netevent *s = &e->sums[i].ev;

		if (e->sums[i].hash != hash || !same_key(s, ev))
			continue;
		s->count += ev->count;
		s->up += ev->up;
		s->down += ev->down;
		return;
	}
	if (e->nsums == SUMS_MAX)
		e->lost += ev->count;
	else
		e->sums[e->nsums++] = (struct sum){.hash = hash, .ev = *ev};
}

struct events *
events_new(uv_loop_t *loop, int fd)
{
	struct events *e;

	if (fd <= 0)
		return NULL;
	e = xcalloc(1, sizeof(*e));
	e->fd = fd;
	e->flush = alarm_new(loop, on_flush, e);
	e->tokens = BURST * 1000ULL;
	e->tokens_ms = clock_mono_ms();
	/* Numbers of this process are not those of the one before it. */
	if (getrandom(&e->next_conn, sizeof(e->next_conn), 0) < 0)
		e->next_conn = clock_mono_ns();
	e->next_conn = e->next_conn >> 2 | 1;
	return e;
}

void
events_free(struct events *e)
{
	if (e == NULL)
		return;
	send_sums(e);
	alarm_free(e->flush);
	free(e);
}

void
events_one(struct events *e, struct netevent *ev)
{
	ev->op = NETEVENT_ONE;
	if (ev->count == 0)
		ev->count = 1;
	log_debug("%s %s:%u: %s by %s%s%s", netevent_kind_name(ev->kind), ev->host, ev->port,
		netevent_verdict_name(ev->verdict), ev->rule, ev->reason[0] != '\0' ? ": " : "",
		ev->reason);
	if (e == NULL)
		return;
	if (!take_token(e) || !send_event(e, ev))
		add_to_sums(e, ev);
}

void
events_lost(struct events *e, uint32_t n)
{
	if (e == NULL || n == 0)
		return;
	e->lost += n;
	want_flush(e);
}

void
record_begin(struct record *r, struct events *e, enum netevent_kind kind, enum netevent_via via,
	const char *host, uint16_t port)
{
	record_drop(r);
	*r = (struct record){.events = e, .since_ms = clock_mono_ms()};
	r->ev = xcalloc(1, sizeof(*r->ev));
	r->ev->kind = kind;
	r->ev->via = via;
	r->ev->port = port;
	netevent_set_text(r->ev->host, sizeof(r->ev->host), host, strlen(host));
	if (r->ev->host[0] == '\0')
		r->ev->host[0] = '.';
}

void
record_drop(struct record *r)
{
	free(r->ev);
	*r = (struct record){0};
}

void
record_kind(struct record *r, enum netevent_kind kind)
{
	if (r->ev != NULL)
		r->ev->kind = kind;
}

void
record_request(
	struct record *r, const char *method, size_t method_len, const char *path, size_t path_len)
{
	const char *query = memchr(path, '?', path_len);

	if (r->ev == NULL)
		return;
	if (query != NULL) /* it may hold anything, secrets too */
		path_len = (size_t)(query - path);
	netevent_set_text(r->ev->method, sizeof(r->ev->method), method, method_len);
	netevent_set_text(r->ev->path, sizeof(r->ev->path), path, path_len);
}

static void
decide(struct record *r, enum netevent_verdict verdict, const char *rule, const char *reason)
{
	r->ev->verdict = verdict;
	netevent_set_text(r->ev->rule, sizeof(r->ev->rule), rule, strlen(rule));
	netevent_set_text(r->ev->reason, sizeof(r->ev->reason), reason, strlen(reason));
}

void
record_open(struct record *r, const char *rule, const char *reason)
{
	struct events *e = r->events;

	if (r->ev == NULL)
		return;
	decide(r, NETEVENT_ALLOWED, rule, reason);
	if (e == NULL || !take_token(e))
		return; /* told at its end, as one */
	r->ev->op = NETEVENT_OPEN;
	r->ev->count = 1;
	r->ev->conn = e->next_conn;
	if (!send_event(e, r->ev))
		return;
	r->conn = e->next_conn++;
	free(r->ev);
	r->ev = NULL;
}

static void
send_close(struct record *r, uint64_t up, uint64_t down, int status)
{
	struct netevent ev = {.op = NETEVENT_CLOSE,
		.conn = r->conn,
		.up = up,
		.down = down,
		.duration_ms = clock_mono_ms() - r->since_ms,
		.status = (uint16_t)status};

	if (!send_event(r->events, &ev)) {
		r->events->lost++;
		want_flush(r->events);
	}
}

void
record_close(struct record *r, uint64_t up, uint64_t down, int status)
{
	if (r->conn != 0) {
		send_close(r, up, down, status);
	} else if (r->ev != NULL) {
		if (r->ev->verdict == 0)
			r->ev->verdict = NETEVENT_ALLOWED;
		r->ev->conn = 0;
		r->ev->up = up;
		r->ev->down = down;
		r->ev->status = (uint16_t)status;
		r->ev->duration_ms = clock_mono_ms() - r->since_ms;
		events_one(r->events, r->ev);
	}
	record_drop(r);
}

void
record_end(struct record *r, enum netevent_verdict verdict, const char *rule, const char *reason,
	int status)
{
	if (r->ev != NULL) {
		decide(r, verdict, rule, reason);
		r->ev->status = (uint16_t)status;
		r->ev->duration_ms = clock_mono_ms() - r->since_ms;
		events_one(r->events, r->ev);
	}
	record_drop(r);
}
