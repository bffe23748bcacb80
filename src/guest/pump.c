/*
 * How this works: five threads carry FUSE messages between /dev/fuse and the port.
 *
 *   up     one request per read(2) of /dev/fuse, written whole to the port
 *   down   cuts the port's bytes into messages; replies go to /dev/fuse at once, notifications
 *          (unique 0) into a queue
 *   notes  writes the notifications: the kernel takes an inode's or a page's lock for one, and
 *          whoever holds that may be waiting for a reply, so they must never stand in the way of
 *          replies (but of some to those who hold none: queue_reply)
 *   again  when the host has replaced its fs role (wire/fuse_line.h): answers the mark and sends
 *          what has no reply yet once more, while replies are being taken
 *   keep   opens on the host what was opened here and stays open, and the like (answers_keep)
 *
 * What the host has told ahead is answered without it. The lock around that is held until the reply
 * is with the kernel, so that a notification about the same file comes behind it.
 *
 * No thread touches the mount itself. Where a page of this process had to be written back through
 * the mount before a thread could go on, nothing would ever move again: memory is locked as it is
 * touched, and the threads are marked as those that free memory (PR_SET_IO_FLUSHER). When the port
 * is lost the connection is aborted: whoever uses the mount gets an error instead of waiting for
 * ever.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/io.h>
#include <base/log.h>
#include <base/mem.h>
#include <base/str.h>
#include <wire/fuse.h>
#include <wire/fuse_line.h>

#include "answers.h"
#include "fusemount.h"
#include "guest.h"
#include "near.h"
#include "pending.h"

#define STACK_SIZE    (128u << 10)
#define READ_SIZE     (64u << 10)
#define NOTES_MAX     (32u << 20)
#define NOTES_WAIT_S  30
#define KEEP_ROUND_MS 100
#define NOTED         1024 /* inodes share these by their numbers */

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

struct pump {
	int port_fd;
	struct fuse_mount mount;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* notes, going, restarted or stopped */
	struct buf notes;
	uint32_t noted[NOTED]; /* notifications about these inodes that the kernel has not had */
	bool going;
	bool stopped;
	bool restarted; /* a mark has come and is not answered */
	uint8_t nonce[FUSE_LINE_NONCE];
	struct pending pending;
	struct near near; /* pump_up's */
	/* Taken after pending.sending; nothing else is taken within it. */
	pthread_mutex_t answers_lock;
	pthread_cond_t keep; /* answers_has_more */
	struct answers answers;
	struct buf reply; /* pump_up's */
};

static void
stop(struct pump *p, const char *why, int code)
{
	bool first, unmounted = code == ENODEV;

	pthread_mutex_lock(&p->lock);
	first = !p->stopped;
	p->stopped = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	if (!first || unmounted)
		return;
	log_warn("workspaces: %s%s%s", why, code != 0 ? ": " : "", code != 0 ? strerror(code) : "");
	fuse_mount_abort(&p->mount);
}

