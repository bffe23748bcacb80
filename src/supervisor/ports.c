/*
 * Published ports. The supervisor listens and accepts, and the link role gets the connected socket:
 * a listener of the host's network in the hands of a process that the guest speaks to could be
 * turned into a connection to the host. What is published is in the sandbox's record; where a port
 * is taken when the sandbox starts, the sandbox starts without it and says so.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <link/link.h>

#include "sup.h"

#define BACKLOG      128
#define CUT_LIMIT_MS 1000
#define ACCEPT_MAX   16 /* in a row, before others have their turn */

struct published {
	struct sup *sup;
	struct published *next;
	struct port asked;
	struct port bound; /* asked, with the port that the kernel picked */
	int fd;            /* -1: error says why */
	char error[ERR_MSG_MAX];
	uv_poll_t poll;
};

static void
on_closed(uv_handle_t *h)
{
	free(h->data);
}

static void
retire(struct published *p)
{
	if (p->fd < 0) {
		free(p);
		return;
	}
	uv_poll_stop(&p->poll);
	close(p->fd);
	uv_close((uv_handle_t *)&p->poll, on_closed);
}

static int
bind_error(const struct port *p, int code, struct err *e)
{
	char text[PORT_TEXT_MAX];

	port_format(p, text);
	if (code == EADDRINUSE)
		return err_set(e, code,
			"host port %u is taken by another program: publish another one, e.g. "
			"%u:%u",
			p->host, p->host < 60000 ? p->host + 1u : p->host - 1u, p->guest);
	if (code == EACCES)
		return err_set(e, code,
			"host port %u is the root user's: publish one from 1024 on, e.g. %u:%u",
			p->host, p->host + 8000u, p->guest);
	if (code == EADDRNOTAVAIL || code == EAFNOSUPPORT)
		return err_set(e, code, "this host does not have the address of '%s'", text);
	return err_sys(e, code, "publish '%s'", text);
}

