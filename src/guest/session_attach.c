/* Coming back to a session: which one, what was missed, and a screen that is drawn again. */
#include <string.h>
#include <sys/ioctl.h>

#include <base/clock.h>
#include <wire/line.h>

#include "session_exec.h"

/*
 * How long the wrong size stays: a program that is slow (a large one, in a machine without hardware
 * virtualisation) must have looked at it, or it finds the size that it knows and draws nothing.
 */
#define REDRAW_MS     60   /* looked at this often: has it said something? */
#define REDRAW_MAX_MS 3000 /* one that says nothing has nothing to draw */

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

static void
on_redraw(void *arg)
{
	struct session *s = arg;

	s->redraw = NULL;
	if (s->redraw_seen || deadline_left_ms(s->redraw_deadline_ms) <= 0)
		session_set_size(s, s->rows, s->cols);
	else
		s->redraw = loop_timer_add(s->all->guest->loop, REDRAW_MS, on_redraw, s);
}

void
session_redraw_end(struct session *s)
{
	if (s->redraw == NULL)
		return;
	loop_timer_del(s->redraw);
	s->redraw = NULL;
	session_set_size(s, s->rows, s->cols);
}

/*
 * Full-screen programs draw again when the size changes, and many only if it really does: where it
 * would not, it is another one for a moment (as dtach and screen do). In both directions, for some
 * look at the width alone.
 */
static void
make_redraw(struct session *s, uint16_t rows, uint16_t cols)
{
	struct winsize now = {0};

	if (rows == 0 || cols == 0 || ioctl(s->out.fd, TIOCGWINSZ, &now) < 0)
		return;
	if (now.ws_row != rows || now.ws_col != cols) {
		session_set_size(s, rows, cols);
		return;
	}
	s->rows = rows;
	s->cols = cols;
	s->redraw_seen = false;
	s->redraw_deadline_ms = deadline_in_ms(REDRAW_MAX_MS);
	session_set_size(s, rows > 1 ? rows - 1 : 2, cols > 1 ? cols - 1 : 2);
	loop_timer_del(s->redraw);
	s->redraw = loop_timer_add(s->all->guest->loop, REDRAW_MS, on_redraw, s);
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
	session_take_client(s, c);
	client_started(c, s->id);
	session_replay(s);
	session_want_output(s, true);
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
