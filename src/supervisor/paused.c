/*
 * How this works: where the host's disk is full, QEMU stops the machine rather than let the guest's
 * file system see errors (its werror=enospc), and tells so in an event. The machine is asked to go
 * on every few seconds; once there is space it does, else QEMU stops it again. Reading the events
 * also keeps them from piling up in QEMU.
 */
#include <string.h>

#include <base/clock.h>
#include <base/log.h>

#include "sup.h"

#define RETRY_MS     2000
#define QMP_LIMIT_MS 1000

static void on_retry(uv_timer_t *t);

static void
on_event(struct sup *s, const char *name)
{
	if (strcmp(name, "STOP") == 0 && s->phase == PHASE_RUNNING && s->saving == NULL) {
		if (!s->paused)
			log_warn("%s", PAUSED_TEXT);
		s->paused = true;
		uv_timer_start(&s->paused_timer, on_retry, RETRY_MS, 0);
	} else if (strcmp(name, "RESUME") == 0) {
		s->paused = false;
	}
}

/* false: QEMU's end, which its pidfd tells too */
static bool
drain_events(struct sup *s)
{
	char name[64];
	int r;

	while ((r = qmp_event(s->qmp, name)) > 0)
		on_event(s, name);
	return r == 0;
}

static void
on_retry(uv_timer_t *t)
{
	struct sup *s = t->data;
	struct err e = {0};

	if (s->phase != PHASE_RUNNING)
		return;
	if (qmp_command(s->qmp, "cont", NULL, deadline_in_ms(QMP_LIMIT_MS), &e) < 0)
		log_warn("qmp: %s", e.msg);
	/* RESUME came before the answer: no byte is left to wake us for it. */
	drain_events(s);
}

static void
on_qmp(uv_poll_t *p, int status, int events)
{
	(void)status;
	(void)events;
	if (!drain_events(p->data))
		uv_poll_stop(p);
}

void
sup_paused_forget(struct sup *s)
{
	drain_events(s);
}

void
sup_paused_watch(struct sup *s)
{
	uv_timer_init(&s->loop, &s->paused_timer);
	uv_poll_init(&s->loop, &s->qmp_poll, qmp_fd(s->qmp));
	s->paused_timer.data = s->qmp_poll.data = s;
	uv_poll_start(&s->qmp_poll, UV_READABLE, on_qmp);
}
