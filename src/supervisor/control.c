/*
 * How this works: each connection sends one request frame. STATUS is answered at once; WAIT and
 * SESSION wait until the machine is ready; a SESSION's socket then goes to the link role; STOP
 * waits for the end. A WAIT that comes while it stops is answered at the end with BUSY: the client
 * then starts the sandbox anew. Only the sandbox's own user may connect: the folder is 0700, the
 * socket 0600, and the peer's uid is checked as well.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <wire/frame.h>

#include "save.h"

#define CLIENTS_MAX    256 /* well below the usual limit of descriptors */
#define REQUEST_MAX    16384
#define REPLY_LIMIT_MS 2000

struct client {
	struct sup *sup;
	struct client *next;
	int fd;
	/* CONTROL_WAIT, CONTROL_SESSION, CONTROL_STOP; CONTROL_BUSY: the end; 0: no request yet */
	uint8_t waits_for;
	uint64_t number; /* CONTROL_POLICY, _CREDENTIALS, _CHANGES: what it waits for */
	struct buf in;
	int passed_fd; /* came with the request; -1: none */
	uv_poll_t poll;
};

static void
on_closed(uv_handle_t *h)
{
	struct client *c = h->data;

	buf_release(&c->in);
	free(c);
}

/* Drops the client; its descriptor is closed unless it was taken. */
static void
drop(struct client *c)
{
	for (struct client **p = &c->sup->clients; *p != NULL; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			break;
		}
	}
	uv_poll_stop(&c->poll);
	if (c->fd >= 0)
		close(c->fd);
	if (c->passed_fd >= 0)
		close(c->passed_fd);
	uv_close((uv_handle_t *)&c->poll, on_closed);
}

static int
reply(struct client *c, enum control_frame type, const void *p, size_t n)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	frame_put(&b, (uint8_t)type, p, n);
	/* Replies are small and sockets' buffers are not: this waits only for a stuck client. */
	return io_write_full(c->fd, b.data, b.len, deadline_in_ms(REPLY_LIMIT_MS));
}

static void
reply_error(struct client *c, const char *text)
{
	reply(c, CONTROL_ERROR, text, strlen(text));
	drop(c);
}

static void
hand_to_link(struct client *c)
{
	struct sup *s = c->sup;
	struct err e = {0};
	int fd;

	if (c->in.len > 0) {
		reply_error(c, "a session's client must wait for the answer before it speaks");
		return;
	}
	if (reply(c, CONTROL_OK, NULL, 0) < 0) {
		drop(c);
		return;
	}
	uv_poll_stop(&c->poll);
	fd = TAKE_FD(c->fd);
	if (sup_link_session(s, fd, &e) < 0)
		log_warn("session: %s", e.msg);
	drop(c);
}

static void
answer_ready(struct client *c)
{
	if (c->waits_for == CONTROL_SESSION) {
		hand_to_link(c);
		return;
	}
	reply(c, CONTROL_OK, NULL, 0);
	drop(c);
}

static void
answer_status(struct client *c)
{
	CLEAN_BUF struct buf b = BUF_INIT;
	struct sup *s = c->sup;
	struct control_status st = {.state = s->phase == PHASE_STARTING  ? CONTROL_STARTING
					     : s->phase == PHASE_RUNNING ? CONTROL_RUNNING
									 : CONTROL_STOPPING,
		.accel = xstrdup(vmm_accel_name(s->accel)),
		.started_ns = s->started_ns,
		.boot_ms = s->boot_ms};

	control_status_add_process(&st, "supervisor", (uint32_t)getpid());
	for (size_t i = 0; i < CHILD_COUNT; i++)
		if (s->child[i].role != NULL)
			control_status_add_process(
				&st, s->child[i].role, (uint32_t)s->child[i].pid);
	sup_ports_status(s, &st);
	for (size_t i = 0; i < s->credential_names.n; i++)
		strv_add(&st.credentials, s->credential_names.v[i]);
	control_status_encode(&st, &b);
	control_status_release(&st);
	reply(c, CONTROL_OK, b.data, b.len);
	drop(c);
}

