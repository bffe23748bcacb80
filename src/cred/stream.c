#include <stdlib.h>
#include <string.h>

#include <base/mem.h>
#include <cred/secret.h>

#include "gate.h"

struct cred_stream {
	struct cred_gate *g; /* held */
	struct gate_want want;
	struct cred_dest dest;
	char *host;
	bool stop;       /* at what is found: it is not masked */
	bool stopped;    /* nothing passes any more */
	struct buf held; /* what came and has not passed */
	struct cred_alarm alarm;
};

struct cred_stream *
cred_stream_new(struct cred_gate *g, const struct cred_dest *d, enum cred_direction direction)
{
	struct cred_stream *s = xcalloc(1, sizeof(*s));

	s->g = g;
	g->holders++;
	s->host = xstrdup(d->host);
	s->dest = (struct cred_dest){s->host, d->port, d->tls};
	s->want =
		(struct gate_want){.g = g, .placeholders = direction == CRED_UP, .dest = &s->dest};
	s->stop = direction == CRED_UP && !cred_gate_covers(g, d);
	return s;
}

void
cred_stream_free(struct cred_stream *s)
{
	if (s == NULL)
		return;
	cred_buf_wipe(&s->held);
	cred_gate_free(s->g);
	free(s->host);
	free(s);
}

static enum cred_verdict
pass(struct cred_stream *s, bool final, struct buf *out)
{
	enum match_kind kind = MATCH_FOUND;
	struct match m;

	while (kind == MATCH_FOUND && s->held.len > 0) {
		size_t free_to_go = s->held.len;

		kind = matcher_find(
			&s->g->matcher, s->held.data, s->held.len, final, gate_wants, &s->want, &m);
		if (kind == MATCH_MORE)
			free_to_go = m.at;
		if (kind == MATCH_FOUND) {
			if (s->alarm.name == NULL)
				s->alarm = gate_alarm(s->g, m.text->tag, "the body");
			if (s->stop) {
				s->stopped = true;
				cred_buf_wipe(&s->held);
				return CRED_ALARM;
			}
			memset(s->held.data + m.at, '*', m.n);
			free_to_go = m.at + m.n;
		}
		buf_append(out, s->held.data, free_to_go);
		buf_consume(&s->held, free_to_go);
	}
	return CRED_PASS;
}

enum cred_verdict
cred_stream_feed(struct cred_stream *s, const void *p, size_t n, struct buf *out)
{
	if (s->stopped)
		return CRED_ALARM;
	buf_append(&s->held, p, n);
	return pass(s, false, out);
}

enum cred_verdict
cred_stream_end(struct cred_stream *s, struct buf *out)
{
	return s->stopped ? CRED_ALARM : pass(s, true, out);
}

struct cred_alarm
cred_stream_alarm(const struct cred_stream *s)
{
	return s->alarm;
}
