/*
 * How this works: one epoll set. A descriptor is in it while somebody wants events of it; one that
 * nobody wants is taken out, for epoll reports a hang-up even to those who asked for nothing and
 * would spin. Whatever is deleted while events are being handed out is only marked and freed
 * behind the round, so that a callback may delete anything, itself included.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/mem.h>

#include "loop.h"

#define ROUND_EVENTS 64

struct loop_io {
	struct loop *loop;
	int fd;
	uint32_t events; /* 0: not in the epoll set */
	bool dead;
	void (*cb)(void *arg, uint32_t events);
	void *arg;
	struct loop_io *next, **pprev;
	struct loop_io *next_dead;
};

struct loop_timer {
	uint64_t at_ms;
	void (*cb)(void *arg);
	void *arg;
	struct loop_timer *next, **pprev;
};

struct child {
	pid_t pid;
	void (*cb)(void *arg, pid_t pid, int status);
	void *arg;
	struct child *next;
};

struct loop {
	int epoll_fd, signal_fd;
	sigset_t old_mask;
	bool stop;
	struct loop_io *ios, *dead;
	struct loop_timer *timers; /* by at_ms, then by age */
	struct child *children;
	struct loop_io *signal_io;
};

static struct child *
take_child(struct loop *l, pid_t pid)
{
	for (struct child **p = &l->children; *p != NULL; p = &(*p)->next) {
		struct child *c = *p;

		if (c->pid == pid) {
			*p = c->next;
			return c;
		}
	}
	return NULL;
}

/* PID 1 gets every orphan too: whoever nobody watches is reaped in silence. */
static void
reap(struct loop *l)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct child *c = take_child(l, pid);

		if (c == NULL)
			continue;
		c->cb(c->arg, pid, status);
		free(c);
	}
}

static void
on_sigchld(void *arg, uint32_t events)
{
	struct loop *l = arg;
	struct signalfd_siginfo info;

	(void)events;
	/* Signals coalesce: one read, then everybody who is to be had. */
	while (read(l->signal_fd, &info, sizeof(info)) > 0)
		;
	reap(l);
}

struct loop *
loop_new(void)
{
	CLEAN_CLOSE int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	CLEAN_CLOSE int signal_fd = -1;
	struct loop *l;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (epoll_fd < 0 || signal_fd < 0)
		return NULL;
	l = xcalloc(1, sizeof(*l));
	l->epoll_fd = TAKE_FD(epoll_fd);
	l->signal_fd = TAKE_FD(signal_fd);
	pthread_sigmask(SIG_BLOCK, &set, &l->old_mask);
	l->signal_io = loop_io_add(l, l->signal_fd, EPOLLIN, on_sigchld, l);
	if (l->signal_io == NULL) {
		loop_free(l);
		return NULL;
	}
	return l;
}

static void
free_dead(struct loop *l)
{
	while (l->dead != NULL) {
		struct loop_io *io = l->dead;

		l->dead = io->next_dead;
		free(io);
	}
}

void
loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	while (l->ios != NULL)
		loop_io_del(l->ios);
	free_dead(l);
	while (l->timers != NULL)
		loop_timer_del(l->timers);
	while (l->children != NULL)
		loop_child_unwatch(l, l->children->pid);
	close(l->epoll_fd);
	close(l->signal_fd);
	pthread_sigmask(SIG_SETMASK, &l->old_mask, NULL);
	free(l);
}

struct loop_io *
loop_io_add(
	struct loop *l, int fd, uint32_t events, void (*cb)(void *arg, uint32_t events), void *arg)
{
	struct loop_io *io = xcalloc(1, sizeof(*io));

	*io = (struct loop_io){.loop = l, .fd = fd, .cb = cb, .arg = arg};
	io->next = l->ios;
	io->pprev = &l->ios;
	if (io->next != NULL)
		io->next->pprev = &io->next;
	l->ios = io;
	if (loop_io_set(io, events) < 0) {
		int code = errno;

		loop_io_del(io);
		errno = code;
		return NULL;
	}
	return io;
}

int
loop_io_set(struct loop_io *io, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = io};
	int op = EPOLL_CTL_MOD;

	if (events == io->events)
		return 0;
	if (io->events == 0)
		op = EPOLL_CTL_ADD;
	else if (events == 0)
		op = EPOLL_CTL_DEL;
	if (epoll_ctl(io->loop->epoll_fd, op, io->fd, &ev) < 0)
		return -errno;
	io->events = events;
	return 0;
}

void
loop_io_del(struct loop_io *io)
{
	if (io == NULL || io->dead)
		return;
	loop_io_set(io, 0);
	io->dead = true;
	*io->pprev = io->next;
	if (io->next != NULL)
		io->next->pprev = io->pprev;
	io->next_dead = io->loop->dead;
	io->loop->dead = io;
}

struct loop_timer *
loop_timer_add(struct loop *l, uint64_t after_ms, void (*cb)(void *arg), void *arg)
{
	struct loop_timer *t = xcalloc(1, sizeof(*t));
	struct loop_timer **p = &l->timers;

	*t = (struct loop_timer){.at_ms = clock_mono_ms() + after_ms, .cb = cb, .arg = arg};
	while (*p != NULL && (*p)->at_ms <= t->at_ms)
		p = &(*p)->next;
	t->next = *p;
	t->pprev = p;
	if (t->next != NULL)
		t->next->pprev = &t->next;
	*p = t;
	return t;
}

void
loop_timer_del(struct loop_timer *t)
{
	if (t == NULL)
		return;
	*t->pprev = t->next;
	if (t->next != NULL)
		t->next->pprev = t->pprev;
	free(t);
}

int
loop_child_watch(struct loop *l, pid_t pid, void (*cb)(void *arg, pid_t pid, int status), void *arg)
{
	struct child *c = xcalloc(1, sizeof(*c));

	*c = (struct child){.pid = pid, .cb = cb, .arg = arg, .next = l->children};
	l->children = c;
	return 0;
}

void
loop_child_unwatch(struct loop *l, pid_t pid)
{
	free(take_child(l, pid));
}

static void
run_timers(struct loop *l)
{
	uint64_t now = clock_mono_ms();

	while (!l->stop && l->timers != NULL && l->timers->at_ms <= now) {
		struct loop_timer *t = l->timers;
		void (*cb)(void *) = t->cb;
		void *arg = t->arg;

		loop_timer_del(t);
		cb(arg);
	}
}

static int
wait_ms(const struct loop *l)
{
	uint64_t now = clock_mono_ms();

	if (l->timers == NULL)
		return -1;
	if (l->timers->at_ms <= now)
		return 0;
	return l->timers->at_ms - now < 60000 ? (int)(l->timers->at_ms - now) : 60000;
}

int
loop_run(struct loop *l)
{
	struct epoll_event ev[ROUND_EVENTS];

	while (!l->stop) {
		int n = epoll_wait(l->epoll_fd, ev, ROUND_EVENTS, wait_ms(l));

		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n && !l->stop; i++) {
			struct loop_io *io = ev[i].data.ptr;

			if (!io->dead && (ev[i].events & (io->events | EPOLLERR | EPOLLHUP)))
				io->cb(io->arg, ev[i].events);
		}
		run_timers(l);
		free_dead(l);
	}
	l->stop = false;
	return 0;
}

void
loop_stop(struct loop *l)
{
	l->stop = true;
}
