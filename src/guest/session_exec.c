/*
 * How this works: a session is one program.
 *
 *   STARTING   forked; the report pipe will tell whether it runs
 *   RUNNING    input: client -> sink -> program.  output: program -> source -> client, read only
 *              while the client's stream has room: a slow client slows the program, and costs no
 *              memory. A terminal without a client drains into the ring, so that its program
 *              never waits for somebody to look.
 *   DRAINING   the program has ended; what it wrote is still delivered. The end of it is end of
 *              file on every source, or, since a background process may hold a terminal or pipe
 *              open for ever, QUIET_MS of silence after all that had been written was read.
 *   LINGERING  its client had gone: what is left of its process group gets SIGKILL in a while
 *
 * Invariants: at most one client. Freed exactly once, by session_free, when ended and not
 * LINGERING.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/mem.h>
#include <wire/line.h>

#include "session.h"
#include "session_program.h"

/* A program gets this long after SIGHUP. */
#define HANGUP_GRACE_MS 5000
#define QUIET_MS        50
#define DRAIN_MS        1000
/* More than two pipes hold: from there on it is a background process that talks. */
#define DRAIN_BYTES  (4 * 1024 * 1024)
#define RING_BYTES   (64 * 1024)
#define SESSIONS_MAX 1024

struct session {
	struct sessions *all;
	struct session *next;
	uint32_t id;
	pid_t pid;
	bool tty, detached, takes_input;
	bool started, exited, finished;
	int status;
	char *command;
	struct client *client; /* NULL: detached, or gone */
	struct sink in;
	struct source out, errs; /* out is the terminal's, too */
	struct source report;
	struct buf ring; /* what a terminal said while nobody was attached */
	bool ring_cut;   /* its beginning is lost */
	size_t drain_left;
	uint64_t drain_deadline_ms;
	struct loop_timer *quiet, *grace, *redraw;
	uint16_t rows, cols; /* to be set by redraw */
};

static void
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
sessions_free(struct sessions *all)
{
	while (all->list != NULL) {
		if (!all->list->exited)
			loop_child_unwatch(all->guest->loop, all->list->pid);
		session_free(all->list);
	}
}

static void
want_output(struct session *s, bool on)
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

static void drain(struct session *s);

static void
on_quiet(void *arg)
{
	struct session *s = arg;

	s->quiet = NULL;
	if (!takes_output(s))
		return; /* its room() brings us back */
	if (source_readable(&s->out) || source_readable(&s->errs))
		drain(s);
	else
		finish(s);
}