/* poll(2) only where the descriptor is non-blocking and has nothing: one call less per message. */
static int
wait_fd(int fd, short events)
{
	struct pollfd p = {fd, events, 0};

	while (poll(&p, 1, -1) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int
write_all(int fd, const uint8_t *at, size_t n)
{
	while (n > 0) {
		ssize_t put = write(fd, at, n);

		if (put < 0 && errno == EAGAIN && wait_fd(fd, POLLOUT) == 0)
			continue;
		if (put < 0 && errno != EINTR)
			return -errno;
		if (put > 0) {
			at += put;
			n -= (size_t)put;
		}
	}
	return 0;
}

static ssize_t
read_some(int fd, void *p, size_t n)
{
	for (;;) {
		ssize_t got = read(fd, p, n);

		if (got >= 0)
			return got;
		if (errno == EAGAIN && wait_fd(fd, POLLIN) == 0)
			continue;
		if (errno != EINTR)
			return -errno;
	}
}

static enum answers_what
answer_here(struct pump *p, uint8_t *msg, size_t n)
{
	enum answers_what what;

	pthread_mutex_lock(&p->answers_lock);
	what = answers_request(&p->answers, msg, n, clock_mono_ms(), &p->reply);
	/* ENOENT: interrupted meanwhile. */
	if (p->reply.len > 0 && write(p->mount.fd, p->reply.data, p->reply.len) < 0 &&
		errno != ENOENT)
		log_debug("workspaces: a reply of our own: %s", strerror(errno));
	buf_clear(&p->reply);
	if (answers_has_more(&p->answers))
		pthread_cond_signal(&p->keep);
	pthread_mutex_unlock(&p->answers_lock);
	return what;
}

static int
send_up(void *arg, const uint8_t *msg, size_t n)
{
	struct pump *p = arg;

	pthread_mutex_lock(&p->answers_lock);
	answers_sending(&p->answers, msg, n);
	if (answers_has_more(&p->answers))
		pthread_cond_signal(&p->keep);
	pthread_mutex_unlock(&p->answers_lock);
	return write_all(p->port_fd, msg, n);
}

/* A new request; its reply will show whether it has arrived. */
static int
send_new(struct pump *p, uint8_t **msg, size_t n)
{
	const uint8_t *at = *msg;
	struct fuse_in_header h;
	int r;

	memcpy(&h, at, sizeof(h));
	pthread_mutex_lock(&p->pending.sending);
	/* Sent from where it is: whoever takes a buffer over leaves it as it is. */
	if (h.opcode == FUSE_INTERRUPT)
		pending_interrupt(&p->pending, at, n);
	else if (!fuse_request_is_oneway(h.opcode) && h.unique != 0)
		pending_add(&p->pending, msg, n);
	else if (!fuse_request_is_oneway(h.opcode)) /* RELEASE: locks hang on it */
		pending_add_unanswered(&p->pending, msg, n);
	r = send_up(p, at, n);
	pthread_mutex_unlock(&p->pending.sending);
	return r;
}

static void
begin_thread(const char *name)
{
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	prctl(PR_SET_NAME, name, 0, 0, 0);
	near_above_programs();
}

static void
wait_go(struct pump *p)
{
	pthread_mutex_lock(&p->lock);
	while (!p->going)
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

/* What the host has to have before the message that answer_here wants to be sent; in *buffer. */
static int
send_first(struct pump *p, uint8_t **buffer)
{
	/* Of this thread alone: answers_request writes it. */
	size_t n = p->answers.first.len;

	if (n == 0)
		return 0;
	memcpy(*buffer, p->answers.first.data, n);
	buf_clear(&p->answers.first);
	return send_new(p, buffer, n);
}

static void *
pump_up(void *arg)
{
	struct pump *p = arg;
	uint8_t *msg = pending_buffer(&p->pending), *first = pending_buffer(&p->pending);

	begin_thread("fs-up");
	wait_go(p);
	for (;;) {
		ssize_t n = read_some(p->mount.fd, msg, FUSE_WIRE_MSG_MAX);
		struct fuse_in_header h;
		enum answers_what what;
		int r;

		if (n == -ENOENT) /* interrupted before it was read */
			continue;
		if (n < (ssize_t)sizeof(h)) {
			stop(p, "file system is gone", n < 0 ? (int)-n : 0);
			return NULL;
		}
		memcpy(&h, msg, sizeof(h));
		near_request(&p->near, h.pid);
		what = answer_here(p, msg, (size_t)n);
		if (what == ANSWERS_REPLY || what == ANSWERS_KEPT)
			continue;
		r = send_first(p, &first);
		if (r == 0)
			r = send_new(p, &msg, (size_t)n);
		if (r < 0) {
			stop(p, "port is lost", -r);
			return NULL;
		}
	}
}

static bool
is_restarted(void *arg)
{
	struct pump *p = arg;
	bool yes;

	pthread_mutex_lock(&p->lock);
	yes = p->restarted;
	pthread_mutex_unlock(&p->lock);
	return yes;
}

/* The next mark, whose answer is put into out. False: the end. */
static bool
wait_restart(struct pump *p, struct buf *out)
{
	bool go;

	pthread_mutex_lock(&p->lock);
	while (!p->restarted && !p->stopped)
		pthread_cond_wait(&p->changed, &p->lock);
	go = !p->stopped;
	p->restarted = false;
	fuse_line_answer(out, p->nonce);
	pthread_mutex_unlock(&p->lock);
	return go;
}

static void *
pump_again(void *arg)
{
	struct pump *p = arg;
	int r = 0;

	begin_thread("fs-again");
	while (r == 0) {
		CLEAN_BUF struct buf answer = BUF_INIT;

		if (!wait_restart(p, &answer))
			return NULL;
		log_warn("workspaces: the host has started its file server again");
		pthread_mutex_lock(&p->pending.sending);
		r = write_all(p->port_fd, answer.data, answer.len);
		pthread_mutex_lock(&p->answers_lock);
		answers_restart(&p->answers);
		pthread_mutex_unlock(&p->answers_lock);
		if (r == 0)
			r = pending_again(&p->pending, send_up, is_restarted, p);
		pthread_mutex_unlock(&p->pending.sending);
	}
	stop(p, "port is lost", -r);
	return NULL;
}

/*
 * Room in the queue; p->lock is held. Waiting for it holds up replies, one of which the queue may
 * be waiting for in turn: so not for ever. False: it is no use any more.
 */
static bool
wait_for_room(struct pump *p)
{
	struct timespec end;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += NOTES_WAIT_S;
	while (p->notes.len > NOTES_MAX && !p->stopped && r == 0)
		r = pthread_cond_timedwait(&p->changed, &p->lock, &end);
	return r == 0 && !p->stopped;
}

/* The inode that a notification is about, as its place in p->noted; NULL: about none. */
static uint32_t *
noted_of(struct pump *p, const uint8_t *msg, size_t n)
{
	struct fuse_notify_inval_inode_out note;
	struct fuse_out_header h;

	memcpy(&h, msg, sizeof(h));
	if (h.unique != 0 || h.error != FUSE_NOTIFY_INVAL_INODE || n < sizeof(h) + sizeof(note))
		return NULL;
	memcpy(&note, msg + sizeof(h), sizeof(note));
	return &p->noted[note.ino % NOTED];
}

static bool
queue_note(struct pump *p, const uint8_t *msg, size_t n)
{
	uint32_t *noted = noted_of(p, msg, n);
	bool room;

	pthread_mutex_lock(&p->lock);
	room = wait_for_room(p);
	if (room)
		buf_append(&p->notes, msg, n);
	if (room && noted != NULL)
		++*noted;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	return room;
}

/*
 * The reply to an open goes behind what was to be said of the file before. The program asks next
 * how long it is, and the kernel throws the answer away when a notification comes in between.
 * Nobody who is opening a file holds what a notification may wait for. False: there is nothing.
 */
static bool
queue_reply(struct pump *p, const struct fuse_in_header *request, const uint8_t *msg, size_t n)
{
	bool behind;

	if (request->opcode != FUSE_OPEN)
		return false;
	pthread_mutex_lock(&p->lock);
	behind = p->noted[request->nodeid % NOTED] > 0;
	if (behind)
		buf_append(&p->notes, msg, n);
	pthread_mutex_unlock(&p->lock);
	return behind;
}

/* False: the file system is gone. ENOENT: the kernel has long forgotten what this is about. */
static bool
give_note(struct pump *p, const uint8_t *msg, size_t n)
{
	struct fuse_out_header reply;

	if (fuse_line_is_reply(msg, n, &reply)) {
		if (!pending_remove(&p->pending, reply.unique, NULL))
			return true;
		msg = (const uint8_t *)&reply;
		n = sizeof(reply);
	}
	return write(p->mount.fd, msg, n) >= 0 || errno != ENODEV;
}

static void *
pump_notes(void *arg)
{
	struct pump *p = arg;

	begin_thread("fs-notes");
	for (;;) {
		CLEAN_BUF struct buf batch = BUF_INIT;
		ssize_t n;

		pthread_mutex_lock(&p->lock);
		while (p->notes.len == 0 && !p->stopped)
			pthread_cond_wait(&p->changed, &p->lock);
		batch = p->notes;
		p->notes = (struct buf)BUF_INIT;
		pthread_cond_broadcast(&p->changed);
		pthread_mutex_unlock(&p->lock);
		if (batch.len == 0)
			return NULL;
		while ((n = fuse_wire_peek(&batch, sizeof(struct fuse_out_header))) > 0) {
			uint32_t *noted = noted_of(p, batch.data, (size_t)n);

			if (!give_note(p, batch.data, (size_t)n))
				return NULL;
			if (noted != NULL) {
				pthread_mutex_lock(&p->lock);
				--*noted;
				pthread_mutex_unlock(&p->lock);
			}
			buf_consume(&batch, (size_t)n);
		}
	}
}

static bool
is_for_us(struct pump *p, const uint8_t *msg, size_t n)
{
	struct fuse_out_header h;
	bool ours;

	memcpy(&h, msg, sizeof(h));
	pthread_mutex_lock(&p->answers_lock);
	ours = h.unique == 0 ? answers_note(&p->answers, msg, n)
			     : answers_reply(&p->answers, msg, n);
	if (answers_has_more(&p->answers))
		pthread_cond_signal(&p->keep);
	pthread_mutex_unlock(&p->answers_lock);
	return ours;
}

/* One message from the host. ENOENT: its request was interrupted. 0, or the errno that ends it. */
static int
deliver(struct pump *p, const uint8_t *msg, size_t n)
{
	struct fuse_out_header h;
	struct fuse_in_header request;
	bool ours = is_for_us(p, msg, n);

	memcpy(&h, msg, sizeof(h));
	if (h.unique == 0)
		return ours || queue_note(p, msg, n) ? 0 : ETIMEDOUT;
	/* A second reply, from before and after a restart, is one too many. */
	if (!pending_remove(&p->pending, h.unique, &request) || ours ||
		queue_reply(p, &request, msg, n))
		return 0;
	if (write(p->mount.fd, msg, n) < 0 && errno != ENOENT) {
		if (errno == ENODEV)
			return ENODEV;
		log_warn("workspaces: a reply was refused: %s", strerror(errno));
	}
	return 0;
}

/* Waits until there is something to do, then for its time. False: the end. */
static bool
wait_keep(struct pump *p, struct buf *out)
{
	const struct timespec round = {0, KEEP_ROUND_MS * 1000000L};
	bool any;

	pthread_mutex_lock(&p->answers_lock);
	while (!answers_has_more(&p->answers))
		pthread_cond_wait(&p->keep, &p->answers_lock);
	pthread_mutex_unlock(&p->answers_lock);
	nanosleep(&round, NULL);
	do {
		pthread_mutex_lock(&p->answers_lock);
		any = answers_keep(&p->answers, clock_mono_ms(), out);
		pthread_mutex_unlock(&p->answers_lock);
	} while (any);
	pthread_mutex_lock(&p->lock);
	any = !p->stopped;
	pthread_mutex_unlock(&p->lock);
	return any;
}

static void *
pump_keep(void *arg)
{
	struct pump *p = arg;
	uint8_t *msg = pending_buffer(&p->pending);
	CLEAN_BUF struct buf out = BUF_INIT;
	ssize_t n;

	begin_thread("fs-keep");
	while (wait_keep(p, &out)) {
		while ((n = fuse_wire_peek(&out, sizeof(struct fuse_in_header))) > 0) {
			memcpy(msg, out.data, (size_t)n);
			buf_consume(&out, (size_t)n);
			if (send_new(p, &msg, (size_t)n) < 0)
				return NULL;
		}
	}
	return NULL;
}

static void
restart(struct pump *p, const uint8_t nonce[FUSE_LINE_NONCE])
{
	pthread_mutex_lock(&p->lock);
	memcpy(p->nonce, nonce, sizeof(p->nonce));
	p->restarted = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

/* What is whole in the buffer. False: it has stopped. */
static bool
take_down(struct pump *p, struct fuse_line *line, struct buf *in)
{
	uint8_t nonce[FUSE_LINE_NONCE];
	enum fuse_line_event ev;
	size_t n = 0;
	int e = 0;

	while (e == 0 && (ev = fuse_line_next(line, in, &n, nonce)) != FUSE_LINE_MORE) {
		if (ev == FUSE_LINE_BROKEN) {
			stop(p, "nonsense from the port", 0);
			return false;
		}
		if (ev == FUSE_LINE_RESTART) {
			restart(p, nonce);
			continue;
		}
		e = deliver(p, in->data, n);
		fuse_line_took(in, n);
	}
	if (e != 0)
		stop(p, "invalidations are stuck", e);
	return e == 0;
}

static void *
pump_down(void *arg)
{
	struct pump *p = arg;
	CLEAN_BUF struct buf in = BUF_INIT;
	struct fuse_line line = {0};

	begin_thread("fs-down");
	near_down(&p->near);
	wait_go(p);
	for (;;) {
		ssize_t n = read_some(p->port_fd, buf_reserve(&in, READ_SIZE), READ_SIZE);

		if (n <= 0) {
			stop(p, "port is lost", (int)-n);
			return NULL;
		}
		buf_commit(&in, (size_t)n);
		if (!take_down(p, &line, &in))
			return NULL;
	}
}

static int
start_thread(void *(*run)(void *), struct pump *p)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t t;
	int r;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&t, &attr, run, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return r;
}

static struct pump *
pump_new(int port_fd)
{
	struct pump *p = xcalloc(1, sizeof(*p));

	p->port_fd = port_fd;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	pthread_mutex_init(&p->answers_lock, NULL);
	pthread_cond_init(&p->keep, NULL);
	answers_init(&p->answers);
	pending_init(&p->pending);
	near_init(&p->near);
	return p;
}

int
guest_pump_start(int port_fd, const char *mountpoint, struct pump **ret, struct err *e)
{
	void *(*const threads[])(void *) = {pump_up, pump_down, pump_notes, pump_again, pump_keep};
	struct pump *p = pump_new(port_fd);
	int r = fuse_mount_open(&p->mount, mountpoint, e);

	if (r < 0) {
		free(p);
		return r;
	}
	/* As it is touched, or 20 sessions' worth of stacks and libraries would be. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		log_debug("workspaces: mlockall: %s", strerror(errno));
	/* From here on p belongs to the threads, which live as long as the process. */
	for (size_t k = 0; k < ARRAY_LEN(threads); k++) {
		r = start_thread(threads[k], p);
		if (r != 0) {
			stop(p, "cannot start a thread", r);
			return err_sys(e, r, "start a thread for the workspaces");
		}
	}
	*ret = p;
	return 0;
}

void
guest_pump_go(struct pump *p)
{
	pthread_mutex_lock(&p->lock);
	p->going = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}
