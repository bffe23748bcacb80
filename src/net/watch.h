#pragma once
/*
 * Descriptors and alarms on the libuv loop, with simple ownership: what is freed here is silent
 * from that moment on, and libuv's handle goes away by itself later.
 */
#include <stdint.h>
#include <uv.h>

/*
 * events: UV_READABLE, UV_WRITABLE, or 0 where the descriptor itself is in error. Level-triggered.
 * The callback may free its watch.
 */
typedef void watch_fn(void *arg, int events);
struct watch;

/* NULL where the loop cannot take it. The descriptor stays the caller's and must outlive it. */
struct watch *watch_new(uv_loop_t *loop, int fd, watch_fn *fn, void *arg);
/* 0: sleep. */
void watch_events(struct watch *w, int events);
void watch_free(struct watch *w);

typedef void alarm_fn(void *arg);
struct alarm;

struct alarm *alarm_new(uv_loop_t *loop, alarm_fn *fn, void *arg);
/* Once, ms from now; replaces what was set before. */
void alarm_set(struct alarm *a, uint64_t ms);
void alarm_stop(struct alarm *a);
void alarm_free(struct alarm *a);
