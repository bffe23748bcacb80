#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/mem.h>

#include "farewell.h"
#include "sock.h"

#define DROPPED_MAX (1 << 20)

struct farewell {
	LIST_ENTRY(farewell) link;
	struct net *net;
	int fd;
	struct watch *watch;
	struct alarm *limit;
	struct buf words;
	size_t dropped;
};

static void
finish(struct farewell *f)
{
	watch_free(f->watch);
	alarm_free(f->limit);
	close(f->fd);
	buf_release(&f->words);
	LIST_REMOVE(f, link);
	f->net->nfarewells--;
	free(f);
}

/* False: it is over. */
static bool
say(struct farewell *f)
{
	while (f->words.len > 0) {
		ssize_t n = send(f->fd, f->words.data, f->words.len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		buf_consume(&f->words, (size_t)n);
		if (f->words.len == 0)
			shutdown(f->fd, SHUT_WR);
	}
	return true;
}

static bool
drop(struct farewell *f)
{
	char bytes[16384];
	ssize_t n;

	while ((n = recv(f->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
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
		watch_events(f->watch, f->words.len > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

static void
on_limit(void *arg)
{
	finish(arg);
}

void
farewell_start(struct net *net, int fd, struct buf *words)
{
	struct farewell *f;

	if (net->nfarewells >= FAREWELLS_MAX) {
		(void)!send(fd, words->data, words->len, MSG_DONTWAIT | MSG_NOSIGNAL);
		buf_release(words);
		close(fd);
		return;
	}
	f = xcalloc(1, sizeof(*f));
	*f = (struct farewell){.net = net, .fd = fd, .words = *words};
	*words = (struct buf)BUF_INIT;
	LIST_INSERT_HEAD(&net->farewells, f, link);
	net->nfarewells++;
	f->limit = alarm_new(&net->loop, on_limit, f);
	f->watch = watch_new(&net->loop, fd, on_ready, f);
	if (f->watch == NULL) {
		finish(f);
		return;
	}
	alarm_set(f->limit, FAREWELL_LIMIT_MS);
	watch_events(f->watch, UV_READABLE | UV_WRITABLE);
}

void
farewell_close_all(struct net *net)
{
	struct farewell *f;

	while ((f = LIST_FIRST(&net->farewells)) != NULL)
		finish(f);
}
