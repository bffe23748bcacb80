#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/mem.h>

#include "relay.h"
#include "sock.h"
#include "watch.h"

/*
 * How this works. Each direction moves bytes from its source through a pipe to its sink. A
 * direction is in one of these states:
 *   reading   nothing in flight, no pipe lent; the source is watched for reading
 *   blocked   bytes are in the pipe and the sink is full; the sink is watched for writing and the
 *             source is not read: the source's sender feels that through TCP's window
 *   finished  the source reached its end, everything was delivered, the sink was shut down
 * Invariant: more is read only when the pipe is empty. So EAGAIN from the source never means "the
 * pipe is full", and a pipe that goes back to the pool holds no byte of this connection.
 * While the guest is held, its direction does not move at all.
 * The relay ends when both directions are finished. Any error resets both sides: a reset is passed
 * on as a reset, never as a clean end.
 */

enum {
	SPLICE_MAX = 1 << 20,
	/* Rounds per wake-up, so that one fast connection leaves the loop to the others. */
	ROUNDS = 8,
};

struct side {
	int fd;
	struct watch *watch;
};

struct direction {
	struct side *from, *to;
	struct pipe_pair pipe;
	size_t in_flight;
	uint64_t total;
	bool finished;
};

struct relay {
	struct pipes *pipes;
	struct side guest, remote;
	struct direction up, down;
	bool broken;         /* a reset is on its way: an end that is read now is none */
	relay_hold_fn *hold; /* NULL: the guest's direction is open */
	relay_fn *done;
	void *arg;
};

enum pump { PUMP_WAIT, PUMP_RESET, PUMP_FAILED };

static void
give_pipe(struct relay *r, struct direction *d)
{
	if (d->pipe.read_fd >= 0)
		pipes_give(r->pipes, &d->pipe, d->in_flight == 0);
}

enum dispose { DISPOSE_CLOSE, DISPOSE_RESET, DISPOSE_KEEP };

static void
dispose(struct relay *r, enum dispose how)
{
	struct side *sides[] = {&r->guest, &r->remote};

	give_pipe(r, &r->up);
	give_pipe(r, &r->down);
	for (size_t i = 0; i < 2; i++) {
		watch_free(sides[i]->watch);
		if (how == DISPOSE_RESET)
			sock_reset(sides[i]->fd);
		else if (how == DISPOSE_CLOSE)
			close(sides[i]->fd);
	}
	free(r);
}

