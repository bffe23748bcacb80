#include <errno.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <wire/session.h>

#include "port.h"

void
port_pipe_open(struct port_pipe *p, struct mux_stream *s, uint16_t port)
{
	struct session_open o = {.op = SESSION_OP_FORWARD, .port = port};
	CLEAN_BUF struct buf payload = BUF_INIT;

	p->port = port;
	session_open_encode(&o, &payload);
	frame_put(&s->up, SESSION_OPEN, payload.data, payload.len);
	mux_stream_resume(s);
}

void
port_pipe_release(struct port_pipe *p)
{
	buf_release(&p->out);
}

bool
port_pipe_has_room(const struct mux_stream *s)
{
	return s->up.len + FRAME_HEAD < MUX_UP_MAX;
}

ssize_t
port_pipe_read(struct mux_stream *s, int fd)
{
	size_t room = MUX_UP_MAX - FRAME_HEAD - s->up.len;
	char chunk[FRAME_CHUNK];
	ssize_t n = read(fd, chunk, room < sizeof(chunk) ? room : sizeof(chunk));

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (n > 0)
		frame_put(&s->up, SESSION_STDIN, chunk, (size_t)n);
	return n;
}

void
port_pipe_take(struct port_pipe *p, struct mux_stream *s)
{
	struct frame f;
	int r = 0;

	while (!p->ended && p->out.len == 0 &&
		(r = frame_peek_max(&s->down, FRAME_CHUNK, &f)) > 0) {
		if (f.type == SESSION_STDOUT)
			buf_append(&p->out, f.p, f.n);
		else if (f.type == SESSION_STDOUT_EOF)
			p->half = true;
		else if (f.type != SESSION_STARTED)
			p->ended = true;
		p->failed = p->ended && f.type != SESSION_EXIT;
		mux_stream_passed(s, FRAME_HEAD + f.n);
	}
	if (r < 0)
		p->ended = p->failed = true;
}
