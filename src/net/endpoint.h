#pragma once
/*
 * One end of a connection as bytes in and out of memory, plain or inside of TLS: whoever reads and
 * writes messages there does not see which of them it is. Embedded.
 */
#include <openssl/ssl.h>
#include <stdbool.h>

#include <base/buf.h>

#include "watch.h"

#define ENDPOINT_READ_MAX 65536

struct endpoint {
	int fd;   /* -1: none */
	SSL *ssl; /* NULL: plain */
	struct watch *watch;
	struct buf in, out;
	bool ended; /* its end was read */
	bool cut;   /* ... and was not said (TLS without close_notify): there may have been more */
	bool more;  /* TLS: the last read stopped for room, so no socket tells of the rest */
	bool read_blocked; /* TLS: the last read wants to write first */
};

/* Takes both. False where the loop cannot take the socket; then they are closed with a reset. */
bool endpoint_open(struct endpoint *s, uv_loop_t *loop, int fd, SSL *ssl, watch_fn *fn, void *arg);
/* With reset, else after having said that this is the end. out is dropped. */
void endpoint_close(struct endpoint *s, bool reset);
/* The socket without a watch, for another owner; in and out are released. Plain ones only. */
int endpoint_take_fd(struct endpoint *s);

/* More into in, some ENDPOINT_READ_MAX at most. False: it is broken. */
bool endpoint_fill(struct endpoint *s);
/* Of out what goes. False: it is broken. */
bool endpoint_flush(struct endpoint *s);
/* out is empty: says that nothing more will come. */
void endpoint_finish(struct endpoint *s);

/*
 * What to wake up for; reading: whether the owner wants more. The owner then reads if it wants to,
 * whatever the event was: TLS may have been waiting for the other direction.
 */
void endpoint_wait(struct endpoint *s, bool reading);
