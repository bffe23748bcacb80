/*
 * How this works: one poll loop over standard input, the session's socket and the signals that
 * matter (window size, end). The terminal is raw for as long as the loop runs and is restored on
 * every way out, SIGTERM and SIGHUP included. Input goes out only while the socket takes it, output
 * is written before more is read: nothing piles up. What the guest says is parsed by wire/frame.h.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/io.h>
#include <supervisor/supervisor.h>
#include <wire/session.h>

#include "cli.h"

#define OUT_HIGH (256 * 1024)

struct session {
	const struct terminal_options *o;
	int fd, sig_fd;
	struct termios saved;
	bool raw, stdin_done, stopped, detached;
	struct buf out, in;
	unsigned char keys[8]; /* that detach */
	size_t nkeys, matched;
	int status; /* the exit code once known, else -1 */
	struct err *e;
};

static void
raw_on(struct session *s)
{
	struct termios t;

	/* Nobody reads the keys without -i: Ctrl-C stays the terminal's, and is passed on as a
	 * signal. */
	if (!s->o->tty || !s->o->stdin_open || tcgetattr(STDIN_FILENO, &s->saved) < 0)
		return;
	t = s->saved;
	cfmakeraw(&t);
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &t) == 0)
		s->raw = true;
}

static void
raw_off(struct session *s)
{
	if (s->raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &s->saved);
	s->raw = false;
}

int
terminal_detach_keys_parse(const char *text, unsigned char out[8], size_t *ret_n, struct err *e)
{
	size_t n = 0;

	for (const char *p = text; *p != '\0';) {
		size_t len = strcspn(p, ",");
		unsigned char k;

		if (len == 1)
			k = (unsigned char)*p;
		else if (len == 6 && strncmp(p, "ctrl-", 5) == 0 &&
			 ((p[5] >= 'a' && p[5] <= 'z') || strchr("@[\\]^_", p[5]) != NULL))
			k = p[5] & 0x1f;
		else
			return usage_error(e,
				"--detach-keys '%s': write letters or ctrl-a to ctrl-z, ctrl-@, "
				"ctrl-[, "
				"ctrl-\\, ctrl-], ctrl-^, ctrl-_, separated by commas",
				text);
		if (n == 8)
			return usage_error(e, "--detach-keys: at most 8 keys");
		out[n++] = k;
		p += len + (p[len] == ',');
	}
	*ret_n = n;
	return 0;
}

static void
send_winsize(struct session *s)
{
	struct winsize w;

	if (s->o->tty && ioctl(STDIN_FILENO, TIOCGWINSZ, &w) == 0)
		session_put_winsize(&s->out, w.ws_row, w.ws_col);
}

/*
 * Passes input on but for the keys that detach. A beginning of them is held back until it is
 * either completed or turns out to be something else.
 */
static void
feed_input(struct session *s, const unsigned char *p, size_t n)
{
	CLEAN_BUF struct buf data = BUF_INIT;

	for (size_t i = 0; i < n && !s->detached; i++) {
		if (s->o->tty && s->nkeys > 0 && p[i] == s->keys[s->matched]) {
			s->detached = ++s->matched == s->nkeys;
			continue;
		}
		buf_append(&data, s->keys, s->matched);
		s->matched = 0;
		if (s->o->tty && s->nkeys > 0 && p[i] == s->keys[0]) {
			s->detached = ++s->matched == s->nkeys;
			continue;
		}
		buf_append(&data, &p[i], 1);
	}
	while (data.len > 0) {
		size_t part = data.len < FRAME_CHUNK ? data.len : FRAME_CHUNK;

		frame_put(&s->out, SESSION_STDIN, data.data, part);
		buf_consume(&data, part);
	}
}

static void
read_stdin(struct session *s)
{
	unsigned char chunk[FRAME_CHUNK];
	ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));

	if (n > 0) {
		feed_input(s, chunk, (size_t)n);
	} else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
		frame_put(&s->out, SESSION_STDIN_EOF, NULL, 0);
		s->stdin_done = true;
	}
}

/*
 * A reader that left (head) ends the command as it would end any other, or `yes | head` would go on
 * for ever in there. Nobody misses what a closed standard error does not get.
 */
static int
write_output(struct session *s, int fd, const struct frame *f)
{
	int r = io_write_full(fd, f->p, f->n, UINT64_MAX);

	if (r == 0 || fd != STDOUT_FILENO)
		return 0;
	if (r != -EPIPE)
		return err_sys(s->e, -r, "write to standard output");
	s->status = 128 + SIGPIPE;
	return 1;
}

static int
handle_error(struct session *s, const struct frame *f)
{
	char text[ERR_MSG_MAX - 1];

	str_escape(f->n > 1 ? (const char *)f->p + 1 : "", f->n > 1 ? f->n - 1 : 0, text,
		sizeof(text));
	s->status = f->n > 0 ? f->p[0] : EXIT_OURS;
	raw_off(s);
	fprintf(stderr, "paddock: %s\n", text);
	return 1;
}

/* 1: the session is over */
static int
handle_frame(struct session *s, const struct frame *f)
{
	switch (f->type) {
	case SESSION_STARTED:
		return 0;
	case SESSION_STDOUT:
		return write_output(s, STDOUT_FILENO, f);
	case SESSION_STDERR:
		return write_output(s, STDERR_FILENO, f);
	case SESSION_EXIT:
		s->status = f->n == 1 ? f->p[0] : EXIT_OURS;
		return 1;
	case SESSION_ERROR:
		return handle_error(s, f);
	default:
		return err_set(s->e, EBADMSG, "the guest does not keep to the protocol (frame %u)",
			f->type);
	}
}

