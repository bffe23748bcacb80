#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "farewell.h"

#define DROPPED_MAX (1 << 20)

struct farewell {
	LIST_ENTRY(farewell) link;
	struct net *net;
	struct endpoint end;
	struct alarm *limit;
	bool said;
	size_t dropped;
};

static void
finish(struct farewell *f)
{
	alarm_free(f->limit);
	endpoint_close(&f->end, false);
	LIST_REMOVE(f, link);
	f->net->nfarewells--;
	free(f);
}

/* False: it is over. */
static bool
say(struct farewell *f)
{
	if (!endpoint_flush(&f->end))
		return false;
	if (f->end.out.len == 0 && !f->said) {
		f->said = true;
		endpoint_finish(&f->end);
	}
	return true;
}

/* As it is on the wire: nobody wants to know what it says. */
static bool
drop(struct farewell *f)
{
	char bytes[16384];
	ssize_t n;

	while ((n = recv(f->end.fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
		f->dropped += (size_t)n;
		if (f->dropped > DROPPED_MAX)
			return false;
	}
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void
on_ready(void *arg, int events)
{
	struct farewell *f = arg;

	if (events == 0 || !say(f) || ((events & UV_READABLE) != 0 && !drop(f)))
		finish(f);
	else
		endpoint_wait(&f->end, true);
}

static void
on_limit(void *arg)
{
	finish(arg);
}

static void
start(struct net *net, int fd, SSL *ssl, struct buf *words)
{
	struct farewell *f = xcalloc(1, sizeof(*f));
	bool ok;

	f->net = net;
	LIST_INSERT_HEAD(&net->farewells, f, link);
	net->nfarewells++;
	f->limit = alarm_new(&net->loop, on_limit, f);
	ok = endpoint_open(&f->end, &net->loop, fd, ssl, on_ready, f);
	f->end.out = *words;
	*words = (struct buf)BUF_INIT;
	if (!ok || (net->nfarewells > FAREWELLS_MAX)) {
		(void)endpoint_flush(&f->end);
		finish(f);
		return;
	}
	alarm_set(f->limit, FAREWELL_LIMIT_MS);
	endpoint_wait(&f->end, true);
}

void
farewell_start(struct net *net, int fd, struct buf *words)
{
	start(net, fd, NULL, words);
}

void
farewell_endpoint(struct net *net, struct endpoint *s)
{
	struct buf words = s->out;
	SSL *ssl = TAKE_PTR(s->ssl);
	int fd = TAKE_FD(s->fd);

	s->out = (struct buf)BUF_INIT;
	endpoint_close(s, false); /* before somebody else watches the same descriptor */
	start(net, fd, ssl, &words);
}

void
farewell_close_all(struct net *net)
{
	struct farewell *f;

	while ((f = LIST_FIRST(&net->farewells)) != NULL)
		finish(f);
}
