#include <stdlib.h>

#include <base/mem.h>

#include "watch.h"

struct watch {
	uv_poll_t poll; /* first: libuv's handle is the allocation */
	watch_fn *fn;
	void *arg;
	int events;
};

struct alarm {
	uv_timer_t timer; /* first, likewise */
	alarm_fn *fn;
	void *arg;
};

static void
free_handle(uv_handle_t *h)
{
	free(h);
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
	struct watch *w = (struct watch *)poll;

	/* On an error libuv has stopped the watch; the owner finds out what it is at its next call.
	 */
	if (status < 0)
		w->events = 0;
	w->fn(w->arg, status < 0 ? 0 : events);
}

struct watch *
watch_new(uv_loop_t *loop, int fd, watch_fn *fn, void *arg)
{
	struct watch *w = xcalloc(1, sizeof(*w));

	if (uv_poll_init(loop, &w->poll, fd) != 0) {
		free(w);
		return NULL;
	}
	w->fn = fn;
	w->arg = arg;
	return w;
}

void
watch_events(struct watch *w, int events)
{
	if (w->events == events)
		return;
	w->events = events;
	if (events == 0)
		uv_poll_stop(&w->poll);
	else
		uv_poll_start(&w->poll, events, on_poll);
}

void
watch_free(struct watch *w)
{
	if (w == NULL)
		return;
	uv_poll_stop(&w->poll);
	uv_close((uv_handle_t *)&w->poll, free_handle);
}

static void
on_timer(uv_timer_t *timer)
{
	struct alarm *a = (struct alarm *)timer;

	a->fn(a->arg);
}

struct alarm *
alarm_new(uv_loop_t *loop, alarm_fn *fn, void *arg)
{
	struct alarm *a = xcalloc(1, sizeof(*a));

	uv_timer_init(loop, &a->timer);
	a->fn = fn;
	a->arg = arg;
	return a;
}

void
alarm_set(struct alarm *a, uint64_t ms)
{
	uv_timer_start(&a->timer, on_timer, ms, 0);
}

void
alarm_stop(struct alarm *a)
{
	uv_timer_stop(&a->timer);
}

void
alarm_free(struct alarm *a)
{
	if (a == NULL)
		return;
	uv_timer_stop(&a->timer);
	uv_close((uv_handle_t *)&a->timer, free_handle);
}
