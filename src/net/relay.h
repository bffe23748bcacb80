#pragma once
/* Two connected sockets become one connection: bytes both ways, untouched, by splice(2). */
#include <stdint.h>
#include <uv.h>

#include "pipes.h"

enum relay_end {
	RELAY_DONE,   /* both sides said all they had */
	RELAY_RESET,  /* one side broke; the other was reset */
	RELAY_FAILED, /* out of descriptors; both were reset */
};

struct relay;

/* Called once, from the loop; the relay and both sockets are gone by then. */
typedef void relay_fn(void *arg, enum relay_end end, uint64_t up, uint64_t down);

/*
 * Takes both non-blocking sockets, whatever the result. up counts guest to remote. NULL where the
 * loop cannot take them; then they are reset and `done` is not called.
 */
struct relay *relay_start(uv_loop_t *loop, struct pipes *pipes, int guest_fd, int remote_fd,
	relay_fn *done, void *arg);
/* Resets both sides; `done` is not called. */
void relay_cancel(struct relay *r);
