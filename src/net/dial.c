#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/mem.h>

#include "dial.h"
#include "sock.h"
#include "watch.h"

/*
 * How this works. Attempts 0..started-1 were begun; those with fd >= 0 are still open. `next` rings
 * when the next one is due, `limit` when all have had their time. Everything happens in callbacks
 * of the loop: even the first attempt begins with `next` ringing at once.
 */

struct attempt {
	struct dial *dial;
	int fd;
	struct watch *watch;
};

struct dial {
	uv_loop_t *loop;
	int type;
	dial_fn *done;
	void *arg;
	struct alarm *next, *limit;
	size_t n, started, open;
	int error;
	struct sockaddr_storage addrs[DIAL_MAX];
	struct attempt attempts[DIAL_MAX];
};

static void
drop_attempt(struct attempt *t)
{
	if (t->fd < 0)
		return;
	watch_free(t->watch);
	close(t->fd);
	t->fd = -1;
	t->dial->open--;
}

void
dial_cancel(struct dial *d)
{
	for (size_t i = 0; i < d->started; i++)
		drop_attempt(&d->attempts[i]);
	alarm_free(d->next);
	alarm_free(d->limit);
	free(d);
}

static void
finish(struct dial *d, int fd, size_t index)
{
	dial_fn *done = d->done;
	void *arg = d->arg;

	dial_cancel(d);
	done(arg, fd, index);
}

/* One attempt has failed: on to the next at once, or the end. */
static void
failed(struct dial *d, int error)
{
	d->error = error;
	if (d->started < d->n)
		alarm_set(d->next, 0);
	else if (d->open == 0)
		finish(d, d->error, 0);
}

static void
on_attempt(void *arg, int events)
{
	struct attempt *t = arg;
	struct dial *d = t->dial;
	int error = 0, fd = t->fd;
	socklen_t len = sizeof(error);

	(void)events;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error != 0) {
		drop_attempt(t);
		failed(d, -error);
		return;
	}
	watch_free(t->watch);
	t->fd = -1;
	finish(d, fd, (size_t)(t - d->attempts));
}

static int
open_attempt(struct dial *d, struct attempt *t, const struct sockaddr_storage *to)
{
	CLEAN_CLOSE int fd = socket(to->ss_family, d->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (d->type == SOCK_STREAM)
		sock_tune(fd);
	else
		sock_tune_datagrams(fd);
	if (connect(fd, (const struct sockaddr *)to, sock_addr_len(to)) < 0 && errno != EINPROGRESS)
		return -errno;
	t->watch = watch_new(d->loop, fd, on_attempt, t);
	if (t->watch == NULL)
		return -EMFILE;
	watch_events(t->watch, UV_WRITABLE);
	t->fd = TAKE_FD(fd);
	d->open++;
	return 0;
}

static void
on_next(void *arg)
{
	struct dial *d = arg;
	struct attempt *t = &d->attempts[d->started];
	int r;

	*t = (struct attempt){.dial = d, .fd = -1};
	r = open_attempt(d, t, &d->addrs[d->started++]);
	if (r < 0)
		failed(d, r);
	else if (d->started < d->n)
		alarm_set(d->next, DIAL_STAGGER_MS);
}

static void
on_limit(void *arg)
{
	finish(arg, -ETIMEDOUT, 0);
}

struct dial *
dial_start(uv_loop_t *loop, int type, const struct sockaddr_storage *addrs, size_t n,
	uint64_t limit_ms, dial_fn *done, void *arg)
{
	struct dial *d = xcalloc(1, sizeof(*d));

	d->loop = loop;
	d->type = type;
	d->done = done;
	d->arg = arg;
	d->n = n < DIAL_MAX ? n : DIAL_MAX;
	d->error = -EHOSTUNREACH;
	memcpy(d->addrs, addrs, d->n * sizeof(*addrs));
	d->next = alarm_new(loop, on_next, d);
	d->limit = alarm_new(loop, on_limit, d);
	/* No address at all is a limit that has passed already. */
	alarm_set(d->n > 0 ? d->next : d->limit, 0);
	if (d->n > 0)
		alarm_set(d->limit, limit_ms);
	return d;
}

void
dial_sort(struct sockaddr_storage *addrs, size_t n)
{
	for (size_t i = 1; i + 1 < n; i++) {
		struct sockaddr_storage moved;
		size_t j = i;

		while (j < n && addrs[j].ss_family == addrs[i - 1].ss_family)
			j++;
		if (j == n)
			return;
		moved = addrs[j];
		memmove(&addrs[i + 1], &addrs[i], (j - i) * sizeof(*addrs));
		addrs[i] = moved;
	}
}