static int
listen_on(const struct port *p, struct port *ret_bound, struct err *e)
{
	struct sockaddr_storage ss = {0};
	socklen_t len = port_sockaddr(p, &ss);
	int on = 1;
	CLEAN_CLOSE int fd = socket(p->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return bind_error(p, errno, e);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (p->family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&ss, len) < 0 || listen(fd, BACKLOG) < 0 ||
		getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return bind_error(p, errno, e);
	*ret_bound = *p;
	ret_bound->host = ntohs(p->family == AF_INET ? ((struct sockaddr_in *)&ss)->sin_port
						     : ((struct sockaddr_in6 *)&ss)->sin6_port);
	return TAKE_FD(fd);
}

static void
tell_link(const struct sup *s, enum link_control what, uint16_t port, int fd)
{
	const char msg[3] = {(char)what, (char)(port >> 8), (char)port};
	struct pollfd room = {s->link_control, POLLOUT, 0};

	/*
	 * A link role that is behind refuses a connection by not reading: its client sees a reset.
	 * That something is to be cut it must hear.
	 */
	if (what == LINK_CUT && poll(&room, 1, CUT_LIMIT_MS) <= 0)
		log_warn("port %u: what came through it may go on: the link role is busy", port);
	if (io_send_fds(s->link_control, msg, sizeof(msg), &fd, fd >= 0 ? 1 : 0) < 0)
		log_debug("port %u: the link role does not take it", port);
}

static void
on_connection(uv_poll_t *poll, int status, int events)
{
	struct published *p = poll->data;

	(void)status;
	(void)events;
	for (int i = 0; i < ACCEPT_MAX; i++) {
		CLEAN_CLOSE int fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		if (p->sup->phase == PHASE_RUNNING)
			tell_link(p->sup, LINK_PORT, p->asked.guest, fd);
	}
}

static struct published *
publish(struct sup *s, const char *text, struct err *e)
{
	struct published *p = xcalloc(1, sizeof(*p));
	struct port asked[2];
	size_t n;

	p->sup = s;
	p->fd = port_parse(text, asked, &n, e);
	if (p->fd < 0)
		return p;
	p->asked = p->bound = asked[0];
	p->fd = listen_on(&p->asked, &p->bound, e);
	if (p->fd < 0)
		return p;
	uv_poll_init(&s->loop, &p->poll, p->fd);
	p->poll.data = p;
	uv_poll_start(&p->poll, UV_READABLE, on_connection);
	return p;
}

static void
add(struct sup *s, struct published *p)
{
	struct published **end = &s->published;

	while (*end != NULL)
		end = &(*end)->next;
	*end = p;
}

void
sup_ports_start(struct sup *s, void (*note)(struct sup *s, const char *text))
{
	for (size_t i = 0; i < s->sandbox.ports.n; i++) {
		struct err e = {0};
		struct published *p = publish(s, s->sandbox.ports.v[i], &e);

		add(s, p);
		if (p->fd >= 0)
			continue;
		snprintf(p->error, sizeof(p->error), "%s", e.msg);
		log_warn("%s", e.msg);
		note(s, e.msg);
	}
}

static bool
listed(const struct strv *ports, const struct port *p)
{
	char text[PORT_TEXT_MAX];

	port_format(p, text);
	for (size_t i = 0; i < ports->n; i++)
		if (strcmp(ports->v[i], text) == 0)
			return true;
	return false;
}

/* Those that want does not list: they end, and what came through them. */
static void
drop_others(struct sup *s, const struct strv *want)
{
	for (struct published **at = &s->published; *at != NULL;) {
		struct published *p = *at;

		if (listed(want, &p->asked)) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		tell_link(s, LINK_CUT, p->asked.guest, -1);
		retire(p);
	}
}

static bool
is_open(const struct sup *s, const char *text)
{
	char have[PORT_TEXT_MAX];

	for (const struct published *p = s->published; p != NULL; p = p->next) {
		port_format(&p->asked, have);
		if (p->fd >= 0 && strcmp(have, text) == 0)
			return true;
	}
	return false;
}

/* Those of want that are not there yet: all, or none and why. */
static int
open_new(struct sup *s, const struct strv *want, struct published **ret, struct err *e)
{
	for (size_t i = 0; i < want->n; i++) {
		struct published *p;

		if (is_open(s, want->v[i]))
			continue;
		p = publish(s, want->v[i], e);
		p->next = *ret;
		*ret = p;
		if (p->fd < 0)
			return -EADDRINUSE;
	}
	return 0;
}

/* The record's list after the change. -EINVAL with a sentence. */
static int
plan(const struct sup *s, const struct control_ports *c, struct strv *ret, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < s->sandbox.ports.n; i++)
		strv_add(ret, s->sandbox.ports.v[i]);
	for (size_t i = 0; i < c->unpublish.n && r == 0; i++) {
		r = port_remove_word(ret, c->unpublish.v[i], e);
		if (r == 0)
			return err_set(e, ENOENT, "'%s' is not published: see paddock ports %s",
				c->unpublish.v[i], s->sandbox.name);
		r = r < 0 ? r : 0;
	}
	for (size_t i = 0; i < c->publish.n && r == 0; i++)
		r = port_add_word(ret, c->publish.v[i], e);
	return r;
}

int
sup_ports_change(struct sup *s, const struct control_ports *c, struct err *e)
{
	struct strv want = {0}, old = s->sandbox.ports;
	struct published *new = NULL, *next;
	int r = plan(s, c, &want, e);

	if (r == 0)
		r = open_new(s, &want, &new, e);
	if (r == 0) {
		s->sandbox.ports = want;
		r = sandbox_save(&s->paths, &s->sandbox, e);
	}
	if (r < 0) {
		s->sandbox.ports = old;
		strv_release(&want);
		for (; new != NULL; new = next) {
			next = new->next;
			retire(new);
		}
		return r;
	}
	strv_release(&old);
	drop_others(s, &s->sandbox.ports);
	for (; new != NULL; new = next) {
		next = new->next;
		new->next = NULL;
		add(s, new);
	}
	return 0;
}

void
sup_ports_status(const struct sup *s, struct control_status *ret)
{
	for (const struct published *p = s->published; p != NULL; p = p->next) {
		char asked[PORT_TEXT_MAX], listening[PORT_TEXT_MAX] = "";

		port_format(&p->asked, asked);
		if (p->fd >= 0)
			port_format(&p->bound, listening);
		control_status_add_port(ret, asked, listening, p->error);
	}
}
