#pragma once
/* Two connected sockets become one connection: bytes both ways, untouched, by splice(2). */
#include <stdbool.h>
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
 * Called whenever the guest has said more, while its direction is held: nothing of it was read yet.
 * HOLD_GONE: the relay was cancelled or taken apart in here.
 */
enum relay_hold { RELAY_HOLD_MORE, RELAY_HOLD_GO, RELAY_HOLD_GONE };
typedef enum relay_hold relay_hold_fn(void *arg);

/*
 * Takes both non-blocking sockets, whatever the result. up counts guest to remote. NULL where the
 * loop cannot take them; then they are reset and `done` is not called. hold (NULL: nothing is held)
 * decides when the guest's first bytes may pass; what the remote says passes meanwhile, for there
 * are protocols where the server speaks first.
 */
struct relay *relay_start(uv_loop_t *loop, struct pipes *pipes, int guest_fd, int remote_fd,
	relay_hold_fn *hold, relay_fn *done, void *arg);
/* From outside of hold, when no more is to be waited for: GO. */
void relay_unhold(struct relay *r);
/* Gives both sockets back. Only while the guest is held and relay_is_silent. */
void relay_detach(struct relay *r);
/* Has the remote said nothing yet? */
bool relay_is_silent(const struct relay *r);
/* What has moved so far. */
void relay_totals(const struct relay *r, uint64_t *ret_up, uint64_t *ret_down);
/* Resets both sides; `done` is not called. */
void relay_cancel(struct relay *r);