static int
read_socket(struct session *s)
{
	struct frame f;
	ssize_t n = buf_read_fd(&s->in, s->fd, 65536);
	int r;

	if (n == -EAGAIN)
		return 0;
	while ((r = frame_peek(&s->in, &f)) > 0) {
		r = handle_frame(s, &f);
		if (r != 0)
			return r;
		buf_consume(&s->in, FRAME_HEAD + f.n);
	}
	if (r < 0)
		return err_set(s->e, EBADMSG, "the guest does not keep to the protocol (length)");
	if (n <= 0)
		return err_set(s->e, EPIPE,
			"the connection to sandbox '%s' ended: see paddock inspect %s", s->o->name,
			s->o->name);
	return 0;
}

static void
tell_detached(struct session *s)
{
	raw_off(s);
	/* What the program has drawn below its cursor would stand behind the prompt (ECMA-48, ED).
	 */
	if (isatty(STDERR_FILENO))
		fputs("\r\n\033[J", stderr);
	if (!s->o->quiet)
		fprintf(stderr, "detached: take it up again with: paddock attach %s\n", s->o->name);
}

static int
handle_signal(struct session *s)
{
	struct signalfd_siginfo si;
	uint8_t number;

	if (read(s->sig_fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return 0;
	if (si.ssi_signo == SIGWINCH) {
		send_winsize(s);
		return 0;
	}
	if (!s->raw && si.ssi_signo != SIGHUP) {
		/* The program decides what it means; a second one in a row is for us. */
		number = (uint8_t)si.ssi_signo;
		frame_put(&s->out, SESSION_SIGNAL, &number, 1);
		if (!s->stopped) {
			s->stopped = true;
			return 0;
		}
	}
	if (s->o->tty)
		tell_detached(s);
	s->status = 128 + (int)si.ssi_signo;
	return 1;
}

static int
loop_once(struct session *s)
{
	bool want_stdin = s->o->stdin_open && !s->stdin_done && s->out.len < OUT_HIGH;
	struct pollfd p[] = {{.fd = want_stdin ? STDIN_FILENO : -1, .events = POLLIN},
		{.fd = s->fd, .events = (short)(POLLIN | (s->out.len > 0 ? POLLOUT : 0))},
		{.fd = s->sig_fd, .events = POLLIN}};
	int r = 0;

	if (poll(p, ARRAY_LEN(p), -1) < 0)
		return errno == EINTR ? 0 : err_sys(s->e, errno, "poll");
	if (p[2].revents != 0)
		r = handle_signal(s);
	if (r == 0 && p[0].revents != 0)
		read_stdin(s);
	if (r == 0 && (p[1].revents & POLLOUT)) {
		ssize_t n = buf_write_fd(&s->out, s->fd);

		/* The guest may have said why before it hung up: that is read below. */
		if (n < 0 && n != -EAGAIN)
			buf_clear(&s->out);
	}
	if (r == 0 && (p[1].revents & (POLLIN | POLLHUP | POLLERR)))
		r = read_socket(s);
	return r;
}

/* What is still in flight reaches the guest before the client leaves. */
static void
say_goodbye(struct session *s)
{
	io_write_full(s->fd, s->out.data, s->out.len, deadline_in_ms(1000));
	buf_clear(&s->out);
	tell_detached(s);
	s->status = 0;
}

static int
signals_open(struct session *s, sigset_t *old)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigprocmask(SIG_BLOCK, &set, old);
	s->sig_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->sig_fd < 0 ? err_sys(s->e, errno, "signals") : 0;
}

static int
parse_detach_keys(
	const struct terminal_options *o, unsigned char out[8], size_t *ret_n, struct err *e)
{
	return terminal_detach_keys_parse(
		o->detach_keys != NULL ? o->detach_keys : "ctrl-p,ctrl-q", out, ret_n, e);
}

int
terminal_options_check(const struct terminal_options *o, struct err *e)
{
	unsigned char keys[8];
	size_t n;

	return parse_detach_keys(o, keys, &n, e);
}

int
terminal_run(int fd, const struct buf *open_frame, const struct terminal_options *o, struct err *e)
{
	struct session s = {.o = o, .fd = fd, .sig_fd = -1, .status = -1, .e = e};
	sigset_t old;
	int r = parse_detach_keys(o, s.keys, &s.nkeys, e);

	if (r == 0)
		r = signals_open(&s, &old);
	if (r < 0) {
		close(fd);
		return r;
	}
	io_set_nonblock(fd, true);
	buf_append(&s.out, open_frame->data, open_frame->len);
	raw_on(&s);
	while (r == 0 && !s.detached)
		r = loop_once(&s);
	if (s.detached)
		say_goodbye(&s);
	raw_off(&s);
	sigprocmask(SIG_SETMASK, &old, NULL);
	buf_release(&s.out);
	buf_release(&s.in);
	close(s.sig_fd);
	close(fd);
	return r < 0 ? r : s.status;
}

int
terminal_session(struct cli *c, const char *name, struct session_open *open,
	const struct terminal_options *o, struct err *e)
{
	CLEAN_BUF struct buf payload = BUF_INIT, frame = BUF_INIT;
	struct winsize w;
	int fd;

	if (o->tty && ioctl(STDIN_FILENO, TIOCGWINSZ, &w) == 0) {
		open->rows = w.ws_row;
		open->cols = w.ws_col;
	}
	session_open_encode(open, &payload);
	if (payload.len > FRAME_MAX)
		return err_set(e, E2BIG, "the command and its environment are larger than 1 MiB");
	frame_put(&frame, SESSION_OPEN, payload.data, payload.len);
	fd = supervisor_session(&c->paths, name, e);
	if (fd < 0)
		return fd;
	return terminal_run(fd, &frame, o, e);
}
