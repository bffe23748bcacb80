#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "conn.h"
#include "sock.h"

/*
 * How this works: the forward proxy's client says CONNECT, whose head alone is taken from the
 * socket, so that what follows is looked at as in any other connection; or it says something else,
 * which is a request (or nothing of the kind) and goes on to http_conn.c as it stands.
 */

/* CONNECT's head is a few lines; a longer one goes on as what it cannot be: a request. */
#define CONNECT_MAX 16384

static void
answer_malformed(struct conn *c, const char *reason)
{
	const struct page p = {.status = 400, .error = "malformed", .reason = reason};

	c->dest.host = "(unknown)";
	conn_log_blocked(c, NETEVENT_TCP, "<protocol>", reason);
	proxy_end(c, &p);
}

void
proxy_end(struct conn *c, const struct page *p)
{
	CLEAN_BUF struct buf words = BUF_INIT;

	page_put(p, c->form, &words);
	conn_say_goodbye(c, &words);
}

bool
proxy_established(struct conn *c)
{
	static const char ok[] = "HTTP/1.1 200 Connection established\r\n\r\n";

	c->connect = false;
	/* Nothing else was sent before: there is room. */
	return send(c->guest_fd, ok, sizeof(ok) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) ==
	       (ssize_t)sizeof(ok) - 1;
}

static void
start_connect(struct conn *c, const struct http_request *q)
{
	char head[CONNECT_MAX];

	c->form = page_form_of(q);
	c->connect = true;
	c->dest.port = q->to.port;
	c->state = CONN_NEW;
	c->gate = (struct gate){0};
	watch_free(c->watch);
	alarm_free(c->limit);
	c->watch = NULL;
	c->limit = NULL;
	if (!reach_name(&q->to, c->host, &c->dest)) {
		answer_malformed(c, "a host that is no name");
		return;
	}
	/* Exactly what was looked at. */
	if (recv(c->guest_fd, head, q->head_len, MSG_DONTWAIT) != (ssize_t)q->head_len) {
		conn_reset(c);
		return;
	}
	record_begin(&c->record, c->net->events, NETEVENT_TCP, c->via, c->dest.host, c->dest.port);
	conn_judge(c);
}

void
proxy_look(struct conn *c)
{
	static const char word[] = "CONNECT ";
	char bytes[CONNECT_MAX];
	struct http_request q;
	ssize_t n = recv(c->guest_fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
	bool nothing_new = n >= 0 && (size_t)n == c->gate.seen;

	if (n <= 0) {
		if (n == 0 || errno != EAGAIN || c->gate.late)
			conn_reset(c);
		return;
	}
	c->gate.seen = (size_t)n;
	if (memcmp(bytes, word, (size_t)n < 8 ? (size_t)n : 8) == 0) {
		enum http_parse r = http_request_parse((const uint8_t *)bytes, (size_t)n, &q);

		if (r == HTTP_PARSE_OK) {
			gate_leave(c->guest_fd);
			start_connect(c, &q);
			return;
		}
		if (r == HTTP_PARSE_MORE && !nothing_new && !c->gate.late &&
			(size_t)n < sizeof(bytes)) {
			gate_wait(c->guest_fd, c->gate.seen);
			return;
		}
	}
	gate_leave(c->guest_fd);
	conn_start_http(c, -1);
}
