#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "session_io.h"

static void
sink_flush(struct sink *s)
{
	while (s->q.len > 0) {
		uint8_t last = s->q.data[s->q.len - 1];
		ssize_t n = buf_write_fd(&s->q, s->fd);

		if (n == -EAGAIN || n == 0)
			break;
		if (n < 0) {
			sink_close(s); /* nobody reads at the other end: what comes is dropped */
			return;
		}
		s->last = last;
	}
	loop_io_set(s->io, s->q.len > 0 ? EPOLLOUT : 0);
	if (s->q.len == 0 && s->eof && s->on_eof != NULL)
		s->on_eof(s->arg, s);
}

static void
on_writable(void *arg, uint32_t events)
{
	struct sink *s = arg;

	(void)events;
	sink_flush(s);
	if (s->on_moved != NULL)
		s->on_moved(s->arg);
}

void
sink_open(struct sink *s, struct loop *l, int fd, void (*on_eof)(void *arg, struct sink *s),
	void (*on_moved)(void *arg), void *arg)
{
	*s = (struct sink){.loop = l,
		.fd = fd,
		.open = true,
		.on_eof = on_eof,
		.on_moved = on_moved,
		.arg = arg};
	s->io = loop_io_add(l, fd, 0, on_writable, s);
	if (s->io == NULL)
		abort(); /* nothing is asked of the kernel yet: cannot be */
}

void
sink_put(struct sink *s, const void *p, size_t n)
{
	if (!s->open || s->eof || n == 0)
		return;
	buf_append(&s->q, p, n);
	sink_flush(s);
}

void
sink_end(struct sink *s)
{
	if (!s->open || s->eof)
		return;
	s->eof = true;
	sink_flush(s);
}

void
sink_close(struct sink *s)
{
	if (!s->open)
		return;
	s->open = false;
	loop_io_del(s->io);
	s->io = NULL;
	close(s->fd);
	buf_release(&s->q);
}

static void
on_readable(void *arg, uint32_t events)
{
	struct source *s = arg;

	(void)events;
	s->on_ready(s->arg, s);
}

int
source_open(struct source *s, struct loop *l, int fd, uint8_t frame,
	void (*on_ready)(void *arg, struct source *s), void *arg)
{
	*s = (struct source){
		.fd = fd, .open = true, .frame = frame, .on_ready = on_ready, .arg = arg};
	s->io = loop_io_add(l, fd, EPOLLIN, on_readable, s);
	if (s->io == NULL) {
		int code = errno;

		source_close(s);
		return -code;
	}
	return 0;
}

void
source_want(struct source *s, bool on)
{
	if (s->open)
		loop_io_set(s->io, on ? EPOLLIN : 0);
}

bool
source_readable(const struct source *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLIN};

	return s->open && poll(&p, 1, 0) > 0;
}

void
source_close(struct source *s)
{
	if (!s->open)
		return;
	s->open = false;
	loop_io_del(s->io);
	s->io = NULL;
	close(s->fd);
}