/* After the end of the program: decides whether to wait for more output. */
static void
drain(struct session *s)
{
	uint64_t left = (uint64_t)deadline_left_ms(s->drain_deadline_ms);

	loop_timer_del(s->quiet);
	s->quiet = NULL;
	if ((!s->out.open && !s->errs.open) || s->drain_left == 0) {
		finish(s);
		return;
	}
	if (takes_output(s))
		s->quiet = loop_timer_add(
			s->all->guest->loop, left < QUIET_MS ? left : QUIET_MS, on_quiet, s);
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

/* A source has something, or has ended (a terminal's end of file is EIO). */
static void
on_output(void *arg, struct source *src)
{
	struct session *s = arg;
	uint8_t chunk[FRAME_CHUNK];
	size_t room = s->client != NULL ? stream_room(s->client->stream) : sizeof(chunk), used;
	ssize_t n;

	if (room == 0) {
		want_output(s, false);
		return;
	}
	n = read(src->fd, chunk, room < sizeof(chunk) ? room : sizeof(chunk));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		output(s, src->frame, chunk, (size_t)n);
	else
		source_close(src);
	if (!takes_output(s))
		want_output(s, false);
	if (!s->exited)
		return;
	used = n > 0 ? (size_t)n : 0;
	s->drain_left -= used < s->drain_left ? used : s->drain_left;
	drain(s);
}

static void
role_room(struct client *c)
{
	struct session *s = c->of;

	want_output(s, true);
	if (s->exited && s->quiet == NULL)
		s->quiet = loop_timer_add(s->all->guest->loop, QUIET_MS, on_quiet, s);
}

static void
role_input(struct client *c, const uint8_t *p, size_t n)
{
	struct session *s = c->of;

	if (s->takes_input)
		sink_put(&s->in, p, n);
}

static void
role_input_end(struct client *c)
{
	struct session *s = c->of;

	if (s->takes_input)
		sink_end(&s->in);
}

static size_t
role_held(const struct client *c)
{
	const struct session *s = c->of;

	return s->in.q.len;
}

static void
set_size(struct session *s, uint16_t rows, uint16_t cols)
{
	struct winsize ws = {.ws_row = rows, .ws_col = cols};

	if (s->out.open && rows > 0 && cols > 0)
		ioctl(s->out.fd, TIOCSWINSZ, &ws); /* sends SIGWINCH where it differs */
}

static void
role_winsize(struct client *c, uint16_t rows, uint16_t cols)
{
	struct session *s = c->of;

	if (!s->tty)
		return;
	loop_timer_del(s->redraw);
	s->redraw = NULL;
	set_size(s, rows, cols);
}

static void
role_signal(struct client *c, int number)
{
	struct session *s = c->of;
	pid_t group = s->tty && s->out.open ? tcgetpgrp(s->out.fd) : s->pid;

	if (s->exited)
		return;
	/* Between fork and setsid there is no group yet. */
	if (kill(group > 1 ? -group : -s->pid, number) < 0 && errno == ESRCH)
		kill(s->pid, number);
}

/*
 * The group's number stays taken while it has members, so no other program can have it; but once
 * it is empty, the number may have become another program's.
 */
static void
on_grace(void *arg)
{
	struct session *s = arg;

	s->grace = NULL;
	if (!s->exited || (kill(s->pid, 0) < 0 && errno == ESRCH))
		kill(-s->pid, SIGKILL);
	if (!s->exited)
		kill(s->pid, SIGKILL);
	if (s->finished)
		session_free(s);
}

static void
hang_up(struct session *s)
{
	if (s->exited || s->grace != NULL)
		return;
	if (kill(-s->pid, SIGHUP) < 0 && errno == ESRCH)
		kill(s->pid, SIGHUP);
	sink_close(&s->in);
	s->grace = loop_timer_add(s->all->guest->loop, HANGUP_GRACE_MS, on_grace, s);
}

static void
role_gone(struct client *c)
{
	struct session *s = c->of;

	s->client = NULL;
	loop_timer_del(s->redraw);
	s->redraw = NULL;
	want_output(s, true);
	if (!s->tty && !s->detached)
		hang_up(s);
	if (s->exited)
		drain(s);
}

static const struct client_role program_role = {
	.input = role_input,
	.input_end = role_input_end,
	.winsize = role_winsize,
	.signal = role_signal,
	.room = role_room,
	.gone = role_gone,
	.held = role_held,
};

static void
take_client(struct session *s, struct client *c)
{
	s->client = c;
	c->of = s;
	c->role = &program_role;
}

static void
on_input_moved(void *arg)
{
	struct session *s = arg;

	if (s->client != NULL)
		client_settle(s->client);
}

/*
 * End of input on a terminal is a character, and only while lines are being edited. In the middle
 * of a line it just delivers the line (termios(3), VEOF), so there it takes two.
 */
static void
on_input_end(void *arg, struct sink *in)
{
	struct session *s = arg;
	struct termios t;
	uint8_t eof[2];

	if (!s->tty) {
		sink_close(in);
		return;
	}
	if (tcgetattr(in->fd, &t) < 0 || !(t.c_lflag & ICANON))
		return;
	eof[0] = eof[1] = t.c_cc[VEOF];
	if (write(in->fd, eof, in->last == '\n' || in->last == 0 ? 1 : 2) < 0)
		errno = 0; /* a full terminal: the program reads nothing anyway */
}

static void
started(struct session *s)
{
	s->started = true;
	if (s->client != NULL)
		client_started(s->client, s->id);
	if (s->client != NULL && s->detached) {
		client_exit(s->client, 0);
		s->client = NULL;
	}
	want_output(s, true);
	if (s->exited)
		drain(s);
}

static void
not_started(struct session *s, const struct spawn_failure *f)
{
	if (s->client != NULL)
		client_error(s->client, f->status, "%.*s", (int)sizeof(f->msg), f->msg);
	s->client = NULL;
	if (!s->exited)
		loop_child_unwatch(s->all->guest->loop, s->pid);
	session_free(s);
}

static void
on_report(void *arg, struct source *src)
{
	struct session *s = arg;
	struct spawn_failure f;
	ssize_t n = read(src->fd, &f, sizeof(f));

	if (n < 0 && errno == EAGAIN)
		return;
	source_close(src);
	if (n == (ssize_t)sizeof(f))
		not_started(s, &f);
	else
		started(s);
}

static void
on_exit_status(void *arg, pid_t pid, int status)
{
	struct session *s = arg;

	(void)pid;
	s->exited = true;
	s->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	s->drain_deadline_ms = deadline_in_ms(DRAIN_MS);
	s->drain_left = DRAIN_BYTES;
	/* Its end came before its report was read: that comes first, and drains. */
	if (!s->started)
		on_report(s, &s->report);
	else
		drain(s);
}

static const char *
no_session_text(void)
{
	return "no session is running; start one with: paddock run NAME";
}

static struct session *
find_terminal(struct client *c, uint32_t id)
{
	for (struct session *s = c->all->list; s != NULL; s = s->next) {
		if (!s->started || s->exited || (id != 0 && s->id != id) || (id == 0 && !s->tty))
			continue;
		if (s->tty)
			return s;
		client_error(c, 125, "session %u has no terminal to attach to", id);
		return NULL;
	}
	if (id == 0)
		client_error(c, 125, "%s", no_session_text());
	else
		client_error(c, 125, "session %u is not running", id);
	return NULL;
}

/* What was missed, from a line's start where its beginning is lost. */
static void
replay(struct session *s)
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

static void
on_redraw(void *arg)
{
	struct session *s = arg;

	s->redraw = NULL;
	set_size(s, s->rows, s->cols);
}

/*
 * Full-screen programs draw again when the size changes, and many only if it really does: where it
 * would not, it is another one for a moment (as dtach and screen do).
 */
static void
make_redraw(struct session *s, uint16_t rows, uint16_t cols)
{
	struct winsize now = {0};

	if (rows == 0 || cols == 0 || ioctl(s->out.fd, TIOCGWINSZ, &now) < 0)
		return;
	if (now.ws_row != rows || now.ws_col != cols) {
		set_size(s, rows, cols);
		return;
	}
	s->rows = rows;
	s->cols = cols;
	set_size(s, rows > 1 ? rows - 1 : 2, cols);
	loop_timer_del(s->redraw);
	s->redraw = loop_timer_add(s->all->guest->loop, 60, on_redraw, s);
}

void
session_attach(struct client *c, const struct session_open *o)
{
	struct session *s = find_terminal(c, o->session);
	struct client *old;

	if (s == NULL)
		return;
	old = s->client;
	if (old != NULL)
		client_error(old, 125, "another client has attached to this session");
	if (s->in.q.len > LINE_WINDOW) /* the program does not read, and clients come and go */
		buf_clear(&s->in.q);
	s->in.eof = false;
	s->takes_input = true;
	take_client(s, c);
	client_started(c, s->id);
	replay(s);
	want_output(s, true);
	make_redraw(s, o->rows, o->cols);
}

void
session_list(const struct sessions *all, struct buf *out)
{
	for (const struct session *s = all->list; s != NULL; s = s->next) {
		struct session_info i = {.id = s->id,
			.pid = (uint32_t)s->pid,
			.tty = s->tty,
			.attached = s->client != NULL,
			.command = s->command};

		if (s->started && !s->exited)
			session_info_encode(&i, out);
	}
}

/* Puts our ends of the program's descriptors in place; takes them. */
static int
connect_io(struct session *s, struct program *p)
{
	struct loop *l = s->all->guest->loop;
	int r = 0;

	if (p->io.in >= 0)
		sink_open(&s->in, l, p->io.in, on_input_end, on_input_moved, s);
	if (p->io.out >= 0)
		r = source_open(&s->out, l, p->io.out, SESSION_STDOUT, on_output, s);
	if (p->io.err >= 0 && r == 0)
		r = source_open(&s->errs, l, p->io.err, SESSION_STDERR, on_output, s);
	else if (p->io.err >= 0)
		close(p->io.err);
	want_output(s, false); /* STARTED comes first */
	if (r == 0)
		r = source_open(&s->report, l, p->report, 0, on_report, s);
	else
		close(p->report);
	return r;
}

static struct session *
session_new(struct client *c, const struct session_open *o, const struct program *p)
{
	struct sessions *all = c->all;
	struct session *s = xcalloc(1, sizeof(*s));

	s->all = all;
	s->id = ++all->last_id;
	s->pid = p->pid;
	s->tty = o->tty;
	s->detached = o->detach;
	s->takes_input = o->stdin_open;
	s->command = program_name(o);
	s->next = all->list;
	all->list = s;
	all->count++;
	return s;
}

void
session_exec(struct client *c, const struct session_open *o)
{
	struct program p = PROGRAM_INIT;
	struct session *s;
	struct err e;
	int r;

	if (!c->all->guest->has_identity) {
		client_error(c, 125, "the machine is not ready: it has not been told who it is");
		return;
	}
	if (c->all->count >= SESSIONS_MAX) {
		client_error(c, 125, "too many programs (%d) are running", SESSIONS_MAX);
		return;
	}
	r = program_start(c->all->guest, o, &p, &e);
	if (r < 0) {
		client_error(c, p.status, "%s", e.msg);
		return;
	}
	s = session_new(c, o, &p);
	r = connect_io(s, &p);
	if (r < 0) {
		kill(s->pid, SIGKILL);
		session_free(s);
		client_error(c, 125, "watch the program: %s", strerror(-r));
		return;
	}
	take_client(s, c);
	loop_child_watch(c->all->guest->loop, s->pid, on_exit_status, s);
}
