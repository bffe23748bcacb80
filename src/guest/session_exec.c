/*
 * How this works: a session is one program.
 *
 *   STARTING   forked; the report pipe will tell whether it runs
 *   RUNNING    input: client -> sink -> program; output: program -> source -> client
 *   DRAINING   the program has ended; what it wrote is still delivered (sessisession_on_output.c)
 *   LINGERING  its client had gone: what is left of its process group gets SIGKILL in a while
 *
 * Invariants: at most one client. Freed exactly once, by session_free, when ended and not
 * LINGERING.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "session_exec.h"
#include "session_program.h"

/* A program gets this long after SIGHUP. */
#define HANGUP_GRACE_MS 5000
#define SESSIONS_MAX    1024

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
role_room(struct client *c)
{
	session_room(c->of);
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

void
session_set_size(struct session *s, uint16_t rows, uint16_t cols)
{
	struct winsize ws = {.ws_row = rows, .ws_col = cols};

	if (s->out.open && rows > 0 && cols > 0)
		ioctl(s->out.fd, TIOCSWINSZ, &ws); /* sends SIGWINCH where it differs */
}

static void
role_winsize(struct client *c, uint16_t rows, uint16_t cols)
{
	struct session *s = c->of;

	if (!s->tty || (s->redraw != NULL && s->rows == rows && s->cols == cols))
		return;
	loop_timer_del(s->redraw);
	s->redraw = NULL;
	session_set_size(s, rows, cols);
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
	session_redraw_end(s);
	session_want_output(s, true);
	/* Nobody has left it: it goes on without. */
	if (c->slept)
		s->detached = true;
	if (!s->tty && !s->detached)
		hang_up(s);
	if (s->exited)
		session_drain(s);
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

void
session_take_client(struct session *s, struct client *c)
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
	session_want_output(s, true);
	if (s->exited)
		session_drain(s);
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
	/* Its end came before its report was read: that comes first, and drains. */
	if (!s->started)
		on_report(s, &s->report);
	else
		session_drain(s);
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
		r = source_open(&s->out, l, p->io.out, SESSION_STDOUT, session_on_output, s);
	if (p->io.err >= 0 && r == 0)
		r = source_open(&s->errs, l, p->io.err, SESSION_STDERR, session_on_output, s);
	else if (p->io.err >= 0)
		close(p->io.err);
	session_want_output(s, false); /* STARTED comes first */
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
	session_take_client(s, c);
	loop_child_watch(c->all->guest->loop, s->pid, on_exit_status, s);
}
