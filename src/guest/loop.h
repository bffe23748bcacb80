#pragma once
/*
 * The guest's event loop: epoll, timers, and children (SIGCHLD by signalfd; PID 1 reaps everybody,
 * a watcher is called for the pids that it asked for). One thread; the FUSE pump has its own.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct loop;
struct loop_io;
struct loop_timer;

/* Blocks SIGCHLD in the calling thread: call it before threads are made. NULL on failure. */
struct loop *loop_new(void);
void loop_free(struct loop *l);
int loop_run(struct loop *l); /* until loop_stop; 0 or -errno */
void loop_stop(struct loop *l);

/*
 * events: EPOLLIN | EPOLLOUT ...; 0 pauses (not even a hang-up is reported then). The descriptor
 * stays the caller's, who deletes the watch before closing it. NULL with errno on failure.
 */
struct loop_io *loop_io_add(
	struct loop *l, int fd, uint32_t events, void (*cb)(void *arg, uint32_t events), void *arg);
int loop_io_set(struct loop_io *io, uint32_t events); /* 0 or -errno */
void loop_io_del(struct loop_io *io);                 /* safe inside any callback; NULL is fine */

/* Fires once and is gone before cb is called: forget the pointer there. 0 ms: from the loop, soon.
 */
struct loop_timer *loop_timer_add(
	struct loop *l, uint64_t after_ms, void (*cb)(void *arg), void *arg);
void loop_timer_del(struct loop_timer *t); /* NULL is fine */

/* status as from waitpid(2). The watch is gone after the call. */
int loop_child_watch(
	struct loop *l, pid_t pid, void (*cb)(void *arg, pid_t pid, int status), void *arg);
void loop_child_unwatch(struct loop *l, pid_t pid);