static void
change_ports(struct client *c, const struct frame *f)
{
	struct control_ports ports = {0};
	struct err e = {0};
	int r = control_ports_decode(f->p, f->n, &ports);

	if (r < 0)
		err_set(&e, EBADMSG, "malformed request");
	else if (c->sup->phase != PHASE_RUNNING)
		r = err_set(&e, EAGAIN, "the sandbox is not running: try again in a moment");
	else
		r = sup_ports_change(c->sup, &ports, &e);
	control_ports_release(&ports);
	if (r < 0) {
		reply_error(c, e.msg);
		return;
	}
	reply(c, CONTROL_OK, NULL, 0);
	drop(c);
}

static void
change_policy(struct client *c)
{
	struct sup *s = c->sup;
	struct err e = {0};

	/* While it stops nothing needs to obey: it is in the folder for the next start. */
	if (s->phase < PHASE_STOPPING && sup_policy_change(s, &c->number, &e) < 0)
		reply_error(c, e.msg);
	else
		sup_control_obeyed(s);
}

/* They are for what runs now: nothing keeps them for another start. */
static void
take_credentials(struct client *c)
{
	struct sup *s = c->sup;
	struct err e = {0};
	int r;

	if (c->passed_fd < 0)
		r = err_set(&e, EBADMSG, "malformed request");
	else if (s->phase != PHASE_RUNNING)
		r = err_set(&e, EAGAIN, "the sandbox is not running: try again in a moment");
	else
		r = sup_credentials_take(s, c->passed_fd, &c->number, &e);
	if (r < 0)
		reply_error(c, e.msg);
	else
		sup_control_obeyed(s);
}

static void
take_ssh_agent(struct client *c, const struct frame *f)
{
	struct err e = {0};
	int r;

	if (c->passed_fd < 0)
		r = err_set(&e, EBADMSG, "malformed request");
	else if (c->sup->phase != PHASE_RUNNING)
		r = err_set(&e, EAGAIN, "the sandbox is not running: try again in a moment");
	else
		r = sup_ssh_take(c->sup, c->passed_fd, f->p, f->n, &e);
	if (r < 0) {
		reply_error(c, e.msg);
		return;
	}
	reply(c, CONTROL_OK, NULL, 0);
	drop(c);
}

static void
save(struct client *c, const struct frame *f)
{
	CLEAN_FREE char *folder = xstrndup((const char *)f->p, f->n);
	struct err e = {0};

	if (sup_save(c->sup, folder[0] != '\0' ? folder : NULL, &e) < 0)
		reply_error(c, e.msg);
}

void
sup_control_saved(struct sup *s, const char *why)
{
	struct client *next;

	for (struct client *c = s->clients; c != NULL; c = next) {
		next = c->next;
		if (c->waits_for != CONTROL_SAVE)
			continue;
		if (why != NULL) {
			reply_error(c, why);
			continue;
		}
		reply(c, CONTROL_OK, NULL, 0);
		drop(c);
	}
}

static void
request(struct client *c, const struct frame *f)
{
	struct sup *s = c->sup;
	uint8_t type = f->type;

	c->waits_for = type;
	switch (type) {
	case CONTROL_STATUS:
		answer_status(c);
		return;
	case CONTROL_WAIT:
	case CONTROL_SESSION:
		if (s->phase == PHASE_RUNNING && s->paused)
			reply_error(c, PAUSED_TEXT);
		else if (s->phase == PHASE_RUNNING)
			answer_ready(c);
		else if (s->phase != PHASE_STARTING && type == CONTROL_WAIT)
			c->waits_for = CONTROL_BUSY;
		else if (s->phase != PHASE_STARTING)
			reply_error(c, "the sandbox is stopping: try again in a moment");
		return;
	case CONTROL_PORTS:
		change_ports(c, f);
		return;
	case CONTROL_POLICY:
		change_policy(c);
		return;
	case CONTROL_CREDENTIALS:
		take_credentials(c);
		return;
	case CONTROL_SSH_AGENT:
		take_ssh_agent(c, f);
		return;
	case CONTROL_CHANGES:
		c->number = sup_changes_ask(s);
		sup_control_changes(s);
		return;
	case CONTROL_STOP:
		sup_stop(s);
		return;
	case CONTROL_SAVE:
		save(c, f);
		return;
	default:
		reply_error(c, "unknown request: is another version of paddock running here?");
	}
}

static ssize_t
receive(struct client *c)
{
	int fd = -1;
	size_t nfds = 0;
	ssize_t n =
		io_recv_fds(c->fd, buf_reserve(&c->in, REQUEST_MAX), REQUEST_MAX, &fd, 1, &nfds);

	if (n > 0)
		buf_commit(&c->in, (size_t)n);
	if (nfds == 1 && c->passed_fd >= 0)
		close(c->passed_fd);
	if (nfds == 1)
		c->passed_fd = fd;
	return n;
}