static ssize_t
move(int from, int to, size_t n)
{
	ssize_t moved;

	do
		moved = splice(from, NULL, to, NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	while (moved < 0 && errno == EINTR);
	return moved < 0 ? -errno : moved;
}

/* From the pipe to the sink. 1: the pipe is empty; 0: the sink is full; -errno. */
static int
drain(struct direction *d)
{
	while (d->in_flight > 0) {
		ssize_t n = move(d->pipe.read_fd, d->to->fd, d->in_flight);

		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n < 0 ? (int)n : -EPIPE;
		d->in_flight -= (size_t)n;
		d->total += (uint64_t)n;
	}
	return 1;
}

static enum pump
finish(struct direction *d)
{
	d->finished = true;
	/* ENOTCONN: the sink is gone in both directions already; the other one will notice. */
	if (shutdown(d->to->fd, SHUT_WR) < 0 && errno != ENOTCONN)
		return PUMP_RESET;
	return PUMP_WAIT;
}

/*
 * splice(2) stops in front of TCP's urgent byte and says EAGAIN for ever, while poll(2) says
 * readable. SO_OOBINLINE and one recv(2) lead past it; the byte goes on as an ordinary one.
 */
static ssize_t
read_past_urgent(struct direction *d)
{
	char bytes[1024];
	ssize_t n = recv(d->from->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	/* The pipe is empty and takes a page at least: never short. */
	return n > 0 ? write(d->pipe.write_fd, bytes, (size_t)n) : 0;
}

static enum pump
pump_rounds(struct relay *r, struct direction *d)
{
	for (int round = 0; round < ROUNDS; round++) {
		int drained = drain(d);
		ssize_t n;

		if (drained <= 0)
			return drained < 0 ? PUMP_RESET : PUMP_WAIT;
		if (d->pipe.read_fd < 0 && pipes_take(r->pipes, &d->pipe) < 0)
			return PUMP_FAILED;
		n = move(d->from->fd, d->pipe.write_fd, SPLICE_MAX);
		if (n == -EAGAIN && round == 0)
			n = read_past_urgent(d);
		if (n == -EAGAIN)
			return PUMP_WAIT;
		if (n < 0)
			return PUMP_RESET;
		if (n == 0)
			return r->broken ? PUMP_WAIT : finish(d);
		d->in_flight = (size_t)n;
	}
	return drain(d) < 0 ? PUMP_RESET : PUMP_WAIT;
}

static enum pump
pump(struct relay *r, struct direction *d)
{
	enum pump p;

	if (d->finished || (r->hold != NULL && d == &r->up))
		return PUMP_WAIT;
	p = pump_rounds(r, d);
	if (d->in_flight == 0)
		give_pipe(r, d);
	return p;
}

/*
 * out: the direction towards this side; in: the one from it. A side that has said all it had is
 * still watched for its death (epoll reports errors whatever was asked for): half-closed
 * connections would otherwise stay for ever. There can be no urgent data any more by then, so
 * UV_PRIORITIZED stands for "nothing but errors".
 */
static int
wanted(const struct direction *in, const struct direction *out)
{
	int events = in->finished ? UV_PRIORITIZED : 0;

	if (!in->finished && in->in_flight == 0)
		events |= UV_READABLE;
	if (out->in_flight > 0)
		events |= UV_WRITABLE;
	return events;
}

static void
end(struct relay *r, enum relay_end how)
{
	relay_fn *done = r->done;
	void *arg = r->arg;
	uint64_t up, down;

	/* A server that answers and resets (an upload refused half-way): its answer still counts.
	 */
	if (how == RELAY_RESET) {
		r->broken = true;
		(void)pump(r, &r->up);
		(void)pump(r, &r->down);
	}
	up = r->up.total;
	down = r->down.total;
	dispose(r, how == RELAY_DONE ? DISPOSE_CLOSE : DISPOSE_RESET);
	done(arg, how, up, down);
}

static void
advance(struct relay *r, enum pump first, enum pump second)
{
	if (first == PUMP_FAILED || second == PUMP_FAILED) {
		end(r, RELAY_FAILED);
		return;
	}
	if (first == PUMP_RESET || second == PUMP_RESET) {
		end(r, RELAY_RESET);
		return;
	}
	if (r->up.finished && r->down.finished) {
		end(r, RELAY_DONE);
		return;
	}
	watch_events(r->guest.watch, wanted(&r->up, &r->down));
	watch_events(r->remote.watch, wanted(&r->down, &r->up));
}

static bool
is_broken(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error != 0;
}

/*
 * events 0: the socket reports an error. What was received before it is delivered first, then
 * splice returns the error; a side that has nothing more to say must be asked for it.
 */
static void
on_side(struct relay *r, struct side *s, struct direction *in, struct direction *out, int events)
{
	enum pump first = PUMP_WAIT, second = PUMP_WAIT;

	if (events == 0 || (events & UV_READABLE))
		first = pump(r, in);
	if (events == 0 || (events & UV_WRITABLE))
		second = pump(r, out);
	if (events == 0 && in->finished && is_broken(s->fd))
		second = PUMP_RESET;
	advance(r, first, second);
}

/* True: the guest's direction is (still) held, or everything is gone. */
static bool
is_held(struct relay *r, int events)
{
	enum relay_hold h;

	if (r->hold == NULL)
		return false;
	/* An error ends the relay whether or not somebody has looked. */
	if (events == 0) {
		end(r, RELAY_RESET);
		return true;
	}
	if ((events & UV_READABLE) != 0) {
		h = r->hold(r->arg);
		if (h == RELAY_HOLD_GO)
			r->hold = NULL;
		if (h != RELAY_HOLD_MORE)
			return h == RELAY_HOLD_GONE;
	}
	if ((events & UV_WRITABLE) != 0)
		advance(r, PUMP_WAIT, pump(r, &r->down));
	return true;
}

static void
on_guest(void *arg, int events)
{
	struct relay *r = arg;

	if (is_held(r, events))
		return;
	on_side(r, &r->guest, &r->up, &r->down, events);
}

static void
on_remote(void *arg, int events)
{
	struct relay *r = arg;

	on_side(r, &r->remote, &r->down, &r->up, events);
}

struct relay *
relay_start(uv_loop_t *loop, struct pipes *pipes, int guest_fd, int remote_fd, relay_hold_fn *hold,
	relay_fn *done, void *arg)
{
	struct relay *r = xcalloc(1, sizeof(*r));

	*r = (struct relay){.pipes = pipes,
		.guest.fd = guest_fd,
		.remote.fd = remote_fd,
		.hold = hold,
		.done = done,
		.arg = arg};
	r->up = (struct direction){
		.from = &r->guest, .to = &r->remote, .pipe = {.read_fd = -1, .write_fd = -1}};
	r->down = (struct direction){
		.from = &r->remote, .to = &r->guest, .pipe = {.read_fd = -1, .write_fd = -1}};
	r->guest.watch = watch_new(loop, guest_fd, on_guest, r);
	r->remote.watch = watch_new(loop, remote_fd, on_remote, r);
	if (r->guest.watch == NULL || r->remote.watch == NULL) {
		dispose(r, DISPOSE_RESET);
		return NULL;
	}
	watch_events(r->guest.watch, UV_READABLE);
	watch_events(r->remote.watch, UV_READABLE);
	return r;
}

void
relay_cancel(struct relay *r)
{
	dispose(r, DISPOSE_RESET);
}

void
relay_unhold(struct relay *r)
{
	r->hold = NULL;
}

void
relay_detach(struct relay *r)
{
	dispose(r, DISPOSE_KEEP);
}

bool
relay_is_silent(const struct relay *r)
{
	return r->down.total == 0 && r->down.in_flight == 0 && !r->down.finished;
}

void
relay_totals(const struct relay *r, uint64_t *ret_up, uint64_t *ret_down)
{
	*ret_up = r->up.total;
	*ret_down = r->down.total;
}
