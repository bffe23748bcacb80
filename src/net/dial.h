#pragma once
/*
 * A connection to the first of several addresses that answers, in the spirit of RFC 8305: the next
 * one is tried when one fails, or has not answered after a short while, without giving up on it.
 */
#include <sys/socket.h>
#include <uv.h>

#define DIAL_MAX        8
#define DIAL_STAGGER_MS 250
#define DIAL_LIMIT_MS   20000

struct dial;

/*
 * Called once, never from within dial_start. fd: connected, non-blocking, the callee's, with the
 * index of its address; or -errno of the last failure (-ETIMEDOUT). The dial is gone by then.
 */
typedef void dial_fn(void *arg, int fd, size_t index);

/*
 * At most DIAL_MAX addresses count. They are copied. type: SOCK_STREAM, or SOCK_DGRAM, where the
 * first to which there is a route counts as an answer.
 */
struct dial *dial_start(uv_loop_t *loop, int type, const struct sockaddr_storage *addrs, size_t n,
	uint64_t limit_ms, dial_fn *done, void *arg);
void dial_cancel(struct dial *d);

/* Addresses in the order of trying: families alternate, else as they came (RFC 8305 section 4). */
void dial_sort(struct sockaddr_storage *addrs, size_t n);