static void
on_client(uv_poll_t *p, int status, int events)
{
	CLEAN_BUF struct buf payload = BUF_INIT;
	struct client *c = p->data;
	struct frame f;
	ssize_t n;
	int r;

	(void)events;
	n = status < 0 ? -EIO : receive(c);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		drop(c);
		return;
	}
	r = frame_peek(&c->in, &f);
	if (r < 0 || c->in.len > REQUEST_MAX || (r > 0 && c->waits_for != 0)) {
		reply_error(c, "malformed request");
		return;
	}
	if (r == 0)
		return;
	buf_append(&payload, f.p, f.n);
	f.p = payload.data;
	buf_consume(&c->in, FRAME_HEAD + f.n);
	request(c, &f);
}

static bool
peer_is_owner(int fd, uid_t uid)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	       (cred.uid == uid || cred.uid == 0);
}

static void
on_connection(uv_poll_t *p, int status, int events)
{
	struct sup *s = p->data;
	struct client *c;
	size_t count = 0;
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)status;
	(void)events;
	if (fd < 0)
		return;
	for (c = s->clients; c != NULL; c = c->next)
		count++;
	if (count >= CLIENTS_MAX || !peer_is_owner(fd, s->paths.uid)) {
		close(fd);
		return;
	}
	c = xcalloc(1, sizeof(*c));
	c->sup = s;
	c->fd = fd;
	c->passed_fd = -1;
	c->next = s->clients;
	s->clients = c;
	uv_poll_init(&s->loop, &c->poll, fd);
	c->poll.data = c;
	uv_poll_start(&c->poll, UV_READABLE, on_client);
}

int
sup_control_listen(struct sup *s, struct err *e)
{
	s->listen_fd = state_socket_listen(&s->paths, s->sandbox.name, e);
	if (s->listen_fd < 0)
		return s->listen_fd;
	uv_poll_init(&s->loop, &s->listen_poll, s->listen_fd);
	s->listen_poll.data = s;
	uv_poll_start(&s->listen_poll, UV_READABLE, on_connection);
	return 0;
}

void
sup_control_progress(struct sup *s, const char *what)
{
	for (struct client *c = s->clients; c != NULL; c = c->next)
		if (c->waits_for == CONTROL_WAIT || c->waits_for == CONTROL_SESSION)
			reply(c, CONTROL_PROGRESS, what, strlen(what));
}

void
sup_control_ready(struct sup *s)
{
	struct client *next;

	for (struct client *c = s->clients; c != NULL; c = next) {
		next = c->next;
		if (c->waits_for == CONTROL_WAIT || c->waits_for == CONTROL_SESSION)
			answer_ready(c);
	}
}

/* Those that wait for this, in order: the first that are reached. */
static void
answer_number(struct sup *s, uint8_t type, uint64_t reached)
{
	struct client *next;

	for (struct client *c = s->clients; c != NULL; c = next) {
		next = c->next;
		if (c->waits_for != type || c->number > reached)
			continue;
		reply(c, CONTROL_OK, NULL, 0);
		drop(c);
	}
}

void
sup_control_obeyed(struct sup *s)
{
	answer_number(s, CONTROL_POLICY, s->policy_obeyed);
	answer_number(s, CONTROL_CREDENTIALS, s->policy_obeyed);
}

void
sup_control_changes(struct sup *s)
{
	answer_number(s, CONTROL_CHANGES, s->changes_done);
}

/* Connections stay open until the process ends: their end tells the clients that it has. */
void
sup_control_finish(struct sup *s, bool failed)
{
	const char *why = failed ? s->why : "the sandbox was stopped";

	for (struct client *c = s->clients; c != NULL; c = c->next) {
		if (c->waits_for == CONTROL_STOP || c->waits_for == CONTROL_POLICY ||
			(c->waits_for == CONTROL_SAVE && s->suspended))
			reply(c, CONTROL_OK, NULL, 0);
		else if (c->waits_for == CONTROL_BUSY ||
			 (s->restart && c->waits_for == CONTROL_WAIT))
			reply(c, CONTROL_BUSY, NULL, 0);
		else if (c->waits_for != 0)
			reply(c, CONTROL_ERROR, why, strlen(why));
	}
}
