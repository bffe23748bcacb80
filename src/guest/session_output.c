/*
 * How this works: a source is read only while the client's stream has room, so a slow client slows
 * the program and costs no memory. A terminal without a client drains into the ring, so that its
 * program never waits for somebody to look.
 *
 * When the program has ended, what it wrote is still in the terminal or the pipes and is delivered
 * first. The end of that is end of file; but a background process may hold a terminal or pipe open
 * for ever, so silence is the end, too: QUIET_MS while they are young, none at all after DRAIN_MS.
 * "Silence" is sure to mean that all was read: a read of a terminal's master first takes over what
 * is on its way (n_tty_read() flushes the port's buffer, Linux 4.5).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/clock.h>

#include "session_exec.h"

#define QUIET_MS 50
#define DRAIN_MS 1000
/* More than two pipes hold: from there on it is a background process that talks. */
#define DRAIN_BYTES (4 * 1024 * 1024)
#define RING_BYTES  (64 * 1024)
/* How often a terminal that nobody holds open is looked at again. */
#define REOPEN_MS 1000

void
session_free(struct session *s)
{
	for (struct session **p = &s->all->list; *p != NULL; p = &(*p)->next) {
		if (*p == s) {
			*p = s->next;
			s->all->count--;
			break;
		}
	}
	sink_close(&s->in);
	source_close(&s->out);
	source_close(&s->errs);
	source_close(&s->report);
	loop_timer_del(s->quiet);
	loop_timer_del(s->grace);
	loop_timer_del(s->redraw);
	buf_release(&s->ring);
	free(s->command);
	free(s);
}

void
session_want_output(struct session *s, bool on)
{
	source_want(&s->out, on);
	source_want(&s->errs, on);
}

static bool
takes_output(const struct session *s)
{
	return s->client == NULL || stream_room(s->client->stream) > 0;
}

/* The program has ended and all it said is said. */
static void
finish(struct session *s)
{
	struct client *c = s->client;

	sink_close(&s->in);
	source_close(&s->out);
	source_close(&s->errs);
	s->client = NULL;
	if (c != NULL && !c->done)
		client_exit(c, s->status);
	if (s->grace == NULL)
		session_free(s);
	else
		s->finished = true;
}

static void
on_quiet(void *arg)
{
	struct session *s = arg;

	s->quiet = NULL;
	if (!takes_output(s))
		return; /* session_room() brings us back */
	if (source_readable(&s->out) || source_readable(&s->errs))
		session_drain(s);
	else
		finish(s);
}

/* After the end of the program: decides whether to wait for more output. */
void
session_drain(struct session *s)
{
	uint64_t left;

	if (s->drain_deadline_ms == 0) {
		s->drain_deadline_ms = deadline_in_ms(DRAIN_MS);
		s->drain_left = DRAIN_BYTES;
	}
	left = (uint64_t)deadline_left_ms(s->drain_deadline_ms);
	loop_timer_del(s->quiet);
	s->quiet = NULL;
	if ((!s->out.open && !s->errs.open) || s->drain_left == 0) {
		finish(s);
		return;
	}
	if (!takes_output(s))
		return; /* session_room() brings us back */
	session_want_output(s, true);
	s->quiet =
		loop_timer_add(s->all->guest->loop, left < QUIET_MS ? left : QUIET_MS, on_quiet, s);
}

static void
into_ring(struct session *s, const void *p, size_t n)
{
	buf_append(&s->ring, p, n);
	if (s->ring.len > RING_BYTES) {
		buf_consume(&s->ring, s->ring.len - RING_BYTES);
		s->ring_cut = true;
	}
}

static void
output(struct session *s, uint8_t frame, const void *p, size_t n)
{
	if (s->client != NULL)
		client_output(s->client, frame, p, n);
	else if (s->tty)
		into_ring(s, p, n);
}

static void
on_reopen(void *arg)
{
	struct session *s = arg;

	s->quiet = NULL;
	session_want_output(s, takes_output(s));
}

/* The program has closed its terminal and runs on; it may open it again. */
static void
hung(struct session *s)
{
	session_want_output(s, false);
	loop_timer_del(s->quiet);
	s->quiet = loop_timer_add(s->all->guest->loop, REOPEN_MS, on_reopen, s);
}

/* A source has something, or has ended (a terminal's end of file is EIO). */
void
session_on_output(void *arg, struct source *src)
{
	struct session *s = arg;
	uint8_t chunk[FRAME_CHUNK];
	size_t room = s->client != NULL ? stream_room(s->client->stream) : sizeof(chunk), used;
	ssize_t n;

	if (room == 0) {
		session_want_output(s, false);
		return;
	}
	n = read(src->fd, chunk, room < sizeof(chunk) ? room : sizeof(chunk));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	s->redraw_seen |= n > 0;
	if (n > 0)
		output(s, src->frame, chunk, (size_t)n);
	else if (s->tty && !s->exited)
		hung(s);
	else
		source_close(src);
	if (!s->exited)
		return;
	used = n > 0 ? (size_t)n : 0;
	s->drain_left -= used < s->drain_left ? used : s->drain_left;
	session_drain(s);
}

void
session_room(struct session *s)
{
	session_want_output(s, true);
	if (s->exited)
		session_drain(s);
}

/* What was missed, from a line's start where its beginning is lost. */
void
session_replay(struct session *s)
{
	const uint8_t *line;

	if (s->ring_cut && s->ring.len > 0) {
		line = memchr(s->ring.data, '\n', s->ring.len);
		buf_consume(&s->ring, line != NULL ? (size_t)(line - s->ring.data) + 1 : 0);
	}
	while (s->ring.len > 0) {
		size_t n = s->ring.len < FRAME_CHUNK ? s->ring.len : FRAME_CHUNK;

		client_output(s->client, SESSION_STDOUT, s->ring.data, n);
		buf_consume(&s->ring, n);
	}
	buf_release(&s->ring);
	s->ring_cut = false;
}
