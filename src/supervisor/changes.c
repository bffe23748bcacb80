/*
 * The record of what the guest changed that the host may run later: told by the fs role in packets
 * (wire/change.h), merged with that of earlier runs, written to changes.json soon after, and before
 * a command that asks is answered.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/log.h>
#include <base/mem.h>

#include "save.h"

#define SAVE_MS       200
#define LAST_LIMIT_MS 1000
#define PACKET_MAX    8192
#define PACKETS_MAX   64 /* in a row: an fs role that never stops talking holds up nobody */

static void
save(struct sup *s)
{
	struct err e = {0};

	uv_timer_stop(&s->changes_timer);
	if (!s->changes_dirty)
		return;
	s->changes_dirty = false;
	/* One that could not be read is left as it is. */
	if (!s->changes_unread && change_list_save(&s->paths, s->sandbox.name, &s->changes, &e) < 0)
		log_warn("%s", e.msg);
}

static void
on_timer(uv_timer_t *t)
{
	save(t->data);
}

static void
on_closed(uv_handle_t *h)
{
	free(h);
}

/* Nobody answers any more: who waits gets what there is. */
static void
close_channel(struct sup *s)
{
	if (s->changes_fd < 0)
		return;
	uv_poll_stop(s->changes_poll);
	uv_close((uv_handle_t *)s->changes_poll, on_closed);
	s->changes_poll = NULL;
	close(TAKE_FD(s->changes_fd));
	s->changes_done = s->changes_asked;
}

/* True: there may be another one. */
static bool
take_packet(struct sup *s)
{
	uint8_t p[PACKET_MAX];
	ssize_t n = recv(s->changes_fd, p, sizeof(p), MSG_DONTWAIT);
	struct change c;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		close_channel(s);
		return false;
	}
	if (p[0] == FS_FROZEN) {
		sup_saving_frozen(s);
	} else if (p[0] == FS_SYNCED && s->changes_done < s->changes_asked) {
		s->changes_done++;
	} else if (p[0] == FS_CHANGE && change_decode(p + 1, (size_t)n - 1, &c) == 0) {
		change_list_put(&s->changes, &c);
		change_release(&c);
		s->changes_dirty = true;
	} else {
		log_warn("the fs role tells what makes no sense");
	}
	return true;
}

static void
take_some(struct sup *s)
{
	for (int i = 0; i < PACKETS_MAX && s->changes_fd >= 0 && take_packet(s); i++)
		;
}

static void
take_packets(struct sup *s)
{
	uint64_t done = s->changes_done;

	take_some(s);
	if (s->changes_done != done) {
		save(s);
		sup_control_changes(s);
	} else if (s->changes_dirty && !uv_is_active((uv_handle_t *)&s->changes_timer)) {
		uv_timer_start(&s->changes_timer, on_timer, SAVE_MS, 0);
	}
}

static void
on_packet(uv_poll_t *p, int status, int events)
{
	(void)status;
	(void)events;
	take_packets(p->data);
}

void
sup_changes_init(struct sup *s)
{
	struct err e = {0};

	uv_timer_init(&s->loop, &s->changes_timer);
	s->changes_timer.data = s;
	if (change_list_load(&s->paths, s->sandbox.name, &s->changes, &e) < 0) {
		s->changes_unread = true;
		log_warn("%s: what the guest changes is not recorded", e.msg);
	}
}

int
sup_changes_open(struct sup *s, int *ret_role_fd, struct err *e)
{
	int pair[2];

	close_channel(s);
	change_list_begin(&s->changes);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "socketpair");
	s->changes_fd = pair[0];
	s->changes_poll = xcalloc(1, sizeof(*s->changes_poll));
	uv_poll_init(&s->loop, s->changes_poll, s->changes_fd);
	s->changes_poll->data = s;
	uv_poll_start(s->changes_poll, UV_READABLE, on_packet);
	*ret_role_fd = pair[1];
	return 0;
}

uint64_t
sup_changes_ask(struct sup *s)
{
	const char ask = FS_SYNC;

	if (s->changes_fd >= 0 && send(s->changes_fd, &ask, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1)
		s->changes_asked++;
	return s->changes_asked;
}

void
sup_changes_last(struct sup *s)
{
	uint64_t deadline = deadline_in_ms(LAST_LIMIT_MS), wanted;

	if (s->changes_fd < 0)
		return;
	wanted = sup_changes_ask(s);
	while (s->changes_fd >= 0 && s->changes_done < wanted) {
		struct pollfd p = {s->changes_fd, POLLIN, 0};

		if (poll(&p, 1, deadline_left_ms(deadline)) <= 0 && errno != EINTR)
			break;
		take_some(s);
		if (deadline_left_ms(deadline) == 0)
			break;
	}
	save(s);
	close_channel(s);
}
