/*
 * How this works: one poll loop over the session's socket. OPEN and the input wait in a buffer that
 * goes out as the socket takes it, while output comes in; it ends with EXIT, ERROR, the limit, or
 * the caller's descriptor. What the guest says is parsed by wire/frame.h and cut into bounded
 * lines.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <supervisor/supervisor.h>
#include <wire/session.h>

#include "cli.h"

#define LINE_LIMIT 500
#define READ_CHUNK 65536

struct run {
	const struct guest_job *j;
	int fd;
	struct buf out, in, lines[2]; /* lines: of standard output and error, not yet ended */
	int status;                   /* -1 as long as it runs */
	struct err *e;
};

static void
end_line(struct run *r, struct buf *line)
{
	char shown[LINE_LIMIT * 4 + 1];

	/* A carriage return is how progress bars begin anew: what stands behind it counts. */
	str_escape((const char *)line->data, line->len, shown, sizeof(shown));
	if (line->len > 0 && r->j->line != NULL)
		r->j->line(r->j->arg, shown);
	buf_clear(line);
}

static void
take_output(struct run *r, struct buf *line, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\n' || p[i] == '\r' || line->len == LINE_LIMIT)
			end_line(r, line);
		if (p[i] != '\n' && p[i] != '\r')
			buf_append(line, &p[i], 1);
	}
}

static int
take_frames(struct run *r)
{
	struct frame f;
	int more;

	while ((more = frame_peek(&r->in, &f)) > 0 && r->status < 0) {
		if (f.type == SESSION_STDOUT || f.type == SESSION_STDERR)
			take_output(r, &r->lines[f.type == SESSION_STDERR], f.p, f.n);
		if (f.type == SESSION_EXIT && f.n == 1)
			r->status = f.p[0];
		if (f.type == SESSION_ERROR && f.n >= 1)
			return err_set(r->e, EIO, "%.*s", (int)(f.n > 200 ? 200 : f.n - 1),
				(const char *)f.p + 1);
		buf_consume(&r->in, FRAME_HEAD + f.n);
	}
	return more < 0 ? err_set(r->e, EBADMSG, "the sandbox does not speak as it should") : 0;
}

static int
step(struct run *r, uint64_t deadline)
{
	struct pollfd p[2] = {
		{.fd = r->fd, .events = POLLIN}, {.fd = r->j->cancel_fd, .events = POLLIN}};
	uint64_t left = deadline_left_ms(deadline);
	ssize_t n;

	if (r->out.len > 0)
		p[0].events |= POLLOUT;
	if (left == 0)
		return err_set(r->e, ETIMEDOUT, "no end within %llu minutes",
			(unsigned long long)r->j->limit_ms / 60000);
	if (poll(p, 2, left > 1000 ? 1000 : (int)left) < 0 && errno != EINTR)
		return err_sys(r->e, errno, "poll");
	if (p[1].revents & POLLIN)
		return err_set(r->e, ECANCELED, "interrupted");
	if (p[0].revents & POLLOUT && r->out.len > 0) {
		n = buf_write_fd(&r->out, r->fd);
		if (n < 0 && n != -EAGAIN)
			return err_set(r->e, EPIPE, "the sandbox ended");
	}
	if ((p[0].revents & (POLLIN | POLLHUP | POLLERR)) == 0)
		return 0;
	n = buf_read_fd(&r->in, r->fd, READ_CHUNK);
	if (n == -EAGAIN)
		return 0;
	return n <= 0 ? err_set(r->e, EPIPE, "the sandbox ended") : take_frames(r);
}

static void
put_input(struct buf *out, const uint8_t *p, size_t n)
{
	while (n > 0) {
		size_t chunk = n > FRAME_CHUNK ? FRAME_CHUNK : n;

		frame_put(out, SESSION_STDIN, p, chunk);
		p += chunk;
		n -= chunk;
	}
	frame_put(out, SESSION_STDIN_EOF, NULL, 0);
}

static void
put_open(const struct guest_job *j, struct buf *out)
{
	CLEAN_BUF struct buf payload = BUF_INIT;
	/* Borrowed: the job's own vectors and texts. */
	struct session_open o = {.op = SESSION_OP_EXEC,
		.argv = j->argv,
		.env = j->env,
		.cwd = (char *)j->cwd,
		.user = (char *)j->user,
		.stdin_open = j->input != NULL};

	session_open_encode(&o, &payload);
	frame_put(out, SESSION_OPEN, payload.data, payload.len);
	if (j->input != NULL)
		put_input(out, j->input, j->ninput);
}

int
guest_run(const struct cli *c, const char *name, const struct guest_job *j, struct err *e)
{
	CLEAN_CLOSE int fd = supervisor_session(&c->paths, name, e);
	uint64_t deadline = deadline_in_ms(j->limit_ms);
	struct run run = {.j = j, .fd = fd, .status = -1, .e = e};
	int r = fd < 0 ? fd : io_set_nonblock(fd, true);

	if (r == 0)
		put_open(j, &run.out);
	while (r == 0 && run.status < 0)
		r = step(&run, deadline);
	for (size_t i = 0; i < ARRAY_LEN(run.lines); i++) {
		end_line(&run, &run.lines[i]);
		buf_release(&run.lines[i]);
	}
	buf_release(&run.out);
	buf_release(&run.in);
	return r < 0 ? r : run.status;
}
