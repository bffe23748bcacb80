/*
 * How this works: bytes of a stream become frames here. The first frame is OPEN, and it may be
 * larger than the stream's window: until it is whole, its bytes are given back to the window as
 * they come (memory: FRAME_MAX per stream). From then on a frame has at most FRAME_CHUNK bytes, and
 * the window comes back as input leaves our memory into the program's terminal, pipe or socket.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/mem.h>
#include <wire/frame.h>
#include <wire/tlv.h>

#include "listeners.h"
#include "session.h"

/* How long the last EXIT may take to get onto the line before the power goes. */
#define POWER_OFF_WAIT_MS 2000

static void
client_end(struct client *c)
{
	c->done = true;
	c->role = NULL;
	buf_release(&c->in);
	stream_end(c->stream);
}

void
client_started(struct client *c, uint32_t id)
{
	uint8_t v[4] = {(uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};

	stream_send(c->stream, SESSION_STARTED, v, sizeof(v));
}

void
client_output(struct client *c, uint8_t frame, const void *p, size_t n)
{
	stream_send(c->stream, frame, p, n);
}

void
client_exit(struct client *c, int status)
{
	uint8_t v = (uint8_t)status;

	stream_send(c->stream, SESSION_EXIT, &v, 1);
	client_end(c);
}

void
client_error(struct client *c, int status, const char *fmt, ...)
{
	char text[1 + 512];
	va_list ap;

	text[0] = (char)status;
	va_start(ap, fmt);
	vsnprintf(text + 1, sizeof(text) - 1, fmt, ap);
	va_end(ap);
	stream_send(c->stream, SESSION_ERROR, text, 1 + strlen(text + 1));
	client_end(c);
}

void
client_settle(struct client *c)
{
	size_t held = 0;

	if (c->opened && !c->done) {
		held = c->in.len;
		if (c->role != NULL && c->role->held != NULL)
			held += c->role->held(c);
	}
	/* A terminal's queue may still hold bytes of an earlier client. */
	if (held >= c->unconsumed)
		return;
	stream_consume(c->stream, c->unconsumed - held);
	c->unconsumed = held;
}

/* The client broke the rules: it is told, and for its program it has gone. */
static void
client_broke(struct client *c)
{
	const struct client_role *role = c->role;

	client_error(c, 125, "the client broke the session protocol");
	if (role != NULL && role->gone != NULL)
		role->gone(c);
}

static void
op_identity(struct client *c, const struct session_open *o)
{
	struct guest *g = c->all->guest;
	struct identity i;
	struct err e;

	if (identity_decode(o->identity.data, o->identity.len, &i) < 0) {
		client_error(c, 125, "the identity is not well-formed");
		return;
	}
	if (g->has_identity != (i.again != 0)) {
		client_error(c, 125, "this machine has %s",
			g->has_identity ? "been told who it is already"
					: "not been told yet who it is");
		identity_release(&i);
		return;
	}
	if (guest_identity_apply(g, &i, &e) < 0) {
		identity_release(&i);
		client_error(c, 125, "%s", e.msg);
		return;
	}
	g->has_identity = true;
	client_exit(c, 0);
}

static void
power_off(void *arg)
{
	struct sessions *all = arg;

	all->power_off = NULL;
	guest_power_off(all->guest);
}

static void
power_off_now(void *arg)
{
	struct sessions *all = arg;

	loop_timer_del(all->power_off);
	power_off(all);
}

/* The answer goes onto the line first, but a line that takes nothing does not keep the power on. */
static void
op_shutdown(struct client *c)
{
	struct sessions *all = c->all;

	client_exit(c, 0);
	if (all->guest->shutting_down)
		return;
	all->guest->shutting_down = true;
	all->power_off = loop_timer_add(all->guest->loop, POWER_OFF_WAIT_MS, power_off, all);
	server_on_flushed(all->server, power_off_now, all);
}

static void
answer_list(struct client *c, const struct buf *list)
{
	for (size_t at = 0; at < list->len; at += FRAME_CHUNK)
		client_output(c, SESSION_STDOUT, list->data + at,
			list->len - at < FRAME_CHUNK ? list->len - at : FRAME_CHUNK);
	client_exit(c, 0);
}

static void
op_list(struct client *c)
{
	CLEAN_BUF struct buf list = BUF_INIT;

	session_list(c->all, &list);
	answer_list(c, &list);
}

static void
op_listeners(struct client *c)
{
	CLEAN_BUF struct buf list = BUF_INIT;

	listeners_list(&list);
	answer_list(c, &list);
}

/* The client may go before what it waits for is done. */
static void
save_gone(struct client *c)
{
	*(struct client **)c->of = NULL;
}

static const struct client_role save_role = {.gone = save_gone};

static void
on_synced(void *arg, pid_t pid, int status)
{
	struct client **waiting = arg, *c = *waiting;

	(void)pid;
	(void)status;
	free(waiting);
	if (c != NULL)
		client_exit(c, 0);
}

/* In a process of its own: a disk, or a host, that hangs must not hold us up. */
static void
op_save(struct client *c, const struct session_open *o)
{
	struct client **waiting;
	struct err e = {0};
	pid_t pid;

	if (guest_freeze(c->all->guest, &e) < 0) {
		client_error(c, 125, "%s", e.msg);
		return;
	}
	pid = fork();
	if (pid == 0) {
		guest_freeze_settle(c->all->guest);
		sync();
		_exit(0);
	}
	if (pid < 0) {
		client_error(c, 125, "fork: %s", strerror(errno));
		return;
	}
	server_expect_wake(c->all->server, o->wake.data);
	waiting = xcalloc(1, sizeof(struct client *));
	*waiting = c;
	c->role = &save_role;
	c->of = waiting;
	loop_child_watch(c->all->guest->loop, pid, on_synced, waiting);
}

static void
open_client(struct client *c, const struct session_open *o)
{
	if (c->all->guest->shutting_down && o->op != SESSION_OP_SHUTDOWN) {
		client_error(c, 125, "the machine is shutting down");
		return;
	}
	switch (o->op) {
	case SESSION_OP_EXEC:
		session_exec(c, o);
		break;
	case SESSION_OP_ATTACH:
		session_attach(c, o);
		break;
	case SESSION_OP_IDENTITY:
		op_identity(c, o);
		break;
	case SESSION_OP_SHUTDOWN:
		op_shutdown(c);
		break;
	case SESSION_OP_FORWARD:
		session_forward(c, o);
		break;
	case SESSION_OP_LIST:
		op_list(c);
		break;
	case SESSION_OP_PING:
		client_exit(c, 0);
		break;
	case SESSION_OP_LISTENERS:
		op_listeners(c);
		break;
	case SESSION_OP_SAVE:
		op_save(c, o);
		break;
	}
}

static int
first_frame(struct client *c, const struct frame *f)
{
	struct session_open o;

	if (f->type != SESSION_OPEN || session_open_decode(f->p, f->n, &o) < 0)
		return -EBADMSG;
	c->opened = true;
	open_client(c, &o);
	session_open_release(&o);
	return 0;
}

static int
frame_winsize(struct client *c, const struct frame *f)
{
	uint16_t rows, cols;

	if (session_get_winsize(f, &rows, &cols) < 0)
		return -EBADMSG;
	if (c->role != NULL && c->role->winsize != NULL)
		c->role->winsize(c, rows, cols);
	return 0;
}

static int
frame_signal(struct client *c, const struct frame *f)
{
	if (f->n != 1 || f->p[0] < 1 || f->p[0] > SIGRTMAX)
		return -EBADMSG;
	if (c->role != NULL && c->role->signal != NULL)
		c->role->signal(c, f->p[0]);
	return 0;
}

static int
frame_input_end(struct client *c, const struct frame *f)
{
	if (f->n != 0)
		return -EBADMSG;
	if (c->role != NULL && c->role->input_end != NULL)
		c->role->input_end(c);
	return 0;
}

static int
later_frame(struct client *c, const struct frame *f)
{
	switch (f->type) {
	case SESSION_STDIN:
		if (c->role != NULL && c->role->input != NULL)
			c->role->input(c, f->p, f->n);
		return 0;
	case SESSION_STDIN_EOF:
		return frame_input_end(c, f);
	case SESSION_WINSIZE:
		return frame_winsize(c, f);
	case SESSION_SIGNAL:
		return frame_signal(c, f);
	default:
		return -EBADMSG;
	}
}

/* The next frame: 1 when there was one, 0 for more bytes, -EBADMSG. */
static int
next_frame(struct client *c)
{
	struct frame f;
	int r;

	if (!c->opened && c->in.len > 0 && c->in.data[0] != SESSION_OPEN)
		return -EBADMSG;
	r = frame_peek_max(&c->in, c->opened ? FRAME_CHUNK : FRAME_MAX, &f);
	if (r <= 0)
		return r;
	r = c->opened ? later_frame(c, &f) : first_frame(c, &f);
	if (r < 0)
		return r;
	buf_consume(&c->in, FRAME_HEAD + f.n);
	return 1;
}

static void
on_data(void *owner, const uint8_t *p, size_t n)
{
	struct client *c = owner;
	int r;

	c->unconsumed += n;
	buf_append(&c->in, p, n);
	do
		r = next_frame(c);
	while (r > 0 && !c->done);
	if (r < 0)
		client_broke(c);
	client_settle(c);
}

/* Half-closed: for a program this is the end of its input; a client that has gone is reset. */
static void
on_eof(void *owner)
{
	struct client *c = owner;

	c->ended = true;
	if (!c->opened || c->in.len > 0)
		client_broke(c);
	else if (c->role != NULL && c->role->input_end != NULL)
		c->role->input_end(c);
}

static void
on_room(void *owner)
{
	struct client *c = owner;

	if (c->role != NULL && c->role->room != NULL)
		c->role->room(c);
}

static void
on_gone(void *owner, bool slept)
{
	struct client *c = owner;

	c->slept = slept;
	if (c->role != NULL && c->role->gone != NULL)
		c->role->gone(c);
	buf_release(&c->in);
	free(c);
}

static void *
on_open(void *arg, struct stream *s)
{
	struct client *c = xcalloc(1, sizeof(*c));

	*c = (struct client){.all = arg, .stream = s};
	return c;
}

static const struct stream_ops client_ops = {
	.open = on_open,
	.data = on_data,
	.eof = on_eof,
	.room = on_room,
	.gone = on_gone,
};

int
guest_server_start(struct guest *g, int port_fd, struct err *e)
{
	struct sessions *all = xcalloc(1, sizeof(*all));

	all->guest = g;
	all->server = server_new(g->loop, port_fd, &client_ops, all);
	if (all->server == NULL) {
		int code = errno;

		free(all);
		return err_sys(e, code, "the link's port");
	}
	g->sessions = all;
	return 0;
}

void
guest_server_stop(struct guest *g)
{
	struct sessions *all = g->sessions;

	if (all == NULL)
		return;
	g->sessions = NULL;
	server_free(all->server);
	sessions_free(all);
	loop_timer_del(all->power_off);
	free(all);
}
