/*
 * How this works: the supervisor is a client of the guest like any other: a socket pair, one end
 * to the link role, on the other the session protocol. One frame out, then EXIT, ERROR or the end
 * of the stream. What the guest says is capped; its text is escaped before anybody sees it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <base/io.h>
#include <base/mem.h>
#include <link/link.h>

#include "sup.h"

#define REPLY_MAX 65536

struct guest_call {
	struct sup *sup;
	struct guest_call *next;
	int fd;
	struct buf out, in;
	uv_poll_t poll;
	uv_timer_t timer;
	guest_call_cb cb;
	int open_handles;
};

int
sup_link_session(struct sup *s, int fd, struct err *e)
{
	char msg = LINK_SESSION;
	int r = io_send_fds(s->link_control, &msg, 1, &fd, 1);

	close(fd);
	return r < 0 ? err_sys(e, -r, "link") : 0;
}

static void
on_closed(uv_handle_t *h)
{
	struct guest_call *c = h->data;

	if (--c->open_handles > 0)
		return;
	buf_release(&c->out);
	buf_release(&c->in);
	free(c);
}

static void
unlink_call(struct guest_call *c)
{
	for (struct guest_call **p = &c->sup->calls; *p != NULL; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			break;
		}
	}
	uv_poll_stop(&c->poll);
	close(c->fd);
	uv_close((uv_handle_t *)&c->poll, on_closed);
	uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void
finish(struct guest_call *c, int status, const char *text)
{
	struct sup *s = c->sup;
	guest_call_cb cb = c->cb;

	unlink_call(c);
	cb(s, status, text);
}

/* true when the call is over */
static bool
handle_frame(struct guest_call *c, const struct frame *f)
{
	char text[512];

	switch (f->type) {
	case SESSION_EXIT:
		finish(c, f->n == 1 ? f->p[0] : -1, "");
		return true;
	case SESSION_ERROR:
		str_escape(f->n > 1 ? (const char *)f->p + 1 : "", f->n > 1 ? f->n - 1 : 0, text,
			sizeof(text));
		finish(c, -1, text);
		return true;
	default: /* STARTED, output: of no interest */
		return false;
	}
}

static void
read_reply(struct guest_call *c)
{
	struct frame f;
	ssize_t n = buf_read_fd(&c->in, c->fd, 16384);
	int r;

	if (n == -EAGAIN)
		return;
	while ((r = frame_peek(&c->in, &f)) > 0) {
		if (handle_frame(c, &f))
			return;
		buf_consume(&c->in, FRAME_HEAD + f.n);
	}
	if (r < 0 || c->in.len > REPLY_MAX)
		finish(c, -1, "the guest does not keep to the protocol");
	else if (n <= 0)
		finish(c, -1, "the guest ended the conversation");
}

static void
on_poll(uv_poll_t *p, int status, int events)
{
	struct guest_call *c = p->data;

	if (status < 0) {
		finish(c, -1, uv_strerror(status));
		return;
	}
	if ((events & UV_WRITABLE) && c->out.len > 0) {
		ssize_t n = buf_write_fd(&c->out, c->fd);

		if (n < 0 && n != -EAGAIN) {
			finish(c, -1, strerror((int)-n));
			return;
		}
		if (c->out.len == 0)
			uv_poll_start(&c->poll, UV_READABLE, on_poll);
	}
	if (events & UV_READABLE)
		read_reply(c);
}

static void
on_timeout(uv_timer_t *t)
{
	finish(t->data, GUEST_CALL_SILENT, "the guest did not answer in time");
}

int
sup_guest_call(struct sup *s, const struct session_open *o, uint64_t timeout_ms, guest_call_cb cb,
	struct err *e)
{
	CLEAN_BUF struct buf payload = BUF_INIT;
	struct guest_call *c;
	int sv[2], r;

	session_open_encode(o, &payload);
	if (payload.len > FRAME_MAX)
		return err_set(e, EMSGSIZE, "the request to the guest is too large");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) < 0)
		return err_sys(e, errno, "socketpair");
	r = sup_link_session(s, sv[1], e);
	if (r < 0) {
		close(sv[0]);
		return r;
	}
	c = xcalloc(1, sizeof(*c));
	*c = (struct guest_call){.sup = s, .next = s->calls, .fd = sv[0], .cb = cb};
	s->calls = c;
	frame_put(&c->out, SESSION_OPEN, payload.data, payload.len);
	uv_poll_init(&s->loop, &c->poll, c->fd);
	uv_timer_init(&s->loop, &c->timer);
	c->poll.data = c->timer.data = c;
	c->open_handles = 2;
	uv_poll_start(&c->poll, UV_READABLE | UV_WRITABLE, on_poll);
	uv_timer_start(&c->timer, on_timeout, timeout_ms, 0);
	return 0;
}

void
sup_guest_calls_drop(struct sup *s)
{
	while (s->calls != NULL)
		unlink_call(s->calls);
}
