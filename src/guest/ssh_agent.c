/*
 * `paddock-guest ssh-agent`, a program of a session and not PID 1: the guest's end of the host's
 * SSH agent. Clients connect to a socket; their messages go to standard output and the answers come
 * from standard input, each behind its client's number (wire/ssh.h). It only
 * carries: what may be asked is judged on the host.
 *
 * After a sandbox has woken, the old end of the agent goes while a new one comes. So a new one
 * takes the path over in one step, and one that ends leaves it alone: it may be another's by then.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <wire/ssh.h>

#include "ssh_agent.h"

#define CLIENTS_MAX  SSH_LINE_CLIENTS_MAX
#define MESSAGE_MAX  SSH_LINE_REQUEST_MAX
#define WRITE_MAX_MS 5000 /* a client that does not read its answer */

struct slot {
	int fd;    /* -1: free, or its client is gone */
	bool busy; /* the host owes it an answer */
	struct buf in;
};

struct bridge {
	int listener;
	struct slot slots[CLIENTS_MAX];
	struct buf from_host;
};

static int
listen_at(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	CLEAN_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int n = snprintf(a.sun_path, sizeof(a.sun_path), "%s.%d", path, (int)getpid());

	if (n < 0 || (size_t)n >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	if (fd < 0 || (unlink(a.sun_path) < 0 && errno != ENOENT))
		return -errno;
	/* Who is root here is whoever wants to be: the sandbox is the border. */
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chmod(a.sun_path, 0666) < 0 ||
		listen(fd, CLIENTS_MAX) < 0 || rename(a.sun_path, path) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static bool
to_host(uint8_t client, const uint8_t *p, size_t n)
{
	CLEAN_BUF struct buf b = BUF_INIT;

	ssh_line_put(&b, client, p, n);
	return io_write_full(STDOUT_FILENO, b.data, b.len, UINT64_MAX) == 0;
}

/* The number is free for another client once the host owes nothing. */
static bool
drop(struct bridge *b, uint8_t i)
{
	struct slot *s = &b->slots[i];

	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	buf_release(&s->in);
	return s->busy || to_host(i, NULL, 0);
}

static void
take_client(struct bridge *b)
{
	int fd = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	for (size_t i = 0; fd >= 0 && i < CLIENTS_MAX; i++) {
		if (b->slots[i].fd >= 0 || b->slots[i].busy)
			continue;
		b->slots[i].fd = fd;
		return;
	}
	if (fd >= 0)
		close(fd);
}

/* A whole message goes on; one at a time. False: the host is gone. */
static bool
pass_on(struct bridge *b, uint8_t i)
{
	struct slot *s = &b->slots[i];
	const uint8_t *d = s->in.data;
	size_t n;

	if (s->busy || s->in.len < 4)
		return true;
	n = (size_t)d[0] << 24 | (size_t)d[1] << 16 | (size_t)d[2] << 8 | d[3];
	if (n == 0 || n > MESSAGE_MAX)
		return drop(b, i);
	if (s->in.len < 4 + n)
		return true;
	if (!to_host(i, d + 4, n))
		return false;
	buf_consume(&s->in, 4 + n);
	s->busy = true;
	return true;
}

static bool
from_client(struct bridge *b, uint8_t i)
{
	struct slot *s = &b->slots[i];
	ssize_t n = buf_read_fd(&s->in, s->fd, MESSAGE_MAX + 4 - s->in.len);

	if (n == -EAGAIN || n == -EINTR)
		return true;
	return n <= 0 ? drop(b, i) : pass_on(b, i);
}

static bool
deliver(struct bridge *b, const struct ssh_line *l)
{
	struct slot *s = &b->slots[l->client];
	uint64_t deadline = deadline_in_ms(WRITE_MAX_MS);
	CLEAN_BUF struct buf answer = BUF_INIT;

	s->busy = false;
	if (s->fd < 0)
		return drop(b, l->client);
	buf_append_be32(&answer, (uint32_t)l->n);
	buf_append(&answer, l->p, l->n);
	if (io_write_full(s->fd, answer.data, answer.len, deadline) < 0)
		return drop(b, l->client);
	return pass_on(b, l->client);
}

static bool
from_host(struct bridge *b)
{
	struct buf *in = &b->from_host;
	ssize_t got = buf_read_fd(in, STDIN_FILENO, 65536);
	bool ok = got > 0 || got == -EAGAIN || got == -EINTR;
	struct ssh_line l;
	int more = 0;

	while (ok && (more = ssh_line_peek(in, SSH_LINE_ANSWER_MAX, &l)) > 0) {
		ok = deliver(b, &l);
		buf_consume(in, SSH_LINE_HEAD + l.n);
	}
	return ok && more >= 0;
}

static bool
step(struct bridge *b)
{
	struct pollfd p[2 + CLIENTS_MAX] = {{STDIN_FILENO, POLLIN, 0}, {b->listener, POLLIN, 0}};
	bool ok = true;

	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		const struct slot *s = &b->slots[i];
		bool room = s->in.len < MESSAGE_MAX + 4;

		p[2 + i] = (struct pollfd){s->fd, room ? POLLIN : 0, 0};
	}
	if (poll(p, 2 + CLIENTS_MAX, -1) < 0)
		return errno == EINTR;
	for (uint8_t i = 0; i < CLIENTS_MAX && ok; i++)
		if (p[2 + i].revents != 0)
			ok = from_client(b, i);
	if (ok && p[1].revents != 0)
		take_client(b);
	return ok && p[0].revents != 0 ? from_host(b) : ok;
}

int
ssh_agent_main(const char *path)
{
	static struct bridge b;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN); /* the end of standard input says the same */
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		b.slots[i].fd = -1;
	b.listener = listen_at(path);
	if (b.listener < 0) {
		fprintf(stderr, "'%s': %s\n", path, strerror(-b.listener));
		return 1;
	}
	while (step(&b))
		;
	return 0;
}
